//! Changes of the configuration in force: told, made, confirmed or undone. SIGHUP, the API and the
//! command line all come through here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use tidegate_bgp::speaker::State;
use tidegate_bgp::time::Timestamp;
use tidegate_config::overlay::Overlay;
use tidegate_plan::explain::{Explanation, Session, explain};
use tidegate_plan::guard::{Guard, Packets, Peers};
use tracing::{error, info, warn};

use crate::bpf_io;
use crate::change::{Answer, Ask, Candidate, Documents, Refused, Terms, What};
use crate::config_file::{self, ConfigFile};
use crate::control::{Counts, Said};
use crate::journal::kinds;
use crate::view::API_VERSION;
use crate::view::change::{Applied, Generation, History, Plan};

use super::reload::respecialised;
use super::told::Load;
use super::{Reconciler, told};

/// While guards are watched, the world is looked at this often.
pub(super) const GUARD_LOOK: Duration = Duration::from_millis(500);

/// Counters of services are read this often, for their rates: a read for each service costs.
const SAMPLE_EVERY: Duration = Duration::from_secs(4);

/// A change that undoes itself unless it is confirmed.
#[derive(Debug)]
pub(super) struct Unconfirmed {
    /// What comes back.
    before: ConfigFile,
    pub(super) back_to: u64,
    pub(super) who: String,
    pub(super) until: Timestamp,
    pub(super) guards: Vec<Guard>,
    /// What it did, in words.
    pub(super) changes: Vec<String>,
    peers: Peers,
    /// Packets before the change, in the time between two looks.
    usual: Packets,
    /// All packets when the guards looked last, and when that was.
    packets: (Timestamp, Packets),
}

impl Reconciler {
    /// Does what is asked; the answer is sent when the world has been brought in line.
    pub(super) async fn answer(&mut self, what: What, who: &str) -> Result<Answer, Refused> {
        match what {
            What::Plan(candidate) => {
                let new = self.candidate(candidate)?;
                let explanation = self.explained(&new).await?;
                Ok(Answer::Plan(self.plan_of(&new, &explanation)))
            }
            What::Apply(candidate, terms) => {
                let cause = match &candidate {
                    Candidate::Edit { .. } | Candidate::WithoutOverlay { .. } => "edit",
                    Candidate::Generation(_) => "rollback",
                    Candidate::OwnFile | Candidate::Text { .. } => "apply",
                };
                self.apply(candidate, terms, who, cause).await.map(Answer::Applied)
            }
            What::Why { packet, by } => {
                self.why(packet, by).await.map(|why| Answer::Why(Box::new(why)))
            }
            What::Capture(asked) => {
                self.begin_capture(asked, who).await.map(|it| Answer::Capture(Box::new(it)))
            }
            What::Confirm => self.confirm(who).map(Answer::Applied),
            What::Rollback(terms) => self.back(terms, who).await.map(Answer::Applied),
            What::History => self.history().map(Answer::History),
            What::Drain { target, terms, force } => {
                self.drain(&target, terms, force, who).map(Answer::Drains)
            }
            What::Undrain(target) => self.undrain(&target, who).map(Answer::Drains),
            What::Say { service, backend, saying } => {
                self.say(service, backend, saying, who).map(Answer::Said)
            }
            // It is answered when the other process has begun, which is not waited for here.
            What::Upgrade { .. } => Err(Refused::Upgrade("it has begun".into())),
            What::Drains => {
                let (api_version, drains) = (API_VERSION.into(), self.drains_view());
                Ok(Answer::Drains(crate::view::drain::Drains { api_version, drains }))
            }
            What::Documents => Ok(Answer::Documents(Documents {
                generation: self.control.generation,
                effective: self.config.overlay.over(&self.config.text),
                overlay: self.config.overlay.to_toml(),
            })),
        }
    }

    /// Applies the file as it is on disk; what is wrong with it is said until it is mended.
    pub(super) async fn reload(&mut self) {
        let applied = self.apply(Candidate::OwnFile, Terms::default(), "SIGHUP", "reload").await;
        drop(applied); // It is in the journal, and in the status.
    }

