//! The edge that is asked: ten thousand services whose backends answer their checks, in a
//! namespace beside the one where they are.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tidegate_vm_tests::bench::feed::{DAEMON, OUR_AS, RECEIVER, sender_address, table};
use tidegate_vm_tests::bench::usage::Usage;
use tidegate_vm_tests::lab::{Lab, Process, program};

use super::ask::{Answer, get};

pub(crate) const SERVICES: u32 = 10_000;
/// Of each service.
pub(crate) const BACKENDS: u32 = 10;
/// Services of one farm have the same backends.
const FARMS: u32 = 400;
/// VIPs are this address and those after it, each with two services.
pub(crate) const VIPS: u32 = 0x0a00_0000;
/// Ports of the services of a VIP.
pub(crate) const PORTS: [u16; 2] = [80, 443];
const BACKEND: u32 = 0xac10_0000;
/// Nobody is put off for longer.
const BUSY_FOR: Duration = Duration::from_secs(10);
/// As long as it may take to fill the maps and to have every backend answer.
const SOON: Duration = Duration::from_secs(90);

/// A daemon that runs.
pub(crate) struct Edge<'a> {
    pub(crate) lab: &'a Lab,
    process: Process,
    socket: PathBuf,
}

impl<'a> Edge<'a> {
    /// Starts one that asks each backend once in `interval`, and waits until every service is
    /// announced.
    ///
    /// # Errors
    /// When that does not come to pass.
    pub(crate) fn start(lab: &'a Lab, name: &str, interval: &str, flows: &str) -> Result<Self> {
        let socket = lab.dir().join("api.sock");
        let file = lab
            .write(&format!("{name}.toml"), &config(lab, interval, flows)?)?
            .display()
            .to_string();
        let program = program("tidegate")?.display().to_string();
        let process = lab.start("dut", name, &[&program, "run", "--config", &file])?;
        let edge = Self { lab, process, socket };
        lab.wait_for("all services to be announced", SOON, || {
            let status = edge.get("/api/v1/status")?.json()?;
            let up = |of: &str| status.pointer(of).and_then(Value::as_u64).unwrap_or(0);
            ensure!(
                up("/vips/up") == u64::from(SERVICES)
                    && up("/backends/up") == u64::from(SERVICES * BACKENDS)
                    && status.get("converged") == Some(&true.into()),
                "{} services, {} backends, {:?}",
                up("/vips/up"),
                up("/backends/up"),
                status.get("problem")
            );
            Ok(())
        })?;
        Ok(edge)
    }

    /// Asks over the Unix socket; again while the daemon is too busy, which is a part of the time.
    ///
    /// # Errors
    /// When it does not answer, or not well.
    pub(crate) fn get(&self, path: &str) -> Result<Answer> {
        let start = Instant::now();
        loop {
            let mut answer = get(&self.socket, path)?;
            answer.took = start.elapsed();
            if answer.status == 200 {
                return Ok(answer);
            }
            let said = String::from_utf8_lossy(answer.body()).into_owned();
            ensure!(answer.status == 503 && start.elapsed() < BUSY_FOR, "{path}: {said}");
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid())
    }

    /// Ends it; its packet path stays.
    ///
    /// # Errors
    /// When it does not end.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.ended(Duration::from_secs(20)).map(drop)
    }
}

/// Makes every backend one that takes connections.
///
/// # Errors
/// When the lab does not let it.
pub(crate) fn answer_checks(lab: &Lab) -> Result<()> {
    let gateway = Ipv4Addr::from_bits(RECEIVER).to_string();
    let net = format!("{}/12", Ipv4Addr::from_bits(BACKEND));
    lab.run("dut", &["ip", "route", "add", &net, "via", &gateway])?;
    lab.run("gen", &["ip", "route", "add", "local", &net, "dev", "lo"])?;
    let port = PORTS[0];
    let listener =
        lab.inside("gen", || TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))))?;
    let listener = listener.context("cannot listen for health checks")?;
    thread::spawn(move || {
        // One that fails is the checker's to notice.
        loop {
            drop(listener.accept());
        }
    });
    Ok(())
}

fn config(lab: &Lab, interval: &str, flows: &str) -> Result<String> {
    let [pins, state] = [lab.bpffs().join("run"), lab.dir().join("state")];
    let mut text = format!(
        "version = 1\n[router]\nasn = {OUR_AS}\nrouter-id = \"{}\"\ninterfaces = [\"eth0\"]\n\
         listen = [\"0.0.0.0:179\"]\npin-dir = \"{}\"\nstate-dir = \"{}\"\n\
         [api]\nsocket = \"{}\"\n[flows]\n{flows}\n\
         [[policy]]\nname = \"all\"\ndefault = \"accept\"\n\
         [[peer]]\nname = \"feeder\"\naddress = \"{}\"\nasn = {}\npassive = true\n\
         families = [\"ipv4-unicast\"]\nimport = [\"all\"]\n",
        Ipv4Addr::from_bits(DAEMON),
        pins.display(),
        state.display(),
        lab.dir().join("api.sock").display(),
        Ipv4Addr::from_bits(sender_address(0)),
        table::SENDER_AS,
    );
    for (service, port) in (0..SERVICES).zip(PORTS.into_iter().cycle()) {
        let vip = Ipv4Addr::from_bits(VIPS + service / 2);
        write!(
            text,
            "[[service]]\nname = \"service-{service}\"\nvip = \"{vip}\"\nport = {port}\n\
             mode = \"ipip\"\nhealth = {{ type = \"tcp\", port = {}, interval = \"{interval}\" }}\n",
            PORTS[0],
        )?;
        for backend in 1..=BACKENDS {
            let address = Ipv4Addr::from_bits(BACKEND + service % FARMS * 16 + backend);
            write!(text, "[[service.backend]]\naddress = \"{address}\"\n")?;
        }
    }
    Ok(text)
}
