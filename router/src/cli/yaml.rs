//! JSON values as YAML 1.2 for people: blocks, and quotes wherever a reader could take a string for
//! something else.

use std::fmt::Write as _;

use serde_json::Value;

/// A document.
pub(super) fn of(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(_) | Value::Array(_) => block(value, 0, &mut text),
        scalar => {
            text += &of_scalar(scalar);
            text.push('\n');
        }
    }
    text
}

/// A list or a mapping, each entry on lines of its own.
fn block(value: &Value, indent: usize, text: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                entry(&format!("{pad}{}:", of_text(name)), value, indent, text);
            }
        }
        Value::Array(items) => {
            for item in items {
                // The first line of a block stands beside its dash.
                let mut inner = String::new();
                match item {
                    Value::Object(fields) if !fields.is_empty() => {
                        block(item, indent + 2, &mut inner);
                        let first = inner.trim_start_matches(' ');
                        _ = write!(text, "{pad}- {first}");
                    }
                    _ => entry(&format!("{pad}-"), item, indent, text),
                }
            }
        }
        _ => {}
    }
}

fn entry(head: &str, value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            _ = writeln!(text, "{head}");
            block(value, indent + 2, text);
        }
        Value::Array(items) if !items.is_empty() => {
            _ = writeln!(text, "{head}");
            block(value, indent + 2, text);
        }
        other => {
            _ = writeln!(text, "{head} {}", of_scalar(other));
        }
    }
}

fn of_scalar(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(string) => of_text(string),
        Value::Array(_) => "[]".into(),
        Value::Object(_) => "{}".into(),
    }
}

/// Bare, if no reader takes it for anything but a string; else in double quotes, where YAML takes what
/// JSON does (YAML 1.2.2 §7.3.1).
fn of_text(string: &str) -> String {
    const WORDS: [&str; 8] = ["true", "false", "null", "yes", "no", "on", "off", "~"];
    let is_word = WORDS.iter().any(|word| string.eq_ignore_ascii_case(word));
    let starts = string.starts_with(|first: char| first.is_ascii_alphabetic());
    let plain = |it: char| it.is_ascii_alphanumeric() || "-_./".contains(it);
    if starts && !is_word && string.chars().all(plain) {
        return string.to_owned();
    }
    Value::String(string.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_and_quotes_where_they_are_needed() {
        let value = json!({
            "api_version": "v1",
            "vips": [
                { "service": "web", "address": "192.0.2.10", "announced": true, "backends": [] },
                { "service": "no", "reason": "too few: 1", "n": 3, "tags": ["65001:80", "x"] },
            ],
            "nothing": null,
            "nested": [[1, 2], {}],
        });
        let wanted = "\
api_version: v1
nested:
  -
    - 1
    - 2
  - {}
nothing: null
vips:
  - address: \"192.0.2.10\"
    announced: true
    backends: []
    service: web
  - n: 3
    reason: \"too few: 1\"
    service: \"no\"
    tags:
      - \"65001:80\"
      - x
";
        assert_eq!(of(&value), wanted);
    }
}
