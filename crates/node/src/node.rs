//! Assembly of the node: what it is told, what it is given, and the tasks that it runs.

use crate::admit::Rules;
use crate::machine::Machine;
use crate::pod::Pods;
use crate::pod::allocation::Allocations;
use crate::qos::Requests;
use crate::report::Desk;
use crate::rim::{Rim, Threads};
use crate::{Error, register};
use skiff_base::{Tasks, World};
use skiff_client::events::Recorder;
use skiff_client::{Caches, Client};
use skiff_image::{Images, Mirror};
use skiff_net::PodNetwork;
use skiff_runtime::client::Runtime;
use std::fs::Permissions;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

/// What a node is told.
#[derive(Debug, Clone)]
pub struct Config {
    pub name: String,
    /// Pods, logs and profiles are below this folder; it is the node's alone.
    pub data: PathBuf,
    /// The address that the node is known by.
    pub address: IpAddr,
    /// The port of the node's own API.
    pub port: u16,
    pub cluster_domain: String,
    /// The cluster's DNS server; None: pods get the machine's own.
    pub cluster_dns: Option<IpAddr>,
    /// The machine's resolver configuration, and the one behind it where that names a stub.
    pub resolv_conf: [PathBuf; 2],
    /// The machine's hosts file.
    pub hosts: PathBuf,
    pub mirrors: Vec<Mirror>,
    pub most_pods: u32,
    /// Sysctls that pods may set beside the safe ones; a `*` at the end stands for any.
    pub unsafe_sysctls: Vec<String>,
    /// TCP ports of the machine on which the cluster itself listens.
    pub own_ports: Vec<u16>,
    /// `v1.37.1`: what the node says it is.
    pub version: String,
}

/// The node of one machine.
pub struct Node {
    rim: Arc<Rim>,
    pods: Arc<Pods>,
}

/// How a node reaches the API.
pub struct Reach {
    /// Acts as `system:node:NAME` of group `system:nodes`.
    pub client: Client,
    /// They may know of other nodes' pods too.
    pub caches: Caches,
}

/// What of the machine a node works with. It outlives the node's part: a thread that hangs counts on after a new start.
#[derive(Clone)]
pub struct Equipment {
    pub images: Images,
    pub runtime: Runtime,
    pub network: Arc<PodNetwork>,
    pub threads: Threads,
}

impl Node {
    /// The group of `tasks` cannot do without some of them.
    pub fn build(
        world: World,
        config: Config,
        Reach { client, caches }: Reach,
        Equipment { images, runtime, network, threads }: Equipment,
        tasks: Tasks,
    ) -> Result<Node, Error> {
        for folder in ["pods", "logs"] {
            let path = config.data.join(folder);
            // Volumes hold secrets: nobody else of the machine walks into them.
            std::fs::create_dir_all(&path)
                .and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(0o700)))
                .map_err(|source| Error::MakeFolder { path, source })?;
        }
        let machine = Machine::read(&config.data)?;
        let recorder =
            Recorder::new(client.clone(), world.clone(), "kubelet").on_host(&config.name);
        let capacity = machine.capacity();
        let most = Requests { milli_cpu: capacity.milli_cpu, memory: capacity.memory };
        let rules = Rules {
            unsafe_sysctls: config.unsafe_sysctls.clone(),
            own_ports: config.own_ports.clone(),
            profiles: crate::machine::apparmor,
            selinux: machine.selinux,
        };
        let desk = Arc::new(Desk {
            world: world.clone(),
            client: client.clone(),
            recorder: recorder.clone(),
            tasks: tasks.clone(),
        });
        let rim = Arc::new(Rim {
            world,
            config,
            machine,
            rules,
            client,
            caches,
            recorder,
            desk,
            images,
            runtime,
            network,
            tasks,
            watches: Default::default(),
            allocations: Allocations::new(most),
            threads,
        });
        let pods = Arc::new(Pods::new(rim.clone()));
        Ok(Node { rim, pods })
    }

    /// Registers the node, adopts what runs, and follows its pods.
    pub async fn start(&self) -> Result<(), Error> {
        self.rim.tasks.vital(register::run(self.rim.clone()));
        self.pods.clone().start().await
    }

    /// What the node's API stands on.
    pub fn doors(&self) -> crate::api::NodeDoors {
        crate::api::NodeDoors::new(self.rim.clone())
    }
}
