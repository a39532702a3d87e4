//! PodSecurity: what a namespace's labels allow its pods to ask for is enforced, and told (Kubernetes documentation:
//! Pod Security Admission; KEP-2579).
//!
//! Pods are refused; templates of pods are only warned about, since the pods that come of them are judged themselves.
//! The mode `audit` is told to the audit log alone.

use super::{Admit, Plugin, Verdict};
use skiff_api::Status;
use skiff_api::errors::Errors;
use skiff_api::object::{Object, at};
use skiff_base::World;
use skiff_json::Value;
use skiff_kinds::pod_security::{self, Exemptions, LABELS, Level, MODES, Pod, Policy, Violations};
use skiff_store::{Currency, ListRequest, Record, Scope, Store};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// What counts where labels say nothing, and for whom nothing counts.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub defaults: Policy,
    pub exemptions: Exemptions,
}

/// Of the pods of a namespace whose label changes, so many are looked at, for so long; upstream's bounds.
const PODS_MOST: usize = 3000;
const LOOK_MOST: Duration = Duration::from_secs(1);

/// Parts of a pod that say nothing about what it may do.
const IGNORED: [&str; 8] =
    ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// Where the kinds that make pods hold their template.
const TEMPLATES: [(&str, &str, &str); 8] = [
    ("", "podtemplates", "template"),
    ("", "replicationcontrollers", "spec.template"),
    ("apps", "daemonsets", "spec.template"),
    ("apps", "deployments", "spec.template"),
    ("apps", "replicasets", "spec.template"),
    ("apps", "statefulsets", "spec.template"),
    ("batch", "cronjobs", "spec.jobTemplate.spec.template"),
    ("batch", "jobs", "spec.template"),
];

pub struct PodSecurity {
    rules: Rules,
    store: Arc<dyn Store>,
    world: World,
}

impl PodSecurity {
    pub fn new(rules: Rules, store: Arc<dyn Store>, world: World) -> PodSecurity {
        PodSecurity { rules, store, world }
    }
}

impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        let Some(new) = new else { return Verdict::PASS };
        let (group, plural, part) = (&*at.kind.group, &*at.kind.plural, at.subresource);
        match (group, plural) {
            ("", "namespaces") if part.is_empty() => Verdict::later(self.namespace(at, new)),
            ("", "pods") if IGNORED.contains(&part) => Verdict::PASS,
            ("", "pods") => judge(self, at, Subject::Pod(new)).into(),
            _ => {
                let found = TEMPLATES.iter().find(|it| (it.0, it.1, "") == (group, plural, part));
                match found.and_then(|(_, _, path)| new.at(path)) {
                    Some(template) => judge(self, at, Subject::Template(template)).into(),
                    None => Verdict::PASS,
                }
            }
        }
    }
}

