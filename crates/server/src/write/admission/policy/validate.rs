//! Validating policies: each expression of each binding that a request concerns is evaluated, and what does not hold is
//! refused, said to the user, or told to the audit log, as the binding has it.

use super::concerned::{self, Concerned};
use super::configuration::{Active, Policy, Validation};
use super::metrics::Step;
use super::{Policies, namespace};
use crate::authorize::expression::Asker;
use crate::write::admission::expressions::{Expression, Found, Subject};
use crate::write::admission::matching::{self, Shown};
use crate::write::admission::{Admit, conditions};
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_cel::run::{Budget, RUNTIME_BUDGET};
use skiff_cel::value::Value as Cel;
use skiff_json::{Value, json};
use std::time::Duration;

/// Upstream's bound of a message that an expression makes, in bytes.
const MESSAGE_MOST: usize = 5 * 1024;
/// Upstream's bound of an annotation, in bytes.
const ANNOTATION_MOST: usize = 10 * 1024;
/// Upstream's bound of the failures that an event tells of.
const FAILURES_MOST: usize = 50;
const FAILURES: &str = "validation.policy.admission.k8s.io/validation_failure";

/// What one expression says of a request.
struct Decision {
    /// Its place among the validations.
    index: usize,
    outcome: Outcome,
    took: Duration,
}

enum Outcome {
    Holds,
    Denied {
        message: String,
        reason: String,
    },
    /// It has no value; the failure policy decides.
    Failed(String),
}

/// What one evaluation of a policy gives.
#[derive(Default)]
struct Judged {
    decisions: Vec<Decision>,
    /// By their keys: what is told, nothing, or why it has no value.
    annotations: Vec<(String, Result<Option<String>, Broken>)>,
}

/// Why an annotation has no value.
struct Broken {
    why: String,
    /// Whatever the failure policy is.
    always: bool,
}

/// What is refused.
struct Denial {
    who: String,
    message: String,
    reason: String,
}

/// What came of all policies.
#[derive(Default)]
struct Outcomes {
    denied: Vec<Denial>,
    failures: Vec<String>,
}

/// Judges a new object, a delete (`None`) or a stream.
pub async fn all(
    policies: &Policies,
    active: &Active,
    at: &Admit<'_>,
    new: Option<&Object>,
) -> Result<(), Status> {
    let numbers = matching::numbers(at, new);
    let (new, old) = match &numbers {
        Some((new, old)) => (new.as_ref(), old.as_ref()),
        None => (new, at.old),
    };
    let found = concerned::all(active, at, (new, old)).await;
    if found.is_empty() {
        return Ok(());
    }
    let (namespace, mut outcomes) = (namespace(at).await?, Outcomes::default());
    let mut told = Annotations::default();
    for one in found {
        let concerned = match one {
            Ok(concerned) => concerned,
            Err(unclear) if unclear.policy.ignores_failure => continue,
            Err(unclear) => {
                let binding = unclear.binding.map(|it| &*it.name);
                outcomes.deny(&unclear.policy.name, binding, unclear.why, "");
                continue;
            }
        };
        told.of(&concerned.policy.name, at);
        let shown = match concerned.face.both(at, (new, old)).await {
            Ok(shown) => shown,
            Err(_) if concerned.policy.ignores_failure => continue,
            Err(status) => {
                let why = format!(
                    "failed to configure binding: failed to convert object version: {}",
                    status.message
                );
                let binding = Some(&*concerned.binding.name);
                outcomes.deny(&concerned.policy.name, binding, why, "");
                continue;
            }
        };
        for params in &concerned.params {
            let values =
                (params.as_ref().map(Object::value), namespace.as_ref().map(Object::value));
            let result = evaluated(policies, &concerned, at, &shown, values).await;
            outcomes.take(policies, &concerned, at, result, &mut told);
        }
    }
    told.publish(at);
    outcomes.end(at)
}

/// The policy's word on the objects, with one parameter.
async fn evaluated(
    policies: &Policies,
    concerned: &Concerned<'_>,
    at: &Admit<'_>,
    shown: &Shown<'_>,
    (params, namespace): (Option<&Value>, Option<&Value>),
) -> Judged {
    let policy = concerned.policy;
    let subject = Subject::new(at, &concerned.face, shown.values()).with_params(params);
    match policies.conditions(policy, &subject, (Step::Validating, at.operation)).await {
        conditions::Verdict::Holds => {}
        conditions::Verdict::Excluded => return Judged::default(),
        conditions::Verdict::Failed(_) if policy.ignores_failure => return Judged::default(),
        conditions::Verdict::Failed(why) => return Judged::failed(why),
    }
    let subject = subject.matched(&concerned.face, namespace);
    let asker = Asker::new(&policies.authorizer);
    asker.settled(|| judged(policies, policy, &subject, &asker)).await
}

