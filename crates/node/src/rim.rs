//! What every part of the node shares: the doors to the API, the runtime, the network, the images.

use crate::admit::Rules;
use crate::machine::Machine;
use crate::node::Config;
use crate::pod::allocation::Allocations;
use crate::report::Desk;
use crate::watches::Watches;
use skiff_base::{Blocking, Tasks, World};
use skiff_client::events::Recorder;
use skiff_client::{Caches, Client};
use skiff_image::Images;
use skiff_net::PodNetwork;
use skiff_runtime::client::Runtime;
use std::path::PathBuf;
use std::sync::Arc;

/// Shared by all workers; never changed.
pub struct Rim {
    pub world: World,
    pub config: Config,
    pub machine: Machine,
    pub rules: Rules,
    pub client: Client,
    pub caches: Caches,
    pub recorder: Recorder,
    pub desk: Arc<Desk>,
    pub images: Images,
    pub runtime: Runtime,
    pub network: Arc<PodNetwork>,
    pub tasks: Tasks,
    pub watches: Watches,
    pub allocations: Allocations,
    pub threads: Threads,
}

/// Threads that may wait, by what they wait for; images have their own ([`Images::threads`]). Clones share them.
#[derive(Clone)]
pub struct Threads {
    /// Volumes as they are made: a disk of the network may be gone for hours.
    pub mounts: Blocking,
    /// What pods and containers leave: much of it, and never in the way of a start.
    pub removals: Blocking,
    /// Links, routes, packet rules: calls of the kernel, which take turns.
    pub tables: Blocking,
    /// Last words of containers.
    pub files: Blocking,
    /// What pods have on the disk: one pod at a time.
    pub measures: Blocking,
}

impl Threads {
    const MOUNTS: usize = 8;
    const REMOVALS: usize = 4;
    const TABLES: usize = 4;
    const FILES: usize = 4;
    /// All together.
    pub const MOST: usize = Self::MOUNTS + Self::REMOVALS + Self::TABLES + Self::FILES + 1;
}

impl Default for Threads {
    fn default() -> Threads {
        Threads {
            mounts: Blocking::new(Self::MOUNTS),
            removals: Blocking::new(Self::REMOVALS),
            tables: Blocking::new(Self::TABLES),
            files: Blocking::new(Self::FILES),
            measures: Blocking::new(1),
        }
    }
}

impl Rim {
    /// Everything of one pod on this node's disk, but its logs.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.config.data.join("pods").join(uid)
    }

    /// The logs of one pod: a folder per container, a file per run.
    pub fn log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.config.data.join("logs").join(format!("{namespace}_{name}_{uid}"))
    }

    /// Where Localhost seccomp profiles are looked up.
    pub fn profiles(&self) -> PathBuf {
        self.config.data.join("seccomp")
    }

    /// Runs work that waits for the disk or the kernel on a thread of its purpose.
    pub async fn blocking<T: Send + 'static>(
        &self,
        threads: &Blocking,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        threads.run(work).await.unwrap_or_else(|cut| Err(cut.to_string()))
    }

    /// A name that nothing else has.
    pub fn fresh_id(&self) -> String {
        let mut bytes = [0; 32];
        self.world.fill(&mut bytes);
        skiff_base::id::hex(&bytes)
    }
}
