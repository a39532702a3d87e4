//! The pod machine: what to do next for one pod. Pure: (what is seen, now) -> actions.
//!
//! A pod goes up in this order: sandbox, volumes and images side by side; init containers one after
//! the other, sidecars among them staying up; then all main containers at once. It goes down main
//! containers first, sidecars in reverse order, then the sandbox, and the volumes last (KEP-753; API
//! reference: Pod). The object goes when all else is known to be gone.
//! Every action is begun once: the facts say what is under way. Never here: IO, a clock.

use super::seen::{
    End, Failed, ImageFact, ImageStep, Known, ProbeType, Resize, Run, Sandbox, Seen, Trouble,
    VolumeState, later,
};
use skiff_base::Time;
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::Container;
use std::time::Duration;

/// A container always gets this long between the signal and the kill.
const GRACE_LEAST_S: i64 = 1;
/// The API's default of terminationGracePeriodSeconds.
const GRACE_DEFAULT_S: i64 = 30;
/// How long a status says that a pull failed before it says that it waits for the next one.
const PULL_SHOWN_MOST_S: i64 = 3;

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    MakeSandbox,
    /// Also one that is mounted, to make it as the API has it now.
    Mount {
        volume: String,
    },
    Unmount {
        volume: String,
    },
    Pull {
        container: String,
    },
    Start {
        container: String,
        id: String,
        image: ImageFact,
        attempt: u32,
    },
    Kill {
        container: String,
        id: String,
        why: Why,
        grace_s: i64,
    },
    RemoveSandbox {
        id: String,
    },
    Resize(Resize),
    /// A wait begins that users are told of.
    BackOff {
        container: String,
        type_: &'static str,
        message: String,
    },
    /// The pod's phase becomes Failed.
    Fail {
        reason: &'static str,
        message: String,
    },
    /// Nothing runs any more: remove what is left, and the object if it waits for that.
    Finish,
}

/// Why a container is stopped.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// The pod goes, within so many seconds.
    Pod {
        grace_s: i64,
    },
    Probe(ProbeType),
    Hook {
        message: String,
    },
    /// Its resources change, and it asked to be started anew for that.
    Resize,
}

/// What to do now, which probes shall run, and when to look again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub probes: Vec<(String, String, ProbeType)>,
    pub wake: Option<Time>,
}

impl Plan {
    fn wake(&mut self, at: Time) {
        self.wake = Some(self.wake.map_or(at, |before| before.min(at)));
    }
}

/// Decides. `name` gives ids for new containers.
pub fn plan(seen: &Seen, now: Time, name: &mut dyn FnMut() -> String) -> Plan {
    let mut out = Plan::default();
    match seen.end {
        End::CleaningUp | End::Over => return out,
        End::Stuck { retry } if retry > now => {
            out.wake(retry);
            return out;
        }
        End::Ahead | End::Stuck { .. } => {}
    }
    if let Some(at) = deadline(seen).filter(|_| !stopping(seen)) {
        if now >= at {
            out.actions.push(Action::Fail {
                reason: "DeadlineExceeded",
                message: "Pod was active on the node longer than the specified deadline".into(),
            });
            return out;
        }
        out.wake(at);
    }
    if stopping(seen) {
        tear_down(seen, now, &mut out);
    } else {
        bring_up(seen, now, name, &mut out);
    }
    out
}

/// When activeDeadlineSeconds are over.
fn deadline(seen: &Seen) -> Option<Time> {
    let seconds = seen.pod.spec.active_deadline_seconds?;
    let start = seen.pod.status.start_time.unwrap_or(seen.since);
    Some(later(start, Duration::from_secs(u64::try_from(seconds).ok()?)))
}

/// Whether the pod shall be gone or has done all it had to do.
pub fn stopping(seen: &Seen) -> bool {
    seen.gone
        || seen.failed.is_some()
        || seen.pod.metadata.deleting()
        || seen.pod.ended()
        || seen.sandbox == Sandbox::Removed
        || completed(seen)
}

/// Whether no container will run again.
pub fn completed(seen: &Seen) -> bool {
    let spec = &seen.pod.spec;
    let failed_init = spec.init_containers.iter().any(|container| {
        let ended = seen.known(&container.name).ended();
        !container.is_sidecar()
            && ended.is_some_and(|e| e.code != 0 && !restarts(&seen.pod, container, e.code))
    });
    let ended = |container: &Container| {
        let ended = seen.known(&container.name).ended();
        ended.is_some_and(|ended| !restarts(&seen.pod, container, ended.code))
    };
    failed_init && !main_started(seen) || spec.containers.iter().all(ended)
}

