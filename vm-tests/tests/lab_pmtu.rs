//! Path MTU discovery through the edge, where the network has no room for outer headers.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};

use tidegate_vm_tests::lab::main_job::{MainJob, SOON, VIPS, Variant};

/// Sends a request of some 200 kB, in lines that the server skips; returns how its answer begins.
fn upload(to: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, SOON)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.set_write_timeout(Some(SOON))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: vip\r\nConnection: close\r\n")?;
    for _ in 0..50 {
        stream.write_all(format!("X-Padding: {:04000}\r\n", 0).as_bytes())?;
    }
    stream.write_all(b"\r\n")?;
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status)?;
    Ok(status)
}

#[test]
fn a_client_learns_from_the_edge_how_long_its_packets_may_be() {
    let variant = Variant { fabric_mtu: 1_500, ..Variant::default() };
    let job = MainJob::announced(variant).unwrap();
    // What the kernel remembers of the way to the VIP: the fabric's MTU less the outer header.
    for (vip, mtu) in VIPS.into_iter().zip(["mtu 1480", "mtu 1460"]) {
        let route = || job.lab.run("client", &["ip", "route", "get", vip.addr]).unwrap();
        assert!(!route().contains("mtu"), "{}", route());
        let to = vip.socket().unwrap();
        let status = job.lab.inside("client", || upload(to)).unwrap();
        let logs = || job.lab.log_tails();
        assert_eq!(
            status.unwrap_or_else(|error| panic!("{error}\n{}", logs())).trim_end(),
            "HTTP/1.1 200 OK"
        );
        assert!(route().contains(mtu), "{}\n{}", route(), logs());
    }
}
