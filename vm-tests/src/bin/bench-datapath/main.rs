//! `make bench PART=datapath`: what a packet costs, against two floors in the same rounds.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use nix::unistd::Uid;
use tidegate_vm_tests::bench::machine::where_and_when;
use tidegate_vm_tests::bench::perf::{Pmu, stay_on};
use tidegate_vm_tests::bench::table::markdown;

mod baseline;
mod cable;
mod scenario;
mod world;

use baseline::{Baseline, Compared};
use scenario::{Bench, LoadTimes, Row};

/// What a packet costs, against two floors in the same rounds.
#[derive(Parser)]
struct Args {
    /// Rounds; the best of them is judged.
    #[arg(long, default_value_t = 16)]
    rounds: u32,
    /// Packets of each scenario in a round.
    #[arg(long, default_value_t = 1 << 18)]
    packets: u32,
    /// The CPU that is measured on.
    #[arg(long, default_value_t = 0)]
    cpu: usize,
    /// Take today's instruction counts as the baseline, and write the table of docs/.
    #[arg(long, env = "UPDATE")]
    update: bool,
    /// Only scenarios whose name contains this; nothing is written or compared.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    ensure!(Uid::effective().is_root(), "the packet path runs in the kernel: run this as root");
    let load_times = LoadTimes::best()?;
    stay_on(args.cpu).with_context(|| format!("there is no CPU {}", args.cpu))?;
    let pmu = Pmu::open();
    let mut failures = Vec::new();

    let mut bench = Bench::new(args.only.as_deref(), load_times)?;
    for _ in 0..args.rounds {
        bench.round(args.packets, &pmu)?;
    }
    let rows = bench.rows();
    failures.extend(rows.iter().flat_map(Row::failures));
    let mut report = report(&args, &pmu, &rows);

    if args.only.is_none() {
        let ends = cable::measure(args.rounds, args.packets, &pmu)?;
        failures.extend(cable::failures(&ends));
        report.push_str(&cable::report(&ends));
        let program = bench.program();
        failures.extend(program.failures());
        report.push_str(&program.report());
    }
    write!(io::stdout(), "{report}")?;
    if args.only.is_none() {
        failures.extend(keep(&args, &pmu, &rows, &report)?);
    }
    for failure in &failures {
        writeln!(io::stdout(), "FAILED: {failure}")?;
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The table, with where and when it was measured.
fn report(args: &Args, pmu: &Pmu, rows: &[Row]) -> String {
    let Args { rounds, packets, .. } = args;
    let mut text = format!(
        "{}:\n{rounds} rounds of {packets} packets each.{}\n\n",
        where_and_when(),
        if pmu.counts() { "" } else { " There is no PMU here: no cycles, no instructions." }
    );
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.cells(pmu.counts())).collect();
    text.push_str(&markdown(&Row::HEAD, &rows));
    text
}

/// Compares with the baselines, or writes them and the table; what is worse than it was.
fn keep(args: &Args, pmu: &Pmu, rows: &[Row], report: &str) -> Result<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let dir = root.join("vm-tests/baseline");
    if args.update {
        write_page(&root.join("docs/reference/datapath-bench.md"), report)?;
    }
    let bpf: Vec<(&str, f64)> =
        rows.iter().map(|row| (row.name, row.counted.instructions)).collect();
    let native: Vec<(&str, f64)> =
        rows.iter().map(|row| (row.name, row.net_instructions())).collect();
    let mut worse = keep_one(args, &Baseline::bpf(&dir), &bpf)?;
    if pmu.counts() {
        worse.extend(keep_one(args, &Baseline::native(&dir), &native)?);
    }
    Ok(worse)
}

fn keep_one(args: &Args, baseline: &Baseline, counts: &[(&str, f64)]) -> Result<Vec<String>> {
    if args.update {
        baseline.write(counts)?;
        return Ok(Vec::new());
    }
    match baseline.compare(counts)? {
        Compared::Worse(worse) => Ok(worse),
        Compared::Nothing(why) => {
            writeln!(io::stdout(), "Instructions are not compared: {why}")?;
            Ok(Vec::new())
        }
    }
}

const PAGE_HEAD: &str = "# What a packet costs\n\n\
    Written by `make bench PART=datapath UPDATE=true`. *Net* is without what the same packet costs\n\
    under an empty program, by the best rounds of both. *Floors* is net nanoseconds in those of a\n\
    program that looks at nothing and puts a constant header in front, in the same rounds. *Must*\n\
    is the bar, as it was set on a machine where the empty program takes 6 ns and the constant\n\
    header 3.3 ns more; on slower ones only the ratios are held against it. All counters of the\n\
    packet path are on.\n\n\
    *BPF* is how many instructions of the program run for a packet, and *helpers* how many calls of\n\
    the kernel are among them: counted one by one, the same on every machine, and held against\n\
    `vm-tests/baseline/bpf.txt`.\n\n";

fn write_page(path: &PathBuf, report: &str) -> Result<()> {
    std::fs::write(path, format!("{PAGE_HEAD}{report}"))
        .with_context(|| format!("cannot write {}", path.display()))
}
