//! A speaker for tests of what is around it.

use tidegate_bgp::speaker::Local;
use tidegate_bgp::types::{Asn, RouterId};
use tokio::sync::mpsc;

use super::{BgpHandle, Keys, Settings, start};
use crate::clock::Clock;

/// A speaker without routes and without anybody to talk to, for those who are tried with one.
pub(crate) fn alone() -> BgpHandle {
    let router_id = RouterId::new([10, 0, 0, 1].into()).unwrap();
    let settings = Settings {
        local: Local { asn: Asn::new(65_001).unwrap(), router_id },
        listen: Vec::new(),
        keys: Keys::default(),
        seed: 1,
        restarted: false,
        next_hops: None,
        heir: None,
    };
    let (links, _) = crate::link_io::start().unwrap();
    let (reports, _) = mpsc::channel(1);
    start(settings, Clock::start(), links, reports).unwrap()
}
