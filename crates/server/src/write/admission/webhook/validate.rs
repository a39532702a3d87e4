//! Validating webhooks: all whom an object concerns are asked at once, and the first of them that refuses, in their
//! order, is whom the client hears.

use super::configuration::Hooks;
use super::{Invocation, Webhooks};
use crate::write::admission::Admit;
use crate::write::admission::matching::{self, Shown};
use futures_util::future::join_all;
use skiff_api::Status;
use skiff_api::object::Object;

/// Asks all whom it concerns about a new object, a delete (`None`) or a stream.
pub async fn all(
    webhooks: &Webhooks,
    hooks: &Hooks,
    at: &Admit<'_>,
    new: Option<&Object>,
) -> Result<(), Status> {
    let numbers = matching::numbers(at, new);
    let (new, old) = match &numbers {
        Some((new, old)) => (new.as_ref(), old.as_ref()),
        None => (new, at.old),
    };
    let mut concerned: Vec<(Invocation<'_>, Shown<'_>)> = Vec::new();
    for hook in hooks.iter() {
        let found = super::invocation(hook, at, (new, old)).await?;
        let Some(invocation) = found else { continue };
        let shown = invocation.face.both(at, (new, old)).await?;
        if webhooks.holds(&invocation, at, shown.values()).await? {
            concerned.push((invocation, shown));
        }
    }
    let asking = concerned.iter().enumerate().map(|(index, (invocation, shown))| async move {
        let since = webhooks.world.uptime();
        let asked = webhooks.ask(invocation, at, shown.values()).await.map(|_| ());
        webhooks.judge(invocation.hook, at, since, asked, index).map(|_| ())
    });
    join_all(asking).await.into_iter().collect()
}
