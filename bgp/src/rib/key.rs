//! Prefixes as short keys: eight octets for IPv4, twenty for IPv6.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::hash::Hasher;
use crate::types::Prefix;

/// A prefix as a short key.
pub(super) trait Key: Copy + Eq + Ord + core::fmt::Debug {
    /// `None`: of another family.
    fn of(prefix: Prefix) -> Option<Self>;
    fn prefix(self) -> Option<Prefix>;
    /// What stands where there is none.
    fn of_nothing() -> Self;
    fn hash(self, hasher: Hasher) -> u64;
}

/// An IPv4 prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct V4 {
    addr: u32,
    bits: u8,
}

impl Key for V4 {
    fn of(prefix: Prefix) -> Option<Self> {
        match prefix.addr() {
            IpAddr::V4(addr) => Some(Self { addr: addr.to_bits(), bits: prefix.bits() }),
            IpAddr::V6(_) => None,
        }
    }

    fn prefix(self) -> Option<Prefix> {
        Prefix::new(IpAddr::V4(Ipv4Addr::from_bits(self.addr)), self.bits)
    }

    fn of_nothing() -> Self {
        Self { addr: 0, bits: u8::MAX }
    }

    fn hash(self, hasher: Hasher) -> u64 {
        hasher.words(u64::from(self.addr), u64::from(self.bits))
    }
}

/// An IPv6 prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct V6 {
    addr: [u32; 4],
    bits: u8,
}

impl Key for V6 {
    fn of(prefix: Prefix) -> Option<Self> {
        match prefix.addr() {
            IpAddr::V4(_) => None,
            IpAddr::V6(addr) => {
                let [a, b, c, d] = [96, 64, 32, 0].map(|shift| {
                    u32::try_from(addr.to_bits() >> shift & u128::from(u32::MAX)).unwrap_or(0)
                });
                Some(Self { addr: [a, b, c, d], bits: prefix.bits() })
            }
        }
    }

    fn prefix(self) -> Option<Prefix> {
        let addr = self.addr.into_iter().fold(0, |bits, word| bits << 32 | u128::from(word));
        Prefix::new(IpAddr::V6(Ipv6Addr::from_bits(addr)), self.bits)
    }

    fn of_nothing() -> Self {
        Self { addr: [0; 4], bits: u8::MAX }
    }

    fn hash(self, hasher: Hasher) -> u64 {
        let [a, b, c, d] = self.addr.map(u64::from);
        hasher.words(hasher.words(a << 32 | b, c << 32 | d), u64::from(self.bits))
    }
}
