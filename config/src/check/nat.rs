//! Services in mode `nat`, and how they are translated.

use core::net::IpAddr;

use super::{Role, check_address};
use crate::desired::{ForwardingMode, Nat, NatTimeouts, Protocol};
use crate::diagnostic::Found;
use crate::raw::ServiceTable;
use crate::raw::nat::NatTable;
use crate::read::At;

pub(super) fn check(raw: &NatTable, found: &mut Found<'_>) -> Option<Nat> {
    const ROLE: &str = "the source of a packet";
    let v4 = raw.source_v4.as_ref().is_none_or(|at| check_address(at, ROLE, Role::Network, found));
    let v6 = raw.source_v6.as_ref().is_none_or(|at| check_address(at, ROLE, Role::Network, found));
    let timeouts = NatTimeouts {
        tcp_handshake: raw.tcp_handshake.as_ref()?.value.0,
        tcp_established: raw.tcp_established.as_ref()?.value.0,
        tcp_half_closed: raw.tcp_half_closed.as_ref()?.value.0,
        tcp_closed: raw.tcp_closed.as_ref()?.value.0,
        udp: raw.udp.as_ref()?.value.0,
    };
    let ports = raw.ports.as_ref()?.value;
    (v4 && v6).then_some(Nat {
        source_v4: raw.source_v4.as_ref().map(|at| at.value),
        source_v6: raw.source_v6.as_ref().map(|at| at.value),
        first_port: ports.first,
        last_port: ports.last,
        timeouts,
    })
}

/// What cannot be translated, and what only translation can do. Returns the port of the backends;
/// 0: the one that the client asks.
pub(super) fn check_service(raw: &ServiceTable, found: &mut Found<'_>) -> Option<u16> {
    let mode = raw.mode.as_ref()?;
    let is_nat = mode.value == ForwardingMode::Nat;
    let is_sctp = raw.protocol.as_ref().is_some_and(|at| at.value == Protocol::Sctp);
    if is_nat && is_sctp {
        let sentence = "SCTP is not translated: its checksum covers the ports by every byte, and \
                        its endpoints tell each other addresses";
        found.error(&mode.span, &mode.key, sentence, "write mode = \"ipip\", \"gue\" or \"l2\"");
    }
    let Some(port) = &raw.backend_port else { return Some(0) };
    if !is_nat {
        let sentence = "only in mode \"nat\" can backends have a port of their own: else packets \
                        reach them unchanged";
        let remedy = "write mode = \"nat\", or remove this key";
        found.error(&port.span, &port.key, sentence, remedy);
    }
    Some(port.value.0)
}

/// A translated packet keeps its IP version.
pub(super) fn check_backend(raw: &ServiceTable, backend: &At<IpAddr>, found: &mut Found<'_>) {
    let (Some(mode), Some(vip)) = (&raw.mode, &raw.vip) else { return };
    if mode.value == ForwardingMode::Nat && vip.value.0.addr().is_ipv4() != backend.value.is_ipv4()
    {
        let sentence =
            format!("in mode nat, {} cannot serve a VIP of the other IP version", backend.value);
        let remedy = "write the backend's address of the VIP's version, or mode = \"ipip\"";
        found.error(&backend.span, &backend.key, sentence, remedy);
    }
}