/// What is judged.
#[derive(Clone, Copy)]
enum Subject<'a> {
    Pod(&'a Object),
    /// Only told about.
    Template(&'a Value),
}

/// Says something to the audit log.
fn annotate(request: &Admit<'_>, key: &str, value: impl Into<String>) {
    request.annotate(&format!("{LABELS}{key}"), value);
}

fn judge(plugin: &PodSecurity, request: &Admit<'_>, of: Subject<'_>) -> Result<(), Status> {
    let Rules { defaults, exemptions } = &plugin.rules;
    if is_in(&exemptions.namespaces, request.namespace) {
        annotate(request, "exempt", "namespace");
        return Ok(());
    }
    if is_in(&exemptions.users, &request.user.name) {
        annotate(request, "exempt", "user");
        return Ok(());
    }
    let Some(record) = plugin.store.get(&format!("namespaces//{}", request.namespace)) else {
        let why = format!("failed to lookup namespace {:?}", request.namespace);
        return Err(Status::internal(why));
    };
    let label = |key: &str| crate::read::facets::value(&record, &format!("l:{key}"));
    let (policy, wrong) = Policy::of_labels(label, *defaults);
    let value = match of {
        Subject::Pod(pod) => {
            if policy.is_privileged() && wrong.is_empty() {
                annotate(request, "enforce-policy", "privileged:latest");
                return Ok(());
            }
            if request.old.is_some_and(|old| !pod_security::changes(pod, old)) {
                return Ok(());
            }
            pod.value()
        }
        Subject::Template(template) => template,
    };
    let class = at(value, "spec.runtimeClassName").and_then(Value::as_str).unwrap_or("");
    if is_in(&exemptions.runtime_classes, class) {
        annotate(request, "exempt", "runtimeClass");
        return Ok(());
    }
    if !wrong.is_empty() {
        annotate(request, "error", format!("Failed to parse policy: {}", wrong.text()));
    }
    let pod = Pod { value };
    if let Subject::Pod(_) = of {
        annotate(request, "enforce-policy", policy.enforce.to_string());
    }
    let would = |standard, found| format!("would violate PodSecurity \"{standard}\": {found}");
    if request.notes.are_taken()
        && let Some(found) = Violations::of(pod, policy.audit)
    {
        annotate(request, "audit-violations", would(policy.audit, found));
    }
    if let Subject::Pod(named) = of
        && let Some(found) = Violations::of(pod, policy.enforce)
    {
        let why = format!("violates PodSecurity \"{}\": {found}", policy.enforce);
        return Err(Status::forbidden(request.kind.about(), named.name(), &why));
    }
    if let Some(found) = Violations::of(pod, policy.warn) {
        request.warn(would(policy.warn, found));
    }
    Ok(())
}

impl PodSecurity {
    /// A namespace: its labels can be read, and who changes them hears of the pods that are there.
    async fn namespace(&self, request: &Admit<'_>, new: &Object) -> Result<(), Status> {
        let Rules { defaults, exemptions } = &self.rules;
        let read = |of: &Object| {
            let labels = of.map("metadata.labels");
            Policy::of_labels(|key| labels.get(key).and_then(Value::as_str), *defaults)
        };
        let (policy, wrong) = read(new);
        let (before, was_wrong) = request.old.map_or_else(|| (policy, Errors::new()), read);
        if !wrong.is_empty() && !wrong.iter().eq(was_wrong.iter()) {
            return Err(Status::invalid(request.kind.about_kind(), new.name(), &wrong));
        }
        let (enforce, had) = (policy.enforce, before.enforce);
        let relaxed = enforce.version == had.version && enforce.level <= had.level;
        let quiet = enforce.level == Level::Privileged || relaxed;
        if is_in(&exemptions.namespaces, new.name()) && (request.creates() || !quiet) {
            warn_of_exemption(request, new, &policy, defaults);
        } else if !request.creates() && !quiet {
            let warnings = self.look_at_pods(new.name(), &policy).await?;
            warnings.into_iter().for_each(|warning| request.warn(warning));
        }
        Ok(())
    }

    /// What the pods of a namespace have against a level that it is about to enforce.
    async fn look_at_pods(&self, namespace: &str, policy: &Policy) -> Result<Vec<String>, Status> {
        let (scope, currency) = (Scope::prefix(&format!("pods/{namespace}/")), Currency::Seen);
        let asked = ListRequest { scope, currency, ..ListRequest::default() };
        let listed = self.store.list(asked).await;
        let listed = listed.map_err(crate::read::read_error)?;
        let until = self.world.uptime() + LOOK_MOST;
        let exempt = |class: &str| is_in(&self.rules.exemptions.runtime_classes, class);
        let in_time = || self.world.uptime() < until;
        Ok(survey(&listed.records, policy, exempt, in_time).tell(namespace, policy))
    }
}

/// Labels on an exempt namespace look like a promise that nobody keeps.
fn warn_of_exemption(request: &Admit<'_>, new: &Object, policy: &Policy, defaults: &Policy) {
    let modes = MODES.into_iter().zip([policy.enforce, policy.audit, policy.warn]);
    let labelled = |mode: &str| {
        let label = |suffix: &str| new.label(&format!("{LABELS}{mode}{suffix}"));
        label("").is_some() || label("-version").is_some()
    };
    let said = modes.filter(|(mode, it)| it.level != Level::Privileged && labelled(mode));
    let said: Vec<String> = said.map(|(mode, it)| format!("{mode}={it}")).collect();
    if !policy.is_privileged() && policy != defaults {
        request.warn(format!(
            "namespace {:?} is exempt from Pod Security, and the policy ({}) will be ignored",
            new.name(),
            said.join(", ")
        ));
    }
}

fn is_in(list: &[String], word: &str) -> bool {
    list.iter().any(|it| it == word)
}

/// Pods that were looked at.
#[derive(Default)]
struct Survey {
    total: usize,
    checked: usize,
    /// What is said against some, with the first one's name and how many they are.
    found: BTreeMap<String, (String, usize)>,
}

/// One pod of each owner first: its siblings say the same.
fn survey(
    records: &[Arc<Record>],
    policy: &Policy,
    exempt: impl Fn(&str) -> bool,
    in_time: impl Fn() -> bool,
) -> Survey {
    let mut owners = HashSet::new();
    let (first, rest): (Vec<_>, Vec<_>) = records.iter().partition(|record| {
        let owner = crate::read::facets::value(record, "o");
        owner.is_none_or(|owner| owners.insert(owner.to_owned()))
    });
    let mut survey = Survey { total: records.len(), ..Survey::default() };
    for record in first.into_iter().chain(rest).take(PODS_MOST).take_while(|_| in_time()) {
        // One that cannot be read is not checked, and the count says so.
        let Ok(pod) = skiff_json::from_slice(&record.body).map(Object::new) else { continue };
        survey.checked += 1;
        if exempt(pod.text("spec.runtimeClassName")) {
            continue;
        }
        if let Some(found) = Violations::of(Pod { value: pod.value() }, policy.enforce) {
            let known = survey.found.entry(found.reasons());
            let (name, count) = known.or_insert_with(|| (pod.name().to_owned(), 0));
            if pod.name() < name.as_str() {
                *name = pod.name().to_owned();
            }
            *count += 1;
        }
    }
    survey
}

impl Survey {
    fn tell(&self, namespace: &str, policy: &Policy) -> Vec<String> {
        let mut told = Vec::new();
        if self.checked < self.total {
            let (checked, total) = (self.checked, self.total);
            told.push(format!(
                "new PodSecurity enforce level only checked against the first {checked} of {total} existing pods"
            ));
        }
        if !self.found.is_empty() {
            told.push(format!(
                "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{}\"",
                policy.enforce
            ));
        }
        let each = self.found.iter().map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            more => format!("{name} (and {} other pods): {reasons}", more - 1),
        });
        let mut each: Vec<String> = each.collect();
        each.sort();
        told.extend(each);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;
    use skiff_store::Revision;
    use std::cell::Cell;

    fn pod(name: &str, owner: &str, body: Value) -> Arc<Record> {
        let owners = (!owner.is_empty()).then(|| ("o".into(), owner.into()));
        Arc::new(Record {
            key: format!("pods/n/{name}").into(),
            revision: Revision(1),
            generation: 1,
            body: body.to_string().into(),
            facets: skiff_store::facets(owners.into_iter().collect()),
        })
    }

    fn privileged(name: &str, owner: &str, class: &str) -> Arc<Record> {
        let own = json!([{"name": "c", "securityContext": {"privileged": true}}]);
        let spec = json!({"containers": own, "runtimeClassName": class});
        pod(name, owner, json!({"metadata": {"name": name}, "spec": spec}))
    }

    fn told(pods: &[Arc<Record>], looks: usize) -> Vec<String> {
        let mut policy = Policy::default();
        policy.set("enforce=baseline").unwrap();
        let left = Cell::new(looks);
        let in_time = || left.replace(left.get().saturating_sub(1)) > 0;
        survey(pods, &policy, |class| class == "kata", in_time).tell("n", &policy)
    }

    #[test]
    fn so_many_pods_are_looked_at_for_so_long() {
        const FIRST: &str = "new PodSecurity enforce level only checked against the first";
        let pods: Vec<_> = (0..=PODS_MOST).map(|n| privileged(&format!("p{n}"), "", "")).collect();
        let all = told(&pods, usize::MAX);
        assert_eq!(all[0], format!("{FIRST} {PODS_MOST} of 3001 existing pods"));
        assert_eq!(all[2], "p0 (and 2999 other pods): privileged");
        assert_eq!(told(&pods, 2)[0], format!("{FIRST} 2 of 3001 existing pods"));
    }

    #[test]
    fn siblings_come_last_and_exempt_classes_say_nothing() {
        let pods =
            [privileged("a", "set", ""), privileged("b", "set", ""), privileged("d", "", "")];
        assert_eq!(told(&pods, 2)[2], "a (and 1 other pod): privileged");
        assert!(told(&[privileged("a", "", "kata")], 9).is_empty());
        let unread = told(&[pod("a", "", json!("no pod")), privileged("b", "", "")], 9);
        assert_eq!(unread.last().unwrap(), "b: privileged");
    }
}