    /// Makes a change, or says why not: then what was in force still is.
    async fn apply(
        &mut self,
        candidate: Candidate,
        terms: Terms,
        who: &str,
        cause: &'static str,
    ) -> Result<Applied, Refused> {
        let is_edit = candidate.is_edit();
        let applied = self.try_apply(candidate, terms, who, cause).await;
        match &applied {
            Ok(_) if is_edit => {}
            Ok(_) => self.control.refused = None,
            // Nothing is wrong with what was asked for, or who asked for it has the answer; a file
            // that is no good stays so until it is mended.
            Err(refused @ Refused::Waiting(_)) => warn!(who, "{cause} refused: {refused}"),
            Err(refused) if is_edit => {
                info!(event = kinds::CONFIG_REFUSED, who, "edit refused: {refused}");
            }
            Err(refused) => {
                error!(
                    event = kinds::CONFIG_REFUSED,
                    who, "{cause} refused, the old configuration stays in force:\n{refused}"
                );
                self.control.refused = Some(refused.to_string());
            }
        }
        applied
    }

    async fn try_apply(
        &mut self,
        candidate: Candidate,
        terms: Terms,
        who: &str,
        cause: &'static str,
    ) -> Result<Applied, Refused> {
        if self.unconfirmed.is_some() {
            return Err(Refused::Waiting(self.control.generation));
        }
        let must_be_kept = candidate.is_edit() || terms.confirm.is_some();
        let is_own_file = matches!(candidate, Candidate::OwnFile);
        let new = self.candidate(candidate)?;
        let is_same = new.text == self.config.text
            && new.overlay == self.config.overlay
            && new.path == self.config.path
            && new.keys == self.config.keys
            && new.access == self.config.access;
        let explanation = self.explained(&new).await?;
        let plan = self.plan_of(&new, &explanation);
        if is_same {
            if is_own_file {
                self.control.saw(&new.text);
            }
            info!(generation = self.control.generation, "{cause}: nothing has changed");
            return Ok(self.applied(None, plan));
        }
        self.can_become(&new, &explanation)?;
        let listeners = self.parts.api.prepare(&new).await?;
        let program = respecialised(&self.config.desired, &new.desired)?;
        let said = Said { who: who.into(), cause, comment: terms.comment.clone() };
        let back_to = self.control.generation;
        match (terms.confirm, must_be_kept) {
            (Some(_), _) => self.control.put(&new, said, Counts::Unconfirmed)?,
            (None, true) => self.control.put(&new, said, Counts::Confirmed)?,
            (None, false) => self.control.put_anyway(&new, said),
        }
        self.parts.api.commit(listeners);
        self.control.undone = None;
        info!(
            event = kinds::CONFIG_APPLIED,
            who,
            generation = self.control.generation,
            "configuration changed: {}",
            told::brief(&plan)
        );
        let peers = self.peers_guard(&explanation);
        let before = self.replace(new, program).await;
        if let Some(within) = terms.confirm {
            let packets = (self.clock.now(), self.packets());
            self.unconfirmed = Some(Unconfirmed {
                before,
                back_to,
                who: who.into(),
                until: self.clock.now() + within,
                guards: terms.guards,
                changes: told::lines(&plan),
                peers,
                usual: self.usual_packets,
                packets,
            });
        }
        Ok(self.applied(terms.confirm, plan))
    }

    fn applied(&self, confirm: Option<Duration>, plan: Plan) -> Applied {
        Applied {
            api_version: API_VERSION.into(),
            generation: self.control.generation,
            confirm_within_secs: confirm.map(|within| within.as_secs()),
            plan,
        }
    }

