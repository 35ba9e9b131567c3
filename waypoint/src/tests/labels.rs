//! Labels of workloads: subsets of a service, and matches of callers.

use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use weft_core::hbone::TunnelStream;
use weft_proto::route;
use weft_proto::route::condition::Kind;
use weft_proto::route::http_action::Outcome;
use weft_proto::route::weighted_backend::Target;

use super::app::App;
use super::stage::{Answered, Stage, WEB, WEB_VIP, request};

const CLIENT: &str = "127.0.0.77";

fn to_subset(name: &str, labels: &[(&str, &str)]) -> route::HttpAction {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let subset = route::Subset { name: name.into(), labels: labels.collect() };
    let to = route::Destination {
        namespace: "shop".into(),
        hostname: WEB.into(),
        port: 80,
        subset: Some(subset),
        ..Default::default()
    };
    let backend =
        route::WeightedBackend { weight: 1, target: Some(Target::To(to)), ..Default::default() };
    let forward = route::Forward { backends: vec![backend], ..Default::default() };
    route::HttpAction { outcome: Some(Outcome::Forward(forward)), ..Default::default() }
}

/// `web` of two applications that differ in their labels.
async fn tiers() -> (Stage, App, App) {
    let (gold, iron) = (App::named("gold").await, App::named("iron").await);
    let stage = Stage::with_web(gold.at).await;
    for (name, app, tier) in [("web-0", &gold, "gold"), ("web-1", &iron, "iron")] {
        let (address, behind) = (app.at.ip().to_string(), [(WEB, 80, app.at.port())]);
        stage.labelled(name, &address, &behind, &[("tier", tier), ("app", "web")]);
    }
    (stage, gold, iron)
}

async fn ask(tunnel: TunnelStream) -> Answered {
    let (mut sender, connection) =
        http1::handshake::<_, Full<bytes::Bytes>>(TokioIo::new(tunnel)).await.unwrap();
    tokio::spawn(connection);
    Answered::of(sender.send_request(request("GET", "/", "")).await.unwrap()).await
}

#[tokio::test]
async fn subset_takes_only_the_endpoints_with_its_labels() {
    let (stage, gold, iron) = tiers().await;
    let rule = route::HttpRule { conditions: Vec::new(), action: 0 };
    let labels = [("tier", "iron"), ("app", "web")];
    stage.routes(vec![rule.clone()], vec![to_subset("iron", &labels)]);
    for _ in 0..20 {
        assert_eq!(stage.get("/").await.body, "iron");
    }
    assert_eq!((gold.count(), iron.count()), (0, 20));
    stage.routes(vec![rule], vec![to_subset("lead", &[("tier", "lead")])]);
    assert_eq!(stage.get("/").await.status, 503);
}

#[tokio::test]
async fn labels_of_callers_count_also_on_connections_that_are_older_than_the_routes() {
    let (stage, ..) = tiers().await;
    let ask_as_client = async || {
        let authority = format!("{WEB_VIP}:80");
        ask(stage.tunnel_from(CLIENT, "shop", &authority).await.unwrap()).await.body
    };
    ask_as_client().await;
    let labels = [("tier".to_owned(), "gold".to_owned())].into();
    let source = route::SourceCondition { labels, ..Default::default() };
    let condition = route::Condition { kind: Some(Kind::Source(source)), negated: false };
    let rules = vec![
        route::HttpRule { conditions: vec![condition], action: 0 },
        route::HttpRule { conditions: Vec::new(), action: 1 },
    ];
    let actions =
        [("gold", "gold"), ("iron", "iron")].map(|(name, tier)| to_subset(name, &[("tier", tier)]));
    stage.routes(rules, actions.into());
    assert_eq!(ask_as_client().await, "iron");
    stage.labelled("client", CLIENT, &[], &[("tier", "gold")]);
    assert_eq!(ask_as_client().await, "gold");
    stage.labelled("client", CLIENT, &[], &[("tier", "iron")]);
    assert_eq!(ask_as_client().await, "iron");
}
