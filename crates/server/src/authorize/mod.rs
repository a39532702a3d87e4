//! Authorize: may this user do this? A chain of authorizers is asked in turn, and the first that allows or denies
//! decides: the node's rights (a node may touch what belongs to the pods that run on it, [`node`]), RBAC's (roles bound
//! to users and groups, [`index`]) and whatever webhooks the machine's owner configures ([`chain`]). Members of
//! `system:masters` may do everything. No rule of a role ever forbids; what nobody allows is refused.
//!
//! A decision reads the index as it is in memory and writes nothing. One task for each of the four
//! kinds keeps the index up to date from the store's watch, at a cost that follows the change and
//! not the number of roles.

mod attributes;
pub mod chain;
pub mod escalate;
pub mod expression;
mod follow;
mod index;
mod need;
pub mod node;
pub mod policy;
pub mod reconcile;
pub mod rule;
mod webhook;

use crate::read::reader::Reader;
pub use attributes::{Attributes, requirements};
use chain::{Chain, Link};
use follow::Followed;
use index::{Index, RbacKind};
use rule::Rule;
use skiff_api::Status;
use skiff_api::follow::Health;
use skiff_api::wire::User;
use skiff_base::RwLock;
use skiff_base::{Tasks, World};
use skiff_store::ReadError;
use std::sync::{Arc, RwLockReadGuard};

/// Members may do everything, whatever roles there are: the way in when all bindings are broken.
pub const MASTERS: &str = "system:masters";

/// What an authorizer, or all of them, say to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opinion {
    Allow,
    /// Nobody else is asked.
    Deny,
    None,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub opinion: Opinion,
    /// Who allowed or denied it, or why nobody did; may be empty.
    pub reason: String,
    /// What went wrong on the way; may be empty.
    pub error: String,
}

impl Decision {
    fn new(opinion: Opinion, reason: impl Into<String>) -> Decision {
        Decision { opinion, reason: reason.into(), error: String::new() }
    }

    fn failed(opinion: Opinion, error: String) -> Decision {
        Decision { opinion, reason: String::new(), error }
    }

    pub fn allowed(&self) -> bool {
        self.opinion == Opinion::Allow
    }

    /// The refusal, unless it is allowed.
    pub fn settle(&self, user: &User, asked: &Attributes) -> Result<(), Status> {
        match self.opinion {
            Opinion::Allow => Ok(()),
            _ if !self.error.is_empty() => Err(Status::internal(&self.error)),
            _ => Err(asked.refusal(user, &self.reason)),
        }
    }
}

/// All rules of a user, for SelfSubjectRulesReview.
#[derive(Debug, PartialEq)]
pub struct Rules {
    pub rules: Vec<Rule>,
    /// What could not be found out, and why.
    pub error: String,
    pub incomplete: bool,
}

/// Decides.
pub struct Authorizer {
    reader: Arc<Reader>,
    index: Arc<RwLock<Index>>,
    chain: skiff_base::RwLock<Arc<Chain>>,
    /// What every node may do beside what belongs to its pods.
    node_rules: Vec<Rule>,
    followed: Vec<Arc<Followed>>,
}

impl Authorizer {
    /// Reads all roles and bindings, and follows them from then on in tasks that the group cannot do without.
    pub async fn start(
        reader: Arc<Reader>,
        world: &World,
        tasks: &Tasks,
    ) -> Result<Authorizer, ReadError> {
        let store = &reader.store;
        let index = Arc::new(RwLock::new(Index::default()));
        let mut followed = Vec::new();
        for type_ in RbacKind::ALL {
            let one = Followed::load(type_, &index, store, world).await?;
            tasks.vital(one.clone().follow(store.clone(), world.clone()));
            followed.push(one);
        }
        let defaults = policy::defaults();
        let node = defaults.into_iter().find(|object| object.is("ClusterRole", "system:node"));
        let node_rules = node.map_or_else(Vec::new, |role| role.rules);
        let chain = skiff_base::RwLock::new(Arc::new(Chain::default()));
        Ok(Authorizer { reader, index, chain, node_rules, followed })
    }

    /// How the followers of roles and bindings fare, by resource.
    pub fn health(&self) -> Vec<(&'static str, Health)> {
        self.followed.iter().map(|followed| followed.health()).collect()
    }

