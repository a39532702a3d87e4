//! Need: whether one of a node's pods refers to an object, and so the node may read it.
//!
//! It is read from those pods when asked: the store finds a node's pods by the facet
//! `spec.nodeName`, and a pod that does not hold the wanted name as text is not even parsed.

use super::Attributes;
use serde_json::Value;
use skiff_api::object::at;
use skiff_store::{ListRequest, Scope, Store};
use std::sync::Arc;

/// Whether the asked object belongs to the node, by itself or through one of its pods.
pub async fn related(store: &Arc<dyn Store>, node: &str, asked: &Attributes) -> bool {
    let own = |resource: &str, namespace: &str| {
        let key = format!("{resource}/{namespace}/{}", asked.name);
        store.get(&key).is_some_and(|record| text(&parse(&record.body), "spec.nodeName") == node)
    };
    match &*asked.resource {
        "pods" => own("pods", &asked.namespace),
        "volumeattachments" => own("volumeattachments.storage.k8s.io", ""),
        "resourceslices" => own("resourceslices.resource.k8s.io", ""),
        "podcertificaterequests" => {
            own("podcertificaterequests.certificates.k8s.io", &asked.namespace)
        }
        "persistentvolumes" => {
            let claim = store
                .get(&format!("persistentvolumes//{}", asked.name))
                .map(|record| parse(&record.body));
            let claim = claim.as_ref().and_then(|volume| at(volume, "spec.claimRef"));
            match claim {
                Some(claim) => {
                    let (namespace, name) = (text(claim, "namespace"), text(claim, "name"));
                    pods_need(store, node, namespace, "persistentvolumeclaims", name).await
                }
                None => false,
            }
        }
        resource => {
            let direct = pods_need(store, node, &asked.namespace, resource, &asked.name).await;
            direct || (resource == "secrets" && volumes_need(store, node, asked).await)
        }
    }
}

/// The most pods of one node that are looked at: far above what a node runs.
const PODS_MOST: usize = 10_000;

/// Whether a pod of the node in this namespace refers to the object.
async fn pods_need(
    store: &Arc<dyn Store>,
    node: &str,
    namespace: &str,
    resource: &str,
    name: &str,
) -> bool {
    if namespace.is_empty() || name.is_empty() {
        return false;
    }
    pods(store, node, namespace).await.iter().any(|body| {
        // The name must stand in the text; an ephemeral volume's claim and the default account need
        // no mention.
        let near = mentions(body, name) || resource == "persistentvolumeclaims";
        (near || resource == "resourceclaims") && needs(&parse(body), resource, name)
    })
}

async fn pods(store: &Arc<dyn Store>, node: &str, namespace: &str) -> Vec<bytes::Bytes> {
    let listed = store
        .list(ListRequest {
            scope: Scope::prefix(&format!("pods/{namespace}")),
            facet: Some(("f:spec.nodeName".into(), node.into())),
            limit: Some(PODS_MOST),
            ..ListRequest::default()
        })
        .await;
    match listed {
        Ok(listed) => listed.records.iter().map(|record| record.body.clone()).collect(),
        Err(error) => {
            // No pods are known: the node is refused, and asks again.
            tracing::error!(%error, node, "the pods of a node cannot be listed");
            Vec::new()
        }
    }
}

/// Whether a persistent volume behind a claim of the node's pods names the secret (drivers'
/// credentials).
async fn volumes_need(store: &Arc<dyn Store>, node: &str, asked: &Attributes) -> bool {
    let listed = store
        .list(ListRequest { scope: Scope::prefix("persistentvolumes"), ..ListRequest::default() })
        .await;
    let volumes = match listed {
        Ok(listed) => listed.records,
        Err(error) => {
            tracing::error!(%error, "persistent volumes cannot be listed");
            return false;
        }
    };
    for record in volumes.iter().filter(|record| mentions(&record.body, &asked.name)) {
        let volume = parse(&record.body);
        let claim = at(&volume, "spec.claimRef").unwrap_or(&Value::Null);
        let (namespace, name) = (text(claim, "namespace"), text(claim, "name"));
        let named = secrets_of_volume(&volume, namespace)
            .iter()
            .any(|(n, s)| (*n, *s) == (&*asked.namespace, &*asked.name));
        if named && pods_need(store, node, namespace, "persistentvolumeclaims", name).await {
            return true;
        }
    }
    false
}

/// The secrets that a persistent volume names: namespace (that of the claim where it says none) and
/// name.
fn secrets_of_volume<'a>(volume: &'a Value, claim_namespace: &'a str) -> Vec<(&'a str, &'a str)> {
    const PLACES: [(&str, &str, &str); 10] = [
        ("spec.azureFile", "secretNamespace", "secretName"),
        ("spec.cephfs.secretRef", "namespace", "name"),
        ("spec.cinder.secretRef", "namespace", "name"),
        ("spec.flexVolume.secretRef", "namespace", "name"),
        ("spec.rbd.secretRef", "namespace", "name"),
        ("spec.scaleIO.secretRef", "namespace", "name"),
        ("spec.iscsi.secretRef", "namespace", "name"),
        ("spec.storageos.secretRef", "namespace", "name"),
        ("spec.csi.nodePublishSecretRef", "namespace", "name"),
        ("spec.csi.nodeStageSecretRef", "namespace", "name"),
    ];
    let secret = |(place, namespace, name): &(&str, &'static str, &'static str)| {
        let place = at(volume, place)?;
        let own = text(place, namespace);
        Some((if own.is_empty() { claim_namespace } else { own }, text(place, name)))
    };
    let expand = at(volume, "spec.csi.nodeExpandSecretRef");
    let expand = expand.map(|place| (text(place, "namespace"), text(place, "name")));
    PLACES.iter().filter_map(secret).chain(expand).collect()
}

