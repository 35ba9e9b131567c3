//! Join tokens, which a user pastes on the node and the node shows to the controller.

use weft_cni::join_token::JoinToken as AtNode;
use weft_controller::tokens::JoinToken as AtController;

/// A join token. What a node takes the controller takes too, and both read the same from it.
pub fn join_token(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let at_controller = AtController::parse(text).ok();
    if let Some(token) = &at_controller {
        let again = AtController::parse(&token.to_string()).ok();
        assert!(again.as_ref() == Some(token), "{token} does not read back");
    }
    let Ok(at_node) = text.parse::<AtNode>() else {
        return;
    };
    let shown = at_controller.expect("the controller refuses what a node joins with").to_string();
    assert_eq!(at_node.as_str(), shown);
    assert!(shown.bytes().all(|byte| byte.is_ascii_graphic()), "{shown:?} in a header");
    let secret = shown.rsplit('.').next().unwrap_or_default();
    let debug = format!("{at_node:?}");
    assert!(secret.len() < 20 || !debug.contains(secret), "a credential in {debug}");
}
