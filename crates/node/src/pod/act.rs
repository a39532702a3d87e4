//! What is done for a pod as a whole: its sandbox with network and files, its images, its end.

use super::adopt::{POD_NAME, POD_NAMESPACE, POD_UID};
use super::seen::{ImageFact, Outcome, Resize, SETUP};
use super::worker::Mail;
use super::{dns, files};
use crate::admit;
use crate::container::limits;
use crate::qos;
use crate::report::Note;
use crate::rim::Rim;
use crate::volumes::remove;
use skiff_image::{Credentials, DockerConfig, Given, Holder, Image, PullOptions, Reference};
use skiff_kinds::views::pod::Container;
use skiff_kinds::views::{Pod, RuntimeClass, Secret};
use skiff_net::{Attach, HostPort, NetNs, Protocol};
use skiff_runtime::spec::{Namespace, PidMode, SandboxSpec};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

/// Credentials that are tried for one image: each is a question to the registry.
const KEYS_MOST: usize = 16;

/// Namespaces, address and files of a pod.
pub async fn make_sandbox(rim: Arc<Rim>, pod: Arc<Pod>, mail: UnboundedSender<Mail>) -> Outcome {
    if let Err(why) = runtime(&rim, &pod).await {
        return Outcome::Sandbox(Err(why));
    }
    let spec = sandbox_spec(&rim, &pod);
    let made = match rim.runtime.create_sandbox(&spec).await {
        Err(error) => return Outcome::Sandbox(Err(error.to_string())),
        Ok(made) => made,
    };
    let id = spec.id.clone();
    let (shared, its_pod) = (rim.clone(), pod.clone());
    let attached = rim.blocking(&rim.threads.tables, move || {
        let ip = match made.netns {
            Some(netns) if !its_pod.spec.host_network => {
                Some(attach(&shared, &its_pod, &made.id, &netns)?)
            }
            _ => None,
        };
        Ok((ip, write_files(&shared, &its_pod, ip)?))
    });
    match attached.await {
        Ok((ip, warnings)) => {
            for message in warnings {
                let (pod, container, type_) = (pod.clone(), None, "Warning");
                let note = Note { pod, container, type_, reason: "DNSConfigForming", message };
                // The worker may have ended; then nobody needs this.
                let _ = mail.send(note.into());
            }
            Outcome::Sandbox(Ok((id, ip)))
        }
        Err(why) => {
            remove_until_gone(&rim, &id).await;
            Outcome::Sandbox(Err(why))
        }
    }
}

/// The names of the one runtime that there is: its own, and that of the program whose work it does (KEP-585).
const HANDLERS: [&str; 3] = ["", "skiff", "runc"];

/// Whether the class that a pod names is one that this node has.
async fn runtime(rim: &Rim, pod: &Pod) -> Result<(), String> {
    let named = pod.spec.runtime_class_name.as_deref().filter(|name| !name.is_empty());
    let Some(name) = named else { return Ok(()) };
    let class = rim.client.view::<RuntimeClass>("", name).await;
    let class = class.map_err(|status| status.to_string())?;
    match HANDLERS.contains(&&*class.handler) {
        true => Ok(()),
        false => Err(format!("RuntimeHandler {:?} not supported", class.handler)),
    }
}

fn sandbox_spec(rim: &Rim, pod: &Pod) -> SandboxSpec {
    let spec = &pod.spec;
    let namespace = |host: bool| if host { Namespace::Host } else { Namespace::Own };
    SandboxSpec {
        id: rim.fresh_id(),
        labels: pod_labels(pod),
        hostname: match spec.host_network {
            true => String::new(),
            false => files::kernel_name(pod, &rim.config.cluster_domain),
        },
        network: namespace(spec.host_network),
        ipc: namespace(spec.host_ipc),
        uts: namespace(spec.host_network),
        pid: match (spec.host_pid, spec.share_process_namespace) {
            (true, _) => PidMode::Host,
            (false, true) => PidMode::Pod,
            (false, false) => PidMode::Container,
        },
        sysctls: admit::effective_sysctls(pod),
        shm_size: 0,
        cgroup_parent: cgroup(pod),
        resources: limits::pod(pod),
    }
}

