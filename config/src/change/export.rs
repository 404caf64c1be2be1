//! What differs in the servers beside BGP.

use super::{Change, Object, Rows, What, both, duration_text, list};
use crate::desired::{BmpStation, Desired, Mrt, RpkiCache};
use crate::impact::Impact;

/// Differences of caches, stations and files.
pub(super) fn changes(before: &Desired, after: &Desired, changes: &mut Vec<Change>) {
    let caches = [before, after].map(|desired| &desired.rpki_caches);
    for name in names(caches.map(|all| all.iter().map(|cache| cache.name.as_str()))) {
        let [before, after] = caches.map(|all| all.iter().find(|it| it.name == name).map(of_cache));
        both(&|| Object::RpkiCache(name.to_owned()), before, after, changes);
    }
    order(&caches.map(Vec::as_slice), changes);
    let stations = [before, after].map(|desired| &desired.bmp_stations);
    for name in names(stations.map(|all| all.iter().map(|station| station.name.as_str()))) {
        let [before, after] =
            stations.map(|all| all.iter().find(|it| it.name == name).map(of_station));
        both(&|| Object::BmpStation(name.to_owned()), before, after, changes);
    }
    let [before, after] = [before, after].map(|desired| desired.mrt.as_ref().map(of_mrt));
    both(&|| Object::Mrt, before, after, changes);
}

/// The names of both, those of the second first.
fn names<'a>([before, after]: [impl Iterator<Item = &'a str>; 2]) -> Vec<&'a str> {
    let mut all: Vec<&str> = after.collect();
    let gone: Vec<&str> = before.filter(|name| !all.contains(name)).collect();
    all.extend(gone);
    all
}

/// Another order of the caches that are in both is another preference.
fn order([before, after]: &[&[RpkiCache]; 2], changes: &mut Vec<Change>) {
    let of = |all: &[RpkiCache], others: &[RpkiCache]| -> Vec<String> {
        let kept = all.iter().filter(|cache| others.iter().any(|it| it.name == cache.name));
        kept.map(|cache| cache.name.clone()).collect()
    };
    let (order_before, order_after) = (of(before, after), of(after, before));
    if let (true, Some(first)) = (order_before != order_after, order_after.first()) {
        let what = What::Changed {
            key: "order".into(),
            impact: Impact::Soft,
            before: Some(list(&order_before)),
            after: Some(list(&order_after)),
        };
        changes.push(Change { object: Object::RpkiCache(first.clone()), what });
    }
}

fn of_cache(cache: &RpkiCache) -> Rows {
    let RpkiCache { name: _, remote, refresh, retry, expire } = cache;
    let (table, mut rows) = ("rpki-cache", Rows::default());
    rows.put(table, "address", remote.ip());
    rows.put(table, "port", remote.port());
    rows.maybe(table, "refresh", refresh.map(duration_text));
    rows.maybe(table, "retry", retry.map(duration_text));
    rows.maybe(table, "expire", expire.map(duration_text));
    rows
}

fn of_station(station: &BmpStation) -> Rows {
    let BmpStation { name: _, remote, views, stats_interval, connect_retry } = station;
    let (table, mut rows) = ("bmp-station", Rows::default());
    let views: Vec<&str> = views.iter().map(|view| view.name()).collect();
    rows.put(table, "address", remote.ip());
    rows.put(table, "port", remote.port());
    rows.put(table, "views", list(&views));
    rows.put(table, "stats-interval", duration_text(stats_interval.unwrap_or_default()));
    rows.put(table, "connect-retry", duration_text(*connect_retry));
    rows
}

fn of_mrt(mrt: &Mrt) -> Rows {
    let Mrt { directory, updates, rotate, dump_interval, keep } = mrt;
    let (table, mut rows) = ("mrt", Rows::default());
    rows.put(table, "directory", directory.display());
    rows.put(table, "updates", updates);
    rows.put(table, "rotate", duration_text(*rotate));
    rows.maybe(table, "dump-interval", dump_interval.map(duration_text));
    rows.put(table, "keep", keep);
    rows
}
