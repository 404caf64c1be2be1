//! The house stays as it was drawn: which crate may know which, what pure crates may not have,
//! what lies at the top, and links that lead somewhere.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which of our crates each crate may depend on. An arrow that is not here needs an ADR.
const ARROWS: [(&str, &[&str]); 6] = [
    ("tidegate-abi", &[]),
    ("tidegate-bgp", &[]),
    ("tidegate-config", &["tidegate-abi", "tidegate-bgp"]),
    ("tidegate-plan", &["tidegate-abi", "tidegate-bgp", "tidegate-config"]),
    ("tidegate", &["tidegate-abi", "tidegate-bgp", "tidegate-config", "tidegate-plan"]),
    (
        "tidegate-vm-tests",
        &["tidegate", "tidegate-abi", "tidegate-bgp", "tidegate-config", "tidegate-plan"],
    ),
];

/// Crates without clock, socket, file, thread or chance, and where they live.
const PURE: [(&str, &str); 4] = [
    ("tidegate-abi", "ebpf/abi"),
    ("tidegate-bgp", "bgp"),
    ("tidegate-config", "config"),
    ("tidegate-plan", "router/plan"),
];

/// What a pure crate depends on, other than our own: anything else has to be argued for here.
const PURE_DEPENDENCIES: [&str; 7] =
    ["schemars", "serde", "serde_json", "strsim", "thiserror", "toml", "zettabgp"];

/// What a pure crate must not do, by its clippy.toml.
const BANNED: [&str; 4] = ["Instant::now", "SystemTime::now", "sleep", "HashMap"];

/// All that lies at the top of the repository.
#[rustfmt::skip]
const TOP: [&str; 19] = [
    ".ci", ".gitignore", "CHANGELOG.md", "Cargo.lock", "Cargo.toml", "LICENSE-APACHE",
    "LICENSE-MIT", "Makefile", "README.md", "bgp", "clippy.toml", "config", "docs", "ebpf",
    "packaging", "router", "rust-toolchain.toml", "rustfmt.toml", "vm-tests",
];

/// Longest source file, in lines, tests apart.
const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).map_err(|error| format!("{path}: {error}")).unwrap()
}

fn command(program: &str, arguments: &[&str]) -> String {
    let ran = Command::new(program).args(arguments).current_dir(root()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

fn has_extension(file: &str, extension: &str) -> bool {
    Path::new(file).extension().is_some_and(|found| found == extension)
}

/// Files of the repository that are there.
fn files() -> Vec<String> {
    // Not safe to run on a checkout that somebody else owns unless told so, as in a container.
    let directory = format!("safe.directory={}", root().canonicalize().unwrap().display());
    let arguments = ["-c", &directory, "ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = command("git", &arguments);
    listed.lines().filter(|file| root().join(file).exists()).map(str::to_owned).collect()
}

/// Manifests of the workspace's own crates, by name.
fn packages() -> BTreeMap<String, Value> {
    let arguments = ["metadata", "--format-version=1", "--no-deps", "--locked"];
    let metadata: Value = serde_json::from_str(&command(env!("CARGO"), &arguments)).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.map(|it| (it["name"].as_str().unwrap().to_owned(), it.clone())).collect()
}

/// Names of the dependencies of a crate; `kind` is `dev`, `build` or null for the plain ones.
fn dependencies<'a>(package: &'a Value, kind: &Value) -> BTreeSet<&'a str> {
    let all = package["dependencies"].as_array().unwrap().iter();
    all.filter(|it| it["kind"] == *kind).map(|it| it["name"].as_str().unwrap()).collect()
}

#[test]
fn arrows_between_crates_point_one_way() {
    let packages = packages();
    let names: BTreeSet<_> = packages.keys().map(String::as_str).collect();
    assert_eq!(names, ARROWS.iter().map(|(name, _)| *name).collect());
    for (name, allowed) in ARROWS {
        for kind in [Value::Null, "dev".into(), "build".into()] {
            let ours: Vec<_> = dependencies(&packages[name], &kind)
                .into_iter()
                .filter(|dependency| names.contains(dependency) && !allowed.contains(dependency))
                .collect();
            assert!(ours.is_empty(), "{name} must not know {ours:?}");
        }
    }
}

#[test]
fn every_crate_inherits_the_lints() {
    for package in packages().values() {
        let manifest = fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true\n"), "{}", package["name"]);
    }
}

#[test]
fn pure_crates_are_pure_by_manifest_and_lint() {
    let packages = packages();
    for (name, dir) in PURE {
        for dependency in dependencies(&packages[name], &Value::Null) {
            let fine =
                PURE_DEPENDENCIES.contains(&dependency) || dependency.starts_with("tidegate-");
            assert!(fine, "{name} depends on {dependency}: is that pure?");
        }
        assert!(dependencies(&packages[name], &"build".into()).is_empty(), "{name}");
        assert!(read(&format!("{dir}/src/lib.rs")).contains("#![forbid(unsafe_code)]"), "{name}");
        let lints = read(&format!("{dir}/clippy.toml"));
        for banned in BANNED {
            assert!(lints.contains(banned), "{dir}/clippy.toml does not ban {banned}");
        }
    }
}

#[test]
fn the_top_of_the_repository_holds_what_it_should_and_nothing_else() {
    let files = files();
    let top: BTreeSet<_> = files.iter().filter_map(|file| file.split('/').next()).collect();
    assert_eq!(top, TOP.into());
}

#[test]
fn links_in_documents_lead_to_files() {
    for file in files().iter().filter(|file| has_extension(file, "md")) {
        let text = read(file);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") || path.contains(char::is_whitespace) {
                continue;
            }
            let beside = root().join(file).parent().unwrap().join(path);
            assert!(beside.exists(), "{file} links to {target}, which is not there");
        }
    }
}

