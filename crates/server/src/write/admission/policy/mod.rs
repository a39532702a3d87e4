//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: expressions that judge and change requests before these are
//! done (KEP-3488, KEP-3962; documentation pages "Validating Admission Policy", "Mutating Admission Policy").
//!
//! ```text
//! configuration.rs  policies and bindings, followed, and compiled once for each change
//! concerned.rs      which bindings a request concerns, and with which parameters
//! params.rs         the objects that bindings name as parameters
//! validate.rs       validations, their messages, what is told to the user and the audit log
//! mutate.rs         one policy after the other, and who is asked again
//! patches.rs        what a mutation's expression gives, as a change of the object
//! reads.rs          who writes a policy must be allowed to read what it reads
//! metrics.rs        upstream's
//! ```
//! A request that no policy with a binding could mean costs a look at the rules. Nothing is asked of anybody here but
//! of the store and the authorizer.

mod concerned;
mod configuration;
mod metrics;
mod mutate;
mod params;
mod patches;
pub mod reads;
mod validate;

use super::expressions::Subject;
use super::{Admit, Next, Plugin, Verdict, conditions, matching};
use crate::authorize::Authorizer;
use crate::authorize::expression::Asker;
use configuration::{Active, Policy, Sort};
use metrics::Metrics;
use skiff_api::Status;
use skiff_api::follow::Health;
use skiff_api::object::Object;
use skiff_base::{Tasks, World};
use skiff_store::{ReadError, Store};
use std::sync::Arc;

/// All policies, and what became of them.
pub struct Policies {
    validating: Sort,
    mutating: Sort,
    /// Whom expressions ask.
    authorizer: Arc<Authorizer>,
    metrics: Metrics,
    world: World,
}

impl Policies {
    /// Reads what is configured, and follows it from then on.
    ///
    /// # Errors
    /// When the store has stopped.
    pub async fn start(
        store: &Arc<dyn Store>,
        authorizer: Arc<Authorizer>,
        (world, tasks): (&World, &Tasks),
    ) -> Result<Arc<Policies>, ReadError> {
        let start = |plural, bindings| Sort::start((plural, bindings), store, world, tasks);
        let validating =
            start("validatingadmissionpolicies", "validatingadmissionpolicybindings").await?;
        let mutating =
            start("mutatingadmissionpolicies", "mutatingadmissionpolicybindings").await?;
        let (metrics, world) = (Metrics::default(), world.clone());
        Ok(Arc::new(Policies { validating, mutating, authorizer, metrics, world }))
    }

    /// In the text format of Prometheus.
    pub fn figures(&self) -> String {
        self.metrics.text()
    }

    /// How the followers fare, by resource.
    pub fn health(&self) -> Vec<(&'static str, Health)> {
        self.validating.health().into_iter().chain(self.mutating.health()).collect()
    }

    /// What the conditions of a policy say.
    async fn conditions(&self, policy: &Policy, subject: &Subject<'_>) -> conditions::Verdict {
        let (shared, asker) = (policy.shared(), Asker::new(&self.authorizer));
        asker.settled(|| policy.conditions.judge(subject, &shared, &asker)).await
    }
}

/// Those of a sort that could concern a request: nothing is looked up for that.
fn active(sort: &Sort, at: &Admit<'_>) -> Option<Active> {
    if matching::is_exempt(at.kind) {
        return None;
    }
    let active = sort.active();
    let any = active.iter().any(|it| it.policy.criteria.could_match(at));
    any.then_some(active)
}

/// The mutating plugin.
pub struct Mutating(pub Arc<Policies>);

/// The validating plugin.
pub struct Validating(pub Arc<Policies>);

impl Plugin for Mutating {
    fn name(&self) -> &'static str {
        "MutatingAdmissionPolicy"
    }

    fn mutate<'a>(&'a self, at: &'a Admit<'_>, new: &'a mut Object) -> Verdict<'a, Next> {
        match active(&self.0.mutating, at) {
            None => Ok(Next::GoOn).into(),
            Some(all) => {
                Verdict::later(async move { mutate::object(&self.0, &all, at, new).await })
            }
        }
    }

    fn connect<'a>(&'a self, at: &'a Admit<'_>, options: &'a Object) -> Verdict<'a> {
        match active(&self.0.mutating, at) {
            None => Verdict::PASS,
            Some(all) => {
                Verdict::later(async move { mutate::options(&self.0, &all, at, options).await })
            }
        }
    }
}

impl Plugin for Validating {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        match active(&self.0.validating, at) {
            None => Verdict::PASS,
            Some(all) => Verdict::later(async move { validate::all(&self.0, &all, at, new).await }),
        }
    }

    fn connect<'a>(&'a self, at: &'a Admit<'_>, options: &'a Object) -> Verdict<'a> {
        self.validate(at, Some(options))
    }
}

/// The namespace of a request, as expressions see it: none, where there is none.
async fn namespace(at: &Admit<'_>) -> Result<Option<Object>, Status> {
    let of_namespaces = at.kind.group.is_empty() && at.kind.plural == "namespaces";
    match at.namespace {
        "" => Ok(None),
        _ if of_namespaces => Ok(None),
        name => at.find(("", "namespaces"), "", name).await.map(Some),
    }
}
