//! A node that has the images already starts the pod sooner.

use super::{MOST, Plugin, Score};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Less than this counts for nothing, more than that per container counts no more.
const LEAST: i64 = 23 << 20;
const MOST_BYTES: i64 = 1000 << 20;

pub struct ImageLocality;

struct Has {
    /// Bytes of the pod's images on each node, by place; each image counts the more, the more nodes have it.
    bytes: HashMap<usize, i64>,
    most: i64,
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn rank(&self, info: &Arc<PodInfo>, snapshot: &Snapshot) -> Option<Box<dyn Score>> {
        let all = snapshot.len().max(1) as i64;
        let spec = &info.pod.spec;
        let containers = || spec.init_containers.iter().chain(&spec.containers);
        let mut bytes: HashMap<usize, i64> = HashMap::new();
        for nodes in containers().filter_map(|c| snapshot.image(&tagged(&c.image))) {
            for (place, size) in nodes {
                let sum = bytes.entry(*place).or_default();
                *sum = sum.saturating_add(size.saturating_mul(nodes.len() as i64) / all);
            }
        }
        let most = MOST_BYTES * containers().count() as i64;
        (!bytes.is_empty()).then(|| Box::new(Has { bytes, most }) as Box<dyn Score>)
    }
}

impl Score for Has {
    fn score(&self, info: &NodeInfo) -> i64 {
        let bytes = self.bytes.get(&info.place).copied().unwrap_or(0);
        (bytes.clamp(LEAST, self.most.max(LEAST)) - LEAST) * MOST / (self.most - LEAST).max(1)
    }
}

fn tagged(image: &str) -> Cow<'_, str> {
    match image.rsplit_once('/').map_or(image, |(_, last)| last) {
        last if last.contains([':', '@']) => image.into(),
        _ => format!("{image}:latest").into(),
    }
}
