//! TaintNodesByCondition: a Node is made with the taint of one that is not ready, so that no pod is put on it before
//! its conditions say otherwise; the node controller takes it away then (reference page "Admission Controllers").

use super::{Admit, Next, Plugin, Verdict};
use skiff_api::object::{Object, text};
use skiff_json::{Value, json};
use skiff_kinds::views::NOT_READY;

const NO_SCHEDULE: &str = "NoSchedule";

pub struct TaintNodes;

impl Plugin for TaintNodes {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn mutate<'a>(&'a self, at: &'a Admit<'_>, new: &'a mut Object) -> Verdict<'a, Next> {
        if at.creates() && at.is("", "nodes") {
            let has = |taint: &Value| {
                text(taint, "key") == NOT_READY && text(taint, "effect") == NO_SCHEDULE
            };
            let mut taints = new.list("spec.taints").to_vec();
            if !taints.iter().any(has) {
                taints.push(json!({"key": NOT_READY, "effect": NO_SCHEDULE}));
                new.set("spec.taints", taints);
            }
        }
        Ok(Next::GoOn).into()
    }
}
