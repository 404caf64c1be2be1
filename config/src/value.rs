//! What can stand behind a key: each type with its words, its schema and its reader.

mod address;
mod duration;
mod port_range;
mod server_id;

use std::path::{Path, PathBuf};

use schemars::{Schema, SchemaGenerator, json_schema};
use tidegate_bgp::types::{Asn, Family};
use tidegate_bgp::wire::Role;
use toml::de::DeValue;

use crate::desired::{
    AllDown, AoAlgorithm, AttachMode, BmpView, ForwardingMode, Protocol, UdpFlows,
};
use crate::diagnostic::{Found, did_you_mean, quote};
use crate::read::{Node, Value};

pub(crate) use address::{BgpListen, Network, Place, Vip};
pub(crate) use duration::{Span, duration_text};
pub(crate) use health::{BodyText, DnsName, GrpcService, Payload, ProbeKind, Statuses, ViaWord};
pub(crate) use policy::{CommunityPattern, Then};
pub(crate) use port_range::PortRange;

/// A value that is typed as a string.
pub(crate) trait Text: Sized {
    /// The type in a few words.
    fn kind() -> String;

    /// Keywords of its schema beside `"type": "string"`, as a JSON object.
    fn keywords() -> serde_json::Value;

    /// # Errors
    /// Sentence and remedy.
    fn parse(text: &str) -> Result<Self, (String, String)>;
}

impl<T: Text> Value for T {
    fn kind() -> String {
        <T as Text>::kind()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "string" });
        if let serde_json::Value::Object(keywords) = T::keywords() {
            schema.ensure_object().extend(keywords);
        }
        schema
    }

    fn read(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<Self> {
        let DeValue::String(text) = node.value else {
            node.wrong(found, &<Self as Text>::kind(), "write a string, in double quotes");
            return None;
        };
        let parsed = T::parse(text);
        parsed.map_err(|(sentence, remedy)| node.bad(found, sentence, remedy)).ok()
    }
}

/// A [`Text`] that is one of a few words.
macro_rules! words {
    ($ty:ty: $($word:literal => $value:expr),+ $(; $($hint:literal => $remedy:literal),+)?) => {
        impl Text for $ty {
            fn kind() -> String {
                alternatives(&[$($word),+])
            }

            fn keywords() -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),+] })
            }

            fn parse(text: &str) -> Result<Self, (String, String)> {
                match text {
                    $($word => Ok($value),)+
                    $($($hint => Err((format!("{text:?} is not possible"), $remedy.to_owned())),)+)?
                    _ => Err(not_a_word(text, &[$($word),+])),
                }
            }
        }
    };
}

mod health;
mod policy;

words!(AttachMode: "auto" => Self::Auto, "native" => Self::Native, "generic" => Self::Generic;
    "offload" => "write \"auto\": running on the card comes in a later version");
words!(Protocol: "tcp" => Self::Tcp, "udp" => Self::Udp, "sctp" => Self::Sctp);
words!(AoAlgorithm: "hmac-sha-1-96" => Self::HmacSha1, "aes-128-cmac-96" => Self::Aes128Cmac);
words!(ForwardingMode: "ipip" => Self::Ipip, "gue" => Self::Gue, "l2" => Self::L2,
    "nat" => Self::Nat);
words!(AffinityKind: "5-tuple" => Self::FiveTuple, "client-address" => Self::ClientAddress,
    "client-prefix" => Self::ClientPrefix, "quic" => Self::Quic);
words!(BmpView: "pre-policy" => Self::PrePolicy, "post-policy" => Self::PostPolicy,
    "loc-rib" => Self::LocRib, "adj-rib-out" => Self::AdjRibOut);
words!(UdpFlows: "hash" => Self::Hashed, "flow" => Self::Remembered);
words!(AllDown: "fail-closed" => Self::FailClosed, "fail-open" => Self::FailOpen);
words!(Family: "ipv4-unicast" => Self::Ipv4Unicast, "ipv6-unicast" => Self::Ipv6Unicast,
    "ipv4-flowspec" => Self::Ipv4Flowspec, "ipv6-flowspec" => Self::Ipv6Flowspec);
words!(Role: "provider" => Self::Provider, "customer" => Self::Customer, "peer" => Self::Peer,
    "rs" => Self::RouteServer, "rs-client" => Self::RouteServerClient);

/// What keeps a client on one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AffinityKind {
    FiveTuple,
    ClientAddress,
    ClientPrefix,
    Quic,
}

