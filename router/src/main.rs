//! The `tidegate` command.

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    Box::pin(tidegate::cli::Cli::parse().execute()).await
}
