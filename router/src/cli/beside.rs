//! `tidegate rpki`, `tidegate dump` and `tidegate drops`.

use super::change::folded;
use super::client::{Answer, get, post};
use super::commands::show;
use super::table::{Table, count, span};
use super::{Failure, Read};
use crate::view::Drops;
use crate::view::export::Dump;
use crate::view::rpki::Rpki;

pub(super) async fn rpki(args: Read) -> Result<(), Failure> {
    let answer: Answer<Rpki> = get(&args.node, "/api/v1/rpki").await?;
    show(args.output, &answer, rpki_text)
}

/// What was dropped, and what to do.
pub(super) async fn drops(args: Read) -> Result<(), Failure> {
    let mut answer: Answer<Drops> = get(&args.node, "/api/v1/drops").await?;
    // The most first.
    answer.value.drops.sort_by_key(|row| std::cmp::Reverse(row.packets));
    show(args.output, &answer, drops_text)
}

fn drops_text(drops: &Drops) -> String {
    if drops.drops.is_empty() {
        return "no packet was dropped since the packet path was loaded\n".into();
    }
    let mut text = String::new();
    for row in &drops.drops {
        let meaning = row.help.trim_start_matches("Dropped: ");
        let head = format!("{:>13}  {:<22}", count(row.packets), row.name);
        text += &[head.trim_end(), "\n", &" ".repeat(15), &folded(meaning, &" ".repeat(15)), "\n"]
            .concat();
        if let Some(remedy) = &row.remedy {
            let remedy = folded(remedy, &" ".repeat(18));
            text += &[&" ".repeat(15), "-> ", &*remedy, "\n"].concat();
        }
    }
    text
}

/// Has all routes written into a file.
pub(super) async fn dump(args: Read) -> Result<(), Failure> {
    let answer: Answer<Dump> = post(&args.node, "/api/v1/dump", None::<&()>).await?;
    show(args.output, &answer, |dump| {
        format!("{} prefixes in {} ({} bytes)\n", dump.prefixes, dump.file, dump.bytes)
    })
}

fn rpki_text(rpki: &Rpki) -> String {
    let mut table = Table::new(&["CACHE", "ADDRESS", "STATE", "VRPS", "ANSWERED"], &[3]);
    for cache in &rpki.caches {
        let state = match (cache.up, cache.in_use) {
            (true, true) => "up, in use",
            (true, false) => "up",
            (false, true) => "down, in use",
            (false, false) => "down",
        };
        table.row(vec![
            cache.name.clone(),
            cache.remote.to_string(),
            state.into(),
            cache.vrps.map(|vrps| vrps.to_string()).unwrap_or_default(),
            cache.answered_secs.map_or("never".into(), |secs| format!("{} ago", span(secs))),
        ]);
    }
    let mut text = table.render();
    for cache in &rpki.caches {
        if let Some(problem) = &cache.problem {
            text += &[cache.name.as_str(), ": ", problem, "\n"].concat();
        }
    }
    text + &in_force(rpki)
}

fn in_force(rpki: &Rpki) -> String {
    let (ipv4, ipv6) = (rpki.vrps_ipv4, rpki.vrps_ipv6);
    match rpki.in_use() {
        _ if rpki.caches.is_empty() => "no RPKI cache is configured: add [[rpki-cache]]\n".into(),
        None => "no VRPs are in force: every route is not-found\n".into(),
        Some(_) => format!("in force: {ipv4} VRPs of IPv4 prefixes, {ipv6} of IPv6 prefixes\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_say_what_they_are_and_what_to_do() {
        let row = |name: &str, packets, help: &str, remedy: Option<&str>| crate::view::CounterRow {
            name: name.into(),
            packets,
            help: help.into(),
            remedy: remedy.map(Into::into),
        };
        let drops = Drops {
            api_version: "v1".into(),
            drops: vec![
                row(
                    "drop_no_backend",
                    1_234_567,
                    "Dropped: the service has no backend in this slot.",
                    Some("'tidegate backends' says why none takes traffic"),
                ),
                row("drop_malformed", 3, "Dropped: for a VIP, but cut off.", None),
            ],
        };
        let wanted = "    1,234,567  drop_no_backend
               the service has no backend in this slot.
               -> 'tidegate backends' says why none takes traffic
            3  drop_malformed
               for a VIP, but cut off.
";
        assert_eq!(drops_text(&drops), wanted);
        assert!(drops_text(&Drops::default()).contains("no packet was dropped"));
    }
    use crate::view::rpki::Cache;

    #[test]
    fn caches_stand_in_the_order_of_preference_with_what_ails_them() {
        let cache = |name: &str, up, in_use, problem: Option<&str>| Cache {
            name: name.into(),
            remote: "192.0.2.9:323".parse().unwrap(),
            up,
            in_use,
            vrps: up.then_some(523_456),
            answered: None,
            answered_secs: up.then_some(67),
            problem: problem.map(Into::into),
        };
        let rpki = Rpki {
            vrps_ipv4: 420_000,
            vrps_ipv6: 103_456,
            caches: vec![
                cache("near", false, false, Some("Connection refused (os error 111)")),
                cache("far", true, true, None),
            ],
            ..Rpki::default()
        };
        let expected = "\
CACHE  ADDRESS        STATE         VRPS  ANSWERED
near   192.0.2.9:323  down                never
far    192.0.2.9:323  up, in use  523456  1m07s ago
near: Connection refused (os error 111)
in force: 420000 VRPs of IPv4 prefixes, 103456 of IPv6 prefixes
";
        assert_eq!(rpki_text(&rpki), expected);
        let none = rpki_text(&Rpki::default());
        assert!(none.ends_with("add [[rpki-cache]]\n"), "{none}");
    }
}
