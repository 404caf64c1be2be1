//! Packets that were told of, as API and command line tell them: in the shape in which Hubble prints
//! flows as JSON, with what only an edge knows beside it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tidegate_bgp::types::Prefix;
use utoipa::{IntoParams, ToSchema};

/// Body of `/api/v1/flows` for who does not follow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flows {
    /// [`API_VERSION`](super::API_VERSION)
    pub api_version: String,
    /// One in so many packets is told of by chance; 0: none is told of at all.
    pub sampled_one_in: u32,
    /// The latest that are wanted, the oldest first.
    pub flows: Vec<Flow>,
    /// What was told of since the daemon started, by verdict and service.
    pub sums: Vec<Sum>,
    /// What became of the word that each packet is worth, since the packet path was loaded.
    pub told: Told,
}

/// Packets and what was heard of them. The four together are all packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Told {
    /// Handed to the daemon.
    pub logged: u64,
    /// Chance was against it.
    pub sampled_out: u64,
    /// More of their kind than `flows.rate`.
    pub left_out: u64,
    /// The daemon did not read fast enough.
    pub lost: u64,
    /// Among those that were handed over: of another version's form, and not understood.
    pub unreadable: u64,
}

/// Packets of one verdict and service that were told of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sum {
    /// The counter's name.
    pub counter: String,
    /// The service; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How many.
    pub packets: u64,
    /// Their bytes, from the IP header on.
    pub bytes: u64,
}

/// A packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flow {
    /// RFC 3339
    pub time: String,
    /// `FORWARDED`, `DROPPED`, `ANSWERED` (by the edge, or by a backend in NAT) or `PASSED` (to the
    /// host).
    pub verdict: String,
    /// Why it was dropped: the counter's name without `drop_`, in capitals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_reason_desc: Option<String>,
    /// Who talks to whom; absent of what is no IP packet.
    #[serde(rename = "IP", default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ip>,
    /// Ports and flags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l4: Option<L4>,
    /// Always `L3_L4`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// In words.
    #[serde(rename = "Summary")]
    pub summary: String,
    /// Name of the service, if the packet came as far as to a backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub backend: Option<IpAddr>,
    /// The counter that the packet moved.
    pub counter: String,
    /// Why it is told of: `dropped`, `opens`, `ends` or `sampled`.
    pub why: String,
    /// Length of the IP packet in bytes.
    pub length: u32,
    /// Number of the packet, one more than that of the one before; a new daemon begins at 1.
    pub id: u64,
    /// Interface that it came in by.
    pub ifindex: u32,
    /// The configuration's sets of prefixes that the client is in, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_sets: Vec<String>,
    /// Whose network the client is, as the best route says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ip {
    /// The client.
    #[schema(value_type = String)]
    pub source: IpAddr,
    /// The VIP.
    #[schema(value_type = String)]
    pub destination: IpAddr,
    /// `IPv4` or `IPv6`.
    #[serde(rename = "ipVersion")]
    pub version: String,
}

/// What follows the IP header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum L4 {
    /// TCP.
    TCP(Tcp),
    /// UDP.
    UDP(Ports),
    /// SCTP.
    SCTP(Ports),
    /// Something else, by its number.
    Protocol(u8),
}

/// Of TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tcp {
    /// The client's.
    pub source_port: u16,
    /// The service's.
    pub destination_port: u16,
    /// Which flags are set.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub flags: serde_json::Map<String, serde_json::Value>,
}

/// Of UDP and SCTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ports {
    /// The client's.
    pub source_port: u16,
    /// The service's.
    pub destination_port: u16,
}

/// Whose network a client is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Origin {
    /// The longest prefix of its address that a peer has told.
    pub prefix: String,
    /// The AS that it comes from; absent: the peer's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asn: Option<String>,
    /// The peer.
    pub peer: String,
    /// Communities of the route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<String>,
}

