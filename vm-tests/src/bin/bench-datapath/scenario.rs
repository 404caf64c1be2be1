//! The scenarios: which frames, to which service, and what they may cost.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tidegate::bpf_io::Datapath;
use tidegate_abi::{Counter as Counted, DatapathConfig, features, vip_lens};
use tidegate_vm_tests::bench::around::{Around, Effect, Floor, PASS, TX, Traffic};
use tidegate_vm_tests::bench::count::Counter;
use tidegate_vm_tests::bench::edge::Edge;
use tidegate_vm_tests::bench::perf::Pmu;
use tidegate_vm_tests::bench::table::{PerPacket, Spread};
use tidegate_vm_tests::frame::{eth, tcp};

use crate::world::{
    CHANGING, CLIENT4, CLIENT6, GUE, IPIP, IPIP_OTHER, L2, LOOPBACK, NAT, config, guarded,
    gue_config, nat_config, quic_config, quic4, quic6, told_config, traffic4, traffic6, v4, v6,
};

/// What a scenario may cost on the machine that the bars were set on, net of the harness.
#[derive(Clone, Copy)]
struct Bar {
    ns: f64,
    cycles: Option<f64>,
}

impl Bar {
    /// Net nanoseconds of the encapsulating floors on that machine.
    const FLOOR_NS: f64 = 3.3;

    /// The same in floors, which is what another machine is judged by.
    fn floors(self) -> f64 {
        self.ns / Self::FLOOR_NS
    }
}

const fn ns(ns: f64) -> Bar {
    Bar { ns, cycles: None }
}

struct Scenario {
    name: &'static str,
    path: Path,
    traffic: Traffic,
    effect: Effect,
    bar: Bar,
}

/// A packet path of its own, as what one configuration uses is not in the program of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Path {
    Plain,
    Guarded,
    Nat,
    Gue,
    /// In GUE with a checksum.
    Summed,
    Quic,
    /// Told of: one in a thousand.
    Told,
}

impl Path {
    const ALL: [Self; 7] =
        [Self::Plain, Self::Guarded, Self::Nat, Self::Gue, Self::Summed, Self::Quic, Self::Told];

    fn edge(self) -> Result<Edge> {
        let mut edge = Edge::new(
            &match self {
                Self::Plain => config(1),
                Self::Guarded => guarded(),
                Self::Nat => nat_config(),
                Self::Gue => gue_config(false),
                Self::Summed => gue_config(true),
                Self::Quic => quic_config(),
                Self::Told => told_config(),
            },
            LOOPBACK,
        )?;
        match self {
            Self::Plain => edge.configure(&config(0))?, // The first of ten is drained, and stays so.
            Self::Nat => open_connections(&edge)?,
            _ => {}
        }
        Ok(edge)
    }
}

/// One of them, and what it cost in each round beside its two floors.
struct Measured {
    scenario: Scenario,
    program: Around,
    idle: Around,
    encap: Around,
    counted: Instructions,
    /// The empty program, the one under test, the floor that encapsulates.
    rounds: Vec<[PerPacket; 3]>,
}

pub(crate) struct Bench {
    paths: BTreeMap<Path, Edge>,
    load_times: LoadTimes,
    all: Vec<Measured>,
}

const KI64: u32 = 1 << 16;
const MI1: u32 = 1 << 20;
const MI16: u32 = 1 << 24;

const fn grows(growth: u32) -> Effect {
    Effect { action: TX, growth, rewrites: false }
}

/// Addresses, ports and checksums.
const TRANSLATES: Effect = Effect { action: TX, growth: 0, rewrites: true };
const PASSES: Effect = Effect { action: PASS, growth: 0, rewrites: false };

