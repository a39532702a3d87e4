//! Bootstrap: what every cluster holds before its first user comes. Made through the pipeline, like everything else,
//! and side by side, so that all of it shares a few group commits.

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_api::registry::Kinds;
use skiff_api::views::Resource;
use skiff_client::Client;
use skiff_server::authorize::{policy, reconcile};
use std::collections::HashMap;

const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Makes what is missing, and completes what an older version made.
pub async fn run(client: &Client, kinds: &Kinds) -> Result<()> {
    let namespace =
        |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let made = NAMESPACES.map(|name| ensure(client, kinds, namespace(name)));
    try_join_all(made).await.context("making the namespaces of the system")?;
    policy(client, kinds).await.context("writing the default roles and bindings")
}

/// Creates an object; one that is there stays as it is.
pub async fn ensure(client: &Client, kinds: &Kinds, body: Value) -> Result<(), Status> {
    let object = Object::new(body);
    let resource = resource(kinds, &object)?;
    let namespace = object.namespace().to_owned();
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
        for object in client.list(resource, "", "").await? {
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
