//! `tidegate flows` against what really happens: connections of a real client, told of with their
//! backend, their network as BGP knows it, and every packet accounted for.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tidegate_vm_tests::lab::main_job::{BACKENDS, CLIENT, MainJob, SOON, VIP_V4, VIPS, Variant};
use tidegate_vm_tests::lab::program;

const REQUESTS: usize = 40;

/// The edge's configuration with every packet told of; the router may tell routes.
fn config(job: &MainJob, flows: &str) -> String {
    let peer = job
        .edge_config()
        .replace("connect-retry = \"1s\"\n", "connect-retry = \"1s\"\nimport = [\"all\"]\n");
    format!(
        "{peer}\n[[policy]]\nname = \"all\"\ndefault = \"accept\"\n\
         [[prefix-set]]\nname = \"clients\"\nprefixes = [\"198.51.100.0/24 le 30\", \"2001:db8:c::/48\"]\n\
         [[prefix-set]]\nname = \"others\"\nprefixes = [\"10.0.0.0/8 le 32\"]\n[flows]\n{flows}\n"
    )
}

fn flows(job: &MainJob, arguments: &[&str]) -> Result<Vec<Value>> {
    let said = job.tidegate(&[&["flows", "--last", "1000", "-o", "json"], arguments].concat())?;
    let flow = |line: &str| Ok(serde_json::from_str::<Value>(line)?["flow"].clone());
    said.lines().map(flow).collect()
}

/// Verdicts, and packets of which it is known what became of the word, at one moment.
fn counted(job: &MainJob) -> Result<(u64, u64, Value)> {
    let status: Value = serde_json::from_str(&job.tidegate(&["status", "-o", "json"])?)?;
    let counters = status["counters"].as_array().context("no counters")?;
    let is_verdict = |name: &str| {
        ["pass_", "forward_", "drop_", "answer_", "echo_"].iter().any(|it| name.starts_with(it))
    };
    let verdicts = counters.iter().filter(|row| is_verdict(row["name"].as_str().unwrap()));
    let verdicts = verdicts.map(|row| row["packets"].as_u64().unwrap()).sum();
    let told = status["flows"]["told"].clone();
    let of = |name: &str| told[name].as_u64().unwrap();
    let all = of("logged") + of("sampled_out") + of("left_out") + of("lost");
    Ok((verdicts, all, told))
}

/// Connects to a port of the VIP where no service is.
fn knock(job: &MainJob) -> Result<()> {
    let closed = SocketAddr::new(VIP_V4.addr.parse()?, 81);
    job.lab.inside("client", || {
        // It is dropped without a word, so this takes as long as it may.
        drop(TcpStream::connect_timeout(&closed, Duration::from_millis(200)));
    })
}

