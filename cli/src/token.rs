//! `weft token`: asks the controller for a token that lets a node join, or a waypoint work.

use std::path::PathBuf;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::args::{ControllerArgs, TokenArgs};
use crate::fetch::Server;

/// The admin token's name in the controller's state folder.
const ADMIN_TOKEN: &str = "admin-token";

#[derive(Serialize)]
struct TokenRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waypoint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct TokenResponse {
    token: String,
}

/// The controller's admin server.
pub(crate) fn controller(args: &ControllerArgs) -> Server<'_> {
    Server {
        address: &args.controller,
        netns: args.netns.as_deref(),
        what: "the controller",
        hint: "is weft-controller running, is this its --admin address, and is it in a namespace (--netns)?",
    }
}

/// The token, on a line of its own, so that it can go into a file.
pub(crate) async fn run(args: &TokenArgs) -> anyhow::Result<String> {
    let file = match (&args.admin_token_file, &args.state) {
        (Some(file), _) => file.clone(),
        (None, state) => state.clone().unwrap_or_else(PathBuf::new).join(ADMIN_TOKEN),
    };
    let token = std::fs::read_to_string(&file).with_context(|| {
        format!("admin token {} (the controller makes it in its --state folder)", file.display())
    })?;
    let request = TokenRequest {
        node: args.node.as_deref(),
        waypoint: args.waypoint.as_deref(),
        service_account: args.service_account.as_deref(),
        ttl_seconds: args.ttl.map(|ttl| ttl.as_secs()),
    };
    let body = serde_json::to_vec(&request)?.into();
    let answer = controller(&args.controller).post("/weft/token", token.trim(), body).await?;
    let answer: TokenResponse =
        serde_json::from_slice(&answer).context("the controller's answer holds no token")?;
    Ok(format!("{}\n", answer.token))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;
    use crate::fetch::tests::answering;

    fn args(address: String, file: PathBuf) -> TokenArgs {
        TokenArgs {
            controller: ControllerArgs { controller: address, netns: None },
            node: Some("node2".into()),
            waypoint: None,
            service_account: None,
            state: None,
            admin_token_file: Some(file),
            ttl: Some(Duration::from_secs(900)),
        }
    }

    #[tokio::test]
    async fn token_is_asked_for_with_the_admin_token_and_printed_alone() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "s3cret").unwrap();
        let (address, told) =
            answering("HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n{\"token\":\"weft1.a.b.c.\"}");
        let output = run(&args(address, file.path().into())).await;
        let request = told.recv().unwrap();
        assert!(request.starts_with("POST /weft/token HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: Bearer s3cret\r\n"));
        assert!(request.ends_with(r#"{"node":"node2","ttl_seconds":900}"#), "{request}");
        // The answer above is one byte short of its JSON.
        assert!(format!("{:#}", output.unwrap_err()).contains("holds no token"));
    }

    #[test]
    fn request_is_what_the_controller_reads() {
        for ttl_seconds in [None, Some(900)] {
            let (waypoint, service_account) = (Some("shop/wp"), Some("sa"));
            let sent = TokenRequest { node: Some("node2"), waypoint, service_account, ttl_seconds };
            let sent = serde_json::to_value(sent).unwrap();
            let read: weft_controller::admin::TokenRequest = serde_json::from_value(sent).unwrap();
            assert_eq!((read.node.as_deref(), read.ttl_seconds), (Some("node2"), ttl_seconds));
            assert_eq!(read.waypoint.as_deref(), waypoint);
            assert_eq!(read.service_account.as_deref(), service_account);
        }
    }

    #[tokio::test]
    async fn good_answer_is_one_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (address, _told) =
            answering("HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n{\"token\":\"weft1.a.b.c\"}");
        let output = run(&args(address, file.path().into())).await.unwrap();
        assert_eq!(output, "weft1.a.b.c\n");
    }

    #[tokio::test]
    async fn missing_admin_token_says_where_it_comes_from() {
        let error = run(&args("127.0.0.1:1".into(), "/nowhere/admin-token".into())).await;
        assert!(format!("{:#}", error.unwrap_err()).contains("--state folder"));
    }
}