    /// A configuration that could be in force, checked.
    pub(super) fn candidate(&self, candidate: Candidate) -> Result<ConfigFile, Refused> {
        let overlay = || self.config.overlay.clone();
        let current = |asked: u64| match self.control.generation {
            current if current == asked => Ok(()),
            current => Err(Refused::Stale { asked, current }),
        };
        let checked = |path: &PathBuf, text, overlay| config_file::check(path, text, overlay);
        Ok(match candidate {
            Candidate::OwnFile => {
                let path = &self.control.own_file;
                checked(path, config_file::read_text(path)?, overlay())?
            }
            Candidate::Text { name, text } => checked(&name, text, overlay())?,
            Candidate::Generation(number) => {
                let none = || Refused::NoGeneration(number);
                let record = self.control.record(number).ok_or_else(none)?;
                let overlay = Overlay::from_toml(&record.overlay).map_err(|_damaged| none())?;
                checked(&record.file, record.text, overlay)?
            }
            Candidate::WithoutOverlay { generation } => {
                current(generation)?;
                checked(&self.config.path, self.config.text.clone(), Overlay::default())?
            }
            Candidate::Edit { target, edit, generation } => {
                current(generation)?;
                let overlay = self.config.overlay.edited(&self.config.text, &target, edit)?;
                let name = format!("{target}");
                let text = &self.config.text;
                if let Err(found) = tidegate_config::overlay::check_with(&name, text, &overlay) {
                    return Err(Refused::Mistakes { target, found });
                }
                checked(&self.config.path, text.clone(), overlay)?
            }
        })
    }

    /// What it would do to the world as it is.
    async fn explained(&mut self, new: &ConfigFile) -> Result<Explanation, Refused> {
        let world = |failure: anyhow::Error| Refused::World(format!("{failure:#}"));
        let mut observed = self.observe().await.map_err(world)?;
        let ways = self.ways_to(&new.desired).await.map_err(world)?;
        observed.ways.extend(ways.0);
        Ok(explain(&self.config.desired, &new.desired, &observed, self.clock.now()))
    }

    fn plan_of(&self, new: &ConfigFile, explanation: &Explanation) -> Plan {
        let up = self.established();
        let flows = self.live_flows();
        let load = |name: &str| Load {
            packets_per_sec: self.rates.get(name).copied(),
            live_flows: flows.get(name).copied(),
        };
        let from = self.control.generation;
        let plan = told::plan(explanation, new, &up, load);
        Plan { from_generation: from, drains: self.drains_view(), ..plan }
    }

    /// Whether a running daemon can go there.
    fn can_become(&self, new: &ConfigFile, explanation: &Explanation) -> Result<(), Refused> {
        if !explanation.restart.is_empty() {
            return Err(Refused::NeedsRestart(explanation.restart.clone()));
        }
        // One that was there before may be gone for a moment; one that is new was mistyped.
        let known = &self.config.desired.router.interfaces;
        let added = new.desired.router.interfaces.iter().filter(|name| !known.contains(name));
        for name in added {
            bpf_io::index_of(name)?;
        }
        Ok(())
    }

    fn confirm(&mut self, who: &str) -> Result<Applied, Refused> {
        if self.unconfirmed.is_none() {
            return Err(Refused::NothingWaits);
        }
        self.control.confirm()?;
        self.unconfirmed = None;
        let generation = self.control.generation;
        info!(event = kinds::CONFIG_CONFIRMED, who, generation, "change confirmed");
        Ok(self.applied(None, Plan { api_version: API_VERSION.into(), ..Plan::default() }))
    }

    /// Takes back what waits to be confirmed; else goes to the generation before.
    async fn back(&mut self, terms: Terms, who: &str) -> Result<Applied, Refused> {
        if self.unconfirmed.is_some() {
            self.undo(who, "it was taken back").await;
            return Ok(
                self.applied(None, Plan { api_version: API_VERSION.into(), ..Plan::default() })
            );
        }
        let before = self.control.before().ok_or(Refused::NothingBefore)?;
        self.apply(Candidate::Generation(before), terms, who, "rollback").await
    }

    fn history(&self) -> Result<History, Refused> {
        let generations = self.control.history()?.into_iter().map(|record| Generation {
            generation: record.generation,
            at: record.at,
            who: record.who,
            cause: record.cause,
            comment: record.comment,
            file: record.file.display().to_string(),
            overlay: Overlay::from_toml(&record.overlay).map_or(0, |overlay| overlay.len()),
        });
        let generations = generations.collect();
        let (api_version, in_force) = (API_VERSION.into(), self.control.generation);
        Ok(History { api_version, in_force, generations })
    }

