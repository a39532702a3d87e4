//! LimitRange: what the containers, pods and claims of a namespace may ask for, and what containers get that do not ask
//! (API reference: policy-resources).
//!
//! Here is only what is wrong with a range itself; the admission plugin LimitRanger holds objects against it.

use super::pod::validate::resources::{amounts, container_name, name_of, overcommits};
use skiff_api::check::text;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Column, Hooks, Kind, column, name_column};
use skiff_api::names;
use skiff_api::object::{Object, at_mut};
use skiff_api::quantity::{Format, Quantity};
use skiff_api::view::Resource;
use skiff_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashSet};

pub const RESOURCE: Resource = Resource::core("limitranges", "LimitRange");

/// What a limit may be about.
const TYPES: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];
/// Above this a value in thousandths does not fit 64 bits.
pub const MILLI_MOST: i64 = i64::MAX / 1000;

pub fn kind() -> Kind {
    let created = Cell::With(|range| range.text("metadata.creationTimestamp").into());
    Kind {
        short: vec!["limits".into()],
        columns: vec![
            name_column(),
            Column { type_: "date".into(), ..column("Created At", created) },
        ],
        creates_on_update: true,
        hooks: Hooks {
            default,
            prepare: |new, _| name(new),
            validate: |new, _, errors| validate(new, errors),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

/// One without a name has its UID for one.
fn name(range: &mut Object) {
    let uid = range.uid().to_owned();
    if range.name().is_empty() {
        range.set("metadata.name", uid);
    }
}

/// The limit of a container is the maximum where nothing else is said, and its request is that limit, or the minimum.
fn default(range: &mut Object) {
    let Some(Value::Array(limits)) = at_mut(range.value_mut(), "spec.limits") else { return };
    for limit in limits.iter_mut().filter(|limit| text(limit, "type") == "Container") {
        for (from, to) in
            [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")]
        {
            let given = limit.get(from).and_then(Value::as_object).cloned().unwrap_or_default();
            let Some(limit) = limit.as_object_mut() else { continue };
            if given.is_empty() {
                continue;
            }
            let into = limit.entry(to).or_insert(Value::Null);
            if into.is_null() {
                *into = Value::Object(Map::new());
            }
            let Some(into) = into.as_object_mut() else { continue };
            for (name, amount) in given {
                into.entry(name).or_insert(amount);
            }
        }
    }
}

fn validate(range: &Object, errors: &mut Errors) {
    let (spec, mut seen) = (Path::new("spec.limits"), HashSet::new());
    for (index, limit) in range.list("spec.limits").iter().enumerate() {
        let path = spec.index(index);
        let type_ = text(limit, "type");
        let at_type = path.child("type");
        type_name(type_, &at_type, errors);
        if !seen.insert(type_) {
            errors.duplicate(&at_type, type_);
        }
        one(limit, type_, &path, errors);
    }
}

fn type_name(type_: &str, path: &Path, errors: &mut Errors) {
    let wrong = names::qualified(type_);
    if wrong.is_empty() && !type_.contains('/') && !TYPES.contains(&type_) {
        errors.invalid(path, type_, "must be a standard limit type or fully qualified");
    }
    skiff_api::check::refuse(path, type_, wrong, errors);
}

/// One limit: its names, then the relations of its amounts.
fn one(limit: &Value, type_: &str, path: &Path, errors: &mut Errors) {
    let amounts_of = |field| amounts(limit, field);
    let names = |field: &str, errors: &mut Errors| {
        let here = path.child(field);
        for name in amounts(limit, field).keys() {
            match type_ {
                "Pod" | "Container" => container_name(name, &here.key(name), errors),
                _ => drop(name_of(name, &here.key(name), errors)),
            }
        }
    };
    let (max, min) = (amounts_of("max"), amounts_of("min"));
    names("max", errors);
    names("min", errors);
    let (mut default, mut request) = (BTreeMap::new(), BTreeMap::new());
    for (field, into) in [("default", &mut default), ("defaultRequest", &mut request)] {
        if type_ != "Pod" {
            names(field, errors);
            *into = amounts_of(field);
        } else if !amounts_of(field).is_empty() {
            errors.forbidden(&path.child(field), "may not be specified when `type` is 'Pod'");
        }
    }
    let sized = max.contains_key("storage") || min.contains_key("storage");
    if type_ == "PersistentVolumeClaim" && !sized {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(&path.child("limits"), why);
    }
    names("maxLimitRequestRatio", errors);
    let ratio = amounts_of("maxLimitRequestRatio");
    let all = [&max, &min, &default, &request, &ratio];
    let keys: BTreeSet<&str> = all.iter().flat_map(|amounts| amounts.keys().copied()).collect();
    for name in keys {
        let of = |amounts: &BTreeMap<&str, Quantity>| amounts.get(name).cloned();
        let given = Given {
            max: of(&max),
            min: of(&min),
            default: of(&default),
            request: of(&request),
            ratio: of(&ratio),
        };
        given.check(name, path, errors);
    }
}

/// What a limit says of one resource.
struct Given {
    max: Option<Quantity>,
    min: Option<Quantity>,
    default: Option<Quantity>,
    request: Option<Quantity>,
    ratio: Option<Quantity>,
}

impl Given {
    fn check(&self, name: &str, path: &Path, errors: &mut Errors) {
        let Given { max, min, default, request, .. } = self;
        // What must not be above what, the field that is named, and which of the two amounts is shown.
        let (min, max) = (("min", min), ("max", max));
        let (default, request) = (("default", default), ("default request", request));
        let limit = ("default limit", default.1);
        for (low, high, field, shown) in [
            (min, max, "min", min),
            (min, request, "defaultRequest", request),
            (request, max, "defaultRequest", request),
            (request, limit, "defaultRequest", request),
            (min, default, "default", min),
            (default, max, "default", max),
        ] {
            let ((low_word, Some(low)), (high_word, Some(high))) = (low, high) else { continue };
            let Some(shown) = shown.1.as_ref().filter(|_| low > high) else { continue };
            let why = format!("{low_word} value {low} is greater than {high_word} value {high}");
            errors.invalid(&path.child(field).key(name), shown.to_string(), &why);
        }
        self.check_ratio(name, path, errors);
        if let (Some(default), Some(request)) = (default.1, request.1)
            && !overcommits(name)
            && default != request
        {
            let why = format!(
                "default value {default} must equal to defaultRequest value {request} in {name}"
            );
            errors.invalid(&path.child("defaultRequest").key(name), request.to_string(), &why);
        }
    }

    fn check_ratio(&self, name: &str, path: &Path, errors: &mut Errors) {
        let Some(ratio) = &self.ratio else { return };
        let field = path.child("maxLimitRequestRatio");
        let here = field.key(name);
        if *ratio < Quantity::new(1, Format::Decimal) {
            errors.invalid(&here, ratio.to_string(), &format!("ratio {ratio} is less than 1"));
        }
        let (Some(min), Some(max)) = (&self.min, &self.max) else { return };
        let exact = [ratio, min, max].iter().all(|it| it.value() < MILLI_MOST);
        let (most, given) = match exact {
            true => (
                max.milli_value() as f64 / min.milli_value() as f64,
                ratio.milli_value() as f64 / 1000.0,
            ),
            false => (max.value() as f64 / min.value() as f64, ratio.value() as f64),
        };
        if given > most {
            let why = format!("ratio {ratio} is greater than max/min = {most:.6}");
            errors.invalid(&here, ratio.to_string(), &why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    fn check(limit: Value) -> String {
        let mut range = Object::new(json!({"spec": {"limits": [limit]}}));
        default(&mut range);
        let mut errors = Errors::new();
        validate(&range, &mut errors);
        errors.text()
    }

    #[test]
    fn amounts_that_contradict_each_other() {
        let sane = json!({"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}});
        assert_eq!(check(sane), "[]");
        assert_eq!(
            check(json!({"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}})),
            "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"
        );
        assert_eq!(
            check(json!({"type": "Pod", "max": {"cpu": "4"}, "min": {"cpu": "2"},
                "maxLimitRequestRatio": {"cpu": "3"}})),
            "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than \
             max/min = 2.000000"
        );
    }

    #[test]
    fn containers_get_what_is_said_for_others() {
        let mut range = Object::new(json!({"spec": {"limits": [
            {"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1", "memory": "1Mi"}}]}}));
        default(&mut range);
        let limit = &range.list("spec.limits")[0];
        assert_eq!(limit["default"], json!({"cpu": "2"}));
        assert_eq!(limit["defaultRequest"], json!({"cpu": "2", "memory": "1Mi"}));
    }
}
