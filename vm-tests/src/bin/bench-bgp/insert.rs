//! What a prefix costs in the core alone: octets in, routes in the table, on one thread, without a
//! socket.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use tidegate_bgp::policy::{Chain, Policy, Then};
use tidegate_bgp::rib::Policies;
use tidegate_bgp::speaker::{Local, NextHops, Order, PeerConfig, Speaker};
use tidegate_bgp::time::Timestamp;
use tidegate_bgp::types::{Asn, Family, RouterId};

use tidegate_vm_tests::bench::feed::{DAEMON, OUR_AS, peer, sender_address, table};

const PREFIXES: u32 = 1_000_000;

/// As much as is read from a socket at a time.
const READ_BYTES: usize = 64 << 10;

/// CPU nanoseconds for each of a million prefixes.
///
/// # Errors
/// When the session does not come up, or not all routes arrive.
pub(crate) fn nanos_per_prefix() -> Result<f64> {
    let table = table::stream(0, PREFIXES);
    let (now, mut out) = (Timestamp::default(), Vec::new());
    let local = Local {
        asn: Asn::new(OUR_AS).context("our AS")?,
        router_id: RouterId::new(Ipv4Addr::from_bits(DAEMON)).context("our identifier")?,
    };
    let mut speaker = Speaker::new(local, 1);
    let from = IpAddr::V4(Ipv4Addr::from_bits(sender_address(0)));
    let asn = Asn::new(table::SENDER_AS).context("the sender's AS")?;
    let mut config = PeerConfig::new("sender".into(), SocketAddr::new(from, 179), asn);
    config.passive = true;
    config.families = vec![Family::Ipv4Unicast];
    let all = Policy { name: "all".into(), terms: Vec::new(), default: Then::Accept };
    let all = Arc::new(Chain { policies: vec![Arc::new(all)] });
    config.policies = Policies { import: Some(all), ..Policies::default() };
    speaker.on_order(now, Order::PutPeer(config), &mut out);
    let remote = SocketAddr::new(from, 1024);
    let conn = speaker.accept(now, remote, NextHops::default(), &mut out);
    let conn = conn.context("the speaker refuses the connection")?;
    speaker.on_bytes(now, conn, &peer::hello(sender_address(0), asn, 180)?, &mut out);
    let before = cpu_nanos()?;
    for read in table.chunks(READ_BYTES) {
        speaker.on_bytes(now, conn, read, &mut out);
    }
    let nanos = cpu_nanos()? - before;
    let routes = speaker.rib().len(Family::Ipv4Unicast);
    ensure!(routes == PREFIXES as usize, "only {routes} routes arrived");
    Ok(nanos / f64::from(PREFIXES))
}

/// Of this thread.
fn cpu_nanos() -> Result<f64> {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = schedstat.split_whitespace().next().context("no schedstat")?;
    Ok(first.parse()?)
}
