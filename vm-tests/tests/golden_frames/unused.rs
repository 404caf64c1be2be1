//! What the configuration does not use is not in the program that is loaded, and neither is the
//! question.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::bpf_io::Datapath;
use tidegate_abi::{DatapathConfig, features};

use crate::pins::{CONFIG, World, run};

/// Instructions of each loaded program, after the verifier has removed what is never reached.
fn instructions(features: u64) -> BTreeMap<String, u32> {
    instructions_of(&DatapathConfig { features, ..DatapathConfig::default() })
}

fn instructions_of(config: &DatapathConfig) -> BTreeMap<String, u32> {
    Datapath::load(config).unwrap().loaded_instructions().unwrap()
}

#[test]
fn a_feature_that_is_not_used_is_not_in_the_program() {
    const CHECKSUMS: [&str; 3] =
        ["tidegate_checksum_redirect", "tidegate_checksum_tx", "tidegate_outer"];
    const NAT: [&str; 5] = [
        "tidegate_nat",
        "tidegate_nat_answer",
        "tidegate_nat_error",
        "tidegate_nat_open",
        "tidegate_nat_port",
    ];
    let bare = instructions(0);
    println!("bare: {bare:?}");
    let always = ["tidegate", "tidegate_errors", "tidegate_fragments"];
    assert_eq!(bare.keys().collect::<Vec<_>>(), always);
    // The programs that each one brings.
    let cases: [(&str, u64, &[&str]); 15] = [
        ("too-big", features::TOO_BIG, &["tidegate_too_big"]),
        ("gue", features::GUE, &[]),
        ("gue-checksum", features::GUE | features::GUE_CHECKSUM, &CHECKSUMS),
        ("vary-source", features::VARY_V4 | features::VARY_V6, &["tidegate_outer"]),
        ("any port", features::ANY_PORT, &[]),
        ("affinity by client", features::AFFINITY_CLIENT, &[]),
        ("udp flows", features::UDP_FLOWS, &[]),
        ("prefixes", features::PREFIXES_V4, &[]),
        ("IPv6 prefixes", features::PREFIXES_V6, &[]),
        ("limits", features::RATES, &[]),
        ("limits of sources", features::RATES | features::SOURCE_RATES, &[]),
        ("nat", features::NAT, &NAT),
        ("quic", features::QUIC, &["tidegate_outer"]),
        ("flows", features::FLOWS, &["tidegate_tell"]),
        ("a capture", features::CAPTURE, &["tidegate_before", "tidegate_tell"]),
    ];
    for (name, features, brought) in cases {
        let with = instructions(features);
        println!("{name}: {with:?}");
        for (program, &without) in &bare {
            assert!(with[program] >= without, "{name}: {program}");
        }
        assert!(with["tidegate"] > bare["tidegate"], "{name} is there though nobody wants it");
        let more: BTreeSet<&str> =
            with.keys().filter(|it| !bare.contains_key(*it)).map(String::as_str).collect();
        assert_eq!(more, brought.iter().copied().collect(), "{name}");
    }
}

#[test]
fn vips_that_are_prefixes_are_looked_for_only_in_the_version_that_has_some() {
    let with = |v4, v6| {
        let config =
            DatapathConfig { vip_lens_v4: v4, vip_lens_v6: v6, ..DatapathConfig::default() };
        instructions_of(&config)["tidegate"]
    };
    let (bare, v4, v6, both) = (with(0, 0), with(28, 0), with(0, 64), with(28, 64));
    println!("bare {bare}, IPv4 {v4}, IPv6 {v6}, both {both}");
    assert!(bare < v4 && bare < v6 && v4 < both && v6 < both);
}

#[test]
fn no_branch_that_asks_for_what_is_not_wanted_is_left_in_a_loaded_program() {
    let world = World::new("unused");
    for (name, features) in [("none", 0), ("gue", features::GUE), ("nat", features::NAT)] {
        let _loaded = world.load_with(&DatapathConfig { features, ..CONFIG });
        let program = world.pin("program");
        let listing = run(&format!("bpftool prog dump xlated pinned {}", program.display()));
        let branches: Vec<&str> = listing.lines().filter(|it| it.contains(" goto pc")).collect();
        assert!(branches.len() > 50, "{name}:\n{listing}");
        // As `bpf_io` leaves those that ask for what is not wanted.
        let left: Vec<_> = branches.iter().filter(|it| it.contains(" & 0x0 goto")).collect();
        assert!(left.is_empty(), "{name}: {left:?}");
    }
}
