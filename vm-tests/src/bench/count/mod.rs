//! How many BPF instructions the packet path takes for a frame, counted one by one by a machine of
//! our own: the same number on every computer, whatever its processor, kernel and load.
//!
//! What the verifier would remove is not counted: branches that constants of the program decide.
//! A call of a helper is one instruction. The maps are those of the loaded program, read when
//! they are asked for; what is written stays in the machine.

mod machine;
mod memory;

use std::collections::{BTreeMap, HashSet};
use std::os::fd::RawFd;

use anyhow::{Context as _, Result, bail};
use aya::maps::MapInfo;
use aya_obj::Object;
use aya_obj::generated::bpf_insn;
use tidegate::bpf_io::{Datapath, decided};
use tidegate_abi::rare;

use machine::{Instruction, Machine};
use memory::{KernelMap, Memory};

const OBJECT: &[u8] = aya::include_bytes_aligned!(env!("DATAPATH_OBJECT"));
const PROGRAM: &str = "tidegate";
/// The kernel keeps so many octets of a map's name.
const NAME_MAX: usize = 15;

/// The packet path's programs, with the maps of one that is loaded.
#[derive(Debug)]
pub struct Counter {
    /// The first one.
    code: Vec<Instruction>,
    /// Those that it tail-calls, by their rows.
    rare: Vec<Vec<Instruction>>,
    memory: Memory,
}

/// What became of a frame, and what it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The XDP action.
    pub action: u32,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
    /// Instructions that ran.
    pub instructions: u64,
    /// Helpers among them.
    pub calls: u64,
}

impl Counter {
    /// Of the program that is loaded.
    ///
    /// # Errors
    /// Maps that the kernel does not show, and an object that is none of ours.
    pub fn of(datapath: &Datapath) -> Result<Self> {
        let mut object = Object::parse(&decided(OBJECT, datapath.features()))?;
        let mut names: Vec<String> = object.maps.keys().cloned().collect();
        names.sort_unstable();
        let sections: HashSet<usize> =
            object.functions.keys().map(|&(section, _)| section).collect();
        let maps = object.maps.clone();
        let numbered = (0..).zip(&names).filter_map(|(number, name)| {
            Some((name.as_str(), RawFd::from(number), maps.get(name)?))
        });
        object.relocate_maps(numbered.collect::<Vec<_>>().into_iter(), &sections)?;
        object.relocate_calls(&sections)?;
        let code_of = |name: &str| -> Result<Vec<Instruction>> {
            let program =
                object.programs.get(name).with_context(|| format!("no program {name}"))?;
            let function = object.functions.get(&program.function_key()).context("nor its code")?;
            Ok(function.instructions.iter().copied().map(instruction).collect())
        };
        let code = code_of(PROGRAM)?;
        let rare = rare::NAMES.into_iter().map(code_of).collect::<Result<_>>()?;
        let mut of_kernel = kernel_maps(datapath)?;
        let mut take = |name: &String| {
            let known: String = name.chars().take(NAME_MAX).collect();
            of_kernel.remove(&known)
        };
        let maps = names.iter().map(&mut take).collect();
        Ok(Self { code, rare, memory: Memory::new(maps) })
    }

    /// Sends a frame through that comes in by this interface.
    ///
    /// # Errors
    /// The program did what this machine does not know, or what no verifier lets it do.
    pub fn run(&mut self, frame: &[u8], ingress_ifindex: u32) -> Result<Counted> {
        self.memory.receive(frame, ingress_ifindex);
        let mut machine = Machine::new(&self.code, &self.rare, &mut self.memory);
        let action = machine.run()?;
        let (instructions, calls) = (machine.instructions, machine.calls);
        Ok(Counted { action, frame: self.memory.frame().to_vec(), instructions, calls })
    }
}

fn instruction(it: bpf_insn) -> Instruction {
    Instruction {
        code: it.code,
        to: it.dst_reg().into(),
        from: it.src_reg().into(),
        offset: it.off,
        immediate: it.imm,
    }
}

/// By the name that the kernel keeps.
fn kernel_maps(datapath: &Datapath) -> Result<BTreeMap<String, KernelMap>> {
    let mut maps = BTreeMap::new();
    for id in datapath.map_ids()? {
        let info = MapInfo::from_id(id)?;
        let Some(name) = info.name_as_str() else { bail!("map {id} has no name") };
        let map = KernelMap::new(&info).with_context(|| name.to_owned())?;
        maps.insert(name.to_owned(), map);
    }
    Ok(maps)
}
