//! The old process: starts the new one, hands it everything, and takes it back if need be.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use tidegate_bgp::speaker::ConnId;
use tokio::task::spawn_blocking;

use super::channel::{Channel, Error};
use super::orphan::Orphan;
use super::{Body, FORMAT, Held, Word, envelope};
use crate::bfd_io;

/// A process that is to be started.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) binary: PathBuf,
    pub(crate) config: PathBuf,
    /// It is ready to take over no later than this.
    pub(crate) within: Duration,
}

/// A process that could take over.
#[derive(Debug)]
pub(crate) struct Started {
    binary: PathBuf,
    orphan: Orphan,
    channel: Channel,
    pub(crate) version: String,
}

/// What is handed over before the new process may say that it is ready.
#[derive(Debug)]
pub(crate) struct Estate {
    pub(crate) body: Body,
    pub(crate) lock: OwnedFd,
    pub(crate) api: (OwnedFd, Option<OwnedFd>),
    pub(crate) listeners: Vec<(SocketAddr, OwnedFd)>,
    pub(crate) conns: Vec<(ConnId, OwnedFd)>,
}

/// The file that this process was started from, or what is in its place now.
pub(crate) fn own_binary() -> io::Result<PathBuf> {
    let path = std::fs::read_link("/proc/self/exe")?;
    // What the kernel adds when the file has been replaced (proc(5)).
    let name = path.to_string_lossy();
    Ok(name.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}

impl Start {
    /// Starts it and waits until it could take over.
    ///
    /// # Errors
    /// Why it cannot, in words. It has ended then.
    pub(crate) async fn start(self) -> Result<Started, String> {
        let joined = spawn_blocking(move || self.start_blocking()).await;
        joined.map_err(|error| error.to_string())?
    }

    fn start_blocking(self) -> Result<Started, String> {
        let Self { binary, config, within } = self;
        let failed = |error: io::Error| format!("cannot start {}: {error}", binary.display());
        let (channel, theirs) = Channel::pair().map_err(failed)?;
        channel.set_patience(within).map_err(failed)?;
        let orphan = Orphan::start(&binary, &config, theirs)
            .map_err(|why| format!("cannot start {}: {why}", binary.display()))?;
        let mut started = Started { binary, orphan, channel, version: String::new() };
        match started.hear_hello() {
            Ok(version) => Ok(Started { version, ..started }),
            Err(why) => Err(started.end(&why)),
        }
    }
}

impl Started {
    pub(crate) fn pid(&self) -> u32 {
        self.orphan.pid()
    }

    fn hear_hello(&self) -> Result<String, String> {
        match self.channel.hear() {
            Ok((Word::Hello { format: FORMAT, version }, _)) => Ok(version),
            Ok((Word::Hello { format, version }, _)) => Err(format!(
                "version {version} takes over in format {format}, and this daemon hands over in \
                 {FORMAT}: restart it instead ('systemctl restart tidegate')"
            )),
            Ok((Word::Refused(why), _)) => Err(why),
            Ok(_) => Err(Error::Gibberish.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Ends it, and says why.
    fn end(&mut self, why: &str) -> String {
        self.orphan.kill();
        format!("{} does not take over: {why}", self.binary.display())
    }

    /// Hands everything over and waits until it is ready to go on. `within` is how long.
    ///
    /// # Errors
    /// Why it is not, in words. It has ended then.
    pub(crate) async fn give(mut self, estate: Estate, within: Duration) -> Result<Self, String> {
        let joined = spawn_blocking(move || match self.give_blocking(&estate, within) {
            Ok(()) => Ok(self),
            Err(why) => Err(self.end(&why)),
        });
        joined.await.map_err(|error| error.to_string())?
    }

    fn give_blocking(&self, estate: &Estate, within: Duration) -> Result<(), String> {
        let text = |error: Error| error.to_string();
        self.channel.set_patience(within).map_err(|error| error.to_string())?;
        let say = |held: Held, fd: &OwnedFd| {
            self.channel.say(&Word::Held(held), Some(fd.as_fd())).map_err(text)
        };
        say(Held::Lock, &estate.lock)?;
        say(Held::ApiUnix, &estate.api.0)?;
        estate.api.1.iter().try_for_each(|fd| say(Held::ApiTcp, fd))?;
        estate.listeners.iter().try_for_each(|(at, fd)| say(Held::Listener(*at), fd))?;
        estate.conns.iter().try_for_each(|(conn, fd)| say(Held::Conn(*conn), fd))?;
        let record = envelope::sealed(&estate.body).map_err(|error| error.to_string())?;
        self.channel.say(&Word::Record, Some(record.as_fd())).map_err(text)?;
        match self.channel.hear() {
            Ok((Word::Ready, _)) => Ok(()),
            Ok((Word::Refused(why), _)) => Err(why),
            Ok(_) => Err(Error::Gibberish.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// It goes on from here.
    ///
    /// # Errors
    /// It has ended in the last moment: why, and what it should have got.
    pub(crate) fn go(mut self, bfd: bfd_io::Legacy) -> Result<(), (String, bfd_io::Legacy)> {
        match self.try_go(&bfd) {
            Ok(()) => Ok(()),
            Err(error) => Err((self.end(&error.to_string()), bfd)),
        }
    }

    fn try_go(&self, bfd: &bfd_io::Legacy) -> Result<(), Error> {
        for (v4, multihop, fd) in &bfd.listeners {
            self.channel.say(&Word::Held(Held::Bfd(*v4, *multihop)), Some(fd.as_fd()))?;
        }
        for session in &bfd.sessions {
            let voice = session.voice.as_ref().map(|voice| voice.as_fd());
            self.channel.say(&Word::Bfd(session.record.clone()), voice)?;
        }
        self.channel.say(&Word::Go, None)
    }

    /// It is not needed after all.
    pub(crate) fn dismiss(mut self) {
        drop(self.end(""));
    }
}
