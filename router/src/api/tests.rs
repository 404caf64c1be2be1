use tower::ServiceExt as _;

use super::*;
use crate::view::tests::sample;

/// Routes whose questions are answered with `view`.
fn answering(view: View) -> Router {
    answering_with(Ok(view))
}

fn answering_with(answer: Result<View, String>) -> Router {
    let (views, mut questions) = view_channel();
    tokio::spawn(async move {
        while let Some(question) = questions.asked.recv().await {
            question.reply.send(answer.clone()).unwrap();
        }
    });
    finished(routes(views))
}

async fn get(routes: Router, method: &str, path: &str) -> (StatusCode, String, String) {
    let request = http::Request::builder().method(method).uri(path);
    let request = request.body(axum::body::Body::empty()).unwrap();
    let response = routes.oneshot(request).await.unwrap();
    let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap());
    let (status, kind) = (response.status(), kind.unwrap_or_default().to_owned());
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(serve::CONNECTIONS_MAX))
}

#[tokio::test]
async fn what_can_be_read_is_json_of_the_documented_shape() {
    let paths = ["/api/v1/status", "/api/v1/peers", "/api/v1/vips", "/api/v1/backends"];
    for path in paths {
        let (status, kind, body) = get(answering(sample()), "GET", path).await;
        assert_eq!((status, kind.as_str()), (StatusCode::OK, "application/json"), "{path}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["api_version"], "v1", "{path}");
    }
    let (_, _, body) = get(answering(sample()), "GET", "/api/v1/backends").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["backends"][0]["service"], "web");
    assert_eq!(body["backends"][0]["address"], "10.0.0.11");
}

#[tokio::test]
async fn the_description_and_a_page_that_shows_it_are_served() {
    let (status, kind, body) = get(answering(sample()), "GET", "/api/openapi.json").await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "application/json"));
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert!(body["paths"]["/api/v1/vips"]["get"].is_object());
    let (status, kind, body) = get(answering(sample()), "GET", "/api/").await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/html; charset=utf-8"));
    for elsewhere in ["http://", "https://", "//cdn"] {
        assert!(!body.contains(elsewhere), "{elsewhere}");
    }
}

#[tokio::test]
async fn refusals_are_rfc_9457_problems() {
    let cases = [
        ("GET", "/api/v1/nothing", StatusCode::NOT_FOUND, "urn:tidegate:problem:not-found"),
        ("GET", "/nothing", StatusCode::NOT_FOUND, "urn:tidegate:problem:not-found"),
        (
            "DELETE",
            "/api/v1/vips",
            StatusCode::METHOD_NOT_ALLOWED,
            "urn:tidegate:problem:method-not-allowed",
        ),
    ];
    for (method, path, wanted, kind) in cases {
        let (status, content, body) = get(answering(sample()), method, path).await;
        assert_eq!((status, content.as_str()), (wanted, "application/problem+json"), "{path}");
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["type"], kind, "{path}");
        assert_eq!(problem["status"], wanted.as_u16(), "{path}");
        assert!(problem["detail"].as_str().unwrap().contains(path), "{body}");
    }
}

#[tokio::test]
async fn a_daemon_that_is_not_ready_says_why() {
    let (status, _, body) = get(answering(sample()), "GET", "/readyz").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "ready\n"));

    let mut failing = sample();
    failing.status.converged = false;
    failing.status.problem = Some("the map is full".into());
    let (status, kind, body) = get(answering(failing), "GET", "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(kind, "application/problem+json");
    assert!(body.contains("the map is full"), "{body}");
}

#[tokio::test]
async fn figures_that_cannot_be_read_are_an_error_and_not_zeros() {
    for path in ["/metrics", "/api/v1/status", "/api/v1/vips"] {
        let routes = answering_with(Err("no such map".into()));
        let (status, kind, body) = get(routes, "GET", path).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert_eq!(kind, "application/problem+json", "{path}");
        assert!(body.contains("cannot be read: no such map"), "{body}");
    }
}

#[tokio::test]
async fn alive_does_not_depend_on_the_reconcile_task_but_answers_do() {
    let (views, questions) = view_channel();
    drop(questions);
    let routes = finished(routes(views));
    let (status, _, body) = get(routes.clone(), "GET", "/healthz").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "ok\n"));
    let (status, kind, _) = get(routes, "GET", "/api/v1/status").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(kind, "application/problem+json");
}

#[tokio::test]
async fn during_a_look_the_node_is_shown_as_it_was_before_and_nothing_else_is() {
    let (views, questions) = view_channel();
    questions.before.send_replace(Some(sample()));
    let routes = finished(routes(views));
    // More than there is room for: nobody answers them.
    for _ in 0..20 {
        let (status, _, body) = get(routes.clone(), "GET", "/api/v1/status").await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("\"generation\":3"), "{body}");
    }
    let (status, _, body) = get(routes.clone(), "GET", "/api/v1/vips").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    questions.before.send_replace(None);
    let (status, _, body) = get(routes, "GET", "/api/v1/status").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
}