/// Whether a container that ended with this code is started again (KEP-753, KEP-5307).
pub fn restarts(pod: &Pod, container: &Container, code: i32) -> bool {
    for rule in &container.restart_policy_rules {
        let Some(codes) = &rule.exit_codes else { continue };
        if codes.values.contains(&code) == (codes.operator == "In") {
            return true;
        }
    }
    match container.restart_policy.as_deref().unwrap_or(&pod.spec.restart_policy) {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => !is_init(pod, container) || container.is_sidecar() || code != 0,
    }
}

fn is_init(pod: &Pod, container: &Container) -> bool {
    pod.spec.init_containers.iter().any(|init| init.name == container.name)
}

/// Whether a main container has ever been started: init containers count as done from then on.
pub fn main_started(seen: &Seen) -> bool {
    let begun = |known: &Known| known.run != Run::Never || known.last.is_some();
    !seen.anew && seen.pod.spec.containers.iter().any(|it| begun(seen.known(&it.name)))
}

fn bring_up(seen: &Seen, now: Time, name: &mut dyn FnMut() -> String, out: &mut Plan) {
    match &seen.sandbox {
        Sandbox::Absent => out.actions.push(Action::MakeSandbox),
        Sandbox::Failed { retry, .. } if *retry <= now => out.actions.push(Action::MakeSandbox),
        Sandbox::Failed { retry, .. } => out.wake(*retry),
        Sandbox::Removing { .. } => return,
        Sandbox::Broken { id, at } => return remove_sandbox(seen, id, *at, now, out),
        Sandbox::Making | Sandbox::Ready { .. } | Sandbox::Removed => {}
    }
    mount(seen, now, out);
    for container in wanted(seen) {
        advance(seen, container, now, name, out);
    }
    resize(seen, out);
}

/// Mounts what is wanted, and makes anew what shows something else than the API has.
fn mount(seen: &Seen, now: Time, out: &mut Plan) {
    for (name, volume) in &seen.volumes {
        let at = match &volume.state {
            VolumeState::Wanted => now,
            VolumeState::Failed { next, .. } => *next,
            VolumeState::Mounted { renewing: false, .. } => match volume.due {
                Some(due) => due,
                None => continue,
            },
            VolumeState::Mounted { renewing: true, .. }
            | VolumeState::Uncertain
            | VolumeState::Unmounting => continue,
        };
        match at <= now {
            true => out.actions.push(Action::Mount { volume: name.clone() }),
            false => out.wake(at),
        }
    }
}

/// Takes away what is mounted, or may be; whether nothing of any volume is here.
fn unmount(seen: &Seen, now: Time, out: &mut Plan) -> bool {
    for (name, volume) in &seen.volumes {
        match &volume.state {
            VolumeState::Failed { at: Failed::Unmount, next, .. } if *next > now => out.wake(*next),
            VolumeState::Failed { .. } | VolumeState::Mounted { renewing: false, .. } => {
                out.actions.push(Action::Unmount { volume: name.clone() });
            }
            VolumeState::Wanted => {}
            // Under way: the answer comes.
            VolumeState::Uncertain | VolumeState::Unmounting => {}
            VolumeState::Mounted { renewing: true, .. } => {}
        }
    }
    seen.volumes.values().all(|volume| volume.state == VolumeState::Wanted)
}

/// What the runtime knows of how containers ended goes with the sandbox: the API has to have it first.
fn remove_sandbox(seen: &Seen, id: &str, at: Time, now: Time, out: &mut Plan) {
    match at <= now {
        true if seen.told => out.actions.push(Action::RemoveSandbox { id: id.to_owned() }),
        // The answer comes.
        true => {}
        false => out.wake(at),
    }
}

/// Whether it matters for the plan that the status was told.
pub fn tells_first(seen: &Seen) -> bool {
    stopping(seen) || matches!(seen.sandbox, Sandbox::Broken { .. })
}

/// Gives running containers the resources that the pod has now, all at once: together they have to fit into the pod's.
fn resize(seen: &Seen, out: &mut Plan) {
    let containers = changed(seen).filter(|(container, known, ..)| !restarting(container, known));
    let containers: Vec<_> = containers
        .map(|(container, _, id)| {
            (container.name.clone(), id.to_owned(), container.resources.clone())
        })
        .collect();
    let tried = match &seen.resize {
        Some(before) => before.failed.is_none() || before.containers == containers,
        None => false,
    };
    if !containers.is_empty() && !tried {
        out.actions.push(Action::Resize(Resize { containers, failed: None }));
    }
}

