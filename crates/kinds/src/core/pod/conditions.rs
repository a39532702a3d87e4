//! Conditions of a pod that the server itself sets.

use skiff_api::object::Object;
use skiff_json::{Value, json};

/// Sets a condition. Its time of transition is kept where its status is what it was.
pub fn set(pod: &mut Object, mut condition: Value, now: &str) {
    let mut all = pod.list("status.conditions").to_vec();
    let place = all.iter().position(|it| it.get("type") == condition.get("type"));
    let since = place.map(|at| &all[at]).filter(|it| it.get("status") == condition.get("status"));
    let since = since.and_then(|it| it.get("lastTransitionTime")).cloned();
    condition["lastProbeTime"] = Value::Null;
    condition["lastTransitionTime"] = since.unwrap_or_else(|| json!(now));
    match place {
        Some(at) => all[at] = condition,
        None => all.push(condition),
    }
    pod.set("status.conditions", all);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transition_is_a_change_of_status() {
        let mut pod = Object::new(json!({}));
        set(&mut pod, json!({"type": "A", "status": "True"}), "1");
        set(&mut pod, json!({"type": "A", "status": "True", "reason": "R"}), "2");
        let wanted = json!([{"type": "A", "status": "True", "reason": "R", "lastProbeTime": null,
                             "lastTransitionTime": "1"}]);
        assert_eq!(pod.at("status.conditions"), Some(&wanted));
        set(&mut pod, json!({"type": "A", "status": "False"}), "3");
        assert_eq!(pod.list("status.conditions")[0]["lastTransitionTime"], "3");
    }
}
