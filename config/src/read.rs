//! From a TOML document to the raw types, without stopping at the first mistake.
//!
//! [`table!`] declares a table once: its keys, their types, defaults and meaning. Reader, JSON
//! Schema and reference follow from that, so they cannot disagree.

use core::ops::Range;
use std::borrow::Cow;

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Found, did_you_mean, quote};

/// A value, and where it was typed.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    /// Bytes of the file. Of a default: those of the header of its table.
    pub(crate) span: Range<usize>,
    /// Path of its key, such as `peer.tor-1.asn`.
    pub(crate) key: String,
}

/// A TOML value on its way to a type.
#[derive(Clone, Debug)]
pub(crate) struct Node<'a, 'i> {
    pub(crate) value: &'a DeValue<'i>,
    pub(crate) span: Range<usize>,
    pub(crate) key: String,
}

/// What can stand behind a key.
pub(crate) trait Value: Sized {
    /// The type in a few words, for the reference and for messages.
    fn kind() -> String;

    /// The type for editors.
    fn schema(generator: &mut SchemaGenerator) -> Schema;

    /// The value, or `None` after telling what is wrong with it.
    fn read(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<Self>;

    /// How a missing key is added.
    fn remedy_if_missing(name: &str) -> String {
        format!("add {name} = …")
    }

    /// `read`, and remember where.
    fn read_at(node: Node<'_, '_>, found: &mut Found<'_>) -> Option<At<Self>> {
        let value = Self::read(&node, found)?;
        Some(At { value, span: node.span, key: node.key })
    }
}

/// Whether a key may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    Optional,
    /// What is read in its place, in TOML.
    Default(&'static str),
}

/// A key of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeySpec {
    pub(crate) name: &'static str,
    pub(crate) need: Need,
    /// Lines of its doc comment.
    pub(crate) doc: &'static [&'static str],
    pub(crate) kind: fn() -> String,
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
}

impl KeySpec {
    pub(crate) const fn new<T: Value>(
        name: &'static str,
        need: Need,
        doc: &'static [&'static str],
    ) -> Self {
        Self { name, need, doc, kind: T::kind, schema: T::schema }
    }
}

/// A key that is often tried but does not exist, and the remedy.
pub(crate) type Hint = (&'static str, &'static str);

/// A table with known keys.
pub(crate) trait Table {
    /// Its name in the schema.
    const NAME: &'static str;
    /// Lines of its doc comment.
    const DOC: &'static [&'static str];
    /// Its keys, in the order in which a reader wants to meet them.
    const KEYS: &'static [KeySpec];
    /// Keys that need more than "unknown".
    const HINTS: &'static [Hint];
}

impl Node<'_, '_> {
    /// Tells that the value is of another type than expected.
    pub(crate) fn wrong(&self, found: &mut Found<'_>, expected: &str, remedy: &str) {
        let typed = self.value.type_str();
        let a = if typed.starts_with(['a', 'i']) { "an" } else { "a" };
        let sentence = format!("this is {a} {typed}, not {expected}");
        found.error(&self.span, &self.key, sentence, remedy);
    }

    /// Tells that the value is of the right type, but no good.
    pub(crate) fn bad(&self, found: &mut Found<'_>, sentence: String, remedy: impl Into<String>) {
        found.error(&self.span, &self.key, sentence, remedy);
    }
}

/// An open table: hands out its keys, and tells of those that nobody knows.
pub(crate) struct Keys<'a, 'i> {
    table: &'a DeTable<'i>,
    span: Range<usize>,
    key: String,
    /// Keys that unknown ones were taken for: they are not missing as well.
    meant: Vec<&'static str>,
}

impl<'a, 'i> Keys<'a, 'i> {
    pub(crate) fn open<T: Table + Value>(
        node: &Node<'a, 'i>,
        found: &mut Found<'_>,
    ) -> Option<Self> {
        match node.value {
            DeValue::Table(table) => {
                let (span, key) = (node.span.clone(), node.key.clone());
                let meant = refuse_unknown::<T>(table, &key, found);
                Some(Self { table, span, key, meant })
            }
            DeValue::Array(_) => {
                node.wrong(found, &T::kind(), &format!("write [{0}], not [[{0}]]", T::NAME));
                None
            }
            _ => {
                node.wrong(found, &T::kind(), &format!("write a table: [{}] or {{ … }}", T::NAME));
                None
            }
        }
    }

