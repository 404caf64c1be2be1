//! A BIRD 2 in a lab: the router that tidegate peers with.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Lab, Process};

/// Until BIRD answers on its socket.
const START_MAX: Duration = Duration::from_secs(20);

/// A BGP session as BIRD is told of it. It carries IPv4 and IPv6.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// The protocol's name.
    pub name: &'static str,
    /// BIRD's own address.
    pub local: &'static str,
    /// BIRD's AS.
    pub local_as: u32,
    /// The neighbour's address.
    pub neighbor: &'static str,
    /// The neighbour's AS.
    pub neighbor_as: u32,
}

/// A BIRD that runs.
pub struct Bird {
    host: &'static str,
    socket: PathBuf,
    /// Its process.
    pub process: Process,
}

/// The configuration for `sessions`: everything is imported, nothing exported, and what is
/// imported goes into the kernel, so that packets follow it.
pub fn config(router_id: &str, sessions: &[Session]) -> String {
    let mut config = format!(
        "log stderr all;\n\
         router id {router_id};\n\
         protocol device {{ scan time 2; }}\n\
         protocol kernel kernel4 {{ ipv4 {{ import none; export all; }}; }}\n\
         protocol kernel kernel6 {{ ipv6 {{ import none; export all; }}; }}\n"
    );
    for Session { name, local, local_as, neighbor, neighbor_as } in sessions {
        config += &format!(
            "protocol bgp {name} {{\n    \
                 local {local} as {local_as};\n    \
                 neighbor {neighbor} as {neighbor_as};\n    \
                 hold time 30;\n    \
                 connect delay time 1;\n    \
                 connect retry time 2;\n    \
                 error wait time 1, 2;\n    \
                 ipv4 {{ import all; export none; }};\n    \
                 ipv6 {{ import all; export none; }};\n\
             }}\n"
        );
    }
    config
}

impl Bird {
    /// How many OPENs, UPDATEs and KEEPALIVEs it has heard, if its configuration has it say so
    /// (`debug { packets }`).
    pub fn heard(&self) -> [usize; 3] {
        let log = self.process.printed();
        ["Got OPEN", "Got UPDATE", "Got KEEPALIVE"].map(|what| log.matches(what).count())
    }

    /// Starts BIRD on `host` and waits until it answers.
    ///
    /// # Errors
    /// When it does not start, or does not like its configuration.
    pub fn start(lab: &Lab, host: &'static str, config: &str) -> Result<Self> {
        Self::start_with(lab, host, config, &[])
    }

    /// Starts it again after a crash: it tells its neighbours that it is back (`-R`).
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(lab: &Lab, host: &'static str, config: &str) -> Result<Self> {
        Self::start_with(lab, host, config, &["-R"])
    }

    fn start_with(lab: &Lab, host: &'static str, config: &str, more: &[&str]) -> Result<Self> {
        let file = lab.write(&format!("{host}-bird.conf"), config)?;
        let socket = lab.dir().join(format!("{host}-bird.sock"));
        let (file, path) = (file.display().to_string(), socket.display().to_string());
        let command = [&["bird", "-f", "-c", &file, "-s", &path], more].concat();
        let process = lab.start(host, "bird", &command)?;
        let mut bird = Self { host, socket, process };
        lab.wait_for("BIRD to answer", START_MAX, || {
            bird.process.alive()?;
            bird.ask(lab, "show status")
        })?;
        Ok(bird)
    }

    /// The command that asks BIRD, for somebody who wants to type it.
    pub fn shown_command(&self, question: &str) -> String {
        format!("birdc -s {} {question}", self.socket.display())
    }

    /// What `birdc` answers to a question, without its greeting.
    ///
    /// # Errors
    /// When BIRD does not answer.
    pub fn ask(&self, lab: &Lab, question: &str) -> Result<String> {
        let socket = self.socket.display().to_string();
        let mut command = vec!["birdc", "-s", &socket];
        command.extend(question.split(' '));
        let answer = lab.run(self.host, &command)?;
        Ok(answer.lines().skip(1).collect::<Vec<_>>().join("\n"))
    }

    /// Checks that a session is established.
    ///
    /// # Errors
    /// With what BIRD says of it, when it is not.
    pub fn established(&self, lab: &Lab, session: &str) -> Result<()> {
        let answer = self.ask(lab, &format!("show protocols {session}"))?;
        ensure!(answer.contains("Established"), "{answer}");
        Ok(())
    }

    /// All that BIRD knows of the route to `prefix`.
    ///
    /// # Errors
    /// With what BIRD says, when it has none.
    pub fn route(&self, lab: &Lab, prefix: &str) -> Result<String> {
        let answer = self.ask(lab, &format!("show route {prefix} all"))?;
        ensure!(answer.contains("BGP.next_hop"), "{answer}");
        Ok(answer)
    }

    /// Checks that BIRD has no route to `prefix`.
    ///
    /// # Errors
    /// With the route, when it has one.
    pub fn no_route(&self, lab: &Lab, prefix: &str) -> Result<()> {
        // It fails when the network is not in the table at all.
        let answer = self.ask(lab, &format!("show route {prefix} all"));
        let answer = answer.unwrap_or_else(|error| format!("{error:#}"));
        ensure!(answer.contains("not found"), "{answer}");
        Ok(())
    }
}
