//! Containers of all three sorts: what they share, and what only some of them may have.

use super::volumes::Volumes;
use super::{Owner, env, mounts, probes, resources, security};
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::at;
use skiff_json::Value;
use std::collections::HashSet;

pub const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const RESTART_POLICIES: &[&str] = &["Always", "Never", "OnFailure"];
const RULE_ACTIONS: &[&str] = &["Restart", "RestartAllContainers"];
/// So many rules are matched at every exit, and so many codes in each.
const RULES_MOST: usize = 20;
const CODES_MOST: usize = 255;

/// What an ephemeral container may not have (KEP-277), in the order in which it is refused.
const EPHEMERAL_REFUSED: &[&str] = &[
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// What the checks of a container know of its pod.
pub struct Around<'a> {
    pub spec: &'a Value,
    pub volumes: &'a Volumes<'a>,
    pub claims: Vec<&'a str>,
}

impl Around<'_> {
    fn os(&self) -> Option<&str> {
        at(self.spec, "os").map(|os| text(os, "name"))
    }
}

pub fn containers(around: &Around<'_>, path: &Path, errors: &mut Errors) {
    let path = path.child("containers");
    let all = list(around.spec, "containers");
    if all.is_empty() {
        return errors.required(&path, "");
    }
    let mut names = HashSet::new();
    for (index, container) in all.iter().enumerate() {
        let here = path.index(index);
        common(container, around, &here, errors);
        if !names.insert(text(container, "name")) {
            errors.duplicate(&here.child("name"), text(container, "name"));
        }
        hooks_and_probes(container, around, &here, errors);
        restart_policy(container, &here, errors);
    }
    host_ports(all, &path, errors);
}

pub fn init_containers(around: &Around<'_>, path: &Path, errors: &mut Errors) {
    let path = path.child("initContainers");
    let regular = list(around.spec, "containers").iter().map(|c| text(c, "name"));
    let mut names: HashSet<&str> = regular.collect();
    for (index, container) in list(around.spec, "initContainers").iter().enumerate() {
        let here = path.index(index);
        common(container, around, &here, errors);
        restart_policy(container, &here, errors);
        let name = text(container, "name");
        if names.contains(name) {
            errors.duplicate(&here.child("name"), name);
        } else if !name.is_empty() {
            names.insert(name);
        }
        host_ports(std::slice::from_ref(container), &path, errors);
        if text(container, "restartPolicy") == "Always" {
            hooks_and_probes(container, around, &here, errors);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if at(container, field).is_some() {
                let why = "may not be set for init containers without restartPolicy=Always";
                errors.forbidden(&here.child(field), why);
            }
        }
        for (index, policy) in list(container, "resizePolicy").iter().enumerate() {
            if text(policy, "restartPolicy") == "RestartContainer" {
                let (policies, why) = (
                    here.child("resizePolicy"),
                    "must not be set to 'RestartContainer' for non-sidecar initContainers",
                );
                errors.invalid(
                    &policies.index(index).child("restartPolicy"),
                    "RestartContainer",
                    why,
                );
            }
        }
    }
}

pub fn ephemeral_containers(around: &Around<'_>, path: &Path, errors: &mut Errors) {
    let path = path.child("ephemeralContainers");
    let others = ["containers", "initContainers"].map(|field| list(around.spec, field));
    let others: HashSet<&str> = others.into_iter().flatten().map(|c| text(c, "name")).collect();
    let mut names = others.clone();
    for (index, container) in list(around.spec, "ephemeralContainers").iter().enumerate() {
        let here = path.index(index);
        common(container, around, &here, errors);
        padded_image(container, &here, errors);
        if !names.insert(text(container, "name")) {
            errors.duplicate(&here.child("name"), text(container, "name"));
        }
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            errors.not_found(&here.child("targetContainerName"), target);
        }
        for field in EPHEMERAL_REFUSED {
            let empty = |value: &Value| match value {
                Value::Array(items) => items.is_empty(),
                Value::Object(map) => *field == "resources" && map.is_empty(),
                _ => false,
            };
            if at(container, field).is_some_and(|v| !empty(v)) {
                errors.forbidden(&here.child(field), "cannot be set for an Ephemeral Container");
            }
        }
        let mounts = here.child("volumeMounts");
        for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !text(mount, field).is_empty() {
                    let why = "cannot be set for an Ephemeral Container";
                    errors.forbidden(&mounts.index(index).child(field), why);
                }
            }
        }
    }
}

/// Images of pods, not of templates, are refused when spaces surround them.
pub fn padded_images(spec: &Value, path: &Path, errors: &mut Errors) {
    for field in ["containers", "initContainers"] {
        let path = path.child(field);
        for (index, container) in list(spec, field).iter().enumerate() {
            padded_image(container, &path.index(index), errors);
        }
    }
}

