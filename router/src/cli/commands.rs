//! What each verb does and how its answer is laid out.

use std::io::Write as _;
use std::path::Path;

use crate::lock::Lock;
use crate::view::change::Standing;
use crate::view::export::Station;
use crate::view::upgrade::TakenOver;
use crate::view::{Backend, Backends, Peer, Peers, Status, Tally, Vip, Vips, service_name};

use super::change::{covers_words, folded};
use super::client::{Answer, get, get_all};
use super::node::Node;
use super::table::{Table, count, span};
use super::{Failure, Output};

/// Standard output, in one write; a reader that has gone away is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    match write!(out, "{text}{newline}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The same without an end of line.
pub(super) fn print_as_is(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(super) fn check(file: &Path) -> Result<(), Failure> {
    let config = crate::config_file::read(file).map_err(|error| Failure::config(&error))?;
    let desired = &config.desired;
    let warnings = &config.warnings;
    let gap = if warnings.is_empty() { "" } else { "\n\n" };
    print(&format!(
        "{warnings}{gap}{}: good: {} peers, {} services, {} backends",
        file.display(),
        desired.peers.len(),
        desired.services.len(),
        desired.services.values().map(|service| service.backends.len()).sum::<usize>(),
    ))
}

pub(super) fn detach(file: &Path) -> Result<(), Failure> {
    let config = crate::config_file::read(file).map_err(|error| Failure::config(&error))?;
    let pin_dir = &config.desired.router.pin_dir;
    // A living daemon would go on announcing what nothing forwards any more.
    let _lock = Lock::take_existing(pin_dir).map_err(Failure::new)?;
    let removed = crate::bpf_io::detach(pin_dir).map_err(Failure::new)?;
    let what = if removed { "removed the packet path that was" } else { "nothing is" };
    print(&format!("{what} pinned under {}", pin_dir.display()))
}

pub(super) async fn status(node: &Node, output: Output) -> Result<(), Failure> {
    let answer: Answer<Status> = get(node, "/api/v1/status").await?;
    show(output, &answer, status_text)
}

pub(super) async fn peers(node: &Node, output: Output) -> Result<(), Failure> {
    let answer: Answer<Peers> = get(node, "/api/v1/peers").await?;
    show(output, &answer, if output == Output::Wide { peers_wide } else { peers_text })
}

pub(super) async fn vips(node: &Node, output: Output) -> Result<(), Failure> {
    let answer: Answer<Vips> = get_all(node, "/api/v1/vips", "vips").await?;
    show(output, &answer, vips_text)
}

pub(super) async fn backends(node: &Node, output: Output) -> Result<(), Failure> {
    let answer: Answer<Backends> = get_all(node, "/api/v1/backends", "backends").await?;
    show(output, &answer, if output == Output::Wide { backends_wide } else { backends_text })
}

pub(super) fn show<T: serde::Serialize>(
    output: Output,
    answer: &Answer<T>,
    text: fn(&T) -> String,
) -> Result<(), Failure> {
    match output {
        Output::Table | Output::Wide => print(&text(&answer.value)),
        Output::Json => print(&pretty(&answer.text)),
        Output::Yaml => print(&yaml(&answer.text)?),
    }
}

/// The same in YAML.
fn yaml(text: &str) -> Result<String, Failure> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(Failure::new)?;
    Ok(super::yaml::of(&value))
}

/// The API's own bytes, indented, fields that this tool does not know included.
fn pretty(text: &str) -> String {
    serde_json::from_str::<serde_json::Value>(text)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_not_json| text.to_owned())
}

