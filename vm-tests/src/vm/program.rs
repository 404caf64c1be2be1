//! What is built of this workspace to be run elsewhere: tests in a guest, the Debian package.

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

/// The Debian package of the source at `root`, which may be a copy without a history; `version`: of
/// another revision than the first.
///
/// # Errors
/// What the build says.
pub fn package(root: &Path, version: Option<&str>) -> Result<PathBuf> {
    let mut build = Command::new(root.join("packaging/deb"));
    // Of this cargo's own settings for its tests, none is for a build.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_")) {
        if name != "CARGO_HOME" {
            build.env_remove(name);
        }
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let directory = format!("safe.directory={}", own.display());
    let changed = Command::new("git")
        .args(["-c", &directory, "log", "-1", "--format=%ct"])
        .current_dir(own)
        .output()?;
    let changed = String::from_utf8(changed.stdout)?;
    build.env("SOURCE_DATE_EPOCH", changed.trim_end()).args(version);
    let built = build.output()?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let printed = String::from_utf8(built.stdout)?;
    Ok(root.join(printed.lines().last().context("the build names no package")?))
}
