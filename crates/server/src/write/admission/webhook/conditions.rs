//! Match conditions: expressions in CEL that say whether a webhook is asked at all (KEP-3716). They are compiled with
//! their configuration, and evaluated last, when all else matches, over what the webhook would see.

use super::matching::Invocation;
use super::{Webhooks, review};
use crate::authorize::Attributes;
use crate::authorize::expression::Asker;
use crate::write::admission::Admit;
use serde_json::Value;
use skiff_api::Status;
use skiff_api::object::{at as field, text};
use skiff_cel::run::{Budget, Program, RunError};
use skiff_cel::value::Value as Cel;
use skiff_kinds::admissionregistration::expression::{self, OF_REQUESTS, REQUEST};
use std::collections::HashSet;

/// What all conditions of one webhook may cost for one request: upstream's bound.
const BUDGET: u64 = 2_500_000;
/// How often they run, when they ask who may do something: each question costs a seventh of the budget.
const RUNS_MOST: usize = 8;

/// Those of one webhook.
#[derive(Default)]
pub struct Conditions(Vec<Condition>);

struct Condition {
    expression: String,
    /// Or what is wrong with it: it was stored when that was not known.
    program: Result<Program, String>,
}

/// What conditions say of a request.
enum Verdict {
    Holds,
    /// One of them is false.
    Excluded,
    /// None is false, but some have no value.
    Failed(String),
}

impl Conditions {
    /// Those of a webhook as it is configured.
    pub fn of(hook: &Value) -> Conditions {
        let all = field(hook, "matchConditions").and_then(Value::as_array).into_iter().flatten();
        let expressions = all.map(|it| text(it, "expression").trim().to_owned());
        let compiled = expressions.map(|expression| {
            let program = expression::condition(&expression);
            Condition { expression, program }
        });
        Conditions(compiled.collect())
    }

    /// Whether all hold for what the webhook would see. What cannot be evaluated is decided by the failure policy: the
    /// request is refused, or the webhook is not asked.
    ///
    /// # Errors
    /// The refusal.
    pub async fn hold(
        &self,
        webhooks: &Webhooks,
        invocation: &Invocation<'_>,
        at: &Admit<'_>,
        (new, old): (Option<&Value>, Option<&Value>),
    ) -> Result<bool, Status> {
        if self.0.is_empty() {
            return Ok(true);
        }
        let request = review::request(invocation, at, new);
        let asker = Asker::default();
        let mut verdict = self.judge(&request, at, (new, old), &asker);
        for _ in 0..RUNS_MOST {
            if !asker.fetch(&webhooks.authorizer).await {
                break;
            }
            verdict = self.judge(&request, at, (new, old), &asker);
        }
        let hook = invocation.hook;
        match verdict {
            Verdict::Holds => Ok(true),
            Verdict::Excluded => {
                webhooks.metrics.excluded(hook, at.operation);
                Ok(false)
            }
            Verdict::Failed(why) => {
                webhooks.metrics.unjudged(hook, at.operation);
                tracing::warn!(webhook = hook.name, why, "match conditions have no value");
                if hook.ignores_failure { Ok(false) } else { Err(at.forbid(&why)) }
            }
        }
    }

    fn judge(
        &self,
        request: &Value,
        at: &Admit<'_>,
        (new, old): (Option<&Value>, Option<&Value>),
        asker: &Asker,
    ) -> Verdict {
        let shown = match Cel::of(request, &REQUEST) {
            Ok(shown) => shown,
            Err(error) => return Verdict::Failed(error.to_string()),
        };
        let about = Attributes {
            group: at.kind.group.to_string(),
            resource: at.kind.plural.to_string(),
            subresource: at.subresource.to_owned(),
            namespace: text(request, "namespace").to_owned(),
            name: text(request, "name").to_owned(),
            ..Attributes::default()
        };
        let bindings = OF_REQUESTS
            .bindings()
            .set("object", new.map_or(Cel::Null, Cel::untyped))
            .set("oldObject", old.map_or(Cel::Null, Cel::untyped))
            .set("namespaceObject", Cel::Null)
            .set("request", shown)
            .set("authorizer", asker.authorizer(at.user))
            .set("authorizer.requestResource", asker.resource(at.user, about));
        let (mut budget, mut excluded, mut errors) = (Budget { left: BUDGET }, false, Vec::new());
        for Condition { expression, program } in &self.0 {
            let program = match program {
                Ok(program) => program,
                Err(why) => {
                    errors.push(format!("compilation error: {why}"));
                    continue;
                }
            };
            match program.run(&bindings, &mut budget) {
                Ok(value) => excluded |= !value.is_true(),
                // Nothing counts then that was found before.
                Err(error @ RunError::Budget) => return Verdict::Failed(error.to_string()),
                Err(error) => {
                    errors.push(format!("expression '{expression}' resulted in error: {error}"));
                }
            }
        }
        let mut seen = HashSet::new();
        errors.retain(|error| seen.insert(error.clone()));
        match &errors[..] {
            _ if excluded => Verdict::Excluded,
            [] => Verdict::Holds,
            [one] => Verdict::Failed(one.clone()),
            several => Verdict::Failed(format!("[{}]", several.join(", "))),
        }
    }
}
