use proptest::prelude::*;

use super::*;

const TERMS: Terms = Terms { deadline: Duration::from_secs(100), quiet: Duration::from_secs(10) };

fn secs(secs: u64) -> Timestamp {
    Timestamp::default() + Duration::from_secs(secs)
}

fn vip() -> Prefix {
    Prefix::host(IpAddr::from([192, 0, 2, 1]))
}

fn backend() -> Target {
    Target::Backend { service: "web".into(), backend: IpAddr::from([10, 0, 0, 1]) }
}

fn all() -> [Target; 3] {
    [backend(), Target::Vip(vip()), Target::Node]
}

/// Seconds, and packets so far.
type Look = (u64, Option<u64>);
/// Seconds, the phase that began, and packets per second that still came.
type Seen = Vec<(u64, &'static str, u64)>;

/// Every look of one target: seconds, packets so far, and the phase after it.
fn run(target: &Target, looks: &[Look]) -> Seen {
    let mut drains = Drains::default();
    drains.order(target.clone(), TERMS, secs(0));
    let mut seen = Vec::new();
    for &(at, packets) in looks {
        for moved in drains.look(secs(at), |_| packets) {
            assert_eq!(moved.target, *target);
            seen.push((at, moved.to.name(), moved.rate));
        }
    }
    seen
}

#[test]
fn traffic_leaves_or_the_time_is_over() {
    let steady = |until: u64| (0..=until).map(|at| (at, Some(at * 50))).collect::<Vec<_>>();
    let ends = |after: u64| (0..=200).map(|at| (at, Some(at.min(after) * 50))).collect::<Vec<_>>();
    let unknown = (0..=200).map(|at| (at, None)).collect::<Vec<_>>();
    let silent = (0..=200).map(|at| (at, Some(7))).collect::<Vec<_>>();
    let vip = || Target::Vip(vip());
    let cases: [(&str, Target, Vec<Look>, Seen); 7] = [
        ("a backend without traffic", backend(), silent.clone(), vec![(10, "drained", 0)]),
        ("a backend whose flows end", backend(), ends(30), vec![(40, "drained", 0)]),
        ("one whose flows do not", backend(), steady(200), vec![(100, "drained", 50)]),
        ("a VIP without traffic", vip(), silent, vec![(10, "emptying", 0), (20, "drained", 0)]),
        (
            "a VIP that routers leave",
            Target::Node,
            ends(30),
            vec![(40, "emptying", 0), (50, "drained", 0)],
        ),
        (
            "a VIP that they do not leave",
            vip(),
            steady(200),
            vec![(75, "emptying", 50), (100, "drained", 50)],
        ),
        (
            "counters that cannot be read",
            Target::Node,
            unknown,
            vec![(75, "emptying", 0), (100, "drained", 0)],
        ),
    ];
    for (name, target, looks, wanted) in cases {
        assert_eq!(run(&target, &looks), wanted, "{name}");
    }
}

#[test]
fn an_order_for_what_drains_gives_it_another_deadline() {
    let mut drains = Drains::default();
    drains.order(Target::Node, TERMS, secs(0));
    assert_eq!(drains.look(secs(75), |_| None).len(), 1);
    drains.order(Target::Node, TERMS, secs(80));
    let drain = drains.get(&Target::Node).unwrap();
    assert_eq!((drain.phase, drain.deadline()), (Phase::Emptying, Some(secs(180))));
    assert!(drains.undrain(&Target::Node) && !drains.undrain(&Target::Node));
    assert_eq!(drains.look_at(secs(81)), None);
}

#[test]
fn a_vip_stands_where_the_further_of_its_drains_does() {
    let vip = vip();
    let mut imposed = Imposed { node: Some(Phase::Shedding), ..Imposed::default() };
    assert_eq!(imposed.vip(vip), Some(Phase::Shedding));
    imposed.vips.insert(vip, Phase::Drained);
    assert_eq!(imposed.vip(vip), Some(Phase::Drained));
    imposed.node = None;
    assert_eq!(imposed.vip(Prefix::host(IpAddr::from([192, 0, 2, 2]))), None);
}

#[test]
fn a_last_resort_keeps_what_was_said_of_the_route() {
    let own = Community(65_001 << 16 | 7);
    let attributes =
        RouteAttributes { med: Some(5), communities: vec![own], ..RouteAttributes::default() };
    let wanted = vec![own, Community::GRACEFUL_SHUTDOWN];
    let found = last_resort(&attributes);
    assert_eq!(
        (found.med, found.local_pref, found.communities),
        (Some(5), Some(0), wanted.clone())
    );
    let twice = last_resort(&last_resort(&attributes));
    assert_eq!(twice.communities, wanted);
}

#[test]
fn every_phase_can_be_left_by_its_deadline_and_by_an_operator() {
    for kind in [Kind::Backend, Kind::Vip] {
        let next = |from, cause| next(kind, from, cause).map(|row| row.to);
        let mut phase = next(None, Cause::Ordered).unwrap();
        while let Some(now) = phase {
            assert_eq!(next(phase, Cause::Undrained), Some(None), "{kind:?} {now:?}");
            let on = next(phase, Cause::Deadline);
            assert_eq!(on, next(phase, Cause::Quiet), "{kind:?} {now:?}");
            assert_eq!(on.is_none(), now == Phase::Drained, "{kind:?} {now:?}");
            assert!(on.is_none() || on > Some(phase), "only forward: {kind:?} {now:?}");
            phase = on.flatten();
        }
    }
    for (n, row) in TRANSITIONS.iter().enumerate() {
        let same = |other: &&Transition| {
            (other.kind, other.from, other.cause) == (row.kind, row.from, row.cause)
        };
        assert_eq!(TRANSITIONS.iter().filter(same).count(), 1, "row {n} stands there twice");
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Order(u8, u16, u16),
    Undrain(u8),
    /// So many milliseconds go by, with so many packets.
    Pass(u16, u8),
    Blind(u16),
    Restart,
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (0..3_u8, 1..200_u16, 1..30_u16).prop_map(|(n, d, q)| Act::Order(n, d, q)),
        1 => (0..3_u8).prop_map(Act::Undrain),
        12 => (0..9_000_u16, prop_oneof![2 => Just(0_u8), 1 => any::<u8>()])
            .prop_map(|(millis, packets)| Act::Pass(millis, packets)),
        1 => (0..9_000_u16).prop_map(Act::Blind),
        1 => Just(Act::Restart),
    ]
}

/// What a test remembers of a target by itself.
#[derive(Clone, Copy)]
struct Model {
    ends_at: Timestamp,
    quiet: Duration,
    /// The last packet, the last phase, or the last process began then.
    calm_since: Timestamp,
    phase: Option<Phase>,
}

proptest! {
    #[test]
    fn it_is_over_in_time_and_never_while_packets_come(
        acts in proptest::collection::vec(any_act(), 1..60),
    ) {
        let mut drains = Drains::default();
        let mut models: BTreeMap<Target, Model> = BTreeMap::new();
        let (mut now, mut total) = (secs(1_000), 0_u64);
        for act in acts {
            let (mut packets, mut came) = (Some(total), false);
            match act {
                Act::Order(n, deadline, quiet) => {
                    let terms = Terms {
                        deadline: Duration::from_secs(deadline.into()),
                        quiet: Duration::from_secs(quiet.into()),
                    };
                    let target = all()[usize::from(n)].clone();
                    drains.order(target.clone(), terms, now);
                    let phase = drains.get(&target).map(|drain| drain.phase);
                    let model = models.entry(target).or_insert(Model {
                        ends_at: now, quiet: terms.quiet, calm_since: now, phase,
                    });
                    (model.ends_at, model.quiet) = (now + terms.deadline, terms.quiet);
                    continue;
                }
                Act::Undrain(n) => {
                    let target = &all()[usize::from(n)];
                    prop_assert_eq!(drains.undrain(target), models.remove(target).is_some());
                    continue;
                }
                Act::Pass(millis, count) => {
                    now = now + Duration::from_millis(millis.into());
                    total += u64::from(count);
                    (packets, came) = (Some(total), count > 0);
                }
                Act::Blind(millis) => {
                    now = now + Duration::from_millis(millis.into());
                    (packets, came) = (None, true);
                }
                Act::Restart => {
                    let before: Vec<Phase> = drains.iter().map(|(_, it)| it.phase).collect();
                    drains = Drains::resume(drains.keep(now), now);
                    let after: Vec<Phase> = drains.iter().map(|(_, it)| it.phase).collect();
                    prop_assert_eq!(before, after);
                    for model in models.values_mut() {
                        model.calm_since = now;
                    }
                }
            }
            let moved = drains.look(now, |_| packets);
            for (target, drain) in drains.iter() {
                let model = models.get_mut(target).unwrap();
                let step = moved.iter().find(|moved| moved.target == *target);
                if came && step.is_none_or(|step| step.cause != Cause::Quiet) {
                    model.calm_since = now;
                }
                if let Some(step) = step {
                    prop_assert_eq!(next(target.kind(), model.phase, step.cause).map(|row| row.to), Some(Some(step.to)));
                    if step.cause == Cause::Quiet {
                        prop_assert!(now.since(model.calm_since) >= model.quiet);
                        prop_assert_eq!(drain.cut, 0);
                    }
                    model.calm_since = now;
                }
                model.phase = Some(drain.phase);
                prop_assert!(drain.phase != Phase::Shedding || now < model.ends_at);
                if now >= model.ends_at && step.is_none() {
                    prop_assert_eq!(drain.phase, Phase::Drained);
                }
            }
            prop_assert_eq!(drains.iter().count(), models.len());
            let at = drains.look_at(now);
            let is_over = drains.iter().all(|(_, it)| it.phase == Phase::Drained);
            prop_assert_eq!(at.is_none(), is_over);
        }
    }
}
