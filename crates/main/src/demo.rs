//! The demo: a Deployment and a Service of an image that holds nothing but this very program.
//!
//! It goes the way that any user's workload goes, through the API and the Service's address; only the image is made
//! here, since there is no registry to pull it from.

use crate::admin::{Door, Lines};
use anyhow::{Context, Result, bail};
use skiff_api::view::View;
use skiff_base::Backoff;
use skiff_client::PatchKind;
use skiff_image::ImageBuilder;
use skiff_json::{Value, json};
use skiff_kinds::views::Service;
use skiff_kinds::views::workloads::Deployment;
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const NAME: &str = "demo";
const IMAGE: &str = "localhost/skiff-demo:1";
const REPLICAS: i32 = 3;
const PORT: u16 = 8080;
const NAMESPACE: &str = "default";
/// Between two tries to fetch the page: the service's table follows the pods by some milliseconds.
const RETRY: Backoff = Backoff { first: Duration::from_millis(20), most: Duration::from_secs(1) };
/// One try to fetch the page.
const TRY: Duration = Duration::from_secs(2);
const PAGE_MOST: u64 = 64 << 10;

/// Deploys it, waits until it is served, and answers with its page.
pub async fn run(door: &Door, document: &Value, out: &Lines) -> Result<Value> {
    let limit_s = document["timeoutSeconds"].as_u64().context("the request names no limit")?;
    let work = deploy(door, out);
    match door.world.within(Duration::from_secs(limit_s), work).await {
        Some(result) => result,
        None => {
            bail!("it is not served after {limit_s} s: see `kubectl describe pods -l app=demo`")
        }
    }
}

async fn deploy(door: &Door, out: &Lines) -> Result<Value> {
    let images = door.images.clone();
    let program = std::env::current_exe().context("finding the program of this process")?;
    let image = ImageBuilder::new()
        .file_from("/skiff", 0o755, &program)
        .entrypoint(["/skiff", "demo-server"])
        .user("65534:65534")
        .expose(&format!("{PORT}/tcp"));
    let load = move || image.load(&images, IMAGE);
    tokio::task::spawn_blocking(load).await?.context("making the demo's image")?;
    say(out, format!("Made the image {IMAGE}")).await;
    apply(door, Deployment::RESOURCE, deployment(&door.settings.context())).await?;
    apply(door, Service::RESOURCE, service()).await?;
    say(out, format!("Applied Deployment {NAME} ({REPLICAS} replicas) and Service {NAME}")).await;
    crate::admin::until(&door.caches, |deployment: &Deployment| {
        let (meta, status) = (&deployment.metadata, &deployment.status);
        meta.name == NAME
            && meta.namespace == NAMESPACE
            && status.observed_generation >= meta.generation
            && status.updated_replicas == REPLICAS
            && status.available_replicas == REPLICAS
    })
    .await;
    say(out, format!("{REPLICAS} pods are available")).await;
    let service = door.client.get(Service::RESOURCE, NAMESPACE, NAME).await?.into_value();
    let address = service["spec"]["clusterIP"].as_str().unwrap_or("");
    let address: IpAddr = address
        .parse()
        .with_context(|| format!("the Service's address {address:?} is no address"))?;
    let mut failures = 0;
    let page = loop {
        match door.world.within(TRY, fetch(address)).await {
            Some(Ok(page)) => break page,
            _ => failures += 1,
        }
        door.world.sleep(RETRY.delay(failures)).await;
    };
    Ok(json!({"page": page.lines().next().unwrap_or(""), "address": address}))
}

async fn say(out: &Lines, text: String) {
    // Whoever asked has gone: the work goes on, and nobody reads.
    let _ = out.send(json!({"say": text})).await;
}

async fn apply(door: &Door, resource: skiff_api::view::Resource, body: Value) -> Result<()> {
    let applied = door.client.patch(PatchKind::Apply, resource, NAMESPACE, NAME, "", body).await;
    applied.with_context(|| format!("applying the demo's {}", resource.kind)).map(|_| ())
}

fn deployment(cluster: &str) -> Value {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"app": NAME}},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": {"app": NAME}},
                "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "automountServiceAccountToken": false,
                    "containers": [{
                        "name": NAME,
                        "image": IMAGE,
                        "imagePullPolicy": "Never",
                        "env": [
                            field("POD_NAME", "metadata.name"),
                            field("NODE_NAME", "spec.nodeName"),
                            {"name": "CLUSTER_NAME", "value": cluster},
                        ],
                        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
                        "readinessProbe": {
                            "httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1,
                        },
                        "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}},
                    }],
                },
            },
        },
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"app": NAME}},
        "spec": {
            "selector": {"app": NAME},
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    })
}

/// GET / of the Service, over a connection of its own.
async fn fetch(address: IpAddr) -> Result<String> {
    let mut stream = TcpStream::connect((address, 80)).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(PAGE_MOST).read_to_string(&mut answer).await?;
    let (head, page) = answer.split_once("\r\n\r\n").context("the answer is no HTTP")?;
    if !head.starts_with("HTTP/1.1 200 ") {
        bail!("the answer is {}", head.lines().next().unwrap_or(""));
    }
    Ok(page.to_owned())
}
