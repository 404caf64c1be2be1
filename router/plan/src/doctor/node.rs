//! The node itself.

use super::Severity::{Broken, Note, Warning};
use super::{BackendFacts, Check, InterfaceFacts, NodeFacts, Report, Xdp};

const NODE: &str = "node";
const HERE: &str = "here";

/// Oldest kernel that has all the packet path asks for.
const KERNEL_MIN: (u32, u32) = (5, 15);

/// What is needed for what, by number (linux/capability.h).
const CAPABILITIES: [(u32, &str, &str); 5] = [
    (12, "CAP_NET_ADMIN", "the packet path can be attached to no interface"),
    (13, "CAP_NET_RAW", "checks by ICMP and in the tunnel fail, and so do their backends"),
    (10, "CAP_NET_BIND_SERVICE", "BGP cannot listen on port 179"),
    (39, "CAP_BPF", "the packet path cannot be loaded"),
    (38, "CAP_PERFMON", "the kernel's verifier refuses the packet path"),
];
/// It comes with the last two.
const SYS_ADMIN: u32 = 21;

/// Health checks in flight, connections of the API, files and timers.
const FILES_OF_ITS_OWN: u64 = 512 + 2 * 64 + 128;
/// A connection each way while they collide, one of BFD.
const FILES_OF_A_PEER: u64 = 3;

pub(super) fn look(node: &NodeFacts, backends: &[BackendFacts], report: &mut Report) {
    kernel(node, report);
    capabilities(node, report);
    limits(node, backends, report);
    bpffs(node, report);
    clock(node, report);
    daemon(node, report);
    for (name, facts) in &node.interfaces {
        interface(name, facts.as_ref(), node, report);
        rp_filter(name, facts.as_ref(), node, backends, report);
    }
    own_vips(node, report);
}

/// A check of the node as a whole.
const fn of_node(code: &'static str) -> Check<'static> {
    Check { code, subject: NODE }
}

fn kernel(node: &NodeFacts, report: &mut Report) {
    let mut numbers =
        node.kernel.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => {
            let found = ((major, minor) < KERNEL_MIN).then(|| {
                [
                    format!(
                        "the kernel is Linux {}, and 5.15 is the oldest that will do",
                        node.kernel
                    ),
                    "the packet path does not load, or lacks parts".into(),
                    "apt install linux-image-$(dpkg --print-architecture) && reboot".into(),
                ]
            });
            report.check(&of_node("kernel-too-old"), Broken, found, HERE);
        }
        _ => report.skip(&of_node("kernel-too-old"), "the kernel does not tell its release"),
    }
    match &node.bpf {
        Some(loaded) => {
            let found = loaded.as_ref().err().map(|error| {
                [
                    format!("the kernel does not load an XDP program: {error}"),
                    "nothing is forwarded, and no VIP is announced".into(),
                    "grep -E 'CONFIG_(BPF_SYSCALL|BPF_JIT|XDP_SOCKETS)=' /boot/config-$(uname -r)"
                        .into(),
                ]
            });
            report.check(&of_node("bpf-refused"), Broken, found, HERE);
        }
        None => report.skip(&of_node("bpf-refused"), "only root can try"),
    }
    match node.jit {
        Some(on) => {
            let found = (!on).then(|| {
                [
                    "the kernel interprets BPF programs instead of compiling them".into(),
                    "each packet costs several times as much".into(),
                    "sysctl -w net.core.bpf_jit_enable=1".into(),
                ]
            });
            report.check(&of_node("jit-off"), Warning, found, HERE);
        }
        None => report.skip(&of_node("jit-off"), "only the first network namespace tells"),
    }
}

