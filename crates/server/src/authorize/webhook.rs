//! Webhook: an authorizer elsewhere, asked by SubjectAccessReview (documentation page "Webhook Mode"; KEP-3221). What
//! it says is remembered for its time; what it does not say in time is what the failure policy says.

use super::{Attributes, Decision, Opinion};
use crate::configured::expression::{Expression, Over, Wanted};
use crate::configured::kubeconfig;
use crate::configured::remembered::Remembered;
use skiff_api::errors::{Errors, Path};
use skiff_api::selector::Operator;
use skiff_api::wire::User;
use skiff_base::World;
use skiff_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Questions whose names are longer together are not remembered: whoever asks chooses them.
const NAMES_MOST: usize = 10_000;
/// Conditions of one webhook (API reference: WebhookConfiguration).
const CONDITIONS_MOST: usize = 64;

/// What counts when there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    NoOpinion,
    Deny,
}

pub struct Webhook {
    reviewer: kubeconfig::Server,
    version: String,
    /// How long a yes and a no are remembered.
    lives: [Duration; 2],
    on_error: OnError,
    conditions: Conditions,
    known: Remembered<Decision>,
}

/// What a question has to be for the webhook to be asked.
#[derive(Default)]
pub struct Conditions(Vec<Expression>);

impl Conditions {
    /// Compiles them; what is wrong is added to `errors`.
    pub fn check(texts: &[&str], path: &Path, errors: &mut Errors) -> Conditions {
        let all = path.child("matchConditions");
        if texts.len() > CONDITIONS_MOST {
            errors.too_many(&all, texts.len(), CONDITIONS_MOST);
            return Conditions::default();
        }
        let (mut seen, mut compiled) = (BTreeSet::new(), Vec::new());
        for (index, text) in texts.iter().enumerate() {
            let path = all.index(index);
            let path = path.child("expression");
            if text.trim().is_empty() {
                errors.required(&path, "");
            } else if !seen.insert(*text) {
                errors.duplicate(&path, *text);
            } else {
                match Expression::compile(Over::Question, Wanted::Bool, text) {
                    Ok(expression) => compiled.push(expression),
                    Err(why) => errors.invalid(&path, *text, &why),
                }
            }
        }
        Conditions(compiled)
    }

    /// Whether all hold. One that is false decides, whatever went wrong with others.
    fn hold(&self, spec: &Value) -> Result<bool, String> {
        if self.0.is_empty() {
            return Ok(true);
        }
        let asked = complete(spec);
        let mut wrong = Vec::new();
        for condition in &self.0 {
            match condition.holds(&asked) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(why) => wrong.push(format!(
                    "cel evaluation error: expression '{}' resulted in error: {why}",
                    condition.text()
                )),
            }
        }
        if wrong.is_empty() { Ok(true) } else { Err(super::aggregate(&wrong)) }
    }
}

impl Webhook {
    pub fn new(
        reviewer: kubeconfig::Server,
        version: &str,
        lives: [Duration; 2],
        on_error: OnError,
        conditions: Conditions,
        world: &World,
    ) -> Webhook {
        let known = Remembered::new(world.clone());
        Webhook { reviewer, version: version.to_owned(), lives, on_error, conditions, known }
    }

    pub async fn decide(&self, user: &User, asked: &Attributes) -> Decision {
        let spec = spec(user, asked);
        match self.conditions.hold(&spec) {
            Ok(true) => {}
            Ok(false) => return Decision::new(Opinion::None, ""),
            Err(why) => return self.failed(why),
        }
        let key = Remembered::<Decision>::key(spec.to_string().as_bytes());
        if let Some(known) = self.known.get(&key) {
            return known;
        }
        let review = json!({
            "kind": "SubjectAccessReview", "apiVersion": format!("authorization.k8s.io/{}", self.version),
            "metadata": {}, "spec": in_version(spec, &self.version), "status": {"allowed": false},
        });
        let answer = match self.reviewer.review(&review).await {
            Ok(answer) => answer,
            Err(why) => {
                tracing::error!(why, "a webhook that authorizes does not answer");
                return self.failed(why);
            }
        };
        let decision = decision(&answer["status"]);
        if names(asked) < NAMES_MOST {
            let [yes, no] = self.lives;
            let allowed = answer["status"]["allowed"] == true;
            let size = decision.reason.len();
            self.known.put(key, decision.clone(), size, if allowed { yes } else { no });
        }
        decision
    }

    fn failed(&self, why: String) -> Decision {
        let opinion = match self.on_error {
            OnError::NoOpinion => Opinion::None,
            OnError::Deny => Opinion::Deny,
        };
        Decision::failed(opinion, why)
    }
}

