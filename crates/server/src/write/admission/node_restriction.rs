//! NodeRestriction: a node (`system:node:NAME`) changes only itself, its lease, and the pods that run on it
//! (API access page "Using Node Authorization").

mod certificates;

use super::storage::beside_sizes;
use super::{Admit, Operation, Plugin, Verdict};
use crate::authorize::{self, Authorizer};
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

pub struct NodeRestriction {
    authorizer: Arc<Authorizer>,
}

const MIRROR: &str = "kubernetes.io/config.mirror";
/// The labels with a Kubernetes prefix that a node may give itself.
const LABELS: [&str; 12] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "kubernetes.io/instance-type",
];
const PREFIXES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const RESTRICTED: &str = "node-restriction.kubernetes.io";

/// The name of the node that asks; none when a user asks who is no node.
fn node<'a>(request: &'a Admit<'_>) -> Option<&'a str> {
    let is_node = request.user.groups.iter().any(|group| group == "system:nodes");
    request.user.name.strip_prefix("system:node:").filter(|_| is_node)
}

impl NodeRestriction {
    pub fn new(authorizer: Arc<Authorizer>) -> NodeRestriction {
        NodeRestriction { authorizer }
    }
}

impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        match (node(at), at.operation, new, at.old) {
            (None, ..) => Verdict::PASS,
            (Some(node), Operation::Delete, _, Some(old)) => delete(at, node, old).into(),
            (Some(node), _, Some(new), _) => Verdict::later(write(&self.authorizer, at, node, new)),
            _ => Verdict::PASS,
        }
    }
}

async fn write(
    authorizer: &Authorizer,
    request: &Admit<'_>,
    node: &str,
    new: &Object,
) -> Result<(), Status> {
    if node.is_empty() {
        let why = format!("could not determine node from user {:?}", request.user.name);
        return Err(request.forbid(&why));
    }
    let is_new = request.old.is_none() && request.subresource.is_empty();
    match (&*request.kind.group, &*request.kind.plural) {
        // The server has drawn its name (`generateName`): it is not the node's.
        ("", "nodes") | ("coordination.k8s.io", "leases") | ("storage.k8s.io", "csinodes")
            if is_new && *new.name() != *request.name && new.name() != node =>
        {
            let name = new.name();
            Err(request.forbid(&format!("node {node:?} is not allowed to modify node {name:?}")))
        }
        ("", "pods") => match (request.subresource, request.old) {
            ("", None) => {
                create_pod(request, node, new, request.find(("", "nodes"), "", node)).await
            }
            ("", Some(_)) => Err(request.forbid(&format!(
                "unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"
            ))),
            ("status", Some(old)) => change_status(request, node, new, old),
            ("eviction", _) => evict(request, node).await,
            (other, _) => Err(request.forbid(&format!(
                "unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"
            ))),
        },
        ("certificates.k8s.io", "certificatesigningrequests") if is_new => {
            certificates::own_name(request, node, new)
        }
        ("certificates.k8s.io", "podcertificaterequests") => {
            certificates::of_own_pod(authorizer, request, node, new).await
        }
        ("", "serviceaccounts") if request.subresource == "token" => {
            token(authorizer, request, node, new).await
        }
        ("", "nodes") => change_node(request, node, new, request.old),
        ("coordination.k8s.io", "leases") => lease(request, node),
        ("storage.k8s.io", "csinodes") => csi_node(request, node),
        ("", "persistentvolumeclaims") if request.subresource == "status" => {
            claim_status(request, node, new)
        }
        ("", "persistentvolumeclaims") => Err(request.forbid("may only update PVC status")),
        _ => Ok(()),
    }
}

fn delete(request: &Admit<'_>, node: &str, old: &Object) -> Result<(), Status> {
    if request.is("", "pods") && old.text("spec.nodeName") != node {
        let why = format!("node {node:?} can only delete pods with spec.nodeName set to itself");
        return Err(request.forbid(&why));
    }
    if request.is("", "nodes") && request.name != node {
        let why = format!("node {node:?} is not allowed to modify node {:?}", request.name);
        return Err(request.forbid(&why));
    }
    if request.is("coordination.k8s.io", "leases") {
        return lease(request, node);
    }
    if request.is("storage.k8s.io", "csinodes") {
        return csi_node(request, node);
    }
    Ok(())
}

