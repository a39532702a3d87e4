//! The pods of this node: one worker each, woken by the API, the runtime and its own actions.
//!
//! This file finds the worker that something is for. What a worker does is in [`worker`].

pub mod act;
pub mod adopt;
pub mod allocation;
pub mod containers;
pub mod dns;
pub mod exits;
pub mod files;
pub mod plan;
pub mod seen;
pub mod start;
pub mod status;
pub mod stop;
pub mod storage;
pub mod worker;

use crate::Error;
use crate::rim::Rim;
use adopt::Leftover;
use futures_util::FutureExt;
use seen::Outcome;
use skiff_base::Lock;
use skiff_base::fault;
use skiff_client::{Cache, Change, Subscription};
use skiff_kinds::views::Pod;
use skiff_runtime::client::Events;
use skiff_runtime::spec::Resources;
use skiff_runtime::status::{ContainerState, Event};
use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};
use tokio::sync::mpsc::{self, UnboundedSender};
use worker::{Mail, Worker};

/// The least weight of processor time: for pods that ask for none.
const LEAST_SHARES: u64 = 2;

/// The workers, by the uid of their pods.
pub struct Pods {
    rim: Arc<Rim>,
    workers: Lock<HashMap<String, UnboundedSender<Mail>>>,
    /// What ran or lay on the disk when this process began, until its worker takes it.
    leftovers: Lock<HashMap<String, Leftover>>,
}

impl Pods {
    pub fn new(rim: Arc<Rim>) -> Pods {
        Pods { rim, workers: Lock::default(), leftovers: Lock::default() }
    }

    /// Takes stock of what runs, then follows the API and the runtime.
    pub async fn start(self: Arc<Self>) -> Result<(), Error> {
        let events = self.rim.runtime.events();
        self.make_cgroups().await?;
        let listing = self.rim.runtime.list().await?;
        let attached = self.rim.network.attachments();
        *self.leftovers() = adopt::group(listing, &attached, self.folders()?);
        self.rim.tasks.vital(self.clone().follow_runtime(events));
        let cache = self.rim.caches.of::<Pod>();
        self.rim.tasks.vital(self.clone().follow_pods(cache));
        Ok(())
    }

    /// Hands changes of pods to their workers. What ran for pods that are gone goes when all is known that is there,
    /// and again when something can be read that could not.
    async fn follow_pods(self: Arc<Self>, cache: Arc<Cache<Pod>>) {
        let (mut changes, mut mended) = (cache.subscribe(), cache.mended());
        let (mut known, mut all) = (std::pin::pin!(cache.caught_up(0).fuse()), false);
        loop {
            tokio::select! {
                biased;
                () = &mut known => {
                    all = true;
                    self.take_all(&mut changes);
                    // All that was given before is known now: what was refused, or not answered, is looked at.
                    let workers = self.workers.lock();
                    workers.values().for_each(|worker| {
                        // One that has ended needs nothing.
                        let _ = worker.send(Mail::Room);
                    });
                }
                // The sender lives in the cache.
                _ = mended.changed(), if all => self.take_all(&mut changes),
                change = changes.next() => {
                    self.changed(&change);
                    continue;
                }
            }
            self.end_strays();
        }
    }

    fn take_all(self: &Arc<Self>, changes: &mut Subscription<Pod>) {
        while let Some(change) = changes.take() {
            self.changed(&change);
        }
    }

    /// The pods that have a folder here, by uid. A name that is no text is not one that was given here.
    fn folders(&self) -> Result<Vec<String>, Error> {
        let path = self.rim.pod_dir("");
        let list = || -> std::io::Result<Vec<String>> {
            let names = path.read_dir()?.map(|entry| Ok(entry?.file_name().into_string().ok()));
            Ok(names.collect::<std::io::Result<Vec<_>>>()?.into_iter().flatten().collect())
        };
        list().map_err(|source| Error::FindPods { path: path.clone(), source })
    }

    async fn make_cgroups(&self) -> Result<(), Error> {
        let runtime = &self.rim.runtime;
        let least = Resources { cpu_shares: Some(LEAST_SHARES), ..Resources::default() };
        runtime.set_cgroup("kubepods", &Resources::default()).await?;
        runtime.set_cgroup("kubepods/burstable", &Resources::default()).await?;
        Ok(runtime.set_cgroup("kubepods/besteffort", &least).await?)
    }

