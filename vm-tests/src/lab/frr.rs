//! FRR's BGP daemon in a lab, without the rest of FRR or with zebra, which knows interfaces.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Lab, Process};

/// Where Debian puts them.
const BGPD: &str = "/usr/lib/frr/bgpd";
const ZEBRA: &str = "/usr/lib/frr/zebra";
const BFDD: &str = "/usr/lib/frr/bfdd";

/// Until it answers.
const START_MAX: Duration = Duration::from_secs(30);

/// A bgpd that runs.
pub struct Frr {
    host: &'static str,
    vty: PathBuf,
    /// Its process.
    pub process: Process,
    /// What tells it of interfaces and their neighbours, or watches these by BFD, if it is to know.
    _beside: Vec<Process>,
}

impl Frr {
    /// Starts bgpd on `host`, listening on `address`, and waits until it answers.
    ///
    /// # Errors
    /// When it does not start, or does not like its configuration.
    pub fn start(lab: &Lab, host: &'static str, address: &str, config: &str) -> Result<Self> {
        Self::start_bgpd(lab, host, &["-Z", "-l", address], config, Vec::new())
    }

    /// Starts zebra and bgpd on `host`, so that neighbours can be named by interface.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_zebra(lab: &Lab, host: &'static str, config: &str) -> Result<Self> {
        let (zebra, socket) = Self::start_zebra(lab, host)?;
        Self::start_bgpd(lab, host, &["-z", &socket, "-l", "::"], config, vec![zebra])
    }

    /// Starts zebra, bfdd and bgpd on `host`, so that neighbours can be watched.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_bfdd(lab: &Lab, host: &'static str, config: &str) -> Result<Self> {
        let (zebra, socket) = Self::start_zebra(lab, host)?;
        let file = lab.write(&format!("{host}-bfdd.conf"), "log stdout\n")?.display().to_string();
        let dir = Self::vty(lab, host)?;
        let path = |name: &str| dir.join(name).display().to_string();
        let (vty, control, pid) = (path(""), path("bfdd.sock"), path("bfdd.pid"));
        let mut command = vec![BFDD, "-f", &file, "-i", &pid, "-z", &socket];
        command.extend(["--vty_socket", &vty, "--bfdctl", &control, "-P", "0"]);
        let bfdd = lab.start(host, "bfdd", &command)?;
        Self::start_bgpd(lab, host, &["-z", &socket, "-l", "::"], config, vec![bfdd, zebra])
    }

    /// zebra, and the socket that it listens on.
    fn start_zebra(lab: &Lab, host: &'static str) -> Result<(Process, String)> {
        let file = lab.write(&format!("{host}-zebra.conf"), "log stdout\n")?.display().to_string();
        let dir = Self::vty(lab, host)?;
        // zebra lays root down and has no way to be told not to.
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777))?;
        let path = |name: &str| dir.join(name).display().to_string();
        let (vty, socket, pid) = (path(""), path("zserv"), path("zebra.pid"));
        let mut command = vec![ZEBRA, "-f", &file, "-i", &pid, "-z", &socket];
        command.extend(["--vty_socket", &vty, "-P", "0"]);
        let zebra = lab.start(host, "zebra", &command)?;
        lab.wait_for("zebra to listen", START_MAX, || {
            std::fs::metadata(&socket).with_context(|| format!("no {socket}"))
        })?;
        Ok((zebra, socket))
    }

    fn vty(lab: &Lab, host: &str) -> Result<PathBuf> {
        let vty = lab.dir().join(format!("{host}-vty"));
        std::fs::create_dir_all(&vty)?;
        Ok(vty)
    }

    fn start_bgpd(
        lab: &Lab,
        host: &'static str,
        more: &[&str],
        config: &str,
        beside: Vec<Process>,
    ) -> Result<Self> {
        let config = format!("log stdout\nno service integrated-vtysh-config\n{config}");
        let file = lab.write(&format!("{host}-bgpd.conf"), &config)?.display().to_string();
        let vty = Self::vty(lab, host)?;
        let pid = lab.dir().join(format!("{host}-bgpd.pid")).display().to_string();
        let shown = vty.display().to_string();
        let plain = [BGPD, "-S", "-f", &file, "-i", &pid, "--vty_socket", &shown, "-P", "0"];
        let process = lab.start(host, "bgpd", &[&plain, more].concat())?;
        let mut frr = Self { host, vty, process, _beside: beside };
        lab.wait_for("bgpd to answer", START_MAX, || {
            frr.process.alive()?;
            frr.ask(lab, "show bgp summary json")
        })?;
        Ok(frr)
    }

    /// What bgpd answers to a question that ends in `json`.
    ///
    /// # Errors
    /// When it does not answer, or not in JSON.
    pub fn ask(&self, lab: &Lab, question: &str) -> Result<Value> {
        let vty = self.vty.display().to_string();
        let answer = lab.run(self.host, &["vtysh", "--vty_socket", &vty, "-c", question])?;
        serde_json::from_str(&answer).with_context(|| answer)
    }

    /// What it knows of a neighbour.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn neighbor(&self, lab: &Lab, address: &str) -> Result<Value> {
        let mut all = self.ask(lab, &format!("show bgp neighbors {address} json"))?;
        let neighbor = all.get_mut(address).map(Value::take);
        neighbor.with_context(|| all.to_string())
    }

    /// The only path to a prefix.
    ///
    /// # Errors
    /// When there is none.
    pub fn path(&self, lab: &Lab, prefix: &str) -> Result<Value> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let mut route = self.ask(lab, &format!("show bgp {family} unicast {prefix} json"))?;
        let path = route.pointer_mut("/paths/0").map(Value::take);
        path.with_context(|| format!("no path: {route}"))
    }
}
