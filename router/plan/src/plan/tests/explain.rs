//! What is told before a change is what the change then does: routes and slots against the
//! planner's world, sessions against the real speaker.

use std::sync::Arc;

use proptest::prelude::*;
use tidegate_bgp::speaker::{
    Action, ConnEvent, ConnId, Local, NextHops, Order, PeerConfig, Speaker, State,
};
use tidegate_bgp::types::{Family, HoldTime};
use tidegate_bgp::wire::{self, Capability, Open};

use super::property::{any_desired, any_weather};
use super::*;
use crate::explain::{Explanation, Fate, Moves, Route, Session, explain};

fn told(before: &Desired, after: &Desired, world: &World) -> Explanation {
    explain(before, after, &world.observed, world.now)
}

#[test]
fn nothing_changes_when_nothing_is_changed() {
    let (world, desired, _) = running(3);
    assert_eq!(told(&desired, &desired.clone(), &world), Explanation::default());
}

#[test]
fn a_backend_more_takes_its_share_and_a_weight_of_zero_gives_it_back() {
    let (mut world, before, vip) = running(3);
    let mut after = before.clone();
    let spec = after.services.values_mut().next().unwrap();
    spec.backends.insert(backend(4), Weight { weight: 1 });
    let explanation = told(&before, &after, &world);
    let [moves] = explanation.services.values().copied().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!((moves.vip, moves.fate, moves.of), (vip, Fate::Stays, 1024));
    assert!((256..340).contains(&moves.moved), "a quarter, and a little: {}", moves.moved);
    assert_eq!(moves.drain_millis, 60_000);
    assert_eq!((explanation.routes.len(), explanation.sessions.len()), (0, 0));
    world.observed.healthy.insert((vip, backend(4)));
    world.converge(&after);
    let mut drained = after.clone();
    let spec = drained.services.values_mut().next().unwrap();
    spec.backends.insert(backend(4), Weight { weight: 0 });
    let back = told(&after, &drained, &world).services.into_values().next().unwrap();
    assert_eq!(back.moved, moves.moved);
}

#[test]
fn a_service_that_goes_takes_its_route_along_and_a_rename_moves_nothing() {
    let (world, before, vip) = running(2);
    let mut after = before.clone();
    let (name, spec) = after.services.pop_first().unwrap();
    let gone = told(&before, &after, &world);
    let (last_port, fate) = (vip.port, Fate::Removed);
    let moves = Moves { vip, last_port, fate, moved: 1024, of: 1024, drain_millis: 60_000 };
    assert_eq!(gone.services, [(name, moves)].into());
    assert_eq!(gone.routes, [(vip.addrs, Route::Withdrawn(Reason::NotConfigured))].into());
    after.services.insert("renamed".into(), spec);
    let renamed = told(&before, &after, &world);
    assert_eq!((renamed.services.len(), renamed.routes.len()), (0, 0));
    assert_eq!(renamed.changes.len(), 2);
}

#[test]
fn more_healthy_backends_asked_for_than_there_are_withdraws() {
    let (mut world, before, vip) = running(3);
    world.observed.healthy.remove(&(vip, backend(1)));
    world.converge(&before);
    let mut after = before.clone();
    after.services.values_mut().next().unwrap().advertise.as_mut().unwrap().min_healthy = 3;
    let explanation = told(&before, &after, &world);
    assert_eq!(explanation.routes, [(vip.addrs, Route::Withdrawn(Reason::TooFewHealthy))].into());
    assert_eq!(explanation.services.len(), 0);
}

#[test]
fn what_only_a_start_can_change_is_named() {
    let (world, before, _) = running(2);
    let mut after = before.clone();
    after.router.pin_dir = "/sys/fs/bpf/other".into();
    assert_eq!(told(&before, &after, &world).restart, ["router.pin-dir"]);
}

