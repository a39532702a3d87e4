//! The node's rights: a node may read what the pods that run on it need, and write what it reports (documentation page
//! "Using Node Authorization"). What it writes is narrowed further by the NodeRestriction admission.
//!
//! Which objects a node's pods refer to is read from those pods when asked: the store finds a node's pods by the facet
//! `spec.nodeName`, and a pod that does not hold the wanted name as text is not even parsed.

use super::Attributes;
use super::rule::Rule;
use serde_json::Value;
use skiff_api::object::at;
use skiff_api::wire::User;
use skiff_store::{ListRequest, Scope, Store};
use std::sync::Arc;

const GROUP: &str = "system:nodes";
const PREFIX: &str = "system:node:";
const LEASES: &str = "kube-node-lease";

/// The node that a user is.
pub fn name(user: &User) -> Option<&str> {
    let node = user.name.strip_prefix(PREFIX)?;
    user.groups.iter().any(|group| group == GROUP).then_some(node)
}

/// Whether the node may do this; the error says why not and may be empty.
pub async fn decide(
    store: &Arc<dyn Store>,
    rules: &[Rule],
    node: &str,
    asked: &Attributes,
) -> Result<(), String> {
    if node.is_empty() {
        return Err(format!("unknown node for user {PREFIX:?}"));
    }
    match shape(rules, node, asked)? {
        Then::Allowed => Ok(()),
        Then::IfRelated => {
            let related = related(store, node, asked).await;
            let why = || format!("no relationship found between node '{node}' and this object");
            related.then_some(()).ok_or_else(why)
        }
    }
}

/// What is left to ask after looking at the question alone.
#[derive(Debug, PartialEq)]
enum Then {
    Allowed,
    /// Only when one of the node's pods needs the object.
    IfRelated,
}

/// Looks at the question alone.
fn shape(rules: &[Rule], node: &str, asked: &Attributes) -> Result<Then, String> {
    let (verb, sub) = (&*asked.verb, &*asked.subresource);
    if asked.path.is_some() {
        return by_rules(rules, asked);
    }
    match (&*asked.group, &*asked.resource) {
        ("", "secrets" | "configmaps") => read(asked),
        ("", "persistentvolumeclaims") if sub == "status" => match verb {
            "update" | "patch" => named(asked),
            _ => refuse("can only get/update/patch this type"),
        },
        ("", "persistentvolumeclaims" | "persistentvolumes")
        | ("resource.k8s.io", "resourceclaims")
        | ("storage.k8s.io", "volumeattachments") => get(asked),
        ("", "serviceaccounts") if verb == "get" && sub.is_empty() => read(asked),
        ("", "serviceaccounts") if verb != "create" || asked.name.is_empty() => {
            refuse("can only create tokens for individual service accounts")
        }
        ("", "serviceaccounts") if sub != "token" => {
            refuse("can only create token subresource of serviceaccount")
        }
        ("", "serviceaccounts") => Ok(Then::IfRelated),
        ("coordination.k8s.io", "leases") => lease(node, asked),
        ("storage.k8s.io", "csinodes") => csi_node(node, asked),
        ("resource.k8s.io", "resourceslices") => resource_slice(node, asked),
        ("", "nodes") => own_node(node, asked),
        ("", "pods") => pod(node, asked),
        ("certificates.k8s.io", "podcertificaterequests") => certificate(node, asked),
        _ => by_rules(rules, asked),
    }
}

fn refuse(why: &str) -> Result<Then, String> {
    Err(why.to_owned())
}

fn by_rules(rules: &[Rule], asked: &Attributes) -> Result<Then, String> {
    let allowed = rules.iter().any(|rule| rule.allows(asked));
    allowed.then_some(Then::Allowed).ok_or_else(String::new)
}

fn named(asked: &Attributes) -> Result<Then, String> {
    if asked.name.is_empty() { refuse("No Object name found") } else { Ok(Then::IfRelated) }
}

fn get(asked: &Attributes) -> Result<Then, String> {
    if asked.verb != "get" {
        return refuse("can only get individual resources of this type");
    }
    if !asked.subresource.is_empty() {
        return refuse("cannot get subresource");
    }
    named(asked)
}

fn read(asked: &Attributes) -> Result<Then, String> {
    if !matches!(&*asked.verb, "get" | "list" | "watch") {
        return refuse("can only read resources of this type");
    }
    if !asked.subresource.is_empty() {
        return refuse("cannot read subresource");
    }
    if asked.namespace.is_empty() {
        return refuse("can only read namespaced object of this type");
    }
    named(asked)
}

fn lease(node: &str, asked: &Attributes) -> Result<Then, String> {
    if !matches!(&*asked.verb, "get" | "create" | "update" | "patch" | "delete") {
        return refuse("can only get, create, update, patch, or delete a node lease");
    }
    if asked.namespace != LEASES {
        return Err(format!("can only access leases in the {LEASES:?} system namespace"));
    }
    if asked.verb != "create" && asked.name != node {
        return refuse("can only access node lease with the same name as the requesting node");
    }
    Ok(Then::Allowed)
}

