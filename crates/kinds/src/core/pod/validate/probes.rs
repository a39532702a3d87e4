//! Probes and lifecycle hooks: what the node calls, and when.

use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::at;
use skiff_json::Value;

const PROBE_HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "grpc"];
const HOOK_HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "sleep"];

pub fn probes(container: &Value, grace_s: Option<i64>, path: &Path, errors: &mut Errors) {
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = at(container, field) else { continue };
        let here = path.child(field);
        one_probe(probe, grace_s, &here, errors);
        if field == "readinessProbe" {
            if let Some(seconds) = int(probe, "terminationGracePeriodSeconds") {
                let why = "must not be set for readinessProbes";
                errors.invalid(&here.child("terminationGracePeriodSeconds"), seconds, why);
            }
            continue;
        }
        let successes = int(probe, "successThreshold").unwrap_or(0);
        if successes != 1 {
            errors.invalid(&here.child("successThreshold"), successes, "must be 1");
        }
    }
}

fn one_probe(probe: &Value, grace_s: Option<i64>, path: &Path, errors: &mut Errors) {
    handler(probe, PROBE_HANDLERS, grace_s, path, errors);
    let fields = [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ];
    for field in fields {
        not_negative(&path.child(field), int(probe, field).unwrap_or(0), errors);
    }
    if let Some(seconds) = int(probe, "terminationGracePeriodSeconds").filter(|s| *s <= 0) {
        errors.invalid(
            &path.child("terminationGracePeriodSeconds"),
            seconds,
            "must be greater than 0",
        );
    }
}

pub fn lifecycle(
    container: &Value,
    grace_s: Option<i64>,
    os: Option<&str>,
    path: &Path,
    errors: &mut Errors,
) {
    let Some(lifecycle) = at(container, "lifecycle") else { return };
    let path = path.child("lifecycle");
    for hook in ["postStart", "preStop"] {
        if let Some(found) = at(lifecycle, hook) {
            handler(found, HOOK_HANDLERS, grace_s, &path.child(hook), errors);
        }
    }
    if at(lifecycle, "stopSignal").is_some() && os.is_none() {
        let why = "may not be set for containers with empty `spec.os.name`";
        errors.forbidden(&path.child("stopSignal"), why);
    }
}

/// Exactly one of the handlers is there.
fn handler(value: &Value, known: &[&str], grace_s: Option<i64>, path: &Path, errors: &mut Errors) {
    let mut seen = false;
    for field in known {
        let Some(action) = at(value, field) else { continue };
        let here = path.child(field);
        if seen {
            errors.forbidden(&here, "may not specify more than 1 handler type");
            continue;
        }
        seen = true;
        match *field {
            "exec" if list(action, "command").is_empty() => {
                errors.required(&here.child("command"), "")
            }
            "exec" => {}
            "httpGet" => http_get(action, &here, errors),
            "sleep" => sleep(action, grace_s, &here, errors),
            _ => port(&here.child("port"), at(action, "port"), errors),
        }
    }
    if !seen {
        errors.required(path, "must specify a handler type");
    }
}

fn http_get(get: &Value, path: &Path, errors: &mut Errors) {
    required(get, "path", path, errors);
    port(&path.child("port"), at(get, "port"), errors);
    let scheme = text(get, "scheme");
    if !["HTTP", "HTTPS"].contains(&scheme) {
        errors.not_supported(&path.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in list(get, "httpHeaders") {
        let name = text(header, "name");
        let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if name.is_empty() || !name.bytes().all(valid) {
            let why = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', \
                       regex used for validation is '[-A-Za-z0-9]+')";
            errors.invalid(&path.child("httpHeaders"), name, why);
        }
    }
}

fn sleep(action: &Value, grace_s: Option<i64>, path: &Path, errors: &mut Errors) {
    let seconds = int(action, "seconds").unwrap_or(0);
    let Some(most) = grace_s else { return };
    if seconds < 0 || seconds > most {
        let why =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({most})");
        errors.invalid(path, seconds, &why);
    }
}
