//! Bootstrap: what every cluster holds before its first user comes. Made through the pipeline, like everything else.

use anyhow::Result;
use serde_json::json;
use skiff_api::views::{Namespace, View};
use skiff_client::Client;

const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Makes what is missing.
pub async fn run(client: &Client) -> Result<()> {
    for name in NAMESPACES {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        match client.create(Namespace::RESOURCE, "", body).await {
            Ok(_) => {}
            Err(status) if status.code == 409 => {}
            Err(status) => return Err(status.into()),
        }
    }
    Ok(())
}
