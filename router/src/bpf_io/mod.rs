//! The packet path in the kernel: loads it, attaches it, writes and reads its maps.
//!
//! Promise: a restart that finds its pins changes nothing that packets see. Maps are taken over
//! as they are, and each link gets the new program between two packets.
//!
//! All calls are short system calls; none waits.

mod capture;
pub mod card;
mod check;
mod error;
mod flows;
mod guard;
mod link;
mod maps;
mod marks;
mod nat;
mod pins;
mod pod;
mod proof;
mod rare;
pub(crate) mod raw;
pub(crate) mod records;
mod run;
mod servers;
mod slots;
pub(crate) mod sys;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use aya::maps::{MapData, ProgramArray};
use aya::programs::{Program, ProgramFd, Xdp};
use aya::{Ebpf, EbpfLoader};
use nix::time::{ClockId, clock_gettime};
use tidegate_abi::{
    CaptureFilter, Counter, DatapathConfig, FlowKey, Slot, Told, Traffic, features,
};
use tidegate_config::desired::{AttachMode, NatTimeouts};
use tidegate_plan::nat::Place;
use tidegate_plan::observed;
use tidegate_plan::proof::Finding;
use tidegate_plan::step::Step;
use tidegate_plan::why::Remembered;

pub use capture::Captures;
pub(crate) use capture::Counts as CaptureCounts;
pub use error::Error;
pub use link::{Link, Mode};
pub use marks::decided;
pub use pod::Pod;

pub(crate) use check::CheckPath;
pub(crate) use link::{attach, index_of};
use maps::Maps;
pub(crate) use maps::take;
pub(crate) use pins::{PROGRAM as PINNED_PROGRAM, prepare as prepare_pin_dir};
use proof::ProofCopy;
use records::Records;
pub(crate) use run::test_run;

const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tidegate.bpf.o"));
const PROGRAM: &str = "tidegate";
/// What packets meet in its place while somebody captures.
const BEFORE: &str = "tidegate_before";

/// What the program did with a frame of a test run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// What the kernel would do with the frame.
    pub verdict: Verdict,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
}

/// What the kernel does with a frame after the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Drops it.
    Drop,
    /// Takes it up.
    Pass,
    /// Sends it out of the interface it came in by.
    Tx,
    /// Sends it out of another one.
    Redirect,
    /// Drops it, because the program failed.
    Aborted,
}

impl Verdict {
    /// The verdict of an XDP action (linux/bpf.h, enum xdp_action).
    const fn of(action: u32) -> Self {
        match action {
            1 => Self::Drop,
            2 => Self::Pass,
            3 => Self::Tx,
            4 => Self::Redirect,
            _ => Self::Aborted,
        }
    }
}

/// The loaded packet path.
pub struct Datapath {
    ebpf: Ebpf,
    /// The program that packets meet first.
    first: &'static str,
    program_id: u32,
    load_times: LoadTimes,
    /// Programs that are tail-called; they are forgotten with it, unless it is pinned.
    rare: ProgramArray<MapData>,
    features: u64,
    maps: Maps,
    links: Vec<Link>,
    /// Only with pins: it finds the maps by them.
    proof_copy: Option<ProofCopy>,
    /// Until somebody takes them who reads them.
    captures: Option<Captures>,
    pin_dir: Option<PathBuf>,
    is_behind: bool,
    /// What [`attach`](Self::attach) was asked for last.
    wanted: Vec<String>,
}

impl Datapath {
    /// Loads program and maps of their own, which go with this value.
    ///
    /// # Errors
    /// Everything the kernel may have against it: see [`Error`].
    pub fn load(config: &DatapathConfig) -> Result<Self, Error> {
        Self::load_in(config, &CaptureFilter::default(), None)
    }

