//! What is wrong with a file, told so that it can be put right: place, key, sentence, remedy.

use core::fmt;
use core::ops::Range;
use std::error::Error;

/// Diagnostics that are kept of one file; the rest are counted.
const KEPT_MAX: usize = 1000;
/// Diagnostics that are written out; the rest are counted.
const SHOWN_MAX: usize = 100;
/// Characters of a line of output.
const WIDTH: usize = 100;
/// Characters of what was typed that a sentence repeats.
const QUOTE_MAX: usize = 60;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted, but is perhaps not what was meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One mistake in a configuration file.
///
/// `Display` writes it as plain text in lines of at most 100 characters, without a final newline:
/// ```text
/// tidegate.toml:12:10: error: service.web.backend[2].weight: 2000 is more than 1000
///    |
/// 12 | weight = 2000
///    |          ^^^^
///    = write 0 to 1000
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stops the file from being used.
    pub severity: Severity,
    /// The file as the caller named it.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The key, such as `service.web.backend[2].weight`; objects in an array are counted from 1.
    /// Empty when it concerns the file as a whole or its syntax.
    pub key: String,
    /// What is wrong: lower case, no full stop.
    pub sentence: String,
    /// What to do about it.
    pub remedy: String,
    /// The part of the line that is shown.
    excerpt: Excerpt,
}

/// A part of a line, without anything a terminal would obey, and what is marked in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    text: String,
    /// Characters before the mark.
    before: usize,
    /// Characters marked, at least one.
    marked: usize,
}

impl Excerpt {
    /// As much of `line` around the mark as fits beside the line's number.
    fn new(line: &str, before: usize, marked: usize, width: usize) -> Self {
        let fits = before + marked.clamp(1, width / 2) <= width;
        let skipped = if fits { 0 } else { before - width / 2 };
        let text: String = line.chars().skip(skipped).take(width).map(shown).collect();
        let before = before - skipped;
        let marked = marked.min(text.chars().count().saturating_sub(before)).max(1);
        Self { text: text.trim_end().to_owned(), before, marked }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, file, line, column, key, sentence, remedy, .. } = self;
        let file: String = file.chars().map(shown).collect();
        let colon = if key.is_empty() { "" } else { ": " };
        let head = format!("{file}:{line}:{column}: {severity}: {key}{colon}{sentence}");
        f.write_str(&wrap(&head, "", "    "))?;

        let gutter = line.to_string().len();
        let Excerpt { text, before, marked } = &self.excerpt;
        let gap = if text.is_empty() { "" } else { " " };
        write!(f, "\n{:gutter$} |\n{line} |{gap}{text}", "")?;
        write!(f, "\n{:gutter$} | {:before$}{:^<marked$}\n", "", "", "")?;
        let indent = format!("{:gutter$} = ", "");
        f.write_str(&wrap(remedy, &indent, &" ".repeat(indent.len())))
    }
}

/// Everything found wrong with a file, in the order of the file.
///
/// `Display` writes up to 100 of them, and how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    kept: Vec<Diagnostic>,
    total: usize,
}

impl Diagnostics {
    /// Those that were kept: at most 1000.
    pub fn iter(&self) -> core::slice::Iter<'_, Diagnostic> {
        self.kept.iter()
    }

    /// How many there are, those that were not kept included.
    pub const fn len(&self) -> usize {
        self.total
    }

    /// Whether nothing was found.
    pub const fn is_empty(&self) -> bool {
        self.total == 0
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = core::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.kept.iter().take(SHOWN_MAX).enumerate() {
            let gap = if index == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{diagnostic}")?;
        }
        match self.total.saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\n\nand {more} more"),
        }
    }
}

impl Error for Diagnostics {}

/// Collects what is found while a file is read and checked.
pub(crate) struct Found<'t> {
    file: &'t str,
    text: &'t str,
    /// Byte offset of the start of each line.
    lines: Vec<usize>,
    kept: Vec<(Range<usize>, Diagnostic)>,
    errors: usize,
    warnings: usize,
}

