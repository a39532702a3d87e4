//! Node affinity that is only preferred: the sum of the weights of what matches.

use crate::filters::node_affinity::term;
use crate::state::{NodeInfo, State};
use skiff_kinds::views::Pod;

pub fn score(pod: &Pod, info: &NodeInfo, _: &State) -> i64 {
    let preferred = pod.spec.affinity.node_affinity.preferred.iter();
    preferred.filter(|it| term(&it.preference, info)).map(|it| i64::from(it.weight)).sum()
}
