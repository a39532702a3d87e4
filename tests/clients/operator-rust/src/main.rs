//! An operator by kube-rs: it brings the definition of its kind, made of the type below, and runs until it is told to
//! end. The cluster is the current context of $KUBECONFIG.
//!
//! A Fleet becomes a Deployment of its size, which belongs to it; what of it is ready becomes its status. A finalizer sees
//! to it that a Fleet leaves a farewell, the ConfigMap NAME-farewell, before it goes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{self, Event, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, CustomResource, CustomResourceExt, Resource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Who the fields that it applies belong to.
const MANAGER: &str = "fleet-operator";
const FINALIZER: &str = "sea.example.com/farewell";
/// How long a definition may take until it is served.
const ESTABLISHED: Duration = Duration::from_secs(60);
/// When a pass that failed comes again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a user asks for.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "sea.example.com",
    version = "v1",
    kind = "Fleet",
    namespaced,
    status = "FleetStatus"
)]
#[kube(printcolumn(name = "Ready", type_ = "integer", json_path = ".status.ready"))]
struct FleetSpec {
    #[schemars(range(min = 0, max = 10))]
    size: i32,
    image: String,
}

/// What the operator has seen.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
struct FleetStatus {
    ready: i32,
    conditions: Vec<Condition>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let client = Client::try_default().await.context("find a cluster (is $KUBECONFIG set?)")?;
    define(&client).await?;
    let fleets = Controller::new(Api::<Fleet>::all(client.clone()), watcher::Config::default())
        .owns(Api::<Deployment>::all(client.clone()), watcher::Config::default())
        .shutdown_on_signal()
        .run(reconcile, again, Arc::new(client));
    // What went wrong has been told where it is tried again.
    fleets.for_each(|_| std::future::ready(())).await;
    Ok(())
}

/// Applies the definition of fleets, and waits until it is served.
async fn define(client: &Client) -> Result<()> {
    let (definitions, definition) =
        (Api::<CustomResourceDefinition>::all(client.clone()), Fleet::crd());
    let name = definition.name_any();
    definitions
        .patch(&name, &PatchParams::apply(MANAGER), &Patch::Apply(&definition))
        .await
        .with_context(|| format!("apply the definition {name}"))?;
    let established = await_condition(definitions, &name, conditions::is_crd_established());
    tokio::time::timeout(ESTABLISHED, established)
        .await
        .with_context(|| format!("{name} was not established in {ESTABLISHED:?}"))??;
    println!("{name} is served");
    Ok(())
}

type Failure = finalizer::Error<kube::Error>;

/// Makes one fleet true, or lets it go.
async fn reconcile(fleet: Arc<Fleet>, client: Arc<Client>) -> Result<Action, Failure> {
    let namespace = fleet.namespace().expect("fleets are namespaced");
    let fleets = Api::<Fleet>::namespaced((*client).clone(), &namespace);
    finalizer(&fleets, FINALIZER, fleet, |event| async {
        match event {
            Event::Apply(fleet) => build(&client, &fleets, &namespace, &fleet).await,
            Event::Cleanup(fleet) => farewell(&client, &namespace, &fleet).await,
        }
    })
    .await
}

fn again(fleet: Arc<Fleet>, error: &Failure, _: Arc<Client>) -> Action {
    eprintln!("{}: {error}: {:?}", fleet.name_any(), std::error::Error::source(error));
    Action::requeue(AGAIN)
}

/// Applies the ships at the server, and tells what of them is ready.
async fn build(
    client: &Client,
    fleets: &Api<Fleet>,
    namespace: &str,
    fleet: &Fleet,
) -> Result<Action, kube::Error> {
    let (name, spec) = (fleet.name_any(), &fleet.spec);
    let owner =
        fleet.controller_owner_ref(&()).expect("it came from the API, with a name and a uid");
    let ships = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "ownerReferences": [owner]},
        "spec": {
            "replicas": spec.size,
            "selector": {"matchLabels": {"fleet": name}},
            "template": {
                "metadata": {"labels": {"fleet": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "ship", "image": spec.image, "command": ["sleep", "3600"]}],
                },
            },
        },
    });
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let apply = PatchParams::apply(MANAGER).force();
    let ships = deployments.patch(&name, &apply, &Patch::Apply(&ships)).await?;
    let ready = ships.status.and_then(|s| s.ready_replicas).unwrap_or(0);
    println!("{name}: {} ships, {ready} ready", spec.size);
    let status = json!({
        "apiVersion": Fleet::api_version(&()),
        "kind": Fleet::kind(&()),
        "status": FleetStatus { ready, conditions: vec![condition(fleet, ready)] },
    });
    fleets.patch_status(&name, &apply, &Patch::Apply(&status)).await?;
    Ok(Action::await_change())
}

/// Whether all ships are ready, and since when that is so.
fn condition(fleet: &Fleet, ready: i32) -> Condition {
    let (status, reason) =
        if ready == fleet.spec.size { ("True", "Complete") } else { ("False", "Building") };
    let before = fleet.status.iter().flat_map(|s| &s.conditions).find(|c| c.status == status);
    Condition {
        type_: "Ready".into(),
        status: status.into(),
        reason: reason.into(),
        message: String::new(),
        observed_generation: fleet.meta().generation,
        last_transition_time: before
            .map_or_else(|| Time(Timestamp::now()), |c| c.last_transition_time.clone()),
    }
}

/// Leaves a farewell; the finalizer goes when this has succeeded.
async fn farewell(client: &Client, namespace: &str, fleet: &Fleet) -> Result<Action, kube::Error> {
    let name = format!("{}-farewell", fleet.name_any());
    let note = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"size": fleet.spec.size.to_string()},
    });
    let notes = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    notes.patch(&name, &PatchParams::apply(MANAGER), &Patch::Apply(&note)).await?;
    println!("{}: farewell", fleet.name_any());
    Ok(Action::await_change())
}
