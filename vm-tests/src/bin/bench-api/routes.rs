//! A million routes, listed page by page.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use tidegate_vm_tests::bench::feed::{daemon_address, peer, sender_address, table};
use tidegate_vm_tests::bench::usage::Usage;

use super::Report;
use super::edge::Edge;

const ROUTES: u32 = 1_000_000;
/// On a page.
const LIMIT: u32 = 5_000;
/// What the daemon may grow by while all of them are listed.
const GROWS_KIB_MAX: u64 = 16 << 10;
/// What a page at the end may take of the time of one at the beginning.
const LATER_MAX: f64 = 2.0;
const SOON: Duration = Duration::from_mins(1);

#[derive(Deserialize)]
struct Page {
    routes: Vec<Row>,
    next: Option<u64>,
}

#[derive(Deserialize)]
struct Row {
    prefix: String,
}

/// Feeds them, and lists them.
///
/// # Errors
/// When they do not arrive, or the list is not theirs.
pub(crate) fn list(edge: &Edge<'_>, report: &mut Report) -> Result<()> {
    let table = table::stream(0, ROUTES);
    let session = edge.lab.inside("gen", || {
        peer::open(sender_address(0), table::SENDER_AS, daemon_address(), 180)
    })??;
    let mut writer = session.writer()?;
    let reader = thread::spawn(move || session.drain());
    peer::blast(&mut writer, &table)?;
    edge.lab.wait_for("the routes to arrive", SOON, || {
        let peers = edge.get("/api/v1/peers")?.json()?;
        let received = peers.pointer("/peers/0/prefixes_received").and_then(Value::as_u64);
        ensure!(received == Some(ROUTES.into()), "{received:?}");
        Ok(())
    })?;
    let listed = pages(edge);
    // The table is done with, whatever came of it.
    drop(writer.shutdown(std::net::Shutdown::Both));
    reader.join().map_err(|_panic| anyhow::anyhow!("the session broke"))?;
    let Listed { mut times, grown_kib, bytes } = listed?;
    let tenth = times.len() / 10;
    let last = median(times.split_off(times.len() - tenth));
    times.truncate(tenth);
    let first = median(times);
    let ratio = last / first;
    report.say(&format!(
        "\n{ROUTES} routes in pages of {LIMIT}: {} MB; a page takes {first:.1} ms in the first \
         tenth and {last:.1} ms in the last one (must be below {LATER_MAX} times); the daemon \
         grows by {grown_kib} KiB (must be below {GROWS_KIB_MAX}).\n",
        bytes / 1_000_000,
    ))?;
    report.must(ratio < LATER_MAX, || format!("pages of routes take {ratio:.1} times as long"));
    report.must(grown_kib < GROWS_KIB_MAX, || format!("a list of routes takes {grown_kib} KiB"));
    Ok(())
}

struct Listed {
    times: Vec<Duration>,
    grown_kib: u64,
    bytes: usize,
}

fn pages(edge: &Edge<'_>) -> Result<Listed> {
    let path =
        |from: u64| format!("/api/v1/routes?view=received&peer=feeder&from={from}&limit={LIMIT}");
    // What the tables of the connection and its buffers take is there from the first page on.
    edge.get(&path(0))?;
    Usage::forget_peak(edge.pid())?;
    let before = edge.usage()?.now_kib;
    let mut listed = Listed { times: Vec::new(), grown_kib: 0, bytes: 0 };
    let mut prefixes = HashSet::new();
    let mut from = Some(0);
    while let Some(at) = from {
        let answer = edge.get(&path(at))?;
        listed.times.push(answer.took);
        listed.bytes += answer.body().len();
        let page: Page = answer.read().context("a page of routes")?;
        for Row { prefix } in page.routes {
            ensure!(prefixes.insert(prefix.clone()), "{prefix} is listed twice");
        }
        from = page.next;
    }
    listed.grown_kib = edge.usage()?.peak_kib.saturating_sub(before);
    ensure!(prefixes.len() == ROUTES as usize, "{} routes are listed", prefixes.len());
    Ok(listed)
}

/// In milliseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |it| it.as_secs_f64() * 1e3)
}
