//! A running edge is changed: told before, undone unless confirmed, rolled back, and kept through a
//! restart. What the router sees decides.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tidegate_vm_tests::lab::main_job::{MainJob, SOON, VIP_V4, VIP_V6, Variant};

fn json(job: &MainJob, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["-o", "json"]].concat();
    serde_json::from_str(&job.tidegate(&arguments).unwrap()).unwrap()
}

/// The edge's configuration with the IPv6 service not announced.
fn without_v6(job: &MainJob) -> String {
    let config = job.edge_config();
    let (v4, v6) = config.split_at(config.find("name = \"web-v6\"").unwrap());
    let advertise = v6.lines().find(|line| line.starts_with("advertise = ")).unwrap();
    format!("{v4}{}", v6.replace(advertise, "advertise = false"))
}

fn wait_for_status(job: &MainJob, what: &str, seen: impl Fn(&Value) -> bool) -> Value {
    let found = job.lab.wait_for(what, SOON, || {
        let status: Value = serde_json::from_str(&job.tidegate(&["status", "-o", "json"])?)?;
        ensure!(seen(&status), "{status}");
        Ok(status)
    });
    found.unwrap()
}

fn wait_for_no_route_v6(job: &MainJob) {
    let gone = job
        .lab
        .wait_for("no route to the IPv6 VIP", SOON, || job.bird.no_route(&job.lab, VIP_V6.prefix));
    gone.unwrap();
}

fn wait_for_route_v6(job: &MainJob) {
    let back = job
        .lab
        .wait_for("a route to the IPv6 VIP", SOON, || job.bird.route(&job.lab, VIP_V6.prefix));
    back.unwrap();
}

/// The session and the other route are as they were.
fn check_untouched(job: &MainJob) {
    let peers = json(job, &["peers"]);
    assert_eq!(
        (&peers["peers"][0]["state"], &peers["peers"][0]["flaps"]),
        (&"Established".into(), &0.into())
    );
    job.bird.route(&job.lab, VIP_V4.prefix).unwrap();
}

