//! Rings in their places: services that want the same share one.
//!
//! A shared ring is changed in place only while all its services want the same change. Who wants
//! another one leaves, for a ring that holds slot for slot what one of its own would, found or
//! built; who holds the same as others, settled, moves in with the most. So sharing decides where
//! slots lie, and never which backend a packet finds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_abi::Slot;

use crate::ring::Member;
use crate::rings::Rings;
use crate::slots::{self, Scan, Span, Spans};

/// What a ring shall hold when no flow is on its way from one backend to another any more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) size: u32,
    pub(crate) members: Vec<Member>,
    /// Beside `members`: how many parts of its slots it has ([`ring::lend`](crate::ring::lend)).
    pub(crate) parts: Vec<u8>,
    /// Beside `members`: its index, if slots may name it.
    pub(crate) ready: Vec<Option<u32>>,
}

/// All that decides what is written into the ring of a service, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wish {
    pub(crate) target: usize,
    /// Indices in the ring to which old flows may still go.
    pub(crate) alive: usize,
    /// Old flows get time to end.
    pub(crate) drains: bool,
    /// And that time is over.
    pub(crate) is_drained: bool,
}

/// Things by number, each once.
pub(crate) struct Numbered<T> {
    numbers: BTreeMap<Arc<T>, usize>,
    all: Vec<Arc<T>>,
}

impl<T: Ord> Numbered<T> {
    pub(crate) const fn new() -> Self {
        Self { numbers: BTreeMap::new(), all: Vec::new() }
    }

    pub(crate) fn number(&mut self, it: T) -> usize {
        if let Some(&number) = self.numbers.get(&it) {
            return number;
        }
        let it = Arc::new(it);
        self.all.push(Arc::clone(&it));
        let number = self.all.len() - 1;
        self.numbers.insert(it, number);
        number
    }

    pub(crate) fn get(&self, number: usize) -> Option<&T> {
        self.all.get(number).map(|it| &**it)
    }
}

/// Where the old slots of a ring are found.
#[derive(Clone, Copy)]
enum From {
    /// In the ring itself.
    Itself,
    /// In the ring itself, and those that are alive stay as they are.
    ItselfIfDead,
    /// In the ring that it will replace, if there is one.
    Other(Option<Span>),
}

/// What was seen, for all that fill rings.
#[derive(Clone, Copy)]
struct World<'a> {
    hash_seed: u64,
    slots: &'a [Slot],
}

/// Slots to write, and whether all entries that they will name were seen in place: until then
/// theirs wait.
#[derive(Clone, Debug, Default)]
struct Filled {
    slots: Vec<(u32, Slot)>,
    is_ready: bool,
}

impl Filled {
    const fn is_there(&self) -> bool {
        self.is_ready && self.slots.is_empty()
    }
}

/// The same, in full.
#[derive(Clone, Copy)]
struct Want<'a> {
    number: usize,
    target: &'a Target,
    alive: &'a [u32],
    drains: bool,
    is_drained: bool,
}

impl Want<'_> {
    /// So that the ring holds what one of `target.size` slots holds, its own size or a smaller one.
    fn fill(&self, rings: &mut Rings, world: World<'_>, ring: Span, from: From) -> Filled {
        self.fill_as(rings, world, ring, from, self.target.size)
    }

    fn fill_as(
        &self,
        rings: &mut Rings,
        world: World<'_>,
        ring: Span,
        from: From,
        size: u32,
    ) -> Filled {
        let Target { members, parts, ready, .. } = self.target;
        let owners = rings.served(world.hash_seed, members, parts, size);
        let copies = usize::try_from(ring.size / size.max(1)).unwrap_or(1);
        let owners = owners.iter().flat_map(|owner| core::iter::repeat_n(owner, copies));
        let is_alive = |index: u32| self.alive.binary_search(&index).is_ok();
        let mut filled = Filled { slots: Vec::new(), is_ready: true };
        for (place, owner) in (0..).zip(owners) {
            let index = ring.offset.saturating_add(place);
            let seen = slots::at(world.slots, index);
            let old = match from {
                From::ItselfIfDead if is_alive(seen.current) && is_alive(seen.older()) => continue,
                From::Itself | From::ItselfIfDead => seen,
                From::Other(Some(other)) => other.covering(world.slots, place, ring.size),
                From::Other(None) => Slot::default(),
            };
            let target = match owner {
                Some(owner) => ready.get(owner.index()).copied().flatten(),
                None => Some(0),
            };
            let Some(target) = target else {
                filled.is_ready = false;
                continue;
            };
            let is_alive = |index| self.drains && is_alive(index);
            let next = slots::next(old, target, self.is_drained, is_alive);
            if next != seen {
                filled.slots.push((index, next));
            }
        }
        filled
    }

    /// Indices of backends that get nothing.
    fn unusable(&self) -> impl Iterator<Item = u32> {
        let all = self.target.ready.iter().zip(&self.target.parts);
        all.filter(|&(_, &parts)| parts == 0).filter_map(|(index, _)| *index)
    }
}

