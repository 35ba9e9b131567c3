//! Endpoints outside of the mesh, which are known by name.

use weft_proto::workload::AppProtocol;

use super::app::App;
use super::stage::{Stage, WEB, WEB_VIP, request};

/// The service `web` of a workload that is known by `hostname`.
async fn known_by(hostname: &str, app: &App) -> Stage {
    let stage = Stage::new().await;
    stage.named("web-0", hostname, &[(WEB, 80, app.at.port())]);
    stage.service("web", WEB_VIP, &[(80, 80, AppProtocol::Http11)], true);
    stage
}

fn dashed(app: &App) -> String {
    app.at.ip().to_string().replace('.', "-")
}

#[tokio::test]
async fn endpoint_that_is_known_by_name_is_reached_at_an_address_that_can_be_had() {
    let app = App::named("outside").await;
    // Nobody listens at the other.
    let stage = known_by(&format!("{}.and-127-0-0-99.example", dashed(&app)), &app).await;
    for _ in 0..4 {
        let mut asking = request("GET", "/", "");
        asking.headers_mut().insert("connection", "close".parse().unwrap());
        assert_eq!(stage.ask(asking).await.body, "outside");
    }
}

#[tokio::test]
async fn name_that_nobody_knows_is_answered_503() {
    let app = App::named("outside").await;
    let stage = known_by("unknown.example", &app).await;
    assert_eq!(stage.get("/").await.status, 503);
}

#[tokio::test]
async fn wildcard_is_for_hosts_below_it_and_never_leads_inside() {
    let app = App::named("inside").await;
    let stage = known_by("*.example", &app).await;
    let leads_inside = format!("{}.example", dashed(&app));
    for host in ["web.shop", "example", ".example", "a..example", &leads_inside] {
        let mut asking = request("GET", "/", "");
        asking.headers_mut().insert("host", host.parse().unwrap());
        assert_eq!(stage.ask(asking).await.status, 503, "{host}");
    }
    assert_eq!(app.count(), 0);
}
