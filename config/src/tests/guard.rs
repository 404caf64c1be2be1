//! Protection in the round trip, and the mistakes one can make with it.

use core::net::IpAddr;
use core::time::Duration;
use std::fmt::Write as _;
use std::sync::Arc;

use proptest::collection::{btree_map, btree_set};
use proptest::option;
use proptest::prelude::*;
use tidegate_abi::PREFIXES_MAX;
use tidegate_bgp::types::Prefix;

use super::{BASE, accepted};
use crate::change::changes;
use crate::check;
use crate::desired::{Admission, Guard, Limits, OwnLimits};

fn rate() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0_u32), 0..=10_000_000_u32]
}

pub(super) fn guard() -> impl Strategy<Value = Guard> {
    let addr = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u16; 8]>().prop_map(IpAddr::from)
    ];
    let prefix = (addr, 0_u8..=32).prop_map(|(addr, len)| Prefix::new(addr, len).unwrap());
    let admission = prop_oneof![Just(Admission::Deny), Just(Admission::Allow)];
    let files = || btree_set("/[a-z]{1,9}", 0..3);
    let limits = (rate(), rate(), rate(), rate());
    let lens = (8_u8..=32, 16_u8..=64, 1_u64..=60_000);
    (btree_map(prefix, admission, 0..6), files(), files(), lens, limits).prop_map(
        |(prefixes, deny, allow, (source_len_v4, source_len_v6, burst), limits)| Guard {
            prefixes: Arc::new(prefixes),
            deny_files: deny.into_iter().map(Into::into).collect(),
            allow_files: allow.into_iter().map(Into::into).collect(),
            source_len_v4,
            source_len_v6,
            burst: Duration::from_millis(burst),
            limits: Limits {
                source_rate: limits.0,
                source_syn_rate: limits.1,
                service_rate: limits.2,
                service_syn_rate: limits.3,
            },
        },
    )
}

pub(super) fn own_limits() -> impl Strategy<Value = OwnLimits> {
    let rate = || option::of(rate());
    (rate(), rate(), rate(), rate()).prop_map(
        |(source_rate, source_syn_rate, service_rate, service_syn_rate)| OwnLimits {
            source_rate,
            source_syn_rate,
            service_rate,
            service_syn_rate,
        },
    )
}

pub(super) fn render(out: &mut String, guard: &Guard) {
    let of = |wanted: Admission| -> Vec<String> {
        let these = guard.prefixes.iter().filter(|(_, admission)| **admission == wanted);
        these.map(|(prefix, _)| prefix.to_string()).collect()
    };
    let (deny, allow) = (of(Admission::Deny), of(Admission::Allow));
    let Limits { source_rate, source_syn_rate, service_rate, service_syn_rate } = guard.limits;
    let Guard { deny_files, allow_files, source_len_v4, source_len_v6, burst, .. } = guard;
    let burst = burst.as_millis();
    write!(
        out,
        "[guard]\ndeny = {deny:?}\nallow = {allow:?}\ndeny-files = {deny_files:?}\n\
         allow-files = {allow_files:?}\nsource-prefix-v4 = {source_len_v4}\n\
         source-prefix-v6 = {source_len_v6}\nburst = \"{burst}ms\"\nsource-rate = {source_rate}\n\
         source-syn-rate = {source_syn_rate}\nservice-rate = {service_rate}\n\
         service-syn-rate = {service_syn_rate}\n"
    )
    .unwrap();
}

pub(super) fn render_own(out: &mut String, limits: OwnLimits) {
    if limits == OwnLimits::default() {
        return;
    }
    out.push_str("[service.guard]\n");
    let keys = [
        ("source-rate", limits.source_rate),
        ("source-syn-rate", limits.source_syn_rate),
        ("service-rate", limits.service_rate),
        ("service-syn-rate", limits.service_syn_rate),
    ];
    for (key, rate) in keys {
        if let Some(rate) = rate {
            writeln!(out, "{key} = {rate}").unwrap();
        }
    }
}

fn guarded(keys: &str) -> String {
    format!("{BASE}[guard]\n{keys}\n")
}

#[test]
fn a_service_has_the_limits_of_all_where_it_says_nothing() {
    let text = guarded("source-rate = 10\nservice-rate = 1000")
        .replace("port = 80", "port = 80\nguard = { source-rate = 0, service-syn-rate = 7 }");
    let desired = accepted(&text).desired;
    let limits = desired.services["web"].limits.or(desired.guard.limits);
    let wanted =
        Limits { source_rate: 0, source_syn_rate: 0, service_rate: 1_000, service_syn_rate: 7 };
    assert_eq!(limits, wanted);
    assert_eq!(accepted(BASE).desired.guard, Guard::default());
}

