use core::net::Ipv4Addr;
use std::collections::BTreeMap;

use tidegate_abi::ring_size;

use super::*;

mod spread;

const SEED: u64 = 7;

fn addr(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + n).into()
}

fn equal(n: u32) -> Vec<Member> {
    (1..=n).map(|n| Member { addr: addr(n), weight: 1 }).collect()
}

fn weighted(weights: &[u16]) -> Vec<Member> {
    (1..).zip(weights).map(|(n, &weight)| Member { addr: addr(n), weight }).collect()
}

/// The owner's address by slot.
fn by_addr(members: &[Member], ring: &[Option<Position>]) -> Vec<Option<IpAddr>> {
    ring.iter().map(|owner| owner.map(|owner| members[owner.index()].addr)).collect()
}

fn built(members: &[Member]) -> Vec<Option<IpAddr>> {
    let size = ring_size(u32::try_from(members.len()).unwrap());
    by_addr(members, &base(SEED, members, size))
}

fn served(members: &[Member], down: &[u32]) -> Vec<Option<IpAddr>> {
    let down = |m: &Member| down.iter().any(|&n| addr(n) == m.addr);
    starting(members, |m| if down(m) { 0 } else { PARTS })
}

/// The ring with so many parts of each one's slots.
fn starting(members: &[Member], parts: impl Fn(&Member) -> u8) -> Vec<Option<IpAddr>> {
    let parts: Vec<u8> = members.iter().map(parts).collect();
    let size = ring_size(u32::try_from(members.len()).unwrap());
    by_addr(members, &lend(SEED, members, &parts, &base(SEED, members, size)))
}

#[test]
fn a_backend_comes_into_service_part_by_part() {
    let members = equal(10);
    let ring = |parts: u8| starting(&members, |m| if m.addr == addr(3) { parts } else { PARTS });
    let share = |ring: &[Option<IpAddr>]| counts(ring).get(&addr(3)).copied().unwrap_or(0);
    let whole = share(&ring(PARTS));
    let mut before = ring(0);
    for parts in 1..=PARTS {
        let now = ring(parts);
        let wanted = whole * usize::from(parts) / usize::from(PARTS);
        assert!(share(&now).abs_diff(wanted) < whole / 5, "{parts}: {} of {whole}", share(&now));
        for (before, now) in before.iter().zip(&now).filter(|(before, now)| before != now) {
            assert_eq!(*now, Some(addr(3)), "slots move to it and nowhere else");
            assert_ne!(*before, Some(addr(3)));
        }
        before = now;
    }
    // Alone it has all, and of two that start each has its half.
    assert_eq!(share(&starting(&equal(10), |m| u8::from(m.addr == addr(3)))), before.len());
    let two = counts(&starting(&equal(2), |_| 1));
    assert!(two.values().all(|&slots| slots > 400), "{two:?}");
}

fn counts(ring: &[Option<IpAddr>]) -> BTreeMap<IpAddr, usize> {
    let mut counts = BTreeMap::new();
    for owner in ring.iter().flatten() {
        *counts.entry(*owner).or_insert(0) += 1;
    }
    counts
}

/// Of 10,000 hashes, how many find another owner.
fn moved(before: &[Option<IpAddr>], after: &[Option<IpAddr>]) -> (usize, usize) {
    let gone: Vec<IpAddr> = {
        let after = counts(after);
        counts(before).into_keys().filter(|addr| !after.contains_key(addr)).collect()
    };
    let size = before.len().max(after.len());
    let at = |ring: &[Option<IpAddr>], i: usize| ring[i * ring.len() / size];
    let changed = (0..size).filter(|&i| at(before, i) != at(after, i));
    let (own, others): (Vec<usize>, Vec<usize>) =
        changed.partition(|&i| at(before, i).is_some_and(|addr| gone.contains(&addr)));
    (own.len() * 10_000 / size, others.len() * 10_000 / size)
}

#[test]
fn shares_are_exact_to_one_slot() {
    let cases: &[(&str, Vec<u16>)] = &[
        ("10:1", vec![10, 1]),
        ("1:10", vec![1, 10]),
        ("1:1:1:5", vec![1, 1, 1, 5]),
        ("1000:1", vec![1000, 1]),
        ("seven equal", vec![100; 7]),
        ("seventeen mixed", (1..=17).map(|n| n * 3).collect()),
        ("hundred mixed", (1..=100).map(|n| 1 + n % 7).collect()),
        ("a thousand", vec![1; 1000]),
        ("with a drained one", vec![3, 0, 5]),
    ];
    for (name, weights) in cases {
        let members = weighted(weights);
        let ring = built(&members);
        let counts = counts(&ring);
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        for member in &members {
            let size = f64::from(u32::try_from(ring.len()).unwrap());
            let share = size * f64::from(member.weight) / total;
            let count = counts.get(&member.addr).copied().unwrap_or(0);
            let count = f64::from(u32::try_from(count).unwrap());
            assert!((count - share).abs() < 1.0, "{name}: {member:?} has {count} of {share}");
        }
    }
}

#[test]
fn ten_to_one_is_ten_to_one() {
    let members = weighted(&[10, 1]);
    assert_eq!(counts(&built(&members)).into_values().collect::<Vec<_>>(), [931, 93]);
}

#[test]
fn the_smallest_weight_has_a_slot() {
    let mut weights = vec![1000; 40];
    weights.push(1);
    assert_eq!(counts(&built(&weighted(&weights)))[&addr(41)], 1);
}

