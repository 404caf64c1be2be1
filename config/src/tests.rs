use core::fmt::Write as _;

use schemars::JsonSchema;
use toml::de::DeValue;

use super::*;
use crate::desired::{Probe, Signing};
use crate::raw::bgp::{AddPathTable, BfdTable, DecisionTable};
use crate::raw::flows::FlowsTable;
use crate::raw::guard::{GuardTable, ServiceGuardTable};
use crate::raw::nat::NatTable;
use crate::raw::{
    AdvertiseTable, ApiTable, BackendTable, HealthTable, MaxPrefixesTable, PeerTable, RouterTable,
    ServiceTable,
};
use crate::read::{KeySpec, Need, Table};

mod export;
mod guard;
mod mistakes;
mod nat;
pub(crate) mod round_trip;
mod well_known;

/// A small file without mistakes.
pub(crate) const BASE: &str = r#"[router]
asn = 65001
router-id = "192.0.2.1"
interfaces = ["eth0"]

[[peer]]
name = "tor"
address = "192.0.2.254"
asn = 65000

[[service]]
name = "web"
vip = "198.51.100.10"
port = 80

[[service.backend]]
address = "10.0.0.11"
"#;

const SAMPLE: &str = include_str!("../../packaging/tidegate.toml");

/// Compares with a golden file below the workspace; `UPDATE_GOLDEN=1` rewrites it.
#[expect(clippy::disallowed_methods, reason = "golden files are files")]
fn assert_golden(path: &str, actual: &str) {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        std::fs::write(&path, actual).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == actual, "{path} is out of date (UPDATE_GOLDEN=1 rewrites it):\n{actual}");
}

#[track_caller]
pub(crate) fn accepted(text: &str) -> Checked {
    check("tidegate.toml", text).unwrap_or_else(|found| panic!("{found}\n---\n{text}"))
}

#[test]
fn the_sample_is_accepted_without_a_warning() {
    let checked = accepted(SAMPLE);
    assert!(checked.warnings.is_empty(), "{}", checked.warnings);
    assert_eq!(checked.desired.services.len(), 2);
    assert_eq!(checked.desired.services["web"].backends.len(), 2);
}

#[test]
fn the_example_in_the_readme_is_accepted_without_a_warning() {
    let readme = include_str!("../../README.md");
    let (_, after) = readme.split_once("```toml\n").unwrap();
    let (example, _) = after.split_once("```").unwrap();
    let checked = accepted(example);
    assert!(checked.warnings.is_empty(), "{}", checked.warnings);
    assert_eq!(checked.desired.services["web"].backends.len(), 2);
}

/// The key of a line `key = value`, in a comment or not.
fn key_of(line: &str) -> Option<(&str, &str)> {
    let line = line.strip_prefix("# ").unwrap_or(line);
    let (key, _) = line.split_once(" = ")?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    key.chars().all(fits).then_some((key, line))
}

#[test]
fn the_sample_stays_acceptable_with_every_comment_opened() {
    let mut tables: Vec<Vec<&str>> = vec![vec![]];
    for line in SAMPLE.lines() {
        let table =
            line.strip_prefix("# ").filter(|line| line.starts_with("[[") || *line == "[mrt]");
        let line = table.unwrap_or(line);
        if line.starts_with('[') {
            tables.push(vec![]);
        }
        let table = tables.last_mut().unwrap();
        let key = key_of(line);
        // An example of a key that is there already takes its place.
        table.retain(|old| {
            key.is_none() || key_of(old).map(|(key, _)| key) != key.map(|(key, _)| key)
        });
        table.push(key.map_or(line, |(_, line)| line));
    }
    let opened = tables.concat().join("\n");
    let checked = accepted(&opened);
    assert!(checked.warnings.is_empty(), "{}", checked.warnings);
    let names = |keys: &[KeySpec]| keys.iter().map(|spec| spec.name).collect::<Vec<_>>();
    let all = [
        names(RouterTable::KEYS),
        names(ApiTable::KEYS),
        names(GuardTable::KEYS),
        names(ServiceGuardTable::KEYS),
        names(FlowsTable::KEYS),
        names(NatTable::KEYS),
        names(DecisionTable::KEYS),
        names(PeerTable::KEYS),
        names(AddPathTable::KEYS),
        names(BfdTable::KEYS),
        names(MaxPrefixesTable::KEYS),
        names(ServiceTable::KEYS),
        names(HealthTable::KEYS),
        names(AdvertiseTable::KEYS),
        names(BackendTable::KEYS),
    ];
    for key in all.concat() {
        assert!(SAMPLE.contains(&format!("{key} = ")) || key == "backend", "{key} is not shown");
    }
}

