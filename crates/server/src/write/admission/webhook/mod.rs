//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: servers that are asked about requests before these are done
//! (documentation page "Dynamic Admission Control"; API reference: admissionregistration.k8s.io).
//!
//! ```text
//! configuration.rs  what is configured, followed, and compiled once for each change
//! review.rs         the question
//! answer.rs         what an answer must be
//! mutate.rs         one after the other, patches, and who is asked again
//! validate.rs       all at once
//! metrics.rs        upstream's
//! ```
//! A request that concerns nobody costs a look at the rules. What is not stored (reviews of rights and tokens) and
//! these configurations themselves concern nobody, so that none can lock everybody out.

mod answer;
mod configuration;
mod metrics;
mod mutate;
pub mod review;
mod validate;

pub use answer::Sort;

use super::conditions::{Judge, Whose};
use super::expressions::{Shared, Subject, Variables};
use super::matching::{self, Face};
use super::{Admit, Next, Plugin, Verdict, conditions};
use crate::authorize::Authorizer;
use crate::outbound::Outbound;
use crate::paths::metrics::Page;
use configuration::{Configurations, Hook, Hooks};
use metrics::Metrics;
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_base::{Tasks, World};
use skiff_json::Value;
use skiff_kinds::admissionregistration::expression::OF_REQUESTS;
use skiff_store::{ReadError, Store};
use std::sync::Arc;

/// What is configured of both sorts, and what became of it.
#[derive(Clone)]
pub struct Webhooks {
    mutating: Arc<Configurations>,
    validating: Arc<Configurations>,
    /// Whom match conditions ask.
    authorizer: Arc<Authorizer>,
    conditions: Arc<conditions::Metrics>,
    metrics: Arc<Metrics>,
    world: World,
}

impl Webhooks {
    /// Reads what is configured, and follows it from then on.
    ///
    /// # Errors
    /// When the store has stopped.
    pub async fn start(
        store: &Arc<dyn Store>,
        outbound: &Outbound,
        (authorizer, conditions): (Arc<Authorizer>, Arc<conditions::Metrics>),
        (world, tasks): (&World, &Tasks),
    ) -> Result<Webhooks, ReadError> {
        let start = |sort| Configurations::start(sort, store, outbound, world, tasks);
        let (mutating, validating) = (start(Sort::Mutating).await?, start(Sort::Validating).await?);
        let (metrics, world) = (Arc::default(), world.clone());
        Ok(Webhooks { mutating, validating, authorizer, conditions, metrics, world })
    }

    /// Appends what became of them, and of the match conditions of webhooks and policies.
    pub fn figures(&self, page: &mut Page) {
        self.metrics.write(page);
        self.conditions.write(page);
    }

    /// How the followers fare, by resource.
    pub fn health(&self) -> [(&'static str, skiff_api::follow::Health); 2] {
        [&self.mutating, &self.validating].map(|it| (it.sort().plural(), it.health()))
    }
}

/// A webhook that is asked about a request, and how it sees that.
struct Invocation<'a> {
    hook: &'a Hook,
    face: Face,
}

/// Whether anybody could be concerned: nothing is looked up for that.
fn any(hooks: &Hooks, at: &Admit<'_>) -> bool {
    !hooks.is_empty()
        && !matching::is_exempt(at.kind)
        && hooks.iter().any(|hook| hook.criteria.could_match(at))
}

/// Whether and how a webhook is asked about this request, with these objects.
async fn invocation<'a>(
    hook: &'a Hook,
    at: &Admit<'_>,
    objects: (Option<&Object>, Option<&Object>),
) -> Result<Option<Invocation<'a>>, Status> {
    Ok(hook.criteria.face(at, objects).await?.map(|face| Invocation { hook, face }))
}

/// How asking one webhook ended, if it did not allow the request.
#[derive(Debug)]
pub enum Failure {
    /// There was no answer, or none that can be one: the failure policy decides.
    Calling { code: u16, why: String },
    /// The webhook said no.
    Rejected(Status),
    /// It said yes, and nothing can be made of that.
    Internal(Status),
}

impl Failure {
    fn calling(why: impl Into<String>) -> Failure {
        Failure::Calling { code: 503, why: why.into() }
    }
}

/// The mutating plugin.
pub struct Mutating(pub Webhooks);

/// The validating plugin.
pub struct Validating(pub Webhooks);

impl Plugin for Mutating {
    fn name(&self) -> &'static str {
        "MutatingAdmissionWebhook"
    }

    fn mutate<'a>(&'a self, at: &'a Admit<'_>, new: &'a mut Object) -> Verdict<'a, Next> {
        let hooks = self.0.mutating.hooks();
        match any(&hooks, at) {
            false => Ok(Next::GoOn).into(),
            true => Verdict::later(async move { mutate::object(&self.0, &hooks, at, new).await }),
        }
    }

    /// A delete changes nothing, and is told to those who would change things all the same.
    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        let hooks = self.0.mutating.hooks();
        match new.is_none() && any(&hooks, at) {
            false => Verdict::PASS,
            true => Verdict::later(async move { mutate::nothing(&self.0, &hooks, at, None).await }),
        }
    }

    fn connect<'a>(&'a self, at: &'a Admit<'_>, options: &'a Object) -> Verdict<'a> {
        let hooks = self.0.mutating.hooks();
        match any(&hooks, at) {
            false => Verdict::PASS,
            true => {
                Verdict::later(
                    async move { mutate::nothing(&self.0, &hooks, at, Some(options)).await },
                )
            }
        }
    }
}

