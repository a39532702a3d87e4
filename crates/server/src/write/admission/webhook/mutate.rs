//! Mutating webhooks: one after the other, each sees what those before it made. When one changes something, all of the
//! mutating chain runs once more, and those webhooks that ask for it see what came of that (`reinvocationPolicy`).

use super::answer::Allowed;
use super::configuration::{Hook, Hooks};
use super::{Failure, Invocation, Webhooks};
use crate::read::scale;
use crate::write::admission::made::{Unfit, fitted};
use crate::write::admission::matching::scale_of;
use crate::write::admission::{Admit, Next};
use skiff_api::Status;
use skiff_api::json::{self as text, type_name};
use skiff_api::object::Object;
use skiff_api::patch::{self, json_patch};
use skiff_api::schema;
use skiff_json::{Value, json};

/// Asks all whom the new object concerns, and changes it as they say.
pub async fn object(
    webhooks: &Webhooks,
    hooks: &Hooks,
    at: &Admit<'_>,
    new: &mut Object,
) -> Result<Next, Status> {
    let numbers = scale_of(at);
    let mut seen = match numbers {
        Some(paths) => scale::show(new, paths),
        None => std::mem::replace(new, Object::new(Value::Null)),
    };
    let before = match (numbers, at.old) {
        (Some(paths), Some(old)) => Some(scale::show(old, paths)),
        _ => None,
    };
    let old = before.as_ref().or(at.old);
    let outcome = chain(webhooks, hooks, at, (&mut seen, old)).await;
    match numbers {
        Some(paths) => scale::put(new, &seen, paths),
        None => *new = seen,
    }
    outcome
}

async fn chain(
    webhooks: &Webhooks,
    hooks: &Hooks,
    at: &Admit<'_>,
    (seen, old): (&mut Object, Option<&Object>),
) -> Result<Next, Status> {
    let (mut next, mut any) = (Next::GoOn, false);
    if at.again {
        at.chain.lock().begin(seen.value());
    }
    for (index, hook) in hooks.iter().enumerate() {
        let found = super::invocation(hook, at, (Some(seen), old)).await?;
        let Some(invocation) = found else { continue };
        if at.again && !at.chain.lock().is_asked(&hook.uid) {
            continue;
        }
        any = true;
        let shown = invocation.face.shown(at, seen).await?;
        let shown_old = match old {
            Some(old) => Some(invocation.face.shown(at, old).await?),
            None => None,
        };
        let both = (Some(shown.value()), shown_old.as_ref().map(|old| old.value()));
        if !webhooks.holds(&invocation, at, both).await? {
            continue;
        }
        let since = webhooks.world.uptime();
        let asked = webhooks.ask(&invocation, at, both).await;
        let made = asked.and_then(|allowed| {
            let made = patched(&invocation, at, &shown, &allowed)?;
            if made.is_some() {
                note_patch(hook, at, index, &allowed);
            }
            Ok(made.filter(|made| made.value() != shown.value()))
        });
        note(hook, at, index, matches!(made, Ok(Some(_))));
        let made = webhooks.judge(hook, at, since, made, index)?.flatten();
        let changed = made.is_some();
        if let Some(made) = made {
            let taken = invocation.face.taken(at, made).await?;
            drop(shown);
            *seen = taken;
            next = Next::Again;
        }
        let mut chain = at.chain.lock();
        if changed {
            chain.changed();
        }
        if hook.reinvoked {
            chain.asked(&hook.uid);
        }
    }
    if any {
        at.chain.lock().leave(seen.value());
    }
    Ok(next)
}

