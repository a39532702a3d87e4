//! TTL of nodes: for how long a kubelet may believe what it has read of secrets and config maps, by the size of the
//! cluster, as an annotation of each node.
//!
//! Where two sizes overlap a node keeps what it has, so that one that comes and goes rewrites no other.

use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_client::PatchKind;
use skiff_json::json;
use skiff_kinds::views::Node;
use std::sync::Arc;

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";
/// From so many nodes, to so many: so many seconds.
const STEPS: [(usize, usize, &str); 5] = [
    (0, 100, "0"),
    (90, 500, "15"),
    (450, 1000, "30"),
    (900, 2000, "60"),
    (1800, usize::MAX, "300"),
];

/// Key: the name of a node.
pub struct NodeTtl;

pub struct Seen {
    node: Arc<Node>,
    nodes: usize,
}

impl Loop for NodeTtl {
    const NAME: &'static str = "ttl-controller";
    type Seen = Seen;
    type Memory = ();

    fn on(on: &mut On) {
        on.own::<Node>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let nodes = cx.caches.of::<Node>();
        let Some(node) = nodes.get(key) else { return Ok(None) };
        Ok(Some(Seen { node, nodes: nodes.list("").len() }))
    }

    fn plan(seen: &Seen, _: &mut (), _: Time, out: &mut Changes) -> Next {
        let meta = &seen.node.metadata;
        let has = meta.annotations.get(ANNOTATION);
        let mut step = STEPS.iter().position(|it| has.is_some_and(|has| has == it.2)).unwrap_or(0);
        while seen.nodes > STEPS[step].1 {
            step += 1;
        }
        while seen.nodes < STEPS[step].0 {
            step -= 1;
        }
        let wanted = STEPS[step].2;
        if has.is_none_or(|has| has != wanted) {
            let body = json!({"metadata": {"uid": meta.uid, "annotations": {ANNOTATION: wanted}}});
            out.patch(PatchKind::Strategic, Node::RESOURCE, meta.key(), "", body);
        }
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(has: &str, nodes: usize) -> String {
        let node = json!({"metadata": {"name": "a", "annotations": {ANNOTATION: has}}});
        let node = Arc::new(skiff_json::from_value(node).expect("a view"));
        let mut out = Changes::default();
        NodeTtl::plan(&Seen { node, nodes }, &mut (), Time::UNIX_EPOCH, &mut out);
        out.text()
    }

    #[test]
    fn the_more_nodes_the_longer() {
        assert_eq!(check("0", 100), "");
        assert!(check("0", 101).contains("\"15\""));
        assert_eq!(check("15", 90), "");
        assert!(check("15", 89).contains("\"0\""));
        assert!(check("", 5000).contains("\"300\""));
    }
}
