//! Resources that containers and pods ask for.

use skiff_api::check::*;
use skiff_api::errors::{ErrorType, Errors, Path};
use skiff_api::names;
use skiff_api::object::at;
use skiff_api::quantity::{Format, Quantity};
use skiff_json::Value;
use std::collections::{BTreeMap, HashSet};

/// What pods may ask for as a whole.
const POD_RESOURCES: &[&str] = &["cpu", "hugepages-", "memory"];
const HUGE: &str = "hugepages-";

pub fn container(asked: &Value, claims: &[&str], path: &Path, errors: &mut Errors) {
    requirements(asked, container_name, claims, path, errors);
}

/// Overhead is checked like the limits of a container.
pub fn overhead(amounts: &Value, path: &Path, errors: &mut Errors) {
    for (name, amount) in amounts.as_object().into_iter().flatten() {
        let here = path.child("limits");
        one(name, &quantity(amount), container_name, &here.key(name), errors);
    }
}

type NameCheck = fn(&str, &Path, &mut Errors);

fn requirements(
    asked: &Value,
    check_name: NameCheck,
    claims: &[&str],
    path: &Path,
    errors: &mut Errors,
) {
    let (at_limits, at_requests) = (path.child("limits"), path.child("requests"));
    let (limits, requests) = (amounts(asked, "limits"), amounts(asked, "requests"));
    for (name, limit) in &limits {
        one(name, limit, check_name, &at_limits.key(name), errors);
    }
    for (name, request) in &requests {
        let here = at_requests.key(name);
        check_head(name, request, check_name, &here, errors);
        match limits.get(name) {
            Some(limit) if request != limit && !overcommits(name) => {
                let why = format!("must be equal to {name} limit of {limit}");
                errors.invalid(&at_requests, request.to_string(), &why);
            }
            Some(limit) if request > limit => {
                let why = format!("must be less than or equal to {name} limit of {limit}");
                errors.invalid(&at_requests, request.to_string(), &why);
            }
            None if !overcommits(name) => {
                errors.required(&at_limits, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
        huge_page(name, request, &here, errors);
    }
    let mut all = limits.keys().chain(requests.keys());
    let computes = all.clone().any(|name| *name == "cpu" || *name == "memory");
    if !computes && all.any(|name| name.starts_with(HUGE)) {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
    claim_names(asked, claims, &path.child("claims"), errors);
}

fn one(name: &str, amount: &Quantity, check_name: NameCheck, path: &Path, errors: &mut Errors) {
    check_head(name, amount, check_name, path, errors);
    huge_page(name, amount, path, errors);
}

fn check_head(
    name: &str,
    amount: &Quantity,
    check_name: NameCheck,
    path: &Path,
    errors: &mut Errors,
) {
    check_name(name, path, errors);
    if amount.is_negative() {
        errors.invalid(path, amount.to_string(), "must be greater than or equal to 0");
    }
    if is_extended(name) && amount.milli_value() % 1000 != 0 {
        errors.invalid(path, amount.to_string(), "must be an integer");
    }
}

fn huge_page(name: &str, amount: &Quantity, path: &Path, errors: &mut Errors) {
    let Some(size) = name.strip_prefix(HUGE) else { return };
    let divisible = Quantity::parse(size)
        .is_ok_and(|size| size.value() > 0 && amount.value() % size.value() == 0);
    if !divisible {
        let why = format!("{amount} is not positive integer multiple of {name}");
        errors.invalid(path, amount.to_string(), &why);
    }
}

pub fn quantity(value: &Value) -> Quantity {
    let text = value.as_str().unwrap_or("");
    Quantity::parse(text).unwrap_or_else(|_| Quantity::new(0, Format::Decimal))
}

pub fn amounts<'a>(asked: &'a Value, field: &str) -> BTreeMap<&'a str, Quantity> {
    entries(asked, field).map(|(name, value)| (name, quantity(value))).collect()
}

/// Resources of which a node may promise more than it has.
pub fn overcommits(name: &str) -> bool {
    !is_extended(name) && !name.starts_with(HUGE)
}

/// Resources of Kubernetes itself have no domain, or one of its own.
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified(&format!("requests.{name}")).is_empty()
}

/// Resources that quotas know besides those of containers.
pub fn is_standard(name: &str) -> bool {
    let known = [
        "cpu",
        "memory",
        "ephemeral-storage",
        "storage",
        "requests.cpu",
        "requests.memory",
        "requests.ephemeral-storage",
        "requests.storage",
        "limits.cpu",
        "limits.memory",
        "limits.ephemeral-storage",
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "persistentvolumeclaims",
        "configmaps",
        "services.nodeports",
        "services.loadbalancers",
    ];
    known.contains(&name) || name.starts_with(HUGE) || name.starts_with("requests.hugepages-")
}

pub fn name_of(name: &str, path: &Path, errors: &mut Errors) -> bool {
    let wrong = names::qualified(name);
    let fine = wrong.is_empty() && (name.contains('/') || is_standard(name));
    if wrong.is_empty() && !fine {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
    }
    refuse(path, name, wrong, errors);
    fine
}

pub fn container_name(name: &str, path: &Path, errors: &mut Errors) {
    name_of(name, path, errors);
    let standard = ["cpu", "memory", "ephemeral-storage"].contains(&name) || name.starts_with(HUGE);
    if name.split('/').count() == 1 {
        if !standard {
            errors.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

fn pod_name(name: &str, path: &Path, errors: &mut Errors) {
    if name_of(name, path, errors) && !["cpu", "memory"].contains(&name) && !name.starts_with(HUGE)
    {
        errors.not_supported(path, name, POD_RESOURCES);
    }
}

fn claim_names(asked: &Value, claims: &[&str], path: &Path, errors: &mut Errors) {
    let mut seen: HashSet<String> = HashSet::new();
    for (index, claim) in list(asked, "claims").iter().enumerate() {
        let here = path.index(index);
        let (name, request) = (text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            errors.required(&here, "");
            continue;
        }
        if seen.contains(name) {
            errors.duplicate(&here, name);
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                label(&here.child("request"), request, errors);
                key = format!("{name}/{request}");
            }
            let prefix = format!("{name}/");
            if seen.contains(&key) {
                errors.duplicate(&here, &*key);
            } else if request.is_empty() {
                for _ in seen.iter().filter(|key| key.starts_with(&prefix)) {
                    errors.duplicate(&here, name);
                }
            }
            seen.insert(key);
        }
        if !claims.contains(&name) {
            let mut known = claims.to_vec();
            known.sort_unstable();
            known.dedup();
            let tail = if known.is_empty() {
                " which is empty".into()
            } else {
                format!(": {}", known.join(", "))
            };
            let body = format!(
                "Not found: {name:?}: must be one of the names in pod.spec.resourceClaims{tail}"
            );
            errors.push(ErrorType::NotFound, &here, body);
        }
    }
}

/// The resources of the pod as a whole (KEP-2837).
pub fn pod(spec: &Value, claims: &[&str], path: &Path, errors: &mut Errors) {
    let Some(asked) = at(spec, "resources") else { return };
    let path = path.child("resources");
    if text(spec, "os.name") == "windows" {
        return errors.forbidden(&path, "may not be set for a windows pod");
    }
    if at(asked, "claims").is_some() {
        errors.forbidden(&path.child("claims"), "claims may not be set for Resources at pod-level");
    }
    requirements(asked, pod_name, claims, &path, errors);
    let requests = path.child("requests");
    for (name, whole) in amounts(asked, "requests") {
        let sum = aggregate(spec, "requests", name);
        if sum > whole {
            let why =
                format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.invalid(&requests.key(name), whole.to_string(), &why);
        }
    }
    let limits = amounts(asked, "limits");
    for (name, whole) in limits.iter().filter(|(name, _)| name.starts_with(HUGE)) {
        let sum = aggregate(spec, "limits", name);
        if sum > *whole {
            let why =
                format!("must be greater than or equal to aggregate container limits of {sum}");
            errors.invalid(&path.child("limits").key(name), whole.to_string(), &why);
        }
    }
    let containers = path.child("containers");
    for (index, container) in list(spec, "containers").iter().enumerate() {
        for (name, limit) in amounts(container, "resources.limits") {
            if let Some(whole) = limits.get(name).filter(|whole| limit > **whole) {
                let why = format!("must be less than or equal to pod limits of {whole}");
                let here = containers.index(index);
                errors.invalid(&here.key(name).child("limits"), limit.to_string(), &why);
            }
        }
    }
}

/// What all containers need together: the main ones and sidecars at once, init containers one after another.
pub fn aggregate(spec: &Value, field: &str, name: &str) -> Quantity {
    let amount = |container: &Value| {
        amounts(container, &format!("resources.{field}"))
            .remove(name)
            .unwrap_or_else(Quantity::zero)
    };
    let mut running = Quantity::zero();
    for container in list(spec, "containers") {
        running.add(&amount(container));
    }
    let (mut sidecars, mut peak) = (Quantity::zero(), Quantity::zero());
    for container in list(spec, "initContainers") {
        let mut now = amount(container);
        if text(container, "restartPolicy") == "Always" {
            running.add(&now);
            sidecars.add(&now);
            now = sidecars.clone();
        } else {
            now.add(&sidecars);
        }
        peak = peak.max(now);
    }
    running.max(peak)
}
