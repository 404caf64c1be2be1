//! Caches, stations and files in the round trip, and the mistakes one can make with them.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::fmt::Write as _;

use proptest::collection::{btree_map, btree_set};
use proptest::option;
use proptest::prelude::*;

use super::{BASE, accepted};
use crate::change::{What, changes};
use crate::check;
use crate::desired::{BmpStation, BmpView, Desired, Mrt, RpkiCache};

const VIEWS: [BmpView; 4] =
    [BmpView::PrePolicy, BmpView::PostPolicy, BmpView::LocRib, BmpView::AdjRibOut];

type Beside = (Vec<RpkiCache>, Vec<BmpStation>, Option<Mrt>);

/// All three, in any order and number.
pub(super) fn beside() -> impl Strategy<Value = Beside> {
    let name = || "[a-z]{1,8}";
    let span = |least: u64, most: u64| (least..=most).prop_map(Duration::from_millis);
    let remote = || (any::<u8>(), 1_u16..).prop_map(|(n, port)| ([192, 0, 2, n], port).into());
    let times =
        (option::of(span(1000, 9000)), option::of(span(1000, 9000)), option::of(span(1000, 9000)));
    let caches = btree_map(name(), (remote(), times), 0..4).prop_map(|caches| {
        let cache = |(name, (remote, (refresh, retry, expire)))| RpkiCache {
            name,
            remote,
            refresh,
            retry,
            expire,
        };
        caches.into_iter().rev().map(cache).collect()
    });
    let views = btree_set(proptest::sample::select(VIEWS.to_vec()), 1..4);
    let of_station = (remote(), views, option::of(span(1, 9000)), span(1000, 9000));
    let stations = btree_map(name(), of_station, 0..4).prop_map(|stations| {
        let station = |(name, (remote, views, stats_interval, connect_retry)): (String, _)| {
            let views: std::collections::BTreeSet<BmpView> = views;
            let views = views.into_iter().collect();
            BmpStation { name, remote, views, stats_interval, connect_retry }
        };
        stations.into_iter().map(station).collect()
    });
    let mrt = ("/[a-z]{1,9}", any::<bool>(), span(1000, 9000), option::of(span(10_000, 90_000)));
    let mrt = (mrt, 1_u32..=100_000).prop_map(|((directory, updates, rotate, dump), keep)| Mrt {
        directory: directory.into(),
        updates,
        rotate,
        dump_interval: dump,
        keep,
    });
    (caches, stations, option::of(mrt))
}

pub(super) fn render(out: &mut String, desired: &Desired) {
    let span = |out: &mut String, name: &str, span: Option<Duration>| {
        if let Some(span) = span {
            writeln!(out, "{name} = \"{}ms\"", span.as_millis()).unwrap();
        }
    };
    let head = |out: &mut String, table: &str, name: &str, remote: SocketAddr| {
        let (addr, port) = (remote.ip(), remote.port());
        writeln!(out, "[[{table}]]\nname = \"{name}\"\naddress = \"{addr}\"\nport = {port}")
            .unwrap();
    };
    for cache in &desired.rpki_caches {
        head(out, "rpki-cache", &cache.name, cache.remote);
        span(out, "refresh", cache.refresh);
        span(out, "retry", cache.retry);
        span(out, "expire", cache.expire);
    }
    for station in &desired.bmp_stations {
        head(out, "bmp-station", &station.name, station.remote);
        let views: Vec<&str> = station.views.iter().map(|view| view.name()).collect();
        writeln!(out, "views = {views:?}").unwrap();
        span(out, "stats-interval", Some(station.stats_interval.unwrap_or_default()));
        span(out, "connect-retry", Some(station.connect_retry));
    }
    if let Some(mrt) = &desired.mrt {
        let (dir, updates, keep) = (mrt.directory.display(), mrt.updates, mrt.keep);
        writeln!(out, "[mrt]\ndirectory = \"{dir}\"\nupdates = {updates}\nkeep = {keep}").unwrap();
        span(out, "rotate", Some(mrt.rotate));
        span(out, "dump-interval", mrt.dump_interval);
    }
}

#[test]
fn what_is_left_out_has_its_usual_value() {
    let text = format!(
        "{BASE}[[rpki-cache]]\nname = \"a\"\naddress = \"192.0.2.9\"\n\
         [[bmp-station]]\nname = \"b\"\naddress = \"2001:db8::9\"\nport = 11019\n\
         [mrt]\ndirectory = \"/var/log/mrt\"\n"
    );
    let desired = accepted(&text).desired;
    let cache = RpkiCache {
        name: "a".into(),
        remote: SocketAddr::new(IpAddr::from([192, 0, 2, 9]), 323),
        refresh: None,
        retry: None,
        expire: None,
    };
    assert_eq!(desired.rpki_caches, [cache]);
    assert_eq!(desired.bmp_stations[0].views, [BmpView::PrePolicy]);
    assert_eq!(desired.bmp_stations[0].stats_interval, Some(Duration::from_mins(1)));
    let mrt = desired.mrt.unwrap();
    assert_eq!((mrt.updates, mrt.rotate, mrt.keep), (true, Duration::from_mins(15), 96));
}

#[test]
fn mistakes_are_told_with_their_remedy() {
    let cache = |name: &str, more: &str| format!("[[rpki-cache]]\nname = \"{name}\"\n{more}\n");
    let near = "address = \"192.0.2.9\"";
    let many: String = ["a", "b", "c", "d", "e"].map(|name| cache(name, near)).concat();
    let cases = [
        ("an address of nobody", cache("a", "address = \"0.0.0.0\""), "unspecified"),
        ("a name twice", cache("a", near) + &cache("a", near), "has the same name"),
        ("too many", many, "more than 4 RPKI caches"),
        ("no views", station("views = []"), "hears nothing"),
        ("no such view", station("views = [\"all\"]"), "post-policy"),
        ("no port", station("views = []").replace("port = 1\n", ""), "port"),
    ];
    for (name, more, words) in cases {
        let found = check("tidegate.toml", &format!("{BASE}{more}")).unwrap_err().to_string();
        assert!(found.contains(words), "{name}: {found}");
    }
}

fn station(more: &str) -> String {
    format!("[[bmp-station]]\nname = \"b\"\naddress = \"192.0.2.9\"\nport = 1\n{more}\n")
}

#[test]
fn another_order_of_caches_is_a_change() {
    let cache =
        |name: &str| format!("[[rpki-cache]]\nname = \"{name}\"\naddress = \"192.0.2.9\"\n");
    let of = |names: &[&str]| {
        let caches: String = names.iter().map(|name| cache(name)).collect();
        accepted(&format!("{BASE}{caches}")).desired
    };
    let found = changes(&of(&["a", "b"]), &of(&["b", "a"]));
    let [change] = found.as_slice() else { panic!("{found:?}") };
    assert!(matches!(&change.what, What::Changed { key, .. } if key == "order"), "{change:?}");
    assert_eq!(changes(&of(&["a", "b"]), &of(&["a", "b"])), []);
    assert_eq!(changes(&of(&["a"]), &of(&["a", "b"])).len(), 1);
}
