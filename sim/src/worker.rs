//! The worker of one pod: the node's own plan, facts and reports, over the fake kernel. It mirrors
//! `skiff_node::pod::worker`, whose acts are bound to the real one.

use crate::agent::Desks;
use crate::kernel::Program;
use skiff_kinds::views::Pod;
use skiff_node::pod::adopt::{self, Leftover};
use skiff_node::pod::plan::{self, Action};
use skiff_node::pod::seen::{End, ImageFact, Outcome, Sandbox, Seen};
use skiff_node::pod::status;
use skiff_node::pod::worker::Mail;
use skiff_node::report::{Report, Told};
use skiff_node::volumes::Mounted;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;

/// Plans in a row before the worker waits for mail.
const ROUNDS_MOST: usize = 32;

pub struct Worker {
    desks: Arc<Desks>,
    seen: Seen,
    send: UnboundedSender<Mail>,
    report: Report,
    /// The pod had ended before this worker began.
    silent: bool,
    leftover: Leftover,
    /// Stops under way, by container id: a shorter grace goes through here.
    stops: BTreeMap<String, watch::Sender<i64>>,
    wake: Option<Duration>,
}

impl Worker {
    pub fn new(
        desks: Arc<Desks>,
        pod: Arc<Pod>,
        send: UnboundedSender<Mail>,
        leftover: Option<Leftover>,
    ) -> Box<Worker> {
        let silent = pod.ended();
        let report = Report::new(desks.desk.clone(), send.clone());
        let mut seen = Seen::new(pod, &desks.address, desks.world.now());
        if let Some(leftover) = &leftover {
            adopt::adopt(&mut seen, leftover);
        }
        if seen.uncertain() {
            let volumes = seen.volumes.keys();
            let whole = volumes.map(|name| (name.clone(), mounted(name))).collect();
            seen.take(Outcome::Checked(Ok(whole)), desks.world.now());
        }
        let (leftover, stops) = (leftover.unwrap_or_default(), BTreeMap::new());
        Box::new(Worker { desks, seen, send, report, silent, leftover, stops, wake: None })
    }

