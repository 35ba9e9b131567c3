//! Who may call whom: identities, plaintext, and a change of mind.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::time::Instant;
use weft_harness::{Pod, poll};

use super::{Temporary, log_line};
use crate::shop::{PORT, Shop};

/// Time for a log line to be written, and for a policy to be in force.
const SOON: Duration = Duration::from_secs(5);

/// Closes checkout to web.
const CLOSED: &str = "\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: closed-to-web
  namespace: shop
spec:
  action: DENY
  rules:
  - from:
    - source:
        principals: [\"cluster/ns/front/sa/web\"]
";

/// Two identities get an answer, a third none, and the log says which policy decided.
pub(super) fn intruder_is_refused(shop: &Shop) -> Result<String> {
    let url = "http://inventory.warehouse/stock";
    for name in ["checkout", "payment"] {
        let caller = shop.role(name)?;
        let (status, answer) = shop.call(&caller, url)?;
        ensure!(status == 200, "{name} should be let in: {answer}");
    }
    let intruder = shop.role("intruder")?;
    let (status, answer) = shop.call(&intruder, url)?;
    ensure!(status == 0, "the intruder got an answer: {answer}");
    let error = answer.get("error").and_then(|error| error.as_str()).unwrap_or_default();
    let line = poll::until("the refusal in the log", SOON, || {
        log_line(shop, 2, &["inventory-callers", "intruder"])
    })?;
    Ok(format!("checkout 200, payment 200, intruder: {error}; node 2 logs: {line}"))
}

/// A pod outside of the mesh reaches checkout, whose namespace permits plaintext, and not
/// payment, whose namespace doesn't.
pub(super) fn strict_refuses_plaintext(shop: &Shop) -> Result<String> {
    let outsider = shop.pod("outside", "outsider")?;
    let (checkout, payment) = (shop.role("checkout")?, shop.role("payment")?);
    let health = |pod: &Pod| format!("http://{}/health", pod.address(PORT));
    let (open, answer) = shop.call(&outsider, &health(&checkout))?;
    ensure!(open == 200, "a PERMISSIVE namespace refused plaintext: {answer}");
    let (closed, answer) = shop.call(&outsider, &health(&payment))?;
    ensure!(closed == 0, "a STRICT namespace answered plaintext: {answer}");
    let (inside, answer) = shop.call(&checkout, "http://payment.default/pay")?;
    ensure!(inside == 200, "a STRICT namespace refused mutual TLS: {answer}");
    let line = poll::until("the refusal in the log", SOON, || {
        log_line(shop, 1, &["istio_converted_static_strict", &outsider.ip.to_string()])
    })?;
    Ok(format!(
        "plaintext from outside: checkout (PERMISSIVE) 200, payment (STRICT) refused; mutual TLS \
         to payment 200; node 1 logs: {line}"
    ))
}

/// A stream is open and ticking; a policy is saved; the stream ends.
pub(super) fn edit_cuts_open_connection(shop: &Shop) -> Result<String> {
    let (web, checkout) = (shop.role("web")?, shop.role("checkout")?);
    let mut stream = web.netns.connect(checkout.address(PORT), SOON)?;
    write!(stream, "GET /hold HTTP/1.1\r\nHost: checkout\r\n\r\n")?;
    let mut ticks = 0_usize;
    let mut buffer = [0; 4096];
    while ticks < 10 {
        let length = stream.read(&mut buffer).context("the open connection")?;
        ensure!(length > 0, "it ended before the policy changed");
        ticks += 1;
    }
    let saved = Instant::now();
    let policy = Temporary::write(&shop.mesh, "policy-closed", CLOSED)?;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(_) if saved.elapsed() > SOON => bail!("still open {SOON:?} after the edit"),
            Ok(_) => ticks += 1,
        }
    }
    let cut = saved.elapsed();
    ensure!(cut < SOON, "no end and no tick within {SOON:?}: silent, not cut");
    let (refused, answer) = shop.call(&web, "http://checkout.shop/health")?;
    ensure!(refused == 0, "a new connection was let in: {answer}");
    drop(policy);
    poll::until("the way is open again", SOON, || {
        let (status, answer) = shop.call(&web, "http://checkout.shop/health")?;
        ensure!(status == 200, "{answer}");
        Ok(())
    })?;
    Ok(format!(
        "after {ticks} reads of ticks, cut {:.1} ms after the file was saved; new connections \
         refused, and let in again once it was deleted",
        cut.as_secs_f64() * 1e3
    ))
}