#[rustfmt::skip]
fn scenarios() -> Vec<Scenario> {
    let (ack, syn) = (tcp::ACK, tcp::SYN);
    let of = |path, name, traffic, effect, bar| Scenario { name, path, traffic, effect, bar };
    let row = |name, traffic, effect, bar| of(Path::Plain, name, traffic, effect, bar);
    let guarded = |name, traffic, bar| of(Path::Guarded, name, traffic, grows(20), bar);
    let told = |name, traffic, effect, bar| of(Path::Told, name, traffic, effect, bar);
    let nat = |name, traffic, bar| of(Path::Nat, name, traffic, TRANSLATES, bar);
    let strict = Bar { ns: 35.0, cycles: Some(160.0) };
    let other4 = eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ipv4(CLIENT4, Ipv4Addr::new(203, 0, 113, 9));
    let other6 = eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv6(CLIENT6, Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, 9));
    let neither = eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ether_type(0x0806).payload([0; 40]);
    vec![
        row("v4 TCP, ipip, 1 flow", traffic4(v4(IPIP, ack), 1), grows(20), strict),
        row("v4 TCP, ipip, 64 Ki flows", traffic4(v4(IPIP, ack), KI64), grows(20), ns(45.0)),
        row("v4 TCP, ipip, 1 Mi flows", traffic4(v4(IPIP, ack), MI1), grows(20), ns(45.0)),
        row("v4 TCP, 1 of 10 changing, 1 Mi flows", traffic4(v4(CHANGING, ack), MI1), grows(20), ns(90.0)),
        row("v4 SYN flood, 16 Mi sources", traffic4(v4(IPIP, syn), MI16), grows(20), ns(45.0)),
        row("v4 SYN flood, 1 of 10 changing", traffic4(v4(CHANGING, syn), MI16), grows(20), ns(90.0)),
        row("v4 TCP in IPv6, 1 flow", traffic4(v4(IPIP_OTHER, ack), 1), grows(40), ns(40.0)),
        row("v4 TCP, l2, 1 flow", traffic4(v4(L2, ack), 1), grows(0), ns(35.0)),
        row("v6 TCP, ipip, 1 flow", traffic6(v6(IPIP, ack), 1), grows(40), ns(40.0)),
        row("v6 TCP, ipip, 64 Ki flows", traffic6(v6(IPIP, ack), KI64), grows(40), ns(50.0)),
        row("v6 TCP, ipip, 1 Mi flows", traffic6(v6(IPIP, ack), MI1), grows(40), ns(50.0)),
        row("v6 TCP, 1 of 10 changing, 1 Mi flows", traffic6(v6(CHANGING, ack), MI1), grows(40), ns(90.0)),
        row("v6 SYN flood, 16 Mi sources", traffic6(v6(IPIP, syn), MI16), grows(40), ns(50.0)),
        row("v6 TCP in IPv4, 1 flow", traffic6(v6(IPIP_OTHER, ack), 1), grows(20), ns(40.0)),
        row("v6 TCP, l2, 1 flow", traffic6(v6(L2, ack), 1), grows(0), ns(40.0)),
        of(Path::Gue, "v4 TCP, gue, 1 flow", traffic4(v4(GUE, ack), 1), grows(28), ns(45.0)),
        of(Path::Gue, "v4 TCP, gue, 1 Mi flows", traffic4(v4(GUE, ack), MI1), grows(28), ns(55.0)),
        of(Path::Gue, "v6 TCP, gue, 1 flow", traffic6(v6(GUE, ack), 1), grows(48), ns(50.0)),
        of(Path::Summed, "v4 TCP, gue with checksum, 1 flow", traffic4(v4(GUE, ack), 1), grows(28), ns(96.0)),
        of(Path::Summed, "v6 TCP, gue with checksum, 1 flow", traffic6(v6(GUE, ack), 1), grows(48), ns(96.0)),
        of(Path::Quic, "v4 QUIC by connection id, 1 client", traffic4(quic4(), 1), grows(20), ns(54.0)),
        of(Path::Quic, "v4 QUIC by connection id, 1 Mi clients", traffic4(quic4(), MI1), grows(20), ns(54.0)),
        of(Path::Quic, "v6 QUIC by connection id, 1 client", traffic6(quic6(), 1), grows(40), ns(60.0)),
        guarded("v4 TCP, guard, 1 flow", traffic4(v4(IPIP, ack), 1), ns(120.0)),
        guarded("v4 SYN flood, guard, 16 Mi sources", traffic4(v4(IPIP, syn), MI16), ns(200.0)),
        told("v4 TCP, told of, 1 flow", traffic4(v4(IPIP, ack), 1), grows(20), ns(60.0)),
        told("v4 SYN flood, told of", traffic4(v4(IPIP, syn), MI16), grows(20), ns(120.0)),
        told("v6 TCP, told of, 1 flow", traffic6(v6(IPIP, ack), 1), grows(40), ns(65.0)),
        row("v4, not ours", traffic4(other4.tcp(1_024, 80, ack), 1), PASSES, ns(20.0)),
        row("v6, not ours", traffic6(other6.tcp(1_024, 80, ack), 1), PASSES, ns(20.0)),
        row("neither", traffic4(neither, 1), PASSES, ns(20.0)),
        nat("v4 TCP, nat, 1 flow", traffic4(v4(NAT, ack), 1), ns(50.0)),
        nat("v4 TCP, nat, 64 Ki flows", traffic4(v4(NAT, ack), KI64), ns(120.0)),
        nat("v6 TCP, nat, 1 flow", traffic6(v6(NAT, ack), 1), ns(60.0)),
        nat("v6 TCP, nat, 64 Ki flows", traffic6(v6(NAT, ack), KI64), ns(130.0)),
    ]
}

