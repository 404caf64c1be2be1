//! Kinds of events, each with the identifier that it has in the journal (`journalctl
//! MESSAGE_ID=...`). Names and identifiers stay for ever.

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its `MESSAGE_ID` (sd-id128(3)).
    pub(crate) message_id: &'static str,
    /// What has happened.
    pub(crate) help: &'static str,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $constant:ident = $name:literal, $id:literal;)+) => {
        $($(#[doc = $doc])+ pub(crate) const $constant: &str = $name;)+

        /// All of them.
        pub(crate) const ALL: &[Kind] = &[
            $(Kind { name: $name, message_id: $id, help: concat!($($doc),+) },)+
        ];
    };
}

kinds! {
    /// The daemon has started.
    STARTED = "started", "b8997ca632fa5f2995dbb8542920ae1c";
    /// It stops; the packet path stays.
    STOPPED = "stopped", "bbdddfd9885c59ed920d9e7135eeebec";
    /// A new process has taken over from the running daemon.
    TAKEN_OVER = "taken-over", "826a4065aee25c39bed3a516548697e3";
    /// A VIP is announced.
    VIP_ANNOUNCED = "vip-announced", "8cf80a45af125399b619d9a80b825e93";
    /// A VIP is withdrawn; the reason is a field.
    VIP_WITHDRAWN = "vip-withdrawn", "096baa472e80564c8c8e7ad8889af6a6";
    /// A VIP is not announced, for another reason than before.
    VIP_WITHHELD = "vip-withheld", "a9a40e908c655144874580fe0b5a1d7f";
    /// A backend takes new flows.
    BACKEND_UP = "backend-up", "a2f7afc85f485ec9b1b4d5f540a6dfb5";
    /// A backend takes no flows: its check fails, or there is no way to it.
    BACKEND_DOWN = "backend-down", "3ecde8ec0b045f5287940f81d787d9a3";
    /// A backend keeps its flows and gets no new ones, or none at all.
    BACKEND_DRAINING = "backend-draining", "6dcc64c0ece3525ca5d2043024e67364";
    /// A BGP session is Established.
    PEER_UP = "peer-up", "b0f14589b169523db9d2ec27c663a9b3";
    /// A BGP connection has ended.
    PEER_DOWN = "peer-down", "d2d29f8f8d275057a66fb7bd10785353";
    /// A peer restarts, and its routes are kept.
    PEER_RESTARTS = "peer-restarts", "1987a6f06fe753b39323e5e350d7e3b1";
    /// A BFD session is up.
    BFD_UP = "bfd-up", "c9cf312de80452cab957c40c3a6d61a6";
    /// A BFD session is down.
    BFD_DOWN = "bfd-down", "a7e59d461c905161ac666b6f87c3b842";
    /// Another configuration is in force.
    CONFIG_APPLIED = "config-applied", "0e2aebb009f95822896f5e84cf1e0ee7";
    /// A configuration was refused, and the old one stays.
    CONFIG_REFUSED = "config-refused", "ddfc7fa09ddd52b6aa2a6e99b07aeddb";
    /// A change that waited to be confirmed was.
    CONFIG_CONFIRMED = "config-confirmed", "44617f0dd61c52b0946a9a2b7051b828";
    /// A change that was not confirmed, or that a guard did not like, is undone.
    CONFIG_UNDONE = "config-undone", "af3e5504fd9d53a0b4a2230597736230";
    /// Something stands in the way of what is wanted.
    PROBLEM = "problem", "78f77e427717534eb91a99037ba8b911";
    /// It does no longer.
    PROBLEM_OVER = "problem-over", "5a79bffa99fe5ac4bece243dbc229b70";
    /// An RPKI cache answers.
    RPKI_UP = "rpki-up", "2c2b37b124de5572b69dece60c0ccbe3";
    /// An RPKI cache is lost.
    RPKI_DOWN = "rpki-down", "80f9469876ea52a283538b61ec2c1b4e";
    /// A BMP station is connected.
    BMP_UP = "bmp-up", "971cf718c98f57e59787c10832499e21";
    /// A BMP station is lost.
    BMP_DOWN = "bmp-down", "fec227a6e50f5bee9b1326a84a7529bf";
    /// Somebody has changed something through the API or a command: who, what, and the outcome.
    API_CHANGED = "api-changed", "04d3df054d7f4abd85230b83d69a41d1";
    /// Somebody wanted to, and was refused.
    API_REFUSED = "api-refused", "d35c38fd82fa4acea6e77725a3578c3a";
}

/// The kind of this name.
pub(crate) fn named(name: &str) -> Option<&'static Kind> {
    ALL.iter().find(|kind| kind.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_kind_has_a_name_and_an_identifier_of_its_own() {
        let names: BTreeSet<&str> = ALL.iter().map(|kind| kind.name).collect();
        let ids: BTreeSet<&str> = ALL.iter().map(|kind| kind.message_id).collect();
        assert_eq!((names.len(), ids.len()), (ALL.len(), ALL.len()));
        for kind in ALL {
            let is_hex = |digit: char| digit.is_ascii_hexdigit() && !digit.is_ascii_uppercase();
            assert!(kind.message_id.len() == 32 && kind.message_id.chars().all(is_hex), "{kind:?}");
            assert!(kind.help.ends_with('.'), "{kind:?}");
        }
    }

    /// `UPDATE_GOLDEN=1` writes it anew.
    #[test]
    fn the_reference_lists_them_all() {
        let mut table = String::from(
            "# Events\n\nWhat the daemon says has happened: in the journal, where each kind has a \
             `MESSAGE_ID`, in\n`tidegate events`, and in `/api/v1/events`.\n\n\
             | kind | what has happened | `MESSAGE_ID` |\n| --- | --- | --- |\n",
        );
        table.extend(ALL.iter().map(|Kind { name, message_id, help }| {
            format!("| `{name}` | {} | `{message_id}` |\n", help.trim())
        }));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/events.md");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &table).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), table, "run it with UPDATE_GOLDEN=1");
    }
}
