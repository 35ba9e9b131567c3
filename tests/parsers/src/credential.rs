//! What is in Secrets, from its bytes.

use prost::Message as _;
use weft_proto::route as proto;
use weft_waypoint::balance::Credentials;

/// One service's Secrets. All of them are there as they were sent, or none is; and nothing shows a key.
pub fn credentials(data: &[u8]) {
    let message = proto::ServiceCredentials::decode(data).ok();
    let own = message.as_ref().map(|it| format!("{}/{}", it.namespace, it.hostname));
    let found = match Credentials::decode(own.as_deref().unwrap_or("demo/web"), data) {
        Ok(found) => found,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let message = message.expect("it was decoded");
    for (name, sent) in &message.secrets {
        let taken = found.get(name).expect("it was sent");
        assert_eq!((taken.key(), &*taken.chain), (&*sent.key_pem, &*sent.chain_pem));
        assert_eq!((&*taken.authorities, &*taken.revoked), (&*sent.ca_pem, &*sent.revoked_pem));
        assert_eq!(format!("{taken:?} {sent:?}"), "Material(..) Credential(..)");
    }
}
