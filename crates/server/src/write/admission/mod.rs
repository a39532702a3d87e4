//! Admission: what needs more than the object itself to decide. Plugins in one ordered list, each a value with a state
//! of its own; what a request asks of them is [`Admit`].
//!
//! ```text
//! mutate     changes the new object; once more when somebody else's change must be seen by those before
//! draw       fills in what the server chooses (addresses, ports), when nobody changes the object any more
//! validate   accepts or refuses: a new object, a delete, a binding, an eviction, a token
//! reserve    takes what was drawn, last before the commit, and not in a dry run
//! release    lets go of it with the object
//! connect    accepts or refuses a stream
//! ```
//! What a plugin answers may have to be waited for; one with nothing to say answers at once, and costs a call.
//! The bracket starts again on a conflict, so each may be asked several times for one request.

mod admit;
mod certificates;
mod chain;
pub mod conditions;
mod default_ingress_class;
mod default_toleration_seconds;
mod device_admin;
mod expressions;
mod limit_ranger;
mod made;
mod matching;
mod namespace_lifecycle;
mod node_restriction;
pub mod pod_security;
pub mod policy;
mod priority;
pub mod quota;
mod runtime_class;
pub mod service;
mod service_account;
mod storage;
mod taint_nodes;
mod taking;
#[cfg(test)]
mod tests;
pub mod webhook;

pub use admit::{Admit, Operation};
pub use taking::{Fate, Taking};

use crate::authorize::Authorizer;
use crate::authorize::escalate::RoleEscalation;
use futures_util::future::BoxFuture;
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_base::World;
use skiff_store::Store;
use std::sync::Arc;

/// What plugins are made of.
pub struct Parts {
    pub world: World,
    pub store: Arc<dyn Store>,
    pub authorizer: Arc<Authorizer>,
    /// Where addresses and ports of Services come from.
    pub services: service::Ranges,
    /// What namespaces whose labels say nothing allow their pods.
    pub pod_security: pod_security::Rules,
    /// What quotas are charged with.
    pub ledger: Arc<quota::Ledger>,
    /// Expressions that judge and change requests.
    pub policies: Arc<policy::Policies>,
    /// Servers that are asked about requests.
    pub webhooks: webhook::Webhooks,
}

impl Plugins {
    /// The plugins, in the order in which they run.
    pub fn new(parts: Parts) -> Plugins {
        let Parts { world, store, authorizer, services, pod_security, ledger, policies, webhooks } =
            parts;
        Plugins(vec![
            Arc::new(namespace_lifecycle::NamespaceLifecycle),
            Arc::new(limit_ranger::LimitRanger),
            Arc::new(service_account::ServiceAccount::new(world.clone())),
            Arc::new(node_restriction::NodeRestriction::new(authorizer.clone())),
            Arc::new(taint_nodes::TaintNodes),
            Arc::new(pod_security::PodSecurity::new(pod_security, store.clone(), world.clone())),
            Arc::new(priority::Priority),
            Arc::new(default_toleration_seconds::DefaultTolerationSeconds),
            Arc::new(storage::DefaultStorageClass),
            Arc::new(storage::InUseProtection { world: world.clone() }),
            Arc::new(storage::ClaimResize),
            Arc::new(runtime_class::RuntimeClass),
            Arc::new(certificates::Certificates::new(authorizer.clone(), world.clone())),
            Arc::new(default_ingress_class::DefaultIngressClass),
            Arc::new(device_admin::DeviceAdmin),
            Arc::new(service::Services::new(services, store, world.clone())),
            Arc::new(RoleEscalation::new(authorizer.clone())),
            Arc::new(policy::reads::Reads::new(authorizer)),
            // They see what all others made.
            Arc::new(policy::Mutating(policies.clone())),
            Arc::new(webhook::Mutating(webhooks.clone())),
            Arc::new(policy::Validating(policies)),
            Arc::new(webhook::Validating(webhooks)),
            // Nobody refuses after it.
            Arc::new(quota::ResourceQuota::new(ledger, world)),
        ])
    }
}

/// What a plugin answers: at once, or when it has asked somebody.
pub enum Verdict<'a, T = ()> {
    Now(Result<T, Status>),
    Later(BoxFuture<'a, Result<T, Status>>),
}

