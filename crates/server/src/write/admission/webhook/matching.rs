//! Whom a request concerns: rules, selectors, and, with the match policy `Equivalent`, rules for another version of the
//! same resource (API reference: RuleWithOperations; KEP-1137, "matchPolicy").

use super::configuration::{Hook, Hooks};
use crate::read::convert;
use crate::write::admission::{Admit, Operation};
use serde_json::Value;
use skiff_api::Status;
use skiff_api::kind::{Backend, Kind};
use skiff_api::object::{Object, at};
use std::borrow::Cow;
use std::sync::Arc;

const NAMESPACES: (&str, &str) = ("", "namespaces");

impl Operation {
    /// As rules and reviews name it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// One rule of a webhook.
#[derive(Debug)]
pub struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// `pods`, `pods/status`, `*/*`: the resource, and the entry below it.
    resources: Vec<(String, String)>,
    scope: String,
}

impl Rule {
    pub fn of(rule: &Value) -> Rule {
        let list = |field: &str| -> Vec<String> {
            let list = at(rule, field).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let split = |it: String| match it.split_once('/') {
            Some((resource, entry)) => (resource.to_owned(), entry.to_owned()),
            None => (it, String::new()),
        };
        Rule {
            operations: list("operations"),
            groups: list("apiGroups"),
            versions: list("apiVersions"),
            resources: list("resources").into_iter().map(split).collect(),
            scope: skiff_api::object::text(rule, "scope").to_owned(),
        }
    }

    fn matches(&self, at: &Admit<'_>, kind: &Kind) -> bool {
        let is = |items: &[String], wanted: &str| items.iter().any(|it| it == "*" || it == wanted);
        let in_a_namespace =
            !at.namespace.is_empty() && (&*at.kind.group, &*at.kind.plural) != NAMESPACES;
        let scope = match &*self.scope {
            "Namespaced" => in_a_namespace,
            "Cluster" => !in_a_namespace,
            _ => true,
        };
        scope
            && is(&self.operations, at.operation.name())
            && is(&self.groups, &kind.group)
            && is(&self.versions, &kind.version)
            && self.resources.iter().any(|(resource, entry)| {
                (resource == "*" || *resource == *kind.plural)
                    && (entry == "*" || entry == at.subresource)
            })
    }
}

/// A webhook that is asked about a request, and the face of the resource that it wants to see.
pub struct Invocation<'a> {
    pub hook: &'a Hook,
    /// `None`: as it was asked for.
    face: Option<Arc<Kind>>,
}

impl Invocation<'_> {
    /// The kind below which the request lies, as the webhook sees it.
    pub fn kind<'s>(&'s self, at: &'s Admit<'_>) -> &'s Kind {
        self.face.as_deref().unwrap_or(at.kind)
    }

    /// An object of the request in the version that the webhook wants.
    pub async fn shown<'o>(
        &self,
        at: &Admit<'_>,
        object: &'o Object,
    ) -> Result<Cow<'o, Object>, Status> {
        match &self.face {
            Some(face) if is_whole(at) => {
                convert::between(at.reader, at.kind, face, object.clone()).await.map(Cow::Owned)
            }
            _ => Ok(Cow::Borrowed(object)),
        }
    }

    /// Back into the version of the request.
    pub async fn taken(&self, at: &Admit<'_>, object: Object) -> Result<Object, Status> {
        match &self.face {
            Some(face) if is_whole(at) => convert::between(at.reader, face, at.kind, object).await,
            _ => Ok(object),
        }
    }
}

/// Whether the request is about objects of its kind, and not of another (a Scale, an Eviction).
fn is_whole(at: &Admit<'_>) -> bool {
    at.asked == (&*at.kind.group, &*at.kind.version, &*at.kind.kind)
}

/// Whether anybody could be concerned: nothing is looked up for that.
pub fn any(hooks: &Hooks, at: &Admit<'_>) -> bool {
    !hooks.is_empty()
        && !is_exempt(at.kind)
        && hooks
            .iter()
            .any(|hook| hook.equivalent || hook.rules.iter().any(|it| it.matches(at, at.kind)))
}

/// What no webhook is asked about (KEP-5912 for what is not stored).
fn is_exempt(kind: &Kind) -> bool {
    let review = matches!(kind.backend, Backend::Answered(_));
    review || kind.group == "admissionregistration.k8s.io"
}

/// Whether and how a webhook is asked about this request, with these objects.
///
/// # Errors
/// When its namespace is not there, or cannot be read.
pub async fn invocation<'a>(
    hook: &'a Hook,
    at: &Admit<'_>,
    (new, old): (Option<&Object>, Option<&Object>),
) -> Result<Option<Invocation<'a>>, Status> {
    let face = match hook.rules.iter().any(|rule| rule.matches(at, at.kind)) {
        true => None,
        false if hook.equivalent => match equivalent(hook, at) {
            Some(face) => Some(face),
            None => return Ok(None),
        },
        false => return Ok(None),
    };
    let has_labels = |object: Option<&Object>| {
        let object = object.filter(|it| it.at("metadata").is_some());
        object.is_some_and(|it| hook.objects.matches_object(it.value()))
    };
    if !hook.objects.selects_everything() && !has_labels(new) && !has_labels(old) {
        return Ok(None);
    }
    if !hook.namespaces.selects_everything() && !in_namespace(hook, at, new).await? {
        return Ok(None);
    }
    Ok(Some(Invocation { hook, face }))
}

fn equivalent(hook: &Hook, at: &Admit<'_>) -> Option<Arc<Kind>> {
    let registry = at.reader.kinds.now();
    let same = |it: &&Arc<Kind>| {
        it.storage == at.kind.storage
            && (&*it.group, &*it.version) != (&*at.kind.group, &*at.kind.version)
    };
    let faces: Vec<&Arc<Kind>> = registry.kinds().iter().filter(same).collect();
    let mut rules = hook.rules.iter();
    rules.find_map(|rule| faces.iter().find(|face| rule.matches(at, face)).map(|it| (*it).clone()))
}

async fn in_namespace(hook: &Hook, at: &Admit<'_>, new: Option<&Object>) -> Result<bool, Status> {
    let about_namespace = (&*at.kind.group, &*at.kind.plural) == NAMESPACES;
    if at.namespace.is_empty() && !about_namespace {
        return Ok(true);
    }
    match new {
        // What is to be counts, where the namespace itself is written.
        Some(new) if about_namespace && at.subresource.is_empty() => {
            Ok(hook.namespaces.matches_object(new.value()))
        }
        _ => {
            let name = if about_namespace { &at.name } else { at.namespace };
            let namespace = at.find(NAMESPACES, "", name).await?;
            Ok(hook.namespaces.matches_object(namespace.value()))
        }
    }
}
