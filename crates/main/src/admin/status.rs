//! How the cluster is, and when it is ready: asked of the API like anybody else would.

use super::Door;
use crate::moved::is_here;
use anyhow::Result;
use serde_json::{Map, Value, json};
use skiff_api::view::{Key, View};
use skiff_kinds::views::{Node, Pod};

/// What `skiff status` shows of a daemon that runs.
pub async fn status(door: &Door) -> Result<Value> {
    let well = door.ready.states().iter().all(|(_, state)| state.is_ok());
    let mut nodes = Vec::new();
    for node in door.client.views::<Node>().await? {
        let status = if is_ready(&node) { "Ready" } else { "NotReady" };
        nodes.push(json!({"name": node.metadata.name, "status": status}));
    }
    let own = nodes.iter().find(|node| node["name"] == door.settings.node.as_str());
    let kubelet = match own.and_then(|node| node["status"].as_str()) {
        Some("Ready") => "Running",
        _ => "NotReady",
    };
    let mut pods = Map::new();
    for pod in door.client.views::<Pod>().await? {
        let count = pods.entry(pod.status.phase).or_insert(json!(0));
        *count = json!(count.as_u64().unwrap_or(0) + 1);
    }
    let settings = &door.settings;
    let named =
        [("listen", Some(settings.listen.ip())), ("advertise", settings.advertise.map(Into::into))];
    let gone = named.iter().find(|(_, address)| address.is_some_and(|address| !is_here(address)));
    Ok(json!({
        "addressGone": gone.map(|(name, _)| name),
        "version": format!("v{}", env!("CARGO_PKG_VERSION")),
        "kubernetes": skiff_server::paths::VERSION,
        "server": door.server,
        "apiserver": if well { "Running" } else { "NotReady" },
        "kubelet": kubelet,
        "nodes": nodes,
        "pods": pods,
        "unreadable": door.api.reader.unreadable.present(&*door.api.store),
        "obstacles": obstacles(door).await?,
    }))
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
        until(door, |node: &Node| node.metadata.key() == key && is_ready(node)).await;
        ready["node"] = json!(door.settings.node);
    }
    Ok(ready)
}

fn is_ready(node: &Node) -> bool {
    node.condition("Ready").is_some_and(|condition| condition.status == "True")
}

/// Waits until there is an object that fits.
pub async fn until<V: View>(door: &Door, fits: impl Fn(&V) -> bool) {
    let mut changes = door.caches.of::<V>().subscribe();
    while !changes.next().await.new.is_some_and(|object| fits(&object)) {}
}
