//! Chance, and the frames that it makes: sound ones, and such as somebody means harm with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tidegate_abi::ip_proto::SCTP;
use tidegate_plan::model::{Connections, Flow};
use tidegate_vm_tests::frame::{Frame, eth, ext};

use crate::xdp::{CLIENT4, CLIENT6, ROUTER, SOURCE4, TCP, US, VIP4, VIP6};

/// SplitMix64: chance that a seed repeats.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).unwrap()
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(super) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.roll().to_le_bytes()[0]
    }

    pub(super) fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub(super) fn bytes<const LEN: usize>(&mut self) -> [u8; LEN] {
        core::array::from_fn(|_| self.byte())
    }
}

/// A frame that is sound in all its layers.
fn sound(dice: &mut Dice) -> Frame {
    let mut frame = eth(ROUTER, if dice.one_in(20) { [0xff; 6] } else { US });
    for _ in 0..dice.of(&[0, 0, 0, 1, 2, 3]) {
        let tci = dice.short();
        frame = if dice.one_in(2) { frame.vlan(tci) } else { frame.service_vlan(tci) };
    }
    let is_v4 = dice.one_in(2);
    frame = if is_v4 { ipv4(frame, dice) } else { ipv6(frame, dice) };
    let ports = (dice.of(&[1_u16, 2, 40_000]), dice.of(&[80, 443, 53, 9]));
    let flags = dice.of(&[0x02, 0x10, 0x12, 0x11, 0x04, 0xc2, 0x00]);
    let (kind, code, rest) = (dice.byte(), dice.byte(), dice.bytes());
    frame = match (dice.below(12), is_v4) {
        (0..5, _) => frame.tcp(ports.0, ports.1, flags),
        (5..=6, _) if dice.one_in(3) => frame.udp(ports.0, ports.1),
        (5..=6, _) => return padded(frame.udp(ports.0, ports.1).payload(quic(dice)), dice),
        (7, _) => return sctp(frame, ports, dice),
        (8, true) => frame.icmp(8, 0, rest),
        (8, false) => frame.icmpv6(128, 0, rest),
        (9, true) => frame.icmp(kind, code, rest),
        (9, false) => frame.icmpv6(dice.of(&[kind, 133, 135, 137]), code, rest),
        (10, _) => return error(frame, dice, is_v4),
        _ => frame.proto(dice.byte()),
    };
    let len = dice.of(&[0, 1, 7, 60, 61, 400, 1_400, 1_440, 1_459]);
    let fill = dice.byte();
    padded(frame.payload(vec![fill; len]), dice)
}

fn padded(frame: Frame, dice: &mut Dice) -> Frame {
    if dice.one_in(8) {
        frame.clone().padded_to(frame.bytes().len() + dice.below(20))
    } else {
        frame
    }
}

/// An SCTP packet with one chunk, maybe an INIT, maybe cut off.
fn sctp(frame: Frame, (from, to): (u16, u16), dice: &mut Dice) -> Frame {
    let mut bytes = vec![0; dice.of(&[16, 16, 40, 15])];
    bytes[..2].copy_from_slice(&from.to_be_bytes());
    bytes[2..4].copy_from_slice(&to.to_be_bytes());
    bytes[12] = dice.of(&[0, 1, 2]);
    frame.proto(SCTP).payload(bytes)
}

