//! What an update of a Service may not change.

use super::{headless, needs_cluster_ip, needs_health_check};
use skiff_api::errors::{Errors, Path};
use skiff_api::object::Object;
use skiff_json::Value;

const STAYS: &str = "may not change once set";

pub fn validate(new: &Object, old: &Object, errors: &mut Errors) {
    if needs_cluster_ip(new) && needs_cluster_ip(old) {
        if !(headless(new) && headless(old)) {
            validate_addresses(new, old, errors);
        }
        if !headless(new) && !headless(old) {
            validate_families(new, old, errors);
        }
    }
    let balanced = |service: &Object| service.text("spec.type") == "LoadBalancer";
    let class = new.at("spec.loadBalancerClass");
    if balanced(new) && balanced(old) && class != old.at("spec.loadBalancerClass") {
        let shown = class.cloned().unwrap_or(Value::Null);
        errors.invalid(&Path::new("spec.loadBalancerClass"), shown, STAYS);
    }
    let port = "spec.healthCheckNodePort";
    if needs_health_check(new) && needs_health_check(old) && new.int(port) != old.int(port) {
        errors.forbidden(&Path::new(port), "field is immutable");
    }
}

fn validate_addresses(new: &Object, old: &Object, errors: &mut Errors) {
    let (after, before) = (new.list("spec.clusterIPs"), old.list("spec.clusterIPs"));
    let path = Path::new("spec.clusterIPs");
    let shown = || Value::Array(after.to_vec());
    if before.len() == after.len() {
        for (index, _) in before.iter().enumerate().filter(|(index, it)| **it != after[*index]) {
            errors.invalid(&path.index(index), shown(), STAYS);
        }
        return;
    }
    if before.len() > after.len() && after.is_empty() {
        errors.invalid(&path.index(0), shown(), "primary clusterIP can not be unset");
    }
    if let (Some(first), Some(was)) = (after.first(), before.first())
        && first != was
    {
        errors.invalid(&path.index(0), shown(), STAYS);
    }
    if before.len() > after.len() && after.len() == 1 {
        must_be_single(new, "clusterIP", errors);
    }
}

fn must_be_single(new: &Object, what: &str, errors: &mut Errors) {
    let policy = new.at("spec.ipFamilyPolicy");
    if policy.is_none_or(|policy| policy != "SingleStack") {
        let why = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        let shown = policy.cloned().unwrap_or(Value::Null);
        errors.invalid(&Path::new("spec.ipFamilyPolicy"), shown, &why);
    }
}

fn validate_families(new: &Object, old: &Object, errors: &mut Errors) {
    let (after, before) = (new.list("spec.ipFamilies"), old.list("spec.ipFamilies"));
    let families = Path::new("spec.ipFamilies");
    let path = families.index(0);
    if before.len() == after.len() {
        for _ in before.iter().zip(after).filter(|(was, is)| was != is) {
            errors.invalid(&path, Value::Array(after.to_vec()), STAYS);
        }
        return;
    }
    let addresses = Value::Array(new.list("spec.clusterIPs").to_vec());
    if before.len() > after.len() && new.list("spec.clusterIPs").is_empty() {
        let why = "primary ipFamily can not be unset";
        errors.invalid(&path, Value::Array(after.to_vec()), why);
    }
    if let (Some(first), Some(was)) = (after.first(), before.first())
        && first != was
    {
        errors.invalid(&path, addresses, STAYS);
    }
    if before.len() > after.len() && after.len() == 1 {
        must_be_single(new, "ipFamily", errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn an_address_stays() {
        let service = |ip: &str| {
            Object::new(json!({"spec": {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip]}}))
        };
        let mut errors = Errors::new();
        validate(&service("10.0.0.2"), &service("10.0.0.1"), &mut errors);
        assert_eq!(
            errors.text(),
            "spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"
        );
    }
}
