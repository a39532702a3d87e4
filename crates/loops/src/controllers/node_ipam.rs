//! Ranges of nodes: each node gets a part of the cluster's pod range for its pods, once and for good (API reference:
//! Node, `spec.podCIDR`; upstream's range allocator).
//!
//! A node asks for it by being there without one. The lowest free part is given; what a node has, whoever gave it, is
//! taken. All nodes are looked at in one pass, so that no part is given twice.

use crate::changes::Note;
use crate::{Change, Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::ip::parse_cidr;
use skiff_api::view::{Key, View};
use skiff_api::wire::User;
use skiff_base::{Cidr, Time};
use skiff_json::json;
use skiff_kinds::views::Node;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The one key: all nodes.
const ALL: &str = "nodes";

pub struct NodeRanges;

pub struct Seen {
    nodes: Vec<Arc<Node>>,
    pods: Cidr,
    node_bits: u8,
}

/// Nodes that were told that nothing is left for them.
#[derive(Default)]
pub struct Memory {
    told: BTreeSet<Key>,
}

impl Loop for NodeRanges {
    const NAME: &'static str = "node-ipam-controller";
    const WORKERS: usize = 1;
    type Seen = Seen;
    type Memory = Memory;

    /// Upstream's allocator acts as the controller of nodes.
    fn user() -> User {
        User::service_account("kube-system", "node-controller")
    }

    fn on(on: &mut On) {
        // One that goes leaves its part to another that waits for one.
        on.map::<Node>(|_, _| vec![Key::new("", ALL)]);
    }

    async fn observe(cx: &Context, _: &Key) -> Result<Option<Seen>, Status> {
        let cache = cx.caches.of::<Node>();
        if let Some(key) = cache.hidden_in("").pop_first() {
            let why = format!("node {key} cannot be read: which range it has is not known");
            return Err(Status::internal(why));
        }
        let nodes = cache.list("");
        Ok(Some(Seen { nodes, pods: cx.settings.pods, node_bits: cx.settings.node_bits }))
    }

    fn plan(seen: &Seen, memory: &mut Memory, _: Time, out: &mut Changes) -> Next {
        let taken: Vec<Cidr> = seen
            .nodes
            .iter()
            .flat_map(|node| node.spec.pod_cidrs.iter().chain([&node.spec.pod_cidr]))
            .filter_map(|range| Some(parse_cidr(range)?.0))
            .collect();
        let mut free = parts(seen.pods, seen.node_bits)
            .filter(|part| !taken.iter().any(|it| it.overlaps(part)));
        let mut given = Vec::new();
        for node in seen.nodes.iter().filter(|node| node.spec.pod_cidr.is_empty()) {
            let (meta, key) = (&node.metadata, node.metadata.key());
            match free.next() {
                Some(range) => {
                    let range = range.to_string();
                    let body = json!({"metadata": {"uid": meta.uid},
                        "spec": {"podCIDR": range, "podCIDRs": [range]}});
                    let (resource, subresource) = (Node::RESOURCE, "");
                    memory.told.remove(&key);
                    given.push(Change::Merge { resource, key, subresource, body });
                }
                None if memory.told.insert(key) => {
                    let message = format!("Node {} status is now: CIDRNotAvailable", meta.name);
                    out.event(Note::of(&**node, "Normal", "CIDRNotAvailable", message));
                }
                None => out.because(format!("no part of {} is left", seen.pods)),
            }
        }
        out.together(given);
        Next::Wait
    }
}

/// All parts of a range that a node may get, from the lowest.
fn parts(range: Cidr, bits: u8) -> impl Iterator<Item = Cidr> {
    let size = Cidr::new(range.base(), bits).map_or(u64::MAX, |part| part.size());
    let starts = (0u64..).map_while(move |at| range.nth(at.checked_mul(size)?));
    starts.map_while(move |start| Cidr::new(start, bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(pods: &str, nodes: &[(&str, &str)], expected: Expect) {
        let node = |(name, range): &(&str, &str)| {
            let node = json!({"metadata": {"name": name, "uid": name}, "spec": {"podCIDR": range}});
            Arc::new(skiff_json::from_value(node).expect("the case is a valid view"))
        };
        let pods = pods.parse().expect("a range");
        let seen = Seen { nodes: nodes.iter().map(node).collect(), pods, node_bits: 24 };
        let (mut memory, now) =
            (Memory::default(), "2026-01-01T00:00:00Z".parse().expect("a time"));
        let mut out = Changes::default();
        NodeRanges::plan(&seen, &mut memory, now, &mut out);
        let mut again = Changes::default();
        NodeRanges::plan(&seen, &mut memory, now, &mut again);
        expected.assert_eq(&(out.text() + "again\n" + &again.text()));
    }

    #[test]
    fn each_node_without_a_range_gets_the_lowest_that_is_free() {
        check(
            "10.244.0.0/16",
            &[("a", ""), ("b", "10.244.0.0/24"), ("c", "10.244.2.0/23"), ("d", "")],
            expect![[r#"
                together
                  merge nodes a  {"metadata":{"uid":"a"},"spec":{"podCIDR":"10.244.1.0/24","podCIDRs":["10.244.1.0/24"]}}
                  merge nodes d  {"metadata":{"uid":"d"},"spec":{"podCIDR":"10.244.4.0/24","podCIDRs":["10.244.4.0/24"]}}
                again
                together
                  merge nodes a  {"metadata":{"uid":"a"},"spec":{"podCIDR":"10.244.1.0/24","podCIDRs":["10.244.1.0/24"]}}
                  merge nodes d  {"metadata":{"uid":"d"},"spec":{"podCIDR":"10.244.4.0/24","podCIDRs":["10.244.4.0/24"]}}
            "#]],
        );
    }

    #[test]
    fn whom_nothing_is_left_for_is_told_once() {
        check(
            "10.244.7.0/24",
            &[("a", ""), ("b", "")],
            expect![[r#"
                event Normal CIDRNotAvailable: Node b status is now: CIDRNotAvailable
                together
                  merge nodes a  {"metadata":{"uid":"a"},"spec":{"podCIDR":"10.244.7.0/24","podCIDRs":["10.244.7.0/24"]}}
                again
                together
                  merge nodes a  {"metadata":{"uid":"a"},"spec":{"podCIDR":"10.244.7.0/24","podCIDRs":["10.244.7.0/24"]}}
                because no part of 10.244.7.0/24 is left
            "#]],
        );
    }
}
