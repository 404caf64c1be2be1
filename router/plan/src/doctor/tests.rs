//! Each misconfiguration, and the finding that it must give: also those that no lab can make.

use core::net::IpAddr;

use super::*;

const PUBLIC: &str = "eth0";
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 11];

/// Everything as it should be.
fn healthy() -> Facts {
    let interface = InterfaceFacts {
        running: true,
        mtu: 1600,
        driver: Some("ixgbe".into()),
        xdp: Xdp::Native,
        lro: Some(false),
        gro_hw: Some(false),
        rp_filter: Some(0),
        generic_is_wanted: false,
    };
    let node = NodeFacts {
        kernel: "6.12.48+deb13-amd64".into(),
        bpf: Some(Ok(())),
        jit: Some(true),
        capabilities: Some(u64::MAX),
        files_max: Some(65_536),
        daemon_pid: Some(4711),
        peers: 2,
        low_port: true,
        bpffs: "/sys/fs/bpf".into(),
        is_bpffs: Some(true),
        clock_in_time: Some(true),
        conntrack: Some((10, 262_144)),
        neighbours_max: [Some(1024), Some(1024)],
        interfaces: [(PUBLIC.to_owned(), Some(interface))].into(),
        daemon: Some(DaemonFacts::default()),
        ..NodeFacts::default()
    };
    let tunnel = |overhead| Mode::Tunnel { overhead, gue_port: None };
    let backend = |vip: &str, addr: &str, overhead| BackendFacts {
        services: vec!["web".into()],
        vip: vip.parse().unwrap(),
        addr: addr.parse().unwrap(),
        mode: tunnel(overhead),
        clients: Clients::Tcp(80),
        min_mtu: 1280,
        way: Ok(1600),
        egress: Some(PUBLIC.into()),
        gateway: None,
        mac: Some(MAC),
        way_of_vip: Some(PUBLIC.into()),
        as_client: Some(Probed::Answered),
        own_in_tunnel: None,
        ping: None,
        size: Some(Size { tried: 1500, answered: 1500 }),
        arp: Some(None),
    };
    let backends = vec![
        backend("192.0.2.10", "203.0.113.11", 20),
        backend("2001:db8:10::10", "2001:db8:f::11", 40),
    ];
    Facts { node, backends }
}

/// The facts with one thing wrong.
fn wrong(change: impl FnOnce(&mut NodeFacts, &mut InterfaceFacts, &mut BackendFacts)) -> Facts {
    let mut facts = healthy();
    let mut interface = facts.node.interfaces.remove(PUBLIC).flatten().unwrap();
    change(&mut facts.node, &mut interface, &mut facts.backends[0]);
    facts.node.interfaces.entry(PUBLIC.into()).or_insert(Some(interface));
    facts
}

fn silent(own: Option<Probed>, ping: Option<Probed>, it: &mut BackendFacts) {
    (it.as_client, it.own_in_tunnel, it.ping, it.size) = (Some(Probed::Silent), own, ping, None);
}

#[test]
fn a_healthy_node_has_no_finding_and_nothing_unknown() {
    let report = report(&healthy());
    assert_eq!(report.findings, []);
    assert_eq!(report.skipped, []);
    assert_eq!(report.checks, 33);
}

