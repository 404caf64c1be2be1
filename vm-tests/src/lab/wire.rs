//! What goes by on a wire of a lab, with the time of each frame.

use std::io::{self, Read as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::Lab;

/// Longest frame that is looked at; BGP's longest message arrives in pieces of a segment.
const FRAME_BYTES_MAX: usize = 2 << 10;
/// Frames that wait for the one who looks, in bytes.
const BACKLOG_BYTES: usize = 8 << 20;
/// How long it takes to hear that nobody wants to know any more.
const WAKE_EVERY: Duration = Duration::from_millis(100);

/// Says of a frame whether it counts, and as what.
pub type Sieve = fn(&[u8]) -> bool;

/// Somebody who looks at all that comes to a host.
pub struct Wire {
    seen: Arc<Mutex<Vec<SystemTime>>>,
    over: Arc<AtomicBool>,
    watching: Option<JoinHandle<io::Result<()>>>,
}

impl Wire {
    /// Looks at what the interfaces of `host` receive and notes when each frame came that counts.
    ///
    /// # Errors
    /// Without root.
    pub fn watch(lab: &Lab, host: &str, counts: Sieve) -> Result<Self> {
        let socket = lab.inside(host, open)?.context("cannot look at frames")?;
        let (seen, over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (noted, ended) = (Arc::clone(&seen), Arc::clone(&over));
        let watching = thread::spawn(move || note(&socket, counts, &noted, &ended));
        Ok(Self { seen, over, watching: Some(watching) })
    }

    /// When the frames came that counted so far, the oldest first.
    pub fn seen(&self) -> Vec<SystemTime> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets them.
    pub fn forget(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(watching) = self.watching.take() {
            drop(watching.join());
        }
    }
}

fn open() -> io::Result<Socket> {
    let every = u16::try_from(libc::ETH_P_ALL).map_err(io::Error::other)?;
    let socket =
        Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(every.to_be()))))?;
    socket.set_read_timeout(Some(WAKE_EVERY))?;
    socket.set_recv_buffer_size(BACKLOG_BYTES)?;
    Ok(socket)
}

fn note(
    socket: &Socket,
    counts: Sieve,
    seen: &Mutex<Vec<SystemTime>>,
    over: &AtomicBool,
) -> io::Result<()> {
    let (mut socket, mut room) = (socket, vec![0; FRAME_BYTES_MAX]);
    while !over.load(Ordering::Relaxed) {
        let len = match socket.read(&mut room) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let at = SystemTime::now();
        let frame = room.get(..len).unwrap_or_default();
        if counts(frame) {
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(at);
        }
    }
    Ok(())
}
