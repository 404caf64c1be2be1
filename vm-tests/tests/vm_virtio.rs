//! The edge on a virtual network card: the driver's own XDP, between two machines.

use std::time::Duration;

use serde_json::Value;
use tidegate_vm_tests::lab;
use tidegate_vm_tests::vm::network::{self, EDGE, MODULES};
use tidegate_vm_tests::vm::{KERNELS, Machine, Vm, Wire};

const SOON: Duration = Duration::from_mins(4);
const REQUESTS: usize = 500;

#[test]
fn vm_native_xdp_on_virtio_forwards_to_the_kernels_own_ipip_and_into_a_vrf() {
    let wire = Wire::new().unwrap();
    let [here, there] = wire.ends();
    let program = |name| lab::program(name).unwrap().display().to_string();
    let (tidegate, lab_http) = (program("tidegate"), program("lab-http"));
    let kernel = KERNELS[1];
    let mut edge = Vm::boot(&Machine {
        name: "virtio-edge",
        kernel,
        programs: &[&tidegate, "ethtool"],
        wires: &[here],
        memory: 512,
        ..Machine::default()
    })
    .unwrap();
    let mut around = Vm::boot(&Machine {
        name: "virtio-around",
        kernel,
        modules: &MODULES,
        programs: &[&lab_http, "ethtool", "bird", "birdc"],
        wires: &[there],
        memory: 512,
    })
    .unwrap();
    network::set_up(&mut around, "eth0", "/usr/bin").unwrap();

    let config = network::edge_config("eth0");
    let start = format!(
        "cat >/run/tidegate.toml <<'END'\n{config}END\n\
         tidegate check /run/tidegate.toml\n\
         ip link set lo up; ip address add {EDGE} dev eth0; ip link set eth0 up\n\
         setsid tidegate run --config /run/tidegate.toml >/run/tidegate.log 2>&1 &"
    );
    edge.run(&start).unwrap();
    let converged = |status: &str| {
        let status: Value = serde_json::from_str(status).unwrap_or_default();
        status["converged"] == true && status["backends"]["up"] == 2
    };
    let status = edge.wait_for(
        "tidegate to have converged",
        SOON,
        "tidegate status -o json || { tail -n 5 /run/tidegate.log; exit 1; }",
        converged,
    );
    let status: Value = serde_json::from_str(&status.unwrap()).unwrap();
    assert_eq!(status["interfaces"][0]["mode"], "native", "{status}");
    around.wait_for("BIRD to have the route", SOON, network::ROUTE, network::is_announced).unwrap();

    let load = around.run_within(&network::ask("/usr/bin", REQUESTS), 300).unwrap();
    let load = network::all_answered(&load).unwrap();
    assert_eq!(load.backends.keys().collect::<Vec<_>>(), ["b1", "b2"], "{load:?}");
    // The driver itself sent them back out: not one packet was handed up to be forwarded.
    let driver = edge.run("ethtool -S eth0").unwrap();
    let sent = driver.lines().find_map(|line| line.trim().strip_prefix("rx0_xdp_tx: "));
    let sent: u64 = sent.unwrap().parse().unwrap();
    assert!(sent >= 3 * u64::try_from(REQUESTS).unwrap(), "{driver}");
    println!("{}: {load:?}; the driver sent {sent} frames by XDP", edge.release);
}
