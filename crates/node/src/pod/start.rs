//! The start of one container: what it needs is gathered, the runtime is asked, the hook is run.

use super::act;
use super::adopt::{self, ATTEMPT, CONTAINER, MESSAGE_POLICY};
use super::exits;
use super::seen::{ImageFact, Outcome};
use super::worker::Mail;
use crate::container::env::{self, Given};
use crate::container::fields::Addresses;
use crate::container::{command, identity, limits, mounts, security, service_env};
use crate::hooks;
use crate::report::Note;
use crate::rim::Rim;
use crate::sources::{Names, Sources};
use crate::volumes::Mounted;
use skiff_image::Image;
use skiff_kinds::views::pod::Container;
use skiff_kinds::views::{Pod, Service};
use skiff_runtime::spec::{ContainerSpec, Rootfs, User};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// A container that has just started the node waits this long to learn of the services.
const SERVICES_WAIT: Duration = Duration::from_secs(5);
const MESSAGE_PATH: &str = "/dev/termination-log";
const MESSAGE_MODE: u32 = 0o666;

/// Everything that one start needs.
pub struct Job {
    pub rim: Arc<Rim>,
    pub pod: Arc<Pod>,
    pub container: String,
    pub id: String,
    pub image: ImageFact,
    pub attempt: u32,
    pub sandbox: String,
    /// Id of the running container whose processes an ephemeral one joins.
    pub target: Option<String>,
    pub volumes: BTreeMap<String, Mounted>,
    pub addresses: Addresses,
    pub send: UnboundedSender<Mail>,
    /// An older run of the container that is not kept any longer.
    pub forgotten: Option<String>,
}

