//! Which backend a packet belongs to.
//!
//! In a settled slot the hash alone says it: no table, nothing for an attacker to fill. Only a
//! slot in transition asks whether the flow is older than the change.

use tidegate_abi::{Backend, Counter, FlowKey, Service, Slot, backend_flags, ip_proto, slot_of};

use crate::address::Address;
use crate::maps::{BACKENDS, FLOWS, RING_SLOTS};
use crate::parse::{Packet, Transport};
use crate::{config, count};

/// The backend's index, and its entry, which is resolved.
#[inline(always)]
#[expect(clippy::cast_ptr_alignment, reason = "the kernel aligns values of arrays to 8 bytes")]
pub(crate) fn backend<A: Address>(
    service: &Service,
    packet: &Packet<A>,
) -> Result<(u32, &'static Backend), Counter> {
    if service.ring_size == 0 {
        return Err(Counter::DropNoBackend);
    }
    let hash = A::flow_hash(config::hash_seed(), &packet.flow, service.flags);
    let row = service.ring_offset.wrapping_add(slot_of(hash, service.ring_size));
    let word = RING_SLOTS.get_ptr(row).ok_or(Counter::DropNoBackend)?;
    // SAFETY: a value of the map, 8 bytes and aligned to them.
    // Volatile, so that it is one load: the daemon stores slots while we read.
    let slot = Slot::from_word(unsafe { word.cast::<u64>().read_volatile() });
    let index = if slot.is_settled() {
        slot.current
    } else if packet.flow.proto == ip_proto::TCP {
        let opens = packet.transport == (Transport::Ports { opens: true });
        in_transition(&packet.flow.key(), slot.current, slot.older(), opens)
    } else {
        slot.current // Only a TCP flow shows that it is new: without that, all take the current one.
    };
    if index == 0 {
        return Err(Counter::DropNoBackend);
    }
    match BACKENDS.get(index) {
        Some(entry) if entry.flags & backend_flags::RESOLVED != 0 => Ok((index, entry)),
        _ => Err(Counter::DropUnresolved),
    }
}

/// New flows take the slot's current backend and are remembered; the others keep the one they
/// had. One that cannot be remembered because the table is full would be taken for an old one with
/// its next packet, so it goes where the old ones go: as if the change came later for it. Nothing
/// that is remembered makes room.
///
/// A SYN replaces what is remembered: ports are used again, and the backend of the flow before
/// may be dead by now. So whoever forges a SYN of a flow can cut it, but only in a slot in
/// transition, and only by guessing the client's port.
///
/// Not inlined: hardly any packet comes here, and the others need the registers.
#[inline(never)]
fn in_transition(key: &FlowKey, current: u32, older: u32, opens: bool) -> u32 {
    if opens {
        if current == 0 || config::is_proof() || FLOWS.insert(key, current, 0).is_ok() {
            return current;
        }
        count::event(Counter::FlowTableFull);
    // SAFETY: a word is read whole; the daemon removes an entry only together with its backend.
    } else if let Some(&remembered) = unsafe { FLOWS.get(key) } {
        return remembered;
    }
    if older == 0 { current } else { older }
}
