//! Who may speak HBONE to a pod, and who may speak to the controller.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http::StatusCode;
use weft_harness::{Inside, poll};
use weft_proto::ca::IstioCertificateRequest;
use weft_proto::contract::port;

use crate::mint::{Authority, Claims, self_signed};

use crate::range::{WELCOME, range};
use crate::support::calls::log_line;
use crate::support::peer::{self, Credential, Outcome};
use crate::support::{PORT, SOON};

pub(crate) fn peers_of_no_valid_identity_are_refused(_: &Inside) -> Result<()> {
    let range = range()?;
    let own = &range.authority;
    let other_domain = "spiffe://elsewhere.example/ns/front/sa/client";
    let bad: Vec<(&str, Option<Credential>)> = vec![
        ("no certificate", None),
        ("a self-signed one", Some(self_signed(&Claims::of(WELCOME))?)),
        ("one of another authority", Some(Authority::foreign()?.issue(&Claims::of(WELCOME))?)),
        ("one of another trust domain", Some(own.issue(&Claims::of(other_domain))?)),
        ("two identities", Some(own.issue(&two_identities())?)),
        ("two trust domains", Some(own.issue(&with_uris(&[WELCOME, other_domain]))?)),
        ("no identity", Some(own.issue(&with_uris(&[]))?)),
        ("a URI that is no identity", Some(own.issue(&with_uris(&["https://example.com/"]))?)),
        ("an expired one", Some(own.issue(&expired())?)),
    ];
    let to = range.victim.address(port::HBONE);
    let authority = range.victim.address(PORT).to_string();
    let good = own.issue(&Claims::of(WELCOME))?;
    range.withstands(|| {
        peer::run(async {
            let from = &range.attacker.netns;
            for (what, credential) in &bad {
                let outcome = peer::try_connect(from, to, credential.as_ref(), &authority).await?;
                let Outcome::Ended(how) = outcome else {
                    bail!("{what} was answered: {outcome:?}")
                };
                // Refused by an alert or a closed connection; a deadline would mean that nobody looked.
                ensure!(!how.contains("nothing within"), "{what}: {how}");
            }
            let outcome = peer::try_connect(from, to, Some(&good), &authority).await?;
            let is_let_in = matches!(outcome, Outcome::Status(StatusCode::OK));
            ensure!(is_let_in, "a good certificate was not let in: {outcome:?}");
            Ok(())
        })
    })?;
    poll::until("the refusals in the log", SOON, || {
        let source = format!("src.addr={}:", range.attacker.ip);
        log_line(&range.mesh, 1, &["connection failed", &source])
    })?;
    Ok(())
}

fn with_uris(uris: &[&str]) -> Claims {
    Claims { uris: uris.iter().map(|uri| (*uri).to_owned()).collect(), ..Claims::of(WELCOME) }
}

fn two_identities() -> Claims {
    with_uris(&[WELCOME, "spiffe://cluster.local/ns/shop/sa/victim"])
}

fn expired() -> Claims {
    let (since, life) = (Duration::from_secs(7200), Duration::from_secs(3600));
    Claims { since, life, ..Claims::of(WELCOME) }
}

/// The controller's port takes anybody's TLS, since tokens say who calls: without one nothing is to be had, not even
/// with a workload's certificate.
pub(crate) fn controller_refuses_peers_without_a_token(_: &Inside) -> Result<()> {
    let range = range()?;
    let to = (range.mesh.control_ip(), port::CONTROLLER).into();
    let good = range.authority.issue(&Claims::of(WELCOME))?;
    let message = prost::Message::encode_to_vec(&IstioCertificateRequest::default());
    let framed = [&[0, 0, 0, 0, u8::try_from(message.len())?][..], &message].concat();
    for (what, credential) in [("nothing", None), ("a workload's certificate", Some(&good))] {
        for (path, token) in [
            ("/istio.v1.auth.IstioCertificateService/CreateCertificate", None),
            (
                "/istio.v1.auth.IstioCertificateService/CreateCertificate",
                Some("Bearer eyJhIjoxfQ.e30.c2ln"),
            ),
            (
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
                None,
            ),
            ("/weft.node.v1.NodeService/IssueToken", None),
        ] {
            let status = peer::run(async {
                let requests = peer::http2(&range.attacker.netns, to, credential).await?;
                peer::grpc_status(&requests, path, token, framed.clone()).await
            })
            .with_context(|| format!("with {what} at {path}"))?;
            // UNAUTHENTICATED.
            ensure!(status == "16", "with {what} at {path}: gRPC status {status}");
        }
    }
    Ok(())
}
