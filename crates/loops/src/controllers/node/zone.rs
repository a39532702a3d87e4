//! Zones: how fast nodes that are not ready drive their pods away. When many fail at once it is more likely that the
//! network, or what watches, has failed: then it goes slowly, or not at all (concepts: "Nodes", rate limits on
//! eviction).
//!
//! The pace is kept by the times that stand in the taints themselves, so nothing is remembered.

use super::JUDGED_UNFIT;
use skiff_base::Time;
use skiff_kinds::views::Node;
use std::sync::Arc;
use std::time::Duration;

/// Between two nodes of a zone, as upstream's `--node-eviction-rate` of 0.1.
const PACE: Duration = Duration::from_secs(10);
/// The same where much of a zone is not ready, as `--secondary-node-eviction-rate`.
const SLOW: Duration = Duration::from_secs(100);
/// A zone of no more nodes drives away nobody while much of it is not ready.
const LARGE: usize = 50;
/// Much of a zone: more than two, and of a hundred so many.
const MUCH: (usize, usize) = (2, 55);

/// Whether a node that is not ready drives its pods away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Yes,
    /// No sooner than then.
    NotBefore(Time),
    /// Not while so many others are not ready either.
    Not,
}

/// Region and zone.
fn zone(node: &Node) -> (&str, &str) {
    let label = |key| node.metadata.labels.get(key).map_or("", |value| &**value);
    (label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}

/// When a node was marked so that its pods go.
fn driven(node: &Node) -> Option<Time> {
    let ours = |key: &str| JUDGED_UNFIT.contains(&key);
    let taints = node.spec.taints.iter().filter(|it| it.effect == "NoExecute" && ours(&it.key));
    taints.map(|taint| taint.time_added.unwrap_or(Time::UNIX_EPOCH)).max()
}

/// Of all nodes, this one among them.
pub fn pace(node: &Node, all: &[Arc<Node>], now: Time) -> Pace {
    // Who sees nobody well may be cut off itself.
    if !all.iter().any(|node| node.ready()) {
        return Pace::Not;
    }
    if driven(node).is_some() {
        return Pace::Yes;
    }
    let same: Vec<&Arc<Node>> = all.iter().filter(|other| zone(other) == zone(node)).collect();
    let unfit = same.iter().filter(|node| !node.ready()).count();
    let much = unfit > MUCH.0 && unfit * 100 >= same.len() * MUCH.1 && unfit < same.len();
    let pace = match much {
        true if same.len() <= LARGE => return Pace::Not,
        true => SLOW,
        false => PACE,
    };
    let free = same.iter().filter_map(|node| driven(node)).max().map_or(now, |last| last + pace);
    // One after another, the one that is unfit the longest first.
    let since = |node: &Node| node.condition("Ready").and_then(|ready| ready.last_transition_time);
    let rank = |node: &Node| (since(node), node.metadata.name.clone());
    let waits = same.iter().filter(|it| !it.ready() && driven(it).is_none());
    let before = waits.filter(|other| rank(other) < rank(node)).count();
    match before {
        0 if free <= now => Pace::Yes,
        0 => Pace::NotBefore(free),
        before => {
            let before = u32::try_from(before).unwrap_or(u32::MAX);
            Pace::NotBefore(free.max(now) + pace.saturating_mul(before))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    /// Nodes by how each is: `r`eady, `u`nfit, or `d`riving its pods away since the beginning of the hour.
    fn check(nodes: &str, which: usize, now: &str) -> String {
        let node = |(place, how): (usize, char)| {
            let taints = match how {
                'd' => json!([{"key": JUDGED_UNFIT[0], "effect": "NoExecute",
                    "timeAdded": "2026-01-01T01:00:00Z"}]),
                _ => json!([]),
            };
            let ready = if how == 'r' { "True" } else { "Unknown" };
            let conditions = json!([{"type": "Ready", "status": ready}]);
            let node = json!({"metadata": {"name": format!("n{place:03}")},
                "spec": {"taints": taints}, "status": {"conditions": conditions}});
            Arc::new(skiff_json::from_value::<Node>(node).expect("a view"))
        };
        let all: Vec<Arc<Node>> = nodes.chars().enumerate().map(node).collect();
        format!("{:?}", pace(&all[which], &all, now.parse().expect("a time")))
    }

    #[test]
    fn one_after_another_and_none_when_all_are_unfit() {
        let soon = "2026-01-01T01:00:05Z";
        assert_eq!(check("ru", 1, soon), "Yes");
        assert_eq!(check("u", 0, soon), "Not");
        assert_eq!(check("d", 0, soon), "Not");
        assert_eq!(check("rd", 1, soon), "Yes");
        assert_eq!(check("rrdu", 3, soon), "NotBefore(2026-01-01T01:00:10Z)");
        assert_eq!(check("rrdu", 3, "2026-01-01T01:00:10Z"), "Yes");
        assert_eq!(check("rrruu", 4, soon), "NotBefore(2026-01-01T01:00:15Z)");
        assert_eq!(check("ruuu", 1, soon), "Not");
        let many = "r".repeat(20) + &"u".repeat(40);
        assert_eq!(check(&many, 20, soon), "Yes");
        assert_eq!(check(&many, 21, soon), "NotBefore(2026-01-01T01:01:45Z)");
    }
}
