//! `vm-tests/setup` on machines that lack this or that: all programs that it would run are
//! stand-ins, which note that they were called.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Somebody without any rights.
const NOBODY: &str = "65534";

/// What a complete machine has. Each notes how it was called if that changes the machine.
const PROGRAMS: [(&str, &str); 26] = [
    ("cc", ""),
    ("ip", ""),
    ("bird", ""),
    ("birdc", ""),
    ("vtysh", ""),
    ("gobgpd", ""),
    ("gobgp", ""),
    ("exabgp", ""),
    ("stayrtr", ""),
    ("bgpdump", ""),
    ("bpftool", ""),
    ("ethtool", ""),
    ("tcpdump", ""),
    ("ping", ""),
    ("nsenter", ""),
    ("mount", ""),
    ("chromium", ""),
    ("prometheus", ""),
    ("promtool", ""),
    ("tshark", ""),
    ("journalctl", ""),
    ("python3", r#"note "$@"; fetched; mkdir -p "$3/bin"; cp "$HERE/bin/pip" "$3/bin/pip""#),
    ("bpf-linker", "echo bpf-linker 0.13.0"),
    (
        "rustup",
        r#"case $1 in
            which) [ -e "$HERE/no-toolchain" ] && exit 1; echo "$HERE/toolchain/bin/rustc" ;;
            component) cat "$HERE/components" ;;
            run) note "$@"; echo 'echo bpf-linker 0.13.0' >"$HERE/bin/bpf-linker" ;;
            *) note "$@"; fetched; rm -f "$HERE/no-toolchain" ;;
        esac"#,
    ),
    (
        "apt-get",
        r#"note "$@"
        echo "something that no one asked about"
        case "$*" in
            *download-only*) fetched ;;
            install*) install_all "$@" ;;
            *) echo "W: a source that has no part in this"; exit 100 ;;
        esac"#,
    ),
    ("systemctl", r#"note "$@""#),
];

/// In front of each stand-in. The PATH holds nothing else, so it names what it needs.
const PRELUDE: &str = r#"#!/bin/bash
HERE=${BASH_SOURCE[0]%/*}/..
PATH=/usr/bin:/bin
note() { echo "${BASH_SOURCE[0]##*/} $*" >>"$HERE/calls"; }
fetched() {
    [[ ! -e $HERE/no-network ]] || { printf 'W: tried twice\nE: no route to it\nE: more\n' >&2; exit 100; }
}
install_all() {
    for name in bird birdc; do
        [[ " $* " != *" bird2 "* ]] || { printf '#!/bin/bash\n' >"$HERE/bin/$name"; chmod +x "$HERE/bin/$name"; }
    done
}
"#;

/// Where schemathesis is.
const VENV: &str = "target/schemathesis-4.32.0";

struct Machine {
    dir: PathBuf,
}

struct Outcome {
    code: i32,
    out: String,
    err: String,
    /// Calls that would have changed the machine.
    calls: String,
}

impl Machine {
    /// A complete machine: nothing is missing.
    fn complete(name: &str) -> Self {
        let dir =
            std::env::temp_dir().join(format!("tidegate-setup-{}-{name}", std::process::id()));
        let venv = format!("repository/{VENV}/bin");
        for part in ["bin", "repository/vm-tests", "toolchain/bin", "toolchain/lib", &venv] {
            fs::create_dir_all(dir.join(part)).unwrap();
        }
        let machine = Self { dir };
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let repository = machine.dir.join("repository");
        fs::copy(own.join("setup"), repository.join("vm-tests/setup")).unwrap();
        fs::copy(own.join("../rust-toolchain.toml"), repository.join("rust-toolchain.toml"))
            .unwrap();
        fs::write(machine.dir.join("toolchain/lib/libLLVM.so.22.1-rust"), "").unwrap();
        machine.components("clippy-x86_64\nrust-src\nrustfmt-x86_64\n");
        for (program, body) in PROGRAMS {
            machine.program(program, body);
        }
        machine.put(&format!("{venv}/st"), "");
        // The script's own few tools.
        for tool in ["mktemp", "ln", "rm"] {
            symlink(format!("/usr/bin/{tool}"), machine.dir.join("bin").join(tool)).unwrap();
        }
        // For whoever it is run as.
        Command::new("chmod").args(["-R", "a+rwX"]).arg(&machine.dir).status().unwrap();
        machine
    }

