//! End to end: frames over a cable (a veth pair) into the driver's hook, through the packet path,
//! and back, everything on one CPU.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use tidegate_config::desired::AttachMode;
use tidegate_vm_tests::bench::around::{Cable, Effect, TX, Traffic};
use tidegate_vm_tests::bench::edge::Edge;
use tidegate_vm_tests::bench::perf::{Cost, Pmu};
use tidegate_vm_tests::bench::table::{Spread, markdown};
use tidegate_vm_tests::frame::{eth, tcp};

use crate::world::{IPIP, VIP4, config, traffic4};

const NEAR: &str = "tg-near";
const FAR: &str = "tg-far";

/// What an empty program answered per second, in millions, where the bars were set.
const FLOOR_MPPS: f64 = 16.7;

/// A line of the table.
pub(crate) struct End {
    name: &'static str,
    /// Millions of packets per second, by round.
    mpps: Vec<f64>,
    cycles: Vec<f64>,
    /// The least millions per second, on the machine that the bars were set on.
    must: f64,
}

impl End {
    const EMPTY: Self = Self { name: "", mpps: Vec::new(), cycles: Vec::new(), must: 0.0 };

    /// A round: a run to get warm, and one that counts.
    fn run(&mut self, cable: &mut Cable, packets: u32, pmu: &Pmu) -> Result<()> {
        cable.run(packets / 4, pmu).with_context(|| self.name.to_owned())?;
        let Cost { elapsed, cycles, .. } =
            cable.run(packets, pmu).with_context(|| self.name.to_owned())?;
        self.mpps.push(f64::from(packets) / elapsed.as_secs_f64() / 1e6);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        self.cycles.push(cycles as f64 / f64::from(packets));
        Ok(())
    }

    fn best(&self) -> f64 {
        self.mpps.iter().copied().fold(0.0, f64::max)
    }
}

/// The last one is the floor.
pub(crate) fn failures(ends: &[End]) -> Vec<String> {
    let floor = ends.last().map_or(0.0, End::best);
    let is_comparable = floor > FLOOR_MPPS * 0.8;
    let too_slow = |end: &&End| {
        end.best() / floor < end.must / FLOOR_MPPS || (is_comparable && end.best() < end.must)
    };
    let say = |end: &End| {
        let End { name, must, .. } = end;
        let best = end.best();
        format!("{name}: {best:.1} Mpps, {:.2} of the floor, must be {must}", best / floor)
    };
    ends.iter().filter(too_slow).map(say).collect()
}

pub(crate) fn report(ends: &[End]) -> String {
    let floor = ends.last().map_or(0.0, End::best);
    let row = |end: &End| {
        vec![
            end.name.to_owned(),
            format!("{:.1}", end.best()),
            format!("{:.1}", Spread::of(end.mpps.iter().copied()).median),
            format!("{}", end.must),
            format!("{:.0}", Spread::of(end.cycles.iter().copied()).best),
            format!("{:.2}", end.best() / floor),
            format!("{:.2}", end.must / FLOOR_MPPS),
        ]
    };
    let rows: Vec<Vec<String>> = ends.iter().map(row).collect();
    let head =
        ["end to end over veth, one CPU", "Mpps", "median", "must", "cycles", "of floor", "must"];
    format!("\n{}", markdown(&head, &rows))
}

/// A namespace of this thread, which goes with it, with a cable in it. Returns the ends.
fn cable() -> Result<(u32, u32)> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    for arguments in [
        format!("link add {NEAR} type veth peer name {FAR}"),
        // No addresses: the kernel has nothing of its own to say on this cable.
        format!("link set {NEAR} addrgenmode none"),
        format!("link set {FAR} addrgenmode none"),
        format!("link set {NEAR} up"),
        format!("link set {FAR} up"),
    ] {
        let status = Command::new("ip").args(arguments.split(' ')).status().context("iproute2")?;
        ensure!(status.success(), "ip {arguments} failed");
    }
    Ok((if_nametoindex(NEAR)?, if_nametoindex(FAR)?))
}

pub(crate) fn measure(rounds: u32, packets: u32, pmu: &Pmu) -> Result<Vec<End>> {
    let (near, far) = cable()?;
    let frame = |flows| -> Traffic {
        traffic4(
            eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ipv4([10, 0, 0, 0].into(), VIP4).tcp(
                1_024,
                IPIP,
                tcp::ACK,
            ),
            flows,
        )
    };
    let effect = Effect { action: TX, growth: 0, rewrites: false };
    let names = [("ipip, 1 flow", 1, 10.5), ("ipip, 1 Mi flows", 1 << 20, 10.0)];
    let mut ends = names.map(|(name, _, must)| End { name, must, ..End::EMPTY });
    let mut floor = End { name: "an empty program", ..End::EMPTY };
    // The best of many short runs: others may be at the machine.
    for _ in 0..rounds {
        for ((_, flows, _), end) in names.iter().zip(&mut ends) {
            let mut edge = Edge::new(&config(1), far)?;
            edge.datapath.attach(&[FAR.to_owned()], AttachMode::Native)?;
            let mut cable = Cable::new(near, &frame(*flows), effect)?;
            end.run(&mut cable, packets, pmu)?;
        }
        let mut cable = Cable::new(near, &frame(1), effect)?;
        cable.answer_by_floor(far)?;
        floor.run(&mut cable, packets, pmu)?;
    }
    Ok(ends.into_iter().chain([floor]).collect())
}
