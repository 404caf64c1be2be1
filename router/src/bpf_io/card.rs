//! The program for a network card, as it is built: for looking at.

use std::collections::HashSet;

use aya_obj::generated::bpf_insn;
use aya_obj::{EbpfSectionKind, Object};
use tidegate_plan::card::device::{self, Instruction, MapShape};

use super::error::Error;

const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/card.bpf.o"));
const PROGRAM: &str = "tidegate_card";

/// The program and its maps.
///
/// # Errors
/// The object is not one: it was not built as it should.
pub fn built() -> Result<device::Object, Error> {
    let unsound = |error: &dyn core::fmt::Display| {
        Error::kernel(
            format!("read the object of {PROGRAM}"),
            std::io::Error::other(error.to_string()),
        )
    };
    let mut object = Object::parse(OBJECT).map_err(|error| unsound(&error))?;
    let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_calls(&sections).map_err(|error| unsound(&error))?;
    let program = object.programs.get(PROGRAM).ok_or_else(|| Error::missing(PROGRAM))?;
    let function =
        object.functions.get(&program.function_key()).ok_or_else(|| Error::missing(PROGRAM))?;
    let mut maps: Vec<MapShape> = object
        .maps
        .iter()
        .map(|(name, map)| MapShape {
            name: name.clone(),
            kind: map.map_type(),
            key_bytes: map.key_size(),
            value_bytes: map.value_size(),
            entries: map.max_entries(),
            flags: map.map_flags(),
            is_global: !matches!(
                map.section_kind(),
                EbpfSectionKind::Maps | EbpfSectionKind::BtfMaps
            ),
        })
        .collect();
    maps.sort_by(|a, b| a.name.cmp(&b.name));
    let instructions = function.instructions.iter().copied().map(instruction).collect();
    Ok(device::Object { name: PROGRAM.into(), instructions, maps })
}

fn instruction(it: bpf_insn) -> Instruction {
    Instruction { code: it.code, dst: it.dst_reg(), src: it.src_reg(), off: it.off, imm: it.imm }
}

#[cfg(test)]
mod tests {
    use tidegate_plan::card::device::{ALL, objections};

    #[test]
    fn cards_take_the_program_as_far_as_can_be_told() {
        let object = super::built().unwrap();
        assert!(object.instructions.len() > 300 && object.maps.len() == 8, "{object:?}");
        for device in ALL {
            let found: Vec<_> =
                objections(&object, &device).iter().map(ToString::to_string).collect();
            assert_eq!(found, Vec::<String>::new(), "{}", device.name);
        }
    }
}
