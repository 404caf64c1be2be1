//! What can stand behind a key: each type with its words, its schema and its reader.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;
use core::time::Duration;
use std::path::{Path, PathBuf};

use schemars::{Schema, SchemaGenerator, json_schema};
use tidegate_bgp::types::{Asn, Community, Family, HoldTime, LargeCommunity, RouterId};
use toml::de::DeValue;

use crate::desired::{Affinity, AttachMode, ForwardingMode, Protocol};
use crate::diagnostic::{Found, did_you_mean, quote};
use crate::read::{Node, Value};

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
            node.wrong::<Self>(found, "write a string, in double quotes");
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

words!(AttachMode: "auto" => Self::Auto, "native" => Self::Native, "generic" => Self::Generic;
    "offload" => "write \"auto\": running on the card comes in a later version");
words!(Protocol: "tcp" => Self::Tcp, "udp" => Self::Udp);
words!(ForwardingMode: "ipip" => Self::Ipip, "l2" => Self::L2);
words!(Affinity: "5-tuple" => Self::FiveTuple, "client-address" => Self::ClientAddress);
words!(Family: "ipv4-unicast" => Self::Ipv4Unicast, "ipv6-unicast" => Self::Ipv6Unicast);
words!(ProbeKind: "tcp" => Self::Tcp, "http" => Self::Http;
    "https" => "write \"http\" or \"tcp\": checks over TLS come in a later version");

/// What a health check speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeKind {
    Tcp,
    Http,
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

impl Text for IpAddr {
    fn kind() -> String {
        "an IP address".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let sentence = || format!("{} is not an IP address", quote(text));
        let Ok(addr) = Self::from_str(text) else {
            return Err((sentence(), address_remedy(text)));
        };
        match addr {
            Self::V6(v6) if let Some(v4) = v6.to_ipv4_mapped() => {
                let sentence = format!("{v6} is an IPv4 address written as IPv6");
                Err((sentence, format!("write \"{v4}\"")))
            }
            Self::V4(_) | Self::V6(_) => Ok(addr),
        }
    }
}

/// What was probably meant by a text that is no address.
fn address_remedy(text: &str) -> String {
    let before = |separator| text.split_once(separator).map_or("", |(before, _)| before);
    let is_address = |text: &str| IpAddr::from_str(text).is_ok();
    if is_address(before('/')) {
        format!("write \"{}\", without a prefix length", before('/'))
    } else if let Ok(socket) = SocketAddr::from_str(text) {
        format!("write \"{}\", without a port", socket.ip())
    } else if is_address(before('%')) {
        "write an address without a zone: link-local addresses are not possible here".to_owned()
    } else {
        "write an address such as \"192.0.2.1\" or \"2001:db8::1\"; names are not looked up"
            .to_owned()
    }
}

impl Text for Ipv4Addr {
    fn kind() -> String {
        "an IPv4 address".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "format": "ipv4" })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        match <IpAddr as Text>::parse(text)? {
            IpAddr::V4(v4) => Ok(v4),
            IpAddr::V6(v6) => {
                let remedy = "write an address such as \"192.0.2.1\"";
                Err((format!("{v6} is not an IPv4 address"), remedy.to_owned()))
            }
        }
    }
}

impl Text for Ipv6Addr {
    fn kind() -> String {
        "an IPv6 address".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "format": "ipv6" })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        // An IPv4-mapped address gets the same answer as an IPv4 address: the remedy of the other
        // parser, "write it as IPv4", would be wrong here.
        match Self::from_str(text) {
            Ok(v6) if v6.to_ipv4_mapped().is_none() => Ok(v6),
            Ok(_) => Err((
                format!("{} is an IPv4 address written as IPv6", quote(text)),
                "write an IPv6 address such as \"2001:db8::1\"".to_owned(),
            )),
            Err(_) => Err((
                format!("{} is not an IPv6 address", quote(text)),
                match IpAddr::from_str(text) {
                    Ok(_) => "write an IPv6 address such as \"2001:db8::1\"".to_owned(),
                    Err(_) => address_remedy(text),
                },
            )),
        }
    }
}

impl Text for SocketAddr {
    fn kind() -> String {
        "an address with port".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "pattern": ":[0-9]+$" })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let remedy = match IpAddr::from_str(text) {
            Ok(IpAddr::V4(v4)) => format!("add a port, such as \"{v4}:8080\""),
            Ok(IpAddr::V6(v6)) => format!("add a port, such as \"[{v6}]:8080\""),
            Err(_) => "write it like \"192.0.2.1:8080\" or \"[2001:db8::1]:8080\"".to_owned(),
        };
        match Self::from_str(text) {
            Ok(socket) if socket.port() != 0 => Ok(socket),
            Ok(_) => Err(("port 0 is nowhere".to_owned(), "write 1 to 65535".to_owned())),
            Err(_) => Err((format!("{} is not an address with port", quote(text)), remedy)),
        }
    }
}

/// Where BGP listens: an address whose port may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BgpListen(pub(crate) SocketAddr);

impl Text for BgpListen {
    fn kind() -> String {
        "an address, with port unless it is 179".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({})
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        match IpAddr::from_str(text) {
            Ok(addr) => Ok(Self(SocketAddr::new(addr, 179))),
            Err(_) => <SocketAddr as Text>::parse(text).map(Self),
        }
    }
}