/// Whether a pod refers to an object of its namespace.
fn needs(pod: &Value, resource: &str, name: &str) -> bool {
    match resource {
        "serviceaccounts" => text(pod, "spec.serviceAccountName") == name,
        "persistentvolumeclaims" => list(pod, "spec.volumes").iter().any(|volume| {
            text(volume, "persistentVolumeClaim.claimName") == name
                || (volume.get("ephemeral").is_some()
                    && format!("{}-{}", text(pod, "metadata.name"), text(volume, "name")) == name)
        }),
        "resourceclaims" => {
            let direct = list(pod, "spec.resourceClaims");
            let made = list(pod, "status.resourceClaimStatuses");
            let extended = text(pod, "status.extendedResourceClaimStatus.resourceClaimName");
            direct.iter().chain(made).any(|claim| text(claim, "resourceClaimName") == name)
                || extended == name
        }
        "secrets" => {
            list(pod, "spec.imagePullSecrets").iter().any(|secret| text(secret, "name") == name)
                || list(pod, "spec.volumes").iter().any(|volume| volume_secret(volume, name))
                || environment(pod, name, "secretRef", "secretKeyRef")
        }
        "configmaps" => {
            list(pod, "spec.volumes").iter().any(|volume| {
                text(volume, "configMap.name") == name || projects(volume, "configMap.name", name)
            }) || environment(pod, name, "configMapRef", "configMapKeyRef")
        }
        _ => false,
    }
}

fn volume_secret(volume: &Value, name: &str) -> bool {
    const PLACES: [&str; 9] = [
        "secret.secretName",
        "azureFile.secretName",
        "cephfs.secretRef.name",
        "cinder.secretRef.name",
        "flexVolume.secretRef.name",
        "iscsi.secretRef.name",
        "rbd.secretRef.name",
        "scaleIO.secretRef.name",
        "csi.nodePublishSecretRef.name",
    ];
    PLACES.iter().any(|place| text(volume, place) == name)
        || text(volume, "storageos.secretRef.name") == name
        || projects(volume, "secret.name", name)
}

fn projects(volume: &Value, place: &str, name: &str) -> bool {
    list(volume, "projected.sources").iter().any(|source| text(source, place) == name)
}

/// Whether the environment of a container comes from the object.
fn environment(pod: &Value, name: &str, whole: &str, key: &str) -> bool {
    ["spec.containers", "spec.initContainers", "spec.ephemeralContainers"]
        .iter()
        .flat_map(|place| list(pod, place))
        .any(|container| {
            let from = list(container, "envFrom").iter();
            let one = list(container, "env").iter();
            from.filter_map(|e| e.get(whole)).any(|r| text(r, "name") == name)
                || one.filter_map(|e| at(e, "valueFrom")?.get(key)).any(|r| text(r, "name") == name)
        })
}

fn mentions(body: &[u8], name: &str) -> bool {
    std::str::from_utf8(body).is_ok_and(|body| body.contains(name))
}

/// A stored body; one that is unreadable relates to nothing.
fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|error| {
        tracing::error!(%error, "a stored object is unreadable");
        Value::Null
    })
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or("")
}

fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_need_what_they_refer_to() {
        let pod = json!({
            "metadata": {"name": "web"},
            "spec": {
                "serviceAccountName": "sa",
                "imagePullSecrets": [{"name": "pull"}],
                "volumes": [
                    {"name": "v", "secret": {"secretName": "s1"}},
                    {"name": "p", "projected": {"sources": [
                        {"secret": {"name": "s2"}}, {"configMap": {"name": "c2"}}]}},
                    {"name": "d", "persistentVolumeClaim": {"claimName": "claim"}},
                    {"name": "e", "ephemeral": {}},
                ],
                "initContainers": [{"envFrom": [{"configMapRef": {"name": "c1"}}]}],
                "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s3"}}}]}],
            },
        });
        for (resource, name, expected) in [
            ("serviceaccounts", "sa", true),
            ("serviceaccounts", "s1", false),
            ("secrets", "pull", true),
            ("secrets", "s1", true),
            ("secrets", "s2", true),
            ("secrets", "s3", true),
            ("secrets", "c1", false),
            ("configmaps", "c1", true),
            ("configmaps", "c2", true),
            ("configmaps", "s2", false),
            ("persistentvolumeclaims", "claim", true),
            ("persistentvolumeclaims", "web-e", true),
            ("persistentvolumeclaims", "web-v", false),
        ] {
            assert_eq!(needs(&pod, resource, name), expected, "{resource} {name}");
        }
    }
}