#[test]
fn every_packet_is_told_of_and_accounted_for() {
    let job = MainJob::announced(Variant { weights: [1, 1, 1], ..Variant::default() }).unwrap();
    let off = job.tidegate(&["flows"]).unwrap();
    assert!(off.contains("write sample = 1000, or another number, in [flows]"), "{off}");

    // In force while packets come: the program is another one.
    let text = config(&job, "sample = 1\nrate = 0");
    let file = job.lab.write("tidegate.toml", &text).unwrap().display().to_string();
    job.tidegate(&["apply", &file]).unwrap();
    let (verdicts, all, _) = counted(&job).unwrap();
    for vip in VIPS {
        let load = job.load(vip, REQUESTS, 4).unwrap();
        assert!(load.failed.is_empty(), "{load:?}");
    }
    knock(&job).unwrap();
    // Between reading the one and the other a packet may come.
    job.lab
        .wait_for("every packet to be accounted for", SOON, || {
            let (verdicts_now, all_now, told) = counted(&job)?;
            let (packets, words) = (verdicts_now - verdicts, all_now - all);
            ensure!(packets == words && packets > 400, "{packets} packets, {words}: {told}");
            ensure!(told["sampled_out"] == 0 && told["left_out"] == 0, "{told}");
            Ok(())
        })
        .unwrap();

    for (vip, client) in VIPS.into_iter().zip(CLIENT) {
        let told = flows(&job, &["--vip", vip.service, "--verdict", "forwarded"]).unwrap();
        let opens = told.iter().filter(|flow| flow["why"] == "opens");
        let ends = told.iter().filter(|flow| flow["why"] == "ends");
        assert!(opens.clone().count() >= REQUESTS, "{} SYNs", opens.clone().count());
        assert!(ends.count() >= REQUESTS, "no end of them");
        for flow in opens {
            assert_eq!(flow["IP"]["source"], client, "{flow}");
            assert_eq!(flow["source_sets"], serde_json::json!(["clients"]), "{flow}");
            assert_eq!(flow["l4"]["TCP"]["destination_port"], 80, "{flow}");
            assert_eq!(flow["Summary"], "TCP Flags: SYN", "{flow}");
            let backend = flow["backend"].as_str().unwrap();
            assert!(BACKENDS.iter().any(|(_, addrs)| addrs.contains(&backend)), "{flow}");
        }
        // Each flow has one backend.
        for one in &told {
            let port = &one["l4"]["TCP"]["source_port"];
            let same = told.iter().filter(|other| other["l4"]["TCP"]["source_port"] == *port);
            assert!(same.clone().all(|other| other["backend"] == one["backend"]), "{one}");
        }
    }
    let dropped = flows(&job, &["--verdict", "dropped", "--from", "198.51.100.0/24"]).unwrap();
    assert!(!dropped.is_empty());
    for flow in &dropped {
        assert_eq!(flow["drop_reason_desc"], "NO_SERVICE", "{flow}");
        assert_eq!(flow["l4"]["TCP"]["destination_port"], 81, "{flow}");
    }
    assert!(flows(&job, &["--from", "198.51.101.0/24"]).unwrap().is_empty());

    what_was_written_reads_back(&job);
    a_plan_knows_how_many_live(&job, &text);
    whose_network_it_is(&job);
    of_those_that_come(&job);
}

fn what_was_written_reads_back(job: &MainJob) {
    let written = job.tidegate(&["flows", "--last", "100", "-o", "json"]).unwrap();
    let file = job.lab.write("flows.json", &written).unwrap().display().to_string();
    let again = job.tidegate(&["flows", "--input", &file, "-o", "json"]).unwrap();
    assert_eq!(again, written);
    let shown = job.tidegate(&["flows", "--input", &file, "--vip", VIP_V4.service]).unwrap();
    let is_of = |line: &str| line.contains(VIP_V4.service) && line.contains("FORWARDED");
    assert!(shown.lines().all(is_of), "{shown}");
}

/// Connections that are open, and not those that have been.
fn a_plan_knows_how_many_live(job: &MainJob, text: &str) {
    const OPEN: u32 = 60;
    let to = SocketAddr::new(VIP_V4.addr.parse().unwrap(), 80);
    let open = job.lab.inside("client", || {
        let open = (0..OPEN).map(|_| {
            let mut stream = TcpStream::connect(to)?;
            stream.write_all(b"GET / HTTP/1.1\r\n")?;
            stream.write_all(b"Host: web\r\n")?;
            Ok(stream)
        });
        open.collect::<std::io::Result<Vec<_>>>()
    });
    let open = open.unwrap().unwrap();
    let changed = text.replacen("weight = 1", "weight = 9", 1);
    let file = job.lab.write("another-weight.toml", &changed).unwrap().display().to_string();
    job.lab
        .wait_for("a plan that knows of them", SOON, || {
            let plan: Value = serde_json::from_str(&job.tidegate(&["plan", &file, "-o", "json"])?)?;
            let services = plan["services"].as_array().context("no services")?;
            let web =
                services.iter().find(|it| it["service"] == VIP_V4.service).context("not it")?;
            let number = |field: &str| web[field].as_f64().with_context(|| web.to_string());
            let share = number("slots_moved")? / number("slots")?;
            let all = number("live_flows")? / share;
            let open = f64::from(OPEN);
            ensure!((open * 0.9..open * 1.2).contains(&all), "{all:.0} of {OPEN}: {web}");
            Ok(())
        })
        .unwrap();
    let shown = job.tidegate(&["plan", &file]).unwrap();
    assert!(shown.contains("  FLOWS   STAY\n") && shown.contains(" ~"), "{shown}");
    assert_eq!(open.len(), OPEN as usize);
}

