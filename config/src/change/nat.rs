//! `[nat]`, key by key.

use super::Rows;
use crate::desired::{Nat, NatTimeouts};
use crate::value::duration_text;

pub(super) fn of_nat(nat: &Nat) -> Rows {
    let Nat { source_v4, source_v6, first_port, last_port, timeouts } = nat;
    let NatTimeouts { tcp_handshake, tcp_established, tcp_half_closed, tcp_closed, udp } =
        *timeouts;
    let mut rows = Rows::default();
    rows.maybe("nat", "source-v4", source_v4.as_ref());
    rows.maybe("nat", "source-v6", source_v6.as_ref());
    rows.put("nat", "ports", format_args!("{first_port}-{last_port}"));
    rows.put("nat", "tcp-handshake", duration_text(tcp_handshake));
    rows.put("nat", "tcp-established", duration_text(tcp_established));
    rows.put("nat", "tcp-half-closed", duration_text(tcp_half_closed));
    rows.put("nat", "tcp-closed", duration_text(tcp_closed));
    rows.put("nat", "udp", duration_text(udp));
    rows
}