fn status_text(status: &Status) -> String {
    let mut lines = vec![
        format!("tidegate {}, up {}", status.version, span(status.uptime_secs)),
        format!("  router     AS {}, id {}", status.asn, status.router_id),
        format!("  config     {}, generation {}", status.config_file, status.generation),
        format!("  peers      {} of {} established", status.peers.up, status.peers.configured),
        format!("  vips       {} of {} announced", status.vips.up, status.vips.configured),
        format!("  backends   {} of {} active", status.backends.up, status.backends.configured),
    ];
    if let Some(TakenOver { sessions, paused_millis }) = status.taken_over {
        let gone_on = format!("{sessions} taken over, which stood still for {paused_millis} ms");
        lines.push(format!("  sessions   {gone_on}"));
    }
    if status.rpki_caches.configured > 0 {
        let Tally { up, configured } = status.rpki_caches;
        lines.push(format!("  rpki       {up} of {configured} caches answer"));
    }
    lines.extend(status.stations.iter().map(station_line));
    if let Some(open) = status.nat_connections {
        let (open, most) = (count(open), count(tidegate_abi::NAT_FLOWS_MAX.into()));
        lines.push(format!("  nat        {open} connections, {most} at most"));
    }
    if let Some(files) = status.mrt.filter(|files| files.dropped > 0) {
        let (records, dropped) = (files.records, files.dropped);
        lines.push(format!("  mrt        {records} records written, {dropped} LOST"));
    }
    for interface in &status.interfaces {
        let note = interface.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        lines.push(format!("  interface  {} {}{note}", interface.name, interface.mode));
    }
    if let Some(refused) = &status.config_refused {
        lines.push("  reload     REFUSED, the old configuration is in force:".into());
        lines.extend(refused.lines().map(|line| format!("             {line}").trim_end().into()));
    }
    for warning in &status.warnings {
        lines.push(format!("  warning    {}", folded(warning, "             ")));
    }
    for drain in &status.drains {
        let line = format!("{}: {}", drain.what, super::drain::words(drain));
        lines.push(format!("  drain      {}", folded(&line, "             ")));
    }
    lines.extend(standing_lines(&status.standing));
    match (&status.problem, status.converged) {
        (Some(problem), _) => lines.push(format!("  state      NOT CONVERGED: {problem}")),
        (None, false) => lines.push("  state      converging".into()),
        (None, true) => lines.push("  state      converged".into()),
    }
    let mut table = Table::new(&["PACKETS", "VERDICT", "MEANING"], &[0]);
    for row in status.counters.iter().filter(|row| row.packets > 0) {
        table.row(vec![count(row.packets), row.name.clone(), row.help.trim().to_owned()]);
    }
    format!("{}\n\n{}", lines.join("\n"), table.render())
}

/// A BMP station, in a line.
fn station_line(station: &Station) -> String {
    let (name, since) = (&station.name, span(station.since_secs));
    match &station.problem {
        _ if station.up => {
            format!("  bmp        {name} up for {since}, {} bytes sent", count(station.sent_bytes))
        }
        Some(problem) => format!("  bmp        {name} DOWN for {since}: {problem}"),
        None => format!("  bmp        {name} connecting"),
    }
}

/// What is special about the configuration in force, if anything is.
fn standing_lines(standing: &Standing) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(waiting) = &standing.unconfirmed {
        let (left, back_to) = (span(waiting.left_secs), waiting.back_to);
        lines.push(format!(
            "  change     UNCONFIRMED: back to generation {back_to} in {left} unless you run"
        ));
        lines.push("             'tidegate confirm'".into());
    }
    if let Some(undone) = &standing.undone {
        lines.push(format!("  change     UNDONE: {}", folded(undone, "             ")));
    }
    for covered in &standing.overlay {
        let words = covers_words(&covered.covers);
        lines.push(format!("  api        changed {}: {words}", covered.object));
    }
    if let Some(problem) = &standing.state_problem {
        lines.push(format!("  state dir  UNUSABLE: {}", folded(problem, "             ")));
    }
    lines
}

/// Columns that network engineers read without thinking.
const PEER_COLUMNS: [&str; 9] =
    ["NEIGHBOR", "ADDRESS", "AS", "MSGRCVD", "MSGSENT", "INQ", "OUTQ", "UP/DOWN", "STATE/PFXRCD"];

/// What stands in them; where the peer is, as one reads it there.
fn peer_row(peer: &Peer, address: String) -> Vec<String> {
    let established = peer.state == "Established";
    vec![
        peer.name.clone(),
        address,
        peer.asn.to_string(),
        peer.messages_received.to_string(),
        peer.messages_sent.to_string(),
        peer.queued_received_bytes.to_string(),
        peer.queued_to_send_bytes.to_string(),
        span(peer.since_secs),
        if established { peer.prefixes_received.to_string() } else { peer.state.clone() },
    ]
}

fn peers_text(answer: &Peers) -> String {
    let mut table = Table::new(&PEER_COLUMNS, &[2, 3, 4, 5, 6, 8]);
    for peer in &answer.peers {
        table.row(peer_row(peer, peer.remote.ip().to_string()));
    }
    let mut text = table.render();
    for peer in answer.peers.iter().filter(|peer| peer.state != "Established") {
        if let Some(cause) = &peer.last_down {
            text += &[peer.name.as_str(), ": last down: ", cause, "\n"].concat();
        }
    }
    text
}

/// With what few people need.
fn peers_wide(answer: &Peers) -> String {
    let more = ["PFXSENT", "ROUTER-ID", "HOLD", "BFD", "FLAPS", "FAMILIES"];
    let header = [&PEER_COLUMNS[..], &more].concat();
    let mut table = Table::new(&header, &[2, 3, 4, 5, 6, 8, 9, 11, 13]);
    for peer in &answer.peers {
        let established = peer.state == "Established";
        let mut row = peer_row(peer, peer.remote.to_string());
        row.extend([
            if established { peer.prefixes_advertised.to_string() } else { "-".into() },
            peer.router_id.clone().unwrap_or_else(|| "-".into()),
            peer.hold_time_secs.map_or_else(|| "-".into(), |secs| format!("{secs}s")),
            peer.bfd.clone().unwrap_or_else(|| "-".into()),
            peer.flaps.to_string(),
            if peer.families.is_empty() { "-".into() } else { peer.families.join(",") },
        ]);
        table.row(row);
    }
    table.render()
}

