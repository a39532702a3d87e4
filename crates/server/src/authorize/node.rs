//! The node's rights: a node may read what the pods that run on it need, and write what it reports
//! (documentation page "Using Node Authorization"). What it writes is narrowed further by the
//! NodeRestriction admission.
//! Which objects those are is found out in `need`.

use super::rule::Rule;
use super::{Attributes, need};
use crate::read::reader::Reader;
use skiff_api::wire::User;

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
    reader: &Reader,
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
            let related = need::related(reader, node, asked).await;
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
        // A node serves names and addresses of services itself; upstream has kube-proxy and CoreDNS there, who
        // read this.
        ("", "namespaces") | ("discovery.k8s.io", "endpointslices")
            if matches!(verb, "get" | "list" | "watch") && sub.is_empty() =>
        {
            Ok(Then::Allowed)
        }
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
        "watch" | "list" | "deletecollection" if asked.selects("spec.nodeName", node) => {
            Ok(Then::Allowed)
        }
        "watch" | "list" | "deletecollection" => refuse(
            "can only list/watch/deletecollection resourceslices with nodeName field selector",
        ),
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
        ("", "list" | "watch") if asked.selects("spec.nodeName", node) => Ok(Then::Allowed),
        ("", "list" | "watch") if !asked.name.is_empty() => Ok(Then::IfRelated),
        ("", "list" | "watch") => {
            refuse("can only list/watch pods with spec.nodeName field selector")
        }
        ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
            Ok(Then::Allowed)
        }
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
        "list" | "watch" if asked.selects("spec.nodeName", node) => Ok(Then::Allowed),
        "list" | "watch" => {
            refuse("can only list/watch podcertificaterequests with nodeName field selector")
        }
        verb => Err(format!("nodes may not {verb} podcertificaterequests")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_alone_decide_much() {
        let mut out = String::new();
        for question in [
            "get  nodes  n1",
            "get  nodes  n2",
            "list  nodes ",
            "patch  nodes/status  n1",
            "delete  nodes  n1",
            "list  pods a ",
            "get  pods a p",
            "create  pods/eviction a p",
            "get  secrets a s",
            "list  secrets  ",
            "update  secrets a s",
            "create  serviceaccounts/token a sa",
            "create  serviceaccounts a sa",
            "get coordination.k8s.io leases kube-node-lease n1",
            "get coordination.k8s.io leases kube-node-lease n2",
            "get coordination.k8s.io leases default n1",
            "list  services  ",
            "watch  namespaces  ",
            "create  namespaces  a",
            "list discovery.k8s.io endpointslices  ",
            "update discovery.k8s.io endpointslices a s",
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
        expect_test::expect![[r#"
            get  nodes  n1: Ok(Allowed)
            get  nodes  n2: Err("node 'n1' cannot read 'n2', only its own Node object")
            list  nodes : Err("node 'n1' cannot read all nodes, only its own Node object")
            patch  nodes/status  n1: Ok(Allowed)
            delete  nodes  n1: Err("")
            list  pods a : Err("can only list/watch pods with spec.nodeName field selector")
            get  pods a p: Ok(IfRelated)
            create  pods/eviction a p: Ok(Allowed)
            get  secrets a s: Ok(IfRelated)
            list  secrets  : Err("can only read namespaced object of this type")
            update  secrets a s: Err("can only read resources of this type")
            create  serviceaccounts/token a sa: Ok(IfRelated)
            create  serviceaccounts a sa: Err("can only create token subresource of serviceaccount")
            get coordination.k8s.io leases kube-node-lease n1: Ok(Allowed)
            get coordination.k8s.io leases kube-node-lease n2: Err("can only access node lease with the same name as the requesting node")
            get coordination.k8s.io leases default n1: Err("can only access leases in the \"kube-node-lease\" system namespace")
            list  services  : Err("")
            watch  namespaces  : Ok(Allowed)
            create  namespaces  a: Err("")
            list discovery.k8s.io endpointslices  : Ok(Allowed)
            update discovery.k8s.io endpointslices a s: Err("")
        "#]].assert_eq(&out);
    }
}
