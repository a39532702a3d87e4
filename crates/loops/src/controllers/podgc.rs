//! Pod garbage: pods that no node will ever end. One whose node is gone for good, and one that is to go before it got
//! a node, are deleted at once.
//!
//! Invariant: a pod is called orphaned only after its node was missing for a while and the server, asked live, does not
//! know it: a cache may be late.

use crate::{Changes, Context, Loop, Next, On};
use serde_json::json;
use skiff_api::Status;
use skiff_api::time::{Precision, format};
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_client::{DeleteOptions, PatchKind};
use skiff_kinds::views::{Node, Pod};
use std::sync::Arc;
use std::time::Duration;

/// A node may be missing for this long before its pods go, as upstream's does.
const QUARANTINE: Duration = Duration::from_secs(40);

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
            if caches.of::<Node>().get(&node.metadata.key()).is_some() {
                return Vec::new();
            }
            let pods = caches.of::<Pod>().find("node", &node.metadata.name);
            pods.iter().map(|pod| pod.metadata.key()).collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(pod) = cx.caches.of::<Pod>().get(key) else { return Ok(None) };
        let name = &pod.spec.node_name;
        let place = match &**name {
            "" => Place::None,
            name if cx.caches.of::<Node>().get(&Key::new("", name)).is_some() => Place::Node,
            name => match cx.client.view::<Node>("", name).await {
                Ok(_) => Place::Node,
                Err(status) if status.code == 404 => Place::Missing,
                Err(status) => return Err(status),
            },
        };
        Ok(Some(Seen { pod, place }))
    }

    fn plan(seen: &Seen, memory: &mut Memory, now: Time, out: &mut Changes) -> Next {
        let pod = &seen.pod;
        match seen.place {
            Place::None if pod.metadata.deleting() => end(pod, out),
            Place::None | Place::Node => memory.missing_since = None,
            Place::Missing => {
                let at = *memory.missing_since.get_or_insert(now) + QUARANTINE;
                if at > now {
                    out.because(format!("node {} may come back", pod.spec.node_name));
                    return Next::At(at);
                }
                mark(pod, now, out);
                end(pod, out);
            }
        }
        Next::Wait
    }
}

/// Whoever waits for the pod sees that it failed, and why.
fn mark(pod: &Pod, now: Time, out: &mut Changes) {
    if pod.ended() {
        return;
    }
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
        "message": "PodGC: node no longer exists", "lastTransitionTime": format(now, Precision::Seconds)});
    let body = json!({"metadata": {"uid": pod.metadata.uid},
        "status": {"phase": "Failed", "conditions": [condition]}});
    out.patch(PatchKind::Strategic, Pod::RESOURCE, pod.metadata.key(), "status", body);
}

fn end(pod: &Pod, out: &mut Changes) {
    let uid = Some(pod.metadata.uid.clone());
    let options = DeleteOptions { uid, grace_s: Some(0), ..DeleteOptions::default() };
    out.delete_with(Pod::RESOURCE, pod.metadata.key(), options);
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(pod: &str, place: Place, missing_since: Option<&str>, expected: Expect) {
        let pod = Arc::new(serde_json::from_str(pod).expect("the case is a valid view"));
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
            patch Strategic pods n/p status {"metadata":{"uid":"u"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"PodGC: node no longer exists","reason":"DeletionByPodGC","status":"True","type":"DisruptionTarget"}],"phase":"Failed"}}
            delete pods n/p uid=u
        "#]],
        );
        check(lost, Place::Node, Some("2026-01-01T00:59:00Z"), expect![[r#""#]]);
        let unbound = r#"{"metadata": {"name": "p", "namespace": "n", "uid": "u",
            "deletionTimestamp": "2026-01-01T00:00:00Z"}}"#;
        check(
            unbound,
            Place::None,
            None,
            expect![[r#"
            delete pods n/p uid=u
        "#]],
        );
    }
}
