//! CronJob: Jobs at times of a schedule (API reference: workload-resources).

use super::job;
use super::schedule::{Schedule, Zone};
use crate::core::pod;
use crate::core::pod::validate::internal;
use crate::workload::{joined, selector_text};
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Column, Hooks, Kind, age_column, column, name_column};
use skiff_api::kind::{number, status, wide};
use skiff_api::object::{Object, at};
use skiff_api::table::Shown;
use skiff_api::view::Resource;
use skiff_json::{Value, json};

pub const RESOURCE: Resource = Resource::of("batch", "v1", "cronjobs", "CronJob");

/// The longest name: its Jobs add the minute at which they are due, and are names themselves.
const NAME_MOST: usize = 63 - 11;
/// The longest part of the name of a time zone (theory of the tz database, "Timezone identifiers").
const ZONE_PART_MOST: usize = 14;

pub fn kind() -> Kind {
    Kind {
        short: vec!["cj".into()],
        categories: vec!["all".into()],
        subresources: vec![status()],
        columns: vec![
            name_column(),
            column("Schedule", Cell::With(|it| it.text("spec.schedule").into())),
            column("Timezone", Cell::Path("spec.timeZone".into())),
            Column { type_: "boolean".into(), ..column("Suspend", Cell::With(suspended)) },
            number("Active", Cell::With(|it| it.list("status.active").len().into())),
            column("Last Schedule", Cell::Since(last_schedule)),
            age_column(),
            wide("Containers", Cell::With(|it| joined(it, TEMPLATE, "name"))),
            wide("Images", Cell::With(|it| joined(it, TEMPLATE, "image"))),
            wide("Selector", Cell::With(|it| selector_text(it, "spec.jobTemplate.spec.selector"))),
        ],
        hooks: Hooks {
            default,
            prepare,
            validate,
            warn,
            generation: Some(Hooks::spec_changed),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

const TEMPLATE: &str = "spec.jobTemplate.spec.template";

fn suspended(cron: &Object) -> Value {
    match cron.at("spec.suspend") {
        Some(Value::Bool(true)) => "True",
        Some(_) => "False",
        None => "<unset>",
    }
    .into()
}

fn last_schedule(cron: &Object) -> Shown {
    match cron.text("status.lastScheduleTime") {
        "" => Shown::Value("<none>".into()),
        time => Shown::ago(time),
    }
}

/// The Jobs that it makes get their own defaults when they are made.
fn default(new: &mut Object) {
    if new.text("spec.concurrencyPolicy").is_empty() {
        new.set("spec.concurrencyPolicy", "Allow");
    }
    new.set_absent("spec.suspend", false);
    new.set_absent("spec.successfulJobsHistoryLimit", 3);
    new.set_absent("spec.failedJobsHistoryLimit", 1);
    new.set_absent("spec.jobTemplate", json!({}));
    new.set_absent("spec.jobTemplate.metadata", json!({}));
    new.set_absent("spec.jobTemplate.spec", json!({}));
    pod::default::template_at("spec.jobTemplate.spec.template", new);
    if let Some(spec) = new.value_mut().pointer_mut("/spec/jobTemplate/spec") {
        job::failure_patterns(spec);
    }
}

fn prepare(new: &mut Object, old: Option<&Object>) {
    if let Some(spec) = new.value_mut().pointer_mut("/spec/jobTemplate/spec") {
        job::drop_disabled(spec, old.and_then(|old| old.at("spec.jobTemplate.spec")));
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("spec");
    let Some(spec) = new.at("spec") else { return };
    schedule(text(spec, "schedule"), &path.child("schedule"), errors);
    if let Some(seconds) = int(spec, "startingDeadlineSeconds") {
        not_negative(&path.child("startingDeadlineSeconds"), seconds, errors);
    }
    if let Some(zone) = at(spec, "timeZone").and_then(Value::as_str)
        && old.is_none_or(|old| old.at("spec.timeZone") != new.at("spec.timeZone"))
    {
        time_zone(zone, &path.child("timeZone"), errors);
    }
    let policies = ["Allow", "Forbid", "Replace"];
    let policy = text(spec, "concurrencyPolicy");
    one_of(&path.child("concurrencyPolicy"), policy, &policies, errors);
    job_template(spec, &path.child("jobTemplate"), errors);
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        if let Some(number) = int(spec, field) {
            not_negative(&path.child(field), number, errors);
        }
    }
    if old.is_none() && new.name().len() > NAME_MOST {
        let why = "must be no more than 52 characters";
        errors.invalid(&Path::new("metadata.name"), new.name(), why);
    }
}

fn schedule(schedule: &str, path: &Path, errors: &mut Errors) {
    if schedule.is_empty() {
        return errors.required(path, "");
    }
    if let Err(why) = Schedule::read(schedule, &Zone::UTC) {
        errors.invalid(path, schedule, &why);
    }
    if schedule.contains("TZ") {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.invalid(path, schedule, why);
    }
}

fn time_zone(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.invalid(path, name, "timeZone must be nil or non-empty string");
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_+".contains(&b);
    let sound = |part: &str| {
        !matches!(part, "" | "." | "..")
            && !part.starts_with('-')
            && part.len() <= ZONE_PART_MOST
            && part.bytes().all(plain)
    };
    let unknown = format!("unknown time zone {name}");
    if !name.split('/').all(sound) {
        return errors.invalid(path, name, &unknown);
    }
    if name.eq_ignore_ascii_case("Local") {
        let why =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(path, name, why);
    }
    if name != "Local" && Zone::named(name).is_none() {
        errors.invalid(path, name, &unknown);
    }
}

fn job_template(spec: &Value, path: &Path, errors: &mut Errors) {
    let null = Value::Null;
    let jobs = at(spec, "jobTemplate.spec").unwrap_or(&null);
    let path = path.child("spec");
    job::validate::job_spec(jobs, &path, errors);
    if let Some(selector) = at(jobs, "selector") {
        let why = "`selector` will be auto-generated";
        internal::invalid_selector(errors, &path.child("selector"), selector, why);
    }
    if flag(jobs, "manualSelector") {
        errors.not_supported(&path.child("manualSelector"), true, &["nil", "false"]);
    }
}

fn warn(new: &Object, old: Option<&Object>) -> Vec<String> {
    let path = "spec.jobTemplate.spec";
    let many = new.at(path).and_then(|spec| job::many(path, spec));
    pod::warn::template_in(path, new, old, many)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: Value) -> String {
        let template = json!({"spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "x"}]}}}});
        let mut it = Object::new(json!({"metadata": {"name": "a"}, "spec": spec}));
        it.set_absent("spec.jobTemplate", template);
        default(&mut it);
        let mut errors = Errors::new();
        validate(&it, None, &mut errors);
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn schedules_and_zones_are_checked() {
        for zone in ["UTC", "Europe/Berlin", "Etc/GMT+3", "America/Argentina/Buenos_Aires"] {
            assert_eq!(check(json!({"schedule": "@every 0", "timeZone": zone})), "");
        }
        assert_eq!(
            check(json!({"schedule": "TZ=UTC * * * * *", "timeZone": "../etc/passwd"})),
            "spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone \
             field instead\n\
             spec.timeZone: Invalid value: \"../etc/passwd\": unknown time zone ../etc/passwd"
        );
        assert_eq!(
            check(json!({"schedule": "1 2 3", "timeZone": "Moon/Base", "concurrencyPolicy": "X"})),
            "spec.schedule: Invalid value: \"1 2 3\": expected exactly 5 fields, found 3: [1 2 3]\n\
             spec.timeZone: Invalid value: \"Moon/Base\": unknown time zone Moon/Base\n\
             spec.concurrencyPolicy: Unsupported value: \"X\": supported values: \"Allow\", \"Forbid\", \"Replace\""
        );
    }
}
