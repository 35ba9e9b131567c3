//! A whole connection to an HBONE server, byte by byte.

use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, sink};
use tokio::runtime::Builder;
use tokio::time::timeout;
use weft_core::drain;
use weft_core::hbone::{Authority, IncomingTunnel, ServerSettings, TunnelRequest, serve};

/// Above every deadline of a server whose client says nothing more.
const PATIENCE: Duration = Duration::from_secs(3600);
/// What may be under way in each direction, bytes.
const PIPE_BYTES: usize = 64 << 10;

/// What a client sends. Its first byte, not sent, says whether it closes afterwards or falls silent. Either way the
/// server ends, in virtual time, and every tunnel that it opens has a target.
pub fn tunnel(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let does_close = first % 2 == 0;
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O");
    runtime.block_on(async {
        let (client, server) = duplex(PIPE_BYTES);
        let (mut from_server, mut to_server) = tokio::io::split(client);
        let (_signal, watch) = drain::pair();
        let send = async {
            // It fails if the server hangs up first, as it should on nonsense.
            let _ = to_server.write_all(bytes).await;
            if does_close {
                let _ = to_server.shutdown().await;
            }
        };
        let receive = async { tokio::io::copy(&mut from_server, &mut sink()).await };
        let settings = ServerSettings::default();
        let serving = serve(server, &settings, watch, handle);
        let all = Box::pin(async { tokio::join!(send, receive, serving) });
        // How the server ended is its own affair; that it did is what is promised.
        let _ = timeout(PATIENCE, all).await.expect("the server outlived its client");
    });
}

async fn handle(tunnel: IncomingTunnel) {
    check(tunnel.request());
    let port = tunnel.request().authority.port();
    if port % 2 == 1 {
        return tunnel.refuse(StatusCode::SERVICE_UNAVAILABLE);
    }
    let Ok(mut stream) = tunnel.accept(None) else {
        return;
    };
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let echo = buffer.get(..length).unwrap_or_default();
        if stream.write_all(echo).await.is_err() {
            return;
        }
    }
    let _ = stream.shutdown().await;
}

fn check(request: &TunnelRequest) {
    assert_ne!(request.authority.port(), 0);
    if let Authority::Address(address) = request.authority {
        assert_eq!(address.ip(), address.ip().to_canonical());
    }
    let network = request.forwarded_network.as_deref().unwrap_or("none");
    assert!(!network.is_empty() && network.bytes().all(|byte| byte.is_ascii_graphic()));
}