#[test]
fn every_kind_of_check_in_the_sample_is_acceptable() {
    let lines = SAMPLE.lines().filter_map(|line| line.strip_prefix("# health = "));
    let kinds: Vec<Probe> = lines
        .map(|health| BASE.replace("port = 80", &format!("port = 80\nhealth = {health}")))
        .map(|text| accepted(&text).desired.services["web"].health.clone().unwrap().probe)
        .collect();
    assert!(kinds.len() >= 6, "{kinds:?}");
}

#[test]
fn the_schema_is_up_to_date() {
    assert_golden("docs/reference/tidegate.schema.json", &json_schema());
}

#[test]
fn the_reference_is_up_to_date() {
    assert_golden("docs/reference/config.md", &reference());
}

#[test]
fn schema_and_reader_know_the_same_keys() {
    fn compare<T: Table + JsonSchema>(schema: &serde_json::Value) {
        let table = if T::NAME == File::NAME { schema } else { &schema["$defs"][T::NAME] };
        let properties = table["properties"].as_object().unwrap();
        let mut known: Vec<_> = T::KEYS.iter().map(|spec| spec.name).collect();
        known.sort_unstable();
        assert_eq!(properties.keys().collect::<Vec<_>>(), known, "{}", T::NAME);
        assert_eq!(table["additionalProperties"], false, "{}", T::NAME);
    }
    let schema = serde_json::from_str(&json_schema()).unwrap();
    compare::<File>(&schema);
    compare::<RouterTable>(&schema);
    compare::<ApiTable>(&schema);
    compare::<PeerTable>(&schema);
    compare::<ServiceTable>(&schema);
    compare::<GuardTable>(&schema);
    compare::<BackendTable>(&schema);
    compare::<HealthTable>(&schema);
    compare::<AdvertiseTable>(&schema);
}

/// `key = default` for every key of a table that has a default and is not in `except`.
fn defaults<T: Table>(except: &[&str], separator: &str) -> String {
    let keys = T::KEYS.iter().filter(|spec| !except.contains(&spec.name));
    let lines = keys.filter_map(|spec| match spec.need {
        Need::Default(literal) => {
            assert!(DeValue::parse(literal).is_ok(), "{}.{}", T::NAME, spec.name);
            Some(format!("{} = {literal}", spec.name))
        }
        Need::Required | Need::Optional => None,
    });
    lines.collect::<Vec<_>>().join(separator)
}

#[test]
fn a_default_written_out_changes_nothing() {
    let short = format!("{BASE}[service.health]\ntype = \"http\"\n");
    let mut long = String::from("version = 1\n");
    for line in short.lines() {
        writeln!(long, "{line}").unwrap();
        let more = match line {
            "[router]" => defaults::<RouterTable>(&[], "\n"),
            "[[peer]]" => defaults::<PeerTable>(&["address"], "\n"),
            "[[service]]" => {
                let advertise = defaults::<AdvertiseTable>(&[], ", ");
                let rest = defaults::<ServiceTable>(&["advertise"], "\n");
                format!("{rest}\nadvertise = {{ {advertise} }}")
            }
            "[[service.backend]]" => defaults::<BackendTable>(&[], "\n"),
            // Those that stand in the text of the reference only.
            "[service.health]" => {
                let rest = defaults::<HealthTable>(&[], "\n");
                format!("{rest}\nport = 80\npath = \"/\"\nstatus = 200\ntimeout = \"1s\"")
            }
            _ => continue,
        };
        writeln!(long, "{more}").unwrap();
    }
    long.push_str("[guard]\n");
    long.push_str(&defaults::<GuardTable>(&[], "\n"));
    long.push_str("\n[api]\n");
    long.push_str(&defaults::<ApiTable>(&[], "\n"));
    assert_eq!(accepted(&long).desired, accepted(&short).desired);
}

