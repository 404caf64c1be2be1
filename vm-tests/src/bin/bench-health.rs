//! `make bench PART=health`: ten thousand health checks a second on one core, and how late they are.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use socket2::{Domain, Socket, Type};
use tidegate::health_io;
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::{HealthCheck, Probe, Protocol, ServiceAddr, Via};
use tidegate_vm_tests::bench::perf::Pmu;

/// Each backend is asked as often.
const INTERVAL: Duration = Duration::from_secs(1);
/// The first checks are spread anew: before that nothing is measured.
const WARM_UP: Duration = Duration::from_secs(3);
/// A check that begins later than this is behind.
const LATE_MAX: Duration = Duration::from_millis(250);

/// Many health checks on one core, and how late they are.
#[derive(Parser)]
struct Args {
    /// Backends, each asked once a second by a TCP connection.
    #[arg(long, default_value_t = 10_000)]
    backends: u32,
    /// Seconds.
    #[arg(long, default_value_t = 10)]
    secs: u64,
}

fn main() -> Result<ExitCode> {
    let Args { backends, secs } = Args::parse();
    let port = answer_everywhere()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let pmu = Pmu::open();
    let (measured, cost) = pmu.measure(|| runtime.block_on(measure(backends, port, secs)))?;
    let wanted = u64::from(backends) * secs;
    let wall = Duration::from_secs(secs) + WARM_UP;
    let cpu = cost.time.as_secs_f64() / wall.as_secs_f64();
    writeln!(
        io::stdout(),
        "{backends} backends asked every second: {} checks in {secs} s, {} failed; \
         {:.0} % of a core; the latest began {:.1} ms late (must be below {})",
        measured.answered + measured.failed,
        measured.failed,
        cpu * 100.0,
        measured.late.as_secs_f64() * 1e3,
        LATE_MAX.as_millis(),
    )?;
    let mut failures = Vec::new();
    if measured.answered * 100 < wanted * 97 {
        failures.push(format!("{} good checks of {wanted}", measured.answered));
    }
    if measured.late >= LATE_MAX {
        failures.push(format!("a check began {:?} late", measured.late));
    }
    for failure in &failures {
        writeln!(io::stdout(), "FAILED: {failure}")?;
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Measured {
    answered: u64,
    failed: u64,
    late: Duration,
}

async fn measure(backends: u32, port: u16, secs: u64) -> Result<Measured> {
    let (mut checks, mut results) = health_io::start();
    let vip = IpAddr::from(Ipv4Addr::LOCALHOST);
    let service = ServiceAddr { addrs: Prefix::host(vip), port: 80, protocol: Protocol::Tcp };
    let check = HealthCheck {
        probe: Probe::Tcp,
        via: Via::Direct,
        port,
        interval: INTERVAL,
        retry: INTERVAL,
        timeout: INTERVAL,
        rise: 1,
        fall: 3,
    };
    let backend = |n: u32| IpAddr::from(Ipv4Addr::from_bits(0x7f01_0000 + n));
    let wanted: BTreeMap<_, _> =
        (1..=backends).map(|n| ((service, backend(n)), check.clone())).collect();
    checks.set(wanted);
    let begin = Instant::now() + WARM_UP;
    let end = begin + Duration::from_secs(secs);
    let mut measured = Measured { answered: 0, failed: 0, late: Duration::ZERO };
    while Instant::now() < end {
        let left = end.saturating_duration_since(Instant::now());
        let Ok(result) = tokio::time::timeout(left, results.recv()).await else { break };
        let result = result.context("the checks have ended")?;
        if Instant::now() >= begin {
            match result.outcome {
                Ok(_) => measured.answered += 1,
                Err(_) => measured.failed += 1,
            }
        }
    }
    measured.late = checks.lateness_max();
    Ok(measured)
}

/// A server that takes connections to any address of this host and says nothing; its port.
fn answer_everywhere() -> Result<u16> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
    socket.listen(4_096)?;
    let listener = TcpListener::from(socket);
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        // One that fails is the checker's to notice.
        loop {
            drop(listener.accept());
        }
    });
    Ok(port)
}
