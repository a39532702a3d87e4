//! What makes a pod invalid, in the fields and words that users know.
//!
//! `spec` is shared with the templates of workloads. Errors come in upstream's order, for clients show them so.

pub(crate) mod affinity;
mod annotations;
pub(crate) mod claim;
mod containers;
pub(crate) mod diff;
mod env;
pub(crate) mod internal;
mod mounts;
mod network;
mod os;
pub(crate) mod placement;
mod probes;
mod projected;
mod resize;
pub(crate) mod resources;
mod security;
mod status;
mod update;
pub(crate) mod volumes;
pub(crate) mod volumes_other;

use super::CONTAINER_LISTS;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::meta;
use skiff_api::object::{Object, at};
use skiff_json::Value;

pub use update::{part, pod};

/// Longest deadline: what fits into 31 bits.
const DEADLINE_MOST: i64 = i32::MAX as i64;

/// Whose spec it is.
#[derive(Clone, Copy)]
pub enum Owner<'a> {
    Pod { metadata: &'a Value },
    Template,
}

impl Owner<'_> {
    fn pod_name(&self) -> &str {
        match self {
            Owner::Pod { metadata } => text(metadata, "name"),
            Owner::Template => "",
        }
    }

    fn is_mirror(&self) -> bool {
        match self {
            Owner::Pod { metadata } => metadata
                .get("annotations")
                .is_some_and(|map| map.get(annotations::MIRROR).is_some()),
            Owner::Template => false,
        }
    }
}

/// Everything about a pod that does not depend on what it was before.
fn whole(pod: &Object, errors: &mut Errors) {
    let (null, path) = (Value::Null, Path::new("spec"));
    let metadata = pod.at("metadata").unwrap_or(&null);
    let spec_value = pod.at("spec").unwrap_or(&null);
    annotations::annotations(metadata, spec_value, &Path::new("metadata.annotations"), errors);
    spec(spec_value, &Owner::Pod { metadata }, &path, errors);
    if text(spec_value, "serviceAccountName").is_empty() {
        let volumes = path.child("volumes");
        for (index, volume) in list(spec_value, "volumes").iter().enumerate() {
            let here = volumes.index(index);
            let sources = here.child("projected.sources");
            for (index, source) in list(volume, "projected.sources").iter().enumerate() {
                if at(source, "serviceAccountToken").is_some() {
                    let why = "must not be specified when serviceAccountName is not set";
                    errors.forbidden(&sources.index(index).child("serviceAccountToken"), why);
                }
            }
        }
    }
    if let Some(seconds) = int(spec_value, "terminationGracePeriodSeconds") {
        not_negative(&path.child("terminationGracePeriodSeconds"), seconds, errors);
    }
    containers::padded_images(spec_value, &path, errors);
}

/// The template of a workload at `path` (`spec.template`).
pub fn template(template: &Value, path: &Path, errors: &mut Errors) {
    let (null, object) = (Value::Null, Object::new(template.clone()));
    let metadata = at(template, "metadata").unwrap_or(&null);
    let spec_value = at(template, "spec").unwrap_or(&null);
    let at_annotations = path.child("annotations");
    meta::validate_labels(&path.child("labels"), object.map("metadata.labels"), errors);
    meta::validate_annotations(&at_annotations, object.map("metadata.annotations"), errors);
    annotations::annotations(metadata, spec_value, &at_annotations, errors);
    spec(spec_value, &Owner::Template, &path.child("spec"), errors);
    annotations::agree(metadata, spec_value, &path.child("spec"), errors);
    if !list(spec_value, "ephemeralContainers").is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        errors.forbidden(&path.child("spec.ephemeralContainers"), why);
    }
}

