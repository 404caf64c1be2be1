//! TOML's own rules.

use toml::de::DeTable;

use crate::FILE_BYTES_MAX;
use crate::diagnostic::Found;

/// The document, or `None` if it is not TOML. A key that stands there twice does not make the rest
/// unreadable: it is told, and the first one counts.
pub(crate) fn parse<'t>(text: &'t str, found: &mut Found<'_>) -> Option<DeTable<'t>> {
    if text.len() > FILE_BYTES_MAX {
        let sentence = format!("{} bytes are more than {FILE_BYTES_MAX}", text.len());
        found.error(&(0..0), "", sentence, "split the node's services over more nodes");
        return None;
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut readable = true;
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        let repeated = error.message() == "duplicate key";
        readable &= repeated;
        found.error(&span, "", describe(error.message()), remedy(error.message()));
    }
    readable.then(|| document.into_inner())
}

fn describe(message: &str) -> String {
    match message {
        "duplicate key" => "this key stands here a second time".to_owned(),
        other => format!("this is not TOML: {other}"),
    }
}

fn remedy(message: &str) -> &'static str {
    if message == "duplicate key" {
        "remove one of them"
    } else if message.starts_with("string values must be quoted") {
        "put the value in double quotes; the rest is checked once this is right"
    } else {
        "correct this line; the rest is checked once it is right"
    }
}
