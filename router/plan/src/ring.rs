//! Who owns which slot of a ring: a function of backends, weights and seed alone, so that every
//! node with the same configuration sends a flow to the same backend.
//!
//! Two layers. The *base ring* is a weighted Maglev table over all configured backends. What is
//! not usable now keeps its slots there, and each of them is lent to a usable backend by weighted
//! rendezvous. So a change of health moves the slots of that one backend and no other, and its
//! recovery brings exactly the same slots back.
//!
//! Integers only: a float could round differently on another machine. The tests hold golden
//! checksums, because flows move when this function changes.

use core::cmp::Reverse;
use core::net::IpAddr;
use core::num::{NonZeroU16, NonZeroUsize};
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::thread;

mod walk;

use walk::{Free, Taken, Walk};

/// For each slot the position of its owner, if it has one.
pub type Owners = Arc<[Option<Position>]>;

/// Where a member is in the slice of all: in two bytes, `Option` included, as there are many rings
/// of many slots. Members beyond the first 65,534 own nothing; far fewer can be configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(NonZeroU16);

impl Position {
    fn of(index: usize) -> Option<Self> {
        u16::try_from(index).ok()?.checked_add(1).and_then(NonZeroU16::new).map(Self)
    }

    /// The index into the slice of all members.
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// A backend as the ring sees it. Its address is its identity: the position in the slice makes no
/// difference, except that the result names backends by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The backend's address.
    pub addr: IpAddr,
    /// Its share relative to the others'; with 0 it owns nothing.
    pub weight: u16,
}

/// The size at which the Maglev table is filled, for a ring of this size; the rest is doubling.
///
/// The finer the table, the fewer slots of others move when a backend comes or goes; but where two
/// sizes are filled apart, a ring that grows from one to the other moves nearly all. So there are
/// three sizes: rings double smoothly up to 32 backends, and from 33 to 256.
const fn coarse_size(size: u32) -> u32 {
    match size {
        0..=0x1000 => 0x400,
        0x1001..=0x8000 => 0x2000,
        _ => 0x1_0000,
    }
}

/// No member owns the slot.
const NOBODY: u16 = u16::MAX;

/// The base ring: for each slot the position in `members` of its owner, `None` everywhere if no
/// member has a weight. `size` is a power of two; every member with a weight owns at least one
/// slot if there are enough.
///
/// A ring is filled at a coarse size first and then doubled, with as few corrections as the exact
/// shares need. So the backend more that makes a ring double in size moves about as few flows as
/// any other.
pub fn base(seed: u64, members: &[Member], size: u32) -> Owners {
    let mut sorted: Vec<(u64, Member, Option<Position>)> = (0..)
        .zip(members)
        .map(|(index, &member)| (member_key(seed, member.addr), member, Position::of(index)))
        .collect();
    sorted.truncate(usize::from(NOBODY));
    sorted.sort_unstable_by_key(|&(key, member, _)| (key, member));
    let members: Vec<Member> = sorted.iter().map(|&(_, member, _)| member).collect();
    let keys: Vec<u64> = sorted.iter().map(|&(key, _, _)| key).collect();
    let mut level = coarse_size(size).min(size);
    let mut owners = fill(&keys, &members, level);
    while level < size {
        level = level.saturating_mul(2);
        owners = double(&keys, &owners, &shares(&members, level));
    }
    let positions: Vec<Option<Position>> = sorted.iter().map(|&(_, _, it)| it).collect();
    let position = |owner: u16| positions.get(usize::from(owner)).copied().flatten();
    owners.into_iter().map(position).collect()
}

/// The base rings of many sets of members, on all processors.
pub fn bases(seed: u64, sets: &[(Vec<Member>, u32)]) -> Vec<Owners> {
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let each = sets.len().div_ceil(processors).max(1);
    let build = |sets: &[(Vec<Member>, u32)]| -> Vec<Owners> {
        sets.iter().map(|(members, size)| base(seed, members, *size)).collect()
    };
    let (first, others) = sets.split_at(each.min(sets.len()));
    thread::scope(|scope| {
        let others: Vec<_> = others
            .chunks(each)
            .map(|part| (part, thread::Builder::new().spawn_scoped(scope, move || build(part))))
            .collect();
        let mut all = build(first);
        for (part, thread) in others {
            // What no thread could do is done here.
            let built = thread.ok().and_then(|thread| thread.join().ok());
            all.extend(built.unwrap_or_else(|| build(part)));
        }
        all
    })
}

