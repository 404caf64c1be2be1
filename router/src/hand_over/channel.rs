//! The socket between the old process and the new one: words, each with a descriptor at most.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair, sockopt,
};

use super::Word;

/// Longer than any word; what is long is in the record.
const WORD_BYTES_MAX: usize = 64 << 10;

/// One end.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

/// The other side does not say what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("it has hung up; if it said why, the journal has that")]
    Closed,
    #[error("it said nothing for {}", humantime::format_duration(*.0))]
    Silent(Duration),
    #[error("it does not speak as tidegate does")]
    Gibberish,
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Channel {
    /// Both ends.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(ours), theirs))
    }

    /// The end that a parent gave us as standard input; `None`: it is something else.
    pub(super) fn of_parent() -> Option<Self> {
        let stdin = io::stdin();
        let kind = sockopt::socket_type(stdin.as_fd()).ok()?;
        (kind == SocketType::SEQPACKET)
            .then(|| stdin.as_fd().try_clone_to_owned().ok().map(Self))?
    }

    /// Waits no longer than this for the other side.
    pub(super) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Recv, Some(patience))?;
        sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Send, Some(patience))?;
        Ok(())
    }

    /// A signal may end a call that has a bound (signal(7)): it is made again then.
    pub(super) fn say(&self, word: &Word, fd: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        loop {
            match self.try_say(word, fd) {
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                said => return said,
            }
        }
    }

    /// As [`Self::say`].
    pub(super) fn hear(&self) -> Result<(Word, Option<OwnedFd>), Error> {
        loop {
            match self.try_hear() {
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                heard => return heard,
            }
        }
    }

    fn try_say(&self, word: &Word, fd: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let bytes = postcard::to_allocvec(word).or(Err(Error::Gibberish))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(Error::Gibberish);
        }
        match sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Err(Error::Closed),
            Err(errno) => Err(io::Error::from(errno).into()),
        }
    }

    fn try_hear(&self) -> Result<(Word, Option<OwnedFd>), Error> {
        let mut bytes = vec![0; WORD_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let heard = recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags);
        let heard = match heard {
            Err(rustix::io::Errno::AGAIN) => {
                let patience = sockopt::socket_timeout(&self.0, sockopt::Timeout::Recv);
                return Err(Error::Silent(patience.ok().flatten().unwrap_or_default()));
            }
            Err(rustix::io::Errno::CONNRESET) => return Err(Error::Closed),
            heard => heard.map_err(io::Error::from)?,
        };
        if heard.bytes == 0 {
            return Err(Error::Closed);
        }
        if heard.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(Error::Gibberish);
        }
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let word = postcard::from_bytes(bytes.get(..heard.bytes).unwrap_or_default());
        Ok((word.or(Err(Error::Gibberish))?, fd))
    }
}
