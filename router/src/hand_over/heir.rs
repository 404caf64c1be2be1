//! The new process: says that it could take over, gets everything, waits for its turn.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tidegate_bgp::speaker::ConnId;
use tokio::task::{block_in_place, spawn_blocking};

use super::channel::{Channel, Error};
use super::{Body, FORMAT, Held, Word, envelope};
use crate::bfd_io;

/// The old process is given so long to do its part: it is quick, or gone.
const PATIENCE: Duration = Duration::from_mins(1);

/// What an old process has left.
#[derive(Debug)]
pub(crate) struct Inherited {
    channel: Channel,
    pub(crate) body: Body,
    pub(crate) lock: OwnedFd,
    pub(crate) api: (OwnedFd, Option<OwnedFd>),
    pub(crate) listeners: Vec<(SocketAddr, OwnedFd)>,
    pub(crate) conns: Vec<(ConnId, OwnedFd)>,
}

/// The way to the old process.
pub(crate) struct Predecessor(Channel);

impl Predecessor {
    /// The one that started us.
    ///
    /// # Errors
    /// Nobody did who wants to be taken over from.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let channel = Channel::of_parent().context(
            "there is nobody to take over from: 'tidegate upgrade' starts this, and nobody else",
        )?;
        channel.set_patience(PATIENCE)?;
        Ok(Self(channel))
    }

    /// Says why we cannot take over. It gets that into the journal.
    pub(crate) fn refuse(&self, why: &anyhow::Error) {
        drop(self.0.say(&Word::Refused(format!("{why:#}")), None));
    }

    /// Says that we could take over, and waits for what is left to us.
    ///
    /// # Errors
    /// The old process does not want us, or the record cannot be used.
    pub(crate) async fn inherit(self) -> anyhow::Result<Inherited> {
        spawn_blocking(move || self.inherit_blocking()).await?
    }

    fn inherit_blocking(self) -> anyhow::Result<Inherited> {
        let channel = self.0;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        channel.say(&Word::Hello { format: FORMAT, version }, None)?;
        let (mut lock, mut unix, mut tcp) = (None, None, None);
        let (mut listeners, mut conns) = (Vec::new(), Vec::new());
        let body = loop {
            let (word, fd) = channel.hear()?;
            let Some(fd) = fd else { bail!(Error::Gibberish) };
            match word {
                Word::Held(Held::Lock) => lock = Some(fd),
                Word::Held(Held::ApiUnix) => unix = Some(fd),
                Word::Held(Held::ApiTcp) => tcp = Some(fd),
                Word::Held(Held::Listener(at)) => listeners.push((at, fd)),
                Word::Held(Held::Conn(conn)) => conns.push((conn, fd)),
                Word::Record => break envelope::opened(File::from(fd)),
                _ => bail!(Error::Gibberish),
            }
        };
        let body = body.inspect_err(|why| {
            drop(channel.say(&Word::Refused(why.to_string()), None));
        })?;
        let (Some(lock), Some(unix)) = (lock, unix) else { bail!(Error::Gibberish) };
        Ok(Inherited { channel, body, lock, api: (unix, tcp), listeners, conns })
    }
}

impl Inherited {
    /// The parts, and what waits for our turn.
    pub(crate) fn into_parts(self) -> (Turn, Body, Sockets) {
        let Self { channel, body, lock, api, listeners, conns } = self;
        (Turn(channel), body, Sockets { lock, api, listeners, conns })
    }
}

/// Descriptors of the old process.
pub(crate) struct Sockets {
    pub(crate) lock: OwnedFd,
    pub(crate) api: (OwnedFd, Option<OwnedFd>),
    pub(crate) listeners: Vec<(SocketAddr, OwnedFd)>,
    pub(crate) conns: Vec<(ConnId, OwnedFd)>,
}

/// Our turn, which has not come yet.
pub(crate) struct Turn(Channel);

impl Turn {
    /// Says that we are ready, and waits for our turn: the rest is ours to use then.
    ///
    /// # Errors
    /// It has not come: the other process goes on.
    pub(crate) fn take(&self) -> anyhow::Result<bfd_io::Legacy> {
        block_in_place(|| self.wait())
    }

    fn wait(&self) -> anyhow::Result<bfd_io::Legacy> {
        self.0.say(&Word::Ready, None)?;
        let mut legacy = bfd_io::Legacy::default();
        loop {
            match self.0.hear()? {
                (Word::Held(Held::Bfd(v4, multihop)), Some(fd)) => {
                    legacy.listeners.push((v4, multihop, fd));
                }
                (Word::Bfd(record), voice) => {
                    legacy.sessions.push(bfd_io::Inherited { record, voice });
                }
                (Word::Go, _) => return Ok(legacy),
                _ => bail!(Error::Gibberish),
            }
        }
    }

    /// Says why we cannot take over after all.
    pub(crate) fn refuse(&self, why: &anyhow::Error) {
        drop(self.0.say(&Word::Refused(format!("{why:#}")), None));
    }
}
