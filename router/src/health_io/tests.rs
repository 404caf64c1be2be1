use std::net::Ipv4Addr;

use tidegate_bgp::types::Prefix;
use tidegate_config::desired::{ForwardingMode, Method, Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

mod kinds;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SERVICE: ServiceAddr =
    ServiceAddr { addrs: Prefix::host(LOCALHOST), port: 80, protocol: Protocol::Tcp };
const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(10);

fn http(status: u16) -> Probe {
    Probe::Http(http_probe(status))
}

fn http_probe(status: u16) -> HttpProbe {
    HttpProbe {
        method: Method::Get,
        path: "/health".to_owned(),
        host: Some("web.example".to_owned()),
        statuses: vec![status..=status],
        body: None,
        tls: None,
    }
}

fn check(probe: Probe, port: u16, timeout: Duration) -> HealthCheck {
    HealthCheck {
        probe,
        via: Via::Direct,
        port,
        interval: Duration::from_millis(20),
        retry: Duration::from_millis(20),
        timeout,
        rise: 1,
        fall: 1,
    }
}

/// A server that reads a request and then says this, once per connection; its port.
async fn server(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let Ok(len) = stream.read(&mut request).await else { continue };
            if len > 0 {
                let request = String::from_utf8_lossy(&request[..len]).to_lowercase();
                assert!(request.starts_with("get /health http/1.1\r\n"), "{request}");
                assert!(request.contains("host: web.example\r\n"), "{request}");
            }
            // The checker may have seen enough and be gone.
            drop(stream.write_all(answer).await);
        }
    });
    port
}

/// A server that says nothing and keeps its connections.
async fn silent_server() -> u16 {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            kept.push(listener.accept().await.unwrap());
        }
    });
    port
}

/// A server that never stops sending this; its port.
async fn endless_server(piece: &'static [u8]) -> u16 {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            if stream.write_all(b"HTTP/1.1 200 OK\r\n").await.is_ok() {
                while stream.write_all(piece).await.is_ok() {}
            }
        }
    });
    port
}

