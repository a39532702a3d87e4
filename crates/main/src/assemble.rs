//! Assembly: which parts a process is made of. A cluster on one machine is a control plane and an agent, which share
//! one copy of each cache.

use crate::addresses::Addresses;
use crate::agent::{self, Agent, Given, Names};
use crate::plane::ControlPlane;
use anyhow::Result;
use skiff_api::wire::User;
use skiff_base::{Parts, World};
use skiff_cli::settings::Settings;
use skiff_client::{Caches, Client};
use skiff_image::Images;
use std::sync::Arc;

/// A running machine.
pub struct Machine {
    pub parts: Parts,
    pub addresses: Addresses,
    /// Where the API is: `https://host:port`.
    pub server: String,
    /// None where the server is another process's.
    pub plane: Option<ControlPlane>,
    pub caches: Caches,
    pub agent: Agent,
}

impl Machine {
    /// Builds and starts everything; returns when the API answers.
    pub async fn start(settings: &Arc<Settings>, world: &World, parts: &Parts) -> Result<Machine> {
        let addresses = Addresses::find(settings)?;
        let plane = ControlPlane::start(settings, &addresses, world, parts).await?;
        let listener = crate::plane::listen(settings).await?;
        let name = format!("system:node:{}", settings.node);
        let user = User::system(&name, &["system:nodes"]);
        let given = Given {
            settings: settings.clone(),
            addresses: addresses.clone(),
            world: world.clone(),
            parts: parts.clone(),
            client: Client::new(plane.serve.clone(), user, "kubelet"),
            caches: plane.caches.clone(),
            tls: plane.node_tls.clone(),
            images: open_images(settings, world)?,
            own_ports: vec![settings.listen.port(), agent::PORT],
            names: Names::OfService { client: plane.client.clone(), wanted: plane.wanted.clone() },
        };
        let agent = agent::start(&given).await?;
        plane.answer(listener, world, parts);
        let caches = plane.caches.clone();
        let server = addresses.server.clone();
        Ok(Machine { parts: parts.clone(), addresses, server, plane: Some(plane), caches, agent })
    }

    /// Stops all parts, the store last. Containers stay.
    pub async fn stop(self) {
        self.parts.stop().await;
        if let Some(plane) = self.plane {
            plane.server.store.close().await;
        }
    }
}

pub fn open_images(settings: &Settings, world: &World) -> Result<Images> {
    let options = skiff_image::StoreOptions::new(world.clone());
    Ok(Images::open(&settings.data.join("images"), options)?)
}
