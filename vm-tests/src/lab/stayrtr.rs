//! A StayRTR in a lab: the RPKI cache that tidegate asks.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::{Lab, Process};

/// Until it listens.
const START_MAX: Duration = Duration::from_secs(20);

/// A StayRTR that runs.
pub struct Stayrtr {
    file: PathBuf,
    /// Its process.
    pub process: Process,
}

/// A VRP: prefix, longest length, AS.
pub type Vrp<'a> = (&'a str, u8, u32);

impl Stayrtr {
    /// Starts it on `host`, where it listens on `port`, with these VRPs.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(lab: &Lab, host: &'static str, port: u16, vrps: &[Vrp<'_>]) -> Result<Self> {
        let name = format!("stayrtr-{port}");
        let file = lab.write(&format!("{name}.json"), &json(vrps))?;
        let (cache, bind) = (file.display().to_string(), format!(":{port}"));
        let metrics = format!("127.0.0.1:{}", port + 1000);
        let mut process = lab.start(
            host,
            &name,
            &[
                "stayrtr",
                "-bind",
                &bind,
                "-cache",
                &cache,
                "-checktime=false",
                "-metrics.addr",
                &metrics,
            ],
        )?;
        lab.wait_for("StayRTR to listen", START_MAX, || {
            process.alive()?;
            let listening = lab.run(host, &["ss", "-Hlnt"])?;
            ensure!(listening.contains(&format!("{bind} ")), "{listening}");
            Ok(())
        })?;
        Ok(Self { file, process })
    }

    /// Other VRPs, of which it tells its clients.
    ///
    /// # Errors
    /// When it has ended.
    pub fn put(&self, vrps: &[Vrp<'_>]) -> Result<()> {
        std::fs::write(&self.file, json(vrps))?;
        self.process.signal(Signal::SIGHUP)
    }
}

fn json(vrps: &[Vrp<'_>]) -> String {
    let roa = |(prefix, max_len, asn): &Vrp<'_>| {
        format!(
            "{{\"prefix\":\"{prefix}\",\"maxLength\":{max_len},\"asn\":\"AS{asn}\",\"ta\":\"lab\"}}"
        )
    };
    let roas: Vec<String> = vrps.iter().map(roa).collect();
    format!("{{\"roas\":[{}]}}", roas.join(","))
}