async fn closed_port() -> u16 {
    TcpListener::bind((LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port()
}

async fn next(results: &mut mpsc::Receiver<CheckResult>) -> CheckResult {
    tokio::time::timeout(LONG, results.recv()).await.expect("no result came").unwrap()
}

/// The outcome of one check, less the time it took.
async fn outcome(check: HealthCheck) -> Result<(), Failure> {
    let (mut checks, mut results) = start();
    checks.set(BTreeMap::from([((SERVICE, LOCALHOST), check)]));
    let result = next(&mut results).await;
    assert_eq!((&*result.services, result.backend), (&[SERVICE][..], LOCALHOST));
    result.outcome.map(|took| assert!(took < LONG))
}

#[tokio::test]
async fn every_kind_of_answer_is_told_apart() {
    let healthy = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let sick = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    let truncated = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok";
    let wrong = Failure::WrongStatus { got: 503, wanted: "200".to_owned() };
    let line = b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let cases = [
        ("TCP opens", Probe::Tcp, silent_server().await, LONG, Ok(())),
        ("TCP refused", Probe::Tcp, closed_port().await, LONG, Err(Failure::Refused)),
        ("HTTP answers", http(200), server(healthy).await, LONG, Ok(())),
        ("HTTP refused", http(200), closed_port().await, LONG, Err(Failure::Refused)),
        ("another status", http(200), server(sick).await, LONG, Err(wrong)),
        ("the status that is wanted", http(503), server(sick).await, LONG, Ok(())),
        ("silence", http(200), silent_server().await, SHORT, Err(Failure::TimedOut(SHORT))),
        (
            "garbage",
            http(200),
            server(b"SSH-2.0-x\r\n").await,
            LONG,
            Err(Failure::Malformed("an HTTP/1.1 response")),
        ),
        ("closed at once", http(200), server(b"").await, LONG, Err(Failure::ClosedEarly)),
        ("cut off", http(200), server(truncated).await, LONG, Err(Failure::ClosedEarly)),
        (
            "header without end",
            http(200),
            endless_server(line).await,
            LONG,
            Err(Failure::HeaderTooLong),
        ),
        ("body without end", http(200), endless_server(b"\r\n\r\n").await, LONG, Ok(())),
    ];
    for (name, probe, port, timeout, expected) in cases {
        assert_eq!(outcome(check(probe, port, timeout)).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_body_is_searched_and_several_statuses_can_be_good() {
    let healthy = b"HTTP/1.1 204 No Content\r\n\r\n";
    let page = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nstate: up";
    let of = |body: Option<&str>, statuses| {
        Probe::Http(HttpProbe { statuses, body: body.map(str::to_owned), ..http_probe(200) })
    };
    let (low, wanted) =
        (Failure::WrongStatus { got: 200, wanted: "204, 300-399".to_owned() }, "up");
    let cases = [
        ("in the range", of(None, vec![200..=299]), server(healthy).await, Ok(())),
        ("in the list", of(None, vec![200..=200, 204..=204]), server(healthy).await, Ok(())),
        ("in none", of(None, vec![204..=204, 300..=399]), server(page).await, Err(low)),
        ("the body holds it", of(Some(wanted), vec![200..=200]), server(page).await, Ok(())),
        (
            "the body lacks it",
            of(Some("down"), vec![200..=200]),
            server(page).await,
            Err(Failure::WrongBody("down".to_owned())),
        ),
        (
            "there is no body",
            of(Some(wanted), vec![200..=204]),
            server(healthy).await,
            Err(Failure::WrongBody(wanted.to_owned())),
        ),
        (
            "a body without end",
            of(Some("up"), vec![200..=200]),
            endless_server(b"\r\n\r\n").await,
            Err(Failure::WrongBody("up".to_owned())),
        ),
    ];
    for (name, probe, port, expected) in cases {
        assert_eq!(outcome(check(probe, port, LONG)).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_written_is_a_failure_not_a_panic() {
    let port = silent_server().await;
    for (path, host) in [("/a b", "web.example"), ("/", "a\nb")] {
        let (path, host) = (path.to_owned(), Some(host.to_owned()));
        let probe = Probe::Http(HttpProbe { path, host, ..http_probe(200) });
        assert_eq!(outcome(check(probe, port, LONG)).await, Err(Failure::Unaskable));
    }
}

#[tokio::test]
async fn failures_read_as_words() {
    let cases = [
        (Failure::TimedOut(Duration::from_secs(2)), "timed out after 2000 ms"),
        (Failure::WrongStatus { got: 503, wanted: "200".to_owned() }, "status 503 instead of 200"),
        (Failure::HeaderTooLong, "response header longer than 16384 bytes"),
    ];
    for (failure, words) in cases {
        assert_eq!(failure.to_string(), words);
    }
}

#[tokio::test]
async fn checks_repeat_and_a_dead_backend_does_not_hold_up_the_others() {
    let dead = (SERVICE, IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
    let alive = (SERVICE, LOCALHOST);
    let (mut checks, mut results) = start();
    let port = silent_server().await;
    checks.set(BTreeMap::from([
        (alive, check(Probe::Tcp, port, LONG)),
        (dead, check(Probe::Tcp, closed_port().await, LONG)),
    ]));
    let (mut good, mut bad) = (0, 0);
    while good < 3 || bad < 3 {
        let result = next(&mut results).await;
        match result.outcome {
            Ok(_) => good += usize::from(result.backend == alive.1),
            Err(_) => bad += usize::from(result.backend == dead.1),
        }
    }
}

#[tokio::test]
async fn setting_again_leaves_unchanged_checks_alone_and_stops_the_rest() {
    let (mut checks, mut results) = start();
    let keep = check(Probe::Tcp, silent_server().await, LONG);
    let change = check(Probe::Tcp, closed_port().await, LONG);
    let second = (SERVICE, IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
    let third = (SERVICE, IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)));
    checks.set(BTreeMap::from([
        ((SERVICE, LOCALHOST), keep.clone()),
        (second, change.clone()),
        (third, change.clone()),
    ]));
    let task = |checks: &Checks, backend| {
        let mut running = checks.running.iter();
        running.find(|(question, _)| question.backend == backend).map(|(_, it)| it.task.id())
    };
    let (kept_task, changed_task) = (task(&checks, LOCALHOST), task(&checks, second.1));
    assert!(kept_task.is_some() && changed_task.is_some());

    let slower = HealthCheck { timeout: SHORT, ..change };
    checks.set(BTreeMap::from([((SERVICE, LOCALHOST), keep), (second, slower)]));
    assert_eq!(checks.running.len(), 2);
    assert_eq!(task(&checks, LOCALHOST), kept_task);
    assert_ne!(task(&checks, second.1), changed_task);

    drop(checks);
    let ends = async { while results.recv().await.is_some() {} };
    tokio::time::timeout(LONG, ends).await.expect("a check outlived its owner");
}

#[tokio::test]
async fn who_asks_the_same_is_told_together() {
    let (mut checks, mut results) = start();
    let (one, other) = (silent_server().await, silent_server().await);
    let of = |port| ServiceAddr { port, ..SERVICE };
    let tunnelled = |port| HealthCheck {
        via: Via::Tunnel(ForwardingMode::Ipip),
        ..check(Probe::Tcp, port, LONG)
    };
    let elsewhere = ServiceAddr { addrs: Prefix::host([127, 0, 0, 2].into()), ..SERVICE };
    let wanted = BTreeMap::from([
        ((of(1), LOCALHOST), check(Probe::Tcp, one, LONG)),
        ((of(2), LOCALHOST), check(Probe::Tcp, one, LONG)),
        ((of(3), LOCALHOST), check(Probe::Tcp, other, LONG)),
    ]);
    checks.set(wanted.clone());
    assert_eq!(checks.running.len(), 2);
    let mut told = std::collections::BTreeSet::new();
    while told.len() < 2 {
        told.insert(next(&mut results).await.services.to_vec());
    }
    assert_eq!(told.into_iter().collect::<Vec<_>>(), [vec![of(1), of(2)], vec![of(3)]]);

    // In a tunnel it is the VIP that answers: each is asked for itself.
    let in_tunnel = [SERVICE, elsewhere].map(|service| ((service, LOCALHOST), tunnelled(one)));
    checks.set(in_tunnel.into());
    assert_eq!(checks.running.len(), 2);

    // One that joins is told no later than if it were alone.
    checks.set(BTreeMap::from([((of(1), LOCALHOST), check(Probe::Tcp, one, LONG))]));
    checks.set(wanted);
    while *next(&mut results).await.services != [of(1), of(2)] {}
}