fn csi_node(request: &Admit<'_>, node: &str) -> Result<(), Status> {
    if request.name != node {
        let why = "can only access CSINode with the same name as the requesting node";
        return Err(request.forbid(why));
    }
    if request.subresource == "status" {
        return Err(request.forbid("CSIVolumeHealth feature gate is disabled"));
    }
    Ok(())
}

/// Of a claim a node tells how big its volume is, and nothing else.
fn claim_status(request: &Admit<'_>, node: &str, new: &Object) -> Result<(), Status> {
    match request.old {
        Some(old) if beside_sizes(old) == beside_sizes(new) => Ok(()),
        _ => Err(request.forbid(&format!(
            "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
        ))),
    }
}

fn lease(request: &Admit<'_>, node: &str) -> Result<(), Status> {
    if request.namespace != "kube-node-lease" {
        let why = "can only access leases in the \"kube-node-lease\" system namespace";
        return Err(request.forbid(why));
    }
    if request.name != node {
        let why = "can only access node lease with the same name as the requesting node";
        return Err(request.forbid(why));
    }
    Ok(())
}

async fn create_pod(
    request: &Admit<'_>,
    node: &str,
    pod: &Object,
    own: impl Future<Output = Result<Object, Status>>,
) -> Result<(), Status> {
    let refuse = |why: String| Err(request.forbid(&why));
    if pod.annotation(MIRROR).is_none() {
        return refuse(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if pod.text("spec.nodeName") != node {
        return refuse(format!(
            "node {node:?} can only create pods with spec.nodeName set to itself"
        ));
    }
    let alone = format!("node {node:?} can only create pods with an owner reference set to itself");
    let owner = match pod.list("metadata.ownerReferences") {
        [] => return refuse(alone),
        [owner] => owner,
        _ => {
            return refuse(format!(
                "node {node:?} can only create pods with a single owner reference set to itself"
            ));
        }
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return refuse(alone);
    }
    if owner["controller"] != true {
        return refuse(format!(
            "node {node:?} can only create pods with a controller owner reference set to itself"
        ));
    }
    if owner["blockOwnerDeletion"] == true {
        return refuse(format!(
            "node {node:?} must not set blockOwnerDeletion on an owner reference"
        ));
    }
    let found = own.await?;
    let uid = found.uid();
    let given = owner["uid"].as_str().unwrap_or("");
    if uid != given {
        return refuse(format!("node {node} UID mismatch: expected {given} got {uid}"));
    }
    match reference(pod) {
        Some(what) => refuse(format!("node {node:?} can not create pods that reference {what}")),
        None => Ok(()),
    }
}

/// The resource of the API that a pod leans on, if any.
fn reference(pod: &Object) -> Option<&'static str> {
    if !pod.text("spec.serviceAccountName").is_empty() {
        return Some("serviceaccounts");
    }
    let sources = [
        ("secret", "secrets"),
        ("secretRef", "secrets"),
        ("secretKeyRef", "secrets"),
        ("imagePullSecrets", "secrets"),
        ("configMap", "configmaps"),
        ("configMapRef", "configmaps"),
        ("configMapKeyRef", "configmaps"),
        ("persistentVolumeClaim", "persistentvolumeclaims"),
        ("serviceAccountToken", "serviceaccounts"),
        ("resourceClaims", "resourceclaims"),
    ];
    fn has(value: &Value, key: &str) -> bool {
        match value {
            Value::Object(map) => map.iter().any(|(k, v)| k == key || has(v, key)),
            Value::Array(list) => list.iter().any(|it| has(it, key)),
            _ => false,
        }
    }
    let spec = pod.at("spec")?;
    sources.iter().find(|(field, _)| has(spec, field)).map(|(_, what)| *what)
}

async fn evict(request: &Admit<'_>, node: &str) -> Result<(), Status> {
    let pod = request.find(("", "pods"), request.namespace, &request.name).await?;
    if pod.text("spec.nodeName") != node {
        let why = format!("node {node} can only evict pods with spec.nodeName set to itself");
        return Err(request.forbid(&why));
    }
    Ok(())
}

/// A node gets tokens for the pods that run on it, and for nothing else.
async fn token(
    authorizer: &Authorizer,
    request: &Admit<'_>,
    node: &str,
    asked: &Object,
) -> Result<(), Status> {
    let bound = |field: &str| asked.text(&format!("spec.boundObjectRef.{field}"));
    let refuse = |why: &str| Err(request.forbid(why));
    if bound("apiVersion") != "v1" || bound("kind") != "Pod" || bound("name").is_empty() {
        return refuse("node requested token not bound to a pod");
    }
    if bound("uid").is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    let pod = request.find(("", "pods"), request.namespace, bound("name")).await?;
    if bound("uid") != pod.uid() {
        return refuse(&format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The \
             object might have been deleted and then recreated",
            bound("uid")
        ));
    }
    if pod.text("spec.nodeName") != node {
        return refuse("node requested token bound to a pod scheduled on a different node");
    }
    let audience = match asked.list("spec.audiences") {
        [] => "",
        [one] => one.as_str().unwrap_or(""),
        _ => return refuse("node may only request 0 or 1 audiences"),
    };
    if mounts(&pod, audience)
        || authorizer.decide(request.user, &may(request, audience)).await.allowed()
    {
        return Ok(());
    }
    refuse(&format!(
        "{} is not authorized to request tokens for audience {audience:?}",
        request.user.name
    ))
}