/// The names in the last column of a document's tables, and the row they stand in.
fn shown_by(document: &str) -> Vec<(String, Vec<String>)> {
    let text = read(document);
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.contains("---"));
    let names = |row: &str| {
        let shown_by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let names: Vec<String> =
            shown_by.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        assert!(!names.is_empty(), "no test is named in {row}");
        (row.to_owned(), names)
    };
    rows.skip(1).map(names).collect()
}

#[test]
fn every_case_of_affinity_names_a_test() {
    let sources: Vec<String> =
        files().iter().filter(|file| has_extension(file, "rs")).map(|file| read(file)).collect();
    for name in shown_by("docs/affinity.md").into_iter().flat_map(|(_, names)| names) {
        let function = format!("fn {name}(");
        assert!(sources.iter().any(|source| source.contains(&function)), "no test {name}");
    }
}

#[test]
fn every_case_of_the_packet_path_names_a_test() {
    let sources: Vec<(String, String)> = files()
        .into_iter()
        .filter(|file| has_extension(file, "rs"))
        .map(|file| (format!("/{file}"), read(&file)))
        .collect();
    let has = |module: &str, text: &str| {
        let path = format!("/{}.rs", module.replace("::", "/"));
        sources.iter().any(|(file, source)| file.ends_with(&path) && source.contains(text))
    };
    let crates = packages();
    for (row, names) in shown_by("docs/datapath-cases.md") {
        for name in names.iter().filter(|name| !crates.contains_key(*name)) {
            // A module with tests, or one test of it.
            let is_test = name
                .rsplit_once("::")
                .is_some_and(|(module, test)| has(module, &format!("fn {test}(")));
            assert!(is_test || has(name, "test]\n"), "no test {name}: {row}");
        }
    }
}

#[test]
fn source_files_are_of_a_readable_length() {
    for file in files().iter().filter(|file| has_extension(file, "rs")) {
        if file.contains("/tests/") || file.ends_with("/tests.rs") {
            continue;
        }
        let text = read(file);
        // A test module at the end does not count.
        let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
        let lines = code.lines().count();
        assert!(lines <= LINES_MAX, "{file} has {lines} lines: split it");
    }
}

#[test]
fn ci_runs_the_readmes_test_command_and_nothing_else() {
    let script = read(".ci/run");
    let commands: Vec<_> = script.lines().filter(|line| line.starts_with("exec ")).collect();
    assert_eq!(commands, ["exec make test"]);
    assert!(read("README.md").contains("make test"));
}
