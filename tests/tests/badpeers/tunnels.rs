//! What a peer with a valid identity may ask a pod's proxy for.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use weft_harness::{Inside, poll};
use weft_proto::contract::port;

use crate::mint::Claims;

use crate::range::{DENIED, Range, WELCOME, range};
use crate::support::calls::log_line;
use crate::support::peer::{self, Outcome};
use crate::support::{PORT, SOON};

/// A connection of the attacker to the victim's proxy, with an identity of the mesh.
async fn victim_as(range: &Range, identity: &str) -> Result<h2::client::SendRequest<bytes::Bytes>> {
    let credential = range.authority.issue(&Claims::of(identity))?;
    let to = range.victim.address(port::HBONE);
    peer::http2(&range.attacker.netns, to, Some(&credential)).await
}

pub(crate) fn tunnels_lead_to_no_other_pod_port_or_loopback(_: &Inside) -> Result<()> {
    let range = range()?;
    let victim = |port| range.victim.address(port).to_string();
    let (other, remote) = (range.other.address(PORT), range.client.address(PORT));
    let node = SocketAddr::from((range.mesh.control_ip(), port::CONTROLLER));
    // Asked for, and what a caller is told.
    let cases = [
        (other.to_string(), 400),
        (remote.to_string(), 400),
        (node.to_string(), 400),
        (format!("127.0.0.1:{PORT}"), 400),
        (format!("[::1]:{PORT}"), 400),
        (format!("[::ffff:127.0.0.1]:{PORT}"), 400),
        (format!("0.0.0.0:{PORT}"), 400),
        (format!("169.254.169.254:{PORT}"), 400),
        ("other.shop.svc.cluster.local:80".to_owned(), 400),
        ("localhost:8080".to_owned(), 400),
        (victim(port::OUTBOUND), 503),
        (victim(port::INBOUND_PLAINTEXT), 503),
        (victim(port::HBONE), 503),
        // Nobody listens there: refused as well, by the application's kernel.
        (victim(1), 503),
    ];
    range.withstands(|| {
        peer::run(async {
            let requests = victim_as(range, WELCOME).await?;
            for (authority, expected) in &cases {
                let outcome = peer::connect(&requests, authority, HeaderMap::new()).await?;
                let told =
                    matches!(&outcome, Outcome::Status(status) if status.as_u16() == *expected);
                ensure!(told, "{authority}: {outcome:?} and not {expected}");
            }
            // The connection is as good as before.
            let answer =
                peer::health_through_tunnel(&requests, &victim(PORT), HeaderMap::new()).await?;
            ensure!(answer.ends_with("ok"), "{answer}");
            Ok(())
        })
    })
}

pub(crate) fn denied_identity_is_told_401(_: &Inside) -> Result<()> {
    let range = range()?;
    let outcome = peer::run(async {
        let requests = victim_as(range, DENIED).await?;
        let authority = range.victim.address(PORT).to_string();
        peer::connect(&requests, &authority, HeaderMap::new()).await
    })?;
    let told = matches!(&outcome, Outcome::Status(status) if status.as_u16() == 401);
    ensure!(told, "{outcome:?}");
    poll::until("the refusal in the log", SOON, || {
        log_line(&range.mesh, 1, &["policy=\"shop/banned\"", DENIED])
    })?;
    Ok(())
}

pub(crate) fn requests_other_than_connect_are_told_400(_: &Inside) -> Result<()> {
    let range = range()?;
    let to = range.victim.address(PORT);
    peer::run(async {
        let requests = victim_as(range, WELCOME).await?;
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            let uri = format!("https://{to}/health");
            let request = Request::builder().method(method.clone()).uri(uri).body(())?;
            let outcome = peer::ask(&requests, request).await?;
            let told = matches!(&outcome, Outcome::Status(status) if status.as_u16() == 400);
            ensure!(told, "{method}: {outcome:?}");
        }
        let answer =
            peer::health_through_tunnel(&requests, &to.to_string(), HeaderMap::new()).await?;
        ensure!(answer.ends_with("ok"), "{answer}");
        Ok(())
    })
}

pub(crate) fn malformed_telemetry_headers_do_not_break_a_tunnel(_: &Inside) -> Result<()> {
    let range = range()?;
    let authority = range.victim.address(PORT).to_string();
    let long = "k8s.namespace.name=".to_owned() + &"a".repeat(6000);
    let many = "a=b,".repeat(2000);
    let values: Vec<(&str, Vec<u8>)> = vec![
        ("baggage", b"\xff\xfe\"=;,,,==".to_vec()),
        ("baggage", long.into_bytes()),
        ("baggage", many.into_bytes()),
        ("baggage", b"k8s.namespace.name=kube-system,service.name=%00%0a%zz".to_vec()),
        ("forwarded", b"for=;host=;;;=".to_vec()),
        ("forwarded", b"for=\"[::1\";host=\xc3\xa9".to_vec()),
        ("forwarded", b"host=other.shop.svc.cluster.local".to_vec()),
        ("traceparent", "0".repeat(55).into_bytes()),
        ("traceparent", b"00-\xff-1-".to_vec()),
        ("traceparent", b"".to_vec()),
        ("x-forwarded-network", vec![b'n'; 3000]),
    ];
    range.withstands(|| {
        peer::run(async {
            let requests = victim_as(range, WELCOME).await?;
            for (name, value) in &values {
                let mut headers = HeaderMap::new();
                let value = HeaderValue::from_bytes(value)?;
                headers.append(HeaderName::try_from(*name)?, value.clone());
                // Repeated, too.
                headers.append(HeaderName::try_from(*name)?, value);
                let answer = peer::health_through_tunnel(&requests, &authority, headers).await;
                let answer = answer.with_context(|| format!("with {name}"))?;
                ensure!(answer.ends_with("ok"), "{name}: {answer}");
            }
            Ok(())
        })
    })?;
    // What a peer claims is in no label.
    let samples = range.mesh.ztunnel_metrics(1)?;
    let claimed = samples
        .sum("istio_tcp_connections_opened_total", &[("source_workload_namespace", "kube-system")]);
    ensure!(claimed == 0.0, "a claimed namespace became a label");
    Ok(())
}