    fn changed(self: &Arc<Self>, change: &Change<Pod>) {
        let own = |pod: &&Arc<Pod>| pod.spec.node_name == self.rim.config.name;
        let uid = |pod: &Arc<Pod>| pod.metadata.uid.clone();
        // The cache has those of all nodes where it is shared with others of this process.
        let (old, new) = (change.old.as_ref().filter(own), change.new.as_ref().filter(own));
        if let Some(old) = old
            && new.is_none_or(|new| uid(new) != uid(old))
        {
            self.mail(&uid(old), Mail::Gone);
        }
        let Some(pod) = new else { return };
        if !self.mail(&uid(pod), Mail::Pod(pod.clone())) {
            let leftover = self.leftovers().remove(&uid(pod));
            self.hire(pod.clone(), leftover);
        }
    }

    fn leftovers(&self) -> MutexGuard<'_, HashMap<String, Leftover>> {
        self.leftovers.lock()
    }

    /// Hands something to a worker; false when there is none.
    fn mail(&self, uid: &str, mail: Mail) -> bool {
        let workers = self.workers.lock();
        workers.get(uid).is_some_and(|worker| worker.send(mail).is_ok())
    }

    fn hire(self: &Arc<Self>, pod: Arc<Pod>, leftover: Option<Leftover>) {
        // Unbounded, but what is in it is bounded: one outcome for each action that is under way,
        // and the newest states of one object.
        let (send, receive) = mpsc::unbounded_channel();
        let uid = pod.metadata.uid.clone();
        let mut workers = self.workers.lock();
        workers.insert(uid.clone(), send.clone());
        drop(workers);
        let worker = Worker::new(self.rim.clone(), pod, send, leftover);
        let pods = self.clone();
        // What it has in its mind is lost with it: then the node takes stock anew.
        self.rim.tasks.sound(async move {
            worker.run(receive).await;
            pods.workers.lock().remove(&uid);
        });
    }

    async fn follow_runtime(self: Arc<Self>, mut events: Events) {
        while let Some(event) = events.next().await {
            fault::point("node");
            match event {
                Event::Exited(status) => self.exited(status),
                Event::Started(_) => {}
                Event::SandboxLost(status) => {
                    if let Some(uid) = status.labels.get(adopt::POD_UID) {
                        self.mail(uid, Outcome::SandboxLost.into());
                    }
                }
                Event::Resync => match self.rim.runtime.list().await {
                    Ok(listing) => {
                        let ended = |c: &skiff_runtime::status::ContainerStatus| {
                            c.state == ContainerState::Exited
                        };
                        listing.containers.into_iter().filter(ended).for_each(|c| self.exited(c));
                    }
                    Err(error) => tracing::warn!(%error, "the runtime does not list"),
                },
            }
        }
    }

    fn exited(self: &Arc<Self>, status: skiff_runtime::status::ContainerStatus) {
        let Some(uid) = status.labels.get(adopt::POD_UID).cloned() else { return };
        let pods = self.clone();
        self.rim.tasks.spawn(async move {
            if let Some((container, ended)) = exits::read(&pods.rim, status).await {
                pods.mail(&uid, Outcome::Exited { container, ended }.into());
            }
        });
    }

    /// What is left of pods that are no longer there ends as that of any pod does, each by a worker of
    /// its own. What may belong to one whose record cannot be read stays as it is.
    fn end_strays(self: &Arc<Self>) {
        let cache = self.rim.caches.of::<Pod>();
        let stray = |leftover: &Leftover| match leftover.pod() {
            Some(pod) => !cache.hides(&pod),
            None => !cache.hides_some(),
        };
        let strays: Vec<_> = self.leftovers().extract_if(|_, it| stray(it)).collect();
        for (uid, leftover) in strays {
            tracing::info!(uid, "a pod went while the node was away");
            self.hire(Arc::new(leftover.stray(&uid)), Some(leftover));
            self.mail(&uid, Mail::Gone);
        }
    }
}
