//! Dice: what chance decides in a run. Everybody who decides something has dice of its own, which follow from the
//! seed and a name, so that one more throw here changes nothing there.

use skiff_base::{Fnv, World};
use std::time::Duration;

/// Random numbers of one decider.
#[derive(Clone)]
pub struct Dice(World);

impl Dice {
    /// Those of `who` in the run of this seed.
    pub fn new(seed: u64, who: &str) -> Dice {
        Dice(World::seeded(seed ^ Fnv::of(who)))
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// True so many times in a thousand.
    pub fn chance(&self, in_a_thousand: u64) -> bool {
        self.below(1000) < in_a_thousand
    }

    /// A span between these two, in whole milliseconds.
    pub fn span(&self, least: Duration, most: Duration) -> Duration {
        let (least, most) = (millis(least), millis(most));
        Duration::from_millis(least + self.below(most.saturating_sub(least) + 1))
    }

    /// One of them; there is at least one.
    pub fn one<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap_or(0)]
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
