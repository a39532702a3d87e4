//! The status of a Job: other programs write it too (KEP-4368), so what clients may rely on is checked here. What was
//! wrong before is not refused again: a check looks only where something changed.

use super::is;
use crate::batch::indexes::{Indexes, overlap};
use crate::core::pod::validate::internal;
use jiff::Timestamp;
use skiff_api::check::*;
use skiff_api::errors::{ErrorType, Errors, Path};
use skiff_api::object::{Object, at};
use skiff_json::Value;
use std::collections::HashSet;

const COUNTS: [&str; 5] = ["active", "succeeded", "failed", "ready", "terminating"];

/// What a Job was and will be.
struct Both<'a> {
    new: &'a Object,
    old: &'a Object,
    status: &'a Value,
}

pub fn validate(_: &str, new: &Object, old: &Object, errors: &mut Errors) {
    let null = Value::Null;
    let both = Both { new, old, status: new.at("status").unwrap_or(&null) };
    let path = Path::new("status");
    for field in COUNTS {
        if let Some(number) = int(both.status, field) {
            not_negative(&path.child(field), number, errors);
        }
    }
    uncounted(both.status, &path, errors);
    both.conditions(&path, errors);
    both.finished(&path, errors);
    both.indexes(&path, errors);
    both.pods(&path, errors);
    both.criteria(&path, errors);
    both.transition(&path, errors);
}

/// An error about the conditions as a whole, which are not shown.
fn conditions(path: &Path, why: &str, errors: &mut Errors) {
    errors.push(ErrorType::Invalid, &path.child("conditions"), format!("Invalid value: {why}"));
}

fn uncounted(status: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("uncountedTerminatedPods");
    let mut seen = HashSet::new();
    for type_ in ["succeeded", "failed"] {
        let path = path.child(type_);
        let uids = at(status, "uncountedTerminatedPods").map_or(&[][..], |it| list(it, type_));
        for (index, uid) in uids.iter().enumerate() {
            match uid.as_str().unwrap_or("") {
                "" => errors.invalid(&path.index(index), "", "must not be empty"),
                uid => unique(&path.index(index), uid, &mut seen, errors),
            }
        }
    }
}

fn time(status: &Value, field: &str) -> Option<Timestamp> {
    text(status, field).parse().ok()
}

fn finished(job: &Object) -> bool {
    is(job, "Complete") || is(job, "Failed")
}

