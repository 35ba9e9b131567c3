//! Who gets which identity.

use std::time::Duration;

use prost_types::value::Kind;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::tempdir;
use tonic::{Code, Status};
use weft_controller::tokens::Component::{self, Agent, Ztunnel};
use weft_proto::ca::IstioCertificateRequest;
use weft_proto::ca::istio_certificate_service_client::IstioCertificateServiceClient;
use weft_proto::contract::IMPERSONATED_IDENTITY;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::mesh::{Mesh, with_token};

const PAYMENT: &str = "spiffe://cluster/ns/shop/sa/payment";

fn csr() -> String {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["attacker.example".to_owned()]).unwrap();
    params.serialize_request(&key).unwrap().pem().unwrap()
}

fn request(identity: Option<&str>, seconds: i64) -> IstioCertificateRequest {
    let value = |text: &str| prost_types::Value { kind: Some(Kind::StringValue(text.into())) };
    let metadata = identity.map(|identity| prost_types::Struct {
        fields: [(IMPERSONATED_IDENTITY.to_owned(), value(identity))].into(),
    });
    IstioCertificateRequest { csr: csr(), validity_duration: seconds, metadata }
}

async fn ask(
    mesh: &Mesh,
    (component, node): (Component, &str),
    request: IstioCertificateRequest,
) -> Result<Vec<String>, Status> {
    ask_with(mesh, &mesh.token(component, node), request).await
}

async fn ask_with(
    mesh: &Mesh,
    token: &str,
    request: IstioCertificateRequest,
) -> Result<Vec<String>, Status> {
    let mut client = IstioCertificateServiceClient::new(mesh.channel().await);
    let answer = client.create_certificate(with_token(request, token)).await?;
    Ok(answer.into_inner().cert_chain)
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

/// URI names, and seconds of validity before and after now.
fn read(pem: &str) -> (Vec<String>, i64, i64) {
    let der = der(pem);
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    assert!(names.critical, "without a subject the names are critical");
    let names = names.value.general_names.iter().map(|name| match name {
        GeneralName::URI(uri) => (*uri).to_owned(),
        other => format!("{other:?}"),
    });
    assert!(!certificate.is_ca());
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth);
    let now = i64::try_from(weft_core::clock::unix_seconds()).unwrap();
    let validity = certificate.validity();
    (names.collect(), now - validity.not_before.timestamp(), validity.not_after.timestamp() - now)
}

#[tokio::test]
async fn proxy_gets_the_identity_of_a_pod_on_its_node() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    mesh.pods.add("node1", "shop", "payment");
    let chain = ask(&mesh, (Ztunnel, "node1"), request(Some(PAYMENT), 3600)).await.unwrap();
    assert_eq!(chain.len(), 2);
    assert_eq!(chain[1], mesh.roots_pem);
    let (names, before, after) = read(&chain[0]);
    assert_eq!(names, [PAYMENT]);
    assert!((119..=123).contains(&before), "{before}");
    assert!((3590..=3600).contains(&after), "{after}");
    let (leaf, root) = (der(&chain[0]), der(&chain[1]));
    let (_, root) = X509Certificate::from_der(&root).unwrap();
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    assert!(leaf.verify_signature(Some(root.public_key())).is_ok());
    assert!(mesh.get("/metrics").await.1.contains("citadel_server_success_cert_issuance_count 1"));
}

#[tokio::test]
async fn node_cannot_obtain_identity_of_a_pod_it_does_not_host() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    mesh.pods.add("node1", "shop", "payment");
    for (caller, identity, words) in [
        ((Ztunnel, "node2"), PAYMENT, "on node node2"),
        ((Ztunnel, "node1"), "spiffe://cluster/ns/shop/sa/web", "shop/web on node node1"),
        ((Ztunnel, "node1"), "spiffe://cluster/ns/other/sa/payment", "other/payment"),
        ((Ztunnel, "node1"), "spiffe://elsewhere/ns/shop/sa/payment", "trust domain"),
        ((Agent, "node1"), PAYMENT, "may not ask"),
    ] {
        let refusal = ask(&mesh, caller, request(Some(identity), 0)).await.unwrap_err();
        assert_eq!(refusal.code(), Code::PermissionDenied, "{identity}: {refusal:?}");
        assert!(refusal.message().contains(words), "{}", refusal.message());
    }
    // The pod goes, and with it the right.
    assert!(ask(&mesh, (Ztunnel, "node1"), request(Some(PAYMENT), 0)).await.is_ok());
    mesh.pods.clear();
    let refusal = ask(&mesh, (Ztunnel, "node1"), request(Some(PAYMENT), 0)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn caller_without_a_good_token_gets_nothing() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    mesh.pods.add("node1", "shop", "payment");
    for token in ["", "x", "eyJhbGciOiJub25lIn0.e30."] {
        let refusal = ask_with(&mesh, token, request(Some(PAYMENT), 0)).await.unwrap_err();
        assert_eq!(refusal.code(), Code::Unauthenticated);
    }
}

