//! `make bench PART=changes`: what clients of two edges behind one router notice of what operators
//! do, and of what happens to them.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context as _, Result};
use clap::Parser;
use tidegate_vm_tests::bench::machine::where_and_when;
use tidegate_vm_tests::bench::table::markdown;
use tidegate_vm_tests::lab::pair::{Change, Noticed, Pair};
use tidegate_vm_tests::lab::traffic::Stream;

/// What clients of two edges notice of what operators do.
#[derive(Parser)]
struct Args {
    /// How often each change is made, in an order of its own each time.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// In so many labs side by side.
    #[arg(long, default_value_t = 1)]
    labs: usize,
    /// Where the order begins, and who is concerned; in the next lab it is the next number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the table of docs/.
    #[arg(long, env = "UPDATE")]
    update: bool,
}

/// What was noticed of each change.
type Sums = Vec<(Change, Sum)>;

/// All changes of one kind.
#[derive(Default)]
struct Sum {
    changes: usize,
    held: usize,
    requests: usize,
    broken: usize,
    of_dead: usize,
    calls: usize,
    failed: usize,
    slowest_ms: u64,
    datagrams: usize,
    lost: usize,
    moved: usize,
    wrong: usize,
    retransmitted: u64,
    withdrawn: usize,
}

impl Sum {
    fn add(&mut self, noticed: &Noticed) {
        let Noticed { outcome, dead, retransmitted, withdrawn, .. } = noticed;
        let broken = outcome.broken_but_of(dead);
        let (sent, lost) = outcome.datagrams();
        self.changes += 1;
        self.held += outcome.held;
        self.requests += outcome.answered;
        self.broken += broken;
        self.of_dead += outcome.broken.len() - broken;
        self.calls += outcome.calls.answered;
        self.failed += outcome.calls.failed.values().sum::<usize>();
        self.slowest_ms = self.slowest_ms.max(outcome.calls.max_micros / 1_000);
        self.datagrams += sent;
        self.lost += lost;
        self.moved += outcome.moved_but_of(dead);
        self.wrong += outcome.streams.iter().map(|it| it.wrong).sum::<usize>();
        self.retransmitted += retransmitted;
        self.withdrawn += withdrawn;
    }

    /// What another lab has noticed.
    fn join(&mut self, other: &Self) {
        self.changes += other.changes;
        self.held += other.held;
        self.requests += other.requests;
        self.broken += other.broken;
        self.of_dead += other.of_dead;
        self.calls += other.calls;
        self.failed += other.failed;
        self.slowest_ms = self.slowest_ms.max(other.slowest_ms);
        self.datagrams += other.datagrams;
        self.lost += other.lost;
        self.moved += other.moved;
        self.wrong += other.wrong;
        self.retransmitted += other.retransmitted;
        self.withdrawn += other.withdrawn;
    }

    const HEAD: [&str; 14] = [
        "change",
        "times",
        "connections",
        "requests",
        "broken",
        "with the dead",
        "short ones",
        "failed",
        "slowest, ms",
        "datagrams",
        "lost",
        "moved",
        "sent again",
        "VIP gone",
    ];

    fn cells(&self, change: Change) -> Vec<String> {
        let counts = [
            self.changes,
            self.held,
            self.requests,
            self.broken,
            self.of_dead,
            self.calls,
            self.failed,
        ];
        let mut cells = vec![change.name().to_owned()];
        cells.extend(counts.map(|it| it.to_string()));
        cells.push(self.slowest_ms.to_string());
        cells.extend([self.datagrams, self.lost, self.moved].map(|it| it.to_string()));
        cells.extend([self.retransmitted.to_string(), self.withdrawn.to_string()]);
        cells
    }

