//! Program, maps and links outlive the daemon, a restart changes nothing, and tools read them.
//!
//! Each test has a mount and a network namespace of its own thread, which go with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Uid;
use tidegate::bpf_io::{Datapath, Mode};
use tidegate::decap::Decap;
use tidegate_abi::{
    DatapathConfig, GUE_PORT, RING_SIZE_MIN, Service, ServiceKeyV4, Slot, backend_kinds, features,
};
use tidegate_config::desired::AttachMode;
use tidegate_plan::step::Step;

use crate::xdp::{VIP4, entry};

pub(crate) const CONFIG: DatapathConfig = DatapathConfig {
    hash_seed: 7,
    features: 0,
    too_big_interval_ns: 0,
    vary_v4: 0,
    vary_v6: 0,
    vip_lens_v4: 0,
    vip_lens_v6: 0,
    burst_ns: 0,
    source_open_v4: 0,
    source_open_v6: 0,
    nat_port_first: 1_024,
    nat_port_count: 31_744,
    flow_chance: 0,
    reserved: 0,
    flow_interval_ns: 0,
};

/// A world with two interfaces, `tg.a` and `tg-b`, and a BPF file system.
pub(crate) struct World {
    bpffs: PathBuf,
}

impl World {
    pub(crate) fn new(name: &str) -> Self {
        assert!(Uid::effective().is_root(), "this runs in the kernel: run it as root");
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let (none, flags) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        mount(none, "/", none, flags, none).unwrap();
        // In memory and in this namespace only: nothing is left, whatever happens.
        let base = Path::new("/run");
        mount(Some("tmpfs"), base, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let bpffs = base.join(name);
        fs::create_dir(&bpffs).unwrap();
        mount(Some("bpf"), &bpffs, Some("bpf"), MsFlags::empty(), none).unwrap();
        run("ip link add tg.a type veth peer name tg-b");
        run("ip link set tg.a up");
        run("ip link set tg-b up");
        Self { bpffs }
    }

    fn pin_dir(&self) -> PathBuf {
        self.bpffs.join("edge/one")
    }

    pub(crate) fn load(&self) -> Datapath {
        self.load_with(&CONFIG)
    }

    pub(crate) fn load_with(&self, config: &DatapathConfig) -> Datapath {
        Datapath::load_pinned(config, &self.pin_dir()).unwrap()
    }

    /// Where a map is pinned.
    pub(crate) fn pin(&self, name: &str) -> PathBuf {
        self.pin_dir().join(name)
    }
}

/// Runs a command and returns what it prints.
pub(crate) fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().expect(command);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn names(interfaces: &[&str]) -> Vec<String> {
    interfaces.iter().map(|&name| name.to_owned()).collect()
}

fn fill(datapath: &mut Datapath) {
    let key = ServiceKeyV4 { addr: VIP4.octets(), port: [0, 80], proto: 6, prefix_len: 0 };
    let service = Service { ring_offset: 0, ring_size: RING_SIZE_MIN, index: 1, flags: 0 };
    let slots = (0..RING_SIZE_MIN).map(|slot| (slot, Slot::settled(1))).collect();
    for step in [
        Step::PutBackend { index: 1, entry: entry(backend_kinds::IPV4_IN_IPV4), fresh: true },
        Step::PutSlots { slots },
        Step::PutServiceV4 { key, service, fresh: true },
    ] {
        datapath.apply(&step).unwrap();
    }
}

/// Identifier of the program that the kernel runs for an interface.
fn program_on(interface: &str) -> Option<u64> {
    let shown = run(&format!("ip -j link show dev {interface}"));
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    shown[0]["xdp"]["prog"]["id"].as_u64()
}

/// Identifiers of the links that run the program which this interface has.
fn link_ids(interface: &str) -> Vec<u64> {
    let program = program_on(interface);
    let links: serde_json::Value = serde_json::from_str(&run("bpftool -j link show")).unwrap();
    let links = links.as_array().unwrap().iter();
    let ours = links.filter(|link| program.is_some() && link["prog_id"].as_u64() == program);
    ours.map(|link| link["id"].as_u64().unwrap()).collect()
}

#[test]
fn a_restart_changes_no_map_and_keeps_the_links() {
    let world = World::new("restart");
    let both = names(&["tg.a", "tg-b"]);
    let mut first = world.load();
    let links = first.attach(&both, AttachMode::Auto).unwrap();
    let modes: Vec<_> = links.iter().map(|link| (link.mode, link.adopted)).collect();
    assert_eq!(modes, [(Mode::Native, false); 2], "veth can do it in the driver");
    fill(&mut first);
    assert!(first.attached());
    let seen = first.observe().unwrap();
    let (ids, program) = (link_ids("tg.a"), program_on("tg.a"));
    assert_eq!(ids.len(), 2, "one for each interface");
    drop(first); // As kill -9 does it: nobody cleans up.

    assert_eq!(link_ids("tg.a"), ids, "packets still meet the program");
    let mut second = world.load();
    assert_eq!(link_ids("tg.a"), ids);
    let links = second.attach(&both, AttachMode::Auto).unwrap();
    assert!(links.iter().all(|link| link.adopted && link.mode == Mode::Native));
    assert_eq!(link_ids("tg.a"), ids, "the link is the same, the program another");
    assert_ne!(program_on("tg.a"), program);
    assert!(second.attached());
    assert_eq!(second.observe().unwrap(), seen);

    second.attach(&names(&["tg-b"]), AttachMode::Auto).unwrap();
    assert_eq!((program_on("tg.a"), link_ids("tg-b").len()), (None, 1));
    second.attach(&names(&["tg-b"]), AttachMode::Generic).unwrap();
    assert_eq!(second.links()[0].mode, Mode::Generic);
    drop(second);
    let mut third = world.load();
    let link = &third.attach(&names(&["tg-b"]), AttachMode::Native).unwrap()[0];
    assert_eq!((link.mode, link.adopted), (Mode::Native, false), "the mode was asked for");
    third.detach().unwrap();
    assert_eq!(program_on("tg-b"), None);
    assert!(!world.pin_dir().exists(), "nothing is left");
}

#[test]
fn what_happens_to_a_link_behind_our_back_is_noticed_and_mended() {
    let world = World::new("detached");
    let one = names(&["tg-b"]);
    let mut datapath = world.load();
    datapath.attach(&one, AttachMode::Auto).unwrap();
    assert!(datapath.attached());
    run(&format!("bpftool link detach id {}", link_ids("tg-b")[0]));
    assert!(!datapath.attached());
    assert!(!datapath.observe().unwrap().attached);
    datapath.attach(&one, AttachMode::Auto).unwrap();
    assert!(datapath.attached());

    run("ip link del tg-b");
    assert!(!datapath.attached());
    let error = datapath.attach(&one, AttachMode::Auto).unwrap_err().to_string();
    assert!(error.starts_with("there is no interface tg-b in this network namespace"), "{error}");
    run("ip link add tg-b type veth peer name tg.a");
    assert!(!datapath.attached(), "the same name, another interface");
    datapath.attach(&one, AttachMode::Auto).unwrap();
    assert!(datapath.attached());
    let pins = fs::read_dir(world.pin_dir()).unwrap();
    let links =
        pins.filter(|pin| pin.as_ref().unwrap().file_name().to_string_lossy().starts_with("link_"));
    assert_eq!(links.count(), 1, "the dead link's pin is gone");
}

#[test]
fn a_daemon_killed_at_any_point_of_its_start_leaves_what_the_next_one_takes() {
    let world = World::new("killed");
    let both = names(&["tg.a", "tg-b"]);
    let start = || {
        let mut datapath = world.load();
        datapath.attach(&both, AttachMode::Auto).unwrap();
        fill(&mut datapath);
        assert!(datapath.attached());
        datapath
    };
    drop(start());
    let pins = || -> Vec<PathBuf> {
        let entries = fs::read_dir(world.pin_dir()).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let all = pins();
    assert_eq!(all.len(), 28, "twenty-five maps, the program and two links: {all:?}");
    // Each alone is missing; then, in the order of their names, all before it are.
    for missing in 0..all.len() {
        fs::remove_file(&all[missing]).unwrap();
        drop(start());
        assert_eq!(pins(), all, "without {}", all[missing].display());
    }
    for missing in 1..=all.len() {
        for pin in &all[..missing] {
            fs::remove_file(pin).unwrap();
        }
        drop(start());
        assert_eq!(pins(), all, "without the first {missing}");
    }
    assert_eq!(link_ids("tg.a").len(), 2);
}

#[test]
fn pins_may_be_removed_under_a_daemon_that_runs() {
    let world = World::new("removed");
    let both = names(&["tg.a", "tg-b"]);
    let mut first = world.load();
    first.attach(&both, AttachMode::Auto).unwrap();
    fill(&mut first);
    assert!(tidegate::bpf_io::detach(&world.pin_dir()).unwrap());
    assert!(!world.pin_dir().exists());
    assert!(first.attached(), "what a daemon holds it keeps");
    fill(&mut first);
    drop(first);
    assert_eq!(program_on("tg-b"), None, "nothing outlives it any more");
    let mut second = world.load();
    second.attach(&both, AttachMode::Auto).unwrap();
    assert!(second.observe().unwrap().slots.is_empty());
}

#[test]
fn one_interface_that_is_missing_does_not_keep_the_program_from_the_others() {
    let world = World::new("missing");
    let mut datapath = world.load();
    datapath.attach(&names(&["tg-b"]), AttachMode::Auto).unwrap();
    let ids = link_ids("tg-b");
    let some = names(&["nowhere0", "tg.a", "tg-b"]);
    let error = datapath.attach(&some, AttachMode::Auto).unwrap_err().to_string();
    assert!(error.contains("no interface nowhere0"), "{error}");
    assert!(!datapath.attached());
    assert_eq!(program_on("tg.a"), program_on("tg-b"));
    assert!(link_ids("tg-b").contains(&ids[0]), "no packet missed it");
}

#[test]
fn every_obstacle_is_named_with_its_remedy() {
    let world = World::new("obstacles");
    let error = |result: Result<_, tidegate::bpf_io::Error>| match result {
        Ok(()) => panic!("that should not work"),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains('\n'), "{text}");
            text
        }
    };
    let load = |dir: &Path| Datapath::load_pinned(&CONFIG, dir).map(drop);

