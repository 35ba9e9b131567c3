//! The routes that more than one process has.

use std::sync::Arc;

use http::{StatusCode, header};

use super::router::{Request, Response, Router};
use crate::telemetry::{Exposition, LogControl, Registry};

/// `/metrics` and, for those who scrape Istio, `/stats/prometheus`.
pub fn add_metrics(router: &mut Router, registry: &Arc<Registry>) {
    for path in ["/metrics", "/stats/prometheus"] {
        let registry = Arc::clone(registry);
        router.get(path, "metrics", move |request| {
            let registry = Arc::clone(&registry);
            async move {
                let exposition = Exposition::accepted(request.header(header::ACCEPT));
                // A large table takes tens of milliseconds, which other tasks of this thread needn't wait for.
                let text = blocking(move || registry.encode(exposition)).await;
                match text {
                    Some(Ok(text)) => {
                        let content_type = exposition.content_type();
                        Response { content_type, ..Response::ok(text) }
                    }
                    _ => Response::text(StatusCode::INTERNAL_SERVER_ERROR, "metrics failed\n"),
                }
            }
        });
    }
}

/// `/healthz/ready`. `pending` names what isn't ready yet.
pub fn add_ready(router: &mut Router, pending: impl Fn() -> Vec<String> + Send + Sync + 'static) {
    router.get("/healthz/ready", "readiness", move |_request| {
        let pending = pending();
        async move {
            if pending.is_empty() {
                return Response::ok("ready\n");
            }
            let text = format!("not ready, pending: {}\n", pending.join(", "));
            Response::text(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    });
}

/// `/logging`: GET shows the levels, POST changes them (`?level=debug`, `?level=access:debug,dns:trace`, `?reset`).
pub fn add_logging(router: &mut Router, control: &LogControl) {
    let levels = control.clone();
    router.get("/logging", "log levels", move |_request| {
        let text = current(&levels);
        async move { Response::ok(text) }
    });
    let control = control.clone();
    let help = "change log levels: ?level=debug, ?level=access:debug, ?reset";
    router.change("/logging", help, move |request| {
        let response = change_levels(&control, &request);
        async move { response }
    });
}

fn current(control: &LogControl) -> String {
    format!("current log level is {}\n", control.levels())
}

fn change_levels(control: &LogControl, request: &Request) -> Response {
    let reset = if request.query("reset").is_some() { control.reset() } else { Ok(()) };
    let changed = reset.and_then(|()| match request.query("level") {
        Some(level) => control.change(level),
        None => Ok(()),
    });
    match changed {
        Ok(()) => Response::ok(current(control)),
        Err(error) => Response::text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

/// `/quitquitquit`: stops the process in order.
pub fn add_quit(router: &mut Router, quit: impl Fn() + Send + Sync + 'static) {
    router.change("/quitquitquit", "stop in order", move |_request| {
        quit();
        async { Response::ok("shutting down\n") }
    });
}

/// `/config_dump`: what this proxy knows and does.
pub fn add_dump<F, Dump>(router: &mut Router, dump: F)
where
    F: Fn() -> Dump + Send + Sync + 'static,
    Dump: serde::Serialize,
{
    let dump = Arc::new(dump);
    router.get("/config_dump", "what this proxy knows and does, without secrets", move |_| {
        let dump = Arc::clone(&dump);
        async move {
            let failed = || Response::text(StatusCode::INTERNAL_SERVER_ERROR, "dump failed\n");
            blocking(move || Response::json(&dump())).await.unwrap_or_else(failed)
        }
    });
}

/// Runs what takes long on a thread of its own; `None` if it panicked.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
