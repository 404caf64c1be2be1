//! The command line: one binary, daemon and client by verb.

mod beside;
mod capture;
mod change;
mod client;
mod commands;
mod doctor;
mod drain;
mod events;
mod flows;
mod health;
mod node;
mod offload;
mod peer;
mod refresh;
mod routes;
mod support;
mod table;
mod token;
mod top;
mod upgrade;
mod why;
mod yaml;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config_file;

/// Everything went well.
pub const EXIT_OK: u8 = 0;
/// The command failed: bad configuration, refused by the kernel, not found.
pub const EXIT_FAILED: u8 = 1;
/// The daemon cannot be reached. (2 is a mistake on the command line.)
pub const EXIT_UNREACHABLE: u8 = 3;
/// `tidegate doctor` has found what will not always work.
pub const EXIT_WARNED: u8 = 4;
/// `tidegate doctor` has found what does not work.
pub const EXIT_BROKEN: u8 = 5;

const DEFAULT_CONFIG: &str = "/etc/tidegate/tidegate.toml";
const DEFAULT_SOCKET: &str = "/run/tidegate/api.sock";

const EXIT_CODES: &str = "\
Exit codes: 0 well, 1 failed, 2 wrong usage, 3 the daemon cannot be reached.";

/// Announces service addresses over BGP only while they work, and forwards their traffic to
/// backends with XDP.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = EXIT_CODES, max_term_width = 80)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground (SIGHUP reloads, SIGTERM withdraws and stops, SIGUSR1 stops
    /// for a restart)
    Run(Run),
    /// Read a configuration and report every mistake in it
    Check(CheckFile),
    /// The daemon on one screen
    Status(Look),
    /// BGP sessions; with a name, one of them and what it has been through
    Peers(Peers),
    /// VIPs, their services and backends
    Vips(Look),
    /// Backends, one line each
    Backends(Look),
    /// Packets that were dropped, by reason, and what to do about each
    Drops(Look),
    /// VIPs, backends, peers, rates and drops on a terminal, live
    Top(top::TopArgs),
    /// Routes: received, available and advertised, and why those lost that did
    Routes(routes::RoutesArgs),
    /// What has happened, and with --follow what happens
    Events(events::EventsArgs),
    /// Packets that the packet path tells of, and what became of each
    Flows(flows::FlowsArgs),
    /// Write packets as they come and as they leave into a file for Wireshark
    Capture(capture::CaptureArgs),
    /// Where a packet goes, and why: from BGP to the wire, by the program that forwards
    Why(why::WhyArgs),
    /// Look for what keeps this node and its backends from working, and say how to mend it
    Doctor(doctor::DoctorArgs),
    /// Write an archive for whoever helps: configuration without secrets, state, maps, logs
    SupportBundle(support::SupportArgs),
    /// Ask a peer for its routes again, or tell it ours again, without closing the session
    Refresh(refresh::RefreshArgs),
    /// RPKI caches, and how many VRPs are in force
    Rpki(Look),
    /// Write all routes into a file, for tools that read MRT
    Dump(Read),
    /// Routing policy
    #[command(subcommand)]
    Policy(routes::PolicyCommand),
    /// Show what a change of the configuration would do
    Plan(change::PlanArgs),
    /// Change the configuration in force
    Apply(change::ApplyArgs),
    /// Keep a change that was applied with --confirm
    Confirm(Read),
    /// Take a change back
    Rollback(change::RollbackArgs),
    /// List the generations of the configuration
    History(change::HistoryArgs),
    /// Take a backend, a VIP or the node out of service without cutting flows
    Drain(drain::DrainArgs),
    /// Take it back into service
    Undrain(drain::UndrainArgs),
    /// Say that a backend is up or down, in the place of its health check
    Health(health::HealthArgs),
    /// Put another binary in the place of the running one; peers and packets see nothing of it
    Upgrade(upgrade::UpgradeArgs),
    /// The packet path on a network card
    #[command(subcommand)]
    Offload(offload::OffloadCommand),
    /// The backend's side of ipip and gue: take packets out of their outer headers
    Decap(Decap),
    /// Remove the packet path that a stopped daemon left in place
    Detach(ConfigFile),
    /// Make a token for the API, and the line for the file of those that it knows
    Token(token::TokenArgs),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
}

