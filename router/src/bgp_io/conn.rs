//! One TCP connection: bytes in, bytes out, and an end. What they mean is the speaker's matter.

use core::future::pending;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use tidegate_bgp::speaker::ConnId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::Inbound;

/// Bytes read at a time, at most.
const READ_BYTES_MAX: usize = 64 << 10;

/// Room for what a peer says after our last words, which nobody reads.
const LAST_BYTES_MAX: usize = 4096;

/// Bytes that may wait to be written, per connection. It is more than a peer that reads at all
/// lets pile up, and bounds what one that does not read costs us.
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// Pieces that may wait to be written, so that small ones do not cost more than they hold.
const QUEUE_PIECES_MAX: usize = 4096;

/// How long a connection that is being closed may take to write what is queued.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// So many bytes of UPDATEs are asked for ahead of the socket: enough to keep it busy, and little
/// enough that what changes meanwhile is told in its last state.
const AHEAD_BYTES: usize = 256 << 10;

/// Bytes on their way to a peer; they hold their room in the queue until they are written.
struct Piece {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// An attempt to connect, which ends with what holds it.
pub(super) struct AbortOnDrop(pub(super) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Messages that several connections share.
pub(super) struct Shared(pub(super) Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Where the speaker's task puts what a peer shall get. Dropping it closes the connection after
/// what is queued has been written, within a second.
#[derive(Debug)]
pub(super) struct Outbox {
    // First, so that it is dropped first: closing is what ends the connection. What is sent here
    // freezes it.
    open: oneshot::Sender<oneshot::Sender<Frozen>>,
    queue: mpsc::Sender<Piece>,
    room: Arc<Semaphore>,
    unheard: Unheard,
}

/// Bytes that were read and that the speaker has not heard yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Unheard(Arc<AtomicUsize>);

impl Unheard {
    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The speaker has heard these. What another process has read was not counted here.
    pub(super) fn heard(&self, bytes: usize) {
        let less = |unheard: usize| Some(unheard.saturating_sub(bytes));
        // It never refuses.
        _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// The queue of a connection is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow;

impl Outbox {
    /// Queues bytes without waiting.
    ///
    /// # Errors
    /// [`Overflow`] when the peer does not read as fast as we write. The connection cannot go on
    /// then: dropping some messages would leave the peer with routes that we no longer have, and
    /// waiting would let one peer hold up all the others.
    pub(super) fn send(&self, bytes: impl Into<Bytes>) -> Result<(), Overflow> {
        let bytes = bytes.into();
        let len = u32::try_from(bytes.len()).or(Err(Overflow))?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(len).or(Err(Overflow))?;
        match self.queue.try_send(Piece { bytes, _room: room }) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(Overflow),
            // The connection has ended by itself, which it says on its own.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        }
    }
}

impl Outbox {
    /// What is queued: read and not heard yet, and not written yet, in bytes.
    pub(super) fn queued(&self) -> Queued {
        let written = self.room.available_permits();
        Queued {
            received: self.unheard.0.load(Ordering::Relaxed),
            to_send: QUEUE_BYTES_MAX.saturating_sub(written),
        }
    }

    /// Where it is counted what the speaker has not heard yet.
    pub(super) const fn unheard(&self) -> &Unheard {
        &self.unheard
    }

    /// Whether it is time for more UPDATEs.
    pub(super) fn wants_more(&self) -> bool {
        QUEUE_BYTES_MAX - self.room.available_permits() < AHEAD_BYTES
    }
}

impl Outbox {
    /// Stops reading and writing. What has become of the connection is said to who waits, unless
    /// it has just ended.
    pub(super) fn freeze(self) -> oneshot::Receiver<Frozen> {
        let (frozen, waits) = oneshot::channel();
        drop(self.open.send(frozen)); // It fails if the connection has ended.
        waits
    }
}

/// Bytes that wait, of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// From the peer, not heard yet.
    pub received: usize,
    /// To the peer, not written yet.
    pub to_send: usize,
}

/// A connection that is neither read nor written.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) stream: TcpStream,
    /// Read, and not handed on.
    pub(super) unheard: Option<Bytes>,
    /// Not written yet.
    pub(super) unsent: Vec<u8>,
}

/// The other end of an [`Outbox`].
pub(super) struct Unwritten {
    closing: oneshot::Receiver<oneshot::Sender<Frozen>>,
    queue: Queue,
    unheard: Unheard,
}

struct Queue {
    /// Told of every piece that has been written.
    drained: Arc<Notify>,
    pieces: mpsc::Receiver<Piece>,
    /// Partly written.
    current: Option<Piece>,
    /// How long the peer may take nothing.
    send_hold: Option<Duration>,
    /// It has taken nothing for so long.
    stalled: bool,
}

/// The two ends of a connection's send queue; `drained` is told when it gets shorter.
pub(super) fn outbox(drained: Arc<Notify>) -> (Outbox, Unwritten) {
    let (open, closing) = oneshot::channel();
    let (queue, pieces) = mpsc::channel(QUEUE_PIECES_MAX);
    let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
    let queue_out = Queue { drained, pieces, current: None, send_hold: None, stalled: false };
    let unheard = Unheard::default();
    let unwritten = Unwritten { closing, queue: queue_out, unheard: unheard.clone() };
    (Outbox { open, queue, room, unheard }, unwritten)
}

/// Moves bytes until the connection ends by itself, which it then says, or its [`Outbox`] is
/// dropped. Reading and writing do not wait for each other: while the speaker is too busy to take
/// what came in, what it has sent still goes out.
///
/// A peer that takes no byte for `send_hold` is told of once; what becomes of it is the speaker's
/// matter (RFC 9687).
pub(super) async fn run(
    conn: ConnId,
    mut stream: TcpStream,
    unwritten: Unwritten,
    send_hold: Option<Duration>,
    inbound: mpsc::Sender<Inbound>,
) {
    let Unwritten { mut closing, mut queue, unheard: count } = unwritten;
    queue.send_hold = send_hold;
    let mut unheard = None;
    let (mut read, mut write) = stream.split();
    tokio::select! {
        end = &mut closing => {
            let Ok(frozen) = end else {
                // An error or a timeout here is a peer that does not want to hear our last words.
                drop(timeout(CLOSE_TIMEOUT, part(&mut read, &mut write, &mut queue)).await);
                return;
            };
            let unsent = queue.rest();
            drop(frozen.send(Frozen { stream, unheard, unsent }));
            return;
        }
        () = read_all(conn, &mut read, &inbound, (&mut unheard, &count)) => {}
        () = write_until_broken(conn, &mut write, &mut queue, &inbound) => {}
    }
    // The speaker's task being gone is the one way this fails, and then nobody needs to know.
    drop(inbound.send(Inbound::Closed { conn }).await);
}

/// Reads until the peer closes or the connection breaks. `inbound` is bounded and shared: when it
/// is full this waits its turn, TCP closes its window, and the peer waits as well.
/// What waits so is in `unheard` meanwhile: this may be cancelled then.
async fn read_all(
    conn: ConnId,
    read: &mut ReadHalf<'_>,
    inbound: &mpsc::Sender<Inbound>,
    (unheard, count): (&mut Option<Bytes>, &Unheard),
) {
    // A session that is silent holds no buffer.
    while read.readable().await.is_ok() {
        let mut bytes = BytesMut::with_capacity(READ_BYTES_MAX);
        match read.try_read_buf(&mut bytes) {
            Ok(0) => return,
            Ok(read) => count.add(read),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_broken) => return,
        }
        *unheard = Some(bytes.freeze());
        let Ok(place) = inbound.reserve().await else { return };
        if let Some(bytes) = unheard.take() {
            place.send(Inbound::Bytes { conn, bytes });
        }
    }
}

/// Returns when nothing can be written any more; a queue that ended is not that.
async fn write_until_broken(
    conn: ConnId,
    write: &mut WriteHalf<'_>,
    queue: &mut Queue,
    inbound: &mpsc::Sender<Inbound>,
) {
    match queue.write_to(write).await {
        Ok(()) => pending().await,
        Err(stalled) if stalled.kind() == io::ErrorKind::TimedOut && queue.stalled => {
            // The speaker closes it, which ends all of this.
            drop(inbound.send(Inbound::Stalled { conn }).await);
            pending::<()>().await;
        }
        Err(_broken) => {}
    }
}

/// Writes the rest, says that no more comes, and reads on until the peer has closed too: closing
/// with unread bytes makes TCP send a reset, which takes a NOTIFICATION away from the peer.
async fn part(
    read: &mut ReadHalf<'_>,
    write: &mut WriteHalf<'_>,
    queue: &mut Queue,
) -> io::Result<()> {
    queue.write_to(write).await?;
    write.shutdown().await?;
    let mut unread = BytesMut::with_capacity(LAST_BYTES_MAX);
    while read.read_buf(&mut unread).await? > 0 {
        unread.clear();
    }
    Ok(())
}

impl Queue {
    /// What is not written yet.
    fn rest(&mut self) -> Vec<u8> {
        self.pieces.close();
        let mut rest = Vec::new();
        let waiting = core::iter::from_fn(|| self.pieces.try_recv().ok());
        for piece in self.current.take().into_iter().chain(waiting) {
            rest.extend_from_slice(&piece.bytes);
        }
        rest
    }

    /// Writes until the queue ends. Cancel-safe: what was written is not written again.
    async fn write_to(&mut self, write: &mut WriteHalf<'_>) -> io::Result<()> {
        loop {
            if self.current.is_none() {
                self.current = self.pieces.recv().await;
            }
            let Some(piece) = &mut self.current else { return Ok(()) };
            while piece.bytes.has_remaining() {
                let written = write.write_buf(&mut piece.bytes);
                let Some(send_hold) = self.send_hold else {
                    written.await?;
                    continue;
                };
                match timeout(send_hold, written).await {
                    Ok(written) => drop(written?),
                    Err(elapsed) => {
                        self.stalled = true;
                        return Err(elapsed.into());
                    }
                }
            }
            self.current = None;
            self.drained.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
