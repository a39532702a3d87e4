//! What a pod's plan may look at: the pod as the API has it, with the resources that it was given,
//! and what this node knows of it.
//!
//! Facts change in two ways only: an action that was planned begins ([`Seen::begin`]), and an
//! outcome arrives ([`Seen::take`]). Both are pure, so that a whole life of a pod can be told as a
//! text in a test. Never here: IO, a clock.

use super::allocation::Refusal;
use super::plan::{Action, Why};
use crate::volumes::Mounted;
use skiff_base::{Backoff, Time};
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{Container, Resources};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Between starts of a container that keeps ending (API reference: restart policy).
pub const RESTART: Backoff =
    Backoff { first: Duration::from_secs(10), most: Duration::from_secs(300) };
/// A container that ran this long has its back-off forgotten: twice the longest delay.
const FORGIVEN_AFTER_S: i64 = 600;
/// Between pulls of an image that fail.
pub const PULL: Backoff =
    Backoff { first: Duration::from_secs(10), most: Duration::from_secs(300) };
/// Between tries to make or remove a sandbox, to mount or unmount a volume.
pub const SETUP: Backoff =
    Backoff { first: Duration::from_millis(500), most: Duration::from_secs(122) };

/// Everything that is known of one pod on this node.
#[derive(Debug, Clone)]
pub struct Seen {
    pub pod: Arc<Pod>,
    /// The object is no longer in the API; whatever is left of the pod has to go.
    pub gone: bool,
    pub host_ip: String,
    pub sandbox: Sandbox,
    /// Failures in a row to make or to remove the sandbox, and to remove what is left in the end.
    pub failures: u32,
    pub volumes: BTreeMap<String, Volume>,
    /// Boxed, for a node of the map has room for eleven, and most pods have one.
    pub containers: BTreeMap<String, Box<Known>>,
    /// Set when the node gave the pod up: reason and message of a failed phase.
    pub failed: Option<(String, String)>,
    /// When the node took the pod.
    pub since: Time,
    /// Our own conditions as they were last reported: type to status and time of change.
    pub conditions: BTreeMap<String, (String, Time)>,
    /// Why the pod does not have the resources that the API says it shall have.
    pub pending: Option<Refusal>,
    /// The change of resources that is under way, or has failed: it is not tried again as it is.
    pub resize: Option<Resize>,
    /// No main container has begun in this sandbox, though some had in one before it.
    pub anew: bool,
    /// The status that follows from these facts was written: the API has answered.
    pub told: bool,
    pub end: End,
}

/// The place where the pod's containers live.
#[derive(Debug, Clone, PartialEq)]
pub enum Sandbox {
    Absent,
    Making,
    /// It could not be made; tried again at the time.
    Failed {
        retry: Time,
    },
    Ready {
        id: String,
        ip: Option<IpAddr>,
    },
    Removing {
        id: String,
    },
    /// It is not whole any more, or could not be removed: it is removed at the time.
    Broken {
        id: String,
        at: Time,
    },
    /// It will not come back: the pod has ended.
    Removed,
}

/// One volume of the pod.
///
/// ```text
/// Wanted -- mount --> Uncertain --> Mounted -- unmount --> Unmounting --> Wanted
///    found after a start --^  |          ^                      |
///                             +-> Failed +-- mount -- Failed <--+
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Volume {
    pub state: VolumeState,
    /// When what it shows has to be made as the API has it then; None: not by itself.
    pub due: Option<Time>,
    /// In a row.
    pub failures: u32,
}

/// Where a volume is on its way. Volumes of drivers will be Attaching and Staged before they are
/// mounted, and Expanding while they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum VolumeState {
    /// Nothing of it is here.
    #[default]
    Wanted,
    /// It is being mounted, or something of it was found after a start and is being looked at: until
    /// the answer comes it may be here or not.
    Uncertain,
    Mounted {
        mounted: Mounted,
        /// What it shows is being made anew.
        renewing: bool,
    },
    Unmounting,
    /// Something of it may be here.
    Failed {
        at: Failed,
        why: String,
        next: Time,
    },
}