fn alternatives(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

fn not_a_word(text: &str, words: &[&str]) -> (String, String) {
    let all = alternatives(words);
    let remedy = match did_you_mean(text, words.iter().copied()) {
        Some(meant) => format!("did you mean {meant:?}? It can be {all}"),
        None => format!("write {all}"),
    };
    (format!("{} is not known here", quote(text)), remedy)
}

/// A name of a peer or service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) String);

/// Whether a text can be a name: it stands in paths, metrics and commands without quotes.
pub(crate) fn is_name(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    first && text.len() <= 63 && text.chars().all(rest)
}

impl Text for Name {
    fn kind() -> String {
        "a name".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        if is_name(text) {
            return Ok(Self(text.to_owned()));
        }
        let remedy = "use 1 to 63 letters, digits, -, _ and ., beginning with a letter or digit";
        Err((format!("{} cannot be a name", quote(text)), remedy.to_owned()))
    }
}

/// What the other side's operator is told (RFC 9003).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShutdownText(pub(crate) String);

impl Text for ShutdownText {
    fn kind() -> String {
        "a text of 1 to 255 bytes".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "minLength": 1, "maxLength": 255 })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        if text.is_empty() {
            let remedy = "write why the session is down, or remove the key to let it up";
            return Err(("an empty text says nothing".to_owned(), remedy.to_owned()));
        }
        if text.len() > 255 || text.chars().any(char::is_control) {
            let remedy = "write one line of at most 255 bytes";
            return Err((format!("{} cannot be sent", quote(text)), remedy.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A common name of a certificate's subject (RFC 5280, appendix A.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CommonName(pub(crate) String);

impl Text for CommonName {
    fn kind() -> String {
        "a common name".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "minLength": 1, "maxLength": 64 })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        if (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
            return Ok(Self(text.to_owned()));
        }
        let remedy = "write what stands behind CN= in the subject, 1 to 64 characters";
        Err((format!("{} cannot be a common name", quote(text)), remedy.to_owned()))
    }
}

/// A network interface by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Interface(pub(crate) String);

impl Text for Interface {
    fn kind() -> String {
        "an interface name".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "pattern": "^[^/:\\s]{1,15}$" })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        // What the kernel accepts as a name, in printable ASCII.
        let fine = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
        if (1..=15).contains(&text.len()) && text.chars().all(fine) && text != "." && text != ".." {
            return Ok(Self(text.to_owned()));
        }
        let remedy = "write a name as `ip link` shows it, 1 to 15 characters, such as \"eth0\"";
        Err((format!("{} cannot be an interface", quote(text)), remedy.to_owned()))
    }
}

/// An absolute path: the daemon's working directory is nobody's business.
impl Text for PathBuf {
    fn kind() -> String {
        "an absolute path".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "pattern": "^/" })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        if text.contains('\0') {
            let sentence = format!("{} holds a NUL character", quote(text));
            return Err((sentence, "remove it".to_owned()));
        }
        if Path::new(text).is_absolute() {
            return Ok(Self::from(text));
        }
        let remedy = "write the whole path, beginning with /".to_owned();
        Err((format!("{} is not an absolute path", quote(text)), remedy))
    }
}

/// Path and query of an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpPath(pub(crate) String);

impl Text for HttpPath {
    fn kind() -> String {
        "an HTTP path".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "pattern": "^/[!-~]*$" })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let sentence = || format!("{} cannot be requested", quote(text));
        if !text.starts_with('/') {
            return Err((sentence(), "begin the path with /".to_owned()));
        }
        let fine = |c: char| c.is_ascii_graphic() && c != '#';
        if text.len() > 1024 || !text.chars().all(fine) {
            let remedy =
                "use at most 1024 visible ASCII characters without #; escape others as %XX";
            return Err((sentence(), remedy.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A Host header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpHost(pub(crate) String);

impl Text for HttpHost {
    fn kind() -> String {
        "a host name".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "pattern": "^[A-Za-z0-9._:\\[\\]-]{1,255}$" })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let fine =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '[' | ']' | '-');
        if (1..=255).contains(&text.len()) && text.chars().all(fine) {
            return Ok(Self(text.to_owned()));
        }
        let remedy = "write a host, with port if need be, such as \"www.example.net\"".to_owned();
        Err((format!("{} is not a host", quote(text)), remedy))
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Int<T, const MIN: u64, const MAX: u64>(pub(crate) T);

/// Fewest healthy backends: so many, or so large a part of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MinHealthy {
    Count(u32),
    Percent(u32),
}

/// What a number of backends can be.
type BackendCount = Int<u32, 1, 16_383>;

impl MinHealthy {
    /// So many of `backends`, rounded up and at least one.
    pub(crate) fn of(self, backends: usize) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                let backends = u32::try_from(backends).unwrap_or(u32::MAX);
                backends.saturating_mul(percent).div_ceil(100).max(1)
            }
        }
    }
}

impl Value for MinHealthy {
    fn kind() -> String {
        format!("{}, or a share such as \"50%\"", BackendCount::kind())
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let count = BackendCount::schema(generator);
        let percent = json_schema!({ "type": "string", "pattern": "^([1-9][0-9]?|100)%$" });
        json_schema!({ "anyOf": [count, percent] })
    }