    /// Loads the program with the maps that are pinned in `pin_dir`; those that are not there are
    /// made and pinned, as is the program. The directory is made if it is missing.
    ///
    /// # Errors
    /// Everything the kernel may have against it, and a directory that is not on a BPF file
    /// system or holds maps of another shape: see [`Error`]. Pins are left as they were.
    pub fn load_pinned(config: &DatapathConfig, pin_dir: &Path) -> Result<Self, Error> {
        pins::prepare(pin_dir)?;
        Self::load_in(config, &CaptureFilter::default(), Some(pin_dir))
    }

    /// Either of them with a program that captures these packets.
    ///
    /// # Errors
    /// The same.
    pub fn load_capturing(
        config: &DatapathConfig,
        filter: &CaptureFilter,
        pin_dir: Option<&Path>,
    ) -> Result<Self, Error> {
        pin_dir.map_or(Ok(()), pins::prepare)?;
        let features = config.features | features::CAPTURE;
        Self::load_in(&DatapathConfig { features, ..*config }, filter, pin_dir)
    }

    fn load_in(
        config: &DatapathConfig,
        capture: &CaptureFilter,
        pin_dir: Option<&Path>,
    ) -> Result<Self, Error> {
        let is_behind = pin_dir.map_or(Ok(false), pins::is_behind)?;
        let captures = config.features & features::CAPTURE != 0;
        let mut ebpf = open(config, capture, pin_dir)?;
        let first = if captures { BEFORE } else { PROGRAM };
        let wanted = core::iter::once(first).chain(rare::needed(config.features));
        let load_times = load(&mut ebpf, &wanted.collect::<Vec<_>>())?;
        let unknown = |error| Error::program(first, error);
        let program = program(&ebpf, first)?;
        let program_id = program.info().map_err(unknown)?.id();
        if let Some(dir) = pin_dir {
            pins::replace(program.fd().map_err(unknown)?.as_fd(), &dir.join(pins::PROGRAM))?;
        }
        let proof_copy = match pin_dir {
            Some(dir) => Some(ProofCopy::load(config, dir, &ebpf)?),
            None => None,
        };
        // After the programs are loaded: until then they name the maps by their file descriptors.
        let rare = rare::install(&mut ebpf, config.features)?;
        let maps = Maps::take(&mut ebpf)?;
        let captures = captures.then(|| Captures::take(&mut ebpf)).transpose()?;
        capture::forget(&mut ebpf);
        let pin_dir = pin_dir.map(Path::to_owned);
        Ok(Self {
            ebpf,
            first,
            program_id,
            load_times,
            rare,
            features: config.wanted(),
            maps,
            links: Vec::new(),
            proof_copy,
            captures,
            pin_dir,
            is_behind,
            wanted: Vec::new(),
        })
    }

