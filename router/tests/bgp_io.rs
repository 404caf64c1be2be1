//! `bgp_io` with real speakers over real TCP connections, and with BIRD. Needs root.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail loudly"
)]

mod netns;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use netns::lab;
use tidegate::bgp_io::{self, BgpHandle, Keys, Settings, Signer, Snapshot};
use tidegate::clock::Clock;
use tidegate::link_io;
use tidegate_bgp::speaker::{
    Distance, Local, Order, PeerConfig, PeerRange, PeerStatus, Report, RouteAttributes, State,
    Transport,
};
use tidegate_bgp::types::{Asn, Community, HoldTime, Prefix, RouterId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

const BOUND: Duration = Duration::from_secs(30);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A speaker in AS 65000 + `number`.
fn speaker(
    number: u8,
    listen: Vec<SocketAddr>,
    keys: Keys,
) -> Result<(BgpHandle, mpsc::Receiver<Report>), bgp_io::Error> {
    let local = Local {
        asn: Asn::new(65_000 + u32::from(number)).unwrap(),
        router_id: RouterId::new([10, 0, 0, number].into()).unwrap(),
    };
    let (links, _changes) = link_io::start().unwrap();
    let (reports, receiver) = mpsc::channel(16);
    let settings = Settings {
        heir: None,
        local,
        listen,
        keys,
        seed: u64::from(number),
        restarted: false,
        next_hops: None,
    };
    Ok((bgp_io::start(settings, Clock::start(), links, reports)?, receiver))
}

/// The peer in AS 65000 + `number` at `remote`.
fn peer(number: u8, remote: SocketAddr, local_addr: &str) -> PeerConfig {
    let asn = Asn::new(65_000 + u32::from(number)).unwrap();
    PeerConfig {
        local_addr: Some(ip(local_addr)),
        hold_time: HoldTime::from_secs(9).unwrap(),
        connect_retry: Duration::from_secs(1),
        ..PeerConfig::new(format!("peer-{number}").into(), remote, asn)
    }
}

async fn until(handle: &BgpHandle, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let mut snapshot = handle.snapshot();
    let waited = tokio::time::timeout(BOUND, snapshot.wait_for(|now| wanted(now))).await;
    let found = waited.map(|found| found.unwrap().clone());
    found.unwrap_or_else(|_| panic!("{what}: not reached, but {:#?}", handle.snapshot().borrow()))
}

fn all_established(snapshot: &Snapshot) -> bool {
    let established = |peer: &PeerStatus| peer.state == State::Established;
    !snapshot.peers.is_empty() && snapshot.peers.iter().all(established)
}

type Started = (BgpHandle, mpsc::Receiver<Report>);

/// Two speakers that dial each other at the same time.
async fn two_speakers(one: (&str, Keys), two: (&str, Keys)) -> (Started, Started) {
    let ((addr_1, keys_1), (addr_2, keys_2)) = (one, two);
    let any_port = |addr| vec![SocketAddr::new(ip(addr), 0)];
    let one = speaker(1, any_port(addr_1), keys_1).unwrap();
    let two = speaker(2, any_port(addr_2), keys_2).unwrap();
    let put_one = Order::PutPeer(peer(1, one.0.listening()[0], addr_2));
    let put_two = Order::PutPeer(peer(2, two.0.listening()[0], addr_1));
    two.0.order(put_one).await.unwrap();
    one.0.order(put_two).await.unwrap();
    (one, two)
}

#[test]
fn two_speakers_establish_a_session_exchange_a_prefix_and_part() {
    lab(async |_peer| {
        let ((one, mut reports), (two, _)) =
            two_speakers(("127.0.0.1", Keys::new()), ("127.0.0.2", Keys::new())).await;
        until(&one, "one established", all_established).await;
        until(&two, "two established", all_established).await;
        assert!(matches!(reports.recv().await, Some(Report::Up { .. })));

        let prefix = Prefix::host(ip("192.0.2.10"));
        one.order(Order::Advertise(prefix, RouteAttributes::default())).await.unwrap();
        until(&two, "prefix received", |now| now.peers[0].prefixes_received == 1).await;
        let originated = until(&one, "originated", |now| !now.originated.is_empty()).await;
        assert_eq!(originated.originated, BTreeMap::from([(prefix, RouteAttributes::default())]));

        one.order(Order::Withdraw(prefix)).await.unwrap();
        until(&two, "prefix withdrawn", |now| now.peers[0].prefixes_received == 0).await;

        let one_dropped = one.reports_dropped_total();
        tokio::time::timeout(BOUND, one.stop()).await.expect("stop does not come to an end");
        let parted = until(&two, "session down", |now| now.peers[0].last_down.is_some()).await;
        let cause = format!("{:?}", parted.peers[0].last_down);
        assert!(cause.contains("Received"), "the Cease did not arrive: {cause}");
        // Nobody took two's reports; it did not wait for that, and says how many there were.
        assert_eq!(one_dropped, 0);
        assert!(two.reports_dropped_total() >= 2, "{}", two.reports_dropped_total());
    });
}

#[test]
fn the_last_of_many_orders_shows_though_nothing_happens_after_it() {
    lab(async |_peer| {
        let (alone, _) = speaker(1, vec![], Keys::new()).unwrap();
        for last in 1..=20 {
            let prefix = Prefix::host(IpAddr::from([192, 0, 2, last]));
            alone.order(Order::Advertise(prefix, RouteAttributes::default())).await.unwrap();
        }
        until(&alone, "all originated", |now| now.originated.len() == 20).await;
    });
}

/// How many segments the kernel refused for this reason, in this namespace.
fn refused_segments(counter: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut columns = names.split_whitespace().zip(values.split_whitespace());
    columns.find(|(name, _)| *name == counter).unwrap().1.parse().unwrap()
}

/// Waits until the kernel refused more segments for this reason than `before`.
async fn until_refused(counter: &str, before: u64) {
    let refused = async {
        while refused_segments(counter) <= before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(BOUND, refused).await.expect("no segment was refused");
}

#[test]
fn a_wrong_md5_key_keeps_the_session_down_until_it_is_right() {
    let key =
        |addr: &str, key: &str| Keys::from([(Prefix::host(ip(addr)), Signer::Md5(key.into()))]);
    lab(async move |_peer| {
        let one = ("::1", key("2001:db8::1", "right"));
        let two = ("2001:db8::1", key("::1", "wrong"));
        let ((one, _), (two, _)) = two_speakers(one, two).await;
        until_refused("TCPMD5Failure", 1).await;
        for handle in [&one, &two] {
            let below = |peer: &PeerStatus| peer.state < State::OpenSent;
            assert!(handle.snapshot().borrow().peers.iter().all(below));
        }

        two.set_keys(key("::1", "right")).await.unwrap();
        until(&one, "one established", all_established).await;
        until(&two, "two established", all_established).await;

        // Without a key nobody gets so far as a connection.
        let before = refused_segments("TCPMD5NotFound");
        let stranger = TcpSocket::new_v6().unwrap();
        stranger.bind("[2001:db8::1]:0".parse().unwrap()).unwrap();
        let to = one.listening()[0];
        let attempt = tokio::spawn(async move { stranger.connect(to).await });
        until_refused("TCPMD5NotFound", before).await;
        attempt.abort();
        assert!(attempt.await.unwrap_err().is_cancelled());
    });
}

#[test]
fn an_md5_key_changes_under_an_open_session() {
    let key =
        |addr: &str, key: &str| Keys::from([(Prefix::host(ip(addr)), Signer::Md5(key.into()))]);
    lab(async move |_peer| {
        let (addr_1, addr_2) = ("127.0.0.1", "127.0.0.2");
        let ((one, _), (two, _)) =
            two_speakers((addr_1, key(addr_2, "old")), (addr_2, key(addr_1, "old"))).await;
        until(&one, "one established", all_established).await;
        until(&two, "two established", all_established).await;

        let before = refused_segments("TCPMD5Failure");
        one.set_keys(key(addr_2, "new")).await.unwrap();
        let prefix = Prefix::host(ip("192.0.2.10"));
        one.order(Order::Advertise(prefix, RouteAttributes::default())).await.unwrap();
        until_refused("TCPMD5Failure", before).await;
        assert_eq!(two.snapshot().borrow().peers[0].prefixes_received, 0);

        two.set_keys(key(addr_1, "new")).await.unwrap();
        let received = until(&two, "prefix", |now| now.peers[0].prefixes_received == 1).await;
        assert_eq!(received.peers[0].flaps, 0);
    });
}

#[test]
fn a_guarded_session_hears_only_those_whose_packets_have_come_no_farther() {
    lab(async |_peer| {
        let listen = |addr| vec![SocketAddr::new(ip(addr), 0)];
        let (one, _) = speaker(1, listen("127.0.0.1"), Keys::new()).unwrap();
        let (two, _) = speaker(2, listen("127.0.0.2"), Keys::new()).unwrap();
        let at = |distance| Transport { distance, ..Transport::default() };
        let guarded = at(Distance::Guarded(1));
        let to_two =
            PeerConfig { transport: guarded.clone(), ..peer(2, two.listening()[0], "127.0.0.1") };
        let to_one =
            |transport| PeerConfig { transport, ..peer(1, one.listening()[0], "127.0.0.2") };
        let before = refused_segments("TCPMinTTLDrop");
        two.order(Order::PutPeer(to_one(at(Distance::Ttl(254))))).await.unwrap();
        one.order(Order::PutPeer(to_two)).await.unwrap();
        until_refused("TCPMinTTLDrop", before).await;
        let up = |peer: &PeerStatus| peer.state == State::Established;
        assert!(!one.snapshot().borrow().peers.iter().any(up));

        two.order(Order::PutPeer(to_one(guarded))).await.unwrap();
        until(&one, "one established", all_established).await;
        until(&two, "two established", all_established).await;
    });
}

#[test]
fn a_range_of_peers_shares_a_key() {
    let key = |prefix, key: &str| Keys::from([(prefix, Signer::Md5(key.into()))]);
    lab(async move |_peer| {
        let around = Prefix::new(ip("127.0.0.0"), 24).unwrap();
        let listen = vec![SocketAddr::new(ip("127.0.0.1"), 0)];
        let (one, _) = speaker(1, listen, key(around, "secret")).unwrap();
        let template = PeerConfig {
            name: "fabric".into(),
            ..peer(2, "127.0.0.0:179".parse().unwrap(), "127.0.0.1")
        };
        let range = PeerRange { prefix: around, limit: 1, template };
        one.order(Order::PutRange(range)).await.unwrap();

        let right = key(Prefix::host(ip("127.0.0.1")), "secret");
        let (two, _) = speaker(2, vec![], right).unwrap();
        two.order(Order::PutPeer(peer(1, one.listening()[0], "127.0.0.2"))).await.unwrap();
        until(&two, "two established", all_established).await;
        let seen = until(&one, "one established", all_established).await;
        assert_eq!(&*seen.peers[0].name, "fabric/127.0.0.2");
        two.stop().await;
        until(&one, "forgotten", |now| now.peers.is_empty()).await;
    });
}

#[test]
fn strangers_and_rubbish_do_not_disturb_a_session() {
    lab(async |_peer| {
        let one = ("127.0.0.1", Keys::new());
        let ((one, _), (two, _)) = two_speakers(one, ("127.0.0.2", Keys::new())).await;
        until(&one, "established", all_established).await;
        let to = one.listening()[0];
        let passive =
            PeerConfig { passive: true, ..peer(3, "127.0.0.3:179".parse().unwrap(), "127.0.0.1") };
        one.order(Order::PutPeer(passive)).await.unwrap();
        until(&one, "waiting", |now| now.peers.iter().any(|peer| peer.state == State::Active))
            .await;

        // Not a peer: closed without a word.
        let mut stranger = TcpStream::connect(to).await.unwrap();
        assert_eq!(last_words(&mut stranger).await, b"");

        // A peer's address, but no BGP: after our OPEN (type 1) a NOTIFICATION (type 3),
        // Connection Not Synchronized (1/1).
        let rubbish = TcpSocket::new_v4().unwrap();
        rubbish.bind("127.0.0.3:0".parse().unwrap()).unwrap();
        let mut rubbish = rubbish.connect(to).await.unwrap();
        rubbish.write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n").await.unwrap();
        let said = last_words(&mut rubbish).await;
        let types: Vec<&[u8]> = messages(&said).map(|message| &message[18..]).collect();
        assert!(matches!(types.as_slice(), [[1, ..], [3, 1, 1, ..]]), "{types:?}");

        let prefix = Prefix::host(ip("192.0.2.10"));
        one.order(Order::Advertise(prefix, RouteAttributes::default())).await.unwrap();
        let received = until(&two, "prefix", |now| now.peers[0].prefixes_received == 1).await;
        assert_eq!(received.peers[0].flaps, 0);
    });
}

/// Everything that is said until the connection is closed.
async fn last_words(stream: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let read = tokio::time::timeout(BOUND, stream.read_to_end(&mut said)).await;
    read.expect("the connection is not closed").unwrap();
    said
}

/// Splits what a BGP speaker said into its messages.
fn messages(mut said: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_be_bytes([*said.get(16)?, *said.get(17)?]));
        let (message, rest) = said.split_at(len);
        said = rest;
        Some(message)
    })
}

