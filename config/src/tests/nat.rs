//! Services in mode `nat`.

use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use proptest::option;
use proptest::prelude::*;

use super::{BASE, accepted};
use crate::desired::{Nat, NatTimeouts};

/// Any `[nat]`.
pub(super) fn nat() -> impl Strategy<Value = Nat> {
    let time = || (1_000_u64..=3_600_000).prop_map(Duration::from_millis);
    let sources = (option::of(any::<u8>()), option::of(any::<u16>()));
    let times = (time(), time(), time(), time(), time());
    (sources, any::<(u16, u16)>(), times).prop_map(|((v4, v6), ports, times)| Nat {
        source_v4: v4.map(|n| Ipv4Addr::new(10, 98, 0, n)),
        source_v6: v6.map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0x98, 0, 0, 0, 0, n)),
        first_port: ports.0.min(ports.1).max(1),
        last_port: ports.0.max(ports.1).max(1),
        timeouts: NatTimeouts {
            tcp_handshake: times.0,
            tcp_established: times.1,
            tcp_half_closed: times.2,
            tcp_closed: times.3,
            udp: times.4,
        },
    })
}

#[test]
fn a_check_asks_where_the_backends_listen() {
    let text = BASE.replace("port = 80", "port = 80\nmode = \"nat\"\nbackend-port = 8080")
        + "[service.health]\ntype = \"tcp\"\n";
    let desired = accepted(&text).desired;
    let service = &desired.services["web"];
    assert_eq!(service.backend_port, 8_080);
    assert_eq!(service.health.as_ref().unwrap().port, 8_080);
}