    /// Attaches the program to exactly these interfaces. Where it is attached already, or was
    /// before a restart, no packet misses it; from others it is taken off.
    ///
    /// # Errors
    /// The first interface that fails; all others are attached.
    pub fn attach(&mut self, interfaces: &[String], mode: AttachMode) -> Result<&[Link], Error> {
        interfaces.clone_into(&mut self.wanted);
        let mut indices = Vec::new();
        let mut failed = None;
        for interface in interfaces {
            match self.attach_one(interface, mode) {
                Ok(ifindex) => indices.push(ifindex),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let (links, others): (Vec<_>, Vec<_>) =
            self.links.drain(..).partition(|link| indices.contains(&link.ifindex));
        self.links = links;
        others.into_iter().try_for_each(Link::detach)?;
        if let Some(error) = failed {
            return Err(error); // Pins of others may be those of what failed.
        }
        if let Some(dir) = &self.pin_dir {
            link::remove_others(dir, &self.links)?;
        }
        if self.is_behind {
            self.pin_dir.as_deref().map_or(Ok(()), pins::is_filled)?;
            self.is_behind = false;
        }
        // Until here the program of before may have run, with what it needs.
        rare::clear_others(&mut self.rare, self.features)?;
        Ok(&self.links)
    }

    /// Packets meet the maps of another version, in another layout. Ours are to be filled before
    /// [`attach`](Self::attach) has packets meet them.
    pub const fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Puts in place again what somebody who loaded the program too, and is gone without attaching
    /// it, has put there: the pin, and the programs that are tail-called.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn reclaim(&mut self) -> Result<(), Error> {
        if let Some(dir) = &self.pin_dir {
            pins::replace(self.program_fd()?.as_fd(), &dir.join(pins::PROGRAM))?;
        }
        rare::put(&mut self.rare, &self.ebpf, self.features)
    }

    fn attach_one(&mut self, interface: &str, mode: AttachMode) -> Result<u32, Error> {
        let ifindex = index_of(interface)?;
        let old = self.links.iter().position(|link| link.ifindex == ifindex);
        let link = match old.map(|at| self.links.swap_remove(at)) {
            Some(link) if link.satisfies(mode) && link.runs(self.program_id) => {
                link.renamed(interface)
            }
            dead => {
                dead.map_or(Ok(()), Link::detach)?;
                attach(self.program_fd()?.as_fd(), interface, mode, self.pin_dir.as_deref())?
            }
        };
        self.links.push(link);
        if self.features & features::NAT != 0 {
            self.maps.put_device(ifindex)?; // Answers leave where their clients' packets came in.
        }
        Ok(ifindex)
    }

    /// Whether the kernel still runs this program on every interface it was attached to, each
    /// under the name it had.
    pub fn attached(&self) -> bool {
        let runs_at = |name: &String| {
            self.links.iter().any(|link| link.interface == *name && self.runs(link))
        };
        self.wanted.iter().all(runs_at)
    }

    /// Whether the kernel still runs this program at a link, under the interface's name.
    pub fn runs(&self, link: &Link) -> bool {
        link.runs(self.program_id)
            && index_of(&link.interface).is_ok_and(|index| index == link.ifindex)
    }

    /// Where the program is attached, and how.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Takes the program off all interfaces and removes every pin: nothing of it is left.
    ///
    /// # Errors
    /// A pin that cannot be removed.
    pub fn detach(mut self) -> Result<(), Error> {
        self.links.drain(..).try_for_each(Link::detach)?;
        match &self.pin_dir {
            Some(dir) => {
                link::remove_others(dir, &[])?;
                pins::remove_all(dir)
            }
            None => Ok(()),
        }
    }

    /// Performs a step on the maps. Steps that are the speaker's do nothing here.
    ///
    /// # Errors
    /// What the kernel says, and a row that is not there. The maps are as before, or, for slots,
    /// as far as the step got.
    pub fn apply(&mut self, step: &Step) -> Result<(), Error> {
        self.maps.apply(step)
    }

    /// What the maps hold now, and whether the program is attached.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn observe(&self) -> Result<observed::Datapath, Error> {
        self.maps.observe(self.attached())
    }

    /// The ring slots of [`observe`](Self::observe), alone.
    pub fn slots(&self) -> Vec<Slot> {
        self.maps.slots()
    }

    /// Traffic of the service with this [`index`](tidegate_abi::Service::index).
    ///
    /// # Errors
    /// No such row.
    pub fn service_traffic(&self, index: u32) -> Result<Traffic, Error> {
        self.maps.service_traffic(index)
    }

    /// Traffic of the backend at this index.
    ///
    /// # Errors
    /// No such row.
    pub fn backend_traffic(&self, index: u32) -> Result<Traffic, Error> {
        self.maps.backend_traffic(index)
    }