    pub(crate) fn get<T: Value>(
        &self,
        name: &str,
        need: Need,
        doc: &[&str],
        found: &mut Found<'_>,
    ) -> Option<At<T>> {
        let key = join(&self.key, name);
        if let Some(value) = self.table.get(name) {
            return T::read_at(Node { value: value.get_ref(), span: value.span(), key }, found);
        }
        match need {
            Need::Optional => None,
            Need::Required | Need::Default(_) if self.meant.contains(&name) => None,
            Need::Required => {
                let add = T::remedy_if_missing(name);
                let remedy = format!("{add}: {}", first_sentence(doc));
                found.error(&self.span, &key, "this key is missing", remedy);
                None
            }
            Need::Default(literal) => {
                let value = DeValue::parse(literal).ok()?;
                T::read_at(Node { value: value.get_ref(), span: self.span.clone(), key }, found)
            }
        }
    }
}

/// Tells of each key that the table does not have; returns those that were probably meant.
fn refuse_unknown<T: Table>(
    table: &DeTable<'_>,
    path: &str,
    found: &mut Found<'_>,
) -> Vec<&'static str> {
    let names = T::KEYS.iter().map(|spec| spec.name);
    let mut all_meant = Vec::new();
    for typed in table.keys() {
        let name: &str = typed.get_ref();
        if names.clone().any(|known| known == name) {
            continue;
        }
        let hint = T::HINTS.iter().find(|(key, _)| *key == name);
        let meant = match hint {
            Some((_, remedy)) => {
                names.clone().find(|known| remedy.strip_prefix("write ") == Some(known))
            }
            None => did_you_mean(name, names.clone()),
        };
        let remedy = match (hint, meant) {
            (Some((_, remedy)), _) => (*remedy).to_owned(),
            (None, Some(meant)) => format!("did you mean {meant}?"),
            (None, None) => {
                let names: Vec<_> = names.clone().collect();
                format!("remove it; the keys here are {}", names.join(", "))
            }
        };
        all_meant.extend(meant);
        let sentence = format!("unknown key {}", quote(name));
        found.error(&typed.span(), &join(path, name), sentence, remedy);
    }
    all_meant
}

/// The path of a key in a table.
pub(crate) fn join(table: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let key = match key {
        bare_key if !key.is_empty() && key.len() <= 64 && key.chars().all(bare) => bare_key.into(),
        odd => quote(odd),
    };
    if table.is_empty() { key } else { format!("{table}.{key}") }
}

/// The lines of a doc comment as one line.
pub(crate) fn one_line(doc: &[&str]) -> String {
    let lines: Vec<_> = doc.iter().map(|line| line.trim()).collect();
    lines.join(" ").trim().to_owned()
}

fn first_sentence(doc: &[&str]) -> String {
    let doc = one_line(doc);
    let end = doc.find(". ").unwrap_or(doc.len());
    doc.get(..end).unwrap_or("").trim_end_matches('.').to_owned()
}

