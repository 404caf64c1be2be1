//! Which of two connections with one peer survives (RFC 4271 §6.8).

use crate::types::{Asn, RouterId};
use crate::wire::notification::Notification;

/// Whose connection stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The one that we dialled.
    Ours,
    /// The one that the peer dialled.
    Theirs,
}

/// The connection dialled by the higher BGP Identifier stays; between equal ones, which only
/// peers in different ASes may have, the higher AS number decides (RFC 6286 §2.3).
pub fn resolve_collision(local: (RouterId, Asn), remote: (RouterId, Asn)) -> Keep {
    if local > remote { Keep::Ours } else { Keep::Theirs }
}

/// Whether this ends a connection that lost, and not the session as such.
pub fn is_collision(notification: &Notification) -> bool {
    let collision = Notification::CONNECTION_COLLISION_RESOLUTION;
    (notification.code, notification.subcode) == (collision.code, collision.subcode)
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_higher_identifier_keeps_its_connection_then_the_higher_as() {
        // (local id, local AS) against (remote id, remote AS). RFC 4271 §6.8, RFC 6286 §2.3.
        let cases = [
            ("higher identifier", (20, 65_001), (10, 65_002), Keep::Ours),
            ("lower identifier", (10, 65_001), (20, 65_002), Keep::Theirs),
            ("an identifier is unsigned", (0xc000_0001, 1), (0x0a00_0001, 2), Keep::Ours),
            ("same identifier, higher AS", (10, 65_002), (10, 65_001), Keep::Ours),
            ("same identifier, lower AS", (10, 65_001), (10, 65_002), Keep::Theirs),
            ("an AS number is four octets", (10, 4_200_000_000), (10, 65_001), Keep::Ours),
        ];
        let identity =
            |(id, asn)| (RouterId::new(Ipv4Addr::from_bits(id)).unwrap(), Asn::new(asn).unwrap());
        for (name, local, remote, keep) in cases {
            assert_eq!(resolve_collision(identity(local), identity(remote)), keep, "{name}");
        }
    }
}