fn csi_node(node: &str, asked: &Attributes) -> Result<Then, String> {
    match &*asked.subresource {
        "" => {}
        "status" => {
            return refuse("CSINode status access requires CSIVolumeHealth feature");
        }
        _ => return refuse("cannot authorize CSINode subresources"),
    }
    if !matches!(&*asked.verb, "get" | "create" | "update" | "patch" | "delete") {
        return refuse("can only get, create, update, patch, or delete a CSINode");
    }
    if asked.verb != "create" && asked.name != node {
        return refuse("can only access CSINode with the same name as the requesting node");
    }
    Ok(Then::Allowed)
}

fn resource_slice(node: &str, asked: &Attributes) -> Result<Then, String> {
    if !asked.subresource.is_empty() {
        return refuse("cannot authorize ResourceSlice subresources");
    }
    match &*asked.verb {
        "create" => Ok(Then::Allowed),
        "get" | "update" | "patch" | "delete" => named(asked),
        "watch" | "list" | "deletecollection" if selects(asked, "spec.nodeName", node) => {
            Ok(Then::Allowed)
        }
        "watch" | "list" | "deletecollection" => {
            refuse("can only list/watch/deletecollection resourceslices with nodeName field selector")
        }
        _ => refuse(
            "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, \
             update, patch, delete, deletecollection",
        ),
    }
}

fn own_node(node: &str, asked: &Attributes) -> Result<Then, String> {
    match (&*asked.subresource, &*asked.verb, &*asked.name) {
        ("", "create" | "update" | "patch", _) => Ok(Then::Allowed),
        ("", "get" | "list" | "watch", name) if name == node => Ok(Then::Allowed),
        ("", "get" | "list" | "watch", "") => {
            Err(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch", name) => {
            Err(format!("node '{node}' cannot read '{name}', only its own Node object"))
        }
        ("status", "update" | "patch", _) => Ok(Then::Allowed),
        _ => refuse(""),
    }
}

fn pod(node: &str, asked: &Attributes) -> Result<Then, String> {
    match (&*asked.subresource, &*asked.verb) {
        ("", "get") => get(asked),
        ("", "list" | "watch") if selects(asked, "spec.nodeName", node) => Ok(Then::Allowed),
        ("", "list" | "watch") if !asked.name.is_empty() => Ok(Then::IfRelated),
        ("", "list" | "watch") => {
            refuse("can only list/watch pods with spec.nodeName field selector")
        }
        ("", "create" | "delete")
        | ("status", "update" | "patch")
        | ("eviction", "create") => Ok(Then::Allowed),
        _ => refuse(""),
    }
}

fn certificate(node: &str, asked: &Attributes) -> Result<Then, String> {
    if !asked.subresource.is_empty() {
        return refuse("nodes may not access the status subresource of PodCertificateRequests");
    }
    match &*asked.verb {
        "create" => Ok(Then::Allowed),
        "get" => named(asked),
        "list" | "watch" if selects(asked, "spec.nodeName", node) => Ok(Then::Allowed),
        "list" | "watch" => {
            refuse("can only list/watch podcertificaterequests with nodeName field selector")
        }
        verb => Err(format!("nodes may not {verb} podcertificaterequests")),
    }
}

fn selects(asked: &Attributes, field: &str, value: &str) -> bool {
    asked.fields.iter().any(|(f, v)| f == field && v == value)
}

/// Whether the asked object belongs to the node, by itself or through one of its pods.
async fn related(store: &Arc<dyn Store>, node: &str, asked: &Attributes) -> bool {
    let own = |resource: &str, namespace: &str| {
        let key = format!("{resource}/{namespace}/{}", asked.name);
        store.get(&key).is_some_and(|record| {
            text(&parse(&record.body), "spec.nodeName") == node
        })
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
            let direct =
                pods_need(store, node, &asked.namespace, resource, &asked.name).await;
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
        // The name must stand in the text; an ephemeral volume's claim and the default account need no mention.
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

/// Whether a persistent volume behind a claim of the node's pods names the secret (drivers' credentials).
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

/// The secrets that a persistent volume names: namespace (that of the claim where it says none) and name.
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

    #[test]
    fn questions_alone_decide_much() {
        let mut out = String::new();
        for question in [
            "get  nodes  n1", "get  nodes  n2", "list  nodes ", "patch  nodes/status  n1",
            "delete  nodes  n1", "list  pods a ", "get  pods a p", "create  pods/eviction a p",
            "get  secrets a s", "list  secrets  ", "update  secrets a s",
            "create  serviceaccounts/token a sa", "create  serviceaccounts a sa",
            "get coordination.k8s.io leases kube-node-lease n1",
            "get coordination.k8s.io leases kube-node-lease n2",
            "get coordination.k8s.io leases default n1", "list  services  ",
        ] {
            let words: Vec<&str> = question.split(' ').collect();
            let (resource, sub) = words[2].split_once('/').unwrap_or((words[2], ""));
            let asked = Attributes {
                verb: words[0].into(),
                group: words[1].into(),
                resource: resource.into(),
                subresource: sub.into(),
                namespace: words[3].into(),
                name: words.get(4).copied().unwrap_or("").into(),
                ..Attributes::default()
            };
            out += &format!("{question}: {:?}\n", shape(&[], "n1", &asked));
        }
        expect_test::expect![[r#""#]].assert_eq(&out);
    }
}
