//! Whom a request concerns, webhooks and policies alike: rules, selectors, and, with the match policy `Equivalent`,
//! rules for another version of the same resource (API reference: RuleWithOperations, MatchResources; KEP-1137,
//! "matchPolicy").

use crate::read::{convert, scale};
use crate::write::admission::{Admit, Operation};
use skiff_api::Status;
use skiff_api::kind::{Backend, Does, Kind, ScalePaths};
use skiff_api::object::{Object, at, text};
use skiff_api::selector::Selector;
use skiff_json::Value;
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

/// One rule.
#[derive(Debug)]
pub struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// `pods`, `pods/status`, `*/*`: the resource, and the entry below it.
    resources: Vec<(String, String)>,
    scope: String,
    /// Of the objects; none: all.
    names: Vec<String>,
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
            scope: text(rule, "scope").to_owned(),
            names: list("resourceNames"),
        }
    }

    fn matches(&self, at: &Admit<'_>, kind: &Kind, name: &str) -> bool {
        (self.names.is_empty() || self.names.iter().any(|it| it == name)) && self.concerns(at, kind)
    }

    /// Whatever the object's name is.
    fn concerns(&self, at: &Admit<'_>, kind: &Kind) -> bool {
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

/// Which requests somebody is asked about.
#[derive(Debug)]
pub struct Criteria {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    /// Without rules nothing is left out by them.
    any: bool,
    /// Rules for one version of a resource concern all (`matchPolicy: Equivalent`).
    equivalent: bool,
    namespaces: Selector,
    objects: Selector,
}

impl Criteria {
    /// Those of a webhook.
    ///
    /// # Errors
    /// What is wrong with a selector.
    pub fn of_webhook(hook: &Value) -> Result<Criteria, String> {
        Ok(Criteria { any: false, ..Criteria::of(hook, "rules")? })
    }

    /// `matchConstraints` or `matchResources`.
    ///
    /// # Errors
    /// What is wrong with a selector.
    pub fn of_policy(resources: &Value) -> Result<Criteria, String> {
        Criteria::of(resources, "resourceRules")
    }

    fn of(value: &Value, field: &str) -> Result<Criteria, String> {
        let rules = |field| {
            let rules = at(value, field).and_then(Value::as_array).into_iter().flatten();
            rules.map(Rule::of).collect::<Vec<_>>()
        };
        let included = rules(field);
        Ok(Criteria {
            any: included.is_empty(),
            rules: included,
            excluded: rules("excludeResourceRules"),
            equivalent: text(value, "matchPolicy") != "Exact",
            namespaces: Selector::from_object(at(value, "namespaceSelector"))?,
            objects: Selector::from_object(at(value, "objectSelector"))?,
        })
    }

    /// Whether a request could be meant: nothing is looked up for that.
    pub fn could_match(&self, at: &Admit<'_>) -> bool {
        self.any || self.equivalent || self.rules.iter().any(|it| it.concerns(at, at.kind))
    }

    /// Whether a request with these objects is meant, and how it is seen then.
    ///
    /// # Errors
    /// When its namespace is not there, or cannot be read.
    pub async fn face(
        &self,
        at: &Admit<'_>,
        (new, old): (Option<&Object>, Option<&Object>),
    ) -> Result<Option<Face>, Status> {
        let name = at.target(new.map(Object::value)).0;
        if self.found(&self.excluded, at, &name).is_some() {
            return Ok(None);
        }
        let face = match self.any {
            true => Face(None),
            false => match self.found(&self.rules, at, &name) {
                Some(face) => face,
                None => return Ok(None),
            },
        };
        let has_labels = |object: Option<&Object>| {
            let object = object.filter(|it| it.at("metadata").is_some());
            object.is_some_and(|it| self.objects.matches_object(it.value()))
        };
        if !self.objects.selects_everything() && !has_labels(new) && !has_labels(old) {
            return Ok(None);
        }
        if !self.namespaces.selects_everything() && !self.in_namespace(at, new).await? {
            return Ok(None);
        }
        Ok(Some(face))
    }

    /// By one of these rules, as it was asked for or as another version of it.
    fn found(&self, rules: &[Rule], at: &Admit<'_>, name: &str) -> Option<Face> {
        if rules.iter().any(|rule| rule.matches(at, at.kind, name)) {
            return Some(Face(None));
        }
        if !self.equivalent || rules.is_empty() {
            return None;
        }
        let registry = at.reader.kinds.now();
        let same = |it: &&Arc<Kind>| {
            it.storage == at.kind.storage
                && (&*it.group, &*it.version) != (&*at.kind.group, &*at.kind.version)
        };
        let faces: Vec<&Arc<Kind>> = registry.kinds().iter().filter(same).collect();
        let found = rules.iter().find_map(|rule| {
            faces.iter().find(|face| rule.matches(at, face, name)).map(|it| (*it).clone())
        });
        found.map(|face| Face(Some(face)))
    }

    async fn in_namespace(&self, at: &Admit<'_>, new: Option<&Object>) -> Result<bool, Status> {
        let about_namespace = (&*at.kind.group, &*at.kind.plural) == NAMESPACES;
        if at.namespace.is_empty() && !about_namespace {
            return Ok(true);
        }
        match new {
            // What is to be counts, where the namespace itself is written.
            Some(new) if about_namespace && at.subresource.is_empty() => {
                Ok(self.namespaces.matches_object(new.value()))
            }
            _ => {
                let name = if about_namespace { &at.name } else { at.namespace };
                let namespace = at.find(NAMESPACES, "", name).await?;
                Ok(self.namespaces.matches_object(namespace.value()))
            }
        }
    }
}

/// How somebody who is asked sees a request: in the version of the resource that they want.
#[derive(Clone)]
pub struct Face(Option<Arc<Kind>>);

impl Face {
    /// The kind below which the request lies.
    pub fn kind<'s>(&'s self, at: &'s Admit<'_>) -> &'s Kind {
        self.0.as_deref().unwrap_or(at.kind)
    }

    /// The type of the object.
    pub fn type_of<'s>(&'s self, at: &'s Admit<'_>) -> (&'s str, &'s str, &'s str) {
        let seen = self.kind(at);
        if is_whole(at) { (&*seen.group, &*seen.version, &*seen.kind) } else { at.asked }
    }

    /// An object of the request in that version.
    ///
    /// # Errors
    /// When it cannot be converted.
    pub async fn shown<'o>(
        &self,
        at: &Admit<'_>,
        object: &'o Object,
    ) -> Result<Cow<'o, Object>, Status> {
        match &self.0 {
            Some(face) if is_whole(at) => {
                convert::between(at.reader, at.kind, face, object.clone()).await.map(Cow::Owned)
            }
            _ => Ok(Cow::Borrowed(object)),
        }
    }

    /// Both objects of the request, where they are there.
    ///
    /// # Errors
    /// When one of them cannot be converted.
    pub async fn both<'o>(
        &self,
        at: &Admit<'_>,
        (new, old): (Option<&'o Object>, Option<&'o Object>),
    ) -> Result<Shown<'o>, Status> {
        let (mut shown, mut shown_old) = (None, None);
        if let Some(new) = new {
            shown = Some(self.shown(at, new).await?);
        }
        if let Some(old) = old {
            shown_old = Some(self.shown(at, old).await?);
        }
        Ok(Shown { new: shown, old: shown_old })
    }

    /// Back into the version of the request.
    ///
    /// # Errors
    /// When it cannot be converted.
    pub async fn taken(&self, at: &Admit<'_>, object: Object) -> Result<Object, Status> {
        match &self.0 {
            Some(face) if is_whole(at) => convert::between(at.reader, face, at.kind, object).await,
            _ => Ok(object),
        }
    }
}

