//! Path attributes one by one: flags, length, value, and how far the damage of a bad one reaches
//! (RFC 7606 §3, §4 and §7).
//!
//! The walk checks and cuts; it decodes nothing that is not needed to judge. What it finds sound
//! becomes an attribute block (see [`block`](super::block)).

use core::net::{Ipv4Addr, Ipv6Addr};

use super::as_path::{self, Width};
use super::message::{NextHop, Repair, Treatment};
use super::negotiated::Negotiated;
use super::nlri::Nlri;
use super::notification::Notification;
use super::reader::Reader;
use crate::types::Family;

/// Attribute type codes.
pub(crate) mod code {
    pub(crate) const ORIGIN: u8 = 1;
    pub(crate) const AS_PATH: u8 = 2;
    pub(crate) const NEXT_HOP: u8 = 3;
    pub(crate) const MULTI_EXIT_DISC: u8 = 4;
    pub(crate) const LOCAL_PREF: u8 = 5;
    pub(crate) const ATOMIC_AGGREGATE: u8 = 6;
    pub(crate) const AGGREGATOR: u8 = 7;
    pub(crate) const COMMUNITIES: u8 = 8;
    pub(crate) const ORIGINATOR_ID: u8 = 9;
    pub(crate) const CLUSTER_LIST: u8 = 10;
    pub(crate) const MP_REACH_NLRI: u8 = 14;
    pub(crate) const MP_UNREACH_NLRI: u8 = 15;
    pub(crate) const EXTENDED_COMMUNITIES: u8 = 16;
    pub(crate) const AS4_PATH: u8 = 17;
    pub(crate) const AS4_AGGREGATOR: u8 = 18;
    pub(crate) const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
    pub(crate) const LARGE_COMMUNITIES: u8 = 32;
    pub(crate) const ONLY_TO_CUSTOMER: u8 = 35;
}

/// Attribute flags (RFC 4271 §4.3).
pub(crate) mod flag {
    pub(crate) const OPTIONAL: u8 = 0x80;
    pub(crate) const TRANSITIVE: u8 = 0x40;
    pub(crate) const PARTIAL: u8 = 0x20;
    pub(crate) const EXTENDED_LENGTH: u8 = 0x10;
}

/// Subcodes of an UPDATE Message Error (RFC 4271 §6.3) for when the session has to be reset.
pub(super) mod subcode {
    pub(crate) const MALFORMED_ATTRIBUTE_LIST: u8 = 1;
    pub(crate) const UNRECOGNIZED_WELL_KNOWN: u8 = 2;
    pub(crate) const MISSING_WELL_KNOWN: u8 = 3;
    pub(crate) const FLAGS: u8 = 4;
    pub(crate) const LENGTH: u8 = 5;
    pub(crate) const ORIGIN: u8 = 6;
    pub(crate) const NEXT_HOP: u8 = 8;
    pub(crate) const OPTIONAL: u8 = 9;
    pub(crate) const AS_PATH: u8 = 11;
}

/// The Optional and Transitive bits of an attribute that we know.
pub(super) const fn category(attribute: u8) -> Option<u8> {
    match attribute {
        code::ORIGIN
        | code::AS_PATH
        | code::NEXT_HOP
        | code::LOCAL_PREF
        | code::ATOMIC_AGGREGATE => Some(flag::TRANSITIVE),
        code::MULTI_EXIT_DISC
        | code::ORIGINATOR_ID
        | code::CLUSTER_LIST
        | code::MP_REACH_NLRI
        | code::MP_UNREACH_NLRI => Some(flag::OPTIONAL),
        code::AGGREGATOR
        | code::COMMUNITIES
        | code::EXTENDED_COMMUNITIES
        | code::AS4_PATH
        | code::AS4_AGGREGATOR
        | code::IPV6_EXTENDED_COMMUNITIES
        | code::LARGE_COMMUNITIES
        | code::ONLY_TO_CUSTOMER => Some(flag::OPTIONAL | flag::TRANSITIVE),
        _ => None,
    }
}

/// Whether prefixes are inside.
const fn is_multiprotocol(attribute: u8) -> bool {
    matches!(attribute, code::MP_REACH_NLRI | code::MP_UNREACH_NLRI)
}

