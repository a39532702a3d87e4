//! The worker of one pod: it alone changes the pod's facts. Mail comes in, the plan is asked, its
//! actions are begun as tasks of their own, and what they come to is mail again.

use super::adopt::{self, Leftover};
use super::allocation::{self, Refusal};
use super::plan::{self, Action, Why};
use super::seen::{End, Outcome, ProbeType, Sandbox, Seen};
use super::{act, start, status, stop, storage};
use crate::admit;
use crate::probe;
use crate::report::{Note, Report, Told};
use crate::rim::Rim;
use crate::volumes::{self, Held, Shows};
use skiff_kinds::views::Pod;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;

/// Plans in a row before the worker waits for mail: more would be a plan that never rests.
const ROUNDS_MOST: usize = 32;
/// Between a change in the API and the change of files; upstream takes up to a minute.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// Between two looks at what a pod has on the disk, as upstream's kubelet looks; more where a look
/// takes long.
const MEASURE_EVERY: Duration = Duration::from_secs(10);
const MEASURE_SHARE: u32 = 20;

/// What a worker is told.
pub enum Mail {
    Pod(Arc<Pod>),
    Gone,
    /// A change of resources that was refused may fit now.
    Room,
    Outcome(Box<Outcome>),
    /// What the pod's volumes show of other objects has changed.
    Refresh,
    /// The API has answered to a status.
    Told,
    Note(Box<Note>),
    /// What the pod has on the disk was measured: it has to go, for this reason, or may stay. It
    /// took so long.
    Measured(Option<String>, Duration),
}

impl From<Outcome> for Mail {
    fn from(outcome: Outcome) -> Mail {
        Mail::Outcome(Box::new(outcome))
    }
}

impl From<Note> for Mail {
    fn from(note: Note) -> Mail {
        Mail::Note(Box::new(note))
    }
}

pub struct Worker {
    rim: Arc<Rim>,
    /// The pod as the API has it; what is seen has the resources that it was given.
    wanted: Arc<Pod>,
    seen: Seen,
    /// Resources of containers are being changed.
    resizing: bool,
    send: UnboundedSender<Mail>,
    report: Report,
    /// The pod had ended before this worker began: what is known of it is in the API alone.
    silent: bool,
    volumes: BTreeMap<String, Arc<Held>>,
    /// What the runtime had of the pod when this worker began: it goes with the sandbox.
    leftover: Leftover,
    /// Probes end when their handle is dropped.
    probes: HashMap<(String, ProbeType), watch::Sender<()>>,
    /// Stops under way, by container id: a shorter grace goes through here.
    stops: HashMap<String, watch::Sender<i64>>,
    wake: Option<Duration>,
    /// When to look at what the pod has on the disk; one look at a time.
    measure: Duration,
    measuring: bool,
}

impl Worker {
    pub fn new(
        rim: Arc<Rim>,
        pod: Arc<Pod>,
        send: UnboundedSender<Mail>,
        leftover: Option<Leftover>,
    ) -> Box<Worker> {
        let silent = pod.ended();
        let report = Report::new(rim.desk.clone(), send.clone());
        let given = Arc::new(allocation::reported(&pod));
        let mut seen = Seen::new(given, &rim.config.address.to_string(), rim.world.now());
        seen.pending = allocation::refused_before(&pod);
        match &leftover {
            Some(leftover) => {
                adopt::adopt(&mut seen, leftover);
                if !silent {
                    rim.allocations.give(&seen.pod);
                }
            }
            None => {
                let (pod, container, type_) = (seen.pod.clone(), None, "Warning");
                if silent {
                } else if let Some(admit::Refusal { reason, message }) =
                    admit::refusal(&pod, &rim.rules).or_else(|| rim.allocations.take_in(&seen.pod))
                {
                    let told = format!("Pod was rejected: {message}");
                    seen.failed = Some((reason.into(), told));
                    report.event(Note { pod, container, type_, reason, message });
                } else if let Some((reason, message)) = admit::warning(&pod, &rim.rules) {
                    let message = message.into();
                    report.event(Note { pod, container, type_, reason, message });
                }
            }
        }
        let volumes = Held::all(&pod, &rim.pod_dir(&pod.metadata.uid));
        let worker = Box::new(Worker {
            rim,
            wanted: pod,
            seen,
            resizing: false,
            send,
            report,
            silent,
            volumes,
            leftover: leftover.unwrap_or_default(),
            probes: HashMap::new(),
            stops: HashMap::new(),
            wake: None,
            measure: Duration::ZERO,
            measuring: false,
        });
        worker.watch_sources();
        worker.check_volumes();
        worker
    }