/// How long loading takes with all that a configuration can ask for: the best of some times, by the
/// clock for all, maps included, and of a processor for each program.
pub(crate) struct LoadTimes {
    all: Duration,
    programs: BTreeMap<&'static str, Duration>,
}

impl LoadTimes {
    /// Programs are verified side by side, so the thread must not be kept on one CPU.
    pub(crate) fn best() -> Result<Self> {
        let lens = vip_lens([31, 30, 29, 28]);
        let config = DatapathConfig {
            features: !features::PROOF,
            vip_lens_v4: lens,
            vip_lens_v6: lens,
            nat_port_count: 31_744,
            ..DatapathConfig::default()
        };
        let mut best = Self { all: Duration::MAX, programs: BTreeMap::new() };
        for _ in 0..8 {
            let start = Instant::now();
            let loaded = Datapath::load(&config)?;
            best.all = start.elapsed().min(best.all);
            for (name, &time) in loaded.load_times() {
                let best = best.programs.entry(name).or_insert(time);
                *best = time.min(*best);
            }
        }
        Ok(best)
    }

    fn longest(&self) -> (&'static str, Duration) {
        let times = self.programs.iter().map(|(name, time)| (*name, *time));
        times.max_by_key(|(_, time)| *time).unwrap_or_default()
    }
}

/// Opens the connections whose packets are measured. The kernel may be short of memory for a moment
/// that it gets when the processor is free, so the SYNs come more than once.
fn open_connections(nat: &Edge) -> Result<()> {
    let syn = tcp::SYN;
    for (traffic, packets) in [
        (traffic6(v6(NAT, syn), 1), 1),
        (traffic4(v4(NAT, syn), KI64), KI64),
        (traffic6(v6(NAT, syn), KI64), KI64),
    ] {
        for _ in 0..3 {
            let mut around = Around::program(nat.datapath.program_fd()?, &traffic, TRANSLATES)?;
            around.run(packets, &Pmu::open())?;
        }
    }
    let open = nat.datapath.counters()?.get(&Counted::NatOpened).copied().unwrap_or(0);
    // The one flow of IPv4 is one of the many.
    ensure!(open == 2 * u64::from(KI64) + 1, "{open} connections are open");
    Ok(())
}

impl Bench {
    pub(crate) fn new(only: Option<&str>, load_times: LoadTimes) -> Result<Self> {
        let edges = Path::ALL.into_iter().map(|path| Ok((path, path.edge()?)));
        let paths: BTreeMap<Path, Edge> = edges.collect::<Result<_>>()?;
        let mut all = Vec::new();
        for scenario in scenarios() {
            if only.is_some_and(|text| !scenario.name.contains(text)) {
                continue;
            }
            let Scenario { path, traffic, effect, .. } = &scenario;
            let edge = paths.get(path).context("there is a packet path for all")?;
            let program = Around::program(edge.datapath.program_fd()?, traffic, *effect)?;
            let idle = Around::floor(Floor::Tx, traffic)?;
            let floor = if effect.growth >= 40 { Floor::Ipv6 } else { Floor::Ipv4 };
            let encap = Around::floor(floor, traffic)?;
            let counted = Instructions::of(edge, &scenario);
            let counted = counted.with_context(|| format!("instructions of {}", scenario.name))?;
            all.push(Measured { scenario, program, idle, encap, counted, rounds: Vec::new() });
        }
        let bench = Self { paths, load_times, all };
        bench.fill_flow_table()?;
        Ok(bench)
    }

