//! Match conditions: expressions in CEL that say whether a webhook or a policy is asked at all (KEP-3716). They are
//! evaluated last, when all else matches, over what would be seen.

use super::expressions::{Expression, Shared, Subject};
use crate::authorize::expression::Asker;
use serde_json::Value;
use skiff_api::object::{at as field, text};
use skiff_cel::run::{Budget, Program};
use std::collections::HashSet;

/// What all conditions of one webhook or policy may cost for one request: upstream's bound.
const BUDGET: u64 = 2_500_000;

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

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn judge(&self, subject: &Subject<'_>, shared: &Shared<'_>, asker: &Asker) -> Verdict {
        if self.0.is_empty() {
            return Verdict::Holds;
        }
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
