//! `weft waypoint`: what waypoints there are and why, and the YAML of new ones.

mod enroll;
mod manifest;
mod view;

use anyhow::{Context as _, bail};

use crate::args::{ControllerArgs, Output, WaypointArgs, WaypointCommand, WaypointShape};
use crate::status::conditions;
use crate::token::controller;
use view::{Explanation, Waypoint};

pub(crate) async fn run(args: &WaypointArgs, use_color: bool) -> anyhow::Result<String> {
    let source = &args.controller;
    match &args.command {
        WaypointCommand::List { namespace, output } => {
            let mut waypoints = waypoints(source).await?;
            waypoints.retain(|it| namespace.as_ref().is_none_or(|own| *own == it.namespace));
            Ok(match output {
                Output::Json => json(&waypoints)?,
                Output::Table => view::list(&waypoints, use_color),
            })
        }
        WaypointCommand::Status { name, namespace, output } => {
            let waypoints = waypoints(source).await?;
            let found =
                waypoints.into_iter().find(|it| it.namespace == *namespace && it.name == *name);
            let found = found.with_context(|| format!("there is no waypoint {namespace}/{name}; `weft waypoint list` shows those there are"))?;
            let objects = conditions::fetch(source).await?;
            let conditions = conditions::of(&objects, "Gateway", namespace, name);
            Ok(match output {
                Output::Json => {
                    json(&serde_json::json!({"waypoint": found, "conditions": conditions}))?
                }
                Output::Table => view::one(&found, &conditions, use_color),
            })
        }
        WaypointCommand::Explain { object, namespace, output } => {
            let explanation = explain(source, object, namespace).await?;
            Ok(match output {
                Output::Json => json(&explanation)?,
                Output::Table => view::explanation(&explanation, use_color),
            })
        }
        WaypointCommand::Generate(shape) => generate(shape),
        WaypointCommand::Apply { shape, folder } => manifest::apply(shape, folder),
        WaypointCommand::Delete { name, namespace, folder } => {
            manifest::delete(namespace, name, folder)
        }
    }
}

fn generate(shape: &WaypointShape) -> anyhow::Result<String> {
    let mut text = manifest::text(shape)?;
    if shape.enroll_namespace {
        text.push_str(&manifest::namespace(shape));
    }
    Ok(text)
}

async fn waypoints(source: &ControllerArgs) -> anyhow::Result<Vec<Waypoint>> {
    let answer = controller(source).get("/weft/waypoints").await?;
    serde_json::from_slice(&answer).context("what the controller says of waypoints can't be read")
}

/// Why a service is bound or isn't, as text: the controller's view.
pub(crate) async fn binding(
    source: &ControllerArgs,
    name: &str,
    namespace: &str,
    use_color: bool,
) -> anyhow::Result<String> {
    Ok(view::explanation(&explain(source, name, namespace).await?, use_color))
}

async fn explain(
    source: &ControllerArgs,
    object: &str,
    namespace: &str,
) -> anyhow::Result<Explanation> {
    let (kind, name) = object.split_once('/').unwrap_or(("service", object));
    let kind = match kind.to_ascii_lowercase().as_str() {
        "service" | "svc" => "Service",
        "serviceentry" | "se" => "ServiceEntry",
        "pod" => "Pod",
        "workloadentry" | "we" => "WorkloadEntry",
        _ => bail!(
            "{kind:?} is no kind of object that can have a waypoint: service, serviceentry, pod, workloadentry"
        ),
    };
    for text in [name, namespace] {
        manifest::check_name(text)?;
    }
    let path = format!("/weft/waypoints/explain?kind={kind}&namespace={namespace}&name={name}");
    let answer = controller(source).get(&path).await?;
    serde_json::from_slice(&answer).context("the controller's explanation can't be read")
}

fn json(value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::tests::answering;

    fn source(address: String) -> ControllerArgs {
        ControllerArgs { controller: address, netns: None }
    }

    #[tokio::test]
    async fn explanation_is_asked_for_by_kind_and_name() {
        let (address, told) = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        explain(&source(address), "pod/web-1", "shop").await.unwrap();
        let request = told.recv().unwrap();
        let path = "GET /weft/waypoints/explain?kind=Pod&namespace=shop&name=web-1 HTTP/1.1\r\n";
        assert!(request.starts_with(path), "{request}");
        for object in ["node/n", "web&kind=Pod", ""] {
            assert!(explain(&source("127.0.0.1:1".into()), object, "shop").await.is_err());
        }
    }

    #[tokio::test]
    async fn status_of_a_waypoint_that_is_not_there_says_how_to_find_others() {
        let (address, _told) = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]");
        let command = WaypointCommand::Status {
            name: "wp".into(),
            namespace: "shop".into(),
            output: Output::Table,
        };
        let args = WaypointArgs { controller: source(address), command };
        let error = format!("{:#}", run(&args, false).await.unwrap_err());
        assert!(error.contains("no waypoint shop/wp") && error.contains("weft waypoint list"));
    }
}
