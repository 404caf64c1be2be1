//! `make bench PART=api`: what the API's answers cost of an edge with ten thousand services and a
//! million routes, and whether the packets that it is told of are summed to the last one.

mod ask;
mod edge;
mod flows;
mod questions;
mod routes;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use tidegate_vm_tests::bench::feed::topology;
use tidegate_vm_tests::bench::machine::where_and_when;
use tidegate_vm_tests::lab::Lab;

use edge::{Edge, answer_checks};

/// What the API's answers cost of a large edge.
#[derive(Parser)]
struct Args {
    /// How often each question is asked; the median is judged.
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// Seconds for which packets are told of.
    #[arg(long, default_value_t = 10)]
    secs: u64,
    /// Write the page of docs/.
    #[arg(long, env = "UPDATE")]
    update: bool,
}

/// Words for people, and what is not as it must be.
#[derive(Default)]
struct Report {
    text: String,
    failures: Vec<String>,
}

impl Report {
    fn say(&mut self, text: &str) -> io::Result<()> {
        self.text.push_str(text);
        write!(io::stdout(), "{text}")
    }

    fn must(&mut self, holds: bool, failure: impl FnOnce() -> String) {
        if !holds {
            self.failures.push(failure());
        }
    }
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let lab = Lab::new(&topology(3))?;
    answer_checks(&lab)?;
    let mut report = Report::default();
    report.say(&format!("{}:\n\n", where_and_when()))?;

    let edge = Edge::start(&lab, "edge", "10s", "")?;
    questions::ask(&edge, args.rounds, &mut report)?;
    routes::list(&edge, &mut report)?;
    edge.stop()?;
    let edge = Edge::start(&lab, "telling", "60s", "sample = 1\nrate = 0")?;
    flows::tell(&edge, args.secs, &mut report)?;
    edge.stop()?;

    if args.update {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/api-bench.md");
        std::fs::write(&page, format!("{PAGE_HEAD}{}", report.text))
            .with_context(|| format!("cannot write {}", page.display()))?;
    }
    for failure in &report.failures {
        writeln!(io::stdout(), "FAILED: {failure}")?;
    }
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const PAGE_HEAD: &str = "# What an answer costs\n\n\
    Written by `make bench PART=api UPDATE=true`. A daemon with 10,000 services on 5,000 VIPs, ten\n\
    backends each, 4,000 in all, every one asked every ten seconds whether it lives, is asked over\n\
    its Unix socket, on a connection of its own each time; times are from the connection to the\n\
    last octet. *Must* is for the median, and for how much its resident memory grows at most while\n\
    it is asked. Between two looks at everything that there is it answers at once; who asks during\n\
    one waits for its end, which is what *worst* shows.\n\n\
    At the end, of another daemon that is told of every packet (`[flows] sample = 1`): packets run\n\
    through the program on its interface, each a record in the kernel's ring. All counts are\n\
    compared: verdicts, records, words that were left out or lost, and sums.\n\n";
