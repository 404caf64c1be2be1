//! Durations: whole numbers with units, in a string.

use core::time::Duration;

use schemars::{Schema, SchemaGenerator, json_schema};
use tidegate_bgp::types::HoldTime;
use toml::de::DeValue;

use crate::diagnostic::{Found, quote};
use crate::read::{Node, Value};

/// A duration of `MIN` to `MAX` milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span<const MIN: u64, const MAX: u64>(pub(crate) Duration);

/// Units by size. `ms` stands before `m`: the first that fits is taken.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];

/// `1m30s` and the like, in milliseconds.
fn parse_millis(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let (name, millis) = UNITS.iter().find(|(name, _)| tail.starts_with(name))?;
        let part = number.parse::<u64>().ok()?.checked_mul(*millis)?;
        total = total.checked_add(part)?;
        rest = tail.get(name.len()..)?;
    }
    (!text.is_empty()).then_some(total)
}

/// A duration as one would type it.
pub(crate) fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    let unit = [("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    match unit.iter().find(|(_, size)| millis >= *size && millis.is_multiple_of(*size)) {
        Some((name, size)) => format!("{}{name}", millis / size),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

/// The duration behind a key.
fn read_millis<T: Value>(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<u64> {
    match node.value {
        DeValue::String(text) => {
            let millis = parse_millis(text);
            if millis.is_none() {
                let remedy = "write whole numbers with the units h, m, s, ms, such as \"1m30s\"";
                node.bad(found, format!("{} is not a duration", quote(text)), remedy);
            }
            millis
        }
        DeValue::Integer(number) => {
            let remedy = format!("write it with a unit, in quotes: \"{}s\"", number.as_str());
            node.bad(found, "a duration needs a unit".to_owned(), remedy);
            None
        }
        _ => {
            node.wrong(found, &T::kind(), "write a string with a unit, such as \"10s\"");
            None
        }
    }
}

fn duration_schema() -> Schema {
    json_schema!({ "type": "string", "pattern": "^([0-9]+(ms|h|m|s))+$" })
}

impl<const MIN: u64, const MAX: u64> Value for Span<MIN, MAX> {
    fn kind() -> String {
        let text = |millis| duration_text(Duration::from_millis(millis));
        format!("a duration from {} to {}", text(MIN), text(MAX))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        duration_schema()
    }

    fn read(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<Self> {
        let millis = read_millis::<Self>(node, found)?;
        let text = |millis| duration_text(Duration::from_millis(millis));
        if millis < MIN || millis > MAX {
            let bound = if millis < MIN { "shorter than" } else { "longer than" };
            let limit = if millis < MIN { MIN } else { MAX };
            let sentence = format!("{} is {bound} {}", text(millis), text(limit));
            node.bad(found, sentence, format!("write {} to {}", text(MIN), text(MAX)));
            return None;
        }
        Some(Self(Duration::from_millis(millis)))
    }
}

impl Value for HoldTime {
    fn kind() -> String {
        "a duration in whole seconds, \"0s\" or from 3s".to_owned()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        duration_schema()
    }

    fn read(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<Self> {
        let millis = read_millis::<Self>(node, found)?;
        let remedy = "write \"0s\" for a session that never times out, or \"3s\" to \"65535s\"";
        let secs = millis.is_multiple_of(1000).then(|| u16::try_from(millis / 1000).ok()).flatten();
        let Some(secs) = secs else {
            let typed = duration_text(Duration::from_millis(millis));
            let sentence = format!("a hold time is whole seconds up to 65535, not {typed}");
            node.bad(found, sentence, remedy);
            return None;
        };
        Self::from_secs(secs).map_err(|bad| node.bad(found, bad.to_string(), remedy)).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_duration_is_whole_numbers_with_units() {
        let cases = [
            ("90s", Some(90_000)),
            ("1m30s", Some(90_000)),
            ("1h1m1s1ms", Some(3_661_001)),
            ("0s", Some(0)),
            ("007s", Some(7000)),
            ("", None),
            ("90", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("1 s", None),
            ("1s ", None),
            ("1d", None),
            ("18446744073709551615ms", Some(u64::MAX)),
            ("18446744073709551615ms1ms", None),
            ("18446744073709551615s", None),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_millis(text), millis, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_survives_its_text(millis in any::<u64>()) {
            let text = duration_text(Duration::from_millis(millis));
            prop_assert_eq!(parse_millis(&text), Some(millis));
        }

        #[test]
        fn whole_units_survive_their_text(count in 0_u64..100_000, unit in 0..UNITS.len()) {
            let millis = count * UNITS[unit].1;
            let text = duration_text(Duration::from_millis(millis));
            prop_assert_eq!(parse_millis(&text), Some(millis));
        }
    }
}