/// What the API answers: status and body.
fn request(job: &MainJob, head: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = UnixStream::connect(job.api_socket())?;
    stream.set_read_timeout(Some(SOON))?;
    let length = body.len();
    write!(stream, "{head}Host: tidegate\r\nContent-Length: {length}\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).unwrap_or_default().parse()?;
    Ok((status, answer.split_once("\r\n\r\n").unwrap_or_default().1.to_owned()))
}

#[test]
fn a_change_undoes_itself_unless_it_is_confirmed_and_can_be_rolled_back() {
    let mut job = MainJob::announced(Variant::default()).unwrap();
    let file = job.lab.write("new.toml", &without_v6(&job)).unwrap().display().to_string();

    let plan = json(&job, &["plan", &file]);
    assert_eq!(plan["sessions"], Value::Array(vec![]), "{plan}");
    assert_eq!(plan["services"], Value::Array(vec![]), "{plan}");
    assert_eq!(plan["routes"][0]["prefix"], VIP_V6.prefix, "{plan}");
    assert_eq!(
        (&plan["routes"][0]["what"], plan["routes"].as_array().unwrap().len()),
        (&"withdrawn".into(), 1)
    );
    job.bird.route(&job.lab, VIP_V6.prefix).unwrap(); // Nothing was changed by asking.

    // Nobody confirms it.
    job.tidegate(&["apply", &file, "--confirm", "4s", "--comment", "drill"]).unwrap();
    let waiting = json(&job, &["status"]);
    assert_eq!(waiting["standing"]["unconfirmed"]["back_to"], 1, "{waiting}");
    wait_for_no_route_v6(&job);
    wait_for_route_v6(&job);
    let status = wait_for_status(&job, "the change to be undone", |status| {
        status["standing"]["unconfirmed"].is_null()
    });
    assert!(status["standing"]["undone"].as_str().unwrap().contains("not confirmed in time"));
    check_untouched(&job);

    // Somebody does.
    job.tidegate(&["apply", &file, "--confirm", "1h"]).unwrap();
    wait_for_no_route_v6(&job);
    let refused = job.tidegate(&["apply"]).unwrap_err().to_string();
    assert!(refused.contains("waits to be confirmed"), "{refused}");
    job.tidegate(&["confirm"]).unwrap();
    let status = json(&job, &["status"]);
    assert!(status["standing"]["unconfirmed"].is_null(), "{status}");
    job.bird.no_route(&job.lab, VIP_V6.prefix).unwrap();

    // And changes their mind.
    job.tidegate(&["rollback", "1"]).unwrap();
    wait_for_route_v6(&job);
    check_untouched(&job);
    let history = json(&job, &["history"]);
    let causes: Vec<&str> = history["generations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["cause"].as_str().unwrap())
        .collect();
    assert_eq!(causes, ["rollback", "apply", "undo", "apply", "start"], "{history}");
    assert!(
        history["generations"][1]["who"].as_str().unwrap().starts_with("root (uid 0"),
        "{history}"
    );
    assert_eq!(history["generations"][3]["comment"], "drill", "{history}");

    // A guard does not wait: the session that the plan did not name goes down.
    job.tidegate(&["apply", &file, "--confirm", "1h", "--guard", "peers-up"]).unwrap();
    wait_for_no_route_v6(&job);
    job.bird.ask(&job.lab, "disable edge").unwrap();
    let status = wait_for_status(&job, "the guard to undo the change", |status| {
        status["standing"]["unconfirmed"].is_null()
    });
    assert!(status["standing"]["undone"].as_str().unwrap().contains("guard peers-up"), "{status}");
    job.bird.ask(&job.lab, "enable edge").unwrap();
    job.wait_for_routes().unwrap();
}

#[test]
fn what_the_api_changed_survives_a_restart_and_what_was_not_confirmed_does_not() {
    let mut job = MainJob::announced(Variant::default()).unwrap();
    let path = "/api/v1/config/services/web-v6";
    let patch = "{\"advertise\": false}";
    let (status, _) = request(&job, &format!("PATCH {path} HTTP/1.1\r\n"), patch).unwrap();
    assert_eq!(status, 428);
    let (status, _) =
        request(&job, &format!("PATCH {path} HTTP/1.1\r\nIf-Match: \"7\"\r\n"), patch).unwrap();
    assert_eq!(status, 412);
    let dry = format!("PATCH {path}?dry_run=true HTTP/1.1\r\nIf-Match: \"1\"\r\n");
    let (status, plan) = request(&job, &dry, patch).unwrap();
    assert!(status == 200 && plan.contains("withdrawn"), "{plan}");
    let now = format!("PATCH {path} HTTP/1.1\r\nIf-Match: \"1\"\r\n");
    let wrong = "{\"port\": 70000}";
    let (status, problem) = request(&job, &now, wrong).unwrap();
    assert!(status == 422 && problem.contains("\"pointer\":\"#/port\""), "{problem}");
    job.bird.route(&job.lab, VIP_V6.prefix).unwrap(); // All that changed nothing.

    let (status, body) = request(&job, &now, patch).unwrap();
    assert_eq!(status, 200, "{body}");
    wait_for_no_route_v6(&job);
    assert!(job.edge().unwrap().stop(SOON).unwrap().success());
    job.start_edge().unwrap();
    let v4 = job
        .lab
        .wait_for("a route to the IPv4 VIP", SOON, || job.bird.route(&job.lab, VIP_V4.prefix));
    v4.unwrap();
    let status =
        wait_for_status(&job, "the edge to converge", |status| status["converged"] == true);
    assert_eq!(status["generation"], 2, "a start is no change: {status}");
    assert_eq!(status["standing"]["overlay"][0]["object"], "service web-v6", "{status}");
    job.bird.no_route(&job.lab, VIP_V6.prefix).unwrap();
    let told = job.tidegate(&["apply"]).unwrap();
    assert!(told.contains("service web-v6: what the file says of it is not in force"), "{told}");

    // The file counts again, and a change that nobody confirmed ends with the daemon.
    let (status, _) =
        request(&job, "DELETE /api/v1/config/overlay HTTP/1.1\r\nIf-Match: \"2\"\r\n", "").unwrap();
    assert_eq!(status, 200);
    wait_for_route_v6(&job);
    let file = job.lab.write("tidegate.toml", &without_v6(&job)).unwrap();
    job.tidegate(&["apply", "--confirm", "1h"]).unwrap();
    wait_for_no_route_v6(&job);
    job.edge().unwrap().kill().unwrap();
    job.restart_edge(&file).unwrap();
    job.wait_for_routes().unwrap();
    let status = json(&job, &["status"]);
    let undone = status["standing"]["undone"].as_str().unwrap();
    assert!(undone.contains("was not confirmed before the daemon ended"), "{status}");
}

#[test]
fn a_reload_that_changes_nothing_writes_nothing_and_sends_nothing() {
    let job = MainJob::announced(Variant::default()).unwrap();
    let before =
        wait_for_status(&job, "the edge to converge", |status| status["converged"] == true);
    let updates = |job: &MainJob| {
        let shown = job.bird.ask(&job.lab, "show protocols all edge").unwrap();
        let lines = shown.lines().filter(|line| line.trim_start().starts_with("Import "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let seen = updates(&job);
    assert!(!seen.is_empty());
    job.edge.as_ref().unwrap().signal(Signal::SIGHUP).unwrap();
    for _ in 0..3 {
        job.tidegate(&["apply"]).unwrap();
    }
    let after = json(&job, &["status"]);
    assert!(before["map_writes"].as_u64().unwrap() > 0, "{before}");
    assert_eq!(after["map_writes"], before["map_writes"]);
    assert_eq!(after["generation"], before["generation"]);
    assert_eq!(updates(&job), seen);
    check_untouched(&job);
}
