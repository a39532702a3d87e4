//! A port of the machine belongs to one pod, or to the cluster itself.

use super::{Event, EventKind, Filter, Plugin, Prepared, Refusal};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use skiff_kinds::views::pod::{NO_FREE_PORTS, clash};
use std::sync::Arc;

pub struct Ports;

struct Free(Arc<PodInfo>);

impl Plugin for Ports {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn prepare(&self, info: &Arc<PodInfo>, _: &Snapshot) -> Prepared {
        match info.ports.is_empty() {
            true => Prepared::default(),
            false => Prepared::of(Free(info.clone())),
        }
    }

    fn listens(&self) -> &'static [EventKind] {
        &[EventKind::Node, EventKind::Left]
    }

    fn helps(&self, info: &Arc<PodInfo>, event: &Event, _: &Snapshot) -> bool {
        match event {
            Event::Node(new) => new.is_some_and(|node| Free(info.clone()).filter(node).is_empty()),
            Event::Left(other) => clash(&info.ports, other.ports.iter()),
            _ => false,
        }
    }
}

impl Filter for Free {
    fn filter(&self, info: &NodeInfo) -> Vec<Refusal> {
        match clash(&self.0.ports, info.ports.iter().chain(&info.own_ports)) {
            true => Refusal::for_now(NO_FREE_PORTS),
            false => Vec::new(),
        }
    }
}
