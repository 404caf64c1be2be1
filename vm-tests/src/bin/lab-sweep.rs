//! Removes labs whose process is gone.

use std::io::{self, Write as _};

use anyhow::Result;
use clap::Parser;
use tidegate_vm_tests::lab::sweep::{self, Kept};

/// Removes labs whose process is gone.
#[derive(Parser)]
struct Args {
    /// Remove also those that were left up on purpose.
    #[arg(long)]
    kept: bool,
    /// Wait until standard input ends, then remove this lab if nobody has.
    #[arg(long, value_name = "LAB")]
    when_stdin_ends: Option<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(name) = args.when_stdin_ends {
        io::copy(&mut io::stdin(), &mut io::sink())?;
        if sweep::abandoned(&name)? {
            // There may be no terminal any more.
            drop(writeln!(io::stderr(), "\nLab {name} was left behind; it is removed."));
        }
        return Ok(());
    }
    for name in sweep::dead_labs(if args.kept { Kept::Remove } else { Kept::Spare })? {
        writeln!(io::stdout(), "removed lab {name}")?;
    }
    Ok(())
}
