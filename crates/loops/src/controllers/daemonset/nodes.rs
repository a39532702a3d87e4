//! Brings each node to the pod that it should have: one that fits gets it, one that fits no more loses it, pods that
//! ended are replaced, and of several the oldest stays.

use super::Pass;
use super::placement::Fit;
use crate::changes::Note;
use skiff_base::{Backoff, Time};
use skiff_kinds::views::workloads::Rounding;
use skiff_kinds::views::{Node, Pod};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How fast a pod that fails is replaced: a node that refuses pods must not be asked all the time.
const AGAIN: Backoff =
    Backoff { first: Duration::from_secs(1), most: Duration::from_secs(15 * 60) };

/// The pods that failed of late, by node.
#[derive(Debug, Default)]
pub struct Failures {
    /// Another generation may well succeed, so it begins anew.
    generation: i64,
    nodes: BTreeMap<String, Failed>,
}

#[derive(Debug)]
struct Failed {
    times: u32,
    last: Time,
}

impl Failures {
    /// When a pod that failed may be replaced; `None` is now, and this is counted.
    fn wait(&mut self, node: &str, now: Time) -> Option<Time> {
        let failed = self
            .nodes
            .entry(node.to_owned())
            .or_insert(Failed { times: 0, last: Time::UNIX_EPOCH });
        let until = failed.last + AGAIN.delay(failed.times);
        if failed.times > 0 && now < until {
            return Some(until);
        }
        // What is long past counts no more.
        if now > failed.last + AGAIN.most * 2 {
            failed.times = 0;
        }
        *failed = Failed { times: failed.times + 1, last: now };
        None
    }
}

impl<'s> Pass<'s> {
    pub(super) fn manage(&mut self, failures: &mut Failures) {
        let generation = self.set.status.observed_generation;
        if failures.generation != generation {
            *failures = Failures { generation, nodes: BTreeMap::new() };
        }
        let nodes = &self.seen.nodes;
        nodes.iter().for_each(|node| self.manage_node(node, failures));
        // Nobody else deletes a pod that waits for a node which is not there.
        let known: std::collections::BTreeSet<&str> =
            nodes.iter().map(|node| &*node.metadata.name).collect();
        let lost = self.on.iter().filter(|(node, _)| !known.contains(*node));
        let lost = lost.flat_map(|(_, pods)| pods).filter(|pod| pod.spec.node_name.is_empty());
        let lost: Vec<_> = lost.filter(|pod| !pod.metadata.deleting()).copied().collect();
        self.going.extend(lost);
    }

    fn manage_node(&mut self, node: &'s Node, failures: &mut Failures) {
        let name = &*node.metadata.name;
        let fit = self.seen.daemon.fit(node);
        let pods = self.pods_on(name).to_vec();
        if fit == Fit::Never {
            self.going.extend(pods.iter().filter(|pod| !pod.metadata.deleting()));
            return;
        }
        if pods.is_empty() {
            if fit == Fit::Runs {
                self.wanting.push(name);
            }
            return;
        }
        let mut running: Vec<&'s Arc<Pod>> = Vec::new();
        for pod in pods.into_iter().filter(|pod| !pod.metadata.deleting()) {
            if self.ended(pod, name, failures) {
                continue;
            }
            running.push(pod);
        }
        if self.surge(1) > 0 {
            self.surging(name, fit, running);
        } else {
            self.going.extend(running.into_iter().skip(1));
        }
    }

    /// Replaces a pod that ended. Says whether it did.
    fn ended(&mut self, pod: &'s Arc<Pod>, node: &str, failures: &mut Failures) -> bool {
        let meta = &pod.metadata;
        let what = format!("daemon pod {}/{} on node {node}", meta.namespace, meta.name);
        match &*pod.status.phase {
            "Failed" => {
                if let Some(at) = failures.wait(node, self.now) {
                    self.retry = Some(self.retry.map_or(at, |known| known.min(at)));
                    return true;
                }
                let message = format!("Found failed {what}, will try to kill it");
                self.notes.push(Note::of(self.set, "Warning", "FailedDaemonPod", message));
            }
            "Succeeded" => {
                let message = format!("Found succeeded {what}, will try to delete it");
                self.notes.push(Note::of(self.set, "Normal", "SucceededDaemonPod", message));
            }
            _ => return false,
        }
        self.going.push(pod);
        true
    }

    /// A node that surges may have two pods: a new one that is not available yet, and an old one that is ready.
    fn surging(&mut self, node: &'s str, fit: Fit, running: Vec<&'s Arc<Pod>>) {
        if running.len() <= 1 {
            if running.is_empty() && fit == Fit::Runs {
                self.wanting.push(node);
            }
            return;
        }
        let (new, old): (Vec<_>, Vec<_>) = running.into_iter().partition(|pod| {
            let hash = pod.metadata.labels.get(super::HASH_LABEL);
            hash.is_some_and(|hash| self.current.hashes.contains(hash))
        });
        self.going.extend(new.iter().skip(1).chain(old.iter().skip(1)));
        if let (Some(new), Some(old)) = (new.first().copied(), old.first().copied())
            && (!old.ready() || self.available(new))
        {
            self.going.push(old);
        }
    }

    /// How many nodes of so many may have two pods.
    pub(super) fn surge(&self, nodes: i32) -> i32 {
        let strategy = &self.set.spec.update_strategy;
        let rolling =
            strategy.rolling_update.as_ref().filter(|_| strategy.type_ == "RollingUpdate");
        let most = rolling.and_then(|rolling| rolling.max_surge.as_ref());
        most.map_or(0, |most| most.of(nodes, Rounding::Up))
    }
}
