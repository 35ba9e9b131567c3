use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::clock;
use crate::testing::{Issued, Leaf, TestCa};

/// A controller that greets every connection with one byte, until it is dropped.
struct Greeter {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn greeter(issued: Issued) -> Greeter {
    let acceptor = TlsAcceptor::from(control_server(issued.chain, issued.key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(tcp).await {
                let _ = stream.write_all(b"x").await;
            }
        }
    });
    Greeter { address, task }
}

async fn dial_as(
    greeter: &Greeter,
    roots: RootSource,
    server_name: Option<&str>,
) -> Result<u8, ControlError> {
    let target = Target::parse(ControlSettings {
        address: format!("https://{}", greeter.address),
        roots,
        server_name: server_name.map(str::to_owned),
    })?;
    let mut stream = target.connect().await?;
    Ok(stream.read_u8().await.expect("greeting"))
}

fn pem_of(ca: &TestCa) -> RootSource {
    RootSource::Pem(ca.pem().into())
}

fn hash_of(ca: &TestCa) -> [u8; 32] {
    use sha2::Digest as _;

    sha2::Sha256::digest(ca.root_der().as_ref()).into()
}

#[tokio::test]
async fn controller_is_known_by_any_name_that_it_holds_and_no_other() {
    let ca = TestCa::root("root");
    let greeter = greeter(ca.issue(&Leaf::of_controller(&["istiod.istio-system.svc"]))).await;
    for name in [None, Some("localhost"), Some("istiod.istio-system.svc"), Some("LOCALHOST")] {
        assert_eq!(dial_as(&greeter, pem_of(&ca), name).await.unwrap(), b'x', "{name:?}");
    }
    for name in ["other.istio-system.svc", "istio-system.svc", "127.0.0.2", "::1"] {
        let error = dial_as(&greeter, pem_of(&ca), Some(name)).await.unwrap_err();
        assert!(matches!(error, ControlError::Handshake { .. }), "{name}: {error}");
    }
}

#[tokio::test]
async fn impostor_with_the_right_name_is_refused() {
    let (ca, other) = (TestCa::root("root"), TestCa::root("public"));
    let hour = Duration::from_secs(3600);
    let now = clock::now();
    let wildcard = Leaf { addresses: vec![], ..Leaf::of_controller(&["*.istio-system.svc"]) };
    let name = "istiod.istio-system.svc";
    let proper = Leaf::of_controller(&[name]);
    for (what, issued) in [
        ("other CA", other.issue(&proper)),
        ("wildcard", ca.issue(&wildcard)),
        ("expired", ca.issue(&proper.clone().valid(now - 2 * hour, now - hour))),
        ("workload", ca.issue(&Leaf::of(&crate::testing::identity("istio-system", "istiod")))),
        ("CA", ca.issue(&Leaf { is_ca: true, ..proper.clone() })),
    ] {
        let greeter = greeter(issued).await;
        let refused = dial_as(&greeter, pem_of(&ca), Some(name)).await;
        assert!(matches!(refused, Err(ControlError::Handshake { .. })), "{what}: {refused:?}");
    }
}

#[tokio::test]
async fn pinned_root_admits_its_own_leaves_only() {
    let (ca, other) = (TestCa::root("root"), TestCa::root("root"));
    let with_root = |ca: &TestCa| {
        let mut issued = ca.issue(&Leaf::of_controller(&[]));
        issued.chain.push(ca.root_der());
        issued
    };
    let pinned = || RootSource::Pinned(hash_of(&ca));
    assert!(dial_as(&greeter(with_root(&ca)).await, pinned(), None).await.is_ok());
    assert!(dial_as(&greeter(with_root(&other)).await, pinned(), None).await.is_err());
    // The pinned root alone proves nothing: anybody can send it along.
    let mut forged = other.issue(&Leaf::of_controller(&[]));
    forged.chain.push(ca.root_der());
    assert!(dial_as(&greeter(forged).await, pinned(), None).await.is_err());
    let without_root = ca.issue(&Leaf::of_controller(&[]));
    assert!(dial_as(&greeter(without_root).await, pinned(), None).await.is_err());
}

#[tokio::test]
async fn roots_are_read_again_at_each_connect() {
    let (old, new) = (TestCa::root("old"), TestCa::root("new"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root-cert.pem");
    let file = || RootSource::File(path.clone());
    let greeter = greeter(new.issue(&Leaf::of_controller(&[]))).await;
    let error = dial_as(&greeter, file(), None).await.unwrap_err();
    assert!(matches!(error, ControlError::RootFile { .. }), "{error}");
    std::fs::write(&path, "no certificate").unwrap();
    let error = dial_as(&greeter, file(), None).await.unwrap_err();
    assert!(matches!(error, ControlError::NoRoots(_)), "{error}");
    std::fs::write(&path, old.pem()).unwrap();
    assert!(dial_as(&greeter, file(), None).await.is_err());
    std::fs::write(&path, format!("{}{}", old.pem(), new.pem())).unwrap();
    assert!(dial_as(&greeter, file(), None).await.is_ok());
}

#[tokio::test]
async fn nobody_listening_is_said_with_the_address() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let address = format!("https://{free}");
    let roots = pem_of(&TestCa::root("root"));
    let target = Target::parse(ControlSettings { address, roots, server_name: None }).unwrap();
    let error = target.connect().await.unwrap_err();
    assert!(matches!(&error, ControlError::Connect { .. }), "{error}");
    assert!(error.to_string().contains(&free.to_string()), "{error}");
}

#[test]
fn addresses_are_https_with_a_port() {
    let parse = |address: &str| {
        Target::parse(ControlSettings {
            address: address.to_owned(),
            roots: RootSource::File(Path::new("x").to_owned()),
            server_name: None,
        })
        .map(|target| target.to_string())
    };
    for (given, meant) in [
        ("https://istiod.istio-system.svc:15012", "istiod.istio-system.svc:15012"),
        ("https://istiod.istio-system.svc:15012/", "istiod.istio-system.svc:15012"),
        ("weft-controller:15012", "weft-controller:15012"),
        ("https://[fd00::1]:15012", "[fd00::1]:15012"),
        ("10.0.0.1:15012", "10.0.0.1:15012"),
    ] {
        assert_eq!(parse(given).unwrap(), meant);
    }
    for refused in
        ["http://istiod:15012", "https://istiod", "", "https://", "unix:///x", "https://a b:1"]
    {
        assert!(parse(refused).is_err(), "{refused:?}");
    }
}