/// The running containers that have other resources than the pod says, with their ids.
pub fn changed(seen: &Seen) -> impl Iterator<Item = (&Container, &Known, &str)> {
    let all = seen.pod.spec.init_containers.iter().chain(&seen.pod.spec.containers);
    all.filter_map(|container| {
        let known = seen.known(&container.name);
        let Run::Running { id, .. } = &known.run else { return None };
        let differs = known.resources.as_ref().is_some_and(|had| *had != container.resources);
        differs.then_some((container, known, id.as_str()))
    })
}

/// Whether the change concerns a resource for which the container asks to be started anew.
fn restarting(container: &Container, known: &Known) -> bool {
    let (Some(had), wanted) = (&known.resources, &container.resources) else { return false };
    container.resize_policy.iter().any(|policy| {
        let name = &policy.resource_name;
        policy.restart_policy == "RestartContainer"
            && (had.limits.get(name), had.requests.get(name))
                != (wanted.limits.get(name), wanted.requests.get(name))
    })
}

/// The containers that should run now.
fn wanted(seen: &Seen) -> Vec<&Container> {
    let spec = &seen.pod.spec;
    let never = |name: &str| matches!(seen.known(name).run, Run::Never);
    let live = |name: &str| seen.known(name).live().is_some();
    let mut out: Vec<&Container> = Vec::new();
    out.extend(spec.ephemeral_containers.iter().filter(|c| never(&c.name) || live(&c.name)));
    let initialized = main_started(seen);
    for container in &spec.init_containers {
        let known = seen.known(&container.name);
        if container.is_sidecar() {
            out.push(container);
            let up = matches!(known.run, Run::Running { hooked: true, .. }) && known.probes.started;
            if !up && !initialized {
                return out;
            }
        } else if !initialized && known.ended().is_none_or(|ended| ended.code != 0) {
            out.push(container);
            return out;
        }
    }
    out.extend(spec.containers.iter().filter(|container| {
        let ended = seen.known(&container.name).ended();
        ended.is_none_or(|ended| restarts(&seen.pod, container, ended.code))
    }));
    out
}

/// Brings one container a step further.
fn advance(
    seen: &Seen,
    container: &Container,
    now: Time,
    name: &mut dyn FnMut() -> String,
    out: &mut Plan,
) {
    let known = seen.known(&container.name);
    match &known.run {
        Run::Starting { .. } => return,
        Run::Running { id, hooked, .. } => {
            if known.stopping.is_some() {
                return;
            }
            match &known.doomed {
                Some(why) => out.actions.push(Action::Kill {
                    container: container.name.clone(),
                    id: id.clone(),
                    why: why.clone(),
                    grace_s: probe_grace(&seen.pod, container, why),
                }),
                None if *hooked && restarting(container, known) => out.actions.push(Action::Kill {
                    container: container.name.clone(),
                    id: id.clone(),
                    why: Why::Resize,
                    grace_s: spec_grace(&seen.pod).max(GRACE_LEAST_S),
                }),
                None if *hooked => watch(container, id, known, out),
                None => {}
            }
            return;
        }
        Run::Ended(_) if backing_off(seen, container, known, now, out) => return,
        Run::Ended(_) | Run::Never => {}
    }
    if let Some(trouble) = known.trouble.as_ref().filter(|trouble| trouble.retry > now) {
        return wait(container, trouble, now, out);
    }
    let image = match &known.image {
        ImageStep::Pulling => return,
        ImageStep::Unknown | ImageStep::Failed(_) => {
            return out.actions.push(Action::Pull { container: container.name.clone() });
        }
        ImageStep::Ready(image) => image.clone(),
    };
    if matches!(seen.sandbox, Sandbox::Ready { .. }) && seen.all_mounted() {
        let attempt = known.restarts + u32::from(known.ended().is_some());
        let container = container.name.clone();
        out.actions.push(Action::Start { container, id: name(), image, attempt });
    }
}

/// A failed pull shows as such for a while, then as the wait for the next one.
fn wait(container: &Container, trouble: &Trouble, now: Time, out: &mut Plan) {
    let half = trouble.retry.as_second().saturating_sub(trouble.since.as_second()) / 2;
    let half = half.clamp(0, PULL_SHOWN_MOST_S) as u64;
    let shown = later(trouble.since, Duration::from_secs(half));
    if trouble.reason == "ErrImagePull" && now < shown {
        return out.wake(shown);
    }
    if trouble.reason == "ErrImagePull" {
        out.actions.push(Action::BackOff {
            container: container.name.clone(),
            type_: "Normal",
            message: format!("Back-off pulling image {:?}", container.image),
        });
    }
    out.wake(trouble.retry);
}

