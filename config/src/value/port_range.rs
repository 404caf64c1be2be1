//! A range of ports.

use super::{Text, quote};

/// From the first to the last one, both of which are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl Text for PortRange {
    fn kind() -> String {
        "a range of ports such as \"1024-32767\"".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "pattern": "^[0-9]{1,5}-[0-9]{1,5}$" })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let port = |text: &str| text.trim().parse().ok().filter(|port: &u16| *port > 0);
        let ports =
            text.split_once('-').and_then(|(first, last)| Some((port(first)?, port(last)?)));
        match ports {
            Some((first, last)) if first <= last => Ok(Self { first, last }),
            _ => Err((
                format!("{} is no range of ports", quote(text)),
                "write the lowest and the highest port, of 1 to 65535: \"1024-32767\"".to_owned(),
            )),
        }
    }
}