    fn program(&self, name: &str, body: &str) {
        self.put(&format!("bin/{name}"), body);
    }

    fn put(&self, at: &str, body: &str) {
        let path = self.dir.join(at);
        fs::write(&path, format!("{PRELUDE}{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn without(self, program: &str) -> Self {
        fs::remove_file(self.dir.join("bin").join(program)).unwrap();
        self
    }

    fn components(&self, installed: &str) {
        fs::write(self.dir.join("components"), installed).unwrap();
    }

    fn note(self, file: &str, text: &str) -> Self {
        fs::write(self.dir.join(file), text).unwrap();
        self
    }

    /// Runs the script as `user`.
    fn set_up(&self, user: &str, arguments: &[&str]) -> Outcome {
        let ran = Command::new("/usr/bin/setpriv")
            .args(["--reuid", user, "--clear-groups", "/bin/bash"])
            .arg(self.dir.join("repository/vm-tests/setup"))
            .args(arguments)
            .env_clear()
            .env("PATH", self.dir.join("bin"))
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome {
            code: ran.status.code().unwrap(),
            out: text(ran.stdout),
            err: text(ran.stderr),
            calls: fs::read_to_string(self.dir.join("calls")).unwrap_or_default(),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).ok();
    }
}

/// One line on stderr, with these words; exit code 1.
fn assert_stopped(outcome: &Outcome, words: &[&str]) {
    assert_eq!((outcome.code, outcome.err.lines().count()), (1, 1), "{}", outcome.err);
    for word in words {
        assert!(outcome.err.contains(word), "{word} is not in {}", outcome.err);
    }
}

#[test]
fn a_complete_machine_is_left_alone_without_a_word() {
    let machine = Machine::complete("complete");
    for (user, arguments) in [("0", vec!["root"]), ("0", vec![]), (NOBODY, vec![])] {
        let outcome = machine.set_up(user, &arguments);
        assert_eq!((outcome.code, &*outcome.out, &*outcome.err), (0, "", ""), "{user}");
        assert_eq!(outcome.calls, "");
    }
}

#[test]
fn what_cannot_be_had_is_one_line_with_a_remedy_and_changes_nothing() {
    let machine = |name| Machine::complete(name).without("bird").without("ethtool");
    let outcome = Machine::complete("labs").set_up(NOBODY, &["root"]);
    assert_stopped(&outcome, &["only root may make", "as root", "nothing was changed"]);

    let outcome = machine("no-root").set_up(NOBODY, &[]);
    let command = "apt-get install --yes --no-install-recommends bird2 ethtool;";
    assert_stopped(&outcome, &["missing: bird2 ethtool;", "run as root", command]);
    assert_eq!(outcome.calls, "");

    let outcome = machine("no-apt").without("apt-get").set_up("0", &[]);
    assert_stopped(&outcome, &["bird2 ethtool", "no apt-get", "nothing was changed"]);
    assert_eq!(outcome.calls, "");

    let outcome = machine("no-network").note("no-network", "").set_up("0", &[]);
    let words = ["bird2 ethtool (E: no route to it):", "apt's sources", "nothing was changed"];
    assert_stopped(&outcome, &words);
    let calls: Vec<&str> = outcome.calls.lines().collect();
    assert_eq!((calls.len(), calls[0]), (2, "apt-get --quiet=2 update"), "{calls:?}");
    assert!(calls[1].ends_with(" bird2 ethtool --quiet=2 --download-only"), "{calls:?}");

    let machine = Machine::complete("no-component").note("no-network", "");
    machine.components("");
    let outcome = machine.set_up("0", &[]);
    assert_stopped(&outcome, &["clippy rust-src rustfmt (E: no route to it):", "network"]);

    let outcome = Machine::complete("no-rustup").without("rustup").set_up("0", &[]);
    assert_stopped(&outcome, &["rustup", "https://rustup.rs", "nothing was changed"]);
}

#[test]
fn missing_packages_are_named_and_installed_once() {
    let machine = Machine::complete("packages").without("bird").without("birdc");
    let outcome = machine.set_up("0", &[]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let said: Vec<&str> = outcome.out.lines().take(2).collect();
    assert_eq!(said, ["setup: missing: bird2", "setup: installing bird2 with apt-get"]);
    assert_eq!(outcome.err, "");
    let install = "apt-get install --yes --no-install-recommends bird2 ";
    assert!(outcome.calls.starts_with("apt-get --quiet=2 update\n"), "{}", outcome.calls);
    assert!(outcome.calls.contains(install), "{}", outcome.calls);
    let again = machine.set_up("0", &[]);
    assert_eq!((again.code, &*again.out, &*again.err), (0, "", ""));
    assert_eq!(again.calls, outcome.calls);
}

#[test]
fn a_missing_component_or_toolchain_is_installed() {
    let machine = Machine::complete("component");
    machine.components("clippy-x86_64\nrustfmt-x86_64\n");
    let outcome = machine.set_up(NOBODY, &[]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let added = "rustup --quiet component add --toolchain 1.95.0 rust-src\n";
    assert_eq!(outcome.calls, added);

    let machine = Machine::complete("toolchain").note("no-toolchain", "");
    let outcome = machine.set_up("0", &[]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let all = "--component=clippy --component=rust-src --component=rustfmt\n";
    assert!(outcome.calls.contains(all), "{}", outcome.calls);
}

#[test]
fn a_linker_of_another_version_is_replaced_by_one_built_with_the_compilers_own_llvm() {
    for (name, printed) in [("older", "echo bpf-linker 0.9.15"), ("broken", "exit 127")] {
        let machine = Machine::complete(name);
        machine.program("bpf-linker", printed);
        let outcome = machine.set_up("0", &[]);
        assert_eq!(outcome.code, 0, "{name}: {}", outcome.err);
        assert!(outcome.out.contains("setup: bpf-linker 0.13.0 is needed, here is "), "{name}");
        let build = "cargo install bpf-linker --version 0.13.0 --locked";
        assert!(outcome.calls.contains(build), "{name}: {}", outcome.calls);
    }
    let machine = Machine::complete("static");
    machine.program("bpf-linker", "exit 127");
    fs::remove_file(machine.dir.join("toolchain/lib/libLLVM.so.22.1-rust")).unwrap();
    assert_stopped(&machine.set_up("0", &[]), &["no libLLVM of its own", "bpf-linker 0.13.0"]);
}

#[test]
fn schemathesis_is_fetched_once_and_that_it_cannot_be_had_is_said_and_stops_nothing() {
    let machine = |name| {
        let machine = Machine::complete(name);
        fs::remove_dir_all(machine.dir.join("repository").join(VENV)).unwrap();
        machine.program("pip", r#"note "$@"; printf '#!/bin/bash\n' >"${BASH_SOURCE[0]%/*}/st"; chmod +x "${BASH_SOURCE[0]%/*}/st""#);
        machine
    };
    let fetched = machine("venv");
    let outcome = fetched.set_up("0", &["root"]);
    assert_eq!((outcome.code, &*outcome.err), (0, ""), "{}", outcome.out);
    assert!(
        outcome.calls.contains("python3 -m venv target/schemathesis-4.32.0"),
        "{}",
        outcome.calls
    );
    assert!(fetched.dir.join("repository").join(VENV).join("bin/st").exists(), "{}", outcome.calls);

    let outcome = machine("no-venv").note("no-network", "").set_up("0", &["root"]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(outcome.out.contains("NO SCHEMATHESIS (E: no route to it): lab_api_schema will fail"));
}