/// Parts of a member's slots that it may have; with all of them it is wholly in service.
pub const PARTS: u8 = 8;

/// The ring as it is served: `base`, with the slots that members do not have now lent to others.
/// `parts` runs beside `members` and says how many of [`PARTS`] of its slots each has: none, and it
/// takes no part at all; some, and it comes into service little by little.
pub fn lend(seed: u64, members: &[Member], parts: &[u8], base: &Owners) -> Owners {
    if parts.len() >= members.len() && parts.iter().all(|&parts| parts >= PARTS) {
        return Arc::clone(base); // Nearly always.
    }
    let parts = |member: Position| parts.get(member.index()).copied().unwrap_or(0).min(PARTS);
    let lenders: Vec<Lender> = (0..)
        .zip(members)
        .filter(|(_, member)| member.weight > 0)
        .filter_map(|(index, member)| Some((Position::of(index)?, member)))
        .filter(|&(position, _)| parts(position) > 0)
        .map(|(position, member)| Lender {
            position,
            key: member_key(seed, member.addr),
            weight: u64::from(member.weight),
            parts: parts(position).into(),
        })
        .collect();
    (0_u64..)
        .zip(base.iter())
        .map(|(slot, &owner)| {
            let owner = owner?;
            let place = place(slot, base.len());
            let addr = members.get(owner.index()).map(|member| member.addr);
            match parts(owner) {
                PARTS => Some(owner),
                0 => rendezvous(&lenders, None, place),
                parts if addr.is_some_and(|addr| has(seed, addr, place, parts)) => Some(owner),
                // Nobody else: it has all of them.
                _ => rendezvous(&lenders, Some(owner), place).or(Some(owner)),
            }
        })
        .collect()
}

/// Whether a slot is in the first so many parts of a member's: which ones is a matter of hashes, and
/// with more parts it keeps those that it has.
fn has(seed: u64, addr: IpAddr, place: u64, parts: u8) -> bool {
    mix(mix(member_key(seed, addr)) ^ place) >> 61 < u64::from(parts)
}

/// Where a slot lies among all hashes, whatever the size of the ring: a power of two.
const fn place(slot: u64, size: usize) -> u64 {
    (slot << 32) >> size.trailing_zeros()
}

struct Lender {
    position: Position,
    key: u64,
    weight: u64,
    parts: u64,
}

/// The lender with the highest weighted score for this place, this one left out. -log(random) / weight is least for
/// a member with a probability in proportion to its weight, whoever else takes part.
fn rendezvous(lenders: &[Lender], without: Option<Position>, place: u64) -> Option<Position> {
    lenders
        .iter()
        .filter(|lender| Some(lender.position) != without)
        .min_by_key(|lender| {
            let cost = minus_log2(mix(lender.key ^ mix(place)));
            let whole = (cost << 16) / lender.weight;
            (whole.saturating_mul(u64::from(PARTS)) / lender.parts, lender.key)
        })
        .map(|lender| lender.position)
}

/// Weighted Maglev: the members take turns, and each takes the first free slot of its own
/// permutation. The size is a power of two, so any odd step visits every slot.
///
/// While many slots are free a member walks to one. The last ones are far: there each free slot is
/// asked how many steps away it is, which is a few of them at a time for the processor.
fn fill(keys: &[u64], members: &[Member], size: u32) -> Vec<u16> {
    let mask = walk::low(u64::from(size).wrapping_sub(1));
    let mut walks: Vec<Walk> = keys
        .iter()
        .map(|key| Walk { at: walk::low(mix(key ^ 1)), step: walk::low(mix(key ^ 2)) | 1 })
        .collect();
    let mut owners = vec![NOBODY; size as usize];
    let mut turns = Turns::new(members).take(size as usize);
    let few = (4 * size.isqrt()) as usize;
    let mut taken = Taken::new();
    for member in turns.by_ref().take((size as usize).saturating_sub(few)) {
        let Some(walk) = walks.get_mut(usize::from(member)) else { return owners };
        let at = walk.step_to_free(mask, &mut taken);
        if let Some(owner) = owners.get_mut(usize::from(at)) {
            *owner = member;
        }
    }
    let mut free = Free::new(&taken, mask);
    for member in turns {
        let Some(walk) = walks.get_mut(usize::from(member)) else { return owners };
        let Some(at) = walk.jump_to_free(mask, &mut free) else { return owners };
        if let Some(owner) = owners.get_mut(usize::from(at)) {
            *owner = member;
        }
    }
    owners
}

