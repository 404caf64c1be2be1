//! How packets are treated.

use core::net::IpAddr;
use core::ops::RangeInclusive;

use tidegate_bgp::types::Prefix;

use super::{Role, flaw};
use crate::desired::Datapath;
use crate::diagnostic::Found;
use crate::raw::{DatapathTable, RouterTable};
use crate::read::At;

/// Lengths that leave something to choose, and no more than a hash can.
const VARIED_V4: RangeInclusive<u8> = 8..=30;
const VARIED_V6: RangeInclusive<u8> = 96..=126;

pub(super) fn check(
    raw: &DatapathTable,
    router: Option<&RouterTable>,
    found: &mut Found<'_>,
) -> Option<Datapath> {
    let fixed_v4 = router.is_some_and(|router| router.encap_source_v4.is_some());
    let fixed_v6 = router.is_some_and(|router| router.encap_source_v6.is_some());
    check_varied(raw.vary_source_v4.as_ref(), VARIED_V4, fixed_v4, found);
    check_varied(raw.vary_source_v6.as_ref(), VARIED_V6, fixed_v6, found);
    Some(Datapath {
        too_big_rate: raw.too_big_rate.as_ref()?.value.0,
        too_big_without_df: raw.too_big_without_df.as_ref()?.value,
        gue_port: raw.gue_port.as_ref()?.value.0,
        gue_checksum: raw.gue_checksum.as_ref()?.value,
        vary_source_v4: raw.vary_source_v4.as_ref().map(|at| at.value),
        vary_source_v6: raw.vary_source_v6.as_ref().map(|at| at.value),
    })
}

fn check_varied(
    at: Option<&At<Prefix>>,
    lengths: RangeInclusive<u8>,
    is_fixed_too: bool,
    found: &mut Found<'_>,
) {
    let Some(at) = at else { return };
    let is_v4 = at.key.ends_with("v4");
    let addr: IpAddr = at.value.addr();
    if addr.is_ipv4() != is_v4 {
        let version = if is_v4 { "IPv4" } else { "IPv6" };
        let sentence = format!("{} is not an {version} prefix", at.value);
        found.error(&at.span, &at.key, sentence, format!("write an {version} prefix"));
    } else if !lengths.contains(&at.value.bits()) {
        let (least, most) = (lengths.start(), lengths.end());
        let sentence = format!("a prefix of /{} cannot be varied", at.value.bits());
        found.error(&at.span, &at.key, sentence, format!("write /{least} to /{most}"));
    } else if let Some(flaw) = flaw(addr, Role::Network) {
        let sentence = format!("{addr} is {flaw}: it cannot be the source of a packet");
        found.error(&at.span, &at.key, sentence, "write a prefix of unicast addresses");
    }
    if is_fixed_too {
        let other = if is_v4 { "encap-source-v4" } else { "encap-source-v6" };
        let sentence = format!("router.{other} says one source, and this says many");
        found.error(&at.span, &at.key, sentence, "remove one of the two");
    }
}