impl Text for RouterId {
    fn kind() -> String {
        "an IPv4 address".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "format": "ipv4" })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let remedy = "write four octets that no other router of the AS uses, such as \"192.0.2.1\"";
        let Ok(addr) = Ipv4Addr::from_str(text) else {
            return Err((format!("{} is not a router ID", quote(text)), remedy.to_owned()));
        };
        Self::new(addr)
            .ok_or_else(|| ("0.0.0.0 is not a router ID (RFC 6286)".to_owned(), remedy.to_owned()))
    }
}

/// The parts of an error that is a sentence saying what belongs there.
fn from_error(text: &str, what: &str, error: impl core::fmt::Display) -> (String, String) {
    (format!("{} is not {what}", quote(text)), error.to_string())
}

impl Text for Community {
    fn kind() -> String {
        "a community".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "examples": ["65001:100", "no-export"] })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        Self::from_str(text).map_err(|error| from_error(text, "a community", error))
    }
}

impl Text for LargeCommunity {
    fn kind() -> String {
        "a large community".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "pattern": "^[0-9]+:[0-9]+:[0-9]+$" })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        Self::from_str(text).map_err(|error| from_error(text, "a large community", error))
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

/// A duration of `MIN` to `MAX` milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span<const MIN: u64, const MAX: u64>(pub(crate) Duration);

/// Units by size. `ms` stands before `m`: the first that fits is taken.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];

/// `1m30s` and the like, in milliseconds.
fn parse_millis(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let (name, millis) = UNITS.iter().find(|(name, _)| tail.starts_with(name))?;
        let part = number.parse::<u64>().ok()?.checked_mul(*millis)?;
        total = total.checked_add(part)?;
        rest = tail.get(name.len()..)?;
    }
    (!text.is_empty()).then_some(total)
}

/// A duration as one would type it.
pub(crate) fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    let unit = [("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    match unit.iter().find(|(_, size)| millis >= *size && millis.is_multiple_of(*size)) {
        Some((name, size)) => format!("{}{name}", millis / size),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

/// The duration behind a key.
fn read_millis<T: Value>(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<u64> {
    match node.value {
        DeValue::String(text) => {
            let millis = parse_millis(text);
            if millis.is_none() {
                let remedy = "write whole numbers with the units h, m, s, ms, such as \"1m30s\"";
                node.bad(found, format!("{} is not a duration", quote(text)), remedy);
            }
            millis
        }
        DeValue::Integer(number) => {
            let remedy = format!("write it with a unit, in quotes: \"{}s\"", number.as_str());
            node.bad(found, "a duration needs a unit".to_owned(), remedy);
            None
        }
        _ => {
            node.wrong::<T>(found, "write a string with a unit, such as \"10s\"");
            None
        }
    }
}

fn duration_schema() -> Schema {
    json_schema!({ "type": "string", "pattern": "^([0-9]+(ms|h|m|s))+$" })
}

impl<const MIN: u64, const MAX: u64> Value for Span<MIN, MAX> {
    fn kind() -> String {
        let text = |millis| duration_text(Duration::from_millis(millis));
        format!("a duration from {} to {}", text(MIN), text(MAX))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        duration_schema()
    }

    fn read(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<Self> {
        let millis = read_millis::<Self>(node, found)?;
        let text = |millis| duration_text(Duration::from_millis(millis));
        if millis < MIN || millis > MAX {
            let bound = if millis < MIN { "shorter than" } else { "longer than" };
            let limit = if millis < MIN { MIN } else { MAX };
            let sentence = format!("{} is {bound} {}", text(millis), text(limit));
            node.bad(found, sentence, format!("write {} to {}", text(MIN), text(MAX)));
            return None;
        }
        Some(Self(Duration::from_millis(millis)))
    }
}

impl Value for HoldTime {
    fn kind() -> String {
        "a duration in whole seconds, \"0s\" or from 3s".to_owned()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        duration_schema()
    }

    fn read(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<Self> {
        let millis = read_millis::<Self>(node, found)?;
        let remedy = "write \"0s\" for a session that never times out, or \"3s\" to \"65535s\"";
        let secs = millis.is_multiple_of(1000).then(|| u16::try_from(millis / 1000).ok()).flatten();
        let Some(secs) = secs else {
            let typed = duration_text(Duration::from_millis(millis));
            let sentence = format!("a hold time is whole seconds up to 65535, not {typed}");
            node.bad(found, sentence, remedy);
            return None;
        };
        Self::from_secs(secs).map_err(|bad| node.bad(found, bad.to_string(), remedy)).ok()
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Int<T, const MIN: u64, const MAX: u64>(pub(crate) T);

/// A port.
pub(crate) type Port = Int<u16, 1, 65_535>;

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
            node.wrong::<Self>(found, remedy);
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
            node.wrong::<Self>(found, "write true or false, without quotes");
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
                node.wrong::<Self>(found, &remedy);
                return None;
            }
            _ => {
                node.wrong::<Self>(found, "write a number such as 65001");
                return None;
            }
        };
        let parsed = text.parse::<Self>();
        parsed
            .map_err(|bad| {
                node.bad(found, format!("{text:.40} is not an AS number"), bad.to_string())
            })
            .ok()
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
