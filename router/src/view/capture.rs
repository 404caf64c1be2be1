//! Which packets somebody captures, as the API and the command line ask for them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_abi::{CAPTURE_SNAP_MAX, Counter, ip_proto};
use tidegate_bgp::types::Prefix;
use tidegate_plan::capture::{self, verdicts};
use utoipa::IntoParams;

use super::flow::network;

/// How long without a word of it.
pub const SECONDS: u32 = 10;
/// And at most.
pub const SECONDS_MAX: u32 = 3_600;
/// Packets, likewise.
pub const COUNT: u64 = 10_000;
/// And at most.
pub const COUNT_MAX: u64 = 1_000_000;
/// Bytes of each frame, likewise: all headers, and little of what is inside.
pub const SNAP: u32 = 256;

/// Which packets, and how many of them. `?vip=web&verdict=dropped&seconds=30`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// To the address of this service, by name, or to this VIP; and what is answered from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
    /// To this address or prefix, a VIP or not; in the place of `vip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// From this address or prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `tcp`, `udp`, `sctp`, `icmp` or `icmpv6`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// To this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `forwarded`, `dropped`, `answered` or `passed` (to the host).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The counter that they moved, such as `drop_no_service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<String>,
    /// So long, 10 without, 3600 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    /// So many at most, 10000 without, 1000000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The first bytes of each frame, 256 without, 4096 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snap: Option<u32>,
}

/// What is asked for, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// A service or a VIP, by what it is called.
    pub vip: Option<String>,
    /// The rest.
    pub wanted: capture::Wanted,
    /// How long.
    pub within: Duration,
    /// How many.
    pub count: u64,
    /// All of it, as it was asked.
    pub words: String,
}

impl Wanted {
    /// What it means.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn asked(&self) -> Result<Asked, String> {
        if self.vip.is_some() && self.to.is_some() {
            return Err("vip and to are both where packets go: leave one of them out".into());
        }
        let prefix = |name: &str, given: &Option<String>| match given {
            None => Ok(None),
            Some(text) => match network(text) {
                Some(prefix) => Ok(Some(prefix)),
                None => Err(format!("{name} is an address or a prefix, not {text:?}")),
            },
        };
        let bounded = |name: &str, given: u64, most: u64| match given {
            number if (1..=most).contains(&number) => Ok(number),
            number => Err(format!("{name} is from 1 to {most}, not {number}")),
        };
        let snap_max = CAPTURE_SNAP_MAX as u64;
        let seconds = self.seconds.unwrap_or(SECONDS).into();
        let wanted = capture::Wanted {
            vip: prefix("to", &self.to)?,
            from: prefix("from", &self.from)?,
            proto: self.protocol.as_deref().map(protocol).transpose()?,
            port: self.port,
            verdicts: self.verdicts()?,
            snap: bounded("snap", self.snap.unwrap_or(SNAP).into(), snap_max)
                .and_then(|snap| u32::try_from(snap).map_err(|error| error.to_string()))?,
        };
        Ok(Asked {
            vip: self.vip.clone(),
            wanted,
            within: Duration::from_secs(bounded("seconds", seconds, SECONDS_MAX.into())?),
            count: bounded("count", self.count.unwrap_or(COUNT), COUNT_MAX)?,
            words: self.words(),
        })
    }

    fn verdicts(&self) -> Result<u64, String> {
        let of_name = verdicts(self.verdict.as_deref());
        if let Some(name) = self.verdict.as_ref().filter(|_| of_name == 0) {
            let names = "forwarded, dropped, answered, passed";
            return Err(format!("verdict is one of {names}, not {name:?}"));
        }
        let Some(name) = &self.counter else { return Ok(of_name) };
        let found = Counter::ALL.iter().find(|it| it.name() == name && !it.is_event());
        let Some(found) = found else {
            let counters = Counter::ALL.iter().filter(|it| !it.is_event());
            let names: Vec<&str> = counters.map(|it| it.name()).collect();
            return Err(format!("counter is one of {}, not {name:?}", names.join(", ")));
        };
        match of_name & 1 << (*found as u32) {
            0 => Err(format!("no packet that moves {name} is called so by its verdict")),
            bit => Ok(bit),
        }
    }

    /// `vip=web verdict=dropped`
    fn words(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        let pairs = value.as_object().into_iter().flatten().map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{name}={text}")
        });
        pairs.collect::<Vec<_>>().join(" ")
    }
}

