//! The text that Prometheus reads: its exposition format, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

/// Name and value of a label.
pub(super) type Label<'a> = (&'static str, &'a str);

/// Samples by metric.
#[derive(Debug, Default)]
pub(super) struct Exposition(BTreeMap<&'static str, Samples>);

#[derive(Debug)]
struct Samples {
    kind: &'static str,
    lines: String,
}

impl Exposition {
    /// A value that goes up and down.
    pub(super) fn gauge(&mut self, name: &'static str, labels: &[Label<'_>], value: f64) {
        self.sample("gauge", name, labels, value);
    }

    /// A count since the start.
    pub(super) fn counter(&mut self, name: &'static str, labels: &[Label<'_>], value: u64) {
        self.sample("counter", name, labels, value);
    }

    fn sample(
        &mut self,
        kind: &'static str,
        name: &'static str,
        labels: &[Label<'_>],
        value: impl Display,
    ) {
        let samples = self.0.entry(name).or_insert_with(|| Samples { kind, lines: String::new() });
        let lines = &mut samples.lines;
        lines.push_str(name);
        for (at, (label, value)) in labels.iter().enumerate() {
            lines.push(if at == 0 { '{' } else { ',' });
            lines.push_str(label);
            lines.push_str("=\"");
            escaped(lines, value);
            lines.push('"');
        }
        lines.push_str(if labels.is_empty() { " " } else { "} " });
        // A string takes everything.
        writeln!(lines, "{value}").unwrap_or_default();
    }

    /// All of it, with the help texts of metrics that have samples.
    pub(super) fn text(self, helps: impl Iterator<Item = (&'static str, &'static str)>) -> String {
        let helps: BTreeMap<&str, &str> = helps.collect();
        let room = self.0.values().map(|it| it.lines.len() + 256).sum();
        let mut text = String::with_capacity(room);
        for (name, Samples { kind, lines }) in self.0 {
            if let Some(help) = helps.get(name) {
                writeln!(text, "# HELP {name} {help}").unwrap_or_default();
            }
            writeln!(text, "# TYPE {name} {kind}").unwrap_or_default();
            text.push_str(&lines);
        }
        text
    }
}

/// Backslashes, quotes and ends of lines have a form of their own in the value of a label.
fn escaped(to: &mut String, value: &str) {
    if !value.contains(['\\', '"', '\n']) {
        return to.push_str(value);
    }
    for character in value.chars() {
        match character {
            '\\' => to.push_str("\\\\"),
            '"' => to.push_str("\\\""),
            '\n' => to.push_str("\\n"),
            other => to.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_metric_stand_together_under_its_help() {
        let mut all = Exposition::default();
        all.gauge("b", &[("of", "one")], 0.5);
        all.counter("a_total", &[], 7);
        all.gauge("b", &[("of", "a\\b\"c\nd"), ("and", "é")], 1.0);
        let helps = [("b", "What b is."), ("c", "It is not there.")];
        assert_eq!(
            all.text(helps.into_iter()),
            "# TYPE a_total counter\na_total 7\n\
             # HELP b What b is.\n# TYPE b gauge\n\
             b{of=\"one\"} 0.5\nb{of=\"a\\\\b\\\"c\\nd\",and=\"é\"} 1\n"
        );
    }
}
