//! The program under test, run a million times on a frame that is restored, and made one of the
//! next flow, each time: `ebpf/xdp/src/bin/bench.rs` from this side.

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, PerCpuArray, ProgramArray};
use aya::programs::{ProgramFd, TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use super::perf::{Cost, Pmu};

const OBJECT: &[u8] = aya::include_bytes_aligned!(env!("BENCH_OBJECT"));

/// The frame, and how it varies.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// The frame.
    pub frame: Vec<u8>,
    /// How many flows take turns: a power of two, up to 2^24.
    pub flows: u32,
    /// Bytes to the last four of the source address.
    pub addr_at: u32,
    /// Bytes to the source port.
    pub port_at: u32,
}

impl Traffic {
    /// The frame of the flow whose turn it is, as the programs over there make it.
    pub fn of_flow(&self, turn: u32) -> Vec<u8> {
        const STRIDE: u32 = 0x9e37_79b1;
        let mut frame = self.frame.clone();
        if self.flows > 1 {
            let flow = turn.wrapping_mul(STRIDE) & (self.flows - 1);
            let port = u16::try_from(1_024 + (flow & 0x7fff)).unwrap_or_default();
            put(&mut frame, self.addr_at, &(0x0a00_0000 | flow).to_be_bytes());
            put(&mut frame, self.port_at, &port.to_be_bytes());
        }
        frame
    }
}

fn put(frame: &mut [u8], at: u32, octets: &[u8]) {
    for (to, from) in frame.iter_mut().skip(at as usize).zip(octets) {
        *to = *from;
    }
}

/// What a program does with a frame, as far as the next round has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The XDP action.
    pub action: u32,
    /// Bytes put in front.
    pub growth: u32,
    /// The program writes into the packet itself, beyond the Ethernet header.
    pub rewrites: bool,
}

/// The least that a program can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// An answer and nothing else.
    Tx,
    /// A constant IPv4 header put in front.
    Ipv4,
    /// A constant IPv6 header put in front.
    Ipv6,
}

impl Floor {
    const fn program(self) -> &'static str {
        match self {
            Self::Tx => "floor_tx",
            Self::Ipv4 => "floor_ipv4",
            Self::Ipv6 => "floor_ipv6",
        }
    }

    const fn effect(self) -> Effect {
        let growth = match self {
            Self::Tx => 0,
            Self::Ipv4 => 20,
            Self::Ipv6 => 40,
        };
        Effect { action: TX, growth, rewrites: false }
    }
}

/// XDP_TX.
pub const TX: u32 = 3;
/// XDP_PASS.
pub const PASS: u32 = 2;

/// Loaded for one kind of traffic and one effect.
#[derive(Debug)]
pub struct Around {
    ebpf: Ebpf,
    frame: Vec<u8>,
    action: u32,
}

/// The layout of `Plan` over there.
fn plan(traffic: &Traffic, effect: Effect) -> [u32; 6] {
    let len = u32::try_from(traffic.frame.len()).unwrap_or(u32::MAX);
    let restore = if effect.rewrites { 64 } else { 14 };
    [traffic.flows.saturating_sub(1), traffic.addr_at, traffic.port_at, effect.growth, len, restore]
}

fn load(traffic: &Traffic, effect: Effect) -> Result<Ebpf> {
    let mut start = [0_u64; 8];
    let (words, _) = traffic.frame.as_chunks::<8>();
    for (to, from) in start.iter_mut().zip(words) {
        *to = u64::from_ne_bytes(*from);
    }
    let plan = plan(traffic, effect);
    let mut loader = EbpfLoader::new();
    loader.btf(None).override_global("PLAN", &plan, true).override_global("FRAME", &start, true);
    loader.load(OBJECT).context("the benchmark's own programs do not load")
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
    let program: &mut Xdp = program.try_into()?;
    program.load().with_context(|| format!("{name} does not load"))?;
    Ok(program)
}

