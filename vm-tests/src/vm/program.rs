//! Programs that `cargo test` makes of this workspace's tests, to be run in a guest.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The test program that `cargo test` with these arguments makes of the target of this name.
///
/// # Errors
/// When it does not compile, or there is none.
pub fn test_program(target: &[&str], name: &str) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // Built already if all tests are run; then this takes no time.
    let built = Command::new(env!("CARGO"))
        .args(["test", "--workspace", "--no-run", "--locked", "--quiet"])
        .arg("--message-format=json")
        .args(target)
        .current_dir(root)
        .output()?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let messages = String::from_utf8(built.stdout)?;
    let executable = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_it = message.pointer("/target/name")?.as_str()? == name
            && message.pointer("/profile/test")?.as_bool()?;
        message.pointer("/executable")?.as_str().filter(|_| is_it).map(PathBuf::from)
    });
    executable.with_context(|| format!("cargo made no test program {name}"))
}

/// How many tests a test program has whose names contain a text.
///
/// # Errors
/// When it does not run here.
pub fn tests_in(program: &Path, filter: &str) -> Result<usize> {
    let listed = Command::new(program).args(["--list", filter]).output()?;
    let listed = String::from_utf8(listed.stdout)?;
    Ok(listed.lines().filter(|line| line.ends_with(": test")).count())
}
