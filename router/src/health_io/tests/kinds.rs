//! Kinds of checks against real sockets: TLS, gRPC, UDP, DNS, ICMP.

use std::net::Ipv6Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tidegate_config::desired::{DnsProbe, DnsRcode, DnsType, Tls};
use tokio::net::UdpSocket;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A file of its own, gone with its owner.
struct File(std::path::PathBuf);

impl File {
    fn of(text: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-health-{}-{number}.pem", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// A web server over TLS, whose certificate for `name` a new authority signed: its port, and the
/// authority's certificate.
async fn tls_server(name: &str) -> (u16, File) {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 1024];
            if stream.read(&mut request).await.is_ok() {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                drop(stream.write_all(answer).await);
                drop(stream.shutdown().await);
            }
        }
    });
    (port, File::of(&authority.pem()))
}

fn https(host: Option<&str>, server_name: Option<&str>, ca_file: &Path) -> Probe {
    let tls =
        Tls { server_name: server_name.map(str::to_owned), ca_file: Some(ca_file.to_owned()) };
    let host = host.map(str::to_owned);
    Probe::Http(HttpProbe { host, body: Some("ok".to_owned()), tls: Some(tls), ..http_probe(200) })
}

#[tokio::test]
async fn a_file_of_certificates_that_is_mended_counts_without_another_word() {
    let (port, ca) = tls_server("web.example").await;
    let file = File::of("none\n");
    let probe = https(Some("web.example"), None, &file.0);
    let (mut checks, mut results) = start();
    checks.set(BTreeMap::from([((SERVICE, LOCALHOST), check(probe, port, LONG))]));
    let unmended = next(&mut results).await.outcome.unwrap_err();
    assert!(matches!(unmended, Failure::NoTrust { .. }), "{unmended}");
    std::fs::copy(&ca.0, &file.0).unwrap();
    // One may be on its way; the file may be read half written.
    for _ in 0..10 {
        if next(&mut results).await.outcome.is_ok() {
            return;
        }
    }
    panic!("it is as if nothing had been mended");
}

#[tokio::test]
async fn a_backend_proves_by_tls_who_it_is() {
    let (port, ca) = tls_server("web.example").await;
    let (by_address, ca_by_address) = tls_server("127.0.0.1").await;
    let (_, other_ca) = tls_server("web.example").await;
    let (plain, empty) =
        (server_of_anything(b"HTTP/1.1 400 Bad Request\r\n\r\n").await, File::of("none\n"));
    let (web, missing) = (Some("web.example"), Path::new("/nonexistent/ca.pem"));
    let good = [
        ("by its host header", https(Some("web.example:443"), None, &ca.0), port),
        ("by the name in the check", https(Some("other.example"), web, &ca.0), port),
        ("by its address", https(None, None, &ca_by_address.0), by_address),
    ];
    for (name, probe, port) in good {
        assert_eq!(outcome(check(probe, port, LONG)).await, Ok(()), "{name}");
    }
    let bad = [
        ("another authority", https(web, None, &other_ca.0), port, "certificate"),
        ("another name", https(Some("other.example"), None, &ca.0), port, "not valid for name"),
        ("no TLS", https(web, None, &ca.0), plain, "TLS: "),
        ("nobody to trust", https(web, None, &empty.0), port, "there is no certificate in it"),
        ("no file", https(web, None, missing), port, "/nonexistent/ca.pem: No such file"),
        ("nobody there", https(web, None, &ca.0), closed_port().await, "connection refused"),
    ];
    for (name, probe, port, words) in bad {
        let failure = outcome(check(probe, port, LONG)).await.unwrap_err().to_string();
        assert!(failure.contains(words), "{name}: {failure}");
    }
}

/// A gRPC server whose health is told by these octets and this status; its port.
async fn grpc_server(message: &'static [u8], status: &'static str) -> u16 {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    assert_eq!(request.headers()["content-type"], "application/grpc");
                    let answer = http::Response::builder()
                        .header("content-type", "application/grpc")
                        .body(())
                        .unwrap();
                    let mut body = respond.send_response(answer, false).unwrap();
                    body.send_data(Bytes::from_static(message), false).unwrap();
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("grpc-status", status.parse().unwrap());
                    body.send_trailers(trailers).unwrap();
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_grpc_server_says_whether_it_serves() {
    let grpc = |service: &str| Probe::Grpc { service: service.to_owned(), host: None };
    let serving = [0, 0, 0, 0, 2, 8, 1].as_slice();
    let sick = [0, 0, 0, 0, 2, 8, 2].as_slice();
    let long = [0x55; 4096].as_slice();
    let malformed = "malformed answer: not a gRPC health answer";
    let cases = [
        ("it serves", grpc(""), grpc_server(serving, "0").await, None),
        ("by name", grpc("shop.Cart"), grpc_server(serving, "0").await, None),
        (
            "it does not",
            grpc(""),
            grpc_server(sick, "0").await,
            Some("the server says NOT_SERVING"),
        ),
        (
            "it has no health service",
            grpc(""),
            grpc_server(b"", "12").await,
            Some("gRPC status 12, UNIMPLEMENTED: the server has no health service"),
        ),
        ("rubbish", grpc(""), grpc_server(b"ok", "0").await, Some(malformed)),
        ("too long", grpc(""), grpc_server(long, "0").await, Some(malformed)),
        (
            "another protocol",
            grpc(""),
            server_of_anything(b"HTTP/1.1 400 Bad Request\r\n\r\n").await,
            Some("malformed answer: not HTTP/2"),
        ),
        ("refused", grpc(""), closed_port().await, Some("connection refused")),
    ];
    for (name, probe, port, words) in cases {
        let outcome = outcome(check(probe, port, LONG)).await;
        assert_eq!(outcome.err().map(|failure| failure.to_string()).as_deref(), words, "{name}");
    }
}

/// A server that says this whatever it hears; its port.
async fn server_of_anything(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            drop(stream.write_all(answer).await);
            kept.push(stream);
        }
    });
    port
}

