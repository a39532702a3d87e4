//! The range of this node's pods: the control plane gives it, once and for good, and the disk remembers it, so that a
//! node whose server is away starts all the same.

use crate::agent::Given;
use anyhow::{Context, Result};
use skiff_api::view::{Key, View};
use skiff_base::{Backoff, Cidr};
use skiff_cli::settings::Settings;
use skiff_json::json;
use skiff_kinds::views::Node;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two tries to make the node's object.
const RETRY: Backoff = Backoff { first: Duration::from_millis(200), most: Duration::from_secs(10) };

/// Where it is remembered, in a data folder.
pub fn file(data: &Path) -> PathBuf {
    data.join("node").join("pod-cidr")
}

/// The range that this node has had; `None` before its first start.
pub fn remembered(settings: &Settings) -> Result<Option<Cidr>> {
    let path = file(&settings.data);
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        Ok(text) => {
            let range = text.trim().parse();
            range.map(Some).with_context(|| format!("{} is damaged: remove it", path.display()))
        }
    }
}

/// The same, or the one that the control plane gives to the node's object, which is made where it is not there yet.
pub async fn find(given: &Given) -> Result<Cidr> {
    if let Some(range) = remembered(&given.settings)? {
        return Ok(range);
    }
    let (name, mut failures) = (&given.settings.node, 0);
    let body = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    while let Err(status) = given.client.create(Node::RESOURCE, "", body.clone()).await {
        if status.code == 409 {
            break;
        }
        failures += 1;
        tracing::warn!(%status, "the node is not known to the cluster yet; it tries again");
        given.world.sleep(RETRY.delay(failures)).await;
    }
    let key = Key::new("", name);
    let mut range = String::new();
    crate::admin::until(&given.caches, |node: &Node| {
        if node.metadata.key() == key {
            range.clone_from(&node.spec.pod_cidr);
        }
        !range.is_empty()
    })
    .await;
    let path = file(&given.settings.data);
    let folder = path.parent().context("it lies in a folder")?;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("making {}", folder.display()))?;
    skiff_cli::write(&path, range.as_bytes())?;
    range.parse().context("the range of the node's pods")
}
