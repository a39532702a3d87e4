//! Webhooks: servers that are asked about requests, in configurations of both sorts.

use super::rules;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Column, Hooks, Kind, age_column, name_column, number};
use skiff_api::names;
use skiff_api::object::{Object, at};
use skiff_api::view::Resource;
use skiff_json::{Value, json};
use std::collections::HashSet;

const SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
const REVIEW_VERSIONS: &[&str] = &["v1", "v1beta1"];
const SERVICE_PORT: i64 = 443;
const TIMEOUT_S: i64 = 10;
const TIMEOUT_MOST_S: i64 = 30;
/// What no webhook is asked about, so that none can lock everybody out.
const EXCLUDED: &[(&str, &str)] = &[
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

/// A configuration; `hooks` say what its sort adds.
pub fn configuration(resource: Resource, hooks: Hooks) -> Kind {
    let hooks = Hooks { warn, generation: Some(changed), ..hooks };
    Kind { columns: columns(), ..super::kind(resource, hooks) }
}

fn columns() -> Vec<Column> {
    let count = |it: &Object| it.list("webhooks").len().into();
    vec![name_column(), number("Webhooks", Cell::With(count)), age_column()]
}

fn changed(new: &Object, old: &Object) -> bool {
    new.at("webhooks") != old.at("webhooks")
}

pub fn default(new: &mut Object, more: &[(&str, Value)]) {
    let hooks = new.value_mut().get_mut("webhooks").and_then(Value::as_array_mut);
    for hook in hooks.into_iter().flatten() {
        rules::fill(
            hook,
            &[("failurePolicy", "Fail".into()), ("timeoutSeconds", json!(TIMEOUT_S))],
        );
        rules::fill(hook, more);
        rules::default_matching(hook);
        rules::default_rules(hook, "rules");
        if let Some(service) = hook.pointer_mut("/clientConfig/service") {
            rules::fill(service, &[("port", SERVICE_PORT.into())]);
        }
    }
}

/// `more` looks at what one sort has besides.
pub fn validate(
    (new, old): (&Object, Option<&Object>),
    more: fn(&Value, &Path, &mut Errors),
    errors: &mut Errors,
) {
    let (at_hooks, mut seen) = (Path::new("webhooks"), HashSet::new());
    for (index, hook) in new.list("webhooks").iter().enumerate() {
        let path = at_hooks.index(index);
        webhook(hook, more, &path, errors);
        let known = format!("must specify one of {}", REVIEW_VERSIONS.join(", "));
        let path = path.child("admissionReviewVersions");
        review_versions(list(hook, "admissionReviewVersions"), &known, &path, errors);
        let (path, name) = (at_hooks.index(index), text(hook, "name"));
        if !name.is_empty() {
            unique(&path.child("name"), name, &mut seen, errors);
        }
    }
    own_name(new, old, errors);
}

fn webhook(hook: &Value, more: fn(&Value, &Path, &mut Errors), path: &Path, errors: &mut Errors) {
    fully_qualified(&path.child("name"), text(hook, "name"), errors);
    let at_rules = path.child("rules");
    for (index, rule) in list(hook, "rules").iter().enumerate() {
        rules::rule_with_operations(rule, &at_rules.index(index), errors);
    }
    one_of_if_set(hook, "failurePolicy", rules::FAILURE_POLICIES, path, errors);
    rules::matching(hook, path, errors);
    if at(hook, "sideEffects").is_none() {
        let why = format!("must specify one of {}", SIDE_EFFECTS.join(", "));
        errors.required(&path.child("sideEffects"), &why);
    }
    one_of_if_set(hook, "sideEffects", SIDE_EFFECTS, path, errors);
    if let Some(seconds) =
        int(hook, "timeoutSeconds").filter(|it| !(1..=TIMEOUT_MOST_S).contains(it))
    {
        let why = "the timeout value must be between 1 and 30 seconds";
        errors.invalid(&path.child("timeoutSeconds"), seconds, why);
    }
    label_selector(hook, "namespaceSelector", path, errors);
    label_selector(hook, "objectSelector", path, errors);
    more(hook, path, errors);
    let client = at(hook, "clientConfig").unwrap_or(&Value::Null);
    validate_client(client, &path.child("clientConfig"), errors);
    rules::conditions(hook, &mut compiles, path, errors);
}

fn compiles(condition: &str, path: &Path, errors: &mut Errors) {
    if let Err(why) = super::expression::condition(condition) {
        errors.invalid(path, condition, &why);
    }
}

/// Whom to call: by URL or by Service.
pub fn validate_client(client: &Value, path: &Path, errors: &mut Errors) {
    match (at(client, "url"), at(client, "service")) {
        (Some(url), None) => validate_url(url.as_str().unwrap_or(""), &path.child("url"), errors),
        (None, Some(service)) => validate_service(service, &path.child("service"), errors),
        _ => errors.required(path, "exactly one of url or service is required"),
    }
}

/// A name of at least three parts: whoever makes a webhook puts their own domain behind it.
fn fully_qualified(path: &Path, name: &str, errors: &mut Errors) {
    let wrong = names::subdomain(name);
    if name.is_empty() {
        errors.required(path, "");
    } else if !wrong.is_empty() {
        errors.invalid(path, name, &wrong.join(","));
    } else if name.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        errors.invalid(path, name, why);
    }
}

