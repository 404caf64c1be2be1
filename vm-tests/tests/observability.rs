//! Dashboard and alert rules name metrics that there are, are sound by Prometheus' own tool, and
//! each alert fires when it should.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed step fails the test")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const DASHBOARD: &str = "packaging/grafana/tidegate.json";
const RULES: &str = "packaging/prometheus/tidegate.rules.yml";
const RULE_TESTS: &str = "packaging/prometheus/tidegate.test.yml";
/// The table of all metrics.
const METRICS: &str = "router/src/metrics.rs";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Every `tidegate_…` in a text.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("tidegate_") && !word.ends_with('_')).collect()
}

fn promtool(arguments: &[&str]) -> String {
    let ran = Command::new("promtool")
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("promtool is not installed: run `make setup`");
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "promtool {arguments:?}: {said}");
    said.into_owned()
}

#[test]
fn dashboard_and_rules_name_metrics_that_there_are() {
    let source = read(METRICS);
    // With a help text, so that it is in the table and not only used.
    let known: BTreeSet<&str> = source
        .split('"')
        .zip(source.split('"').skip(1))
        .filter(|(before, _)| before.trim_end().ends_with('('))
        .map(|(_, name)| name)
        .filter(|name| name.starts_with("tidegate_"))
        .collect();
    assert!(known.len() > 40, "{known:?}");
    for file in [DASHBOARD, RULES, RULE_TESTS] {
        let text = read(file);
        let named = metrics_in(&text);
        assert!(named.len() > 10, "{file}: {named:?}");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}, which there are not");
    }
}

#[test]
fn rules_are_sound_and_each_alert_fires_when_it_should() {
    promtool(&["check", "rules", RULES]);
    promtool(&["test", "rules", RULE_TESTS]);
    let (rules, tests) = (read(RULES), read(RULE_TESTS));
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        for wanted in ["fires", "does not"] {
            let name = format!("name: {alert} {wanted}\n");
            assert!(tests.contains(&name), "no test that {alert} {wanted}");
        }
    }
}

/// As recording rules, since promtool knows no dashboards.
#[test]
fn every_expression_of_the_dashboard_is_sound() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    assert!(found.len() > 25, "{found:?}");
    let mut rules = "groups: [{name: dashboard, rules: [\n".to_owned();
    for (number, expression) in found.iter().enumerate() {
        assert!(expression.contains(r#"{job="$job", instance=~"$instance""#), "{expression}");
        let expression = expression.replace("$__rate_interval", "1m");
        writeln!(rules, "{{record: 'panel:{number}', expr: {expression:?}}},").unwrap();
    }
    rules += "]}]\n";
    let file = std::env::temp_dir().join(format!("tidegate-panels-{}.yml", std::process::id()));
    fs::write(&file, rules).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
    fs::remove_file(&file).unwrap();
}

fn expressions<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str));
            fields.values().for_each(|value| expressions(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}
