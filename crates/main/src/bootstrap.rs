//! Bootstrap: what every cluster holds before its first user comes. Made through the pipeline, like everything else,
//! and side by side, so that all of it shares a few group commits.

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_api::registry::Kinds;
use skiff_api::view::Resource;
use skiff_cli::settings::Settings;
use skiff_client::Client;
use skiff_kinds::scheduling::priorityclass;
use skiff_loops::Wanted;
use skiff_server::admission::service::Ranges;
use skiff_server::authorize::{policy, reconcile};
use std::collections::HashMap;
use std::net::SocketAddr;

const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// The place of cluster DNS in the range of addresses, by everybody's convention.
const DNS: u64 = 10;

/// Makes what is missing, and completes what an older version made. `api` is where the API listens; what must not
/// go any more is `wanted` from then on.
pub async fn run(
    client: &Client,
    kinds: &Kinds,
    ranges: &Ranges,
    api: SocketAddr,
    settings: &Settings,
    wanted: &Wanted,
) -> Result<()> {
    let namespace =
        |name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let namespaces = NAMESPACES.map(namespace);
    let made = namespaces.iter().map(|body| ensure(client, kinds, body.clone()));
    try_join_all(made).await.context("making the namespaces of the system")?;
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
    let body = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": if api.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [api.ip().to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": api.port(), "protocol": "TCP"}]});
    wanted.hold(body.clone());
    ensure(client, kinds, body.clone()).await?;
    let slices = resource(kinds, &Object::new(body.clone()))?;
    match client.update(slices, "default", "kubernetes", "", body).await {
        Err(status) if status.is_storage_read() => Ok(()),
        updated => updated.map(|_| ()),
    }
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
