//! The rules of a definition as a whole; those of one version are in `version`.

use super::{condition, names as definition_names, version};
use crate::admissionregistration::webhooks;
use skiff_api::check;
use skiff_api::errors::{ErrorType, Errors, Path};
use skiff_api::names;
use skiff_api::object::{Object, at};
use skiff_json::Value;

const APPROVED: &str = "api-approved.kubernetes.io";
const PROPOSAL: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

pub fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    if old.is_none() {
        let (plural, group) = (new.text("spec.names.plural"), new.text("spec.group"));
        if new.name() != format!("{plural}.{group}") && !new.name().is_empty() {
            let why = "must be spec.names.plural+\".\"+spec.group";
            errors.invalid(&Path::new("metadata.name"), new.name(), why);
        }
    }
    validate_spec(new, errors);
    if let Some(old) = old {
        validate_immutable(new, old, errors);
    }
    let null = Value::Null;
    let accepted = new.at("status.acceptedNames").unwrap_or(&null);
    definition_names::validate(&Path::new("status.acceptedNames"), accepted, errors);
    validate_stored(new, errors);
    validate_approval(new, old, errors);
    let before = old.is_some_and(|old| old.flag("spec.preserveUnknownFields"));
    if new.flag("spec.preserveUnknownFields") && !before {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                   spec.versions[*].schema instead";
        let path = Path::new("spec.preserveUnknownFields");
        errors.invalid(&path, true, why);
        if version::has_defaults(new.list("spec.versions")) {
            errors.invalid(&path, true, "must be false in order to use defaults in the schema");
        }
    }
}

pub fn validate_part(_: &str, new: &Object, _: &Object, errors: &mut Errors) {
    let null = Value::Null;
    let accepted = new.at("status.acceptedNames").unwrap_or(&null);
    definition_names::validate(&Path::new("status.acceptedNames"), accepted, errors);
}

fn validate_spec(new: &Object, errors: &mut Errors) {
    let spec = Path::new("spec");
    let (path, group) = (spec.child("group"), new.text("spec.group"));
    let wrong = names::subdomain(group);
    if group.is_empty() {
        errors.required(&path, "");
    } else if !wrong.is_empty() {
        errors.invalid(&path, group, &wrong.join(","));
    } else if !group.contains('.') {
        errors.invalid(&path, group, "should be a domain with at least one dot");
    }
    let scope = new.text("spec.scope");
    check::one_of(&spec.child("scope"), scope, &["Cluster", "Namespaced"], errors);
    let (path, versions) = (spec.child("versions"), new.list("spec.versions"));
    for (index, it) in versions.iter().enumerate() {
        if at(it, "schema.openAPIV3Schema").is_none() {
            errors.required(&path.index(index).child("schema").child("openAPIV3Schema"), "");
        }
    }
    version::validate_all(&path, versions, errors);
    let all = || version::shown(versions);
    let name = |it: &Value| it["name"].as_str().unwrap_or("").to_owned();
    let twice =
        |index: usize| versions[..index].iter().any(|it| name(it) == name(&versions[index]));
    if (0..versions.len()).any(twice) {
        errors.push(
            ErrorType::Invalid,
            &path,
            format!("{}: must contain unique version names", all()),
        );
    }
    if versions.iter().filter(|it| it["storage"] == true).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(ErrorType::Invalid, &path, format!("{}: {why}", all()));
    }
    let first = versions.first().map_or_else(String::new, name);
    let wrong = names::label1035(&first);
    if !first.is_empty() && !wrong.is_empty() {
        // Upstream looks at the first version a second time, under the name of a field that is no more.
        errors.invalid(&spec.child("version"), first, &wrong.join(","));
    }
    let (path, names) = (spec.child("names"), new.at("spec.names").unwrap_or(&Value::Null));
    for field in ["plural", "singular", "kind", "listKind"] {
        check::required(names, field, &path, errors);
    }
    definition_names::validate(&path, names, errors);
    validate_conversion(new, errors);
}

