//! A line of the log, taken apart.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};

/// What a line says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Entry {
    pub(super) message: String,
    /// The kind of event that it stands for.
    pub(super) event: Option<String>,
    /// Everything else, in the order of the line.
    pub(super) fields: Vec<(&'static str, Value)>,
}

impl Entry {
    pub(super) fn of(event: &tracing::Event<'_>) -> Self {
        let mut entry = Self::default();
        event.record(&mut entry);
        entry
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("event", Value::String(kind)) => self.event = Some(kind),
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Entry {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}
