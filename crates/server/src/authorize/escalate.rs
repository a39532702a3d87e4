//! Escalation: nobody hands out rights that they do not have. Creating or changing a role needs all
//! of its rights or the verb `escalate`; creating or changing a binding needs all rights of its
//! role or the verb `bind` on it (documentation page "Using RBAC Authorization", privilege
//! escalation prevention). It refuses or lets pass, and changes nothing.

use super::index::RoleRef;
use super::rule::{Rule, joined, missing, quoted};
use super::{Attributes, Authorizer, is_master, reconcile};
use crate::admission::{Admit, Plugin, Verdict};
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_api::status::About;
use skiff_api::wire::User;
use skiff_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

pub const GROUP: &str = "rbac.authorization.k8s.io";

/// Checks every write of a role or binding. (Upstream does so in the storage of these kinds, so its
/// plugin has no name there.)
pub struct RoleEscalation {
    authorizer: Arc<Authorizer>,
}

impl RoleEscalation {
    pub fn new(authorizer: Arc<Authorizer>) -> RoleEscalation {
        RoleEscalation { authorizer }
    }
}

impl Plugin for RoleEscalation {
    fn name(&self) -> &'static str {
        "RoleEscalation"
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        let Some(new) = new.filter(|_| at.kind.group == GROUP) else { return Verdict::PASS };
        if is_master(at.user) {
            return Verdict::PASS;
        }
        let written = Written {
            resource: &at.kind.plural,
            name: if at.creates() { "" } else { &at.name },
            namespace: at.namespace,
            new,
            old: at.old,
        };
        Verdict::later(async move { self.authorizer.check_escalation(at.user, &written).await })
    }
}

/// A write of an object of this group.
pub struct Written<'a> {
    /// `roles`, `clusterroles`, `rolebindings` or `clusterrolebindings`.
    pub resource: &'a str,
    /// From the path: empty on create.
    pub name: &'a str,
    pub namespace: &'a str,
    pub new: &'a Object,
    /// `None` on create.
    pub old: Option<&'a Object>,
}

impl Authorizer {
    /// Refuses a write that would give more than the user has.
    pub async fn check_escalation(&self, user: &User, at: &Written<'_>) -> Result<(), Status> {
        if is_master(user) || at.old.is_some_and(|old| only_owners_change(at.new, old)) {
            return Ok(());
        }
        match at.resource {
            "roles" | "clusterroles" => self.check_role(user, at).await,
            "rolebindings" | "clusterrolebindings" => self.check_binding(user, at).await,
            _ => Ok(()),
        }
    }

    async fn check_role(&self, user: &User, at: &Written<'_>) -> Result<(), Status> {
        if self.may(user, "escalate", at.resource, at.name, at.namespace).await {
            return Ok(());
        }
        self.check_covered(user, at, &reconcile::rules(at.new))?;
        let gathers = |o: &Object| !o.list("aggregationRule.clusterRoleSelectors").is_empty();
        if at.resource == "clusterroles"
            && (gathers(at.new) || at.old.is_some_and(gathers))
            && self.check_covered(user, at, &Rule::everything()).is_err()
        {
            return Err(at.refuse("must have cluster-admin privileges to use the aggregationRule"));
        }
        Ok(())
    }

    async fn check_binding(&self, user: &User, at: &Written<'_>) -> Result<(), Status> {
        let role = RoleRef {
            kind: at.new.text("roleRef.kind").to_owned(),
            name: at.new.text("roleRef.name").to_owned(),
        };
        let resource = match &*role.kind {
            "ClusterRole" => "clusterroles",
            "Role" => "roles",
            // Validation has refused other kinds.
            _ => return Ok(()),
        };
        if self.may(user, "bind", resource, &role.name, at.namespace).await {
            return Ok(());
        }
        let rules = self.index().rules_of(&role, at.namespace).map(<[Rule]>::to_vec);
        let about = About { group: GROUP, resource: at.resource };
        let rules = rules.ok_or_else(|| Status::not_found(about, &role.name))?;
        self.check_covered(user, at, &rules)
    }

    async fn may(&self, user: &User, verb: &str, resource: &str, name: &str, ns: &str) -> bool {
        let asked = Attributes {
            verb: verb.into(),
            group: GROUP.into(),
            version: "*".into(),
            resource: resource.into(),
            name: name.into(),
            namespace: ns.into(),
            ..Attributes::default()
        };
        self.decide(user, &asked).await.allowed()
    }

    fn check_covered(&self, user: &User, at: &Written<'_>, wanted: &[Rule]) -> Result<(), Status> {
        let own = self.rules_for(user, at.namespace);
        let lacking = missing(&own.rules, wanted);
        if lacking.is_empty() {
            return Ok(());
        }
        let lines: BTreeSet<String> = joined(lacking).iter().map(Rule::to_string).collect();
        let lines: Vec<String> = lines.into_iter().collect();
        let mut why = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            quoted(&user.groups),
            lines.join("\n")
        );
        if !own.error.is_empty() {
            why += &format!("; resolution errors: [{}]", own.error);
        }
        Err(at.refuse(&why))
    }
}

impl Written<'_> {
    fn refuse(&self, why: &str) -> Status {
        Status::forbidden(About { group: GROUP, resource: self.resource }, self.new.name(), why)
    }
}

/// Whether nothing differs but what the garbage collector writes.
pub fn only_owners_change(new: &Object, old: &Object) -> bool {
    let bare = |object: &Object| -> Value {
        let mut bare = object.clone();
        for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
            bare.remove(&format!("metadata.{field}"));
        }
        bare.into_value()
    };
    bare(new) == bare(old)
}
