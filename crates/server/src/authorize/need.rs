//! Need: whether one of a node's pods refers to an object, and so the node may read it.
//!
//! It is read from those pods when asked: the store finds a node's pods by the facet `spec.nodeName`, a pod that does
//! not hold the wanted name as text is not even parsed, and the first that refers to the object is the last that is.

use super::Attributes;
use crate::read::convert;
use crate::read::reader::Reader;
use skiff_api::Status;
use skiff_api::kind::Kind;
use skiff_api::object::{Object, at};
use skiff_json::Value;
use skiff_store::{Currency, ListRequest, Record, Scope};
use std::sync::Arc;

/// Whether the asked object belongs to the node, by itself or through one of its pods. What cannot be read relates to
/// nothing: the node is refused, and asks again.
pub async fn related(reader: &Reader, node: &str, asked: &Attributes) -> bool {
    relation(reader, node, asked).await.unwrap_or_else(|status| {
        tracing::error!(node, why = status.message, "what a node needs cannot be read");
        false
    })
}

async fn relation(reader: &Reader, node: &str, asked: &Attributes) -> Result<bool, Status> {
    let (group, resource, namespace) = (&*asked.group, &*asked.resource, &*asked.namespace);
    match resource {
        "pods" | "volumeattachments" | "resourceslices" | "podcertificaterequests" => {
            let own = seen(reader, (group, resource), namespace, &asked.name).await?;
            Ok(own.is_some_and(|own| own.text("spec.nodeName") == node))
        }
        "persistentvolumes" => {
            let volume = seen(reader, VOLUMES, "", &asked.name).await?;
            let Some(volume) = volume else { return Ok(false) };
            let (namespace, name) = claim(volume.value());
            pods_need(reader, node, namespace, "persistentvolumeclaims", name).await
        }
        resource => {
            let direct = pods_need(reader, node, namespace, resource, &asked.name).await?;
            Ok(direct || (resource == "secrets" && volumes_need(reader, node, asked).await?))
        }
    }
}

const VOLUMES: (&str, &str) = ("", "persistentvolumes");

/// An object as it is seen here; of a kind that is not served there is none.
async fn seen(
    reader: &Reader,
    (group, plural): (&str, &str),
    namespace: &str,
    name: &str,
) -> Result<Option<Object>, Status> {
    let Some(kind) = reader.kinds.now().find_in_group(group, plural).cloned() else {
        return Ok(None);
    };
    let namespace = if kind.namespaced() { namespace } else { "" };
    let found = reader.read(&kind, namespace, name, Currency::Seen).await?;
    Ok(found.map(|found| found.object))
}

/// The claim that a persistent volume is bound to: namespace and name.
fn claim(volume: &Value) -> (&str, &str) {
    (text(volume, "spec.claimRef.namespace"), text(volume, "spec.claimRef.name"))
}

/// The most pods of one node that are looked at: far above what a node runs.
const PODS_MOST: usize = 10_000;

/// Whether a pod of the node in this namespace refers to the object.
async fn pods_need(
    reader: &Reader,
    node: &str,
    namespace: &str,
    resource: &str,
    name: &str,
) -> Result<bool, Status> {
    if namespace.is_empty() || name.is_empty() {
        return Ok(false);
    }
    let wanted = ListRequest {
        scope: Scope::prefix(&format!("pods/{namespace}")),
        facet: Some(("f:spec.nodeName".into(), node.into())),
        limit: Some(PODS_MOST),
        ..ListRequest::default()
    };
    // The name must stand in the text; that of an ephemeral volume's claim begins with the pod's.
    let made = |record: &Record| {
        let pod = record.key.rsplit('/').next().unwrap_or_default();
        resource == "persistentvolumeclaims" && name.starts_with(pod)
    };
    let may = |record: &Record| made(record) || mentions(&record.body, name);
    let mut pods = Candidates::list(reader, ("", "pods"), wanted, may).await?;
    while let Some(pod) = pods.next().await {
        if needs(pod.value(), resource, name) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Objects of a kind that may say what is looked for. Each is decoded when it is asked for and no sooner, so that what
/// all pods refer to costs one of them; those that cannot be read are left out, for they relate to nothing.
struct Candidates<'a, May> {
    reader: &'a Reader,
    kind: Arc<Kind>,
    records: std::vec::IntoIter<Arc<Record>>,
    may: May,
}

impl<'a, May: Fn(&Record) -> bool> Candidates<'a, May> {
    async fn list(
        reader: &'a Reader,
        (group, plural): (&str, &str),
        wanted: ListRequest,
        may: May,
    ) -> Result<Candidates<'a, May>, Status> {
        let kinds = reader.kinds.now();
        let kind = kinds.find_in_group(group, plural).cloned();
        let kind = kind.ok_or_else(|| Status::internal(format_args!("{plural} are not served")))?;
        let wanted = ListRequest { currency: Currency::Seen, ..wanted };
        let listed = reader.store.list(wanted).await;
        let records = listed.map_err(crate::read::read_error)?.records;
        Ok(Candidates { reader, kind, records: records.into_iter(), may })
    }

    async fn next(&mut self) -> Option<Object> {
        loop {
            let record = self.records.find(|record| (self.may)(record))?;
            if let Ok(object) = convert::tree(self.reader, &self.kind, &record).await {
                return Some(object);
            }
        }
    }
}

/// Whether a persistent volume behind a claim of the node's pods names the secret (drivers'
/// credentials).
async fn volumes_need(reader: &Reader, node: &str, asked: &Attributes) -> Result<bool, Status> {
    let scope = Scope::prefix("persistentvolumes");
    let all = ListRequest { scope, ..ListRequest::default() };
    let may = |record: &Record| mentions(&record.body, &asked.name);
    let mut volumes = Candidates::list(reader, VOLUMES, all, may).await?;
    while let Some(volume) = volumes.next().await {
        let (namespace, name) = claim(volume.value());
        let named = secrets_of_volume(volume.value(), namespace)
            .iter()
            .any(|(n, s)| (*n, *s) == (&*asked.namespace, &*asked.name));
        if named && pods_need(reader, node, namespace, "persistentvolumeclaims", name).await? {
            return Ok(true);
        }
    }
    Ok(false)
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

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or("")
}

fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

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
