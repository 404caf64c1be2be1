//! What a configuration makes constant in the program: another value is another program.

use core::net::IpAddr;
use std::collections::BTreeSet;

use tidegate_abi::{
    DatapathConfig, VIP_LENS_ROOM, backend_flags, backend_kinds, features, service_flags, vip_lens,
};
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::{Affinity, Desired, ForwardingMode, ServiceAddr, UdpFlows};

use crate::admission;
use crate::key::{self, MapKey};
use crate::observed::Datapath;

/// The constants for a configuration.
pub fn constants(desired: &Desired) -> DatapathConfig {
    let Desired { router, datapath, nat, services, .. } = desired;
    let answers = datapath.too_big_rate > 0;
    let gue = services.values().any(|service| service.mode == ForwardingMode::Gue);
    let wanted = [
        (answers, features::TOO_BIG),
        (answers && datapath.too_big_without_df, features::TOO_BIG_WITHOUT_DF),
        (gue, features::GUE),
        (gue && datapath.gue_checksum, features::GUE_CHECKSUM),
        (services.values().any(|service| service.vip.port == 0), features::ANY_PORT),
        (services.values().any(|it| by_client(it.affinity)), features::AFFINITY_CLIENT),
        (services.values().any(|it| it.udp == UdpFlows::Remembered), features::UDP_FLOWS),
        (services.values().any(|it| it.mode == ForwardingMode::Nat), features::NAT),
        (services.values().any(|it| matches!(it.affinity, Affinity::Quic { .. })), features::QUIC),
        (datapath.vary_source_v4.is_some(), features::VARY_V4),
        (datapath.vary_source_v6.is_some(), features::VARY_V6),
        (desired.flows.is_on(), features::FLOWS),
    ];
    let guard = admission::constants(desired);
    DatapathConfig {
        hash_seed: router.hash_seed,
        features: all(wanted) | guard.features,
        too_big_interval_ns: admission::interval_ns(datapath.too_big_rate),
        vary_v4: datapath.vary_source_v4.map_or(0, |prefix| host_bits(prefix, 32)),
        vary_v6: datapath.vary_source_v6.map_or(0, |prefix| host_bits(prefix, 128)),
        vip_lens_v4: packed(lens(desired, IpAddr::is_ipv4), []),
        vip_lens_v6: packed(lens(desired, IpAddr::is_ipv6), []),
        nat_port_first: nat.first_port.into(),
        nat_port_count: u32::from(nat.last_port.saturating_sub(nat.first_port)) + 1,
        flow_chance: u32::MAX.checked_div(desired.flows.sample).unwrap_or(0),
        flow_interval_ns: admission::interval_ns(desired.flows.rate),
        ..guard
    }
}

const fn by_client(affinity: Affinity) -> bool {
    matches!(affinity, Affinity::ClientAddress | Affinity::ClientPrefix(_))
}

/// These constants, and what the maps need beside them, whatever the configuration says by now:
/// flows that drain are still sent by their entries, and VIPs that were withdrawn served for a while.
pub fn with_leftovers(constants: DatapathConfig, datapath: &Datapath) -> DatapathConfig {
    let more = |lens: u64, is_of: fn(&MapKey) -> bool| {
        let in_maps = key::entries(datapath).into_keys().filter(is_of);
        packed(unpacked(lens), in_maps.map(MapKey::prefix_len))
    };
    DatapathConfig {
        features: constants.features | features_in_use(datapath),
        vip_lens_v4: more(constants.vip_lens_v4, |key| matches!(key, MapKey::V4(_))),
        vip_lens_v6: more(constants.vip_lens_v6, |key| matches!(key, MapKey::V6(_))),
        ..constants
    }
}

/// The lengths in a constant, the longest first.
pub(crate) fn unpacked(lens: u64) -> impl Iterator<Item = u8> {
    lens.to_le_bytes().into_iter().take_while(|&len| len != 0)
}

