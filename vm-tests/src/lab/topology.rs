//! Networks as data: hosts, and the segments their interfaces are plugged into.
//!
//! Every interface is one end of a cable (a veth pair). The other ends are ports of one more
//! host, the [`SWITCH`], which has a bridge per segment.

use std::collections::BTreeSet;

/// The host that holds the segments.
pub const SWITCH: &str = "switch";

/// A network.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// Its hosts, without the switch.
    pub hosts: Vec<Host>,
}

/// A host: a network namespace.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// At most nine characters: it becomes part of a port's name.
    pub name: &'static str,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// Addresses that it answers to on whatever interface they come in.
    pub loopback: Vec<String>,
    /// Where it sends what it has no better route for; one per family.
    pub gateways: Vec<&'static str>,
    /// Whether it forwards packets that are not for it.
    pub forwards: bool,
}

/// An interface of a host.
#[derive(Clone, Debug)]
pub struct Interface {
    /// At most five characters.
    pub name: &'static str,
    /// What it is plugged into; at most twelve characters.
    pub segment: &'static str,
    /// With prefix length.
    pub addresses: Vec<String>,
    /// In bytes, as on the port at the other end.
    pub mtu: u16,
}

impl Topology {
    /// Every host, the switch included.
    pub fn host_names(&self) -> impl Iterator<Item = &'static str> {
        self.hosts.iter().map(|host| host.name).chain([SWITCH])
    }

    /// Shell commands that make the bridges and the cables, run on the switch. `namespace` gives
    /// the namespace of a host.
    pub(super) fn switch_script(&self, namespace: impl Fn(&str) -> String) -> String {
        let mut script = String::from(QUIET_SWITCH);
        let interfaces = || {
            self.hosts.iter().flat_map(|host| host.interfaces.iter().map(move |end| (host, end)))
        };
        let segments: BTreeSet<_> = interfaces().map(|(_, end)| end.segment).collect();
        for segment in segments {
            // Snooping would lose neighbour solicitations: no router here asks who listens.
            line(&mut script, &format!("ip link add br-{segment} type bridge mcast_snooping 0"));
            line(&mut script, &format!("ip link set br-{segment} up"));
        }
        for (host, Interface { name, segment, mtu, .. }) in interfaces() {
            let port = format!("{}-{name}", host.name);
            let other = namespace(host.name);
            line(
                &mut script,
                &format!(
                    "ip link add {port} mtu {mtu} type veth peer name {name} mtu {mtu} netns {other}"
                ),
            );
            line(&mut script, &format!("ethtool -K {port} tx off >/dev/null"));
            line(&mut script, &format!("ip link set {port} master br-{segment} up"));
        }
        script
    }
}

impl Host {
    /// Shell commands that give the host its addresses and routes, run on it.
    pub(super) fn script(&self) -> String {
        let mut script = String::from(PLAIN_HOST);
        if self.forwards {
            script += FORWARDING;
        }
        for address in &self.loopback {
            line(&mut script, &format!("ip address add {address} dev lo"));
        }
        for Interface { name, addresses, .. } in &self.interfaces {
            // XDP sees what the sender wrote, and on a real wire checksums are finished.
            line(&mut script, &format!("ethtool -K {name} tx off >/dev/null"));
            for address in addresses {
                line(&mut script, &format!("ip address add {address} dev {name}"));
            }
            line(&mut script, &format!("ip link set {name} up"));
        }
        for gateway in &self.gateways {
            let family = if gateway.contains(':') { "-6" } else { "-4" };
            line(&mut script, &format!("ip {family} route add default via {gateway}"));
        }
        script
    }
}

fn line(script: &mut String, command: &str) {
    *script += &format!("{command}\n");
}

/// The switch has no address of its own and says nothing by itself.
const QUIET_SWITCH: &str = "
echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
";

/// Addresses are usable at once, packets may come in by another way than they would go out, and
/// nobody answers ARP for an address on the loopback (with DSR every backend has the VIP there).
const PLAIN_HOST: &str = "
for conf in default all; do
    echo 0 >/proc/sys/net/ipv4/conf/$conf/rp_filter
    echo 1 >/proc/sys/net/ipv4/conf/$conf/arp_ignore
    echo 2 >/proc/sys/net/ipv4/conf/$conf/arp_announce
    echo 0 >/proc/sys/net/ipv6/conf/$conf/accept_dad
    echo 0 >/proc/sys/net/ipv6/conf/$conf/accept_ra
done
for end in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 >$end; done
for end in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$end; done
ip link set lo up
";

const FORWARDING: &str = "
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
";