/// With what few people need.
fn backends_wide(answer: &Backends) -> String {
    let header = [
        "SERVICE", "BACKEND", "STATE", "WEIGHT", "SHARE", "PACKETS", "BYTES", "OPEN", "SINCE",
        "REASON",
    ];
    let mut table = Table::new(&header, &[3, 4, 5, 6, 7]);
    for row in &answer.backends {
        let backend = &row.backend;
        table.row(vec![
            row.service.clone(),
            backend.address.to_string(),
            backend.state.clone(),
            backend.weight.to_string(),
            share(backend),
            count(backend.packets),
            count(backend.bytes),
            backend.connections.map_or_else(|| "-".into(), count),
            span(backend.since_secs),
            backend.reason.clone().unwrap_or_default(),
        ]);
    }
    table.render()
}

fn vips_text(answer: &Vips) -> String {
    let header = ["SERVICE", "VIP", "STATE", "WEIGHT", "SHARE", "PACKETS", "SINCE"];
    let mut table = Table::new(&header, &[3, 4, 5, 6]);
    for vip in &answer.vips {
        table.row(vec![
            vip.service.clone(),
            vip_name(vip),
            vip_state(vip),
            String::new(),
            String::new(),
            count(vip.packets),
            span(vip.since_secs),
        ]);
        for backend in &vip.backends {
            table.row(vec![
                String::new(),
                format!("  -> {}", backend.address),
                backend.state.clone(),
                backend.weight.to_string(),
                share(backend),
                count(backend.packets),
                span(backend.since_secs),
            ]);
        }
    }
    let mut text = table.render();
    for vip in &answer.vips {
        if let Some(reason) = &vip.reason_text {
            let held = match vip.held_down_secs {
                Some(secs) => format!("; works again, held down for {} more", span(secs)),
                None => String::new(),
            };
            text += &[vip.service.as_str(), ": not announced: ", reason, &held, "\n"].concat();
        }
        if vip.rpki.as_deref() == Some("invalid") {
            text += &[
                vip.service.as_str(),
                ": RPKI: your VIP is invalid, peers that validate drop it\n",
            ]
            .concat();
        }
        if vip.fails_open {
            text +=
                &[vip.service.as_str(), ": fail-open: the checks of all backends fail\n"].concat();
        }
    }
    text
}

fn backends_text(answer: &Backends) -> String {
    // A column for those in NAT, if there are any.
    let has_nat = answer.backends.iter().any(|row| row.backend.connections.is_some());
    let with_nat = |cells: &mut Vec<String>, cell: String| {
        if has_nat {
            cells.insert(6, cell);
        }
    };
    let header = ["SERVICE", "BACKEND", "STATE", "WEIGHT", "SHARE", "PACKETS", "SINCE", "REASON"];
    let mut header = header.map(str::to_owned).to_vec();
    with_nat(&mut header, "OPEN".to_owned());
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut table = Table::new(&header, if has_nat { &[3, 4, 5, 6, 7] } else { &[3, 4, 5, 6] });
    for row in &answer.backends {
        let backend = &row.backend;
        let mut cells = vec![
            row.service.clone(),
            backend.address.to_string(),
            backend.state.clone(),
            backend.weight.to_string(),
            share(backend),
            count(backend.packets),
            span(backend.since_secs),
            backend.reason.clone().unwrap_or_default(),
        ];
        with_nat(&mut cells, backend.connections.map(count).unwrap_or_default());
        table.row(cells);
    }
    table.render()
}

fn vip_name(vip: &Vip) -> String {
    let address = vip.address.to_string();
    let text = vip.prefix_len.map_or(address.clone(), |len| format!("{address}/{len}"));
    service_name(&text, vip.port, vip.last_port, &vip.protocol)
}

fn vip_state(vip: &Vip) -> String {
    match (vip.announced, &vip.reason) {
        (true, _) if vip.drain.is_some() => vip.drain.clone().unwrap_or_default(),
        (true, _) => "announced".into(),
        (false, Some(reason)) => reason.clone(),
        (false, None) => "withheld".into(),
    }
}

fn share(backend: &Backend) -> String {
    format!("{}.{:02}%", backend.share / 100, backend.share % 100)
}

#[cfg(test)]
mod tests;
