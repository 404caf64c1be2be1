//! What a network card takes of a program and its maps, as far as can be seen without the card.
//!
//! After the rules of the kernel for every card, and of the two drivers that there are. What needs to
//! know of which kind a pointer is (stores into map values, which field of the context is read, how a
//! key stands on the stack) is the kernel's own verifier's and the driver's to find at load.

/// One instruction of BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Class, operation and source.
    pub code: u8,
    /// Destination register.
    pub dst: u8,
    /// Source register, or what an immediate or a call means.
    pub src: u8,
    /// Offset.
    pub off: i16,
    /// Immediate.
    pub imm: i32,
}

/// One map as the object declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// Its name.
    pub name: String,
    /// Its type, as the kernel counts them.
    pub kind: u32,
    /// Of a key, in bytes.
    pub key_bytes: u32,
    /// Of a value, in bytes.
    pub value_bytes: u32,
    /// How many it has room for.
    pub entries: u32,
    /// Flags of its creation.
    pub flags: u32,
    /// Values that the program reaches without a look-up: global data.
    pub is_global: bool,
}

/// A program with its maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// All of it, functions that it calls included.
    pub instructions: Vec<Instruction>,
    /// Its maps.
    pub maps: Vec<MapShape>,
}

/// A kind of card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Name of its driver.
    pub name: &'static str,
    /// Helpers by their numbers; `None`: all.
    helpers: Option<&'static [i32]>,
    /// Instructions of BPF that are sure to fit.
    pub instructions_max: usize,
    /// Entries of all maps together.
    entries_max: Option<u64>,
    /// An element of a map, key and value each rounded up to eight bytes.
    element_bytes_max: Option<u32>,
    /// It has instructions of its own, and not all of BPF.
    translates: bool,
}

/// Netronome's Agilio, the one family of cards whose driver takes whole programs.
pub const NFP: Device = Device {
    name: "nfp",
    // map_lookup_elem, map_update_elem, map_delete_elem, get_prandom_u32, perf_event_output,
    // xdp_adjust_head, xdp_adjust_tail
    helpers: Some(&[1, 2, 3, 7, 25, 44, 65]),
    // As users of the card have met them; the firmware tells its own at load.
    instructions_max: 2_800,
    entries_max: Some(3_070_000),
    element_bytes_max: Some(64),
    translates: true,
};

/// The kernel's device for tests.
pub const NETDEVSIM: Device = Device {
    name: "netdevsim",
    helpers: None,
    instructions_max: 1_000_000,
    entries_max: None,
    element_bytes_max: None,
    translates: false,
};

/// All of them.
pub const ALL: [Device; 2] = [NFP, NETDEVSIM];

/// `BPF_MAP_TYPE_HASH` and `BPF_MAP_TYPE_ARRAY`: all that can be made on a card.
const MAP_KINDS: [u32; 2] = [1, 2];
/// The kernel's own limit, and that of the firmware.
const STACK_BYTES_MAX: u32 = 512;
const LOAD_IMMEDIATE: u8 = 0x18;
const CALL: u8 = 0x85;

/// Why a card would not take an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// Of another type than cards have.
    #[error(
        "map {map} is of type {kind}; a card has hashes and arrays: move what it holds to the host"
    )]
    MapKind {
        /// Which map.
        map: String,
        /// Its type.
        kind: u32,
    },
    /// Made with flags.
    #[error("map {map} is made with flags {flags:#x}; on a card there are none")]
    MapFlags {
        /// Which map.
        map: String,
        /// The flags.
        flags: u32,
    },
    /// Global data.
    #[error(
        "{map} is global data, which a card cannot reach: put it into a map, or into the instructions"
    )]
    Global {
        /// The section.
        map: String,
    },
    /// Too long.
    #[error(
        "an element of map {map} takes {bytes} bytes, of which {max} are there: shorten key or value"
    )]
    Element {
        /// Which map.
        map: String,
        /// Key and value.
        bytes: u32,
        /// The card's.
        max: u32,
    },
    /// More than is sure to fit.
    #[error("{count} instructions, of which {max} are sure to fit: leave more to the host")]
    TooMany {
        /// How many there are.
        count: usize,
        /// The card's.
        max: usize,
    },
    /// Maps with room for more than the card has.
    #[error(
        "the maps have room for {count} entries, of which the card has {max}: make them smaller"
    )]
    Entries {
        /// How many there are.
        count: u64,
        /// The card's.
        max: u64,
    },
    /// More stack than there is.
    #[error("{bytes} bytes of stack, of which {max} are there")]
    Stack {
        /// What it uses.
        bytes: u32,
        /// The card's.
        max: u32,
    },
    /// A function of the kernel that the card does not have.
    #[error("instruction {at} calls helper {helper}, which the card does not have")]
    Helper {
        /// Where.
        at: usize,
        /// Which one.
        helper: i32,
    },
    /// One that the card does not have.
    #[error("instruction {at}: {what}")]
    Instruction {
        /// Where.
        at: usize,
        /// What it is.
        what: &'static str,
    },
}

/// What an object asks of a card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Instructions.
    pub instructions: usize,
    /// Bytes of stack, of all that it calls together.
    pub stack_bytes: u32,
    /// Calls of functions of its own.
    pub calls: usize,
    /// Maps.
    pub maps: usize,
    /// Entries that they have room for, all together.
    pub entries: u64,
    /// Bytes that those take.
    pub bytes: u64,
}