    fn read(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<Self> {
        let DeValue::String(text) = node.value else {
            return BackendCount::read(node, found).map(|count| Self::Count(count.0));
        };
        let percent = text.strip_suffix('%').and_then(|number| number.parse().ok());
        let percent = percent.filter(|percent| (1..=100).contains(percent));
        if percent.is_none() {
            let sentence = format!("{} is no share", quote(text));
            node.bad(found, sentence, "write \"1%\" to \"100%\", or a number of backends");
        }
        percent.map(Self::Percent)
    }
}

/// A port.
pub(crate) type Port = Int<u16, 1, 65_535>;

/// The ports of a service, first and last; 0 stands for every port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServicePort {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl Value for ServicePort {
    fn kind() -> String {
        format!("{}, a range such as \"8000-8100\", or \"any\"", Port::kind())
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let port = Port::schema(generator);
        let range = json_schema!({ "type": "string", "pattern": "^[0-9]{1,5}-[0-9]{1,5}$" });
        json_schema!({ "anyOf": [port, range, { "const": "any" }] })
    }

    fn read(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<Self> {
        let Some(text) = node.value.as_str() else {
            return Port::read(node, found).map(|port| Self { first: port.0, last: port.0 });
        };
        if text == "any" {
            return Some(Self { first: 0, last: 0 });
        }
        let Some((first, last)) = text.split_once('-') else {
            let is_port = text.parse::<u16>().is_ok();
            let remedy = if is_port { "remove the quotes" } else { "write a port or a range" };
            node.wrong(found, &Self::kind(), remedy);
            return None;
        };
        let port = |text: &str| text.trim().parse().ok().filter(|port: &u16| *port > 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first < last => Some(Self { first, last }),
            _ => {
                let sentence = format!("{} is no range of ports", quote(text));
                let remedy = "write the lower and the higher port, of 1 to 65535: \"8000-8100\"";
                node.bad(found, sentence, remedy);
                None
            }
        }
    }
}

impl<T: TryFrom<u64>, const MIN: u64, const MAX: u64> Value for Int<T, MIN, MAX> {
    fn kind() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }

    fn read(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<Self> {
        let DeValue::Integer(number) = node.value else {
            let quoted = node.value.as_str().is_some_and(|text| text.parse::<u64>().is_ok());
            let remedy = if quoted { "remove the quotes" } else { "write a whole number" };
            node.wrong(found, &Self::kind(), remedy);
            return None;
        };
        let value = i128::from_str_radix(number.as_str(), number.radix()).ok();
        let in_range = value.and_then(|value| u64::try_from(value).ok());
        let in_range = in_range.filter(|value| (MIN..=MAX).contains(value));
        if let Some(value) = in_range.and_then(|value| T::try_from(value).ok()) {
            return Some(Self(value));
        }
        let below = value.is_some_and(|value| value < i128::from(MIN));
        let bound = if below { format!("less than {MIN}") } else { format!("more than {MAX}") };
        let typed: String = number.to_string().chars().take(40).collect();
        node.bad(found, format!("{typed} is {bound}"), format!("write {MIN} to {MAX}"));
        None
    }
}

impl Value for bool {
    fn kind() -> String {
        "true or false".to_owned()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "boolean" })
    }

    fn read(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<Self> {
        let value = node.value.as_bool();
        if value.is_none() {
            node.wrong(found, &Self::kind(), "write true or false, without quotes");
        }
        value
    }
}

impl Value for Asn {
    fn kind() -> String {
        "an AS number".to_owned()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": u32::MAX },
            { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?$" },
        ] })
    }

    fn read(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<Self> {
        let text = match node.value {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => {
                let remedy = format!("put asdot in quotes: \"{}\"", number.as_str());
                node.wrong(found, &Self::kind(), &remedy);
                return None;
            }
            _ => {
                node.wrong(found, &Self::kind(), "write a number such as 65001");
                return None;
            }
        };
        let parsed = text.parse::<Self>();
        let sentence = || format!("{text:.40} is not an AS number");
        parsed.map_err(|bad| node.bad(found, sentence(), bad.to_string())).ok()
    }
}

/// The seed of the flow hash: an integer, or 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(pub(crate) u64);

impl Value for Seed {
    fn kind() -> String {
        "a 64-bit number, or a string of hexadecimal digits".to_owned()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 0, "maximum": u64::MAX },
            { "type": "string", "pattern": "^(0x)?[0-9A-Fa-f]{1,16}$" },
        ] })
    }

    fn read(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<Self> {
        let seed = match node.value {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            DeValue::String(text) => {
                let digits = text.strip_prefix("0x").unwrap_or(text);
                let hex = digits.chars().all(|c| c.is_ascii_hexdigit());
                hex.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
            }
            _ => None,
        };
        if seed.is_none() {
            let remedy = "write a number from 0 to 18446744073709551615, or \"0x\" and up to 16 \
                          hexadecimal digits";
            node.bad(found, "this is not a 64-bit number".to_owned(), remedy);
        }
        seed.map(Self)
    }
}

/// The only version of the file's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version;

impl Value for Version {
    fn kind() -> String {
        "1".to_owned()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "const": 1 })
    }

    fn read(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<Self> {
        let one = node.value.as_integer().is_some_and(|number| number.as_str() == "1");
        if !one {
            let remedy = "write version = 1, or use a tidegate that knows this version of the file";
            node.bad(found, "this version of the file is not known".to_owned(), remedy);
        }
        one.then_some(Self)
    }
}
