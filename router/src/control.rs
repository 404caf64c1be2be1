//! Which configuration counts: decided at the start, kept through changes, on disk before it is
//! said.
//!
//! The last decision stands until there is a new one. A start with the file as it was when the
//! decision was made is none: what was confirmed comes back, also if something else ran when the
//! daemon ended. A start with a file that has changed since then is one: the file is taken, or,
//! if it is no good, what was confirmed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tidegate_config::overlay::Overlay;
use tidegate_plan::drain::Kept;
use tracing::{error, warn};

use crate::config_file::{self, ConfigFile, Error};
use crate::store_io::{self, Record, State, Store};

/// Where state is kept unless the file says so; the file's default is the same.
const STATE_DIR: &str = "/var/lib/tidegate";

/// Numbers and reasons of the configuration in force.
#[derive(Debug)]
pub(crate) struct Control {
    store: Store,
    /// The daemon's own file.
    pub(crate) own_file: PathBuf,
    /// Number of the configuration in force.
    pub(crate) generation: u64,
    /// The last number that was given.
    newest: u64,
    /// The generation that a start comes back to.
    pub(crate) confirmed: u64,
    /// The own file's text when that was decided.
    file_seen: String,
    /// Why the last change was refused.
    pub(crate) refused: Option<String>,
    /// What was undone last.
    pub(crate) undone: Option<String>,
    /// Why the state directory cannot be used.
    pub(crate) state_problem: Option<String>,
}

/// What is said of a generation when it comes into force.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) who: String,
    pub(crate) cause: &'static str,
    pub(crate) comment: String,
}

impl Said {
    fn at_start(comment: &str) -> Self {
        Self { who: "start".into(), cause: "start", comment: comment.into() }
    }
}

/// Whether a generation counts after a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    /// It does.
    Confirmed,
    /// The one before it does.
    Unconfirmed,
}

/// Decides at the start.
///
/// # Errors
/// The file's mistakes, when there is nothing to come back to.
pub(crate) fn at_start(own_file: &Path) -> Result<(ConfigFile, Control), Error> {
    let text = config_file::read_text(own_file);
    let state_dir = text.as_ref().ok().and_then(|text| tidegate_config::state_dir(text));
    let state_dir = state_dir.unwrap_or_else(|| STATE_DIR.into());
    let mut control = Control {
        store: Store::new(&state_dir, own_file),
        own_file: own_file.to_owned(),
        generation: 0,
        newest: 0,
        confirmed: 0,
        file_seen: text.as_ref().cloned().unwrap_or_default(),
        refused: None,
        undone: None,
        state_problem: None,
    };
    let kept = control.store.load().unwrap_or_else(|damaged| {
        control.state_problem = Some(damaged.to_string());
        None
    });
    let config = match kept {
        None => {
            control.newest = control.store.newest(); // Numbers are not given twice.
            let config = config_file::check(own_file, text?, Overlay::default())?;
            control.begin(&config, Said::at_start("first start"));
            config
        }
        Some(kept) => control.come_back(text, kept)?,
    };
    Ok((config, control))
}

impl Control {
    /// A start after others.
    fn come_back(
        &mut self,
        text: Result<String, Error>,
        kept: store_io::Kept,
    ) -> Result<ConfigFile, Error> {
        let store_io::Kept { state, confirmed: record, newest } = kept;
        (self.generation, self.confirmed, self.newest) =
            (record.generation, record.generation, newest);
        let overlay = Overlay::from_toml(&record.overlay).unwrap_or_else(|damaged| {
            self.state_problem = Some(format!("what the API changed is lost: {damaged}"));
            Overlay::default()
        });
        let is_new = text.as_ref().is_ok_and(|text| *text != state.file_seen);
        let last = config_file::check(&record.file, record.text, overlay.clone());
        if !is_new && text.is_ok() {
            let config = last?;
            if let Some(lost) = state.unconfirmed {
                let why = format!("generation {lost} was not confirmed before the daemon ended");
                self.begin(&config, Said { cause: "undo", ..Said::at_start(&why) });
                self.undone = Some(format!("{why}: back to generation {}", record.generation));
            }
            return Ok(config);
        }
        let own_file = self.own_file.clone();
        let new = text.and_then(|text| config_file::check(&own_file, text, overlay));
        match (new, last) {
            (Ok(config), _) => {
                self.begin(&config, Said::at_start("the file had changed"));
                Ok(config)
            }
            (Err(refused), Ok(last)) => {
                error!("generation {} runs on, the file is no good:\n{refused}", self.generation);
                self.refused = Some(refused.to_string());
                Ok(last)
            }
            (Err(refused), Err(_)) => Err(refused),
        }
    }

