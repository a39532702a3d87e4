//! Adoption: containers outlive the daemon. What the runtime has is grouped by pod, and becomes the
//! facts that a worker begins with, so that nothing is started twice and nothing is restarted.

use super::exits;
use super::seen::{Ended, ImageFact, Known, ProbeType, RESTART, Run, Sandbox, Seen, Verdicts};
use skiff_api::view::Key;
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::ContainerStatus as Reported;
use skiff_net::Attachment;
use skiff_runtime::status::{ContainerState, ContainerStatus, Listing, SandboxStatus};
use std::collections::{BTreeMap, HashMap};

/// Marks on sandboxes and containers; the names are those that CRI users know.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
pub const POD_NAME: &str = "io.kubernetes.pod.name";
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const CONTAINER: &str = "io.kubernetes.container.name";
pub const ATTEMPT: &str = "io.kubernetes.container.restartCount";
pub const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
const IMAGE_NAME: &str = "skiff.image.name";
const IMAGE_ID: &str = "skiff.image.id";
const IMAGE_SHOWN: &str = "skiff.image.shown";
const USER: &str = "skiff.user";

/// What the runtime still has of one pod.
#[derive(Debug, Clone, Default)]
pub struct Leftover {
    sandboxes: Vec<(SandboxStatus, Option<std::net::IpAddr>)>,
    containers: Vec<ContainerStatus>,
    /// It has a folder, with volumes in it or without.
    folder: bool,
}

impl Leftover {
    pub fn sandboxes(&self) -> Vec<String> {
        self.sandboxes.iter().map(|(sandbox, _)| sandbox.id.clone()).collect()
    }

    /// The pod that it belongs to, as the marks say.
    pub fn pod(&self) -> Option<Key> {
        let sandboxes = self.sandboxes.iter().map(|(sandbox, _)| &sandbox.labels);
        let labels = sandboxes.chain(self.containers.iter().map(|it| &it.labels)).next()?;
        Some(Key::new(labels.get(POD_NAMESPACE)?, labels.get(POD_NAME)?))
    }

    pub fn container_ids(&self) -> Vec<String> {
        self.containers.iter().map(|container| container.id.clone()).collect()
    }

    /// A pod that the API does not have: what is left of it ends like that of any other.
    pub fn stray(&self, uid: &str) -> Pod {
        let mut pod = Pod::default();
        if let Some(key) = self.pod() {
            (pod.metadata.namespace, pod.metadata.name) = (key.namespace, key.name);
        }
        pod.metadata.uid = uid.to_owned();
        // What it was given is not known any more.
        pod.metadata.deletion_grace_period_seconds = Some(0);
        pod
    }
}

/// All that is there, by the uid of its pod. Each of `folders` is named by one.
pub fn group(
    listing: Listing,
    attached: &[Attachment],
    folders: Vec<String>,
) -> HashMap<String, Leftover> {
    let mut all: HashMap<String, Leftover> = HashMap::new();
    for uid in folders {
        all.entry(uid).or_default().folder = true;
    }
    for sandbox in listing.sandboxes {
        let Some(uid) = sandbox.labels.get(POD_UID).cloned() else { continue };
        let ip = attached.iter().find(|a| a.id == sandbox.id).map(|a| a.address);
        all.entry(uid).or_default().sandboxes.push((sandbox, ip));
    }
    for container in listing.containers {
        let Some(uid) = container.labels.get(POD_UID).cloned() else { continue };
        all.entry(uid).or_default().containers.push(container);
    }
    all
}

/// The marks of an image on a container that runs it.
pub fn image_labels(image: &ImageFact, user: &str) -> [(String, String); 4] {
    [
        (IMAGE_NAME.into(), image.name.clone()),
        (IMAGE_ID.into(), image.id.clone()),
        (IMAGE_SHOWN.into(), image.shown.clone()),
        (USER.into(), user.into()),
    ]
}

pub fn image_of(labels: &BTreeMap<String, String>) -> ImageFact {
    let text = |key| labels.get(key).cloned().unwrap_or_default();
    ImageFact { id: text(IMAGE_ID), name: text(IMAGE_NAME), shown: text(IMAGE_SHOWN) }
}

/// `uid:gid:group,group` on a container's mark.
pub fn user_text(uid: u32, gid: u32, groups: &[u32]) -> String {
    let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
    format!("{uid}:{gid}:{}", groups.join(","))
}

fn user_of(labels: &BTreeMap<String, String>) -> Option<(u32, u32, Vec<u32>)> {
    let mut parts = labels.get(USER)?.split(':');
    let uid = parts.next()?.parse().ok()?;
    let gid = parts.next()?.parse().ok()?;
    Some((uid, gid, parts.next()?.split(',').filter_map(|group| group.parse().ok()).collect()))
}

