//! Removes secrets: those that are known wherever they stand, and from a configuration whatever has
//! the name of a secret, and what people write beside it.

/// What stands in the place of a secret.
const REMOVED: &str = "(removed)";

/// A shorter one would take half of every text with it, and is none.
const SECRET_BYTES_MIN: usize = 4;

/// Words of a key's name by which its value is a secret.
const SECRET_WORDS: [&str; 11] = [
    "password",
    "passphrase",
    "secret",
    "token",
    "tokens",
    "key",
    "keys",
    "psk",
    "credential",
    "credentials",
    "community",
];
/// Whole names by which it is: what is sent to ask whether a backend is well may prove who asks.
const SECRET_NAMES: [&str; 3] = ["send", "authorization", "cookie"];

/// Octets that must stand nowhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// These; the longest first, since one may be a part of another.
    pub(crate) fn of(secrets: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let texts = secrets.into_iter().map(|it| String::from_utf8_lossy(&it).trim().to_owned());
        let mut texts: Vec<_> = texts.filter(|text| text.len() >= SECRET_BYTES_MIN).collect();
        texts.sort_by_key(|text| core::cmp::Reverse(text.len()));
        Self(texts)
    }

    /// The text without them.
    pub(crate) fn remove(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, REMOVED))
    }
}

/// A configuration without secrets and without comments, in which people write what they like.
/// Reads TOML by its letters and not by its grammar, so that a file with mistakes is no way out.
pub(crate) fn without_secrets(toml: &str) -> String {
    let mut out = String::with_capacity(toml.len());
    // The name that the next value has: what stood before the last `=`.
    let (mut word, mut name) = (String::new(), String::new());
    let mut rest = toml;
    while let Some(letter) = rest.chars().next() {
        if let Some((value, after)) = string(rest) {
            let is_key = after.trim_start_matches([' ', '\t']).starts_with('=');
            if is_key {
                out += value;
                value.trim_matches(['"', '\'']).clone_into(&mut word);
            } else {
                out += &written(&name, value);
            }
            rest = after;
            continue;
        }
        rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        match letter {
            '#' => {
                rest = rest.find('\n').and_then(|end| rest.get(end..)).unwrap_or_default();
                out.truncate(out.trim_end_matches([' ', '\t']).len());
            }
            '=' => {
                name = core::mem::take(&mut word);
                out.push(letter);
            }
            'A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '_' => {
                word.push(letter);
                out.push(letter);
            }
            ' ' | '\t' => out.push(letter),
            _ => {
                word.clear();
                out.push(letter);
            }
        }
    }
    out
}

/// The string that a text begins with, quotes and all, and what comes behind it.
fn string(text: &str) -> Option<(&str, &str)> {
    for quote in ["\"\"\"", "'''", "\"", "'"] {
        let Some(inside) = text.strip_prefix(quote) else { continue };
        let has_escapes = quote.starts_with('"');
        let is_line = quote.len() == 1;
        let mut at = 0;
        let mut escaped = false;
        for (position, letter) in inside.char_indices() {
            at = position;
            match letter {
                _ if core::mem::take(&mut escaped) => {}
                '\\' if has_escapes => escaped = true,
                '\n' if is_line => break, // It has no end: a mistake of the file.
                _ if inside.get(position..).is_some_and(|rest| rest.starts_with(quote)) => break,
                _ => at = position + letter.len_utf8(),
            }
        }
        let ends = inside.get(at..).is_some_and(|rest| rest.starts_with(quote));
        let end = quote.len() + at + if ends { quote.len() } else { 0 };
        return text.split_at_checked(end);
    }
    None
}

/// A value as it may be shown.
fn written(name: &str, value: &str) -> String {
    let mut words = name.split(['-', '_']);
    // The name of a file is none.
    let is_file = name.ends_with("file") || name.ends_with("files") || name.ends_with("dir");
    let is_secret = SECRET_NAMES.contains(&name) || words.any(|word| SECRET_WORDS.contains(&word));
    if is_secret && !is_file {
        return format!("\"{REMOVED}\"");
    }
    // A path may prove by its query who asks, an address by what stands before its `@`.
    match (name, value.split_once('?')) {
        ("path", Some((path, _query))) => {
            let quote = if value.starts_with('\'') { '\'' } else { '"' };
            format!("{path}?{REMOVED}{quote}")
        }
        _ => match (value.split_once("://"), value.split_once('@')) {
            (Some((scheme, _)), Some((_who, host))) => format!("{scheme}://{REMOVED}@{host}"),
            _ => value.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_keeps_its_form_and_loses_its_secrets() {
        let cases = [
            ("password = \"hunter2\"\n", "password = \"(removed)\"\n"),
            ("password-file = \"/etc/k\"\n", "password-file = \"/etc/k\"\n"),
            ("ca-file = \"/etc/k\" # hunter2\n", "ca-file = \"/etc/k\"\n"),
            ("# the password is hunter2\nasn = 1\n", "\nasn = 1\n"),
            ("api_token='hunter2'", "api_token=\"(removed)\""),
            ("\"key\" = \"hunter2\"", "\"key\" = \"(removed)\""),
            ("tokens = [\"hunter2\", \"hunter2\"]", "tokens = [\"(removed)\", \"(removed)\"]"),
            ("secret = \"\"\"\nhunter2\n\"\"\"\nasn = 1", "secret = \"(removed)\"\nasn = 1"),
            ("secret = \"hunter2\\\" x\"\nasn = 1", "secret = \"(removed)\"\nasn = 1"),
            ("secret = \"hunter2\nasn = 1", "secret = \"(removed)\"\nasn = 1"),
            ("secret = \"hunter2", "secret = \"(removed)\""),
            (
                "health = { type = \"http\", path = \"/h?t=hunter2\", port = 80 }",
                "health = { type = \"http\", path = \"/h?(removed)\", port = 80 }",
            ),
            ("send = \"hunter2\", expect = \"pong\"", "send = \"(removed)\", expect = \"pong\""),
            ("url = \"https://me:hunter2@host/x\"", "url = \"https://(removed)@host/x\""),
            ("keychain = \"core\"\nname = \"a#b\"", "keychain = \"core\"\nname = \"a#b\""),
            ("communities = [\"65001:80\"]", "communities = [\"65001:80\"]"),
            ("[[keychain.key]]\nid = 7\nfile = \"/k\"", "[[keychain.key]]\nid = 7\nfile = \"/k\""),
        ];
        for (toml, wanted) in cases {
            assert_eq!(without_secrets(toml), wanted);
        }
    }

    #[test]
    fn what_is_known_to_be_a_secret_stands_nowhere() {
        let secrets = Secrets::of([b"hunter2".to_vec(), b"hunter22".to_vec(), b"abc".to_vec()]);
        assert_eq!(secrets.remove("hunter22 hunter2 abc"), "(removed) (removed) abc");
    }

    #[test]
    fn any_text_comes_to_an_end() {
        for start in ["\"", "'", "\"\"\"", "'''", "#", "=", "é\"é\\", "\"\\", "'''x''", "\"\n\""]
        {
            for end in ["", "\"", "é", "\\", "\n"] {
                let text = format!("{start}{end}");
                assert!(without_secrets(&text).len() <= text.len() + REMOVED.len() + 2, "{text}");
            }
        }
    }
}
