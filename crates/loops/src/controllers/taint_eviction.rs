//! Taint eviction: pods leave a node that has a `NoExecute` taint which they do not tolerate, at once or when they have
//! tolerated it for as long as they said (concepts: "Taints and Tolerations", KEP-3902).
//!
//! How long is reckoned from when the taints were first seen here, and the first moment that was set stays until the
//! taints are gone or are tolerated for ever.

use crate::changes::Note;
use crate::parts::disruption;
use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_api::wire::User;
use skiff_base::Time;
use skiff_json::json;
use skiff_kinds::views::pod::Toleration;
use skiff_kinds::views::{Node, Pod, Taint};
use std::sync::Arc;
use std::time::Duration;

/// Key: a Pod.
pub struct TaintEviction;

pub struct Seen {
    pod: Arc<Pod>,
    /// Those of its node that drive pods away.
    taints: Vec<Taint>,
}

#[derive(Debug, Default)]
pub struct Memory {
    /// When it goes.
    at: Option<Time>,
}

impl Loop for TaintEviction {
    const NAME: &'static str = "taint-eviction-controller";
    const WORKERS: usize = 8;
    type Seen = Seen;
    type Memory = Memory;

    fn user() -> User {
        // Upstream's has no account of its own either.
        User::service_account("kube-system", "node-controller")
    }