fn padded_image(container: &Value, path: &Path, errors: &mut Errors) {
    let image = text(container, "image");
    if image.trim() != image {
        errors.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
}

fn common(container: &Value, around: &Around<'_>, path: &Path, errors: &mut Errors) {
    match text(container, "name") {
        "" => errors.required(&path.child("name"), ""),
        name => label(&path.child("name"), name, errors),
    }
    required(container, "image", path, errors);
    let policy = text(container, "terminationMessagePolicy");
    one_of(
        &path.child("terminationMessagePolicy"),
        policy,
        &["File", "FallbackToLogsOnError"],
        errors,
    );
    ports(container, &path.child("ports"), errors);
    env::env(container, path, errors);
    env::env_from(container, path, errors);
    mounts::mounts(container, around.volumes, path, errors);
    mounts::devices(container, around.volumes, path, errors);
    one_of(
        &path.child("imagePullPolicy"),
        text(container, "imagePullPolicy"),
        PULL_POLICIES,
        errors,
    );
    if let Some(asked) = at(container, "resources") {
        resources::container(asked, &around.claims, &path.child("resources"), errors);
    }
    resize_policy(
        container,
        text(around.spec, "restartPolicy"),
        &path.child("resizePolicy"),
        errors,
    );
    if let Some(context) = at(container, "securityContext") {
        let host_users = at(around.spec, "hostUsers") != Some(&Value::Bool(false));
        let users = if host_users { security::Users::Hosts } else { security::Users::Own };
        security::container(context, users, &path.child("securityContext"), errors);
    }
}

fn hooks_and_probes(container: &Value, around: &Around<'_>, path: &Path, errors: &mut Errors) {
    let grace_s = int(around.spec, "terminationGracePeriodSeconds");
    probes::lifecycle(container, grace_s, around.os(), path, errors);
    probes::probes(container, grace_s, path, errors);
}

fn ports(container: &Value, path: &Path, errors: &mut Errors) {
    let mut names = HashSet::new();
    for (index, port) in list(container, "ports").iter().enumerate() {
        let here = path.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            let wrong = port_name_problems(name);
            if wrong.is_empty() && !names.insert(name) {
                errors.duplicate(&here.child("name"), name);
            }
            refuse(&here.child("name"), name, wrong, errors);
        }
        match int(port, "containerPort").unwrap_or(0) {
            0 => errors.required(&here.child("containerPort"), ""),
            number => port_number(&here.child("containerPort"), number, errors),
        }
        if let Some(number) = int(port, "hostPort").filter(|number| *number != 0) {
            port_number(&here.child("hostPort"), number, errors);
        }
        one_of(&here.child("protocol"), text(port, "protocol"), PROTOCOLS, errors);
    }
}

/// Two containers cannot have the same port of the node.
fn host_ports(containers: &[Value], path: &Path, errors: &mut Errors) {
    let mut taken = HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        let (here, field) = (path.index(index), "ports");
        let ports = here.child(field);
        for (index, port) in list(container, "ports").iter().enumerate() {
            let Some(number) = int(port, "hostPort").filter(|number| *number != 0) else {
                continue;
            };
            let key = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
            if taken.contains(&key) {
                errors.duplicate(&ports.index(index).child("hostPort"), &*key);
            }
            taken.insert(key);
        }
    }
}

/// On the host's network a container's port is the host's: pods say so, templates may leave it open.
pub fn host_network_ports(spec: &Value, owner: &Owner<'_>, path: &Path, errors: &mut Errors) {
    if !flag(spec, "hostNetwork") {
        return;
    }
    let path = path.child("containers");
    for (index, container) in list(spec, "containers").iter().enumerate() {
        let here = path.index(index);
        let ports = here.child("ports");
        for (index, port) in list(container, "ports").iter().enumerate() {
            let host = int(port, "hostPort").unwrap_or(0);
            let open = host == 0 && matches!(owner, Owner::Template);
            if !open && host != int(port, "containerPort").unwrap_or(0) {
                let why = "must match `containerPort` when `hostNetwork` is true";
                errors.invalid(&ports.index(index).child("hostPort"), host, why);
            }
        }
    }
}

fn resize_policy(container: &Value, restart: &str, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, policy) in list(container, "resizePolicy").iter().enumerate() {
        let name = text(policy, "resourceName");
        if !seen.insert(name) {
            errors.duplicate(&path.index(index), name);
        }
        one_of(path, name, &["cpu", "memory"], errors);
        let action = text(policy, "restartPolicy");
        one_of(path, action, &["NotRequired", "RestartContainer"], errors);
        if restart == "Never" && action != "NotRequired" {
            errors.invalid(
                path,
                action,
                "must be 'NotRequired' when pod `restartPolicy` is 'Never'",
            );
        }
    }
}

/// A container's own restart policy and its rules for exit codes (KEP-5307).
fn restart_policy(container: &Value, path: &Path, errors: &mut Errors) {
    let rules = list(container, "restartPolicyRules");
    let field = path.child("restartPolicy");
    match at(container, "restartPolicy").and_then(Value::as_str) {
        None if rules.is_empty() => return,
        None => errors.required(&field, "must specify restartPolicy when restart rules are used"),
        Some(policy) if !RESTART_POLICIES.contains(&policy) => {
            errors.not_supported(&field, policy, RESTART_POLICIES);
        }
        Some(_) => {}
    }
    let path = path.child("restartPolicyRules");
    if rules.len() > RULES_MOST {
        errors.too_many(&path, rules.len(), RULES_MOST);
    }
    for (index, rule) in rules.iter().enumerate() {
        let here = path.index(index);
        let action = text(rule, "action");
        if !RULE_ACTIONS.contains(&action) {
            errors.not_supported(&here.child("action"), action, RULE_ACTIONS);
        }
        let codes_path = here.child("exitCodes");
        let Some(codes) = at(rule, "exitCodes") else {
            errors.required(&codes_path, "must be specified");
            continue;
        };
        let operator = text(codes, "operator");
        if !["In", "NotIn"].contains(&operator) {
            errors.not_supported(&codes_path.child("operator"), operator, &["In", "NotIn"]);
        }
        let values = list(codes, "values").len();
        if values > CODES_MOST {
            errors.too_many(&codes_path.child("values"), values, CODES_MOST);
        }
    }
}
