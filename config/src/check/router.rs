//! The node itself.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::collections::BTreeSet;

use tidegate_abi::DEVICES_MAX;

use super::{Role, api, check_address, distinct};
use crate::desired::Router;
use crate::diagnostic::Found;
use crate::raw::{ApiTable, RouterTable};
use crate::read::{At, List};
use crate::value::{BgpListen, Interface};

pub(super) fn check(raw: &RouterTable, api: &ApiTable, found: &mut Found<'_>) -> Option<Router> {
    let interfaces = raw.interfaces.as_ref().map(|list| interfaces(list, found));
    let listen = raw.listen.as_ref().map(|list| listen(&list.value.read, found));
    if let Some(source) = &raw.encap_source_v4 {
        check_address(source, "the source of a packet", Role::Network, found);
    }
    if let Some(source) = &raw.encap_source_v6 {
        check_address(source, "the source of a packet", Role::Network, found);
    }
    let api = api::check(api, found);
    Some(Router {
        asn: raw.asn.as_ref()?.value,
        router_id: raw.router_id.as_ref()?.value,
        listen: listen?,
        interfaces: interfaces?,
        attach: raw.attach.as_ref()?.value,
        hash_seed: raw.hash_seed.as_ref()?.value.0,
        encap_source_v4: raw.encap_source_v4.as_ref().map(|at| at.value),
        encap_source_v6: raw.encap_source_v6.as_ref().map(|at| at.value),
        pin_dir: raw.pin_dir.as_ref()?.value.clone(),
        state_dir: raw.state_dir.as_ref()?.value.clone(),
        drain_on_stop: raw.drain_on_stop.as_ref()?.value.0,
        api: api?,
    })
}

fn interfaces(list: &At<List<Interface>>, found: &mut Found<'_>) -> Vec<String> {
    let names = distinct(&list.value.read, found);
    if list.value.typed == 0 {
        let remedy = "name at least one interface, such as [\"eth0\"]";
        found.error(&list.span, &list.key, "no packet can arrive without an interface", remedy);
    }
    if names.len() > DEVICES_MAX as usize {
        let sentence = format!("{} interfaces are more than {DEVICES_MAX}", names.len());
        found.error(&list.span, &list.key, sentence, format!("name at most {DEVICES_MAX}"));
    }
    names.into_iter().map(|name| name.0).collect()
}

fn listen(list: &[At<BgpListen>], found: &mut Found<'_>) -> Vec<SocketAddr> {
    let open_to_all = |at: &&At<BgpListen>| at.value.0.ip().is_unspecified();
    let all: BTreeSet<_> = list.iter().filter(open_to_all).map(|at| at.value.0).collect();
    for at in list {
        let socket = at.value.0;
        if socket.ip().is_multicast() {
            let sentence = format!("{} is a multicast address: BGP is TCP", socket.ip());
            found.error(&at.span, &at.key, sentence, "write a unicast address");
        }
        let unspecified: IpAddr = match socket {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let covering = SocketAddr::new(unspecified, socket.port());
        if socket != covering && all.contains(&covering) {
            let sentence = format!("{socket} is covered by {covering} already");
            found.error(&at.span, &at.key, sentence, "remove one of them: both cannot be opened");
        }
    }
    distinct(list, found).into_iter().map(|listen| listen.0).collect()
}
