//! From what was typed to what is wanted.
//!
//! Each table is checked by itself in its module, then against the others. A table that cannot be
//! converted is still compared with the others, as far as it could be read.

mod across;
mod api;
mod datapath;
mod decision;
mod export;
mod flows;
mod guard;
mod health;
mod keychain;
mod nat;
mod peer;
mod policy;
mod quic;
mod router;
mod service;

use core::net::IpAddr;
use std::collections::BTreeMap;

use crate::desired::Desired;
use crate::diagnostic::Found;
use crate::raw::File;
use crate::read::{At, Tables};
use crate::value::Name;
use peer::Checked;

/// What the file wants; `None` after an error has been told.
pub(crate) fn desired(file: &File, found: &mut Found<'_>) -> Option<Desired> {
    // A version that is not ours may mean other things by the same keys.
    file.version.as_ref()?;
    let router = file.router.as_ref().map(|table| &table.value);
    let peers = tables(file.peers.as_ref());
    let services = tables(file.services.as_ref());

    let checked_router = router
        .zip(file.api.as_ref())
        .and_then(|(router, api)| router::check(router, &api.value, found));
    let our_as = router.and_then(|router| router.asn.as_ref()).map(|at| at.value);
    let named = policy::check(file, our_as, found);
    let checked_datapath =
        file.datapath.as_ref().and_then(|table| datapath::check(&table.value, router, found));
    let checked_guard = file.guard.as_ref().and_then(|table| guard::check(&table.value, found));
    let checked_flows = file.flows.as_ref().and_then(|table| flows::check(&table.value));
    let checked_nat = file.nat.as_ref().and_then(|table| nat::check(&table.value, found));
    let checked_decision = file.decision.as_ref().and_then(|table| decision::check(&table.value));
    let checked_peers: Vec<_> =
        peers.iter().map(|peer| peer::check(peer, router, &named, found)).collect();
    let keychains = keychain::chains(file, found);
    let signing: Vec<_> =
        peers.iter().map(|peer| keychain::signing(&peer.value, &keychains, found)).collect();
    let checked_services: Vec<_> =
        services.iter().map(|service| service::check(service, found)).collect();

    let caches = export::caches(file, found);
    let stations = export::stations(file, found);
    across::names_beside(file, found);
    across::check(file, peers, services, found);

    let mut desired = Desired {
        router: checked_router?,
        datapath: checked_datapath?,
        guard: checked_guard?,
        flows: checked_flows?,
        nat: checked_nat?,
        decision: checked_decision?,
        peers: BTreeMap::new(),
        ranges: BTreeMap::new(),
        signing: BTreeMap::new(),
        keychains,
        policies: named.policies,
        prefix_sets: named.prefixes,
        rpki_caches: caches?,
        bmp_stations: stations?,
        mrt: export::mrt(file)?,
        services: BTreeMap::new(),
    };
    for (signing, checked) in signing.into_iter().zip(checked_peers) {
        let checked = checked?;
        let name = checked.name().to_owned();
        desired.signing.extend(signing.map(|signing| (name.clone(), signing)));
        match checked {
            Checked::One(peer) => drop(desired.peers.insert(name, peer)),
            Checked::Range(range) => drop(desired.ranges.insert(name, range)),
        }
    }
    for checked in checked_services {
        let (name, service) = checked?;
        desired.services.insert(name, service);
    }
    Some(desired)
}

fn tables<T>(tables: Option<&At<Tables<T>>>) -> &[At<T>] {
    tables.map_or(&[], |tables| tables.value.0.read.as_slice())
}

/// The values in ascending order, so that the order of the file makes no difference; one that
/// stands there twice is an error.
fn distinct<T: Ord + Clone>(list: &[At<T>], found: &mut Found<'_>) -> Vec<T> {
    let mut sorted: Vec<&At<T>> = list.iter().collect();
    sorted.sort_by(|a, b| a.value.cmp(&b.value));
    for pair in sorted.windows(2) {
        if let [first, second] = pair
            && first.value == second.value
        {
            let sentence = format!("this stands in the list twice, first as {}", first.key);
            found.error(&second.span, &second.key, sentence, "remove one of them");
        }
    }
    sorted.into_iter().map(|at| at.value.clone()).collect()
}

/// What an address is for, which says what it may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// One end of a BGP session: it may be on this host.
    Session,
    /// An address that packets of others carry over the network.
    Network,
}

/// Why an address is none that a packet could be sent to, if so.
fn flaw(addr: IpAddr, role: Role) -> Option<&'static str> {
    let link_local_v4 = matches!(addr, IpAddr::V4(v4) if v4.is_link_local());
    let link_local_v6 = matches!(addr, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if addr.is_unspecified() {
        Some("the unspecified address")
    } else if addr.is_multicast() {
        Some("a multicast address")
    } else if matches!(addr, IpAddr::V4(v4) if v4.is_broadcast()) {
        Some("the broadcast address")
    } else if link_local_v6 || (link_local_v4 && role == Role::Network) {
        Some("a link-local address")
    } else if addr.is_loopback() && role == Role::Network {
        Some("a loopback address")
    } else {
        None
    }
}

/// Tells of an address that cannot have its role.
fn check_address(
    at: &At<impl Into<IpAddr> + Copy>,
    what: &str,
    role: Role,
    found: &mut Found<'_>,
) -> bool {
    let addr = at.value.into();
    let Some(flaw) = flaw(addr, role) else { return true };
    let sentence = format!("{addr} is {flaw}: it cannot be {what}");
    found.error(&at.span, &at.key, sentence, "write a unicast address");
    false
}

/// `service "web" (line 12)`, for a sentence about another table.
fn label(
    kind: &str,
    name: Option<&At<Name>>,
    span: &core::ops::Range<usize>,
    found: &Found<'_>,
) -> String {
    let line = found.line_of(span.start);
    match name {
        Some(name) => format!("{kind} {:?} (line {line})", name.value.0),
        None => format!("the {kind} in line {line}"),
    }
}
