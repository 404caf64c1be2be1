//! Over real sockets on this host, with real certificates.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

use axum::routing::{get, post};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::*;
use crate::access::tests::Pki;
use crate::access::tokens::Role;
use crate::api::caller::Writer;
use crate::api::extract::Body;

struct Server {
    at: SocketAddr,
    rules: watch::Sender<Arc<Access>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(access: Access) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let (rules, known) = watch::channel(Arc::new(access));
        let routes = Router::new()
            .route("/read", get(async || "read\n"))
            .route("/write", post(async |Writer(who): Writer, Body(_): Body| who));
        let places = Arc::new(Semaphore::new(serve::TCP_CONNECTIONS_MAX));
        Self { at, rules, task: tokio::spawn(all(listener, routes, places, known)) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client's side: whom it trusts, and what it shows.
fn trusting(pki: &Pki, shows: Option<&str>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pki.dir.join("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let file = |name: &str, kind: &str| pki.dir.join(format!("{name}.{kind}"));
    let config = match shows {
        None => config.with_no_client_auth(),
        Some(name) => {
            let chain = vec![CertificateDer::from_pem_file(file(name, "pem")).unwrap()];
            let key = PrivateKeyDer::from_pem_file(file(name, "key")).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}

async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
    token: Option<&str>,
) -> std::io::Result<String> {
    let token = token.map(|token| format!("authorization: Bearer {token}\r\n"));
    let body = if request.starts_with("POST") { "content-length: 0\r\n" } else { "" };
    let head = format!("{request} HTTP/1.1\r\nhost: x\r\n{body}{}\r\n", token.unwrap_or_default());
    stream.write_all(head.as_bytes()).await?;
    let mut said = Vec::new();
    match stream.read_to_end(&mut said).await {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error),
        Ok(_) | Err(_) => {}
    }
    Ok(String::from_utf8(said).unwrap())
}

async fn over_tls(
    server: &Server,
    connector: &TlsConnector,
    request: &str,
    token: Option<&str>,
) -> std::io::Result<String> {
    let stream = TcpStream::connect(server.at).await?;
    let name = ServerName::try_from("localhost").unwrap();
    ask(connector.connect(name, stream).await?, request, token).await
}

/// The number of an answer, and that it is a problem when it is no success.
fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
    let is_problem = answer.contains("content-type: application/problem+json");
    assert_eq!(is_problem, status >= 400, "{answer}");
    status
}

#[tokio::test]
async fn tokens_have_roles_and_whoever_has_none_is_not_let_in() {
    let pki = Pki::new();
    pki.sign("server", "edge");
    let tokens = pki.tokens(&[("looks", Role::ReadOnly), ("ops", Role::Operator)]);
    let [looks, ops] = &tokens[..] else { panic!("{tokens:?}") };
    let server =
        Server::start(Access::read(&pki.api(&["server.pem", "tokens"], &[])).unwrap()).await;
    let tls = trusting(&pki, None);
    let cases = [
        ("GET /read", None, 401),
        ("POST /write", None, 401),
        ("GET /read", Some("tidegate_wrong"), 401),
        ("GET /none", Some("tidegate_wrong"), 401),
        ("GET /read", Some(&**looks), 200),
        ("POST /write", Some(looks), 403),
        ("GET /read", Some(ops), 200),
        ("POST /write", Some(ops), 200),
    ];
    for (request, token, wanted) in cases {
        let answer = over_tls(&server, &tls, request, token).await.unwrap();
        assert_eq!(status(&answer), wanted, "{request} {token:?}: {answer}");
        let is_asked = answer.contains("www-authenticate: Bearer");
        assert_eq!(is_asked, wanted == 401, "{answer}");
        assert!(!token.is_some_and(|token| answer.contains(token)), "{answer}");
    }
    // As a password, which browsers send for pages of others too, it is good for reading alone.
    for (request, password, wanted) in
        [("GET /read", &**ops, 200), ("POST /write", ops, 403), ("GET /read", "wrong", 401)]
    {
        let basic = STANDARD.encode(format!("anybody:{password}"));
        let request = format!("{request} HTTP/1.1\r\nauthorization: Basic {basic}\r\nx:");
        let answer = over_tls(&server, &tls, &request, None).await.unwrap();
        assert_eq!(status(&answer), wanted, "{request}: {answer}");
    }
    let answer = over_tls(&server, &tls, "POST /write", Some(ops)).await.unwrap();
    assert!(answer.ends_with("token ops (127.0.0.1)"), "{answer}");
    // Without TLS nothing is answered, least of all by a token.
    let plain = TcpStream::connect(server.at).await.unwrap();
    let answer = ask(plain, "GET /read", Some(ops)).await.unwrap_or_default();
    assert!(!answer.contains("HTTP"), "{answer}");
}

#[tokio::test]
async fn certificates_have_roles_and_those_of_others_are_refused() {
    let (pki, others) = (Pki::new(), Pki::new());
    pki.sign("server", "edge");
    pki.sign("ops", "ops");
    pki.sign("looks", "looks");
    others.sign("ops", "ops");
    std::fs::rename(others.dir.join("ops.pem"), pki.dir.join("forged.pem")).unwrap();
    std::fs::rename(others.dir.join("ops.key"), pki.dir.join("forged.key")).unwrap();
    let api = pki.api(&["server.pem", "ca.pem"], &["ops"]);
    let server = Server::start(Access::read(&api).unwrap()).await;
    for (shows, request, wanted) in [
        ("ops", "GET /read", 200),
        ("ops", "POST /write", 200),
        ("looks", "GET /read", 200),
        ("looks", "POST /write", 403),
    ] {
        let answer = over_tls(&server, &trusting(&pki, Some(shows)), request, None).await.unwrap();
        assert_eq!(status(&answer), wanted, "{shows} {request}: {answer}");
    }
    for shows in [None, Some("forged")] {
        let answer = over_tls(&server, &trusting(&pki, shows), "GET /read", None).await;
        answer.expect_err("the handshake fails");
    }
    // A browser shows a certificate for pages of others too.
    let from_page = |page: &str| format!("POST /write HTTP/1.1\r\norigin: https://{page}\r\nx:");
    for (page, wanted) in [("x", 200), ("x.example", 403), ("null", 403)] {
        let ops = trusting(&pki, Some("ops"));
        let answer = over_tls(&server, &ops, &from_page(page), None).await.unwrap();
        assert_eq!(status(&answer), wanted, "{page}: {answer}");
    }
    // With tokens too, whoever has no certificate is asked for one; a forged one stays bad.
    let tokens = pki.tokens(&[("looks", Role::ReadOnly)]);
    let api = pki.api(&["server.pem", "ca.pem", "tokens"], &["ops"]);
    let both = Server::start(Access::read(&api).unwrap()).await;
    let tls = trusting(&pki, None);
    let answer = over_tls(&both, &tls, "GET /read", Some(&tokens[0])).await.unwrap();
    assert_eq!(status(&answer), 200, "{answer}");
    let answer = over_tls(&both, &tls, "GET /read", None).await.unwrap();
    assert_eq!(status(&answer), 401, "{answer}");
    let forged = over_tls(&both, &trusting(&pki, Some("forged")), "GET /read", None).await;
    forged.expect_err("the handshake fails");
}

#[tokio::test]
async fn new_certificates_and_tokens_count_at_once_and_cut_nobody_off() {
    let pki = Pki::new();
    pki.sign("server", "edge");
    let old = pki.tokens(&[("ops", Role::Operator)]);
    let api = pki.api(&["server.pem", "tokens"], &[]);
    let server = Server::start(Access::read(&api).unwrap()).await;
    let tls = trusting(&pki, None);
    let name = ServerName::try_from("localhost").unwrap();
    let standing = TcpStream::connect(server.at).await.unwrap();
    let standing = tls.connect(name.clone(), standing).await.unwrap();
    let shown = |stream: &tokio_rustls::client::TlsStream<TcpStream>| {
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let before = shown(&standing);

    pki.sign("server", "edge");
    let new = pki.tokens(&[("ops", Role::Operator)]);
    server.rules.send_replace(Arc::new(Access::read(&api).unwrap()));
    let fresh = TcpStream::connect(server.at).await.unwrap();
    let fresh = tls.connect(name, fresh).await.unwrap();
    assert_ne!(shown(&fresh), before);
    let answer = ask(fresh, "GET /read", Some(&old[0])).await.unwrap();
    assert_eq!(status(&answer), 401, "{answer}");
    let answer = over_tls(&server, &tls, "GET /read", Some(&new[0])).await.unwrap();
    assert_eq!(status(&answer), 200, "{answer}");
    // What stood before goes by what was good then.
    let answer = ask(standing, "GET /read", Some(&old[0])).await.unwrap();
    assert_eq!(status(&answer), 200, "{answer}");
}

#[tokio::test]
async fn who_asks_too_fast_waits_and_takes_nothing_from_others() {
    let pki = Pki::new();
    let tokens = pki.tokens(&[("one", Role::ReadOnly), ("other", Role::ReadOnly)]);
    let mut api = pki.api(&["tokens"], &[]);
    api.request_rate = 5;
    let server = Server::start(Access::read(&api).unwrap()).await;
    let asked = async |token: &str| {
        let stream = TcpStream::connect(server.at).await.unwrap();
        ask(stream, "GET /read", Some(token)).await.unwrap()
    };
    for token in ["tidegate_wrong", &tokens[0]] {
        let mut refused = None;
        for _ in 0..40 {
            let answer = asked(token).await;
            if status(&answer) == 429 {
                refused = Some(answer);
                break;
            }
        }
        let refused = refused.expect("there is an end");
        assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
    }
    assert_eq!(status(&asked(&tokens[1]).await), 200);
}

#[tokio::test]
async fn one_address_takes_some_of_the_places_and_no_more() {
    let pki = Pki::new();
    let server = Server::start(Access::read(&pki.api(&[], &[])).unwrap()).await;
    let mut silent = Vec::new();
    for _ in 0..OF_AN_ADDRESS_MAX {
        silent.push(TcpStream::connect(server.at).await.unwrap());
    }
    // The server takes them in this order.
    let answer = ask(TcpStream::connect(server.at).await.unwrap(), "GET /read", None).await;
    assert!(answer.map_or(true, |answer| answer.is_empty()), "it is closed at once");
    // Somebody else is answered meanwhile.
    let elsewhere = tokio::net::TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let elsewhere = elsewhere.connect(server.at).await.unwrap();
    assert_eq!(status(&ask(elsewhere, "GET /read", None).await.unwrap()), 200);
    // The silent ones are closed in time, and then there is room again.
    for mut stream in silent {
        let mut said = Vec::new();
        drop(stream.read_to_end(&mut said).await);
        assert!(!said.starts_with(b"HTTP/1.1 200"), "{said:?}");
    }
    let again = TcpStream::connect(server.at).await.unwrap();
    assert_eq!(status(&ask(again, "GET /read", None).await.unwrap()), 200);
}

#[tokio::test]
async fn a_body_that_is_too_large_or_too_slow_is_refused_with_a_problem() {
    let pki = Pki::new();
    let tokens = pki.tokens(&[("ops", Role::Operator), ("looks", Role::ReadOnly)]);
    let server = Server::start(Access::read(&pki.api(&["tokens"], &[])).unwrap()).await;
    let sent = async |token: &str, length: usize, now: usize| {
        let mut stream = TcpStream::connect(server.at).await.unwrap();
        let head = format!(
            "POST /write HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\
             authorization: bearer {token}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // Whoever is refused before all of it was read is cut off: that is no failure.
        drop(stream.write_all(&vec![b'x'; now]).await);
        let mut said = Vec::new();
        drop(stream.read_to_end(&mut said).await);
        String::from_utf8(said).unwrap()
    };
    assert_eq!(status(&sent(&tokens[0], 10, 10).await), 200);
    assert_eq!(status(&sent(&tokens[0], 50_000_000, 0).await), 413);
    assert_eq!(status(&sent(&tokens[1], 50_000_000, 0).await), 403);
    assert_eq!(status(&sent("tidegate_wrong", 50_000_000, 0).await), 401);
    assert_eq!(status(&sent(&tokens[0], 10, 5).await), 408);
}