/// What the steps do to the routes, from what they were to what they are.
fn done(
    plans: &[Plan],
    before: &BTreeMap<Prefix, RouteAttributes>,
    after: &BTreeMap<Prefix, RouteAttributes>,
) -> BTreeMap<Prefix, &'static str> {
    let mut done = BTreeMap::new();
    for step in plans.iter().flat_map(|plan| &plan.steps) {
        let (prefix, is_withdrawn) = match step {
            Step::Advertise { prefix, .. } => (prefix, false),
            Step::Withdraw { prefix, .. } => (prefix, true),
            _ => continue,
        };
        let word = match (before.get(prefix), after.get(prefix)) {
            (None, None) => panic!("{prefix} is announced for a moment"),
            (None, Some(_)) => "announced",
            (Some(_), None) => "withdrawn",
            (Some(_), Some(_)) if is_withdrawn => "interrupted",
            (Some(before), Some(after)) if before != after => "changed",
            (Some(_), Some(_)) => continue, // Announced again.
        };
        if done.get(prefix) != Some(&"interrupted") {
            done.insert(*prefix, word);
        }
    }
    done
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn routes_and_slots_that_change_are_exactly_those_that_were_named(
        before in any_desired(), after in any_desired(), mut weather in any_weather()
    ) {
        let mut world = World::new();
        weather.unproven = 0;
        weather.blow(&mut world);
        world.converge(&before);
        let explanation = told(&before, &after, &world);
        let checked = |desired: &Desired| -> BTreeSet<(ServiceAddr, IpAddr)> {
            let services = desired.services.values().filter(|service| service.health.is_some());
            services.flat_map(|s| s.backends.keys().map(|&addr| (s.vip, addr))).collect()
        };
        let new = &checked(&after) - &checked(&before);
        let rings = |world: &World| -> BTreeMap<ServiceAddr, Vec<Option<IpAddr>>> {
            let keys = key::entries(&world.observed.datapath);
            // Of a service with many ports, the first one.
            let is_first = |vip: &ServiceAddr| {
                let services = before.services.values().chain(after.services.values());
                services.into_iter().any(|service| service.vip == *vip)
            };
            let vips = keys.into_keys().filter_map(MapKey::service).filter(is_first);
            vips.map(|vip| (vip, world.ring(vip))).collect()
        };
        let (old_rings, old_routes) = (rings(&world), world.observed.advertised.clone());
        // New checks have no verdict at first; then they are answered well, as it was assumed.
        world.observed.healthy = &world.observed.healthy - &new;
        world.observed.unproven.clone_from(&new);
        let mut plans = Vec::new();
        loop {
            let plan = world.round(&after);
            if plan.steps.is_empty() {
                break;
            }
            plans.push(plan);
        }
        world.observed.unproven.clear();
        world.observed.healthy.extend(&new);
        plans.extend(world.converge(&after));
        let named: BTreeMap<Prefix, &str> = explanation
            .routes
            .iter()
            .map(|(prefix, route)| match route {
                Route::Announced(_) => (*prefix, "announced"),
                Route::Changed(_) => (*prefix, "changed"),
                Route::Withdrawn(_) => (*prefix, "withdrawn"),
                Route::Interrupted(..) => (*prefix, "interrupted"),
            })
            .collect();
        prop_assert_eq!(done(&plans, &old_routes, &world.observed.advertised), named);
        let new_rings = rings(&world);
        let by_vip: BTreeMap<ServiceAddr, Moves> =
            explanation.services.values().map(|moves| (moves.vip, *moves)).collect();
        for vip in old_rings.keys().chain(new_rings.keys()) {
            let (old, new) = (old_rings.get(vip), new_rings.get(vip));
            let Some((old, new)) = old.zip(new) else {
                prop_assert!(by_vip[vip].fate != Fate::Stays);
                continue;
            };
            let size = old.len().max(new.len());
            let differs = |place: &usize| {
                old[place * old.len() / size] != new[place * new.len() / size]
            };
            let moved = (0..size).filter(differs).count();
            let told = by_vip.get(vip).map_or(0, |moves| moves.moved);
            prop_assert_eq!(told as usize, moved, "{:?}", vip);
        }
    }
}

/// A peer of which anything may differ.
fn any_peer() -> impl Strategy<Value = PeerConfig> {
    let hold_time = prop_oneof![Just(90_u16), Just(30)];
    let families = prop_oneof![Just(Family::UNICAST.to_vec()), Just(vec![Family::Ipv4Unicast])];
    let next_hop = proptest::option::of(Just(Ipv4Addr::new(192, 0, 2, 7)));
    let local = proptest::option::of(Just(IpAddr::from([10, 9, 0, 1])));
    let session = (0..2_u8, 179..181_u16, 0..2_u32, hold_time, families, local);
    let soft = (any::<bool>(), 5..7_u64, next_hop);
    (session, soft).prop_map(
        |((net, port, asn, hold_time, families, local_addr), (passive, retry, v4))| {
            let remote = core::net::SocketAddr::from(([10, 9, net + 1, 0], port));
            PeerConfig {
                local_addr,
                passive,
                hold_time: HoldTime::from_secs(hold_time).unwrap(),
                connect_retry: Duration::from_secs(retry),
                families,
                next_hops: NextHops { v4, v6: None },
                ..PeerConfig::new("".into(), remote, Asn::new(65_002 + asn).unwrap())
            }
        },
    )
}

/// Peers 0 to 3, some of them missing; the last octet of the address is the peer's.
fn any_peers() -> impl Strategy<Value = BTreeMap<String, PeerConfig>> {
    proptest::collection::btree_map(0..4_u8, any_peer(), 0..4).prop_map(|peers| {
        let named = |(number, mut peer): (u8, PeerConfig)| {
            let name = format!("peer-{number}");
            peer.name = name.as_str().into();
            let IpAddr::V4(addr) = peer.remote.ip() else { panic!("IPv4 only") };
            let [a, b, c, _] = addr.octets();
            peer.remote.set_ip([a, b, c, number + 10].into());
            (name, peer)
        };
        peers.into_iter().map(named).collect()
    })
}

