//! Evictions: what a budget says when one of its pods is to be evicted (API concepts, "API-initiated Eviction").
//!
//! Pure; whoever evicts writes the budget that comes out of it over the very revision that went in, before the pod
//! goes.

use super::poddisruptionbudget::RESOURCE;
use skiff_api::Status;
use skiff_api::check::text;
use skiff_api::object::{Object, at_mut};
use skiff_api::status::About;
use skiff_json::{Value, json};

/// So many pods may be on their way before the controller has to have seen some of them go.
const PENDING_MOST: usize = 2000;
const ALLOWED: &str = "DisruptionAllowed";
const CAUSE: &str = "DisruptionBudget";
/// When a client may ask again for whose budget was not reckoned yet.
const AGAIN_S: u32 = 10;

/// Whether a pod's end disturbs nobody any more: it did not run yet, or ends anyway.
pub fn goes_freely(pod: &Object) -> bool {
    matches!(pod.text("status.phase"), "Succeeded" | "Failed" | "Pending") || pod.deleting()
}

/// Whether a pod that is not ready may go without being counted: its budget does not care, or does well without it.
pub fn unready_goes(pod: &Object, budget: &Object) -> bool {
    let ready = |it: &&Value| text(it, "type") == "Ready" && text(it, "status") == "True";
    if pod.list("status.conditions").iter().any(|it| ready(&it)) {
        return false;
    }
    let count = |field: &str| budget.int(&format!("status.{field}")).unwrap_or(0);
    budget.text("spec.unhealthyPodEvictionPolicy") == "AlwaysAllow"
        || (count("currentHealthy") >= count("desiredHealthy") && count("desiredHealthy") > 0)
}

/// Counts a pod as evicted at that time.
///
/// # Errors
/// When the budget does not allow it.
pub fn count(budget: &mut Object, pod: &str, now: &str) -> Result<(), Status> {
    if budget.int("status.observedGeneration") < budget.int("metadata.generation") {
        return Err(not_reckoned(budget.name()));
    }
    let allowed = budget.int("status.disruptionsAllowed").unwrap_or(0);
    let pending = budget.map("status.disruptedPods").len();
    if allowed < 0 {
        let why = "pdb disruptions allowed is negative";
        return Err(forbidden(budget.name(), why, why));
    }
    if pending > PENDING_MOST {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        let cause = "too many pending evictions not confirmed by PDB controller";
        return Err(forbidden(budget.name(), why, cause));
    }
    if allowed == 0 {
        return Err(too_many(&cause(budget), 0));
    }
    budget.set("status.disruptionsAllowed", allowed - 1);
    if allowed == 1 {
        exhausted(budget, now);
    }
    budget.set_absent("status.disruptedPods", json!({}));
    if let Some(pods) = at_mut(budget.value_mut(), "status.disruptedPods") {
        pods[pod] = now.into();
    }
    Ok(())
}

/// The budget is not known to be what it says.
pub fn not_reckoned(name: &str) -> Status {
    let cause = format!("The disruption budget {name} is still being processed by the server.");
    too_many(&cause, AGAIN_S)
}

fn too_many(cause: &str, again_s: u32) -> Status {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut details = json!({"causes": [{"reason": CAUSE, "message": cause}]});
    if again_s > 0 {
        details["retryAfterSeconds"] = again_s.into();
    }
    Status { details: Some(details), ..Status::too_many_requests(message, again_s) }
}

fn forbidden(name: &str, why: &str, cause: &str) -> Status {
    let about = About { group: RESOURCE.group, resource: "poddisruptionbudget" };
    let mut status = Status::forbidden(about, name, why);
    let cause =
        format!("The disruption budget {name} does not allow evicting pods currently: {cause}");
    if let Some(details) = &mut status.details {
        details["causes"] = json!([{"reason": CAUSE, "message": cause}]);
    }
    status
}

/// Why no pod may go now.
fn cause(budget: &Object) -> String {
    let name = budget.name();
    let conditions = budget.list("status.conditions").iter();
    let mut of_it = conditions.filter(|it| text(it, "type") == ALLOWED);
    let says = of_it.next().filter(|it| text(it, "status") == "False");
    let says = says.map(|it| (text(it, "reason"), text(it, "message")));
    let says = says.filter(|(_, message)| !message.is_empty());
    let count = |field: &str| budget.int(&format!("status.{field}")).unwrap_or(0);
    let (has, needs) = (count("currentHealthy"), count("desiredHealthy"));
    let head = format!("The disruption budget {name} does not allow evicting pods currently");
    match says {
        Some(("SyncFailed", message)) => format!("{head} because it failed sync: {message}"),
        _ if has <= needs => {
            format!(
                "The disruption budget {name} needs {needs} healthy pods and has {has} currently"
            )
        }
        Some((reason, message)) => format!("{head} ({reason}): {message}"),
        None => head,
    }
}