#[derive(Clone, Debug, Args)]
struct ConfigFile {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

#[derive(Clone, Debug, Args)]
struct Run {
    #[command(flatten)]
    file: ConfigFile,
    /// Take over from the process that started this one, over standard input
    #[arg(long, hide = true)]
    take_over: bool,
    /// Start another binary that takes over with this one's standard input, print its process
    /// number, and end
    #[arg(long, hide = true, value_name = "BINARY")]
    orphan: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
struct CheckFile {
    /// Configuration file
    #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
    file: PathBuf,
}

#[derive(Clone, Debug, Args)]
struct Peers {
    /// Name of a peer
    name: Option<String>,
    #[command(flatten)]
    look: Look,
}

#[derive(Clone, Debug, Args)]
struct Read {
    #[command(flatten)]
    node: node::Node,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

/// Something that is looked at, once or again and again.
#[derive(Clone, Debug, Args)]
struct Look {
    #[command(flatten)]
    read: Read,
    /// Again every two seconds, or so often as is said, until interrupted
    #[arg(short, long, value_name = "TIME", num_args = 0..=1, default_missing_value = "2s")]
    #[arg(value_parser = often_enough)]
    watch: Option<Duration>,
}

fn often_enough(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_millis(100)..=Duration::from_hours(1);
    if range.contains(&time) { Ok(time) } else { Err("it is not from 100ms to 1h".into()) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Aligned columns
    Table,
    /// The same with columns that few people need
    Wide,
    /// What the API answered
    Json,
    /// The same in YAML
    Yaml,
}

#[derive(Clone, Debug, Args)]
struct Decap {
    /// Interface on which encapsulated packets arrive
    #[arg(short, long, value_name = "IF")]
    interface: String,
    /// UDP port that takes GUE, datapath.gue-port on the edge
    #[arg(long, value_name = "PORT", default_value_t = tidegate_abi::GUE_PORT)]
    gue_port: u16,
}

/// A command that failed: what to print and with which code to end.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    fn new(message: impl std::fmt::Display) -> Self {
        Self { message: format!("tidegate: {message}"), code: EXIT_FAILED }
    }

    fn unreachable(message: impl std::fmt::Display) -> Self {
        Self { message: format!("tidegate: {message}"), code: EXIT_UNREACHABLE }
    }

    /// All has been said already.
    const fn silent(code: u8) -> Self {
        Self { message: String::new(), code }
    }

    /// Mistakes in a file, as the daemon found them.
    fn mistakes(found: &str) -> Self {
        Self { message: found.to_owned(), code: EXIT_FAILED }
    }

    /// Mistakes in a file start with their place, as editors like to read it.
    fn config(error: &config_file::Error) -> Self {
        match error {
            config_file::Error::Mistakes(found) => {
                Self { message: found.clone(), code: EXIT_FAILED }
            }
            config_file::Error::Read { .. }
            | config_file::Error::Key { .. }
            | config_file::Error::Keychain { .. } => Self::new(error),
        }
    }

    /// What kept the daemon from running, with its causes.
    fn daemon(error: &anyhow::Error) -> Self {
        match error.downcast_ref() {
            Some(error) => Self::config(error),
            None => Self::new(format_args!("{error:#}")),
        }
    }
}

impl Command {
    /// How often it is done again.
    const fn watch(&self) -> Option<Duration> {
        match self {
            Self::Status(look)
            | Self::Vips(look)
            | Self::Backends(look)
            | Self::Drops(look)
            | Self::Rpki(look)
            | Self::Peers(Peers { look, .. }) => look.watch,
            Self::Routes(args) => args.look.watch,
            _ => None,
        }
    }

