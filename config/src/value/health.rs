//! Values of health checks.

use core::ops::RangeInclusive;

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::{Int, Text, alternatives, not_a_word};
use crate::desired::{DnsRcode, DnsType, Method};
use crate::diagnostic::{Found, quote};
use crate::read::{Node, Value};

words!(ProbeKind: "tcp" => Self::Tcp, "http" => Self::Http, "https" => Self::Https,
    "grpc" => Self::Grpc, "udp" => Self::Udp, "dns" => Self::Dns, "icmp" => Self::Icmp;
    "ping" => "write \"icmp\"",
    "tls" => "write \"https\", or \"tcp\" to ask only whether the port is open");
words!(Method: "GET" => Self::Get, "HEAD" => Self::Head, "OPTIONS" => Self::Options);
words!(DnsType: "A" => Self::A, "AAAA" => Self::Aaaa, "NS" => Self::Ns, "SOA" => Self::Soa,
    "PTR" => Self::Ptr, "MX" => Self::Mx, "TXT" => Self::Txt, "SRV" => Self::Srv);
words!(DnsRcode: "NOERROR" => Self::NoError, "NXDOMAIN" => Self::NxDomain,
    "REFUSED" => Self::Refused);

/// The way that a health check goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ViaWord {
    Direct,
    Tunnel,
}

words!(ViaWord: "direct" => Self::Direct, "tunnel" => Self::Tunnel);

/// What a health check speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeKind {
    Tcp,
    Http,
    Https,
    Grpc,
    Udp,
    Dns,
    Icmp,
}

impl ProbeKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Https => "https",
            Self::Grpc => "grpc",
            Self::Udp => "udp",
            Self::Dns => "dns",
            Self::Icmp => "icmp",
        }
    }
}

/// HTTP statuses, ascending, without overlap: equal sets are equal values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statuses(pub(crate) Vec<RangeInclusive<u16>>);

type Status = Int<u16, 100, 599>;

impl Statuses {
    fn of(mut ranges: Vec<RangeInclusive<u16>>) -> Self {
        ranges.sort_unstable_by_key(|range| *range.start());
        let mut joined: Vec<RangeInclusive<u16>> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => joined.push(range),
            }
        }
        Self(joined)
    }
}

impl Value for Statuses {
    fn kind() -> String {
        format!("{}, a range such as \"200-399\", or a list of these", Status::kind())
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let status = Status::schema(generator);
        let range = json_schema!({ "type": "string", "pattern": "^[1-5][0-9]{2}-[1-5][0-9]{2}$" });
        let items = json_schema!({ "anyOf": [status, range] });
        let list = json_schema!({ "type": "array", "items": items, "minItems": 1 });
        json_schema!({ "anyOf": [status, range, list] })
    }

    fn read(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<Self> {
        match node.value {
            DeValue::Array(array) if array.is_empty() => {
                let sentence = "no status at all would mean that no backend is healthy".to_owned();
                node.bad(found, sentence, "write those that mean healthy, such as [200, 204]");
                None
            }
            DeValue::Array(array) => {
                let ranges: Vec<_> = array
                    .iter()
                    .enumerate()
                    .map(|(index, element)| {
                        let key = format!("{}[{}]", node.key, index + 1);
                        let node = Node { value: element.get_ref(), span: element.span(), key };
                        range(&node, found)
                    })
                    .collect();
                ranges.into_iter().collect::<Option<_>>().map(Self::of)
            }
            _ => range(node, found).map(|range| Self(vec![range])),
        }
    }
}

fn range(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<RangeInclusive<u16>> {
    let Some(text) = node.value.as_str() else {
        return Status::read(node, found).map(|status| status.0..=status.0);
    };
    let status = |text: &str| text.parse().ok().filter(|status| (100..=599).contains(status));
    let ends = text.split_once('-').map(|(first, last)| (status(first), status(last)));
    if let Some((Some(first), Some(last))) = ends
        && first <= last
    {
        return Some(first..=last);
    }
    let sentence = format!("{} is no range of statuses", quote(text));
    node.bad(found, sentence, "write the lowest and the highest, of 100 to 599: \"200-399\"");
    None
}

/// A text that an answer shall hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BodyText(pub(crate) String);

impl Text for BodyText {
    fn kind() -> String {
        "a text of 1 to 1024 bytes".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "minLength": 1, "maxLength": 1024 })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        if (1..=1024).contains(&text.len()) {
            return Ok(Self(text.to_owned()));
        }
        let sentence = format!("a text of {} bytes cannot be looked for", text.len());
        Err((sentence, "write 1 to 1024 bytes".to_owned()))
    }
}

/// Octets of a datagram, as text or as `hex:` and digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payload(pub(crate) Vec<u8>);

impl Text for Payload {
    fn kind() -> String {
        "a text of 1 to 1024 bytes, or \"hex:…\" with two digits for each byte".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "minLength": 1, "maxLength": 2052 })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let octets = match text.strip_prefix("hex:") {
            None => Some(text.as_bytes().to_vec()),
            Some(digits) => digits
                .as_bytes()
                .chunks(2)
                .map(|pair| {
                    let digits = str::from_utf8(pair).ok().filter(|digits| {
                        digits.len() == 2 && digits.bytes().all(|c| c.is_ascii_hexdigit())
                    })?;
                    u8::from_str_radix(digits, 16).ok()
                })
                .collect(),
        };
        octets.filter(|octets| (1..=1024).contains(&octets.len())).map(Self).ok_or_else(|| {
            let remedy = "write 1 to 1024 bytes: \"PING\", or in digits \"hex:50494e47\"";
            (format!("{} is no payload", quote(text)), remedy.to_owned())
        })
    }
}

/// A name in the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DnsName(pub(crate) String);

impl Text for DnsName {
    fn kind() -> String {
        "a domain name".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "pattern": "^[A-Za-z0-9._-]{1,253}$" })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let fine = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
        let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(fine);
        let labels = text.strip_suffix('.').unwrap_or(text);
        if text == "." || (text.len() <= 253 && labels.split('.').all(is_label)) {
            return Ok(Self(text.to_owned()));
        }
        let remedy = "write a name such as \"www.example.net\", of labels of at most 63 characters";
        Err((format!("{} is no domain name", quote(text)), remedy.to_owned()))
    }
}

/// The name of a gRPC service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GrpcService(pub(crate) String);

impl Text for GrpcService {
    fn kind() -> String {
        "the name of a gRPC service".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "pattern": "^[!-~]{1,127}$" })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        if (1..=127).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        let remedy = "write at most 127 characters, such as \"shop.Cart\"; leave the key out to ask \
                      for the server as a whole";
        Err((format!("{} is no gRPC service", quote(text)), remedy.to_owned()))
    }
}
