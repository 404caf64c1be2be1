//! Who connects to us: accepted, with our addresses on the interface, and handed to the speaker.

use core::net::IpAddr;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use tidegate_bgp::speaker::NextHops;
use tidegate_bgp::time::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::warn;

use super::Inbound;
use super::dial::next_hops;
use crate::clock::Clock;
use crate::link_io::Links;

/// How long what the kernel said about next hops serves other connections to the same address: in a
/// flood it is asked once a second, not once a connection.
const NEXT_HOPS_SERVE: Duration = Duration::from_secs(1);

/// Accepts for ever, one connection after the other: looking up next hops costs a question to the
/// kernel, and whoever floods the port waits in the backlog for it.
pub(super) async fn all(
    listener: Arc<TcpListener>,
    links: Links,
    clock: Clock,
    inbound: mpsc::Sender<Inbound>,
) {
    let mut known: Option<(IpAddr, Timestamp, NextHops)> = None;
    let mut last = String::new();
    loop {
        let accepted = async {
            let (stream, remote) = listener.accept().await?;
            let (local, now) = (stream.local_addr()?.ip(), clock.now());
            let serves = |(addr, at, _): &(IpAddr, Timestamp, NextHops)| {
                *addr == local && now.since(*at) < NEXT_HOPS_SERVE
            };
            let next_hops = if let Some((_, _, served)) = known.filter(serves) {
                served
            } else {
                let asked = next_hops(&stream, links).await?;
                known = Some((local, now, asked));
                asked
            };
            Ok::<_, io::Error>(Inbound::Accepted { stream, remote, next_hops })
        };
        match accepted.await {
            Ok(event) => {
                last.clear();
                if inbound.send(event).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let error = error.to_string();
                if error != last {
                    warn!(
                        %error,
                        "cannot accept BGP connections; trying again: if there are too many open \
                         files, raise LimitNOFILE in the unit"
                    );
                    last = error;
                }
                // Most likely no descriptor is left, which does not change within microseconds.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
