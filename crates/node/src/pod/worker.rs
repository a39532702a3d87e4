//! The worker of one pod: it alone changes the pod's facts. Mail comes in, the plan is asked, its
//! actions are begun as tasks of their own, and what they come to is mail again.

use super::adopt::{self, Leftover};
use super::allocation::{self, Refusal};
use super::plan::{self, Action, Why};
use super::seen::{Outcome, ProbeSort, Sandbox, Seen, Step};
use super::{act, start, status, stop, storage};
use crate::admit;
use crate::probe;
use crate::report::{Note, Report};
use crate::rim::Rim;
use crate::sources::Names;
use crate::volumes::{Mounted, Token};
use serde_json::Value;
use skiff_kinds::views::Pod;
use std::collections::{BTreeMap, HashMap};
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

/// Volumes by name, and the tokens that are in them.
pub type Volumes = BTreeMap<String, Mounted>;
pub type Tokens = BTreeMap<(String, String), Token>;

/// What a worker is told.
pub enum Mail {
    Pod(Arc<Pod>),
    Gone,
    /// A change of resources that was refused may fit now.
    Room,
    Outcome(Outcome),
    Mounted(Result<Volumes, String>, Tokens),
    /// A source of the pod's volumes has changed.
    Refresh,
    /// The files of the volumes are as the API has them now, or cannot be made so.
    Refreshed(Result<Volumes, String>, Tokens),
    Note(Note),
    /// What the pod has on the disk was measured: it has to go, for this reason, or may stay. It
    /// took so long.
    Measured(Option<String>, Duration),
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
    reported: Value,
    /// The pod had ended before this worker began: what is known of it is in the API alone.
    silent: bool,
    volumes: Arc<Volumes>,
    tokens: Tokens,
    /// Probes end when their handle is dropped.
    probes: HashMap<(String, ProbeSort), watch::Sender<()>>,
    /// Stops under way, by container id: a shorter grace goes through here.
    stops: HashMap<String, watch::Sender<i64>>,
    wake: Option<Duration>,
    /// Something has changed that volumes show; one refresh at a time.
    stale: bool,
    refreshing: bool,
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
    ) -> Worker {
        let silent = pod.ended();
        let report = Report::new(rim.clone());
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
                let (pod, container, sort) = (seen.pod.clone(), None, "Warning");
                if silent {
                } else if let Some(admit::Refusal { reason, message }) =
                    admit::refusal(&pod, &rim.rules).or_else(|| rim.allocations.take_in(&seen.pod))
                {
                    let told = format!("Pod was rejected: {message}");
                    seen.failed = Some((reason.into(), told));
                    report.event(Note { pod, container, sort, reason, message });
                } else if let Some((reason, message)) = admit::warning(&pod, &rim.rules) {
                    let message = message.into();
                    report.event(Note { pod, container, sort, reason, message });
                }
            }
        }
        let mut worker = Worker {
            rim,
            wanted: pod,
            seen,
            resizing: false,
            send,
            report,
            reported: Value::Null,
            silent,
            volumes: Arc::default(),
            tokens: Tokens::new(),
            probes: HashMap::new(),
            stops: HashMap::new(),
            wake: None,
            stale: false,
            refreshing: false,
            measure: Duration::ZERO,
            measuring: false,
        };
        worker.watch_sources();
        if let Sandbox::Removing { id } = worker.seen.sandbox.clone() {
            worker.remove_sandbox(id);
        }
        worker
    }

    /// Until the pod is gone from the API and from this node.
    pub async fn run(mut self, mut mail: UnboundedReceiver<Mail>) {
        loop {
            while let Ok(one) = mail.try_recv() {
                self.take(one);
            }
            self.advance();
            if self.seen.over && self.seen.gone {
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
                self.stale |= old.labels != new.labels || old.annotations != new.annotations;
                self.wanted = pod;
                self.allocate();
            }
            Mail::Room => self.allocate(),
            Mail::Refresh => self.stale = true,
            Mail::Refreshed(result, tokens) => {
                self.refreshing = false;
                self.tokens = tokens;
                if let Err(why) = result {
                    tracing::debug!(pod = %self.seen.pod.metadata.key(), why, "volumes stay");
                }
            }
            Mail::Gone => self.seen.gone = true,
            Mail::Note(note) => self.report.event(note),
            Mail::Measured(excess, took) => {
                self.measuring = false;
                let pause = MEASURE_EVERY.max(took * MEASURE_SHARE);
                self.measure = self.rim.world.uptime() + pause;
                if let Some(message) = excess.filter(|_| !plan::stopping(&self.seen)) {
                    self.note(None, "Warning", "Evicted", message.clone());
                    self.seen.failed = Some(("Evicted".into(), message));
                }
            }
            Mail::Mounted(result, tokens) => {
                self.tokens = tokens;
                if let Err(why) = &result {
                    self.note(None, "Warning", "FailedMount", why.clone());
                }
                let result = result.map(|volumes| self.volumes = Arc::new(volumes));
                self.seen.take(Outcome::Volumes(result), now);
            }
            Mail::Outcome(outcome) => {
                if let Outcome::Exited { ended, .. } = &outcome {
                    self.stops.remove(&ended.id);
                }
                if let Outcome::Sandbox(Err(why)) = &outcome {
                    let message = format!("Failed to create pod sandbox: {why}");
                    self.note(None, "Warning", "FailedCreatePodSandBox", message);
                }
                if let Outcome::Resized(Err(why)) = &outcome {
                    let message = allocation::summary(&self.seen.pod, why);
                    let message = format!("Pod resize error: {message}");
                    self.note(None, "Warning", "ResizeError", message);
                }
                let lost = matches!(outcome, Outcome::SandboxLost)
                    && matches!(self.seen.sandbox, Sandbox::Ready { .. });
                self.seen.take(outcome, now);
                if let (true, Sandbox::Removing { id }) = (lost, self.seen.sandbox.clone()) {
                    let message = "Pod sandbox changed, it will be killed and re-created.";
                    self.note(None, "Normal", "SandboxChanged", message.into());
                    self.remove_sandbox(id);
                }
            }
        }
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
        if self.seen.over || matches!(status::phase(&self.seen), "Succeeded" | "Failed") {
            self.rim.allocations.free(&self.seen.pod.metadata.uid);
        }
    }

    fn note(
        &self,
        container: Option<&str>,
        sort: &'static str,
        reason: &'static str,
        message: String,
    ) {
        let (pod, container) = (self.seen.pod.clone(), container.map(str::to_owned));
        self.report.event(Note { pod, container, sort, reason, message });
    }

    fn advance(&mut self) {
        for _ in 0..ROUNDS_MOST {
            let now = self.rim.world.now();
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
        self.refresh();
        self.measure();
        self.settle();
        self.tell();
    }

    /// Volumes follow the API from the moment they are mounted.
    fn refresh(&mut self) {
        let now = self.rim.world.now();
        let renew = self.tokens.values().map(|token| token.renew).min();
        let settled = self.seen.volumes == Step::Done && !plan::stopping(&self.seen);
        if !settled || self.refreshing {
            return;
        }
        if !self.stale && renew.is_none_or(|renew| renew > now) {
            if let Some(renew) = renew {
                let left = Duration::try_from(renew.duration_since(now)).unwrap_or(Duration::ZERO);
                let at = self.rim.world.uptime() + left + Duration::from_millis(1);
                self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
            }
            return;
        }
        (self.stale, self.refreshing) = (false, true);
        let (rim, pod, send) = (self.rim.clone(), self.seen.pod.clone(), self.send.clone());
        let (addresses, mut tokens) = (self.addresses(), std::mem::take(&mut self.tokens));
        self.rim.tasks.spawn(async move {
            let made = crate::volumes::prepare(&rim, &pod, &addresses, &mut tokens).await;
            if made.is_err() {
                rim.world.sleep(REFRESH_PAUSE).await;
            }
            // The worker may have ended; then nobody needs this.
            let _ = send.send(Mail::Refreshed(made, tokens));
        });
    }

    /// Looks at what the pod has on the disk, where that is limited.
    fn measure(&mut self) {
        let settled = self.seen.volumes == Step::Done && !plan::stopping(&self.seen);
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
        self.rim.tasks.spawn(async move {
            let (begun, shared) = (rim.world.uptime(), rim.clone());
            let look = rim.blocking(move || Ok(storage::excess(&shared, &pod, &live)));
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
        let names = Names::of_volumes(&self.seen.pod);
        if names.is_empty() || self.silent {
            return;
        }
        let namespace = &self.seen.pod.metadata.namespace;
        let mut watched = self.rim.watches.watch(&self.rim, namespace, &names);
        let (send, world) = (self.send.clone(), self.rim.world.clone());
        self.rim.tasks.spawn(async move {
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

    /// Writes the status if it has changed.
    fn tell(&mut self) {
        if self.silent || self.seen.gone {
            return;
        }
        let status = status::status(&self.seen, self.rim.world.now());
        if status == self.reported {
            return;
        }
        self.seen.remember(&status);
        self.reported = status.clone();
        self.report.status(self.seen.pod.clone(), status);
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
            Action::Mount => {
                let addresses = self.addresses();
                let mut tokens = std::mem::take(&mut self.tokens);
                self.rim.tasks.spawn(async move {
                    let made = crate::volumes::prepare(&rim, &pod, &addresses, &mut tokens).await;
                    // The worker may have ended; then nobody needs this.
                    let _ = send.send(Mail::Mounted(made, tokens));
                });
            }
            Action::Pull { container } => self.spawn(act::pull(rim, pod, container, send)),
            Action::Start { container, id, image, attempt } => {
                let (volumes, addresses) = (self.volumes.clone(), self.addresses());
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
                self.rim.tasks.spawn(job.run());
            }
            Action::Kill { container, id, why, grace_s } => {
                self.stop(&container, id, &why, grace_s)
            }
            Action::RemoveSandbox { id } => self.remove_sandbox(id),
            Action::Resize(resize) => self.spawn(act::resize(rim, pod, resize)),
            Action::BackOff { container, sort, message } => {
                self.note(Some(&container), sort, "BackOff", message);
            }
            Action::Fail { reason, message } => self.note(None, "Normal", reason, message),
            Action::Finish => {
                self.tell();
                let report = self.report.clone();
                self.rim.tasks.spawn(async move {
                    act::clean_up(&rim, &pod.metadata.uid, Some(&pod)).await;
                    report.delete(pod);
                });
            }
        }
    }

    fn spawn(&self, work: impl Future<Output = Outcome> + Send + 'static) {
        let send = self.send.clone();
        self.rim.tasks.spawn(async move {
            let outcome = work.await;
            // The worker may have ended; then nobody needs this.
            let _ = send.send(Mail::Outcome(outcome));
        });
    }

    fn remove_sandbox(&mut self, id: String) {
        let rim = self.rim.clone();
        let known = self.seen.containers.values();
        let ended = known.flat_map(|k| k.ended().into_iter().chain(&k.last));
        let containers: Vec<String> = ended.map(|ended| ended.id.clone()).collect();
        self.spawn(async move {
            act::remove_sandbox(&rim, &id, containers).await;
            Outcome::SandboxRemoved
        });
    }

    fn stop(&mut self, container: &str, id: String, why: &Why, grace_s: i64) {
        if let Some(running) = self.stops.get(&id) {
            running.send_replace(grace_s);
            return;
        }
        let message = match why {
            Why::Pod { .. } => format!("Stopping container {container}"),
            Why::Probe(sort) => {
                let sort = if *sort == ProbeSort::Startup { "startup" } else { "liveness" };
                format!("Container {container} failed {sort} probe, will be restarted")
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
        self.rim.tasks.spawn(stop.run());
    }

    fn addresses(&self) -> crate::container::fields::Addresses {
        crate::container::fields::Addresses {
            pod_ip: status::ip(&self.seen).unwrap_or_default(),
            host_ip: self.seen.host_ip.clone(),
        }
    }

    /// Starts probes that are wanted and ends those that are not.
    fn set_probes(&mut self, wanted: &[(String, String, ProbeSort)]) {
        self.probes.retain(|(id, sort), _| {
            wanted.iter().any(|(_, other, kind)| other == id && kind == sort)
        });
        for (container, id, sort) in wanted {
            let key = (id.clone(), *sort);
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
                sort: *sort,
                ip: self.addresses().pod_ip,
                mail: self.send.clone(),
                last: (*sort == ProbeSort::Readiness).then_some(ready),
            };
            self.rim.tasks.spawn(prober.run(held));
        }
    }
}
