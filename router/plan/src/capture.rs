//! Packets that somebody captures: which are wanted, and what the packet path says of each.

use core::net::IpAddr;

use tidegate_abi::{Action, CAPTURE_SNAP_MAX, CaptureFilter, Counter};
use tidegate_bgp::types::Prefix;

use crate::record::verdict_name;

/// Which packets are wanted. What is not said is not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// To these addresses; answers in NAT from them.
    pub vip: Option<Prefix>,
    /// From these clients; answers in NAT to them.
    pub from: Option<Prefix>,
    /// Of this IP protocol.
    pub proto: Option<u8>,
    /// To this port; answers in NAT from it.
    pub port: Option<u16>,
    /// With one of these verdicts, a bit for each counter; see [`verdicts`].
    pub verdicts: u64,
    /// Bytes of each frame, at most [`CAPTURE_SNAP_MAX`].
    pub snap: u32,
}

impl Wanted {
    /// The same for the packet path; none after `until_ns` of the kernel's monotonic clock.
    pub fn filter(&self, until_ns: u64) -> CaptureFilter {
        let (dst, dst_mask) = self.vip.map_or(([0; 2], [0; 2]), masked);
        let (src, src_mask) = self.from.map_or(([0; 2], [0; 2]), masked);
        let most = u32::try_from(CAPTURE_SNAP_MAX).unwrap_or(u32::MAX);
        CaptureFilter {
            until_ns,
            verdicts: self.verdicts,
            dst,
            dst_mask,
            src,
            src_mask,
            port: self.port.map_or(0, u32::from),
            proto: self.proto.map_or(0, u32::from),
            snap: self.snap.clamp(1, most),
            reserved: 0,
        }
    }
}

/// An address and the mask of its bits that count, IPv4 as v4-mapped.
fn masked(prefix: Prefix) -> ([u64; 2], [u64; 2]) {
    let (addr, open) = match prefix.addr() {
        IpAddr::V4(addr) => (addr.to_ipv6_mapped(), 32 - u32::from(prefix.bits())),
        IpAddr::V6(addr) => (addr, 128 - u32::from(prefix.bits())),
    };
    let mask = u128::MAX.checked_shl(open).unwrap_or(0);
    (words(addr.to_bits()), words(mask))
}

fn words(wide: u128) -> [u64; 2] {
    let [high, low] = [wide >> 64, wide & u128::from(u64::MAX)];
    [high, low].map(|half| u64::try_from(half).unwrap_or(u64::MAX))
}

/// Bits of the verdicts that people call so (in any case): `forwarded`, `dropped`, `answered` or
/// `passed`; of all with `None`.
pub fn verdicts(name: Option<&str>) -> u64 {
    let is_called =
        |it: &Counter| name.is_none_or(|name| verdict_name(*it).eq_ignore_ascii_case(name));
    let all = Counter::ALL.iter().filter(|it| !it.is_event() && is_called(it));
    all.fold(0, |bits, counter| bits | 1 << (*counter as u32))
}

/// A frame at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its first bytes.
    pub bytes: &'a [u8],
    /// How many it had.
    pub len: u32,
    /// When, by the kernel's monotonic clock, in nanoseconds.
    pub at_ns: u64,
}

/// A packet that was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// What became of it.
    pub verdict: Counter,
    /// Row of its service's traffic, if it came as far as to a backend.
    pub service: Option<u32>,
    /// Index of its backend.
    pub backend: Option<u32>,
    /// Interface that it came in by.
    pub ingress_ifindex: u32,
    /// As it came.
    pub before: Frame<'a>,
    /// As it left; `None`: it did not.
    pub after: Option<Frame<'a>>,
}

/// Reads a record of the packet path: a [`CaptureHead`](tidegate_abi::CaptureHead) and frames. `None`:
/// it is none.
pub fn read(bytes: &[u8]) -> Option<Captured<'_>> {
    let (came_ns, rest) = bytes.split_first_chunk()?;
    let (left_ns, rest) = rest.split_first_chunk()?;
    let (words, frames) = rest.split_at_checked(8 * 4)?;
    let mut words = words.as_chunks().0.iter().map(|word: &[u8; 4]| u32::from_ne_bytes(*word));
    let mut word = || words.next();
    let (verdict, service, backend, ingress_ifindex) = (word()?, word()?, word()?, word()?);
    let (before_len, before_snap, after_len, after_snap) = (word()?, word()?, word()?, word()?);
    let size = |snap| usize::try_from(snap).ok();
    let (before, rest) = frames.split_at_checked(size(before_snap)?)?;
    let after = rest.get(..size(after_snap)?)?;
    let after = Frame { bytes: after, len: after_len, at_ns: u64::from_ne_bytes(*left_ns) };
    Some(Captured {
        verdict: *Counter::ALL.get(size(verdict)?)?,
        service: service.checked_sub(1),
        backend: Some(backend).filter(|&index| index != 0),
        ingress_ifindex,
        before: Frame { bytes: before, len: before_len, at_ns: u64::from_ne_bytes(*came_ns) },
        after: Some(after).filter(|it| it.len != 0),
    })
}