#[tokio::test]
async fn metrics_are_of_what_is_there() {
    let (status, kind, body) = get(answering(sample()), "GET", "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    for line in [
        "tidegate_bgp_peer_up{peer=\"tor-1\"} 1",
        "tidegate_vip_announced{service=\"web\"} 1",
        "tidegate_backend_up{service=\"web\",backend=\"10.0.0.12\"} 0",
        "tidegate_backend_packets_total{service=\"web\",backend=\"10.0.0.11\"} 1200",
        "tidegate_datapath_packets_total{verdict=\"forward_tx\"} 1234567",
        "tidegate_xdp_actions_total{action=\"tx\"} 1234567",
        "tidegate_drops_total{reason=\"no_service\",stage=\"service\"} 0",
        "tidegate_bgp_prefixes{peer=\"tor-1\",afi_safi=\"ipv4-unicast\",view=\"filtered\"} 2",
        "tidegate_bgp_notifications_total{peer=\"tor-2\",direction=\"received\",code=\"6\",subcode=\"2\"} 1",
        "tidegate_bgp_peer_uptime_seconds{peer=\"tor-1\"} 97200",
        "tidegate_map_capacity{map=\"backends\"} 16384",
        "tidegate_metrics_series_capped 0",
    ] {
        assert!(body.lines().any(|found| found == line), "{line} is missing in\n{body}");
    }
    let helped = |name: &str| body.contains(&format!("# HELP {name} "));
    for sample in body.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = sample.split(['{', ' ']).next().unwrap();
        assert!(helped(name), "{name} has no help text");
    }
}

#[tokio::test]
async fn too_many_backends_have_no_series_and_a_metric_says_so() {
    let mut many = sample();
    many.status.backends.configured = 10_001;
    many.vips[0].active_backends = 10_001;
    let (_, _, body) = get(answering(many), "GET", "/metrics").await;
    assert!(body.contains("\ntidegate_metrics_series_capped 1\n"), "{body}");
    assert!(!body.contains("tidegate_backend_up{"), "{body}");
    assert!(body.contains("tidegate_vip_healthy_backends{service=\"web\"} 10001"), "{body}");
}

#[tokio::test]
async fn a_left_over_socket_is_taken_over_and_a_living_one_is_not() {
    let dir = std::env::temp_dir().join(format!("tidegate-api-{}", std::process::id()));
    let path = dir.join("api.sock");
    let first = bind_unix(&path).await.unwrap();
    let refused = bind_unix(&path).await.unwrap_err().to_string();
    assert!(refused.contains("another tidegate answers there"), "{refused}");
    drop(first);
    bind_unix(&path).await.unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}

/// What the server says on a connection until it closes it.
async fn said(mut stream: tokio::net::UnixStream) -> String {
    use tokio::io::AsyncReadExt as _;
    let mut said = Vec::new();
    // A reset ends it as well as a close does.
    drop(stream.read_to_end(&mut said).await);
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn slow_clients_are_cut_off_and_keep_nobody_out() {
    use tokio::io::AsyncWriteExt as _;
    let dir = std::env::temp_dir().join(format!("tidegate-slow-{}", std::process::id()));
    let path = dir.join("api.sock");
    let (unix, within) = (bind_unix(&path).await.unwrap(), Duration::from_secs(1));
    let server = tokio::spawn(serve::all(unix, answering(sample()), places(), within));
    let connect = || tokio::net::UnixStream::connect(&path);

    let mut idle = Vec::new();
    for _ in 0..serve::CONNECTIONS_MAX {
        let mut stream = connect().await.unwrap();
        stream.write_all(b"GET /healthz HT").await.unwrap();
        idle.push(stream);
    }
    // One more waits its turn, which comes when the others have had their time.
    let mut asks = connect().await.unwrap();
    asks.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let answer = said(asks).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with("ok\n"), "{answer}");
    for stream in idle {
        said(stream).await; // Returns only because the server hung up.
    }
    server.abort();
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn a_large_body_is_not_read() {
    use tokio::io::AsyncWriteExt as _;
    let dir = std::env::temp_dir().join(format!("tidegate-body-{}", std::process::id()));
    let path = dir.join("api.sock");
    let unix = bind_unix(&path).await.unwrap();
    let server = tokio::spawn(serve::all(unix, answering(sample()), places(), serve::WITHIN));
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let head = "POST /api/v1/vips HTTP/1.1\r\nhost: x\r\ncontent-length: 99000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = said(stream).await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    server.abort();
    std::fs::remove_dir_all(&dir).unwrap();
}