/// Tells the audit log that a webhook was asked, and whether it changed anything.
fn note(hook: &Hook, at: &Admit<'_>, index: usize, mutated: bool) {
    let key =
        format!("mutation.webhook.admission.k8s.io/round_{}_index_{index}", u8::from(at.again));
    let (configuration, webhook) = (json!(*hook.configuration), json!(hook.name));
    let said =
        format!(r#"{{"configuration":{configuration},"webhook":{webhook},"mutated":{mutated}}}"#);
    at.annotate(&key, said);
}

/// Tells it how, where it keeps what was sent.
fn note_patch(hook: &Hook, at: &Admit<'_>, index: usize, allowed: &Allowed) {
    at.notes.annotate_body(
        || format!("patch.webhook.admission.k8s.io/round_{}_index_{index}", u8::from(at.again)),
        || {
            let (configuration, webhook) = (json!(*hook.configuration), json!(hook.name));
            let patch = text::parse(allowed.patch.as_deref().unwrap_or(b"[]"));
            let patch = patch.map_or(Value::Null, |patch| patch.value);
            format!(
                r#"{{"configuration":{configuration},"webhook":{webhook},"patch":{patch},"patchType":"JSONPatch"}}"#
            )
        },
    );
}

/// The object as a webhook wants it; `None` when it says nothing.
fn patched(
    invocation: &Invocation<'_>,
    at: &Admit<'_>,
    shown: &Object,
    allowed: &Allowed,
) -> Result<Option<Object>, Failure> {
    let Some(bytes) = operations(allowed)? else { return Ok(None) };
    let internal = |why: String| Failure::Internal(Status::internal(why));
    let made = json_patch::apply(shown.value().clone(), bytes).map_err(|error| match error {
        patch::Error::Unfit(why) | patch::Error::Untrue(why) => internal(why),
        patch::Error::TooLarge(why) => Failure::Internal(too_large(&why)),
        other => internal(other.to_string()),
    })?;
    check_type(&made.object, shown.value())?;
    match fitted(&invocation.face, at, made.object) {
        Ok(made) => Ok(Some(made)),
        Err(Unfit::TooLarge(why)) => Err(Failure::Internal(too_large(&why))),
        Err(Unfit::Type(why)) => Err(internal(why)),
    }
}

/// The operations of a patch that has any.
fn operations(allowed: &Allowed) -> Result<Option<&[u8]>, Failure> {
    let Some(bytes) = &allowed.patch else { return Ok(None) };
    let undecodable = |why: String| {
        Failure::calling(format!("received undecodable patch in webhook response: {why}"))
    };
    match text::parse(bytes).map_err(undecodable)?.value {
        Value::Array(all) if all.is_empty() => Ok(None),
        Value::Array(_) if allowed.patch_type == "JSONPatch" => Ok(Some(bytes)),
        Value::Array(_) => {
            Err(Failure::calling(format!("unsupported patch type {:?}", allowed.patch_type)))
        }
        Value::Null => Ok(None),
        other => {
            let found = type_name(&other);
            let why =
                format!("json: cannot unmarshal {found} into Go value of type jsonpatch.Patch");
            Err(undecodable(why))
        }
    }
}

fn too_large(why: &str) -> Status {
    Status::new(413, "RequestEntityTooLarge", format!("Request entity too large: {why}"))
}

/// A patch makes no object of another type.
fn check_type(made: &Value, shown: &Value) -> Result<(), Failure> {
    let of = |value: &Value| {
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        (text("apiVersion"), text("kind"))
    };
    let (made, shown) = (of(made), of(shown));
    if made == shown {
        return Ok(());
    }
    let (group, version) = made.0.split_once('/').unwrap_or(("", &made.0));
    let status = match schema::gvk(group, version, &made.1) {
        Some(_) => Status::new(
            500,
            "",
            format!("converting ({version}.{}) to ({}): unknown conversion", made.1, shown.1),
        ),
        None => Status::internal(format!(
            "no kind {:?} is registered for version {:?} in scheme \"pkg/runtime/scheme.go:111\"",
            made.1, made.0
        )),
    };
    Err(Failure::Internal(status))
}

/// Asks about what no webhook can change: a delete, or the options of a stream.
pub async fn nothing(
    webhooks: &Webhooks,
    hooks: &Hooks,
    at: &Admit<'_>,
    options: Option<&Object>,
) -> Result<(), Status> {
    for (index, hook) in hooks.iter().enumerate() {
        let found = super::invocation(hook, at, (options, at.old)).await?;
        let Some(invocation) = found else { continue };
        let old = match at.old {
            Some(old) => Some(invocation.face.shown(at, old).await?),
            None => None,
        };
        let both = (options.map(Object::value), old.as_ref().map(|old| old.value()));
        if !webhooks.holds(&invocation, at, both).await? {
            continue;
        }
        let since = webhooks.world.uptime();
        let asked = webhooks.ask(&invocation, at, both).await;
        let asked = asked.and_then(|allowed| match operations(&allowed)? {
            None => Ok(()),
            Some(_) => Err(Failure::Internal(Status::internal(format!(
                "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                hook.name
            )))),
        });
        note(hook, at, index, false);
        webhooks.judge(hook, at, since, asked, index)?;
    }
    Ok(())
}
