//! What becomes of a VIP, from every place in its life by everything that happens: asked of the
//! planner, and written into the guide.

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::Life;
use crate::drain::{Drain, TRANSITIONS, Target, Terms};

const GUIDE: &str = "../../docs/guide/how-a-vip-lives.md";
const TERMS: Terms = Terms { deadline: Duration::from_mins(10), quiet: Duration::from_secs(5) };

struct Case {
    world: World,
    desired: Desired,
}

type Act = fn(&mut Case);

/// What can happen to a VIP.
const EVENTS: [(&str, Act); 11] = [
    ("its backends answer their checks", |case| case.world.all_healthy(&case.desired)),
    ("too few of them do", |case| case.world.observed.healthy.clear()),
    ("the way to them is lost", |case| case.world.observed.ways.clear()),
    ("the program is taken off an interface", |case| case.world.observed.datapath.attached = false),
    ("test packets come back well", |case| case.world.blind = false),
    ("the hold-down is over", |case| case.world.now = case.world.now + Duration::from_secs(10)),
    ("`tidegate drain`", |case| {
        case.world.drains.order(Target::Vip(Prefix::host(ip(VIP))), TERMS, case.world.now);
    }),
    ("no packet for the quiet time", quiet),
    ("the deadline is over, packets still come", |case| {
        let drain = case.world.drains.get(&Target::Vip(Prefix::host(ip(VIP))));
        let Some(at) = drain.and_then(Drain::deadline) else { return };
        case.world.drains.look(at, |_| None);
    }),
    ("`tidegate undrain`", |case| {
        case.world.drains.undrain(&Target::Vip(Prefix::host(ip(VIP))));
    }),
    ("`advertise = false`", |case| {
        for spec in case.desired.services.values_mut() {
            spec.advertise = None;
        }
    }),
];

fn quiet(case: &mut Case) {
    for at in [0, 5] {
        case.world.now = case.world.now + Duration::from_secs(at);
        case.world.drains.look(case.world.now, |_| Some(7));
    }
}

/// Every place in which a VIP stays until something happens, and how it gets there.
const PLACES: [(Life, &[&str]); 8] = [
    (
        Life::Silent,
        &["its backends answer their checks", "test packets come back well", "`advertise = false`"],
    ),
    (Life::Waiting, &["test packets come back well"]),
    (Life::Proving, &["its backends answer their checks"]),
    (Life::Announced, &["its backends answer their checks", "test packets come back well"]),
    (
        Life::HeldDown,
        &[
            "its backends answer their checks",
            "test packets come back well",
            "too few of them do",
            "its backends answer their checks",
        ],
    ),
    (
        Life::Shedding,
        &["its backends answer their checks", "test packets come back well", "`tidegate drain`"],
    ),
    (
        Life::Emptying,
        &[
            "its backends answer their checks",
            "test packets come back well",
            "`tidegate drain`",
            "no packet for the quiet time",
        ],
    ),
    (
        Life::Drained,
        &[
            "its backends answer their checks",
            "test packets come back well",
            "`tidegate drain`",
            "no packet for the quiet time",
            "no packet for the quiet time",
        ],
    ),
];

impl Case {
    /// A VIP of one service that nobody has looked at yet.
    fn new() -> Self {
        let mut spec = service(tcp(VIP, 80), 1..=3);
        let hold_down = Duration::from_secs(10);
        let advertise = spec.advertise.take();
        spec.advertise =
            advertise.map(|old| Advertise { hold_down, hold_down_max: hold_down, ..old });
        let desired = desired(&[spec]);
        let mut world = World::new();
        world.blind = true;
        world.settle(&desired);
        Self { world, desired }
    }

    fn at(acts: &[&str]) -> Self {
        let mut case = Self::new();
        for act in acts {
            case.happens(act);
        }
        case
    }

    /// What the planner tells routers because of it.
    fn happens(&mut self, event: &str) -> Vec<&'static str> {
        let (_, act) = EVENTS.iter().find(|(name, _)| *name == event).unwrap();
        act(self);
        let mut told = Vec::new();
        loop {
            let plan = self.world.round(&self.desired);
            for step in &plan.steps {
                match step {
                    Step::Withdraw { .. } => told.push("withdrawn"),
                    Step::Advertise { attributes, .. } if attributes.local_pref == Some(0) => {
                        told.push("announced as a last resort");
                    }
                    Step::Advertise { .. } => told.push("announced"),
                    _ => {}
                }
            }
            if plan.steps.is_empty() {
                return told;
            }
        }
    }

    fn life(&mut self) -> Life {
        self.world.state(&self.desired, tcp(VIP, 80)).life
    }
}

/// From where, by what, to where, and what routers are told.
fn table() -> Vec<(Life, &'static str, Life, String)> {
    let mut rows = Vec::new();
    for (place, acts) in PLACES {
        for (event, _) in EVENTS {
            let mut case = Case::at(acts);
            assert_eq!(case.life(), place, "{acts:?}");
            let told = case.happens(event);
            let to = case.life();
            if to != place || !told.is_empty() {
                rows.push((place, event, to, told.join(", then ")));
            }
        }
    }
    rows
}

/// The part of the page between its two marks.
fn generated(rows: &[(Life, &'static str, Life, String)]) -> String {
    let mut text = String::from("```mermaid\nstateDiagram-v2\n");
    for (from, event, to, _) in rows {
        let name = |life: &Life| life.name().replace('-', "_");
        let event = event.replace('`', "");
        writeln!(text, "    {} --> {}: {event}", name(from), name(to)).unwrap();
    }
    text += "```\n\n| from | by | to | routers hear |\n| --- | --- | --- | --- |\n";
    for (from, event, to, told) in rows {
        let told = if told.is_empty() { "nothing" } else { told };
        writeln!(text, "| {} | {event} | {} | {told} |", from.name(), to.name()).unwrap();
    }
    text += "\nThe drain of a backend and of a VIP, as the daemon has it:\n\n\
             | what | from | by | to | which means |\n| --- | --- | --- | --- | --- |\n";
    for row in TRANSITIONS {
        let phase = |phase: Option<Phase>| phase.map_or("in service", |it| it.name());
        let (kind, cause) = (format!("{:?}", row.kind).to_lowercase(), row.cause.name());
        let (from, to) = (phase(row.from), phase(row.to));
        writeln!(text, "| {kind} | {from} | {cause} | {to} | {} |", row.does).unwrap();
    }
    text
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test compares a page with the code")]
fn the_guide_says_how_a_vip_lives() {
    const MARKS: [&str; 2] = ["<!-- begin: written by a test -->\n", "<!-- end -->\n"];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(GUIDE);
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(MARKS[0]).unwrap();
    let (written, after) = rest.split_once(MARKS[1]).unwrap();
    let rows = table();
    for (from, event, to, _) in &rows {
        // Nothing but an order brings back what was withdrawn by one.
        let is_out = |life| matches!(life, Life::Emptying | Life::Drained);
        assert_eq!(is_out(*from) && !is_out(*to), is_out(*from) && *event == "`tidegate undrain`");
    }
    let wanted = generated(&rows);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let page = [before, MARKS[0], &wanted, MARKS[1], after].concat();
        std::fs::write(&path, page).unwrap();
        return;
    }
    assert!(
        written == wanted,
        "{GUIDE} is old: UPDATE_GOLDEN=1 cargo test -p tidegate-plan\n{wanted}"
    );
}