/// What failed, and is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    Mount,
    Unmount,
}

/// The last of a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    Ahead,
    CleaningUp,
    /// Something of it could not be removed; tried again at the time.
    Stuck {
        retry: Time,
    },
    /// All is cleaned up; nothing is to be done any more.
    Over,
}

/// New resources of running containers (KEP-1287).
#[derive(Debug, Clone, PartialEq)]
pub struct Resize {
    /// Name, id of the run, and what it gets.
    pub containers: Vec<(String, String, Resources)>,
    pub failed: Option<String>,
}

/// What is known of one container of the pod.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub image: ImageStep,
    pub run: Run,
    pub restarts: u32,
    /// How the run before the present one ended.
    pub last: Option<Ended>,
    /// Why it does not start: reason and message, and when it is tried again.
    pub trouble: Option<Trouble>,
    /// Delay before the next restart, and when it was set.
    pub backoff: Option<(Duration, Time)>,
    /// The wait that an event has told of already.
    pub told: Option<Time>,
    pub probes: Verdicts,
    /// A stop is under way.
    pub stopping: Option<Why>,
    /// A stop that shall begin: a probe or a hook failed.
    pub doomed: Option<Why>,
    /// What the present run was given.
    pub resources: Option<Resources>,
    /// As whom its processes run, once it was started.
    pub user: Option<(u32, u32, Vec<u32>)>,
}

/// What probes have found about the present run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Verdicts {
    pub started: bool,
    pub ready: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    pub reason: String,
    pub message: String,
    pub failures: u32,
    pub since: Time,
    pub retry: Time,
    /// About getting the image, not about the container.
    pub of_image: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub enum ImageStep {
    #[default]
    Unknown,
    Pulling,
    Ready(ImageFact),
    Failed(Trouble),
}

/// An image that a container can start from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageFact {
    /// `sha256:...`, the digest of its config.
    pub id: String,
    /// What statuses show as `image`.
    pub name: String,
    /// What statuses show as `imageID`.
    pub shown: String,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub enum Run {
    #[default]
    Never,
    Starting {
        id: String,
        image: ImageFact,
    },
    Running {
        id: String,
        image: ImageFact,
        since: Time,
        hooked: bool,
    },
    Ended(Ended),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    pub id: String,
    pub image: ImageFact,
    pub code: i32,
    pub signal: i32,
    pub reason: String,
    pub message: String,
    pub started: Option<Time>,
    pub finished: Time,
}

/// Which probe of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeType {
    Startup,
    Readiness,
    Liveness,
}

/// What came of an action, or what happened by itself.
#[derive(Debug, Clone)]
pub enum Outcome {
    Sandbox(Result<(String, Option<IpAddr>), String>),
    /// The sandbox lost its namespaces.
    SandboxLost,
    SandboxRemoved(Result<(), String>),
    /// What was found of the volumes after a start was looked at: those that are whole.
    Checked(Result<BTreeMap<String, Mounted>, String>),
    /// With the time at which it has to be made anew.
    Mounted {
        volume: String,
        result: Result<(Mounted, Option<Time>), String>,
    },
    Unmounted {
        volume: String,
        result: Result<(), String>,
    },
    Image {
        container: String,
        result: Result<ImageFact, (String, String)>,
    },
    /// The program runs, as the user; `hooked` when there is no hook to wait for.
    Started {
        container: String,
        id: String,
        since: Time,
        hooked: bool,
        user: (u32, u32, Vec<u32>),
    },
    /// It could not be created or started: reason and message of the waiting state.
    NotStarted {
        container: String,
        id: String,
        reason: String,
        message: String,
    },
    Hooked {
        container: String,
        id: String,
        result: Result<(), String>,
    },
    Exited {
        container: String,
        ended: Ended,
    },
    Resized(Result<(), String>),
    Probed {
        container: String,
        id: String,
        type_: ProbeType,
        good: bool,
    },
    Finished(Result<(), String>),
}

