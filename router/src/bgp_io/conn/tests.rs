use std::net::Ipv4Addr;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

const BOUND: Duration = Duration::from_secs(10);
const CONN: ConnId = ConnId(7);

/// A running connection, and the peer's end of it.
struct Pair {
    peer: TcpStream,
    outbox: Outbox,
    inbound: mpsc::Receiver<Inbound>,
    task: JoinHandle<()>,
}

async fn pair(inbound_max: usize) -> Pair {
    pair_with(inbound_max, None).await
}

async fn pair_with(inbound_max: usize, send_hold: Option<Duration>) -> Pair {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let (outbox, unwritten) = outbox(Arc::default());
    let (sender, inbound) = mpsc::channel(inbound_max);
    let task = tokio::spawn(run(CONN, stream, unwritten, send_hold, sender));
    Pair { peer, outbox, inbound, task }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(BOUND, future).await.unwrap_or_else(|_| panic!("{what}: not within {BOUND:?}"))
}

#[tokio::test]
async fn bytes_go_both_ways_and_the_end_is_told() {
    let mut pair = pair(4).await;
    pair.outbox.send(b"to the peer".to_vec()).unwrap();
    let mut received = [0; 11];
    soon("write", pair.peer.read_exact(&mut received)).await.unwrap();
    assert_eq!(&received, b"to the peer");

    pair.peer.write_all(b"to us").await.unwrap();
    let event = soon("read", pair.inbound.recv()).await;
    assert!(matches!(event, Some(Inbound::Bytes { conn: CONN, bytes }) if bytes == "to us"));

    drop(pair.peer);
    let event = soon("end", pair.inbound.recv()).await;
    assert!(matches!(event, Some(Inbound::Closed { conn: CONN })));
    soon("task", pair.task).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_told_of_and_the_connection_stays_for_the_speaker_to_close() {
    let mut pair = pair_with(4, Some(Duration::from_millis(50))).await;
    pair.outbox.send(vec![0; QUEUE_BYTES_MAX]).unwrap(); // Far more than the kernel takes.
    let event = soon("stall", pair.inbound.recv()).await;
    assert!(matches!(event, Some(Inbound::Stalled { conn: CONN })));
    assert!(!pair.task.is_finished());
    drop(pair.outbox);
    soon("task", pair.task).await.unwrap();
    drop(pair.peer);
}

#[tokio::test]
async fn closing_writes_what_is_queued_even_when_unread_bytes_lie_in_the_socket() {
    let mut pair = pair(1).await;
    // More than the one place in the channel: the rest stays in the socket.
    for _ in 0..100 {
        pair.peer.write_all(&[0; 10_000]).await.unwrap();
    }
    pair.outbox.send(b"last words".to_vec()).unwrap();
    drop(pair.outbox);
    let mut received = Vec::new();
    soon("last words", pair.peer.read_to_end(&mut received)).await.unwrap();
    assert_eq!(received, b"last words");
    // No reset: on a path that loses packets it would overtake the words.
    pair.peer.shutdown().await.unwrap();
    soon("task", pair.task).await.unwrap();
    assert!(pair.peer.take_error().unwrap().is_none());
    while let Some(event) = pair.inbound.recv().await {
        assert!(matches!(event, Inbound::Bytes { .. }), "whoever closes needs no event");
    }
}

#[tokio::test]
async fn closing_does_not_wait_for_a_peer_that_does_not_read() {
    let pair = pair(1).await;
    while pair.outbox.send(vec![0; 1 << 20]).is_ok() {}
    drop(pair.outbox);
    soon("task", pair.task).await.unwrap();
    drop(pair.peer);
}

#[tokio::test]
async fn what_is_sent_goes_out_while_nobody_takes_what_came_in() {
    let pair = pair(1).await;
    // Until channel, sockets and window are full: nobody receives from the channel.
    let (mut peer_read, mut peer_write) = pair.peer.into_split();
    while timeout(Duration::from_millis(200), peer_write.write_all(&[0; 10_000])).await.is_ok() {}
    pair.outbox.send(b"keepalive".to_vec()).unwrap();
    let mut received = [0; 9];
    soon("keepalive", peer_read.read_exact(&mut received)).await.unwrap();
    assert_eq!(&received, b"keepalive");
}

#[tokio::test]
async fn a_full_queue_is_an_error_not_a_wait() {
    let pair = pair(1).await;
    let pieces = (0..1000).take_while(|_| pair.outbox.send(vec![0; 1 << 20]).is_ok()).count();
    // The queue, and what the sockets of the host hold.
    assert!(pieces >= QUEUE_BYTES_MAX >> 20, "{pieces}");
    assert_eq!(pair.outbox.send(vec![0; 1 << 20]), Err(Overflow));
    assert_eq!(pair.outbox.send(vec![0; QUEUE_BYTES_MAX + 1]), Err(Overflow));
}

#[tokio::test]
async fn what_waits_is_counted_both_ways() {
    let mut pair = pair(1).await;
    assert_eq!(pair.outbox.queued(), Queued::default());
    pair.peer.write_all(&[7; 100]).await.unwrap();
    let until = |outbox: Outbox, wanted: fn(Queued) -> bool| async move {
        while !wanted(outbox.queued()) {
            tokio::task::yield_now().await;
        }
        outbox
    };
    let read = until(pair.outbox, |queued| queued.received == 100);
    let outbox = soon("read", read).await;
    let Some(Inbound::Bytes { bytes, .. }) = soon("told", pair.inbound.recv()).await else {
        panic!("the connection has ended");
    };
    outbox.unheard().heard(bytes.len());
    assert_eq!(outbox.queued(), Queued::default());
    // More than was counted is no more than all of it.
    outbox.unheard().heard(1);
    assert_eq!(outbox.queued().received, 0);

    // Far more than the kernel takes of a peer that does not read.
    outbox.send(vec![0; QUEUE_BYTES_MAX]).unwrap();
    assert_eq!(outbox.queued().to_send, QUEUE_BYTES_MAX);
    let mut taken = vec![0; QUEUE_BYTES_MAX];
    soon("write", pair.peer.read_exact(&mut taken)).await.unwrap();
    soon("emptied", until(outbox, |queued| queued.to_send == 0)).await;
}
