//! Communities with names, in policies as an operator writes them.

use core::net::IpAddr;

use tidegate_bgp::origin::Origins;
use tidegate_bgp::policy::{Chain, Route, Source};
use tidegate_bgp::types::{Asn, Community, Prefix};
use tidegate_bgp::wire::{Attributes, AttributesRef};

use super::accepted;

/// RFC 7999 §3.3: host routes are let in if they ask for it, are used here, and go no further.
/// RFC 8326 §4.2: what is about to be shut down is the last choice.
const FILE: &str = r#"
[router]
asn = 65001
router-id = "192.0.2.1"
interfaces = ["eth0"]

[[prefix-set]]
name = "customer"
prefixes = ["198.51.100.0/24 le 32"]

[[prefix-set]]
name = "sane"
prefixes = ["0.0.0.0/0 ge 8 le 24"]

[[community-set]]
name = "blackhole"
communities = ["blackhole"]

[[community-set]]
name = "leaving"
communities = ["graceful-shutdown"]

[[policy]]
name = "from-customer"

[[policy.term]]
name = "blackhole"
match = { prefix-set = "customer", community-set = "blackhole" }
set = { local-pref = 200, add-communities = ["no-export"] }
then = "accept"

[[policy.term]]
name = "leaving"
match = { community-set = "leaving" }
set = { local-pref = 0 }
then = "continue"

[[policy.term]]
name = "sane"
match = { prefix-set = "sane", not-community-set = "blackhole" }
then = "accept"

[[peer]]
name = "customer"
address = "192.0.2.254"
asn = 65000
import = ["from-customer"]
"#;

fn prefix(text: &str) -> Prefix {
    let (addr, bits) = text.split_once('/').unwrap();
    Prefix::new(addr.parse::<IpAddr>().unwrap(), bits.parse().unwrap()).unwrap()
}

#[test]
fn a_policy_takes_blackholes_of_a_customer_and_nobody_elses() {
    let checked = accepted(FILE);
    let chain: &Chain = checked.desired.peers["customer"].policies.import.as_ref().unwrap();
    // Prefix, community; LOCAL_PREF and what is added, if it is let in.
    let no_export = vec![Community(0xffff_ff01)];
    let cases = [
        ("its own host", "198.51.100.7/32", "blackhole", Some((Some(200), no_export))),
        ("not asked for", "198.51.100.7/32", "65000:1", None),
        ("of another", "203.0.113.7/32", "blackhole", None),
        ("a whole network of another", "203.0.113.0/24", "blackhole", None),
        ("an ordinary route", "203.0.113.0/24", "65000:1", Some((None, vec![]))),
        ("one that leaves", "203.0.113.0/24", "graceful-shutdown", Some((Some(0), vec![]))),
    ];
    for (name, to, community, expected) in cases {
        let communities = vec![community.parse().unwrap()];
        let block = Attributes { communities, ..Attributes::default() }.to_block();
        let origins = Origins::unknown(Asn::new(65_001).unwrap());
        let route = Route {
            prefix: prefix(to),
            attributes: AttributesRef::new(&block),
            source: Source::External,
            origins: &origins,
        };
        let outcome = chain.judge(&route).map(|edits| (edits.local_pref, edits.add));
        assert_eq!(outcome, expected, "{name}");
    }
}

#[test]
fn every_name_of_a_community_stands_for_its_number_in_a_set() {
    let names = [
        ("graceful-shutdown", 0xffff_0000),
        ("llgr-stale", 0xffff_0006),
        ("no-llgr", 0xffff_0007),
        ("blackhole", 0xffff_029a),
        ("no-export", 0xffff_ff01),
        ("no-advertise", 0xffff_ff02),
        ("no-export-subconfed", 0xffff_ff03),
        ("no-peer", 0xffff_ff04),
    ];
    for (name, number) in names {
        let file = FILE.replace("[\"graceful-shutdown\"]", &format!("[\"{name}\"]"));
        let checked = accepted(&file);
        let policy = format!("{:?}", checked.desired.policies["from-customer"]);
        assert!(policy.contains(&format!("({number}, {number})")), "{name} in {policy}");
        assert_eq!(Community(number).to_string(), name);
    }
}
