//! Whom a resource is for, where that is not everybody.

use std::sync::Arc;

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

/// Of these, those that may have what is in Secrets: a waypoint has Secrets of its own namespace, and that is the one whose
/// rules speak.
pub(super) fn of_secrets(view: &View<'_>, key: &ObjectKey, audience: &Audience) -> Audience {
    let object = view.model.object(key);
    let binding = object.as_ref().and_then(User::of).map(|user| waypoint::resolve(view, user));
    let home = binding.as_ref().and_then(|it| it.asked()).map(|asked| &*asked.gateway.0);
    let is_of_home = |name: &&Arc<str>| {
        let namespace = name.split_once('/').map(|(namespace, _)| namespace);
        home.is_some() && namespace == home
    };
    audience.iter().filter(is_of_home).cloned().collect()
}
