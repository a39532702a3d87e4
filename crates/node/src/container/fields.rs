//! What a pod may know of itself: fieldRef and resourceFieldRef, for the environment and for files
//! (API reference: ObjectFieldSelector, ResourceFieldSelector).

use skiff_api::quantity::Quantity;
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{Container, ResourceFieldSelector};
use std::collections::BTreeMap;

/// What a container may have at most where it names no limit: the node's.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    pub milli_cpu: i64,
    pub memory: i64,
    pub storage: i64,
}

/// Addresses that the node knows before the API does.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    pub pod_ip: String,
    pub host_ip: String,
}

/// The value of a field of the pod, or a message.
pub fn field(pod: &Pod, path: &str, addresses: &Addresses) -> Result<String, String> {
    let meta = &pod.metadata;
    if let Some((map, key)) = path.split_once("['")
        && let Some(key) = key.strip_suffix("']")
    {
        let map = match map {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(map.get(key).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => lines(&meta.labels),
        "metadata.annotations" => lines(&meta.annotations),
        "spec.nodeName" => pod.spec.node_name.clone(),
        "spec.serviceAccountName" => pod.spec.service_account_name.clone(),
        "status.hostIP" | "status.hostIPs" => addresses.host_ip.clone(),
        "status.podIP" | "status.podIPs" => addresses.pod_ip.clone(),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// A map as lines of `key="value"`.
fn lines(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
}

/// A resource of a container as a whole number of divisors, rounded up.
pub fn resource(
    pod: &Pod,
    own: Option<&Container>,
    field: &ResourceFieldSelector,
    node: Capacity,
) -> Result<String, String> {
    let named = || pod.spec.all_containers().find(|c| c.name == field.container_name);
    let container = match own {
        Some(own) if field.container_name.is_empty() => own,
        _ => named().ok_or_else(|| format!("container {} not found", field.container_name))?,
    };
    let (kind, name) = field
        .resource
        .split_once('.')
        .ok_or_else(|| format!("unsupported container resource : {}", field.resource))?;
    let (limits, requests) = (&container.resources.limits, &container.resources.requests);
    let amount = match kind {
        "limits" => limits.get(name),
        "requests" => requests.get(name),
        _ => return Err(format!("unsupported container resource : {}", field.resource)),
    };
    let divisor = match &*field.divisor {
        "" | "0" => Quantity::parse("1"),
        text => Quantity::parse(text),
    };
    let divisor = divisor.map_err(|e| e.to_string())?;
    let value = match name {
        "cpu" => {
            let milli = match amount {
                Some(amount) => amount.milli_value(),
                None if kind == "limits" => node.milli_cpu,
                None => 0,
            };
            ceil(milli, divisor.milli_value())
        }
        _ => {
            let value = match (amount, name) {
                (Some(amount), _) => amount.value(),
                (None, "memory") if kind == "limits" => node.memory,
                (None, "ephemeral-storage") if kind == "limits" => node.storage,
                (None, _) => 0,
            };
            ceil(value, divisor.value())
        }
    };
    Ok(value.to_string())
}

fn ceil(value: i64, divisor: i64) -> i64 {
    let divisor = divisor.max(1);
    value.div_euclid(divisor) + i64::from(value.rem_euclid(divisor) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn fields_and_resources() {
        let pod: Pod = skiff_json::from_value(json!({
            "metadata": {"name": "p", "labels": {"a": "1", "b": "x\"y"}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1500m"},
                "requests": {"memory": "100Mi"}}}]},
        }))
        .expect("a pod");
        let none = Addresses::default();
        assert_eq!(field(&pod, "metadata.labels", &none), Ok("a=\"1\"\nb=\"x\\\"y\"".into()));
        assert_eq!(field(&pod, "metadata.labels['a']", &none), Ok("1".into()));
        assert!(field(&pod, "spec.x", &none).is_err());
        let node = Capacity { milli_cpu: 4000, memory: 1 << 30, storage: 1 << 40 };
        for (name, divisor, wanted) in [
            ("limits.cpu", "", "2"),
            ("limits.cpu", "1m", "1500"),
            ("limits.memory", "1Mi", "1024"),
            ("requests.memory", "1Mi", "100"),
            ("requests.cpu", "1m", "0"),
        ] {
            let ask = ResourceFieldSelector {
                resource: name.into(),
                divisor: divisor.into(),
                ..Default::default()
            };
            let got = resource(&pod, pod.spec.containers.first(), &ask, node);
            assert_eq!(got, Ok(wanted.into()), "{name} {divisor}");
        }
    }
}
