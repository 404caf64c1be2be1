//! What was changed over the API: peers and services that stand above the file, by name.
//!
//! The file is the operator's and is never written. What the API changes is kept beside it and wins
//! over it until it is dropped, object by object: one that was put stands in the place of the
//! file's of the same name, one that was removed is taken out.

use core::fmt;
use core::net::IpAddr;
use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::{Checked, Diagnostics};

/// What kind of object the API can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `[[peer]]`
    Peer,
    /// `[[service]]`
    Service,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Peer, Self::Service];

    /// The key of its array in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Service => "service",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One object: a peer, a service, or a backend of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// What it is, or what it is within.
    pub kind: Kind,
    /// Its name, or that of the service.
    pub name: String,
    /// The backend, if it is one.
    pub backend: Option<IpAddr>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)?;
        self.backend.map_or(Ok(()), |addr| write!(f, " backend {addr}"))
    }
}

/// What to do with an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Make it this, whether or not it is there.
    Put(serde_json::Value),
    /// Change what the document names (RFC 7396): null takes a key out.
    Patch(serde_json::Value),
    /// Take it out.
    Delete,
}

/// An edit that makes no sense, before anything is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// There is no such object to change or remove.
    NoSuch(Target),
    /// The body is no object of keys and values.
    NotATable(String),
    /// The body names another object than the path.
    OtherName {
        /// The key: `name` or `address`.
        key: &'static str,
        /// What the path says.
        path: String,
    },
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuch(target) => write!(f, "there is no {target}"),
            Self::NotATable(why) => write!(f, "the body must be a JSON object of keys: {why}"),
            Self::OtherName { key, path } => {
                write!(f, "{key} must be {path} as in the path, or left out")
            }
        }
    }
}

impl core::error::Error for EditError {}

/// How an object of the overlay relates to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// The file has none of this name.
    Adds,
    /// It stands in the place of the file's.
    Replaces,
    /// It takes out the file's.
    Removes,
    /// The file says the same: nothing is hidden.
    Nothing,
}

impl Covers {
    /// The word that commands and API print.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Adds => "adds",
            Self::Replaces => "replaces",
            Self::Removes => "removes",
            Self::Nothing => "nothing",
        }
    }
}

/// All that the API changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overlay {
    /// `None`: taken out.
    objects: BTreeMap<(Kind, String), Option<Table>>,
}

impl Overlay {
    /// Whether the file is all there is.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// How many objects it holds.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Reads what [`Self::to_toml`] wrote.
    ///
    /// # Errors
    /// Why it is no overlay, in words.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        let document: Table = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let mut overlay = Self::default();
        for kind in Kind::ALL {
            let Some(objects) = document.get(kind.name()) else { continue };
            let objects = objects.as_table().ok_or("a kind that is no table")?;
            for (name, value) in objects {
                let object = match value {
                    Value::Table(table) => Some(table.clone()),
                    Value::Boolean(false) => None,
                    other => return Err(format!("{kind} {name} is a {}", other.type_str())),
                };
                overlay.objects.insert((kind, name.clone()), object);
            }
        }
        Ok(overlay)
    }

    /// The form in which it is kept: a table per kind, in it each object by name, `false` for one
    /// that is taken out.
    pub fn to_toml(&self) -> String {
        let mut document = Table::new();
        for ((kind, name), object) in &self.objects {
            let of_kind = document.entry(kind.name()).or_insert_with(|| Table::new().into());
            if let Some(of_kind) = of_kind.as_table_mut() {
                let value = object.clone().map_or(Value::Boolean(false), Value::Table);
                of_kind.insert(name.clone(), value);
            }
        }
        document.to_string()
    }

    /// Forgets one object: what the file says of it counts again. False if it is not here.
    pub fn forget(&mut self, kind: Kind, name: &str) -> bool {
        self.objects.remove(&(kind, name.to_owned())).is_some()
    }

    /// Every object, and how it relates to the file's text.
    pub fn covers(&self, file: &str) -> Vec<(Target, Covers)> {
        let document = Document::read(file);
        let covers = |((kind, name), object): (&(Kind, String), &Option<Table>)| {
            let covers = match (object, document.object(*kind, name)) {
                (Some(ours), Some(theirs)) if ours == theirs => Covers::Nothing,
                (Some(_), Some(_)) => Covers::Replaces,
                (Some(_), None) => Covers::Adds,
                (None, Some(_)) => Covers::Removes,
                (None, None) => Covers::Nothing,
            };
            (Target { kind: *kind, name: name.clone(), backend: None }, covers)
        };
        self.objects.iter().map(covers).collect()
    }

    /// The file with what the API changed, as one text.
    pub fn over(&self, file: &str) -> String {
        if self.is_empty() {
            return file.to_owned();
        }
        let mut document = Document::read(file);
        for ((kind, name), object) in &self.objects {
            document.set(*kind, name, object.clone());
        }
        document.0.to_string()
    }

    /// The overlay after an edit of what is in force; what it makes of the file is not checked.
    ///
    /// # Errors
    /// [`EditError`]
    pub fn edited(&self, file: &str, target: &Target, edit: Edit) -> Result<Self, EditError> {
        let Target { kind, name, backend } = target;
        let document = Document::read(file);
        let key = (*kind, name.clone());
        let old = match self.objects.get(&key) {
            Some(object) => object.clone(),
            None => document.object(*kind, name).cloned(),
        };
        let new = match backend {
            None => edit.on(old, "name", name).map_err(|error| error.of(target))?,
            Some(addr) => {
                let service = old.ok_or_else(|| EditError::NoSuch(target.clone()))?;
                Some(edit_backend(service, *addr, edit).map_err(|error| error.of(target))?)
            }
        };
        let mut overlay = self.clone();
        match (new, document.object(*kind, name)) {
            // As the file has it: nothing to remember.
            (Some(new), Some(file)) if new == *file => drop(overlay.objects.remove(&key)),
            (None, None) => drop(overlay.objects.remove(&key)),
            (new, _) => drop(overlay.objects.insert(key, new)),
        }
        Ok(overlay)
    }
}

