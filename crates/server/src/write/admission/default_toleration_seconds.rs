//! DefaultTolerationSeconds: pods stay for five minutes on a node that is not ready or cannot be reached, unless they
//! say otherwise.

use super::{Admit, Next, Plugin, Verdict};
use skiff_api::object::{Object, at};
use skiff_json::{Value, json};
use skiff_kinds::views::{NOT_READY, UNREACHABLE};

pub struct DefaultTolerationSeconds;

impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn mutate<'a>(&'a self, at: &'a Admit<'_>, new: &'a mut Object) -> Verdict<'a, Next> {
        if at.is("", "pods") {
            complete(new);
        }
        Ok(Next::GoOn).into()
    }
}

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = [NOT_READY, UNREACHABLE];

fn complete(pod: &mut Object) {
    let mut tolerations = pod.list("spec.tolerations").to_vec();
    let before = tolerations.len();
    let missing = TAINTS
        .iter()
        .filter(|taint| !pod.list("spec.tolerations").iter().any(|it| tolerates(it, taint)));
    tolerations.extend(missing.map(|taint| {
        json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS})
    }));
    if tolerations.len() > before {
        pod.set("spec.tolerations", tolerations);
    }
}

fn tolerates(toleration: &Value, taint: &str) -> bool {
    let text = |field| at(toleration, field).and_then(Value::as_str).unwrap_or("");
    (text("key") == taint || text("key").is_empty()) && matches!(text("effect"), "NoExecute" | "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_key_tolerates_everything() {
        assert!(tolerates(&json!({"operator": "Exists"}), TAINTS[0]));
        assert!(!tolerates(&json!({"key": TAINTS[0], "effect": "NoSchedule"}), TAINTS[0]));
    }
}
