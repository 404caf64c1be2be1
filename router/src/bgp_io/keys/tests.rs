use core::time::Duration;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};
use tidegate_config::desired::AoAlgorithm;

use super::*;
use crate::bgp_io::try_keys;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn key(id: u8, secret: &str) -> AoKey {
    let algorithm =
        if id.is_multiple_of(2) { AoAlgorithm::Aes128Cmac } else { AoAlgorithm::HmacSha1 };
    AoKey { send_id: id, receive_id: id, algorithm, secret: secret.into() }
}

fn keys(around: Prefix, keys: &[AoKey]) -> Keys {
    Keys::from([(around, Signer::Ao(keys.to_vec()))])
}

struct Pair {
    listener: Socket,
    to: SocketAddr,
}

impl Pair {
    fn new(known: &Keys) -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        put(&listener, false, known).unwrap();
        listener.bind(&SocketAddr::new(HERE, 0).into()).unwrap();
        listener.listen(8).unwrap();
        let to = listener.local_addr().unwrap().as_socket().unwrap();
        Self { listener, to }
    }

    /// Both ends of a connection; `None`: our SYN was not answered.
    fn connect(&self, ours: &Keys) -> Option<(Socket, Socket)> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        put_first(&socket, HERE, ours).unwrap();
        socket.connect_timeout(&self.to.into(), Duration::from_secs(2)).ok()?;
        let (accepted, _) = self.listener.accept().unwrap();
        Some((socket, accepted))
    }
}

/// Each end says something, and hears it.
fn talk(ends: &mut (Socket, Socket)) {
    for _ in 0..3 {
        for (one, other) in [(&ends.0, &ends.1), (&ends.1, &ends.0)] {
            let (mut one, mut other) = (one, other);
            other.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            one.write_all(b"keepalive").unwrap();
            let mut heard = [0; 9];
            other.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"keepalive");
        }
    }
}

/// Signed sessions want a kernel that has TCP-AO, which not every one is built with: there, all of
/// it is tried; elsewhere, that keys are refused and why.
#[test]
fn tcp_ao_signs_where_the_kernel_has_it_and_is_refused_with_the_reason_elsewhere() {
    match try_keys(HERE, &[key(1, "one")]) {
        Ok(()) => {
            for around in [Prefix::host(HERE), Prefix::new(HERE, 8).unwrap()] {
                only_who_has_a_key_connects(around);
                keys_change_under_an_open_connection(around);
            }
        }
        Err(why) => {
            assert!(why.contains("built with CONFIG_TCP_AO"), "{why}");
            // A virtual machine of the tests is known to have it.
            assert!(std::env::var_os("SIGNS_BY_TCP_AO").is_none(), "{why}");
        }
    }
}

fn only_who_has_a_key_connects(around: Prefix) {
    let both = [key(1, "one"), key(2, "two")];
    let pair = Pair::new(&keys(around, &both));
    let of = |which: &[AoKey]| keys(Prefix::host(HERE), which);
    for ours in [of(&both), of(&both[..1]), of(&both[1..])] {
        talk(&mut pair.connect(&ours).unwrap());
    }
    let strangers = [Keys::new(), of(&[key(1, "another")]), of(&[key(3, "one")])];
    for (at, ours) in strangers.iter().enumerate() {
        assert!(pair.connect(ours).is_none(), "case {at}");
    }
    // What the listener no longer knows opens nothing, and what it knows now does.
    let replaced = [key(1, "another"), key(2, "two")];
    change(&pair.listener, false, &keys(around, &both), &keys(around, &replaced)).unwrap();
    assert!(pair.connect(&of(&both[..1])).is_none());
    talk(&mut pair.connect(&of(&replaced[..1])).unwrap());
    let password = Keys::from([(around, Signer::Md5(b"password".to_vec()))]);
    change(&pair.listener, false, &keys(around, &replaced), &password).unwrap();
    assert!(pair.connect(&of(&replaced)).is_none());
    change(&pair.listener, false, &password, &Keys::new()).unwrap();
    talk(&mut pair.connect(&Keys::new()).unwrap());
}

fn keys_change_under_an_open_connection(around: Prefix) {
    let (one, two) = (key(1, "one"), key(2, "two"));
    let steps =
        [vec![one.clone()], vec![one.clone(), two.clone()], vec![two.clone(), one], vec![two]];
    let of = |around, which: &Vec<AoKey>| keys(around, which);
    let pair = Pair::new(&of(around, &steps[0]));
    let mut ends = pair.connect(&of(Prefix::host(HERE), &steps[0])).unwrap();
    ask_for_first(&ends.1, HERE, &of(around, &steps[0])).unwrap();
    talk(&mut ends);
    for step in steps.windows(2) {
        // The ends change one after the other, and talk in between.
        let host = Prefix::host(HERE);
        rekey(&ends.0, HERE, &of(host, &step[0]), &of(host, &step[1])).unwrap();
        talk(&mut ends);
        rekey(&ends.1, HERE, &of(around, &step[0]), &of(around, &step[1])).unwrap();
        talk(&mut ends);
    }
    let other = vec![key(2, "a new one under an old number")];
    let error = rekey(&ends.1, HERE, &of(around, &steps[3]), &of(around, &other)).unwrap_err();
    assert!(error.to_string().contains("numbers of its own"), "{error}");
    talk(&mut ends);
}
