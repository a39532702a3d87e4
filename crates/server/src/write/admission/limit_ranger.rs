//! LimitRanger: containers that do not say what they need get what the namespace's ranges say, and no container, pod or
//! claim asks for less, more or in another proportion than those allow (concepts: "Limit Ranges").

use super::{Admit, Next, Operation, Plugin, Verdict};
use serde::Deserialize;
use skiff_api::Status;
use skiff_api::object::{Object, at, at_mut, set, text};
use skiff_api::quantity::Quantity;
use skiff_json::{Map, Value};
use skiff_kinds::core::limitrange::MILLI_MOST;
use skiff_kinds::quota;
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::Quantities;
use skiff_store::{Currency, ListRequest, Scope};
use std::collections::HashSet;

const LIMIT_RANGES: &str = "limitranges";
/// Says what was put into a pod.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub struct LimitRanger;

impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn mutate<'a>(&'a self, at: &'a Admit<'_>, new: &'a mut Object) -> Verdict<'a, Next> {
        if !is_pod(at) || at.again || going(at) {
            return Ok(Next::GoOn).into();
        }
        Verdict::later(async move {
            for range in ranges(at).await? {
                complete(&range, new);
            }
            Ok(Next::GoOn)
        })
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        let claim = at.is("", "persistentvolumeclaims") && at.operation != Operation::Delete;
        match new {
            Some(new) if (claim || is_pod(at)) && !going(at) => Verdict::later(check(at, new)),
            _ => Verdict::PASS,
        }
    }
}

/// A new pod, or one whose resources change; other updates cannot touch what is looked at here.
fn is_pod(at: &Admit<'_>) -> bool {
    at.creates() && at.is("", "pods") || at.is_part("", "pods", "resize")
}

/// What is being deleted is left alone.
fn going(at: &Admit<'_>) -> bool {
    at.old.is_some_and(Object::deleting)
}

/// The ranges of the namespace.
async fn ranges(at: &Admit<'_>) -> Result<Vec<Object>, Status> {
    let kind = at.reader.kind("", LIMIT_RANGES)?;
    let asked = ListRequest {
        scope: Scope::prefix(&kind.prefix(at.namespace)),
        currency: Currency::Seen,
        ..ListRequest::default()
    };
    at.reader.list(&kind, asked).await
}

