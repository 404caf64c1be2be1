//! Health checks: asks every backend that is to be asked, and says what came of it.
//!
//! What a result means for the backend (rise, fall) is the receiver's matter.

mod failure;
pub(crate) mod probe;
pub(crate) mod random;
mod tunnel;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::ClientConfig;
use tidegate_config::desired::{HealthCheck, HttpProbe, Probe, ServiceAddr, Via};
use tidegate_plan::entry::{self, Identity, Outer};
use tidegate_plan::observed::Way;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use failure::Failure;
use probe::tls::Trust;
use random::Random;
use tunnel::{Through, Tunnels};

/// Checks in flight at a time. Each holds a socket, and systemd's default leaves a process 1024
/// descriptors before it asks for more; one beyond waits its turn, which delays it and fails
/// nothing: its timeout starts when it does.
const IN_FLIGHT_MAX: usize = 512;

/// Results that wait for their receiver. When it is full the check that has one more waits, and
/// its next one is late: no result is lost, and a slow receiver is asked for less.
const RESULTS_MAX: usize = 1024;

/// The first checks of many backends are spread over this time, or over the interval if that is
/// shorter: a service that is new waits for all of them.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

const TOO_MANY: &str = "more backends are checked so than there is room for";

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// For which services: all that ask the same of the backend. A result that was on its way when
    /// its check was dropped still arrives.
    pub services: Arc<[ServiceAddr]>,
    /// Which backend was asked.
    pub backend: IpAddr,
    /// How long the answer took, or why there was no good one.
    pub outcome: Result<Duration, Failure>,
}

/// The checks that run. Dropping it stops them all.
#[derive(Debug)]
pub struct Checks {
    running: HashMap<Question, Check>,
    results: mpsc::Sender<CheckResult>,
    trust: Trust,
    tunnels: Tunnels,
    in_flight: Arc<Semaphore>,
    late: Arc<Late>,
}

/// How late a check has begun at worst, in microseconds.
#[derive(Debug, Default)]
struct Late(AtomicU64);

impl Late {
    fn note(&self, due: Instant) {
        let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_max(micros, Ordering::Relaxed);
    }
}

/// No checks yet, and where their results will come out.
pub fn start() -> (Checks, mpsc::Receiver<CheckResult>) {
    let (results, receiver) = mpsc::channel(RESULTS_MAX);
    let checks = Checks {
        running: HashMap::new(),
        results,
        trust: Trust::default(),
        tunnels: Tunnels::default(),
        in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        late: Arc::default(),
    };
    (checks, receiver)
}

impl Checks {
    /// How late a check has begun at worst, since the start: it waited for others that were in
    /// flight, or for the CPU.
    pub fn lateness_max(&self) -> Duration {
        Duration::from_micros(self.late.0.load(Ordering::Relaxed))
    }

    /// Runs exactly the checks of `wanted`, those that are the same of one backend once for all
    /// services that have them. Those that are unchanged go on undisturbed, those that are gone or
    /// changed stop at once. Needs a Tokio runtime.
    pub fn set(&mut self, wanted: BTreeMap<(ServiceAddr, IpAddr), HealthCheck>) {
        let mut questions: HashMap<Question, Vec<ServiceAddr>> = HashMap::new();
        for ((service, backend), asks) in wanted {
            let vip = match asks.via {
                Via::Direct => None,
                Via::Tunnel(_) => Some(service.addr()),
            };
            questions.entry(Question { asks, backend, vip }).or_default().push(service);
        }
        self.tunnels.retain(&questions.keys().filter_map(Question::tunnel).collect());
        // Who joins others asks anew, and need not wait until theirs is due.
        self.running.retain(|question, check| {
            questions.get(question).is_some_and(|services| **services == *check.services)
        });
        self.trust.forget_unused();
        for (question, services) in questions {
            if !self.running.contains_key(&question) {
                let check = self.start(&question, services.into());
                self.running.insert(question, check);
            }
        }
    }

    /// Says where packets of clients go, for checks that take their way. `interfaces`: those of the packet
    /// path, which checks may leave by.
    pub(crate) fn look(
        &mut self,
        ways: &BTreeMap<IpAddr, Way>,
        no_ways: &BTreeMap<IpAddr, String>,
        outer: Outer,
        interfaces: &[String],
    ) {
        self.tunnels.look(ways, no_ways, outer, interfaces);
    }

