use std::cell::Cell;
use std::time::Duration;

use tidegate_bgp::types::Prefix;
use tidegate_plan::drain::{Kept, Phase, Target, Terms};

use super::*;

/// A directory that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tidegate-store-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        Self(path)
    }

    fn store(&self) -> Store {
        Store::with(self.0.join("state"), Disk::default())
    }

    /// A store on a machine that crashes after so many calls.
    fn crashing(&self, calls: u32) -> Store {
        Store::with(self.0.join("state"), Disk { calls_left: Some(Cell::new(calls)) })
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn record(generation: u64) -> Record {
    Record {
        generation,
        at: "2026-11-25T08:00:00Z".into(),
        who: "root".into(),
        cause: "edit".into(),
        comment: "\"why\"".into(),
        file: "/etc/tidegate/tidegate.toml".into(),
        text: format!("# {generation}\n"),
        overlay: format!("[service.web]\nport = {generation}\n"),
    }
}

fn confirmed(generation: u64) -> State {
    State::confirmed(generation, format!("# {generation}\n"))
}

#[test]
fn what_is_kept_comes_back() {
    let dir = Dir::new("kept");
    let store = dir.store();
    assert_eq!(store.load().unwrap(), None);
    assert_eq!(store.history().unwrap(), []);
    store.put(&record(1), &confirmed(1)).unwrap();
    store.put(&record(2), &State::unconfirmed(1, 2, "# 2\n".into())).unwrap();
    let kept = dir.store().load().unwrap().unwrap();
    assert_eq!((kept.confirmed, kept.newest), (record(1), 2));
    assert_eq!(kept.state.unconfirmed, Some(2));
    store.set(&confirmed(2)).unwrap();
    assert_eq!(dir.store().load().unwrap().unwrap().confirmed, record(2));
    assert_eq!(dir.store().history().unwrap(), [record(2), record(1)]);
}

#[test]
fn a_crash_at_any_point_leaves_the_old_or_the_new_state() {
    let dir = Dir::new("crash");
    dir.store().put(&record(1), &confirmed(1)).unwrap();
    let (mut old, mut new) = (0, 0);
    for calls in 0.. {
        // Each time from the same start, which a crash before may have left a file beside.
        dir.store().set(&confirmed(1)).unwrap();
        let written = dir.crashing(calls).put(&record(2), &confirmed(2));
        let kept = dir.store().load().unwrap().unwrap();
        match kept.confirmed.generation {
            1 => {
                assert_eq!((&kept.confirmed, &kept.state), (&record(1), &confirmed(1)));
                assert!(written.is_err(), "it was promised, and is not there");
                old += 1;
            }
            2 => {
                assert_eq!((&kept.confirmed, &kept.state), (&record(2), &confirmed(2)));
                new += 1;
            }
            other => panic!("generation {other}"),
        }
        assert!(kept.newest <= 2);
        if written.is_ok() {
            break;
        }
    }
    // Two files of five calls each and the directory: the rename of the second one decides.
    assert_eq!((old, new), (11, 2));
}

#[test]
fn a_file_that_is_not_ours_is_told_and_does_no_harm() {
    let dir = Dir::new("damaged");
    let store = dir.store();
    store.put(&record(1), &confirmed(1)).unwrap();
    store.put(&record(2), &confirmed(2)).unwrap();
    std::fs::write(dir.0.join("state/generation-1.json"), "{").unwrap();
    assert_eq!(store.history().unwrap(), [record(2)], "those that can be read");
    let refused = store.record(1).unwrap_err().to_string();
    assert!(refused.contains("generation-1.json is damaged"), "{refused}");
    for text in ["", "{", "[]", "{\"version\":99,\"confirmed\":2,\"file_seen\":\"\"}"] {
        std::fs::write(dir.0.join("state/state.json"), text).unwrap();
        let refused = store.load().unwrap_err().to_string();
        assert!(refused.contains("state.json is damaged"), "{refused}");
    }
}

#[test]
fn the_oldest_generations_go_and_the_confirmed_one_stays() {
    let dir = Dir::new("oldest");
    let store = dir.store();
    store.put(&record(1), &confirmed(1)).unwrap();
    let last = u64::try_from(KEPT_MAX).unwrap() + 5;
    for generation in 2..=last {
        store.put(&record(generation), &State::unconfirmed(1, generation, String::new())).unwrap();
    }
    let kept: Vec<u64> = store.history().unwrap().iter().map(|it| it.generation).collect();
    assert_eq!((kept.len(), kept[0], kept[KEPT_MAX]), (KEPT_MAX + 1, last, 1));
}

#[test]
fn each_configuration_file_has_a_directory_of_its_own() {
    let cases = [
        ("/etc/tidegate/tidegate.toml", "etc-tidegate-tidegate.toml"),
        ("/a-b", "a%2db"),
        ("/a/b", "a-b"),
        ("/%", "%25"),
    ];
    for (path, name) in cases {
        assert_eq!(escaped(Path::new(path)), name);
    }
}

#[test]
fn drains_come_back_and_a_file_of_them_that_is_damaged_says_so() {
    let dir = Dir::new("drains");
    let store = dir.store();
    assert_eq!(store.drains().unwrap(), []);
    let kept = |target, phase| Kept {
        target,
        phase,
        terms: Terms { deadline: Duration::from_mins(10), quiet: Duration::from_secs(5) },
        left: Duration::ZERO, // A second that passes takes nothing from it.
        cut: 7,
    };
    let backend = Target::Backend { service: "web".into(), backend: [10, 0, 0, 1].into() };
    let vip = Target::Vip(Prefix::new("2001:db8::".parse().unwrap(), 64).unwrap());
    let all = [
        kept(backend, Phase::Emptying),
        kept(vip, Phase::Drained),
        kept(Target::Node, Phase::Shedding),
    ];
    store.put_drains(&all).unwrap();
    assert_eq!(dir.store().drains().unwrap(), all);

    let path = dir.0.join("state/drains.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    let damages = [
        ("cut off", whole[..whole.len() / 2].to_owned()),
        ("empty", String::new()),
        ("no JSON", "drained".to_owned()),
        ("of another version", whole.replace("\"version\"", "\"version\": 99, \"was\"")),
        ("a phase that there is not", whole.replace("emptying", "gone")),
        ("a length that no prefix has", whole.replace("64", "164")),
        ("a backend of no service", whole.replace("\"service\"", "\"servant\"")),
    ];
    for (name, text) in damages {
        assert_ne!(text, whole, "{name}");
        std::fs::write(&path, text).unwrap();
        let found = dir.store().drains();
        assert!(matches!(found, Err(Error::Damaged { .. })), "{name}: {found:?}");
        assert!(found.unwrap_err().to_string().contains("drains.json is damaged"), "{name}");
    }
    // It is written anew as if nothing had been there.
    store.put_drains(&all[..1]).unwrap();
    assert_eq!(dir.store().drains().unwrap(), all[..1]);
}