/// Fills in what containers do not say, and notes it.
fn complete(range: &Object, pod: &mut Object) {
    let defaults = |field: &str| {
        let limits = range.list("spec.limits").iter();
        let limits = limits.filter(|limit| text(limit, "type") == "Container");
        let given = limits.filter_map(|limit| at(limit, field)?.as_object()).flatten();
        given.map(|(name, amount)| (name.clone(), amount.clone())).collect::<Map>()
    };
    let (limits, requests) = (defaults("default"), defaults("defaultRequest"));
    let mut notes = Vec::new();
    for (list, type_) in
        [("spec.containers", "container"), ("spec.initContainers", "init container")]
    {
        let Some(Value::Array(containers)) = at_mut(pod.value_mut(), list) else { continue };
        for container in containers {
            // Requests are told first, and follow from limits that were there, not from those put in here.
            for (what, field, from) in [
                ("request", "resources.requests", &requests),
                ("limit", "resources.limits", &limits),
            ] {
                let put = fill(container, field, from);
                if !put.is_empty() {
                    let name = text(container, "name");
                    notes.push(format!("{} {what} for {type_} {name}", put.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        pod.annotate(ANNOTATION, &format!("LimitRanger plugin set: {}", notes.join("; ")));
    }
}

/// Puts in what is not there; says what that was.
fn fill(container: &mut Value, field: &str, from: &Map) -> Vec<String> {
    let mut own = at(container, field).and_then(Value::as_object).cloned().unwrap_or_default();
    let mut put: Vec<String> =
        from.keys().filter(|name| !own.contains_key(name)).cloned().collect();
    put.sort();
    for name in &put {
        own.insert(name.clone(), from[name].clone());
    }
    if !put.is_empty() {
        set(container, field, Value::Object(own));
    }
    put
}

async fn check(at: &Admit<'_>, new: &Object) -> Result<(), Status> {
    for range in ranges(at).await? {
        let mut faults = Vec::new();
        for limit in range.list("spec.limits") {
            match (&*at.kind.plural, text(limit, "type")) {
                ("pods", "Container") => containers(limit, new, &mut faults),
                ("pods", "Pod") => whole(limit, new, &mut faults)?,
                ("persistentvolumeclaims", "PersistentVolumeClaim") => {
                    let asked = amounts(new.value(), "spec.resources.requests");
                    let asked =
                        Asked { type_: text(limit, "type"), requests: &asked, limits: None };
                    asked.check(limit, &mut faults);
                }
                _ => {}
            }
        }
        let mut seen = HashSet::new();
        faults.retain(|fault: &String| seen.insert(fault.clone()));
        match &*faults {
            [] => {}
            [one] => return Err(at.forbid(one)),
            many => return Err(at.forbid(&format!("[{}]", many.join(", ")))),
        }
    }
    Ok(())
}

fn containers(limit: &Value, pod: &Object, faults: &mut Vec<String>) {
    let lists = ["spec.containers", "spec.initContainers"];
    for container in lists.iter().flat_map(|list| pod.list(list)) {
        let (requests, limits) =
            (amounts(container, "resources.requests"), amounts(container, "resources.limits"));
        Asked { type_: "Container", requests: &requests, limits: Some(&limits) }
            .check(limit, faults);
    }
}

/// The pod as a whole: what its containers say together, or what it says itself of processors and memory.
fn whole(limit: &Value, pod: &Object, faults: &mut Vec<String>) -> Result<(), Status> {
    let pod = Pod::deserialize(pod.value()).map_err(Status::internal)?;
    let mut requests = quota::aggregate(&pod, |container| &container.resources.requests);
    let mut limits = quota::aggregate(&pod, |container| &container.resources.limits);
    if let Some(own) = &pod.spec.resources {
        for (all, own) in [(&mut requests, &own.requests), (&mut limits, &own.limits)] {
            let known = own.iter().filter(|(name, _)| ["cpu", "memory"].contains(name));
            all.0.extend(known.map(|(name, amount)| (name.to_owned(), amount.clone())));
        }
    }
    Asked { type_: "Pod", requests: &requests, limits: Some(&limits) }.check(limit, faults);
    Ok(())
}

fn amounts(of: &Value, field: &str) -> Quantities {
    let found = at(of, field).map(Quantities::deserialize);
    found.and_then(Result::ok).unwrap_or_default()
}

/// What somebody asks for. A claim has no limits, and its request is held against the maximum.
struct Asked<'a> {
    type_: &'a str,
    requests: &'a Quantities,
    limits: Option<&'a Quantities>,
}

/// Amounts that are compared, in thousandths where those fit.
fn scaled<const N: usize>(amounts: [Option<&Quantity>; N]) -> [i64; N] {
    let fits = amounts.iter().flatten().all(|amount| amount.value() <= MILLI_MOST);
    let value = |amount: &Quantity| if fits { amount.milli_value() } else { amount.value() };
    amounts.map(|amount| amount.map_or(0, value))
}

impl Asked<'_> {
    fn check(&self, limit: &Value, faults: &mut Vec<String>) {
        let of = |field| amounts(limit, field);
        for (name, least) in of("min").iter() {
            faults.extend(self.at_least(name, least));
        }
        for (name, most) in of("max").iter() {
            faults.extend(match self.limits {
                Some(limits) => self.at_most(name, most, limits),
                None => self.requests_at_most(name, most),
            });
        }
        for (name, most) in of("maxLimitRequestRatio").iter() {
            faults.extend(self.limits.and_then(|limits| self.in_proportion(name, most, limits)));
        }
    }

    fn at_least(&self, name: &str, least: &Quantity) -> Option<String> {
        let (request, limit) =
            (self.requests.get(name), self.limits.and_then(|limits| limits.get(name)));
        let head = format!("minimum {name} usage per {} is {least}", self.type_);
        let [asked, capped, enforced] = scaled([request, limit, Some(least)]);
        match (request, limit) {
            (None, _) => Some(format!("{head}.  No request is specified")),
            (Some(request), _) if asked < enforced => {
                Some(format!("{head}, but request is {request}"))
            }
            (_, Some(limit)) if capped < enforced => Some(format!("{head}, but limit is {limit}")),
            _ => None,
        }
    }

    fn at_most(&self, name: &str, most: &Quantity, limits: &Quantities) -> Option<String> {
        let (request, limit) = (self.requests.get(name), limits.get(name));
        let head = format!("maximum {name} usage per {} is {most}", self.type_);
        let [asked, capped, enforced] = scaled([request, limit, Some(most)]);
        match (request, limit) {
            (_, None) => Some(format!("{head}.  No limit is specified")),
            (_, Some(limit)) if capped > enforced => Some(format!("{head}, but limit is {limit}")),
            (Some(request), _) if asked > enforced => {
                Some(format!("{head}, but request is {request}"))
            }
            _ => None,
        }
    }

    fn requests_at_most(&self, name: &str, most: &Quantity) -> Option<String> {
        let request = self.requests.get(name);
        let head = format!("maximum {name} usage per {} is {most}", self.type_);
        let [asked, enforced] = scaled([request, Some(most)]);
        match request {
            None => Some(format!("{head}.  No request is specified")),
            Some(request) if asked > enforced => Some(format!("{head}, but request is {request}")),
            Some(_) => None,
        }
    }

    fn in_proportion(&self, name: &str, most: &Quantity, limits: &Quantities) -> Option<String> {
        let (request, limit) = (self.requests.get(name), limits.get(name));
        let head = format!("{name} max limit to request ratio per {} is {most}", self.type_);
        let [asked, capped, _] = scaled([request, limit, Some(most)]);
        if request.is_none() || asked == 0 {
            return Some(format!("{head}, but no request is specified or request is 0"));
        }
        if limit.is_none() || capped == 0 {
            return Some(format!("{head}, but no limit is specified or limit is 0"));
        }
        let ratio = capped as f64 / asked as f64;
        let above = match most.value() <= MILLI_MOST {
            true => ratio * 1000.0 > most.milli_value() as f64,
            false => ratio > most.value() as f64,
        };
        above.then(|| format!("{head}, but provided ratio is {ratio:.6}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use skiff_json::json;

    fn faults(limit: Value, container: Value, expected: Expect) {
        let pod =
            Object::new(json!({"spec": {"containers": [{"name": "c", "resources": container}]}}));
        let mut faults = Vec::new();
        match text(&limit, "type") {
            "Pod" => whole(&limit, &pod, &mut faults).expect("a pod"),
            _ => containers(&limit, &pod, &mut faults),
        }
        expected.assert_eq(&faults.join("\n"));
    }

    #[test]
    fn bounds() {
        let limit = json!({"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "1"}});
        faults(
            limit.clone(),
            json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}),
            expect![""],
        );
        faults(
            limit,
            json!({"requests": {"cpu": "50m"}}),
            expect![[r#"
                minimum cpu usage per Container is 100m, but request is 50m
                maximum cpu usage per Container is 1.  No limit is specified"#]],
        );
        faults(
            json!({"type": "Pod", "maxLimitRequestRatio": {"memory": "1500m"}}),
            json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}),
            expect![
                "memory max limit to request ratio per Pod is 1500m, but provided ratio is 2.000000"
            ],
        );
    }

    #[test]
    fn what_is_not_said_is_filled_in_and_told() {
        let range = Object::new(json!({"spec": {"limits": [{"type": "Container",
            "default": {"cpu": "2", "memory": "1Gi"}, "defaultRequest": {"cpu": "1"}}]}}));
        let mut pod = Object::new(json!({"spec": {"containers": [
            {"name": "a", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}, {"name": "b"}]}}));
        complete(&range, &mut pod);
        assert_eq!(
            pod.annotation(ANNOTATION),
            Some(
                "LimitRanger plugin set: memory limit for container a; cpu request for container b; \
                 cpu, memory limit for container b"
            )
        );
    }
}
