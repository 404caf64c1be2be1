//! What translation does differently in the two families.

use core::mem::{offset_of, transmute};

use tidegate_xdp::Cursor;
use tidegate_xdp::wire::{Ipv4, Ipv6, ones_add};

use crate::address::{Address, V4, V6};

/// A family of addresses whose packets can be translated.
pub(crate) trait Family: Address {
    /// Source and destination of a header as it stands in a backend's entry.
    fn of_header(ip: &[u8; 40]) -> (Self, Self);

    /// The address that stands in 16 bytes of a key.
    fn of_bytes(bytes: [u8; 16]) -> Self;

    /// The address as it stands in a key.
    #[inline(always)]
    fn bytes(self) -> [u8; 16] {
        let words = self.flow_addr();
        // SAFETY: as many bytes, of which any value is valid.
        unsafe { transmute::<[u64; 2], [u8; 16]>(words) }
    }

    /// The sum of its words (RFC 1071).
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "folded")]
    fn sum(self) -> u16 {
        let [high, low] = self.flow_addr();
        let sum = (high >> 32) + (high & 0xffff_ffff) + (low >> 32) + (low & 0xffff_ffff);
        let sum = (sum >> 32) + (sum & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        (sum as u16).to_be()
    }

    /// TTL or hop limit of the header here.
    fn hops(ip: Cursor) -> Option<u8>;

    /// Writes other addresses into the header here, and the checksum that follows from them.
    fn readdress(ip: Cursor, src: Self, dst: Self) -> Option<()>;

    /// The same with their sum at hand, one hop further on.
    fn pass_on(ip: Cursor, src: Self, dst: Self, address_sum: u16) -> Option<()>;

    /// Writes other addresses into a header that is quoted here. What this adds to the sum of all
    /// that is quoted comes back.
    fn requote(ip: Cursor, src: Self, dst: Self, address_sum: u16) -> Option<u16>;

    /// Where the transport header of a packet that is quoted here stands: behind so many bytes. Not
    /// behind extension headers.
    fn quoted_header_len(ip: Cursor, proto: u8) -> Option<usize>;

    /// What the addresses of an ICMP error add to its checksum: `sum` if that covers them.
    fn of_pseudo_header(sum: u16) -> u16;
}

impl Family for V4 {
    #[inline(always)]
    fn of_header(ip: &[u8; 40]) -> (Self, Self) {
        (Self(part::<12, 4>(ip)), Self(part::<16, 4>(ip)))
    }

    #[inline(always)]
    fn of_bytes(bytes: [u8; 16]) -> Self {
        let [.., a, b, c, d] = bytes;
        Self([a, b, c, d])
    }

    #[inline(always)]
    fn hops(ip: Cursor) -> Option<u8> {
        Some(ip.peek::<Ipv4>()?.ttl)
    }

    #[inline(always)]
    fn readdress(ip: Cursor, src: Self, dst: Self) -> Option<()> {
        let before: Ipv4 = ip.peek()?;
        let removed = ones_add(!Self(before.src).sum(), !Self(before.dst).sum());
        let added = ones_add(removed, ones_add(src.sum(), dst.sum()));
        let sum = ones_add(!u16::from_be_bytes(before.checksum), added);
        { ip }.put(Ipv4 { checksum: (!sum).to_be_bytes(), src: src.0, dst: dst.0, ..before })
    }

    #[inline(always)]
    fn pass_on(ip: Cursor, src: Self, dst: Self, address_sum: u16) -> Option<()> {
        let before: Ipv4 = ip.peek()?;
        let ttl = before.ttl.wrapping_sub(1);
        let old = u16::from_be_bytes([before.ttl, before.proto]);
        let new = u16::from_be_bytes([ttl, before.proto]);
        let sum = ones_add(!u16::from_be_bytes(before.checksum), address_sum);
        let sum = ones_add(ones_add(sum, !old), new);
        { ip }.put(Ipv4 { ttl, checksum: (!sum).to_be_bytes(), src: src.0, dst: dst.0, ..before })
    }

    /// The header's own checksum takes away what the addresses add.
    #[inline(always)]
    fn requote(ip: Cursor, src: Self, dst: Self, address_sum: u16) -> Option<u16> {
        let before: Ipv4 = ip.peek()?;
        let old = u16::from_be_bytes(before.checksum);
        let new = !ones_add(!old, address_sum);
        ip.put_at(offset_of!(Ipv4, checksum), new.to_be_bytes())?;
        ip.put_at(offset_of!(Ipv4, src), src.0)?;
        ip.put_at(offset_of!(Ipv4, dst), dst.0)?;
        Some(ones_add(address_sum, ones_add(!old, new)))
    }

    #[inline(always)]
    fn quoted_header_len(ip: Cursor, _: u8) -> Option<usize> {
        ip.peek::<Ipv4>()?.header_len()
    }

    #[inline(always)]
    fn of_pseudo_header(_: u16) -> u16 {
        0
    }
}

impl Family for V6 {
    #[inline(always)]
    fn of_header(ip: &[u8; 40]) -> (Self, Self) {
        (Self(part::<8, 16>(ip)), Self(part::<24, 16>(ip)))
    }

    #[inline(always)]
    fn of_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    #[inline(always)]
    fn hops(ip: Cursor) -> Option<u8> {
        Some(ip.peek::<Ipv6>()?.hop_limit)
    }

    #[inline(always)]
    fn readdress(mut ip: Cursor, src: Self, dst: Self) -> Option<()> {
        ip.skip(offset_of!(Ipv6, src));
        ip.put_copy(&src.0)?;
        ip.put_copy(&dst.0)
    }

    #[inline(always)]
    fn pass_on(ip: Cursor, src: Self, dst: Self, _: u16) -> Option<()> {
        let hops = Self::hops(ip)?.wrapping_sub(1);
        ip.put_at(offset_of!(Ipv6, hop_limit), [hops])?;
        Self::readdress(ip, src, dst)
    }

    #[inline(always)]
    fn requote(ip: Cursor, src: Self, dst: Self, address_sum: u16) -> Option<u16> {
        Self::readdress(ip, src, dst)?;
        Some(address_sum)
    }

    #[inline(always)]
    fn quoted_header_len(ip: Cursor, proto: u8) -> Option<usize> {
        (ip.peek::<Ipv6>()?.next_header == proto).then_some(size_of::<Ipv6>())
    }

    #[inline(always)]
    fn of_pseudo_header(sum: u16) -> u16 {
        sum
    }
}

/// A part of a header.
#[inline(always)]
fn part<const AT: usize, const LEN: usize>(ip: &[u8; 40]) -> [u8; LEN] {
    const { assert!(AT + LEN <= 40) };
    // SAFETY: it lies within the header, and bytes need no alignment.
    unsafe { ip.as_ptr().add(AT).cast::<[u8; LEN]>().read_unaligned() }
}