fn packed(
    lens: impl IntoIterator<Item = u8>,
    if_there_is_room: impl IntoIterator<Item = u8>,
) -> u64 {
    let mut all: BTreeSet<u8> = lens.into_iter().collect();
    for len in if_there_is_room {
        if len != 0 && all.len() < VIP_LENS_ROOM {
            all.insert(len);
        }
    }
    vip_lens(all.into_iter().rev())
}

/// The lengths of the VIPs of one IP version that are prefixes.
fn lens(desired: &Desired, is_of: fn(&IpAddr) -> bool) -> impl Iterator<Item = u8> {
    let vips = desired.services.values().map(|service| service.vip);
    vips.filter(move |vip| is_of(&vip.addr())).filter_map(ServiceAddr::prefix_len)
}

/// Features that these maps need.
fn features_in_use(datapath: &Datapath) -> u64 {
    let any_port = |key: &MapKey| key.service().is_some_and(|service| service.port == 0);
    let entries = key::entries(datapath);
    let any_port = entries.keys().any(any_port);
    let by_client = entries.values().any(|it| it.flags & service_flags::AFFINITY_CLIENT != 0);
    let udp_flows = entries.values().any(|entry| entry.flags & service_flags::UDP_FLOWS != 0);
    let nat = entries.values().any(|entry| entry.flags & service_flags::NAT != 0);
    let quic = entries.values().any(|entry| entry.flags & service_flags::QUIC != 0);
    let in_services = all([
        (quic, features::QUIC),
        (any_port, features::ANY_PORT),
        (by_client, features::AFFINITY_CLIENT),
        (udp_flows, features::UDP_FLOWS),
        (nat, features::NAT),
    ]);
    datapath.backends.values().fold(in_services, |features, backend| {
        let gue = backend.kind & backend_kinds::GUE != 0;
        let checksum = backend.flags & backend_flags::CHECKSUM != 0;
        let varied = backend.flags & backend_flags::VARIED != 0;
        let nat = matches!(backend.kind, backend_kinds::NAT_V4 | backend_kinds::NAT_V6);
        features
            | all([
                (gue, features::GUE),
                (checksum, features::GUE_CHECKSUM),
                (varied, features::VARY_V4 | features::VARY_V6),
                (nat, features::NAT),
            ])
    })
}

fn all(features: impl IntoIterator<Item = (bool, u64)>) -> u64 {
    features.into_iter().fold(0, |all, (wanted, bit)| if wanted { all | bit } else { all })
}

/// The bits of the last word that a prefix of an address with `bits` leaves open.
fn host_bits(prefix: Prefix, bits: u32) -> u32 {
    let open = bits.saturating_sub(prefix.bits().into());
    1_u32.checked_shl(open).map_or(u32::MAX, |bit| bit - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_prefix_leaves_open_is_the_flows_to_choose() {
        let cases = [("10.99.0.0", 24, 32, 0xff), ("10.0.0.0", 8, 32, 0xff_ffff)];
        let v6 = [("2001:db8::", 112, 128, 0xffff), ("2001:db8::", 96, 128, u32::MAX)];
        for (addr, len, bits, wanted) in cases.into_iter().chain(v6) {
            let prefix = Prefix::new(addr.parse().unwrap(), len).unwrap();
            assert_eq!(host_bits(prefix, bits), wanted, "{prefix}");
        }
    }

    #[test]
    fn lengths_stand_in_their_order_and_leftovers_take_what_room_is_left() {
        let lens = |lens: u64| unpacked(lens).collect::<Vec<u8>>();
        assert_eq!(packed([], []), 0);
        assert_eq!(packed([24], [0]), 24);
        assert_eq!(lens(packed([24, 28], [0, 31, 24])), [31, 28, 24]);
        assert_eq!(lens(packed([9, 10, 11, 12], 20..30)), [23, 22, 21, 20, 12, 11, 10, 9]);
    }
}