/// Versions of a review, of which one is known; `none` is what is said when there are none at all.
pub fn review_versions(given: &[Value], none: &str, path: &Path, errors: &mut Errors) {
    if given.is_empty() {
        return errors.required(path, none);
    }
    let (mut seen, mut accepted) = (HashSet::new(), false);
    for (index, version) in given.iter().enumerate() {
        let (here, version) = (path.index(index), version.as_str().unwrap_or(""));
        if !seen.insert(version) {
            errors.invalid(&here, version, "duplicate version");
            continue;
        }
        refuse(&here, version, names::label1035(version), errors);
        accepted |= REVIEW_VERSIONS.contains(&version);
    }
    if !accepted {
        let why = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        errors.invalid(path, given.to_vec(), &why);
    }
}

/// `https://host[/path]` and nothing else (RFC 3986).
fn validate_url(url: &str, path: &Path, errors: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    if let Some(why) = malformed(url) {
        let why = format!("url must be a valid URL: parse {url:?}: {why}{FORM}");
        return errors.required(path, &why);
    }
    let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (url, query) = url.split_once('?').unwrap_or((url, ""));
    let (scheme, rest) = match url.split_once(':') {
        Some((scheme, rest)) if !scheme.is_empty() && !scheme.contains('/') => (scheme, rest),
        _ => ("", url),
    };
    let authority = rest.strip_prefix("//").map_or("", |it| it.split('/').next().unwrap_or(""));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if !scheme.eq_ignore_ascii_case("https") {
        let why = format!("'https' is the only allowed URL scheme{FORM}");
        errors.invalid(path, scheme, &why);
    }
    if host.is_empty() {
        errors.invalid(path, host, &format!("host must be specified{FORM}"));
    }
    for (part, what) in [
        (user, "user information is"),
        (fragment, "fragments are"),
        (query, "query parameters are"),
    ] {
        if !part.is_empty() {
            errors.invalid(path, part, &format!("{what} not permitted in the URL"));
        }
    }
}

/// What makes a text no URL at all, in the words of Go's reader of them.
fn malformed(url: &str) -> Option<String> {
    let is_code =
        |it: &str| it.len() >= 3 && it.bytes().skip(1).take(2).all(|byte| byte.is_ascii_hexdigit());
    let mut codes = url.match_indices('%').map(|(at, _)| &url[at..]);
    if let Some(wrong) = codes.find(|it| !is_code(it)) {
        let shown: String = wrong.chars().take(3).collect();
        return Some(format!("invalid URL escape {shown:?}"));
    }
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = match host.starts_with('[') {
        true => match host.rsplit_once(']') {
            Some((_, port)) => port,
            None => return Some("missing ']' in host".to_owned()),
        },
        false => host.find(':').map_or("", |at| &host[at..]),
    };
    let is_port = port.strip_prefix(':').is_some_and(|it| it.bytes().all(|b| b.is_ascii_digit()));
    if !port.is_empty() && !is_port {
        return Some(format!("invalid port {port:?} after host"));
    }
    let strange = host.chars().find(|it| it.is_ascii() && " \"<>\\^`{|}".contains(*it))?;
    Some(format!("invalid character {:?} in host name", strange.to_string()))
}

