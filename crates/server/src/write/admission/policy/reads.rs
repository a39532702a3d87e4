//! Who writes a policy or a binding must be allowed to read what it takes as parameters: otherwise the messages of a
//! policy would tell what its author may not see (KEP-3488, "Safety Features"). Never here: whether the object is
//! right.

use crate::authorize::{Attributes, Authorizer, MASTERS};
use crate::write::admission::{Admit, Plugin, Verdict};
use skiff_api::Status;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::{Object, at as field, text};
use skiff_api::wire::User;
use skiff_json::Value;
use std::sync::Arc;

const GROUP: &str = "admissionregistration.k8s.io";

/// Checks every write of a policy or binding. (Upstream does so in the storage of these kinds, so its plugin has no
/// name there.)
pub struct Reads {
    authorizer: Arc<Authorizer>,
}

/// What must be readable: group, version and plural, as far as they are known.
struct Target {
    group: String,
    version: String,
    plural: String,
}

impl Reads {
    pub fn new(authorizer: Arc<Authorizer>) -> Reads {
        Reads { authorizer }
    }

    /// Refuses, if it has to be.
    async fn policy(&self, at: &Admit<'_>, new: &Object) -> Result<(), Status> {
        let Some(kind) = new.at("spec.paramKind") else { return Ok(()) };
        if at.old.is_some_and(|old| old.at("spec.paramKind") == Some(kind)) {
            return Ok(());
        }
        let (target, _) = target(at, kind);
        let asked = asked(target, "get", "*", "*");
        if self.authorizer.decide(at.user, &asked).await.allowed() {
            return Ok(());
        }
        let (kind, version) = (text(kind, "kind"), text(kind, "apiVersion"));
        let why = format!(
            "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={kind}, \
             apiVersion={version})",
            shown(at.user)
        );
        Err(refusal(at, new, "spec.paramKind", &why))
    }

    async fn binding(&self, at: &Admit<'_>, new: &Object, policies: &str) -> Result<(), Status> {
        let Some(param) = new.at("spec.paramRef") else { return Ok(()) };
        let (of_old, name) =
            (at.old.and_then(|old| old.at("spec.paramRef")), new.text("spec.policyName"));
        // As upstream: what has a selector or an action is judged anew at each write.
        let plain =
            field(param, "selector").is_none() && field(param, "parameterNotFoundAction").is_none();
        if plain
            && of_old == Some(param)
            && at.old.is_some_and(|old| old.text("spec.policyName") == name)
        {
            return Ok(());
        }
        let policy = at.read((GROUP, policies), "", name).await?;
        let kind = policy.as_ref().and_then(|policy| policy.at("spec.paramKind"));
        let (target, resolved) = match kind {
            Some(kind) => target(at, kind),
            None => (Target::any(), true),
        };
        let named = text(param, "name");
        let verb = if named.is_empty() { "list" } else { "get" };
        let asked = asked(target, verb, named, text(param, "namespace"));
        if self.authorizer.decide(at.user, &asked).await.allowed() {
            return Ok(());
        }
        let (user, mutates) = (shown(at.user), policies.starts_with("mutating"));
        let broad = format!(
            "to determine minimum required permissions and user {user} does not have \"{verb}\" permission for all \
             groups, versions and resources"
        );
        let why = match (&policy, kind) {
            (None, _) => format!("unable to get policy {name} {broad}"),
            (_, Some(kind)) if !resolved => {
                let (version, kind) = (text(kind, "apiVersion"), text(kind, "kind"));
                // Printed by upstream from two types, of which one knows how to print itself.
                let shown = match mutates {
                    true => format!("&{{{version} {kind}}}"),
                    false => format!("&ParamKind{{APIVersion:{version},Kind:{kind},}}"),
                };
                format!("unable to resolve paramKind {shown} {broad}")
            }
            // Upstream's words for mutating policies have these two the wrong way round.
            _ if mutates => format!(
                "user {verb} does not have \"{user}\" permission on the object referenced by paramRef"
            ),
            _ => format!(
                "user {user} does not have \"{verb}\" permission on the object referenced by paramRef"
            ),
        };
        Err(refusal(at, new, "spec.paramRef", &why))
    }
}

impl Plugin for Reads {
    fn name(&self) -> &'static str {
        "AdmissionPolicyReads"
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        let own = at.kind.group == GROUP && at.subresource.is_empty();
        let Some(new) = new.filter(|_| own && !is_master(at.user)) else { return Verdict::PASS };
        match &*at.kind.plural {
            "validatingadmissionpolicies" | "mutatingadmissionpolicies" => {
                Verdict::later(self.policy(at, new))
            }
            "validatingadmissionpolicybindings" => {
                Verdict::later(self.binding(at, new, "validatingadmissionpolicies"))
            }
            "mutatingadmissionpolicybindings" => {
                Verdict::later(self.binding(at, new, "mutatingadmissionpolicies"))
            }
            _ => Verdict::PASS,
        }
    }
}

fn is_master(user: &User) -> bool {
    user.groups.iter().any(|group| group == MASTERS)
}

impl Target {
    /// What is not known must be allowed whatever it is.
    fn any() -> Target {
        Target { group: "*".into(), version: "*".into(), plural: "*".into() }
    }
}

/// What a paramKind means, and whether that is served.
fn target(at: &Admit<'_>, kind: &Value) -> (Target, bool) {
    let version = text(kind, "apiVersion");
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let registry = at.reader.kinds.now();
    let found = registry.find_kind(group, version, text(kind, "kind"));
    let plural = found.map_or("*", |kind| &*kind.plural).to_owned();
    (Target { group: group.into(), version: version.into(), plural }, found.is_some())
}

fn asked(target: Target, verb: &str, name: &str, namespace: &str) -> Attributes {
    Attributes {
        verb: verb.into(),
        group: target.group,
        version: target.version,
        resource: target.plural,
        name: name.into(),
        namespace: namespace.into(),
        ..Attributes::default()
    }
}

fn refusal(at: &Admit<'_>, new: &Object, path: &str, why: &str) -> Status {
    let mut errors = Errors::new();
    errors.forbidden(&Path::new(path), why);
    Status::invalid(at.kind.about_kind(), new.name(), &errors)
}

/// A user as Go prints one.
fn shown(user: &User) -> String {
    let extra: Vec<String> =
        user.extra.iter().map(|(key, values)| format!("{key}:[{}]", values.join(" "))).collect();
    format!("&{{{} {} [{}] map[{}]}}", user.name, user.uid, user.groups.join(" "), extra.join(" "))
}
