//! Part `control`: how long planning takes, and how much a change touches. Counts are exact;
//! times are the best of a few runs, so that another program on the machine is not measured.
//!
//! `cargo bench --package tidegate-plan --bench control`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and may fail")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

use core::fmt::Write as _;
use core::net::{IpAddr, Ipv4Addr};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidegate_bgp::time::Timestamp;
use tidegate_config::Desired;
use tidegate_plan::explain::explain;
use tidegate_plan::observed::{Observed, Way};
use tidegate_plan::step::Step;
use tidegate_plan::{Memory, Plan, Rings, plan_with};

/// Rounds in which everything has long converged.
const ROUNDS_MAX: usize = 64;

fn main() {
    println!("| services x backends | measured | result |\n| --- | --- | --- |");
    for (services, backends) in [(64, 100), (1_000, 8), (10_000, 100)] {
        run(services, backends);
    }
}

/// Services on as few VIPs as ports allow, all with the same backends.
fn desired(services: u32, backends: u32) -> Desired {
    let mut text =
        String::from("[router]\nasn = 65001\nrouter-id = \"192.0.2.1\"\ninterfaces = [\"eth0\"]\n");
    for service in 0..services {
        let [_, _, c, d] = (service / 8).to_be_bytes();
        let port = 80 + service % 8;
        write!(
            text,
            "[[service]]\nname = \"s{service}\"\nvip = \"198.51.{c}.{d}\"\nport = {port}\n\
             health = {{ type = \"tcp\" }}\nbackend = ["
        )
        .unwrap();
        for backend in 0..backends {
            write!(text, "{{ address = \"{}\" }}, ", address(backend)).unwrap();
        }
        text.push_str("]\n");
    }
    match tidegate_config::check("bench.toml", &text) {
        Ok(checked) => checked.desired,
        Err(_) => Desired { services: BTreeMap::new(), ..desired(1, backends) },
    }
}

fn address(backend: u32) -> IpAddr {
    let [_, _, c, d] = backend.to_be_bytes();
    Ipv4Addr::new(10, 0, c, d + 1).into()
}

/// All backends healthy and reachable, nothing in the maps.
fn world(desired: &Desired) -> Observed {
    let mut observed = Observed::default();
    observed.datapath.attached = true;
    for service in desired.services.values() {
        for (number, addr) in (0_u8..).zip(service.backends.keys()) {
            observed.healthy.insert((service.vip, *addr));
            observed.ways.insert(*addr, way(number));
        }
    }
    observed
}

fn way(number: u8) -> Way {
    Way {
        egress_ifindex: 2,
        vlan: None,
        source_mac: [2, 0, 0, 0, 0, 1],
        next_hop_mac: [2, 0, 0, 0, 1, number],
        on_link: true,
        mtu: 1500,
        source_v4: Some(Ipv4Addr::new(10, 0, 0, 254)),
        source_v6: None,
    }
}

/// Rounds until nothing is left to do; the time that planning took, and slots written.
fn converge(rings: &mut Rings, desired: &Desired, observed: &mut Observed) -> (Duration, usize) {
    let (mut memory, now) = (Memory::default(), Timestamp::default());
    let (mut took, mut slots) = (Duration::ZERO, 0);
    for _ in 0..ROUNDS_MAX {
        memory.on_look(observed, now);
        let (plan, time) = timed(|| plan_with(rings, desired, observed, now));
        took += time;
        if plan.steps.is_empty() {
            return (took, slots);
        }
        slots += written(&plan);
        plan.steps.iter().for_each(|step| observed.apply(step));
    }
    (took, slots)
}

fn written(plan: &Plan) -> usize {
    let slots = |step: &Step| match step {
        Step::PutSlots { slots } => slots.len(),
        _ => 0,
    };
    plan.steps.iter().map(slots).sum()
}

fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = act();
    (result, start.elapsed())
}

/// The best of five.
fn best<T>(mut act: impl FnMut() -> T) -> (T, Duration) {
    let mut best = timed(&mut act);
    for _ in 0..4 {
        let next = timed(&mut act);
        if next.1 < best.1 {
            best = next;
        }
    }
    best
}

fn run(services: u32, backends: u32) {
    let row =
        |what: &str, result: String| println!("| {services} x {backends} | {what} | {result} |");
    let desired = desired(services, backends);
    if desired.services.is_empty() {
        row("all", "refused: the rings of so many services do not fit".to_owned());
        return;
    }
    let mut observed = world(&desired);
    let mut rings = Rings::default();
    let now = Timestamp::default();
    let (_, first) = timed(|| plan_with(&mut Rings::default(), &desired, &observed, now));
    row("first plan, no ring made yet", format!("{first:.1?}"));
    let (all, slots) = converge(&mut rings, &desired, &mut observed);
    row("all plans until nothing is left to do", format!("{all:.1?}, {slots} slots"));
    let (plan, again) = best(|| plan_with(&mut rings, &desired, &observed, now));
    row("plan when nothing changed", format!("{again:.1?}, {} steps", plan.steps.len()));

    let mut failed = observed.clone();
    let addr = address(0);
    let before = plan.vips.values().map(|vip| vip.backends.get(&addr).map_or(0, |b| b.slots));
    let before: u32 = before.sum();
    failed.healthy.retain(|(_, backend)| *backend != addr);
    let (plan, verdict) = best(|| plan_with(&mut rings, &desired, &failed, now));
    let moved = written(&plan);
    row("plan when one backend failed", format!("{verdict:.1?}, {moved} slots, it had {before}"));

    let mut heavier = desired.clone();
    if let Some(backend) =
        heavier.services.values_mut().next().and_then(|service| service.backends.get_mut(&addr))
    {
        backend.weight = 5;
    }
    let (_, told) = best(|| explain(&desired, &heavier, &observed, now));
    row("explain one weight", format!("{told:.1?}"));
    let (_, told) = best(|| explain(&desired, &desired.clone(), &observed, now));
    row("explain nothing", format!("{told:.1?}"));
    let empty = Desired { services: BTreeMap::new(), ..desired.clone() };
    let (_, told) = timed(|| explain(&empty, &desired, &world(&desired), now));
    row("explain all of it, from nothing", format!("{told:.1?}"));
}
