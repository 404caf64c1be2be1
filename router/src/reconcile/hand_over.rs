//! An upgrade: another process takes over, with all that is known here.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};
use tidegate_bgp::speaker::ConnId;
use tidegate_bgp::types::HoldTime;
use tidegate_plan::Memory;
use tidegate_plan::health::Verdict;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use crate::bfd_io;
use crate::bgp_io::Legacy;
use crate::bpf_io;
use crate::change::{Answer, Refused};
use crate::config_file;
use crate::hand_over::{Body, Estate, Start, Started, own_binary, store};
use crate::journal;
use crate::view::API_VERSION;
use crate::view::upgrade::{TakenOver, Upgraded};

use super::Reconciler;
use super::memory::{BackendKey, Seen};
use super::said::Words;

/// Sessions stand still no longer than this, whatever their Hold Times allow.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// What the old process does for those that it still answers.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// What is remembered between two looks, as another process gets it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Known {
    times: Memory,
    healths: Vec<(BackendKey, Verdict, Option<String>)>,
    words: Words,
    seen: Seen,
    settled: bool,
}

/// Connections of sessions, and where it listens for others.
type Conns = Vec<(ConnId, OwnedFd)>;
type Listeners = Vec<(SocketAddr, OwnedFd)>;

/// Who waits for the outcome.
type Reply = oneshot::Sender<Result<Answer, Refused>>;

/// A process that was started to take over, or why there is none, and who wants to know.
pub(super) struct Candidate {
    started: Result<Started, String>,
    who: String,
    reply: Reply,
}

impl Reconciler {
    /// Starts the new process beside everything else. When it could take over, the loop hears of it.
    pub(super) fn begin_upgrade(
        &mut self,
        (binary, within): (Option<PathBuf>, Duration),
        who: String,
        reply: Reply,
    ) {
        let binary = match self.may_upgrade(binary) {
            Ok(binary) => binary,
            Err(refused) => {
                info!(who, "upgrade refused: {refused}");
                return drop(reply.send(Err(refused)));
            }
        };
        info!(who, "upgrade: starting {}", binary.display());
        self.is_upgrading = true;
        let start = Start { binary, config: self.control.own_file.clone(), within };
        let candidates = self.candidates.0.clone();
        tokio::spawn(async move {
            let started = start.start().await;
            // Fails only when this process ends anyway, and the other one hears of that.
            drop(candidates.send(Candidate { started, who, reply }).await);
        });
    }

    /// Which binary, if a start of it would find everything as it is now.
    fn may_upgrade(&self, binary: Option<PathBuf>) -> Result<PathBuf, Refused> {
        let refuse = |why: String| Err(Refused::Upgrade(why));
        if self.unconfirmed.is_some() {
            return Err(Refused::Waiting(self.control.generation));
        }
        if self.is_upgrading {
            return refuse("another upgrade is under way".into());
        }
        if self.is_stopping {
            return refuse("the daemon is stopping".into());
        }
        if std::process::id() == 1 {
            return refuse(
                "this daemon is the first process of its container, which ends with it: restart the \
                 container"
                    .into(),
            );
        }
        // A start takes a file that has changed: that is a change of its own, with a plan.
        match config_file::read_text(&self.control.own_file) {
            Ok(text) if self.control.has_seen(&text) => {}
            Ok(_) => {
                return refuse(
                    "the configuration file has changed since it was read: apply it first \
                     ('tidegate plan', 'tidegate apply')"
                        .into(),
                );
            }
            Err(error) => return refuse(error.to_string()),
        }
        let binary = match binary {
            Some(binary) => binary,
            None => own_binary().map_err(|error| {
                Refused::Upgrade(format!(
                    "the binary of this daemon is not known: {error}; name one"
                ))
            })?,
        };
        if !binary.is_absolute() {
            return refuse(format!("{} is no absolute path", binary.display()));
        }
        Ok(binary)
    }

    /// The new process could take over, or not. `true`: it has.
    pub(super) async fn on_candidate(&mut self, candidate: Candidate) -> bool {
        self.is_upgrading = false;
        let Candidate { started, who, reply } = candidate;
        let outcome = match started {
            Ok(started) => self.hand_over(started).await,
            Err(why) => Err(why),
        };
        match outcome {
            Ok(upgraded) => {
                let Upgraded { sessions, paused_millis, pid, version, .. } = &upgraded;
                info!(
                    who,
                    "upgrade handed over {sessions} sessions in {paused_millis} ms to version \
                     {version}, process {pid}"
                );
                drop(reply.send(Ok(Answer::Upgraded(upgraded))));
                self.parts.api.last_answers(LAST_ANSWERS_WITHIN).await;
                true
            }
            Err(why) => {
                self.reclaim();
                error!(who, "upgrade failed, this daemon runs on as before: {why}");
                drop(reply.send(Err(Refused::Upgrade(why))));
                false
            }
        }
    }