fn capabilities(node: &NodeFacts, report: &mut Report) {
    let check = of_node("capability-missing");
    let Some(has) = node.capabilities else {
        return report.skip(&check, "the capabilities cannot be read");
    };
    let has = |number: u32| has >> number & 1 == 1;
    let is_wanted = |number: u32| match number {
        10 => node.low_port,
        38 | 39 => !has(SYS_ADMIN),
        _ => true,
    };
    let missing = CAPABILITIES.iter().filter(|(number, ..)| is_wanted(*number) && !has(*number));
    let missing: Vec<_> = missing.collect();
    let found = (!missing.is_empty()).then(|| {
        let names: Vec<_> = missing.iter().map(|(_, name, _)| *name).collect();
        let consequences: Vec<_> = missing.iter().map(|(.., consequence)| *consequence).collect();
        let (who, command) = match node.daemon_pid {
            Some(pid) => (
                format!("the daemon (process {pid})"),
                "systemctl revert tidegate && systemctl restart tidegate",
            ),
            None => ("whoever runs this".into(), "sudo tidegate doctor"),
        };
        [format!("{who} lacks {}", names.join(", ")), consequences.join("; "), command.into()]
    });
    report.check(&check, Broken, found, HERE);
}

fn limits(node: &NodeFacts, backends: &[BackendFacts], report: &mut Report) {
    let check = of_node("few-descriptors");
    let peers = u64::try_from(node.peers).unwrap_or(u64::MAX);
    let wanted = peers.saturating_mul(FILES_OF_A_PEER).saturating_add(FILES_OF_ITS_OWN);
    match node.files_max {
        Some(most) => {
            let found = (most < wanted).then(|| {
                [
                    format!(
                        "no more than {most} descriptors may be open, and {wanted} may be wanted"
                    ),
                    "under load health checks cannot be made, and backends count as down".into(),
                    match node.daemon_pid {
                        Some(pid) => format!("prlimit --pid {pid} --nofile={wanted}:"),
                        None => format!("ulimit -n {wanted}"),
                    },
                ]
            });
            report.check(&check, Warning, found, HERE);
        }
        None => report.skip(&check, "the limit cannot be read"),
    }
    if let Some((tracked, most)) = node.conntrack {
        let found = (most > 0 && tracked >= most - most / 10).then(|| {
            [
                format!("the kernel tracks {tracked} connections, and can {most}"),
                "when it can no more, it drops new ones: health checks fail, sessions do not come \
                 up; what the packet path forwards is not tracked"
                    .into(),
                format!("sysctl -w net.netfilter.nf_conntrack_max={}", most.saturating_mul(2)),
            ]
        });
        report.check(&of_node("conntrack-full"), Warning, found, HERE);
    }
    for (family, is_v4) in [("ipv4", true), ("ipv6", false)] {
        let on_link = |it: &&BackendFacts| it.addr.is_ipv4() == is_v4 && it.gateway.is_none();
        let mut addrs: Vec<_> = backends.iter().filter(on_link).map(|it| it.addr).collect();
        addrs.sort_unstable();
        addrs.dedup();
        let wanted = u64::try_from(addrs.len()).unwrap_or(u64::MAX);
        let [v4, v6] = node.neighbours_max;
        let Some(most) = (if is_v4 { v4 } else { v6 }) else { continue };
        let found = (wanted >= most).then(|| {
            [
                format!(
                    "{wanted} backends are on the link, and the kernel remembers {most} neighbours"
                ),
                "backends come and go for want of their MAC address".into(),
                format!(
                    "sysctl -w net.{family}.neigh.default.gc_thresh3={}",
                    wanted.saturating_mul(4)
                ),
            ]
        });
        report.check(&of_node("neighbour-table-small"), Warning, found, HERE);
    }
}

fn bpffs(node: &NodeFacts, report: &mut Report) {
    let check = of_node("no-bpffs");
    let Some(is_there) = node.is_bpffs else {
        return report.skip(&check, format!("{} cannot be looked at", node.bpffs));
    };
    let found = (!is_there).then(|| {
        [
            format!("there is no BPF file system at {}", node.bpffs),
            "the daemon does not start: nothing of its packet path could outlive it".into(),
            format!("mkdir -p {0} && mount -t bpf bpf {0}", node.bpffs),
        ]
    });
    report.check(&check, Broken, found, HERE);
}

