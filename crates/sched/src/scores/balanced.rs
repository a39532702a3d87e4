//! Processor and memory should be used up in like parts.

use super::MOST;
use crate::state::{NodeInfo, State, requests};
use skiff_kinds::views::Pod;

pub fn score(pod: &Pod, info: &NodeInfo, _: &State) -> i64 {
    let wanted = requests(pod);
    let part = |name: &str| {
        let has = info.allocatable.get(name).copied().unwrap_or(0) as f64;
        let sum =
            info.requested.get(name).copied().unwrap_or(0) + wanted.get(name).copied().unwrap_or(0);
        if has == 0.0 { 1.0 } else { (sum as f64 / has).min(1.0) }
    };
    // The standard deviation of two numbers is half of their difference.
    let deviation = (part("cpu") - part("memory")).abs() / 2.0;
    ((1.0 - deviation) * MOST as f64) as i64
}