fn protocol(name: &str) -> Result<u8, String> {
    const NAMES: [(&str, u8); 5] = [
        ("tcp", ip_proto::TCP),
        ("udp", ip_proto::UDP),
        ("sctp", ip_proto::SCTP),
        ("icmp", ip_proto::ICMP),
        ("icmpv6", ip_proto::ICMPV6),
    ];
    let found = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let names = NAMES.map(|(known, _)| known).join(", ");
    found.map(|(_, proto)| *proto).ok_or(format!("protocol is one of {names}, not {name:?}"))
}

/// The VIP that somebody means, of those that there are: each a service's name and its addresses.
///
/// # Errors
/// There is none: which there are.
pub fn vip_of<'a>(
    asked: &str,
    all: impl Iterator<Item = (&'a str, Prefix)> + Clone,
) -> Result<Prefix, String> {
    const SHOWN: usize = 10;
    if let Some((_, prefix)) = all.clone().find(|(name, _)| *name == asked) {
        return Ok(prefix);
    }
    let lies_in = |inner: Prefix, outer: Prefix| {
        inner.bits() >= outer.bits() && Prefix::new(inner.addr(), outer.bits()) == Some(outer)
    };
    if let Some(prefix) = network(asked)
        && all.clone().any(|(_, vip)| lies_in(prefix, vip))
    {
        return Ok(prefix);
    }
    let mut names: Vec<String> =
        all.clone().take(SHOWN).map(|(name, vip)| format!("{name} ({vip})")).collect();
    let more = all.count().saturating_sub(SHOWN);
    if more > 0 {
        names.push(format!("{more} more ('tidegate vips')"));
    }
    Err(format!("there is no service and no VIP {asked:?}, but {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_understood_or_named() {
        let asked = Wanted::default().asked().unwrap();
        assert_eq!((asked.within, asked.count), (Duration::from_secs(10), COUNT));
        assert_eq!((asked.wanted.verdicts, asked.wanted.snap), (verdicts(None), SNAP));
        let some = |text: &str| Some(text.to_owned());
        let drops = Wanted { vip: some("web"), verdict: some("dropped"), ..Wanted::default() };
        let asked = drops.asked().unwrap();
        assert_eq!(asked.wanted.verdicts, Counter::DROPS);
        assert_eq!(asked.words, "verdict=dropped vip=web");
        let one = Wanted { counter: some("drop_no_service"), ..drops.clone() };
        assert_eq!(one.asked().unwrap().wanted.verdicts, 1 << Counter::DropNoService as u32);
        let mistakes = [
            (Wanted { to: some("192.0.2.1"), ..drops.clone() }, "both where packets go"),
            (Wanted { verdict: some("lost"), ..drops.clone() }, "verdict is one of"),
            (Wanted { counter: some("flow_table_full"), ..drops.clone() }, "counter is one of"),
            (Wanted { counter: some("echo_reply"), ..drops.clone() }, "no packet that moves"),
            (Wanted { from: some("web"), ..drops.clone() }, "from is an address"),
            (Wanted { protocol: some("ipv4"), ..drops.clone() }, "protocol is one of tcp"),
            (Wanted { seconds: Some(0), ..drops.clone() }, "seconds is from 1 to 3600"),
            (Wanted { count: Some(2_000_000), ..drops.clone() }, "count is from 1 to 1000000"),
            (Wanted { snap: Some(4_097), ..drops }, "snap is from 1 to 4096"),
        ];
        for (wanted, sentence) in mistakes {
            let said = wanted.asked().unwrap_err();
            assert!(said.contains(sentence), "{said}");
        }
    }

    #[test]
    fn a_vip_is_meant_by_the_name_of_its_service_or_an_address_of_it() {
        let prefix = |text: &str| network(text).unwrap();
        let all = [("web", prefix("192.0.2.10")), ("net", prefix("198.51.100.0/28"))];
        let vip = |asked: &str| vip_of(asked, all.iter().copied());
        assert_eq!(vip("web"), Ok(prefix("192.0.2.10")));
        assert_eq!(vip("198.51.100.3"), Ok(prefix("198.51.100.3")), "one of many");
        assert_eq!(vip("net"), Ok(prefix("198.51.100.0/28")));
        for unknown in ["wbe", "192.0.2.11", "198.51.100.0/24"] {
            let said = vip(unknown).unwrap_err();
            assert!(said.contains("web (192.0.2.10/32), net (198.51.100.0/28)"), "{said}");
        }
    }
}
