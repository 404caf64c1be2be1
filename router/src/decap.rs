//! The other end of `ipip` and `gue`, on a backend's host: takes the outer headers off what is
//! addressed to the host, and hands the packet inside to the kernel on the same interface.
//!
//! The VIP must be an address of the host (on `lo`, say) for the kernel to take the packet, and
//! the way back to the client must lead out of the same interface, or strict reverse path
//! filtering (`rp_filter` = 1) drops it there.
//!
//! Whoever can send to the host can put a packet of any source into it, past a filter that does
//! not look inside: let the network, or the host's own filter, take IPIP and GUE from the edge hosts only.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use aya::maps::{HashMap, MapData, PerCpuArray};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use nix::ifaddrs::getifaddrs;
use tidegate_abi::{DecapCounter, map_names};
use tidegate_config::desired::AttachMode;
use tokio::signal::unix::{SignalKind, signal};

use crate::bpf_io::{self, Link, TestRun};

const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/decap.bpf.o"));
const PROGRAM: &str = "tidegate_decap";
/// How soon an address that the interface gets or loses is noticed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Why nothing can be taken out of its outer header.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel is against it.
    #[error(transparent)]
    Kernel(#[from] bpf_io::Error),
    /// The interface's addresses cannot be read.
    #[error("cannot read the addresses of {interface}: {cause}")]
    Addresses {
        /// The interface.
        interface: String,
        /// Why.
        cause: io::Error,
    },
    /// Signals cannot be waited for.
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
}

/// Attaches the program to an interface, native if its driver can, else generic; follows the
/// interface's addresses, and takes the program off at SIGINT or SIGTERM.
///
/// # Errors
/// See [`Error`]; nothing is attached then.
pub async fn run(interface: &str, gue_port: u16) -> Result<(), Error> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut decap = Decap::load(gue_port)?;
    decap.take_for(&addresses(interface)?)?;
    let link = decap.attach(interface)?;
    tracing::info!(
        interface,
        mode = link.mode.name(),
        why_not_native = link.why_not_native,
        "taking packets out of their outer header"
    );
    let mut look_again = tokio::time::interval(LOOK_AGAIN);
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = look_again.tick() => {
                // Those that it has go on; a moment without memory is no reason to stop.
                if let Err(error) = addresses(interface).and_then(|now| Ok(decap.take_for(&now)?)) {
                    tracing::warn!("{error}; going on with the addresses of before");
                }
            }
        }
    }
}

/// The loaded program; taken off its interface when this value is dropped.
pub struct Decap {
    ebpf: Ebpf,
    addrs: HashMap<MapData, [u8; 16], u32>,
    counters: PerCpuArray<MapData, u64>,
    link: Option<Link>,
}

impl Decap {
    /// Loads the program, which takes packets for no address yet, and GUE on this UDP port.
    ///
    /// # Errors
    /// What the kernel has against it.
    pub fn load(gue_port: u16) -> Result<Self, bpf_io::Error> {
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .override_global("DECAP_GUE_PORT", &gue_port, true)
            .load(OBJECT)
            .map_err(|error| bpf_io::Error::load(PROGRAM, error))?;
        let program = ebpf.program_mut(PROGRAM).ok_or_else(|| bpf_io::Error::missing(PROGRAM))?;
        let program: &mut Xdp =
            program.try_into().map_err(|error| bpf_io::Error::program(PROGRAM, error))?;
        program.load().map_err(|error| bpf_io::Error::program(PROGRAM, error))?;
        let addrs = bpf_io::take(&mut ebpf, map_names::DECAP_ADDRS)?;
        let counters = bpf_io::take(&mut ebpf, map_names::DECAP_COUNTERS)?;
        Ok(Self { ebpf, addrs, counters, link: None })
    }

    /// Attaches the program, in the best mode the interface can.
    ///
    /// # Errors
    /// No such interface, another program is there, or the kernel refuses.
    pub fn attach(&mut self, interface: &str) -> Result<&Link, bpf_io::Error> {
        let program = self.program()?.fd();
        let program = program.map_err(|error| bpf_io::Error::program(PROGRAM, error))?;
        let link = bpf_io::attach(program.as_fd(), interface, AttachMode::Auto, None)?;
        Ok(self.link.insert(link))
    }

    /// Takes packets for exactly these addresses.
    ///
    /// # Errors
    /// More of them than the map holds, and what else the kernel says.
    pub fn take_for(&mut self, wanted: &BTreeSet<IpAddr>) -> Result<(), bpf_io::Error> {
        let failed = |error| bpf_io::Error::kernel("write the map DECAP_ADDRS", error);
        let wanted: BTreeSet<[u8; 16]> = wanted.iter().map(|addr| octets(*addr)).collect();
        let present: Result<BTreeSet<[u8; 16]>, _> = self.addrs.keys().collect();
        let present = present.map_err(failed)?;
        for addr in present.difference(&wanted) {
            self.addrs.remove(addr).map_err(failed)?;
        }
        for addr in wanted.difference(&present) {
            self.addrs.insert(addr, 1, 0).map_err(failed)?;
        }
        Ok(())
    }

    /// How many frames met this fate.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn count(&self, counter: DecapCounter) -> Result<u64, bpf_io::Error> {
        let values = self.counters.get(&(counter as u32), 0);
        let values =
            values.map_err(|error| bpf_io::Error::kernel("read the map DECAP_COUNTERS", error))?;
        Ok(values.iter().fold(0, |sum: u64, &value| sum.wrapping_add(value)))
    }

    /// Runs one frame through the program, as if it had come in by loopback.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn test_run(&self, frame: &[u8]) -> Result<TestRun, bpf_io::Error> {
        bpf_io::test_run(self.program()?, frame, 0)
    }

    fn program(&self) -> Result<&Xdp, bpf_io::Error> {
        self.ebpf
            .program(PROGRAM)
            .ok_or_else(|| bpf_io::Error::missing(PROGRAM))?
            .try_into()
            .map_err(|error| bpf_io::Error::program(PROGRAM, error))
    }
}

/// All addresses of the interface.
fn addresses(interface: &str) -> Result<BTreeSet<IpAddr>, Error> {
    let all = getifaddrs().map_err(|errno| Error::Addresses {
        interface: interface.to_owned(),
        cause: errno.into(),
    })?;
    Ok(all
        .filter(|entry| entry.interface_name == interface)
        .filter_map(|entry| {
            let addr = entry.address?;
            let v4 = addr.as_sockaddr_in().map(|addr| IpAddr::V4(addr.ip()));
            v4.or_else(|| addr.as_sockaddr_in6().map(|addr| IpAddr::V6(addr.ip())))
        })
        .collect())
}

fn octets(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}
