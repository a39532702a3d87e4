//! Says behind the `kube-dns` Service where cluster DNS listens on this node.

use crate::Error;
use skiff_api::view::View;
use skiff_client::{Client, PatchKind};
use skiff_json::{Value, json};
use skiff_kinds::views::{EndpointSlice, SERVICE_NAME};
use std::net::SocketAddr;

/// Writes the EndpointSlice, and says what it wrote; the Service has no selector, so nobody else does.
pub async fn publish(client: &Client, node: &str, address: SocketAddr) -> Result<Value, Error> {
    let body = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kube-dns", "namespace": "kube-system",
            "labels": {SERVICE_NAME: "kube-dns", "k8s-app": "kube-dns",
                "endpointslice.kubernetes.io/managed-by": "skiff-dns"}},
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address.ip().to_string()], "nodeName": node,
            "conditions": {"ready": true, "serving": true, "terminating": false}}],
        "ports": [{"name": "dns", "port": address.port(), "protocol": "UDP"},
            {"name": "dns-tcp", "port": address.port(), "protocol": "TCP"}],
    });
    let slices = EndpointSlice::RESOURCE;
    client.patch(PatchKind::Apply, slices, "kube-system", "kube-dns", "", body.clone()).await?;
    Ok(body)
}