#[test]
fn the_order_of_tables_keys_and_lists_makes_no_difference() {
    let one = BASE.replace("[\"eth0\"]", "[\"eth0\", \"eth1\"]")
        + "[[service.backend]]\naddress = \"10.0.0.12\"\n";
    let other = BASE
        .replace("[\"eth0\"]", "[\"eth1\", \"eth0\"]")
        .replace("asn = 65001\nrouter-id = \"192.0.2.1\"", "router-id = \"192.0.2.1\"\nasn = 65001")
        .replace(
            "[[service.backend]]",
            "[[service.backend]]\naddress = \"10.0.0.12\"\n[[service.backend]]",
        );
    assert_eq!(accepted(&one).desired, accepted(&other).desired);
}

#[test]
fn values_have_more_than_one_spelling() {
    let cases = [
        ("asdot", "asn = 65001", "asn = \"0.65001\""),
        ("a hexadecimal seed", "asn = 65001", "hash-seed = 0x7469646567617465\nasn = 65001"),
        (
            "a listen address without port",
            "asn = 65001",
            "listen = [\"::\", \"0.0.0.0\"]\nasn = 65001",
        ),
        ("a composed duration", "port = 80", "port = 80\ndrain = \"0m59s1000ms\""),
        ("advertise = true", "port = 80", "port = 80\nadvertise = true"),
    ];
    for (name, from, to) in cases {
        let other = BASE.replacen(from, to, 1);
        assert_ne!(other, BASE, "{name}");
        assert_eq!(accepted(&other).desired, accepted(BASE).desired, "{name}");
    }
}

#[test]
fn a_password_is_known_by_its_file() {
    let text = BASE.replace("asn = 65000", "asn = 65000\npassword-file = \"/etc/tor\"");
    let desired = accepted(&text).desired;
    let expected = [("tor".to_owned(), Signing::Md5("/etc/tor".into()))].into();
    assert_eq!(desired.signing, expected);
}

/// A peer of the router `tor` that is signed by a keychain with these keys.
fn with_keychain(keys: &str) -> String {
    let text = BASE.replace("asn = 65000", "asn = 65000\nkeychain = \"core\"");
    format!("{text}[[keychain]]\nname = \"core\"\n{keys}")
}

#[test]
fn keys_of_a_chain_keep_their_order_and_have_numbers_of_their_own() {
    let key = |id: u8, more: &str| {
        format!("[[keychain.key]]\nid = {id}\nfile = \"/etc/key-{id}\"\n{more}\n")
    };
    let keys = [key(7, "receive-id = 8"), key(1, "algorithm = \"aes-128-cmac-96\"")].concat();
    let desired = accepted(&with_keychain(&keys)).desired;
    assert_eq!(desired.signing, [("tor".to_owned(), Signing::Ao("core".to_owned()))].into());
    let keys: Vec<_> =
        desired.keychains["core"].iter().map(|key| (key.send_id, key.receive_id)).collect();
    assert_eq!(keys, [(7, 8), (1, 1)]);
}

#[test]
fn a_service_that_does_not_advertise_is_no_route() {
    let text = BASE.replace("port = 80", "port = 80\nadvertise = false");
    assert_eq!(accepted(&text).desired.services["web"].advertise, None);
    assert!(accepted(BASE).desired.services["web"].advertise.is_some());
}