    /// Until the pod is gone from the API and from this node. It is boxed: each future around this one would have
    /// room of its own for it.
    pub async fn run(mut self: Box<Self>, mut mail: UnboundedReceiver<Mail>) {
        loop {
            while let Ok(one) = mail.try_recv() {
                self.take(one);
            }
            self.advance();
            if self.seen.end == End::Over && self.seen.gone {
                return;
            }
            let world = self.rim.world.clone();
            let one = match self.wake {
                None => mail.recv().await,
                Some(at) => {
                    let span = at.saturating_sub(world.uptime());
                    world.within(span, mail.recv()).await.flatten()
                }
            };
            if let Some(one) = one {
                self.take(one);
            }
        }
    }

    fn take(&mut self, mail: Mail) {
        let now = self.rim.world.now();
        match mail {
            Mail::Pod(pod) => {
                let (old, new) = (&self.seen.pod.metadata, &pod.metadata);
                if old.labels != new.labels || old.annotations != new.annotations {
                    self.outdate(|shows| shows.pod);
                }
                self.wanted = pod;
                self.allocate();
            }
            Mail::Room => self.allocate(),
            Mail::Refresh => self.outdate(|shows| !shows.names.is_empty()),
            // It is asked for when the next status is told.
            Mail::Told => {}
            Mail::Gone => self.seen.gone = true,
            Mail::Note(note) => self.report.event(*note),
            Mail::Measured(excess, took) => {
                self.measuring = false;
                let pause = MEASURE_EVERY.max(took * MEASURE_SHARE);
                self.measure = self.rim.world.uptime() + pause;
                if let Some(message) = excess.filter(|_| !plan::stopping(&self.seen)) {
                    self.note(None, "Warning", "Evicted", message.clone());
                    self.seen.failed = Some(("Evicted".into(), message));
                }
            }
            Mail::Outcome(outcome) => {
                if let Outcome::Exited { ended, .. } = &*outcome {
                    self.stops.remove(&ended.id);
                }
                self.tell_failure(&outcome);
                if let Outcome::Finished(Ok(())) = &*outcome
                    && !self.seen.gone
                {
                    self.report.delete(self.seen.pod.clone());
                }
                let lost = matches!(*outcome, Outcome::SandboxLost)
                    && matches!(self.seen.sandbox, Sandbox::Ready { .. });
                self.seen.take(*outcome, now);
                if lost {
                    let message = "Pod sandbox changed, it will be killed and re-created.";
                    self.note(None, "Normal", "SandboxChanged", message.into());
                }
            }
        }
    }

