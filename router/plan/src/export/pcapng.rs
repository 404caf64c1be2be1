//! Captured packets as a file for Wireshark: the blocks of pcapng (draft-ietf-opsawg-pcapng), written
//! and taken apart. Numbers are in the order of the writer's host, which the first block tells.

use core::fmt;

/// Section Header Block, Interface Description Block, Enhanced Packet Block, Interface Statistics
/// Block (§4.1 to §4.3, §4.6).
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const STATISTICS: u32 = 5;
/// Tells the order of bytes.
const MAGIC: u32 = 0x1a2b_3c4d;
const ETHERNET: u16 = 1;
const NANOSECONDS: u8 = 9;
/// A comment, in every block (§3.5); `opt_endofopt`.
const COMMENT: u16 = 1;
const END: u16 = 0;
/// `epb_flags`, and its lowest bits: which way the packet went (§4.3.1).
const EPB_FLAGS: u16 = 2;
const EPB_PACKET_ID: u16 = 5;
const EPB_VERDICT: u16 = 7;
/// Kind of an `epb_verdict`: `Linux_eBPF_XDP`.
const VERDICT_OF_XDP: u8 = 2;
/// Bytes of a block without its body: type, and its length at both ends.
const FRAME: usize = 12;
/// Bytes of a packet's block before its data.
const PACKET_HEAD: usize = 20;
/// The longest block that is taken apart: no writer of ours makes one so long.
const BLOCK_BYTES_MAX: usize = 1 << 20;

/// What the file is about.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    /// Hardware, as the kernel names it.
    pub hardware: &'a str,
    /// Operating system.
    pub os: &'a str,
    /// What wrote the file.
    pub application: &'a str,
    /// What was asked for.
    pub comment: &'a str,
}

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It came.
    In = 1,
    /// It left.
    Out = 2,
}

/// A packet.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// Number of its interface, in the order in which they were described.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub at_ns: u64,
    /// Which way.
    pub direction: Direction,
    /// The same number on what came and what left of it.
    pub id: u64,
    /// What XDP was told to do (linux/bpf.h, enum `xdp_action`).
    pub action: u64,
    /// Its first bytes.
    pub frame: &'a [u8],
    /// How many it had.
    pub len: u32,
    /// In words.
    pub comment: &'a str,
}

/// What is known of an interface at a time.
#[derive(Clone, Debug, Default)]
pub struct Statistics<'a> {
    /// Its number.
    pub interface: u32,
    /// From then, in nanoseconds since 1970.
    pub from_ns: u64,
    /// To then.
    pub to_ns: u64,
    /// Packets that came by it and are in the file.
    pub delivered: u64,
    /// Packets that were lost for want of room, if it is the one that tells.
    pub lost: Option<u64>,
    /// In words; empty: none.
    pub comment: &'a str,
}

/// Begins a file.
pub fn section(out: &mut Vec<u8>, section: &Section<'_>) {
    let mut body = Vec::new();
    body.extend(MAGIC.to_ne_bytes());
    body.extend(1_u16.to_ne_bytes());
    body.extend(0_u16.to_ne_bytes());
    body.extend(u64::MAX.to_ne_bytes()); // How long the section will be is not known.
    let Section { hardware, os, application, comment } = section;
    let texts = [(COMMENT, comment), (2, hardware), (3, os), (4, application)];
    for (code, text) in texts {
        option(&mut body, code, text.as_bytes());
    }
    block(out, SECTION, body);
}

/// Describes the next interface, by its name.
pub fn interface(out: &mut Vec<u8>, name: &str, snap: u32) {
    let mut body = Vec::new();
    body.extend(ETHERNET.to_ne_bytes());
    body.extend(0_u16.to_ne_bytes());
    body.extend(snap.to_ne_bytes());
    option(&mut body, 2, name.as_bytes());
    option(&mut body, 9, &[NANOSECONDS]);
    block(out, INTERFACE, body);
}