    /// All counters, summed over the CPUs.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn counters(&self) -> Result<BTreeMap<Counter, u64>, Error> {
        self.maps.counters()
    }

    /// What became of the words that packets are worth, summed over the CPUs.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn told(&self) -> Result<BTreeMap<Told, u64>, Error> {
        self.maps.told()
    }

    /// The ring of packets that are told of, if any are; only the first time.
    pub(crate) fn take_records(&mut self) -> Option<Records> {
        let is_on = self.features & features::FLOWS != 0;
        self.maps.records.take().filter(|_| is_on)
    }

    /// What is captured, if anything is; only the first time.
    pub const fn take_captures(&mut self) -> Option<Captures> {
        self.captures.take()
    }

    /// Flows remembered in slots in transition.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn flow_count(&self) -> Result<usize, Error> {
        self.maps.flow_count()
    }

    /// Looks at the next connections in NAT, and forgets those that are over. True if that was the
    /// last of a round.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sweep_nat(
        &mut self,
        timeouts: &NatTimeouts,
        dead: &BTreeSet<Place>,
    ) -> Result<bool, Error> {
        self.maps.nat.sweep(timeouts, dead)
    }

    /// The [`features`] that the program was loaded for.
    pub const fn features(&self) -> u64 {
        self.features
    }

    /// Whether there are services in NAT, or connections of such as there were.
    pub fn has_nat(&self) -> bool {
        self.features & features::NAT != 0 || self.maps.nat.is_used()
    }

    /// Connections in NAT of each service and backend, as the last round counted them.
    pub const fn nat_connections(&self) -> &BTreeMap<Place, u64> {
        self.maps.nat.counted()
    }

    /// What the tables have remembered of this flow.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remembered(&self, key: FlowKey) -> Result<Remembered, Error> {
        let (flow, udp_flow) = self.maps.flow(key)?;
        Ok(Remembered { flow, udp_flow, nat: self.maps.nat.flow(key)? })
    }

    /// Instructions the verifier looked at in each loaded program, of the million it may; unknown
    /// before Linux 5.16.
    pub fn verified_instructions(&self) -> Option<BTreeMap<String, u32>> {
        // A program that is not loaded has nothing to tell.
        let loaded = self.ebpf.programs().filter_map(|(name, program)| {
            Some((name.to_owned(), program.info().ok()?.verified_instruction_count()))
        });
        loaded.map(|(name, count)| Some((name, count?))).collect()
    }

    /// What the kernel took to verify and compile each program: time of a processor, so that it is
    /// the same when others want the processor too.
    pub const fn load_times(&self) -> &BTreeMap<&'static str, Duration> {
        &self.load_times
    }

    /// Instructions of each loaded program as the kernel keeps it: without what is never reached
    /// under its constants.
    pub fn loaded_instructions(&self) -> Option<BTreeMap<String, u32>> {
        const SIZE: u32 = 8;
        let loaded = self.ebpf.programs().filter_map(|(name, program)| {
            Some((name.to_owned(), program.info().ok()?.size_translated()))
        });
        loaded.map(|(name, size)| Some((name, size? / SIZE))).collect()
    }

    /// The kernel's identifiers of the maps that the program and those beside it use.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn map_ids(&self) -> Result<BTreeSet<u32>, Error> {
        let unknown = |error| Error::program(PROGRAM, error);
        let mut ids = BTreeSet::new();
        for (_, program) in self.ebpf.programs() {
            if let Ok(fd) = program.fd() {
                let of_it = sys::map_ids(fd.as_fd());
                ids.extend(of_it.map_err(|error| unknown(error.into()))?);
            }
        }
        Ok(ids)
    }

    /// Runs one frame through the loaded program with the live maps, as if it had come in by the
    /// interface; nothing is sent. Counters move.
    ///
    /// # Errors
    /// What the kernel says: a frame shorter than an Ethernet header, an interface that is not
    /// there.
    pub fn test_run(&self, frame: &[u8], ingress_ifindex: u32) -> Result<TestRun, Error> {
        test_run(self.program()?, frame, ingress_ifindex)
    }

    /// What the packet path would do with a test packet that comes in by this interface. No
    /// counter moves and nothing is remembered. Without pins there is no proof copy to ask:
    /// [`Finding::NotRun`].
    pub fn prove(&self, frame: &[u8], ingress_ifindex: u32) -> Finding {
        let run = |copy: &ProofCopy| copy.run(frame, ingress_ifindex);
        self.proof_copy.as_ref().map_or(Finding::NotRun, run)
    }

    fn program(&self) -> Result<&Xdp, Error> {
        program(&self.ebpf, self.first)
    }

    /// The program, for others to call: in a tail call, as benchmarks do.
    ///
    /// # Errors
    /// It is not loaded.
    pub fn program_fd(&self) -> Result<&ProgramFd, Error> {
        self.program()?.fd().map_err(|error| Error::program(PROGRAM, error))
    }
}

