//! `tidegate peers NAME`: one peer and its history.

use crate::view::history::PeerDetail;

use super::client::{Answer, get};
use super::commands::show;
use super::node::Node;
use super::table::{Table, count};
use super::{Failure, Output};

pub(super) async fn peer(node: &Node, name: &str, output: Output) -> Result<(), Failure> {
    // What could mean something else in a path is no part of a name.
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-/:%".contains(c);
    if !name.chars().all(fits) {
        return Err(Failure::new(format!("{name:?} cannot be the name of a peer")));
    }
    let answer: Answer<PeerDetail> = get(node, &format!("/api/v1/peers/{name}")).await?;
    show(output, &answer, text)
}

fn text(detail: &PeerDetail) -> String {
    let peer = &detail.peer;
    let mut lines = vec![
        format!("{}  {}, AS {}", peer.name, peer.remote, peer.asn),
        format!("  state      {} since {}", peer.state, peer.since),
        format!("  families   {}", peer.families.join(", ")),
        format!(
            "  prefixes   {} received, {} advertised",
            peer.prefixes_received, peer.prefixes_advertised
        ),
        format!("  flaps      {}", peer.flaps),
    ];
    if !peer.stale_families.is_empty() {
        let families = peer.stale_families.join(", ");
        lines.push(format!("  kept       {families}: routes of before its restart"));
    }
    if let Some(state) = &peer.bfd {
        let detect =
            peer.bfd_detect_us.map(|us| format!(", down after {} ms of silence", us / 1000));
        lines.push(format!("  BFD        {state}{}", detect.unwrap_or_default()));
    }
    lines.extend(peer.last_down.iter().map(|cause| format!("  last down  {cause}")));
    let mut steps = Table::new(&["AT", "FROM", "TO", "EVENT"], &[]);
    for step in &detail.transitions {
        let cells = [&step.at, &step.from, &step.to, &step.event];
        steps.row(cells.map(Clone::clone).to_vec());
    }
    let mut messages = Table::new(&["LAST", "WAY", "TYPE", "MESSAGES", "BYTES"], &[3, 4]);
    let received = detail.received.iter().map(|run| ("in", run));
    let sent = detail.sent.iter().map(|run| ("out", run));
    let mut runs: Vec<_> = received.chain(sent).collect();
    runs.sort_by(|(_, a), (_, b)| a.last.cmp(&b.last));
    for (way, run) in runs {
        let kind = match &run.code {
            Some(code) => format!("{} {code}", run.kind),
            None => run.kind.clone(),
        };
        let (number, bytes) = (count(run.messages), count(run.bytes));
        messages.row(vec![run.last.clone(), way.to_owned(), kind, number, bytes]);
    }
    format!("{}\n\n{}\n{}", lines.join("\n"), steps.render(), messages.render())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::history::{Messages, Step};
    use crate::view::tests::sample;

    #[test]
    fn a_peer_and_its_history_fit_eighty_columns() {
        let at = |secs: u8| format!("2026-11-22T10:00:{secs:02}.123Z");
        let run = |secs, kind: &str, messages, code: Option<&str>| Messages {
            kind: kind.into(),
            first: at(secs),
            last: at(secs),
            messages,
            bytes: messages * 19,
            code: code.map(Into::into),
        };
        let step = |secs, from: &str, to: &str, event: &str| Step {
            at: at(secs),
            connection: Some(1),
            from: from.into(),
            to: to.into(),
            event: event.into(),
        };
        let detail = PeerDetail {
            api_version: "v1".into(),
            peer: sample().peers.remove(1),
            transitions: vec![
                step(1, "OpenConfirm", "Established", "KeepAliveMsg"),
                step(9, "Established", "Idle", "ConnectRetryTimer_Expires"),
            ],
            received: vec![run(1, "OPEN", 1, None), run(9, "NOTIFICATION", 1, Some("6/2"))],
            sent: vec![run(8, "KEEPALIVE", 1_234_567, None)],
        };
        let shown = text(&detail);
        for line in shown.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        let last: Vec<&str> = shown.lines().rev().take(2).collect();
        assert!(last[0].contains("in") && last[0].contains("NOTIFICATION 6/2"), "{shown}");
        assert!(last[1].contains("1,234,567"), "{shown}");
    }
}
