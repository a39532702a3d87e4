//! Scaling: a deployment that is resized, or paused, keeps the proportions between its ReplicaSets.

use super::Pass;
use super::draft::{DESIRED, MOST};

impl Pass<'_> {
    /// The deployment was resized since its sets were last sized.
    pub(super) fn was_scaled(&self) -> bool {
        let wanted = self.wanted();
        let differs =
            |index: &usize| self.drafts[*index].number(DESIRED).is_some_and(|n| n != wanted);
        self.active().iter().any(differs)
    }

    pub(super) fn scale(&mut self) {
        let wanted = self.wanted();
        if let Some(only) = self.active_or_latest() {
            if self.drafts[only].replicas != wanted {
                self.size(only, wanted);
            }
            return;
        }
        if self.drafts.is_empty() {
            return;
        }
        if self.saturated() {
            for index in self.old() {
                if self.drafts[index].replicas > 0 {
                    self.size(index, 0);
                }
            }
        } else if self.rolling() {
            self.scale_in_proportion();
        }
    }

    /// The one set that has pods, or the newest if none has. `None`: there are several, or no sets.
    fn active_or_latest(&self) -> Option<usize> {
        match self.active().as_slice() {
            [] => self.new.or_else(|| self.drafts.len().checked_sub(1)),
            [only] => Some(*only),
            _ => None,
        }
    }

    /// The new set has everything, and was sized for it.
    fn saturated(&self) -> bool {
        let wanted = self.wanted();
        self.new.is_some_and(|new| {
            let draft = &self.drafts[new];
            draft.replicas == wanted
                && draft.number(DESIRED) == Some(wanted)
                && draft.set.status.available_replicas == wanted
        })
    }

    /// Shares what is to be added or taken among the sets by their sizes, the largest first; what rounding leaves goes
    /// to the largest.
    fn scale_in_proportion(&mut self) {
        let wanted = self.wanted();
        let allowed = if wanted > 0 { self.most() } else { 0 };
        let to_add = allowed - self.total();
        // Drafts stand oldest first; of two equal ones the newer grows first and the older shrinks first.
        let mut sets = self.active();
        if to_add > 0 {
            sets.reverse();
        }
        sets.sort_by_key(|index| std::cmp::Reverse(self.drafts[*index].replicas));
        let mut added = 0;
        let mut sizes: Vec<(usize, i32)> = Vec::new();
        for index in sets {
            let share = self.fraction(index);
            let left = to_add - added;
            let share = if to_add > 0 { share.min(left) } else { share.max(left) };
            let share = if to_add == 0 || left == 0 { 0 } else { share };
            added += share;
            sizes.push((index, self.drafts[index].replicas + share));
        }
        if let Some((_, largest)) = sizes.first_mut().filter(|_| to_add != 0) {
            *largest = (*largest + to_add - added).max(0);
        }
        for (index, size) in sizes {
            self.size(index, size);
        }
    }

    /// How much a set would grow if it kept its share of the deployment.
    fn fraction(&self, index: usize) -> i32 {
        let draft = &self.drafts[index];
        if self.wanted() == 0 {
            return -draft.replicas;
        }
        let before = draft.number(MOST).filter(|most| *most != 0);
        let before = before.unwrap_or(self.deployment.status.replicas);
        if before == 0 {
            return 0;
        }
        let size = f64::from(draft.replicas) * f64::from(self.most()) / f64::from(before);
        // Sizes are far below the limits of the type, and `as` saturates.
        size.round() as i32 - draft.replicas
    }
}
