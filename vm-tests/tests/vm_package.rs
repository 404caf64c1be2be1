//! The Debian package: it has what an operator looks for, it is clean, and the same source gives the
//! same bytes. What systemd makes of its unit is asked as well.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use tidegate_vm_tests::vm::package;

/// What `systemd-analyze security` says of a unit that has what it needs, and no more; the lower,
/// the better.
const EXPOSURE_MAX: f64 = 2.0;

/// The package. Built once for all tests.
static PACKAGE: LazyLock<PathBuf> = LazyLock::new(|| package(&root(), None).unwrap());

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// What a command prints; it may fail.
fn printed(program: &str, arguments: &[&str]) -> String {
    let ran = Command::new(program).args(arguments).output().unwrap();
    let (out, err) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr));
    format!("{out}{}", err.unwrap())
}

#[test]
fn vm_package_has_what_an_operator_looks_for_and_lintian_finds_nothing() {
    let package = PACKAGE.to_str().unwrap();
    let said = printed("lintian", &["--allow-root", "--fail-on", "none", package]);
    let found: Vec<_> = said.lines().filter(|line| !line.starts_with("N:")).collect();
    assert_eq!(found, [""; 0]);

    let listed = printed("dpkg-deb", &["--contents", package]);
    for path in [
        "/usr/sbin/tidegate",
        "/etc/tidegate/tidegate.toml",
        "/usr/lib/systemd/system/tidegate.service",
        "/usr/share/man/man8/tidegate.8.gz",
        "/usr/share/man/man8/tidegate-status.8.gz",
        "/usr/share/bash-completion/completions/tidegate",
        "/usr/share/zsh/vendor-completions/_tidegate",
        "/usr/share/fish/vendor_completions.d/tidegate.fish",
        "/usr/share/doc/tidegate/copyright",
        "/usr/share/doc/tidegate/crates",
        "/usr/share/doc/tidegate/changelog.gz",
        "/usr/share/doc/tidegate/changelog.Debian.gz",
    ] {
        assert!(listed.lines().any(|line| line.ends_with(&format!(".{path}"))), "{path}\n{listed}");
    }
    let conffiles = printed("dpkg-deb", &["--info", package, "conffiles"]);
    assert_eq!(conffiles, "/etc/tidegate/tidegate.toml\n");
    println!("{} bytes", fs::metadata(package).unwrap().len());
}

#[test]
fn vm_package_unit_is_as_closed_as_its_work_allows() {
    let unit = root().join("packaging/tidegate.service");
    let arguments = ["security", "--offline=yes", "--no-pager", unit.to_str().unwrap()];
    let said = printed("systemd-analyze", &arguments);
    let overall = said.lines().find(|line| line.contains("Overall exposure level")).unwrap();
    let exposure = overall.rsplit(": ").next().unwrap().split(' ').next().unwrap();
    println!("{overall}");
    assert!(exposure.parse::<f64>().unwrap() <= EXPOSURE_MAX, "{said}");
}

#[test]
fn vm_package_is_the_same_to_the_byte_when_built_elsewhere() {
    let elsewhere = std::env::temp_dir().join(format!("tidegate-source-{}", std::process::id()));
    fs::create_dir(&elsewhere).unwrap();
    let copy = format!(
        "cd '{}' && git -c safe.directory=\"$PWD\" ls-files -z --cached --others \
         --exclude-standard | xargs -0 cp --parents -t '{}'",
        root().display(),
        elsewhere.display()
    );
    let copied = Command::new("sh").args(["-ec", &copy]).status().unwrap();
    assert!(copied.success());
    let again = package(&elsewhere, None).unwrap();
    let same = fs::read(&*PACKAGE).unwrap() == fs::read(&again).unwrap();
    fs::remove_dir_all(&elsewhere).unwrap();
    assert!(same, "two builds of the same source differ");
}
