//! Keys of the two service maps as one type.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::BTreeMap;

use tidegate_abi::{Service as Entry, ServiceKeyV4, ServiceKeyV6, ip_proto};
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::{Protocol, Service, ServiceAddr};

use crate::observed::Datapath;
use crate::step::Step;

/// A key of `SERVICES_V4` or of `SERVICES_V6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MapKey {
    /// Of `SERVICES_V4`.
    V4(ServiceKeyV4),
    /// Of `SERVICES_V6`.
    V6(ServiceKeyV6),
}

impl MapKey {
    /// The key of a service.
    pub const fn of_service(service: ServiceAddr) -> Self {
        let proto = match service.protocol {
            Protocol::Tcp => ip_proto::TCP,
            Protocol::Udp => ip_proto::UDP,
            Protocol::Sctp => ip_proto::SCTP,
        };
        Self::new(service.addrs, service.port, proto)
    }

    /// The keys of all ports of a service, that of [`of_service`](Self::of_service) first.
    pub(crate) fn of_ports(service: &Service) -> impl Iterator<Item = Self> {
        let vip = service.vip;
        (vip.port..=service.last_port)
            .map(move |port| Self::of_service(ServiceAddr { port, ..vip }))
    }

    /// The key of a VIP's own entry.
    pub const fn of_vip(vip: Prefix) -> Self {
        Self::new(vip, 0, 0)
    }

    /// The key of what a VIP has at a port and protocol.
    pub const fn new(vip: Prefix, port: u16, proto: u8) -> Self {
        let port = port.to_be_bytes();
        let len = vip.bits();
        match vip.addr() {
            IpAddr::V4(v4) => {
                let prefix_len = if len == 32 { 0 } else { len };
                Self::V4(ServiceKeyV4 { addr: v4.octets(), port, proto, prefix_len })
            }
            IpAddr::V6(v6) => {
                let prefix_len = if len == 128 { 0 } else { len };
                Self::V6(ServiceKeyV6 { addr: v6.octets(), port, proto, prefix_len })
            }
        }
    }

    /// The VIP. In a key that we never write the length may be none: then it is the address.
    pub fn vip(self) -> Prefix {
        let (addr, len) = match self {
            Self::V4(key) => (IpAddr::V4(Ipv4Addr::from_octets(key.addr)), key.prefix_len),
            Self::V6(key) => (IpAddr::V6(Ipv6Addr::from_octets(key.addr)), key.prefix_len),
        };
        let prefix = Prefix::new(addr, len).filter(|_| len != 0);
        prefix.unwrap_or(Prefix::host(addr))
    }

    /// The length of a VIP that is a prefix; 0: it is one address.
    pub const fn prefix_len(self) -> u8 {
        match self {
            Self::V4(key) => key.prefix_len,
            Self::V6(key) => key.prefix_len,
        }
    }

    /// The service that has this key; `None` for a VIP's own entry and for a key we never write.
    pub fn service(self) -> Option<ServiceAddr> {
        let (port, proto) = match self {
            Self::V4(key) => (key.port, key.proto),
            Self::V6(key) => (key.port, key.proto),
        };
        let protocol = match proto {
            ip_proto::TCP => Protocol::Tcp,
            ip_proto::UDP => Protocol::Udp,
            ip_proto::SCTP => Protocol::Sctp,
            _ => return None,
        };
        let service = ServiceAddr { addrs: self.vip(), port: u16::from_be_bytes(port), protocol };
        (Self::of_service(service) == self).then_some(service)
    }

    /// What the maps have at this key.
    pub(crate) fn entry(self, datapath: &Datapath) -> Option<Entry> {
        match self {
            Self::V4(key) => datapath.services_v4.get(&key),
            Self::V6(key) => datapath.services_v6.get(&key),
        }
        .copied()
    }

    pub(crate) const fn put(self, service: Entry, fresh: bool) -> Step {
        match self {
            Self::V4(key) => Step::PutServiceV4 { key, service, fresh },
            Self::V6(key) => Step::PutServiceV6 { key, service, fresh },
        }
    }

    pub(crate) const fn delete(self) -> Step {
        match self {
            Self::V4(key) => Step::DeleteServiceV4 { key },
            Self::V6(key) => Step::DeleteServiceV6 { key },
        }
    }
}

/// Both service maps as one.
pub fn entries(datapath: &Datapath) -> BTreeMap<MapKey, Entry> {
    let v4 = datapath.services_v4.iter().map(|(&key, &service)| (MapKey::V4(key), service));
    let v6 = datapath.services_v6.iter().map(|(&key, &service)| (MapKey::V6(key), service));
    v4.chain(v6).collect()
}