impl Judged {
    fn failed(why: String) -> Judged {
        let one = Decision { index: 0, outcome: Outcome::Failed(why), took: Duration::ZERO };
        Judged { decisions: vec![one], annotations: Vec::new() }
    }
}

fn judged(policies: &Policies, policy: &Policy, subject: &Subject<'_>, asker: &Asker) -> Judged {
    let (shared, mut budget) = (policy.shared(), Budget { left: RUNTIME_BUDGET });
    let all: Vec<(usize, &Expression)> =
        policy.validations.iter().map(|it| &it.expression).enumerate().collect();
    let (mut since, mut found) = (policies.world.uptime(), Vec::new());
    let ended = subject.evaluate(&shared, Some(asker), (&all, &mut budget), &mut |index,
                                                                                  value: Found<
        '_,
        '_,
    >| {
        let now = policies.world.uptime();
        found.push((index, value.map(Cel::is_true), now.saturating_sub(since)));
        since = now;
    });
    if let Err(why) = ended {
        return Judged::failed(why);
    }
    let (messages, spent) = said(policy, subject, &mut budget);
    let decisions = found.into_iter().map(|(index, found, took)| {
        let outcome = match (found, &spent) {
            (Err(why), _) => Outcome::Failed(why),
            (Ok(_), Some(why)) => Outcome::Failed(format!("failed messageExpression: {why}")),
            (Ok(true), None) => Outcome::Holds,
            (Ok(false), None) => refusal(&policy.validations[index], messages[index].clone()),
        };
        Decision { index, outcome, took }
    });
    let decisions = decisions.collect();
    match annotations(policy, subject, asker) {
        Ok(annotations) => Judged { decisions, annotations },
        Err(why) => Judged::failed(why),
    }
}

/// What message expressions say, by the places of their validations, and whether the budget did not last for that.
fn said(
    policy: &Policy,
    subject: &Subject<'_>,
    budget: &mut Budget,
) -> (Vec<Option<String>>, Option<String>) {
    let mut messages = vec![None; policy.validations.len()];
    let all: Vec<(usize, &Expression)> = policy
        .validations
        .iter()
        .enumerate()
        .filter_map(|(index, it)| it.says.as_ref().map(|says| (index, says)))
        .collect();
    let ended =
        subject.evaluate(&policy.shared(), None, (&all, budget), &mut |index, found| match found {
            Ok(value) => messages[index] = value.as_text().map(|it| it.trim().to_owned()),
            Err(why) => tracing::debug!(policy = policy.name, why, "a message has no value"),
        });
    (messages, ended.err())
}

fn refusal(validation: &Validation, said: Option<String>) -> Outcome {
    let fits = |it: &String| !it.is_empty() && it.len() <= MESSAGE_MOST && !it.contains('\n');
    let own = || Some(validation.message.clone()).filter(|it| !it.is_empty());
    let text = || format!("failed expression: {}", validation.expression.text.trim());
    let message = said.filter(fits).or_else(own).unwrap_or_else(text);
    let reason = match &*validation.reason {
        "" => "Invalid",
        reason => reason,
    };
    Outcome::Denied { message, reason: reason.to_owned() }
}

fn annotations(
    policy: &Policy,
    subject: &Subject<'_>,
    asker: &Asker,
) -> Result<Vec<(String, Result<Option<String>, Broken>)>, String> {
    let all: Vec<(usize, &Expression)> =
        policy.annotations.iter().map(|(_, expression)| expression).enumerate().collect();
    let (mut budget, mut made) = (Budget { left: RUNTIME_BUDGET }, Vec::new());
    subject.evaluate(&policy.shared(), Some(asker), (&all, &mut budget), &mut |index, found| {
        let (key, expression) = &policy.annotations[index];
        let value = match found {
            Ok(Cel::Null) => Ok(None),
            Ok(Cel::Text(text)) => {
                Ok(Some(text.as_str().trim().to_owned()).filter(|it| !it.is_empty()))
            }
            Ok(other) => {
                let why = format!(
                    "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string \
                     or null.",
                    expression.text,
                    other.type_name()
                );
                Err(Broken { why, always: true })
            }
            Err(why) => Err(Broken { why, always: false }),
        };
        made.push((key.clone(), value));
    })?;
    Ok(made)
}

impl Outcomes {
    fn deny(&mut self, policy: &str, binding: Option<&str>, message: String, reason: &str) {
        let who = match binding {
            Some(binding) => format!("'{policy}' with binding '{binding}'"),
            None => format!("'{policy}'"),
        };
        self.denied.push(Denial { who, message, reason: reason.to_owned() });
    }

