//! Deployment: moves pods from one template to the next, by sizing one ReplicaSet per template.
//!
//! A pass works on drafts of the ReplicaSets: every decision sizes drafts, and at the end each draft that changed is
//! written once, then the status. Invariants: only ReplicaSets that the deployment controls are touched; a rolling
//! update never goes below the availability nor above the number of pods that the strategy allows.

mod draft;
mod revision;
mod rollout;
mod scale;
mod status;
#[cfg(test)]
mod tests;

use crate::parts::adoption::{Claimed, claimed, selector};
use crate::parts::{conditions, template};
use crate::{Change, Changes, Context, Loop, Next, On};
use draft::Draft;
use skiff_api::Status;
use skiff_api::view::Key;
use skiff_base::Time;
use skiff_client::Caches;
use skiff_kinds::views::Condition;
use skiff_kinds::views::workloads::Rounding;
use skiff_kinds::views::{Deployment, Pod, ReplicaSet};
use std::sync::Arc;

/// Key: a Deployment.
pub struct DeploymentLoop;

pub struct Seen {
    deployment: Arc<Deployment>,
    sets: Claimed<ReplicaSet>,
    /// The set that has the name of the next one, whoever owns it.
    namesake: Option<Arc<ReplicaSet>>,
    /// UIDs of sets that have pods which did not end; asked for only where pods must not overlap.
    with_pods: Vec<String>,
}

/// Why the new ReplicaSet could not be created when it was last tried.
#[derive(Debug, Default)]
pub struct Memory {
    refused: Option<String>,
}

impl Loop for DeploymentLoop {
    const NAME: &'static str = "deployment-controller";
    type Seen = Seen;
    type Memory = Memory;

    fn on(on: &mut On) {
        on.own::<Deployment>();
        on.adopts::<Deployment, ReplicaSet>();
        on.map::<Pod>(recreated_by);
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(deployment) = cx.caches.of::<Deployment>().get(key) else { return Ok(None) };
        let meta = &deployment.metadata;
        let selector = selector(&deployment.spec.selector, meta)?;
        let sets = claimed(cx, &*deployment, &selector, |_: &ReplicaSet| true).await?;
        let cache = cx.caches.of::<ReplicaSet>();
        let namesake = cache.get(&Key::new(&key.namespace, &revision::name(&deployment)));
        let mut with_pods = Vec::new();
        if deployment.spec.strategy.type_ == "Recreate" {
            let pods = cx.caches.of::<Pod>();
            let runs = |set: &&Arc<ReplicaSet>| {
                pods.find("owner", &set.metadata.uid).iter().any(|pod| !pod.ended())
            };
            with_pods = sets.all().filter(runs).map(|set| set.metadata.uid.clone()).collect();
        }
        Ok(Some(Seen { deployment, sets, namesake, with_pods }))
    }

    fn failed(memory: &mut Memory, change: &Change, why: &Status) {
        if let Change::Told(change, _) = change
            && matches!(**change, Change::Create { .. })
            && why.code != 409
        {
            memory.refused = Some(why.message.clone());
        }
    }

    fn plan(seen: &Seen, memory: &mut Memory, now: Time, out: &mut Changes) -> Next {
        let deployment = &seen.deployment;
        seen.sets.settle(&**deployment, out);
        let owned = seen.sets.all().cloned().collect();
        let mut pass = Pass::new(seen, owned, memory.refused.take(), now);
        if deployment.metadata.deleting() {
            out.because("the deployment is going");
            return pass.finish(Progress::NotEstimated, out);
        }
        pass.note_pause();
        pass.sync_new();
        if deployment.spec.paused || pass.was_scaled() {
            pass.scale();
            if deployment.spec.paused {
                pass.clean_up();
            }
            return pass.finish(Progress::NotEstimated, out);
        }
        if deployment.spec.strategy.type_ == "Recreate" {
            pass.recreate(out);
        } else {
            pass.roll(out);
        }
        pass.finish(Progress::Estimated, out)
    }
}

/// Whether a pass reckons how far the rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Estimated,
    NotEstimated,
}

/// One pass over a deployment: what it has decided so far.
struct Pass<'s> {
    seen: &'s Seen,
    deployment: &'s Deployment,
    now: Time,
    /// Oldest first.
    drafts: Vec<Draft>,
    /// Which draft has the template of the deployment.
    new: Option<usize>,
    conditions: Vec<Condition>,
    /// The revision that the deployment shows.
    revision: Option<String>,
    collisions: Option<i32>,
    /// Why the new set was refused before.
    refused: Option<String>,
    /// Drafts to delete.
    cleaned: Vec<usize>,
}

