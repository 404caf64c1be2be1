//! Who may come in, and how often: the prefixes and the limits that the maps shall hold.
//!
//! Promise: while prefixes are replaced, no client's packets fare otherwise than both before and
//! after. New ones come before old ones go, the longest first; old ones go the shortest first. So at
//! every moment the longest prefix of a client is its old or its new one: one that comes in between
//! would be shorter than the new one, which is there already, or longer than the old one.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_abi::{DatapathConfig, PrefixV4, PrefixV6, Rates, admissions, features};
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::{Admission, Desired, Limits};

use crate::observed::Datapath;
use crate::step::Step;

/// Prefixes in one step, at most: a step is one look of somebody who reads the journal.
const STEP_MAX: usize = 4_096;

/// Key of `PREFIXES_V4` or of `PREFIXES_V6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixKey {
    /// Of `PREFIXES_V4`.
    V4(PrefixV4),
    /// Of `PREFIXES_V6`.
    V6(PrefixV6),
}

impl PrefixKey {
    /// The key of a prefix.
    pub fn of(prefix: Prefix) -> Self {
        let len = prefix.bits().into();
        match prefix.addr() {
            IpAddr::V4(addr) => Self::V4(PrefixV4 { len, addr: addr.octets() }),
            IpAddr::V6(addr) => Self::V6(PrefixV6 { len, addr: addr.octets() }),
        }
    }

    /// Its prefix; `None` for a length that there is not.
    pub fn prefix(self) -> Option<Prefix> {
        let (addr, len): (IpAddr, u32) = match self {
            Self::V4(key) => (Ipv4Addr::from(key.addr).into(), key.len),
            Self::V6(key) => (Ipv6Addr::from(key.addr).into(), key.len),
        };
        Prefix::new(addr, u8::try_from(len).ok()?)
    }
}

/// What the maps say of a prefix; its number there.
const fn number(admission: Admission) -> u32 {
    match admission {
        Admission::Deny => admissions::DENY,
        Admission::Allow => admissions::ALLOW,
    }
}

/// Steps towards the wanted prefixes.
pub(crate) fn plan(desired: &Desired, observed: &Datapath) -> Vec<Step> {
    let (wanted, seen) = (&desired.guard.prefixes, &observed.prefixes);
    let is_other = |prefix: &Prefix, number: u32| seen.get(prefix) != Some(&number);
    let mut puts: Vec<(Prefix, u32)> = wanted
        .iter()
        .map(|(prefix, admission)| (*prefix, number(*admission)))
        .filter(|(prefix, number)| is_other(prefix, *number))
        .collect();
    if !puts.is_empty() {
        puts.sort_by_key(|(prefix, _)| core::cmp::Reverse(prefix.bits()));
        let put = |part: &[(Prefix, u32)]| Step::PutPrefixes { prefixes: part.to_vec() };
        return puts.chunks(STEP_MAX).map(put).collect();
    }
    if wanted.len() == seen.len() {
        return Vec::new(); // Nearly always.
    }
    let gone = seen.keys().filter(|prefix| !wanted.contains_key(prefix));
    let mut gone: Vec<Prefix> = gone.copied().collect();
    gone.sort_by_key(|prefix| prefix.bits());
    let delete = |part: &[Prefix]| Step::DeletePrefixes { prefixes: part.to_vec() };
    gone.chunks(STEP_MAX).map(delete).collect()
}

/// What a step that is done makes of the maps; other steps are not for here.
pub fn apply(step: &Step, datapath: &mut Datapath) {
    match step {
        Step::PutPrefixes { prefixes } => {
            Arc::make_mut(&mut datapath.prefixes).extend(prefixes.iter().copied());
        }
        Step::DeletePrefixes { prefixes } => {
            let seen = Arc::make_mut(&mut datapath.prefixes);
            for prefix in prefixes {
                seen.remove(prefix);
            }
        }
        Step::PutRates { index, rates } if *rates == Rates::default() => {
            datapath.rates.remove(index);
        }
        Step::PutRates { index, rates } => drop(datapath.rates.insert(*index, *rates)),
        _ => {}
    }
}

/// Limits as the packet path keeps them.
pub(crate) fn rates(limits: Limits) -> Rates {
    Rates {
        source_ns: interval_ns(limits.source_rate),
        source_syn_ns: interval_ns(limits.source_syn_rate),
        service_ns: interval_ns(limits.service_rate),
        service_syn_ns: interval_ns(limits.service_syn_rate),
    }
}

/// Nanoseconds from one to the next of so many in a second; none of them: 0.
pub(crate) fn interval_ns(per_second: u32) -> u64 {
    1_000_000_000_u64.checked_div(per_second.into()).unwrap_or(0)
}

