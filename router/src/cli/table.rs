//! Aligned columns and times as operators read them.

/// Rows of cells under a header, columns as wide as their widest cell.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns that are aligned to the right: numbers.
    right: &'static [usize],
}

impl Table {
    pub(super) fn new(header: &[&str], right: &'static [usize]) -> Self {
        Self { rows: vec![header.iter().map(|&cell| cell.to_owned()).collect()], right }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn render(&self) -> String {
        self.rendered(has_colours())
    }

    fn rendered(&self, colours: bool) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                let padded = if self.right.contains(&column) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                };
                match colour(cell).filter(|_| colours) {
                    // Round the word and not the room beside it.
                    Some(code) => padded.replace(cell, &format!("\x1b[{code}m{cell}\x1b[0m")),
                    None => padded,
                }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        self.rows.iter().map(line).collect()
    }
}

/// Whether standard output is somebody's terminal who has not said no (no-color.org).
fn has_colours() -> bool {
    use std::io::IsTerminal as _;
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty())
}

/// The colour of a state (ECMA-48, SGR): green for what is well, yellow for what is under way, red for
/// what is not well.
fn colour(cell: &str) -> Option<&'static str> {
    match cell.trim() {
        "active" | "announced" | "up" | "up, in use" | "Established" => Some("32"),
        "draining" | "disabled" | "unproven" | "withheld" | "shedding" | "emptying" | "drained"
        | "OpenSent" | "OpenConfirm" | "Connect" => Some("33"),
        "down" | "down, in use" | "no-way" | "narrow" | "no-room" | "too-few-healthy"
        | "Active" | "Idle" | "not-attached" | "mtu-too-small" => Some("31"),
        _ => None,
    }
}

/// A span as two units at most: `42s`, `5m07s`, `3h12m`, `9d04h`.
pub(super) fn span(secs: u64) -> String {
    let (minutes, hours, days) = (secs / 60, secs / 3_600, secs / 86_400);
    match secs {
        0..60 => format!("{secs}s"),
        60..3_600 => format!("{minutes}m{:02}s", secs % 60),
        3_600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// A count with thousands set apart, so that seven digits can be read.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_right() {
        let mut table = Table::new(&["NAME", "PACKETS", "STATE"], &[1]);
        table.row(vec!["web".into(), "7".into(), "active".into()]);
        table.row(vec!["dns-anycast".into(), "1,234,567".into(), "down".into()]);
        let expected = "\
NAME           PACKETS  STATE
web                  7  active
dns-anycast  1,234,567  down
";
        assert_eq!(table.render(), expected);
    }

    #[test]
    fn states_have_colours_that_take_no_room() {
        let mut table = Table::new(&["NAME", "STATE", "N"], &[2]);
        table.row(vec!["a".into(), "active".into(), "7".into()]);
        table.row(vec!["b".into(), "down".into(), "8".into()]);
        let wanted = "\
NAME  STATE   N
a     \x1b[32mactive\x1b[0m  7
b     \x1b[31mdown\x1b[0m    8
";
        assert_eq!(table.rendered(true), wanted);
        assert_eq!(table.rendered(false), "NAME  STATE   N\na     active  7\nb     down    8\n");
    }

    #[test]
    fn spans_and_counts_read_easily() {
        let spans = [(0, "0s"), (59, "59s"), (67, "1m07s"), (3_600, "1h00m"), (100_000, "1d03h")];
        for (secs, text) in spans {
            assert_eq!(span(secs), text);
        }
        let counts = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        for (number, text) in counts {
            assert_eq!(count(number), text);
        }
    }
}
