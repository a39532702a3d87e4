//! Scores: how gladly a node takes a pod that it may take. One file each, pure; 0 to 100, weighed
//! as upstream weighs them by default.

mod balanced;
mod image_locality;
mod least_allocated;
mod node_affinity;
mod pod_affinity;
mod taints;

use crate::state::{NodeInfo, State};
use skiff_kinds::views::Pod;

pub const MOST: i64 = 100;

/// Any number, the higher the better.
pub type Score = fn(&Pod, &NodeInfo, &State) -> i64;

/// What a score counts, and whether its numbers are brought to 0 to 100 by the highest of all nodes.
pub struct Weighed {
    pub score: Score,
    pub weight: i64,
    pub relative: Relative,
}

/// How raw numbers become 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relative {
    /// They are that already.
    No,
    /// By the highest of all nodes.
    Highest,
    /// By the highest, which is the worst.
    Reversed,
    /// From the lowest to the highest.
    Range,
}

pub const SCORES: &[Weighed] = &[
    Weighed { score: least_allocated::score, weight: 1, relative: Relative::No },
    Weighed { score: balanced::score, weight: 1, relative: Relative::No },
    Weighed { score: image_locality::score, weight: 1, relative: Relative::No },
    Weighed { score: node_affinity::score, weight: 2, relative: Relative::Highest },
    Weighed { score: taints::score, weight: 3, relative: Relative::Reversed },
    Weighed { score: pod_affinity::score, weight: 2, relative: Relative::Range },
];

/// Brings the numbers of all nodes to 0 to 100.
pub fn normalize(raw: &mut [i64], relative: Relative) {
    let most = raw.iter().max().copied().unwrap_or(0);
    let least = raw.iter().min().copied().unwrap_or(0);
    for value in raw {
        *value = match relative {
            Relative::No => *value,
            Relative::Highest if most == 0 => 0,
            Relative::Highest => *value * MOST / most,
            Relative::Reversed if most == 0 => MOST,
            Relative::Reversed => MOST - *value * MOST / most,
            Relative::Range if most == least => 0,
            Relative::Range => (*value - least) * MOST / (most - least),
        };
    }
}
