//! Instruction counts as they were: steady to a hundredth of a per cent on one kernel, whoever
//! else uses the machine, so a change of the packet path shows in them and nothing else does.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Result};

/// How much more is noise: half a per cent, or half an instruction.
const SLACK: f64 = 0.005;
const SLACK_MIN: f64 = 0.5;

/// The part of a kernel's release that its instruction counts depend on: 6.18 of 6.18.44.
fn series(kernel: &str) -> String {
    kernel.split('.').take(2).collect::<Vec<_>>().join(".")
}

pub(crate) fn write(file: &Path, kernel: &str, counts: &[(&str, f64)]) -> Result<()> {
    let mut text = format!(
        "# Net instructions per packet. Kept by `make bench PART=datapath UPDATE=true`.\n\
         kernel: {} {}\n",
        series(kernel),
        std::env::consts::ARCH
    );
    for (name, count) in counts {
        writeln!(text, "{name}: {count:.1}")?;
    }
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// What was compared, and found worse.
pub(crate) enum Compared {
    /// There is no baseline for this kernel and processor: helpers and the compiler differ.
    Nothing,
    /// What takes more instructions than it did.
    Worse(Vec<String>),
}

pub(crate) fn compare(file: &Path, kernel: &str, counts: &[(&str, f64)]) -> Result<Compared> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Compared::Nothing),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let here = format!("{} {}", series(kernel), std::env::consts::ARCH);
    let mut lines = text.lines().filter_map(|line| line.split_once(": "));
    if lines.next() != Some(("kernel", &here)) {
        return Ok(Compared::Nothing);
    }
    let before: Vec<(&str, f64)> =
        lines.filter_map(|(name, count)| Some((name, count.parse().ok()?))).collect();
    let mut worse = Vec::new();
    for &(name, count) in counts {
        let Some((_, was)) = before.iter().find(|(it, _)| *it == name) else {
            worse.push(format!("{name} has no baseline: UPDATE=true gives it one"));
            continue;
        };
        if count > was + (was * SLACK).max(SLACK_MIN) {
            worse.push(format!(
                "{name} takes {count:.1} instructions, not {was:.1} as before: if that is meant, \
                 UPDATE=true makes it the baseline"
            ));
        }
    }
    Ok(Compared::Worse(worse))
}