impl fmt::Debug for Datapath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datapath")
            .field("program_id", &self.program_id)
            .field("links", &self.links)
            .field("pin_dir", &self.pin_dir)
            .finish_non_exhaustive()
    }
}

/// Reads the object with these constants; the maps are those pinned in `pin_dir`.
fn open(
    config: &DatapathConfig,
    capture: &CaptureFilter,
    pin_dir: Option<&Path>,
) -> Result<Ebpf, Error> {
    let (config, filter) = (Pod(*config), Pod(*capture));
    let mut loader = EbpfLoader::new();
    // The object needs no relocation against the kernel's types, whose parsing takes a while.
    loader.btf(None).override_global("CONFIG", &config, true);
    loader.override_global("CAPTURE", &filter, true);
    let rooms = pins::rooms(config.0.features);
    for (name, room) in rooms {
        loader.map_max_entries(name, room);
    }
    if let Some(dir) = pin_dir {
        pins::make_room(dir, &rooms)?;
        for shape in &pins::SHAPES {
            loader.map_pin_path(shape.name, pins::path(dir, shape.name));
        }
    }
    let wanted = config.0.wanted();
    // A proof copy asks no guard and tells of no packet, and has the maps all the same.
    const BESIDE: u64 = features::GUARD | features::FLOWS | features::CAPTURE;
    let out = if wanted & features::PROOF == 0 { 0 } else { BESIDE };
    let object = decided(OBJECT, wanted & !out);
    loader.load(&object).map_err(|error| Error::load(PROGRAM, error))
}

/// How long the kernel took for each program.
type LoadTimes = BTreeMap<&'static str, Duration>;

/// Loads these programs side by side: the verifier takes some ten milliseconds for each.
fn load(ebpf: &mut Ebpf, names: &[&'static str]) -> Result<LoadTimes, Error> {
    if let Some(missing) = names.iter().find(|name| ebpf.program(name).is_none()) {
        return Err(Error::missing(missing));
    }
    let named = |name: &str| names.iter().copied().find(|wanted| *wanted == name);
    let programs = ebpf.programs_mut().filter_map(|(name, it)| Some((named(name)?, it)));
    let load_one = |name, program: &mut Program| {
        let program: Result<&mut Xdp, _> = program.try_into();
        let before = cpu_time();
        program.and_then(Xdp::load).map_err(|error| Error::program(name, error))?;
        Ok((name, cpu_time().saturating_sub(before)))
    };
    thread::scope(|scope| {
        let loading: Vec<_> =
            programs.map(|(name, it)| scope.spawn(move || load_one(name, it))).collect();
        loading
            .into_iter()
            .map(|it| it.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

/// What this thread has had of the processors so far; zero where the kernel does not say.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

fn xdp(ebpf: &Ebpf) -> Result<&Xdp, Error> {
    program(ebpf, PROGRAM)
}

fn program<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<&'a Xdp, Error> {
    let program = ebpf.program(name).ok_or_else(|| Error::missing(name))?;
    program.try_into().map_err(|error| Error::program(name, error))
}

/// Removes what a daemon that is gone has left pinned: links, program and maps. True if there was
/// anything.
///
/// # Errors
/// A pin that cannot be removed.
pub fn detach(pin_dir: &Path) -> Result<bool, Error> {
    if !pin_dir.exists() {
        return Ok(false);
    }
    link::remove_others(pin_dir, &[])?;
    pins::remove_all(pin_dir)?;
    Ok(true)
}