#[test]
fn a_listener_that_cannot_be_says_why_and_what_to_do() {
    lab(async |_peer| {
        let (first, _) = speaker(1, vec!["0.0.0.0:0".parse().unwrap()], Keys::new()).unwrap();
        let taken = first.listening()[0];
        // IPv6 on the same port is another matter: it takes no IPv4.
        let other_family = SocketAddr::new(ip("::"), taken.port());
        speaker(2, vec![other_family], Keys::new()).unwrap();

        let no_address = "198.51.100.1:179".parse().unwrap();
        for (addr, remedy) in [(taken, "stop it, or change"), (no_address, "add it, or change")] {
            let error = speaker(2, vec![addr], Keys::new()).err().unwrap().to_string();
            assert!(error.contains(&addr.to_string()) && error.contains(remedy), "{error}");
        }
    });
}

/// BIRD in the peer's namespace; it ends with the thread of that namespace at the latest.
struct Bird {
    dir: PathBuf,
    process: Child,
}

impl Bird {
    fn start(peer: &netns::Peer, config: &str) -> Self {
        let number = nix::unistd::gettid();
        let dir = std::env::temp_dir().join(format!("tidegate-bgp-io-{number}"));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("bird.conf"), config).unwrap();
        let cwd = dir.clone();
        let process = peer.enter(move || {
            let bird = "--pdeathsig KILL bird -f -c bird.conf -s bird.ctl -P bird.pid";
            let mut command = Command::new("setpriv");
            command.args(bird.split(' ')).current_dir(cwd).stderr(Stdio::null());
            command.spawn().expect("bird2 and util-linux are installed")
        });
        Self { dir, process }
    }

    /// Asks until the answer contains all of these.
    async fn until_shows(&self, question: &str, wanted: &[&str]) -> String {
        let mut answer = String::new();
        let shows = async {
            while !wanted.iter().all(|text| answer.contains(text)) {
                let mut birdc = tokio::process::Command::new("birdc");
                birdc.arg("-s").arg(self.dir.join("bird.ctl")).args(question.split(' '));
                answer = String::from_utf8(birdc.output().await.unwrap().stdout).unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let shown = tokio::time::timeout(BOUND, shows).await;
        assert!(shown.is_ok(), "{question} does not show {wanted:?}, but: {answer}");
        answer
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

#[test]
fn bird_learns_ipv4_and_ipv6_prefixes_with_next_hops_of_the_interface() {
    lab(async |namespace| {
        let bird = Bird::start(
            namespace,
            r#"
            router id 10.0.0.2;
            protocol device {}
            protocol bgp tidegate {
                local 192.0.2.2 as 65002;
                neighbor 192.0.2.1 as 65001;
                password "secret";
                hold time 9;
                ipv4 { import all; export none; };
                ipv6 { import all; export none; };
            }
            "#,
        );
        let signer = Signer::Md5(b"secret".to_vec());
        let keys = Keys::from([(Prefix::host(ip("192.0.2.2")), signer)]);
        let (one, _reports) = speaker(1, vec!["192.0.2.1:179".parse().unwrap()], keys).unwrap();
        let remote = "192.0.2.2:179".parse().unwrap();
        one.order(Order::PutPeer(peer(2, remote, "192.0.2.1"))).await.unwrap();
        until(&one, "established", all_established).await;
        bird.until_shows("show protocols tidegate", &["Established"]).await;

        let attributes = RouteAttributes {
            med: Some(50),
            communities: vec![Community(65_001 << 16 | 7)],
            ..RouteAttributes::default()
        };
        for addr in ["198.51.100.1", "2001:db8:f::1"] {
            let prefix = Prefix::host(ip(addr));
            one.order(Order::Advertise(prefix, attributes.clone())).await.unwrap();
        }
        let all = ["BGP.as_path: 65001", "BGP.med: 50", "BGP.community: (65001,7)"];
        let v4 = [&all[..], &["198.51.100.1/32", "via 192.0.2.1 on peer"]].concat();
        bird.until_shows("show route all 198.51.100.1/32", &v4).await;
        let v6 = [&all[..], &["2001:db8:f::1/128", "via 2001:db8::1 on peer"]].concat();
        bird.until_shows("show route all 2001:db8:f::1/128", &v6).await;

        let withdraw = Order::Withdraw(Prefix::host(ip("198.51.100.1")));
        one.order(withdraw).await.unwrap();
        bird.until_shows("show route count", &["0 of 0 routes for 0 networks in table master4"])
            .await;
        one.stop().await;
        let closed = "Received: Administrative shutdown";
        bird.until_shows("show protocols all tidegate", &[closed]).await;
    });
}