impl<'s> Pass<'s> {
    fn new(
        seen: &'s Seen,
        mut owned: Vec<Arc<ReplicaSet>>,
        refused: Option<String>,
        now: Time,
    ) -> Pass<'s> {
        let deployment = &*seen.deployment;
        owned.sort_by(|a, b| {
            let age = |set: &ReplicaSet| set.metadata.creation_timestamp;
            (age(a), &a.metadata.name).cmp(&(age(b), &b.metadata.name))
        });
        let drafts: Vec<Draft> = owned.into_iter().map(Draft::of).collect();
        let new = drafts
            .iter()
            .position(|it| template::same(&it.set.spec.template, &deployment.spec.template));
        Pass {
            seen,
            deployment,
            now,
            drafts,
            new,
            conditions: deployment.status.conditions.clone(),
            revision: None,
            collisions: deployment.status.collision_count,
            refused,
            cleaned: Vec::new(),
        }
    }

    fn wanted(&self) -> i32 {
        self.deployment.spec.replicas
    }

    /// How many pods may be missing, and how many may be too many.
    fn fences(&self) -> (i32, i32) {
        let strategy = &self.deployment.spec.strategy;
        let Some(rolling) = strategy.rolling_update.as_ref().filter(|_| self.rolling()) else {
            return (0, 0);
        };
        let wanted = self.wanted();
        let surge = rolling.max_surge.of(wanted, Rounding::Up);
        let missing = rolling.max_unavailable.of(wanted, Rounding::Down);
        // With neither, nothing could ever move.
        let missing = if surge == 0 && missing == 0 { 1 } else { missing };
        (missing.min(wanted), surge)
    }

    fn rolling(&self) -> bool {
        self.deployment.spec.strategy.type_ != "Recreate"
    }

    fn most(&self) -> i32 {
        self.wanted().saturating_add(self.fences().1)
    }

    fn old(&self) -> impl Iterator<Item = usize> + use<> {
        let new = self.new;
        (0..self.drafts.len()).filter(move |index| Some(*index) != new)
    }

    fn active(&self) -> Vec<usize> {
        (0..self.drafts.len()).filter(|index| self.drafts[*index].replicas > 0).collect()
    }

    /// The number of pods that all sets together ask for.
    fn total(&self) -> i32 {
        self.drafts.iter().map(|draft| draft.replicas).sum()
    }

    fn deadline_s(&self) -> Option<i32> {
        self.deployment.spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)
    }

    fn condition(&self, type_: &str) -> Option<&Condition> {
        conditions::find(&self.conditions, type_)
    }

    fn set_condition(&mut self, type_: &str, status: &str, reason: &str, message: String) {
        let mut new = conditions::condition(type_, status, reason, message, self.now);
        new.last_update_time = new.last_transition_time;
        self.put_condition(new);
    }

    /// What changed last stands last. Users are told of reasons, not of other words for them.
    fn put_condition(&mut self, new: Condition) {
        let same = |old: &Condition| old.status == new.status && old.reason == new.reason;
        if self.condition(&new.type_).is_some_and(same) {
            return;
        }
        let type_ = new.type_.clone();
        conditions::set(&mut self.conditions, new);
        self.conditions.sort_by_key(|condition| condition.type_ == type_);
    }

    /// Sizes a set.
    fn size(&mut self, index: usize, replicas: i32) -> bool {
        let (wanted, most) = (self.wanted(), self.most());
        self.drafts[index].size(replicas, wanted, most)
    }
}

/// The deployment behind a pod, where it waits for pods to go before it makes new ones.
fn recreated_by(pod: &Pod, caches: &Caches) -> Vec<Key> {
    let key = || {
        let namespace = &pod.metadata.namespace;
        let set = pod.metadata.controller().filter(|owner| owner.kind == "ReplicaSet")?;
        let set = caches.of::<ReplicaSet>().get(&Key::new(namespace, &set.name))?;
        let owner = set.metadata.controller().filter(|owner| owner.kind == "Deployment")?;
        let deployment = caches.of::<Deployment>().get(&Key::new(namespace, &owner.name))?;
        let waits = deployment.spec.strategy.type_ == "Recreate";
        waits.then(|| deployment.metadata.key())
    };
    key().into_iter().collect()
}
