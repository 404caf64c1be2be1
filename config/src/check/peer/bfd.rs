//! BFD towards a peer.

use tidegate_bgp::bfd::Timing;
use tidegate_bgp::speaker::{Bfd, Distance, Transport};

use crate::diagnostic::Found;
use crate::raw::PeerTable;
use crate::value::Place;

/// The outer `None` after an error.
#[expect(clippy::option_option, reason = "no BFD is a value like any other")]
pub(super) fn check(
    raw: &PeerTable,
    transport: &Transport,
    found: &mut Found<'_>,
) -> Option<Option<Bfd>> {
    let Some(table) = &raw.bfd else { return Some(None) };
    if !matches!(raw.address.as_ref()?.value, Place::Address(_)) {
        let sentence = "BFD needs to know the peer's address";
        let remedy = "give the peer a [[peer]] with its address, or remove this key";
        found.error(&table.span, &table.key, sentence, remedy);
        return None;
    }
    let interval = table.value.interval.as_ref()?.value.0;
    let interval_us = u32::try_from(interval.as_micros()).ok()?;
    let far = !matches!(transport.distance, Distance::Ttl(1) | Distance::Guarded(1));
    Some(Some(Bfd {
        timing: Timing {
            desired_min_tx_us: interval_us,
            required_min_rx_us: interval_us,
            detect_mult: table.value.multiplier.as_ref()?.value.0,
        },
        multihop: table.value.multihop.as_ref().map_or(far, |at| at.value),
    }))
}
