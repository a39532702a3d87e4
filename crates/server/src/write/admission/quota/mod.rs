//! ResourceQuota: what a namespace may use together (concepts: "Resource Quotas"). It is asked last, when nobody else
//! can refuse: a dry run is held against what is left, and all else takes it, before the object is written.
//!
//! What is used stands in the status of the quota. Many writes of a namespace are charged in one (`ledger.rs`), so they
//! do not fight; what became nothing is given back. What ends frees nothing here: a loop counts then.

mod judge;
mod ledger;

use super::{Admit, Plugin, Taking, Verdict};
use judge::Ask;
pub use ledger::{Ledger, Refusal};
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_base::{Time, World};
use skiff_kinds::quota::{Counted, Use};
use std::sync::Arc;

pub struct ResourceQuota {
    ledger: Arc<Ledger>,
    world: World,
}

impl ResourceQuota {
    pub fn new(ledger: Arc<Ledger>, world: World) -> ResourceQuota {
        ResourceQuota { ledger, world }
    }

    /// What a write uses more, if it is one that is charged, in a namespace that has quotas.
    async fn ask(&self, at: &Admit<'_>, new: &Object) -> Result<Option<Ask>, Status> {
        let Some(type_) = charged(at, new) else { return Ok(None) };
        if !self.ledger.limits(at.namespace).await? {
            return Ok(None);
        }
        let now: Time = self.world.now();
        let before = at.old.map(|old| Use::of(type_.clone(), old, now));
        // What a claim is said to have been given is counted, and not refused.
        let counted = at.subresource == "status";
        Ok(Some(Ask { after: Use::of(type_, new, now), before, counted }))
    }
}

/// How what is written counts; `None` is what no quota is asked about.
fn charged(at: &Admit<'_>, new: &Object) -> Option<Counted> {
    let namespaced = at.kind.namespaced() && !at.namespace.is_empty();
    let type_ = Counted::of(&at.kind.group, &at.kind.plural).filter(|_| namespaced)?;
    let terminates = |pod: &Object| pod.int("spec.activeDeadlineSeconds").is_some();
    let asked = match (&type_, at.subresource) {
        (Counted::Pods, "") => at.old.is_none_or(|old| terminates(old) != terminates(new)),
        (Counted::Pods, "resize") | (Counted::Claims, "" | "status") => true,
        (Counted::Services | Counted::DeviceClaims, "") => true,
        (Counted::Objects(_), "") => at.creates(),
        _ => false,
    };
    asked.then_some(type_)
}

impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        let Some(new) = new.filter(|new| at.dry_run && charged(at, new).is_some()) else {
            return Verdict::PASS;
        };
        Verdict::later(async move {
            let Some(ask) = self.ask(at, new).await? else { return Ok(()) };
            self.ledger.check(at.namespace, &ask).await.map_err(|refused| refusal(at, refused))
        })
    }

    fn reserve<'a>(
        &'a self,
        at: &'a Admit<'_>,
        new: &'a Object,
        taking: &'a mut Taking,
    ) -> Verdict<'a> {
        if charged(at, new).is_none() {
            return Verdict::PASS;
        }
        Verdict::later(async move {
            let Some(ask) = self.ask(at, new).await? else { return Ok(()) };
            let charge = self.ledger.charge(at.namespace, ask).await;
            let charge = charge.map_err(|refused| refusal(at, refused))?;
            taking.took(move |fate| charge.became(fate));
            Ok(())
        })
    }
}

fn refusal(at: &Admit<'_>, refused: Refusal) -> Status {
    match refused {
        Refusal::Forbidden(why) => at.forbid(&why),
        Refusal::Failed(status) => status,
    }
}

#[cfg(test)]
mod tests;
