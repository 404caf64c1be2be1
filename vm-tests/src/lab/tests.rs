use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::bird::{Bird, Session, config};
use super::http::{Holding, load};
use super::main_job::{BACKENDS, CLIENT, MainJob, SOON, Variant, topology};
use super::topology::Topology;
use super::{Lab, program, sweep};

#[test]
fn every_host_reaches_every_other_and_nothing_is_left_behind() {
    let lab = Lab::new(&topology(1_600)).unwrap();
    let (name, dir) = (lab.name.clone(), lab.dir().to_owned());
    for (_, addrs) in BACKENDS {
        for addr in addrs {
            // Nobody listens there, which the host itself must say.
            let to = SocketAddr::new(addr.parse().unwrap(), 9);
            let load = lab.inside("client", || load(to, 1, 1)).unwrap();
            assert!(load.failed.keys().all(|reason| reason.contains("refused")), "{load:?}");
        }
    }
    let server = lab.start("b1", "sleeper", &["sleep", "1000"]).unwrap();
    let pid = server.pid();
    drop(lab);
    assert!(!dir.exists(), "{}", dir.display());
    assert!(!Path::new(&format!("{}/{name}-client", sweep::NAMESPACES)).exists());
    assert!(!std::fs::read_to_string("/proc/mounts").unwrap().contains(&name));
    drop(server);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_lab_whose_process_was_killed_is_removed_and_a_live_one_is_not() {
    let live = Lab::new(&Topology::default()).unwrap();
    let mut abandoned = Lab::new(&Topology::default()).unwrap();
    let dir = abandoned.dir().to_owned();
    // What the kernel does to the lock of a process that is killed.
    abandoned.lock.unlock().unwrap();
    let mut sweeper = abandoned.sweeper.take().unwrap();
    drop(sweeper.stdin.take());
    assert!(sweeper.wait().unwrap().success());
    assert!(!dir.exists() && live.dir().exists());
}

#[test]
fn a_lab_that_was_kept_outlives_its_process_until_somebody_clears_up() {
    let lab = Lab::new(&Topology::default()).unwrap();
    let (name, dir) = (lab.name.clone(), lab.dir().to_owned());
    lab.keep().unwrap();
    drop(lab);
    assert!(!sweep::abandoned(&name).unwrap());
    assert!(dir.exists());
    // Only this one: others may have been kept by whoever runs the tests.
    sweep::remove(&name, &dir);
    assert!(!dir.exists());
}

#[test]
fn a_server_says_who_it_is_and_whom_it_saw_and_a_held_connection_stays() {
    let lab = Lab::new(&topology(1_600)).unwrap();
    let serve = program("lab-http").unwrap().display().to_string();
    let mut server = lab.start("b1", "http", &[&serve, "serve", "--name", "b1"]).unwrap();
    for (addr, client) in BACKENDS[0].1.into_iter().zip(CLIENT) {
        let to = SocketAddr::new(addr.parse().unwrap(), 80);
        let load = lab.wait_for("the server", SOON, || {
            let load = lab.inside("client", || load(to, 20, 5))?;
            ensure!(load.answered == 20, "{load:?}");
            Ok(load)
        });
        let load = load.unwrap();
        assert_eq!(load.clients.keys().map(ToString::to_string).collect::<Vec<_>>(), [client]);
        assert_eq!(load.backends.get("b1"), Some(&20));
    }
    let to = SocketAddr::new(BACKENDS[0].1[0].parse().unwrap(), 80);
    let holding = lab.inside("client", || Holding::start(to, 3)).unwrap().unwrap();
    let ends = lab.inside("client", || Holding::start(to, 2)).unwrap().unwrap();
    assert!(ends.finish().iter().all(|held| held.broken.is_none() && held.backend == "b1"));
    server.kill().unwrap();
    let refused = lab.inside("client", || load(to, 2, 1)).unwrap();
    assert_eq!((refused.answered, refused.failed.values().sum::<usize>()), (0, 2));
    // The kernel has reset them by now: it answered the two above for the same socket table.
    let broken = lab.wait_for("held connections to break", SOON, || {
        ensure!(holding.broken() == 3, "{} are broken", holding.broken());
        Ok(())
    });
    broken.unwrap();
    assert!(holding.finish().iter().all(|held| held.broken.is_some()));
}

#[test]
fn bird_starts_and_says_what_it_does_not_have() {
    let lab = Lab::new(&topology(1_600)).unwrap();
    let session = Session {
        name: "edge",
        local: "203.0.113.1",
        local_as: 64_512,
        neighbor: "203.0.113.2",
        neighbor_as: 64_513,
    };
    let bird = Bird::start(&lab, "router", &config("203.0.113.1", &[session])).unwrap();
    bird.no_route(&lab, "192.0.2.10/32").unwrap();
    bird.no_route(&lab, "2001:db8:10::10/128").unwrap();
    assert!(bird.route(&lab, "192.0.2.10/32").is_err());
    assert!(bird.established(&lab, "edge").is_err());
}

#[test]
fn a_condition_that_does_not_come_true_is_reported_with_what_was_seen_and_the_logs() {
    let lab = Lab::new(&Topology::default()).unwrap();
    let mut echo = lab.start("switch", "words", &["echo", "the last words"]).unwrap();
    echo.ended(SOON).unwrap();
    let failed = lab.wait_for("the moon", Duration::ZERO, || -> Result<()> { bail!("a cloud") });
    let failed = failed.unwrap_err().to_string();
    for part in ["waited 0 s for the moon", "last seen: a cloud", "the last words"] {
        assert!(failed.contains(part), "{failed}");
    }
}

#[test]
fn the_edge_is_given_a_configuration_that_passes_every_check() {
    let job = MainJob::new(Variant { mode: "l2", ..Variant::default() }).unwrap();
    let desired = tidegate_config::check("tidegate.toml", &job.edge_config()).unwrap().desired;
    assert_eq!(desired.services.len(), 2);
    assert!(desired.services.values().all(|service| service.backends.len() == 3));
}
