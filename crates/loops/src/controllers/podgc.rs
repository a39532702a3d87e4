//! Pod garbage: pods that no node will ever end. One whose node is gone for good or is out of service, and one that is
//! to go before it got a node, are deleted at once; of those that have ended, only so many are kept.
//!
//! Invariant: a pod is called orphaned only after its node was missing for a while and the server, asked live, does not
//! know it: a cache may be late.

use crate::parts::disruption::{condition, fail};
use crate::{Change, Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_client::DeleteOptions;
use skiff_kinds::views::{Node, Pod};
use std::sync::Arc;
use std::time::Duration;

/// A node may be missing for this long before its pods go, as upstream's does.
const QUARANTINE: Duration = Duration::from_secs(40);
/// Somebody saw to it that what ran on this node runs no more (KEP-2268).
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// So many pods that have ended are kept, as upstream's `--terminated-pod-gc-threshold` has it.
const ENDED_MOST: usize = 12_500;
/// How soon pods that have ended are counted again.
const COUNTED_EVERY: Duration = Duration::from_secs(20);

/// Key: a Pod.
pub struct PodGarbage;

pub struct Seen {
    pod: Arc<Pod>,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    None,
    Node,
    /// Its node is not ready, and somebody took it out of service.
    OutOfService,
    /// The node that it names is not there.
    Missing,
}

/// Since when its node is missing.
#[derive(Debug, Default)]
pub struct Memory {
    missing_since: Option<Time>,
}

impl Loop for PodGarbage {
    const NAME: &'static str = "pod-garbage-collector";
    type Seen = Seen;
    type Memory = Memory;

    fn on(on: &mut On) {
        on.own::<Pod>();
        on.map::<Node>(|node, caches| {
            let there = caches.of::<Node>().get(&node.metadata.key());
            if there.is_some_and(|node| !out_of_service(&node)) {
                return Vec::new();
            }
            let pods = caches.of::<Pod>().find("node", &node.metadata.name);
            pods.iter().map(|pod| pod.metadata.key()).collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(pod) = cx.caches.of::<Pod>().get(key) else { return Ok(None) };
        let name = &*pod.spec.node_name;
        let node = cx.caches.of::<Node>().get(&Key::new("", name));
        let place = match node {
            _ if name.is_empty() => Place::None,
            Some(node) if out_of_service(&node) => Place::OutOfService,
            Some(_) => Place::Node,
            None if cx.live::<Node>(&Key::new("", name)).await?.is_some() => Place::Node,
            None => Place::Missing,
        };
        Ok(Some(Seen { pod, place }))
    }

    fn plan(seen: &Seen, memory: &mut Memory, now: Time, out: &mut Changes) -> Next {
        let pod = &seen.pod;
        match seen.place {
            Place::None | Place::OutOfService if pod.metadata.deleting() => fail(pod, None, out),
            Place::None | Place::OutOfService | Place::Node => memory.missing_since = None,
            Place::Missing => {
                let at = *memory.missing_since.get_or_insert(now) + QUARANTINE;
                if at > now {
                    out.because(format!("node {} may come back", pod.spec.node_name));
                    return Next::At(at);
                }
                let why = "PodGC: node no longer exists";
                fail(pod, Some(condition(pod, "DeletionByPodGC", why, now)), out);
            }
        }
        Next::Wait
    }
}

fn out_of_service(node: &Node) -> bool {
    !node.ready() && node.spec.taints.iter().any(|taint| taint.key == OUT_OF_SERVICE)
}

/// The one key: all pods.
pub struct TerminatedPods;

impl Loop for TerminatedPods {
    const NAME: &'static str = "pod-garbage-collector";
    const PART: &'static str = "terminated-pods";
    /// Those that have ended, where there are too many; else only how many there are.
    type Seen = Vec<Arc<Pod>>;
    /// When they were last counted.
    type Memory = Option<Time>;

    fn on(on: &mut On) {
        on.changes::<Pod>(|old, new, _| match new {
            Some(new) if new.ended() && !old.is_some_and(Pod::ended) => vec![Key::default()],
            _ => Vec::new(),
        });
    }

    async fn observe(cx: &Context, _: &Key) -> Result<Option<Self::Seen>, Status> {
        let mut ended = cx.caches.of::<Pod>().list("");
        ended.retain(|pod| pod.ended());
        Ok(Some(ended))
    }

    fn plan(ended: &Self::Seen, last: &mut Self::Memory, now: Time, out: &mut Changes) -> Next {
        if let Some(again) = last.map(|last| last + COUNTED_EVERY).filter(|again| *again > now) {
            return Next::At(again);
        }
        *last = Some(now);
        let most = ENDED_MOST;
        if ended.len() <= most {
            return Next::Wait;
        }
        let mut ended: Vec<&Arc<Pod>> = ended.iter().collect();
        // Those that a node drove out go first, for nobody made them to see how they end.
        ended.sort_by_key(|pod| {
            let meta = &pod.metadata;
            (pod.status.reason != "Evicted", meta.creation_timestamp, meta.name.clone())
        });
        let many = ended[..ended.len() - most].iter().map(|pod| Change::Delete {
            resource: Pod::RESOURCE,
            key: pod.metadata.key(),
            options: DeleteOptions {
                uid: Some(pod.metadata.uid.clone()),
                grace_s: Some(0),
                ..DeleteOptions::default()
            },
        });
        out.together(many);
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(pod: &str, place: Place, missing_since: Option<&str>, expected: Expect) {
        let pod = Arc::new(skiff_json::from_str(pod).expect("the case is a valid view"));
        let missing_since = missing_since.map(|text| text.parse().expect("a time"));
        let mut out = Changes::default();
        let now = "2026-01-01T01:00:00Z".parse().expect("a time");
        PodGarbage::plan(&Seen { pod, place }, &mut Memory { missing_since }, now, &mut out);
        expected.assert_eq(&out.text());
    }

    #[test]
    fn pods_without_a_node_to_end_them_go() {
        let lost = r#"{"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"nodeName": "a"}}"#;
        check(
            lost,
            Place::Missing,
            None,
            expect![[r#"
            because node a may come back
        "#]],
        );
        check(
            lost,
            Place::Missing,
            Some("2026-01-01T00:59:00Z"),
            expect![[r#"
            patch Strategic pods n/p status {"metadata":{"uid":"u"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"PodGC: node no longer exists","observedGeneration":0,"reason":"DeletionByPodGC","status":"True","type":"DisruptionTarget"}],"observedGeneration":0,"phase":"Failed"}}
            delete pods n/p uid=u
        "#]],
        );
        check(lost, Place::Node, Some("2026-01-01T00:59:00Z"), expect![[r#""#]]);
        let unbound = r#"{"metadata": {"name": "p", "namespace": "n", "uid": "u",
            "deletionTimestamp": "2026-01-01T00:00:00Z"}}"#;
        for place in [Place::None, Place::OutOfService] {
            check(
                unbound,
                place,
                None,
                expect![[r#"
                patch Strategic pods n/p status {"metadata":{"uid":"u"},"status":{"observedGeneration":0,"phase":"Failed"}}
                delete pods n/p uid=u
            "#]],
            );
        }
    }

    #[test]
    fn only_so_many_that_have_ended_are_kept() {
        let pod = |number: usize| {
            let reason = if number == ENDED_MOST { "Evicted" } else { "" };
            let pod = skiff_json::json!({"metadata": {"name": format!("p{number:05}"), "uid": "u"},
                "status": {"phase": "Failed", "reason": reason}});
            Arc::new(skiff_json::from_value(pod).expect("a view"))
        };
        let ended: Vec<Arc<Pod>> = (0..ENDED_MOST + 2).map(pod).collect();
        let mut out = Changes::default();
        TerminatedPods::plan(&ended, &mut None, Time::UNIX_EPOCH, &mut out);
        expect![[r#"
            together
              delete pods p12500 uid=u
              delete pods p00000 uid=u
        "#]]
        .assert_eq(&out.text());
        let mut out = Changes::default();
        TerminatedPods::plan(&ended[2..].to_vec(), &mut None, Time::UNIX_EPOCH, &mut out);
        assert_eq!(out.text(), "");
    }
}