    async fn hand_over(&mut self, started: Started) -> Result<Upgraded, String> {
        let version = started.version.clone();
        let began = self.clock.now();
        let legacy = match self.parts.bgp.hand_over().await {
            Ok(legacy) => legacy,
            Err(stopped) => {
                started.dismiss();
                return Err(stopped.to_string());
            }
        };
        let sessions = legacy.left.len();
        let hold_times = legacy.left.iter().map(|left| left.kept.hold_time);
        let within = patience(hold_times).min(PAUSE_MAX);
        // Dropped on any way out but the last one, which makes everything go on here.
        let (estate, gone) = self.estate(legacy).map_err(|error| error.to_string())?;
        let started = started.give(estate, within).await?;
        let pid = started.pid();
        journal::notify(&[NotifyState::MainPid(pid)]);
        let bfd = self.parts.bfd.hand_over().await;
        if let Err((why, bfd)) = started.go(bfd) {
            journal::notify(&[NotifyState::MainPid(std::process::id())]);
            let seed = self.clock.now().as_nanos();
            self.parts.bfd = bfd_io::start(self.parts.bgp.orders(), self.clock, seed, bfd);
            self.parts.bfd.set(self.config.desired.peers.values());
            return Err(why);
        }
        let paused = self.clock.now() - began;
        self.parts.api.close();
        // The speaker's task ends, if it has not already; it has nothing left to say.
        gone.send(()).unwrap_or_default();
        let paused_millis = u64::try_from(paused.as_millis()).unwrap_or(u64::MAX);
        Ok(Upgraded { api_version: API_VERSION.into(), version, pid, sessions, paused_millis })
    }

    /// Everything that goes over, and what says that it has.
    fn estate(&mut self, legacy: Legacy) -> std::io::Result<(Estate, oneshot::Sender<()>)> {
        let (body, conns, listeners, gone) = self.record(legacy);
        let (lock, api) = (self.parts.lock.try_clone()?, self.parts.api.sockets()?);
        Ok((Estate { body, lock, api, listeners, conns }, gone))
    }

    /// The record, and what goes with it.
    fn record(&self, legacy: Legacy) -> (Body, Conns, Listeners, oneshot::Sender<()>) {
        let Legacy { record, left, listeners, gone } = legacy;
        let known = Known {
            times: self.times.clone(),
            healths: self.healths.known(),
            words: self.words.clone(),
            seen: self.seen.clone(),
            settled: self.settled,
        };
        let patience = patience(left.iter().map(|left| left.kept.hold_time));
        let (mut conns, mut sockets) = (Vec::new(), Vec::new());
        for it in left {
            conns.push((it.kept.conn, it.kept.remote, it.unsent));
            sockets.push((it.kept.conn, it.socket));
        }
        let clock = (self.clock.now(), bpf_io::sys::monotonic_ns());
        let generation = self.control.generation;
        let body = Body { generation, patience, clock, speaker: record, conns, known };
        (body, sockets, listeners, gone)
    }

    /// Leaves the sessions to the next process, by way of systemd. `false`: that cannot be done, and
    /// they go on here.
    pub(super) async fn store(&self) -> bool {
        if !store::is_there() {
            return false;
        }
        match self.try_store().await {
            Ok(sessions) => {
                info!("systemd keeps {sessions} sessions for the next process");
                true
            }
            Err(why) => {
                warn!("systemd cannot keep the sessions, so they end: {why:#}");
                false
            }
        }
    }

    /// How many sessions are left there. On an error they go on here.
    async fn try_store(&self) -> anyhow::Result<usize> {
        spawn_blocking(store::probe).await??; // Before anything stands still.
        let legacy = self.parts.bgp.hand_over().await?;
        let (body, conns, _, gone) = self.record(legacy);
        let sessions = conns.len();
        spawn_blocking(move || store::fill(&body, &conns)).await??;
        // The speaker's task ends, if it has not already; it has nothing left to say.
        gone.send(()).unwrap_or_default();
        Ok(sessions)
    }

    /// The packet path is ours again: the new process may have put some of its own programs there.
    fn reclaim(&mut self) {
        if let Err(problem) = self.parts.datapath.reclaim() {
            error!(
                "the packet path keeps programs of the binary that did not start: {problem}; \
                 'systemctl restart tidegate' puts those of this one back"
            );
        }
    }

    /// Goes on with what another process knew.
    pub(crate) fn inherit(mut self, known: Known, taken_over: TakenOver) -> Self {
        let Known { times, healths, words, seen, settled } = known;
        self.taken_over = Some(taken_over);
        self.healths.put(&self.config.desired);
        self.healths.restore(healths);
        (self.times, self.words, self.seen, self.settled) = (times, words, seen, settled);
        self
    }
}

/// No peer gives us up meanwhile: it hears nothing for a third of its Hold Time as it is.
fn patience(hold_times: impl Iterator<Item = HoldTime>) -> Duration {
    let shortest = hold_times.filter_map(HoldTime::duration).min();
    shortest.map_or(Duration::MAX, |hold| hold / 2)
}

#[cfg(test)]
mod tests;
