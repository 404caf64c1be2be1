//! `tidegate.toml`: from what was typed to what is wanted, with every mistake at once.
//!
//! Pure: text goes in, [`Desired`] or [`Diagnostics`] come out. Reading the file, and those it
//! names, is the caller's matter.
//!
//! Two stages. `raw` is the file as typed, each value with its place; it is also the source of the
//! JSON Schema and of `docs/reference/config.md`. `check` makes [`Desired`] of it. Neither stops at
//! a mistake.
//!
//! Promise: any text is answered, in time and memory that its length bounds.

#![forbid(unsafe_code)]

pub mod change;
pub mod desired;
pub mod overlay;

mod check;
mod diagnostic;
mod impact;
mod raw;
mod read;
mod reference;
mod syntax;
mod value;

pub use desired::Desired;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use impact::Impact;
pub use reference::{json_schema, reference};

use diagnostic::Found;
use raw::File;
use read::{Node, Value};
use toml::de::{DeTable, DeValue};

/// Bytes of the largest file that is read: room for as many services as the packet path holds.
pub const FILE_BYTES_MAX: usize = 8 << 20;

/// A file that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What it wants.
    pub desired: Desired,
    /// What may not have been meant, though it is possible.
    pub warnings: Diagnostics,
}

/// Checks the text of a file; `file_name` is for the diagnostics.
///
/// # Errors
/// Every mistake in the file, and its warnings. A file that is not TOML is told about its syntax
/// alone.
pub fn check(file_name: &str, text: &str) -> Result<Checked, Diagnostics> {
    let mut found = Found::new(file_name, text);
    let desired = read(text, &mut found);
    match desired {
        Some(desired) if !found.has_errors() => {
            Ok(Checked { desired, warnings: found.into_diagnostics() })
        }
        Some(_) | None => Err(found.into_diagnostics()),
    }
}

/// Where a file wants its daemon to keep state, as far as it can be read: one with mistakes too.
pub fn state_dir(text: &str) -> Option<std::path::PathBuf> {
    let (document, _errors) = DeTable::parse_recoverable(text);
    let router = document.get_ref().get("router")?.get_ref().as_table()?;
    let dir = router.get("state-dir")?.get_ref().as_str()?;
    Some(dir.into())
}

fn read(text: &str, found: &mut Found<'_>) -> Option<Desired> {
    let table = syntax::parse(text, found)?;
    let value = DeValue::Table(table);
    let file = File::read(&Node { value: &value, span: 0..0, key: String::new() }, found)?;
    let desired = check::desired(&file, found);
    // After an error it may be that what is missing was misspelt.
    if !found.has_errors() {
        warn_of_nothing_to_do(&file, found);
    }
    desired
}

/// A node without peers or services is possible: it may be about to get them.
fn warn_of_nothing_to_do(file: &File, found: &mut Found<'_>) {
    if file.peers.as_ref().is_some_and(|peers| peers.value.0.typed == 0) {
        let sentence = "there is no peer: no VIP is announced to anybody";
        found.warning(&(0..0), "peer", sentence, "add [[peer]]");
    }
    if file.services.as_ref().is_some_and(|services| services.value.0.typed == 0) {
        let sentence = "there is no service: every packet is left to the kernel";
        found.warning(&(0..0), "service", sentence, "add [[service]]");
    }
}

#[cfg(test)]
mod tests;