impl<'a, T> Verdict<'a, T> {
    pub fn later(asking: impl Future<Output = Result<T, Status>> + Send + 'a) -> Verdict<'a, T> {
        Verdict::Later(Box::pin(asking))
    }

    async fn known(self) -> Result<T, Status> {
        match self {
            Verdict::Now(verdict) => verdict,
            Verdict::Later(asking) => asking.await,
        }
    }
}

impl<'a> Verdict<'a> {
    pub const PASS: Verdict<'a> = Verdict::Now(Ok(()));
}

impl<T> From<Result<T, Status>> for Verdict<'_, T> {
    fn from(verdict: Result<T, Status>) -> Self {
        Verdict::Now(verdict)
    }
}

/// What follows a mutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    GoOn,
    /// Those that ran before could not foresee this change (a webhook's patch): all are asked once more.
    Again,
}

/// A plugin of admission; where it says nothing, it lets pass.
pub trait Plugin: Send + Sync {
    /// Upstream's name of it, as users know it from `--enable-admission-plugins`.
    fn name(&self) -> &'static str;

    /// Changes a new or changed object before it is validated. What it has changed already, it leaves.
    fn mutate<'a>(&'a self, _: &'a Admit<'_>, _new: &'a mut Object) -> Verdict<'a, Next> {
        Ok(Next::GoOn).into()
    }

    /// The object with what the server chooses for it, if anything. Nothing is taken yet; it is asked again, with the
    /// same object, when somebody else took it before [`Plugin::reserve`] did.
    fn draw<'a>(&'a self, _: &'a Admit<'_>, _new: &'a Object) -> Verdict<'a, Option<Object>> {
        Ok(None).into()
    }

    /// Accepts or refuses an object as it would be stored, or (`None`) the delete of [`Admit::old`].
    fn validate<'a>(&'a self, _: &'a Admit<'_>, _new: Option<&'a Object>) -> Verdict<'a> {
        Verdict::PASS
    }

    /// Accepts or refuses a stream; its options are an object of the kind [`Admit::asked`].
    fn connect<'a>(&'a self, _: &'a Admit<'_>, _options: &'a Object) -> Verdict<'a> {
        Verdict::PASS
    }

    /// Takes what the object needs beside its record.
    fn reserve<'a>(&'a self, _: &'a Admit<'_>, _new: &'a Object, _: &'a mut Taking) -> Verdict<'a> {
        Verdict::PASS
    }

    /// Lets go, in the transaction of its removal, of what an object had.
    fn release<'a>(
        &'a self,
        _: &'a Admit<'_>,
        _gone: &'a Object,
        _: &'a mut Taking,
    ) -> Verdict<'a> {
        Verdict::PASS
    }
}

/// All plugins, asked in their order until one refuses.
pub struct Plugins(Vec<Arc<dyn Plugin>>);

impl Plugins {
    pub async fn mutate(&self, at: &mut Admit<'_>, new: &mut Object) -> Result<(), Status> {
        let mut again = false;
        for plugin in &self.0 {
            again |= plugin.mutate(at, new).known().await? == Next::Again;
        }
        if again {
            at.again = true;
            for plugin in &self.0 {
                plugin.mutate(at, new).known().await?;
            }
            at.again = false;
        }
        Ok(())
    }

    /// The object with what was drawn for it; `None` when nothing was.
    pub async fn draw(&self, at: &Admit<'_>, new: &Object) -> Result<Option<Object>, Status> {
        let mut drawn = None;
        for plugin in &self.0 {
            let more = plugin.draw(at, drawn.as_ref().unwrap_or(new)).known().await?;
            drawn = more.or(drawn);
        }
        Ok(drawn)
    }

    pub async fn validate(&self, at: &Admit<'_>, new: Option<&Object>) -> Result<(), Status> {
        for plugin in &self.0 {
            plugin.validate(at, new).known().await?;
        }
        Ok(())
    }

    pub async fn connect(&self, at: &Admit<'_>, options: &Object) -> Result<(), Status> {
        for plugin in &self.0 {
            plugin.connect(at, options).known().await?;
        }
        Ok(())
    }

    pub async fn reserve(&self, at: &Admit<'_>, new: &Object) -> Result<Taking, Status> {
        let mut taking = Taking::default();
        for plugin in &self.0 {
            plugin.reserve(at, new, &mut taking).known().await?;
        }
        Ok(taking)
    }

    pub async fn release(&self, at: &Admit<'_>, gone: &Object) -> Result<Taking, Status> {
        let mut taking = Taking::default();
        for plugin in &self.0 {
            plugin.release(at, gone, &mut taking).known().await?;
        }
        Ok(taking)
    }
}
