//! Connection ids of QUIC (RFC 8999 §5, draft-ietf-quic-load-balancers without encryption).

use tidegate_abi::{QuicKey, Service, backend_flags, features, ip_proto, service_flags};

use super::{Model, Packet};

/// What stands in a UDP datagram where a packet of QUIC has its connection id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId {
    /// The first octets from its start on.
    pub start: [u8; 16],
    /// How many are its own, where the header says so: a short one does not.
    pub len: Option<u8>,
}

/// The connection id in what a UDP datagram carries. A packet that ends sooner is none of QUIC's:
/// behind the id it has a number and what the header is protected by (RFC 9001 §5.4.2).
pub(super) fn connection_id(payload: &[u8]) -> Option<ConnectionId> {
    let (first, rest) = payload.split_first()?;
    let (rest, len) = match rest {
        // Behind the version stands the id's length (§5.1).
        [_, _, _, _, len, rest @ ..] if first & 0x80 != 0 => (rest, Some(*len)),
        _ if first & 0x80 != 0 => return None,
        rest => (rest, None), // §5.2
    };
    Some(ConnectionId { start: *rest.first_chunk()?, len })
}

impl Model<'_> {
    /// The backend that a packet's connection id names, or, of a later part of a datagram, the first
    /// part's; `None` if that cannot be reached, or nobody asks.
    pub(super) fn named(&self, packet: &Packet, service: Service) -> Option<u32> {
        let is_wanted = self.constants.features & features::QUIC != 0
            && service.flags & service_flags::QUIC != 0
            && packet.flow.proto == ip_proto::UDP;
        let named = packet.named.or_else(|| self.server(packet.connection?, service));
        let is_resolved = |index: &u32| {
            let entry = self.maps.backends.get(index);
            entry.is_some_and(|entry| entry.flags & backend_flags::RESOLVED != 0)
        };
        named.filter(|_| is_wanted).filter(is_resolved)
    }

    fn server(&self, connection: ConnectionId, service: Service) -> Option<u32> {
        let [first, rest @ ..] = connection.start;
        let former = service.flags >> service_flags::FORMER_CONFIG & 7;
        let is_former = former != 0 && u32::from(first >> 5) == former - 1;
        let len_at =
            if is_former { service_flags::FORMER_ID_LEN } else { service_flags::SERVER_ID_LEN };
        let id_len = service.flags >> len_at & 0xf;
        if connection.len.is_some_and(|len| u32::from(len) <= id_len) {
            return None; // The octet before the server id is one of its own, too.
        }
        let server_id = rest.get(..usize::try_from(id_len).ok()?)?;
        let key = QuicKey::new(service.index, first >> 5, server_id);
        self.maps.quic_servers.get(&key).copied()
    }
}