/// The router tells the edge whose network the client is.
fn whose_network_it_is(job: &MainJob) {
    let bird = std::fs::read_to_string(job.lab.dir().join("router-bird.conf")).unwrap();
    let bird = bird.replacen(
        "ipv4 { import all; export none; };",
        "ipv4 { import all; export filter { bgp_path.prepend(64999); \
         bgp_community.add((64999,7)); accept; }; };",
        1,
    ) + "protocol static clients { ipv4; route 198.51.100.0/24 blackhole; }\n";
    // A route that the kernel would take for the real one must not get there.
    let bird = bird.replacen("export all; }; }", "export where source != RTS_STATIC; }; }", 1);
    let file = job.lab.write("router-bird-2.conf", &bird).unwrap();
    job.bird.ask(&job.lab, &format!("configure \"{}\"", file.display())).unwrap();
    job.lab
        .wait_for("the route to the client", SOON, || {
            let told = flows(job, &["--vip", VIP_V4.service])?;
            let origin = &told.first().context("none")?["origin"];
            ensure!(origin["asn"] == "64999" && origin["prefix"] == "198.51.100.0/24", "{origin}");
            ensure!(origin["communities"][0] == "64999:7", "{origin}");
            Ok(())
        })
        .unwrap();
    let shown = job.tidegate(&["flows", "--vip", VIP_V4.service, "--last", "1"]).unwrap();
    assert!(shown.contains("AS64999 64999:7"), "{shown}");
}

fn of_those_that_come(job: &MainJob) {
    let tidegate = program("tidegate").unwrap().display().to_string();
    let socket = job.api_socket().display().to_string();
    let command = [&*tidegate, "flows", "--follow", "--verdict", "dropped", "--socket", &socket];
    let mut follower = job.lab.start("edge", "follower", &command).unwrap();
    job.lab
        .wait_for("a packet that is dropped to be told of at once", SOON, || {
            follower.alive()?;
            knock(job)?;
            let printed = follower.printed();
            ensure!(printed.contains("192.0.2.10:81 DROPPED no_service"), "{printed}");
            ensure!(!printed.contains("FORWARDED"), "{printed}");
            Ok(())
        })
        .unwrap();
    follower.kill().unwrap();
}

#[test]
fn off_again_nothing_is_told_and_a_restart_goes_on_telling() {
    let mut job = MainJob::announced(Variant::default()).unwrap();
    let on = config(&job, "sample = 1\nrate = 0");
    let file = job.lab.write("tidegate.toml", &on).unwrap();
    let path = file.display().to_string();
    job.tidegate(&["apply", &path]).unwrap();
    let told = |job: &MainJob| flows(job, &["--vip", VIP_V4.service]).map(|told| told.len());
    job.load(VIP_V4, 10, 1).unwrap();
    let before = job.lab.wait_for("packets to be told of", SOON, || {
        let told = told(&job)?;
        ensure!(told >= 40, "{told}");
        Ok(told)
    });
    assert!(before.unwrap() >= 40);

    // Without a daemon the ring fills; the next one reads what is there.
    job.edge().unwrap().kill().unwrap();
    job.load(VIP_V4, 10, 1).unwrap();
    job.restart_edge(&file).unwrap();
    job.lab
        .wait_for("what came meanwhile to be told of", SOON, || {
            let told = told(&job)?;
            ensure!(told >= 40, "{told}");
            Ok(())
        })
        .unwrap();

    let off = config(&job, "sample = 0");
    job.lab.write("tidegate.toml", &off).unwrap();
    job.tidegate(&["apply", &path]).unwrap();
    let (_, words, _) = counted(&job).unwrap();
    job.load(VIP_V4, 10, 1).unwrap();
    let (_, now, _) = counted(&job).unwrap();
    assert_eq!(now, words, "the program does not ask any more");
}

