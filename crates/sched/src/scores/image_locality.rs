//! A node that has the images already starts the pod sooner.

use super::MOST;
use crate::state::{NodeInfo, State};
use skiff_kinds::views::Pod;

/// Less than this counts for nothing, more than that per container counts no more.
const LEAST: i64 = 23 << 20;
const MOST_BYTES: i64 = 1000 << 20;

pub fn score(pod: &Pod, info: &NodeInfo, state: &State) -> i64 {
    let nodes = state.known().count().max(1) as i64;
    let containers = || pod.spec.init_containers.iter().chain(&pod.spec.containers);
    let has = |info: &NodeInfo, image: &str| {
        let names = |n: &&String| named(n, image);
        info.node
            .status
            .images
            .iter()
            .find(|i| i.names.iter().any(|n| names(&n)))
            .map(|i| i.size_bytes)
    };
    let sum: i64 = containers()
        .filter_map(|c| {
            let spread =
                state.known().filter(|other| has(other, &c.image).is_some()).count() as i64;
            Some(has(info, &c.image)? * spread / nodes)
        })
        .sum();
    let most = MOST_BYTES * containers().count() as i64;
    (sum.clamp(LEAST, most.max(LEAST)) - LEAST) * MOST / (most - LEAST).max(1)
}

/// Whether a full name of an image is what a pod calls it.
fn named(full: &str, image: &str) -> bool {
    let tagged = match image.rsplit_once('/').map_or(image, |(_, last)| last) {
        last if last.contains([':', '@']) => image.to_owned(),
        _ => format!("{image}:latest"),
    };
    full == tagged || full.strip_suffix(&tagged).is_some_and(|front| front.ends_with('/'))
}
