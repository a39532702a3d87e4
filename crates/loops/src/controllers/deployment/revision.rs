//! Revisions: which ReplicaSet stands for the template of now, its number, and how long old ones are kept.

use super::Pass;
use super::draft::{DESIRED, Draft, HISTORY, MOST, REVISION};
use crate::parts::template;
use skiff_kinds::views::Deployment;

/// A name of an object is at most this long (RFC 1123 subdomain).
const NAME_MOST: usize = 253;
/// The list of old revisions of one set is kept below this length.
const HISTORY_MOST: usize = 2000;
/// Annotations of the deployment that its sets do not inherit.
const NOT_INHERITED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MOST,
    "deprecated.deployment.rollback.to",
];

/// The name of the set for the template of now.
pub fn name(deployment: &Deployment) -> String {
    let hash = hash(deployment);
    let mut name = deployment.metadata.name.clone();
    name.truncate(NAME_MOST - 1 - hash.len());
    format!("{name}-{hash}")
}

fn hash(deployment: &Deployment) -> String {
    template::hash(&deployment.spec.template, deployment.status.collision_count)
}

/// The number of a set; 0 for one that has none or one that is no number.
fn number(draft: &Draft) -> i64 {
    draft.annotations.get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Pass<'_> {
    /// Brings the set for the template of now up to date, if it exists: annotations, revision, minReadySeconds.
    pub(super) fn sync_new(&mut self) {
        let Some(new) = self.new else { return };
        let next = self.next_revision();
        let deployment = self.deployment;
        let draft = &mut self.drafts[new];
        inherit(deployment, draft);
        raise(draft, next);
        draft.min_ready_s = deployment.spec.min_ready_seconds;
        self.revision = draft.annotations.get(REVISION).cloned();
        if self.deadline_s().is_some() && self.condition("Progressing").is_none() {
            let message = format!("Found new replica set {:?}", self.drafts[new].name());
            self.set_condition("Progressing", "True", "FoundNewReplicaSet", message);
        }
    }

    /// Drafts the set for the template of now, with no pods yet. `None`: its name is taken by something else, which
    /// the status now says, so that the next pass has another name.
    pub(super) fn create_new(&mut self) -> Option<usize> {
        if self.seen.namesake.is_some() {
            self.collisions = Some(self.collisions.unwrap_or(0) + 1);
            return None;
        }
        let deployment = self.deployment;
        let name = name(deployment);
        let mut draft = Draft::create(deployment, name.clone(), &hash(deployment));
        inherit(deployment, &mut draft);
        let next = self.next_revision();
        raise(&mut draft, next);
        self.revision = Some(next.to_string());
        self.drafts.push(draft);
        self.new = Some(self.drafts.len() - 1);
        if self.deadline_s().is_some() {
            match self.refused.clone() {
                None => {
                    let message = format!("Created new replica set {name:?}");
                    self.set_condition("Progressing", "True", "NewReplicaSetCreated", message);
                }
                Some(why) => {
                    let message = format!("Failed to create new replica set {name:?}: {why}");
                    self.set_condition("Progressing", "False", "ReplicaSetCreateError", message);
                }
            }
        }
        self.new
    }

    fn next_revision(&self) -> i64 {
        self.old().map(|index| number(&self.drafts[index])).max().unwrap_or(0) + 1
    }

    /// Deletes the oldest of the sets that nobody needs, beyond `revisionHistoryLimit`.
    pub(super) fn clean_up(&mut self) {
        let limit = self.deployment.spec.revision_history_limit.filter(|limit| *limit != i32::MAX);
        let Some(limit) = limit else { return };
        let mut old: Vec<usize> =
            self.old().filter(|i| !self.drafts[*i].set.metadata.deleting()).collect();
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        old.sort_by_key(|index| number(&self.drafts[*index]));
        for index in old.into_iter().take(surplus) {
            let draft = &self.drafts[index];
            let set = &draft.set;
            let settled = set.metadata.generation <= set.status.observed_generation;
            if settled && set.status.replicas == 0 && set.spec.replicas == 0 && draft.replicas == 0
            {
                self.cleaned.push(index);
            }
        }
    }
}

fn inherit(deployment: &Deployment, draft: &mut Draft) {
    let annotations = deployment.metadata.annotations.iter();
    for (key, value) in annotations.filter(|(key, _)| !NOT_INHERITED.contains(&key.as_str())) {
        draft.annotations.insert(key.clone(), value.clone());
    }
}

/// Gives a set the newest number, and keeps its older one in its history: it was rolled back to.
fn raise(draft: &mut Draft, next: i64) {
    let old = draft.annotations.get(REVISION).cloned();
    if old.as_ref().is_some_and(|old| old.parse::<i64>().map_or(true, |old| old >= next)) {
        return;
    }
    draft.annotations.insert(REVISION.into(), next.to_string());
    let Some(old) = old else { return };
    let mut history = match draft.annotations.get(HISTORY).filter(|text| !text.is_empty()) {
        Some(history) => format!("{history},{old}"),
        None => old,
    };
    while history.len() > HISTORY_MOST {
        let Some((_, later)) = history.split_once(',') else { return };
        history = later.to_owned();
    }
    draft.annotations.insert(HISTORY.into(), history);
}
