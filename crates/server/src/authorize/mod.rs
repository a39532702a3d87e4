//! Authorize: may this user do this? Two sources of rights, asked in turn: the node's (a node may
//! touch what belongs to the pods that run on it, [`node`]) and RBAC's (roles bound to users and
//! groups, [`index`]). Members of `system:masters` may do everything. Nothing is ever forbidden by
//! a rule; what nobody allows is refused.
//!
//! A decision reads the index as it is in memory and writes nothing. One task for each of the four
//! kinds keeps the index up to date from the store's watch, at a cost that follows the change and
//! not the number of roles.

mod attributes;
pub mod escalate;
pub mod expression;
mod follow;
mod index;
mod need;
pub mod node;
pub mod policy;
pub mod reconcile;
pub mod rule;

use crate::read::reader::Reader;
pub use attributes::{Attributes, equalities};
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

/// What came of a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub allowed: bool,
    /// Who allowed it, or why nobody did; may be empty.
    pub reason: String,
}

impl Decision {
    /// The refusal, unless it is allowed.
    pub fn settle(&self, user: &User, asked: &Attributes) -> Result<(), Status> {
        if self.allowed { Ok(()) } else { Err(asked.refusal(user, &self.reason)) }
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
        Ok(Authorizer { reader, index, node_rules, followed })
    }

    /// How the followers of roles and bindings fare, by resource.
    pub fn health(&self) -> Vec<(&'static str, Health)> {
        self.followed.iter().map(|followed| followed.health()).collect()
    }

    /// Whether a user may do this; the error is the refusal.
    pub async fn check(&self, user: &User, asked: &Attributes) -> Result<(), Status> {
        self.decide(user, asked).await.settle(user, asked)
    }

    /// Whether a user may do this, and why.
    pub async fn decide(&self, user: &User, asked: &Attributes) -> Decision {
        if is_master(user) {
            return Decision { allowed: true, reason: String::new() };
        }
        let mut reasons = Vec::new();
        if let Some(node) = node::name(user) {
            match node::decide(&self.reader, &self.node_rules, node, asked).await {
                Ok(()) => return Decision { allowed: true, reason: String::new() },
                Err(why) if why.is_empty() => {}
                Err(why) => reasons.push(format!("node: {why}")),
            }
        }
        let decision = decide(&self.index(), user, asked);
        if decision.allowed {
            return decision;
        }
        if !decision.reason.is_empty() {
            reasons.push(format!("rbac: {}", decision.reason));
        }
        Decision { allowed: false, reason: reasons.join("\n") }
    }

    /// Whether a role gives a user this right; who runs where counts for nothing here.
    pub fn grants(&self, user: &User, asked: &Attributes) -> bool {
        is_master(user) || decide(&self.index(), user, asked).allowed
    }

    /// All rules that a user has in a namespace.
    pub fn rules_for(&self, user: &User, namespace: &str) -> Rules {
        // That masters may do everything is no rule; their binding says it once.
        let mut rules: Vec<Rule> = Vec::new();
        let node = node::name(user).is_some();
        let mut errors = Vec::new();
        if node {
            errors.push("node authorizer does not support user rule resolution".to_owned());
        }
        for grant in self.index().grants(user, namespace) {
            match grant.rules {
                Some(granted) => rules.extend(granted.iter().cloned()),
                None => errors.push(grant.dangling()),
            }
        }
        Rules { rules, error: aggregate(&errors), incomplete: node }
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
                return Decision { allowed: true, reason };
            }
            Some(_) => {}
            None => dangling.push(grant.dangling()),
        }
    }
    let reason = match &dangling[..] {
        [] => String::new(),
        _ => format!("RBAC: {}", aggregate(&dangling)),
    };
    Decision { allowed: false, reason }
}

/// Several errors as one text.
fn aggregate(errors: &[String]) -> String {
    match errors {
        [] => String::new(),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

#[cfg(test)]
pub(crate) mod tests;
