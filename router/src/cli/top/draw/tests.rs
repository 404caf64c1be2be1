use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::state::Seen;
use super::*;
use crate::view::Vip;
use crate::view::tests::sample;

/// Where the guide shows the screen.
const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide/watching.md");
const MARK: &str = "<!-- the screen, written by the tests of top -->\n```text\n";

fn seen() -> Seen {
    let view = sample();
    Seen { status: view.status, peers: view.peers, vips: view.vips }
}

/// Two seconds after the first answer: some packets later.
fn later() -> Seen {
    let mut later = seen();
    let web = &mut later.vips[0];
    (web.packets, web.bytes) = (web.packets + 24_690, web.bytes + 24_690 * 512);
    let backend = &mut web.backends[0];
    (backend.packets, backend.bytes) = (backend.packets + 24_690, backend.bytes + 24_690 * 512);
    later.status.counters[1].packets = 34;
    later
}

fn top() -> Top {
    let mut top = Top::new(seen());
    top.saw(later(), Duration::from_secs(2));
    top
}

fn drawn(top: &Top, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen(frame, top)).unwrap();
    let buffer = terminal.backend().buffer();
    let lines = buffer.content.chunks(usize::from(width));
    let lines =
        lines.map(|line| line.iter().map(ratatui::buffer::Cell::symbol).collect::<String>());
    lines.map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn press(top: &mut Top, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '\u{8}' => KeyCode::Backspace,
            key => KeyCode::Char(key),
        };
        top.press(KeyEvent::new(code, KeyModifiers::NONE));
    }
}

#[test]
fn the_guide_shows_the_screen_as_it_is() {
    let screen = drawn(&top(), 80, 24);
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    let guide = std::fs::read_to_string(GUIDE).unwrap();
    let (before, rest) = guide.split_once(MARK).unwrap();
    let (shown, after) = rest.split_once("```\n").unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GUIDE, format!("{before}{MARK}{screen}```\n{after}")).unwrap();
    } else {
        assert_eq!(shown, screen, "UPDATE_GOLDEN=1 writes it");
    }
}

#[test]
fn rates_are_of_the_time_between_two_answers() {
    let mut top = Top::new(seen());
    assert!(top.total().is_none());
    assert!(drawn(&top, 80, 24).contains("fwd - p/s"));
    top.saw(later(), Duration::from_secs(2));
    let total = top.total().unwrap();
    assert!((total.packets - 12_345.0).abs() < 0.1, "{total:?}");
    assert_eq!(top.drops(), [("no_service", 34, Some(17.0))]);
    // A daemon that has started anew has no rate yet, and none below zero.
    top.saw(seen(), Duration::from_secs(3));
    assert!(top.rate("web").is_none());
    top.missed("no daemon at /run/x");
    let screen = drawn(&top, 80, 24);
    assert!(screen.contains("NO ANSWER: no daemon at /run/x"), "{screen}");
    assert!(screen.contains("web  192.0.2.10:80/tcp"), "{screen}");
}

#[test]
fn keys_sort_filter_scroll_and_end_it() {
    let mut top = top();
    let services = |top: &Top| -> Vec<String> {
        top.rows()
            .iter()
            .filter(|row| row.backend.is_none())
            .map(|row| row.vip.service.clone())
            .collect()
    };
    assert_eq!(services(&top), ["web", "web-old"]);
    press(&mut top, "ss"); // By state: what is withheld comes first.
    assert_eq!(services(&top), ["web-old", "web"]);
    press(&mut top, "/OLDx");
    assert!(drawn(&top, 80, 24).contains("nothing matches the filter"));
    press(&mut top, "\u{8}\n");
    assert_eq!(services(&top), ["web-old"]);
    press(&mut top, "\u{1b}b");
    assert_eq!((services(&top).len(), top.rows().len()), (2, 2));
    press(&mut top, "jjjjj");
    assert_eq!(top.scrolled, 1);
    press(&mut top, "?");
    assert!(drawn(&top, 80, 24).contains("Any key closes this."));
    press(&mut top, "q");
    assert!(!top.is_over(), "it closes the help");
    press(&mut top, "q");
    assert!(top.is_over());
    let mut top = self::top();
    press(&mut top, "/q");
    assert_eq!(top.filter, "q");
    top.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert!(top.is_over());
}

#[test]
fn any_size_and_any_number_of_services_can_be_drawn() {
    let mut many = later();
    let vip = many.vips[0].clone();
    many.vips = (0..10_000).map(|n| Vip { service: format!("s{n:05}"), ..vip.clone() }).collect();
    let mut top = Top::new(many.clone());
    top.saw(many, Duration::from_secs(1));
    press(&mut top, "b");
    for (width, height) in [(1, 1), (3, 40), (20, 5), (79, 23), (80, 24), (300, 100), (500, 2)] {
        for mode in [Mode::Browse, Mode::Filter, Mode::Help] {
            top.mode = mode;
            drawn(&top, width, height);
        }
    }
    top.mode = Mode::Browse;
    top.press(KeyEvent::new(KeyCode::End, KeyModifiers::NONE));
    let screen = drawn(&top, 80, 24);
    assert!(screen.contains("-> 10.0.0.12") && screen.contains("s09999"), "{screen}");
}

#[test]
fn names_and_reasons_do_not_move_the_cursor() {
    let mut hostile = seen();
    hostile.vips[0].backends[1].reason = Some("\u{1b}[2Jgone\r\n".into());
    hostile.peers[0].name = "a\u{7}\u{9b}b".into();
    let screen = drawn(&Top::new(hostile), 120, 24);
    assert!(screen.lines().all(|line| !line.contains(char::is_control)), "{screen:?}");
    assert!(screen.contains("\u{fffd}[2Jgone"), "{screen}");
}
