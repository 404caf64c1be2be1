//! The servers and the client of a lab.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use tidegate_vm_tests::lab::{http, relay, traffic};

/// The servers and the client of a lab.
#[derive(Parser)]
enum Part {
    /// Answer every request with this server's name and the client's address.
    Serve {
        /// This server's name.
        #[arg(long)]
        name: String,
        /// Port, on every address.
        #[arg(long, default_value_t = 80)]
        port: u16,
        /// While this file exists, answer 503 on /healthz.
        #[arg(long)]
        sick_when: Option<PathBuf>,
    },
    /// Answer datagrams with this server's name and what they hold.
    Echo {
        /// This server's name.
        #[arg(long)]
        name: String,
        /// Address and port.
        #[arg(long)]
        at: SocketAddr,
    },
    /// Take connections that come to the listener on standard input into a namespace.
    Relay {
        /// Path of the namespace.
        namespace: PathBuf,
        /// Address and port in there.
        to: SocketAddr,
    },
    /// Ask many times, each on a connection of its own; print what became of it, as JSON.
    Load {
        /// Address and port to ask.
        to: SocketAddr,
        /// How many requests.
        #[arg(long, default_value_t = 1)]
        requests: usize,
        /// How many of them at a time.
        #[arg(long, default_value_t = 1)]
        concurrency: usize,
    },
}

fn main() -> Result<()> {
    match Part::parse() {
        Part::Serve { name, port, sick_when } => http::serve(&name, port, sick_when.as_deref())?,
        Part::Echo { name, at } => traffic::echo(&name, at)?,
        Part::Relay { namespace, to } => relay::serve(&namespace, to)?,
        Part::Load { to, requests, concurrency } => {
            let load = http::load(to, requests, concurrency);
            writeln!(io::stdout(), "{}", serde_json::to_string(&load)?)?;
        }
    }
    Ok(())
}
