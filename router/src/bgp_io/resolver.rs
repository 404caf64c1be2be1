//! Next hops of routes: whether the host has a way to each, and how far it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use super::Inbound;
use crate::link_io::{Changes, Links};

/// Without any event the kernel is asked this often: what an event failed to say is found then.
const SLOW_LOOK: Duration = Duration::from_secs(30);

/// Looks follow each other no faster than this: a link that goes takes its routes with it, an event
/// for each.
const PACE: Duration = Duration::from_millis(50);

/// Wait after the kernel did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Next hops and what they cost, `None`: there is no way.
pub(super) type Distances = BTreeMap<IpAddr, Option<u32>>;

/// Looks up the next hops that are wanted, whenever they or the kernel's tables change, and tells
/// the speaker what is news. Ends with it.
pub(super) async fn follow(
    links: Links,
    changes: Changes,
    mut wanted: watch::Receiver<BTreeSet<IpAddr>>,
    speaker: mpsc::Sender<Inbound>,
) {
    let mut told = Distances::new();
    let mut failing = false;
    loop {
        let addrs = wanted.borrow_and_update().clone();
        let began = Instant::now();
        let found = links.distances(&addrs).await;
        let pause = match found {
            Ok(found) => {
                if failing {
                    info!("next hops can be looked up again");
                    failing = false;
                }
                if found != told {
                    told.clone_from(&found);
                    if speaker.send(Inbound::NextHops(found)).await.is_err() {
                        return;
                    }
                }
                PACE.max(began.elapsed() * 4) // However many a peer makes us look up.
            }
            Err(error) => {
                if !failing {
                    warn!(%error, "next hops cannot be looked up; they count as before");
                    failing = true;
                }
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
        let slow = if failing { Duration::ZERO } else { SLOW_LOOK };
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = changes.changed() => {}
            () = tokio::time::sleep(slow) => {}
        }
    }
}
