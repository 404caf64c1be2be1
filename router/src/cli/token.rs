//! `tidegate token`: makes a bearer token.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use super::commands::print;
use crate::access::tokens::{Holder, Role, check_name, fresh};

const HELP: &str = "\
The line is for the file that [api] token-file names. It has a hash, from which
nobody gets the token. A reload ('systemctl reload tidegate') reads the file anew;
without its line a token is worth nothing from then on.

Example:
  tidegate token grafana --into grafana.token >> /etc/tidegate/tokens";

/// For whom.
#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct TokenArgs {
    /// Name of its holder, who stands with it in the records of changes
    #[arg(value_parser = name)]
    name: String,
    /// What its holder may do
    #[arg(short, long, value_name = "ROLE", default_value = "read-only")]
    role: Role,
    /// Write the token into this new file, and print the line only
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
}

fn name(text: &str) -> Result<String, &'static str> {
    check_name(text).map(|()| text.to_owned())
}

pub(super) fn token(args: TokenArgs) -> Result<(), Failure> {
    let TokenArgs { name, role, into } = args;
    let fresh = fresh(&Holder { name, role }).map_err(Failure::new)?;
    match into {
        Some(file) => {
            write(&file, &fresh.token)
                .map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
            print(&fresh.line)
        }
        None => print(&format!(
            "for its holder, and shown this once:\n{}\nfor the file of [api] token-file:\n{}",
            fresh.token, fresh.line
        )),
    }
}

/// For nobody else to read.
fn write(file: &Path, token: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(file, "{token}")
}
