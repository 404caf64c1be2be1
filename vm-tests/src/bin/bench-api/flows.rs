//! Two hundred thousand packets a second, each of which the daemon is told of.
//!
//! They go through the program that is attached, one after the other in this process, at the pace of
//! a clock; the records come to the daemon through the kernel's ring as those of a client would.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{ProgramFd, loaded_programs};
use serde_json::Value;
use tidegate_vm_tests::bench::around::{Around, Effect, Traffic};
use tidegate_vm_tests::bench::perf::Pmu;
use tidegate_vm_tests::bench::usage::Usage;
use tidegate_vm_tests::frame::{eth, tcp};

use super::Report;
use super::edge::{Edge, PORTS, VIPS};

const PACKETS_A_SECOND: u64 = 200_000;
/// At which they are sent.
const PACE: u64 = PACKETS_A_SECOND + PACKETS_A_SECOND / 20;
/// At once: the kernel takes a fortieth of a second to get each run under way, whatever its length, and
/// the ring has room for more than these.
const BATCH: u32 = 8_000;
/// VIPs that they are for: with two ports, of twice as many services.
const VIPS_USED: u32 = 4_096;
/// What the daemon may grow by meanwhile.
const GROWS_KIB_MAX: u64 = 64 << 10;
const SOON: Duration = Duration::from_secs(20);

const DROP: u32 = 1;
const REDIRECT: u32 = 4;
/// The outer IPv4 header.
const IPIP: u32 = 20;

/// What is known of packets, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    /// By verdict: sent to a backend, and dropped for want of a service.
    forwarded: u64,
    unserved: u64,
    /// All verdicts.
    verdicts: u64,
    logged: u64,
    lost: u64,
    /// The daemon was told of them, they were left out or lost.
    words: u64,
    /// Of which there were records just before the daemon summed what it had read.
    recorded: u64,
    summed: u64,
    sums: u64,
}

impl Counted {
    /// Packets of before they were told of.
    const fn unsaid(&self) -> u64 {
        self.verdicts.wrapping_sub(self.words)
    }
}

/// Has them told of, and compares all counts.
///
/// # Errors
/// When a packet is missing somewhere.
pub(crate) fn tell(edge: &Edge<'_>, secs: u64, report: &mut Report) -> Result<()> {
    let program = attached(edge)?;
    let mut sources = [
        (frame(PORTS[0], tcp::ACK), Effect { action: REDIRECT, growth: IPIP, rewrites: false }),
        (frame(PORTS[1], tcp::SYN), Effect { action: REDIRECT, growth: IPIP, rewrites: false }),
        (frame(81, tcp::ACK), Effect { action: DROP, growth: 0, rewrites: false }),
    ]
    .into_iter()
    .map(|(frame, effect)| {
        let traffic = Traffic { frame, flows: VIPS_USED, addr_at: 30, port_at: 34 };
        Around::program(&program, &traffic, effect)
    })
    .collect::<Result<Vec<_>>>()?;

    let before = settled(edge, None)?;
    Usage::forget_peak(edge.pid())?;
    let memory = edge.usage()?.now_kib;
    let (sent, took) = run(&mut sources, secs)?;
    let after = settled(edge, Some(before.unsaid()))?;
    let grown_kib = edge.usage()?.peak_kib.saturating_sub(memory);

    let packets: u64 = sent.iter().sum();
    let rate = u128::from(packets) * 1_000 / took.as_millis().max(1);
    let forwarded = after.forwarded - before.forwarded;
    let unserved = after.unserved - before.unserved;
    let [served_0, served_1, not_served] = sent;
    ensure!(forwarded == served_0 + served_1, "{forwarded} of {} forwarded", served_0 + served_1);
    ensure!(unserved == not_served, "{unserved} of {not_served} dropped");
    let (logged, lost) = (after.logged - before.logged, after.lost - before.lost);
    report.say(&format!(
        "\n{packets} packets in {:.1} s, {rate} a second (must be {PACKETS_A_SECOND}), for {} \
         services: the daemon was told of {logged}, {lost} words were lost, no packet is missing; \
         {} sums; it grows by {grown_kib} KiB (must be below {GROWS_KIB_MAX}).\n",
        took.as_secs_f64(),
        2 * VIPS_USED,
        after.sums,
    ))?;
    report.must(rate >= u128::from(PACKETS_A_SECOND), || format!("{rate} a second"));
    report.must(grown_kib < GROWS_KIB_MAX, || format!("flows take {grown_kib} KiB"));
    // A daemon that hears of next to nothing loses nothing of worth either.
    report.must(logged * 10 >= packets * 9, || format!("{lost} of {packets} words were lost"));
    Ok(())
}