    let text = error(load(Path::new("/run/elsewhere/pins")));
    assert!(text.contains("mount -t bpf bpf /run/elsewhere"), "{text}");
    let text = error(load(&world.bpffs.join("edge.one")));
    assert!(text.contains("cannot make the directory") && text.contains("no dots"), "{text}");

    let dir = world.bpffs.join("old");
    fs::create_dir(&dir).unwrap();
    run(&format!(
        "bpftool map create {}/SERVICES_V4 type hash key 4 value 16 entries 16 name OLD",
        dir.display()
    ));
    let text = error(load(&dir));
    assert!(text.contains("SERVICES_V4 was pinned by another version (Hash of 16 entries, 4-byte"));

    let mut datapath = world.load();
    let attach = |datapath: &mut Datapath, interface: &str, mode| {
        datapath.attach(&names(&[interface]), mode).map(drop)
    };
    let text = error(attach(&mut datapath, "nowhere0", AttachMode::Auto));
    assert!(text.contains("no interface nowhere0"), "{text}");
    let text = error(attach(&mut datapath, "lo", AttachMode::Native));
    assert!(text.contains("lo in native mode") && text.contains("\"generic\""), "{text}");
    let links = datapath.attach(&names(&["lo"]), AttachMode::Auto).unwrap();
    assert_eq!(links[0].mode, Mode::Generic);
    assert!(links[0].why_not_native.as_ref().unwrap().starts_with("the driver refuses: "));

