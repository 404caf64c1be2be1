//! Path attributes one by one: flags, length, value, and how far the damage of a bad one reaches
//! (RFC 7606 §3, §4 and §7).

use core::net::{Ipv4Addr, Ipv6Addr};

use super::as_path::{self, Width};
use super::message::{AsSegment, Negotiated, NextHop, Origin, Repair, Treatment};
use super::notification::Notification;
use super::reader::Reader;
use super::{nlri, zetta};
use crate::types::{Community, Family, LargeCommunity, Prefix};

/// Attribute type codes.
pub(super) mod code {
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
pub(super) mod flag {
    pub(crate) const OPTIONAL: u8 = 0x80;
    pub(crate) const TRANSITIVE: u8 = 0x40;
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
struct Attribute<'a> {
    flags: u8,
    code: u8,
    value: &'a [u8],
    /// Flags, code, length and value, as a NOTIFICATION quotes them.
    whole: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// `None`: header or value run over the end.
    fn next(reader: &mut Reader<'a>) -> Option<Self> {
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
    /// Session reset.
    Reset { subcode: u8 },
}

impl Fault {
    const fn length(what: &'static str) -> Self {
        Self::Withdraw { subcode: subcode::LENGTH, what }
    }

    const OPTIONAL: Self = Self::Reset { subcode: subcode::OPTIONAL };
}

/// MP_REACH_NLRI of a family in use.
pub(super) struct Reach {
    pub(super) next_hop: NextHop,
    pub(super) prefixes: Vec<Prefix>,
}

/// MP_UNREACH_NLRI of a family in use.
pub(super) struct Unreach {
    pub(super) family: Family,
    pub(super) prefixes: Vec<Prefix>,
}

/// The attributes that were sound.
#[derive(Default)]
pub(super) struct Found {
    pub(super) origin: Option<Origin>,
    pub(super) as_path: Option<Vec<AsSegment>>,
    pub(super) next_hop: Option<Ipv4Addr>,
    pub(super) med: Option<u32>,
    pub(super) local_pref: Option<u32>,
    pub(super) communities: Vec<Community>,
    pub(super) large_communities: Vec<LargeCommunity>,
    pub(super) reach: Option<Reach>,
    pub(super) unreach: Option<Unreach>,
    as4_path: Option<Vec<AsSegment>>,
    /// The AS of AGGREGATOR.
    aggregator: Option<u32>,
    as4_aggregator: bool,
}

/// A pass over all attributes of an UPDATE.
pub(super) struct Walk<'a> {
    context: &'a Negotiated,
    /// One bit per type code.
    seen: [u64; 4],
    pub(super) found: Found,
    pub(super) repaired: Vec<Repair>,
    /// The first fault that takes the routes along, as it would read in a NOTIFICATION.
    pub(super) withdraw: Option<Notification>,
    /// Something reachable was there, of a family that we ignore.
    pub(super) ignored_reach: bool,
}

impl<'a> Walk<'a> {
    /// # Errors
    /// A fault that resets the session.
    pub(super) fn over(attributes: &[u8], context: &'a Negotiated) -> Result<Self, Notification> {
        let mut walk = Self {
            context,
            seen: [0; 4],
            found: Found::default(),
            repaired: Vec::new(),
            withdraw: None,
            ignored_reach: false,
        };
        let mut reader = Reader::new(attributes);
        while !reader.is_empty() {
            let left = reader.rest();
            let Some(attribute) = Attribute::next(&mut reader) else {
                // RFC 7606 §4: the total length still tells where the NLRI begin.
                let code = left.get(1).copied().unwrap_or(0);
                if is_multiprotocol(code) {
                    return Err(Notification::MALFORMED_ATTRIBUTE_LIST); // Which prefixes?
                }
                let what = "attribute runs over the end";
                walk.withdraw(code, what, subcode::MALFORMED_ATTRIBUTE_LIST, &[]);
                break;
            };
            walk.visit(attribute)?;
        }
        Ok(walk)
    }

    /// Whether an attribute of this type was there, sound or not.
    pub(super) fn has_seen(&self, code: u8) -> bool {
        let word = self.seen.get(usize::from(code / 64)).copied().unwrap_or(0);
        word >> (code % 64) & 1 == 1
    }

    /// How many types of attributes were there.
    pub(super) fn types_seen(&self) -> u32 {
        self.seen.iter().map(|word| word.count_ones()).sum()
    }

    /// Notes a fault for which the routes are withdrawn.
    pub(super) fn withdraw(&mut self, code: u8, what: &'static str, subcode: u8, data: &[u8]) {
        self.repair(code, Treatment::TreatAsWithdraw, what);
        self.withdraw.get_or_insert_with(|| Notification::with_data(3, subcode, data));
    }

