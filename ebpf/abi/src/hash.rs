//! The flow hash: which slot of a ring a packet belongs to.
//!
//! Seeded, so that nobody outside can choose packets that fall into one slot; the same on every
//! node with the same seed and in every version: flows move with it, so it may never change.
//! Multiplications and shifts only: BPF has no widening multiply, and its division is slow.

#![expect(clippy::inline_always, reason = "on the packet path a call costs more than the hash")]

const INITIAL: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 / golden ratio.
const MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93; // Odd, with a good avalanche in published tests.

/// Hash of an IPv4 flow. `addrs` is client << 32 | VIP, `ports` is client port << 16 | service
/// port (host order); for affinity by client address both but the client are zero.
#[inline(always)]
pub const fn flow_hash_v4(seed: u64, addrs: u64, ports: u32, proto: u8) -> u32 {
    let x = mix(seed ^ INITIAL ^ addrs);
    finish(x, ports, proto)
}

/// Hash of an IPv6 flow: each address as two big-endian words; for affinity by client address
/// all but the client's are zero.
#[inline(always)]
pub const fn flow_hash_v6(seed: u64, src: [u64; 2], dst: [u64; 2], ports: u32, proto: u8) -> u32 {
    let [src_high, src_low] = src;
    let [dst_high, dst_low] = dst;
    let mut x = mix(seed ^ INITIAL ^ src_high);
    x = mix(x ^ src_low);
    x = mix(x ^ dst_high);
    x = mix(x ^ dst_low);
    finish(x, ports, proto)
}

/// Slot of a ring of `size` slots: the hash scaled down, without a division.
#[inline(always)]
pub const fn slot_of(hash: u32, size: u32) -> u32 {
    // A 32-bit value times a 32-bit value, shifted by 32, fits 32 bits.
    ((hash as u64 * size as u64) >> 32) as u32
}

#[inline(always)]
const fn finish(x: u64, ports: u32, proto: u8) -> u32 {
    let x = mix(x ^ ports as u64 ^ ((proto as u64) << 32));
    (x >> 32) as u32
}

#[inline(always)]
const fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 32)).wrapping_mul(MULTIPLIER);
    x ^ (x >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes() {
        // Golden: nodes of different versions must agree, or flows move on an upgrade.
        let cases = [
            (flow_hash_v4(0, 0xc633_6407_c000_020a, (40_000 << 16) + 80, 6), 2_925_115_950),
            (flow_hash_v4(1, 0xc633_6407_c000_020a, (40_000 << 16) + 80, 6), 4_208_765_663),
            (flow_hash_v6(0, [1 << 61, 7], [1 << 61, 10], (40_000 << 16) + 80, 6), 2_806_399_373),
        ];
        for (row, (found, golden)) in cases.into_iter().enumerate() {
            assert_eq!(found, golden, "case {row}");
        }
    }

    #[test]
    fn neighbouring_clients_spread_evenly_over_the_slots() {
        const SLOTS: u32 = 16;
        const FLOWS: u32 = 16_000;
        let mut hits = [0_u32; SLOTS as usize];
        for flow in 0..FLOWS {
            let addrs = u64::from(0x0a00_0000 + flow / 100) << 32 | 0xc000_020a;
            let hash = flow_hash_v4(3, addrs, ((32_768 + flow % 100) << 16) + 443, 6);
            hits[slot_of(hash, SLOTS) as usize] += 1;
        }
        for (slot, &hit) in hits.iter().enumerate() {
            assert!((800..1_200).contains(&hit), "slot {slot} got {hit} of 1000 expected");
        }
    }
}