/// New limits of running containers. No limit of the pod stands in the way of those of its containers meanwhile.
pub async fn resize(rim: Arc<Rim>, pod: Arc<Pod>, resize: Resize) -> Outcome {
    let done = async {
        let path = cgroup(&pod);
        rim.runtime.set_cgroup(&path, &limits::lifted()).await?;
        for (name, id, _) in &resize.containers {
            let Some(container) = pod.spec.all_containers().find(|it| it.name == *name) else {
                continue;
            };
            let changed = limits::or_lifted(limits::container(container));
            rim.runtime.update_container(id, &changed).await?;
        }
        rim.runtime.set_cgroup(&path, &limits::or_lifted(limits::pod(&pod))).await
    };
    let done: Result<(), skiff_runtime::Error> = done.await;
    Outcome::Resized(done.map_err(|error| error.to_string()))
}

/// The pod's cgroup, by its class.
pub fn cgroup(pod: &Pod) -> String {
    let uid = &pod.metadata.uid;
    match qos::class(pod) {
        "Guaranteed" => format!("kubepods/pod{uid}"),
        class => format!("kubepods/{}/pod{uid}", class.to_ascii_lowercase()),
    }
}

fn attach(rim: &Rim, pod: &Pod, id: &str, netns: &Path) -> Result<IpAddr, String> {
    let namespace = NetNs::open(netns).map_err(|e| e.to_string())?;
    let ports = pod.spec.host_ports();
    let host_ports: Vec<HostPort> = ports
        .map(|port| HostPort {
            protocol: match &*port.protocol {
                "UDP" => Protocol::Udp,
                "SCTP" => Protocol::Sctp,
                _ => Protocol::Tcp,
            },
            host_ip: port.host_ip.parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified()),
            host_port: port.host_port,
            container_port: port.container_port,
        })
        .collect();
    let attach = Attach { id, namespace: &namespace, address: None, host_ports: &host_ports };
    let attachment = rim.network.attach(&attach).map_err(|e| e.to_string())?;
    Ok(attachment.address)
}

/// What users have to be told of the files.
fn write_files(rim: &Rim, pod: &Pod, ip: Option<IpAddr>) -> Result<Vec<String>, String> {
    let config = &rim.config;
    let dir = rim.pod_dir(&pod.metadata.uid);
    let machine = |path: &Path| std::fs::read_to_string(path).unwrap_or_else(|_| String::new());
    let ip = ip.map_or_else(|| config.address.to_string(), |ip| ip.to_string());
    let hosts = files::hosts(pod, &ip, &config.cluster_domain, &machine(&config.hosts));
    let [first, behind] = config.resolv_conf.each_ref().map(|path| machine(path));
    let own = if dns::is_stub(&first) && !behind.is_empty() { behind } else { first };
    let cluster = dns::Cluster { server: config.cluster_dns, domain: &config.cluster_domain };
    let dns::Resolv { text: resolv, warnings } = dns::resolv_conf(pod, &cluster, &own);
    let name = files::kernel_name(pod, &config.cluster_domain) + "\n";
    let write = |name: &str, text: String| std::fs::write(dir.join(name), text);
    std::fs::create_dir_all(&dir)
        .and_then(|()| write("etc-hosts", hosts))
        .and_then(|()| write("resolv.conf", resolv))
        .and_then(|()| write("hostname", name))
        .map_err(|e| format!("write the files of the pod in {}: {e}", dir.display()))?;
    Ok(warnings)
}

/// Removes sandboxes with their containers, addresses and root file systems.
pub async fn remove_sandboxes(
    rim: &Arc<Rim>,
    ids: BTreeSet<String>,
    containers: BTreeSet<String>,
) -> Result<(), String> {
    for id in &ids {
        rim.runtime.remove_sandbox(id).await.map_err(|e| e.to_string())?;
    }
    let network = rim.network.clone();
    let detach =
        move || ids.iter().try_for_each(|id| network.detach(id).map_err(|e| e.to_string()));
    rim.blocking(&rim.threads.tables, detach).await?;
    let images = rim.images.clone();
    let discard =
        move || containers.iter().try_for_each(|id| images.discard(id).map_err(|e| e.to_string()));
    rim.blocking(&rim.threads.removals, discard).await
}

