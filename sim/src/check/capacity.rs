//! No node gets more pods than it has room for.

use super::state::{self, Story, text};
use crate::agent::{CPUS, PODS};

pub fn check(story: &Story) -> Vec<String> {
    let mut found = Vec::new();
    story.replay(&["pods"], |logged, new, all| {
        let node = text(new, "/spec/nodeName");
        let before = all.get(&*logged.key).map_or("", |old| text(old, "/spec/nodeName"));
        if node.is_empty() || node == before {
            return;
        }
        let there = all.iter().filter(|(key, pod)| {
            **key != logged.key && text(pod, "/spec/nodeName") == node && !state::ended(pod)
        });
        let (mut pods, mut cpu) = (1, state::cpu(&new["spec"]));
        for (_, pod) in there {
            pods += 1;
            cpu += state::cpu(&pod["spec"]);
        }
        if pods > PODS || cpu > CPUS * 1000 {
            let at = logged.revision;
            found.push(format!("{node} has {pods} pods with {cpu}m of processors at {at}"));
        }
    });
    found
}