fn validate_service(service: &Value, path: &Path, errors: &mut Errors) {
    // Upstream looks at the namespace under `name`, and at the name under `namespace`.
    for (field, reported) in [("namespace", "name"), ("name", "namespace")] {
        if text(service, field).is_empty() {
            errors.required(&path.child(reported), "");
        }
    }
    let port = int(service, "port").unwrap_or(0);
    if let Some(why) = names::port(port) {
        errors.invalid(&path.child("port"), port, &format!("port is not valid: {why}"));
    }
    let (given, here) = (text(service, "path"), path.child("path"));
    match given {
        "" | "/" => return,
        "//" => return errors.invalid(&here, given, "segment[0] may not be empty"),
        _ if !given.starts_with('/') => errors.invalid(&here, given, "must start with a '/'"),
        _ => {}
    }
    let steps = given.get(1..).unwrap_or("");
    for (index, step) in steps.strip_suffix('/').unwrap_or(steps).split('/').enumerate() {
        if step.is_empty() {
            errors.invalid(&here, given, &format!("segment[{index}] may not be empty"));
            continue;
        }
        for why in names::subdomain(step) {
            errors.invalid(&here, given, &format!("segment[{index}]: {why}"));
        }
    }
}

fn warn(new: &Object, old: Option<&Object>) -> Vec<String> {
    let mut warnings = static_suffix(new, old);
    for (index, hook) in new.list("webhooks").iter().enumerate() {
        for (inner, rule) in list(hook, "rules").iter().enumerate() {
            let given =
                |field| list(rule, field).iter().filter_map(Value::as_str).collect::<Vec<_>>();
            let (groups, resources) = (given("apiGroups"), given("resources"));
            if groups.contains(&"*") || resources.contains(&"*") {
                continue;
            }
            let mut seen = HashSet::new();
            let pairs =
                groups.iter().flat_map(|group| resources.iter().map(move |it| (*group, *it)));
            for (group, resource) in pairs.filter(|pair| EXCLUDED.contains(pair)) {
                if seen.insert((group, resource)) {
                    warnings.push(format!(
                        "webhooks[{index}].rules[{inner}]: {resource}.{group} is excluded from admission \
                         webhooks; this rule will have no effect"
                    ));
                }
            }
        }
    }
    warnings
}

/// What is said of a name that upstream keeps for configurations from files.
fn static_name(new: &Object) -> Option<String> {
    const SUFFIX: &str = ".static.k8s.io";
    let why = format!(
        "names ending with {SUFFIX:?} are reserved for static manifest-based configurations and cannot be managed \
         via the API"
    );
    new.name().ends_with(SUFFIX).then_some(why)
}

/// One that has such a name may stay.
pub fn static_suffix(new: &Object, old: Option<&Object>) -> Vec<String> {
    let name = old.and_then(|_| static_name(new));
    name.into_iter().map(|why| format!("metadata.name: {why}")).collect()
}

/// No new one gets such a name; said last.
pub fn own_name(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    if let (None, Some(why)) = (old, static_name(new)) {
        errors.invalid(&Path::new("metadata.name"), new.name(), &why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_webhook_is() {
        let check = |url: &str| {
            let mut errors = Errors::new();
            validate_url(url, &Path::new("u"), &mut errors);
            errors.text()
        };
        assert_eq!(check("https://a.b:443/c"), "[]");
        assert!(check("http://a").contains("'https' is the only allowed"));
        assert!(check("https:///a").contains("host must be specified"));
        assert!(check("https://u@a").contains("user information is not permitted"));
        let mut errors = Errors::new();
        validate_service(&json!({"name": "a", "path": "/x//Y"}), &Path::new("s"), &mut errors);
        let text = errors.text();
        assert!(text.starts_with("[s.name: Required value, s.port: Invalid value: 0: port is"));
        assert!(text.contains("segment[1] may not be empty") && text.contains("segment[2]: a low"));
    }
}