/// Which packets. `?verdict=dropped&from=198.51.100.0/24`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Those after this one, by its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// So many at most, the latest; 20 without, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<usize>,
    /// Of the last so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// `forwarded`, `dropped`, `answered` or `passed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The counter that they moved, such as `drop_no_service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<String>,
    /// Of this service, by name, or to this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
    /// To this backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub backend: Option<IpAddr>,
    /// From this address or prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `tcp`, `udp` or `sctp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// To this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl Wanted {
    /// What is wrong with it, in words: the parameter and the sentence.
    pub fn mistake(&self) -> Option<(&'static str, String)> {
        const VERDICTS: [&str; 4] = ["forwarded", "dropped", "answered", "passed"];
        const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];
        let one_of = |name, given: &Option<String>, all: &[&str]| {
            let given = given.as_ref().filter(|given| !all.contains(&given.as_str()))?;
            Some((name, format!("{name} is one of {}, not {given:?}", all.join(", "))))
        };
        let counters: Vec<&str> = tidegate_abi::Counter::ALL
            .iter()
            .filter(|it| !it.is_event())
            .map(|it| it.name())
            .collect();
        let from = self.from.as_ref().filter(|from| network(from).is_none());
        one_of("verdict", &self.verdict, &VERDICTS)
            .or_else(|| one_of("protocol", &self.protocol, &PROTOCOLS))
            .or_else(|| one_of("counter", &self.counter, &counters))
            .or_else(|| {
                from.map(|it| ("from", format!("from is an address or a prefix, not {it:?}")))
            })
    }

    /// Whether a packet is wanted; its time is not looked at.
    pub fn takes(&self, flow: &Flow) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(found))
        };
        let (protocol, port) = match &flow.l4 {
            Some(L4::TCP(tcp)) => ("tcp", tcp.destination_port),
            Some(L4::UDP(ports)) => ("udp", ports.destination_port),
            Some(L4::SCTP(ports)) => ("sctp", ports.destination_port),
            Some(L4::Protocol(_)) | None => ("", 0),
        };
        let dst = flow.ip.as_ref().map(|ip| ip.destination);
        let is_vip = |vip: &String| {
            flow.service.as_ref() == Some(vip) || vip.parse().is_ok_and(|vip| dst == Some(vip))
        };
        let is_from = |from: &String| {
            let src = flow.ip.as_ref().map(|ip| ip.source);
            network(from)
                .zip(src)
                .is_some_and(|(from, src)| Prefix::new(src, from.bits()) == Some(from))
        };
        is(&self.verdict, &flow.verdict)
            && is(&self.counter, &flow.counter)
            && is(&self.protocol, protocol)
            && self.port.is_none_or(|wanted| wanted == port)
            && self.backend.is_none_or(|wanted| flow.backend == Some(wanted))
            && self.vip.as_ref().is_none_or(is_vip)
            && self.from.as_ref().is_none_or(is_from)
    }
}

/// A prefix, or an address alone.
pub(super) fn network(text: &str) -> Option<Prefix> {
    match text.split_once('/') {
        Some((addr, len)) => Prefix::new(addr.parse().ok()?, len.parse().ok()?),
        None => text.parse().ok().map(Prefix::host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        Flow {
            verdict: "FORWARDED".into(),
            counter: "forward_tx".into(),
            service: Some("web".into()),
            backend: Some("10.0.0.2".parse().unwrap()),
            ip: Some(Ip {
                source: "198.51.100.7".parse().unwrap(),
                destination: "192.0.2.10".parse().unwrap(),
                version: "IPv4".into(),
            }),
            l4: Some(L4::UDP(Ports { source_port: 4_000, destination_port: 53 })),
            ..Flow::default()
        }
    }

    #[test]
    fn packets_are_chosen_by_all_that_is_asked() {
        let wanted = Wanted {
            verdict: Some("forwarded".into()),
            vip: Some("web".into()),
            from: Some("198.51.100.0/24".into()),
            protocol: Some("udp".into()),
            port: Some(53),
            backend: Some("10.0.0.2".parse().unwrap()),
            counter: Some("forward_tx".into()),
            ..Wanted::default()
        };
        assert!(wanted.takes(&flow()) && Wanted::default().takes(&flow()));
        let vip = Some("192.0.2.10".into());
        assert!(Wanted { vip, ..wanted.clone() }.takes(&flow()), "by its address");
        let others = [
            Wanted { verdict: Some("dropped".into()), ..wanted.clone() },
            Wanted { vip: Some("dns".into()), ..wanted.clone() },
            Wanted { from: Some("198.51.101.0/24".into()), ..wanted.clone() },
            Wanted { from: Some("2001:db8::/32".into()), ..wanted.clone() },
            Wanted { protocol: Some("tcp".into()), ..wanted.clone() },
            Wanted { port: Some(54), ..wanted.clone() },
            Wanted { backend: Some("10.0.0.3".parse().unwrap()), ..wanted.clone() },
            Wanted { counter: Some("forward_redirect".into()), ..wanted },
        ];
        for other in others {
            assert!(!other.takes(&flow()), "{other:?}");
        }
    }

    #[test]
    fn what_is_asked_wrongly_is_named() {
        let cases = [
            (Wanted { verdict: Some("lost".into()), ..Wanted::default() }, "verdict"),
            (Wanted { counter: Some("flow_table_full".into()), ..Wanted::default() }, "counter"),
            (Wanted { protocol: Some("icmp".into()), ..Wanted::default() }, "protocol"),
            (Wanted { from: Some("198.51.100.7/33".into()), ..Wanted::default() }, "from"),
        ];
        for (wanted, parameter) in cases {
            assert_eq!(wanted.mistake().unwrap().0, parameter);
        }
        assert_eq!(Wanted { from: Some("::1".into()), ..Wanted::default() }.mistake(), None);
    }

    #[test]
    fn what_is_written_reads_back() {
        let text = serde_json::to_string(&flow()).unwrap();
        assert!(
            text.contains(r#""l4":{"UDP":{"source_port":4000,"destination_port":53}}"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Flow>(&text).unwrap(), flow());
    }
}
