//! Who may come in, and how often. Asked of packets for a VIP and of no others: what the host itself
//! is sent, BGP and its operators' included, never comes here.
//!
//! A proof copy is loaded without: who may not come in is no question about the way to a backend.

use core::arch::asm;

use aya_ebpf::helpers::bpf_ktime_get_ns;
use tidegate_abi::{Counter, Service, admissions, features, service_flags, source_bucket};

use crate::address::Address;
use crate::config;
use crate::maps::{RATES, SERVICE_BUCKETS, SOURCE_BUCKETS};
use crate::parse::{Packet, Transport};

/// Lets a packet of a service in, or says why not.
#[inline(always)]
pub(crate) fn admit<A: Address>(packet: &Packet<A>, service: &Service) -> Result<(), Counter> {
    if is_denied(packet, service.ring_size) {
        return Err(Counter::DropDenied);
    }
    limit(packet, service)
}

/// Whether the client's address lies in a prefix that is denied. `at_hand`: see [`config::has`].
#[inline(always)]
pub(crate) fn is_denied<A: Address>(packet: &Packet<A>, at_hand: u32) -> bool {
    packet.flow.src.admission(at_hand) == admissions::DENY
}

/// Takes the packet's tokens, if the service has limits.
#[inline(always)]
pub(crate) fn limit<A: Address>(packet: &Packet<A>, service: &Service) -> Result<(), Counter> {
    if !config::has::<{ features::RATES }>(service.ring_size)
        || service.flags & service_flags::RATED == 0
    {
        return Ok(());
    }
    let opens = packet.transport == (Transport::Ports { opens: true });
    let (row, source) = (service.index, packet.flow.src.source());
    over(row, source, opens).map_or(Ok(()), Err)
}

/// The limit that a packet of this service and source is over. That of the source comes first: who
/// sends too much takes nothing from the others' share.
#[inline(never)]
fn over(service: u32, source: u64, opens: bool) -> Option<Counter> {
    let rates = RATES.get(service)?;
    // SAFETY: no arguments, no conditions.
    let now = unsafe { bpf_ktime_get_ns() };
    if config::has::<{ features::SOURCE_RATES }>(service) {
        let buckets = SOURCE_BUCKETS.get(source_bucket(config::hash_seed(), service, source))?;
        if opens && !takes(&buckets.syns_ns, rates.source_syn_ns, now) {
            return Some(Counter::DropSourceSynRate);
        }
        if !takes(&buckets.packets_ns, rates.source_ns, now) {
            return Some(Counter::DropSourceRate);
        }
    }
    let buckets = SERVICE_BUCKETS.get(service)?;
    if opens && !takes(&buckets.syns_ns, rates.service_syn_ns, now) {
        return Some(Counter::DropServiceSynRate);
    }
    let over = !takes(&buckets.packets_ns, rates.service_ns, now);
    over.then_some(Counter::DropServiceRate)
}

/// Takes a token from a bucket that gets one every `interval` (the generic cell rate algorithm);
/// `false` if there is none. At least one fits into it.
///
/// All CPUs share a bucket. Those that look at the same moment may see the same last token: then
/// as many take it as there are CPUs, at most, and the bucket owes what it gave too much.
#[inline(always)]
fn takes(bucket: &u64, interval: u64, now: u64) -> bool {
    if interval == 0 {
        return true;
    }
    let bucket = core::ptr::from_ref(bucket).cast_mut();
    // SAFETY: a value of the map, aligned, that others change only as a whole word.
    let next = unsafe { bucket.read_volatile() };
    if next > now + config::burst_ns().saturating_sub(interval) {
        return false;
    }
    // A full bucket keeps no more than it holds. Whoever comes second finds it begun.
    if next < now && exchange(bucket, next, now + interval) == next {
        return true;
    }
    add(bucket, interval);
    true
}

/// Adds to a word at once. The compiler has no atomic operations for this target; the instruction
/// set has (RFC 9669 §5.3).
#[inline(always)]
fn add(word: *mut u64, by: u64) {
    // SAFETY: the word is a value of a map, aligned, and nothing else changes.
    unsafe {
        asm!(
            "lock *(u64 *)({word} + 0) += {by}",
            word = in(reg) word,
            by = in(reg) by,
            options(nostack),
        );
    }
}

/// Stores a word if the old one is still there; returns what was there.
#[inline(always)]
fn exchange(word: *mut u64, old: u64, new: u64) -> u64 {
    let mut seen = old;
    // SAFETY: the word is a value of a map, aligned; register 0 holds what is compared and then what
    // was there, and nothing else changes.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {new})",
            word = in(reg) word,
            new = in(reg) new,
            inout("r0") seen,
            options(nostack),
        );
    }
    seen
}
