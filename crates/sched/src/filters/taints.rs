//! Taints keep pods off a node that do not tolerate them (concepts: "Taints and Tolerations").

use super::Refusal;
use crate::state::{NodeInfo, State};
use skiff_kinds::views::Pod;
use skiff_kinds::views::Taint;
use skiff_kinds::views::pod::Toleration;

pub fn filter(pod: &Pod, info: &NodeInfo, _: &State) -> Vec<Refusal> {
    let hard = |taint: &&Taint| matches!(&*taint.effect, "NoSchedule" | "NoExecute");
    let mut taints = info.node.spec.taints.iter().filter(hard);
    match taints.all(|taint| tolerated(&pod.spec.tolerations, taint)) {
        true => Vec::new(),
        false => Refusal::for_good("node(s) had untolerated taint(s)"),
    }
}

/// Whether any of the tolerations is for this taint.
pub fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        let effect = toleration.effect.is_empty() || toleration.effect == taint.effect;
        let key = toleration.key.is_empty() || toleration.key == taint.key;
        let number = |text: &str| text.parse::<i64>().ok();
        let value = match &*toleration.operator {
            "Exists" => true,
            "Lt" => number(&taint.value) < number(&toleration.value),
            "Gt" => number(&taint.value) > number(&toleration.value),
            _ => toleration.value == taint.value && !toleration.key.is_empty(),
        };
        effect && key && value
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_toleration_is_for_which_taint() {
        let taint = Taint {
            key: "k".into(),
            value: "v".into(),
            effect: "NoSchedule".into(),
            time_added: None,
        };
        let toleration = |key: &str, operator: &str, value: &str, effect: &str| Toleration {
            key: key.into(),
            operator: operator.into(),
            value: value.into(),
            effect: effect.into(),
            toleration_seconds: None,
        };
        for (given, wanted) in [
            (toleration("", "Exists", "", ""), true),
            (toleration("k", "Equal", "v", ""), true),
            (toleration("k", "", "v", "NoSchedule"), true),
            (toleration("k", "Equal", "w", ""), false),
            (toleration("k", "Exists", "", "NoExecute"), false),
            (toleration("x", "Exists", "", ""), false),
        ] {
            assert_eq!(tolerated(std::slice::from_ref(&given), &taint), wanted, "{given:?}");
        }
    }
}