/// A sandbox that could not be made whole: nobody knows of it but the one that makes it.
async fn remove_until_gone(rim: &Arc<Rim>, id: &str) {
    let mut failures = 0;
    let one = || BTreeSet::from([id.to_owned()]);
    while let Err(why) = remove_sandboxes(rim, one(), BTreeSet::new()).await {
        failures += 1;
        tracing::warn!(sandbox = id, %why, "a sandbox is not removed yet");
        rim.world.sleep(SETUP.delay(failures)).await;
    }
}

/// Removes a container that ended long ago, and its log.
pub async fn forget_container(rim: &Arc<Rim>, id: String, log: std::path::PathBuf) {
    let removed = match rim.runtime.remove_container(&id).await {
        Err(error) => Err(error.to_string()),
        Ok(()) => {
            let shared = rim.clone();
            rim.blocking(&rim.threads.removals, move || {
                if log.exists() {
                    std::fs::remove_file(&log).map_err(|e| e.to_string())?;
                }
                shared.images.discard(&id).map_err(|e| e.to_string())
            })
            .await
        }
    };
    if let Err(why) = removed {
        tracing::warn!(%why, "an old container is not removed");
    }
}

/// Removes a pod's folders and its logs. What is mounted in them is not entered.
pub async fn clean_up(rim: Arc<Rim>, pod: Arc<Pod>) -> Outcome {
    let meta = &pod.metadata;
    let dir = rim.pod_dir(&meta.uid);
    let logs = rim.log_dir(&meta.namespace, &meta.name, &meta.uid);
    let work = move || [dir, logs].iter().try_for_each(|dir| remove::tree(dir));
    Outcome::Finished(rim.blocking(&rim.threads.removals, work).await)
}

/// Makes sure that a container's image is here, and tells users how.
pub async fn pull(
    rim: Arc<Rim>,
    pod: Arc<Pod>,
    container: String,
    mail: UnboundedSender<Mail>,
) -> Outcome {
    let found = pod.spec.all_containers().find(|c| c.name == container);
    let Some(wanted) = found else {
        let why = ("ErrImagePull".to_owned(), "the container is not in the pod".to_owned());
        return Outcome::Image { container, result: Err(why) };
    };
    let tell = |type_, reason, message| {
        let (pod, container) = (pod.clone(), Some(container.clone()));
        // The worker may have ended; then nobody needs this.
        let _ = mail.send(Note { pod, container, type_, reason, message }.into());
    };
    let result = ensure(&rim, &pod, wanted, &tell).await;
    if let Err((reason, _)) = &result {
        tell("Warning", "Failed", format!("Error: {reason}"));
    }
    Outcome::Image { container, result }
}

type Tell<'a> = dyn Fn(&'static str, &'static str, String) + Send + Sync + 'a;

async fn ensure(
    rim: &Rim,
    pod: &Pod,
    container: &Container,
    tell: &Tell<'_>,
) -> Result<ImageFact, (String, String)> {
    let (image, policy) = (&*container.image, &*container.image_pull_policy);
    let reference = Reference::parse(image).map_err(|e| {
        let why = format!(
            "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: {e}"
        );
        tell("Warning", "InspectFailed", why.clone());
        ("InvalidImageName".to_owned(), why)
    })?;
    let here =
        rim.images.resolve(image).map_err(|e| ("ImageInspectError".into(), e.to_string()))?;
    // Secrets are read only where they matter.
    let open = here.as_ref().is_some_and(|here| rim.images.admits(here, &reference, &[]));
    let keys = match open && policy != "Always" {
        true => Vec::new(),
        false => keys(rim, pod, &reference).await,
    };
    let holders: Vec<Holder> = keys.iter().map(|(_, holder)| holder.clone()).collect();
    // One that the pod may not have is as good as not here, and is not betrayed.
    let here = here.filter(|here| rim.images.admits(here, &reference, &holders));
    if let Some(here) = here.as_ref().filter(|_| policy != "Always") {
        tell(
            "Normal",
            "Pulled",
            format!(
                "Container image {image:?} already present on machine and can be accessed by the pod"
            ),
        );
        return Ok(fact(here, &reference));
    }
    if policy == "Never" {
        let why = format!("Container image {image:?} is not present with pull policy of Never");
        tell("Warning", "ErrImageNeverPull", why.clone());
        return Err(("ErrImageNeverPull".into(), why));
    }
    tell("Normal", "Pulling", format!("Pulling image {image:?}"));
    let begun = rim.world.uptime();
    match pull_with(rim, image, keys).await {
        Ok(pulled) => {
            let took = (rim.world.uptime() - begun).as_millis() as i64 * 1_000_000;
            let took = skiff_api::duration::format(took);
            tell(
                "Normal",
                "Pulled",
                format!(
                    "Successfully pulled image {image:?} in {took} ({took} including waiting). Image \
                 size: {} bytes.",
                    pulled.size
                ),
            );
            Ok(fact(&pulled, &reference))
        }
        Err(error) => {
            let mut why = format!("rpc error: code = {} desc = {error}", error.code().as_str());
            if here.is_some() {
                why += "; an image of this name is on the node: imagePullPolicy IfNotPresent runs it \
                        (Always is the default of the tag latest)";
            }
            tell("Warning", "Failed", format!("Failed to pull image {image:?}: {why}"));
            Err(("ErrImagePull".into(), why))
        }
    }
}