fn exhausted(budget: &mut Object, now: &str) {
    let mut says = json!({"type": ALLOWED, "status": "False", "reason": "InsufficientPods", "message": "",
        "lastTransitionTime": now});
    if let Some(generation) = budget.int("status.observedGeneration") {
        says["observedGeneration"] = generation.into();
    }
    let mut all = budget.list("status.conditions").to_vec();
    match all.iter_mut().find(|it| text(it, "type") == ALLOWED) {
        Some(old) => {
            if text(old, "status") == "False" {
                says["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = says;
        }
        None => all.push(says),
    }
    budget.set("status.conditions", all);
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(status: Value, expected: Expect) {
        let mut budget = Object::new(json!({"metadata": {"name": "b", "generation": 1}}));
        budget.set("status", status);
        expected.assert_eq(&match count(&mut budget, "p", "2026-01-01T00:00:00Z") {
            Ok(()) => budget.at("status").expect("it was set").to_string(),
            Err(status) => status.to_json().to_string(),
        });
    }

    #[test]
    fn each_eviction_costs_one() {
        check(
            json!({"observedGeneration": 1, "disruptionsAllowed": 1, "conditions": [
                {"type": ALLOWED, "status": "True", "lastTransitionTime": "x"}]}),
            expect![[
                r#"{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","observedGeneration":1,"reason":"InsufficientPods","status":"False","type":"DisruptionAllowed"}],"disruptedPods":{"p":"2026-01-01T00:00:00Z"},"disruptionsAllowed":0,"observedGeneration":1}"#
            ]],
        );
    }

    #[test]
    fn refusals_say_what_is_missing() {
        check(
            json!({"observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 2}),
            expect![[
                r#"{"apiVersion":"v1","code":429,"details":{"causes":[{"message":"The disruption budget b needs 2 healthy pods and has 1 currently","reason":"DisruptionBudget"}]},"kind":"Status","message":"Cannot evict pod as it would violate the pod's disruption budget.","metadata":{},"reason":"TooManyRequests","status":"Failure"}"#
            ]],
        );
        check(
            json!({}),
            expect![[
                r#"{"apiVersion":"v1","code":429,"details":{"causes":[{"message":"The disruption budget b is still being processed by the server.","reason":"DisruptionBudget"}],"retryAfterSeconds":10},"kind":"Status","message":"Cannot evict pod as it would violate the pod's disruption budget.","metadata":{},"reason":"TooManyRequests","status":"Failure"}"#
            ]],
        );
        let failed =
            json!({"type": ALLOWED, "status": "False", "reason": "SyncFailed", "message": "why"});
        check(
            json!({"observedGeneration": 1, "conditions": [failed]}),
            expect![[
                r#"{"apiVersion":"v1","code":429,"details":{"causes":[{"message":"The disruption budget b does not allow evicting pods currently because it failed sync: why","reason":"DisruptionBudget"}]},"kind":"Status","message":"Cannot evict pod as it would violate the pod's disruption budget.","metadata":{},"reason":"TooManyRequests","status":"Failure"}"#
            ]],
        );
        check(
            json!({"observedGeneration": 1, "disruptionsAllowed": -1}),
            expect![[
                r#"{"apiVersion":"v1","code":403,"details":{"causes":[{"message":"The disruption budget b does not allow evicting pods currently: pdb disruptions allowed is negative","reason":"DisruptionBudget"}],"group":"policy","kind":"poddisruptionbudget","name":"b"},"kind":"Status","message":"poddisruptionbudget.policy \"b\" is forbidden: pdb disruptions allowed is negative","metadata":{},"reason":"Forbidden","status":"Failure"}"#
            ]],
        );
    }

    #[test]
    fn who_is_not_ready_may_go_when_the_others_are_enough() {
        let pod = Object::new(json!({"status": {"phase": "Running"}}));
        let budget = |spec: Value, has: i64| {
            Object::new(
                json!({"spec": spec, "status": {"currentHealthy": has, "desiredHealthy": 2}}),
            )
        };
        assert!(!goes_freely(&pod));
        assert!(unready_goes(&pod, &budget(json!({}), 2)));
        assert!(!unready_goes(&pod, &budget(json!({}), 1)));
        let always = json!({"unhealthyPodEvictionPolicy": "AlwaysAllow"});
        assert!(unready_goes(&pod, &budget(always.clone(), 0)));
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let ready = Object::new(json!({"status": {"phase": "Running", "conditions": ready}}));
        assert!(!unready_goes(&ready, &budget(always, 0)));
    }
}