    /// Opens more flows than the table holds: a full one is what is to be measured.
    fn fill_flow_table(&self) -> Result<()> {
        let edge = self.paths.get(&Path::Plain).context("there is a plain one")?;
        for (frame, growth) in [
            (traffic4(v4(CHANGING, tcp::SYN), MI1), 20),
            (traffic6(v6(CHANGING, tcp::SYN), MI1), 40),
        ] {
            let mut fill = Around::program(edge.datapath.program_fd()?, &frame, grows(growth))?;
            fill.run(MI1 / 2, &Pmu::open())?;
        }
        Ok(())
    }

    /// Every scenario once, each beside its floors.
    pub(crate) fn round(&mut self, packets: u32, pmu: &Pmu) -> Result<()> {
        let turn = self.all.first().map_or(0, |it| it.rounds.len());
        let len = self.all.len().max(1);
        self.all.rotate_left(turn % len); // Not always in the same order.
        for it in &mut self.all {
            let name = it.scenario.name;
            let one = |around: &mut Around| -> Result<PerPacket> {
                let cost = around.run(packets, pmu).with_context(|| name.to_owned())?;
                Ok(PerPacket::of(cost, packets))
            };
            let round = [&mut it.idle, &mut it.program, &mut it.encap].map(one);
            let [idle, program, encap] = round;
            it.rounds.push([idle?, program?, encap?]);
        }
        self.all.rotate_right(turn % len);
        Ok(())
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        self.all.iter().map(Row::of).collect()
    }

    /// Size and load time of the program.
    pub(crate) fn program(&self) -> Program<'_> {
        let of = |edge: &Edge| edge.datapath.verified_instructions().unwrap_or_default();
        let fast_path = self.paths.get(&Path::Plain).and_then(|it| of(it).remove("tidegate"));
        let is_rare = |(name, count): (String, u32)| (name != "tidegate").then_some(count);
        let rare = self.paths.values().flat_map(of).filter_map(is_rare).max();
        Program { fast_path, rare, load_times: &self.load_times }
    }
}

/// BPF instructions of a packet, and calls of helpers among them, on average over some flows.
#[derive(Clone, Copy)]
pub(crate) struct Instructions {
    pub(crate) instructions: f64,
    calls: f64,
}

impl Instructions {
    /// As many flows as differ: those of a scenario differ in nothing else.
    const FLOWS: u32 = 1 << 10;

    fn of(edge: &Edge, scenario: &Scenario) -> Result<Self> {
        let Scenario { traffic, effect, .. } = scenario;
        let mut counter = Counter::of(&edge.datapath)?;
        let flows = traffic.flows.min(Self::FLOWS);
        let (mut instructions, mut calls) = (0, 0);
        for turn in 0..flows {
            let frame = traffic.of_flow(turn);
            let counted = counter.run(&frame, LOOPBACK)?;
            let run = edge.datapath.test_run(&frame, LOOPBACK)?;
            ensure!(counted.frame == run.frame, "the kernel made another frame of it");
            ensure!(counted.action == effect.action, "XDP action {}", counted.action);
            instructions += counted.instructions;
            calls += counted.calls;
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let mean = |sum: u64| sum as f64 / f64::from(flows);
        Ok(Self { instructions: mean(instructions), calls: mean(calls) })
    }
}

/// A line of the table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) counted: Instructions,
    bar: Bar,
    gross_ns: Spread,
    /// The empty program in the same rounds.
    idle_ns: Spread,
    /// Net of the empty program, by the best rounds of both.
    net: PerPacket,
    /// The floor that encapsulates, net.
    floor_ns: f64,
}

impl Row {
    fn of(measured: &Measured) -> Self {
        let spread = |which: usize, figure: fn(&PerPacket) -> f64| {
            Spread::of(measured.rounds.iter().filter_map(|round| round.get(which)).map(figure))
        };
        let net = |figure: fn(&PerPacket) -> f64| spread(1, figure).best - spread(0, figure).best;
        let ns: fn(&PerPacket) -> f64 = |it| it.ns;
        Self {
            name: measured.scenario.name,
            counted: measured.counted,
            bar: measured.scenario.bar,
            gross_ns: spread(1, ns),
            idle_ns: spread(0, ns),
            net: PerPacket {
                ns: net(ns),
                cycles: net(|it| it.cycles),
                instructions: net(|it| it.instructions),
                branch_misses: net(|it| it.branch_misses),
            },
            floor_ns: spread(2, ns).best - spread(0, ns).best,
        }
    }

