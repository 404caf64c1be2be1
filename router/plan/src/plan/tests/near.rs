//! The first answer to news says nothing that a whole plan would not.

use proptest::prelude::*;

use super::property::{any_desired, any_garbage, any_weather, order_drain};
use super::*;
use crate::plan_near;

fn near(world: &World, desired: &Desired, news: &BTreeSet<ServiceAddr>) -> Vec<Step> {
    plan_near(&mut Rings::default(), desired, &world.observed, news, world.now)
}

/// Two services on each of `vips` VIPs; all those of one port have the same three backends.
fn farms(vips: u8) -> (World, Desired) {
    let vip = |n: u8, port| tcp(&format!("192.0.2.{n}"), port);
    let all: Vec<Service> = (1..=vips)
        .flat_map(|n| [service(vip(n, 80), 1..=3), service(vip(n, 443), 4..=6)])
        .collect();
    let desired = desired(&all);
    let mut world = World::new();
    world.all_healthy(&desired);
    world.converge(&desired);
    (world, desired)
}

/// What the check of one backend says of all services that have it.
fn fails(world: &mut World, desired: &Desired, down: IpAddr) -> BTreeSet<ServiceAddr> {
    world.observed.healthy.retain(|&(_, addr)| addr != down);
    let with = desired.services.values().filter(|spec| spec.backends.contains_key(&down));
    with.map(|spec| spec.vip).collect()
}

#[test]
fn in_a_world_at_rest_a_failure_asks_for_nothing_more() {
    let (mut world, desired) = farms(5);
    for (down, withdrawn) in [(1, 0), (2, 0), (3, 5)] {
        let news = fails(&mut world, &desired, backend(down));
        let whole = world.plan(&desired).steps;
        let steps = near(&world, &desired, &news);
        assert_eq!(steps, whole);
        let withdraws = steps.iter().filter(|step| matches!(step, Step::Withdraw { .. }));
        assert_eq!(withdraws.count(), withdrawn, "one VIP for each service without a backend");
        assert!(steps.iter().any(|step| matches!(step, Step::PutSlots { .. })));
        world.converge(&desired);
        assert_eq!(near(&world, &desired, &news), [], "the news are old");
    }
}

#[test]
fn a_service_that_is_alone_with_its_news_is_left_to_the_whole_plan() {
    let (mut world, desired) = farms(2);
    let one = tcp("192.0.2.1", 80);
    world.observed.healthy.remove(&(one, backend(1)));
    assert_eq!(near(&world, &desired, &[one].into()), [], "it wants a ring of its own");
    assert!(!world.plan(&desired).steps.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn every_step_is_one_of_the_whole_plan(
        garbage in proptest::option::of(any_garbage()),
        acts in proptest::collection::vec(
            (any_desired(), any_weather(), 1..6_usize, 0..30_u64, 0..8_u8), 1..5
        ),
        of_news in any::<u8>(),
    ) {
        let mut world = World::new();
        if let Some(garbage) = garbage {
            garbage.strew(&mut world);
        }
        for (desired, weather, rounds, wait_secs, drain) in acts {
            weather.blow(&mut world);
            order_drain(&mut world, &desired, drain);
            let news = desired.services.values().enumerate();
            let news: BTreeSet<ServiceAddr> =
                news.filter(|(n, _)| of_news >> n & 1 == 1).map(|(_, spec)| spec.vip).collect();
            for _ in 0..rounds {
                let whole = world.plan(&desired).steps;
                for step in near(&world, &desired, &news) {
                    prop_assert!(whole.contains(&step), "{:?} is not in {:?}", step, whole);
                }
                world.round(&desired);
            }
            world.now = world.now + Duration::from_secs(wait_secs);
        }
    }
}