fn decision(status: &Value) -> Decision {
    let is = |key: &str| status[key] == true;
    let reason = status["reason"].as_str().unwrap_or("");
    match (is("denied"), is("allowed")) {
        (true, true) => Decision {
            error: "webhook subject access review returned both allow and deny response".into(),
            ..Decision::new(Opinion::Deny, reason)
        },
        (true, false) => Decision::new(Opinion::Deny, reason),
        (false, true) => Decision::new(Opinion::Allow, reason),
        (false, false) => Decision::new(Opinion::None, reason),
    }
}

/// The size of what the caller chose.
fn names(asked: &Attributes) -> usize {
    let Attributes { verb, group, version, resource, subresource, name, namespace, path, .. } =
        asked;
    [verb, group, version, resource, subresource, name, namespace]
        .map(String::len)
        .iter()
        .sum::<usize>()
        + path.as_ref().map_or(0, String::len)
}

/// The question (API reference: SubjectAccessReviewSpec).
fn spec(user: &User, asked: &Attributes) -> Value {
    let mut spec = Map::new();
    match &asked.path {
        Some(path) => {
            let attributes = texts([("path", path), ("verb", &asked.verb)]);
            spec.insert("nonResourceAttributes".into(), attributes.into());
        }
        None => {
            let mut attributes = texts([
                ("namespace", &asked.namespace),
                ("verb", &asked.verb),
                ("group", &asked.group),
                ("version", &asked.version),
                ("resource", &asked.resource),
                ("subresource", &asked.subresource),
                ("name", &asked.name),
            ]);
            for (key, requirements) in
                [("fieldSelector", fields(asked)), ("labelSelector", labels(asked))]
            {
                if !requirements.is_empty() {
                    attributes.insert(key.into(), json!({"requirements": requirements}));
                }
            }
            spec.insert("resourceAttributes".into(), attributes.into());
        }
    }
    spec.extend(texts([("user", &user.name), ("uid", &user.uid)]));
    if !user.groups.is_empty() {
        spec.insert("groups".into(), user.groups.clone().into());
    }
    if !user.extra.is_empty() {
        spec.insert("extra".into(), user.extra.iter().cloned().collect());
    }
    spec.into()
}

/// The question as a version of it is written: v1beta1 has the groups at another name.
fn in_version(mut spec: Value, version: &str) -> Value {
    if version == "v1beta1"
        && let Some(spec) = spec.as_object_mut()
        && let Some(groups) = spec.remove("groups")
    {
        spec.insert("group".to_owned(), groups);
    }
    spec
}

/// Those that are not empty.
fn texts<'a>(all: impl IntoIterator<Item = (&'a str, &'a String)>) -> Map {
    let given = all.into_iter().filter(|(_, text)| !text.is_empty());
    given.map(|(key, text)| (key.to_owned(), text.clone().into())).collect()
}

fn fields(asked: &Attributes) -> Vec<Value> {
    let requirement = |it: &skiff_api::selector::FieldRequirement| {
        let operator = if it.negated { "NotIn" } else { "In" };
        json!({"key": it.field, "operator": operator, "values": [it.value]})
    };
    asked.fields.iter().map(requirement).collect()
}

fn labels(asked: &Attributes) -> Vec<Value> {
    let requirement = |it: &skiff_api::selector::Requirement| {
        let operator = match it.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => "In",
            Operator::NotIn | Operator::NotEquals => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            // Without a word for them the question is only broader.
            Operator::GreaterThan | Operator::LessThan => return None,
        };
        Some(match &it.values[..] {
            [] => json!({"key": it.key, "operator": operator}),
            values => json!({"key": it.key, "operator": operator, "values": values}),
        })
    };
    asked.labels.iter().filter_map(requirement).collect()
}

/// The question as conditions see it: texts that are empty are there.
fn complete(spec: &Value) -> Value {
    let mut whole = json!({"user": "", "uid": "", "groups": [], "extra": {}});
    let fill = |whole: &mut Value, from: &Value| {
        for (key, value) in from.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
    };
    fill(&mut whole, spec);
    if let Some(given) = spec.get("resourceAttributes") {
        let mut attributes = json!({
            "namespace": "", "verb": "", "group": "", "version": "", "resource": "", "subresource": "", "name": "",
        });
        fill(&mut attributes, given);
        whole["resourceAttributes"] = attributes;
    }
    if let Some(given) = spec.get("nonResourceAttributes") {
        let mut attributes = json!({"path": "", "verb": ""});
        fill(&mut attributes, given);
        whole["nonResourceAttributes"] = attributes;
    }
    whole
}

#[cfg(test)]
mod tests;