type Case = (&'static str, Facts, &'static [&'static str], &'static str);

#[rustfmt::skip]
fn cases_of_the_node() -> Vec<Case> {
    const TIDEGATE_CAPABILITIES: u64 = 1 << 12 | 1 << 13 | 1 << 10 | 1 << 38 | 1 << 39;
    vec![
        ("old kernel", wrong(|n, _, _| n.kernel = "5.10.0-35-amd64".into()), &["kernel-too-old"], "linux-image"),
        ("oldest kernel", wrong(|n, _, _| n.kernel = "5.15.0".into()), &[], ""),
        ("no BPF", wrong(|n, _, _| n.bpf = Some(Err("not implemented".into()))), &["bpf-refused"], "CONFIG_"),
        ("no JIT", wrong(|n, _, _| n.jit = Some(false)), &["jit-off"], "bpf_jit_enable=1"),
        ("the unit's capabilities", wrong(|n, _, _| n.capabilities = Some(TIDEGATE_CAPABILITIES)), &[], ""),
        ("SYS_ADMIN for BPF", wrong(|n, _, _| n.capabilities = Some(1 << 12 | 1 << 13 | 1 << 10 | 1 << 21)), &[], ""),
        ("no NET_RAW", wrong(|n, _, _| n.capabilities = Some(TIDEGATE_CAPABILITIES & !(1 << 13))), &["capability-missing"], "systemctl revert"),
        ("no low port wanted", wrong(|n, _, _| { n.low_port = false; n.capabilities = Some(TIDEGATE_CAPABILITIES & !(1 << 10)); }), &[], ""),
        ("few descriptors", wrong(|n, _, _| n.files_max = Some(256)), &["few-descriptors"], "prlimit --pid 4711"),
        ("few descriptors, no daemon", wrong(|n, _, _| { n.files_max = Some(256); n.daemon_pid = None; }), &["few-descriptors"], "ulimit"),
        ("no bpffs", wrong(|n, _, _| n.is_bpffs = Some(false)), &["no-bpffs"], "mount -t bpf bpf /sys/fs/bpf"),
        ("clock", wrong(|n, _, _| n.clock_in_time = Some(false)), &["clock-unsynchronised"], "set-ntp"),
        ("conntrack nearly full", wrong(|n, _, _| n.conntrack = Some((91, 100))), &["conntrack-full"], "nf_conntrack_max=200"),
        ("conntrack half full", wrong(|n, _, _| n.conntrack = Some((50, 100))), &[], ""),
        ("small neighbour table", wrong(|n, _, _| n.neighbours_max = [Some(1), None]), &["neighbour-table-small"], "net.ipv4.neigh.default.gc_thresh3=4"),
        ("VIP is local", wrong(|n, _, b| { n.own_vips.insert(b.vip, "lo".into()); }), &["vip-local"], "ip address del 192.0.2.10/32 dev lo"),
        ("not converged", wrong(|n, _, _| n.daemon = Some(DaemonFacts { problem: Some("no".into()), ..DaemonFacts::default() })), &["daemon-problem"], "tidegate status"),
        ("warned", wrong(|n, _, _| n.warnings = "nat.ports".into()), &["configuration"], "tidegate check"),
    ]
}

#[rustfmt::skip]
fn cases_of_interfaces() -> Vec<Case> {
    vec![
        ("no interface", wrong(|n, _, _| { n.interfaces.insert(PUBLIC.into(), None); }), &["no-interface"], "ip -brief link"),
        ("down", wrong(|_, i, _| i.running = false), &["interface-down"], "ip link set dev eth0 up"),
        ("LRO", wrong(|_, i, _| i.lro = Some(true)), &["lro-on"], "ethtool -K eth0 lro off"),
        ("GRO on the card", wrong(|_, i, _| i.gro_hw = Some(true)), &["gro-hw-on"], "ethtool -K eth0 rx-gro-hw off"),
        ("generic", wrong(|_, i, _| i.xdp = Xdp::Generic), &["xdp-generic"], "lro off"),
        ("generic for its MTU", wrong(|_, i, _| { i.xdp = Xdp::Generic; i.mtu = 9000; }), &["xdp-generic"], "mtu 3498"),
        ("generic on purpose", wrong(|_, i, _| { i.xdp = Xdp::Generic; i.generic_is_wanted = true; }), &[], ""),
        ("another program", wrong(|n, i, _| { i.xdp = Xdp::Other; n.daemon = None; }), &["xdp-occupied"], "xdp off"),
        ("taken off", wrong(|_, i, _| i.xdp = Xdp::None), &["xdp-gone"], "tidegate status"),
        ("strict, and all by one way", wrong(|_, i, _| i.rp_filter = Some(1)), &[], ""),
        ("strict, and the VIP elsewhere", wrong(|_, i, b| { i.rp_filter = Some(1); b.way_of_vip = Some("eth1".into()); }), &["rp-filter-strict"], "net.ipv4.conf.eth0.rp_filter=2"),
        ("loose, and the VIP elsewhere", wrong(|_, i, b| { i.rp_filter = Some(2); b.way_of_vip = Some("eth1".into()); }), &[], ""),
        ("strict with two interfaces", wrong(|n, i, _| { n.interfaces.insert("eth1".into(), Some(i.clone())); i.rp_filter = Some(1); }), &["rp-filter-strict"], "net.ipv4.conf.eth0.rp_filter=2"),
    ]
}

#[rustfmt::skip]
fn cases_of_backends() -> Vec<Case> {
    use Probed::{Answered, Silent};
    vec![
        ("no route", wrong(|_, _, b| b.way = Err("no route".into())), &["no-way"], "ip route get 203.0.113.11"),
        ("narrow link", wrong(|_, _, b| b.way = Ok(1290)), &["narrow"], "ip link set dev eth0 mtu 1300"),
        ("just wide enough", wrong(|_, _, b| b.way = Ok(1300)), &[], ""),
        ("narrow path", wrong(|_, _, b| b.size = Some(Size { tried: 1500, answered: 1380 })), &["path-mtu"], "ip route replace 203.0.113.11/32 dev eth0 mtu 1400"),
        ("narrow path by a gateway", wrong(|_, _, b| { b.gateway = Some(IpAddr::from([203, 0, 113, 1])); b.size = Some(Size { tried: 1500, answered: 1380 }); }), &["path-mtu"], "via 203.0.113.1 dev eth0 mtu 1400"),
        ("no VIP", wrong(|_, _, b| silent(Some(Answered), None, b)), &["no-vip"], "ip address add 192.0.2.10/32 dev lo"),
        ("no tunnel", wrong(|_, _, b| silent(Some(Silent), Some(Answered), b)), &["no-decap"], "tidegate decap --interface"),
        ("no GUE", wrong(|_, _, b| { silent(Some(Silent), Some(Answered), b); b.mode = Mode::Tunnel { overhead: 28, gue_port: Some(6080) }; }), &["no-decap"], "--gue-port 6080"),
        ("dead", wrong(|_, _, b| silent(Some(Silent), Some(Silent), b)), &["silent"], "ping"),
        ("well on the link", wrong(|_, _, b| b.mode = Mode::L2), &[], ""),
        ("no VIP on the link", wrong(|_, _, b| { silent(None, Some(Answered), b); b.mode = Mode::L2; }), &["no-vip"], "ip address add 192.0.2.10/32 dev lo"),
        ("dead on the link", wrong(|_, _, b| { silent(None, Some(Silent), b); b.mode = Mode::L2; }), &["silent"], "ping"),
        ("answers ARP", wrong(|_, _, b| b.arp = Some(Some(MAC))), &["vip-arp"], "arp_ignore=1"),
        ("NAT", wrong(|_, _, b| { b.mode = Mode::Nat; b.as_client = None; b.size = None; }), &[], ""),
    ]
}

#[test]
fn every_misconfiguration_has_its_finding_and_its_command() {
    let cases = [cases_of_the_node(), cases_of_interfaces(), cases_of_backends()];
    for (name, facts, codes, command) in cases.into_iter().flatten() {
        let report = report(&facts);
        let found: Vec<&str> = report.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(found, codes, "{name}");
        for finding in &report.findings {
            assert!(finding.command.contains(command), "{name}: {}", finding.command);
            assert!(!finding.what.is_empty() && !finding.consequence.is_empty(), "{name}");
        }
    }
}

#[test]
fn what_nobody_could_find_out_is_told() {
    let nothing = wrong(|node, interface, backend| {
        *node = NodeFacts::default();
        *interface = InterfaceFacts { running: true, ..InterfaceFacts::default() };
        (backend.as_client, backend.size, backend.arp) = (None, None, None);
    });
    let report = report(&nothing);
    assert_eq!(report.findings, []);
    let mut unknown: Vec<&str> = report.skipped.iter().map(|skipped| skipped.check).collect();
    unknown.sort_unstable();
    let wanted = [
        "bpf-refused",
        "capability-missing",
        "clock-unsynchronised",
        "daemon-problem",
        "few-descriptors",
        "gro-hw-on",
        "jit-off",
        "kernel-too-old",
        "lro-on",
        "no-bpffs",
        "no-decap",
        "path-mtu",
        "rp-filter-strict",
        "vip-arp",
        "xdp-generic",
    ];
    assert_eq!(unknown, wanted);
}

#[test]
fn who_answers_for_a_vip_is_named_by_its_address_and_the_worst_comes_first() {
    let mut facts = wrong(|node, _, backend| {
        backend.arp = Some(Some(MAC));
        node.is_bpffs = Some(false);
    });
    facts.backends[1].arp = Some(Some([6; 6]));
    let report = report(&facts);
    let found: Vec<_> = report.findings.iter().map(|it| (it.code, it.on.as_str())).collect();
    let wanted = [
        ("no-bpffs", "here"),
        ("vip-arp", "203.0.113.11"),
        ("vip-arp", "the host with that address"),
    ];
    assert_eq!(found, wanted);
    assert!(report.findings[1].what.contains("02:00:00:00:00:0b"), "{}", report.findings[1].what);
}
