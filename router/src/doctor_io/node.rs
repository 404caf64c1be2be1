//! The node itself: files of the kernel, its links, and one program that is loaded for a try.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::path::Path;

use aya::programs::ProgramInfo;
use nix::ifaddrs::getifaddrs;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use tidegate_bgp::types::Prefix;
use tidegate_config::desired::{AttachMode, Desired};
use tidegate_plan::doctor::{InterfaceFacts, NodeFacts, Xdp};

use super::{Daemon, sys};
use crate::bpf_io;
use crate::decap::Decap;
use crate::link_io::look::LinkNow;
use crate::link_io::{self, Links};

pub(super) async fn facts(
    desired: &Desired,
    warnings: &str,
    daemon: Option<Daemon>,
    links: Links,
) -> Result<NodeFacts, link_io::Error> {
    let (bpffs, is_bpffs) = bpffs(&desired.router.pin_dir);
    // A daemon of another place's processes is not looked into.
    let pid = daemon.as_ref().map(|daemon| daemon.pid);
    let pid = pid.filter(|pid| Path::new(&format!("/proc/{pid}/status")).exists());
    let whose = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    Ok(NodeFacts {
        kernel: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
        bpf: bpf(desired.datapath.gue_port),
        jit: number("/proc/sys/net/core/bpf_jit_enable").map(|on| on != 0),
        capabilities: read(&format!("/proc/{whose}/status")).and_then(|text| capabilities(&text)),
        files_max: read(&format!("/proc/{whose}/limits")).and_then(|text| files_max(&text)),
        daemon_pid: pid,
        peers: desired.peers.len() + desired.ranges.len(),
        low_port: desired.router.listen.iter().any(|addr| addr.port() < 1024),
        bpffs,
        is_bpffs,
        clock_in_time: sys::clock_in_time(),
        conntrack: conntrack(),
        neighbours_max: ["ipv4", "ipv6"]
            .map(|family| number(&format!("/proc/sys/net/{family}/neigh/default/gc_thresh3"))),
        interfaces: interfaces(desired, &links.all().await?),
        own_vips: own_vips(desired),
        daemon: daemon.map(|daemon| daemon.facts),
        warnings: warnings.to_owned(),
    })
}

fn read(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number(path: &str) -> Option<u64> {
    read(path)?.parse().ok()
}

/// Whether the kernel loads a program; `None` where it is a matter of rights.
fn bpf(gue_port: u16) -> Option<Result<(), String>> {
    match Decap::load(gue_port) {
        Ok(_let_go_of) => Some(Ok(())),
        Err(bpf_io::Error::NotPermitted { .. }) => None,
        Err(error) => Some(Err(error.to_string())),
    }
}

/// The effective ones, in hexadecimal.
fn capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The soft limit of open files.
fn files_max(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn conntrack() -> Option<(u64, u64)> {
    let of = |name| number(&format!("/proc/sys/net/netfilter/nf_conntrack_{name}"));
    Some((of("count")?, of("max")?))
}

/// Where the BPF file system shall be, and whether it is.
fn bpffs(pin_dir: &Path) -> (String, Option<bool>) {
    let usual = Path::new("/sys/fs/bpf");
    let place =
        if pin_dir.starts_with(usual) { usual } else { pin_dir.parent().unwrap_or(pin_dir) };
    let there = pin_dir.ancestors().find(|part| part.exists()).map(statfs);
    let is_bpf = there.and_then(Result::ok).map(|found| found.filesystem_type() == BPF_FS_MAGIC);
    (place.display().to_string(), is_bpf)
}

fn interfaces(
    desired: &Desired,
    links: &BTreeMap<String, LinkNow>,
) -> BTreeMap<String, Option<InterfaceFacts>> {
    let router = &desired.router;
    let ours = ProgramInfo::from_pin(router.pin_dir.join(bpf_io::PINNED_PROGRAM));
    let ours = ours.ok().map(|info| info.id());
    let facts = |name: &String| {
        let link = links.get(name)?;
        let driver = sys::driver(name).unwrap_or_default();
        let has = |feature: &str| {
            driver.features.as_ref().map(|on| on.iter().any(|name| name == feature))
        };
        let filter = |of: &str| number(&format!("/proc/sys/net/ipv4/conf/{of}/rp_filter"));
        let filter = filter("all").zip(filter(name)).map(|(all, own)| all.max(own));
        Some(InterfaceFacts {
            running: link.running,
            mtu: link.mtu,
            xdp: match link.xdp {
                None => Xdp::None,
                Some((_, id)) if Some(id) != ours => Xdp::Other,
                Some((true, _)) => Xdp::Generic,
                Some((false, _)) => Xdp::Native,
            },
            lro: has("rx-lro"),
            gro_hw: has("rx-gro-hw"),
            rp_filter: filter.and_then(|filter| u8::try_from(filter).ok()),
            generic_is_wanted: router.attach == AttachMode::Generic,
            driver: driver.name,
        })
    };
    router.interfaces.iter().map(|name| (name.clone(), facts(name))).collect()
}

/// VIPs that are addresses of this node. Those that are prefixes count with every address.
fn own_vips(desired: &Desired) -> BTreeMap<IpAddr, String> {
    let Ok(all) = getifaddrs() else { return BTreeMap::new() };
    let own = all.filter_map(|entry| {
        let addr = entry.address?;
        let v4 = addr.as_sockaddr_in().map(|addr| IpAddr::V4(addr.ip()));
        let addr = v4.or_else(|| addr.as_sockaddr_in6().map(|addr| IpAddr::V6(addr.ip())))?;
        Some((addr, entry.interface_name))
    });
    let is_vip = |addr: &IpAddr| {
        let holds = |vip: Prefix| Prefix::new(*addr, vip.bits()) == Some(vip);
        desired.services.values().any(|service| holds(service.vip.addrs))
    };
    own.filter(|(addr, _)| is_vip(addr)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_and_limits_are_read_as_the_kernel_prints_them() {
        let status = "Name:\tx\nCapPrm:\t0\nCapEff:\t000000c000003400\nCapBnd:\t0\n";
        assert_eq!(capabilities(status), Some(0xc0_0000_3400));
        assert_eq!(capabilities("CapEff:\tx\n"), None);
        let line = |soft: &str| {
            format!("Limit  Soft Limit\nMax open files            {soft}  524288  files\n")
        };
        let cases = [("1024", Some(1024)), ("unlimited", Some(u64::MAX)), ("x", None)];
        for (soft, wanted) in cases {
            assert_eq!(files_max(&line(soft)), wanted, "{soft}");
        }
        // And those of this process.
        assert!(files_max(&read("/proc/self/limits").unwrap()).is_some());
        assert!(capabilities(&read("/proc/self/status").unwrap()).is_some());
    }
}