#[test]
fn nobody_owns_a_ring_without_weights() {
    assert!(built(&[]).iter().all(Option::is_none));
    assert!(built(&weighted(&[0, 0])).iter().all(Option::is_none));
    assert!(served(&equal(3), &[1, 2, 3]).iter().all(Option::is_none));
}

#[test]
fn the_order_of_the_members_makes_no_difference() {
    let members = weighted(&[5, 1, 3, 3, 1, 1, 2, 8, 1, 4]);
    let mut reversed = members.clone();
    reversed.reverse();
    assert!(built(&members) == built(&reversed));
    assert!(served(&members, &[3, 8]) == served(&reversed, &[3, 8]));
}

#[test]
fn a_change_of_health_moves_only_the_slots_of_that_backend() {
    for n in [2, 3, 10, 100] {
        let members = equal(n);
        let all_up = served(&members, &[]);
        let one_down = served(&members, &[1]);
        let two_down = served(&members, &[1, 2]);
        for ((up, one), two) in all_up.iter().zip(&one_down).zip(&two_down) {
            assert!(up == one || *up == Some(addr(1)), "{n}: a slot of {up:?} moved to {one:?}");
            assert!(one == two || *one == Some(addr(2)), "{n}: a slot of {one:?} moved to {two:?}");
        }
        assert!(served(&members, &[]) == all_up, "{n}: recovery brings the same slots back");
        assert!(!counts(&one_down).contains_key(&addr(1)), "{n}");
    }
}

#[test]
fn lent_slots_are_spread_by_weight() {
    // Backend 1 owns half of the ring; the others shall get of it by their weights.
    let members = weighted(&[700, 100, 200, 400]);
    let owned = counts(&served(&members, &[]));
    let with_lent = counts(&served(&members, &[1]));
    let lent = |n: u32| with_lent[&addr(n)] - owned[&addr(n)];
    let (two, three, four) = (lent(2), lent(3), lent(4));
    assert_eq!(two + three + four, 512);
    // 73, 146 and 293 expected; four standard deviations around.
    for (name, found, range) in
        [("100", two, 41..=105), ("200", three, 105..=187), ("400", four, 248..=338)]
    {
        assert!(range.contains(&found), "weight {name} was lent {found} of 512");
    }
}

#[test]
fn a_backend_that_leaves_the_configuration_moves_few_slots_of_others() {
    // Backends, and how many of 10,000 slots of others may move. 9, 17 and 65 shrink the ring.
    let cases = [
        (3, 250),
        (9, 350),
        (10, 350),
        (17, 500),
        (32, 600),
        (40, 200),
        (65, 300),
        (100, 250),
        (256, 300),
        (400, 150),
        (1000, 100),
    ];
    for (n, others_max) in cases {
        let before = equal(n);
        let mut worst = (0, 0);
        for gone in [1, n / 2, n] {
            let mut after = before.clone();
            after.retain(|member| member.addr != addr(gone));
            let (own, others) = moved(&built(&before), &built(&after));
            worst = (worst.0.max(own), worst.1.max(others));
        }
        println!("{n} backends: {} + {} of 10000", worst.0, worst.1);
        assert!(worst.1 <= others_max, "{n}: {} of 10000 slots of others moved", worst.1);
    }
    // Where the table is filled at another size nearly all new flows go elsewhere; old ones stay
    // while they drain.
    for n in [33, 257] {
        let (before, after) = (equal(n), equal(n - 1));
        let (_, others) = moved(&built(&before), &built(&after));
        println!("{n} backends: {others} of 10000");
        assert!(others > 5_000, "known: {n} backends less one moves {others}");
    }
}

#[test]
fn the_ring_never_changes() {
    // Golden: nodes of different versions must agree, or flows move on an upgrade.
    let checksum = |ring: &[Option<IpAddr>]| {
        ring.iter().fold(0_u64, |sum, owner| {
            let owner = match owner {
                Some(IpAddr::V4(v4)) => u64::from(v4.to_bits()),
                Some(IpAddr::V6(_)) | None => 0,
            };
            (sum ^ owner).wrapping_mul(0x0100_0000_01b3).rotate_left(5)
        })
    };
    let cases = [
        ("three", checksum(&built(&equal(3))), 12_225_821_490_865_500_812),
        (
            "twenty, weighted",
            checksum(&built(&weighted(&[1, 2, 3, 4].repeat(5)))),
            5_553_298_733_241_845_254,
        ),
        ("three, one down", checksum(&served(&equal(3), &[2])), 3_075_529_893_165_480_466),
        ("a hundred", checksum(&built(&equal(100))), 2_644_614_077_871_191_598),
    ];
    let found = cases.map(|(name, found, _)| (name, found));
    assert_eq!(found, cases.map(|(name, _, golden)| (name, golden)));
}

#[test]
fn the_logarithm_is_right_and_falls_all_the_way() {
    for x in [1, 2, 3, 255, 256, 257, 1 << 20, (1 << 40) + 12_345, u64::MAX / 3, u64::MAX] {
        #[expect(clippy::cast_precision_loss, reason = "a comparison to six digits")]
        let (found, wanted) = (
            minus_log2(x) as f64 / f64::from(1 << 16) / f64::from(1 << 16),
            64.0 - (x as f64).log2(),
        );
        assert!((found - wanted).abs() < 1e-5, "{x}: {found}, not {wanted}");
    }
    let samples: Vec<u64> = (0..2_000_u64).map(|n| n << 53 | n).collect();
    assert!(samples.windows(2).all(|pair| minus_log2(pair[0]) >= minus_log2(pair[1])));
}
