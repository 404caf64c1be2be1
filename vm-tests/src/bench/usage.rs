//! What a process has used.

use anyhow::{Context as _, Result};

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU seconds.
    pub cpu_secs: f64,
    /// Largest resident memory, in KiB.
    pub peak_kib: u64,
    /// Resident memory now, in KiB.
    pub now_kib: u64,
}

impl Usage {
    /// Of a process.
    ///
    /// # Errors
    /// When it is gone.
    pub fn of(pid: u32) -> Result<Self> {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
        let status = read("status").context("the daemon is gone")?;
        let kib = |key: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(key));
            let number = line.and_then(|line| line.split_whitespace().nth(1));
            number.and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        // Nanoseconds on the CPU, of each thread.
        let mut nanos = 0.0;
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let schedstat = std::fs::read_to_string(thread?.path().join("schedstat"));
            let first = schedstat.unwrap_or_default();
            let first = first.split_whitespace().next().and_then(|it| it.parse::<f64>().ok());
            nanos += first.unwrap_or(0.0);
        }
        Ok(Self { cpu_secs: nanos / 1e9, peak_kib: kib("VmHWM"), now_kib: kib("VmRSS") })
    }

    /// Lets the largest resident memory of a process begin anew with what it has now.
    ///
    /// # Errors
    /// When it is gone.
    pub fn forget_peak(pid: u32) -> Result<()> {
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("the daemon is gone")
    }
}