fn clock(node: &NodeFacts, report: &mut Report) {
    let check = of_node("clock-unsynchronised");
    let Some(in_time) = node.clock_in_time else {
        return report.skip(&check, "the kernel does not tell");
    };
    let found = (!in_time).then(|| {
        [
            "nothing keeps the clock in time".into(),
            "logs of several nodes do not fit together, and checks over TLS may call good \
             certificates expired"
                .into(),
            "apt install systemd-timesyncd && timedatectl set-ntp true".into(),
        ]
    });
    report.check(&check, Note, found, HERE);
}

fn daemon(node: &NodeFacts, report: &mut Report) {
    match &node.daemon {
        Some(daemon) => {
            let found = daemon.problem.as_ref().map(|problem| {
                [
                    format!("the daemon cannot do what it wants: {problem}"),
                    "what is configured is not all in force".into(),
                    "tidegate status".into(),
                ]
            });
            report.check(&of_node("daemon-problem"), Broken, found, HERE);
        }
        None => report.skip(&of_node("daemon-problem"), "the daemon does not answer"),
    }
    let found = (!node.warnings.is_empty()).then(|| {
        [
            node.warnings.clone(),
            "the configuration is good, and may not be what was meant".into(),
            "tidegate check".into(),
        ]
    });
    report.check(&of_node("configuration"), Warning, found, HERE);
}

fn interface(name: &str, facts: Option<&InterfaceFacts>, node: &NodeFacts, report: &mut Report) {
    let check = |code| Check { code, subject: name };
    let found = facts.is_none().then(|| {
        [
            format!("there is no interface {name}"),
            "the daemon does not start, or withdraws every VIP".into(),
            "ip -brief link".into(),
        ]
    });
    report.check(&check("no-interface"), Broken, found, HERE);
    let Some(facts) = facts else { return };
    let found = (!facts.running).then(|| {
        [
            format!("{name} is down or has no carrier"),
            "no packet comes in there or leaves".into(),
            format!("ip link set dev {name} up"),
        ]
    });
    report.check(&check("interface-down"), Broken, found, HERE);
    xdp(name, facts, node, report);
    let merging = [("lro-on", facts.lro, "lro"), ("gro-hw-on", facts.gro_hw, "rx-gro-hw")];
    for (code, on, feature) in merging {
        let Some(on) = on else {
            report.skip(&check(code), "the driver does not tell");
            continue;
        };
        let found = on.then(|| {
            [
                format!("the driver of {name} merges packets that come in ({feature})"),
                "merged packets are larger than the MTU and cannot be forwarded; some drivers \
                 refuse the packet path while it is on"
                    .into(),
                format!("ethtool -K {name} {feature} off"),
            ]
        });
        report.check(&check(code), Warning, found, HERE);
    }
}

fn xdp(name: &str, facts: &InterfaceFacts, node: &NodeFacts, report: &mut Report) {
    let check = |code| Check { code, subject: name };
    let found = (facts.xdp == Xdp::Other).then(|| {
        [
            format!("another XDP program is attached to {name}"),
            "the packet path cannot be attached there".into(),
            format!("bpftool net show dev {name}; ip link set dev {name} xdp off"),
        ]
    });
    report.check(&check("xdp-occupied"), Broken, found, HERE);
    if node.daemon.is_some() {
        let found = (facts.xdp == Xdp::None).then(|| {
            [
                format!("the daemon runs, and no packet path is attached to {name}"),
                "every VIP is withdrawn".into(),
                "tidegate status".into(),
            ]
        });
        report.check(&check("xdp-gone"), Broken, found, HERE);
    }
    match facts.xdp {
        Xdp::None => report.skip(&check("xdp-generic"), "no packet path is attached"),
        Xdp::Other => {}
        Xdp::Native | Xdp::Generic => {
            let daemon = node.daemon.as_ref();
            let why = daemon.and_then(|daemon| daemon.why_not_native.get(name));
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            let driver = facts.driver.as_deref().unwrap_or("unknown");
            let is_unwanted = facts.xdp == Xdp::Generic && !facts.generic_is_wanted;
            let found = is_unwanted.then(|| {
                [
                    format!("the packet path on {name} is in generic mode (driver {driver}){why}"),
                    "packets cost several times as much, since the kernel makes its own copy of \
                     each first"
                        .into(),
                    // What drivers want of an MTU differs; one page is what most do.
                    if facts.mtu > 3498 {
                        format!("ip link set dev {name} mtu 3498 && systemctl restart tidegate")
                    } else {
                        format!("ethtool -K {name} lro off && systemctl restart tidegate")
                    },
                ]
            });
            report.check(&check("xdp-generic"), Warning, found, HERE);
        }
    }
}