/// Whether a volume of the pod holds a token for this audience.
fn mounts(pod: &Object, audience: &str) -> bool {
    let sources =
        |volume: &Value| volume["projected"]["sources"].as_array().cloned().unwrap_or_default();
    pod.list("spec.volumes").iter().flat_map(sources).any(|source| {
        let token = &source["serviceAccountToken"];
        token.is_object() && token["audience"].as_str().unwrap_or("") == audience
    })
}

/// The right to tokens for an audience that no volume of the pod names (KEP-4935).
fn may(request: &Admit<'_>, audience: &str) -> authorize::Attributes {
    authorize::Attributes {
        verb: "request-serviceaccounts-token-audience".into(),
        resource: audience.into(),
        name: request.name.clone().into_owned(),
        namespace: request.namespace.into(),
        ..authorize::Attributes::default()
    }
}

fn change_status(
    request: &Admit<'_>,
    node: &str,
    new: &Object,
    old: &Object,
) -> Result<(), Status> {
    if old.text("spec.nodeName") != node {
        return Err(request.forbid(&format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        )));
    }
    if new.map("metadata.labels") != old.map("metadata.labels") {
        let why = format!("node {node:?} cannot update labels through pod status");
        return Err(request.forbid(&why));
    }
    if new.at("status.resourceClaimStatuses") != old.at("status.resourceClaimStatuses") {
        return Err(request.forbid(&format!("node {node:?} cannot update resource claim statues")));
    }
    Ok(())
}

fn change_node(
    request: &Admit<'_>,
    node: &str,
    new: &Object,
    old: Option<&Object>,
) -> Result<(), Status> {
    let refuse = |why: String| Err(request.forbid(&why));
    if request.name != node {
        return refuse(format!("node {node:?} is not allowed to modify node {:?}", request.name));
    }
    let forbidden = forbidden_labels(new, old);
    let Some(old) = old else {
        if forbidden.is_empty() {
            return Ok(());
        }
        let list = forbidden.join(", ");
        return refuse(format!("node {node:?} is not allowed to set the following labels: {list}"));
    };
    for (path, what) in [("spec.taints", "taints"), ("metadata.ownerReferences", "ownerReferences")]
    {
        if new.list(path) != old.list(path) {
            return refuse(format!("node {node:?} is not allowed to modify {what}"));
        }
    }
    if !forbidden.is_empty() {
        return refuse(format!("is not allowed to modify labels: {}", forbidden.join(", ")));
    }
    Ok(())
}

