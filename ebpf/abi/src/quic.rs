//! Connection ids of QUIC that name their server in plain (draft-ietf-quic-load-balancers, unencrypted):
//! one octet, the high three bits of which say by which configuration the rest was made, then the
//! server id, then whatever the server likes.

use crate::service_flags;

/// Octets of a server id, at most: the draft's limit.
pub const SERVER_ID_MAX: usize = 15;

plain! {
    /// Key of `QUIC_SERVERS`. Aligned, so that the packet path fills it in by words.
    #[derive(Default)]
    #[repr(align(8))]
    pub struct QuicKey {
        /// [`Service::index`](crate::Service).
        pub service: u32,
        /// Always zero.
        pub reserved: u32,
        /// The start of a connection id, as far as it names a server: see [`server_id_of`].
        pub id: [u8; 16],
    }
}

const _: () = assert!(size_of::<QuicKey>() == 24);

/// Octets of a server id in connection ids of a configuration (three bits), by the flags of their
/// service.
#[inline(always)]
pub const fn server_id_len(flags: u32, config: u32) -> u32 {
    let former = flags >> service_flags::FORMER_CONFIG & 7;
    let shift = if config + 1 == former {
        service_flags::FORMER_ID_LEN
    } else {
        service_flags::SERVER_ID_LEN
    };
    flags >> shift & 0xf
}

/// What names the server in the first sixteen octets of a connection id, as two words of which the
/// first octet is the highest byte: the bits of the configuration, and so many octets of server id;
/// all else is zero. Of the length four bits count.
#[inline(always)]
pub const fn server_id_of(start: [u64; 2], len: u32) -> [u64; 2] {
    const CONFIG: u64 = 0xe0 << 56;
    const ID: u64 = u64::MAX >> 8;
    let [high, low] = start;
    let len = len & 0xf;
    if len < 8 {
        [high & (CONFIG | (ID & (ID << (8 * (7 - len))))), 0]
    } else {
        [high & (CONFIG | ID), low & (u64::MAX << (8 * (15 - len)))]
    }
}

impl QuicKey {
    /// The configuration of connection ids that name no server, whatever follows.
    pub const UNROUTABLE: u8 = 7;

    /// The key of a server, of which the id's octets beyond [`SERVER_ID_MAX`] do not count.
    pub fn new(service: u32, config_id: u8, server_id: &[u8]) -> Self {
        let mut id = [0; 16];
        id.iter_mut().skip(1).zip(server_id).for_each(|(octet, &of_id)| *octet = of_id);
        if let Some(first) = id.first_mut() {
            *first = config_id << 5;
        }
        Self { service, reserved: 0, id }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn configuration_and_server_id_count_and_nothing_behind() {
        let start: [u8; 16] = core::array::from_fn(|n| 0xf0 | u8::try_from(n).unwrap());
        let (words, _) = start.as_chunks::<8>();
        let words = [words[0], words[1]].map(u64::from_be_bytes);
        for len in 0..=SERVER_ID_MAX {
            let found = server_id_of(words, u32::try_from(len).unwrap()).map(u64::to_be_bytes);
            let key = QuicKey::new(0, 7, &start[1..=len]);
            assert_eq!(found.concat(), key.id, "{len} octets");
        }
    }
}
