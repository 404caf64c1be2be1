//! The daemons that are compared, each with every peer configured and everything let through.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use tidegate_vm_tests::bench::feed::table::SENDER_AS;
use tidegate_vm_tests::bench::feed::{DAEMON, OUR_AS, RECEIVER, RECEIVER_AS, sender_address};
use tidegate_vm_tests::bench::usage::Usage;
use tidegate_vm_tests::lab::frr::Frr;
use tidegate_vm_tests::lab::{Lab, Process, program};

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// This one.
    Tidegate,
    /// BIRD 2.
    Bird,
    /// FRR's bgpd, without the rest of FRR.
    Frr,
}

impl Kind {
    /// In the order of columns; ratios are ours to the second's.
    pub(crate) const ALL: [Self; 3] = [Self::Tidegate, Self::Bird, Self::Frr];

    /// In the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tidegate => "tidegate",
            Self::Bird => "BIRD 2",
            Self::Frr => "FRR",
        }
    }
}

/// A daemon that runs.
pub(crate) struct Daemon {
    process: Process,
}

impl Daemon {
    /// Starts one with `senders` peers and a receiver; `run` makes names unique.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(lab: &Lab, kind: Kind, senders: u32, run: usize) -> Result<Self> {
        let name = format!("{}-{run}", kind.name().replace(' ', ""));
        let process = match kind {
            Kind::Tidegate => {
                let config = tidegate_config(lab, senders, run)?;
                let file = lab.write(&format!("{name}.toml"), &config)?;
                let program = program("tidegate")?.display().to_string();
                let file = file.display().to_string();
                lab.start("dut", &name, &[&program, "run", "--config", &file])?
            }
            Kind::Bird => {
                let file = lab.write(&format!("{name}.conf"), &bird_config(senders)?)?;
                let socket = lab.dir().join(format!("{name}.sock")).display().to_string();
                let file = file.display().to_string();
                lab.start("dut", &name, &["bird", "-f", "-c", &file, "-s", &socket])?
            }
            Kind::Frr => {
                let address = Ipv4Addr::from_bits(DAEMON).to_string();
                Frr::start(lab, "dut", &address, &frr_config(senders)?)?.process
            }
        };
        Ok(Self { process })
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.process.pid())
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it does not end.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.ended(Duration::from_secs(20)).map(drop)
    }
}

/// How late a timer of the tidegate of this run has fired at worst, in milliseconds.
///
/// # Errors
/// When it does not answer.
pub(crate) fn timer_lateness_ms(lab: &Lab, run: usize) -> Result<f64> {
    let socket = api_socket(lab, run).display().to_string();
    let program = program("tidegate")?.display().to_string();
    let status = lab.run("dut", &[&program, "status", "-o", "json", "--socket", &socket])?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    let micros = status.get("timer_lateness_max_us").and_then(serde_json::Value::as_f64);
    Ok(micros.with_context(|| status.to_string())? / 1e3)
}

fn api_socket(lab: &Lab, run: usize) -> PathBuf {
    lab.dir().join(format!("api-{run}.sock"))
}

fn tidegate_config(lab: &Lab, senders: u32, run: usize) -> Result<String> {
    // Each run takes over the packet path that the one before has left.
    let pins = lab.bpffs().join("run");
    let socket = api_socket(lab, run);
    let mut config = format!(
        "[router]\nasn = {OUR_AS}\nrouter-id = \"{}\"\ninterfaces = [\"eth0\"]\n\
         listen = [\"0.0.0.0:179\"]\npin-dir = \"{}\"\n[api]\nsocket = \"{}\"\n\
         [[policy]]\nname = \"all\"\ndefault = \"accept\"\n",
        Ipv4Addr::from_bits(DAEMON),
        pins.display(),
        socket.display(),
    );
    let mut peer = |name: &str, addr: u32, asn: u32, export: &str| {
        write!(
            config,
            "[[peer]]\nname = \"{name}\"\naddress = \"{}\"\nasn = {asn}\npassive = true\n\
             families = [\"ipv4-unicast\"]\nimport = [\"all\"]\n{export}",
            Ipv4Addr::from_bits(addr),
        )
    };
    peer("receiver", RECEIVER, RECEIVER_AS, "export = [\"all\"]\n")?;
    peer("watcher", RECEIVER + 1, RECEIVER_AS + 1, "")?;
    for sender in 0..senders {
        let name = format!("sender-{sender}");
        let export = if senders > 1 { "export = [\"all\"]\n" } else { "" };
        peer(&name, sender_address(sender), SENDER_AS + sender, export)?;
    }
    Ok(config)
}

fn bird_config(senders: u32) -> Result<String> {
    let mut config = format!("router id {};\nprotocol device {{ }}\n", Ipv4Addr::from_bits(DAEMON));
    let mut peer = |name: &str, addr: u32, asn: u32, export: &str| {
        write!(
            config,
            "protocol bgp {name} {{ local {} as {OUR_AS}; neighbor {} as {asn}; passive on;\n\
             ipv4 {{ import all; export {export}; }}; }}\n",
            Ipv4Addr::from_bits(DAEMON),
            Ipv4Addr::from_bits(addr),
        )
    };
    peer("receiver", RECEIVER, RECEIVER_AS, "all")?;
    peer("watcher", RECEIVER + 1, RECEIVER_AS + 1, "none")?;
    for sender in 0..senders {
        let export = if senders > 1 { "all" } else { "none" };
        peer(&format!("sender{sender}"), sender_address(sender), SENDER_AS + sender, export)?;
    }
    Ok(config)
}

fn frr_config(senders: u32) -> Result<String> {
    let mut config = format!(
        "router bgp {OUR_AS}\n bgp router-id {}\n no bgp ebgp-requires-policy\n",
        Ipv4Addr::from_bits(DAEMON)
    );
    let mut peer = |addr: u32, asn: u32| {
        let addr = Ipv4Addr::from_bits(addr);
        write!(
            config,
            " neighbor {addr} remote-as {asn}\n neighbor {addr} passive\n \
             neighbor {addr} advertisement-interval 0\n"
        )
    };
    peer(RECEIVER, RECEIVER_AS)?;
    for sender in 0..senders {
        peer(sender_address(sender), SENDER_AS + sender)?;
    }
    Ok(config)
}