/// A server of datagrams; its port.
async fn udp_server(answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> u16 {
    let socket = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut octets = [0; 1024];
        loop {
            let Ok((len, from)) = socket.recv_from(&mut octets).await else { continue };
            if let Some(answer) = answer(&octets[..len]) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    port
}

async fn closed_udp_port() -> u16 {
    UdpSocket::bind((LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_datagram_is_answered_as_expected() {
    let udp = |expect: &[u8]| Probe::Udp { send: b"PING".to_vec(), expect: expect.to_vec() };
    let pong = || udp_server(|got| (got == b"PING").then(|| b"PONG 7".to_vec()));
    let silent = udp_server(|_| None).await;
    let cases = [
        ("the beginning", udp(b"PONG"), pong().await, LONG, Ok(())),
        ("anything", udp(b""), pong().await, LONG, Ok(())),
        ("another", udp(b"PANG"), pong().await, LONG, Err(Failure::WrongAnswer(6))),
        ("silence", udp(b""), silent, SHORT, Err(Failure::TimedOut(SHORT))),
        ("nobody", udp(b""), closed_udp_port().await, LONG, Err(Failure::PortUnreachable)),
    ];
    for (name, probe, port, timeout, expected) in cases {
        assert_eq!(outcome(check(probe, port, timeout)).await, expected, "{name}");
    }
}

/// A name server with this response code, and perhaps an address, written by hand (RFC 1035 §4.1).
async fn name_server(rcode: u8, has_record: bool) -> u16 {
    udp_server(move |query| {
        let id = [query[0], query[1]];
        let record = if has_record {
            // The name in the question, A, IN, a TTL, four octets of address.
            [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1].as_slice()
        } else {
            &[]
        };
        let header = [0x81, 0x80 | rcode, 0, 1, 0, u8::from(has_record), 0, 0, 0, 0];
        Some([&id, header.as_slice(), &query[12..], record].concat())
    })
    .await
}

#[tokio::test]
async fn a_name_server_answers_with_the_right_code() {
    let dns = |query_type, rcode| {
        Probe::Dns(DnsProbe { query: "www.example".to_owned(), query_type, rcode })
    };
    let (a, aaaa, fine) = (DnsType::A, DnsType::Aaaa, DnsRcode::NoError);
    let wrong = Failure::WrongRcode { got: "Server Failure".to_owned(), wanted: "NOERROR" };
    let garbage = udp_server(|_| Some(b"?".to_vec())).await;
    let of_another = udp_server(|query| Some([&[!query[0]], &query[1..]].concat())).await;
    let cases = [
        ("a record", dns(a, fine), name_server(0, true).await, LONG, Ok(())),
        ("no record", dns(a, fine), name_server(0, false).await, LONG, Err(Failure::NoRecord("A"))),
        (
            "a record of another type",
            dns(aaaa, fine),
            name_server(0, true).await,
            LONG,
            Err(Failure::NoRecord("AAAA")),
        ),
        ("another code", dns(a, fine), name_server(2, false).await, LONG, Err(wrong)),
        ("the code", dns(a, DnsRcode::NxDomain), name_server(3, false).await, LONG, Ok(())),
        ("garbage", dns(a, fine), garbage, LONG, Err(Failure::Malformed("a DNS message"))),
        ("to another", dns(a, fine), of_another, SHORT, Err(Failure::TimedOut(SHORT))),
        ("nobody", dns(a, fine), closed_udp_port().await, LONG, Err(Failure::PortUnreachable)),
    ];
    for (name, probe, port, timeout, expected) in cases {
        assert_eq!(outcome(check(probe, port, timeout)).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_ping_is_answered() {
    for backend in [LOCALHOST, Ipv6Addr::LOCALHOST.into()] {
        let (mut checks, mut results) = start();
        checks.set(BTreeMap::from([((SERVICE, backend), check(Probe::Icmp, 0, LONG))]));
        let result = next(&mut results).await;
        assert!(result.outcome.is_ok(), "{backend}: {:?}", result.outcome);
    }
}
