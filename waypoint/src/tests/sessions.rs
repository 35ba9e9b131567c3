//! Requests that stay together.

use http::header::{COOKIE, SET_COOKIE};
use weft_proto::contract::type_url;
use weft_proto::route;
use weft_proto::route::http_action::Outcome;
use weft_proto::route::session::Carrier;
use weft_proto::route::weighted_backend::Target;
use weft_proto::workload::AppProtocol;

use super::app::App;
use super::stage::{Answered, Stage, WEB, request};
use crate::explain::{Asked, explain};

fn by_cookie() -> route::Session {
    let cookie = route::SessionCookie { name: "sid".into(), ..Default::default() };
    route::Session {
        scope: "HTTPRoute shop/web 0".into(),
        carrier: Some(Carrier::Cookie(cookie)),
        ..Default::default()
    }
}

fn by_header() -> route::Session {
    route::Session { carrier: Some(Carrier::Header("x-session".into())), ..by_cookie() }
}

/// One rule for everything.
fn routes(stage: &Stage, session: route::Session, weights: &[(u32, &str)]) {
    let backend = |(weight, service): &(u32, &str)| {
        let to = route::Destination {
            namespace: "shop".into(),
            hostname: format!("{service}.shop.svc.cluster.local"),
            port: 80,
            ..Default::default()
        };
        route::WeightedBackend {
            weight: *weight,
            target: Some(Target::To(to)),
            ..Default::default()
        }
    };
    let forward = route::Forward {
        backends: weights.iter().map(backend).collect(),
        session: Some(session),
        ..Default::default()
    };
    let action =
        route::HttpAction { outcome: Some(Outcome::Forward(forward)), ..Default::default() };
    stage.routes(vec![route::HttpRule::default()], vec![action]);
}

/// Asks as a client that keeps what it was told.
async fn again(stage: &Stage, told: &Answered) -> Answered {
    let mut asked = request("GET", "/", "");
    if let Some(cookie) = told.headers.get(SET_COOKIE) {
        let pair = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        asked.headers_mut().insert(COOKIE, pair.parse().unwrap());
    }
    if let Some(session) = told.headers.get("x-session") {
        asked.headers_mut().insert("x-session", session.clone());
    }
    stage.ask(asked).await
}

async fn three() -> (Stage, [App; 3]) {
    let stage = Stage::new().await;
    let apps = [App::named("a").await, App::named("b").await, App::named("c").await];
    stage.web(&[apps[0].at, apps[1].at, apps[2].at], AppProtocol::Http11);
    (stage, apps)
}

/// Takes the endpoint away that says this name.
fn remove(stage: &Stage, name: &str) {
    let number = ["a", "b", "c"].iter().position(|it| *it == name).unwrap();
    stage.tell(type_url::ADDRESS, &format!("Kubernetes//Pod/shop/web-{number}"), None);
}

#[tokio::test]
async fn requests_of_a_session_stay_with_the_endpoint_that_took_the_first() {
    let (stage, _apps) = three().await;
    for session in [by_cookie(), by_header()] {
        routes(&stage, session, &[(1, "web")]);
        let first = stage.get("/").await;
        for _ in 0..20 {
            let next = again(&stage, &first).await;
            assert_eq!(next.body, first.body);
            // What the client has is right, so that it isn't told anew.
            let is_told =
                next.headers.contains_key(SET_COOKIE) || next.headers.contains_key("x-session");
            assert!(!is_told, "{next:?}");
        }
        let mut others = 0;
        for _ in 0..40 {
            others += usize::from(stage.get("/").await.body != first.body);
        }
        assert!(others > 0, "clients without a session are balanced");
    }
}

#[tokio::test]
async fn session_counts_more_than_weights() {
    let (stage, apps) = three().await;
    for (name, vip, app) in [("v1", "10.96.0.11", &apps[0]), ("v2", "10.96.0.12", &apps[1])] {
        let host = format!("{name}.shop.svc.cluster.local");
        stage.workload(name, &app.at.ip().to_string(), &[(&host, 80, app.at.port())]);
        stage.service(name, vip, &[(80, 80, AppProtocol::Http11)], false);
    }
    routes(&stage, by_cookie(), &[(0, "v1"), (1, "v2")]);
    let told = stage.get("/").await;
    assert_eq!(told.body, "b");
    routes(&stage, by_cookie(), &[(1, "v1"), (0, "v2")]);
    assert_eq!(stage.get("/").await.body, "a");
    assert_eq!(again(&stage, &told).await.body, "b");
    // Another rule's sessions are none of this one's.
    routes(
        &stage,
        route::Session { scope: "other".into(), ..by_cookie() },
        &[(1, "v1"), (0, "v2")],
    );
    assert_eq!(again(&stage, &told).await.body, "a");
}

