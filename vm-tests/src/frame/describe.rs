//! Frames in words, for failures.

use core::fmt::Write as _;
use core::net::{Ipv4Addr, Ipv6Addr};

use super::{Frame, Mac, Pseudo, SERVICE_VLAN, VLAN, checksum, words};

/// A frame in words, a line per layer, with what is wrong about its checksums.
pub fn describe(frame: &[u8]) -> String {
    let mut text = String::new();
    let mut reader = Reader { rest: frame };
    if link(&mut reader, &mut text).is_none() {
        text.push_str("  (cut off)\n");
    }
    if !reader.rest.is_empty() {
        line(&mut text, format_args!("  {} bytes: {:02x?}", reader.rest.len(), reader.rest));
    }
    text
}

/// Whether every checksum in the frame holds.
pub fn checksums_hold(frame: &[u8]) -> bool {
    !describe(frame).contains("BAD")
}

/// Asserts that a frame is the one wanted, byte by byte, and says in words where it is not.
pub fn assert_frame_eq(found: &[u8], wanted: &Frame) {
    let wanted = wanted.bytes();
    let place = found.iter().zip(&wanted).position(|(found, wanted)| found != wanted);
    let place = place.unwrap_or(found.len().min(wanted.len()));
    assert!(
        found == wanted,
        "frames differ from byte {place} on\nfound ({} bytes):\n{}wanted ({} bytes):\n{}",
        found.len(),
        describe(found),
        wanted.len(),
        describe(&wanted)
    );
}

fn line(text: &mut String, arguments: core::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let written = writeln!(text, "{arguments}");
    debug_assert!(written.is_ok());
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }
}

fn link(reader: &mut Reader<'_>, text: &mut String) -> Option<()> {
    let (to, from): (Mac, Mac) = (reader.array()?, reader.array()?);
    line(text, format_args!("  eth {from:02x?} -> {to:02x?}"));
    let mut kind = reader.u16()?;
    while matches!(kind, VLAN | SERVICE_VLAN) {
        let tci = reader.u16()?;
        line(text, format_args!("  vlan {kind:#06x} tci {tci}"));
        kind = reader.u16()?;
    }
    match kind {
        0x0800 => ip(4, reader, text),
        0x86dd => ip(41, reader, text),
        other => {
            line(text, format_args!("  ether type {other:#06x}"));
            Some(())
        }
    }
}

fn ip(version: u8, reader: &mut Reader<'_>, text: &mut String) -> Option<()> {
    let (next, pseudo, payload) = if version == 4 {
        let start = reader.rest;
        let fixed: [u8; 20] = reader.array()?;
        let [first, tos, l0, l1, _, _, f0, f1, ttl, proto, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
            fixed;
        let header_len = usize::from(first & 0xf) * 4;
        let options = reader.bytes(header_len.checked_sub(20)?)?;
        let sound = checksum(words(start.get(..header_len)?)) == 0;
        let total_len = u16::from_be_bytes([l0, l1]);
        let (src, dst) = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(d0, d1, d2, d3));
        line(
            text,
            format_args!(
                "  ipv4 {src} -> {dst} proto {proto} len {total_len} ttl {ttl} tos {tos} \
                 fragment {:#06x} options {options:02x?} checksum {}",
                u16::from_be_bytes([f0, f1]),
                verdict(sound)
            ),
        );
        let payload = reader.bytes(usize::from(total_len).checked_sub(header_len)?)?;
        (proto, Pseudo::V4(src, dst), payload)
    } else {
        let [_, _, _, _, l0, l1, next, hops]: [u8; 8] = reader.array()?;
        let (src, dst) = (Ipv6Addr::from(reader.array::<16>()?), reader.array::<16>()?);
        let (dst, len) = (Ipv6Addr::from(dst), u16::from_be_bytes([l0, l1]));
        line(text, format_args!("  ipv6 {src} -> {dst} next {next} len {len} hops {hops}"));
        (next, Pseudo::V6(src, dst), reader.bytes(usize::from(len))?)
    };
    let mut inside = Reader { rest: payload };
    let whole = transport(next, &mut inside, pseudo, text);
    if !inside.rest.is_empty() {
        line(text, format_args!("  payload {:02x?}", inside.rest));
    }
    whole
}

fn transport(next: u8, reader: &mut Reader<'_>, pseudo: Pseudo, text: &mut String) -> Option<()> {
    let all = reader.rest;
    let sound = |pseudo: Pseudo| verdict(checksum(words(all) + pseudo.sum(next, all.len())) == 0);
    match next {
        4 | 41 => return ip(next, reader, text),
        6 => {
            let (src, dst) = (reader.u16()?, reader.u16()?);
            let numbers: [u8; 16] = reader.array()?;
            let sum = sound(pseudo);
            line(text, format_args!("  tcp {src} -> {dst} {numbers:02x?} checksum {sum}"));
        }
        17 => {
            let (src, dst, len) = (reader.u16()?, reader.u16()?, reader.u16()?);
            let sum = if reader.u16()? == 0 { "none" } else { sound(pseudo) };
            line(text, format_args!("  udp {src} -> {dst} len {len} checksum {sum}"));
        }
        1 | 58 => {
            let head: [u8; 8] = reader.array()?;
            let sum = sound(if next == 1 { Pseudo::None } else { pseudo });
            line(text, format_args!("  icmp (proto {next}) {head:02x?} checksum {sum}"));
        }
        0 | 43 | 44 | 51 | 60 => {
            let [following, len]: [u8; 2] = reader.array()?;
            let len = match next {
                44 => 6,
                51 => usize::from(len) * 4 + 6,
                _ => usize::from(len) * 8 + 6,
            };
            let body = reader.bytes(len)?;
            line(text, format_args!("  extension {next} {body:02x?}"));
            return transport(following, reader, pseudo, text);
        }
        _ => line(text, format_args!("  proto {next}")),
    }
    Some(())
}

const fn verdict(sound: bool) -> &'static str {
    if sound { "good" } else { "BAD" }
}