/// Adds a packet.
pub fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let mut body = Vec::with_capacity(PACKET_HEAD + packet.frame.len() + 128);
    body.extend(packet.interface.to_ne_bytes());
    time(&mut body, packet.at_ns);
    body.extend(u32::try_from(packet.frame.len()).unwrap_or(u32::MAX).to_ne_bytes());
    body.extend(packet.len.to_ne_bytes());
    body.extend(packet.frame);
    body.resize(body.len().next_multiple_of(4), 0);
    option(&mut body, COMMENT, packet.comment.as_bytes());
    option(&mut body, EPB_FLAGS, &(packet.direction as u32).to_ne_bytes());
    option(&mut body, EPB_PACKET_ID, &packet.id.to_ne_bytes());
    let verdict = [&[VERDICT_OF_XDP][..], &packet.action.to_ne_bytes()].concat();
    option(&mut body, EPB_VERDICT, &verdict);
    block(out, PACKET, body);
}

/// Tells of an interface.
pub fn statistics(out: &mut Vec<u8>, it: &Statistics<'_>) {
    let mut body = Vec::new();
    body.extend(it.interface.to_ne_bytes());
    time(&mut body, it.to_ns);
    if !it.comment.is_empty() {
        option(&mut body, COMMENT, it.comment.as_bytes());
    }
    for (code, at) in [(2, it.from_ns), (3, it.to_ns)] {
        let mut value = Vec::new();
        time(&mut value, at);
        option(&mut body, code, &value);
    }
    if let Some(lost) = it.lost {
        option(&mut body, 7, &lost.to_ne_bytes());
    }
    option(&mut body, 8, &it.delivered.to_ne_bytes());
    block(out, STATISTICS, body);
}

/// Two words, the high one first, whatever the order of bytes (§4.3).
fn time(body: &mut Vec<u8>, at_ns: u64) {
    for word in [at_ns >> 32, at_ns & u64::from(u32::MAX)] {
        body.extend(u32::try_from(word).unwrap_or(u32::MAX).to_ne_bytes());
    }
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
    body.extend(code.to_ne_bytes());
    body.extend(len.to_ne_bytes());
    body.extend(value.iter().take(len.into()));
    body.resize(body.len().next_multiple_of(4), 0);
}

/// All blocks of ours end with options.
fn block(out: &mut Vec<u8>, kind: u32, mut body: Vec<u8>) {
    body.extend(END.to_ne_bytes());
    body.extend(0_u16.to_ne_bytes());
    let len = u32::try_from(body.len() + FRAME).unwrap_or(u32::MAX).to_ne_bytes();
    out.extend(kind.to_ne_bytes());
    out.extend(len);
    out.extend(body);
    out.extend(len);
}

/// Something else than blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBlock(pub u32);

impl fmt::Display for NoBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a block of {} bytes is none of a capture", self.0)
    }
}

/// Takes apart what comes in pieces.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    pending: Vec<u8>,
}

/// A whole block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block(Vec<u8>);

impl Blocks {
    /// What has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next block, if it is all there.
    ///
    /// # Errors
    /// [`NoBlock`]: what comes is no capture of ours.
    pub fn next_block(&mut self) -> Result<Option<Block>, NoBlock> {
        let Some(len) = word(&self.pending, 4) else { return Ok(None) };
        let size = usize::try_from(len).unwrap_or(usize::MAX);
        if !(FRAME..=BLOCK_BYTES_MAX).contains(&size) {
            return Err(NoBlock(len));
        }
        if self.pending.len() < size {
            return Ok(None);
        }
        Ok(Some(Block(self.pending.drain(..size).collect())))
    }
}

impl Block {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it tells of an interface.
    pub fn is_statistics(&self) -> bool {
        word(&self.0, 0) == Some(STATISTICS)
    }

    /// Whether it is a packet that came; none that left.
    pub fn is_arrival(&self) -> bool {
        let len = word(&self.0, 8 + 12).and_then(|len| usize::try_from(len).ok());
        let options = len.map(|len| (8 + PACKET_HEAD).saturating_add(len).next_multiple_of(4));
        let flags = options.and_then(|at| self.option(at, EPB_FLAGS)).and_then(|it| word(it, 0));
        word(&self.0, 0) == Some(PACKET) && flags.is_some_and(|it| it & 3 == Direction::In as u32)
    }

    /// Packets that were lost, if it tells.
    pub fn lost(&self) -> Option<u64> {
        let lost = self.option(8 + 12, 7).filter(|_| self.is_statistics())?;
        Some(u64::from_ne_bytes(*lost.first_chunk()?))
    }