    datapath.attach(&names(&["tg-b"]), AttachMode::Auto).unwrap();
    let mut other = Datapath::load(&CONFIG).unwrap();
    for mode in [AttachMode::Auto, AttachMode::Native, AttachMode::Generic] {
        let text = error(attach(&mut other, "tg-b", mode));
        assert!(text.contains("another XDP program is attached to tg-b"), "{text}");
    }
    let text = error(Decap::load(GUE_PORT).unwrap().attach("tg-b").map(drop));
    assert!(text.contains("another XDP program is attached to tg-b"), "{text}");
}

#[test]
fn a_link_without_a_pin_goes_with_its_owner() {
    let _world = World::new("unpinned");
    let mut decap = Decap::load(GUE_PORT).unwrap();
    assert_eq!(decap.attach("tg-b").unwrap().mode, Mode::Native);
    assert!(program_on("tg-b").is_some());
    drop(decap);
    assert_eq!(program_on("tg-b"), None);
    let mut datapath = Datapath::load(&CONFIG).unwrap();
    datapath.attach(&names(&["tg-b"]), AttachMode::Native).unwrap();
}

#[test]
fn bpftool_reads_the_pinned_object_by_names() {
    let world = World::new("bpftool");
    let mut datapath = world.load();
    fill(&mut datapath);
    let dir = world.pin_dir();
    let shown = run(&format!("bpftool -j prog show pinned {}/program", dir.display()));
    let program: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(program["name"], "tidegate");
    assert_eq!(program["type"], "xdp");
    assert_eq!(program["gpl_compatible"], true);
    assert!(program["btf_id"].is_u64(), "{shown}");
    assert_eq!(
        program["map_ids"].as_array().unwrap().len(),
        19,
        "eighteen it uses, and .rodata: {shown}"
    );

    let dumped = run(&format!("bpftool -j map dump pinned {}/SERVICES_V4", dir.display()));
    let entries: serde_json::Value = serde_json::from_str(&dumped).unwrap();
    assert_eq!(entries.as_array().unwrap().len(), 1);
    let entry = &entries[0]["formatted"];
    assert_eq!(entry["key"]["proto"], 6, "{dumped}");
    assert_eq!(entry["value"]["ring_size"], RING_SIZE_MIN, "{dumped}");
    let path = dir.join("RING_SLOTS");
    let looked = run(&format!("bpftool -j map lookup pinned {} key 1 0 0 0", path.display()));
    let looked: serde_json::Value = serde_json::from_str(&looked).unwrap();
    let slot = &looked["formatted"]["value"];
    assert_eq!((&slot["current"], &slot["previous"]), (&1.into(), &1.into()), "{looked}");
    let path = dir.join("BACKENDS");
    let looked = run(&format!("bpftool -j map lookup pinned {} key 1 0 0 0", path.display()));
    let looked: serde_json::Value = serde_json::from_str(&looked).unwrap();
    assert_eq!(looked["formatted"]["value"]["mtu"], 1_500, "{looked}");
    assert_eq!(looked["formatted"]["value"]["kind"], backend_kinds::IPV4_IN_IPV4);
}

#[test]
fn the_verifier_has_an_easy_task() {
    let datapath =
        Datapath::load(&DatapathConfig { features: !features::PROOF, ..CONFIG }).unwrap();
    let verified = datapath.verified_instructions().unwrap();
    println!("instructions verified, of the million that are allowed: {verified:?}");
    for (program, count) in verified {
        // Every packet meets the first one; the others know more ways.
        let most = if program == "tidegate" { 20_000 } else { 40_000 };
        assert!(count < most, "{program}, {count}: a branch multiplied the states it looks at");
    }
}
