//! What a pod asks for must be free on the node.

use super::Refusal;
use crate::state::{Amount, NodeInfo, State, requests};
use skiff_kinds::views::Pod;

pub fn filter(pod: &Pod, info: &NodeInfo, _: &State) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let most = info.allocatable.get("pods").copied().unwrap_or(0);
    if info.pods.len() as Amount + 1 > most {
        refusals.push(Refusal { reason: "Too many pods".into(), for_good: false });
    }
    for (name, wanted) in requests(pod) {
        let has = info.allocatable.get(&name).copied().unwrap_or(0);
        let taken = info.requested.get(&name).copied().unwrap_or(0);
        if wanted > 0 && wanted > has - taken {
            refusals
                .push(Refusal { reason: format!("Insufficient {name}"), for_good: wanted > has });
        }
    }
    refusals
}