/// From a client to the first VIP; which one it is in the end, the run decides.
fn frame(port: u16, flags: u8) -> Vec<u8> {
    let link = eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let client = Ipv4Addr::new(198, 51, 100, 7);
    link.ipv4(client, Ipv4Addr::from_bits(VIPS)).tcp(1_024, port, flags).payload([0; 10]).bytes()
}

/// At the pace of the clock; how many of each kind were sent.
fn run(sources: &mut [Around], secs: u64) -> Result<([u64; 3], Duration)> {
    let pmu = Pmu::open();
    let (start, all) = (Instant::now(), PACE * secs);
    let mut sent = [0; 3];
    let mut packets = 0;
    for turn in (0..sources.len()).cycle() {
        let due = start + Duration::from_micros(packets * 1_000_000 / PACE);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if packets >= all {
            break;
        }
        if let (Some(source), Some(sent)) = (sources.get_mut(turn), sent.get_mut(turn)) {
            source.run(BATCH, &pmu)?;
            *sent += u64::from(BATCH);
        }
        packets += u64::from(BATCH);
    }
    Ok((sent, start.elapsed()))
}

/// Counts, once all of them agree: packets of checks come now and then, and the one is read a moment
/// after the other. What is not missing before is not missing later either.
fn settled(edge: &Edge<'_>, unsaid: Option<u64>) -> Result<Counted> {
    edge.lab.wait_for("every packet to be accounted for", SOON, || {
        let unsaid = unsaid.map_or_else(|| counted(edge).map(|it| it.unsaid()), Ok)?;
        let counted = counted(edge)?;
        ensure!(counted.unsaid() == unsaid, "{unsaid} before; {counted:?}");
        ensure!(counted.recorded == counted.summed, "{counted:?}");
        Ok(counted)
    })
}

fn counted(edge: &Edge<'_>) -> Result<Counted> {
    let answer = edge.get("/api/v1/flows?last=0")?.json()?;
    let sums = answer.get("sums").and_then(Value::as_array).context("no sums")?;
    let number = |row: &Value, key: &str| row.get(key).and_then(Value::as_u64).unwrap_or(0);
    let recorded = answer.pointer("/told/logged").and_then(Value::as_u64);
    let status = edge.get("/api/v1/status")?.json()?;
    let rows = status.get("counters").and_then(Value::as_array).context("no counters")?;
    let count = |of: &[&str]| -> u64 {
        let named = |row: &&Value| {
            let name = row.get("name").and_then(Value::as_str).unwrap_or_default();
            of.iter().any(|prefix| name.starts_with(prefix))
        };
        rows.iter().filter(named).map(|row| number(row, "packets")).sum()
    };
    let told = status.pointer("/flows/told").context("nothing is told")?;
    let [logged, lost] = ["logged", "lost"].map(|fate| number(told, fate));
    let beside = ["sampled_out", "left_out"].map(|fate| number(told, fate));
    Ok(Counted {
        forwarded: count(&["forward_"]),
        unserved: count(&["drop_no_service"]),
        verdicts: count(&["pass_", "forward_", "drop_", "answer_", "echo_"]),
        logged,
        lost,
        words: logged + lost + beside.iter().sum::<u64>(),
        recorded: recorded.context("nothing is told")?,
        summed: sums.iter().map(|row| number(row, "packets")).sum(),
        sums: sums.len() as u64,
    })
}

/// The program on the daemon's interface.
fn attached(edge: &Edge<'_>) -> Result<ProgramFd> {
    let link = edge.lab.run("dut", &["ip", "-j", "link", "show", "dev", "eth0"])?;
    let link: Value = serde_json::from_str(&link)?;
    let id = link.pointer("/0/xdp/prog/id").and_then(Value::as_u64).context("no program")?;
    let mut all = loaded_programs().filter_map(Result::ok);
    let program = all.find(|it| u64::from(it.id()) == id).context("the program is gone")?;
    Ok(program.fd()?)
}