/// The spec of a pod or of a template.
pub fn spec(spec: &Value, owner: &Owner<'_>, path: &Path, errors: &mut Errors) {
    if at(spec, "terminationGracePeriodSeconds").is_none() {
        errors.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = volumes::volumes(spec, owner, path, errors);
    claim::resource_claims(spec, owner, path, errors);
    let names = list(spec, "resourceClaims").iter().map(|claim| text(claim, "name"));
    let claims: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    let around = containers::Around { spec, volumes: &volumes, claims };
    containers::containers(&around, path, errors);
    containers::init_containers(&around, path, errors);
    containers::ephemeral_containers(&around, path, errors);
    resources::pod(spec, &around.claims, path, errors);
    containers::host_network_ports(spec, owner, path, errors);
    let policies = ["Always", "OnFailure", "Never"];
    one_of(&path.child("restartPolicy"), text(spec, "restartPolicy"), &policies, errors);
    one_of(&path.child("dnsPolicy"), text(spec, "dnsPolicy"), network::DNS_POLICIES, errors);
    if let Some(Value::Object(labels)) = at(spec, "nodeSelector") {
        meta::validate_labels(&path.child("nodeSelector"), labels, errors);
    }
    security::pod(spec, path, errors);
    if flag(spec, "shareProcessNamespace") && flag(spec, "hostPID") {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&path.child("shareProcessNamespace"), true, why);
    }
    affinity::affinity(spec, path, errors);
    network::dns_config(spec, path, errors);
    gates(spec, path, errors);
    placement::spread(spec, path, errors);
    os::host_process(spec, path, errors);
    network::host_users(spec, path, errors);
    network::hostname_override(spec, path, errors);
    scalars(spec, path, errors);
    os::os(spec, path, errors);
    env::file_volumes(spec, path, errors);
}

fn gates(spec: &Value, path: &Path, errors: &mut Errors) {
    let readiness = path.child("readinessGates");
    for (index, gate) in list(spec, "readinessGates").iter().enumerate() {
        let here = readiness.index(index);
        qualified(&here.child("conditionType"), text(gate, "conditionType"), errors);
    }
    let scheduling = path.child("schedulingGates");
    let mut seen = std::collections::HashSet::new();
    for (index, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        qualified(&scheduling.index(index), name, errors);
        if !seen.insert(name) {
            errors.duplicate(&scheduling.index(index), name);
        }
    }
}

/// Fields that are a name or a number each.
fn scalars(spec: &Value, path: &Path, errors: &mut Errors) {
    for field in ["serviceAccountName", "nodeName"] {
        let name = text(spec, field);
        if !name.is_empty() {
            subdomain(&path.child(field), name, errors);
        }
    }
    if let Some(seconds) =
        int(spec, "activeDeadlineSeconds").filter(|s| !(1..=DEADLINE_MOST).contains(s))
    {
        let why = format!("must be between 1 and {DEADLINE_MOST}, inclusive");
        errors.invalid(&path.child("activeDeadlineSeconds"), seconds, &why);
    }
    for field in ["hostname", "subdomain"] {
        let name = text(spec, field);
        if !name.is_empty() {
            label(&path.child(field), name, errors);
        }
    }
    placement::tolerations(spec, path, errors);
    network::host_aliases(spec, path, errors);
    let class = text(spec, "priorityClassName");
    if !class.is_empty() {
        subdomain(&path.child("priorityClassName"), class, errors);
    }
    if let Some(class) = at(spec, "runtimeClassName").and_then(Value::as_str) {
        subdomain(&path.child("runtimeClassName"), class, errors);
    }
    if let Some(policy) = at(spec, "preemptionPolicy").and_then(Value::as_str) {
        let known = ["PreemptLowerPriority", "Never"];
        one_of(&path.child("preemptionPolicy"), policy, &known, errors);
    }
    if let Some(overhead) = at(spec, "overhead") {
        resources::overhead(overhead, &path.child("overhead"), errors);
    }
}

/// Calls for every container with its place.
pub(super) fn visit(spec: &Value, path: &Path, call: &mut dyn FnMut(&Value, &Path)) {
    for field in CONTAINER_LISTS {
        let path = path.child(field);
        for (index, container) in list(spec, field).iter().enumerate() {
            call(container, &path.index(index));
        }
    }
}

#[cfg(test)]
mod tests;