fn validate_conversion(new: &Object, errors: &mut Errors) {
    let path = Path::new("spec.conversion");
    let config = path.child("webhookClientConfig");
    let webhook = new.at("spec.conversion.webhook").unwrap_or(&Value::Null);
    let reviews = at(webhook, "conversionReviewVersions").and_then(Value::as_array);
    match new.text("spec.conversion.strategy") {
        "" => errors.required(&path.child("strategy"), ""),
        "None" => {
            let why = "should not be set when strategy is not set to Webhook";
            if at(webhook, "clientConfig").is_some() {
                errors.forbidden(&config, why);
            }
            if reviews.is_some_and(|it| !it.is_empty()) {
                errors.forbidden(&path.child("conversionReviewVersions"), why);
            }
        }
        "Webhook" => {
            match at(webhook, "clientConfig") {
                None => errors.required(&config, "required when strategy is set to Webhook"),
                Some(client) => webhooks::validate_client(client, &config, errors),
            }
            let reviews = reviews.map_or(&[][..], |it| &**it);
            let path = path.child("conversionReviewVersions");
            webhooks::review_versions(reviews, "", &path, errors);
        }
        other => errors.not_supported(&path.child("strategy"), other, &["None", "Webhook"]),
    }
}

fn validate_immutable(new: &Object, old: &Object, errors: &mut Errors) {
    let mut fixed = vec!["spec.group", "spec.names.plural"];
    if condition(old, "Established") {
        fixed.splice(0..0, ["spec.scope", "spec.names.kind"]);
    }
    fixed.into_iter().for_each(|path| check::immutable(path, new, old, errors));
}

fn validate_stored(new: &Object, errors: &mut Errors) {
    let path = Path::new("status.storedVersions");
    let stored = new.list("status.storedVersions");
    let shown = Value::Array(stored.to_vec());
    if stored.is_empty() {
        return errors.invalid(&path, Value::Null, "must have at least one stored version");
    }
    let versions = new.list("spec.versions");
    for it in versions.iter().filter(|it| it["storage"] == true && !stored.contains(&it["name"])) {
        let why = format!("must have the storage version {}", it["name"].as_str().unwrap_or(""));
        errors.invalid(&path, shown.clone(), &why);
    }
    for (index, name) in stored.iter().enumerate() {
        if !versions.iter().any(|it| it["name"] == *name) {
            let name = name.as_str().unwrap_or("");
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in \
                 spec.versions until a storage migration ensures no data remains persisted in {name} and removes \
                 {name} from status.storedVersions"
            );
            errors.invalid(&path.index(index), name, &why);
        }
    }
}

/// Groups of the Kubernetes community are protected (KEP-1111).
fn validate_approval(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let group = new.text("spec.group");
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|it| group == *it || group.ends_with(&format!(".{it}")));
    let state = |crd: &Object| approval(crd.annotation(APPROVED).unwrap_or(""));
    if !protected || old.is_some_and(|old| state(old) == state(new)) {
        return;
    }
    let annotations = Path::new("metadata.annotations");
    let path = annotations.key(APPROVED);
    match state(new) {
        Approval::Given => {}
        Approval::Missing => {
            let why =
                format!("protected groups must have approval annotation {APPROVED:?}, {PROPOSAL}");
            errors.required(&path, &why);
        }
        Approval::Invalid => {
            let why = format!(
                "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting \
                 with \"unapproved\", {PROPOSAL}"
            );
            errors.invalid(&path, new.annotation(APPROVED).unwrap_or(""), &why);
        }
    }
}

#[derive(PartialEq, Eq)]
enum Approval {
    Given,
    Missing,
    Invalid,
}

fn approval(text: &str) -> Approval {
    let url = text.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty() && !rest.is_empty() && !rest.starts_with('/')
    });
    match text {
        "" => Approval::Missing,
        _ if url || text.starts_with("unapproved") => Approval::Given,
        _ => Approval::Invalid,
    }
}

pub fn warn(new: &Object, old: Option<&Object>) -> Vec<String> {
    let before = old.map_or_else(Vec::new, version::warnings);
    version::warnings(new).into_iter().filter(|it| !before.contains(it)).collect()
}
