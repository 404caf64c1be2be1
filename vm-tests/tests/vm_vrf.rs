//! Sessions in a VRF, with BIRD outside of it: dialled by tidegate, and by BIRD.

use std::time::Duration;

use serde_json::Value;
use tidegate_vm_tests::lab;
use tidegate_vm_tests::lab::bird;
use tidegate_vm_tests::vm::network::SESSION;
use tidegate_vm_tests::vm::{KERNELS, Machine, Vm};

const SOON: Duration = Duration::from_mins(4);

/// The way to BIRD is in the VRF's table and in no other.
const SET_UP: &str = "
ip netns add router
ip link add eth0 type veth peer name eth0 netns router
ip -n router address add 203.0.113.1/24 dev eth0
ip -n router link set eth0 up
ip link set lo up
ip link add red type vrf table 10
ip link set red up
ip link set eth0 master red up
ip address add 203.0.113.2/24 dev eth0
test -z \"$(ip route show 203.0.113.0/24)\"
setsid ip netns exec router bird -f -c /run/bird.conf -s /run/bird.sock >/run/bird.log 2>&1 &
setsid tidegate run --config /run/tidegate.toml >/run/tidegate.log 2>&1 &
";

fn config(more: &str) -> String {
    format!(
        "[router]\nasn = 64513\nrouter-id = \"203.0.113.2\"\ninterfaces = [\"eth0\"]\n\
         [[peer]]\nname = \"router\"\naddress = \"203.0.113.1\"\nasn = 64512\n\
         interface = \"red\"\nconnect-retry = \"1s\"\n{more}\n"
    )
}

#[test]
fn vm_sessions_in_a_vrf_come_up_whoever_dials() {
    let tidegate = lab::program("tidegate").unwrap().display().to_string();
    let mut vm = Vm::boot(&Machine {
        name: "vrf",
        kernel: KERNELS[1],
        modules: &["veth", "vrf"],
        programs: &[&tidegate, "bird", "birdc"],
        memory: 512,
        ..Machine::default()
    })
    .unwrap();
    let bird = bird::config("203.0.113.1", &[SESSION]);
    let passive = bird.replace("    hold time", "    passive on;\n    hold time");
    let put = |name: &str, text: &str| format!("cat >/run/{name} <<'END'\n{text}END\n");
    let start = [put("bird.conf", &passive), put("tidegate.toml", &config("")), SET_UP.into()];
    vm.run(&start.concat()).unwrap();
    let up = |status: &str| {
        let peers: Value = serde_json::from_str(status).unwrap_or_default();
        peers["peers"][0]["state"] == "Established"
    };
    let peers = "tidegate peers -o json || { tail -n 5 /run/tidegate.log; exit 1; }";
    vm.wait_for("the session that tidegate dials", SOON, peers, up).unwrap();

    // Linux gives connections that come in by a VRF to sockets outside of it if it is told to.
    let dials = [
        put("bird.conf", &bird),
        put("tidegate.toml", &config("passive = true")),
        "echo 1 >/proc/sys/net/ipv4/tcp_l3mdev_accept\n".into(),
        "tidegate apply >/dev/null\n".into(),
        "ip netns exec router birdc -s /run/bird.sock disable edge\n".into(),
    ];
    vm.run(&dials.concat()).unwrap();
    vm.wait_for("tidegate to have lost it", SOON, peers, |it| !up(it)).unwrap();
    vm.run("ip netns exec router birdc -s /run/bird.sock configure").unwrap();
    vm.run("ip netns exec router birdc -s /run/bird.sock enable edge").unwrap();
    vm.wait_for("the session that BIRD dials", SOON, peers, up).unwrap();
}
