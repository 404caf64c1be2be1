//! The branches of the program's object that ask for a feature (`config::has` over there). Each is
//! `if REGISTER & MARK goto …`. Before the object is loaded it becomes one that is always taken, or
//! never, whatever is in the register: so the verifier leaves out the way that is not taken and the
//! branch itself, and a feature that is not wanted costs no instruction.

use std::ops::Range;

use tidegate_abi::features::{MARK, mark};

/// Bytes of an instruction: opcode, registers, offset in two bytes, immediate in four.
const INSTRUCTION: usize = 8;
/// `if REGISTER & IMMEDIATE goto OFFSET`, on a whole register and on half of one (RFC 9669 §4.3): never
/// taken with an immediate of zero.
const IF_ANY_BIT: [u8; 2] = [0x45, 0x46];
/// `if REGISTER >= IMMEDIATE goto OFFSET`, likewise: always taken with an immediate of zero.
const IF_AT_LEAST: [u8; 2] = [0x35, 0x36];

/// The object with its branches decided for these features.
pub fn decided(object: &[u8], wanted: u64) -> Vec<u8> {
    let wanted = mark(wanted) & !MARK;
    let mut object = object.to_vec();
    for section in code(&object).unwrap_or_default() {
        let code = object.get_mut(section).unwrap_or_default();
        let (instructions, _) = code.as_chunks_mut::<INSTRUCTION>();
        for instruction in instructions {
            decide(instruction, wanted);
        }
    }
    object
}

fn decide(instruction: &mut [u8; INSTRUCTION], wanted: u32) {
    let [opcode, _, _, _, i0, i1, i2, i3] = *instruction;
    let asked = u32::from_ne_bytes([i0, i1, i2, i3]);
    let mut pairs = IF_ANY_BIT.into_iter().zip(IF_AT_LEAST);
    let Some((never, always)) = pairs.find(|(asks, _)| *asks == opcode && asked & MARK == MARK)
    else {
        return;
    };
    let [to_opcode, _, _, _, immediate @ ..] = instruction;
    *to_opcode = if asked & wanted != 0 { always } else { never };
    *immediate = [0; 4];
}

/// Where an ELF object of 64 bits has its code; `None`: it is cut off, which the loader will tell.
fn code(object: &[u8]) -> Option<Vec<Range<usize>>> {
    const PROGBITS: u32 = 1;
    const EXECUTABLE: u64 = 4;
    // Of the file's header: where the sections' headers are, how long each is, and how many.
    let table = long(object, 0x28)?;
    let (size, count) = (short(object, 0x3a)?, short(object, 0x3c)?);
    let mut found = Vec::new();
    for nth in 0..count {
        let header = object.get(table.checked_add(nth.checked_mul(size)?)?..)?;
        let kind = u32::from_ne_bytes(*header.get(4..)?.first_chunk()?);
        let flags = u64::from_ne_bytes(*header.get(8..)?.first_chunk()?);
        if kind == PROGBITS && flags & EXECUTABLE != 0 {
            let (at, len) = (long(header, 0x18)?, long(header, 0x20)?);
            found.push(at..at.checked_add(len)?);
        }
    }
    Some(found)
}

fn long(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?)).ok()
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

#[cfg(test)]
mod tests {
    use tidegate_abi::features;

    use super::super::OBJECT;
    use super::*;

    /// Instructions of the object: those that ask, those never taken, those always taken.
    fn branches(object: &[u8]) -> [usize; 3] {
        let code = code(object).unwrap().into_iter().flat_map(|it| object[it].chunks(INSTRUCTION));
        let mut found = [0; 3];
        for it in code {
            let immediate = u32::from_ne_bytes(*it[4..].first_chunk().unwrap());
            match it[0] {
                0x45 | 0x46 if immediate & MARK == MARK => found[0] += 1,
                0x45 | 0x46 if immediate == 0 => found[1] += 1,
                0x35 | 0x36 if immediate == 0 => found[2] += 1,
                _ => {}
            }
        }
        found
    }

    #[test]
    fn every_branch_that_asks_is_decided_and_no_other_byte_changes() {
        let [asking, ..] = branches(OBJECT);
        assert!(asking > 100, "{asking} branches ask for a feature");
        for (name, wanted) in [("none", 0), ("nat", features::NAT), ("all", u64::MAX)] {
            let decided = decided(OBJECT, wanted);
            let [left, never, always] = branches(&decided);
            assert_eq!((left, never + always), (0, asking), "{name}");
            assert_eq!(never == 0, wanted == u64::MAX, "{name}");
            assert_eq!(always == 0, wanted == 0, "{name}");
            let changed = OBJECT.iter().zip(&decided).filter(|(before, after)| before != after);
            assert!(changed.count() <= asking * 5, "{name}");
        }
    }

    #[test]
    fn an_object_that_is_cut_off_stays_as_it_is() {
        for len in [0, 0x28, 0x40, OBJECT.len() / 2] {
            assert_eq!(decided(&OBJECT[..len], u64::MAX), OBJECT[..len]);
        }
    }
}