    pub(crate) const fn net_instructions(&self) -> f64 {
        self.net.instructions
    }

    fn floors(&self) -> f64 {
        self.net.ns / self.floor_ns.max(0.1)
    }

    /// Whether this is a machine like the one that the bars were set on, where the empty program
    /// took 6 ns; elsewhere only ratios say something.
    fn is_comparable(&self) -> bool {
        self.idle_ns.best < 8.0
    }

    pub(crate) const HEAD: [&str; 13] = [
        "scenario",
        "BPF",
        "helpers",
        "ns",
        "median",
        "net ns",
        "must",
        "net cycles",
        "must",
        "net instr.",
        "misses",
        "floors",
        "must",
    ];

    pub(crate) fn cells(&self, has_pmu: bool) -> Vec<String> {
        let counted = |text: String| if has_pmu { text } else { "-".to_owned() };
        vec![
            self.name.to_owned(),
            format!("{:.1}", self.counted.instructions),
            format!("{:.1}", self.counted.calls),
            format!("{:.1}", self.gross_ns.best),
            format!("{:.1}", self.gross_ns.median),
            format!("{:.1}", self.net.ns),
            format!("{:.0}", self.bar.ns),
            counted(format!("{:.0}", self.net.cycles)),
            self.bar.cycles.map_or_else(String::new, |bar| format!("{bar:.0}")),
            counted(format!("{:.1}", self.net.instructions)),
            counted(format!("{:.2}", self.net.branch_misses)),
            format!("{:.1}", self.floors()),
            format!("{:.1}", self.bar.floors()),
        ]
    }

    /// The bars that it does not hold.
    pub(crate) fn failures(&self) -> Vec<String> {
        let over = |what: &str, found: f64, bar: Option<f64>| {
            let bar = bar.filter(|&bar| found > bar)?;
            Some(format!("{}: {found:.1} {what}, more than {bar:.1}", self.name))
        };
        let comparable = self.is_comparable();
        let ns = over("ns", self.net.ns, Some(self.bar.ns).filter(|_| comparable));
        let cycles = over("cycles", self.net.cycles, self.bar.cycles.filter(|_| comparable));
        let floors = over("floors", self.floors(), Some(self.bar.floors()));
        ns.into_iter().chain(cycles).chain(floors).collect()
    }
}

/// What the verifier says of the programs.
pub(crate) struct Program<'a> {
    fast_path: Option<u32>,
    /// The largest of those that are called for rare packets.
    rare: Option<u32>,
    load_times: &'a LoadTimes,
}

impl Program<'_> {
    const VERIFIED_MAX: u32 = 20_000;
    const LOAD_MAX: Duration = Duration::from_millis(100);

    pub(crate) fn report(&self) -> String {
        let shown = |it: Option<u32>| it.map_or_else(|| "unknown".to_owned(), |it| it.to_string());
        let (longest, time) = self.load_times.longest();
        format!(
            "\nInstructions verified, of the fast path: {} (must be below {}); of the largest rare\n\
             program: {}. With all that a configuration can ask for, the program that takes the\n\
             kernel longest is {longest}: {} ms of a processor (must be below {}); {} programs and\n\
             all maps are there in {} ms by the clock.\n",
            shown(self.fast_path),
            Self::VERIFIED_MAX,
            shown(self.rare),
            time.as_millis(),
            Self::LOAD_MAX.as_millis(),
            self.load_times.programs.len(),
            self.load_times.all.as_millis(),
        )
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        let verified = self.fast_path.filter(|&it| it >= Self::VERIFIED_MAX);
        let (longest, time) = self.load_times.longest();
        let slow = (time >= Self::LOAD_MAX).then(|| format!("loading {longest} takes {time:?}"));
        let verified = verified.map(|it| format!("{it} instructions verified: too many"));
        verified.into_iter().chain(slow).collect()
    }
}