impl Known {
    /// The id of the present run, if it has begun and not ended.
    pub fn live(&self) -> Option<&str> {
        match &self.run {
            Run::Starting { id, .. } | Run::Running { id, .. } => Some(id),
            Run::Never | Run::Ended(_) => None,
        }
    }

    pub fn ended(&self) -> Option<&Ended> {
        match &self.run {
            Run::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    /// When the container may be started anew, by its back-off.
    pub fn restart_at(&self) -> Option<(Duration, Time)> {
        let ended = self.ended()?;
        let (delay, set) = self.backoff?;
        if ended.finished.as_second() - set.as_second() > FORGIVEN_AFTER_S {
            return None;
        }
        Some((delay, later(ended.finished, delay)))
    }

    /// The wait before the next pull or start has been told of.
    fn begin_backoff(&mut self) {
        match &mut self.trouble {
            Some(trouble) if trouble.reason == "ErrImagePull" => {
                trouble.reason = "ImagePullBackOff".into();
            }
            _ => self.told = self.restart_at().map(|(_, at)| at),
        }
    }

    /// Reckons the delay before the start after this one.
    fn lengthen_backoff(&mut self) {
        let Some(finished) = self.ended().map(|ended| ended.finished) else { return };
        let delay = match self.restart_at() {
            Some((delay, _)) => (delay * 2).min(RESTART.most),
            None => RESTART.first,
        };
        self.backoff = Some((delay, finished));
    }
}

impl Volume {
    fn renew_at(&mut self, at: Option<Time>) {
        self.due = self.due.into_iter().chain(at).min();
    }

    fn begin_mount(&mut self) {
        self.due = None;
        match &mut self.state {
            VolumeState::Mounted { renewing, .. } => *renewing = true,
            state => *state = VolumeState::Uncertain,
        }
    }

    /// A change that came meanwhile is still to be shown; what cannot be made anew stays as it is.
    fn take_mount(&mut self, result: Result<(Mounted, Option<Time>), String>, now: Time) {
        self.failures = if result.is_ok() { 0 } else { self.failures + 1 };
        let next = later(now, SETUP.delay(self.failures));
        match (&mut self.state, result) {
            (state, Ok((mounted, due))) => {
                *state = VolumeState::Mounted { mounted, renewing: false };
                self.renew_at(due);
            }
            (VolumeState::Mounted { renewing, .. }, Err(_)) => {
                *renewing = false;
                self.due = Some(next);
            }
            (state, Err(why)) => *state = VolumeState::Failed { at: Failed::Mount, why, next },
        }
    }

    fn take_unmount(&mut self, result: Result<(), String>, now: Time) {
        match result {
            Ok(()) => *self = Volume::default(),
            Err(why) => {
                self.failures += 1;
                let next = later(now, SETUP.delay(self.failures));
                self.state = VolumeState::Failed { at: Failed::Unmount, why, next };
            }
        }
    }
}

/// A moment after another.
pub fn later(from: Time, span: Duration) -> Time {
    from.checked_add(span).unwrap_or(Time::MAX)
}

impl Seen {
    pub fn new(pod: Arc<Pod>, host_ip: &str, now: Time) -> Seen {
        let ended = pod.ended();
        let conditions = pod.status.conditions.iter().filter_map(|condition| {
            let changed = condition.last_transition_time?;
            Some((condition.type_.clone(), (condition.status.clone(), changed)))
        });
        let conditions = conditions.collect();
        let volumes = pod.spec.volumes.iter();
        let volumes = volumes.map(|volume| (volume.name.clone(), Volume::default())).collect();
        Seen {
            conditions,
            pod,
            gone: false,
            host_ip: host_ip.into(),
            sandbox: if ended { Sandbox::Removed } else { Sandbox::Absent },
            failures: 0,
            volumes,
            containers: BTreeMap::new(),
            failed: None,
            since: now,
            pending: None,
            resize: None,
            anew: false,
            told: false,
            end: End::Ahead,
        }
    }

    fn volume(&mut self, name: &str) -> &mut Volume {
        self.volumes.entry(name.to_owned()).or_default()
    }

    /// What containers get, once all is mounted.
    pub fn mounted(&self) -> Option<BTreeMap<String, Mounted>> {
        let each = self.volumes.iter().map(|(name, volume)| match &volume.state {
            VolumeState::Mounted { mounted, .. } => Some((name.clone(), mounted.clone())),
            _ => None,
        });
        each.collect()
    }

    /// Whether containers may start, as far as volumes go.
    pub fn all_mounted(&self) -> bool {
        let mounted = |volume: &Volume| matches!(volume.state, VolumeState::Mounted { .. });
        self.volumes.values().all(mounted)
    }

    /// What a volume shows has changed.
    pub fn outdate(&mut self, name: &str, now: Time) {
        self.volume(name).renew_at(Some(now));
    }

    /// Whether it is not known of some volume whether it is here.
    pub fn uncertain(&self) -> bool {
        self.volumes.values().any(|volume| volume.state == VolumeState::Uncertain)
    }

    /// Something of the volumes is here, whatever it is.
    pub fn find_volumes(&mut self) {
        self.volumes.values_mut().for_each(|volume| volume.state = VolumeState::Uncertain);
    }

    /// Those that are whole stay, and are made as the API has them now when it can be asked; the
    /// others are mounted anew, or go.
    fn take_check(&mut self, result: Result<BTreeMap<String, Mounted>, String>, now: Time) {
        let (whole, why) = match result {
            Ok(whole) => (whole, "what was found of it is not whole".to_owned()),
            Err(why) => (BTreeMap::new(), why),
        };
        for (name, volume) in &mut self.volumes {
            volume.renew_at(Some(now));
            volume.state = match whole.get(name).cloned() {
                Some(mounted) => VolumeState::Mounted { mounted, renewing: false },
                None => VolumeState::Failed { at: Failed::Mount, why: why.clone(), next: now },
            };
        }
    }

    /// Keeps the times of the conditions of a status that is being written.
    pub fn remember(&mut self, status: &skiff_json::Value) {
        for condition in status["conditions"].as_array().into_iter().flatten() {
            let text = |key: &str| condition[key].as_str().unwrap_or_default();
            if let Ok(changed) = text("lastTransitionTime").parse() {
                let value = (text("status").to_owned(), changed);
                self.conditions.insert(text("type").to_owned(), value);
            }
        }
    }

    pub fn known(&self, name: &str) -> &Known {
        static NOTHING: std::sync::OnceLock<Known> = std::sync::OnceLock::new();
        self.containers
            .get(name)
            .map(|known| &**known)
            .unwrap_or_else(|| NOTHING.get_or_init(Known::default))
    }

    fn entry(&mut self, name: &str) -> &mut Known {
        self.containers.entry(name.to_owned()).or_default()
    }

    pub fn container(&self, name: &str) -> Option<&Container> {
        self.pod.spec.all_containers().find(|container| container.name == name)
    }

    /// The id of a container's present run, if its program runs.
    pub fn running(&self, name: &str) -> Option<&str> {
        match &self.known(name).run {
            Run::Running { id, .. } => Some(id),
            _ => None,
        }
    }

    /// The planned action is under way from now on.
    pub fn begin(&mut self, action: &Action) {
        match action {
            Action::MakeSandbox => self.sandbox = Sandbox::Making,
            Action::Mount { volume } => self.volume(volume).begin_mount(),
            Action::Unmount { volume } => self.volume(volume).state = VolumeState::Unmounting,
            Action::RemoveSandbox { id } => self.sandbox = Sandbox::Removing { id: id.clone() },
            Action::Pull { container } => self.entry(container).image = ImageStep::Pulling,
            Action::Resize(resize) => self.resize = Some(resize.clone()),
            Action::Start { container, id, image, .. } => {
                let resources = self.container(container).map(|it| it.resources.clone());
                self.anew &= !self.pod.spec.containers.iter().any(|it| it.name == *container);
                let known = self.entry(container);
                known.lengthen_backoff();
                if let Run::Ended(ended) = std::mem::take(&mut known.run) {
                    known.last = Some(ended);
                    known.restarts += 1;
                }
                known.run = Run::Starting { id: id.clone(), image: image.clone() };
                known.image = ImageStep::Unknown;
                known.resources = resources;
                known.probes = Verdicts::default();
                known.doomed = None;
            }
            Action::Kill { container, why, .. } => {
                self.entry(container).stopping = Some(why.clone());
            }
            Action::BackOff { container, .. } => self.entry(container).begin_backoff(),
            Action::Fail { reason, message } => {
                self.failed = Some(((*reason).to_owned(), message.clone()));
            }
            Action::Finish => self.end = End::CleaningUp,
        }
    }

    /// Takes in what came of an action, or happened.
    pub fn take(&mut self, outcome: Outcome, now: Time) {
        match outcome {
            Outcome::Sandbox(Ok((id, ip))) => {
                self.failures = 0;
                self.sandbox = Sandbox::Ready { id, ip };
            }
            Outcome::Sandbox(Err(_)) => {
                self.failures += 1;
                let retry = later(now, SETUP.delay(self.failures));
                self.sandbox = Sandbox::Failed { retry };
            }
            Outcome::SandboxLost => self.lose_sandbox(now),
            Outcome::SandboxRemoved(Ok(())) => {
                self.failures = 0;
                let back = self.failed.is_none() && !super::plan::stopping(self);
                self.sandbox = if back { Sandbox::Absent } else { Sandbox::Removed };
            }
            Outcome::SandboxRemoved(Err(_)) => {
                let Sandbox::Removing { id } = &self.sandbox else { return };
                self.failures += 1;
                let at = later(now, SETUP.delay(self.failures));
                self.sandbox = Sandbox::Broken { id: id.clone(), at };
            }
            Outcome::Checked(result) => self.take_check(result, now),
            Outcome::Mounted { volume, result } => self.volume(&volume).take_mount(result, now),
            Outcome::Unmounted { volume, result } => self.volume(&volume).take_unmount(result, now),
            Outcome::Image { container, result } => self.take_image(&container, result, now),
            Outcome::Finished(Ok(())) => self.end = End::Over,
            Outcome::Finished(Err(_)) => {
                self.failures += 1;
                self.end = End::Stuck { retry: later(now, SETUP.delay(self.failures)) };
            }
            Outcome::Resized(result) => self.take_resize(result),
            other => self.take_run(other, now),
        }
    }

    fn take_resize(&mut self, result: Result<(), String>) {
        match result {
            Err(why) => {
                if let Some(resize) = &mut self.resize {
                    resize.failed = Some(why);
                }
            }
            Ok(()) => {
                for (name, id, resources) in
                    self.resize.take().into_iter().flat_map(|it| it.containers)
                {
                    let known = self.entry(&name);
                    if known.live() == Some(&id) {
                        known.resources = Some(resources);
                    }
                }
            }
        }
    }

    fn take_image(&mut self, name: &str, result: Result<ImageFact, (String, String)>, now: Time) {
        let known = self.entry(name);
        known.image = match result {
            Ok(fact) => {
                // A trouble that is not the image's stays until the container runs.
                known.trouble.take_if(|trouble| trouble.of_image);
                ImageStep::Ready(fact)
            }
            Err((reason, message)) => {
                let failures = known.trouble.as_ref().map_or(0, |t| t.failures) + 1;
                let retry = later(now, PULL.delay(failures));
                let trouble =
                    Trouble { reason, message, failures, since: now, retry, of_image: true };
                known.trouble = Some(trouble.clone());
                ImageStep::Failed(trouble)
            }
        };
    }

    /// What happened to the run of a container; word of an earlier run is ignored.
    fn take_run(&mut self, outcome: Outcome, now: Time) {
        match outcome {
            Outcome::Started { container, id, since, hooked, user } => {
                let has_startup = self.has_probe(&container, ProbeType::Startup);
                let has_readiness = self.has_probe(&container, ProbeType::Readiness);
                let known = self.entry(&container);
                let Run::Starting { id: expected, image } = &known.run else { return };
                if *expected != id {
                    return;
                }
                known.run = Run::Running { id, image: image.clone(), since, hooked };
                known.user = Some(user);
                known.trouble = None;
                let started = !has_startup;
                known.probes = Verdicts { started, ready: started && !has_readiness };
            }
            Outcome::NotStarted { container, id, reason, message } => {
                let known = self.entry(&container);
                if !matches!(&known.run, Run::Starting { id: expected, .. } if *expected == id) {
                    return;
                }
                let failures = known.trouble.as_ref().map_or(0, |t| t.failures) + 1;
                let retry = later(now, PULL.delay(failures.min(2)));
                let of_image = false;
                known.trouble =
                    Some(Trouble { reason, message, failures, since: now, retry, of_image });
                known.run = match known.last.take() {
                    Some(ended) => {
                        known.restarts = known.restarts.saturating_sub(1);
                        Run::Ended(ended)
                    }
                    None => Run::Never,
                };
            }
            Outcome::Hooked { container, id, result } => {
                let known = self.entry(&container);
                if let Run::Running { id: present, hooked, .. } = &mut known.run
                    && *present == id
                {
                    *hooked = true;
                    if let Err(message) = result {
                        known.doomed = Some(Why::Hook { message });
                    }
                }
            }
            Outcome::Exited { container, ended } => {
                let known = self.entry(&container);
                if known.live() == Some(&ended.id) {
                    known.stopping = None;
                    known.doomed = None;
                    known.probes = Verdicts::default();
                    known.run = Run::Ended(ended);
                }
            }
            Outcome::Probed { container, id, type_, good } => {
                self.take_verdict(&container, &id, type_, good);
            }
            _ => {}
        }
    }

    fn take_verdict(&mut self, container: &str, id: &str, type_: ProbeType, good: bool) {
        let has_readiness = self.has_probe(container, ProbeType::Readiness);
        let known = self.entry(container);
        if known.live() != Some(id) || known.stopping.is_some() {
            return;
        }
        match (type_, good) {
            (ProbeType::Readiness, good) => known.probes.ready = good,
            (ProbeType::Startup, true) => {
                known.probes.started = true;
                known.probes.ready |= !has_readiness;
            }
            (ProbeType::Liveness, true) => {}
            (type_, false) => known.doomed = Some(Why::Probe(type_)),
        }
    }

    /// Whatever ran in the sandbox is dead.
    fn lose_sandbox(&mut self, now: Time) {
        let Sandbox::Ready { id, .. } = &self.sandbox else { return };
        self.sandbox = Sandbox::Broken { id: id.clone(), at: now };
        self.begin_anew();
    }

    /// There will be another sandbox, and init containers that had done their work do it again.
    pub fn begin_anew(&mut self) {
        self.anew = true;
        for container in &self.pod.spec.init_containers {
            let Some(known) = self.containers.get_mut(&container.name) else { continue };
            if container.is_sidecar() {
                continue;
            }
            if let Run::Ended(ended) = std::mem::take(&mut known.run) {
                known.last = Some(ended);
                known.restarts += 1;
            }
        }
    }

    pub fn has_probe(&self, name: &str, type_: ProbeType) -> bool {
        self.container(name).is_some_and(|container| match type_ {
            ProbeType::Startup => container.startup_probe.is_some(),
            ProbeType::Readiness => container.readiness_probe.is_some(),
            ProbeType::Liveness => container.liveness_probe.is_some(),
        })
    }
}
