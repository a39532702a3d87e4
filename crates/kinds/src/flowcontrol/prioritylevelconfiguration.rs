//! PriorityLevelConfiguration: how much of the server a class of requests may use (API reference: cluster-resources).

use super::{GROUP, bootstrap, conditions, shown, validate_part};
use crate::core::pod::validate::internal;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column, status};
use skiff_api::object::{Object, at};
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource =
    Resource::of(GROUP, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration")
        .cluster();

const SHARES: i64 = 30;
const QUEUES_MOST: i64 = 10_000_000;
/// So many bits has the hash that picks the queues of a flow.
const HASH_BITS: i64 = 60;

pub fn kind() -> Kind {
    let queuing = |name, cell: fn(&Object) -> Value| column(name, Cell::With(cell));
    Kind {
        subresources: vec![status()],
        columns: vec![
            name_column(),
            column("Type", Cell::With(|it| it.text("spec.type").into())),
            queuing("NominalConcurrencyShares", |it| {
                shown(it, "spec.limited.nominalConcurrencyShares")
            }),
            queuing("Queues", |it| shown(it, "spec.limited.limitResponse.queuing.queues")),
            queuing("HandSize", |it| shown(it, "spec.limited.limitResponse.queuing.handSize")),
            queuing("QueueLengthLimit", |it| {
                shown(it, "spec.limited.limitResponse.queuing.queueLengthLimit")
            }),
            age_column(),
        ],
        hooks: Hooks {
            default,
            validate,
            validate_part,
            generation: Some(Hooks::spec_changed),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

fn default(new: &mut Object) {
    if new.at("spec.exempt").is_some() {
        new.set_absent("spec.exempt.nominalConcurrencyShares", 0);
        new.set_absent("spec.exempt.lendablePercent", 0);
    }
    if new.at("spec.limited").is_some() {
        new.set_absent("spec.limited.nominalConcurrencyShares", SHARES);
        new.set_absent("spec.limited.lendablePercent", 0);
    }
    let queuing = "spec.limited.limitResponse.queuing";
    if new.at(queuing).is_some() {
        for (field, value) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
            let path = format!("{queuing}.{field}");
            if new.int(&path).unwrap_or(0) == 0 {
                new.set(&path, value);
            }
        }
    }
}

fn validate(new: &Object, _: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("spec");
    let spec = new.at("spec").unwrap_or(&Value::Null);
    let (name, type_) = (new.name(), text(spec, "type"));
    if (name == "exempt") != (type_ == "Exempt") {
        let why = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.invalid(&path.child("type"), type_, why);
    }
    match (type_, at(spec, "exempt"), at(spec, "limited")) {
        ("Exempt", Some(exempt), _) => shares(exempt, &path.child("exempt"), errors),
        ("Limited", _, Some(it)) => limited(it, &path.child("limited"), errors),
        ("" | "Exempt" | "Limited", ..) => {}
        _ => errors.not_supported(&path.child("type"), type_, &["Exempt", "Limited"]),
    }
    fixed(spec, name, &path, errors);
    conditions(new, errors);
    declared(spec, &path, errors);
}

/// What is mandatory stays; of `exempt` an administrator may give shares away.
fn fixed(spec: &Value, name: &str, path: &Path, errors: &mut Errors) {
    let Some(mut wanted) = bootstrap::spec("PriorityLevelConfiguration", name)
        .filter(|_| bootstrap::MANDATORY.contains(&name))
    else {
        return;
    };
    let mut why = format!("spec of '{name}' must equal the fixed value");
    if name == "exempt" {
        wanted["exempt"] = at(spec, "exempt").cloned().unwrap_or_default();
        why = format!("spec of '{name}' except the 'spec.exempt' field must equal the fixed value");
    }
    if wanted.as_object().into_iter().flatten().any(|(key, value)| spec.get(key) != Some(value))
        || spec.as_object().is_none_or(|spec| spec.keys().any(|key| wanted.get(key).is_none()))
    {
        internal::invalid(errors, path, "PriorityLevelConfigurationSpec", spec, &why);
    }
}

fn shares(level: &Value, path: &Path, errors: &mut Errors) {
    if let Some(shares) = int(level, "nominalConcurrencyShares").filter(|it| *it < 0) {
        let here = path.child("nominalConcurrencyShares");
        errors.invalid(&here, shares, "must be a non-negative integer");
    }
    lendable(level, path, errors);
}

fn lendable(level: &Value, path: &Path, errors: &mut Errors) {
    if let Some(percent) = int(level, "lendablePercent").filter(|it| !(0..=100).contains(it)) {
        let why = "must be between 0 and 100, inclusive";
        errors.invalid(&path.child("lendablePercent"), percent, why);
    }
}

fn limited(level: &Value, path: &Path, errors: &mut Errors) {
    let here = path.child("nominalConcurrencyShares");
    if let Some(shares) = int(level, "nominalConcurrencyShares").filter(|it| *it < 0) {
        errors.invalid(&here, shares, "must be a non-negative integer");
    }
    let (here, response) = (path.child("limitResponse"), at(level, "limitResponse"));
    let response = response.unwrap_or(&Value::Null);
    match (text(response, "type"), at(response, "queuing")) {
        ("Queue", Some(it)) => queuing(it, &here.child("queuing"), errors),
        ("" | "Queue" | "Reject", _) => {}
        (type_, _) => errors.not_supported(&here.child("type"), type_, &["Queue", "Reject"]),
    }
    lendable(level, path, errors);
    if let Some(percent) = int(level, "borrowingLimitPercent").filter(|it| *it < 0) {
        let why = "if specified, must be a non-negative integer";
        errors.invalid(&path.child("borrowingLimitPercent"), percent, why);
    }
}

fn queuing(queuing: &Value, path: &Path, errors: &mut Errors) {
    let [length, queues, hand] =
        ["queueLengthLimit", "queues", "handSize"].map(|field| int(queuing, field).unwrap_or(0));
    let (at_queues, at_hand) = (path.child("queues"), path.child("handSize"));
    if length <= 0 {
        errors.invalid(&path.child("queueLengthLimit"), length, "must be positive");
    }
    if queues <= 0 {
        errors.invalid(&at_queues, queues, "must be positive");
    } else if queues > QUEUES_MOST {
        let why = format!("must not be greater than {QUEUES_MOST}");
        errors.invalid(&at_queues, queues, &why);
    }
    if hand <= 0 {
        errors.invalid(&at_hand, hand, "must be positive");
    } else if hand > queues {
        let why = format!("should not be greater than queues ({queues})");
        errors.invalid(&at_hand, hand, &why);
    } else if entropy_bits(queues, hand) > HASH_BITS {
        let why = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        );
        errors.invalid(&at_hand, hand, &why);
    }
}

/// The bits that it takes to deal a hand.
fn entropy_bits(deck: i64, hand: i64) -> i64 {
    ((deck as f64).log2() * hand as f64).ceil() as i64
}

/// What the API's declarations demand, said last: each type has its own member and no other one's.
fn declared(spec: &Value, path: &Path, errors: &mut Errors) {
    members(spec, path, &[("exempt", "Exempt", false), ("limited", "Limited", true)], errors);
    if let Some(response) = at(spec, "limited.limitResponse") {
        let path = path.child("limited.limitResponse");
        members(response, &path, &[("queuing", "Queue", true)], errors);
    }
}

fn members(value: &Value, path: &Path, members: &[(&str, &str, bool)], errors: &mut Errors) {
    let type_ = text(value, "type");
    for (field, of, needed) in members {
        match (type_ == *of, at(value, field)) {
            (true, None) if *needed => errors.required(&path.child(field), ""),
            (false, Some(_)) => errors.forbidden(&path.child(field), ""),
            _ => {}
        }
    }
    required(value, "type", path, errors);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cluster_begins_with_is_valid() {
        for name in bootstrap::names("PriorityLevelConfiguration") {
            let object = bootstrap::object("PriorityLevelConfiguration", name);
            let object = Object::new(object.expect("it has the name"));
            let mut errors = Errors::new();
            validate(&object, None, &mut errors);
            assert_eq!(errors.text(), "[]", "{name}");
            let mut again = object.clone();
            default(&mut again);
            assert_eq!(again, object, "defaults change nothing of it");
        }
    }

    #[test]
    fn hands_need_bits() {
        assert_eq!((entropy_bits(64, 8), entropy_bits(128, 6)), (48, 42));
        assert!(entropy_bits(1024, 7) > HASH_BITS);
    }
}