impl Around {
    /// A program that is somebody else's.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn program(program: &ProgramFd, traffic: &Traffic, effect: Effect) -> Result<Self> {
        let mut ebpf = load(traffic, effect)?;
        xdp(&mut ebpf, "around")?;
        aim(&mut ebpf, program)?;
        Ok(Self { ebpf, frame: traffic.frame.clone(), action: effect.action })
    }

    /// A floor under the same traffic.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn floor(floor: Floor, traffic: &Traffic) -> Result<Self> {
        let effect = floor.effect();
        let mut ebpf = load(traffic, effect)?;
        xdp(&mut ebpf, "around")?;
        let program = xdp(&mut ebpf, floor.program())?.fd()?.try_clone()?;
        aim(&mut ebpf, &program)?;
        Ok(Self { ebpf, frame: traffic.frame.clone(), action: effect.action })
    }

    /// What so many packets cost. Flows go on where the last run stopped.
    ///
    /// # Errors
    /// A packet that came out of the program with another length or verdict than it should: then
    /// something else was measured than was meant.
    pub fn run(&mut self, packets: u32, pmu: &Pmu) -> Result<Cost> {
        let mut state = self.state()?;
        state[0] = 0;
        state[1] = 0;
        self.set_state(state)?;
        let frame = self.frame.clone();
        let context = context(frame.len(), 1);
        let program = self.ebpf.program("around").context("no program around")?;
        let program: &Xdp = program.try_into()?;
        let options = TestRunOptions {
            data_in: Some(&frame),
            ctx_in: Some(&context),
            repeat: packets,
            ..TestRunOptions::default()
        };
        let (result, cost) = pmu.measure(|| Ok(program.test_run(options)?))?;
        let [turns, strange, _] = self.state()?;
        ensure!(turns == u64::from(packets), "{turns} of {packets} packets");
        ensure!(strange == 0, "{strange} packets of {packets} had an unexpected length");
        let action = result.return_value;
        ensure!(action == self.action, "XDP action {action}, not {}", self.action);
        Ok(cost)
    }

    fn state_map(&mut self) -> Result<Array<&mut aya::maps::MapData, [u64; 3]>> {
        let map = self.ebpf.map_mut("STATE").context("no map STATE")?;
        Ok(Array::try_from(map)?)
    }

    fn state(&mut self) -> Result<[u64; 3]> {
        Ok(self.state_map()?.get(&0, 0)?)
    }

    fn set_state(&mut self, state: [u64; 3]) -> Result<()> {
        Ok(self.state_map()?.set(0, state, 0)?)
    }
}

fn aim(ebpf: &mut Ebpf, program: &ProgramFd) -> Result<()> {
    let map = ebpf.map_mut("UNDER_TEST").context("no map UNDER_TEST")?;
    Ok(ProgramArray::try_from(map)?.set(0, program, 0)?)
}

/// struct xdp_md of a frame that comes in by an interface.
fn context(frame_len: usize, ifindex: u32) -> Vec<u8> {
    let end = u32::try_from(frame_len).unwrap_or(u32::MAX);
    [0, end, 0, ifindex, 0, 0].iter().flat_map(|word: &u32| word.to_ne_bytes()).collect()
}

/// Frames that really travel: out of one end of a cable, through the program at the other end,
/// and back, all on one CPU.
#[derive(Debug)]
pub struct Cable {
    ebpf: Ebpf,
    frame: Vec<u8>,
    near: u32,
}

/// How many frames the kernel takes at once: larger batches are not faster.
const BATCH: u32 = 64;

impl Cable {
    /// Takes what comes back on the near end.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(near: u32, traffic: &Traffic, effect: Effect) -> Result<Self> {
        let mut ebpf = load(traffic, Effect { growth: 0, ..effect })?;
        xdp(&mut ebpf, "generate")?;
        xdp(&mut ebpf, "take")?.attach_to_if_index(near, XdpMode::Driver)?;
        Ok(Self { ebpf, frame: traffic.frame.clone(), near })
    }

    /// Puts the floor on the far end, for as long as this value lives.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn answer_by_floor(&mut self, far: u32) -> Result<()> {
        xdp(&mut self.ebpf, "floor_tx")?.attach_to_if_index(far, XdpMode::Driver)?;
        Ok(())
    }

    /// Sends so many frames; what it cost until all were back.
    ///
    /// # Errors
    /// Frames that did not come back.
    pub fn run(&mut self, packets: u32, pmu: &Pmu) -> Result<Cost> {
        let before = self.returned()?;
        let context = context(self.frame.len(), self.near);
        let program = self.ebpf.program("generate").context("no program generate")?;
        let program: &Xdp = program.try_into()?;
        let options = TestRunOptions {
            data_in: Some(&self.frame),
            ctx_in: Some(&context),
            repeat: packets,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        let ((), cost) = pmu.measure(|| {
            program.test_run(options)?;
            Ok(())
        })?;
        let returned = self.returned()? - before;
        ensure!(returned == u64::from(packets), "{returned} of {packets} frames came back");
        Ok(cost)
    }

    fn returned(&self) -> Result<u64> {
        let map = self.ebpf.map("RETURNED").context("no map RETURNED")?;
        let rows: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
        Ok(rows.get(&0, 0)?.iter().sum())
    }
}