    /// Does with an evaluation what the binding says.
    fn take(
        &mut self,
        policies: &Policies,
        concerned: &Concerned<'_>,
        at: &Admit<'_>,
        result: Judged,
        told: &mut Annotations,
    ) {
        let (policy, binding) = (concerned.policy, concerned.binding);
        let labels = policy.labels(binding);
        let count = |action: &str, why: Option<&str>, took| {
            policies.metrics.count(Step::Validating, labels, action, why, took);
        };
        for Decision { index, outcome, took } in result.decisions {
            let (message, reason, error) = match outcome {
                Outcome::Holds => continue,
                Outcome::Failed(why) if policy.ignores_failure => {
                    count("allow", Some(&why), took);
                    continue;
                }
                Outcome::Failed(why) => (why, String::new(), true),
                Outcome::Denied { message, reason } => (message, reason, false),
            };
            for action in &binding.actions {
                // As upstream counts: a refusal is an error whose kind is read off its message.
                let why = Some(&*message);
                match &**action {
                    "Deny" => {
                        self.deny(&policy.name, Some(&binding.name), message.clone(), &reason);
                        count("deny", why, took);
                    }
                    "Audit" => {
                        self.failures.push(failure(concerned, index, &message));
                        count("audit", why, took);
                    }
                    "Warn" => {
                        warn(at, concerned, &message);
                        count("warn", why, took);
                    }
                    other => {
                        tracing::error!(binding = binding.name, other, error, "an unknown action")
                    }
                }
            }
        }
        for (key, value) in result.annotations {
            match value {
                Ok(Some(value)) => told.add(key, value),
                Ok(None) => {}
                Err(broken) if policy.ignores_failure && !broken.always => {}
                Err(broken) => {
                    count("deny", Some(&broken.why), Duration::ZERO);
                    self.deny(&policy.name, Some(&binding.name), broken.why, "");
                }
            }
        }
    }

    /// Tells the audit log, and refuses with the first that was refused.
    fn end(mut self, at: &Admit<'_>) -> Result<(), Status> {
        if !self.failures.is_empty() {
            self.failures.truncate(FAILURES_MOST);
            at.annotate(FAILURES, format!("[{}]", self.failures.join(",")));
        }
        let Some(Denial { who, message, reason }) = self.denied.into_iter().next() else {
            return Ok(());
        };
        let message = format!("ValidatingAdmissionPolicy {who} denied request: {message}");
        let mut status = at.forbid(&message);
        let reason = if reason.is_empty() { "Invalid".to_owned() } else { reason };
        status.code = match &*reason {
            "Unauthorized" => 401,
            "Forbidden" => 403,
            "RequestEntityTooLarge" => 413,
            _ => 422,
        };
        status.reason = reason.into();
        if let Some(details) = &mut status.details {
            details["causes"] = json!([{"message": message}]);
        }
        Err(status)
    }
}

fn warn(at: &Admit<'_>, concerned: &Concerned<'_>, message: &str) {
    let (policy, binding) = (&concerned.policy.name, &concerned.binding.name);
    let text = format!(
        "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {message}"
    );
    // What cannot stand in a header is not said.
    if !text.chars().any(char::is_control) {
        at.warn(text);
    }
}

/// One failure, in the order of fields and with the escapes that upstream's annotation has.
fn failure(concerned: &Concerned<'_>, index: usize, message: &str) -> String {
    let (policy, binding) = (json!(concerned.policy.name), json!(concerned.binding.name));
    let (message, actions) = (json!(message), json!(concerned.binding.actions));
    let text = format!(
        "{{\"message\":{message},\"policy\":{policy},\"binding\":{binding},\
         \"expressionIndex\":{index},\"validationActions\":{actions}}}"
    );
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// What one policy tells the audit log: the values of all bindings under one key.
#[derive(Default)]
struct Annotations {
    policy: String,
    all: Vec<(String, Vec<String>)>,
}

impl Annotations {
    /// What follows is of this policy.
    fn of(&mut self, policy: &str, at: &Admit<'_>) {
        if self.policy != policy {
            self.publish(at);
            self.policy = policy.to_owned();
        }
    }

    fn add(&mut self, key: String, mut value: String) {
        value.truncate(value.floor_char_boundary(ANNOTATION_MOST));
        match self.all.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) if values.contains(&value) => {}
            Some((_, values)) => values.push(value),
            None => self.all.push((key, vec![value])),
        }
    }

    fn publish(&mut self, at: &Admit<'_>) {
        for (key, values) in std::mem::take(&mut self.all) {
            at.annotate(&format!("{}/{key}", self.policy), values.join(", "));
        }
    }
}
