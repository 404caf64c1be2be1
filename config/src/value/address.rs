//! Addresses, and what else of BGP is typed as a string.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

use tidegate_bgp::types::{Community, LargeCommunity, Prefix, RouterId};

use super::Text;
use crate::diagnostic::quote;

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

/// Where a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Address(IpAddr),
    /// Anywhere in there.
    Range(Prefix),
    /// At the other end of an interface.
    Unnumbered,
}

impl Text for Place {
    fn kind() -> String {
        "an IP address, a prefix for a range of peers, or \"unnumbered\"".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "pattern": "^([0-9A-Fa-f.:]+(/[0-9]{1,3})?|unnumbered)$" })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        if text == "unnumbered" {
            return Ok(Self::Unnumbered);
        }
        let Some((addr, bits)) = text.split_once('/') else {
            return <IpAddr as Text>::parse(text).map(Self::Address);
        };
        let addr = <IpAddr as Text>::parse(addr)?;
        let prefix = bits.parse().ok().and_then(|bits| Prefix::new(addr, bits));
        let Some(prefix) = prefix else {
            let most = Prefix::host(addr).bits();
            let remedy = format!("write a number from 0 to {most} behind the slash");
            return Err((format!("{} is not a prefix", quote(text)), remedy));
        };
        if prefix == Prefix::host(addr) {
            let sentence = format!("{prefix} is a range of one peer");
            return Err((sentence, format!("write \"{addr}\"")));
        }
        if prefix.addr() != addr {
            let sentence = format!("{addr} has bits beyond the first {}", prefix.bits());
            let remedy = format!("write \"{addr}\" for one peer, or \"{prefix}\" for a range");
            return Err((sentence, remedy));
        }
        Ok(Self::Range(prefix))
    }
}

/// What a service is asked at: an address, or all of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Vip(pub(crate) Prefix);

impl From<Vip> for IpAddr {
    fn from(vip: Vip) -> Self {
        vip.0.addr()
    }
}

impl Text for Vip {
    fn kind() -> String {
        "an IP address or a prefix".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "pattern": "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$" })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        if !text.contains('/') {
            return <IpAddr as Text>::parse(text).map(|addr| Self(Prefix::host(addr)));
        }
        let prefix = <Prefix as Text>::parse(text)?;
        let (least, most) = if prefix.addr().is_ipv4() { (8, 31) } else { (16, 127) };
        if prefix == Prefix::host(prefix.addr()) {
            let sentence = format!("{prefix} is one address");
            return Err((sentence, format!("write \"{}\"", prefix.addr())));
        }
        if prefix.bits() < least {
            let sentence = format!("{prefix} is more than a VIP can be");
            return Err((sentence, format!("write a length of {least} to {most}")));
        }
        Ok(Self(prefix))
    }
}

/// Clients by their addresses: a prefix, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Network(pub(crate) Prefix);

impl Text for Network {
    fn kind() -> String {
        "a prefix or an IP address".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "pattern": "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$" })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        if text.contains('/') {
            return <Prefix as Text>::parse(text).map(Self);
        }
        <IpAddr as Text>::parse(text).map(|addr| Self(Prefix::host(addr)))
    }
}

impl Text for Prefix {
    fn kind() -> String {
        "a prefix".to_owned()
    }

    fn keywords() -> serde_json::Value {
        serde_json::json!({ "pattern": "^[0-9A-Fa-f.:]+/[0-9]{1,3}$" })
    }

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let sentence = || format!("{} is not a prefix", quote(text));
        let Some((addr, bits)) = text.split_once('/') else {
            let remedy = "write address and length, such as \"192.0.2.0/24\"".to_owned();
            return Err((sentence(), remedy));
        };
        let addr = <IpAddr as Text>::parse(addr)?;
        let Some(prefix) = bits.parse().ok().and_then(|bits| Self::new(addr, bits)) else {
            let most = Self::host(addr).bits();
            return Err((sentence(), format!("write a number from 0 to {most} behind the slash")));
        };
        if prefix.addr() != addr {
            let sentence = format!("{addr} has bits beyond the first {}", prefix.bits());
            return Err((sentence, format!("write \"{prefix}\"")));
        }
        Ok(prefix)
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