/// With the credentials that fit, one after the other, and without where there are none. Who got
/// the image is remembered.
async fn pull_with(
    rim: &Rim,
    image: &str,
    keys: Vec<(Credentials, Holder)>,
) -> Result<Arc<Image>, skiff_image::Error> {
    let mut keys = VecDeque::from(keys);
    loop {
        let (credentials, holder) = keys.pop_front().unzip();
        let mirrors = rim.config.mirrors.clone();
        let given = holder.map_or(Given::ToAnyone, Given::To);
        let options = PullOptions { credentials, mirrors, given, ..PullOptions::default() };
        match rim.images.pull(image, options).await {
            Err(error) if !keys.is_empty() => tracing::debug!(%error, "others are tried"),
            answer => return answer,
        }
    }
}

/// Those that fit of the pod's imagePullSecrets; a secret that is not there is passed over, as
/// upstream does, for the registry may need none.
async fn keys(rim: &Rim, pod: &Pod, reference: &Reference) -> Vec<(Credentials, Holder)> {
    let mut keys = Vec::new();
    for named in &pod.spec.image_pull_secrets {
        let read = rim.client.view::<Secret>(&pod.metadata.namespace, &named.name).await;
        let data = read.and_then(|secret| {
            let meta = secret.metadata;
            let owner = format!("{}/{}/{}", meta.namespace, meta.name, meta.uid);
            Ok((crate::sources::decode(secret.data)?, owner))
        });
        let (data, owner) = match data {
            Ok(data) => data,
            Err(status) => {
                tracing::warn!(secret = named.name, %status, "a pull secret cannot be read");
                continue;
            }
        };
        let config = data.get(".dockerconfigjson").or_else(|| data.get(".dockercfg"));
        match config.map(|bytes| DockerConfig::parse(bytes)) {
            Some(Ok(config)) => {
                keys.extend(config.lookup(reference).into_iter().map(|found| {
                    let holder = Holder::new(owner.clone(), &found);
                    (found, holder)
                }));
            }
            Some(Err(error)) => {
                tracing::warn!(secret = named.name, %error, "a pull secret cannot be read");
            }
            None => {}
        }
    }
    keys.truncate(KEYS_MOST);
    keys
}

/// What statuses show: a tag as the image, a digest of a repository as its id.
fn fact(image: &Image, reference: &Reference) -> ImageFact {
    let id = image.id.to_string();
    let asked = reference.to_string();
    let tag = image.repo_tags.iter().find(|tag| **tag == asked).or(image.repo_tags.first());
    ImageFact {
        name: tag.cloned().unwrap_or(asked),
        shown: image.repo_digests.first().cloned().unwrap_or_else(|| id.clone()),
        id,
    }
}

/// Marks of a pod on everything that the runtime keeps for it.
pub fn pod_labels(pod: &Pod) -> BTreeMap<String, String> {
    let meta = &pod.metadata;
    let labels = [(POD_UID, &meta.uid), (POD_NAME, &meta.name), (POD_NAMESPACE, &meta.namespace)];
    labels.map(|(key, value)| (key.to_owned(), value.clone())).into()
}