    /// Until the pod is gone from the API and from this node.
    pub async fn run(mut self: Box<Self>, mut mail: UnboundedReceiver<Mail>) {
        loop {
            while let Ok(one) = mail.try_recv() {
                self.take(one);
            }
            self.advance();
            if self.seen.end == End::Over && self.seen.gone {
                return;
            }
            let world = self.desks.world.clone();
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
        match mail {
            Mail::Pod(pod) => self.seen.pod = pod,
            Mail::Gone => self.seen.gone = true,
            Mail::Note(note) => self.report.event(*note),
            Mail::Outcome(outcome) => {
                if let Outcome::Exited { ended, .. } = &*outcome {
                    self.stops.remove(&ended.id);
                }
                if let Outcome::Finished(Ok(())) = &*outcome
                    && !self.seen.gone
                {
                    self.report.delete(self.seen.pod.clone());
                }
                self.seen.take(*outcome, self.desks.world.now());
            }
            Mail::Told | Mail::Room | Mail::Refresh | Mail::Measured(..) => {}
        }
    }

    fn advance(&mut self) {
        for _ in 0..ROUNDS_MOST {
            let now = self.desks.world.now();
            if plan::tells_first(&self.seen) {
                self.tell();
            }
            let world = self.desks.world.clone();
            let plan = plan::plan(&self.seen, now, &mut || fresh_id(&world));
            self.wake = plan.wake.map(|at| {
                let left = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
                self.desks.world.uptime() + left + Duration::from_millis(1)
            });
            if plan.actions.is_empty() {
                break;
            }
            for action in plan.actions {
                self.seen.begin(&action);
                self.begin(action);
            }
        }
        self.tell();
    }

    /// Writes the status if it has changed, and learns whether the API has it.
    fn tell(&mut self) {
        if self.silent || self.seen.gone {
            self.seen.told = true;
            return;
        }
        let status = status::status(&self.seen, self.desks.world.now());
        let told = match plan::tells_first(&self.seen) {
            true => self.report.await_status(&self.seen.pod, &status),
            false => self.report.status(&self.seen.pod, &status),
        };
        self.seen.told = told == Told::Answered;
        if told == Told::Asked {
            self.seen.remember(&status);
        }
    }

    fn begin(&mut self, action: Action) {
        let (kernel, meta) = (self.desks.kernel.clone(), self.seen.pod.metadata.clone());
        match action {
            Action::MakeSandbox => {
                let id = fresh_id(&self.desks.world);
                self.spawn(async move {
                    let pod = (&*meta.namespace, &*meta.name, &*meta.uid);
                    Outcome::Sandbox(kernel.make_sandbox(pod, id).await)
                });
            }
            Action::Mount { volume } => self.spawn(async move {
                let result = kernel.prepare(&meta.uid).await.map(|()| (mounted(&volume), None));
                Outcome::Mounted { volume, result }
            }),
            Action::Unmount { volume } => self.spawn(async move {
                Outcome::Unmounted { volume, result: kernel.prepare(&meta.uid).await }
            }),
            Action::Pull { container } => {
                let name = self.seen.container(&container).map(|it| it.image.clone());
                self.spawn(async move {
                    let name = name.unwrap_or_default();
                    let fact = ImageFact { id: name.clone(), shown: name.clone(), name };
                    let pulled = kernel.prepare(&meta.uid).await;
                    let result = pulled.map(|()| fact).map_err(|why| ("ErrImagePull".into(), why));
                    Outcome::Image { container, result }
                });
            }
            Action::Start { container, id, image, attempt } => {
                self.start(container, id, image, attempt);
            }
            Action::Kill { container: _, id, why: _, grace_s } => self.stop(id, grace_s),
            Action::RemoveSandbox { id } => self.remove_sandbox(id),
            Action::Resize(_) => self.spawn(async move { Outcome::Resized(Ok(())) }),
            Action::Finish => {
                self.spawn(async move { Outcome::Finished(kernel.clean_up(&meta.uid).await) })
            }
            Action::BackOff { .. } | Action::Fail { .. } => {}
        }
    }

    fn start(&self, container: String, id: String, image: ImageFact, attempt: u32) {
        let Sandbox::Ready { id: sandbox, .. } = self.seen.sandbox.clone() else { return };
        let (kernel, world) = (self.desks.kernel.clone(), self.desks.world.clone());
        let meta = &self.seen.pod.metadata;
        let program = Program {
            pod: meta.name.clone(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            container: container.clone(),
            id: id.clone(),
            sandbox,
            image,
            attempt,
        };
        self.spawn(async move {
            match kernel.start(program).await {
                Ok(()) => {
                    let (since, user) = (world.now(), (0, 0, Vec::new()));
                    Outcome::Started { container, id, since, hooked: true, user }
                }
                Err(message) => {
                    let reason = "RunContainerError".to_owned();
                    Outcome::NotStarted { container, id, reason, message }
                }
            }
        });
    }

    /// A signal, and after the grace the end.
    fn stop(&mut self, id: String, grace_s: i64) {
        if let Some(running) = self.stops.get(&id) {
            running.send_replace(grace_s);
            return;
        }
        let (send, mut grace) = watch::channel(grace_s);
        self.stops.insert(id.clone(), send);
        let (kernel, world) = (self.desks.kernel.clone(), self.desks.world.clone());
        self.desks.desk.tasks.sound(async move {
            let begun = world.uptime();
            kernel.signal(&id);
            loop {
                let seconds = (*grace.borrow_and_update()).max(1).unsigned_abs();
                let end = begun + Duration::from_secs(seconds);
                tokio::select! {
                    biased;
                    changed = grace.changed() => if changed.is_err() {
                        // The exit has been taken in.
                        return;
                    },
                    () = world.sleep_until(end) => break,
                }
            }
            kernel.kill(&id);
        });
    }

    fn remove_sandbox(&self, id: String) {
        let kernel = self.desks.kernel.clone();
        let known = self.seen.containers.values();
        let ended = known.flat_map(|it| it.ended().into_iter().chain(&it.last));
        let ended = ended.map(|ended| ended.id.clone());
        let containers: BTreeSet<_> = ended.chain(self.leftover.container_ids()).collect();
        let sandboxes: BTreeSet<_> = self.leftover.sandboxes().into_iter().chain([id]).collect();
        self.spawn(
            async move { Outcome::SandboxRemoved(kernel.remove(&sandboxes, &containers).await) },
        );
    }

    fn spawn(&self, work: impl Future<Output = Outcome> + Send + 'static) {
        let send = self.send.clone();
        self.desks.desk.tasks.sound(async move {
            let outcome = work.await;
            // The worker may have ended; then nobody needs this.
            let _ = send.send(outcome.into());
        });
    }
}

fn mounted(volume: &str) -> Mounted {
    Mounted { path: PathBuf::from(volume), readonly: false }
}

fn fresh_id(world: &skiff_base::World) -> String {
    let mut bytes = [0; 32];
    world.fill(&mut bytes);
    skiff_base::id::hex(&bytes)
}
