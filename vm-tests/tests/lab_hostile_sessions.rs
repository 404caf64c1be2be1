//! Ten thousand sessions of peers that mean ill, while a good one goes on as if nothing were.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};
use tidegate_vm_tests::lab::bird::{self, Bird, Session};
use tidegate_vm_tests::lab::interop::{EDGE, EDGE_AS, Interop, PEER, PEER_AS, VIPS};

/// AS of those that mean ill.
const THEIR_AS: u16 = 64_999;
/// Where they sit: the upper half of the segment, as many as may be at a time.
const THEM: core::ops::Range<u8> = 130..194;
/// Sessions in all, over so many hands.
const SESSIONS: usize = 10_000;
const HANDS: usize = 8;
/// What the daemon may have grown by after all that.
const GROWTH_KIB_MAX: u64 = 64 << 10;

/// A BGP message of RFC 4271 §4.1.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).unwrap();
    [&[0xff; 16], &length.to_be_bytes()[..], &[kind], body].concat()
}

fn open(id: u8) -> Vec<u8> {
    let [high, low] = THEIR_AS.to_be_bytes();
    message(1, &[4, high, low, 0, 90, 203, 0, 113, id, 0])
}

/// 198.18.`third`.0/24 by way of the sender.
fn update(id: u8, third: u8) -> Vec<u8> {
    let [high, low] = THEIR_AS.to_be_bytes();
    let attributes = [0x40, 1, 1, 0, 0x40, 2, 4, 2, 1, high, low, 0x40, 3, 4, 203, 0, 113, id];
    let len = u8::try_from(attributes.len()).unwrap();
    message(2, &[&[0, 0, 0, len], &attributes[..], &[24, 198, 18, third]].concat())
}

/// Connects from 203.0.113.`id`; what is sent goes out at once, and closing is a reset.
fn connect(id: u8) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(203, 0, 113, id), 0)).into())?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    let to: SocketAddr = format!("{}:179", EDGE[0]).parse()?;
    socket.connect_timeout(&to.into(), Duration::from_mins(1))?;
    socket.set_write_timeout(Some(Duration::from_millis(200)))?;
    Ok(socket.into())
}

/// One session; what it does depends on its number. That a write fails is what is wanted at times.
fn session(number: usize) -> Result<()> {
    let id = THEM.start + u8::try_from(number % THEM.len())?;
    let seed = u8::try_from(number % 251)?;
    let mut stream = connect(id)?;
    let up = [open(id), message(4, &[])].concat();
    let words = match number % 9 {
        0 => vec![],                                                 // A reset at once.
        1 => (0..200).map(|at: u8| at.wrapping_mul(seed)).collect(), // Rubbish.
        2 => open(id),                                               // And never a word more.
        3 => [up, update(id, seed)].concat(),                        // Well behaved, then gone.
        4 => {
            // An UPDATE with one octet changed, wherever that is.
            let mut damaged = update(id, seed);
            let at = 19 + usize::from(seed) % (damaged.len() - 19);
            damaged[at] ^= 1 << (seed % 8);
            [up, damaged].concat()
        }
        5 => {
            // In pieces of one octet.
            for octet in &up {
                drop(stream.write_all(&[*octet]));
            }
            vec![]
        }
        6 => {
            // More than the daemon wants to hear, and nothing read.
            let flood: Vec<u8> =
                (0..4).flat_map(|_| (0..=u8::MAX).flat_map(|at| update(id, at))).collect();
            [up, flood].concat()
        }
        7 => [&[0xff; 16], &[0xff, 0xff, 2][..]].concat(), // The longest message there can be.
        _ => up[..up.len() - usize::from(seed % 20) - 1].to_vec(), // The end is missing.
    };
    drop(stream.write_all(&words));
    Ok(())
}

/// Memory that a process holds, in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[test]
fn ten_thousand_hostile_sessions_leave_a_good_one_and_the_daemon_as_they_were() {
    let mut job = Interop::new().unwrap();
    let good = Session {
        name: "edge",
        local: PEER[0],
        local_as: PEER_AS,
        neighbor: EDGE[0],
        neighbor_as: EDGE_AS,
    };
    let bird = Bird::start(&job.lab, "peer", &bird::config(PEER[0], &[good])).unwrap();
    let (limit, address) = (THEM.len(), PEER[0]);
    job.configure(&format!(
        "[[peer]]\nname = \"a-good-one\"\naddress = \"{address}\"\nasn = {PEER_AS}\n\
         connect-retry = \"1s\"\n\
         [[peer]]\nname = \"them\"\naddress = \"203.0.113.128/25\"\nasn = {THEIR_AS}\n\
         range-limit = {limit}\nmax-prefixes = {{ ipv4 = 100 }}\n"
    ))
    .unwrap();
    job.wait_until_established().unwrap();
    for vip in VIPS {
        job.until("BIRD's route", || bird.route(&job.lab, vip)).unwrap();
    }
    let pid = job.edge.as_ref().unwrap().pid();
    let held_before = resident_kib(pid);
    for id in THEM {
        let address = format!("203.0.113.{id}/24");
        job.lab.run("b1", &["ip", "address", "add", &address, "dev", "eth0"]).unwrap();
    }

    let hand = |first: usize| -> Result<()> {
        (first..SESSIONS)
            .step_by(HANDS)
            .try_for_each(|number| session(number).with_context(|| format!("session {number}")))
    };
    let all = job.lab.inside("b1", || {
        // Some that never say a word, all the time.
        let slow: Vec<_> = THEM.step_by(4).map(connect).collect();
        let done = thread::scope(|scope| {
            let hands: Vec<_> = (0..HANDS).map(|first| scope.spawn(move || hand(first))).collect();
            hands.into_iter().try_for_each(|hand| hand.join().unwrap())
        });
        drop(slow);
        done
    });
    job.edge.as_mut().unwrap().alive().unwrap();
    all.unwrap().unwrap();

    // Since when it is so, BIRD reckons anew each time, from a clock that somebody may be setting.
    // That it is the same session is what our own count says below.
    bird.established(&job.lab, "edge").unwrap();
    for vip in VIPS {
        bird.route(&job.lab, vip).unwrap();
    }
    job.edge.as_mut().unwrap().alive().unwrap();
    let peer = job.peer().unwrap();
    assert_eq!((&peer["name"], &peer["flaps"]), (&"a-good-one".into(), &0.into()), "{peer}");
    let grown = resident_kib(pid).saturating_sub(held_before);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB more than before");
    // Whoever means well finds a place as soon as they are gone.
    job.until("them to be forgotten", || {
        let shown = job.peers()?;
        let peers = shown["peers"].as_array().context("no peers")?;
        ensure!(peers.len() == 1, "{shown}");
        Ok(())
    })
    .unwrap();
}
