//! Cycles and instructions of this thread, the kernel's for it included (perf_event_open(2)).

#![expect(
    unsafe_code,
    reason = "perf_event_open, its ioctls and the scheduler have no safe wrapper"
)]

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// What something took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Time this thread had a CPU: what others take meanwhile does not count.
    pub time: Duration,
    /// Time that went by.
    pub elapsed: Duration,
    /// Cycles; 0 without a PMU.
    pub cycles: u64,
    /// Instructions; 0 without a PMU.
    pub instructions: u64,
    /// Branches that were predicted wrongly; 0 without a PMU.
    pub branch_misses: u64,
}

/// The counters of the processor, if it shows any.
#[derive(Debug)]
pub struct Pmu {
    /// The leader of the group; the others are held open with it.
    group: Option<(File, [OwnedFd; 2])>,
}

const HARDWARE: u32 = 0; // PERF_TYPE_HARDWARE
const CYCLES: u64 = 0;
const INSTRUCTIONS: u64 = 1;
const BRANCH_MISSES: u64 = 5;
const READ_GROUP: u64 = 1 << 3;
const DISABLED: u64 = 1;
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;
const IOC_ENABLE: libc::c_ulong = 0x2400;
const IOC_DISABLE: libc::c_ulong = 0x2401;
const IOC_RESET: libc::c_ulong = 0x2403;
const WHOLE_GROUP: libc::c_ulong = 1;

/// The first version of struct perf_event_attr (linux/perf_event.h).
#[repr(C)]
struct Attr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint_kind: u32,
    breakpoint: u64,
}

fn open(config: u64, group: RawFd) -> io::Result<OwnedFd> {
    let attr = Attr {
        kind: HARDWARE,
        size: 64,
        config,
        sample_period: 0,
        sample_type: 0,
        read_format: READ_GROUP,
        flags: EXCLUDE_HYPERVISOR | if group < 0 { DISABLED } else { 0 },
        wakeup: 0,
        breakpoint_kind: 0,
        breakpoint: 0,
    };
    const _: () = assert!(size_of::<Attr>() == 64);
    // SAFETY: the kernel reads `size` bytes of the attributes; this thread, any CPU.
    let fd =
        unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attr, 0, -1, group, 0_u64) };
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl Pmu {
    /// Opens the counters. Without a PMU only time is measured.
    pub fn open() -> Self {
        let group = || -> io::Result<_> {
            let leader = open(CYCLES, -1)?;
            let others = [INSTRUCTIONS, BRANCH_MISSES].map(|it| open(it, leader.as_raw_fd()));
            let [instructions, misses] = others;
            Ok((File::from(leader), [instructions?, misses?]))
        };
        Self { group: group().ok() }
    }

    /// Whether cycles and instructions are counted.
    pub const fn counts(&self) -> bool {
        self.group.is_some()
    }

    /// What `work` takes on this thread.
    ///
    /// # Errors
    /// Those of `work`, and counters that cannot be read.
    pub fn measure<T>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, Cost)> {
        self.control(IOC_RESET)?;
        let start = Instant::now();
        let before = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
        self.control(IOC_ENABLE)?;
        let done = work();
        self.control(IOC_DISABLE)?;
        let after = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
        let time = Duration::from(after).saturating_sub(Duration::from(before));
        let mut cost = Cost { time, elapsed: start.elapsed(), ..Cost::default() };
        if let Some((leader, _)) = &self.group {
            let mut bytes = [0; 32]; // How many, then each.
            { leader }.read_exact(&mut bytes)?;
            let (words, _) = bytes.as_chunks::<8>();
            if let [_, cycles, instructions, misses] = words {
                cost.cycles = u64::from_ne_bytes(*cycles);
                cost.instructions = u64::from_ne_bytes(*instructions);
                cost.branch_misses = u64::from_ne_bytes(*misses);
            }
        }
        Ok((done?, cost))
    }

    fn control(&self, request: libc::c_ulong) -> io::Result<()> {
        let Some((leader, _)) = &self.group else { return Ok(()) };
        // SAFETY: none of these requests has the kernel read or write memory of ours.
        match unsafe { libc::ioctl(leader.as_raw_fd(), request, WHOLE_GROUP) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Keeps this thread on one CPU, whose caches and per-CPU rows are then its own.
///
/// # Errors
/// No such CPU.
pub fn stay_on(cpu: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set)
}
