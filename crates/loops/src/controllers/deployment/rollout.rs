//! Rollouts: from the old ReplicaSets to the new one, rolling or all at once.

use super::Pass;
use crate::Changes;

impl Pass<'_> {
    /// RollingUpdate: grow the new set as far as the surge allows; else shrink the old ones as far as availability
    /// allows. One step per pass: the next waits for what the sets report.
    pub(super) fn roll(&mut self, out: &mut Changes) {
        let Some(new) = self.new.or_else(|| self.create_new()) else {
            out.because("another replica set has the name of the new one");
            return;
        };
        if self.grow_new(new) {
            return;
        }
        if self.shrink_old(new) {
            return;
        }
        self.clean_up_when_complete();
    }

    /// Recreate: no pod of the new template before the last old one is gone.
    pub(super) fn recreate(&mut self, out: &mut Changes) {
        let active: Vec<usize> = self.old().filter(|i| self.drafts[*i].replicas > 0).collect();
        if !active.is_empty() {
            active.into_iter().for_each(|index| {
                self.size(index, 0);
            });
            return;
        }
        let running = |index: usize| {
            let set = &self.drafts[index].set;
            set.status.replicas > 0 || self.seen.with_pods.contains(&set.metadata.uid)
        };
        if self.old().any(running) {
            out.because("old pods are still there");
            return;
        }
        let Some(new) = self.new.or_else(|| self.create_new()) else {
            out.because("another replica set has the name of the new one");
            return;
        };
        if self.drafts[new].exists == super::draft::Existence::ToCreate
            || self.drafts[new].replicas != self.wanted()
        {
            self.size(new, self.wanted());
        }
        self.clean_up_when_complete();
    }

    fn grow_new(&mut self, new: usize) -> bool {
        let (wanted, has) = (self.wanted(), self.drafts[new].replicas);
        let created = self.drafts[new].exists == super::draft::Existence::ToCreate;
        if has == wanted && !created {
            return false;
        }
        if has > wanted {
            return self.size(new, wanted);
        }
        let room = (self.most() - self.total()).max(0);
        let size = has + room.min(wanted - has);
        if size == has && !created {
            return false;
        }
        self.size(new, size) && !created
    }

    fn shrink_old(&mut self, new: usize) -> bool {
        let old: Vec<usize> = self.old().filter(|i| self.drafts[*i].replicas > 0).collect();
        if old.is_empty() {
            return false;
        }
        let least = self.wanted() - self.fences().0;
        let draft = &self.drafts[new];
        let missing = draft.replicas - draft.set.status.available_replicas;
        let mut room = self.total() - least - missing;
        if room <= 0 {
            return false;
        }
        let mut scaled = false;
        // Replicas that are not available anyway go first: they cost no availability, and could block for ever.
        for index in &old {
            let draft = &self.drafts[*index];
            let sick = (draft.replicas - draft.set.status.available_replicas).min(room);
            if sick > 0 {
                room -= sick;
                scaled |= self.size(*index, draft.replicas - sick);
            }
        }
        let available: i32 =
            self.drafts.iter().map(|draft| draft.set.status.available_replicas).sum();
        let mut room = available - least;
        for index in old {
            let has = self.drafts[index].replicas;
            let step = has.min(room);
            if step > 0 {
                room -= step;
                scaled |= self.size(index, has - step);
            }
        }
        scaled
    }

    fn clean_up_when_complete(&mut self) {
        if self.complete(&self.deployment.status) {
            self.clean_up();
        }
    }
}