    pub(super) fn repair(&mut self, attribute: u8, treatment: Treatment, what: &'static str) {
        self.repaired.push(Repair { attribute, treatment, what });
    }

    fn visit(&mut self, attribute: Attribute<'_>) -> Result<(), Notification> {
        match self.judge(attribute) {
            Ok(()) => {}
            Err(Fault::Discard(what)) => {
                self.repair(attribute.code, Treatment::AttributeDiscard, what);
            }
            Err(Fault::Withdraw { subcode, what }) => {
                self.withdraw(attribute.code, what, subcode, attribute.whole);
            }
            Err(Fault::Reset { subcode }) => {
                // RFC 4271 §6.3 has no data for 3/1.
                let data = if subcode == subcode::MALFORMED_ATTRIBUTE_LIST {
                    &[]
                } else {
                    attribute.whole
                };
                return Err(Notification::with_data(3, subcode, data));
            }
        }
        Ok(())
    }

    /// What holds for every attribute (RFC 7606 §3), then the attribute itself.
    fn judge(&mut self, attribute: Attribute<'_>) -> Result<(), Fault> {
        let Attribute { flags, code, .. } = attribute;
        let multiprotocol = is_multiprotocol(code);
        if self.has_seen(code) {
            return Err(if multiprotocol {
                Fault::Reset { subcode: subcode::MALFORMED_ATTRIBUTE_LIST }
            } else {
                Fault::Discard("repeated")
            });
        }
        if let Some(word) = self.seen.get_mut(usize::from(code / 64)) {
            *word |= 1 << (code % 64);
        }
        let Some(category) = category(code) else {
            return if flags & flag::OPTIONAL == 0 {
                Err(Fault::Reset { subcode: subcode::UNRECOGNIZED_WELL_KNOWN })
            } else {
                Ok(()) // Unknown and optional: none of our business.
            };
        };
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

    fn read(&mut self, attribute: Attribute<'_>) -> Result<(), Fault> {
        let value = attribute.value;
        let found = &mut self.found;
        match attribute.code {
            code::ORIGIN => found.origin = Some(read_origin(value)?),
            code::AS_PATH => found.as_path = Some(read_as_path(value, self.context)?),
            code::NEXT_HOP => found.next_hop = Some(read_next_hop(value)?),
            code::MULTI_EXIT_DISC => {
                let med = zetta::decode_med(value);
                found.med = Some(med.ok_or(Fault::length("not four octets"))?);
            }
            code::LOCAL_PREF => {
                let local_pref = zetta::decode_local_pref(value);
                found.local_pref = Some(local_pref.ok_or(Fault::length("not four octets"))?);
            }
            code::ATOMIC_AGGREGATE if value.is_empty() => {}
            code::ATOMIC_AGGREGATE => return Err(Fault::Discard("not empty")),
            code::AGGREGATOR => {
                found.aggregator = Some(read_aggregator(value, self.context.four_octet_as)?);
            }
            code::COMMUNITIES => {
                let communities = zetta::decode_communities(value);
                found.communities =
                    communities.ok_or(Fault::length("not a multiple of four octets"))?;
            }
            code::LARGE_COMMUNITIES => {
                let communities = zetta::decode_large_communities(value);
                found.large_communities =
                    communities.ok_or(Fault::length("not a multiple of twelve octets"))?;
            }
            code::MP_REACH_NLRI => return self.read_mp_reach(value),
            code::MP_UNREACH_NLRI => return self.read_mp_unreach(value),
            code::AS4_PATH => {
                let path = as_path::decode(value, Width::Four);
                let path = path.map_err(|bad| Fault::Discard(bad.what()))?;
                if path.is_empty() {
                    return Err(Fault::Discard("empty"));
                }
                found.as4_path = Some(path);
            }
            code::AS4_AGGREGATOR => {
                read_aggregator(value, true)?;
                found.as4_aggregator = true;
            }
            other => read_shape(other, value)?,
        }
        Ok(())
    }

    /// RFC 4760 §3, RFC 2545 §3. Damage here hides the NLRI: only a reset is left (RFC 7606 §7.11).
    fn read_mp_reach(&mut self, value: &[u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(value);
        let (Some(afi), Some(safi), Some(next_hop_len)) = (reader.u16(), reader.u8(), reader.u8())
        else {
            return Err(Fault::OPTIONAL);
        };
        // The octet behind the next hop once counted link-layer addresses and is ignored.
        let (Some(next_hop), Some(_reserved)) = (reader.take(next_hop_len.into()), reader.u8())
        else {
            return Err(Fault::OPTIONAL);
        };
        let Some(family) = self.in_use(afi, safi) else {
            self.ignored_reach = true;
            return Err(Fault::Discard("family not negotiated"));
        };
        let next_hop = mp_next_hop(family, next_hop).ok_or(Fault::OPTIONAL)?;
        let prefixes = nlri::decode(family, reader.rest()).ok_or(Fault::OPTIONAL)?;
        self.found.reach = Some(Reach { next_hop, prefixes });
        check_next_hop(next_hop)
    }

    fn read_mp_unreach(&mut self, value: &[u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(value);
        let (Some(afi), Some(safi)) = (reader.u16(), reader.u8()) else {
            return Err(Fault::OPTIONAL);
        };
        let family = self.in_use(afi, safi).ok_or(Fault::Discard("family not negotiated"))?;
        let prefixes = nlri::decode(family, reader.rest()).ok_or(Fault::OPTIONAL)?;
        self.found.unreach = Some(Unreach { family, prefixes });
        Ok(())
    }

    fn in_use(&self, afi: u16, safi: u8) -> Option<Family> {
        Family::from_afi_safi(afi, safi).filter(|family| self.context.families.contains(family))
    }
}

impl Found {
    /// AS_PATH with AS4_PATH merged in, unless an aggregator that knows two octets only has
    /// rewritten the path since (RFC 6793 §4.2.3).
    pub(super) fn take_as_path(&mut self) -> Option<Vec<AsSegment>> {
        let as_path = self.as_path.take()?;
        let trans = u32::from(crate::types::Asn::TRANS);
        let rewritten = self.as4_aggregator && self.aggregator.is_some_and(|asn| asn != trans);
        Some(match self.as4_path.take() {
            Some(as4_path) if !rewritten => as_path::merge(as_path, as4_path),
            _ => as_path,
        })
    }
}

/// RFC 7606 §7.1
fn read_origin(value: &[u8]) -> Result<Origin, Fault> {
    let subcode = if value.len() == 1 { subcode::ORIGIN } else { subcode::LENGTH };
    let what = "not one of IGP, EGP, INCOMPLETE";
    zetta::decode_origin(value).ok_or(Fault::Withdraw { subcode, what })
}

/// RFC 7606 §7.2; confederation segments from outside: RFC 5065 §5.
fn read_as_path(value: &[u8], context: &Negotiated) -> Result<Vec<AsSegment>, Fault> {
    let subcode = subcode::AS_PATH;
    let path = as_path::decode(value, Width::of(context.four_octet_as))
        .map_err(|bad| Fault::Withdraw { subcode, what: bad.what() })?;
    if context.external && path.iter().any(AsSegment::is_confed) {
        let what = "confederation segment from an external peer";
        return Err(Fault::Withdraw { subcode, what });
    }
    Ok(path)
}

/// RFC 7606 §7.3
fn read_next_hop(value: &[u8]) -> Result<Ipv4Addr, Fault> {
    let addr = Reader::new(value).u32().filter(|_| value.len() == 4);
    let addr = Ipv4Addr::from_bits(addr.ok_or(Fault::length("not four octets"))?);
    check_next_hop(NextHop::V4(addr))?;
    Ok(addr)
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

/// `None`: a length that the family does not have; IPv4 over IPv6 (RFC 8950) is not negotiated.
fn mp_next_hop(family: Family, value: &[u8]) -> Option<NextHop> {
    let mut reader = Reader::new(value);
    let next_hop = match family {
        Family::Ipv4Unicast => NextHop::V4(Ipv4Addr::from(reader.array::<4>()?)),
        Family::Ipv6Unicast => {
            let global = Ipv6Addr::from(reader.array::<16>()?);
            let link_local = if reader.is_empty() { None } else { Some(reader.array::<16>()?) };
            match link_local.map(Ipv6Addr::from).filter(Ipv6Addr::is_unicast_link_local) {
                // Some send :: for a global address that they do not have.
                Some(alone) if global.is_unspecified() => {
                    NextHop::V6 { global: alone, link_local: None }
                }
                link_local => NextHop::V6 { global, link_local },
            }
        }
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

/// Attributes whose value we do not use: a whole number of items (RFC 7606 §7.9, §7.10, §7.14,
/// §7.15), or exactly one (RFC 9234 §5).
fn read_shape(code: u8, value: &[u8]) -> Result<(), Fault> {
    let len = value.len();
    let sound = match code {
        code::ORIGINATOR_ID | code::ONLY_TO_CUSTOMER => len == 4,
        code::CLUSTER_LIST => len > 0 && len.is_multiple_of(4),
        code::EXTENDED_COMMUNITIES => len > 0 && len.is_multiple_of(8),
        code::IPV6_EXTENDED_COMMUNITIES => len > 0 && len.is_multiple_of(20),
        _ => true,
    };
    if sound { Ok(()) } else { Err(Fault::length("wrong length")) }
}
