//! The status of one container as users know it (API reference: ContainerStatus): pure.

use super::plan;
use super::seen::{Ended, ImageStep, Known, Run, Seen};
use super::status::seconds;
use skiff_base::Time;
use skiff_json::{Value, json};
use skiff_kinds::views::pod::{Container, Quantities, Resources};

/// What ids of containers begin with.
pub const ID_SCHEME: &str = "skiff://";

/// The three states; waiting carries reason and message.
pub enum State {
    Waiting(String, String),
    Running(Time),
    Terminated(Ended),
}

/// The whole status of one container. `initialized`: main containers wait for nothing else.
pub fn status(seen: &Seen, container: &Container, initialized: bool) -> Value {
    let known = seen.known(&container.name);
    let (state, last) = states(seen, container, known, initialized);
    let image = match &known.run {
        Run::Starting { image, .. } | Run::Running { image, .. } => Some(image),
        Run::Ended(ended) => Some(&ended.image),
        Run::Never => known.last.as_ref().map(|ended| &ended.image),
    };
    let id = match (&state, &known.run) {
        (State::Waiting(..), Run::Ended(ended)) => ended.id.as_str(),
        (State::Waiting(..), _) => known.last.as_ref().map_or("", |ended| &ended.id),
        (_, Run::Ended(ended)) => &ended.id,
        (_, _) => known.live().unwrap_or(""),
    };
    let started = matches!(known.run, Run::Running { hooked: true, .. }) && known.probes.started;
    let mut value = json!({
        "name": container.name,
        "state": state_value(&state),
        "lastState": last.as_ref().map_or(json!({}), terminated),
        "ready": ready(seen, container),
        "restartCount": known.restarts,
        "image": image.map_or(container.image.as_str(), |image| &image.name),
        "imageID": image.map_or("", |image| &image.shown),
        "started": started,
    });
    if !id.is_empty() {
        value["containerID"] = json!(format!("{ID_SCHEME}{id}"));
    }
    let live = known.live().and(known.resources.as_ref());
    let resources = live.unwrap_or(&container.resources);
    let allocated = &container.resources.requests;
    if !allocated.is_empty() {
        value["allocatedResources"] = quantities(allocated);
    }
    value["resources"] = resources_value(resources);
    if !container.volume_mounts.is_empty() {
        value["volumeMounts"] = container.volume_mounts.iter().map(mount).collect();
    }
    if let Some((uid, gid, groups)) = &known.user {
        value["user"] = json!({"linux": {"uid": uid, "gid": gid, "supplementalGroups": groups}});
    }
    value
}

/// What a status and an event say of resources.
pub fn resources_value(resources: &Resources) -> Value {
    let mut value = json!({});
    for (name, amounts) in [("limits", &resources.limits), ("requests", &resources.requests)] {
        if !amounts.is_empty() {
            value[name] = quantities(amounts);
        }
    }
    value
}

fn quantities(amounts: &Quantities) -> Value {
    amounts.iter().map(|(name, amount)| (name.to_owned(), json!(amount.to_string()))).collect()
}

fn mount(mount: &skiff_kinds::views::pod::VolumeMount) -> Value {
    let mut value = json!({"name": mount.name, "mountPath": mount.mount_path});
    if mount.read_only {
        value["readOnly"] = json!(true);
        let recursive = mount.recursive_read_only.as_deref().unwrap_or("Disabled");
        value["recursiveReadOnly"] =
            json!(if recursive == "Disabled" { "Disabled" } else { "Enabled" });
    }
    value
}

/// Ready by probe; an init container is ready when it has done its work.
pub fn ready(seen: &Seen, container: &Container) -> bool {
    let known = seen.known(&container.name);
    let regular_init = !container.is_sidecar()
        && seen.pod.spec.init_containers.iter().any(|init| init.name == container.name);
    if regular_init {
        return known.ended().is_some_and(|ended| ended.code == 0);
    }
    matches!(known.run, Run::Running { hooked: true, .. }) && known.probes.ready
}

fn states(
    seen: &Seen,
    container: &Container,
    known: &Known,
    initialized: bool,
) -> (State, Option<Ended>) {
    let waiting = |reason: &str, message: &str| State::Waiting(reason.into(), message.into());
    let creating = if initialized { "ContainerCreating" } else { "PodInitializing" };
    let last = known.last.clone();
    match &known.run {
        Run::Running { since, hooked: true, .. } => (State::Running(*since), last),
        Run::Running { .. } | Run::Starting { .. } => (waiting(creating, ""), last),
        Run::Never => match &known.trouble {
            Some(trouble) => (trouble_state(container, trouble), last),
            None if matches!(known.image, ImageStep::Failed(_)) => {
                (waiting("ErrImagePull", ""), last)
            }
            None => (waiting(creating, ""), last),
        },
        Run::Ended(ended) => {
            let again = !plan::stopping(seen) && plan::restarts(&seen.pod, container, ended.code);
            if let Some(trouble) = known.trouble.as_ref().filter(|_| again) {
                return (trouble_state(container, trouble), Some(ended.clone()));
            }
            // The wait is shown from the moment it is told of; until then the end is.
            match known.restart_at().filter(|(_, at)| again && known.told == Some(*at)) {
                None => (State::Terminated(ended.clone()), last),
                Some((delay, _)) => {
                    let message = format!(
                        "back-off {} restarting failed container={} pod={}",
                        skiff_api::duration::format(delay.as_nanos() as i64),
                        container.name,
                        plan::pod_text(&seen.pod)
                    );
                    (State::Waiting("CrashLoopBackOff".into(), message), Some(ended.clone()))
                }
            }
        }
    }
}

fn trouble_state(container: &Container, trouble: &super::seen::Trouble) -> State {
    let message = match &*trouble.reason {
        "ImagePullBackOff" => {
            format!(
                "Back-off pulling image {:?}: ErrImagePull: {}",
                container.image, trouble.message
            )
        }
        _ => trouble.message.clone(),
    };
    State::Waiting(trouble.reason.clone(), message)
}

fn state_value(state: &State) -> Value {
    match state {
        State::Waiting(reason, message) if message.is_empty() => {
            json!({"waiting": {"reason": reason}})
        }
        State::Waiting(reason, message) => {
            json!({"waiting": {"reason": reason, "message": message}})
        }
        State::Running(since) => json!({"running": {"startedAt": seconds(*since)}}),
        State::Terminated(ended) => terminated(ended),
    }
}

fn terminated(ended: &Ended) -> Value {
    let mut value = json!({
        "exitCode": ended.code,
        "reason": ended.reason,
        // A program that could not be started has begun at the beginning of time, as upstream says.
        "startedAt": seconds(ended.started.unwrap_or(Time::UNIX_EPOCH)),
        "finishedAt": seconds(ended.finished),
        "containerID": format!("{ID_SCHEME}{}", ended.id),
    });
    if ended.signal != 0 {
        value["signal"] = json!(ended.signal);
    }
    if !ended.message.is_empty() {
        value["message"] = json!(ended.message);
    }
    json!({"terminated": value})
}