/// What a plan does for the ring of one service.
#[derive(Clone, Debug, Default)]
pub(crate) struct RingPlan {
    pub(crate) slots: Vec<(u32, Slot)>,
    /// The ring that the service shall have now.
    pub(crate) ring: Option<Span>,
    pub(crate) is_building: bool,
    pub(crate) no_room: bool,
}

impl RingPlan {
    const fn stay(ring: Option<Span>) -> Self {
        Self { slots: Vec::new(), ring, is_building: false, no_room: false }
    }
}

/// Who uses a ring, and what becomes of it in its place.
struct Place {
    is_settled: bool,
    services: usize,
    /// What its services want; `None`: that it stays as it is.
    wishes: BTreeSet<Option<usize>>,
    /// By wish of at most its size: what would be written here.
    filled: BTreeMap<usize, Filled>,
}

impl Place {
    /// All its services want the same.
    fn is_agreed(&self) -> bool {
        self.wishes.len() == 1
    }

    /// It holds what this wish is for, old flows included.
    fn is_as(&self, wish: usize) -> bool {
        self.filled.get(&wish).is_some_and(Filled::is_there)
    }

    /// The same, and none is on its way any more.
    fn is_over(&self, wish: usize) -> bool {
        self.is_as(wish) && self.is_settled
    }

    /// Nothing is written here for its services.
    fn is_still(&self) -> bool {
        !self.is_agreed() || self.wishes.iter().flatten().all(|&wish| self.is_as(wish))
    }
}

/// The rings of all services, and what is to be done for each.
pub(crate) struct Places<'a> {
    world: World<'a>,
    wants: Vec<Want<'a>>,
    by_span: BTreeMap<Span, Place>,
    /// By target: rings that hold it, or hold it but for old flows, and are not written now.
    holding: BTreeMap<usize, Vec<Span>>,
    /// Services with the same ring and the same wish have the same plan; its slots are the first's.
    plans: BTreeMap<(Option<Span>, usize), RingPlan>,
}

/// The ring of a service as it is, and what it is to become: a number of [`Places::wants`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) ring: Option<Span>,
    pub(crate) wish: Option<usize>,
}

impl<'a> Places<'a> {
    /// `services` are the seen rings of services, with what they want of them. Returns them with
    /// the numbers of their wishes, in the same order.
    pub(crate) fn of(
        rings: &mut Rings,
        hash_seed: u64,
        slots: &'a [Slot],
        scans: &BTreeMap<Span, Scan>,
        (targets, alive): (&'a Numbered<Target>, &'a Numbered<Vec<u32>>),
        services: impl Iterator<Item = (Option<Span>, Option<Wish>)>,
    ) -> (Self, Vec<Claim>) {
        let world = World { hash_seed, slots };
        let (wishes, claims) = number(services);
        let want = |wish: &Wish| {
            let (target, alive) = (targets.get(wish.target)?, alive.get(wish.alive)?);
            let Wish { target: number, drains, is_drained, .. } = *wish;
            Some(Want { number, target, alive, drains, is_drained })
        };
        // Each has its target; were one without, none of those after it would have a plan.
        let wants: Vec<Want<'a>> = wishes.iter().map_while(want).collect();
        let targets = wants.iter().map(|want| (&*want.target.members, want.target.size));
        rings.prepare(hash_seed, targets);
        let mut by_span: BTreeMap<Span, Place> = BTreeMap::new();
        for &Claim { ring, wish } in &claims {
            let Some(ring) = ring else { continue };
            let place = by_span.entry(ring).or_insert_with(|| Place {
                is_settled: scans.get(&ring).is_some_and(|scan| scan.unsettled == 0),
                services: 0,
                wishes: BTreeSet::new(),
                filled: BTreeMap::new(),
            });
            place.services += 1;
            place.wishes.insert(wish);
        }
        let mut holding: BTreeMap<usize, Vec<Span>> = BTreeMap::new();
        for (&ring, place) in &mut by_span {
            let wished = place.wishes.iter().flatten();
            let fitting = wished.filter_map(|&id| Some((id, wants.get(id)?)));
            place.filled = fitting
                .filter(|(_, want)| want.target.size <= ring.size)
                .map(|(id, want)| (id, want.fill(rings, world, ring, From::Itself)))
                .collect();
            if !place.is_still() {
                continue;
            }
            for (&id, _) in place.filled.iter().filter(|(_, filled)| filled.is_there()) {
                let want = wants.get(id).filter(|want| want.target.size == ring.size);
                if let Some(want) = want {
                    holding.entry(want.number).or_default().push(ring);
                }
            }
        }
        (Self { world, wants, by_span, holding, plans: BTreeMap::new() }, claims)
    }

