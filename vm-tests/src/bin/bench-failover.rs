//! `make bench PART=failover`: how long failures last, against budgets, seen on the wire.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use tidegate_vm_tests::bench::machine::where_and_when;
use tidegate_vm_tests::bench::table::markdown;
use tidegate_vm_tests::lab::failover::{FALL, Failover, Failure, INTERVAL, RETRY, Took};

/// How long failures last, seen on the wire.
#[derive(Parser)]
struct Args {
    /// How often each thing fails.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Write the table of docs/.
    #[arg(long, env = "UPDATE")]
    update: bool,
}

/// What is beside checks and turns of proofs: a look, the maps, the session, and a machine that does
/// something else just then.
const BESIDE: Duration = Duration::from_millis(150);
/// Each service is proven again within this time.
const PROOF: Duration = Duration::from_secs(1);

/// A failure, and how long it may last: from when it happens, and from the daemon's verdict.
struct Row {
    failure: Failure,
    what: &'static str,
    from_failure: Duration,
    from_verdict: Duration,
}

fn rows() -> [Row; 4] {
    // A check comes a tenth later than said, at most, and so do those that make it sure.
    let checks = (INTERVAL + RETRY * (FALL - 1)).mul_f64(1.1) + BESIDE;
    let withdraw = Duration::from_millis(10);
    let row = |failure, what, from_failure, from_verdict| Row {
        failure,
        what,
        from_failure,
        from_verdict,
    };
    [
        row(
            Failure::OneBackend,
            "a backend fails: the last packet that it gets",
            checks,
            Duration::from_millis(20),
        ),
        row(Failure::AllBackends, "all backends fail: the withdraw", checks, withdraw),
        row(Failure::Link, "the link to the backends goes down: the withdraw", BESIDE, withdraw),
        row(
            Failure::Map,
            "the packet path loses the service: the withdraw",
            PROOF + BESIDE,
            withdraw,
        ),
    ]
}

/// Median and longest.
struct Spread {
    median: Duration,
    longest: Duration,
}

impl Spread {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut sorted: Vec<Duration> = times.collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        Self { median, longest: sorted.last().copied().unwrap_or_default() }
    }
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let mut lab = Failover::new()?;
    let mut measured: Vec<(Row, Vec<Took>)> = rows().map(|row| (row, Vec::new())).into();
    for round in 1..=args.rounds {
        for (row, took) in &mut measured {
            took.push(lab.fail(row.failure).with_context(|| format!("{round}: {}", row.what))?);
        }
        writeln!(io::stderr(), "round {round} of {}", args.rounds)?;
    }
    let (cells, failures) = judge(&measured);
    let head = ["what fails", "times", "median", "longest", "must", "of it", "longest", "must"];
    let report = format!("{}:\n\n{}", where_and_when(), markdown(&head, &cells));
    write!(io::stdout(), "{report}")?;
    if args.update {
        let page =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/failover-bench.md");
        std::fs::write(&page, format!("{PAGE_HEAD}{report}"))
            .with_context(|| format!("cannot write {}", page.display()))?;
    }
    for failure in &failures {
        writeln!(io::stdout(), "FAILED: {failure}")?;
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The table, and what lasts longer than it must.
fn judge(measured: &[(Row, Vec<Took>)]) -> (Vec<Vec<String>>, Vec<String>) {
    let (mut cells, mut failures) = (Vec::new(), Vec::new());
    for (row, took) in measured {
        let whole = Spread::of(took.iter().map(|it| it.from_failure));
        let own = Spread::of(took.iter().map(|it| it.from_verdict));
        cells.push(vec![
            row.what.to_owned(),
            took.len().to_string(),
            ms(whole.median),
            ms(whole.longest),
            ms(row.from_failure),
            ms(own.median),
            ms(own.longest),
            ms(row.from_verdict),
        ]);
        // The machine may do something else just then: that is in the longest, and in `BESIDE`.
        if whole.longest > row.from_failure || own.median > row.from_verdict {
            failures.push(format!("{}: longer than it must", row.what));
        }
    }
    (cells, failures)
}

fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

const PAGE_HEAD: &str = "# How long failures last\n\n\
    Written by `make bench PART=failover UPDATE=true`. An edge between a router that runs BIRD and two\n\
    backends, each on a link of its own; a client sends a datagram every millisecond. The times are\n\
    those of frames: the last datagram that comes to a backend that has failed, the UPDATE at the\n\
    router that withdraws the VIP. They are counted from the failure, in milliseconds, and then *of it*\n\
    from the daemon's word in its journal, which it says right after a withdraw is ordered, and after\n\
    slots have moved (0.0: nothing came later): that is the median, and what has to be held, since the\n\
    rest is the checks' own time.\n\n\
    Backends are asked every second, and when they fail again after 250 ms; the third failure counts.\n\
    *Must* is the longest that this can take, a tenth of jitter included, and 150 ms for all the rest.\n\
    What somebody else writes into the maps shows when the service is proven the next time, within a\n\
    second. The kernel tells of links, so those take no check.\n\n";