/// What became of a packet, in words: `dropped (drop_no_service): a VIP of ours, but no service on this
/// port and protocol`.
pub fn sentence(verdict: Counter, service: Option<&str>, backend: Option<IpAddr>) -> String {
    let help = verdict.help().trim().trim_end_matches('.');
    let why = help.split_once(": ").map_or(help, |(_, why)| why);
    let mut first = why.chars();
    let why: String = match first.next() {
        // A word of capitals such as ICMP keeps them.
        Some(letter) if !first.as_str().starts_with(char::is_uppercase) => {
            letter.to_lowercase().chain(first).collect()
        }
        _ => why.to_owned(),
    };
    let service = service.map(|name| format!("; service {name}")).unwrap_or_default();
    let backend = backend.map(|addr| format!("; backend {addr}")).unwrap_or_default();
    let called = verdict_name(verdict).to_lowercase();
    format!("{called} ({}): {why}{service}{backend}", verdict.name())
}

/// What XDP was told to do with such a packet (linux/bpf.h, enum `xdp_action`).
pub const fn xdp_action(verdict: Counter) -> u64 {
    match verdict.action() {
        Some(Action::Drop) | None => 1,
        Some(Action::Pass) => 2,
        Some(Action::Tx) => 3,
        Some(Action::Redirect) => 4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prefixes_become_words_and_masks() {
        let wide = |high, low| [high, low];
        let cases = [
            ("192.0.2.10", 32, wide(0, 0xffff_c000_020a), wide(u64::MAX, u64::MAX)),
            ("192.0.2.0", 24, wide(0, 0xffff_c000_0200), wide(u64::MAX, u64::MAX << 8)),
            ("0.0.0.0", 0, wide(0, 0xffff_0000_0000), wide(u64::MAX, u64::MAX << 32)),
            ("2001:db8::", 32, wide(0x2001_0db8 << 32, 0), wide(u64::MAX << 32, 0)),
            ("::", 0, wide(0, 0), wide(0, 0)),
        ];
        for (addr, bits, addr_words, mask) in cases {
            let prefix = Prefix::new(addr.parse().unwrap(), bits).unwrap();
            assert_eq!(masked(prefix), (addr_words, mask), "{prefix}");
        }
    }

    #[test]
    fn verdicts_by_name_are_all_of_them_and_none_twice() {
        let names = ["forwarded", "dropped", "answered", "passed"];
        let each = names.map(|name| verdicts(Some(name)));
        assert_eq!(each.iter().sum::<u64>(), verdicts(None));
        assert_eq!(verdicts(Some("dropped")), Counter::DROPS);
        assert_eq!(verdicts(Some("Forwarded")), 0b11000);
        let events = Counter::ALL.iter().filter(|it| it.is_event());
        assert!(events.into_iter().all(|it| verdicts(None) >> (*it as u32) & 1 == 0));
    }

    #[test]
    fn a_verdict_is_told_in_words() {
        let backend = Some("10.0.0.2".parse().unwrap());
        let cases = [
            (
                sentence(Counter::DropNoService, None, None),
                "dropped (drop_no_service): a VIP of ours, but no service on this port and protocol",
            ),
            (
                sentence(Counter::ForwardTx, Some("web"), backend),
                "forwarded (forward_tx): sent to a backend through the interface it came in by; \
                 service web; backend 10.0.0.2",
            ),
            (
                sentence(Counter::EchoReply, None, None),
                "answered (echo_reply): ICMP echo to a VIP, answered",
            ),
            (
                sentence(Counter::PassNotOurs, None, None),
                "passed (pass_not_ours): not for a VIP of ours",
            ),
        ];
        for (found, wanted) in cases {
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn a_record_is_both_frames_and_one_that_is_cut_off_is_none() {
        let mut bytes = [5_u64.to_ne_bytes(), 9_u64.to_ne_bytes()].concat();
        let words = [Counter::ForwardTx as u32, 4, 2, 3, 60, 2, 80, 3];
        bytes.extend(words.iter().flat_map(|word: &u32| word.to_ne_bytes()));
        bytes.extend([1, 2, 7, 8, 9]);
        let found = read(&bytes).unwrap();
        assert_eq!(
            (found.verdict, found.service, found.backend),
            (Counter::ForwardTx, Some(3), Some(2))
        );
        assert_eq!(found.before, Frame { bytes: &[1, 2], len: 60, at_ns: 5 });
        assert_eq!(found.after, Some(Frame { bytes: &[7, 8, 9], len: 80, at_ns: 9 }));
        assert_eq!(read(&bytes[..bytes.len() - 1]), None);
        bytes[16] = 99;
        assert_eq!(read(&bytes), None, "no such verdict");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _either_way = read(&bytes);
        }
    }
}