impl<'t> Found<'t> {
    pub(crate) fn new(file: &'t str, text: &'t str) -> Self {
        let starts = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = core::iter::once(0).chain(starts).collect();
        Self { file, text, lines, kept: Vec::new(), errors: 0, warnings: 0 }
    }

    pub(crate) fn error(
        &mut self,
        span: &Range<usize>,
        key: &str,
        sentence: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.errors += 1;
        self.keep(Severity::Error, span, key, sentence.into(), remedy.into());
    }

    pub(crate) fn warning(
        &mut self,
        span: &Range<usize>,
        key: &str,
        sentence: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.warnings += 1;
        self.keep(Severity::Warning, span, key, sentence.into(), remedy.into());
    }

    pub(crate) const fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether something was found about this key.
    pub(crate) fn has_told_of(&self, key: &str) -> bool {
        self.kept.iter().any(|(_, diagnostic)| diagnostic.key == key)
    }

    /// The number of the line that holds this byte, from 1.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset).max(1)
    }

    pub(crate) fn into_diagnostics(mut self) -> Diagnostics {
        self.kept.sort_by_key(|(span, diagnostic)| (span.start, diagnostic.severity));
        Diagnostics {
            kept: self.kept.into_iter().map(|(_, diagnostic)| diagnostic).collect(),
            total: self.errors + self.warnings,
        }
    }

    fn keep(
        &mut self,
        severity: Severity,
        span: &Range<usize>,
        key: &str,
        sentence: String,
        remedy: String,
    ) {
        if self.kept.len() >= KEPT_MAX {
            return;
        }
        let line = self.line_of(span.start);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let source = self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or("");
        let count = |range| self.text.get(range).map_or(0, |text: &str| text.chars().count());
        let before = count(start..span.start);
        let marked = count(span.start..span.end.min(start + source.len()));
        let width = WIDTH - line.to_string().len() - 3;
        let diagnostic = Diagnostic {
            severity,
            file: self.file.to_owned(),
            line,
            column: before + 1,
            key: key.to_owned(),
            sentence,
            remedy,
            excerpt: Excerpt::new(source, before, marked, width),
        };
        self.kept.push((span.clone(), diagnostic));
    }
}

/// What was typed, in quotes, escaped and cut, for a sentence.
pub(crate) fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTE_MAX) {
        Some((cut, _)) => format!("{:?}…", text.get(..cut).unwrap_or("")),
        None => format!("{text:?}"),
    }
}

/// A blank for what would move the cursor or change the direction of the text.
fn shown(c: char) -> char {
    let plain = matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1;
    if plain { c } else { ' ' }
}

/// Breaks at blanks into lines of at most [`WIDTH`] characters; a longer word is cut.
fn wrap(text: &str, first: &str, indent: &str) -> String {
    let mut out = first.to_owned();
    let mut column = first.chars().count();
    let mut fresh = true;
    for word in text.split(' ') {
        let len = word.chars().count();
        if !fresh && column + 1 + len > WIDTH {
            out.push('\n');
            out.push_str(indent);
            column = indent.len();
        } else if !fresh {
            out.push(' ');
            column += 1;
        }
        for c in word.chars() {
            if column == WIDTH {
                out.push('\n');
                out.push_str(indent);
                column = indent.len();
            }
            out.push(c);
            column += 1;
        }
        fresh = false;
    }
    out
}

/// The known word that was probably meant: in the other spelling, or a few letters away.
pub(crate) fn did_you_mean<'w>(
    typed: &str,
    words: impl Iterator<Item = &'w str> + Clone,
) -> Option<&'w str> {
    // Long words cost quadratic time and are nobody's slip.
    if typed.len() > QUOTE_MAX {
        return None;
    }
    let typed = typed.to_lowercase().replace(['_', ' '], "-");
    if let Some(word) = words.clone().find(|word| *word == typed) {
        return Some(word);
    }
    words
        .map(|word| (strsim::damerau_levenshtein(&typed, word), word))
        .filter(|(distance, word)| *distance <= 1 + word.len() / 5 && *distance < word.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}
