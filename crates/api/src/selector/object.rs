//! LabelSelector objects (`matchLabels`, `matchExpressions`): what they select and what is wrong
//! with them.

use skiff_json::Value;

use super::words::{label_key_problems, label_value_problems};
use super::{Operator, Requirement, Selector, parse};

/// A field that is wrong, in the terms of a Status cause.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The field below the selector: `matchExpressions[0].values`.
    pub path: String,
    pub kind: ProblemKind,
    /// The value that was found; null where none is shown.
    pub value: Value,
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    Required,
    Forbidden,
    Invalid,
}

pub(super) fn selector(selector: Option<&Value>) -> Result<Selector, String> {
    let Some(selector) = selector.filter(|it| !it.is_null()) else { return Ok(Selector::Nothing) };
    let mut all = Vec::new();
    for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten()
    {
        let values = vec![value.as_str().unwrap_or_default().to_string()];
        all.push(requirement(key, Operator::Equals, values)?);
    }
    for expression in expressions(selector) {
        let operator = text(expression, "operator");
        let operator = match operator {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => return Err(format!("{operator:?} is not a valid label selector operator")),
        };
        let mut values: Vec<String> = values(expression).map(str::to_string).collect();
        values.sort();
        values.dedup();
        all.push(requirement(text(expression, "key"), operator, values)?);
    }
    all.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Selector::All(all))
}

fn requirement(key: &str, operator: Operator, values: Vec<String>) -> Result<Requirement, String> {
    let problems = label_key_problems(key);
    if !problems.is_empty() {
        return Err(format!("key: Invalid value: {key:?}: {}", problems.join("; ")));
    }
    parse::check(key, operator, &values)?;
    Ok(Requirement { key: key.to_string(), operator, values })
}

fn expressions(selector: &Value) -> impl Iterator<Item = &Value> {
    selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn values(expression: &Value) -> impl Iterator<Item = &str> {
    expression
        .get("values")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// Everything that is wrong with a LabelSelector, with paths below it.
pub fn validate_label_selector(selector: &Value) -> Vec<Problem> {
    let mut out = Vec::new();
    let mut add = |path: String, kind, value: Value, detail: String| {
        out.push(Problem { path, kind, value, detail });
    };
    for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten()
    {
        let value = value.as_str().unwrap_or_default();
        for detail in label_key_problems(key) {
            add("matchLabels".into(), ProblemKind::Invalid, key.as_str().into(), detail);
        }
        for detail in label_value_problems(value) {
            add("matchLabels".into(), ProblemKind::Invalid, value.into(), detail);
        }
    }
    for (i, expression) in expressions(selector).enumerate() {
        let path = |field: &str| format!("matchExpressions[{i}].{field}");
        let (operator, listed) = (text(expression, "operator"), values(expression).count());
        match operator {
            "In" | "NotIn" if listed == 0 => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                add(path("values"), ProblemKind::Required, Value::Null, detail.into());
            }
            "Exists" | "DoesNotExist" if listed > 0 => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                add(path("values"), ProblemKind::Forbidden, Value::Null, detail.into());
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => {
                let detail = "not a valid selector operator".to_string();
                add(path("operator"), ProblemKind::Invalid, operator.into(), detail);
            }
        }
        let key = text(expression, "key");
        for detail in label_key_problems(key) {
            add(path("key"), ProblemKind::Invalid, key.into(), detail);
        }
        for (at, value) in values(expression).enumerate() {
            for detail in label_value_problems(value) {
                add(path(&format!("values[{at}]")), ProblemKind::Invalid, value.into(), detail);
            }
        }
    }
    out
}
