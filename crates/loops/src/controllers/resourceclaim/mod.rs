//! Resource claims: for each pod that names a template of one a claim is made, and one that nobody uses any more is
//! given back (KEP-4381). Two loops: over pods, and over claims.

mod pods;
mod users;

pub use pods::PodClaims;
pub use users::ClaimUsers;

use skiff_kinds::views::Pod;

/// As whom both act.
const NAME: &str = "resource-claim-controller";

/// It needs devices no more: it ended, or goes without ever having had a node.
fn done(pod: &Pod) -> bool {
    pod.ended() || (pod.metadata.deleting() && pod.spec.node_name.is_empty())
}
