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

use super::conditions::{Judge, Whose};
use super::expressions::Subject;
use super::{Admit, Next, Operation, Plugin, Verdict, conditions, matching};
use crate::authorize::Authorizer;
use crate::paths::metrics::Page;
use configuration::{Active, Policy, Sort};
use metrics::{Metrics, Step};
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
    of_conditions: Arc<conditions::Metrics>,
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
        (authorizer, of_conditions): (Arc<Authorizer>, Arc<conditions::Metrics>),
        (world, tasks): (&World, &Tasks),
    ) -> Result<Arc<Policies>, ReadError> {
        let start = |plural, bindings| Sort::start((plural, bindings), store, world, tasks);
        let validating =
            start("validatingadmissionpolicies", "validatingadmissionpolicybindings").await?;
        let mutating =
            start("mutatingadmissionpolicies", "mutatingadmissionpolicybindings").await?;
        let (metrics, world) = (Metrics::default(), world.clone());
        Ok(Arc::new(Policies { validating, mutating, authorizer, of_conditions, metrics, world }))
    }

    /// Appends what became of them.
    pub fn figures(&self, page: &mut Page) {
        self.metrics.write(page);
    }

    /// How the followers fare, by resource.
    pub fn health(&self) -> Vec<(&'static str, Health)> {
        self.validating.health().into_iter().chain(self.mutating.health()).collect()
    }

    /// What the conditions of a policy say.
    async fn conditions(
        &self,
        policy: &Policy,
        subject: &Subject<'_>,
        (step, operation): (Step, Operation),
    ) -> conditions::Verdict {
        let judge = Judge {
            authorizer: &self.authorizer,
            metrics: &self.of_conditions,
            world: &self.world,
        };
        let whose = Whose { kind: "policy", name: &policy.name, operation, step: step.name() };
        policy.conditions.hold(subject, &policy.shared(), &judge, whose).await
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