impl Needs {
    /// Of this object.
    pub fn of(object: &Object) -> Self {
        /// The frame pointer.
        const FRAME: u8 = 10;
        let on_stack = object.instructions.iter().filter(|it| match it.code & 0x07 {
            0x01 => it.src == FRAME,
            0x02 | 0x03 => it.dst == FRAME,
            _ => false,
        });
        // What is handed to a helper begins where an address is made.
        let addresses = object.instructions.windows(2).filter_map(|pair| match pair {
            [copy, add]
                if copy.code == 0xbf
                    && copy.src == FRAME
                    && add.code == 0x07
                    && add.dst == copy.dst =>
            {
                Some(add.imm)
            }
            _ => None,
        });
        let lowest = on_stack.map(|it| i32::from(it.off)).chain(addresses).min().unwrap_or(0);
        let bytes = |map: &MapShape| {
            u64::from(map.key_bytes.next_multiple_of(8) + map.value_bytes.next_multiple_of(8))
                * u64::from(map.entries)
        };
        Self {
            instructions: object.instructions.len(),
            stack_bytes: lowest.min(0).unsigned_abs(),
            calls: object.instructions.iter().filter(|it| it.code == CALL && it.src == 1).count(),
            maps: object.maps.len(),
            entries: object.maps.iter().map(|map| u64::from(map.entries)).sum(),
            bytes: object.maps.iter().map(bytes).sum(),
        }
    }
}

/// All that a card has against an object; empty: nothing that can be seen from here.
pub fn objections(object: &Object, device: &Device) -> Vec<Objection> {
    let mut found: Vec<Objection> =
        object.maps.iter().flat_map(|map| of_map(map, device)).collect();
    let count = object.instructions.len();
    let max = device.instructions_max;
    if count > max {
        found.push(Objection::TooMany { count, max });
    }
    let Needs { stack_bytes: bytes, entries, .. } = Needs::of(object);
    if let Some(max) = device.entries_max.filter(|max| entries > *max) {
        found.push(Objection::Entries { count: entries, max });
    }
    if bytes > STACK_BYTES_MAX {
        found.push(Objection::Stack { bytes, max: STACK_BYTES_MAX });
    }
    let mut is_second_half = false;
    for (at, instruction) in object.instructions.iter().enumerate() {
        if is_second_half {
            is_second_half = false;
            continue;
        }
        is_second_half = instruction.code == LOAD_IMMEDIATE;
        found.extend(of_instruction(at, *instruction, device));
    }
    found
}

fn of_map(map: &MapShape, device: &Device) -> Vec<Objection> {
    let name = || map.name.clone();
    if map.is_global {
        return vec![Objection::Global { map: name() }];
    }
    if !MAP_KINDS.contains(&map.kind) {
        return vec![Objection::MapKind { map: name(), kind: map.kind }];
    }
    let mut found = Vec::new();
    if map.flags != 0 {
        found.push(Objection::MapFlags { map: name(), flags: map.flags });
    }
    let bytes =
        map.key_bytes.next_multiple_of(8).saturating_add(map.value_bytes.next_multiple_of(8));
    if let Some(max) = device.element_bytes_max.filter(|max| bytes > *max) {
        found.push(Objection::Element { map: name(), bytes, max });
    }
    found
}

fn of_instruction(at: usize, it: Instruction, device: &Device) -> Option<Objection> {
    let Instruction { code, src, imm, .. } = it;
    if code == CALL && src == 0 {
        let has = device.helpers.is_none_or(|helpers| helpers.contains(&imm));
        return (!has).then_some(Objection::Helper { at, helper: imm });
    }
    let what = if device.translates { not_translated(it) } else { not_in_kernel(it) };
    what.map(|what| Objection::Instruction { at, what })
}

/// What the kernel itself allows no card.
fn not_in_kernel(Instruction { code, src, .. }: Instruction) -> Option<&'static str> {
    match (code, src) {
        (CALL, 2) => Some("a call of a kernel function"),
        (LOAD_IMMEDIATE, 2..=6) => Some("the address of a value, a function or a type"),
        _ => None,
    }
}

/// What has no translation into instructions of the card.
fn not_translated(it: Instruction) -> Option<&'static str> {
    const ADD: i32 = 0;
    let Instruction { code, dst, off, imm, .. } = it;
    let (class, operation, mode) = (code & 0x07, code & 0xf0, code & 0xe0);
    let by_register = code & 0x08 != 0;
    let wide = class == 0x07;
    if let Some(what) = not_in_kernel(it) {
        return Some(what);
    }
    match class {
        0x00 if code != LOAD_IMMEDIATE => Some("a load that only classic BPF has"),
        0x01 if mode != 0x60 => Some("a load with sign extension: build for cpu v3"),
        0x02 => Some("a store of an immediate: build for cpu v3"),
        0x03 if mode == 0xc0 && imm != ADD => {
            Some("an atomic operation that is not a mere addition")
        }
        0x03 if mode != 0x60 && mode != 0xc0 => {
            Some("a store in a mode that the card does not have")
        }
        0x04 | 0x07 => match operation {
            0x90 => Some("a remainder"),
            0x20 if wide && !by_register && imm < 0 => Some("a product with more than 32 bits"),
            0x30 if by_register => Some("a division by what is no constant"),
            0xd0 if wide || !by_register => {
                Some("a change of byte order that is not to network order")
            }
            0x30 | 0xb0 if off != 0 => {
                Some("a move or division with sign extension: build for cpu v3")
            }
            0xb0 if !by_register && dst == 0 && imm == 4 => {
                Some("an answer of 4: on a card XDP_REDIRECT is an abort")
            }
            _ => None,
        },
        0x05 if operation == 0xe0 => Some("a loop that the kernel bounds"),
        0x06 if operation == 0 => Some("a long jump: build for cpu v3"),
        _ => None,
    }
}
