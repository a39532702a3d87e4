//! How the cluster is, and when it is ready: asked of the API like anybody else would.

use super::Door;
use crate::moved::is_here;
use anyhow::Result;
use skiff_api::view::{Key, View};
use skiff_client::Caches;
use skiff_json::{Map, Value, json};
use skiff_kinds::views::{NOT_READY, Node, Pod};
use skiff_server::Server;

/// What `skiff status` shows of a daemon that runs.
pub async fn status(door: &Door) -> Result<Value> {
    let mut status = match &door.api {
        Some(api) => of_cluster(door, api).await?,
        None => of_agent(door),
    };
    let settings = &door.settings;
    let named = [("listen", Some(settings.listen.ip())), ("advertise", settings.advertise)];
    let gone = named.iter().find(|(_, address)| address.is_some_and(|address| !is_here(address)));
    status["addressGone"] = json!(gone.map(|(name, _)| name));
    status["version"] = json!(format!("v{}", env!("CARGO_PKG_VERSION")));
    status["kubernetes"] = json!(skiff_server::paths::VERSION);
    status["storeFormat"] = json!(skiff_store::saved::FORMAT);
    status["server"] = json!(door.server);
    status["obstacles"] = json!(obstacles(door).await?);
    status["parts"] = json!(parts(door));
    Ok(status)
}

async fn of_cluster(door: &Door, api: &Server) -> Result<Value> {
    let well = door.ready.states().iter().all(|(_, state)| state.is_ok());
    let mut nodes = Vec::new();
    for node in door.client.views::<Node>().await? {
        let status = if node.ready() { "Ready" } else { "NotReady" };
        nodes.push(json!({"name": node.metadata.name, "status": status}));
    }
    let own = nodes.iter().find(|node| node["name"] == door.settings.node.as_str());
    let kubelet = kubelet(own.is_some_and(|node| node["status"] == "Ready"));
    let mut pods = Map::new();
    for pod in door.client.views::<Pod>().await? {
        let count = pods.entry(pod.status.phase).or_insert(json!(0));
        *count = json!(count.as_u64().unwrap_or(0) + 1);
    }
    Ok(json!({
        "apiserver": if well { "Running" } else { "NotReady" },
        "kubelet": kubelet,
        "nodes": nodes,
        "pods": pods,
        "unreadable": api.reader.unreadable.present(&*api.store),
    }))
}

/// An agent answers without its server: what it saw last counts.
fn of_agent(door: &Door) -> Value {
    let own = door.caches.of::<Node>().get(&Key::new("", &door.settings.node));
    json!({"apiserver": "Elsewhere", "kubelet": kubelet(own.is_some_and(|node| node.ready()))})
}

fn kubelet(ready: bool) -> &'static str {
    if ready { "Running" } else { "NotReady" }
}

/// How the parts of the daemon are.
fn parts(door: &Door) -> Vec<Value> {
    let part = |it: skiff_base::part::State| {
        json!({"name": it.name, "state": if it.up { "Running" } else { "Waiting" },
            "restarts": it.restarts, "panics": it.panics, "lastError": it.last_error})
    };
    door.parts.states().into_iter().map(part).collect()
}

/// What of the machine's firewall stands in the way of pods, with the command that mends it.
async fn obstacles(door: &Door) -> Result<Vec<Value>> {
    let network = door.network.clone();
    let found = tokio::task::spawn_blocking(move || network.obstacles()).await??;
    Ok(found.iter().map(|it| json!({"what": it.what, "command": it.command})).collect())
}

/// Answers when all parts of the server are ready and, if that was asked for, this machine's node.
pub async fn ready(door: &Door, query: &str) -> Result<Value> {
    door.ready.all().await;
    let mut ready = json!({"server": door.server, "obstacles": obstacles(door).await?});
    if query == "for=node" {
        let key = Key::new("", &door.settings.node);
        until(&door.caches, |node: &Node| node.metadata.key() == key && takes_pods(node)).await;
        ready["node"] = json!(door.settings.node);
    }
    Ok(ready)
}

/// A node is made with a taint that goes when it is ready; a pod that comes before that waits for a second.
fn takes_pods(node: &Node) -> bool {
    node.ready() && !node.spec.taints.iter().any(|taint| taint.key == NOT_READY)
}

/// Waits until there is an object that fits.
pub async fn until<V: View>(caches: &Caches, mut fits: impl FnMut(&V) -> bool) {
    let mut changes = caches.of::<V>().subscribe();
    while !changes.next().await.new.is_some_and(|object| fits(&object)) {}
}
