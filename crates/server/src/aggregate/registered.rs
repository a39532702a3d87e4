//! Registered: what an APIService says of the version of a group that it stands for.
//!
//! It reads bodies as they are stored: the fields that it looks at have been in every generation of the kind.

use crate::outbound::{Place, Speaks, Target, Trusted};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Requests of one aggregated server that run at once and end soon: it has as many as this server has for reads, and
/// whoever comes after them is refused. They take no seats of other requests, which need nothing of it.
const CALLS_MOST: usize = 400;
/// Watches and other streams of one aggregated server.
const STREAMS_MOST: usize = 600;
const SERVICE_PORT: u16 = 443;

/// An APIService.
pub struct Registered {
    /// `version.group`
    pub name: String,
    pub group: String,
    pub version: String,
    pub group_priority: i64,
    pub version_priority: i64,
    /// Whom it names; `None` is this server.
    pub target: Option<Target>,
    /// As its condition says.
    pub available: bool,
    pub(super) places: Arc<Places>,
}

/// What runs over there at once.
pub struct Places {
    pub calls: Arc<Semaphore>,
    pub streams: Arc<Semaphore>,
}

impl Places {
    pub fn new() -> Places {
        Places {
            calls: Arc::new(Semaphore::new(CALLS_MOST)),
            streams: Arc::new(Semaphore::new(STREAMS_MOST)),
        }
    }
}

#[derive(Deserialize)]
struct Stored {
    metadata: Named,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    group: String,
    version: String,
    group_priority_minimum: i64,
    version_priority: i64,
    service: Option<Service>,
    ca_bundle: Option<String>,
    #[serde(rename = "insecureSkipTLSVerify")]
    insecure: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Service {
    namespace: String,
    name: String,
    port: Option<u16>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    conditions: Option<Vec<Condition>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

impl Registered {
    /// # Errors
    /// Why the body cannot be read.
    pub fn read(body: &[u8], places: Arc<Places>) -> Result<Registered, String> {
        let Stored { metadata, spec, status } =
            skiff_json::from_slice(body).map_err(|error| error.to_string())?;
        let trusted = match spec.ca_bundle.as_deref().unwrap_or("") {
            _ if spec.insecure => Trusted::Anybody,
            "" => Trusted::system(),
            bundle => {
                let pem = STANDARD.decode(bundle).map_err(|error| error.to_string())?;
                Trusted::Of(String::from_utf8_lossy(&pem).into_owned())
            }
        };
        let target = spec.service.map(|it| {
            let port = it.port.unwrap_or(SERVICE_PORT);
            let place = Place::Service { namespace: it.namespace, name: it.name, port };
            // A watch has a connection of its own, and a call that another one holds up is nobody's.
            Target { place, trusted, speaks: Speaks::One }
        });
        let mut conditions = status.conditions.into_iter().flatten();
        let available = conditions.any(|it| it.r#type == "Available" && it.status == "True");
        Ok(Registered {
            name: metadata.name,
            group: spec.group,
            version: spec.version,
            group_priority: spec.group_priority_minimum,
            version_priority: spec.version_priority,
            target,
            available,
            places,
        })
    }

    /// Where its discovery is.
    pub fn path(&self) -> String {
        match &*self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        }
    }
}
