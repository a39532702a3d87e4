//! Job: pods that run until enough of them have ended well (API reference: workload-resources).
//!
//! One file for what is checked of a spec (a CronJob's template is one too), one for its policies, one for its status.

mod policy;
mod status;
pub mod validate;

use crate::core::pod::{self, default::absent};
use crate::workload;
use skiff_api::kind::{self, Cell, Hooks, Kind, Unsaid, age_column, column, name_column};
use skiff_api::names;
use skiff_api::object::{Object, at, int, text};
use skiff_api::table::Shown;
use skiff_api::view::Resource;
use skiff_json::{Value, json};

pub const RESOURCE: Resource = Resource::of("batch", "v1", "jobs", "Job");

/// The labels of a Job's pods, old names first: whose they are, and what that one is called.
const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

pub fn kind() -> Kind {
    let mut columns = vec![
        name_column(),
        column("Status", Cell::With(state)),
        column("Completions", Cell::With(completions)),
        column("Duration", Cell::Since(duration)),
        age_column(),
    ];
    columns.extend(workload::columns());
    Kind {
        categories: vec!["all".into()],
        subresources: vec![kind::status()],
        columns,
        converts_fields: true,
        selectable: vec!["status.successful".into()],
        unsaid: Unsaid::OrphanAndWarn(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove \
             them or set propagationPolicy=Orphan to suppress this warning",
        ),
        hooks: Hooks {
            default,
            prepare,
            validate: validate::job,
            validate_part: status::validate,
            warn,
            generation: Some(Hooks::spec_changed),
            fields: Some(|job, put| {
                put("status.successful", &job.int("status.succeeded").unwrap_or(0).to_string());
            }),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

/// Whether it says of itself that this is so.
fn is(job: &Object, type_: &str) -> bool {
    let mut conditions = job.list("status.conditions").iter();
    conditions.find(|it| text(it, "type") == type_).is_some_and(|it| text(it, "status") == "True")
}

fn state(job: &Object) -> Value {
    let state = match () {
        () if is(job, "Complete") => "Complete",
        () if is(job, "Failed") => "Failed",
        () if job.deleting() => "Terminating",
        () if is(job, "Suspended") => "Suspended",
        () if is(job, "FailureTarget") => "FailureTarget",
        () if is(job, "SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    };
    state.into()
}

fn completions(job: &Object) -> Value {
    let succeeded = job.int("status.succeeded").unwrap_or(0);
    match (job.int("spec.completions"), job.int("spec.parallelism").unwrap_or(0)) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
    .into()
}

fn duration(job: &Object) -> Shown {
    match (job.text("status.startTime"), job.text("status.completionTime").parse()) {
        ("", _) => Shown::Value("".into()),
        (start, Ok(end)) => Shown::Value(Shown::ago(start).at(end)),
        (start, Err(_)) => Shown::ago(start),
    }
}

fn default(new: &mut Object) {
    pod::default::template(new);
    let Some(spec) = new.value_mut().get_mut("spec") else { return };
    failure_patterns(spec);
    if at(spec, "parallelism").is_none() {
        absent(spec, "completions", 1);
    }
    absent(spec, "parallelism", 1);
    let per_index = at(spec, "backoffLimitPerIndex").is_some();
    absent(spec, "backoffLimit", if per_index { i32::MAX } else { 6 });
    absent(spec, "completionMode", "NonIndexed");
    absent(spec, "suspend", false);
    let policed = at(spec, "podFailurePolicy").is_some();
    absent(spec, "podReplacementPolicy", if policed { "Failed" } else { "TerminatingOrFailed" });
    absent(spec, "manualSelector", false);
}

/// A pattern of a condition without a status is one of a condition that is true.
pub fn failure_patterns(spec: &mut Value) {
    let rules = spec.pointer_mut("/podFailurePolicy/rules").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        for pattern in pod::default::items(rule, "onPodConditions") {
            pod::default::absent_text(pattern, "status", "True");
        }
    }
}

fn prepare(new: &mut Object, old: Option<&Object>) {
    if let Some(spec) = new.value_mut().get_mut("spec") {
        drop_disabled(spec, old.and_then(|old| old.at("spec")));
    }
    if old.is_none() && !new.flag("spec.manualSelector") {
        generate_selector(new);
    }
    // A job without labels has those of its pods; of a name that is too long for one its users hear once.
    let labels = new.map("spec.template.metadata.labels");
    let fit = names::label_value(new.name()).is_empty();
    if new.map("metadata.labels").is_empty() && !labels.is_empty() && fit {
        let labels = Value::Object(labels.clone());
        new.set("metadata.labels", labels);
    }
}

/// Removes fields that are behind feature gates which 1.37 has off by default; of the spec of a CronJob's Jobs too.
pub fn drop_disabled(spec: &mut Value, old: Option<&Value>) {
    if old.is_none_or(|old| at(old, "scheduling").is_none())
        && let Some(fields) = spec.as_object_mut()
    {
        fields.remove("scheduling");
    }
    let before = old.and_then(|old| at(old, "template.spec"));
    if let Some(pods) = spec.pointer_mut("/template/spec") {
        pod::prepare::drop_disabled(pods, before);
    }
}

/// A selector that no other Job's can overlap with: the uid is this one's alone. What a user has put there already is
/// refused later if it is something else.
fn generate_selector(job: &mut Object) {
    let (name, uid) = (job.name().to_owned(), job.uid().to_owned());
    let Some(spec) = job.value_mut().get_mut("spec") else { return };
    let Some(metadata) = spec.pointer_mut("/template/metadata") else { return };
    absent(metadata, "labels", json!({}));
    for (labels, value) in [(NAME_LABELS, &name), (UID_LABELS, &uid)] {
        labels.iter().for_each(|label| key_absent(&mut metadata["labels"], label, value));
    }
    absent(spec, "selector", json!({}));
    absent(&mut spec["selector"], "matchLabels", json!({}));
    key_absent(&mut spec["selector"]["matchLabels"], UID_LABELS[1], &uid);
}

/// Fills a key that is absent; it may hold dots.
fn key_absent(map: &mut Value, key: &str, value: &str) {
    if let Some(map) = map.as_object_mut() {
        map.entry(key).or_insert_with(|| value.into());
    }
}

fn warn(new: &Object, old: Option<&Object>) -> Vec<String> {
    pod::warn::template_in("spec", new, old, new.at("spec").and_then(|spec| many("spec", spec)))
}

/// What is said of more indexes than can be kept track of.
pub fn many(path: &str, spec: &Value) -> Option<String> {
    let over = |field, most| int(spec, field).is_some_and(|number| number > most);
    let many = over("completions", 100_000) && over("parallelism", 10_000);
    (text(spec, "completionMode") == "Indexed" && many).then(|| {
        format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
             Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )
    })
}

/// Whether its template and what steers it may change yet: it is suspended, and none of its pods are left.
fn idle(job: &Object) -> bool {
    let at_rest = job.at("status.startTime").is_none() || is(job, "Suspended");
    job.flag("spec.suspend") && at_rest && job.int("status.active").unwrap_or(0) == 0
}

#[cfg(test)]
mod tests;