#[test]
fn a_file_too_large_is_refused_unread() {
    let text = "#".repeat(FILE_BYTES_MAX + 1);
    let found = check("tidegate.toml", &text).unwrap_err();
    assert_eq!(found.len(), 1, "{found}");
}

/// As many services as asked for, each with a VIP of its own, and with so many backends of which
/// the first one is called `first(service)`.
fn many_services(count: u32, backends: u32, first: fn(u32) -> u32) -> String {
    let mut text = BASE.split("[[service]]").next().unwrap().to_owned();
    for i in 0..count {
        let [_, b, c, d] = i.to_be_bytes();
        write!(text, "[[service]]\nname = \"s{i}\"\nvip = \"198.{b}.{c}.{d}\"\nport = 80\n")
            .unwrap();
        for j in 0..backends {
            let [_, b, c, d] = (first(i) + j).to_be_bytes();
            write!(text, "[[service.backend]]\naddress = \"10.{b}.{c}.{d}\"\n").unwrap();
        }
    }
    text
}

#[test]
fn limits_of_the_packet_path_are_the_limits_of_the_file() {
    const OWN: fn(u32) -> u32 = |service| service * 1024;
    const SAME: fn(u32) -> u32 = |_| 0;
    let cases = [
        ("1024 rings of 1024 slots", 1024, 1, OWN, None),
        ("one more", 1025, 1, OWN, Some("with this service the rings need too much room")),
        ("16 times 1023 backends", 16, 1023, OWN, None),
        ("one backend more", 16, 1024, OWN, Some("with this service there are too many backends")),
        ("all services with the same ones", 8192, 10, SAME, None),
    ];
    for (name, services, backends, first, sentence) in cases {
        let found = check("tidegate.toml", &many_services(services, backends, first)).err();
        let sentences: Option<Vec<_>> =
            found.as_ref().map(|found| found.iter().map(|d| d.sentence.as_str()).collect());
        assert_eq!(sentences, sentence.map(|sentence| vec![sentence]), "{name}");
    }
    let found = check("tidegate.toml", &many_services(8193, 1, SAME)).unwrap_err();
    let wanted = "it needs 2 entries for IPv4, and 0 are left";
    let too_many = found.iter().find(|d| d.sentence == wanted);
    assert_eq!(too_many.map(|d| d.key.as_str()), Some("service.s8192"));
}

#[test]
fn vips_are_prefixes_of_four_lengths_in_each_version() {
    let with = |lens: &[&str]| {
        let mut text = BASE.split("[[service]]").next().unwrap().to_owned();
        for (i, len) in lens.iter().enumerate() {
            write!(
                text,
                "[[service]]\nname = \"s{i}\"\nvip = \"{len}\"\nport = 80\n\
                 [[service.backend]]\naddress = \"10.0.0.1\"\n"
            )
            .unwrap();
        }
        let found = check("tidegate.toml", &text).err().unwrap_or_default();
        found.iter().map(|d| (d.key.clone(), d.sentence.clone())).collect::<Vec<_>>()
    };
    let four = ["198.51.0.0/16", "198.52.0.0/16", "198.53.0.0/28", "198.53.1.0/29", "9.9.9.0/30"];
    let others = ["9.9.9.9", "2001:db8::/64"];
    assert_eq!(with(&[&four[..], &others].concat()), []);
    let sentence = "VIPs of IPv4 would be prefixes of 5 different lengths".to_owned();
    assert_eq!(with(&[&four[..], &["9.9.8.0/31"]].concat()), [("service.s5.vip".into(), sentence)]);
}

#[test]
fn a_range_that_does_not_fit_says_what_it_needs() {
    let text = many_services(2, 1, |_| 0).replacen("port = 80\n", "port = \"1-16382\"\n", 1);
    let found = check("tidegate.toml", &text).unwrap_err();
    let sentences: Vec<&str> = found.iter().map(|d| d.sentence.as_str()).collect();
    assert_eq!(sentences, ["it needs 2 entries for IPv4, and 1 are left"]);
}
