//! `tidegate support-bundle`: all that helps somebody else to find a mistake, in one archive.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::client::{self, Answer, post};
use super::commands::print;
use super::doctor::examine;
use super::table::count;
use super::{DEFAULT_CONFIG, Failure, Output, Read};
use crate::bpf_io::raw;
use crate::bundle::{Bundle, Secrets, without_secrets};
use crate::view::API_VERSION;
use crate::view::change::{Change, Plan};

const HELP: &str = "\
In it are: versions, the configuration (file, what the API changed, what is in
force), the plan, what the API says of peers, VIPs, backends, drops, drains and
the newest events, the first routes, figures, the maps of the packet path,
links, addresses and routes of the kernel, the log, and what 'tidegate doctor'
finds. Each is cut off where it is too long.

Passwords and keys are removed from the configuration, with its comments, and
wherever else they stand. Addresses are not: look at it before you send it.

Works without the daemon too: then it lists what is missing.";

/// A command that has not ended by then is stopped.
const COMMAND_WITHIN: Duration = Duration::from_secs(10);
/// Lines of the journal.
const LOG_LINES: &str = "20000";

/// What the API is asked for.
const ASKED: [(&str, &str); 12] = [
    ("state/status.json", "/api/v1/status"),
    ("state/peers.json", "/api/v1/peers"),
    ("state/vips.json", "/api/v1/vips"),
    ("state/backends.json", "/api/v1/backends"),
    ("state/drops.json", "/api/v1/drops"),
    ("state/drains.json", "/api/v1/drains"),
    ("state/history.json", "/api/v1/history"),
    ("state/rpki.json", "/api/v1/rpki"),
    ("state/events.json", "/api/v1/events"),
    ("state/routes.json", "/api/v1/routes?limit=200"),
    ("state/received.json", "/api/v1/routes?view=received&limit=200"),
    ("state/metrics.txt", "/metrics"),
];

/// What the kernel is asked for, by the tools that people know.
const COMMANDS: [(&str, &[&str]); 9] = [
    ("kernel/uname.txt", &["uname", "-a"]),
    ("kernel/links.txt", &["ip", "-d", "-s", "link"]),
    ("kernel/addresses.txt", &["ip", "address"]),
    ("kernel/routes-v4.txt", &["ip", "-4", "route", "show", "table", "main"]),
    ("kernel/routes-v6.txt", &["ip", "-6", "route", "show", "table", "main"]),
    ("kernel/rules.txt", &["ip", "rule"]),
    ("kernel/neighbours.txt", &["ip", "neighbour"]),
    ("kernel/unit.txt", &["systemctl", "show", "tidegate.service", "--no-pager"]),
    (
        "log.txt",
        &["journalctl", "-u", "tidegate.service", "-n", LOG_LINES, "-o", "short-iso", "--no-pager"],
    ),
];

/// Where to, and by what.
#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct SupportArgs {
    /// The archive; it must not be there yet
    #[arg(value_name = "ARCHIVE")]
    archive: Option<PathBuf>,
    /// Configuration file, while the daemon does not say which
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    #[command(flatten)]
    read: Read,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    api_version: &'static str,
    archive: String,
    bytes: u64,
    files: Vec<File>,
    missing: Vec<Missing>,
}

#[derive(Debug, Serialize)]
struct File {
    name: String,
    bytes: usize,
}

#[derive(Debug, Serialize)]
struct Missing {
    name: String,
    why: String,
}

pub(super) async fn bundle(args: SupportArgs) -> Result<(), Failure> {
    let archive = args.archive.unwrap_or_else(|| {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        format!("tidegate-support-{}.tar.gz", now.replace([':', '-'], "")).into()
    });
    args.read.node.is_here()?;
    let node = &args.read.node;
    let status = client::text(node, "/api/v1/status").await.ok();
    let status: Option<Value> = status.and_then(|text| serde_json::from_str(&text).ok());
    let named = status.as_ref().and_then(|status| status.get("config_file")?.as_str());
    let file = named.map_or(args.config, PathBuf::from);
    let text = std::fs::read_to_string(&file);
    let in_force = client::text(node, "/api/v1/config").await;

    let texts = [text.as_deref().ok(), in_force.as_deref().ok()];
    let mut bundle = Bundle::without(secrets(texts.into_iter().flatten()));
    versions(&mut bundle, status.as_ref());
    let of_file = text.as_deref().map(without_secrets);
    bundle.add("config/file.toml", of_file.map_err(|error| format!("{}: {error}", file.display())));
    bundle.add("config/in-force.toml", in_force.as_deref().map(without_secrets).map_err(why));
    let overlay = client::text(node, "/api/v1/config/overlay").await;
    bundle.add("config/overlay.toml", overlay.as_deref().map(without_secrets).map_err(why));
    let plan: Result<Answer<Plan>, _> = post(node, "/api/v1/plan", Some(&Change::default())).await;
    bundle.add("state/plan.json", plan.map(|plan| plan.text).map_err(|failure| why(&failure)));
    for (name, path) in ASKED {
        let text = client::text(node, path).await;
        bundle.add(name, text.map_err(|failure| why(&failure)));
    }
    maps(&mut bundle, texts.into_iter().flatten().last().unwrap_or_default());
    for (name, command) in COMMANDS {
        bundle.add(name, output(command).await);
    }
    let by_file = status.is_none().then_some(&*file);
    let doctor = Box::pin(examine(node, by_file, &[])).await;
    let doctor = doctor.map(|examined| serde_json::to_string_pretty(&examined).unwrap_or_default());
    bundle.add("doctor.json", doctor.map_err(|failure| why(&failure)));
    told(bundle, &archive, args.read.output)
}

