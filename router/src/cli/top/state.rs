//! What `top` knows and what keys do to it. Pure: time and answers come in as arguments.

use std::collections::HashMap;
use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::view::{Backend, Peer, Status, Vip, service_name};

/// Backends of so many services are shown from the start.
const WITH_BACKENDS: usize = 50;
/// Longest text to filter by, in characters.
const FILTER_MAX: usize = 60;

/// The daemon at one moment.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) status: Status,
    pub(super) peers: Vec<Peer>,
    pub(super) vips: Vec<Vip>,
}

/// What the services are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Name,
    Rate,
    /// What needs attention first.
    State,
}

impl Sort {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Rate => "rate",
            Self::State => "state",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Name => Self::Rate,
            Self::Rate => Self::State,
            Self::State => Self::Name,
        }
    }
}

/// What keys mean at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Browse,
    /// Letters go into the filter.
    Filter,
    /// The next key closes the help.
    Help,
    Over,
}

/// Packets and bytes per second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    pub(super) packets: f64,
    pub(super) bytes: f64,
}

/// A line of the list: a service, or a backend of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) vip: &'a Vip,
    pub(super) backend: Option<&'a Backend>,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) seen: Seen,
    pub(super) mode: Mode,
    pub(super) sort: Sort,
    pub(super) filter: String,
    pub(super) backends: bool,
    /// Lines above the first one shown, unless there are fewer.
    pub(super) scrolled: usize,
    /// Why the daemon did not answer last.
    pub(super) trouble: Option<String>,
    rates: Rates,
}

/// What counters have moved since the answer before.
#[derive(Debug, Default)]
struct Rates {
    at: Duration,
    known: bool,
    services: HashMap<String, Rate>,
    backends: HashMap<(String, std::net::IpAddr), Rate>,
    verdicts: HashMap<String, f64>,
}

impl Top {
    pub(super) fn new(seen: Seen) -> Self {
        Self {
            mode: Mode::Browse,
            sort: Sort::Name,
            filter: String::new(),
            backends: seen.vips.len() <= WITH_BACKENDS,
            scrolled: 0,
            trouble: None,
            rates: Rates::default(),
            seen,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.mode == Mode::Over
    }

    /// Another answer of the daemon, `at` so long after the start.
    pub(super) fn saw(&mut self, seen: Seen, at: Duration) {
        self.rates = Rates::between(&self.seen, &seen, self.rates.at, at);
        (self.seen, self.trouble) = (seen, None);
    }

    /// No answer.
    pub(super) fn missed(&mut self, why: &str) {
        self.trouble = Some(why.to_owned());
        self.rates = Rates { at: self.rates.at, ..Rates::default() };
    }

    pub(super) fn press(&mut self, key: KeyEvent) {
        let ends = KeyCode::Char('c');
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == ends {
            self.mode = Mode::Over;
            return;
        }
        match self.mode {
            Mode::Browse => self.browse(key.code),
            Mode::Filter => self.edit(key.code),
            Mode::Help => self.mode = Mode::Browse,
            Mode::Over => {}
        }
    }

    fn browse(&mut self, key: KeyCode) {
        const PAGE: usize = 10;
        match key {
            KeyCode::Char('q') => self.mode = Mode::Over,
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('b') => self.backends = !self.backends,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Up | KeyCode::Char('k') => self.scrolled = self.scrolled.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scrolled += 1,
            KeyCode::PageUp => self.scrolled = self.scrolled.saturating_sub(PAGE),
            KeyCode::PageDown | KeyCode::Char(' ') => self.scrolled += PAGE,
            KeyCode::Home => self.scrolled = 0,
            KeyCode::End => self.scrolled = usize::MAX,
            _ => {}
        }
        // Not further than there is something to see.
        self.scrolled = self.scrolled.min(self.rows().len().saturating_sub(1));
    }

    fn edit(&mut self, key: KeyCode) {
        self.scrolled = 0;
        match key {
            KeyCode::Enter => self.mode = Mode::Browse,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::Browse;
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(letter) if self.filter.chars().count() < FILTER_MAX => {
                self.filter.push(letter);
            }
            _ => {}
        }
    }

    /// The list, filtered and in order.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let needle = self.filter.to_lowercase();
        let holds = |text: &str| text.to_lowercase().contains(&needle);
        let wanted = |vip: &&Vip| {
            needle.is_empty()
                || holds(&vip.service)
                || holds(&vip_name(vip))
                || holds(vip_state(vip))
                || vip.backends.iter().any(|it| holds(&it.address.to_string()) || holds(&it.state))
        };
        let mut vips: Vec<&Vip> = self.seen.vips.iter().filter(wanted).collect();
        match self.sort {
            Sort::Name => {} // They come so.
            Sort::Rate => vips.sort_by(|a, b| {
                let rate = |vip: &Vip| self.rate(&vip.service).map_or(0.0, |rate| rate.packets);
                rate(b).total_cmp(&rate(a))
            }),
            Sort::State => vips.sort_by_key(|vip| {
                let active = vip.backends.iter().filter(|it| it.state == "active").count();
                (vip.announced, active == vip.backends.len())
            }),
        }
        let with_backends = self.backends;
        let rows = vips.into_iter().flat_map(|vip| {
            let backends = vip.backends.iter().filter(move |_| with_backends);
            let backends = backends.map(move |backend| Row { vip, backend: Some(backend) });
            std::iter::once(Row { vip, backend: None }).chain(backends)
        });
        rows.collect()
    }

