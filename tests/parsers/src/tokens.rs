//! Join tokens, which a user pastes on the node and the node shows to the controller.

use weft_core::join_token::JoinToken;

/// A join token. It reads back, fits in a header, and doesn't show itself.
pub fn join_token(data: &[u8]) {
    let Ok(Ok(token)) = str::from_utf8(data).map(str::parse::<JoinToken>) else {
        return;
    };
    let line = token.to_line();
    assert!(line.parse().as_ref() == Ok(&token), "{line} does not read back");
    assert!(line.bytes().all(|byte| byte.is_ascii_graphic()), "{line:?} in a header");
    let secret = line.rsplit('.').next().unwrap_or_default();
    let debug = format!("{token:?}");
    assert!(secret.len() < 20 || !debug.contains(secret), "a credential in {debug}");
}
