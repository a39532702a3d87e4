//! The policies of a Job: which failures of pods end it or do not count (KEP-3329), which successes are enough
//! (KEP-3998), and when a pod is replaced (KEP-3939).

use crate::batch::indexes::Indexes;
use crate::core::pod::validate::internal;
use skiff_api::check::*;
use skiff_api::errors::{ErrorType, Errors, Path};
use skiff_api::object::at;
use skiff_json::{Value, json};
use std::collections::HashSet;

const RULES_MOST: usize = 20;
const PATTERNS_MOST: usize = 20;
const EXIT_CODES_MOST: usize = 255;
/// Of the text of the indexes that a rule names.
const INDEXES_MOST: usize = 64 * 1024;

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// Refuses a text that is not of a set, and says in the words of these policies that it is missing.
fn one_of_values(path: &Path, found: &str, known: &[&str], errors: &mut Errors) {
    match found {
        "" => {
            let quoted: Vec<String> = known.iter().map(|known| format!("{known:?}")).collect();
            errors.required(path, &format!("valid values: [{}]", quoted.join(" ")));
        }
        found if !known.contains(&found) => errors.not_supported(path, found, known),
        _ => {}
    }
}

/// An error about a whole, whose value is not shown.
fn whole(path: &Path, why: &str, errors: &mut Errors) {
    errors.push(ErrorType::Invalid, path, format!("Invalid value: {why}"));
}

pub fn failure(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(policy) = at(spec, "podFailurePolicy") else { return };
    let path = path.child("podFailurePolicy");
    let path = path.child("rules");
    let rules = list(policy, "rules");
    at_most(&path, rules.len(), RULES_MOST, errors);
    let lists = ["template.spec.containers", "template.spec.initContainers"];
    let containers: HashSet<&str> =
        lists.iter().flat_map(|field| list(spec, field)).map(|it| text(it, "name")).collect();
    let per_index = at(spec, "backoffLimitPerIndex").is_some();
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        let action = path.child("action");
        match text(rule, "action") {
            "FailIndex" if per_index => {}
            "FailIndex" => {
                let why = "requires the backoffLimitPerIndex to be set";
                errors.invalid(&action, "FailIndex", why);
            }
            found => one_of_values(&action, found, &ACTIONS, errors),
        }
        failure_rule(rule, &containers, &path, errors);
    }
}

fn failure_rule(rule: &Value, containers: &HashSet<&str>, path: &Path, errors: &mut Errors) {
    let (codes, patterns) = (at(rule, "onExitCodes"), list(rule, "onPodConditions"));
    if let Some(codes) = codes {
        exit_codes(codes, containers, &path.child("onExitCodes"), errors);
    }
    let here = path.child("onPodConditions");
    at_most(&here, patterns.len(), PATTERNS_MOST, errors);
    for (index, pattern) in patterns.iter().enumerate() {
        let path = here.index(index);
        qualified(&path.child("type"), text(pattern, "type"), errors);
        one_of_values(&path.child("status"), text(pattern, "status"), &STATUSES, errors);
    }
    match (codes.is_some(), !patterns.is_empty()) {
        (true, true) => {
            let why = "specifying both OnExitCodes and OnPodConditions is not supported";
            whole(path, why, errors);
        }
        (false, false) => {
            let why = "specifying one of OnExitCodes and OnPodConditions is required";
            whole(path, why, errors);
        }
        _ => {}
    }
}

fn exit_codes(codes: &Value, containers: &HashSet<&str>, path: &Path, errors: &mut Errors) {
    let operator = text(codes, "operator");
    one_of_values(&path.child("operator"), operator, &OPERATORS, errors);
    if let Some(name) = at(codes, "containerName").and_then(Value::as_str)
        && !containers.contains(name)
    {
        let why = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&path.child("containerName"), name, why);
    }
    let (path, values) = (path.child("values"), list(codes, "values"));
    if values.is_empty() {
        errors.invalid(&path, json!([]), "at least one value is required");
    }
    at_most(&path, values.len(), EXIT_CODES_MOST, errors);
    let numbers: Vec<i64> = values.iter().map(|value| value.as_i64().unwrap_or(0)).collect();
    let mut seen = HashSet::new();
    for (index, number) in numbers.iter().copied().enumerate() {
        let path = path.index(index);
        if operator == "In" && number == 0 {
            errors.invalid(&path, number, "must not be 0 for the In operator");
        }
        if !seen.insert(number) {
            errors.duplicate(&path, number);
        }
    }
    if !numbers.is_sorted() {
        errors.invalid(&path, json!(values), "must be ordered");
    }
}

pub fn success(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(policy) = at(spec, "successPolicy") else { return };
    let path = path.child("successPolicy");
    if text(spec, "completionMode") != "Indexed" {
        let why = "requires indexed completion mode";
        return internal::invalid(errors, &path, "SuccessPolicy", policy, why);
    }
    let (path, rules) = (path.child("rules"), list(policy, "rules"));
    if rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.required(&path, why);
    }
    at_most(&path, rules.len(), RULES_MOST, errors);
    let completions = int(spec, "completions").unwrap_or(0);
    for (index, rule) in rules.iter().enumerate() {
        success_rule(rule, completions, &path.index(index), errors);
    }
}

fn success_rule(rule: &Value, completions: i64, path: &Path, errors: &mut Errors) {
    let indexes = at(rule, "succeededIndexes").and_then(Value::as_str);
    let count = int(rule, "succeededCount");
    if indexes.is_none() && count.is_none() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        errors.required(path, why);
    }
    let mut named = None;
    if let Some(text) = indexes {
        let path = path.child("succeededIndexes");
        if text.len() > INDEXES_MOST {
            errors.too_long(&path, INDEXES_MOST);
        }
        let checked = Indexes::check(text, completions);
        if let Err(why) = &checked {
            errors.invalid(&path, text, &format!("error parsing succeededIndexes: {why}"));
        }
        named = Some(checked.unwrap_or(0));
    }
    let Some(count) = count else { return };
    let path = path.child("succeededCount");
    not_negative(&path, count, errors);
    let bounds = [
        (Some(completions), "the number of specified completions"),
        (named, "the number of indexes in the specified succeededIndexes field"),
    ];
    for (most, what) in bounds {
        if let Some(most) = most.filter(|most| count > *most) {
            errors.invalid(&path, count, &format!("must be less than or equal to {most} ({what})"));
        }
    }
}

pub fn replacement(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(policy) = at(spec, "podReplacementPolicy").and_then(Value::as_str) else { return };
    let known: &[&str] = match at(spec, "podFailurePolicy") {
        Some(_) => &["Failed"],
        None => &["Failed", "TerminatingOrFailed"],
    };
    if !known.contains(&policy) {
        errors.not_supported(&path.child("podReplacementPolicy"), policy, known);
    }
}