    /// A generation that counts from the start on.
    fn begin(&mut self, config: &ConfigFile, said: Said) {
        let damaged = self.state_problem.take();
        self.put_anyway(config, said);
        // What was found damaged has been written anew; it is still worth a word.
        self.state_problem = self.state_problem.take().or(damaged);
    }

    /// Gives the next generation its number and puts it on disk; then it counts.
    ///
    /// # Errors
    /// It is not on disk: what counted before still does.
    pub(crate) fn put(
        &mut self,
        config: &ConfigFile,
        said: Said,
        counts: Counts,
    ) -> Result<(), store_io::Error> {
        let generation = self.newest + 1;
        let file_seen = config_file::read_text(&self.own_file).unwrap_or_default();
        let state = match counts {
            Counts::Confirmed => State::confirmed(generation, file_seen.clone()),
            Counts::Unconfirmed => {
                State::unconfirmed(self.confirmed, generation, file_seen.clone())
            }
        };
        self.store.put(&record(generation, config, said), &state)?;
        self.state_problem = None;
        self.file_seen = file_seen;
        self.count(generation, counts);
        Ok(())
    }

    /// The same for a generation that counts even if it cannot be kept, which is then said.
    pub(crate) fn put_anyway(&mut self, config: &ConfigFile, said: Said) {
        if let Err(problem) = self.put(config, said, Counts::Confirmed) {
            warn!("the configuration in force is not kept: {problem}");
            self.state_problem = Some(problem.to_string());
            self.count(self.newest + 1, Counts::Confirmed);
        }
    }

    const fn count(&mut self, generation: u64, counts: Counts) {
        self.newest = generation;
        self.generation = generation;
        if matches!(counts, Counts::Confirmed) {
            self.confirmed = generation;
        }
    }

    /// The generation that runs counts from now on.
    ///
    /// # Errors
    /// It cannot be kept: it still waits.
    pub(crate) fn confirm(&mut self) -> Result<(), store_io::Error> {
        self.store.set(&State::confirmed(self.generation, self.file_seen.clone()))?;
        self.confirmed = self.generation;
        self.undone = None;
        Ok(())
    }

    /// The own file says what is in force already, perhaps in other words than when that was
    /// decided: a start with it is no new decision.
    pub(crate) fn saw(&mut self, text: &str) {
        if self.file_seen == text {
            return;
        }
        text.clone_into(&mut self.file_seen);
        let state = State::confirmed(self.confirmed, self.file_seen.clone());
        if let Err(problem) = self.store.set(&state) {
            self.state_problem = Some(problem.to_string());
        }
    }

    /// Whether a start with this text of the own file would be no new decision.
    pub(crate) fn has_seen(&self, text: &str) -> bool {
        self.file_seen == text
    }

    /// A generation that is kept.
    pub(crate) fn record(&self, generation: u64) -> Option<Record> {
        self.store.record(generation).ok()
    }

    /// The newest generation before the one in force that says something else, those that were
    /// undone left out.
    pub(crate) fn before(&self) -> Option<u64> {
        let mut undone = false;
        let mut current: Option<Record> = None;
        for record in self.store.history().unwrap_or_default() {
            let was_undone = core::mem::replace(&mut undone, record.cause == "undo");
            if record.generation > self.generation {
                continue;
            }
            match &current {
                None => current = Some(record),
                Some(now) => {
                    let is_same = (&now.text, &now.overlay) == (&record.text, &record.overlay);
                    if !was_undone && !is_same {
                        return Some(record.generation);
                    }
                }
            }
        }
        None
    }

    /// What drained when that was written down last.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub(crate) fn drains(&self) -> Result<Vec<Kept>, store_io::Error> {
        self.store.drains()
    }

    /// Writes down what drains.
    ///
    /// # Errors
    /// What was written before counts.
    pub(crate) fn keep_drains(&self, drains: &[Kept]) -> Result<(), store_io::Error> {
        self.store.put_drains(drains)
    }

    /// All that are kept, the newest first.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn history(&self) -> Result<Vec<Record>, store_io::Error> {
        self.store.history()
    }
}

fn record(generation: u64, config: &ConfigFile, said: Said) -> Record {
    let at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let Said { who, cause, comment } = said;
    let (file, text) = (config.path.clone(), config.text.clone());
    let overlay = config.overlay.to_toml();
    Record { generation, at, who, cause: cause.into(), comment, file, text, overlay }
}

#[cfg(test)]
mod tests;
