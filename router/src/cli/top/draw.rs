//! The screen of `top`, from what it knows.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use crate::view::Peer;

use super::super::table::{count, span};
use super::state::{Mode, Rate, Row, Top, vip_name, vip_state};

/// Peers shown at most; those that are down come first.
const PEERS_MAX: usize = 4;
/// Reasons of drops shown at most.
const DROPS_MAX: usize = 3;
/// Columns of figures to the right of a name: width of each.
const FIGURES: [usize; 6] = [13, 6, 8, 8, 8, 7];

const GOOD: Color = Color::Green;
const WARN: Color = Color::Yellow;
const BAD: Color = Color::Red;

pub(super) fn screen(frame: &mut Frame<'_>, top: &Top) {
    let width = usize::from(frame.area().width);
    let (peers, drops) = (peer_lines(top, width), drop_lines(top));
    let rows = |lines: &[Line<'_>]| Constraint::Length(u16::try_from(lines.len()).unwrap_or(0));
    let head = head_lines(top);
    let [above, middle, list, below, keys] = Layout::vertical([
        rows(&head),
        rows(&peers),
        Constraint::Min(3),
        rows(&drops),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(head), above);
    frame.render_widget(Paragraph::new(peers), middle);
    frame.render_widget(Paragraph::new(list_lines(top, list)), list);
    frame.render_widget(Paragraph::new(drops), below);
    frame.render_widget(Paragraph::new(key_line(top)), keys);
    if top.mode == Mode::Help {
        help(frame);
    }
}

/// Names come from a configuration and reasons from servers: nothing in them moves the cursor.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// Exactly so wide; what does not fit ends in an ellipsis.
fn fitted(text: &str, width: usize) -> String {
    let text = plain(text);
    if text.chars().count() <= width {
        return format!("{text:<width$}");
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// `1.23k`: three digits and a prefix.
fn short(value: Option<f64>) -> String {
    let Some(mut value) = value else { return "-".into() };
    for prefix in ["", "k", "M", "G"] {
        match value {
            _ if prefix.is_empty() && value < 999.5 => return format!("{value:.0}"),
            0.0..9.995 => return format!("{value:.2}{prefix}"),
            9.995..99.95 => return format!("{value:.1}{prefix}"),
            99.95..999.5 => return format!("{value:.0}{prefix}"),
            _ => value /= 1000.0,
        }
    }
    format!("{value:.0}T")
}

fn head_lines(top: &Top) -> Vec<Line<'static>> {
    let status = &top.seen.status;
    let state = match (&status.problem, status.converged) {
        (Some(problem), _) => Span::styled(format!("NOT CONVERGED: {}", plain(problem)), BAD),
        (None, true) => Span::styled("converged", GOOD),
        (None, false) => Span::styled("converging", WARN),
    };
    let modes = status.interfaces.iter().map(|it| format!("{} {}", plain(&it.name), it.mode));
    let first = Line::from(vec![
        "tidegate ".bold(),
        format!("AS {} {}  ", status.asn, plain(&status.router_id)).into(),
        format!("generation {}  ", status.generation).into(),
        format!("{}  up {}  ", modes.collect::<Vec<_>>().join(", "), span(status.uptime_secs))
            .into(),
        state,
    ]);
    let of = |what: &str, tally: crate::view::Tally| {
        let colour = if tally.up == tally.configured { GOOD } else { WARN };
        Span::styled(format!("{what} {}/{}  ", tally.up, tally.configured), colour)
    };
    let total = top.total();
    let dropped = top.total().map(|_| top.drops().iter().filter_map(|drop| drop.2).sum());
    let second = Line::from(vec![
        of("peers", status.peers),
        of("vips", status.vips),
        of("backends", status.backends),
        format!("fwd {} p/s ", short(total.map(|it| it.packets))).into(),
        format!("{} bit/s  ", short(total.map(|it| it.bytes * 8.0))).into(),
        format!("drop {} p/s", short(dropped)).into(),
    ]);
    let mut lines = vec![first, second];
    if let Some(waiting) = &status.standing.unconfirmed {
        let (left, back_to) = (span(waiting.left_secs), waiting.back_to);
        let words = format!(
            "UNCONFIRMED: back to generation {back_to} in {left}, or run 'tidegate confirm'"
        );
        lines.push(Line::styled(words, WARN));
    }
    if status.config_refused.is_some() {
        lines.push(Line::styled("the last reload was REFUSED: tidegate status says why", BAD));
    }
    if let Some(trouble) = &top.trouble {
        lines.push(Line::styled(format!("NO ANSWER: {}", plain(trouble)), BAD));
    }
    lines
}

fn header(words: String) -> Line<'static> {
    Line::styled(words, Modifier::REVERSED)
}

fn peer_lines(top: &Top, width: usize) -> Vec<Line<'static>> {
    if top.seen.peers.is_empty() {
        return Vec::new();
    }
    let mut peers: Vec<&Peer> = top.seen.peers.iter().collect();
    peers.sort_by_key(|peer| peer.state == "Established");
    let name = width.saturating_sub(50).max(10);
    let head = format!(
        "{:<name$}{:>10}  {:<12}{:>8}{:>9}{:>9}",
        "PEER", "AS", "STATE", "UP/DOWN", "PFXRCD", "PFXSENT"
    );
    let mut lines = vec![header(fitted(&head, width))];
    lines.extend(peers.iter().take(PEERS_MAX).map(|peer| {
        let established = peer.state == "Established";
        let prefixes = |number| if established { count(number) } else { "-".into() };
        Line::from(vec![
            format!("{}{:>10}  ", fitted(&peer.name, name), peer.asn).into(),
            Span::styled(fitted(&peer.state, 12), if established { GOOD } else { BAD }),
            format!(
                "{:>8}{:>9}{:>9}",
                span(peer.since_secs),
                prefixes(peer.prefixes_received),
                prefixes(peer.prefixes_advertised)
            )
            .into(),
        ])
    }));
    if peers.len() > PEERS_MAX {
        lines.push(Line::from(format!("and {} more", count((peers.len() - PEERS_MAX) as u64))));
    }
    lines
}

/// One row of figures under their header, right aligned but for the first.
fn figures(cells: [&str; 6]) -> String {
    let cells = cells.iter().zip(FIGURES).enumerate().map(|(at, (cell, width))| {
        if at == 0 { fitted(cell, width) } else { format!("{cell:>width$}") }
    });
    cells.collect()
}

fn list_lines(top: &Top, area: Rect) -> Vec<Line<'static>> {
    let width = usize::from(area.width);
    let name = width.saturating_sub(FIGURES.iter().sum::<usize>() + 1).max(12);
    let rows = top.rows();
    let head = fitted("SERVICE", name + 1)
        + &figures(["STATE", "WEIGHT", "SHARE", "PKT/S", "BIT/S", "SINCE"]);
    let mut lines = vec![header(fitted(&head, width))];
    let room = usize::from(area.height).saturating_sub(1);
    // The last page is a full one.
    let above = top.scrolled.min(rows.len().saturating_sub(room));
    lines.extend(rows.iter().skip(above).take(room).map(|row| row_line(top, row, name)));
    if rows.is_empty() {
        let words =
            if top.filter.is_empty() { "no services" } else { "nothing matches the filter" };
        lines.push(Line::from(words));
    }
    lines
}

