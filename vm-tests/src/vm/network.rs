//! The network around an edge, in namespaces of a guest: a router that runs BIRD and is the client
//! too, and two backends, all on one segment.
//!
//! ```text
//!   router (BIRD, client) ──┬── edge: another machine
//!                           ├── b1: the kernel's own ipip takes packets out of their outer header
//!                           └── b2: the same, in a VRF of its own
//! ```

use anyhow::{Result, ensure};

use super::Vm;
use crate::lab::bird::{self, Session};
use crate::lab::http::Load;

/// The edge's address, with the length of the segment's prefix.
pub const EDGE: &str = "203.0.113.2/24";
/// What every machine with this network needs.
pub const MODULES: [&str; 4] = ["veth", "bridge", "ipip", "vrf"];

/// The router's session with the edge.
pub const SESSION: Session = Session {
    name: "edge",
    local: "203.0.113.1",
    local_as: 64_512,
    neighbor: "203.0.113.2",
    neighbor_as: 64_513,
};

/// Run with `port`, the interface behind which the edge is, and `given`, where programs lie.
/// What XDP hands on was finished by its sender, so nobody may leave checksums to a card.
const SET_UP: &str = r#"
settings() { ip netns exec "$1" sh -ec 'cd /proc/sys/net/ipv4/conf
    for end in */rp_filter; do echo 0 >$end; done
    echo 1 >all/arp_ignore; echo 2 >all/arp_announce'; }
for ns in router b1 b2; do ip netns add $ns; ip -n $ns link set lo up; done
ip link set $port netns router
ip -n router link add br0 type bridge mcast_snooping 0
ip -n router link set $port master br0 up
ip -n router address add 203.0.113.1/24 dev br0
ip -n router link set br0 up
ip netns exec router ethtool -K br0 tx off >/dev/null
for n in 1 2; do
    ip -n router link add port$n type veth peer name eth0 netns b$n
    ip -n router link set port$n master br0 up
    ip netns exec b$n ethtool -K eth0 tx off >/dev/null
    ip -n b$n address add 203.0.113.1$n/24 dev eth0
    ip -n b$n link set eth0 up
done
ip -n b1 link set tunl0 up
ip -n b1 address add 192.0.2.10/32 dev lo
ip -n b2 link add blue type vrf table 10
ip -n b2 link set blue up
ip -n b2 link set tunl0 master blue up
ip -n b2 address add 192.0.2.10/32 dev blue
ip -n b2 route add default via 203.0.113.1 dev eth0 table 10
ip netns exec b2 sh -c 'echo 1 >/proc/sys/net/ipv4/tcp_l3mdev_accept'
for ns in router b1 b2; do settings $ns; done
for n in 1 2; do
    setsid ip netns exec b$n $given/lab-http serve --name b$n >/run/b$n.log 2>&1 &
done
# A way of last resort: what is asked is whether the edge forwards, whoever announces.
ip -n router route add 192.0.2.10/32 via 203.0.113.2 metric 4000
setsid ip netns exec router bird -f -c /run/bird.conf -s /run/bird.sock >/run/bird.log 2>&1 &
"#;

/// The edge's configuration, but for its interface.
pub fn edge_config(interface: &str) -> String {
    format!(
        r#"[router]
asn = 64513
router-id = "203.0.113.2"
interfaces = ["{interface}"]
attach = "native"

[[peer]]
name = "router"
address = "203.0.113.1"
asn = 64512
hold-time = "30s"
connect-retry = "1s"

[[service]]
name = "web"
vip = "192.0.2.10"
port = 80
health = {{ type = "http", path = "/healthz", interval = "5s", timeout = "5s", rise = 1, fall = 4 }}
advertise = {{ med = 50 }}

  [[service.backend]]
  address = "203.0.113.11"

  [[service.backend]]
  address = "203.0.113.12"
"#
    )
}

/// Builds the network, the edge being reached by interface `port`; programs lie in `given`.
///
/// # Errors
/// What the guest has against it.
pub fn set_up(vm: &mut Vm, port: &str, given: &str) -> Result<()> {
    let bird = bird::config("203.0.113.1", &[SESSION]);
    vm.run(&format!(
        "cat >/run/bird.conf <<'END'\n{bird}END\nport={port} given={given}\n{SET_UP}"
    ))?;
    Ok(())
}

/// A script that asks the VIP so many times, and prints what became of it.
pub fn ask(given: &str, requests: usize) -> String {
    format!(
        "ip netns exec router {given}/lab-http load 192.0.2.10:80 --requests {requests} \
         --concurrency 4"
    )
}

/// Reads what [`ask`] has printed, and checks that every request was answered.
///
/// # Errors
/// With all of it, when one was not.
pub fn all_answered(printed: &str) -> Result<Load> {
    let load: Load = serde_json::from_str(printed.trim_end())?;
    ensure!(load.failed.is_empty() && load.answered > 0, "{load:?}");
    Ok(load)
}

/// A script that prints what BIRD knows of the VIP's route.
pub const ROUTE: &str = "ip netns exec router birdc -s /run/bird.sock show route 192.0.2.10/32 all";

/// Whether that is a route from the edge.
pub fn is_announced(printed: &str) -> bool {
    printed.contains("BGP.next_hop: 203.0.113.2") && printed.contains("BGP.med: 50")
}