/// An ICMP error that quotes what a service has answered, maybe cut off, maybe of somebody else.
fn error(frame: Frame, dice: &mut Dice, is_v4: bool) -> Frame {
    let mut answer = eth(US, ROUTER);
    let other = dice.one_in(8);
    answer = if is_v4 {
        let from = if other { CLIENT4 } else { VIP4 };
        answer.ipv4(from, CLIENT4).fragment(dice.of(&[0, 0, 0, 0x2000, 0x0001]))
    } else {
        let answer = answer.ipv6(if other { CLIENT6 } else { VIP6 }, CLIENT6);
        match dice.below(6) {
            0 => answer.extension(ext::DESTINATION, &[0; 6]),
            1 => answer.fragment_header(dice.of(&[0, 1]), true),
            _ => answer,
        }
    };
    let (port, client) = (dice.of(&[80, 443, 53, 9]), dice.of(&[1, 2, 40_000]));
    answer = if dice.one_in(3) { answer.udp(port, client) } else { answer.tcp(port, client, 0x10) };
    let mut quoted = answer.payload(vec![7; dice.below(60)]).bytes().split_off(14);
    if dice.one_in(3) {
        quoted.truncate(dice.below(quoted.len()));
    } else if is_v4 && dice.one_in(2) {
        quoted.truncate(28); // All that an old router quotes.
    }
    let frame = if is_v4 {
        frame.icmp(dice.of(&[3, 11, 12, 5]), dice.byte() % 5, dice.bytes())
    } else {
        frame.icmpv6(dice.of(&[1, 2, 3, 4, 5]), 0, dice.bytes())
    };
    frame.payload(quoted)
}

fn ipv4(frame: Frame, dice: &mut Dice) -> Frame {
    let [high, low] = [dice.byte() % 4, dice.byte()];
    let client = if dice.one_in(3) { CLIENT4 } else { Ipv4Addr::new(203, 0, high, low) };
    let to = if dice.one_in(4) { Ipv4Addr::new(192, 0, 2, low) } else { VIP4 };
    let (any, tos) = (dice.byte(), dice.byte());
    let mut frame = frame.ipv4(client, to).ttl(dice.of(&[any, any, any, 1])).tos(tos);
    if dice.one_in(4) {
        frame = frame.options(&vec![1; 4 * (1 + dice.below(10))]);
    }
    if dice.one_in(4) {
        frame.fragment(dice.of(&[0x4000, 0x2000, 0x0001, 0x3fff, 0x8000]))
    } else {
        frame
    }
}

fn ipv6(frame: Frame, dice: &mut Dice) -> Frame {
    let [high, low] = [dice.byte() % 4, dice.byte()];
    let other = |word: u16| Ipv6Addr::new(0x2001, 0xdb8, 0xc, word, 0, 0, 0, low.into());
    let client = if dice.one_in(3) { CLIENT6 } else { other(high.into()) };
    let beside = Ipv6Addr::from_bits(VIP6.to_bits() ^ u128::from(low) << dice.of(&[0, 12, 56]));
    let to = dice.of(&[VIP6, VIP6, VIP6, VIP6, VIP6, VIP6, other(0xf), beside]);
    let mut frame = frame.ipv6(client, to).ttl(dice.of(&[255, 64, 1]));
    for _ in 0..dice.of(&[0, 0, 0, 1, 2, 7, 8]) {
        let kind = dice.of(&[ext::HOP_BY_HOP, ext::ROUTING, ext::DESTINATION, ext::AUTHENTICATION]);
        let len =
            if kind == ext::AUTHENTICATION { 4 * dice.below(5) + 6 } else { 8 * dice.below(4) + 6 };
        frame = frame.extension(kind, &vec![0; len]);
    }
    while dice.one_in(4) {
        frame = frame.fragment_header(dice.of(&[0, 0, 1, 99]), dice.one_in(2));
        if dice.one_in(4) {
            frame = frame.extension(ext::DESTINATION, &[0; 6]);
        }
    }
    frame
}

/// Bytes that somebody means harm with, or that are a sound frame.
pub(super) fn any_frame(dice: &mut Dice, nat: &Connections) -> Vec<u8> {
    let frame = if dice.one_in(4) { inside(dice, nat) } else { sound(dice) };
    let mut bytes = frame.bytes();
    match dice.below(10) {
        0 => bytes.truncate(14 + dice.below(80)), // The kernel runs no shorter ones.
        1 | 2 => {
            for _ in 0..=dice.below(4) {
                let at = dice.below(bytes.len().min(120));
                bytes[at] = dice.byte();
            }
        }
        3 => {
            // A length, an offset or a type at the edge of what fits.
            let at = 12 + dice.below(bytes.len().min(100) - 12);
            bytes[at] =
                dice.of(&[0, 1, 4, 5, 0x0f, 0x3f, 0x40, 0x45, 0x4f, 0x60, 0x7f, 0x80, 0xff]);
        }
        4 if dice.one_in(4) => {
            for byte in bytes.iter_mut().skip(12) {
                *byte = dice.byte();
            }
        }
        _ => {}
    }
    bytes
}

