//! NodeRestriction: a node (`system:node:NAME`) changes only itself, its lease, and the pods that run on it
//! (API access page "Using Node Authorization").

use super::{Attributes, Plugin, find};
use crate::Server;
use crate::authorize;
use serde_json::Value;
use skiff_api::Status;
use skiff_api::object::Object;
use std::collections::BTreeSet;

pub const PLUGIN: Plugin =
    Plugin { name: "NodeRestriction", validate, validate_delete, ..Plugin::NONE };

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
fn node<'a>(request: &'a Attributes) -> Option<&'a str> {
    let is_node = request.user.groups.iter().any(|group| group == "system:nodes");
    request.user.name.strip_prefix("system:node:").filter(|_| is_node)
}

fn validate(
    server: &Server,
    request: &Attributes,
    new: &Object,
    old: Option<&Object>,
) -> Result<(), Status> {
    let Some(node) = node(request) else { return Ok(()) };
    if node.is_empty() {
        let why = format!("could not determine node from user {:?}", request.user.name);
        return Err(request.forbid(&why));
    }
    match (&*request.kind.group, &*request.kind.plural) {
        ("", "pods") => match (request.subresource, old) {
            ("", None) => create_pod(server, request, node, new),
            ("", Some(_)) => Err(request.forbid(&format!(
                "unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"
            ))),
            ("status", Some(old)) => change_status(request, node, new, old),
            ("eviction", _) => evict(server, request, node),
            (other, _) => Err(request.forbid(&format!(
                "unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"
            ))),
        },
        ("", "serviceaccounts") if request.subresource == "token" => {
            token(server, request, node, new)
        }
        ("", "nodes") => change_node(request, node, new, old),
        ("coordination.k8s.io", "leases") => lease(request, node),
        ("storage.k8s.io", "csinodes") if request.name != node => {
            let why = "can only access CSINode with the same name as the requesting node";
            Err(request.forbid(why))
        }
        _ => Ok(()),
    }
}

fn validate_delete(_: &Server, request: &Attributes, old: &Object) -> Result<(), Status> {
    let Some(node) = node(request) else { return Ok(()) };
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
    Ok(())
}

fn lease(request: &Attributes, node: &str) -> Result<(), Status> {
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

fn create_pod(
    server: &Server,
    request: &Attributes,
    node: &str,
    pod: &Object,
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
    let own = format!("node {node:?} can only create pods with an owner reference set to itself");
    let owner = match pod.list("metadata.ownerReferences") {
        [] => return refuse(own),
        [owner] => owner,
        _ => {
            return refuse(format!(
                "node {node:?} can only create pods with a single owner reference set to itself"
            ));
        }
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return refuse(own);
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
    let found = find(server, "nodes", "", node)?;
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

fn evict(server: &Server, request: &Attributes, node: &str) -> Result<(), Status> {
    let pod = find(server, "pods", request.namespace, &request.name)?;
    if pod.text("spec.nodeName") != node {
        let why = format!("node {node} can only evict pods with spec.nodeName set to itself");
        return Err(request.forbid(&why));
    }
    Ok(())
}

/// A node gets tokens for the pods that run on it, and for nothing else.
fn token(server: &Server, request: &Attributes, node: &str, asked: &Object) -> Result<(), Status> {
    let bound = |field: &str| asked.text(&format!("spec.boundObjectRef.{field}"));
    let refuse = |why: &str| Err(request.forbid(why));
    if bound("apiVersion") != "v1" || bound("kind") != "Pod" || bound("name").is_empty() {
        return refuse("node requested token not bound to a pod");
    }
    if bound("uid").is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    let pod = find(server, "pods", request.namespace, bound("name"))?;
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
    if mounts(&pod, audience) || server.authorizer.grants(request.user, &may(request, audience)) {
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
fn may(request: &Attributes, audience: &str) -> authorize::Attributes {
    authorize::Attributes {
        verb: "request-serviceaccounts-token-audience".into(),
        resource: audience.into(),
        name: request.name.clone(),
        namespace: request.namespace.into(),
        ..authorize::Attributes::default()
    }
}

fn change_status(
    request: &Attributes,
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
    request: &Attributes,
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
    use serde_json::json;

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
}