/// An [`EditError`] of an object that knows its name only.
enum Failed {
    NoSuch,
    Other(EditError),
}

impl Failed {
    fn of(self, target: &Target) -> EditError {
        match self {
            Self::NoSuch => EditError::NoSuch(target.clone()),
            Self::Other(error) => error,
        }
    }
}

impl Edit {
    /// What it makes of an object that is known by a key of this name and value.
    fn on(self, old: Option<Table>, key: &'static str, id: &str) -> Result<Option<Table>, Failed> {
        let json = match (self, old) {
            (Self::Delete | Self::Patch(_), None) => return Err(Failed::NoSuch),
            (Self::Delete, Some(_)) => return Ok(None),
            (Self::Put(body), _) => body,
            (Self::Patch(patch), Some(old)) => {
                let mut body = to_json(&old);
                merge(&mut body, patch);
                body
            }
        };
        let mut table = from_json(json).map_err(Failed::Other)?;
        match table.get(key) {
            None => drop(table.insert(key.to_owned(), id.into())),
            Some(typed) if typed.as_str() == Some(id) => {}
            Some(_) => return Err(Failed::Other(EditError::OtherName { key, path: id.into() })),
        }
        Ok(Some(table))
    }
}

/// A service with one of its backends changed.
fn edit_backend(mut service: Table, addr: IpAddr, edit: Edit) -> Result<Table, Failed> {
    let backends = service.entry("backend").or_insert_with(|| Value::Array(Vec::new()));
    let Some(backends) = backends.as_array_mut() else { return Err(Failed::NoSuch) };
    let is_it = |value: &Value| {
        let typed = value.get("address").and_then(Value::as_str);
        typed.and_then(|typed| typed.parse::<IpAddr>().ok()) == Some(addr)
    };
    let at = backends.iter().position(is_it);
    let old = at.and_then(|at| backends.get(at)).and_then(Value::as_table).cloned();
    let id = old.as_ref().and_then(|old| old.get("address")).and_then(Value::as_str);
    let id = id.map_or_else(|| addr.to_string(), str::to_owned);
    match (edit.on(old, "address", &id)?, at) {
        (Some(new), Some(at)) => {
            if let Some(backend) = backends.get_mut(at) {
                *backend = new.into();
            }
        }
        (Some(new), None) => backends.push(new.into()),
        (None, Some(at)) => drop(backends.remove(at)),
        (None, None) => {}
    }
    Ok(service)
}

/// JSON Merge Patch (RFC 7396).
fn merge(target: &mut serde_json::Value, patch: serde_json::Value) {
    let serde_json::Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = serde_json::Value::Object(serde_json::Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert_with(Default::default), value);
        }
    }
}

fn to_json(table: &Table) -> serde_json::Value {
    serde_json::to_value(table).unwrap_or_default()
}

fn from_json(body: serde_json::Value) -> Result<Table, EditError> {
    serde_json::from_value(body).map_err(|error| EditError::NotATable(error.to_string()))
}

/// A file as tables, without places.
struct Document(Table);

impl Document {
    /// A text that is not TOML has no objects.
    fn read(text: &str) -> Self {
        Self(toml::from_str(text).unwrap_or_default())
    }

    fn objects(&self, kind: Kind) -> impl Iterator<Item = (&str, &Table)> {
        let objects = self.0.get(kind.name()).and_then(Value::as_array).into_iter().flatten();
        objects.filter_map(|object| {
            let object = object.as_table()?;
            Some((object.get("name")?.as_str()?, object))
        })
    }

    fn object(&self, kind: Kind, name: &str) -> Option<&Table> {
        self.objects(kind).find(|(found, _)| *found == name).map(|(_, object)| object)
    }

    fn set(&mut self, kind: Kind, name: &str, object: Option<Table>) {
        let array = self.0.entry(kind.name()).or_insert_with(|| Value::Array(Vec::new()));
        let Some(array) = array.as_array_mut() else { return };
        let is_it = |value: &Value| value.get("name").and_then(Value::as_str) == Some(name);
        match (array.iter().position(is_it), object) {
            (Some(at), Some(object)) => {
                if let Some(place) = array.get_mut(at) {
                    *place = object.into();
                }
            }
            (Some(at), None) => drop(array.remove(at)),
            (None, Some(object)) => array.push(object.into()),
            (None, None) => {}
        }
    }
}

/// Every object of a kind in a text that was found good, as JSON with the keys of the file.
pub fn objects(text: &str, kind: Kind) -> BTreeMap<String, serde_json::Value> {
    let document = Document::read(text);
    document.objects(kind).map(|(name, object)| (name.to_owned(), to_json(object))).collect()
}

/// Checks a file with what the API changed.
///
/// # Errors
/// Every mistake: those of the file, with their places in it; if it has none, those that it has
/// together with what the API changed.
pub fn check_with(name: &str, file: &str, overlay: &Overlay) -> Result<Checked, Diagnostics> {
    let alone = crate::check(name, file)?;
    if overlay.is_empty() {
        return Ok(alone);
    }
    crate::check(&format!("{name} with what the API changed"), &overlay.over(file))
}

#[cfg(test)]
mod tests;