    /// Does what was asked.
    async fn done(self) -> Result<(), Failure> {
        match self {
            Self::Run(args) => {
                if let Some(binary) = &args.orphan {
                    // Who asked has heard why already.
                    let started = crate::hand_over::orphan::start(binary, &args.file.config);
                    return started.or(Err(Failure::silent(EXIT_FAILED)));
                }
                // Boxed: far larger than what any other command needs.
                let ran = if args.take_over {
                    Box::pin(crate::daemon::take_over(&args.file.config)).await
                } else {
                    Box::pin(crate::daemon::run(&args.file.config)).await
                };
                ran.map_err(|error| Failure::daemon(&error))
            }
            Self::Check(args) => commands::check(&args.file),
            Self::Status(Look { read, .. }) => commands::status(&read.node, read.output).await,
            Self::Peers(Peers { name: None, look: Look { read, .. } }) => {
                commands::peers(&read.node, read.output).await
            }
            Self::Peers(Peers { name: Some(name), look: Look { read, .. } }) => {
                peer::peer(&read.node, &name, read.output).await
            }
            Self::Vips(Look { read, .. }) => commands::vips(&read.node, read.output).await,
            Self::Backends(Look { read, .. }) => commands::backends(&read.node, read.output).await,
            Self::Drops(Look { read, .. }) => beside::drops(read).await,
            Self::Top(args) => top::top(args).await,
            Self::Routes(args) => routes::routes(args).await,
            Self::Flows(args) => flows::flows(args).await,
            Self::Capture(args) => Box::pin(capture::capture(args)).await,
            Self::Events(args) => events::events(args).await,
            Self::Why(args) => why::why(args).await,
            Self::SupportBundle(args) => Box::pin(support::bundle(args)).await,
            Self::Doctor(args) => Box::pin(doctor::doctor(args)).await,
            Self::Dump(args) => beside::dump(args).await,
            Self::Rpki(Look { read, .. }) => beside::rpki(read).await,
            Self::Refresh(args) => refresh::refresh(args).await,
            Self::Policy(command) => routes::policy(&command),
            Self::Plan(args) => change::plan(args).await,
            Self::Apply(args) => change::apply(args).await,
            Self::Confirm(args) => change::confirm(args).await,
            Self::Rollback(args) => change::rollback(args).await,
            Self::History(args) => change::history(args).await,
            Self::Drain(args) => drain::drain(args).await,
            Self::Health(args) => health::health(args).await,
            Self::Undrain(args) => drain::undrain(args).await,
            Self::Upgrade(args) => upgrade::upgrade(args).await,
            Self::Decap(args) => {
                crate::decap::run(&args.interface, args.gue_port).await.map_err(Failure::new)
            }
            Self::Detach(args) => commands::detach(&args.config),
            Self::Offload(command) => offload::offload(command),
            Self::Token(args) => token::token(args),
            Self::Schema => commands::print(&tidegate_config::json_schema()),
        }
    }
}

impl Cli {
    /// Does what was asked and says with which code the process ends.
    pub async fn execute(self) -> ExitCode {
        let done = match self.command.watch() {
            None => self.command.done().await,
            Some(every) => watched(self.command, every).await,
        };
        match done {
            Ok(()) => ExitCode::from(EXIT_OK),
            Err(failure) => {
                if !failure.message.is_empty() {
                    complain(&failure.message);
                }
                ExitCode::from(failure.code)
            }
        }
    }
}

/// Does it again and again, on a terminal always at the same place.
async fn watched(command: Command, every: Duration) -> Result<(), Failure> {
    // Home, and what is below goes.
    let clear = if std::io::stdout().is_terminal() { "\x1b[H\x1b[J" } else { "" };
    loop {
        commands::print_as_is(clear)?;
        command.clone().done().await?;
        tokio::time::sleep(every).await;
    }
}

/// To standard error; a broken pipe there has nobody left to tell.
fn complain(message: &str) {
    use std::io::Write as _;
    let line = format!("{message}\n");
    drop(std::io::stderr().write_all(line.as_bytes()));
}