/// Each slot becomes two of the same owner; then who has too many for its exact share gives of
/// the new ones to who has too few. Which ones, and to whom, is for each slot a matter of hashes, so
/// that a backend that comes or goes changes little of it.
fn double(keys: &[u64], owners: &[u16], shares: &[u32]) -> Vec<u16> {
    let place = |slot: usize| mix(place(slot as u64, owners.len()));
    let cost = |member: u16, place: u64| {
        let key = keys.get(usize::from(member)).copied().unwrap_or_default();
        mix(key ^ place)
    };
    let mut surplus: Vec<i64> = shares.iter().map(|&share| -i64::from(share)).collect();
    for &owner in owners {
        if let Some(surplus) = surplus.get_mut(usize::from(owner)) {
            *surplus += 2;
        }
    }
    // Those with a surplus give the slots that they want least.
    let mut offers: Vec<Vec<_>> = surplus.iter().map(|_| Vec::new()).collect();
    for (slot, &owner) in owners.iter().enumerate() {
        if surplus.get(usize::from(owner)).is_some_and(|&surplus| surplus > 0)
            && let Some(offers) = offers.get_mut(usize::from(owner))
        {
            offers.push((Reverse(cost(owner, place(slot))), slot));
        }
    }
    let mut given = Vec::new();
    for (mut offers, surplus) in offers.into_iter().zip(&mut surplus) {
        let count = usize::try_from(*surplus).unwrap_or(0).min(offers.len());
        if count > 0 && count < offers.len() {
            offers.select_nth_unstable(count);
        }
        given.extend(offers.into_iter().take(count).map(|(_, slot)| (place(slot), slot)));
        *surplus = (*surplus).min(0);
    }
    given.sort_unstable();
    let mut doubled: Vec<u16> = vec![NOBODY; owners.len().saturating_mul(2)];
    for (twins, &owner) in doubled.as_chunks_mut::<2>().0.iter_mut().zip(owners) {
        *twins = [owner, owner];
    }
    let mut short: Vec<u16> =
        (0_u16..).zip(&surplus).filter(|&(_, &surplus)| surplus < 0).map(|(it, _)| it).collect();
    for (place, slot) in given {
        // The key settles it between two that want the slot as much.
        let want = |member: u16| (cost(member, place), keys.get(usize::from(member)));
        let taker = short.iter().copied().min_by_key(|&member| want(member));
        let twin = doubled.get_mut(slot.saturating_mul(2).saturating_add(1));
        let (Some(taker), Some(twin)) = (taker, twin) else { break };
        *twin = taker;
        if let Some(surplus) = surplus.get_mut(usize::from(taker)) {
            *surplus += 1;
            if *surplus >= 0 {
                short.retain(|&member| member != taker);
            }
        }
    }
    doubled
}

/// How many of `size` slots each member gets.
fn shares(members: &[Member], size: u32) -> Vec<u32> {
    if let ([first, ..], Ok(count)) = (members, u32::try_from(members.len()))
        && first.weight > 0
        && members.iter().all(|member| member.weight == first.weight)
    {
        // Nearly always: no turn needs to be taken.
        let (each, rest) = (size / count, size % count);
        return (0..count).map(|member| each + u32::from(member < rest)).collect();
    }
    let mut shares = vec![0; members.len()];
    for member in Turns::new(members).take(size as usize) {
        if let Some(share) = shares.get_mut(usize::from(member)) {
            *share += 1;
        }
    }
    shares
}

