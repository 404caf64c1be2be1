use clap::Parser as _;

use super::*;

fn drain(target: Target, phase: &str, rate: u64, left: Option<u64>, cut: u64) -> Drain {
    let what = match &target {
        Target::Backend { service, backend } => format!("backend {backend} of {service}"),
        Target::Vip { vip } => format!("VIP {vip}"),
        Target::Node {} => "node".into(),
    };
    Drain {
        what,
        target,
        phase: phase.into(),
        since_secs: 3,
        left_secs: left,
        quiet_secs: 5,
        packets_per_sec: rate,
        cut_packets_per_sec: cut,
        counted_with: Vec::new(),
        connections: None,
    }
}

#[test]
fn a_drain_is_told_in_a_line_or_two() {
    let backend =
        || Target::Backend { service: "web".into(), backend: IpAddr::from([10, 0, 0, 11]) };
    let vip = || Target::Vip { vip: "192.0.2.10".into() };
    let shared = Drain {
        counted_with: vec!["api".into(), "web-tls".into()],
        connections: None,
        ..drain(backend(), "emptying", 1_234, Some(598), 0)
    };
    let cases = [
        (
            shared,
            "backend 10.0.0.11 of web: no new flows; 1,234 packets/s of old ones, for 9m58s\n  at \
             most; those of api, web-tls are counted too\n",
        ),
        (
            drain(vip(), "shedding", 77, Some(30), 0),
            "VIP 192.0.2.10: routers are to prefer others, 77 packets/s; withdrawn within\n  30s\n",
        ),
        (
            drain(vip(), "emptying", 0, Some(9), 0),
            "VIP 192.0.2.10: withdrawn; 0 packets/s still come, for 9s at most\n",
        ),
        (
            drain(Target::Node {}, "drained", 0, None, 1_000),
            "node: drained at its deadline: 1,000 packets/s were cut\n",
        ),
        (drain(Target::Node {}, "drained", 0, None, 0), "node: drained, nothing was cut\n"),
        (drain(Target::Node {}, "in-service", 0, None, 0), "node: back in service\n"),
    ];
    for (drain, expected) in cases {
        let found = text(&Drains { api_version: "v1".into(), drains: vec![drain] });
        assert_eq!(found, expected);
        assert!(found.lines().all(|line| line.len() <= 80), "{found}");
    }
}

#[test]
fn every_example_in_the_help_is_understood() {
    let helps = [DRAIN_HELP, BACKEND_HELP, VIP_HELP, NODE_HELP, UNDRAIN_HELP];
    let lines = helps.into_iter().flat_map(str::lines);
    let mut examples = 0;
    for line in lines.filter(|line| line.starts_with("  tidegate ")) {
        let command = line.trim().split("   ").next().unwrap_or_default();
        let command = command.split(" && ").next().unwrap_or_default();
        super::super::Cli::try_parse_from(command.split_whitespace()).expect(line);
        examples += 1;
    }
    assert!(examples >= 12, "{examples}");
}
