//! Where and when a bench ran: what stands above its table.

use std::process::Command;

/// Date, processor, kernel and how busy the machine was.
pub fn where_and_when() -> String {
    let date = printed("date", &["+%Y-%m-%d"]);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    format!("Measured {date} on {}, Linux {}, load average {load}", machine(), kernel())
}

/// Processor and how many of them.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let line = info.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(": ")?.1.trim().to_owned())
    };
    let cpus = info.lines().filter(|line| line.starts_with("processor")).count();
    let name = value("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let family = value("cpu family").map_or_else(String::new, |it| format!(" family {it}"));
    format!("{name}{family}, {cpus} CPUs")
}

/// Release of the kernel.
pub fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output
        .map_or_else(|_| String::new(), |it| String::from_utf8_lossy(&it.stdout).trim().to_owned())
}
