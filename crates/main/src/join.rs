//! An agent in a process without a server: it reaches one over HTTPS, and goes on for as long as that is away.

use crate::addresses::Addresses;
use crate::agent::{self, Given, Names};
use crate::assemble::{Machine, open_images};
use crate::identity::Identity;
use anyhow::Result;
use skiff_api::view::View;
use skiff_base::{OnEnd, Part, Parts, World};
use skiff_cli::credential::Credential;
use skiff_cli::settings::Settings;
use skiff_client::Caches;
use skiff_kinds::views::{Node, Pod};
use std::sync::Arc;

const IDENTITY: Part = Part { name: "identity", on_end: OnEnd::Restart };

/// Builds and starts it; returns when the agent runs, which needs the server at its first start alone.
pub async fn start(
    settings: &Arc<Settings>,
    credential: &Credential,
    world: &World,
    parts: &Parts,
) -> Result<Machine> {
    let addresses = Addresses::find(settings)?;
    let address = addresses.advertise;
    let identity = Arc::new(Identity::open(settings, address, credential, world)?);
    let kept = identity.clone();
    parts.start(IDENTITY, move |_| {
        let kept = kept.clone();
        async move { kept.keep().await }
    });
    identity.known().await;
    let client = identity.client.clone();
    let caches = Caches::new(client.clone(), world.clone(), parts.clone());
    // A node may look at itself and at its own pods.
    let own = |field: &str| format!("&fieldSelector={field}%3D{}", settings.node);
    caches.filtered::<Node>(&(Node::QUERY.to_owned() + &own("metadata.name")));
    caches.filtered::<Pod>(&(Pod::QUERY.to_owned() + &own("spec.nodeName")));
    let given = Given {
        settings: settings.clone(),
        addresses: addresses.clone(),
        own_ports: vec![agent::PORT],
        world: world.clone(),
        parts: parts.clone(),
        client,
        caches: caches.clone(),
        tls: identity.tls.clone(),
        images: open_images(settings, world)?,
        names: Names::OfNode,
    };
    let agent = agent::start(&given).await?;
    let server = credential.server.clone();
    Ok(Machine { parts: parts.clone(), addresses, server, plane: None, caches, agent })
}
