//! The program that puts packets of health checks into the tunnel to a backend, and where they go.
//!
//! It is this process's own: nothing of it is pinned, and where the kernel can (6.6, TCX) it goes with
//! the process, however that ends.

use std::collections::BTreeMap;

use aya::EbpfLoader;
use aya::maps::{Array, MapData};
use aya::programs::tc::{SchedClassifierLink, qdisc_add_clsact, qdisc_detach_program};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, tc::TcError};
use aya::util::KernelVersion;
use nix::net::if_::if_indextoname;
use tidegate_abi::{Backend, map_names};

use super::error::Error;
use super::maps::take;
use super::pod::Pod;

const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/check.bpf.o"));
const PROGRAM: &str = "tidegate_check";

/// The program, loaded, on the interfaces that packets may leave by.
pub(crate) struct CheckPath {
    ebpf: aya::Ebpf,
    ways: Array<MapData, Pod<Backend>>,
    links: BTreeMap<u32, SchedClassifierLink>,
}

impl CheckPath {
    /// Loads it, for sockets whose marks begin like this one.
    ///
    /// # Errors
    /// What the kernel has against it.
    pub(crate) fn load(mark: u32) -> Result<Self, Error> {
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .override_global("CHECK_MARK", &mark, true)
            .load(OBJECT)
            .map_err(|error| Error::load(PROGRAM, error))?;
        program(&mut ebpf)?.load().map_err(|error| Error::program(PROGRAM, error))?;
        let ways = take(&mut ebpf, map_names::CHECK_WAYS)?;
        Ok(Self { ebpf, ways, links: BTreeMap::new() })
    }

    /// Where packets of a row go; a free entry: nowhere.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn put(&mut self, row: u32, way: &Backend) -> Result<(), Error> {
        let set = self.ways.set(row, Pod(*way), 0);
        set.map_err(|error| Error::kernel("write where checks go", error))
    }

    /// Has it on exactly these interfaces, as far as they are there: nothing leaves by one that has gone
    /// since somebody looked, and it keeps the program from no other one. Neither does a refusal.
    ///
    /// # Errors
    /// The last refusal.
    pub(crate) fn attach(&mut self, interfaces: &[u32]) -> Result<(), Error> {
        self.links.retain(|interface, _| interfaces.contains(interface));
        let mut refused = Ok(());
        for &interface in interfaces {
            if !self.links.contains_key(&interface) {
                match self.attach_to(interface) {
                    Ok(link) => drop(self.links.insert(interface, link)),
                    Err(Error::NoInterface { .. }) => {}
                    Err(error) => refused = Err(error),
                }
            }
        }
        refused
    }

    fn attach_to(&mut self, interface: u32) -> Result<SchedClassifierLink, Error> {
        let failed = |error| Error::program(PROGRAM, error);
        let name = if_indextoname(interface).ok().and_then(|name| name.into_string().ok());
        let name = name.ok_or_else(|| Error::NoInterface { interface: interface.to_string() })?;
        if KernelVersion::current().is_ok_and(|it| it < KernelVersion::new(6, 6, 0)) {
            // What a process leaves behind that was killed does no harm, and is no use any more.
            match qdisc_add_clsact(&name) {
                Ok(()) | Err(TcError::AlreadyAttached) => {}
                Err(error) => return Err(failed(ProgramError::from(error))),
            }
            let _none_is_there = qdisc_detach_program(&name, TcAttachType::Egress, PROGRAM);
        }
        let program = program(&mut self.ebpf)?;
        let link = program.attach(&name, TcAttachType::Egress).map_err(failed)?;
        program.take_link(link).map_err(failed)
    }
}

fn program(ebpf: &mut aya::Ebpf) -> Result<&mut SchedClassifier, Error> {
    let program = ebpf.program_mut(PROGRAM).ok_or_else(|| Error::missing(PROGRAM))?;
    program.try_into().map_err(|error| Error::program(PROGRAM, error))
}