    /// Of a service; `None` until there were two answers.
    pub(super) fn rate(&self, service: &str) -> Option<Rate> {
        self.rates.services.get(service).copied()
    }

    pub(super) fn backend_rate(&self, service: &str, backend: &Backend) -> Option<Rate> {
        self.rates.backends.get(&(service.to_owned(), backend.address)).copied()
    }

    /// Of all services.
    pub(super) fn total(&self) -> Option<Rate> {
        let add = |sum: Rate, it: &Rate| Rate {
            packets: sum.packets + it.packets,
            bytes: sum.bytes + it.bytes,
        };
        self.rates.known.then(|| self.rates.services.values().fold(Rate::default(), add))
    }

    /// Reasons why packets were dropped, the most frequent first: name, packets, per second.
    pub(super) fn drops(&self) -> Vec<(&str, u64, Option<f64>)> {
        let counters = self.seen.status.counters.iter().filter(|it| it.packets > 0);
        let mut drops: Vec<_> = counters
            .filter_map(|it| {
                let reason = it.name.strip_prefix("drop_")?;
                Some((reason, it.packets, self.rates.verdicts.get(&it.name).copied()))
            })
            .collect();
        drops.sort_by_key(|&(_, packets, _)| std::cmp::Reverse(packets));
        drops
    }
}

impl Rates {
    fn between(before: &Seen, after: &Seen, from: Duration, to: Duration) -> Self {
        let secs = to.saturating_sub(from).as_secs_f64();
        if secs <= 0.0 {
            return Self { at: to, ..Self::default() };
        }
        let moved = |before: u64, after: u64| Some(exact(after.checked_sub(before)?) / secs);
        let rate = |was: (u64, u64), is: (u64, u64)| {
            // A counter that went back is that of a daemon which has started anew.
            Some(Rate { packets: moved(was.0, is.0)?, bytes: moved(was.1, is.1)? })
        };
        let old: HashMap<&str, &Vip> =
            before.vips.iter().map(|vip| (vip.service.as_str(), vip)).collect();
        let (mut services, mut backends) = (HashMap::new(), HashMap::new());
        for vip in &after.vips {
            let Some(was) = old.get(vip.service.as_str()) else { continue };
            if let Some(rate) = rate((was.packets, was.bytes), (vip.packets, vip.bytes)) {
                services.insert(vip.service.clone(), rate);
            }
            let old: HashMap<_, _> = was.backends.iter().map(|it| (it.address, it)).collect();
            for is in &vip.backends {
                let was = old.get(&is.address);
                let rate = was.and_then(|it| rate((it.packets, it.bytes), (is.packets, is.bytes)));
                if let Some(rate) = rate {
                    backends.insert((vip.service.clone(), is.address), rate);
                }
            }
        }
        let old: HashMap<&str, u64> =
            before.status.counters.iter().map(|it| (it.name.as_str(), it.packets)).collect();
        let verdict = |row: &crate::view::CounterRow| {
            Some((row.name.clone(), moved(*old.get(row.name.as_str())?, row.packets)?))
        };
        let verdicts = after.status.counters.iter().filter_map(verdict).collect();
        Self { at: to, known: true, services, backends, verdicts }
    }
}

/// A count as a fraction of seconds wants it.
#[expect(clippy::cast_precision_loss, reason = "it is shown with three digits")]
fn exact(count: u64) -> f64 {
    count as f64
}

pub(super) fn vip_name(vip: &Vip) -> String {
    let address = vip.address.to_string();
    let text = vip.prefix_len.map_or(address.clone(), |len| format!("{address}/{len}"));
    service_name(&text, vip.port, vip.last_port, &vip.protocol)
}

pub(super) fn vip_state(vip: &Vip) -> &str {
    match (&vip.drain, &vip.reason) {
        (Some(drain), _) if vip.announced => drain,
        _ if vip.announced => "announced",
        (_, Some(reason)) => reason,
        (_, None) => "withheld",
    }
}
