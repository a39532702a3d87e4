//! Processor and memory should be used up in like parts.

use super::{MOST, Plugin, Score};
use crate::pod::{Amount, PodInfo};
use crate::snapshot::{NodeInfo, Snapshot};
use std::sync::Arc;

pub struct Balanced;

struct Beside(Arc<PodInfo>);

impl Plugin for Balanced {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn rank(&self, info: &Arc<PodInfo>, _: &Snapshot) -> Option<Box<dyn Score>> {
        Some(Box::new(Beside(info.clone())))
    }
}

impl Score for Beside {
    fn score(&self, info: &NodeInfo) -> i64 {
        let (has, taken, wanted) = (&info.allocatable, &info.requested, &self.0.requests);
        let part = |has: Amount, sum: Amount| match has {
            0 => 1.0,
            has => (float(sum) / float(has)).min(1.0),
        };
        let cpu = part(has.cpu, taken.cpu + wanted.cpu);
        let memory = part(has.memory, taken.memory + wanted.memory);
        // The standard deviation of two numbers is half of their difference.
        let deviation = (cpu - memory).abs() / 2.0;
        ((1.0 - deviation) * MOST as f64) as i64
    }
}

/// Most amounts fit 64 bits, for which there is an instruction.
fn float(amount: Amount) -> f64 {
    i64::try_from(amount).map_or(amount as f64, |amount| amount as f64)
}
