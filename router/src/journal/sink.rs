//! Where the log goes when nobody sits before it: to journald in its own protocol, or as JSON.

use std::env;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::time::SystemTime;

use serde_json::{Map, Value};
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::entry::Entry;
use super::kinds;

const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";
/// Of an entry: far below what a datagram takes.
const ENTRY_BYTES_MAX: usize = 32 << 10;

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Lines for people, to standard error.
    Text,
    /// Objects, to standard output.
    Json,
    /// Entries with fields, to journald.
    Journal,
}

impl Form {
    /// The one that fits, and what is wrong with the one that was asked for.
    pub(super) fn choose() -> (Self, Option<String>) {
        let fits = || match () {
            () if is_journal() => Self::Journal,
            () if std::io::IsTerminal::is_terminal(&std::io::stderr()) => Self::Text,
            () => Self::Json,
        };
        match env::var("TIDEGATE_LOG_FORMAT").as_deref() {
            Err(_unset) => (fits(), None),
            Ok("text") => (Self::Text, None),
            Ok("json") => (Self::Json, None),
            Ok("journal") => (Self::Journal, None),
            Ok(other) => {
                let doubt = format!("TIDEGATE_LOG_FORMAT is text, json or journal, not {other:?}");
                (fits(), Some(doubt))
            }
        }
    }
}

/// Whether standard error goes to the journal (systemd.exec(5), `$JOURNAL_STREAM`).
fn is_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|it| stream == format!("{}:{}", it.dev(), it.ino()))
}

/// Writes entries; of [`Form::Text`] none.
#[derive(Debug)]
pub(super) struct Sink {
    form: Form,
    socket: Option<UnixDatagram>,
}

impl Sink {
    pub(super) fn new(form: Form) -> Self {
        let open = || {
            let socket = UnixDatagram::unbound()?;
            socket.connect(JOURNAL_SOCKET)?;
            std::io::Result::Ok(socket)
        };
        // Without journald the lines go to standard error as objects.
        let socket = if form == Form::Journal { open().ok() } else { None };
        Self { form, socket }
    }
}

impl<S: Subscriber> Layer<S> for Sink {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        if self.form == Form::Text {
            return;
        }
        let (entry, level) = (Entry::of(event), *event.metadata().level());
        let sent = self.socket.as_ref().map(|socket| socket.send(&native(&entry, level)));
        // A log that nobody takes stops nothing.
        match (self.form, sent) {
            (_, Some(Ok(_))) | (Form::Text, _) => {}
            (Form::Journal, Some(Err(_)) | None) => {
                drop(std::io::stderr().write_all(object(&entry, level).as_bytes()));
            }
            (Form::Json, _) => {
                drop(std::io::stdout().write_all(object(&entry, level).as_bytes()));
            }
        }
    }
}

/// An entry as journald takes it: systemd.io, "Native Journal Protocol".
fn native(entry: &Entry, level: Level) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut put = |name: &str, value: &str| {
        if octets.len() + name.len() + value.len() > ENTRY_BYTES_MAX {
            return;
        }
        octets.extend(name.as_bytes());
        if value.contains('\n') {
            octets.push(b'\n');
            octets.extend((value.len() as u64).to_le_bytes());
        } else {
            octets.push(b'=');
        }
        octets.extend(value.as_bytes());
        octets.push(b'\n');
    };
    put("PRIORITY", priority(level));
    put("SYSLOG_IDENTIFIER", "tidegate");
    let fields = entry.fields.iter().map(|(name, value)| format!("{name}={value}"));
    let line: Vec<String> = [entry.message.clone()].into_iter().chain(fields).collect();
    put("MESSAGE", cut(&line.join(" ")));
    if let Some(kind) = entry.event.as_deref() {
        put("TIDEGATE_EVENT", kind);
        if let Some(kind) = kinds::named(kind) {
            put("MESSAGE_ID", kind.message_id);
        }
    }
    for (name, value) in &entry.fields {
        let name = format!("TIDEGATE_{}", name.to_ascii_uppercase().replace('.', "_"));
        match value {
            Value::String(text) => put(&name, cut(text)),
            other => put(&name, &other.to_string()),
        }
    }
    octets
}

/// No longer than half an entry.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(ENTRY_BYTES_MAX / 2);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// syslog(3)
const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

/// An entry as a line of JSON.
fn object(entry: &Entry, level: Level) -> String {
    let now = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let mut object = Map::new();
    object.insert("time".into(), now.into());
    object.insert("level".into(), level.as_str().to_ascii_lowercase().into());
    if let Some(kind) = &entry.event {
        object.insert("event".into(), kind.as_str().into());
    }
    object.insert("message".into(), entry.message.as_str().into());
    for (name, value) in &entry.fields {
        object.insert((*name).into(), value.clone());
    }
    format!("{}\n", Value::Object(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            message: "VIP withdrawn".into(),
            event: Some(kinds::VIP_WITHDRAWN.into()),
            fields: vec![("vip", "192.0.2.10".into()), ("n", 3.into()), ("why", "a\nb".into())],
        }
    }

    #[test]
    fn journald_gets_fields_with_names_and_lengths_where_there_are_line_ends() {
        let id = kinds::named(kinds::VIP_WITHDRAWN).unwrap().message_id;
        let mut wanted = format!(
            "PRIORITY=4\nSYSLOG_IDENTIFIER=tidegate\n\
             MESSAGE=VIP withdrawn vip=\"192.0.2.10\" n=3 why=\"a\\nb\"\n\
             TIDEGATE_EVENT=vip-withdrawn\nMESSAGE_ID={id}\nTIDEGATE_VIP=192.0.2.10\nTIDEGATE_N=3\n\
             TIDEGATE_WHY\n"
        )
        .into_bytes();
        wanted.extend(3_u64.to_le_bytes());
        wanted.extend(b"a\nb\n");
        let octets = native(&entry(), Level::WARN);
        assert_eq!(String::from_utf8_lossy(&octets), String::from_utf8_lossy(&wanted));
    }

    #[test]
    fn an_entry_fits_a_datagram_whatever_is_in_it() {
        let long = "ä".repeat(1 << 20);
        let fields = vec![("text", long.clone().into())];
        let entry = Entry { message: long, event: None, fields };
        assert!(native(&entry, Level::INFO).len() <= ENTRY_BYTES_MAX);
    }

    #[test]
    fn a_line_of_json_is_an_object() {
        let line = object(&entry(), Level::INFO);
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["level"], "info");
        assert_eq!(object["event"], kinds::VIP_WITHDRAWN);
        assert_eq!((&object["vip"], &object["n"]), (&"192.0.2.10".into(), &3.into()));
        assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
    }
}