/// The changed labels that are not a node's to change.
fn forbidden_labels(new: &Object, old: Option<&Object>) -> Vec<String> {
    let before: BTreeSet<(&str, &str)> = old.into_iter().flat_map(Object::labels).collect();
    let after: BTreeSet<(&str, &str)> = new.labels().collect();
    let changed: BTreeSet<&str> =
        before.symmetric_difference(&after).map(|(key, _)| *key).collect();
    let below = |prefix: &str, domain: &str| {
        prefix == domain || prefix.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
    };
    let forbidden = |label: &&&str| {
        let prefix = label.split_once('/').map_or("", |(prefix, _)| prefix);
        let kubernetes = below(prefix, "kubernetes.io") || below(prefix, "k8s.io");
        let own = LABELS.contains(*label) || PREFIXES.iter().any(|it| below(prefix, it));
        below(prefix, RESTRICTED) || (kubernetes && !own)
    };
    changed.iter().filter(forbidden).map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use skiff_json::json;

    #[test]
    fn labels_of_kubernetes_are_not_a_nodes_own() {
        let node = Object::new(json!({"metadata": {"labels": {
            "a": "1", "kubernetes.io/hostname": "n", "node-role.kubernetes.io/x": "",
            "node.kubernetes.io/y": "", "x.node-restriction.kubernetes.io/z": ""}}}));
        assert_eq!(
            forbidden_labels(&node, None),
            ["node-role.kubernetes.io/x", "x.node-restriction.kubernetes.io/z"]
        );
    }

    /// What node `n` is told about a write of one of these resources.
    fn told(plural: &str, name: &str, ask: impl Fn(&Admit<'_>) -> Result<(), Status>) -> String {
        let user = skiff_api::wire::User::default();
        let kinds = skiff_api::registry::Kinds::builtin(skiff_kinds::KINDS);
        let kind = kinds.now().find("", "v1", plural).expect("a kind").clone();
        let of = (&user, &*kind, "");
        crate::admission::tests::asked(of, name, |at| {
            ask(at).map_or_else(|status| status.message, |()| "allowed".into())
        })
    }

    /// CVE-2025-5187: an owner that is not there has the collector delete the node, and what made it trusted with it.
    /// CVE-2021-25735: the fields that count are those stored before and those that would be stored, not what a
    /// webhook was shown; there are no webhooks here.
    #[test]
    fn a_node_changes_nothing_that_others_trust_it_by() {
        let node = |more: Value| {
            let mut node =
                json!({"metadata": {"name": "n", "labels": {"a": "b"}}, "spec": {"taints": []}});
            node.as_object_mut()
                .expect("an object")
                .extend(more.as_object().cloned().expect("one"));
            Object::new(node)
        };
        let told = |name: &str, old: Value, new: Value| {
            let (old, new) = (node(old), node(new));
            told("nodes", name, |request| change_node(request, "n", &new, Some(&old)))
        };
        let owned = json!({"metadata": {"ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "none", "uid": "u"}], "labels": {"a": "b"}}});
        let tainted = json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}});
        let role = json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}});
        for (old, new, word) in [
            (json!({}), owned.clone(), "is not allowed to modify ownerReferences"),
            (owned, json!({}), "is not allowed to modify ownerReferences"),
            (json!({}), tainted.clone(), "is not allowed to modify taints"),
            (tainted, json!({}), "is not allowed to modify taints"),
            (json!({}), role.clone(), "modify labels: node-role.kubernetes.io/control-plane"),
            (role, json!({}), "modify labels: node-role.kubernetes.io/control-plane"),
        ] {
            let said = told("n", old, new);
            assert!(said.contains(word), "{said}");
        }
        let fine = json!({"metadata": {"labels": {"c": "d"}}, "status": {"a": "b"}});
        assert_eq!(told("n", json!({}), fine.clone()), "allowed");
        assert!(told("m", json!({}), fine).contains("is not allowed to modify node"));
    }

    /// CVE-2025-4563: a mirror pod that leans on a claim gets what nobody gave to the node.
    #[test]
    fn a_node_makes_pods_that_lean_on_nothing() {
        let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true});
        let mirror = json!({"metadata": {"name": "p", "annotations": {MIRROR: "x"}, "ownerReferences": [owner]},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
        let told = |path: &str, value: Value| {
            let mut pod = Object::new(mirror.clone());
            if !path.is_empty() {
                pod.set(path, value);
            }
            told("pods", "p", |request| {
                let own = async { Ok(Object::new(json!({"metadata": {"name": "n", "uid": "u"}}))) };
                create_pod(request, "n", &pod, own).now_or_never().expect("nothing is waited for")
            })
        };
        assert_eq!(told("", Value::Null), "allowed");
        let volume = |source: Value| json!([{"name": "v", "projected": {"sources": [source]}}]);
        for (path, value, what) in [
            (
                "spec.resourceClaims",
                json!([{"name": "c", "resourceClaimName": "x"}]),
                "resourceclaims",
            ),
            ("spec.serviceAccountName", json!("a"), "serviceaccounts"),
            ("spec.imagePullSecrets", json!([{"name": "s"}]), "secrets"),
            ("spec.volumes", volume(json!({"secret": {"name": "s"}})), "secrets"),
            ("spec.volumes", volume(json!({"configMap": {"name": "s"}})), "configmaps"),
            ("spec.volumes", volume(json!({"serviceAccountToken": {}})), "serviceaccounts"),
            (
                "spec.initContainers",
                json!([{"envFrom": [{"secretRef": {"name": "s"}}]}]),
                "secrets",
            ),
            ("spec.volumes", json!([{"persistentVolumeClaim": {}}]), "persistentvolumeclaims"),
        ] {
            let said = told(path, value);
            assert!(
                said.ends_with(&format!("can not create pods that reference {what}")),
                "{said}"
            );
        }
        for (path, value, word) in [
            ("metadata.annotations", json!({}), "can only create mirror pods"),
            ("spec.nodeName", json!("m"), "with spec.nodeName set to itself"),
            ("metadata.ownerReferences", json!([]), "an owner reference set to itself"),
            ("metadata.ownerReferences", json!([owner, owner]), "a single owner reference"),
        ] {
            let said = told(path, value);
            assert!(said.contains(word), "{said}");
        }
        for (field, value, word) in [
            ("kind", json!("Pod"), "an owner reference set to itself"),
            ("name", json!("m"), "an owner reference set to itself"),
            ("controller", json!(false), "a controller owner reference"),
            ("blockOwnerDeletion", json!(true), "must not set blockOwnerDeletion"),
            ("uid", json!("other"), "UID mismatch: expected other got u"),
        ] {
            let mut other = owner.clone();
            other[field] = value;
            let said = told("metadata.ownerReferences", json!([other]));
            assert!(said.contains(word), "{said}");
        }
    }

    #[test]
    fn a_node_says_only_how_its_own_pods_do() {
        let pod = |node: &str, labels: Value, claims: Value| {
            Object::new(
                json!({"metadata": {"name": "p", "labels": labels}, "spec": {"nodeName": node},
                "status": {"phase": "Running", "resourceClaimStatuses": claims}}),
            )
        };
        let told = |old: Object, new: Object| {
            told("pods", "p", |request| change_status(request, "n", &new, &old))
        };
        let (none, some) = (json!({}), json!({"app": "web"}));
        let own = || pod("n", none.clone(), json!([]));
        assert_eq!(told(own(), own()), "allowed");
        let other = pod("m", none.clone(), json!([]));
        assert!(told(other, own()).contains("for pods with spec.nodeName set to itself"));
        assert!(told(own(), pod("n", some, json!([]))).contains("cannot update labels"));
        let claims = json!([{"name": "c", "resourceClaimName": "x"}]);
        assert!(
            told(own(), pod("n", none.clone(), claims)).contains("cannot update resource claim")
        );
    }
}