    /// Failures that users hear of, in upstream's words.
    fn tell_failure(&self, outcome: &Outcome) {
        let (reason, message) = match outcome {
            Outcome::Sandbox(Err(why)) => {
                ("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {why}"))
            }
            Outcome::SandboxRemoved(Err(why)) => {
                let uid = &self.seen.pod.metadata.uid;
                let what = format!("failed to \"KillPodSandbox\" for {uid:?}");
                let why = format!("error killing pod: {what} with KillPodSandboxError: {why:?}");
                ("FailedKillPod", why)
            }
            Outcome::Mounted { result: Err(why), .. } => ("FailedMount", why.clone()),
            Outcome::Unmounted { result: Err(why), .. } => ("FailedUnMount", why.clone()),
            Outcome::Finished(Err(why)) => ("FailedUnMount", why.clone()),
            Outcome::Resized(Err(why)) => {
                let message = allocation::summary(&self.seen.pod, why);
                ("ResizeError", format!("Pod resize error: {message}"))
            }
            _ => return,
        };
        if self.seen.gone {
            // Nobody can look at events of a pod that is not there.
            let uid = &self.seen.pod.metadata.uid;
            return tracing::warn!(uid, reason, message, "what is left of a pod stays");
        }
        self.note(None, "Warning", reason, message);
    }

    /// Volumes of which this is true show what has changed.
    fn outdate(&mut self, changed: impl Fn(&Shows) -> bool) {
        let now = self.rim.world.now();
        let changed = self.volumes.iter().filter(|(_, held)| changed(&held.shows()));
        changed.for_each(|(name, _)| self.seen.outdate(name, now));
    }

    /// Takes the pod as the API has it, with the resources that it asks for if they fit, and else
    /// with those that it has.
    fn allocate(&mut self) {
        let (pod, had) = (self.wanted.clone(), &self.seen.pod);
        let kept = allocation::keeping(&pod, had);
        let same = kept.spec == pod.spec;
        if same && self.seen.pending.is_none() || plan::stopping(&self.seen) {
            self.seen.pod = if same { pod } else { Arc::new(kept) };
            return;
        }
        let asked = self.rim.allocations.ask(&pod, self.rim.world.now(), &self.send);
        match &asked {
            Ok(()) if same => {}
            Ok(()) => {
                let message = format!("Pod resize started: {}", allocation::summary(&pod, ""));
                self.note(None, "Normal", "ResizeStarted", message);
            }
            Err(why) if self.seen.pending.as_ref() == Some(why) => {}
            Err(Refusal { reason, message }) => {
                let summary = allocation::summary(&pod, message);
                let infeasible = *reason == allocation::INFEASIBLE;
                let event = if infeasible { "ResizeInfeasible" } else { "ResizeDeferred" };
                self.note(None, "Warning", event, format!("Pod resize {reason}: {summary}"));
            }
        }
        self.seen.pod = if asked.is_ok() { pod } else { Arc::new(kept) };
        self.seen.pending = asked.err();
    }

    /// Tells that a change of resources is through, and gives back those of a pod that has ended.
    fn settle(&mut self) {
        let resizing = plan::changed(&self.seen).next().is_some();
        if self.resizing && !resizing && !plan::stopping(&self.seen) {
            let message = allocation::summary(&self.seen.pod, "");
            let message = format!("Pod resize completed: {message}");
            self.note(None, "Normal", "ResizeCompleted", message);
        }
        self.resizing = resizing;
        if self.seen.end == End::Over || matches!(status::phase(&self.seen), "Succeeded" | "Failed")
        {
            self.rim.allocations.free(&self.seen.pod.metadata.uid);
        }
    }

    fn note(
        &self,
        container: Option<&str>,
        type_: &'static str,
        reason: &'static str,
        message: String,
    ) {
        let (pod, container) = (self.seen.pod.clone(), container.map(str::to_owned));
        self.report.event(Note { pod, container, type_, reason, message });
    }

    fn advance(&mut self) {
        for _ in 0..ROUNDS_MOST {
            let now = self.rim.world.now();
            if plan::tells_first(&self.seen) {
                // Who hears that it has ended may put another one in its place.
                self.settle();
                self.tell();
            }
            let rim = self.rim.clone();
            let plan = plan::plan(&self.seen, now, &mut || rim.fresh_id());
            self.set_probes(&plan.probes);
            self.wake = plan.wake.map(|at| {
                let left = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
                // A little late rather than a little early, which would be a second look.
                self.rim.world.uptime() + left + Duration::from_millis(1)
            });
            if plan.actions.is_empty() {
                break;
            }
            for action in plan.actions {
                let before = self.forgotten(&action);
                self.seen.begin(&action);
                self.begin(action, before);
            }
        }
        self.measure();
        self.settle();
        self.tell();
    }

    /// Looks at what the pod has on the disk, where that is limited.
    fn measure(&mut self) {
        let settled = self.seen.all_mounted() && !plan::stopping(&self.seen);
        if self.measuring || !settled || !storage::limited(&self.seen.pod) {
            return;
        }
        if self.measure > self.rim.world.uptime() {
            self.wake = Some(self.wake.map_or(self.measure, |wake| wake.min(self.measure)));
            return;
        }
        self.measuring = true;
        let (rim, pod, send) = (self.rim.clone(), self.seen.pod.clone(), self.send.clone());
        let live = self.seen.containers.iter();
        let live = live.filter_map(|(name, known)| Some((name.clone(), known.live()?.to_owned())));
        let live: BTreeMap<String, String> = live.collect();
        self.rim.tasks.sound(async move {
            let (begun, shared) = (rim.world.uptime(), rim.clone());
            let look = move || Ok(storage::excess(&shared, &pod, &live));
            let look = rim.blocking(&rim.threads.measures, look);
            let excess = look.await.unwrap_or_else(|why| {
                tracing::warn!(why, "what a pod has on the disk is not measured");
                None
            });
            // The worker may have ended; then nobody needs this.
            let _ = send.send(Mail::Measured(excess, rim.world.uptime() - begun));
        });
    }

    /// Has the worker told of changes of what its volumes show.
    fn watch_sources(&self) {
        let mut shows = Shows::default();
        self.volumes.values().for_each(|held| shows.add(held.shows()));
        let names = shows.names;
        if names.is_empty() || self.silent {
            return;
        }
        let namespace = &self.seen.pod.metadata.namespace;
        let mut watched = self.rim.watches.watch(&self.rim, namespace, &names);
        let (send, world) = (self.send.clone(), self.rim.world.clone());
        self.rim.tasks.sound(async move {
            loop {
                tokio::select! {
                    biased;
                    () = send.closed() => return,
                    () = watched.changed() => {}
                }
                // Several changes in a row are one.
                world.sleep(REFRESH_PAUSE).await;
                if send.send(Mail::Refresh).is_err() {
                    return;
                }
            }
        });
    }

    /// Has what was found of the volumes looked at.
    fn check_volumes(&self) {
        if !self.seen.uncertain() {
            return;
        }
        let (rim, all) = (self.rim.clone(), self.volumes.values().cloned().collect());
        self.spawn(async move { Outcome::Checked(volumes::check(&rim, all).await) });
    }

    /// Writes the status if it has changed, and learns whether the API has it.
    fn tell(&mut self) {
        if self.silent || self.seen.gone {
            self.seen.told = true;
            return;
        }
        let status = status::status(&self.seen, self.rim.world.now());
        let told = match plan::tells_first(&self.seen) {
            true => self.report.await_status(&self.seen.pod, &status),
            false => self.report.status(&self.seen.pod, &status),
        };
        self.seen.told = told == Told::Answered;
        if told == Told::Asked {
            self.seen.remember(&status);
        }
    }

    /// The run before the last one, which a new start makes superfluous.
    fn forgotten(&self, action: &Action) -> Option<String> {
        let Action::Start { container, .. } = action else { return None };
        let known = self.seen.known(container);
        known.ended().and(known.last.as_ref()).map(|ended| ended.id.clone())
    }

    fn begin(&mut self, action: Action, forgotten: Option<String>) {
        let (rim, pod, send) = (self.rim.clone(), self.seen.pod.clone(), self.send.clone());
        match action {
            Action::MakeSandbox => self.spawn(act::make_sandbox(rim, pod, send)),
            Action::Mount { volume } => self.mount(volume),
            Action::Unmount { volume } => self.unmount(volume),
            Action::Pull { container } => self.spawn(act::pull(rim, pod, container, send)),
            Action::Start { container, id, image, attempt } => {
                let addresses = self.addresses();
                let Some(volumes) = self.seen.mounted() else { return };
                let Sandbox::Ready { id: sandbox, .. } = self.seen.sandbox.clone() else { return };
                let target = self.seen.container(&container).map(|it| &*it.target_container_name);
                let target = target.and_then(|name| self.seen.running(name)).map(str::to_owned);
                let job = start::Job {
                    rim,
                    pod,
                    container,
                    id,
                    image,
                    attempt,
                    sandbox,
                    target,
                    volumes,
                    addresses,
                    send,
                    forgotten,
                };
                self.rim.tasks.sound(job.run());
            }
            Action::Kill { container, id, why, grace_s } => {
                self.stop(&container, id, &why, grace_s)
            }
            Action::RemoveSandbox { id } => self.remove_sandbox(id),
            Action::Resize(resize) => self.spawn(act::resize(rim, pod, resize)),
            Action::BackOff { container, type_, message } => {
                self.note(Some(&container), type_, "BackOff", message);
            }
            Action::Fail { reason, message } => self.note(None, "Normal", reason, message),
            Action::Finish => self.spawn(act::clean_up(rim, pod)),
        }
    }

    fn mount(&self, volume: String) {
        let Some(held) = self.volumes.get(&volume).cloned() else { return };
        let (rim, pod, addresses) = (self.rim.clone(), self.seen.pod.clone(), self.addresses());
        self.spawn(async move {
            let result = held.mount(&rim, pod, addresses).await;
            Outcome::Mounted { volume, result }
        });
    }

    fn unmount(&self, volume: String) {
        let Some(held) = self.volumes.get(&volume).cloned() else { return };
        let rim = self.rim.clone();
        self.spawn(async move { Outcome::Unmounted { volume, result: held.unmount(&rim).await } });
    }

    fn spawn(&self, work: impl Future<Output = Outcome> + Send + 'static) {
        let send = self.send.clone();
        self.rim.tasks.sound(async move {
            let outcome = work.await;
            // The worker may have ended; then nobody needs this.
            let _ = send.send(outcome.into());
        });
    }

    /// Removes it, and with it all that was found of the pod in the runtime at the start.
    fn remove_sandbox(&self, id: String) {
        let rim = self.rim.clone();
        let known = self.seen.containers.values();
        let ended = known.flat_map(|k| k.ended().into_iter().chain(&k.last));
        let ended = ended.map(|ended| ended.id.clone());
        let containers = ended.chain(self.leftover.container_ids()).collect::<BTreeSet<_>>();
        let sandboxes: BTreeSet<_> = self.leftover.sandboxes().into_iter().chain([id]).collect();
        self.spawn(async move {
            Outcome::SandboxRemoved(act::remove_sandboxes(&rim, sandboxes, containers).await)
        });
    }

    fn stop(&mut self, container: &str, id: String, why: &Why, grace_s: i64) {
        if let Some(running) = self.stops.get(&id) {
            running.send_replace(grace_s);
            return;
        }
        let message = match why {
            Why::Pod { .. } => format!("Stopping container {container}"),
            Why::Probe(type_) => {
                let type_ = if *type_ == ProbeType::Startup { "startup" } else { "liveness" };
                format!("Container {container} failed {type_} probe, will be restarted")
            }
            Why::Hook { .. } => "FailedPostStartHook".into(),
            Why::Resize => format!("Container {container} resize requires restart"),
        };
        self.note(Some(container), "Normal", "Killing", message);
        let (send, grace) = watch::channel(grace_s);
        self.stops.insert(id.clone(), send);
        let (rim, pod, mail) = (self.rim.clone(), self.seen.pod.clone(), self.send.clone());
        let ip = self.addresses().pod_ip;
        let stop = stop::Stop { rim, pod, container: container.into(), id, grace, mail, ip };
        self.rim.tasks.sound(stop.run());
    }

    fn addresses(&self) -> crate::container::fields::Addresses {
        crate::container::fields::Addresses {
            pod_ip: status::ip(&self.seen).unwrap_or_default(),
            host_ip: self.seen.host_ip.clone(),
        }
    }

    /// Starts probes that are wanted and ends those that are not.
    fn set_probes(&mut self, wanted: &[(String, String, ProbeType)]) {
        self.probes.retain(|(id, type_), _| {
            wanted.iter().any(|(_, other, kind)| other == id && kind == type_)
        });
        for (container, id, type_) in wanted {
            let key = (id.clone(), *type_);
            if self.probes.contains_key(&key) {
                continue;
            }
            let (hold, held) = watch::channel(());
            self.probes.insert(key, hold);
            let ready = self.seen.known(container).probes.ready;
            let prober = probe::Prober {
                rim: self.rim.clone(),
                pod: self.seen.pod.clone(),
                container: container.clone(),
                id: id.clone(),
                type_: *type_,
                ip: self.addresses().pod_ip,
                mail: self.send.clone(),
                last: (*type_ == ProbeType::Readiness).then_some(ready),
            };
            self.rim.tasks.sound(prober.run(held));
        }
    }
}
