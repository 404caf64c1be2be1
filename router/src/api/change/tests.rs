use tower::ServiceExt as _;

use super::super::caller::Who;
use super::super::config;
use super::*;
use crate::view::API_VERSION;
use tidegate_config::overlay::Kind;

/// Routes whose questions are answered by the test; what was asked.
async fn send(
    who: Who,
    method: &str,
    path: &str,
    if_match: Option<&str>,
    body: &str,
    answer: impl FnOnce(What) -> Result<Answer, Refused> + Send + 'static,
) -> (StatusCode, Option<String>, serde_json::Value) {
    let (asks, mut asked) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        if let Some(Ask { what, reply, .. }) = asked.recv().await {
            reply.send(answer(what)).unwrap();
        }
    });
    let mut request = http::Request::builder().method(method).uri(path);
    if let Some(tag) = if_match {
        request = request.header(header::IF_MATCH, tag);
    }
    let mut request = request.body(axum::body::Body::from(body.to_owned())).unwrap();
    request.extensions_mut().insert(who);
    let routes = routes(asks.clone()).merge(config::routes(asks));
    let response = axum::Router::from(routes).oneshot(request).await.unwrap();
    let status = response.status();
    let tag = response.headers().get(header::ETAG).map(|tag| tag.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, tag, serde_json::from_slice(&body).unwrap_or_default())
}

const ROOT: Who = Who::User { uid: 0, pid: Some(1) };

fn applied(generation: u64) -> Answer {
    Answer::Applied(Applied {
        api_version: API_VERSION.into(),
        generation,
        confirm_within_secs: None,
        plan: Plan::default(),
    })
}

#[tokio::test]
async fn a_write_names_its_generation_and_hears_the_next_one() {
    let path = "/api/v1/config/services/web";
    let never = |_| panic!("must not be asked");
    let (status, _, problem) = send(ROOT, "PUT", path, None, "{}", never).await;
    assert_eq!(status, StatusCode::PRECONDITION_REQUIRED);
    assert_eq!(problem["type"], "urn:tidegate:problem:no-generation");
    for tag in ["*", "W/\"7\"", "abc"] {
        let (status, ..) = send(ROOT, "DELETE", path, Some(tag), "", never).await;
        assert_eq!(status, StatusCode::PRECONDITION_FAILED, "{tag}");
    }
    let stale = |what| match what {
        What::Apply(Candidate::Edit { generation, .. }, _) => {
            Err(Refused::Stale { asked: generation, current: 9 })
        }
        other => panic!("{other:?}"),
    };
    let (status, _, problem) = send(ROOT, "PATCH", path, Some("\"7\""), "{}", stale).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED);
    assert!(problem["detail"].as_str().unwrap().contains("generation 7"), "{problem}");
    let (status, tag, _) = send(ROOT, "PUT", path, Some("\"9\""), "{}", |_| Ok(applied(10))).await;
    assert_eq!((status, tag.as_deref()), (StatusCode::OK, Some("\"10\"")));
}

#[tokio::test]
async fn a_dry_run_only_plans() {
    let planned = |what| match what {
        What::Plan(Candidate::Edit { target, generation: 3, .. }) => {
            assert_eq!(target.to_string(), "service web backend 10.0.0.1");
            Ok(Answer::Plan(Plan { from_generation: 3, ..Default::default() }))
        }
        other => panic!("{other:?}"),
    };
    let path = "/api/v1/config/services/web/backends/10.0.0.1?dry_run=true";
    let (status, tag, _) = send(ROOT, "DELETE", path, Some("\"3\""), "", planned).await;
    assert_eq!((status, tag.as_deref()), (StatusCode::OK, Some("\"3\"")));
}

#[tokio::test]
async fn over_tcp_nobody_changes_anything() {
    let writes = [
        ("POST", "/api/v1/plan"),
        ("POST", "/api/v1/apply"),
        ("POST", "/api/v1/confirm"),
        ("POST", "/api/v1/rollback"),
        ("PUT", "/api/v1/config/peers/tor"),
        ("DELETE", "/api/v1/config/overlay"),
    ];
    for (method, path) in writes {
        let never = |_| panic!("must not be asked");
        let (status, _, problem) =
            send(Who::Unknown, method, path, Some("\"1\""), "{}", never).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(problem["type"], "urn:tidegate:problem:read-only");
    }
}

#[tokio::test]
async fn a_value_that_is_no_good_is_pointed_to() {
    let cases = [
        (r#"{"confirm": "soon"}"#, "#/confirm"),
        (r#"{"confirm": "0s"}"#, "#/confirm"),
        (r#"{"confirm": "48h"}"#, "#/confirm"),
        (r#"{"confirm": "5m", "guards": ["peers-up", "luck"]}"#, "#/guards/1"),
        (r#"{"guards": ["drops"]}"#, "#/guards"),
        (r#"{"comment": "two\nlines"}"#, "#/comment"),
        (r#"{"text": "", "generation": 3}"#, "#/generation"),
    ];
    for (body, pointer) in cases {
        let never = |_| panic!("must not be asked");
        let (status, _, problem) = send(ROOT, "POST", "/api/v1/apply", None, body, never).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    for body in ["{", "[]", r#"{"confirn": "5m"}"#] {
        let never = |_| panic!("must not be asked");
        let (status, ..) = send(ROOT, "POST", "/api/v1/apply", None, body, never).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    }
}

#[test]
fn a_key_becomes_a_pointer_into_the_object() {
    let target = Target { kind: Kind::Service, name: "web".into(), backend: None };
    let cases = [
        ("service.web.port", "/port"),
        ("service.web.backend[2].weight", "/backend/1/weight"),
        ("service.web.advertise.communities[1]", "/advertise/communities/0"),
        ("service.web", ""),
        ("service.other.port", ""),
    ];
    for (key, expected) in cases {
        assert_eq!(pointer(&target, key), expected, "{key}");
    }
}
