//! Which backend a packet belongs to.
//!
//! In a settled slot the hash alone says it: no table, nothing for an attacker to fill. Only a
//! slot in transition asks whether the flow is older than the change.

use aya_ebpf::programs::XdpContext;
use tidegate_abi::{
    Backend, Counter, FlowKey, Service, Slot, backend_flags, features, ip_proto, service_flags,
    slot_of,
};

use crate::address::{Address, Flow};
use crate::maps::{BACKENDS, FLOWS, RING_SLOTS, UDP_FLOWS};
use crate::parse::{Packet, Transport};
use crate::{config, count, quic};

/// Who gets a packet.
pub(crate) struct Picked {
    /// Index of the backend.
    pub(crate) index: u32,
    /// Its entry, which may not be resolved.
    pub(crate) backend: &'static Backend,
    /// Hash of the flow, as the service wants it.
    pub(crate) hash: u32,
}

/// The backend of a service that owns the packet's flow. Most services have none of the flags that
/// matter here: what others need is apart, and costs them nothing.
#[inline(always)]
pub(crate) fn backend<A: Address, const ANY: bool>(
    ctx: &XdpContext,
    service: &Service,
    packet: &Packet<A>,
) -> Result<Picked, Counter> {
    const RARE: u32 =
        service_flags::AFFINITY_CLIENT | service_flags::UDP_FLOWS | service_flags::QUIC;
    const AFFINITIES: u64 = features::AFFINITY_CLIENT | features::UDP_FLOWS | features::QUIC;
    if service.ring_size == 0 {
        return Err(Counter::DropNoBackend);
    }
    let (seed, flow) = (config::hash_seed(), &packet.flow);
    let is_plain = !config::has::<AFFINITIES>(service.ring_size);
    let (hash, index) = if is_plain || service.flags & RARE == 0 {
        let hash = A::flow_hash(seed, flow, 0);
        (hash, owner::<A, ANY>(slot(service, hash)?, packet))
    } else {
        let hash = A::flow_hash(seed, flow, service.flags);
        let named = if !quic::is_wanted(service) {
            0
        } else if ANY {
            quic::named(ctx, packet, service)
        } else {
            quic::enter(ctx)?
        };
        let slot = slot(service, hash)?;
        let remembers = config::has::<{ features::UDP_FLOWS }>(service.flags)
            && service.flags & service_flags::UDP_FLOWS != 0
            && flow.proto == ip_proto::UDP;
        let is_flows = matches!(packet.transport, Transport::Ports { .. });
        let index = if named != 0 {
            named
        } else if remembers {
            of_udp_flow(&flow.key(), slot.current, slot.older(), is_flows)
        } else {
            owner::<A, ANY>(slot, packet)
        };
        (hash, index)
    };
    if index == 0 {
        return Err(Counter::DropNoBackend);
    }
    let backend = BACKENDS.get(index).ok_or(Counter::DropUnresolved)?;
    Ok(Picked { index, backend, hash })
}

/// The backend of a service that a new flow goes to, whatever else is remembered.
#[inline(always)]
pub(crate) fn of_new_flow<A: Address>(
    service: &Service,
    flow: &Flow<A>,
) -> Result<Picked, Counter> {
    if service.ring_size == 0 {
        return Err(Counter::DropNoBackend);
    }
    let hash = A::flow_hash(config::hash_seed(), flow, service.flags);
    let index = slot(service, hash)?.current;
    if index == 0 {
        return Err(Counter::DropNoBackend);
    }
    let backend = BACKENDS.get(index).ok_or(Counter::DropUnresolved)?;
    Ok(Picked { index, backend, hash })
}

/// The slot of a hash.
#[inline(always)]
#[expect(clippy::cast_ptr_alignment, reason = "the kernel aligns values of arrays to 8 bytes")]
fn slot(service: &Service, hash: u32) -> Result<Slot, Counter> {
    let row = service.ring_offset.wrapping_add(slot_of(hash, service.ring_size));
    let word = RING_SLOTS.get_ptr(row).ok_or(Counter::DropNoBackend)?;
    // SAFETY: a value of the map, 8 bytes and aligned to them.
    // Volatile, so that it is one load: the daemon stores slots while we read.
    Ok(Slot::from_word(unsafe { word.cast::<u64>().read_volatile() }))
}

/// The index of the backend that a slot, and in transition the flow table, name.
#[inline(always)]
fn owner<A: Address, const ANY: bool>(slot: Slot, packet: &Packet<A>) -> u32 {
    if slot.is_settled() {
        slot.current
    } else if packet.flow.proto != ip_proto::UDP {
        let opens = packet.transport == (Transport::Ports { opens: true });
        in_transition::<ANY>(&packet.flow.key(), slot.current, slot.older(), opens)
    } else {
        slot.current // TCP and SCTP flows show that they are new: without that, all take this one.
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
fn in_transition<const ANY: bool>(key: &FlowKey, current: u32, older: u32, opens: bool) -> u32 {
    if opens {
        if current == 0 || config::is_proof(current) || FLOWS.insert(key, current, 0).is_ok() {
            return current;
        }
        if ANY || !is_left_to_another(if older == 0 { current } else { older }) {
            count::event(Counter::FlowTableFull);
        }
    // SAFETY: a word is read whole; the daemon removes an entry only together with its backend.
    } else if let Some(&remembered) = unsafe { FLOWS.get(key) } {
        return remembered;
    }
    if older == 0 { current } else { older }
}

/// A backend whose packets a program of its own picks anew, and counts.
#[inline(always)]
fn is_left_to_another(index: u32) -> bool {
    config::has::<{ features::OUTER }>(index)
        && BACKENDS.get(index).is_some_and(|it| it.flags & !backend_flags::RESOLVED != 0)
}

/// A UDP flow stays where it was, as long as that is one of the slot's two: the older one may be
/// dead otherwise. In a settled slot both are one, so a flow that is remembered elsewhere follows
/// when the drain time is over. `learns`: the packet is the flow's own and not one that quotes it.
#[inline(never)]
fn of_udp_flow(key: &FlowKey, current: u32, older: u32, learns: bool) -> u32 {
    // SAFETY: a word is read whole; if another flow takes the entry's place meanwhile, what it holds
    // counts only if it is one of the slot's two.
    if let Some(&remembered) = unsafe { UDP_FLOWS.get(key) }
        && remembered != 0
        && (remembered == current || remembered == older)
    {
        return remembered;
    }
    if learns && current != 0 && !config::is_proof(current) {
        let _by_the_hash_then = UDP_FLOWS.insert(key, current, 0);
    }
    current
}