    /// What no change may cost anybody; a backend that dies may cost those that call it meanwhile.
    fn failures(&self, change: Change) -> Option<String> {
        let failed = if change == Change::BackendDown { 0 } else { self.failed };
        let bad = self.broken + failed + self.lost + self.moved + self.wrong + self.withdrawn;
        (bad > 0).then(|| format!("{}: somebody noticed", change.name()))
    }
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let labs = args.labs.clamp(1, args.rounds.max(1));
    let sums = thread::scope(|scope| {
        let args = &args;
        let one = |lab: usize| {
            let rounds = args.rounds / labs + usize::from(lab < args.rounds % labs);
            scope.spawn(move || rounds_of(rounds, args.seed + lab as u64))
        };
        let running: Vec<_> = (0..labs).map(one).collect();
        let mut sums: Sums = Change::ALL.map(|change| (change, Sum::default())).into();
        for lab in running {
            let of_lab = lab.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            for ((_, sum), (_, more)) in sums.iter_mut().zip(of_lab) {
                sum.join(&more);
            }
        }
        Ok::<_, anyhow::Error>(sums)
    })?;
    let report = report(&args, &sums);
    write!(io::stdout(), "{report}")?;
    if args.update {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/changes-bench.md");
        std::fs::write(&page, format!("{PAGE_HEAD}{report}"))
            .with_context(|| format!("cannot write {}", page.display()))?;
    }
    let failures: Vec<String> =
        sums.iter().filter_map(|(change, sum)| sum.failures(*change)).collect();
    for failure in &failures {
        writeln!(io::stdout(), "FAILED: {failure}")?;
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Changes in a lab of their own.
fn rounds_of(rounds: usize, seed: u64) -> Result<Sums> {
    let mut pair = Pair::new()?;
    let mut sums: Sums = Change::ALL.map(|change| (change, Sum::default())).into();
    let mut random = seed;
    for round in 1..=rounds {
        let mut order = Change::ALL.to_vec();
        while !order.is_empty() {
            let change = order.swap_remove(draw(&mut random, order.len()));
            let noticed = pair.make(change, draw(&mut random, 6)).with_context(|| {
                format!("round {round}: {}\n{}", change.name(), pair.lab.log_tails())
            })?;
            let at = format!("order {seed}, round {round} of {rounds}: {}", change.name());
            let mut this = Sum::default();
            this.add(&noticed);
            if this.failures(change).is_some() {
                writeln!(io::stderr(), "{at}: {}\n{}", in_full(&noticed), pair.lab.log_tails())?;
            }
            for (_, sum) in sums.iter_mut().filter(|(of, _)| *of == change) {
                sum.join(&this);
            }
            writeln!(io::stderr(), "{at}")?;
        }
    }
    Ok(sums)
}

/// What was noticed, for who looks for the reason.
fn in_full(noticed: &Noticed) -> String {
    let Noticed { outcome, withdrawn, overflown, dropped, .. } = noticed;
    let is_bad = |it: &&Stream| it.wrong > 0 || !it.lost.is_empty() || it.backends.len() > 1;
    let streams: Vec<&Stream> = outcome.streams.iter().filter(is_bad).collect();
    format!(
        "NOTICED: broken {:?}, failed {:?}, streams {streams:?}, VIP gone {withdrawn} times, queues \
         that were full {overflown:?}, dropped by the edges {dropped:?}",
        outcome.broken, outcome.calls.failed
    )
}

/// A number below this one (SplitMix64).
fn draw(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((x ^ (x >> 31)) % below.max(1) as u64).unwrap_or_default()
}

fn report(args: &Args, sums: &[(Change, Sum)]) -> String {
    let rows: Vec<Vec<String>> = sums.iter().map(|(change, sum)| sum.cells(*change)).collect();
    let table = markdown(&Sum::HEAD, &rows);
    format!("{}, order {}, {} labs:\n\n{table}", where_and_when(), args.seed, args.labs)
}

const PAGE_HEAD: &str = "# What clients notice of a change\n\n\
    Written by `make bench PART=changes UPDATE=true`. Two edges behind a router that runs BIRD and\n\
    spreads flows over both (ECMP); three backends; each change is made while clients hold TCP\n\
    connections to an IPv4 and an IPv6 VIP and ask over them again and again, open new ones, and\n\
    send datagrams from eight sockets, 200 a second each. Answers repeat what was asked.\n\n\
    *Broken* are connections that ended before they were told to, without those that were *with\n\
    the dead*: a backend that its checks call down. *Short ones* ask once; *failed* are those that\n\
    got no answer. *Lost* datagrams got none, *moved* are sockets that another backend answered\n\
    though theirs was not dead. *Sent again* are TCP segments, by client and backends. *VIP gone*\n\
    is how often the router had no way to the VIP at all. Changes that move slots or flows between\n\
    nodes wait until the slots of the one before have settled: what two of them within the drain\n\
    time may cost is said in [affinity.md](../affinity.md).\n\n";