/// Whether the container has to wait before it is started again; the wait is told once.
fn backing_off(
    seen: &Seen,
    container: &Container,
    known: &Known,
    now: Time,
    out: &mut Plan,
) -> bool {
    let Some((_, at)) = known.restart_at() else { return false };
    if now >= at {
        return false;
    }
    out.wake(at);
    if known.told != Some(at) {
        let (name, pod) = (&container.name, pod_text(&seen.pod));
        out.actions.push(Action::BackOff {
            container: name.clone(),
            type_: "Warning",
            message: format!("Back-off restarting failed container {name} in pod {pod}"),
        });
    }
    true
}

/// `name_namespace(uid)`, as messages name a pod.
pub fn pod_text(pod: &Pod) -> String {
    let meta = &pod.metadata;
    format!("{}_{}({})", meta.name, meta.namespace, meta.uid)
}

/// Startup first; the others only after it.
fn watch(container: &Container, id: &str, known: &Known, out: &mut Plan) {
    let mut want = |type_| out.probes.push((container.name.clone(), id.to_owned(), type_));
    if !known.probes.started {
        return want(ProbeType::Startup);
    }
    if container.readiness_probe.is_some() {
        want(ProbeType::Readiness);
    }
    if container.liveness_probe.is_some() {
        want(ProbeType::Liveness);
    }
}

/// A probe may have a grace period of its own (KEP-2238).
fn probe_grace(pod: &Pod, container: &Container, why: &Why) -> i64 {
    let probe = match why {
        Why::Probe(ProbeType::Liveness) => container.liveness_probe.as_ref(),
        Why::Probe(ProbeType::Startup) => container.startup_probe.as_ref(),
        _ => None,
    };
    let own = probe.and_then(|probe| probe.termination_grace_period_seconds);
    own.unwrap_or(spec_grace(pod)).max(GRACE_LEAST_S)
}

fn spec_grace(pod: &Pod) -> i64 {
    pod.spec.termination_grace_period_seconds.unwrap_or(GRACE_DEFAULT_S)
}

/// How long the containers of a pod that goes may take.
fn pod_grace(pod: &Pod) -> i64 {
    pod.metadata.deletion_grace_period_seconds.unwrap_or(spec_grace(pod)).max(GRACE_LEAST_S)
}

fn tear_down(seen: &Seen, now: Time, out: &mut Plan) {
    let spec = &seen.pod.spec;
    let grace_s = pod_grace(&seen.pod);
    let sidecar =
        |name: &str| spec.init_containers.iter().any(|c| c.is_sidecar() && c.name == name);
    let live: Vec<(&String, &Known)> = seen
        .containers
        .iter()
        .map(|(name, known)| (name, &**known))
        .filter(|(_, known)| known.live().is_some())
        .collect();
    let mut first: Vec<&(&String, &Known)> =
        live.iter().filter(|(name, _)| !sidecar(name)).collect();
    if first.is_empty() {
        let last = spec.init_containers.iter().rev();
        let mut last = last.filter_map(|c| live.iter().find(|(name, _)| **name == c.name));
        first.extend(last.next());
    }
    for (name, known) in first {
        stop(name, known, grace_s, out);
    }
    if !live.is_empty() {
        return;
    }
    match &seen.sandbox {
        Sandbox::Ready { id, .. } => remove_sandbox(seen, id, now, now, out),
        Sandbox::Broken { id, at } => remove_sandbox(seen, id, *at, now, out),
        Sandbox::Making | Sandbox::Removing { .. } => {}
        Sandbox::Absent | Sandbox::Failed { .. } | Sandbox::Removed => {
            let unmounted = unmount(seen, now, out);
            let pulling = seen.containers.values().any(|k| k.image == ImageStep::Pulling);
            let going = seen.gone || seen.pod.metadata.deleting();
            if unmounted && going && !pulling {
                out.actions.push(Action::Finish);
            }
        }
    }
}

fn stop(name: &str, known: &Known, grace_s: i64, out: &mut Plan) {
    let Run::Running { id, .. } = &known.run else { return };
    let shorter = match &known.stopping {
        None => true,
        Some(Why::Pod { grace_s: before }) => grace_s < *before,
        Some(_) => true,
    };
    if shorter {
        let (container, why) = (name.to_owned(), Why::Pod { grace_s });
        out.actions.push(Action::Kill { container, id: id.clone(), why, grace_s });
    }
}

#[cfg(test)]
mod tests;
