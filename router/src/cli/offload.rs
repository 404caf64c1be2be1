//! `tidegate offload plan`: what a network card would take, and what it would serve.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use tidegate_plan::card::device::{self, Device};

use super::change::folded;
use super::client::Answer;
use super::commands::show;
use super::table::Table;
use super::{DEFAULT_CONFIG, EXIT_FAILED, Failure, Output};
use crate::bpf_io;
use crate::config_file;
use crate::view::offload::OffloadPlan;

const HELP: &str = "\
Holds the program for cards against what each kind of card can run, and says of
each service of a configuration whether the card would serve it. No card is
needed, and nothing is loaded: what only the card's firmware knows (how many of
its own instructions and entries it takes) is not in it.

What the card does not serve goes up to the packet path in the driver.

Exit codes: 0 the program fits, 1 it does not, 2 wrong usage.

Examples:
  tidegate offload plan
  tidegate offload plan --device nfp --config /etc/tidegate/tidegate.toml";

/// What to do with a card.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum OffloadCommand {
    /// What a network card would take of the packet path, and what it would serve
    Plan(OffloadArgs),
}

/// Which card, and for which configuration.
#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct OffloadArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Only this kind of card, by its driver
    #[arg(short, long, value_name = "DRIVER")]
    device: Option<Driver>,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Driver {
    /// Netronome Agilio
    Nfp,
    /// The kernel's device for tests
    Netdevsim,
}

impl Driver {
    const fn device(self) -> Device {
        match self {
            Self::Nfp => device::NFP,
            Self::Netdevsim => device::NETDEVSIM,
        }
    }
}

pub(super) fn offload(command: OffloadCommand) -> Result<(), Failure> {
    let OffloadCommand::Plan(args) = command;
    let config = config_file::read(&args.config).map_err(|error| Failure::config(&error))?;
    let object = bpf_io::card::built().map_err(Failure::new)?;
    let devices = match args.device {
        Some(driver) => vec![driver.device()],
        None => device::ALL.to_vec(),
    };
    let plan = OffloadPlan::new(&object, &devices, &config.desired);
    let fits = plan.cards.iter().all(|card| card.fits);
    let text = serde_json::to_string(&plan).map_err(Failure::new)?;
    show(args.output, &Answer { text, value: plan }, words)?;
    if fits { Ok(()) } else { Err(Failure::silent(EXIT_FAILED)) }
}

/// As people read it.
fn words(plan: &OffloadPlan) -> String {
    let program = &plan.program;
    let mut text = format!(
        "{}: {} instructions, {} bytes of stack, {} maps with room for {} entries\n\n",
        program.name, program.instructions, program.stack_bytes, program.maps, program.map_entries,
    );
    let mut cards = Table::new(&["CARD", "FITS"], &[]);
    for card in &plan.cards {
        cards.row(vec![card.device.clone(), yes(card.fits)]);
    }
    text += &cards.render();
    for card in &plan.cards {
        for objection in &card.objections {
            text += &["  ", &card.device, ": ", &folded(objection, "    "), "\n"].concat();
        }
    }
    if !plan.services.is_empty() {
        let mut services = Table::new(&["SERVICE", "ON THE CARD", "WHY NOT"], &[]);
        for service in &plan.services {
            let mut reasons = service.why_up.iter();
            let first = reasons.next().cloned().unwrap_or_default();
            services.row(vec![service.service.clone(), yes(service.is_served), first]);
            for reason in reasons {
                services.row(vec![String::new(), String::new(), reason.clone()]);
            }
        }
        text += "\n";
        text += &services.render();
    }
    let mut room = Table::new(&["ON THE CARD", "USED", "OF"], &[1, 2]);
    for row in &plan.room {
        room.row(vec![row.what.clone(), row.used.to_string(), row.of.to_string()]);
    }
    text + "\n" + &room.render()
}

fn yes(it: bool) -> String {
    if it { "yes" } else { "no" }.into()
}