#[tokio::test]
async fn session_whose_endpoint_has_gone_is_begun_anew() {
    let (stage, _apps) = three().await;
    routes(&stage, by_cookie(), &[(1, "web")]);
    let first = stage.get("/").await;
    remove(&stage, &first.body);
    let second = again(&stage, &first).await;
    assert_eq!(second.status, 200);
    assert_ne!(second.body, first.body);
    assert!(second.headers.contains_key(SET_COOKIE));
    for _ in 0..20 {
        assert_eq!(again(&stage, &second).await.body, second.body);
    }
}

#[tokio::test]
async fn session_goes_on_elsewhere_where_its_endpoint_cannot_be_connected_to() {
    let stage = Stage::new().await;
    let app = App::named("b").await;
    let dead = std::net::TcpListener::bind("127.0.1.254:0").unwrap().local_addr().unwrap();
    stage.web(&[dead, app.at], AppProtocol::Http11);
    // The endpoint that nobody listens at.
    let tag = crate::session::EndpointTag::of(&format!("shop/{WEB}"), "Kubernetes//Pod/shop/web-0");
    let scope = crate::session::Scope::of(&by_cookie().scope);
    let now = std::time::Duration::from_secs(weft_core::clock::unix_seconds());
    let token = crate::session::Token { endpoint: tag, began: now, used: now };
    routes(&stage, by_cookie(), &[(1, "web")]);
    let mut asked = request("GET", "/", "");
    let cookie = format!("sid={}", token.write(scope));
    asked.headers_mut().insert(COOKIE, cookie.parse().unwrap());
    let answered = stage.ask(asked).await;
    assert_eq!((answered.status, &*answered.body), (200, "b"));
    assert!(answered.headers.contains_key(SET_COOKIE));
}

#[tokio::test]
async fn sessions_of_a_service_need_no_rule() {
    let (stage, _apps) = three().await;
    let cookie =
        route::SessionCookie { name: "app".into(), path: "/here".into(), ..Default::default() };
    let session =
        route::Session { carrier: Some(Carrier::Cookie(cookie)), ..route::Session::default() };
    let settings = route::BackendSettings { session: Some(session), ..Default::default() };
    stage.backends(WEB, route::BackendPolicy { settings: Some(settings), ..Default::default() });
    let first = stage.get("/").await;
    let text = first.headers[SET_COOKIE].to_str().unwrap();
    assert!(text.starts_with("app=") && text.ends_with("; Path=/here; HttpOnly"), "{text}");
    for _ in 0..20 {
        assert_eq!(again(&stage, &first).await.body, first.body);
    }
}

#[tokio::test]
async fn cookie_has_the_path_that_the_rule_covers() {
    use weft_proto::route::condition::Kind;
    use weft_proto::route::path_condition::Kind as Path;
    let (stage, _apps) = three().await;
    for (path, asked, wanted) in [
        (Path::ElementPrefix("/shop".into()), "/shop/cart", "Path=/shop;"),
        (Path::Exact("/shop/cart".into()), "/shop/cart", "Path=/shop/cart;"),
        (Path::TextPrefix("/shop/c".into()), "/shop/cart", "Path=/shop;"),
        (Path::Regex("/shop/[a-z]+".into()), "/shop/cart", "Path=/shop;"),
        (Path::ElementPrefix("/".into()), "/shop/cart", "Path=/;"),
    ] {
        routes(&stage, by_cookie(), &[(1, "web")]);
        let path = route::PathCondition { kind: Some(path), ignore_case: false };
        let condition = route::Condition { kind: Some(Kind::Path(path)), negated: false };
        let rule = route::HttpRule { conditions: vec![condition], action: 0 };
        let backend = route::WeightedBackend {
            weight: 1,
            target: Some(Target::To(route::Destination {
                namespace: "shop".into(),
                hostname: WEB.into(),
                port: 80,
                ..Default::default()
            })),
            ..Default::default()
        };
        let forward = route::Forward {
            backends: vec![backend],
            session: Some(by_cookie()),
            ..Default::default()
        };
        let action =
            route::HttpAction { outcome: Some(Outcome::Forward(forward)), ..Default::default() };
        stage.routes(vec![rule], vec![action]);
        let told = stage.get(asked).await;
        let text = told.headers[SET_COOKIE].to_str().unwrap();
        assert!(text.contains(wanted), "{text}: {wanted}");
    }
}

#[tokio::test]
async fn explanation_says_what_counts_more_than_weights() {
    let (stage, _apps) = three().await;
    stage.workload("client", "127.0.2.1", &[]);
    routes(&stage, by_cookie(), &[(1, "web")]);
    let asked = Asked {
        source: "shop/client".to_owned(),
        service: WEB.to_owned(),
        method: "GET".to_owned(),
        path: "/".to_owned(),
        ..Asked::default()
    };
    let told = explain(&stage.shared, &asked).unwrap();
    let text = format!("{told:?}");
    assert!(text.contains("sessions by cookie sid"), "{text}");
}
