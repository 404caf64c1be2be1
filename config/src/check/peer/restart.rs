//! How long routes outlive a session, ours at the peer and the peer's here.

use core::time::Duration;

use tidegate_bgp::speaker::Keeping;
use tidegate_bgp::types::FamilySet;
use tidegate_bgp::wire::{GracefulRestart, LongLived};

use crate::diagnostic::Found;
use crate::raw::PeerTable;
use crate::read::At;
use crate::value::Span;

/// How long the peer's routes are kept here.
pub(super) fn keeping(raw: &PeerTable) -> Option<Keeping> {
    Some(Keeping {
        stale_max: raw.stale_time.as_ref()?.value.0,
        long_lived_max: raw.long_lived_stale_time.as_ref()?.value.0,
    })
}

/// What our OPEN says about restarts, ours and the peer's; `None` after an error.
///
/// The packet path goes on without the daemon, so the state of forwarding is kept for every
/// family (F, RFC 4724 §3). A capability without families, or with the time zero, says that we keep
/// the peer's routes only.
pub(super) fn offer(
    raw: &PeerTable,
    found: &mut Found<'_>,
) -> Option<(Option<GracefulRestart>, Vec<LongLived>)> {
    let time = whole_secs(raw.graceful_restart.as_ref()?, found);
    let long_time = whole_secs(raw.long_lived_graceful_restart.as_ref()?, found);
    let (time, long_time) = (u16::try_from(time?).ok()?, long_time?);
    let Keeping { stale_max, long_lived_max } = keeping(raw)?;
    let all: FamilySet =
        raw.families.as_ref()?.value.read.iter().map(|family| family.value).collect();
    let families = if time > 0 || long_time > 0 { all } else { FamilySet::EMPTY };
    let wanted = time > 0 || long_time > 0 || !stale_max.is_zero();
    let restart = GracefulRestart {
        restarting: false,
        notification: true,
        restart_time_secs: time,
        families,
        forwarding: families,
    };
    let long = |family| LongLived { family, forwarding: true, stale_time_secs: long_time };
    let has_long = long_time > 0 || !long_lived_max.is_zero();
    let long_lived = all.iter().filter(|_| has_long).map(long).collect();
    Some((wanted.then_some(restart), long_lived))
}

fn whole_secs<const MIN: u64, const MAX: u64>(
    time: &At<Span<MIN, MAX>>,
    found: &mut Found<'_>,
) -> Option<u32> {
    let secs = time.value.0.as_secs();
    if Duration::from_secs(secs) != time.value.0 {
        let sentence = "the protocol counts whole seconds";
        found.error(&time.span, &time.key, sentence, format!("write \"{secs}s\""));
        return None;
    }
    u32::try_from(secs).ok()
}
