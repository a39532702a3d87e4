//! Match conditions: expressions in CEL that say whether a webhook or a policy is asked at all (KEP-3716). They are
//! evaluated last, when all else matches, over what would be seen.

use super::Operation;
use super::expressions::{Expression, Shared, Subject};
use crate::authorize::Authorizer;
use crate::authorize::expression::Asker;
use crate::paths::counted::{Counts, Times};
use crate::paths::metrics::Page;
use skiff_api::object::{at as field, text};
use skiff_base::{Lock, World};
use skiff_cel::run::{Budget, Program};
use skiff_json::Value;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// What all conditions of one webhook or policy may cost for one request: upstream's bound.
const BUDGET: u64 = 2_500_000;

/// Seconds.
const BUCKETS: [f64; 7] = [0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25];

/// What became of match conditions, under upstream's names (metrics reference,
/// `apiserver_admission_match_condition_*`).
pub struct Metrics(Lock<Figures>);

struct Figures {
    excluded: Counts,
    unjudged: Counts,
    took: Times<{ BUCKETS.len() }>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let [excluded, unjudged] = Default::default();
        Metrics(Lock::new(Figures { excluded, unjudged, took: Times::new(&BUCKETS) }))
    }
}

/// Whose conditions they are, and for what they are asked: the labels, in the order of their names.
pub struct Whose<'a> {
    /// `webhook` or `policy`.
    pub kind: &'static str,
    pub name: &'a str,
    pub operation: Operation,
    /// What follows if they hold: `admit`, `mutate` or `validate`.
    pub step: &'static str,
}

impl Metrics {
    fn count(&self, whose: &Whose<'_>, verdict: &Verdict, took: Duration) {
        let Whose { kind, name, operation, step } = whose;
        let operation = operation.name();
        let labels =
            || format!("kind=\"{kind}\",name=\"{name}\",operation=\"{operation}\",type=\"{step}\"");
        let mut figures = self.0.lock();
        match verdict {
            Verdict::Holds => {}
            Verdict::Excluded => figures.excluded.add(labels()),
            Verdict::Failed(_) => figures.unjudged.add(labels()),
        }
        figures.took.add(labels(), took);
    }

    /// Appends all of them.
    pub fn write(&self, page: &mut Page) {
        let figures = self.0.lock();
        let of = |name: &str| format!("apiserver_admission_match_condition_{name}");
        let help = "[ALPHA] Requests that match conditions kept from a webhook or a policy.";
        figures.excluded.write(page, &of("exclusions_total"), help);
        let help = "[ALPHA] Match conditions that could not be evaluated.";
        figures.unjudged.write(page, &of("evaluation_errors_total"), help);
        let help = "[ALPHA] How long match conditions took, in seconds.";
        figures.took.write(page, &of("evaluation_seconds"), help);
    }
}

/// What conditions are judged with.
pub struct Judge<'a> {
    pub authorizer: &'a Arc<Authorizer>,
    pub metrics: &'a Metrics,
    pub world: &'a World,
}

/// Those of one webhook or policy.
#[derive(Default)]
pub struct Conditions(Vec<Expression>);

/// What conditions say of a request.
pub enum Verdict {
    Holds,
    /// One of them is false.
    Excluded,
    /// None is false, but some have no value.
    Failed(String),
}

impl Conditions {
    /// Those that are configured, compiled.
    pub fn of(
        configured: &Value,
        mut compile: impl FnMut(&str) -> Result<Program, String>,
    ) -> Conditions {
        let all = field(configured, "matchConditions").and_then(Value::as_array);
        let compiled = all.into_iter().flatten().map(|it| {
            let text = text(it, "expression").trim().to_owned();
            Expression { program: compile(&text), text }
        });
        Conditions(compiled.collect())
    }

    /// What they say of a request; counted where there are any.
    pub async fn hold(
        &self,
        subject: &Subject<'_>,
        shared: &Shared<'_>,
        judge: &Judge<'_>,
        whose: Whose<'_>,
    ) -> Verdict {
        if self.0.is_empty() {
            return Verdict::Holds;
        }
        let (asker, since) = (Asker::new(judge.authorizer), judge.world.uptime());
        let verdict = asker.settled(|| self.judge(subject, shared, &asker)).await;
        judge.metrics.count(&whose, &verdict, judge.world.uptime() - since);
        verdict
    }

    fn judge(&self, subject: &Subject<'_>, shared: &Shared<'_>, asker: &Asker) -> Verdict {
        let all: Vec<(usize, &Expression)> = self.0.iter().enumerate().collect();
        let (mut budget, mut excluded, mut errors) = (Budget { left: BUDGET }, false, Vec::new());
        let ended =
            subject.evaluate(
                shared,
                Some(asker),
                (&all, &mut budget),
                &mut |_, found| match found {
                    Ok(value) => excluded |= !value.is_true(),
                    Err(why) => errors.push(why),
                },
            );
        // Nothing counts then that was found before.
        if let Err(why) = ended {
            return Verdict::Failed(why);
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