#[tokio::test]
async fn component_gets_its_own_identity_and_no_name_of_its_choosing() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    let chain = ask(&mesh, (Agent, "node1"), request(None, 0)).await.unwrap();
    assert_eq!(read(&chain[0]).0, ["spiffe://cluster/ns/istio-system/sa/istio-cni-node"]);
}

#[tokio::test]
async fn validity_keeps_to_its_bounds_and_to_the_operators() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start_unfed(folder.path(), &["--cert-ttl", "2h"]).await;
    mesh.pods.add("node1", "shop", "payment");
    let caller = (Ztunnel, "node1");
    for seconds in [-1, 1, 59, 90 * 86_400 + 1, i64::MAX, i64::MIN] {
        let refusal = ask(&mesh, caller, request(Some(PAYMENT), seconds)).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{seconds}");
    }
    for (seconds, expected) in [(0, 7200), (60, 60), (90 * 86_400, 7200)] {
        let chain = ask(&mesh, caller, request(Some(PAYMENT), seconds)).await.unwrap();
        let (_, before, after) = read(&chain[0]);
        assert!((expected - 10..=expected).contains(&after), "{seconds}: {after}");
        // Half of the whole interval must lie ahead, or clients would renew without end.
        assert!(after > before, "{seconds}: {before} before, {after} after");
    }
}

#[tokio::test]
async fn damaged_signing_request_is_refused_with_its_reason() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    for csr in [
        "",
        "garbage",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    ] {
        let message = IstioCertificateRequest { csr: csr.into(), ..Default::default() };
        let refusal = ask(&mesh, (Agent, "node1"), message).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument);
        assert!(refusal.message().starts_with("the signing request"), "{}", refusal.message());
    }
}

#[tokio::test]
async fn one_nodes_burst_does_not_use_up_anothers() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    let token = mesh.token(Agent, "node1");
    let mut client = IstioCertificateServiceClient::new(mesh.channel().await);
    let message = IstioCertificateRequest::default();
    let mut exhausted = false;
    for _ in 0..2_000 {
        let answer = client.create_certificate(with_token(message.clone(), &token)).await;
        exhausted |= answer.unwrap_err().code() == Code::ResourceExhausted;
        if exhausted {
            break;
        }
    }
    assert!(exhausted);
    assert!(ask(&mesh, (Agent, "node2"), request(None, 0)).await.is_ok());
}

mod plugged_in {
    use rcgen::{BasicConstraints, IsCa, Issuer, KeyUsagePurpose};

    use super::*;

    fn authority(name: &str) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        (params, KeyPair::generate().unwrap())
    }

    /// A root and an intermediate that ends in an hour, in Istio's files.
    fn files(folder: &std::path::Path) {
        let (root_params, root_key) = authority("root");
        let (mut params, key) = authority("intermediate");
        params.not_after = (weft_core::clock::now() + Duration::from_secs(3600)).into();
        let root = root_params.self_signed(&root_key).unwrap();
        let issuer = Issuer::from_params(&root_params, &root_key);
        let intermediate = params.signed_by(&key, &issuer).unwrap();
        let write = |name: &str, text: &str| {
            use std::os::unix::fs::OpenOptionsExt;
            let mut options = std::fs::OpenOptions::new();
            let path = folder.join(name);
            let mut file =
                options.create(true).truncate(true).write(true).mode(0o600).open(path).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        };
        write("ca-cert.pem", &intermediate.pem());
        write("ca-key.pem", &key.serialize_pem());
        write("cert-chain.pem", &format!("{}{}", intermediate.pem(), root.pem()));
        write("root-cert.pem", &root.pem());
    }

    #[tokio::test]
    async fn authority_signs_by_its_intermediate_and_never_beyond_it() {
        let folder = tempdir().unwrap();
        files(folder.path());
        let args = ["--ca-dir", folder.path().to_str().unwrap()];
        let mesh = Mesh::start_unfed(folder.path(), &args).await;
        let chain = ask(&mesh, (Agent, "node1"), request(None, 86_400)).await.unwrap();
        assert_eq!(chain.len(), 3);
        assert!(read(&chain[0]).2 <= 3600);
        assert_eq!(chain[2], mesh.roots_pem);
        assert_eq!(der(&chain[1]), {
            let pem = std::fs::read_to_string(folder.path().join("ca-cert.pem")).unwrap();
            der(&pem)
        });
    }

    #[test]
    fn files_that_do_not_belong_together_are_refused_at_the_start() {
        let (mine, theirs) = (tempdir().unwrap(), tempdir().unwrap());
        for (file, words) in [("ca-key.pem", "key"), ("root-cert.pem", "roots")] {
            files(mine.path());
            files(theirs.path());
            std::fs::remove_file(mine.path().join("cert-chain.pem")).unwrap();
            std::fs::copy(theirs.path().join(file), mine.path().join(file)).unwrap();
            let root = weft_controller::ca::Root::plugged_in(mine.path());
            let refusal = root
                .and_then(|root| {
                    weft_controller::ca::Authority::new(root, Duration::from_secs(3600))
                })
                .err()
                .unwrap();
            assert!(refusal.to_string().contains(words), "{file}: {refusal}");
        }
    }
}