/// The schema of a table, by its keys.
pub(crate) fn table_schema<T: Table>(generator: &mut SchemaGenerator) -> Schema {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    for spec in T::KEYS {
        let mut schema = (spec.schema)(generator);
        schema.insert("description".to_owned(), one_line(spec.doc).into());
        match spec.need {
            Need::Required => required.push(spec.name),
            Need::Optional => {}
            Need::Default(literal) => {
                schema.insert("default".to_owned(), json_of(literal));
            }
        }
        properties.insert(spec.name.to_owned(), schema.to_value());
    }
    json_schema!({
        "type": "object",
        "description": one_line(T::DOC),
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// A TOML literal as JSON; null when it is none, which a test excludes.
fn json_of(literal: &str) -> serde_json::Value {
    let document = format!("value = {literal}");
    let table: Option<serde_json::Value> = toml::from_str(&document).ok();
    table
        .and_then(|mut table| table.get_mut("value").map(serde_json::Value::take))
        .unwrap_or_default()
}

/// What an array's element is called in a path: by its name if it has one, else by its number.
fn element_key(array: &str, index: usize, value: &DeValue<'_>) -> String {
    let name = value.as_table().and_then(|table| table.get("name")?.get_ref().as_str());
    match name {
        Some(name) if crate::value::is_name(name) => format!("{array}.{name}"),
        _ => format!("{array}[{}]", index + 1),
    }
}

/// `[[key]]`.
#[derive(Clone, Debug)]
pub(crate) struct Tables<T>(pub(crate) List<T>);

/// `[value, …]`.
#[derive(Clone, Debug)]
pub(crate) struct List<T> {
    /// Those that can be read.
    pub(crate) read: Vec<At<T>>,
    /// How many were typed: an element that is wrong does not make the list empty.
    pub(crate) typed: usize,
}

impl<T: Table + Value> Value for Tables<T> {
    fn kind() -> String {
        format!("[[{}]] tables", T::NAME)
    }

    fn remedy_if_missing(_: &str) -> String {
        format!("add [[{}]]", T::NAME)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": T::schema(generator) })
    }

    fn read(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<Self> {
        let DeValue::Array(array) = node.value else {
            let remedy = format!("write [[{0}]], not [{0}]: there can be several", T::NAME);
            node.wrong(found, &format!("[[{}]]", T::NAME), &remedy);
            return None;
        };
        let tables = array.iter().enumerate().filter_map(|(index, element)| {
            let key = element_key(&node.key, index, element.get_ref());
            T::read_at(Node { value: element.get_ref(), span: element.span(), key }, found)
        });
        Some(Self(List { read: tables.collect(), typed: array.len() }))
    }
}

impl<T: Value> Value for List<T> {
    fn kind() -> String {
        format!("a list, each {}", T::kind())
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": T::schema(generator), "uniqueItems": true })
    }

    fn read(node: &Node<'_, '_>, found: &mut Found<'_>) -> Option<Self> {
        let DeValue::Array(array) = node.value else {
            node.wrong(found, "a list", "put it in brackets: [ … ]");
            return None;
        };
        let values = array.iter().enumerate().filter_map(|(index, element)| {
            let key = format!("{}[{}]", node.key, index + 1);
            T::read_at(Node { value: element.get_ref(), span: element.span(), key }, found)
        });
        Some(Self { read: values.collect(), typed: array.len() })
    }
}

/// The identifier of a table in the schema's `$defs`.
pub(crate) fn schema_name<T: Table>() -> Cow<'static, str> {
    T::NAME.into()
}

/// Declares a table: the struct of what was typed, its reader, schema and reference.
///
/// Each key becomes an `Option<At<type>>`. `None` stands for "not there" if the key is optional,
/// else for "already told what is wrong".
macro_rules! table {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $table:ident as $name:literal {
            $(
                $(#[doc = $key_doc:literal])*
                $key:literal => $field:ident: $ty:ty, $need:expr;
            )+
        }
        $(hints { $($hint:literal => $remedy:literal,)+ })?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        $vis struct $table {
            $( $(#[doc = $key_doc])* $vis $field: Option<$crate::read::At<$ty>>, )+
        }

        impl $crate::read::Table for $table {
            const NAME: &'static str = $name;
            const DOC: &'static [&'static str] = &[$($doc),*];
            const KEYS: &'static [$crate::read::KeySpec] = &[$(
                $crate::read::KeySpec::new::<$ty>($key, $need, &[$($key_doc),*]),
            )+];
            const HINTS: &'static [$crate::read::Hint] = &[$($(($hint, $remedy),)+)?];
        }

        impl schemars::JsonSchema for $table {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $crate::read::schema_name::<Self>()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::read::table_schema::<Self>(generator)
            }
        }

        impl $crate::read::Value for $table {
            fn kind() -> String {
                concat!("a table of ", $name, " keys").to_owned()
            }

            fn remedy_if_missing(_: &str) -> String {
                concat!("add [", $name, "]").to_owned()
            }

            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                generator.subschema_for::<Self>()
            }

            fn read(
                node: &$crate::read::Node<'_, '_>,
                found: &mut $crate::diagnostic::Found<'_>,
            ) -> Option<Self> {
                let keys = $crate::read::Keys::open::<Self>(node, found)?;
                Some(Self {
                    $( $field: keys.get::<$ty>($key, $need, &[$($key_doc),*], found), )+
                })
            }
        }
    };
}
pub(crate) use table;