    fn on(on: &mut On) {
        on.changes::<Pod>(|old, new, _| {
            let same = |old: &Pod, new: &Pod| {
                old.spec.node_name == new.spec.node_name
                    && old.spec.tolerations == new.spec.tolerations
            };
            match (old, new) {
                (Some(old), Some(new)) if same(old, new) => Vec::new(),
                (old, new) => old.or(new).map(|pod| pod.metadata.key()).into_iter().collect(),
            }
        });
        on.changes::<Node>(|old, new, caches| {
            let taints = |node: Option<&Node>| node.map(driving).unwrap_or_default();
            let Some(node) = new.or(old).filter(|_| taints(old) != taints(new)) else {
                return Vec::new();
            };
            let pods = caches.of::<Pod>().find("node", &node.metadata.name);
            pods.iter().map(|pod| pod.metadata.key()).collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(pod) = cx.caches.of::<Pod>().get(key) else { return Ok(None) };
        if pod.spec.node_name.is_empty() {
            return Ok(None);
        }
        let node = cx.caches.of::<Node>().get(&Key::new("", &pod.spec.node_name));
        let taints = node.map(|node| driving(&node)).unwrap_or_default();
        Ok(Some(Seen { pod, taints }))
    }

    fn plan(seen: &Seen, memory: &mut Memory, now: Time, out: &mut Changes) -> Next {
        let pod = &*seen.pod;
        if pod.metadata.deleting() {
            return Next::Wait;
        }
        match tolerated(&seen.taints, &pod.spec.tolerations) {
            Tolerated::Never => {
                cancel(pod, memory, out);
                evict(pod, now, out);
                Next::Wait
            }
            Tolerated::Always => {
                cancel(pod, memory, out);
                Next::Wait
            }
            Tolerated::For(span) => {
                let at = *memory.at.get_or_insert(now + span);
                if at > now {
                    out.because(format!("it tolerates the taints of {}", pod.spec.node_name));
                    return Next::At(at);
                }
                evict(pod, now, out);
                Next::Wait
            }
        }
    }
}

/// The taints of a node that drive pods away.
fn driving(node: &Node) -> Vec<Taint> {
    node.spec.taints.iter().filter(|taint| taint.effect == "NoExecute").cloned().collect()
}

#[derive(Debug, PartialEq)]
enum Tolerated {
    Never,
    For(Duration),
    Always,
}

/// How long all of the taints are tolerated: of those tolerations that are the first for a taint, the shortest.
fn tolerated(taints: &[Taint], tolerations: &[Toleration]) -> Tolerated {
    let mut shortest = None;
    for taint in taints {
        let Some(first) = tolerations.iter().find(|it| it.tolerates(taint)) else {
            return Tolerated::Never;
        };
        let Some(span_s) = first.toleration_seconds else { continue };
        let span = Duration::from_secs(span_s.max(0).unsigned_abs());
        shortest = Some(shortest.map_or(span, |shortest: Duration| shortest.min(span)));
    }
    shortest.map_or(Tolerated::Always, Tolerated::For)
}

fn evict(pod: &Pod, now: Time, out: &mut Changes) {
    tell(pod, "Marking for deletion", out);
    if pod.status.condition("DisruptionTarget").is_none_or(|it| it.reason != REASON) {
        let condition = disruption::condition(pod, REASON, WHY, now);
        out.push(disruption::say(pod, json!({"conditions": [condition]})));
    }
    out.delete(Pod::RESOURCE, pod.metadata.key(), &pod.metadata.uid);
}

const REASON: &str = "DeletionByTaintManager";
const WHY: &str = "Taint manager: deleting due to NoExecute taint";

/// It stays after all, if it was to go.
fn cancel(pod: &Pod, memory: &mut Memory, out: &mut Changes) {
    if memory.at.take().is_some() {
        tell(pod, "Cancelling deletion of", out);
    }
}

fn tell(pod: &Pod, what: &str, out: &mut Changes) {
    let message = format!("{what} Pod {}", pod.metadata.key());
    out.event(Note::of(pod, "Normal", "TaintManagerEviction", message));
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use skiff_json::Value;

    fn check(taints: Value, tolerations: Value, at: Option<&str>, expected: Expect) {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1},
            "spec": {"nodeName": "a", "tolerations": tolerations}});
        let seen = Seen {
            pod: Arc::new(skiff_json::from_value(pod).expect("a view")),
            taints: skiff_json::from_value(taints).expect("taints"),
        };
        let mut memory = Memory { at: at.map(|at| at.parse().expect("a time")) };
        let now = "2026-01-01T01:00:00Z".parse().expect("a time");
        let mut out = Changes::default();
        let next = TaintEviction::plan(&seen, &mut memory, now, &mut out);
        expected.assert_eq(&format!("{}{next:?}", out.text()));
    }

    #[test]
    fn what_is_not_tolerated_drives_away() {
        let taint = json!([{"key": "k", "value": "v", "effect": "NoExecute"}]);
        check(
            taint.clone(),
            json!([]),
            None,
            expect![[r#"
                event Normal TaintManagerEviction: Marking for deletion Pod n/p
                patch Strategic pods n/p status {"metadata":{"uid":"u"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"Taint manager: deleting due to NoExecute taint","observedGeneration":1,"reason":"DeletionByTaintManager","status":"True","type":"DisruptionTarget"}]}}
                delete pods n/p uid=u
                Wait"#]],
        );
        check(taint, json!([{"operator": "Exists"}]), None, expect!["Wait"]);
    }

    #[test]
    fn what_is_tolerated_for_a_while_drives_away_then() {
        let taint = json!([{"key": "k", "effect": "NoExecute"}]);
        let tolerations = json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 30}]);
        check(
            taint.clone(),
            tolerations.clone(),
            None,
            expect![[r#"
                because it tolerates the taints of a
                At(2026-01-01T01:00:30Z)"#]],
        );
        check(
            taint,
            tolerations.clone(),
            Some("2026-01-01T01:00:00Z"),
            expect![[r#"
                event Normal TaintManagerEviction: Marking for deletion Pod n/p
                patch Strategic pods n/p status {"metadata":{"uid":"u"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"Taint manager: deleting due to NoExecute taint","observedGeneration":1,"reason":"DeletionByTaintManager","status":"True","type":"DisruptionTarget"}]}}
                delete pods n/p uid=u
                Wait"#]],
        );
        check(
            json!([]),
            tolerations,
            Some("2026-01-01T01:00:10Z"),
            expect![[r#"
                event Normal TaintManagerEviction: Cancelling deletion of Pod n/p
                Wait"#]],
        );
    }
}
