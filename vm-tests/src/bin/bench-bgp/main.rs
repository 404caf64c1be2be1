//! The speaker against BIRD 2 and FRR: the same table through the same sessions, in turns, in one run.
//!
//! The daemon under test and our ends of the sessions live in two namespaces joined by veth. What
//! is timed is from the first octet of the tables to the moment when the receiver holds the right
//! path for every prefix. The machine may be busy with other things: what counts are ratios of
//! medians, and CPU seconds beside them.

mod daemon;
mod insert;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use daemon::{Daemon, Kind};
use tidegate_vm_tests::bench::feed::peer::{self, Receiver};
use tidegate_vm_tests::bench::feed::{
    RECEIVER, RECEIVER_AS, daemon_address, sender_address, table, topology,
};
use tidegate_vm_tests::bench::machine::where_and_when;
use tidegate_vm_tests::bench::usage::Usage;
use tidegate_vm_tests::lab::Lab;

/// Runs of each daemon, in turns.
const RUNS: usize = 3;

/// The speaker against BIRD 2 and FRR, with the same tables.
#[derive(Parser)]
struct Args {
    /// Only this, once and with tidegate alone: so many senders.
    #[arg(requires = "prefixes")]
    senders: Option<u32>,
    /// So many prefixes from each of them, the same ones.
    prefixes: Option<u32>,
    /// Write the page of docs/.
    #[arg(long, env = "UPDATE")]
    update: bool,
}

/// What is loaded, by how many.
#[derive(Clone, Copy, Debug)]
struct Scenario {
    name: &'static str,
    senders: u32,
    prefixes: u32,
    /// What our share of BIRD's time, memory and time after the loss of the best sender must not
    /// exceed; `None`: it is only shown.
    bars: [Option<f64>; 3],
}

const SCENARIOS: [Scenario; 3] = [
    Scenario {
        name: "1 x 1,000,000",
        senders: 1,
        prefixes: 1_000_000,
        bars: [Some(0.8), Some(1.5), None],
    },
    Scenario {
        name: "10 x 100,000",
        senders: 10,
        prefixes: 100_000,
        bars: [Some(0.8), None, Some(1.0)],
    },
    Scenario {
        name: "30 x 100,000",
        senders: 30,
        prefixes: 100_000,
        bars: [Some(1.0), Some(1.0), None],
    },
];