/// One attribute, cut out but not understood.
#[derive(Clone, Copy)]
pub(super) struct Attribute<'a> {
    pub(super) flags: u8,
    pub(super) code: u8,
    pub(super) value: &'a [u8],
    /// Flags, code, length and value, as a NOTIFICATION quotes them.
    pub(super) whole: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// `None`: header or value run over the end.
    pub(super) fn next(reader: &mut Reader<'a>) -> Option<Self> {
        let from_here = reader.rest();
        let (flags, code) = (reader.u8()?, reader.u8()?);
        let len = if flags & flag::EXTENDED_LENGTH == 0 {
            u16::from(reader.u8()?)
        } else {
            reader.u16()?
        };
        let value = reader.take(len.into())?;
        let whole = from_here.get(..from_here.len() - reader.rest().len())?;
        Some(Self { flags, code, value, whole })
    }
}

/// What a bad attribute leads to.
enum Fault {
    /// Attribute-discard.
    Discard(&'static str),
    /// Treat-as-withdraw; the subcode serves when there is nothing to withdraw (RFC 7606 §5.2).
    Withdraw { subcode: u8, what: &'static str },
    /// AFI/SAFI-disable, or session reset where the session carries no other family.
    Disable { family: Family, what: &'static str },
    /// Session reset.
    Reset { subcode: u8 },
}

impl Fault {
    const fn length(what: &'static str) -> Self {
        Self::Withdraw { subcode: subcode::LENGTH, what }
    }
}

/// Attribute types, one bit each.
#[derive(Clone, Copy, Default)]
pub(super) struct Types([u64; 4]);

impl Types {
    pub(super) fn contains(&self, code: u8) -> bool {
        let word = self.0.get(usize::from(code / 64)).copied().unwrap_or(0);
        word >> (code % 64) & 1 == 1
    }

    /// `false`: it was there before.
    fn insert(&mut self, code: u8) -> bool {
        let new = !self.contains(code);
        if let Some(word) = self.0.get_mut(usize::from(code / 64)) {
            *word |= 1 << (code % 64);
        }
        new
    }

    /// `false`: it was not there.
    pub(super) fn remove(&mut self, code: u8) -> bool {
        let there = self.contains(code);
        if let Some(word) = self.0.get_mut(usize::from(code / 64)) {
            *word &= !(1 << (code % 64));
        }
        there
    }

    pub(super) fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

/// MP_REACH_NLRI of a family in use.
#[derive(Clone, Copy)]
pub(super) struct Reach<'a> {
    /// `None` for FlowSpec, which may come without.
    pub(super) next_hop: Option<NextHop>,
    pub(super) nlri: Nlri<'a>,
}

/// A pass over all attributes of an UPDATE.
pub(super) struct Walk<'a, 'c> {
    context: &'c Negotiated,
    /// Types that were there, sound or not.
    pub(super) seen: Types,
    /// Types whose first attribute was sound and goes into the block.
    pub(super) kept: Types,
    /// Attributes that do not go into the block, or not as they are.
    pub(super) left_out: bool,
    pub(super) next_hop: Option<NextHop>,
    pub(super) reach: Option<Reach<'a>>,
    pub(super) unreach: Option<Nlri<'a>>,
    pub(super) as4_path: Option<&'a [u8]>,
    /// The AS of AGGREGATOR.
    pub(super) aggregator: Option<u32>,
    pub(super) as4_aggregator: Option<&'a [u8]>,
    pub(super) repaired: Vec<Repair>,
    /// The first fault that takes the routes along, as it would read in a NOTIFICATION.
    pub(super) withdraw: Option<Notification>,
    /// The family that is read no more.
    pub(super) disable: Option<Family>,
    /// Something reachable was there, of a family that we ignore.
    pub(super) ignored_reach: bool,
}

/// More repairs than this are not described, only made: a message can hold thousands.
const REPAIRS_MAX: usize = 16;

impl<'a, 'c> Walk<'a, 'c> {
    /// Judges every attribute of the field.
    ///
    /// # Errors
    /// Damage that only a session reset cures.
    pub(super) fn over(field: &'a [u8], context: &'c Negotiated) -> Result<Self, Notification> {
        let mut walk = Self {
            context,
            seen: Types::default(),
            kept: Types::default(),
            left_out: false,
            next_hop: None,
            reach: None,
            unreach: None,
            as4_path: None,
            aggregator: None,
            as4_aggregator: None,
            repaired: Vec::new(),
            withdraw: None,
            disable: None,
            ignored_reach: false,
        };
        let mut reader = Reader::new(field);
        while !reader.is_empty() {
            let here = reader.rest();
            let Some(attribute) = Attribute::next(&mut reader) else {
                // RFC 7606 §4: what follows cannot be found any more, but the NLRI can.
                let code = here.get(1).copied().unwrap_or(0);
                if is_multiprotocol(code) {
                    return Err(Notification::MALFORMED_ATTRIBUTE_LIST);
                }
                let what = "attribute runs over the end";
                walk.withdraw(code, what, subcode::MALFORMED_ATTRIBUTE_LIST, here, &[]);
                break;
            };
            walk.visit(attribute)?;
        }
        Ok(walk)
    }

    /// Notes a fault for which the routes are withdrawn; `octets` are the offending ones, `data`
    /// what a NOTIFICATION would say.
    pub(super) fn withdraw(
        &mut self,
        code: u8,
        what: &'static str,
        subcode: u8,
        octets: &[u8],
        data: &[u8],
    ) {
        if self.withdraw.is_none() {
            self.withdraw = Some(Notification::with_data(3, subcode, data));
            self.repaired.truncate(REPAIRS_MAX - 1); // What costs routes is always described.
        }
        self.repair(code, Treatment::TreatAsWithdraw, what, octets);
    }

    pub(super) fn repair(
        &mut self,
        attribute: u8,
        treatment: Treatment,
        what: &'static str,
        octets: &[u8],
    ) {
        self.left_out = true;
        if self.repaired.len() < REPAIRS_MAX {
            let shown = octets.iter().copied().take(Repair::OCTETS_MAX).collect();
            let len = octets.len();
            self.repaired.push(Repair { attribute, treatment, what, octets: shown, len });
        }
    }

    fn visit(&mut self, attribute: Attribute<'a>) -> Result<(), Notification> {
        let Attribute { code, whole, .. } = attribute;
        match self.judge(attribute) {
            Ok(()) => {}
            Err(Fault::Discard(what)) => {
                self.repair(code, Treatment::AttributeDiscard, what, whole);
            }
            Err(Fault::Withdraw { subcode, what }) => {
                self.withdraw(code, what, subcode, whole, whole);
            }
            Err(Fault::Disable { family, what }) if self.context.families.len() > 1 => {
                self.disable = Some(family);
                self.repair(code, Treatment::FamilyDisable, what, whole);
            }
            Err(Fault::Disable { .. }) => {
                return Err(Notification::with_data(3, subcode::OPTIONAL, whole));
            }
            Err(Fault::Reset { subcode }) => {
                // RFC 4271 §6.3 has no data for 3/1.
                let data = if subcode == subcode::MALFORMED_ATTRIBUTE_LIST { &[] } else { whole };
                return Err(Notification::with_data(3, subcode, data));
            }
        }
        Ok(())
    }

    /// What holds for every attribute (RFC 7606 §3), then the attribute itself.
    fn judge(&mut self, attribute: Attribute<'a>) -> Result<(), Fault> {
        let Attribute { flags, code, .. } = attribute;
        let multiprotocol = is_multiprotocol(code);
        if !self.seen.insert(code) {
            return Err(if multiprotocol {
                Fault::Reset { subcode: subcode::MALFORMED_ATTRIBUTE_LIST }
            } else {
                Fault::Discard("repeated")
            });
        }
        let Some(category) = category(code) else { return self.unknown(flags, code) };
        self.out_of_place(code)?;
        if flags & (flag::OPTIONAL | flag::TRANSITIVE) != category {
            let subcode = subcode::FLAGS;
            return Err(if multiprotocol {
                Fault::Reset { subcode } // RFC 7606 §5.3
            } else {
                Fault::Withdraw { subcode, what: "flags of another category" }
            });
        }
        self.read(attribute)
    }

    /// Attributes that we do not know: transitive ones are passed on, others are not (RFC 4271 §5).
    fn unknown(&mut self, flags: u8, code: u8) -> Result<(), Fault> {
        if flags & flag::OPTIONAL == 0 {
            return Err(Fault::Reset { subcode: subcode::UNRECOGNIZED_WELL_KNOWN });
        }
        if flags & flag::TRANSITIVE == 0 {
            self.left_out = true;
        } else {
            self.kept.insert(code);
        }
        Ok(())
    }

    /// Attributes that must not come from this peer are dropped unread.
    const fn out_of_place(&self, code: u8) -> Result<(), Fault> {
        match code {
            // RFC 7606 §7.5, §7.9, §7.10
            code::LOCAL_PREF | code::ORIGINATOR_ID | code::CLUSTER_LIST
                if self.context.external =>
            {
                Err(Fault::Discard("from an external peer"))
            }
            // RFC 6793 §4.1
            code::AS4_PATH | code::AS4_AGGREGATOR if self.context.four_octet_as => {
                Err(Fault::Discard("from a peer with four-octet AS numbers"))
            }
            _ => Ok(()),
        }
    }

    fn read(&mut self, attribute: Attribute<'a>) -> Result<(), Fault> {
        let Attribute { code, value, .. } = attribute;
        match code {
            code::ORIGIN => check_origin(value)?,
            code::AS_PATH => {
                check_as_path(value, self.context)?;
                self.left_out |= !self.context.four_octet_as;
            }
            code::NEXT_HOP => self.next_hop = Some(read_next_hop(value)?),
            code::ATOMIC_AGGREGATE if value.is_empty() => {}
            code::ATOMIC_AGGREGATE => return Err(Fault::Discard("not empty")),
            code::AGGREGATOR => {
                self.aggregator = Some(read_aggregator(value, self.context.four_octet_as)?);
                self.left_out |= !self.context.four_octet_as;
            }
            code::MP_REACH_NLRI => return self.read_mp_reach(value),
            code::MP_UNREACH_NLRI => return self.read_mp_unreach(value),
            code::AS4_PATH => {
                if value.is_empty() {
                    return Err(Fault::Discard("empty"));
                }
                as_path::check(value, Width::Four).map_err(|bad| Fault::Discard(bad.what()))?;
                self.as4_path = Some(value);
                return Ok(()); // Merged into AS_PATH.
            }
            code::AS4_AGGREGATOR => {
                read_aggregator(value, true)?;
                self.as4_aggregator = Some(value);
                return Ok(());
            }
            other => check_shape(other, value)?,
        }
        self.kept.insert(code);
        Ok(())
    }

    /// RFC 4760 §3, RFC 2545 §3. Damage here hides the NLRI (RFC 7606 §7.11).
    fn read_mp_reach(&mut self, value: &'a [u8]) -> Result<(), Fault> {
        self.left_out = true;
        let hidden = Fault::Reset { subcode: subcode::OPTIONAL };
        let mut reader = Reader::new(value);
        let (Some(afi), Some(safi)) = (reader.u16(), reader.u8()) else { return Err(hidden) };
        let Some(family) = self.in_use(afi, safi) else {
            self.ignored_reach = true;
            return Err(Fault::Discard("family not in use"));
        };
        let disable = |what| Fault::Disable { family, what };
        let next_hop = reader.u8().and_then(|len| reader.take(len.into()));
        let next_hop = next_hop.ok_or(disable("next hop runs over the end"))?;
        // The octet behind the next hop once counted link-layer addresses and is ignored.
        reader.u8().ok_or(disable("cut off behind the next hop"))?;
        let next_hop = match family {
            // RFC 8955 §4: FlowSpec needs none, and what it has says nothing.
            Family::Ipv4Flowspec | Family::Ipv6Flowspec => None,
            Family::Ipv4Unicast | Family::Ipv6Unicast => {
                let next_hop = mp_next_hop(family, next_hop, self.context);
                Some(next_hop.ok_or(disable("next hop of a wrong length"))?)
            }
        };
        let nlri = self.nlri(family, reader.rest()).ok_or(disable("syntax of the NLRI"))?;
        self.reach = Some(Reach { next_hop, nlri });
        if nlri.flow_specs().any(|rule| !rule.is_sound()) {
            let what = "FlowSpec rule is malformed";
            return Err(Fault::Withdraw { subcode: subcode::OPTIONAL, what });
        }
        next_hop.map_or(Ok(()), check_next_hop)
    }

    fn read_mp_unreach(&mut self, value: &'a [u8]) -> Result<(), Fault> {
        self.left_out = true;
        let mut reader = Reader::new(value);
        let (Some(afi), Some(safi)) = (reader.u16(), reader.u8()) else {
            return Err(Fault::Reset { subcode: subcode::OPTIONAL });
        };
        let family = self.in_use(afi, safi).ok_or(Fault::Discard("family not in use"))?;
        let what = "syntax of the withdrawn NLRI";
        let nlri = self.nlri(family, reader.rest());
        self.unreach = Some(nlri.ok_or(Fault::Disable { family, what })?);
        Ok(())
    }

    fn nlri(&self, family: Family, field: &'a [u8]) -> Option<Nlri<'a>> {
        Nlri::new(family, self.context.add_path_receive.contains(family), field)
    }

    fn in_use(&self, afi: u16, safi: u8) -> Option<Family> {
        Family::from_afi_safi(afi, safi).filter(|family| self.context.reads(*family))
    }
}

/// RFC 7606 §7.1
fn check_origin(value: &[u8]) -> Result<(), Fault> {
    let subcode = match value {
        [0..=2] => return Ok(()),
        [_] => subcode::ORIGIN,
        _ => subcode::LENGTH,
    };
    Err(Fault::Withdraw { subcode, what: "not one of IGP, EGP, INCOMPLETE" })
}

/// RFC 7606 §7.2; confederation segments from outside: RFC 5065 §5.
fn check_as_path(value: &[u8], context: &Negotiated) -> Result<(), Fault> {
    let subcode = subcode::AS_PATH;
    let confed = as_path::check(value, Width::of(context.four_octet_as))
        .map_err(|bad| Fault::Withdraw { subcode, what: bad.what() })?;
    if context.external && confed {
        let what = "confederation segment from an external peer";
        return Err(Fault::Withdraw { subcode, what });
    }
    Ok(())
}

/// RFC 7606 §7.3
fn read_next_hop(value: &[u8]) -> Result<NextHop, Fault> {
    let addr = Reader::new(value).u32().filter(|_| value.len() == 4);
    let next_hop = NextHop::V4(Ipv4Addr::from_bits(addr.ok_or(Fault::length("not four octets"))?));
    check_next_hop(next_hop)?;
    Ok(next_hop)
}

/// A next hop is a host's address (RFC 4271 §6.3).
fn check_next_hop(next_hop: NextHop) -> Result<(), Fault> {
    let host = match next_hop {
        NextHop::V4(addr) => !(addr.is_unspecified() || addr.is_multicast() || addr.is_broadcast()),
        NextHop::V6 { global, .. } => !(global.is_unspecified() || global.is_multicast()),
    };
    if host {
        return Ok(());
    }
    Err(Fault::Withdraw { subcode: subcode::NEXT_HOP, what: "next hop is not a host address" })
}

/// The next hop of MP_REACH_NLRI; `None`: a length that the family does not have on this session
/// (IPv6 for IPv4 prefixes: RFC 8950).
fn mp_next_hop(family: Family, value: &[u8], context: &Negotiated) -> Option<NextHop> {
    let v6_allowed = family == Family::Ipv6Unicast || context.extended_next_hop.contains(family);
    match value.len() {
        4 if family == Family::Ipv4Unicast => decode_next_hop(value),
        16 | 32 if v6_allowed => decode_next_hop(value),
        _ => None,
    }
}

/// A next hop of 4, 16 or 32 octets.
pub(super) fn decode_next_hop(value: &[u8]) -> Option<NextHop> {
    let mut reader = Reader::new(value);
    if value.len() == 4 {
        return reader.u32().map(|bits| NextHop::V4(Ipv4Addr::from_bits(bits)));
    }
    let global = Ipv6Addr::from(reader.array::<16>()?);
    let link_local = if reader.is_empty() { None } else { Some(reader.array::<16>()?) };
    let next_hop = match link_local.map(Ipv6Addr::from).filter(Ipv6Addr::is_unicast_link_local) {
        // Some send :: for a global address that they do not have.
        Some(alone) if global.is_unspecified() => NextHop::V6 { global: alone, link_local: None },
        link_local => NextHop::V6 { global, link_local },
    };
    reader.is_empty().then_some(next_hop)
}

/// The AS in AGGREGATOR or AS4_AGGREGATOR (RFC 7606 §7.7, RFC 6793 §6, RFC 7607 §2).
fn read_aggregator(value: &[u8], four_octet_as: bool) -> Result<u32, Fault> {
    let mut reader = Reader::new(value);
    let asn = if four_octet_as { reader.u32() } else { reader.u16().map(u32::from) };
    match asn.filter(|_| reader.rest().len() == 4) {
        None => Err(Fault::Discard("not an AS number and an address")),
        Some(0) => Err(Fault::Discard("AS number zero")),
        Some(asn) => Ok(asn),
    }
}

/// Attributes that are one number (RFC 7606 §7.4, §7.5, §7.9, RFC 9234 §5), or a whole number of
/// items (RFC 7606 §7.8, §7.10, §7.14, §7.15, RFC 8092 §5).
fn check_shape(code: u8, value: &[u8]) -> Result<(), Fault> {
    let len = value.len();
    let items_of = |octets: usize| len > 0 && len.is_multiple_of(octets);
    let (sound, what) = match code {
        code::MULTI_EXIT_DISC | code::LOCAL_PREF | code::ORIGINATOR_ID | code::ONLY_TO_CUSTOMER => {
            (len == 4, "not four octets")
        }
        code::COMMUNITIES | code::CLUSTER_LIST => (items_of(4), "not a multiple of four octets"),
        code::EXTENDED_COMMUNITIES => (items_of(8), "not a multiple of eight octets"),
        code::LARGE_COMMUNITIES => (items_of(12), "not a multiple of twelve octets"),
        code::IPV6_EXTENDED_COMMUNITIES => (items_of(20), "not a multiple of twenty octets"),
        _ => (true, ""),
    };
    if sound { Ok(()) } else { Err(Fault::length(what)) }
}