    /// Asks this chain from now on.
    pub fn ask(&self, chain: Chain) {
        *self.chain.write() = Arc::new(chain);
    }

    /// Whether a user may do this; the error is the refusal.
    pub async fn check(&self, user: &User, asked: &Attributes) -> Result<(), Status> {
        self.decide(user, asked).await.settle(user, asked)
    }

    /// Whether a user may do this, and why.
    pub async fn decide(&self, user: &User, asked: &Attributes) -> Decision {
        if is_master(user) {
            return Decision::new(Opinion::Allow, "");
        }
        let chain = self.chain.read().clone();
        let (mut reasons, mut errors) = (Vec::new(), Vec::new());
        for (name, link) in &chain.0 {
            let decision = match link {
                Link::Node => Box::pin(self.node(user, asked)).await,
                Link::Rbac => decide(&self.index(), user, asked),
                Link::AlwaysAllow => Decision::new(Opinion::Allow, ""),
                Link::AlwaysDeny => Decision::new(Opinion::None, "Everything is forbidden."),
                Link::Webhook(webhook) => Box::pin(webhook.decide(user, asked)).await,
            };
            if decision.opinion != Opinion::None {
                return decision;
            }
            if !decision.reason.is_empty() {
                reasons.push(format!("{name}: {}", decision.reason));
            }
            if !decision.error.is_empty() {
                errors.push(decision.error);
            }
        }
        Decision { error: aggregate(&errors), ..Decision::new(Opinion::None, reasons.join("\n")) }
    }

    /// What the node's rights say.
    async fn node(&self, user: &User, asked: &Attributes) -> Decision {
        let Some(node) = node::name(user) else { return Decision::new(Opinion::None, "") };
        match node::decide(&self.reader, &self.node_rules, node, asked).await {
            Ok(()) => Decision::new(Opinion::Allow, ""),
            Err(why) => Decision::new(Opinion::None, why),
        }
    }

    /// All rules that a user has in a namespace.
    pub fn rules_for(&self, user: &User, namespace: &str) -> Rules {
        // That masters may do everything is no rule; their binding says it once.
        let (mut rules, mut errors, mut incomplete) = (Vec::new(), Vec::new(), false);
        let chain = self.chain.read().clone();
        for (_, link) in &chain.0 {
            match link {
                Link::Node if node::name(user).is_some() => {
                    incomplete = true;
                    errors.push("node authorizer does not support user rule resolution".to_owned());
                }
                Link::Webhook(_) => {
                    incomplete = true;
                    let why = "webhook authorizer does not support user rule resolution";
                    errors.push(why.to_owned());
                }
                Link::AlwaysAllow => rules.extend(Rule::everything()),
                Link::Rbac => {
                    for grant in self.index().grants(user, namespace) {
                        match grant.rules {
                            Some(granted) => rules.extend(granted.iter().cloned()),
                            None => errors.push(grant.dangling()),
                        }
                    }
                }
                Link::Node | Link::AlwaysDeny => {}
            }
        }
        Rules { rules, error: aggregate(&errors), incomplete }
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read()
    }
}

fn is_master(user: &User) -> bool {
    user.groups.iter().any(|group| group == MASTERS)
}

/// RBAC's decision over an index.
fn decide(index: &Index, user: &User, asked: &Attributes) -> Decision {
    let mut dangling = Vec::new();
    for grant in index.grants(user, &asked.namespace) {
        match grant.rules {
            Some(rules) if rules.iter().any(|rule| rule.allows(asked)) => {
                let reason = format!("RBAC: allowed by {}", grant.describe());
                return Decision::new(Opinion::Allow, reason);
            }
            Some(_) => {}
            None => dangling.push(grant.dangling()),
        }
    }
    let reason = match &dangling[..] {
        [] => String::new(),
        _ => format!("RBAC: {}", aggregate(&dangling)),
    };
    Decision::new(Opinion::None, reason)
}

/// Several errors as one text.
pub(crate) fn aggregate(errors: &[String]) -> String {
    match errors {
        [] => String::new(),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

#[cfg(test)]
pub(crate) mod tests;
