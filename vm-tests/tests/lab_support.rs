//! `tidegate support-bundle`: what is in the archive, and what must not be.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tidegate_vm_tests::lab::main_job::{MainJob, SOON, Variant};
use tidegate_vm_tests::lab::program;

/// What nobody but the edge may know: a password in a file that the configuration names, one in a
/// comment, and one in the path of a check.
const SECRETS: [&str; 3] = ["tcp-md5-Geheimnis", "kommentar-Geheimnis", "pfad-Geheimnis"];

fn support(job: &MainJob, archive: &Path, more: &[&str]) -> Value {
    let tidegate = program("tidegate").unwrap().display().to_string();
    let (socket, archive) = (job.api_socket(), archive.display().to_string());
    let socket = socket.display().to_string();
    let mut command =
        vec![&*tidegate, "support-bundle", &archive, "-o", "json", "--socket", &socket];
    command.extend(more);
    let output = job.lab.command("edge", &command).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Unpacks an archive by the tool that everybody has.
fn unpacked(job: &MainJob, archive: &Path, to: &str) -> std::path::PathBuf {
    let dir = job.lab.dir().join(to);
    std::fs::create_dir(&dir).unwrap();
    let tar = Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(&dir).status().unwrap();
    assert!(tar.success());
    dir.join("tidegate-support")
}

/// Nothing of what is in a folder holds a secret, by name or in it.
fn holds_no_secret(dir: &Path) {
    for secret in SECRETS {
        let grep = Command::new("grep").args(["-rlaF", secret]).arg(dir).output().unwrap();
        assert_eq!(
            grep.status.code(),
            Some(1),
            "{secret} is in {}",
            String::from_utf8_lossy(&grep.stdout)
        );
    }
}

#[test]
fn an_archive_helps_and_keeps_the_secrets() {
    let mut job = MainJob::new(Variant::default()).unwrap();
    let [password, comment, path] = SECRETS;
    let file = job.lab.write("password", &format!("{password}\n")).unwrap();
    // A peer that is not there has the password: the session with the router comes up without.
    let config = job.edge_config().replace("/healthz\"", &format!("/healthz?token={path}\""))
        + &format!(
            "\n# the password is {comment}\n[[peer]]\nname = \"signed\"\naddress = \"203.0.113.99\"\n\
             asn = 64999\npassword-file = \"{}\" # {comment}\n",
            file.display()
        );
    let config = job.lab.write("tidegate.toml", &config).unwrap();
    job.restart_edge(&config).unwrap();
    job.wait_for_routes().unwrap();
    job.wait_until_all_active().unwrap();

    let archive = job.lab.dir().join("support.tar.gz");
    let written = support(&job, &archive, &[]);
    assert_eq!(written["bytes"], archive.metadata().unwrap().len(), "{written}");
    let dir = unpacked(&job, &archive, "running");
    holds_no_secret(&dir);
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    for config in ["config/file.toml", "config/in-force.toml"] {
        let text = read(config);
        assert!(
            text.contains("name = \"signed\"") && text.contains("/healthz?(removed)"),
            "{text}"
        );
    }
    let parsed = |name: &str| -> Value { serde_json::from_str(&read(name)).unwrap() };
    assert_eq!(parsed("state/peers.json")["peers"].as_array().unwrap().len(), 2);
    assert_eq!(parsed("state/backends.json")["backends"].as_array().unwrap().len(), 6);
    assert!(!parsed("state/events.json")["events"].as_array().unwrap().is_empty());
    assert!(
        parsed("state/plan.json").is_object()
            && parsed("doctor.json")["checks"].as_u64() > Some(20)
    );
    assert!(read("state/metrics.txt").contains("tidegate_"));
    assert!(read("versions.txt").contains("(the daemon)\nLinux "));
    // What it is, the service, and the VIP for what is for no service of it.
    assert_eq!(read("maps/SERVICES_V4.txt").lines().count(), 1 + 2);
    assert!(read("maps/BACKENDS.txt").lines().count() > 6);
    assert!(read("kernel/addresses.txt").contains("203.0.113.2"));

    job.edge().unwrap().stop(SOON).unwrap();
    let archive = job.lab.dir().join("stopped.tar.gz");
    let written = support(&job, &archive, &["--config", &config.display().to_string()]);
    let missing = written["missing"].as_array().unwrap();
    let of_status = missing.iter().find(|it| it["name"] == "state/status.json").unwrap();
    assert!(of_status["why"].as_str().unwrap().starts_with("no daemon at "), "{of_status}");
    let dir = unpacked(&job, &archive, "stopped");
    holds_no_secret(&dir);
    for there in ["config/file.toml", "doctor.json", "maps/BACKENDS.txt", "missing.txt"] {
        assert!(dir.join(there).metadata().is_ok_and(|it| it.len() > 0), "{there}");
    }
    assert!(!dir.join("state").exists(), "nothing answers, and nothing is made up");
}