/// What may be a packet of QUIC: short or long, with a connection id that may name a server, maybe cut
/// off, or with a length that is wrong.
fn quic(dice: &mut Dice) -> Vec<u8> {
    let [form, first, any] = [dice.of(&[0x40, 0xc0, 0x00, 0xff]), dice.byte(), dice.byte()];
    let config = dice.of(&[0, 1, 2, 7]) << 5;
    let mut packet = vec![form];
    if form & 0x80 != 0 {
        packet.extend([0, 0, 0, 1, dice.of(&[0, 1, 2, 8, 9, 16, 20, any])]);
    }
    packet.push(config | first & 0x1f);
    packet.extend([dice.of(&[0, 1, 2, any]); 15]);
    packet.extend(vec![any; dice.below(40)]);
    if dice.one_in(4) {
        packet.truncate(dice.below(packet.len()));
    }
    packet
}

/// What comes to an address that connections in NAT come from: an answer, or an error about what was
/// sent to a backend; now and then of nobody that is known.
fn inside(dice: &mut Dice, nat: &Connections) -> Frame {
    let answers: Vec<Flow> = nat.answers().collect();
    let mut frame = eth(ROUTER, if dice.one_in(30) { [0xff; 6] } else { US });
    if dice.one_in(3) {
        frame = frame.vlan(dice.short());
    }
    let Some(mut flow) = (!answers.is_empty()).then(|| dice.of(&answers)) else {
        return frame.ipv4(CLIENT4, SOURCE4).tcp(1, 2, 0x10);
    };
    if dice.one_in(10) {
        flow.dst_port ^= 1;
    }
    let ttl = dice.of(&[0, 1, 2, 64, 255]);
    let addressed = |frame: Frame, src, dst| match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => frame.ipv4(src, dst),
        (IpAddr::V6(src), IpAddr::V6(dst)) => frame.ipv6(src, dst),
        _ => unreachable!("a flow has one version"),
    };
    let (ours, port, to, to_port) = (flow.dst, flow.dst_port, flow.src, flow.src_port);
    let flags = dice.of(&[0x12, 0x10, 0x11, 0x04]);
    let transport = |frame: Frame, from, to, flags| match flow.proto {
        TCP => frame.tcp(from, to, flags),
        _ => frame.udp(from, to),
    };
    if !dice.one_in(3) {
        let frame = addressed(frame, flow.src, ours).ttl(ttl);
        return transport(frame, to_port, port, flags).payload(vec![9; dice.below(90)]);
    }
    // What we have sent, and a router on the way there did not like.
    let mut sent = addressed(eth(US, ROUTER), ours, to);
    if dice.one_in(6) && ours.is_ipv6() {
        sent = sent.extension(ext::DESTINATION, &[0; 6]);
    }
    let sent = transport(sent, port, to_port, 0x10).payload(vec![7; dice.below(60)]);
    let mut quoted = sent.bytes().split_off(14);
    if dice.one_in(3) {
        quoted.truncate(dice.of(&[28, 48, 20, 30, 38, 60]));
    }
    let router = if ours.is_ipv4() { CLIENT4.into() } else { CLIENT6.into() };
    let frame = addressed(frame, router, ours).ttl(ttl);
    let frame = if ours.is_ipv4() {
        frame.icmp(dice.of(&[3, 11, 12, 5, 8]), 4, dice.bytes())
    } else {
        frame.icmpv6(dice.of(&[1, 2, 3, 4, 128]), 0, dice.bytes())
    };
    frame.payload(quoted)
}