    /// What is to be done for a service with this claim.
    pub(crate) fn plan(&mut self, rings: &mut Rings, spans: &mut Spans, claim: Claim) -> RingPlan {
        let Some(id) = claim.wish else { return RingPlan::stay(claim.ring) };
        let key = (claim.ring, id);
        if let Some(plan) = self.plans.get(&key) {
            return plan.clone();
        }
        let mut plan = self.decide(rings, spans, claim.ring, id);
        let slots = core::mem::take(&mut plan.slots);
        self.plans.insert(key, plan.clone());
        RingPlan { slots, ..plan }
    }

    fn decide(
        &mut self,
        rings: &mut Rings,
        spans: &mut Spans,
        old: Option<Span>,
        id: usize,
    ) -> RingPlan {
        let Some(&want) = self.wants.get(id) else { return RingPlan::stay(old) };
        let place = old.and_then(|ring| self.by_span.get(&ring));
        let size = want.target.size;
        let is_agreed = place.is_some_and(Place::is_agreed);
        let is_there = place.is_some_and(|place| place.is_as(id));
        let is_over = place.is_some_and(|place| place.is_over(id));
        if is_over && old.is_some_and(|ring| ring.size == size) {
            return RingPlan::stay(self.settled(want.number).or(old));
        }
        if let Some(slots) = old.and_then(|ring| self.in_place(ring, id)) {
            return RingPlan { slots: slots.to_vec(), ..RingPlan::stay(old) };
        }
        if is_there && !is_over {
            return RingPlan::stay(old);
        }
        // Two slots with flows of two backends do not fit into one: before a ring shrinks, it
        // holds what the smaller one will, each slot several times, until the old flows are over.
        let size = if is_over { size } else { old.map_or(size, |ring| ring.size.max(size)) };
        if let Some(ring) = self.found(rings, want, old, size) {
            return RingPlan::stay(Some(ring));
        }
        let Some(new) = spans.first_fit(size) else {
            let slots = old.map_or_else(Vec::new, |ring| self.squeeze(rings, ring, id));
            return RingPlan { slots, ring: old, no_room: true, is_building: false };
        };
        let Filled { mut slots, is_ready } = want.fill(rings, self.world, new, From::Other(old));
        let is_complete = is_ready && slots.is_empty();
        if !is_ready {
            slots.clear(); // All at once, in the round after the entries.
        }
        if let Some(old) = old.filter(|_| !is_complete && is_agreed) {
            let size = old.size.min(want.target.size);
            slots.extend(want.fill_as(rings, self.world, old, From::ItselfIfDead, size).slots);
        }
        let ring = if is_complete { Some(new) } else { old };
        RingPlan { slots, ring, is_building: true, no_room: false }
    }

    /// The slots to write, if the ring is changed in its place: all its services want the same, it
    /// is large enough for that, and there is something left to do or to wait for.
    pub(crate) fn in_place(&self, ring: Span, wish: usize) -> Option<&[(u32, Slot)]> {
        let place = self.by_span.get(&ring)?;
        let filled = place.filled.get(&wish)?;
        (place.is_agreed() && !place.is_over(wish)).then_some(&filled.slots)
    }

    /// The ring that holds this and nothing else and has the most services: one for all.
    fn settled(&self, target: usize) -> Option<Span> {
        let all = self.holding.get(&target)?.iter().rev(); // Of equals, the first.
        let settled = all.filter_map(|&ring| {
            let place = self.by_span.get(&ring).filter(|place| place.is_settled)?;
            Some((place.services, ring))
        });
        settled.max_by_key(|&(services, _)| services).map(|(_, ring)| ring)
    }

    /// A ring of this size that holds already what a new one in place of the old one would.
    fn found(
        &self,
        rings: &mut Rings,
        want: Want<'_>,
        old: Option<Span>,
        size: u32,
    ) -> Option<Span> {
        let all = self.holding.get(&want.number)?.iter().copied();
        let mut others = all.filter(|&ring| ring.size == size && Some(ring) != old);
        others.find(|&ring| want.fill(rings, self.world, ring, From::Other(old)).is_there())
    }

