//! The servers beside BGP.

use core::net::SocketAddr;

use super::{Role, check_address, distinct, tables};
use crate::desired::{BmpStation, Mrt, RpkiCache};
use crate::diagnostic::Found;
use crate::raw::File;
use crate::raw::export::{BmpStationTable, MrtTable, RpkiCacheTable};

/// Caches that are asked at a time: each holds a table of its own.
const CACHES_MAX: usize = 4;

/// Stations that are told at a time.
const STATIONS_MAX: usize = 8;

/// Caches in the order of the file.
pub(super) fn caches(file: &File, found: &mut Found<'_>) -> Option<Vec<RpkiCache>> {
    let tables = tables(file.rpki_caches.as_ref());
    if let Some(extra) = tables.get(CACHES_MAX) {
        let sentence = format!("there are more than {CACHES_MAX} RPKI caches");
        found.error(&extra.span, &extra.key, sentence, "remove those that are least preferred");
    }
    tables.iter().map(|at| cache(&at.value, found)).collect()
}

fn cache(raw: &RpkiCacheTable, found: &mut Found<'_>) -> Option<RpkiCache> {
    let address = raw.address.as_ref()?;
    if !check_address(address, "that of an RPKI cache", Role::Session, found) {
        return None;
    }
    Some(RpkiCache {
        name: raw.name.as_ref()?.value.0.clone(),
        remote: SocketAddr::new(address.value, raw.port.as_ref()?.value.0),
        refresh: raw.refresh.as_ref().map(|at| at.value.0),
        retry: raw.retry.as_ref().map(|at| at.value.0),
        expire: raw.expire.as_ref().map(|at| at.value.0),
    })
}

/// Stations in the order of the file.
pub(super) fn stations(file: &File, found: &mut Found<'_>) -> Option<Vec<BmpStation>> {
    let tables = tables(file.bmp_stations.as_ref());
    if let Some(extra) = tables.get(STATIONS_MAX) {
        let sentence = format!("there are more than {STATIONS_MAX} BMP stations");
        found.error(&extra.span, &extra.key, sentence, "remove some of them");
    }
    tables.iter().map(|at| station(&at.value, found)).collect()
}

fn station(raw: &BmpStationTable, found: &mut Found<'_>) -> Option<BmpStation> {
    let address = raw.address.as_ref()?;
    let is_address = check_address(address, "that of a BMP station", Role::Session, found);
    let views = raw.views.as_ref()?;
    if views.value.typed == 0 {
        let remedy = "name one of them, or remove the station";
        found.error(&views.span, &views.key, "a station of no views hears nothing", remedy);
    }
    let interval = raw.stats_interval.as_ref()?.value.0;
    is_address.then_some(())?;
    Some(BmpStation {
        name: raw.name.as_ref()?.value.0.clone(),
        remote: SocketAddr::new(address.value, raw.port.as_ref()?.value.0),
        views: distinct(&views.value.read, found),
        stats_interval: (!interval.is_zero()).then_some(interval),
        connect_retry: raw.connect_retry.as_ref()?.value.0,
    })
}

/// The files, if any are wanted; the outer `None` after a mistake.
#[expect(clippy::option_option, reason = "whether it can be read, and whether it is there")]
pub(super) fn mrt(file: &File) -> Option<Option<Mrt>> {
    let Some(table) = &file.mrt else { return Some(None) };
    let MrtTable { directory, updates, rotate, dump_interval, keep } = &table.value;
    Some(Some(Mrt {
        directory: directory.as_ref()?.value.clone(),
        updates: updates.as_ref()?.value,
        rotate: rotate.as_ref()?.value.0,
        dump_interval: dump_interval.as_ref().map(|at| at.value.0),
        keep: keep.as_ref()?.value.0,
    }))
}
