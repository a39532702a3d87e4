//! Bootstrap: what every cluster holds before its first user comes. Made through the pipeline, like everything else,
//! and side by side, so that all of it shares a few group commits.

use crate::addresses::Addresses;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::try_join_all;
use skiff_api::Status;
use skiff_api::object::{Object, strings};
use skiff_api::registry::Kinds;
use skiff_api::view::Resource;
use skiff_base::Time;
use skiff_cli::settings::Settings;
use skiff_client::{Client, PatchKind};
use skiff_json::{Value, json};
use skiff_kinds::core::configmap;
use skiff_kinds::networking::servicecidr;
use skiff_kinds::scheduling::priorityclass;
use skiff_kinds::views::token::TRACKING;
use skiff_loops::Wanted;
use skiff_server::admission::service::Ranges;
use skiff_server::authorize::{policy, reconcile};
use skiff_server::identity::keys::FRONT_PROXY;
use std::collections::HashMap;
use std::net::SocketAddr;

/// What everybody may read, and who lets them, by the names that kubeadm has given them.
const PUBLIC: &str = "kube-public";
const INFO: &str = "cluster-info";
const READER: &str = "kubeadm:bootstrap-signer-clusterinfo";
/// Where servers that run for this one read how to authenticate, by upstream's name.
const AUTHENTICATION: &str = "extension-apiserver-authentication";
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// The place of cluster DNS in the range of addresses, by everybody's convention.
const DNS: u64 = 10;

/// Makes what is missing, and completes what an older version made. What must not
/// go any more is `wanted` from then on.
pub async fn run(
    client: &Client,
    kinds: &Kinds,
    ranges: &Ranges,
    addresses: &Addresses,
    settings: &Settings,
    wanted: &Wanted,
) -> Result<()> {
    let api = addresses.api;
    let namespace =
        |name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let namespaces = NAMESPACES.map(namespace);
    let made = namespaces.iter().map(|body| ensure(client, kinds, body.clone()));
    try_join_all(made).await.context("making the namespaces of the system")?;
    let first = service_ranges(ranges);
    ensure(client, kinds, first.clone()).await.context("making the range of the services")?;
    hold_ranges(client, first, wanted).await.context("reading the range of the services")?;
    let services = [api_service(ranges, api), dns_service(ranges)];
    let made = services.clone().into_iter().chain([control_plane(settings)]).chain(classes());
    let made = made.map(|body| ensure(client, kinds, body));
    try_join_all(made)
        .await
        .context("making the services, node and priority classes of the system")?;
    namespaces.into_iter().chain(services).for_each(|body| wanted.hold(body));
    api_endpoints(client, kinds, api, wanted).await.context("naming the endpoint of the API")?;
    policy(client, kinds).await.context("writing the default roles and bindings")
}

/// What everybody may know, before they are anybody: where the cluster is, and whom to trust (documentation page
/// "Authenticating with Bootstrap Tokens"); and since when the use of tokens in secrets is noted.
pub async fn public(
    client: &Client,
    kinds: &Kinds,
    (server, ca, now): (&str, &str, Time),
) -> Result<()> {
    let cluster = json!({"server": server, "certificate-authority-data": STANDARD.encode(ca)});
    let config = json!({"apiVersion": "v1", "kind": "Config", "preferences": {},
        "clusters": [{"name": "", "cluster": cluster}], "contexts": [], "users": [],
        "current-context": ""});
    let data = json!({"kubeconfig": config.to_string()});
    let meta = |name, namespace| json!({"name": name, "namespace": namespace});
    let group = "rbac.authorization.k8s.io";
    let since = json!({"since": now.strftime("%Y-%m-%d").to_string()});
    let objects = [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": meta(INFO, PUBLIC)}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": since,
            "metadata": meta(TRACKING, "kube-system")}),
        json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": meta(READER, PUBLIC),
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [INFO], "verbs": ["get"]}]}),
        json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": meta(READER, PUBLIC),
            "roleRef": {"apiGroup": group, "kind": "Role", "name": READER},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "system:anonymous"}]}),
    ];
    let made = objects.into_iter().map(|body| ensure(client, kinds, body));
    try_join_all(made).await.context("publishing where the cluster is")?;
    let found = client.get(configmap::RESOURCE, PUBLIC, INFO).await;
    let said =
        found.context("reading where the cluster is")?.map("data").get("kubeconfig").cloned();
    if said.as_ref() != data.get("kubeconfig") {
        let (kind, body) = (PatchKind::Merge, json!({"data": data}));
        let told = client.patch(kind, configmap::RESOURCE, PUBLIC, INFO, "", body).await;
        told.context("publishing where the cluster is")?;
    }
    Ok(())
}

/// How a server below this one knows who calls it: whose certificates clients show, and in which words this server
/// speaks for users (Kubernetes task page "Configure the Aggregation Layer"). It is `wanted` from then on.
pub async fn authentication(
    client: &Client,
    kinds: &Kinds,
    (ca, front_ca): (&str, &str),
    wanted: &Wanted,
) -> Result<()> {
    let list = |it: &str| json!([it]).to_string();
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": AUTHENTICATION, "namespace": "kube-system"},
        "data": {"client-ca-file": ca, "requestheader-client-ca-file": front_ca,
            "requestheader-allowed-names": list(FRONT_PROXY),
            "requestheader-username-headers": list("X-Remote-User"),
            "requestheader-uid-headers": list("X-Remote-Uid"),
            "requestheader-group-headers": list("X-Remote-Group"),
            "requestheader-extra-headers-prefix": list("X-Remote-Extra-")}});
    wanted.hold(body.clone());
    let made = async {
        ensure(client, kinds, body.clone()).await?;
        let (kind, body) = (PatchKind::Merge, json!({"data": body["data"]}));
        let (resource, namespace) = (configmap::RESOURCE, "kube-system");
        client.patch(kind, resource, namespace, AUTHENTICATION, "", body).await
    };
    made.await.context("publishing how aggregated servers know who calls them").map(|_| ())
}