/// What tshark says of these fields in each packet that its filter takes.
fn tshark(job: &MainJob, file: &str, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut command = vec!["tshark", "-r", file, "-Y", filter, "-T", "fields", "-d"];
    command.push("udp.port==4739,cflow");
    for field in fields {
        command.extend(["-e", field]);
    }
    let said = job.lab.run("edge", &command)?;
    Ok(said.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}

#[test]
fn collectors_understand_what_they_are_sent() {
    let job = MainJob::announced(Variant::default()).unwrap();
    let text = config(
        &job,
        "sample = 1\nrate = 0\nipfix = \"127.0.0.1:4739\"\nsflow = \"127.0.0.1:6343\"",
    );
    let capture = job.lab.dir().join("collectors.pcap").display().to_string();
    let command =
        ["tcpdump", "-Z", "root", "-U", "-i", "lo", "-w", &capture, "udp port 4739 or 6343"];
    let mut tcpdump = job.lab.start("edge", "tcpdump", &command).unwrap();
    job.lab
        .wait_for("tcpdump to listen", SOON, || {
            tcpdump.alive()?;
            ensure!(tcpdump.printed().contains("listening on"), "{}", tcpdump.printed());
            Ok(())
        })
        .unwrap();
    let file = job.lab.write("tidegate.toml", &text).unwrap().display().to_string();
    job.tidegate(&["apply", &file]).unwrap();
    for vip in VIPS {
        job.load(vip, REQUESTS, 2).unwrap();
    }
    knock(&job).unwrap();
    let forwarded = flows(&job, &["--verdict", "forwarded"]).unwrap();
    let by_chance = forwarded.iter().filter(|flow| flow["why"] == "sampled").count();
    let bytes: u64 = forwarded.iter().map(|flow| flow["length"].as_u64().unwrap()).sum();
    assert!(by_chance > REQUESTS, "{by_chance}");

    job.lab
        .wait_for("IPFIX to have every packet", SOON, || {
            let fields = [
                "cflow.srcaddr",
                "cflow.srcaddrv6",
                "cflow.packets",
                "cflow.octets",
                "_ws.malformed",
                "_ws.expert.severity",
                "cflow.dstport",
            ];
            let filter = "cflow.version == 10 && cflow.dstport == 80";
            let messages = tshark(&job, &capture, filter, &fields)?;
            // A message has the flows to other ports too.
            let numbers = |nth: usize| -> u64 {
                let of = |row: &Vec<String>| {
                    let ports = row[6].split(',').zip(row[nth].split(','));
                    let ours = ports.filter(|(port, _)| *port == "80");
                    ours.map(|(_, number)| number.parse::<u64>().unwrap_or(0)).sum::<u64>()
                };
                messages.iter().map(of).sum()
            };
            ensure!(numbers(2) == forwarded.len() as u64, "{} of {}", numbers(2), forwarded.len());
            ensure!(numbers(3) == bytes, "{} of {bytes} bytes", numbers(3));
            for row in &messages {
                ensure!(row[4].is_empty() && row[5].is_empty(), "{row:?}");
                let mut clients = row[0].split(',').chain(row[1].split(','));
                ensure!(clients.any(|client| CLIENT.contains(&client)), "{row:?}");
            }
            let dropped = tshark(&job, &capture, "cflow.dstport == 81", &["cflow.srcaddr"])?;
            ensure!(!dropped.is_empty(), "no word of what was dropped");
            Ok(())
        })
        .unwrap();
    samples_arrive(&job, &capture, by_chance);
}

fn samples_arrive(job: &MainJob, capture: &str, by_chance: usize) {
    job.lab
        .wait_for("sFlow to have every packet that chance chose", SOON, || {
            let fields =
                ["sflow.flow_sample.sampling_rate", "tcp.dstport", "ip.src", "_ws.malformed"];
            let datagrams = tshark(job, capture, "sflow", &fields)?;
            let ports = datagrams.iter().flat_map(|row| row[1].split(','));
            let to_vips = ports.filter(|port| *port == "80").count();
            ensure!(to_vips == by_chance, "{to_vips} of {by_chance}");
            for row in &datagrams {
                ensure!(row[0].split(',').all(|rate| rate == "1"), "{row:?}");
                ensure!(row[3].is_empty(), "{row:?}");
            }
            Ok(())
        })
        .unwrap();
}