/// Reason and message of a waiting state.
type Trouble = (&'static str, String);

impl Job {
    pub async fn run(self) {
        let found = self.pod.spec.all_containers().find(|c| c.name == self.container).cloned();
        let Some(container) = found else { return };
        match self.start(&container).await {
            Ok(()) => self.hook(&container).await,
            Err((reason, message)) => {
                self.note("Warning", "Failed", format!("Error: {message}"));
                self.drop_rootfs().await;
                self.tell(Outcome::NotStarted {
                    container: self.container.clone(),
                    id: self.id.clone(),
                    reason: reason.into(),
                    message,
                });
            }
        }
        if let Some(old) = &self.forgotten {
            let log = self.log_path(self.attempt.saturating_sub(2));
            act::forget_container(&self.rim, old.clone(), log).await;
        }
    }

    fn tell(&self, outcome: Outcome) {
        // The worker may have ended; then nobody needs this.
        let _ = self.send.send(outcome.into());
    }

    fn note(&self, type_: &'static str, reason: &'static str, message: String) {
        let (pod, container) = (self.pod.clone(), Some(self.container.clone()));
        // As above.
        let _ = self.send.send(Note { pod, container, type_, reason, message }.into());
    }

    fn log_path(&self, attempt: u32) -> PathBuf {
        let meta = &self.pod.metadata;
        let dir = self.rim.log_dir(&meta.namespace, &meta.name, &meta.uid);
        dir.join(&self.container).join(format!("{attempt}.log"))
    }

    async fn start(&self, container: &Container) -> Result<(), Trouble> {
        let config = |why: String| ("CreateContainerConfigError", why);
        let image = self.rim.images.resolve(&self.image.id).map_err(|e| config(e.to_string()))?;
        let image = image.ok_or_else(|| config(format!("image {} is gone", self.image.id)))?;
        let env = self.env(container).await.map_err(config)?;
        let spec = self.spec(container, &image, env).await?;
        let user = (spec.user.uid, spec.user.gid, spec.user.groups.clone());
        let create = |e: skiff_runtime::Error| ("CreateContainerError", e.to_string());
        self.rim.runtime.create_container(&self.sandbox, &spec).await.map_err(create)?;
        self.note("Normal", "Created", "Container created".into());
        match self.rim.runtime.start_container(&self.id).await {
            Ok(status) => {
                self.note("Normal", "Started", "Container started".into());
                let since = exits::time(status.started_at.unwrap_or(status.created_at));
                self.tell(Outcome::Started {
                    container: self.container.clone(),
                    id: self.id.clone(),
                    since,
                    hooked: container.lifecycle.post_start.is_none(),
                    user,
                });
                Ok(())
            }
            Err(skiff_runtime::Error::Exec(why)) => {
                // The run counts: it has ended with code 128, which the runtime tells as an event.
                self.note("Warning", "Failed", format!("Error: {why}"));
                Ok(())
            }
            Err(error) => {
                let why = error.to_string();
                if let Err(error) = self.rim.runtime.remove_container(&self.id).await {
                    tracing::warn!(%error, "a container that did not start is not removed");
                }
                Err(("RunContainerError", why))
            }
        }
    }

    /// The postStart hook; a container that has none is through with this already.
    async fn hook(&self, container: &Container) {
        let Some(hook) = &container.lifecycle.post_start else { return };
        let target = hooks::Target {
            rim: &self.rim,
            pod: &self.pod,
            container,
            id: &self.id,
            ip: &self.addresses.pod_ip,
        };
        let result = hooks::run(&target, hook).await;
        if result.is_err() {
            self.note("Warning", "FailedPostStartHook", "PostStartHook failed".into());
        }
        let (container, id) = (self.container.clone(), self.id.clone());
        self.tell(Outcome::Hooked { container, id, result });
    }

    async fn drop_rootfs(&self) {
        let (images, id) = (self.rim.images.clone(), self.id.clone());
        let work = move || images.discard(&id).map_err(|e| e.to_string());
        let dropped = self.rim.blocking(self.rim.images.threads(), work);
        if let Err(why) = dropped.await {
            tracing::warn!(%why, "the folders of a container that did not start stay");
        }
    }

    async fn env(&self, container: &Container) -> Result<Vec<(String, String)>, String> {
        let (rim, namespace) = (&self.rim, &self.pod.metadata.namespace);
        let names = Names::of_env(container);
        let sources = match names.is_empty() {
            true => Sources::default(),
            false => Sources::read(&rim.client, namespace, &names)
                .await
                .map_err(|status| status.to_string())?,
        };
        let cache = rim.caches.of::<Service>();
        // Past this time a pod starts without the names of services that are not known.
        rim.world.within(SERVICES_WAIT, cache.caught_up(0)).await;
        let mut services = cache.list(namespace);
        if namespace != "default" {
            services.extend(cache.list("default"));
        }
        let links = self.pod.spec.enable_service_links.unwrap_or(true);
        let services = service_env::variables(&services, namespace, links);
        let given = Given {
            pod: &self.pod,
            sources: &sources,
            services: &services,
            addresses: &self.addresses,
            node: rim.machine.capacity(),
        };
        env::environment(container, &given)
    }

    async fn spec(
        &self,
        container: &Container,
        image: &Arc<Image>,
        env: Vec<(String, String)>,
    ) -> Result<ContainerSpec, Trouble> {
        let rim = &self.rim;
        let message = exits::message_file(rim, &self.pod.metadata.uid, &self.container, &self.id);
        let (own, declared) = (self.own_files(container, &message), image.config.volumes.keys());
        let mounts = mounts::mounts(container, &self.volumes, &own, &env, declared)
            .map_err(|why| ("CreateContainerConfigError", why))?;
        let wanted = identity::wanted(&self.pod, container, &image.config.user);
        let target = &container.target_container_name;
        if !target.is_empty() && self.target.is_none() {
            let why = format!("unable to find target container {target}");
            return Err(("CreateContainerConfigError", why));
        }
        let args = command::command(container, &image.config, &env)
            .map_err(|why| ("CreateContainerConfigError", why))?;
        let merged = command::merged_env(&image.config, &env)
            .map_err(|why| ("CreateContainerConfigError", why))?;
        let armor = crate::admit::profile(&self.pod, container, rim.rules.profiles)
            .map_err(|why| ("CreateContainerError", format!("Cannot enforce AppArmor: {why}")))?;
        if args.is_empty() {
            let why = "no command specified".to_owned();
            return Err(("CreateContainerError", why));
        }
        let (images, its_image, id) = (rim.images.clone(), image.clone(), self.id.clone());
        let work = move || prepare(&images, &its_image, &id, &wanted, &message);
        let prepared = rim.blocking(rim.images.threads(), work);
        let (rootfs, user) = prepared.await.map_err(|why| ("CreateContainerError", why))?;
        identity::check_non_root(&self.pod, container, &image.config.user, &user)
            .map_err(|why| ("CreateContainerConfigError", why))?;
        let user = identity::with_groups(&self.pod, user);
        let cwd = match &*container.working_dir {
            "" => image.config.working_dir.clone(),
            own => own.to_owned(),
        };
        Ok(ContainerSpec {
            id: self.id.clone(),
            labels: self.labels(container, &user),
            args,
            env: self.with_hostname(merged),
            cwd,
            rootfs,
            readonly_rootfs: container.security_context.read_only_root_filesystem,
            mounts,
            user,
            security: security::security(&self.pod, container, &rim.profiles(), armor),
            devices: Vec::new(),
            resources: limits::container(container),
            rlimits: Vec::new(),
            oom_score_adj: Some(limits::oom_score_adj(
                &self.pod,
                container,
                rim.machine.memory_bytes,
            )),
            join_pids: self.target.clone(),
            terminal: container.tty,
            stdin: container.stdin,
            stdin_once: container.stdin_once,
            log_path: Some(self.log_path(self.attempt)),
            log_policy: Default::default(),
        })
    }

    fn with_hostname(&self, mut env: Vec<String>) -> Vec<String> {
        if !env.iter().any(|line| line.starts_with("HOSTNAME=")) {
            let (name, _) = super::files::hostname(&self.pod, &self.rim.config.cluster_domain);
            env.push(format!("HOSTNAME={name}"));
        }
        env
    }

    fn labels(&self, container: &Container, user: &User) -> BTreeMap<String, String> {
        let mut labels = act::pod_labels(&self.pod);
        labels.insert(CONTAINER.into(), self.container.clone());
        labels.insert(ATTEMPT.into(), self.attempt.to_string());
        labels.insert(MESSAGE_POLICY.into(), container.termination_message_policy.clone());
        let user = adopt::user_text(user.uid, user.gid, &user.groups);
        labels.extend(adopt::image_labels(&self.image, &user));
        labels
    }

    /// Files of the node that a container sees, by their place in it.
    fn own_files(
        &self,
        container: &Container,
        message: &std::path::Path,
    ) -> Vec<(String, PathBuf)> {
        let dir = self.rim.pod_dir(&self.pod.metadata.uid);
        let path = match &*container.termination_message_path {
            "" => MESSAGE_PATH,
            path => path,
        };
        vec![
            ("/etc/hosts".into(), dir.join("etc-hosts")),
            ("/etc/hostname".into(), dir.join("hostname")),
            ("/etc/resolv.conf".into(), dir.join("resolv.conf")),
            (path.into(), message.to_owned()),
        ]
    }
}

/// Folders of the root file system, numbers of the user, and the file for last words.
fn prepare(
    images: &skiff_image::Images,
    image: &Image,
    id: &str,
    user: &str,
    message: &std::path::Path,
) -> Result<(Rootfs, User), String> {
    let rootfs = images.rootfs(image, id).map_err(|e| e.to_string())?;
    let rootfs = Rootfs::Overlay { lower: rootfs.lower, upper: rootfs.upper, work: rootfs.work };
    let user = skiff_runtime::container::user::resolve(&rootfs, user).map_err(|e| e.to_string())?;
    let file = |e: std::io::Error| format!("make {}: {e}", message.display());
    if let Some(dir) = message.parent() {
        std::fs::create_dir_all(dir).map_err(file)?;
    }
    std::fs::write(message, b"").map_err(file)?;
    let mode = std::fs::Permissions::from_mode(MESSAGE_MODE);
    std::fs::set_permissions(message, mode).map_err(file)?;
    Ok((rootfs, user))
}