/// The range of the settings.
fn service_ranges(ranges: &Ranges) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": servicecidr::DEFAULT}, "spec": {"cidrs": [ranges.addresses.to_string()]}})
}

/// One that an older start made of other settings stays as it is, for its addresses are in use.
async fn hold_ranges(client: &Client, wished: Value, wanted: &Wanted) -> Result<(), Status> {
    let found = client.get(servicecidr::RESOURCE, "", servicecidr::DEFAULT).await;
    let found = match found {
        Err(status) if status.is_storage_read() => return Ok(()),
        found => found?,
    };
    if found.at("spec.cidrs") == wished.pointer("/spec/cidrs") {
        wanted.hold(wished);
    } else {
        let range = strings(found.list("spec.cidrs")).join(", ");
        tracing::warn!(
            range,
            "services keep their range: the settings name another one, which a ServiceCIDR of its own can add"
        );
    }
    Ok(())
}

fn api_service(ranges: &Ranges, api: SocketAddr) -> Value {
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"clusterIP": ranges.addresses.nth(1), "type": "ClusterIP",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": api.port()}]}})
}

fn dns_service(ranges: &Ranges) -> Value {
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns",
            "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}},
        "spec": {"clusterIP": ranges.addresses.nth(DNS), "type": "ClusterIP", "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53}]}})
}

/// The node that runs all this. It registers itself, but no node may give itself a role
/// (admission controllers: NodeRestriction).
fn control_plane(settings: &Settings) -> Value {
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": settings.node, "labels": {"node-role.kubernetes.io/control-plane": ""}}})
}

fn classes() -> impl Iterator<Item = Value> {
    priorityclass::SYSTEM.into_iter().map(|(name, value, description)| {
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name}, "value": value, "description": description})
    })
}

/// Says behind the `kubernetes` Service where the API is now. An address that only this machine can reach
/// is no endpoint, so then there is none.
async fn api_endpoints(
    client: &Client,
    kinds: &Kinds,
    api: SocketAddr,
    wanted: &Wanted,
) -> Result<(), Status> {
    if api.ip().is_loopback() || api.ip().is_unspecified() {
        tracing::warn!(%api, "pods cannot reach the API: it listens on no address of the network");
        return Ok(());
    }
    let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": api.ip().to_string()}],
            "ports": [{"name": "https", "port": api.port(), "protocol": "TCP"}]}]});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": if api.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [api.ip().to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": api.port(), "protocol": "TCP"}]});
    for body in [endpoints, slice] {
        wanted.hold(body.clone());
        ensure(client, kinds, body.clone()).await?;
        let resource = resource(kinds, &Object::new(body.clone()))?;
        match client.update(resource, "default", "kubernetes", "", body).await {
            Err(status) if status.is_storage_read() => {}
            updated => drop(updated?),
        }
    }
    Ok(())
}

/// Creates an object; one that is there stays as it is, even one that nobody can read (`skiff status` names it).
pub async fn ensure(client: &Client, kinds: &Kinds, body: Value) -> Result<(), Status> {
    let object = Object::new(body);
    let resource = resource(kinds, &object)?;
    let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
    match client.get(resource, &namespace, &name).await {
        Err(status) if status.code == 404 => {}
        Err(status) if status.is_storage_read() => return Ok(()),
        found => return found.map(|_| ()),
    }
    match client.create(resource, &namespace, object.into_value()).await {
        Err(status) if status.code != 409 => Err(status),
        _ => Ok(()),
    }
}

async fn policy(client: &Client, kinds: &Kinds) -> Result<(), Status> {
    let mut found: HashMap<(String, String, String), Object> = HashMap::new();
    for kind in ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"] {
        let probe = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind});
        let resource = resource(kinds, &Object::new(probe))?;
        // What cannot be read is there all the same: `ensure` finds it.
        let (objects, _) = client.readable(resource, "", "").await?;
        for object in objects {
            let key = (kind.to_owned(), object.namespace().to_owned(), object.name().to_owned());
            found.insert(key, object);
        }
    }
    let find = |kind: &str, namespace: &str, name: &str| {
        found.get(&(kind.to_owned(), namespace.to_owned(), name.to_owned())).cloned()
    };
    let changes = reconcile::plan(&policy::defaults(), find);
    try_join_all(changes.into_iter().map(|change| perform(client, kinds, change))).await.map(|_| ())
}

async fn perform(client: &Client, kinds: &Kinds, change: reconcile::Change) -> Result<(), Status> {
    let (reconcile::Change::Create(object)
    | reconcile::Change::Update(object)
    | reconcile::Change::Replace(object)) = &change;
    let resource = resource(kinds, object)?;
    let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
    match change {
        reconcile::Change::Update(object) => {
            client.update(resource, &namespace, &name, "", object.into_value()).await.map(|_| ())
        }
        reconcile::Change::Replace(object) => {
            client.delete(resource, &namespace, &name, &Default::default()).await?;
            ensure(client, kinds, object.into_value()).await
        }
        reconcile::Change::Create(object) => ensure(client, kinds, object.into_value()).await,
    }
}

fn resource(kinds: &Kinds, object: &Object) -> Result<Resource, Status> {
    let (group, version) =
        object.api_version().split_once('/').unwrap_or(("", object.api_version()));
    let registry = kinds.now();
    let kind = registry.find_kind(group, version, object.kind());
    kind.map(|kind| Resource::of_kind(kind))
        .ok_or_else(|| Status::internal(format!("{} is not served", object.kind())))
}
