//! Rounds of figures, and what is made of them.

use super::perf::Cost;

/// What one packet cost in one round.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PerPacket {
    /// Nanoseconds.
    pub ns: f64,
    /// Cycles.
    pub cycles: f64,
    /// Instructions.
    pub instructions: f64,
    /// Branches predicted wrongly.
    pub branch_misses: f64,
}

impl PerPacket {
    /// The share of one packet of so many.
    #[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
    pub fn of(cost: Cost, packets: u32) -> Self {
        let share = |all: f64| all / f64::from(packets);
        Self {
            ns: share(cost.time.as_secs_f64() * 1e9),
            cycles: share(cost.cycles as f64),
            instructions: share(cost.instructions as f64),
            branch_misses: share(cost.branch_misses as f64),
        }
    }

    /// Without what the same packet costs under another program, in the same round.
    #[must_use]
    pub fn net_of(self, floor: Self) -> Self {
        Self {
            ns: self.ns - floor.ns,
            cycles: self.cycles - floor.cycles,
            instructions: self.instructions - floor.instructions,
            branch_misses: self.branch_misses - floor.branch_misses,
        }
    }
}

/// The best and the middle of several rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// The least: what the packet costs when nobody else is at it.
    pub best: f64,
    /// The median.
    pub median: f64,
}

impl Spread {
    /// Of figures in any order.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let best = sorted.first().copied().unwrap_or_default();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        Self { best, median }
    }
}

/// Columns set under each other, as a table of Markdown.
pub fn markdown(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|cell| cell.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    let rule = |column: usize, width: &usize| match column {
        0 => "-".repeat(*width),
        _ => format!("{}:", "-".repeat(width.saturating_sub(1))),
    };
    let rules: Vec<String> = widths.iter().enumerate().map(|(at, width)| rule(at, width)).collect();
    let mut table = line(&mut head.iter().copied());
    table.push_str(&line(&mut rules.iter().map(String::as_str)));
    for row in rows {
        table.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_and_median_are_those_of_sorted_figures() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { best: 1.0, median: 2.0 });
        assert_eq!(Spread::of([]), Spread::default());
    }

    #[test]
    fn a_table_is_markdown_with_figures_to_the_right() {
        let table = markdown(&["name", "n"], &[vec!["a".into(), "10".into()]]);
        assert_eq!(table, "| name |  n |\n| ---- | -: |\n| a    | 10 |\n");
    }
}