    fn start(&mut self, question: &Question, services: Arc<[ServiceAddr]>) -> Check {
        let Question { ref asks, backend, vip } = *question;
        let trust = trust_of(&asks.probe, &mut self.trust);
        let through = question.tunnel().map(|backend| self.tunnels.through(backend));
        let through = through.map(|through| through.ok_or_else(|| Arc::from(TOO_MANY)));
        let addr = SocketAddr::new(vip.unwrap_or(backend), asks.port);
        let turn = Turn { in_flight: Arc::clone(&self.in_flight), late: Arc::clone(&self.late) };
        let (results, of) = (self.results.clone(), Arc::clone(&services));
        let report = move |outcome| {
            let results = results.clone();
            let result = CheckResult { services: Arc::clone(&of), backend, outcome };
            async move { results.send(result).await }
        };
        let whom = Whom { addr, through };
        Check { services, task: tokio::spawn(run(asks.clone(), trust, whom, turn, report)) }
    }
}

/// Whom the check has to trust, if anybody; while the file cannot be read the check fails.
fn trust_of(probe: &Probe, trust: &mut Trust) -> Result<Option<Arc<ClientConfig>>, Failure> {
    match probe {
        Probe::Http(HttpProbe { tls: Some(tls), .. }) => trust.of(tls).map(Some),
        _ => Ok(None),
    }
}

/// What is asked of whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    asks: HealthCheck,
    backend: IpAddr,
    /// The VIP that shall answer, in a tunnel.
    vip: Option<IpAddr>,
}

impl Question {
    /// The backend as packets of clients reach it, if the question goes that way.
    fn tunnel(&self) -> Option<Identity> {
        match (self.asks.via, self.vip) {
            (Via::Tunnel(mode), Some(vip)) => Some(entry::wanted(mode, vip, self.backend)),
            (Via::Tunnel(_), None) | (Via::Direct, _) => None,
        }
    }
}

/// Who is asked, and on which way.
struct Whom {
    addr: SocketAddr,
    /// In a tunnel; there may be no room for it.
    through: Option<Result<Through, Arc<str>>>,
}

impl Whom {
    /// The socket that asks gets this mark, if any.
    async fn mark(&mut self) -> Result<Option<u32>, Failure> {
        match &mut self.through {
            None => Ok(None),
            Some(Err(why)) => Err(Failure::NoWay(Arc::clone(why))),
            Some(Ok(through)) => {
                through.is_there().await.map_err(Failure::NoWay)?;
                Ok(Some(through.mark))
            }
        }
    }
}

/// One question that is asked again and again.
#[derive(Debug)]
struct Check {
    services: Arc<[ServiceAddr]>,
    task: JoinHandle<()>,
}

impl Drop for Check {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What checks share.
struct Turn {
    in_flight: Arc<Semaphore>,
    late: Arc<Late>,
}

/// Asks at every interval until nobody wants to hear the results. The next check starts one
/// interval after the start of this one, and never before this one has ended.
async fn run<F>(
    check: HealthCheck,
    mut trust: Result<Option<Arc<ClientConfig>>, Failure>,
    mut whom: Whom,
    turn: Turn,
    report: impl Fn(Result<Duration, Failure>) -> F,
) where
    F: Future<Output = Result<(), mpsc::error::SendError<CheckResult>>>,
{
    let mut random = Random::new();
    // Checks that were set together do not ask together.
    let mut failures = 0;
    let mut next = Instant::now() + check.interval.min(FIRST_WITHIN).mul_f64(random.fraction());
    let mut is_first = true;
    loop {
        tokio::time::sleep_until(next).await;
        let Ok(permit) = turn.in_flight.acquire().await else { return };
        turn.late.note(next);
        let started = Instant::now();
        // Plus or minus a tenth: checks of many nodes do not fall into step.
        let jitter = 0.9 + 0.2 * random.fraction();
        if trust.is_err() {
            // Somebody may have mended the file, and expects no more to be needed.
            trust = trust_of(&check.probe, &mut Trust::default());
        }
        let ask = async {
            let trust = trust.as_ref().map_err(Clone::clone)?.as_ref();
            let to = probe::To { addr: whom.addr, mark: whom.mark().await? };
            probe::ask(&check.probe, trust, to).await
        };
        let asked = tokio::time::timeout(check.timeout, ask);
        let outcome = match asked.await {
            Ok(answer) => answer.map(|()| started.elapsed()),
            Err(_elapsed) => Err(Failure::TimedOut(check.timeout)),
        };
        drop(permit);
        failures = if outcome.is_ok() { 0 } else { failures + 1 };
        // One that is about to be called down is asked again soon; one that is down has time.
        let is_doubtful = (1..check.fall).contains(&failures);
        let pause = if is_doubtful {
            check.retry
        } else if core::mem::take(&mut is_first) {
            check.interval.mul_f64(random.fraction()) // From now on, all over the interval.
        } else {
            check.interval
        };
        next = started + pause.mul_f64(jitter);
        if report(outcome).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
