//! RuntimeClass: a pod that names a class must name one that there is; it gets the overhead and the place that the
//! class says, and overhead comes from classes alone (KEP-585, KEP-688).

use super::{Admit, Next, Plugin, Verdict};
use skiff_api::Status;
use skiff_api::object::{Object, at, int, text};
use skiff_api::quantity::Quantity;
use skiff_json::{Value, json};
use std::collections::BTreeMap;

pub struct RuntimeClass;

impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn mutate<'a>(&'a self, at: &'a Admit<'_>, new: &'a mut Object) -> Verdict<'a, Next> {
        match made(at) && new.at(CLASS).is_some() {
            true => Verdict::later(apply(at, new)),
            false => Ok(Next::GoOn).into(),
        }
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        match new {
            Some(pod) if made(at) => Verdict::later(check(at, pod)),
            _ => Verdict::PASS,
        }
    }
}

const CLASS: &str = "spec.runtimeClassName";
const OVERHEAD: &str = "spec.overhead";

/// Whether a pod is made.
fn made(at: &Admit<'_>) -> bool {
    at.creates() && at.is("", "pods")
}

/// The class that a pod names.
async fn class(at: &Admit<'_>, pod: &Object) -> Result<Option<Object>, Status> {
    let Some(name) = pod.at(CLASS).and_then(Value::as_str) else { return Ok(None) };
    if name.is_empty() {
        // What upstream's client says before it asks for it.
        return Err(Status::new(500, "", "resource name may not be empty"));
    }
    let found = at.read(("node.k8s.io", "runtimeclasses"), "", name).await?;
    let missing = || at.forbid(&format!("pod rejected: RuntimeClass {name:?} not found"));
    found.map(Some).ok_or_else(missing)
}

async fn apply(request: &Admit<'_>, pod: &mut Object) -> Result<Next, Status> {
    let Some(class) = class(request, pod).await? else { return Ok(Next::GoOn) };
    if let Some(fixed) = overhead(&class) {
        if !pod.map(OVERHEAD).is_empty() && !pod.at(OVERHEAD).is_some_and(|it| equal(it, fixed)) {
            return Err(mismatch(request));
        }
        pod.set(OVERHEAD, fixed.clone());
    }
    let mut selector = pod.map("spec.nodeSelector").clone();
    for (key, wanted) in class.map("scheduling.nodeSelector") {
        let given = selector.insert(key.clone(), wanted.clone());
        if let Some(given) = given.filter(|given| given != wanted) {
            let [wanted, given] = [wanted, &given].map(|it| it.as_str().unwrap_or(""));
            return Err(request.forbid(&format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {given}"
            )));
        }
    }
    if !selector.is_empty() {
        pod.set("spec.nodeSelector", selector);
    }
    let more = class.list("scheduling.tolerations");
    if !more.is_empty() {
        pod.set("spec.tolerations", merged(pod.list("spec.tolerations"), more));
    }
    Ok(Next::GoOn)
}

/// What the class says that pods cost; nothing is not the same as no word.
fn overhead(class: &Object) -> Option<&Value> {
    class.at("overhead")?;
    Some(class.at("overhead.podFixed").unwrap_or(&Value::Null)).filter(|it| !it.is_null())
}

/// The same amounts, however they are written.
fn equal(one: &Value, other: &Value) -> bool {
    let parsed = |amounts: &Value| {
        let amount = |amount: &Value| match amount {
            Value::String(text) => Quantity::parse(text).ok(),
            number => Quantity::parse(&number.to_string()).ok(),
        };
        let amounts = amounts.as_object().into_iter().flatten();
        amounts.map(|(name, it)| (name.clone(), amount(it))).collect::<BTreeMap<_, _>>()
    };
    parsed(one) == parsed(other)
}

fn mismatch(request: &Admit<'_>) -> Status {
    request.forbid("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
}

async fn check(request: &Admit<'_>, pod: &Object) -> Result<(), Status> {
    let class = class(request, pod).await?;
    match class.as_ref().map(overhead) {
        Some(Some(fixed)) if !pod.at(OVERHEAD).is_some_and(|it| equal(it, fixed)) => {
            Err(mismatch(request))
        }
        Some(None) | None if !pod.map(OVERHEAD).is_empty() => {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            Err(request.forbid(why))
        }
        _ => Ok(()),
    }
}

/// All tolerations, but those of which another says as much.
fn merged(first: &[Value], second: &[Value]) -> Value {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut merged: Vec<&Value> = Vec::new();
    for (index, it) in all.iter().enumerate() {
        let later = all[index + 1..].iter().any(|other| other != it && covers(other, it));
        if !later && !merged.iter().any(|other| covers(other, it)) {
            merged.push(it);
        }
    }
    json!(merged)
}

/// Whether the first tolerates whatever the second does.
fn covers(wide: &Value, it: &Value) -> bool {
    if wide == it {
        return true;
    }
    let same = |field| text(wide, field) == text(it, field);
    let operator = text(wide, "operator");
    let key = same("key") || text(wide, "key").is_empty() && operator == "Exists";
    if !key || !same("effect") && !text(wide, "effect").is_empty() {
        return false;
    }
    let seconds = |value| int(value, "tolerationSeconds");
    if text(wide, "effect") == "NoExecute"
        && at(wide, "tolerationSeconds").is_some()
        && seconds(it).is_none_or(|it| Some(it) > seconds(wide))
    {
        return false;
    }
    match operator {
        "Exists" => true,
        "Equal" | "" => text(it, "operator") == "Equal" && same("value"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_toleration_takes_the_place_of_narrower_ones() {
        let exists = |key: &str| json!({"key": key, "operator": "Exists"});
        let narrow = json!({"key": "a", "operator": "Equal", "value": "x", "effect": "NoSchedule"});
        assert_eq!(merged(std::slice::from_ref(&narrow), &[exists("a")]), json!([exists("a")]));
        assert_eq!(
            merged(&[exists("a")], &[narrow, exists("b")]),
            json!([exists("a"), exists("b")])
        );
        assert_eq!(merged(&[exists("a")], &[exists("a")]), json!([exists("a")]));
        let while_s = |s: i64| json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": s});
        assert_eq!(merged(&[while_s(5)], &[while_s(9)]), json!([while_s(9)]));
    }
}
