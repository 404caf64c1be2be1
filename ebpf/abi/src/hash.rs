//! The flow hash: which slot of a ring a packet belongs to.
//!
//! Seeded, so that nobody outside can choose packets that fall into one slot; the same on every
//! node with the same seed and in every version: flows move with it, so it may never change.
//! Multiplications and shifts only: BPF has no widening multiply, and its division is slow.

#![expect(clippy::inline_always, reason = "on the packet path a call costs more than the hash")]

use core::hint::black_box;

const INITIAL: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 / golden ratio.
const MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93; // Odd, with a good avalanche in published tests.

/// Hash of an IPv4 flow. `addrs` is client << 32 | VIP, `ports` is client port << 16 | service
/// port (host order); for affinity by client address both but the client are zero.
#[inline(always)]
pub const fn flow_hash_v4(seed: u64, addrs: u64, ports: u32, proto: u8) -> u32 {
    let x = mix(seed ^ INITIAL ^ addrs);
    finish(x, ports, proto)
}

/// The same hash by multiplications of 32 bits, all that a network card has.
#[inline(always)]
pub fn flow_hash_v4_by_halves(seed: u64, addrs: u64, ports: u32, proto: u8) -> u32 {
    let x = mix_by_halves(seed ^ INITIAL ^ addrs);
    finish_by_halves(x, ports, proto)
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

/// The same hash by multiplications of 32 bits.
#[inline(always)]
pub fn flow_hash_v6_by_halves(
    seed: u64,
    src: [u64; 2],
    dst: [u64; 2],
    ports: u32,
    proto: u8,
) -> u32 {
    let [src_high, src_low] = src;
    let [dst_high, dst_low] = dst;
    let mut x = mix_by_halves(seed ^ INITIAL ^ src_high);
    x = mix_by_halves(x ^ src_low);
    x = mix_by_halves(x ^ dst_high);
    x = mix_by_halves(x ^ dst_low);
    finish_by_halves(x, ports, proto)
}

/// Slot of a ring of `size` slots: the hash scaled down, without a division.
#[inline(always)]
pub const fn slot_of(hash: u32, size: u32) -> u32 {
    // A 32-bit value times a 32-bit value, shifted by 32, fits 32 bits.
    ((hash as u64 * size as u64) >> 32) as u32
}

/// The token buckets of a source at a service, by the bits of its address that count. Sources share
/// buckets by chance: there is nothing to insert and nothing to push out, however many come.
#[inline(always)]
pub const fn source_bucket(seed: u64, service: u32, source: u64) -> u32 {
    slot_of(finish(mix(seed ^ INITIAL ^ source), service, 0), crate::SOURCE_BUCKETS)
}

#[inline(always)]
const fn finish(x: u64, ports: u32, proto: u8) -> u32 {
    // One multiplication carries what differs between neighbouring ports past the top bits, which
    // choose the slot; folded down, a second one brings it there.
    let x = (x ^ ports as u64 ^ ((proto as u64) << 32)).wrapping_mul(MULTIPLIER);
    ((x ^ (x >> 32)).wrapping_mul(MULTIPLIER) >> 32) as u32
}

#[inline(always)]
const fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 32)).wrapping_mul(MULTIPLIER);
    x ^ (x >> 29)
}

#[inline(always)]
fn finish_by_halves(x: u64, ports: u32, proto: u8) -> u32 {
    let x = times_multiplier(x ^ u64::from(ports) ^ (u64::from(proto) << 32));
    (times_multiplier(x ^ (x >> 32)) >> 32) as u32
}

#[inline(always)]
fn mix_by_halves(x: u64) -> u64 {
    let x = times_multiplier(x ^ (x >> 32));
    x ^ (x >> 29)
}

