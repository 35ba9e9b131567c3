//! `weft route explain`: what would become of a request, as the waypoint itself says.

use anyhow::Context as _;
use weft_core::admin::explanation::{Explanation, Step};

use crate::args::{ControllerArgs, ExplainArgs, Output, RouteArgs, RouteCommand};
use crate::fetch::{Server, encoded};
use crate::waypoint;

pub(crate) async fn run(args: &RouteArgs, use_color: bool) -> anyhow::Result<String> {
    let RouteCommand::Explain(args) = &args.command;
    let server = Server {
        address: &args.address,
        netns: args.netns.as_deref(),
        what: "the waypoint's admin server",
        hint: "is a waypoint running there, and is it in a namespace (--netns)?",
    };
    let answer = server.get(&path(args)?).await?;
    let told: Explanation =
        serde_json::from_slice(&answer).context("the waypoint's explanation can't be read")?;
    if args.output == Output::Json {
        return Ok(format!("{}\n", serde_json::to_string_pretty(&told)?));
    }
    let mut out = String::new();
    if let Some(controller) = &args.controller {
        let source =
            ControllerArgs { controller: controller.clone(), netns: args.controller_netns.clone() };
        let (namespace, name) = object(&told);
        out.push_str(&waypoint::binding(&source, name, namespace, use_color).await?);
        out.push('\n');
    }
    out.push_str(&text(&told));
    Ok(out)
}

/// What the waypoint is asked. Bare names are of the namespace that was given.
fn path(args: &ExplainArgs) -> anyhow::Result<String> {
    let of_namespace = |name: &str| match name.contains(['/', '.']) {
        true => name.to_owned(),
        false => format!("{}/{name}", args.namespace),
    };
    let (service, port) = match args.service.rsplit_once(':') {
        Some((service, port)) => (service, Some(port)),
        None => (args.service.as_str(), None),
    };
    if let Some(port) = port {
        port.parse::<u16>().with_context(|| format!("{port:?} is no port"))?;
    }
    let source = match args.source.contains('/') {
        true => args.source.clone(),
        false => format!("{}/{}", args.namespace, args.source),
    };
    let service = of_namespace(service);
    let pairs = [
        ("source", source.as_str()),
        ("service", &service),
        ("method", &args.method),
        ("path", &args.path),
    ];
    let pairs = pairs.into_iter().chain(port.map(|port| ("port", port)));
    let pairs = pairs.chain(args.headers.iter().map(|header| ("header", header.as_str())));
    let pairs = pairs.chain(args.sni.iter().map(|name| ("sni", name.as_str())));
    let pairs: Vec<_> = pairs.map(|(key, value)| format!("{key}={}", encoded(value))).collect();
    Ok(format!("/explain?{}", pairs.join("&")))
}

/// Namespace and name of the service that is called.
fn object(told: &Explanation) -> (&str, &str) {
    let (namespace, host) = told.destination.split_once('/').unwrap_or(("", &told.destination));
    let host = host.split([':', '.']).next().unwrap_or_default();
    (namespace, host)
}

fn text(told: &Explanation) -> String {
    // A terminal obeys control characters, and what is shown may come from anywhere.
    let plain = |text: &str| text.replace(char::is_control, " ");
    let mut out = format!("{} -> {}\n\n", plain(&told.source), plain(&told.destination));
    let width = told.steps.iter().map(|step| step.phase.chars().count()).max().unwrap_or(0);
    for (at, Step { phase, text, details }) in told.steps.iter().enumerate() {
        out.push_str(&format!("{:2}  {:width$}  {}\n", at + 1, plain(phase), plain(text)));
        for detail in details {
            out.push_str(&format!("    {:width$}    {}\n", "", plain(detail)));
        }
    }
    let end = match (told.answers, told.backends.is_empty()) {
        (Some(status), _) => format!("the waypoint answers {status} itself"),
        (None, true) => return out,
        (None, false) => "an application answers".to_owned(),
    };
    out.push_str(&format!("\n=> {end}\n"));
    out
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use weft_core::admin::explanation::ChosenBackend;

    use super::*;
    use crate::args::{Args, Command};
    use crate::fetch::tests::answering;

    fn args(line: &str) -> RouteArgs {
        match Args::try_parse_from(line.split(' ')).unwrap().command {
            Command::Route(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn asked(line: &str) -> String {
        let RouteCommand::Explain(args) = args(line).command;
        path(&args).unwrap()
    }

    #[test]
    fn question_names_namespaces_and_is_encoded() {
        assert_eq!(
            asked("weft route explain web checkout GET /a?b=1 -n shop -H x-beta-user:true"),
            "/explain?source=shop%2Fweb&service=shop%2Fcheckout&method=GET&path=%2Fa%3Fb%3D1\
             &header=x-beta-user%3Atrue"
        );
        assert_eq!(
            asked("weft route explain a/web bank/payment:8080 POST /"),
            "/explain?source=a%2Fweb&service=bank%2Fpayment&method=POST&path=%2F&port=8080"
        );
        assert!(asked("weft route explain a/web payment.bank GET /").contains("=payment.bank&"));
        assert_eq!(
            asked("weft route explain web bank:443 --sni api.bank.example -n shop"),
            "/explain?source=shop%2Fweb&service=shop%2Fbank&method=GET&path=%2F&port=443\
             &sni=api.bank.example"
        );
    }

    #[test]
    fn steps_are_numbered_and_the_end_is_told() {
        let step = |phase: &str, text: &str, details: &[&str]| Step {
            phase: phase.to_owned(),
            text: text.to_owned(),
            details: details.iter().map(ToString::to_string).collect(),
        };
        let mut told = Explanation {
            source: "spiffe://cluster.local/ns/shop/sa/web".to_owned(),
            destination: "shop/checkout.shop.svc.cluster.local:80".to_owned(),
            steps: vec![
                step("binding", "bound", &[]),
                step("access", "allowed\u{1b}[31m", &["more"]),
            ],
            backends: vec![ChosenBackend::default()],
            ..Explanation::default()
        };
        assert_eq!(
            text(&told),
            "spiffe://cluster.local/ns/shop/sa/web -> shop/checkout.shop.svc.cluster.local:80\n\n \
             1  binding  bound\n 2  access   allowed [31m\n               more\n\n\
             => an application answers\n"
        );
        told.answers = Some(403);
        assert!(text(&told).ends_with("=> the waypoint answers 403 itself\n"));
        assert_eq!(object(&told), ("shop", "checkout"));
    }

    #[tokio::test]
    async fn explanation_is_fetched_from_the_waypoint() {
        let (address, told) = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        let line = format!("weft route explain web checkout GET / -o json --address {address}");
        let out = run(&args(&line), false).await.unwrap();
        assert!(told.recv().unwrap().starts_with("GET /explain?source=default%2Fweb&"));
        assert!(out.contains("\"steps\""));
    }
}