/// The facts as the runtime and the API together tell them.
pub fn adopt(seen: &mut Seen, leftover: &Leftover) {
    let host_network = seen.pod.spec.host_network;
    for (sandbox, ip) in &leftover.sandboxes {
        let whole = sandbox.ready && (ip.is_some() || host_network);
        match whole {
            true => seen.sandbox = Sandbox::Ready { id: sandbox.id.clone(), ip: *ip },
            // Another one that is whole is the pod's, and this one goes with it.
            false if matches!(seen.sandbox, Sandbox::Ready { .. }) => {}
            false => seen.sandbox = Sandbox::Broken { id: sandbox.id.clone(), at: seen.since },
        }
    }
    if leftover.folder {
        seen.find_volumes();
    }
    let mut containers: Vec<&ContainerStatus> = leftover.containers.iter().collect();
    containers.sort_by_key(|container| (attempt(&container.labels), container.created_at));
    for container in containers {
        let Some(name) = container.labels.get(CONTAINER) else { continue };
        let known = known(seen, name, container);
        seen.containers.insert(name.clone(), Box::new(known));
    }
    if matches!(seen.sandbox, Sandbox::Broken { .. }) {
        // Cluster or machine went down and took them along: that is no failure to back off from.
        for known in seen.containers.values_mut() {
            (known.backoff, known.told) = (None, None);
        }
        seen.begin_anew();
    }
}

/// What was found before goes on, where something is found at all: of a container without probes nobody would ever
/// say that it is ready, if the last word that the API has of it is from before it ran.
fn verdicts(seen: &Seen, name: &str, reported: Option<&Reported>) -> Verdicts {
    let (startup, readiness) =
        (seen.has_probe(name, ProbeType::Startup), seen.has_probe(name, ProbeType::Readiness));
    let started = !startup || reported.is_none_or(|status| status.started.unwrap_or(true));
    let ready = !readiness || reported.is_none_or(|status| status.ready);
    Verdicts { started, ready: started && ready }
}

fn attempt(labels: &BTreeMap<String, String>) -> u32 {
    labels.get(ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn known(seen: &Seen, name: &str, container: &ContainerStatus) -> Known {
    let (id, image) = (container.id.clone(), image_of(&container.labels));
    let reported = seen.pod.status.container_statuses.iter();
    let reported = reported.chain(&seen.pod.status.init_container_statuses);
    let reported = reported.into_iter().find(|status| status.name == name);
    let run = match (container.state, &container.exit) {
        (ContainerState::Exited, _) | (_, Some(_)) => Run::Ended(exits::ended(container, "")),
        (ContainerState::Running, None) => Run::Running {
            id,
            image,
            since: exits::time(container.started_at.unwrap_or(container.created_at)),
            hooked: true,
        },
        (ContainerState::Created, None) => Run::Ended(Ended {
            id,
            image,
            code: 137,
            signal: 0,
            reason: "ContainerStatusUnknown".into(),
            message: String::new(),
            started: None,
            finished: exits::time(container.created_at),
        }),
    };
    let restarts = attempt(&container.labels);
    let begun = exits::time(container.started_at.unwrap_or(container.created_at));
    let mut known = Known {
        run,
        restarts,
        // The back-off goes on where it was: it follows from the number of restarts.
        backoff: (restarts > 0).then(|| (RESTART.delay(restarts), begun)),
        last: seen.known(name).ended().cloned(),
        probes: verdicts(seen, name, reported),
        resources: reported.and_then(|status| status.resources.clone()),
        user: user_of(&container.labels),
        ..Known::default()
    };
    known.told = known.restart_at().map(|(_, at)| at);
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;
    use std::sync::Arc;

    /// Whether a container that runs has started and is ready, of which the API says neither.
    fn found(probes: &skiff_json::Value) -> (bool, bool) {
        let mut container = json!({"name": "main"});
        for (name, probe) in probes.as_object().into_iter().flatten() {
            container[&**name] = probe.clone();
        }
        let status = json!({"name": "main", "ready": false, "started": false});
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [container]},
            "status": {"containerStatuses": [status]}});
        let pod: Pod = skiff_json::from_value(pod).expect("it is a pod");
        let mut seen = Seen::new(Arc::new(pod), "10.0.0.1", exits::time(0));
        let marks = BTreeMap::from([(CONTAINER.to_owned(), "main".to_owned())]);
        let container = ContainerStatus {
            id: "c1".into(),
            sandbox: "s1".into(),
            labels: marks,
            state: ContainerState::Running,
            created_at: 0,
            pid: None,
            started_at: Some(0),
            exit: None,
            log_path: None,
        };
        let leftover = Leftover { containers: vec![container], ..Leftover::default() };
        adopt(&mut seen, &leftover);
        let Verdicts { started, ready } = seen.known("main").probes;
        (started, ready)
    }

    #[test]
    fn what_no_probe_will_find_is_not_waited_for() {
        let probe = json!({"exec": {"command": ["true"]}});
        assert_eq!(found(&json!({})), (true, true));
        assert_eq!(found(&json!({"readinessProbe": probe})), (true, false));
        assert_eq!(found(&json!({"startupProbe": probe})), (false, false));
    }
}
