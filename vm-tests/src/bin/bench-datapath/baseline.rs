//! Instruction counts as they were: a change of the packet path shows in them and nothing else does.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tidegate_vm_tests::bench::machine::kernel;

/// Counts that are kept in a file.
pub(crate) struct Baseline {
    file: PathBuf,
    /// Where counts can be compared with these.
    machine: String,
    /// How much more is noise: a share, and not less than so many.
    slack: (f64, f64),
}

impl Baseline {
    /// BPF instructions, which are the same everywhere.
    pub(crate) fn bpf(dir: &Path) -> Self {
        let machine = "every machine".to_owned();
        Self { file: dir.join("bpf.txt"), machine, slack: (0.0, 0.05) }
    }

    /// Instructions of the processor: steady to a hundredth of a per cent on one kernel, whose
    /// helpers and compiler make the difference.
    pub(crate) fn native(dir: &Path) -> Self {
        let series = kernel().split('.').take(2).collect::<Vec<_>>().join(".");
        let machine = format!("Linux {series}, {}", std::env::consts::ARCH);
        Self { file: dir.join("native.txt"), machine, slack: (0.005, 0.5) }
    }

    pub(crate) fn write(&self, counts: &[(&str, f64)]) -> Result<()> {
        let mut text = format!(
            "# Instructions per packet. Kept by `make bench PART=datapath UPDATE=true`.\n\
             from: {}\n",
            self.machine
        );
        for (name, count) in counts {
            writeln!(text, "{name}: {count:.1}")?;
        }
        if let Some(dir) = self.file.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(&self.file, text).with_context(|| format!("cannot write {}", self.file.display()))
    }

    pub(crate) fn compare(&self, counts: &[(&str, f64)]) -> Result<Compared> {
        let text = match fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(self.nothing()),
            Err(error) => {
                let file = self.file.display();
                return Err(error).with_context(|| format!("cannot read {file}"));
            }
        };
        let mut lines = text.lines().filter_map(|line| line.split_once(": "));
        if lines.next() != Some(("from", &self.machine)) {
            return Ok(self.nothing());
        }
        let before: Vec<(&str, f64)> =
            lines.filter_map(|(name, count)| Some((name, count.parse().ok()?))).collect();
        let worse = counts.iter().filter_map(|&(name, count)| self.worse(&before, name, count));
        Ok(Compared::Worse(worse.collect()))
    }

    fn worse(&self, before: &[(&str, f64)], name: &str, count: f64) -> Option<String> {
        let (share, least) = self.slack;
        match before.iter().find(|(it, _)| *it == name) {
            None => Some(format!("{name} has no baseline: UPDATE=true gives it one")),
            Some(&(_, was)) if count > was + (was * share).max(least) => Some(format!(
                "{name} takes {count:.1} instructions, not {was:.1} as before: if that is meant, \
                 UPDATE=true makes it the baseline"
            )),
            Some(_) => None,
        }
    }

    fn nothing(&self) -> Compared {
        Compared::Nothing(format!(
            "there is no baseline of {}; UPDATE=true makes one",
            self.machine
        ))
    }
}

/// What was compared, and found worse.
pub(crate) enum Compared {
    /// There is nothing to compare with, and why.
    Nothing(String),
    /// What takes more instructions than it did.
    Worse(Vec<String>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_more_than_in_the_baseline_is_worse_and_one_less_is_not() {
        let dir = std::env::temp_dir().join(format!("tidegate-baseline-{}", std::process::id()));
        let baseline = Baseline::bpf(&dir);
        let worse = |counts: &[(&str, f64)]| match baseline.compare(counts).unwrap() {
            Compared::Worse(worse) => worse,
            Compared::Nothing(why) => vec![why],
        };
        assert!(worse(&[("syn", 300.0)]).concat().contains("there is no baseline"));
        baseline.write(&[("syn", 300.0), ("ack", 299.5)]).unwrap();
        assert_eq!(worse(&[("syn", 300.0), ("ack", 299.5)]), Vec::<String>::new());
        assert_eq!(worse(&[("syn", 299.0)]), Vec::<String>::new());
        let [more] = &worse(&[("syn", 301.0), ("ack", 299.5)])[..] else { panic!() };
        assert!(more.starts_with("syn takes 301.0 instructions, not 300.0 as before"), "{more}");
        let [unknown] = &worse(&[("new", 1.0)])[..] else { panic!() };
        assert!(unknown.starts_with("new has no baseline"), "{unknown}");
        fs::remove_dir_all(dir).unwrap();
    }
}