    /// There is no room for another ring, so slots change in this one. Where services with other
    /// wishes share it, then only slots that are dead for the first one of those that have any: to
    /// backends that are not unusable for any of them, or they would change each other's for ever.
    fn squeeze(&self, rings: &mut Rings, ring: Span, id: usize) -> Vec<(u32, Slot)> {
        let Some((place, want)) = self.by_span.get(&ring).zip(self.wants.get(id)) else {
            return Vec::new();
        };
        let mut mend = |want: &Want<'_>, from| {
            let size = ring.size.min(want.target.size);
            want.fill_as(rings, self.world, ring, from, size).slots
        };
        if place.is_agreed() {
            return mend(want, From::Itself);
        }
        let all = place.wishes.iter().flatten();
        let all: Vec<(usize, &Want<'_>)> =
            all.filter_map(|&id| Some((id, self.wants.get(id)?))).collect();
        let unusable: BTreeSet<u32> = all.iter().flat_map(|(_, want)| want.unusable()).collect();
        for (other, want) in all {
            let mut slots = mend(want, From::ItselfIfDead);
            slots.retain(|(_, slot)| !unusable.contains(&slot.current));
            if !slots.is_empty() {
                return if other == id { slots } else { Vec::new() };
            }
        }
        Vec::new()
    }
}

/// Each wish once.
fn number(services: impl Iterator<Item = (Option<Span>, Option<Wish>)>) -> (Vec<Wish>, Vec<Claim>) {
    let mut numbers: BTreeMap<Wish, usize> = BTreeMap::new();
    let claims: Vec<Claim> = services
        .map(|(ring, wish)| {
            let next = numbers.len();
            let wish = wish.map(|wish| *numbers.entry(wish).or_insert(next));
            Claim { ring, wish }
        })
        .collect();
    let mut wishes: Vec<(usize, Wish)> = numbers.into_iter().map(|(wish, id)| (id, wish)).collect();
    wishes.sort_unstable_by_key(|&(id, _)| id);
    (wishes.into_iter().map(|(_, wish)| wish).collect(), claims)
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use tidegate_abi::RING_SLOTS_MAX;

    use super::*;
    use crate::ring::PARTS;

    const RING: Span = Span { offset: 0, size: 1024 };

    /// Backends 1 to 3 with the indices of their numbers, of which these are up.
    fn want(up: &[u32]) -> (Target, Vec<u32>) {
        let all = [1_u32, 2, 3];
        let member = |n: u32| Member { addr: Ipv4Addr::from_bits(n).into(), weight: 1 };
        let target = Target {
            size: RING.size,
            members: all.map(member).into(),
            parts: all.map(|n| if up.contains(&n) { PARTS } else { 0 }).into(),
            ready: all.map(Some).into(),
        };
        (target, up.to_vec())
    }

    /// Every service's plan once, and the slots as they are then. All services are in one ring.
    fn round(slots: &mut Vec<Slot>, up: &[&[u32]], spans: &mut Spans) -> Vec<RingPlan> {
        let (mut targets, mut alive) = (Numbered::new(), Numbered::new());
        let wishes: Vec<Wish> = up
            .iter()
            .map(|up| {
                let (target, alive_ones) = want(up);
                let (target, alive) = (targets.number(target), alive.number(alive_ones));
                Wish { target, alive, drains: true, is_drained: false }
            })
            .collect();
        let mut rings = Rings::default();
        let scans = [(RING, Scan::of(RING.slots(slots)))].into();
        let services = wishes.iter().map(|wish| (Some(RING), Some(*wish)));
        let (mut places, claims) =
            Places::of(&mut rings, 7, slots, &scans, (&targets, &alive), services);
        let plans: Vec<RingPlan> =
            claims.into_iter().map(|claim| places.plan(&mut rings, spans, claim)).collect();
        for plan in &plans {
            slots::store(slots, &plan.slots);
        }
        plans
    }

    #[test]
    fn without_room_for_another_ring_only_dead_slots_change() {
        let mut slots = Vec::new();
        let full = || {
            let mut spans = Spans::default();
            assert!(spans.take(Span { offset: 0, size: RING_SLOTS_MAX }));
            spans
        };
        round(&mut slots, &[&[1, 2, 3]], &mut full());
        let before = slots.clone();
        // One service has lost backend 2, the other one backend 3.
        let wishes: [&[u32]; 2] = [&[1, 3], &[1, 2]];
        for _ in 0..4 {
            for plan in round(&mut slots, &wishes, &mut full()) {
                assert!(plan.no_room);
                assert_eq!(plan.ring, Some(RING));
            }
        }
        let plans = round(&mut slots, &wishes, &mut full());
        assert!(
            plans.iter().all(|plan| plan.slots.is_empty()),
            "they change each other's for ever"
        );
        let mut moved = 0;
        for (before, after) in before.iter().zip(&slots).filter(|(before, after)| before != after) {
            assert_ne!(before.current, 1, "a slot of a backend that is up for both");
            assert_eq!(*after, Slot::settled(1), "the one that is up for both");
            moved += 1;
        }
        assert!(moved > 200, "{moved} slots of dead backends went to one that is up");

        // With room they part.
        let mut spans = Spans::default();
        assert!(spans.take(RING));
        let plans = round(&mut slots, &wishes, &mut spans);
        assert!(plans.iter().all(|plan| plan.is_building && !plan.no_room));
    }
}
