//! Clients that ask for more than their share, within the protocol or past it. What is bounded has to hold, and a neighbour, who
//! even shares the proxy's connection with them, has to be served meanwhile.

mod http_two;
mod loris;
mod quiet;

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{self, Instant, timeout};
use weft_core::hbone::TunnelStream;
use weft_proto::route;
use weft_proto::workload::AppProtocol;

use super::app::App;
use super::stage::{Stage, WEB};
use crate::limits;

/// Bytes that a test may take altogether: the waypoint, its mesh, certificates, both ends of all connections and what the
/// attacker sends take three million as a rule, and a thousand open streams twenty.
const BYTES_MAX: u64 = 32 << 20;

/// Asks as somebody else, so often.
async fn neighbour_is_served(stage: &Stage, times: usize) {
    for _ in 0..times {
        let answered = timeout(Duration::from_secs(20), stage.get("/neighbour")).await;
        assert_eq!(answered.expect("an answer").body, "ok");
    }
}

/// Asks as somebody else until something holds.
async fn served_until(stage: &Stage, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "it doesn't come to hold");
        neighbour_is_served(stage, 1).await;
    }
}

/// Moves the clock on. All that is under way is given the time to be noticed first, by a neighbour's request, and exchanges are
/// looked at for the first time.
async fn pass(stage: &Stage, by: Duration) {
    for by in [limits::VIGIL_FIRST_LOOK, by] {
        neighbour_is_served(stage, 3).await;
        time::pause();
        time::advance(by).await;
        time::resume();
    }
}

/// What the waypoint says at last.
async fn rest(mut tunnel: TunnelStream) -> String {
    let mut read = Vec::new();
    let end = timeout(Duration::from_secs(20), tunnel.read_to_end(&mut read)).await;
    let _cut_or_ended = end.expect("the connection ends");
    String::from_utf8_lossy(&read).into_owned()
}

async fn stage_of(protocol: AppProtocol) -> (Stage, App) {
    let app = App::named("ok").await;
    let stage = Stage::new().await;
    stage.web(&[app.at], protocol);
    (stage, app)
}

/// All to `web`, in the version that these applications speak, whatever their clients do.
pub(super) fn in_http_one() -> route::HttpAction {
    let destination = route::Destination {
        namespace: "shop".into(),
        hostname: WEB.into(),
        protocol: route::Protocol::Http1.into(),
        ..Default::default()
    };
    let target = Some(route::weighted_backend::Target::To(destination));
    let backend = route::WeightedBackend { weight: 1, target, ..Default::default() };
    let forward = route::Forward { backends: vec![backend], ..Default::default() };
    let outcome = Some(route::http_action::Outcome::Forward(forward));
    route::HttpAction { outcome, ..Default::default() }
}

/// Runs a test on this thread alone, and checks what memory it took at its worst.
fn within_bounds(test: impl AsyncFnOnce(&Stage, &App)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let used = allocation_counter::measure(|| {
        runtime.block_on(async {
            let app = App::named("ok").await;
            let stage = Stage::new().await;
            stage.web(&[app.at], AppProtocol::Http11);
            stage.routes(vec![route::HttpRule::default()], vec![in_http_one()]);
            neighbour_is_served(&stage, 1).await;
            test(&stage, &app).await;
            neighbour_is_served(&stage, 3).await;
        });
        runtime.shutdown_background();
    });
    println!("{} bytes at most", used.bytes_max);
    assert!(used.bytes_max < BYTES_MAX, "{} bytes at most", used.bytes_max);
}