impl Both<'_> {
    fn changed(&self, field: &str) -> bool {
        let path = format!("status.{field}");
        self.new.at(&path) != self.old.at(&path)
    }

    /// Whether a condition became true, or is so no more.
    fn turned(&self, type_: &str) -> bool {
        is(self.new, type_) != is(self.old, type_)
    }

    fn shown(&self, field: &str) -> Value {
        at(self.status, field).cloned().unwrap_or(Value::Null)
    }

    fn conditions(&self, path: &Path, errors: &mut Errors) {
        let complete = is(self.new, "Complete");
        let (completed, failed) = (self.turned("Complete"), self.turned("Failed"));
        if (completed || failed) && complete && is(self.new, "Failed") {
            conditions(path, "cannot set Complete=True and Failed=true conditions", errors);
        }
        let target = is(self.new, "FailureTarget");
        if (completed || self.turned("FailureTarget")) && complete && target {
            conditions(path, "cannot set Complete=True and FailureTarget=true conditions", errors);
        }
        self.times(complete, completed, path, errors);
        if (failed || self.changed("failedIndexes")) && is(self.new, "Failed") && !target {
            let why = "cannot set Failed=True condition without the FailureTarget=true condition";
            conditions(path, why, errors);
        }
        let met = is(self.new, "SuccessCriteriaMet");
        if (completed || self.turned("SuccessCriteriaMet")) && complete && !met {
            let why =
                "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
            conditions(path, why, errors);
        }
    }

    fn times(&self, complete: bool, completed: bool, path: &Path, errors: &mut Errors) {
        let here = path.child("completionTime");
        let (start, end) = (time(self.status, "startTime"), time(self.status, "completionTime"));
        let ended = self.changed("completionTime");
        match (completed || ended, complete, end) {
            (true, false, Some(_)) => {
                let why = "cannot set completionTime when there is no Complete=True condition";
                errors.invalid(&here, self.shown("completionTime"), why);
            }
            (true, true, None) => {
                errors.required(&here, "completionTime is required for Complete jobs");
            }
            _ => {}
        }
        if (ended || self.changed("startTime")) && end.is_some() && start.is_some() && end < start {
            let why = "must be equal to or after `startTime`";
            errors.invalid(&here, self.shown("completionTime"), why);
        }
    }

    /// What must be over when the Job is.
    fn finished(&self, path: &Path, errors: &mut Errors) {
        if !finished(self.new) {
            return;
        }
        let turned = !finished(self.old);
        let active = int(self.status, "active").unwrap_or(0);
        if (turned || self.changed("active")) && active > 0 {
            let why = "active>0 is invalid for finished job";
            errors.invalid(&path.child("active"), active, why);
        }
        let nothing_to_do =
            self.new.flag("spec.suspend") && self.new.int("spec.completions") == Some(0);
        let started = at(self.status, "startTime").is_some();
        if (turned || self.changed("startTime")) && !nothing_to_do && !started {
            errors.required(&path.child("startTime"), "startTime is required for finished job");
        }
        let uncounted = at(self.status, "uncountedTerminatedPods");
        let some =
            |it: &Value| ["succeeded", "failed"].iter().any(|type_| !list(it, type_).is_empty());
        if let Some(uncounted) = uncounted.filter(|it| some(it))
            && (turned || self.changed("uncountedTerminatedPods"))
        {
            let path = path.child("uncountedTerminatedPods");
            let why = "must be empty for finished job";
            internal::invalid(errors, &path, "UncountedTerminatedPods", uncounted, why);
        }
    }

    fn indexes(&self, path: &Path, errors: &mut Errors) {
        let completions = self.new.int("spec.completions");
        let per_index = self.new.at("spec.backoffLimitPerIndex").is_some();
        let completed = text(self.status, "completedIndexes");
        let failed = at(self.status, "failedIndexes").and_then(Value::as_str);
        let (in_completed, in_failed) =
            (self.changed("completedIndexes"), self.changed("failedIndexes"));
        let [done, bad] = ["completedIndexes", "failedIndexes"].map(|field| path.child(field));
        let wrong = |text: &str, path: &Path, name: &str, errors: &mut Errors| {
            if let Some(Err(why)) = completions.map(|most| Indexes::check(text, most)) {
                errors.invalid(path, text, &format!("error parsing {name}: {why}"));
            }
        };
        if in_completed {
            wrong(completed, &done, "completedIndexes", errors);
        }
        if let Some(failed) = failed.filter(|_| in_failed && per_index) {
            wrong(failed, &bad, "failedIndexes", errors);
        }
        if in_completed
            && !completed.is_empty()
            && self.new.text("spec.completionMode") != "Indexed"
        {
            let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
            errors.invalid(&done, completed, why);
        }
        let Some(failed) = failed else { return };
        if in_failed && !per_index {
            let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            errors.invalid(&bad, failed, why);
        }
        if let Some(most) = completions.filter(|_| in_failed || in_completed)
            && let Some(index) = overlap(completed, failed, most)
        {
            let why = format!("failedIndexes and completedIndexes overlap at index: {index}");
            errors.invalid(&bad, failed, &why);
        }
    }

    fn pods(&self, path: &Path, errors: &mut Errors) {
        let count = |field| int(self.status, field).unwrap_or(0);
        let (going, ready) = (count("terminating"), count("ready"));
        let turned = finished(self.new) != finished(self.old);
        if (turned || self.changed("terminating")) && going > 0 && finished(self.new) {
            let why = "terminating>0 is invalid for finished job";
            errors.invalid(&path.child("terminating"), going, why);
        }
        let looks = self.changed("ready") || self.changed("active");
        if looks && ready > count("active") {
            errors.invalid(&path.child("ready"), ready, "cannot set more ready pods than active");
        }
    }

    /// That it succeeded and that it failed exclude each other.
    fn criteria(&self, path: &Path, errors: &mut Errors) {
        let met = is(self.new, "SuccessCriteriaMet");
        if met && is(self.new, "Failed") {
            let why = "cannot set SuccessCriteriaMet=True and Failed=true conditions";
            conditions(path, why, errors);
        }
        if met && is(self.new, "FailureTarget") {
            let why = "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions";
            conditions(path, why, errors);
        }
        if self.new.at("spec.successPolicy").is_some() && !met && is(self.new, "Complete") {
            let why = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
            conditions(path, why, errors);
        }
    }

    /// What may not be taken back.
    fn transition(&self, path: &Path, errors: &mut Errors) {
        for type_ in ["Failed", "Complete", "FailureTarget"] {
            if is(self.old, type_) && !is(self.new, type_) {
                let why = format!("cannot disable the terminal {type_}=True condition");
                conditions(path, &why, errors);
            }
        }
        let spec = |field: &str| self.new.int(&format!("spec.{field}"));
        let scales = self.new.text("spec.completionMode") == "Indexed"
            && spec("completions") == spec("parallelism");
        for field in if scales { &["failed"][..] } else { &["failed", "succeeded"] } {
            let number = int(self.status, field).unwrap_or(0);
            if number < self.old.int(&format!("status.{field}")).unwrap_or(0) {
                let why = format!("cannot decrease the {field} counter");
                errors.invalid(&path.child(field), number, &why);
            }
        }
        let had = |field: &str| self.old.at(&format!("status.{field}")).is_some();
        let end = at(self.status, "completionTime");
        if let Some(end) = end.filter(|_| had("completionTime") && self.changed("completionTime")) {
            errors.invalid(&path.child("completionTime"), end.clone(), "field is immutable");
        }
        let suspended = |job: &Object, status: &str| {
            let mut conditions = job.list("status.conditions").iter();
            conditions.any(|it| text(it, "type") == "Suspended" && text(it, "status") == status)
        };
        let resumes = suspended(self.old, "True") && suspended(self.new, "False");
        let runs = !self.new.flag("spec.suspend") && !resumes;
        if runs && had("startTime") && self.changed("startTime") {
            let why = "field is immutable for unsuspended job once set";
            errors.invalid(&path.child("startTime"), self.shown("startTime"), why);
        }
        let met = "SuccessCriteriaMet";
        if is(self.old, met) && !is(self.new, met) {
            conditions(path, "cannot disable the SuccessCriteriaMet=True condition", errors);
        }
        if is(self.old, "Complete") && !is(self.old, met) && is(self.new, met) {
            let why =
                "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
            conditions(path, why, errors);
        }
    }
}