fn row_line(top: &Top, row: &Row<'_>, name: usize) -> Line<'static> {
    let vip = row.vip;
    let rates = |rate: Option<Rate>| {
        (short(rate.map(|it| it.packets)), short(rate.map(|it| it.bytes * 8.0)))
    };
    match row.backend {
        None => {
            let (packets, bits) = rates(top.rate(&vip.service));
            let active = vip.backends.iter().filter(|it| it.state == "active").count();
            let colour = match () {
                () if !vip.announced => BAD,
                () if active < vip.backends.len() || vip.drain.is_some() => WARN,
                () => GOOD,
            };
            let title = fitted(&format!("{}  {}", vip.service, vip_name(vip)), name);
            let active = format!("{active}/{}", vip.backends.len());
            let cells =
                figures([vip_state(vip), "", &active, &packets, &bits, &span(vip.since_secs)]);
            coloured(title.bold(), &cells, colour)
        }
        Some(backend) => {
            let (packets, bits) = rates(top.backend_rate(&vip.service, backend));
            let reason = backend.reason.as_deref().unwrap_or_default();
            let title = fitted(&format!("  -> {}  {reason}", backend.address), name);
            let share = format!("{}.{:02}%", backend.share / 100, backend.share % 100);
            let weight = backend.weight.to_string();
            let since = span(backend.since_secs);
            let cells = figures([&backend.state, &weight, &share, &packets, &bits, &since]);
            let colour = match backend.state.as_str() {
                "active" => GOOD,
                "draining" | "disabled" => WARN,
                _ => BAD,
            };
            coloured(title.into(), &cells, colour)
        }
    }
}

/// The state has a colour, the figures have none.
fn coloured(title: Span<'static>, cells: &str, colour: Color) -> Line<'static> {
    let state: String = cells.chars().take(FIGURES[0]).collect();
    let rest: String = cells.chars().skip(FIGURES[0]).collect();
    Line::from(vec![title, " ".into(), Span::styled(state, colour), rest.into()])
}

fn drop_lines(top: &Top) -> Vec<Line<'static>> {
    let drops = top.drops();
    let rate = |rate: Option<f64>| if rate.is_some() { short(rate) + "/s" } else { String::new() };
    let words = drops.iter().take(DROPS_MAX).map(|&(reason, packets, per_sec)| {
        format!("{reason} {} {}", count(packets), rate(per_sec)).trim_end().to_owned()
    });
    let words: Vec<String> = words.collect();
    let more = drops.len().saturating_sub(DROPS_MAX);
    let more = if more > 0 { format!(", {more} more") } else { String::new() };
    let words = if words.is_empty() { "none".to_owned() } else { words.join(", ") + &more };
    vec![Line::from(vec!["drops: ".bold(), words.into()])]
}

fn key_line(top: &Top) -> Line<'static> {
    if top.mode == Mode::Filter {
        return Line::from(vec![
            "filter: ".bold(),
            plain(&top.filter).into(),
            Span::styled(" ", Modifier::REVERSED),
            "  Enter keeps it, Esc drops it".into(),
        ]);
    }
    let filter = match top.filter.as_str() {
        "" => "filter".to_owned(),
        filter => format!("filter: {}", plain(filter)),
    };
    let keys = [
        ("q", "quit".to_owned()),
        ("s", format!("sort: {}", top.sort.name())),
        ("b", if top.backends { "no backends".into() } else { "backends".into() }),
        ("/", filter),
        ("↑↓", "scroll".into()),
        ("?", "help".into()),
    ];
    let words = keys.into_iter().flat_map(|(key, what)| {
        [Span::styled(key, Style::new().bold()), format!(" {what}   ").into()]
    });
    Line::from(words.collect::<Vec<_>>())
}

const HELP: &str = "\
q, Ctrl-C    quit
s            order by name, rate, state
b            with or without backends
/            filter by name, address, state
             Enter keeps it, Esc drops it
Up, Down     scroll; PgUp, PgDn, Home, End

Rates are of the time between two answers
of the daemon, - where there was one only.

Any key closes this.";

fn help(frame: &mut Frame<'_>) {
    let [wide, high] = [46, 13];
    let area = frame.area();
    let (wide, high) = (wide.min(area.width), high.min(area.height));
    let place =
        Rect { x: (area.width - wide) / 2, y: (area.height - high) / 2, width: wide, height: high };
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(" Keys ");
    frame.render_widget(Paragraph::new(HELP).block(block), place);
}

#[cfg(test)]
mod tests;