    /// What waits to be confirmed is undone when its time is over or a guard says so.
    pub(super) async fn watch(&mut self) {
        let up = self.established();
        let packets = self.packets();
        let now = self.clock.now();
        let Some(waiting) = &mut self.unconfirmed else { return };
        let mut bad = (waiting.until <= now).then(|| "it was not confirmed in time".to_owned());
        if waiting.guards.contains(&Guard::PeersUp)
            && let Some(peer) = waiting.peers.bad(&up)
        {
            bad = Some(format!("guard peers-up: the session with {peer} is down"));
        }
        // Over a while: a handful of stray packets between two looks is nothing.
        if now.since(waiting.packets.0) >= GUARD_LOOK {
            let recent = packets.since(waiting.packets.1);
            if waiting.guards.contains(&Guard::Drops) && recent.is_worse_than(waiting.usual) {
                bad = Some(format!("guard drops: {}", recent.words()));
            }
            waiting.packets = (now, packets);
        }
        if let Some(why) = bad {
            self.undo("tidegate", &why).await;
        }
    }

    /// Brings back what was in force before the change that waits.
    async fn undo(&mut self, who: &str, why: &str) {
        let Some(Unconfirmed { before, back_to, .. }) = self.unconfirmed.take() else { return };
        let undone = format!("generation {} was undone, {why}", self.control.generation);
        error!(event = kinds::CONFIG_UNDONE, who, "{undone}: back to generation {back_to}");
        let comment = format!("{undone}: back to {back_to}");
        self.control.put_anyway(&before, Said { who: who.into(), cause: "undo", comment });
        match self.parts.api.prepare(&before).await {
            Ok(listeners) => self.parts.api.commit(listeners),
            Err(problem) => error!("the API stays where it is: {problem}"),
        }
        self.control.undone = Some(format!("{undone}: back to generation {back_to}"));
        let program = respecialised(&self.config.desired, &before.desired);
        let program = program.unwrap_or_else(|problem| {
            error!("the packet path keeps the program of the change: {problem}");
            None
        });
        drop(self.replace(before, program).await);
    }

    /// Peers whose session is established.
    pub(super) fn established(&self) -> BTreeSet<String> {
        let snapshot = self.snapshot.borrow();
        let up = snapshot.peers.iter().filter(|peer| peer.state == State::Established);
        up.map(|peer| peer.name.to_string()).collect()
    }

    fn peers_guard(&self, explanation: &Explanation) -> Peers {
        let named = |wanted: fn(&Session) -> bool| -> BTreeSet<String> {
            let sessions = explanation.sessions.iter();
            sessions.filter(|(_, session)| wanted(session)).map(|(name, _)| name.clone()).collect()
        };
        let reset = named(|session| matches!(session, Session::Reset { .. }));
        let closed = named(|session| matches!(session, Session::Closed));
        Peers::new(&self.established(), &reset, &closed)
    }

    /// All packets so far; none when the counters cannot be read, which is told elsewhere.
    fn packets(&self) -> Packets {
        self.parts.datapath.counters().map(Packets::of).unwrap_or_default()
    }

    /// Remembers what went through lately.
    pub(super) fn sample(&mut self) {
        let now = self.clock.now();
        let (then, before) = &self.sampled;
        let age = now.since(*then);
        if age < SAMPLE_EVERY {
            return;
        }
        let packets = self.packets();
        self.usual_packets = packets.since(*before);
        self.sampled = (now, packets);
        let mut totals = BTreeMap::new();
        for state in self.last.vips.values() {
            let Some(programmed) = state.programmed else { continue };
            if let Ok(traffic) = self.parts.datapath.service_traffic(programmed.index) {
                totals.insert(state.name.clone(), traffic.packets);
            }
        }
        let millis = u64::try_from(age.as_millis()).unwrap_or(u64::MAX).max(1);
        self.rates = totals
            .iter()
            .filter_map(|(name, total)| {
                let since = total.saturating_sub(*self.totals.get(name)?);
                Some((name.clone(), since.saturating_mul(1000) / millis))
            })
            .collect();
        self.totals = totals;
    }

    /// One request; the answer goes out by `reply` when the world follows.
    pub(super) async fn on_ask(&mut self, ask: Ask) {
        let Ask { what, who, reply } = ask;
        if let What::Upgrade { binary, within } = what {
            return self.begin_upgrade((binary, within), who, reply);
        }
        let answer = self.answer(what, &who).await;
        self.converge().await;
        if reply.send(answer).is_err() {
            warn!(who, "who asked has gone away before the answer");
        }
    }
}
