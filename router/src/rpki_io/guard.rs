//! What stands between a cache and the client that reads it: PDUs of a sane length, and an end to
//! every answer. The client believes the length in a header, waits as long as bytes may come, and
//! looks for the end of an error behind the end of the stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Octets of a PDU's header (RFC 8210 §5.1).
const HEADER_BYTES: usize = 8;

/// The longest PDU that is read: an ASPA of thousands of providers.
const PDU_BYTES_MAX: u32 = 65_535;

/// How long an answer may take, from the query to its End of Data.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_mins(5);

const CACHE_RESPONSE: u8 = 3;
const END_OF_DATA: u8 = 7;

/// A stream of PDUs.
pub(super) struct Guard<S> {
    inner: S,
    within: Duration,
    header: Vec<u8>,
    /// Octets of the present PDU behind its header that are still to come.
    left: usize,
    /// From a query to the end of what answers it.
    in_answer: bool,
    /// Nothing has begun that has not ended.
    idle: Arc<AtomicBool>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Guard<S> {
    /// `within`: how long an answer may take.
    pub(super) fn new(inner: S, within: Duration) -> Self {
        let idle = Arc::new(AtomicBool::new(true));
        let header = Vec::with_capacity(HEADER_BYTES);
        Self { inner, within, header, left: 0, in_answer: false, idle, deadline: None }
    }

    /// Whether reading can be given up without losing the beginning of something.
    pub(super) fn idle(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.idle)
    }

    /// Follows the stream.
    fn follow(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skip = self.left.min(bytes.len());
                bytes = bytes.get(skip..).unwrap_or_default();
                self.left -= skip;
                continue;
            }
            let wanted = (HEADER_BYTES - self.header.len()).min(bytes.len());
            let (more, rest) = bytes.split_at_checked(wanted).unwrap_or((bytes, &[]));
            self.header.extend_from_slice(more);
            bytes = rest;
            if let [_, kind, _, _, length @ ..] = self.header.as_slice()
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                let length = u32::from_be_bytes(length);
                let body = length.checked_sub(8).filter(|_| length <= PDU_BYTES_MAX);
                let body = body.and_then(|body| usize::try_from(body).ok()).ok_or_else(|| {
                    let why = format!("it sent a PDU of {length} octets");
                    io::Error::new(io::ErrorKind::InvalidData, why)
                })?;
                self.in_answer = match *kind {
                    CACHE_RESPONSE => true,
                    END_OF_DATA => false,
                    _ => self.in_answer,
                };
                self.left = body;
                self.header.clear();
            }
        }
        self.note();
        Ok(())
    }

    fn note(&mut self) {
        let idle = self.left == 0 && self.header.is_empty() && !self.in_answer;
        self.idle.store(idle, Ordering::Relaxed);
        if idle {
            self.deadline = None;
        } else if self.deadline.is_none() {
            self.deadline = Some(Box::pin(sleep(self.within)));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            let why = "its answer takes too long";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let read = buf.filled().get(before..).unwrap_or_default();
                if read.is_empty() && buf.remaining() > 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Poll::Ready(self.follow(read))
            }
            other => other,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // A query: from here on there is an answer to wait for.
        self.in_answer = true;
        self.note();
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::time::Instant;

    use super::*;

    fn pdu(kind: u8, length: u32) -> Vec<u8> {
        let mut pdu = vec![1, kind, 0, 0];
        pdu.extend(length.to_be_bytes());
        pdu.resize(pdu.len() + usize::try_from(length).unwrap().saturating_sub(8).min(64), 0);
        pdu
    }

    /// What is left of a stream, read in pieces of `len`, and whether it ended between answers.
    async fn read(stream: Vec<u8>, len: usize) -> (io::Result<()>, bool) {
        let mut guard = Guard::new(stream.as_slice(), ANSWER_WITHIN);
        let idle = guard.idle();
        let mut piece = vec![0; len];
        loop {
            match guard.read(&mut piece).await {
                Ok(_) => {}
                Err(end) if end.kind() == io::ErrorKind::UnexpectedEof => {
                    return (Ok(()), idle.load(Ordering::Relaxed));
                }
                Err(error) => return (Err(error), false),
            }
        }
    }

    #[tokio::test]
    async fn it_is_idle_between_answers_and_notices_and_nowhere_else() {
        let cases = [
            ("nothing", vec![], true),
            ("half a header", pdu(0, 12)[..5].to_vec(), false),
            ("half a notice", pdu(0, 12)[..10].to_vec(), false),
            ("a notice", pdu(0, 12), true),
            ("an answer that began", pdu(3, 8), false),
            ("and goes on", [pdu(3, 8), pdu(4, 20)].concat(), false),
            ("and ends", [pdu(3, 8), pdu(4, 20), pdu(7, 24)].concat(), true),
        ];
        for (name, stream, idle) in cases {
            for len in [1, 3, 8, 64] {
                let (end, found) = read(stream.clone(), len).await;
                assert!(end.is_ok(), "{name}");
                assert_eq!(found, idle, "{name} in pieces of {len}");
            }
        }
    }

    #[tokio::test]
    async fn a_length_that_no_pdu_has_ends_the_stream() {
        for length in [0, 7, PDU_BYTES_MAX + 1, u32::MAX] {
            let (end, _) = read(pdu(9, length), 64).await;
            assert_eq!(end.unwrap_err().kind(), io::ErrorKind::InvalidData, "{length}");
        }
        assert!(read(pdu(9, PDU_BYTES_MAX), 64).await.0.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_end_is_given_up() {
        let (mut cache, near) = tokio::io::duplex(64);
        let mut guard = Guard::new(near, ANSWER_WITHIN);
        tokio::io::AsyncWriteExt::write_all(&mut cache, &pdu(3, 8)).await.unwrap();
        let idle = guard.idle();
        tokio::io::AsyncWriteExt::write_all(&mut guard, &pdu(2, 8)).await.unwrap();
        assert!(!idle.load(Ordering::Relaxed), "a query waits for its answer");
        let mut header = [0; 8];
        guard.read_exact(&mut header).await.unwrap();
        let asked = Instant::now();
        let ended = guard.read_exact(&mut header).await.unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        assert_eq!(asked.elapsed().as_secs(), ANSWER_WITHIN.as_secs());
    }
}