/// `x` times [`MULTIPLIER`], from products of values below 2^32.
#[inline(always)]
fn times_multiplier(x: u64) -> u64 {
    const HALF: u64 = 0xffff_ffff;
    let (high, low) = (x >> 32, x & HALF);
    let cross = (low * (MULTIPLIER >> 32)).wrapping_add(high * (MULTIPLIER & HALF));
    // Hidden, or the compiler makes one multiplication of it again.
    (low * (MULTIPLIER & HALF)).wrapping_add(black_box(cross) << 32)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn the_hash_never_changes() {
        // Golden: nodes of different versions must agree, or flows move on an upgrade.
        let cases = [
            (flow_hash_v4(0, 0xc633_6407_c000_020a, (40_000 << 16) + 80, 6), 3_351_224_881),
            (flow_hash_v4(1, 0xc633_6407_c000_020a, (40_000 << 16) + 80, 6), 1_014_293_826),
            (flow_hash_v6(0, [1 << 61, 7], [1 << 61, 10], (40_000 << 16) + 80, 6), 3_042_558_404),
        ];
        for (row, (found, golden)) in cases.into_iter().enumerate() {
            assert_eq!(found, golden, "case {row}");
        }
    }

    #[test]
    fn by_halves_it_is_the_same() {
        let mut x = INITIAL;
        let mut next = || {
            x = x.wrapping_mul(MULTIPLIER).rotate_left(17) ^ INITIAL;
            x
        };
        for turn in 0..10_000 {
            // Also words that are all ones or none.
            let mut word = || match (turn, next()) {
                (0, _) => u64::MAX,
                (1, _) => 0,
                (_, any) => any,
            };
            let (seed, src, dst) = (word(), [word(), word()], [word(), word()]);
            let (ports, proto) = ((word() >> 32) as u32, (word() >> 56) as u8);
            assert_eq!(
                flow_hash_v4(seed, src[0], ports, proto),
                flow_hash_v4_by_halves(seed, src[0], ports, proto)
            );
            assert_eq!(
                flow_hash_v6(seed, src, dst, ports, proto),
                flow_hash_v6_by_halves(seed, src, dst, ports, proto)
            );
        }
    }

    /// How far from even the slots are hit, in standard deviations of chance: 0 is as even as chance
    /// is, below it more so, above it less.
    fn unevenness(slots: u32, hashes: impl Iterator<Item = u32>) -> f64 {
        let mut hits = std::vec![0_u32; slots as usize];
        let mut flows = 0;
        for hash in hashes {
            hits[slot_of(hash, slots) as usize] += 1;
            flows += 1;
        }
        let (expected, freedom) = (f64::from(flows) / f64::from(slots), f64::from(slots - 1));
        let apart = |hit: &u32| (f64::from(*hit) - expected).powi(2) / expected;
        (hits.iter().map(apart).sum::<f64>() - freedom) / (2.0 * freedom).sqrt()
    }

    /// Clients count their ports up by one, two as Linux does, or another step; networks count
    /// their addresses. Chance is what a client cannot tell slots from.
    #[test]
    fn neighbouring_flows_spread_as_chance_would() {
        const VIP: u64 = 0xc000_020a;
        for seed in 0..8 {
            for slots in [2, 3, 5, 16, 251] {
                for step in [1, 2, 3, 16, 200, 201, 256] {
                    // Who has used up all ports goes on from another address.
                    let flow = |n: u32| (n * step / 65_536, ((n * step % 65_536) << 16) + 443);
                    let flows = || (0..20 * slots).map(flow);
                    let v4 = flows().map(|(client, ports)| {
                        flow_hash_v4(seed, u64::from(0x0a00_0000 + client) << 32 | VIP, ports, 6)
                    });
                    let v6 = flows().map(|(client, ports)| {
                        flow_hash_v6(seed, [1 << 61, client.into()], [1 << 61, 10], ports, 6)
                    });
                    let clients = (0..20 * slots)
                        .map(|n| flow_hash_v4(seed, u64::from(0x0a00_0000 + n * step) << 32, 0, 6));
                    let apart =
                        [unevenness(slots, v4), unevenness(slots, v6), unevenness(slots, clients)];
                    let fair = apart.iter().all(|it| it.abs() < 10.0);
                    assert!(fair, "seed {seed}, {slots} slots, step {step}: {apart:?}");
                }
            }
        }
    }
}
