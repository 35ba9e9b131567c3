//! Whom a resource is for, where that is not everybody.

use crate::objects::{Kind, ObjectKey};
use crate::xds::Audience;

use super::view::View;
use super::waypoint::{self, User};

/// The waypoints that stand before an object: who is served what they do with its requests.
pub(super) fn audience(view: &View<'_>, key: &ObjectKey) -> Audience {
    if key.kind == Kind::Gateway {
        let name = (key.namespace.clone(), key.name.clone());
        return [waypoint::full_name(&name).into()].into();
    }
    let object = view.model.object(key);
    let Some(user) = object.as_ref().and_then(User::of) else {
        return Audience::default();
    };
    let waypoints = waypoint::resolve(view, user).audience();
    waypoints.iter().map(|name| waypoint::full_name(name).into()).collect()
}