/// A speaker and its sessions, all of them up.
struct Sessions {
    speaker: Speaker,
    now: Timestamp,
    conns: BTreeMap<ConnId, String>,
}

const OURS: NextHops = NextHops { v4: Some(Ipv4Addr::new(10, 9, 0, 1)), v6: None };

impl Sessions {
    fn up(peers: &BTreeMap<String, PeerConfig>) -> Self {
        let router_id = RouterId::new(Ipv4Addr::new(10, 9, 0, 1)).unwrap();
        let local = Local { asn: Asn::new(65_001).unwrap(), router_id };
        let mut sessions =
            Self { speaker: Speaker::new(local, 1), now: secs(1), conns: BTreeMap::new() };
        for (name, peer) in peers {
            let mut out = sessions.order(Order::PutPeer(peer.clone()));
            let now = sessions.now;
            let dialled = out.iter().find_map(|action| match action {
                Action::Dial { conn, .. } => Some(*conn),
                _ => None,
            });
            let speaker = &mut sessions.speaker;
            let conn = if let Some(conn) = dialled {
                speaker.on_conn(now, ConnEvent::Connected { conn, next_hops: OURS }, &mut out);
                conn
            } else {
                speaker.accept(now, peer.remote, OURS, &mut out).unwrap()
            };
            let open = Open {
                my_as: u16::try_from(peer.remote_as.get()).unwrap(),
                hold_time: HoldTime::DEFAULT,
                router_id: RouterId::new(Ipv4Addr::new(10, 9, 9, 9)).unwrap(),
                capabilities: vec![
                    Capability::Multiprotocol { afi: 1, safi: 1 },
                    Capability::FourOctetAs(peer.remote_as),
                ],
            };
            speaker.on_bytes(now, conn, &wire::encode_open(&open), &mut out);
            speaker.on_bytes(now, conn, &wire::encode_keepalive(), &mut out);
            sessions.conns.insert(conn, name.clone());
        }
        let all_up = sessions.speaker.peers().iter().all(|peer| peer.state == State::Established);
        assert!(all_up, "{:?}", sessions.speaker.peers());
        sessions
    }

    fn order(&mut self, order: Order) -> Vec<Action> {
        let mut out = Vec::new();
        self.speaker.on_order(self.now, order, &mut out);
        self.speaker.on_time(self.now, &mut out);
        out
    }

    /// What the daemon tells the speaker when the configuration is replaced; the peers whose
    /// connection is closed.
    fn replace(
        &mut self,
        before: &BTreeMap<String, PeerConfig>,
        after: &BTreeMap<String, PeerConfig>,
    ) -> BTreeSet<String> {
        let gone = before.keys().filter(|name| !after.contains_key(*name));
        let gone = gone.map(|name| Order::RemovePeer(Arc::from(name.as_str())));
        let put = after.values().cloned().map(Order::PutPeer);
        let orders: Vec<Order> = gone.chain(put).collect();
        let actions: Vec<Action> = orders.into_iter().flat_map(|order| self.order(order)).collect();
        let closed = |action: &Action| match action {
            Action::Close { conn } => self.conns.get(conn).cloned(),
            _ => None,
        };
        actions.iter().filter_map(closed).collect()
    }
}

proptest! {
    #[test]
    fn the_sessions_that_reset_are_exactly_those_that_were_named(
        before in any_peers(), after in any_peers()
    ) {
        let mut sessions = Sessions::up(&before);
        let with = |peers: &BTreeMap<String, PeerConfig>| {
            Desired { peers: peers.clone(), ..desired(&[]) }
        };
        let named = explain(
            &with(&before), &with(&after), &Observed::default(), sessions.now
        ).sessions;
        let closed = sessions.replace(&before, &after);
        let told = |wanted: fn(&Session) -> bool| -> BTreeSet<String> {
            named.iter().filter(|(_, session)| wanted(session)).map(|(n, _)| n.clone()).collect()
        };
        prop_assert_eq!(closed, told(|session| *session != Session::Opened));
        let still_up: BTreeSet<String> = sessions
            .speaker
            .peers()
            .iter()
            .filter(|peer| peer.state == State::Established)
            .map(|peer| peer.name.to_string())
            .collect();
        let untouched = after.keys().filter(|name| !named.contains_key(*name)).cloned().collect();
        prop_assert_eq!(still_up, untouched);
        for (name, session) in &named {
            let keys = matches!(session, Session::Reset { keys } if !keys.is_empty());
            prop_assert!(keys || before.contains_key(name) != after.contains_key(name));
        }
    }
}
