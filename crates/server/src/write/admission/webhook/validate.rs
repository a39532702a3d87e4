//! Validating webhooks: all whom an object concerns are asked at once, and the first of them that refuses, in their
//! order, is whom the client hears.

use super::Webhooks;
use super::configuration::Hooks;
use super::matching::{self, Invocation};
use super::mutate::scale_of;
use crate::read::scale;
use crate::write::admission::Admit;
use futures_util::future::join_all;
use skiff_api::Status;
use skiff_api::object::Object;
use std::borrow::Cow;

/// What one webhook is shown.
type Shown<'a> = Option<Cow<'a, Object>>;

/// Asks all whom it concerns about a new object, a delete (`None`) or a stream.
pub async fn all(
    webhooks: &Webhooks,
    hooks: &Hooks,
    at: &Admit<'_>,
    new: Option<&Object>,
) -> Result<(), Status> {
    let numbers = |object: Option<&Object>| match (scale_of(at), object) {
        (Some(paths), Some(object)) => Some(scale::show(object, paths)),
        _ => None,
    };
    let (numbers_new, numbers_old) = (numbers(new), numbers(at.old));
    let (new, old) = (numbers_new.as_ref().or(new), numbers_old.as_ref().or(at.old));
    let mut concerned: Vec<(Invocation<'_>, Shown<'_>, Shown<'_>)> = Vec::new();
    for hook in hooks.iter() {
        let found = matching::invocation(hook, at, (new, old)).await?;
        let Some(invocation) = found else { continue };
        let (mut shown, mut shown_old) = (None, None);
        if let Some(new) = new {
            shown = Some(invocation.shown(at, new).await?);
        }
        if let Some(old) = old {
            shown_old = Some(invocation.shown(at, old).await?);
        }
        let both = (shown.as_ref().map(|it| it.value()), shown_old.as_ref().map(|it| it.value()));
        if hook.conditions.hold(webhooks, &invocation, at, both).await? {
            concerned.push((invocation, shown, shown_old));
        }
    }
    let asking = concerned.iter().enumerate().map(|(index, (invocation, new, old))| async move {
        let since = webhooks.world.uptime();
        let both = (new.as_ref().map(|it| it.value()), old.as_ref().map(|it| it.value()));
        let asked = webhooks.ask(invocation, at, both).await.map(|_| ());
        webhooks.judge(invocation.hook, at, since, asked, index).map(|_| ())
    });
    join_all(asking).await.into_iter().collect()
}