/// Writes the archive, and says so.
fn told(bundle: Bundle, archive: &Path, output: Output) -> Result<(), Failure> {
    let missing = bundle.missing().iter();
    let missing = missing.map(|(name, why)| Missing { name: name.clone(), why: why.clone() });
    let missing: Vec<_> = missing.collect();
    let (entries, bytes) = bundle.write(archive).map_err(|error| {
        Failure::new(format_args!(
            "cannot write {}: {error}; name another file, which must not be there yet",
            archive.display()
        ))
    })?;
    let files = entries.into_iter().map(|entry| File { name: entry.name, bytes: entry.bytes });
    let written = Written {
        api_version: API_VERSION,
        archive: archive.display().to_string(),
        bytes,
        files: files.collect(),
        missing,
    };
    match output {
        Output::Table | Output::Wide => print(&words(&written)),
        Output::Json => print(&serde_json::to_string_pretty(&written).map_err(Failure::new)?),
        Output::Yaml => {
            print(&super::yaml::of(&serde_json::to_value(&written).map_err(Failure::new)?))
        }
    }
}

fn words(written: &Written) -> String {
    let mut text = format!("{}: {} bytes\n", written.archive, count(written.bytes));
    for File { name, bytes } in &written.files {
        let bytes = count(u64::try_from(*bytes).unwrap_or(u64::MAX));
        text += &[&*format!("{bytes:>13}"), "  ", name, "\n"].concat();
    }
    if !written.missing.is_empty() {
        text += "missing:\n";
    }
    for Missing { name, why } in &written.missing {
        let line = format!("{name}: {why}");
        text += &["  ", &*super::change::folded(&line, "    "), "\n"].concat();
    }
    text + "Passwords and keys are removed; addresses are not: look at it before you send it.\n"
}

fn why(failure: &Failure) -> String {
    failure.message.trim_start_matches("tidegate: ").to_owned()
}

/// What stands in the files that configurations name as those of passwords and keys.
fn secrets<'a>(texts: impl Iterator<Item = &'a str>) -> Secrets {
    let mut files = Vec::new();
    for text in texts {
        if let Ok(table) = toml::from_str::<toml::Table>(text) {
            key_files(&toml::Value::Table(table), "", &mut files);
        }
    }
    let read = files.iter().filter_map(|file| std::fs::read(file).ok());
    Secrets::of(
        read.flat_map(|text| text.split(|it| *it == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>()),
    )
}

/// Files that stand under `password-file`, or under `file` of a key.
fn key_files(value: &toml::Value, name: &str, files: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => {
            for (inner, value) in table {
                let is_key =
                    matches!((name, inner.as_str()), ("key", "file") | (_, "password-file"));
                match value.as_str() {
                    Some(file) if is_key => files.push(file.to_owned()),
                    _ => key_files(value, inner, files),
                }
            }
        }
        toml::Value::Array(values) => {
            for value in values {
                key_files(value, name, files);
            }
        }
        _ => {}
    }
}

fn versions(bundle: &mut Bundle, status: Option<&Value>) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let daemon = status.and_then(|status| status.get("version")?.as_str()).unwrap_or("not known");
    let text = format!(
        "tidegate {} (this tool)\ntidegate {daemon} (the daemon)\nLinux {}\n{}",
        env!("CARGO_PKG_VERSION"),
        read("/proc/sys/kernel/osrelease"),
        read("/etc/os-release"),
    );
    bundle.add("versions.txt", Ok(text));
}

/// What the pinned maps hold.
fn maps(bundle: &mut Bundle, config: &str) {
    let desired = tidegate_config::check("tidegate.toml", config);
    let Ok(pin_dir) = desired.map(|checked| checked.desired.router.pin_dir) else {
        return bundle.miss("maps", "no configuration says where they are pinned");
    };
    for name in raw::names() {
        let text = raw::text(&pin_dir, name);
        bundle.add(&format!("maps/{name}.txt"), text.map_err(|error| error.to_string()));
    }
}

/// What a command prints.
async fn output(command: &[&str]) -> Result<String, String> {
    let Some((program, arguments)) = command.split_first() else { return Err("nothing".into()) };
    let run = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(COMMAND_WITHIN, run).await {
        Ok(Ok(output)) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{program}: {}: {}", output.status, said.trim()))
        }
        Ok(Err(error)) => Err(format!("{program}: {error}")),
        Err(_elapsed) => Err(format!("{program} did not end in {} s", COMMAND_WITHIN.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_passwords_and_keys_are_known_by_their_names() {
        let text = "[mrt]\nfile = \"/no\"\n[[peer]]\npassword-file = \"/a\"\n[[keychain]]\n\
                    name = \"x\"\n[[keychain.key]]\nid = 7\nfile = \"/b\"\n\
                    [[keychain.key]]\nfile = \"/c\"\n";
        let mut files = Vec::new();
        key_files(&toml::Value::Table(toml::from_str(text).unwrap()), "", &mut files);
        files.sort();
        assert_eq!(files, ["/a", "/b", "/c"]);
    }

    #[test]
    fn what_was_written_and_what_is_missing_is_said() {
        let written = Written {
            api_version: API_VERSION,
            archive: "x.tar.gz".into(),
            bytes: 12_345,
            files: vec![File { name: "log.txt".into(), bytes: 1_234_567 }],
            missing: vec![Missing { name: "state/status.json".into(), why: "no daemon".into() }],
        };
        let wanted = "\
x.tar.gz: 12,345 bytes
    1,234,567  log.txt
missing:
  state/status.json: no daemon
Passwords and keys are removed; addresses are not: look at it before you send it.
";
        assert_eq!(words(&written), wanted);
    }
}