impl Plugin for Validating {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        let hooks = self.0.validating.hooks();
        match any(&hooks, at) {
            false => Verdict::PASS,
            true => Verdict::later(async move { validate::all(&self.0, &hooks, at, new).await }),
        }
    }

    fn connect<'a>(&'a self, at: &'a Admit<'_>, options: &'a Object) -> Verdict<'a> {
        self.validate(at, Some(options))
    }
}

impl Webhooks {
    /// Asks one webhook about what it shall see: counted, with its warnings and annotations passed on.
    async fn ask(
        &self,
        invocation: &Invocation<'_>,
        at: &Admit<'_>,
        (new, old): (Option<&Value>, Option<&Value>),
    ) -> Result<answer::Allowed, Failure> {
        let hook = invocation.hook;
        if at.dry_run && !hook.quiet {
            let why = format!("admission webhook {:?} does not support dry run", hook.name);
            return Err(Failure::Internal(Status::bad_request(why)));
        }
        let reviewer = hook.reviewer.as_ref().map_err(Failure::calling)?;
        if let Some(why) = reviewer.unusable() {
            let why = format!("could not get REST client: {why}");
            return Err(Failure::Calling { code: 500, why });
        }
        let Some(version) = hook.version else {
            let why = "could not create admission objects: webhook does not accept known AdmissionReview versions \
                       (v1, v1beta1)";
            return Err(Failure::Calling { code: 400, why: why.into() });
        };
        let uid = skiff_base::id::uuid(&self.world);
        let question = review::question(version, &uid, &invocation.face, at, (new, old));
        let time = (hook.timeout, Some(hook.timeout));
        let answered = reviewer.ask(question, time, answer::ANSWER_MOST).await;
        let answered = answered.map_err(|it| Failure::Calling {
            code: it.code,
            why: format!("failed to call webhook: {}", it.why),
        })?;
        let answer = answer::read(answered, version, hook.sort, &uid).map_err(Failure::calling)?;
        for (key, value) in answer.annotations {
            at.annotate(&format!("{}/{key}", hook.name), value);
        }
        for warning in answer.warnings {
            // As upstream: what cannot stand in a header is not said.
            if !warning.chars().any(char::is_control) {
                at.warn(warning);
            }
        }
        match answer.verdict {
            Ok(allowed) => Ok(allowed),
            Err(status) => Err(Failure::Rejected(answer::refusal(&hook.name, status))),
        }
    }

    /// Whether the match conditions hold for what the webhook would see. What cannot be evaluated is decided by the
    /// failure policy: the request is refused, or the webhook is not asked.
    async fn holds(
        &self,
        invocation: &Invocation<'_>,
        at: &Admit<'_>,
        objects: (Option<&Value>, Option<&Value>),
    ) -> Result<bool, Status> {
        let hook = invocation.hook;
        let subject = Subject::new(at, &invocation.face, objects);
        let variables = Variables::default();
        let shared = Shared { env: &OF_REQUESTS, variables: &variables };
        let judge =
            Judge { authorizer: &self.authorizer, metrics: &self.conditions, world: &self.world };
        let whose = Whose {
            kind: "webhook",
            name: &hook.name,
            operation: at.operation,
            step: hook.sort.of_conditions(),
        };
        match hook.conditions.hold(&subject, &shared, &judge, whose).await {
            conditions::Verdict::Holds => Ok(true),
            conditions::Verdict::Excluded => Ok(false),
            conditions::Verdict::Failed(why) => {
                tracing::warn!(webhook = hook.name, why, "match conditions have no value");
                if hook.ignores_failure { Ok(false) } else { Err(at.forbid(&why)) }
            }
        }
    }

    /// What follows from asking a webhook: counted, and judged by its failure policy.
    fn judge<T>(
        &self,
        hook: &Hook,
        at: &Admit<'_>,
        since: std::time::Duration,
        asked: Result<T, Failure>,
        index: usize,
    ) -> Result<Option<T>, Status> {
        let took = self.world.uptime().saturating_sub(since);
        self.metrics.count(hook, at.operation, took, &asked);
        match asked {
            Ok(allowed) => Ok(Some(allowed)),
            Err(Failure::Calling { why, .. }) if hook.ignores_failure => {
                let why = format!("failed calling webhook {:?}: {why}", hook.name);
                tracing::warn!(configuration = &*hook.configuration, why, "failing open");
                let sort = match hook.sort {
                    Sort::Mutating => "mutation",
                    Sort::Validating => "validating",
                };
                let round = u8::from(at.again);
                let key = format!(
                    "failed-open.{sort}.webhook.admission.k8s.io/round_{round}_index_{index}"
                );
                at.annotate(&key, &*hook.name);
                Ok(None)
            }
            Err(Failure::Calling { why, .. }) => {
                Err(Status::internal(format!("failed calling webhook {:?}: {why}", hook.name)))
            }
            Err(Failure::Rejected(status) | Failure::Internal(status)) => Err(status),
        }
    }
}
