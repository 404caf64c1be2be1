//! A backend's packet goes on to its client, from the VIP.
//!
//! The address that it comes to may be this host's own: what is of no connection is the kernel's.

use aya_ebpf::programs::XdpContext;
use tidegate_abi::{Counter, rare as rows};

use super::family::Family;
use super::translate::Translation;
use super::{is_expired, link, touch};
use crate::maps::NAT_ANSWERS;
use crate::parse::{Packet, Transport};
use crate::{errors, rare};

/// Sends it on.
#[inline(always)]
pub(crate) fn answer<A: Family>(ctx: &XdpContext, packet: &Packet<A>) -> Result<Counter, Counter> {
    match packet.transport {
        _ if packet.is_for_group => return Err(Counter::PassNotOurs),
        Transport::Ports { .. } => {}
        Transport::Other if errors::is_error(packet) => {
            rare::go_on(ctx, rows::NAT_ERROR);
            return Err(Counter::PassNotOurs);
        }
        Transport::Echo | Transport::Fragment | Transport::Malformed | Transport::Other => {
            return Err(Counter::PassNotOurs);
        }
    }
    let key = packet.flow.key();
    let answer = NAT_ANSWERS.get_ptr_mut(key).ok_or(Counter::PassNotOurs)?;
    // SAFETY: an entry of the map, plain bytes. If it becomes another connection's while it is used,
    // this packet goes astray; nothing else is written than times and flags.
    let answer = unsafe { &mut *answer };
    if is_expired(ctx, packet) {
        return Err(Counter::DropExpired);
    }
    touch(packet, &mut answer.seen_ns, &mut answer.state);
    Translation::of_answer(answer).apply(ctx, packet).ok_or(Counter::DropMalformed)?;
    link::send_back(ctx, packet.link_len, answer)
}