/// Whose turn it is. A member of weight w has its n-th turn at time (2n + 1) / w, which is the
/// apportionment of Sainte-Laguë: after any number of turns each had its exact share, rounded.
/// The first turn comes at time 0, so that the smallest weight has one. A member's times do not
/// depend on the others, so that none of them moves when one goes. Members of the same weight have
/// their turns one after the other, so there is one place in the queue for each weight.
struct Turns {
    queue: BinaryHeap<Reverse<Turn>>,
    /// Members of each weight in order, by [`Turn::class`].
    classes: Vec<Vec<u16>>,
    /// The class of the first in the queue, and who of it comes next.
    class: usize,
    next: usize,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    time: u64,
    weight: u64,
    count: u64,
    class: usize,
}

impl Turns {
    /// `members` in the order of their keys.
    fn new(members: &[Member]) -> Self {
        let mut classes: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
        for (position, member) in (0..).zip(members).filter(|(_, member)| member.weight > 0) {
            classes.entry(member.weight).or_default().push(position);
        }
        let queue: BinaryHeap<Reverse<Turn>> = (0..)
            .zip(classes.keys())
            .map(|(class, &weight)| {
                Reverse(Turn { time: 0, weight: u64::from(weight), count: 0, class })
            })
            .collect();
        let class = queue.peek().map_or(0, |Reverse(turn)| turn.class);
        Self { queue, classes: classes.into_values().collect(), class, next: 0 }
    }

    /// The class has had its turn: when it has the next one, and whose turn it is now.
    fn pass(&mut self) -> Option<()> {
        let mut top = self.queue.peek_mut()?;
        let Reverse(turn) = &mut *top;
        turn.count += 1;
        turn.time = ((2 * turn.count + 1) << 32) / turn.weight;
        drop(top);
        self.class = self.queue.peek()?.0.class;
        self.next = 0;
        Some(())
    }
}

impl Iterator for Turns {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        loop {
            if let Some(&member) = self.classes.get(self.class)?.get(self.next) {
                self.next += 1;
                return Some(member);
            }
            self.pass()?;
        }
    }
}

fn member_key(seed: u64, addr: IpAddr) -> u64 {
    let bits = match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
    .to_bits();
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
    mix(mix(mix(seed) ^ half(bits >> 64)) ^ half(bits))
}

/// The finalizer of SplitMix64: a bijection with full avalanche.
const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Steps of the logarithm's table.
const LOG2_STEPS: usize = 256;

/// log2(1 + i/256) for i from 0 to 256, with 32 fractional bits.
const LOG2: [u64; LOG2_STEPS + 1] = log2_table();

/// -log2(x / 2^64) with 32 fractional bits, x = 0 counted as 1: from the table, with a straight
/// line between two entries, which is true to six digits and never falls where it should rise.
fn minus_log2(x: u64) -> u64 {
    let x = x.max(1);
    let exponent = u64::from(x.ilog2());
    let mantissa = x << x.leading_zeros(); // The first bit is set.
    let step = usize::try_from((mantissa >> 55) & 0xff).unwrap_or_default();
    let rest = (mantissa >> 23) & 0xffff_ffff;
    let at = |step: usize| LOG2.get(step).copied().unwrap_or(1 << 32);
    let (low, high) = (at(step), at(step + 1));
    let fraction = low + (((high - low) * rest) >> 32);
    (64 << 32) - ((exponent << 32) + fraction)
}

#[expect(clippy::indexing_slicing, reason = "runs in the compiler, which would refuse")]
const fn log2_table() -> [u64; LOG2_STEPS + 1] {
    let mut table = [0; LOG2_STEPS + 1];
    let mut step = 0;
    while step <= LOG2_STEPS {
        // Squaring doubles the logarithm: each time it passes 1, the next bit is set.
        let mut x = ((LOG2_STEPS + step) as u128) << (62 - 8);
        let mut bits = 0;
        if step == LOG2_STEPS {
            table[step] = 1 << 32;
            break;
        }
        let mut bit = 0;
        while bit < 32 {
            x = (x * x) >> 62;
            bits <<= 1;
            if x >= 1 << 63 {
                bits |= 1;
                x >>= 1;
            }
            bit += 1;
        }
        table[step] = bits;
        step += 1;
    }
    table
}

#[cfg(test)]
mod tests;