/// What one run came to.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    load_secs: f64,
    load_cpu_secs: f64,
    peak_mib: f64,
    loss_secs: f64,
    loss_cpu_secs: f64,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            show("\na bar was missed\n");
            ExitCode::FAILURE
        }
        Err(error) => {
            show(&format!("bench-bgp: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

/// A reader that has gone away is no failure.
fn show(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Runs everything; `Ok(false)`: a bar was missed.
fn run() -> Result<bool> {
    let args = Args::parse();
    let lab = Lab::new(&topology(1_010))?;
    if let (Some(senders), Some(prefixes)) = (args.senders, args.prefixes) {
        return alone(&lab, senders, prefixes).map(|()| true);
    }
    let mut page = format!("{}.\n\n```text\n", where_and_when());
    let mut good = true;
    let mut say = |(text, passed): (String, bool)| {
        show(&text);
        page.push_str(&text);
        good &= passed;
    };
    say((ceiling(&lab)?, true));
    for scenario in SCENARIOS {
        let mut outcomes = Kind::ALL.map(|_| Vec::new());
        for run in 0..RUNS {
            for (kind, outcomes) in Kind::ALL.into_iter().zip(&mut outcomes) {
                let number = run + scenario.senders as usize * 100;
                outcomes.push(load(&lab, kind, scenario, number)?);
            }
        }
        say(compare(scenario, &outcomes));
    }
    say(lateness(&lab)?);
    say(idle(&lab)?);
    say(inserting()?);
    if args.update {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/bgp-bench.md");
        std::fs::write(path, format!("{PAGE_HEAD}{page}```\n"))?;
    }
    Ok(good)
}

const PAGE_HEAD: &str = "# What a route costs\n\n\
    Written by `make bench PART=bgp UPDATE=true`. The same tables go through the same sessions of\n\
    tidegate, BIRD 2 and FRR as Debian ships them, in turns, three times; medians. Time runs from\n\
    the first octet until the receiver has the best path to every prefix; *best sender lost*, from\n\
    the end of that session until it has the second best. With several senders each of them is\n\
    told what the others bring. A sender's UPDATE carries ten prefixes on average, paths have three\n\
    to six hops.\n\n";

/// One size, for a look by hand.
fn alone(lab: &Lab, senders: u32, prefixes: u32) -> Result<()> {
    let scenario = Scenario { name: "by hand", senders, prefixes, bars: [None; 3] };
    let Outcome { load_secs, load_cpu_secs, peak_mib, loss_secs, .. } =
        load(lab, Kind::Tidegate, scenario, 1)?;
    show(&format!(
        "{senders} x {prefixes}: {load_secs:.3} s, {load_cpu_secs:.3} CPU s, at most \
         {peak_mib:.0} MiB; best sender lost: {loss_secs:.3} s\n"
    ));
    Ok(())
}

/// What a prefix costs in the core.
fn inserting() -> Result<(String, bool)> {
    const BAR_NS: f64 = 400.0;
    let mut nanos = Vec::new();
    for _ in 0..RUNS {
        nanos.push(insert::nanos_per_prefix()?);
    }
    nanos.sort_by(f64::total_cmp);
    let nanos = nanos.get(RUNS / 2).copied().unwrap_or(f64::NAN);
    let text = format!("parse and insert, one core: {nanos:.0} ns a prefix (must {BAR_NS})\n");
    Ok((text, nanos <= BAR_NS))
}

/// How fast the table goes from the sender straight to a socket that throws it away.
fn ceiling(lab: &Lab) -> Result<String> {
    let table = table::stream(0, 1_000_000);
    let listener = lab.inside("dut", || TcpListener::bind(daemon_address()))??;
    let reader = thread::spawn(move || -> Result<u64> {
        let (mut stream, _) = listener.accept()?;
        Ok(std::io::copy(&mut stream, &mut std::io::sink())?)
    });
    let started = Instant::now();
    lab.inside("gen", || -> Result<()> {
        let mut stream = std::net::TcpStream::connect(daemon_address())?;
        peer::blast(&mut stream, &table)
    })??;
    let read = reader.join().map_err(|_panic| anyhow::anyhow!("the reader broke"))??;
    ensure!(read == table.len() as u64, "{read} octets of {}", table.len());
    let secs = started.elapsed().as_secs_f64();
    Ok(format!(
        "generator: 1,000,000 prefixes in {:.1} MB, {secs:.3} s to a socket that throws them away\n",
        float(table.len() as u64) / 1e6
    ))
}

fn load(lab: &Lab, kind: Kind, scenario: Scenario, run: usize) -> Result<Outcome> {
    let Scenario { senders, prefixes, .. } = scenario;
    let tables: Vec<Vec<u8>> = (0..senders).map(|sender| table::stream(sender, prefixes)).collect();
    let daemon = Daemon::start(lab, kind, senders, run)?;
    let outcome = lab.inside("gen", || measure(&daemon, &tables, prefixes))?;
    let outcome = outcome
        .with_context(|| format!("{} with {}\n{}", kind.name(), scenario.name, lab.log_tails()))?;
    daemon.stop()?;
    Ok(outcome)
}

fn measure(daemon: &Daemon, tables: &[Vec<u8>], prefixes: u32) -> Result<Outcome> {
    let to = daemon_address();
    let receiver = peer::open(RECEIVER, RECEIVER_AS, to, 180)?;
    let mut receiver = Receiver::new(receiver, prefixes);
    let mut writers = Vec::new();
    for sender in 0..u32::try_from(tables.len())? {
        let session = peer::open(sender_address(sender), table::SENDER_AS + sender, to, 180)?;
        writers.push(session.writer()?);
        thread::spawn(move || session.drain());
    }
    thread::sleep(Duration::from_millis(300)); // What is said at the start has been said.
    let idle = daemon.usage()?;
    let started = Instant::now();
    let (loaded, first) = thread::scope(|scope| -> Result<_> {
        let mut blasting = Vec::new();
        for (writer, table) in writers.into_iter().zip(tables) {
            blasting.push(scope.spawn(move || {
                let mut writer = writer;
                peer::blast(&mut writer, table).map(|()| writer)
            }));
        }
        let loaded = receiver.until_all_from(Some(0))?;
        let mut first = None;
        for sender in blasting {
            let writer = sender.join().map_err(|_panic| anyhow::anyhow!("a sender broke"))??;
            first.get_or_insert(writer);
        }
        Ok((loaded, first.context("no sender")?))
    })?;
    let loaded_usage = daemon.usage()?;
    thread::sleep(Duration::from_millis(500)); // The last tables have been read, too.
    let before = daemon.usage()?;
    let lost = Instant::now();
    first.shutdown(std::net::Shutdown::Both)?;
    let second = if tables.len() > 1 { Some(1) } else { None };
    let told = receiver.until_all_from(second)?;
    let after = daemon.usage()?;
    Ok(Outcome {
        load_secs: (loaded - started).as_secs_f64(),
        load_cpu_secs: loaded_usage.cpu_secs - idle.cpu_secs,
        peak_mib: float(before.peak_kib) / 1024.0,
        loss_secs: (told - lost).as_secs_f64(),
        loss_cpu_secs: after.cpu_secs - before.cpu_secs,
    })
}

fn median(outcomes: &[Outcome], of: impl Fn(&Outcome) -> f64) -> f64 {
    let mut values: Vec<f64> = outcomes.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What a row of the comparison shows, how it is read, and its bar.
type Row = (&'static str, fn(&Outcome) -> f64, Option<f64>);

fn compare(scenario: Scenario, [ours, bird, frr]: &[Vec<Outcome>; 3]) -> (String, bool) {
    let rows: [Row; 5] = [
        ("time, s", |it| it.load_secs, scenario.bars[0]),
        ("CPU, s", |it| it.load_cpu_secs, None),
        ("peak memory, MiB", |it| it.peak_mib, scenario.bars[1]),
        ("best sender lost, s", |it| it.loss_secs, scenario.bars[2]),
        ("best sender lost, CPU s", |it| it.loss_cpu_secs, None),
    ];
    let mut text = format!(
        "\n{:<26}{:>10}{:>10}{:>10}{:>10}{:>8}\n",
        scenario.name, "tidegate", "BIRD 2", "FRR", "to BIRD", "must"
    );
    let mut passed = true;
    for (name, of, bar) in rows {
        let [one, other, third] = [ours, bird, frr].map(|outcomes| median(outcomes, of));
        let ratio = one / other;
        let missed = bar.is_some_and(|bar| ratio > bar);
        passed &= !missed;
        let bar = bar.map(|bar| format!("{bar:.1}")).unwrap_or_default();
        let remark = if missed { "  MISSED" } else { "" };
        // Writing to a string cannot fail.
        writeln!(
            text,
            "{name:<26}{one:>10.3}{other:>10.3}{third:>10.3}{ratio:>10.2}{bar:>8}{remark}"
        )
        .unwrap_or_default();
    }
    (text, passed)
}

#[expect(clippy::cast_precision_loss, reason = "sizes and times are far below 2^52")]
const fn float(number: u64) -> f64 {
    number as f64
}

/// How late KEEPALIVEs get while a million routes come in, over and over.
fn lateness(lab: &Lab) -> Result<(String, bool)> {
    const EVERY: Duration = Duration::from_secs(1);
    const BAR_MS: f64 = 100.0;
    let table = table::stream(0, 1_000_000);
    let daemon = Daemon::start(lab, Kind::Tidegate, 1, 9_000)?;
    let late = lab.inside("gen", || -> Result<Duration> {
        let to = daemon_address();
        let mut watcher = peer::open(RECEIVER + 1, RECEIVER_AS + 1, to, 3)?;
        let mut alive = watcher.writer()?;
        let session = peer::open(sender_address(0), table::SENDER_AS, to, 180)?;
        let mut writer = session.writer()?;
        thread::spawn(move || session.drain());
        let until = Instant::now() + Duration::from_secs(8);
        thread::scope(|scope| {
            scope.spawn(|| {
                while Instant::now() < until && peer::blast(&mut writer, &table).is_ok() {}
            });
            scope.spawn(|| {
                let keepalive = tidegate_bgp::wire::encode_keepalive();
                while Instant::now() < until && peer::blast(&mut alive, &keepalive).is_ok() {
                    thread::sleep(EVERY / 2);
                }
            });
            watcher.longest_pause(until)
        })
    })??;
    let timer_ms = daemon::timer_lateness_ms(lab, 9_000)?;
    daemon.stop()?;
    // The interval is jittered downwards, so that a late one need not show on the wire.
    let late_ms = timer_ms.max(late.saturating_sub(EVERY).as_secs_f64() * 1e3);
    let text = format!(
        "\nKEEPALIVE lateness while 1 M routes load, worst: {late_ms:.1} ms (must {BAR_MS})\n"
    );
    Ok((text, late_ms <= BAR_MS))
}

/// Memory of a thousand sessions that say nothing.
fn idle(lab: &Lab) -> Result<(String, bool)> {
    const SESSIONS: u32 = 1_000;
    const BAR_KB: f64 = 30.0;
    let resident = |sessions: u32, run: usize| -> Result<Usage> {
        let daemon = Daemon::start(lab, Kind::Tidegate, SESSIONS, run)?;
        let usage = lab.inside("gen", || -> Result<Usage> {
            let mut open = Vec::new();
            for sender in 0..sessions {
                let asn = table::SENDER_AS + sender;
                open.push(peer::open(sender_address(sender), asn, daemon_address(), 180)?);
            }
            thread::sleep(Duration::from_secs(1));
            let usage = daemon.usage()?;
            open.iter().for_each(peer::Session::close);
            Ok(usage)
        })??;
        daemon.stop()?;
        Ok(usage)
    };
    let (one, all) = (resident(1, 9_001)?, resident(SESSIONS, 9_002)?);
    let grown = float(all.now_kib.saturating_sub(one.now_kib));
    let each = grown * 1.024 / f64::from(SESSIONS - 1);
    let text = format!("1,000 idle sessions: {each:.1} kB each (must {BAR_KB})\n");
    Ok((text, each <= BAR_KB))
}
