//! The more is free, the better.

use super::MOST;
use crate::state::{Amount, NodeInfo, State, weighed};
use skiff_kinds::views::Pod;

pub fn score(pod: &Pod, info: &NodeInfo, _: &State) -> i64 {
    let (cpu, memory) = weighed(pod);
    let of = |name: &str, wanted: Amount| {
        let has = info.allocatable.get(name).copied().unwrap_or(0);
        if has == 0 || wanted > has {
            0
        } else {
            ((has - wanted) * Amount::from(MOST) / has) as i64
        }
    };
    (of("cpu", info.weighed.0 + cpu) + of("memory", info.weighed.1 + memory)) / 2
}