/// The part of a configuration's constants that is the guard's: features and fields.
pub(crate) fn constants(desired: &Desired) -> DatapathConfig {
    let guard = &desired.guard;
    let any =
        |is_of: fn(&IpAddr) -> bool| guard.prefixes.keys().any(|prefix| is_of(&prefix.addr()));
    let limits = || desired.services.values().map(|service| service.limits.or(guard.limits));
    let of_sources = limits().any(|it| it.source_rate > 0 || it.source_syn_rate > 0);
    let of_services = limits().any(|it| it.service_rate > 0 || it.service_syn_rate > 0);
    let rated = of_sources || of_services;
    let wanted = [
        (any(IpAddr::is_ipv4), features::PREFIXES_V4),
        (any(IpAddr::is_ipv6), features::PREFIXES_V6),
        (rated, features::RATES),
        (of_sources, features::SOURCE_RATES),
    ];
    // What nobody uses is the same in all programs: a change of it is no other program.
    let open = |all: u8, len: u8| if of_sources { all.saturating_sub(len).into() } else { 0 };
    DatapathConfig {
        features: wanted.into_iter().fold(0, |all, (is, bit)| if is { all | bit } else { all }),
        burst_ns: if rated { nanos(guard.burst) } else { 0 },
        source_open_v4: open(32, guard.source_len_v4),
        source_open_v6: open(64, guard.source_len_v6),
        ..DatapathConfig::default()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What the longest prefix that has an address says.
pub fn longest(prefixes: &BTreeMap<Prefix, u32>, addr: IpAddr) -> Option<u32> {
    let lens = (0..=Prefix::host(addr).bits()).rev();
    lens.filter_map(|len| Prefix::new(addr, len)).find_map(|it| prefixes.get(&it).copied())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::tests::world::desired;

    fn prefixes() -> impl Strategy<Value = BTreeMap<Prefix, Admission>> {
        // Few addresses and all lengths: most lie in each other.
        let addr = prop_oneof![
            (0_u8..4, 0_u8..4).prop_map(|(a, d)| IpAddr::from([10, a, 0, d])),
            (0_u16..4, 0_u16..4).prop_map(|(a, h)| IpAddr::from([0xfd00, a, 0, 0, 0, 0, 0, h])),
        ];
        let len = prop_oneof![0_u8..=32, 7_u8..=17, 28_u8..=32];
        let admission = prop_oneof![Just(Admission::Deny), Just(Admission::Allow)];
        let prefix = (addr, len).prop_map(|(addr, len)| Prefix::new(addr, len).unwrap());
        proptest::collection::btree_map(prefix, admission, 0..20)
    }

    fn addresses() -> Vec<IpAddr> {
        let v4 = (0..4_u8).flat_map(|a| (0..4_u8).map(move |d| IpAddr::from([10, a, 0, d])));
        let v6 = (0..4_u16).map(|a| IpAddr::from([0xfd00, a, 0, 0, 0, 0, 0, 1]));
        v4.chain(v6).chain([IpAddr::from([192, 0, 2, 1])]).collect()
    }

    fn is_denied(prefixes: &BTreeMap<Prefix, u32>, addr: IpAddr) -> bool {
        longest(prefixes, addr) == Some(admissions::DENY)
    }

    /// One prefix after the other, as the executor writes them.
    fn one_by_one(step: &Step) -> Vec<Step> {
        match step {
            Step::PutPrefixes { prefixes } => {
                prefixes.iter().map(|it| Step::PutPrefixes { prefixes: vec![*it] }).collect()
            }
            Step::DeletePrefixes { prefixes } => {
                prefixes.iter().map(|it| Step::DeletePrefixes { prefixes: vec![*it] }).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn at_no_moment_of_a_change_does_a_client_fare_otherwise_than_before_and_after(
            before in prefixes(), after in prefixes()
        ) {
            let mut wanted = desired(&[]);
            let mut seen = Datapath::default();
            let numbers = before.iter().map(|(prefix, it)| (*prefix, number(*it)));
            seen.prefixes = Arc::new(numbers.collect());
            wanted.guard.prefixes = Arc::new(after.clone());
            let end: BTreeMap<Prefix, u32> =
                after.iter().map(|(prefix, it)| (*prefix, number(*it))).collect();
            let start = Arc::clone(&seen.prefixes);
            for _ in 0..3 {
                for step in plan(&wanted, &seen).iter().flat_map(one_by_one) {
                    apply(&step, &mut seen);
                    for addr in addresses() {
                        let now = is_denied(&seen.prefixes, addr);
                        let fits = now == is_denied(&start, addr) || now == is_denied(&end, addr);
                        prop_assert!(fits, "{addr} after {step:?}");
                    }
                }
            }
            prop_assert_eq!(&*seen.prefixes, &end);
            prop_assert_eq!(plan(&wanted, &seen), []);
        }
    }

    #[test]
    fn many_prefixes_are_written_in_large_steps() {
        let mut wanted = desired(&[]);
        let prefix = |n: u32| Prefix::host(Ipv4Addr::from_bits(n).into());
        wanted.guard.prefixes =
            Arc::new((0..100_000).map(|n| (prefix(n), Admission::Deny)).collect());
        let mut seen = Datapath::default();
        let steps = plan(&wanted, &seen);
        assert_eq!(steps.len(), 25);
        for step in &steps {
            apply(step, &mut seen);
        }
        assert_eq!(plan(&wanted, &seen), []);
    }

    #[test]
    fn a_key_names_its_prefix() {
        for text in ["0.0.0.0/0", "10.1.0.0/16", "10.1.2.3/32", "::/0", "2001:db8::/33"] {
            let (addr, len) = text.split_once('/').unwrap();
            let prefix = Prefix::new(addr.parse().unwrap(), len.parse().unwrap()).unwrap();
            assert_eq!(PrefixKey::of(prefix).prefix(), Some(prefix));
        }
        assert_eq!(PrefixKey::V4(PrefixV4 { len: 33, addr: [0; 4] }).prefix(), None);
    }

    #[test]
    fn so_many_a_second_is_one_every_so_often() {
        assert_eq!([0, 1, 1_000].map(interval_ns), [0, 1_000_000_000, 1_000_000]);
    }
}