#[test]
fn a_file_of_prefixes_is_read_with_its_comments() {
    let mut guard = accepted(&guarded("deny = [\"203.0.113.7\"]")).desired.guard;
    let text = "# from somewhere\n\n192.0.2.0/24 # a net\r\n\t2001:db8::/32\n203.0.113.7\n10.0.0.1";
    guard.read_file(Admission::Deny, "deny.txt", text).unwrap();
    guard.read_file(Admission::Allow, "allow.txt", "192.0.2.1\n").unwrap();
    let shown: Vec<String> = guard
        .prefixes
        .iter()
        .map(|(prefix, admission)| format!("{prefix} {admission:?}"))
        .collect();
    let wanted = [
        "10.0.0.1/32 Deny",
        "192.0.2.0/24 Deny",
        "192.0.2.1/32 Allow",
        "203.0.113.7/32 Deny",
        "2001:db8::/32 Deny",
    ];
    assert_eq!(shown, wanted);
}

#[test]
fn every_mistake_in_a_file_is_told_with_its_line() {
    let mut guard = accepted(&guarded("allow = [\"10.0.0.0/8\"]")).desired.guard;
    let before = guard.clone();
    let text = "192.0.2.0/24\n192.0.2.1/24\nnonsense # and more\n\n 10.0.0.0/8\n1.2.3.4/33\n";
    let found = guard.read_file(Admission::Deny, "deny.txt", text).unwrap_err();
    let told: Vec<(usize, usize, &str)> =
        found.iter().map(|it| (it.line, it.column, it.sentence.as_str())).collect();
    let wanted = [
        (2, 1, "192.0.2.1 has bits beyond the first 24"),
        (3, 1, "\"nonsense\" is not an IP address"),
        (5, 2, "10.0.0.0/8 is both denied and allowed"),
        (6, 1, "\"1.2.3.4/33\" is not a prefix"),
    ];
    assert_eq!(told, wanted);
    assert!(found.iter().all(|it| it.file == "deny.txt" && !it.remedy.is_empty()));
    assert_eq!(guard, before, "all or nothing");
}

#[test]
fn as_many_prefixes_as_fit_and_not_one_more() {
    let many = |count: u32| {
        let line = |n: u32| format!("{}\n", core::net::Ipv4Addr::from_bits(n << 8));
        (0..count).map(line).collect::<String>()
    };
    let read = |text: &str| Guard::default().read_file(Admission::Deny, "deny.txt", text);
    assert_eq!(read(&many(PREFIXES_MAX)), Ok(()));
    let found = read(&many(PREFIXES_MAX + 2)).unwrap_err();
    let told: Vec<_> = found.iter().map(|it| (it.line, it.sentence.as_str())).collect();
    assert_eq!(told, [(131_073, "with this there are more than 131072 IPv4 prefixes")]);
    let found = read(&"#".repeat(crate::FILE_BYTES_MAX + 1)).unwrap_err();
    assert_eq!(found.len(), 1);
}

#[test]
fn mistakes_are_told_with_their_remedy() {
    let cases = [
        ("no address", guarded("deny = [\"nobody\"]"), "such as"),
        ("host bits", guarded("deny = [\"10.0.0.1/8\"]"), "10.0.0.0/8"),
        ("twice", guarded("deny = [\"10.0.0.1\", \"10.0.0.1/32\"]"), "remove one"),
        ("both", guarded("deny = [\"10.0.0.1\"]\nallow = [\"10.0.0.1\"]"), "both denied and"),
        ("no list", guarded("deny = \"10.0.0.1\""), "in brackets"),
        ("a length", guarded("source-prefix-v6 = 128"), "16 to 64"),
        ("a word of others", guarded("blocklist = [\"a\"]"), "write deny-files"),
        (
            "for one service",
            BASE.replace("port = 80", "port = 80\nguard = { deny = [] }"),
            "[guard]",
        ),
    ];
    for (name, text, words) in cases {
        let found = check("tidegate.toml", &text).unwrap_err().to_string();
        assert!(found.contains(words), "{name}: {found}");
    }
}

#[test]
fn another_content_of_a_file_is_a_change() {
    let of = |lines: &str| {
        let mut desired = accepted(&guarded("deny-files = [\"/etc/deny\"]")).desired;
        desired.guard.read_file(Admission::Deny, "/etc/deny", lines).unwrap();
        desired
    };
    let lines: Vec<String> = (1..=20).map(|n| format!("10.0.0.{n}")).collect();
    let many = lines.join("\n");
    let found = changes(&of(&many), &of(&(many.clone() + "\n10.0.0.99")));
    let [change] = found.as_slice() else { panic!("{found:?}") };
    let shown = format!("{:?}", change.what);
    assert!(shown.contains("\"20 prefixes #") && shown.contains("\"21 prefixes #"), "{shown}");
    assert_eq!(changes(&of(&many), &of(&many)), []);
}
