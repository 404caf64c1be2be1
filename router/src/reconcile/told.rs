//! An explanation, turned by hand into what API and command line show.

use std::collections::BTreeSet;

use tidegate_config::change::{Change, What};
use tidegate_config::overlay::{Covers, Overlay};
use tidegate_plan::explain::{Explanation, Fate, Moves, Route, Session};

use crate::config_file::ConfigFile;
use crate::view::change::{self, Covered, Plan, Setting};
use crate::view::{API_VERSION, service_name};

use super::view::protocol_name;

/// What a service carries, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) packets_per_sec: Option<u64>,
    pub(super) live_flows: Option<u64>,
}

/// What a change to `new` would do. `up` are the established sessions; `loads` knows what a service
/// carries.
pub(super) fn plan(
    explanation: &Explanation,
    new: &ConfigFile,
    up: &BTreeSet<String>,
    loads: impl Fn(&str) -> Load,
) -> Plan {
    let sessions = explanation.sessions.iter();
    let services = explanation.services.iter();
    let warnings = (!new.warnings.is_empty()).then(|| new.warnings.clone());
    Plan {
        api_version: API_VERSION.into(),
        from_generation: 0,
        source: new.path.display().to_string(),
        sessions: sessions.map(|(peer, it)| session(peer, it, up.contains(peer))).collect(),
        routes: explanation.routes.iter().map(|(prefix, it)| route(prefix, it)).collect(),
        services: services.map(|(name, moves)| service(name, moves, loads(name))).collect(),
        settings: explanation.changes.iter().map(setting).collect(),
        restart: explanation.restart.clone(),
        overlay: covered(&new.overlay, &new.text),
        drains: Vec::new(),
        warnings,
    }
}

/// What the API changed, and what of the file it covers.
pub(super) fn covered(overlay: &Overlay, file: &str) -> Vec<Covered> {
    if overlay.is_empty() {
        return Vec::new(); // Without reading the file again.
    }
    let covered = |(target, covers): (_, Covers)| Covered {
        object: format!("{target}"),
        covers: covers.name().into(),
    };
    overlay.covers(file).into_iter().map(covered).collect()
}

/// A plan in a few words, for the journal.
pub(super) fn brief(plan: &Plan) -> String {
    let Plan { sessions, routes, services, settings, .. } = plan;
    let mut words = vec![format!("{} keys", settings.len())];
    let mut count = |number: usize, what: &str| {
        if number > 0 {
            words.push(format!("{number} {what}"));
        }
    };
    count(sessions.len(), "sessions touched");
    count(routes.len(), "routes change");
    count(services.len(), "services move");
    words.join(", ")
}

/// What a plan does, a line each: what routers notice first.
pub(super) fn lines(plan: &Plan) -> Vec<String> {
    const LINES_MAX: usize = 20;
    let reason = |reason: &Option<String>| {
        reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default()
    };
    let sessions = plan.sessions.iter().map(|it| format!("session {}: {}", it.peer, it.what));
    let routes = plan.routes.iter();
    let routes = routes.map(|it| format!("route {}: {}{}", it.prefix, it.what, reason(&it.reason)));
    let services = plan.services.iter().map(|it| match it.what.as_str() {
        "moves" => format!("service {}: {} of {} slots move", it.service, it.slots_moved, it.slots),
        what => format!("service {}: {what}", it.service),
    });
    let settings = plan.settings.iter().map(|it| {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".into());
        match &it.key {
            Some(key) => {
                format!("{} {key}: {} → {}", it.object, value(&it.before), value(&it.after))
            }
            None => format!("{}: {}", it.object, it.after.as_deref().unwrap_or("removed")),
        }
    });
    let all = plan.sessions.len() + plan.routes.len() + plan.services.len() + plan.settings.len();
    let more = all.saturating_sub(LINES_MAX);
    let more = (more > 0).then(|| format!("and {more} more"));
    sessions.chain(routes).chain(services).chain(settings).take(LINES_MAX).chain(more).collect()
}

fn session(peer: &str, session: &Session, established: bool) -> change::Session {
    let (what, keys) = match session {
        Session::Opened => ("opened", Vec::new()),
        Session::Closed => ("closed", Vec::new()),
        Session::Reset { keys } => ("reset", keys.clone()),
    };
    change::Session { peer: peer.into(), what: what.into(), keys, established }
}

fn route(prefix: &impl ToString, route: &Route) -> change::Route {
    let (what, reason) = match route {
        Route::Announced(_) => ("announced", None),
        Route::Changed(_) => ("changed", None),
        Route::Withdrawn(reason) => ("withdrawn", Some(reason.name().into())),
        Route::Interrupted(reason, _) => ("interrupted", Some(reason.name().into())),
    };
    change::Route { prefix: prefix.to_string(), what: what.into(), reason }
}

fn service(name: &str, moves: &Moves, load: Load) -> change::Service {
    let Moves { vip, last_port, fate, moved, of, drain_millis } = *moves;
    let last_port = Some(last_port).filter(|&last| last != vip.port);
    let what = match fate {
        Fate::Added => "added",
        Fate::Removed => "removed",
        Fate::Stays => "moves",
    };
    // Rounded up: if any moves, it is not none.
    let of_moved = |all: u64| all.saturating_mul(moved.into()).div_ceil(u64::from(of.max(1)));
    change::Service {
        service: name.into(),
        vip: service_name(&vip.vip(), vip.port, last_port, protocol_name(vip.protocol)),
        what: what.into(),
        slots_moved: moved,
        slots: of,
        packets_per_sec: load.packets_per_sec.map(of_moved),
        live_flows: load.live_flows.map(of_moved),
        drain_secs: drain_millis / 1000,
    }
}

fn setting(change: &Change) -> Setting {
    let (key, before, after) = match &change.what {
        What::Added => (None, None, Some("added".to_owned())),
        What::Removed => (None, Some("removed".to_owned()), None),
        What::Changed { key, before, after, .. } => {
            (Some(key.clone()), before.clone(), after.clone())
        }
    };
    let (object, impact) = (change.object.to_string(), change.impact().name().into());
    Setting { object, key, impact, before, after }
}