    /// An option's value; options start at this place.
    fn option(&self, mut at: usize, wanted: u16) -> Option<&[u8]> {
        loop {
            let head: &[u8; 4] = self.0.get(at..)?.first_chunk()?;
            let [c0, c1, l0, l1] = *head;
            let (code, len) = (u16::from_ne_bytes([c0, c1]), u16::from_ne_bytes([l0, l1]));
            if code == wanted {
                return self.0.get(at + 4..)?.get(..len.into());
            }
            if code == END {
                return None;
            }
            at += 4 + usize::from(len).next_multiple_of(4);
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arrival(frame: &[u8]) -> Packet<'_> {
        Packet {
            interface: 1,
            at_ns: 0x1_0000_0002,
            direction: Direction::In,
            id: 7,
            action: 1,
            frame,
            len: 1_500,
            comment: "why",
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_packet_stands_as_the_draft_draws_it() {
        let mut out = Vec::new();
        packet(&mut out, &arrival(&[0xaa, 0xbb, 0xcc, 0xdd, 0xee]));
        let wanted: [&[u8]; 15] = [
            &[6, 0, 0, 0, 88, 0, 0, 0],   // Type and length.
            &[1, 0, 0, 0],                // Interface.
            &[1, 0, 0, 0, 2, 0, 0, 0],    // Time, the high word first.
            &[5, 0, 0, 0, 0xdc, 5, 0, 0], // Captured, original length.
            &[0xaa, 0xbb, 0xcc, 0xdd],    //
            &[0xee, 0, 0, 0],             //
            &[1, 0, 3, 0, b'w', b'h'],    // opt_comment
            &[b'y', 0],                   //
            &[2, 0, 4, 0, 1, 0, 0, 0],    // epb_flags: inbound
            &[5, 0, 8, 0, 7, 0, 0, 0],    // epb_packetid
            &[0, 0, 0, 0],                //
            &[7, 0, 9, 0, 2, 1, 0, 0],    // epb_verdict: XDP, dropped
            &[0, 0, 0, 0, 0, 0, 0, 0],    //
            &[0, 0, 0, 0],                // opt_endofopt
            &[88, 0, 0, 0],               // Length again.
        ];
        assert_eq!(out, wanted.concat());
    }

    #[test]
    fn what_is_written_is_taken_apart_in_whatever_pieces_it_comes() {
        let mut out = Vec::new();
        let about = Section { hardware: "h", os: "o", application: "a", comment: "c" };
        section(&mut out, &about);
        interface(&mut out, "eth0", 256);
        packet(&mut out, &arrival(&[1; 61]));
        packet(&mut out, &Packet { direction: Direction::Out, ..arrival(&[1; 64]) });
        let words = "all interfaces";
        let told =
            Statistics { lost: Some(3), delivered: 1, comment: words, ..Statistics::default() };
        statistics(&mut out, &told);
        for piece in [1, 5, 4_096] {
            let (mut blocks, mut found) = (Blocks::default(), Vec::new());
            for piece in out.chunks(piece) {
                blocks.push(piece);
                while let Some(block) = blocks.next_block().unwrap() {
                    found.push(block);
                }
            }
            assert_eq!(found.iter().flat_map(Block::bytes).copied().collect::<Vec<u8>>(), out);
            let arrivals: Vec<bool> = found.iter().map(Block::is_arrival).collect();
            assert_eq!(arrivals, [false, false, true, false, false]);
            let lost: Vec<_> = found.iter().map(Block::lost).collect();
            assert_eq!(lost, [None, None, None, None, Some(3)]);
        }
    }

    #[test]
    fn what_is_no_block_is_refused_and_no_comment_is_too_long() {
        let mut blocks = Blocks::default();
        blocks.push(b"HTTP/1.1 200 OK");
        assert!(blocks.next_block().is_err());
        let (long, mut out) = ("x".repeat(70_000), Vec::new());
        packet(&mut out, &Packet { comment: &long, ..arrival(&[]) });
        let mut blocks = Blocks::default();
        blocks.push(&out);
        assert!(blocks.next_block().unwrap().unwrap().is_arrival());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let block = Block(bytes.clone());
            let _either_way = (block.is_arrival(), block.lost());
            let mut blocks = Blocks::default();
            blocks.push(&bytes);
            while let Ok(Some(block)) = blocks.next_block() {
                prop_assert!(block.bytes().len() >= FRAME);
            }
        }
    }
}