/// Answers of backends come from the VIP: where packets to the VIP would leave by another
/// interface, a strict filter drops them.
fn rp_filter(
    name: &str,
    facts: Option<&InterfaceFacts>,
    node: &NodeFacts,
    backends: &[BackendFacts],
    report: &mut Report,
) {
    let check = Check { code: "rp-filter-strict", subject: name };
    let Some(facts) = facts else { return };
    let Some(filter) = facts.rp_filter else {
        return report.skip(&check, "the setting cannot be read");
    };
    let elsewhere = backends.iter().find(|it| {
        it.egress.as_deref() == Some(name)
            && comes_from_elsewhere(it)
            && !node.own_vips.contains_key(&it.vip)
    });
    let found = match (filter, elsewhere) {
        (1, Some(it)) => Some(format!(
            "{name} takes only packets from where it would send to (rp_filter 1), and the way to \
             {} leads out of {}",
            it.vip,
            it.way_of_vip.as_deref().unwrap_or("none")
        )),
        (1, None) if node.interfaces.len() > 1 => Some(format!(
            "{name} takes only packets from where it would send to (rp_filter 1), and there are \
             {} interfaces",
            node.interfaces.len()
        )),
        _ => None,
    };
    let severity = if elsewhere.is_some() { Broken } else { Warning };
    let found = found.map(|what| {
        [
            what,
            "answers to checks in the tunnel come from the VIP and are dropped, and so is what \
             comes by another way than it would go"
                .into(),
            format!("sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.{name}.rp_filter=2"),
        ]
    });
    report.check(&check, severity, found, HERE);
}

/// Whether packets to the VIP would leave by another interface than answers from it come in by.
fn comes_from_elsewhere(it: &BackendFacts) -> bool {
    it.vip.is_ipv4() && it.way_of_vip.is_some() && it.way_of_vip != it.egress
}

/// The finding by which nothing that a backend answers from the VIP is heard here.
pub(super) fn drops_answers(it: &BackendFacts, node: &NodeFacts) -> Option<&'static str> {
    let egress = it.egress.as_ref().and_then(|name| node.interfaces.get(name)?.as_ref());
    if node.own_vips.contains_key(&it.vip) {
        Some("vip-local")
    } else {
        let is_strict = egress.is_some_and(|facts| facts.rp_filter == Some(1));
        (is_strict && comes_from_elsewhere(it)).then_some("rp-filter-strict")
    }
}

fn own_vips(node: &NodeFacts, report: &mut Report) {
    let mut found = node.own_vips.iter().map(|(vip, interface)| {
        let length = if vip.is_ipv4() { 32 } else { 128 };
        [
            format!("the VIP {vip} is an address of this node itself, on {interface}"),
            "what backends answer from it is dropped here as coming from ourselves, so checks in \
             the tunnel fail; this node's own connections to it end here"
                .into(),
            format!("ip address del {vip}/{length} dev {interface}"),
        ]
    });
    let first = found.next();
    report.check(&of_node("vip-local"), Broken, first, HERE);
    for more in found {
        report.check(&of_node("vip-local"), Broken, Some(more), HERE);
    }
}