/// The objects of a request, as somebody sees them.
pub struct Shown<'o> {
    pub new: Option<Cow<'o, Object>>,
    pub old: Option<Cow<'o, Object>>,
}

impl Shown<'_> {
    pub fn values(&self) -> (Option<&Value>, Option<&Value>) {
        (self.new.as_ref().map(|it| it.value()), self.old.as_ref().map(|it| it.value()))
    }
}

/// Whether the request is about objects of its kind, and not of another (a Scale, an Eviction).
pub fn is_whole(at: &Admit<'_>) -> bool {
    at.asked == (&*at.kind.group, &*at.kind.version, &*at.kind.kind)
}

/// What concerns nobody (KEP-5912 for what is not stored).
pub fn is_exempt(kind: &Kind) -> bool {
    let review = matches!(kind.backend, Backend::Answered(_));
    review || kind.group == "admissionregistration.k8s.io"
}

/// The numbers of an object, where a request is about these alone.
pub fn scale_of<'a>(at: &Admit<'a>) -> Option<&'a ScalePaths> {
    match at.kind.subresource(at.subresource).map(|entry| &entry.does) {
        Some(Does::Scale(paths)) => Some(paths),
        _ => None,
    }
}

/// The objects of a request about its numbers: those numbers.
pub fn numbers(at: &Admit<'_>, new: Option<&Object>) -> Option<(Option<Object>, Option<Object>)> {
    let paths = scale_of(at)?;
    let shown = |object: Option<&Object>| object.map(|object| scale::show(object, paths));
    Some((shown(new), shown(at.old)))
}
