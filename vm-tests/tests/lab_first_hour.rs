//! The guide's page "the first hour": its commands do here what they do there. Times, counts, MAC
//! addresses and the lab's name differ from run to run; all other words must be the same.
//!
//! `UPDATE_GOLDEN=1` writes what the commands print into the page.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use tidegate_vm_tests::lab::main_job::{MainJob, SOON, Variant};
use tidegate_vm_tests::lab::program;

const BLOCK: &str = "```console\n# ";

/// Commands that change something are run once; others are run until what they print settles.
const CHANGES: [&str; 8] =
    ["apply", "confirm", "rollback", "drain", "undrain", "ip address", "sed ", "support-bundle"];

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide/first-hour.md")
}

/// The page's lines for the shell, for this lab.
fn prelude(page: &str, job: &MainJob) -> String {
    let block = page.split("```sh\n").find(|block| block.starts_with("LAB=")).unwrap();
    let programs = program("tidegate").unwrap().parent().unwrap().display().to_string();
    let lines = block.split("```").next().unwrap().lines().map(|line| match line {
        line if line.starts_with("LAB=") => format!("LAB={}\n", job.lab.dir().display()),
        "PATH=$PWD/target/debug:$PATH" => format!("PATH={programs}:$PATH\n"),
        line => format!("{line}\n"),
    });
    lines.collect()
}

/// What a command prints; `doctor` ends with another code when it finds something.
fn run(prelude: &str, command: &str) -> String {
    let script = format!("{prelude}{command}\n");
    let output = Command::new("timeout").args(["60", "bash", "-c", &script]).output().unwrap();
    let code = output.status.code().unwrap_or(-1);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(code == 0 || command.contains("doctor") && code == 5, "{command}: {code} {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The words of a text without what differs from run to run.
fn words(text: &str) -> Vec<String> {
    let text = without_the_clock(text);
    let lines = text.lines().map(|line| {
        let words = line.split(|c: char| c.is_whitespace() || "\"{}()".contains(c));
        let words = words
            .map(|word| word.trim_matches([':', ',', ';', '[', ']']))
            .filter(|it| !it.is_empty());
        words.map(word).collect::<Vec<_>>().join(" ")
    });
    lines.filter(|line| !line.is_empty()).collect()
}

/// What doctor says of the machine's clock is no matter of the lab.
fn without_the_clock(text: &str) -> String {
    let Some((before, note)) = text.split_once("note: clock-unsynchronised") else {
        return text.to_owned();
    };
    format!("{before}{}", note.split_once("\n\n").map_or("", |(_, after)| after))
}

fn word(word: &str) -> String {
    let is_number = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == ',' || c == '.')
    };
    let is_time = word.starts_with(|c: char| c.is_ascii_digit())
        && word.chars().all(|c| c.is_ascii_digit() || "dhms:-.Z".contains(c))
        && !word.chars().all(|c| c.is_ascii_digit() || c == '.');
    let is_mac = word.len() == 17 && word.split(':').all(|part| part.len() == 2);
    let is_address = word.matches('.').count() == 3;
    if is_mac {
        "MAC".into()
    } else if word.contains("/tidegate-lab/") {
        word.rsplit('/').next().unwrap_or_default().into()
    } else if is_number(word) && !is_address {
        "#".into()
    } else if is_time && !is_address {
        "TIME".into()
    } else {
        word.into()
    }
}

#[test]
fn the_first_hour_goes_as_the_guide_says() {
    let job = MainJob::announced(Variant::default()).unwrap();
    let text = std::fs::read_to_string(page()).unwrap();
    let prelude = prelude(&text, &job);
    let is_update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut parts = text.split(BLOCK);
    let mut made = parts.next().unwrap().to_owned();
    let mut walked = 0;
    for part in parts {
        let (command, rest) = part.split_once('\n').unwrap();
        let (wanted, after) = rest.split_once("```").unwrap();
        let is_change = CHANGES.iter().any(|change| command.contains(change));
        let mut printed = run(&prelude, command);
        if is_update && !is_change {
            // What is to be written down is what stays so.
            let settled = job.lab.wait_for(command, SOON, || {
                let before = words(&printed);
                printed = run(&prelude, command);
                ensure!(words(&printed) == before, "{:#?}", words(&printed));
                Ok(())
            });
            assert!(settled.is_ok(), "{settled:?}");
        } else if !is_update {
            let same = job.lab.wait_for(command, SOON, || {
                let seen = words(&printed);
                if !is_change && seen != words(wanted) {
                    printed = run(&prelude, command);
                }
                ensure!(words(&printed) == words(wanted), "{:#?}", words(&printed));
                Ok(())
            });
            assert!(same.is_ok(), "{same:?}\nThe guide says:\n{:#?}", words(wanted));
        }
        made += &[BLOCK, command, "\n", &*printed, "```", after].concat();
        walked += 1;
    }
    assert!(walked >= 20, "{walked} commands of the page were found");
    if is_update {
        std::fs::write(page(), made).unwrap();
    }
}
