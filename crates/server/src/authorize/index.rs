//! The index of roles and bindings: which rules a user has, found by the user's names instead of by
//! reading all bindings. A plain value; it is changed object by object, and a decision reads it and
//! nothing else.

use super::rule::{Rule, list};
use serde::Deserialize;
use skiff_api::wire::User;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Namespace (empty for what is cluster-wide) and name.
type Name = (String, String);

#[derive(Debug, Default)]
pub struct Index {
    /// Looked up on every request of everybody but masters, and never walked through: no order is needed.
    roles: HashMap<Name, Arc<[Rule]>>,
    bindings: BTreeMap<Name, Arc<Binding>>,
    /// By subject, namespace of the binding and name of the binding.
    subjects: HashMap<String, BTreeMap<String, BTreeMap<String, Arc<Binding>>>>,
}

/// A role of a namespace or, without one, of the cluster.
#[derive(Debug, Default, Deserialize)]
pub struct Role {
    #[serde(default, deserialize_with = "list")]
    pub rules: Vec<Rule>,
}

/// A binding of a namespace or, without one, of the cluster.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    pub role_ref: RoleRef,
    #[serde(default, deserialize_with = "list")]
    pub subjects: Vec<Subject>,
}

#[derive(Debug, Clone, Deserialize, PartialEq)]
pub struct RoleRef {
    pub kind: String,
    pub name: String,
}

#[derive(Debug, Deserialize, PartialEq)]
pub struct Subject {
    pub kind: String,
    pub name: String,
    #[serde(default)]
    pub namespace: String,
}

impl Subject {
    /// How the index calls this subject; `None` for what matches nobody.
    fn key(&self, binding_namespace: &str) -> Option<String> {
        match &*self.kind {
            "User" => Some(user_key(&self.name)),
            "Group" => Some(group_key(&self.name)),
            "ServiceAccount" => {
                let own = self.home(binding_namespace);
                let name = format!("system:serviceaccount:{own}:{}", self.name);
                (!own.is_empty()).then(|| user_key(&name))
            }
            _ => None,
        }
    }

    /// The namespace of a service account: that of the binding where it names none.
    fn home<'a>(&'a self, binding_namespace: &'a str) -> &'a str {
        if self.namespace.is_empty() { binding_namespace } else { &self.namespace }
    }

    fn describe(&self, binding_namespace: &str) -> String {
        match &*self.kind {
            "ServiceAccount" => {
                let name = format!("{}/{}", self.name, self.home(binding_namespace));
                format!("ServiceAccount {name:?}")
            }
            kind => format!("{kind} {:?}", self.name),
        }
    }
}

fn user_key(name: &str) -> String {
    format!("u:{name}")
}

fn group_key(name: &str) -> String {
    format!("g:{name}")
}

/// A binding that applies to a user, with the rules of its role when there is such a role.
pub struct Grant<'a> {
    namespace: &'a str,
    name: &'a str,
    binding: &'a Binding,
    subject: &'a Subject,
    pub rules: Option<&'a [Rule]>,
}

impl Grant<'_> {
    /// `RoleBinding "b/ns" of Role "r" to User "u"`.
    pub fn describe(&self) -> String {
        let (kind, name) = match self.namespace {
            "" => ("ClusterRoleBinding", self.name.to_owned()),
            namespace => ("RoleBinding", format!("{}/{namespace}", self.name)),
        };
        let RoleRef { kind: role_kind, name: role } = &self.binding.role_ref;
        let subject = self.subject.describe(self.namespace);
        format!("{kind} {name:?} of {role_kind} {role:?} to {subject}")
    }

    /// What to say when the role is not there.
    pub fn dangling(&self) -> String {
        let RoleRef { kind, name } = &self.binding.role_ref;
        format!("{}.rbac.authorization.k8s.io {name:?} not found", kind.to_lowercase())
    }
}

impl Index {
    pub fn set_role(&mut self, namespace: &str, name: &str, rules: Option<Arc<[Rule]>>) {
        let key = (namespace.to_owned(), name.to_owned());
        match rules {
            Some(rules) => self.roles.insert(key, rules),
            None => self.roles.remove(&key),
        };
    }

    pub fn set_binding(&mut self, namespace: &str, name: &str, binding: Option<Arc<Binding>>) {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(old) = self.bindings.remove(&key) {
            for subject in old.subjects.iter().filter_map(|s| s.key(namespace)) {
                self.forget(&subject, namespace, name);
            }
        }
        let Some(binding) = binding else { return };
        for subject in binding.subjects.iter().filter_map(|s| s.key(namespace)) {
            let namespaces = self.subjects.entry(subject).or_default();
            let names = namespaces.entry(namespace.to_owned()).or_default();
            names.insert(name.to_owned(), binding.clone());
        }
        self.bindings.insert(key, binding);
    }

    fn forget(&mut self, subject: &str, namespace: &str, name: &str) {
        let Some(namespaces) = self.subjects.get_mut(subject) else { return };
        if let Some(names) = namespaces.get_mut(namespace) {
            names.remove(name);
            if names.is_empty() {
                namespaces.remove(namespace);
            }
        }
        if namespaces.is_empty() {
            self.subjects.remove(subject);
        }
    }

    /// What a user is granted in a namespace (or, with none, in the cluster): bindings of the
    /// cluster first.
    pub fn grants<'a>(&'a self, user: &User, namespace: &'a str) -> Vec<Grant<'a>> {
        let keys: Vec<String> = std::iter::once(user_key(&user.name))
            .chain(user.groups.iter().map(|group| group_key(group)))
            .collect();
        let mut grants = Vec::new();
        let scopes: &[&'a str] = if namespace.is_empty() { &[""] } else { &["", namespace] };
        for &scope in scopes {
            let mut found: BTreeMap<&'a str, &'a Binding> = BTreeMap::new();
            for key in &keys {
                let names = self.subjects.get(key).and_then(|namespaces| namespaces.get(scope));
                for (name, binding) in names.into_iter().flatten() {
                    found.insert(name, binding);
                }
            }
            for (name, binding) in found {
                let applies = |s: &&Subject| s.key(scope).is_some_and(|key| keys.contains(&key));
                let Some(subject) = binding.subjects.iter().find(applies) else { continue };
                let rules = self.rules_of(&binding.role_ref, scope);
                grants.push(Grant { namespace: scope, name, binding, subject, rules });
            }
        }
        grants
    }

    /// The rules of the role that a binding in this namespace refers to.
    pub fn rules_of(&self, role: &RoleRef, binding_namespace: &str) -> Option<&[Rule]> {
        let namespace = match &*role.kind {
            "ClusterRole" => "",
            "Role" if !binding_namespace.is_empty() => binding_namespace,
            _ => return None,
        };
        self.roles.get(&(namespace.to_owned(), role.name.clone())).map(|rules| &**rules)
    }
}

/// The four kinds that the index is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RbacKind {
    Role,
    ClusterRole,
    RoleBinding,
    ClusterRoleBinding,
}

impl RbacKind {
    pub const ALL: [RbacKind; 4] = [
        RbacKind::Role,
        RbacKind::ClusterRole,
        RbacKind::RoleBinding,
        RbacKind::ClusterRoleBinding,
    ];

    /// The first part of the store's keys.
    pub fn storage(self) -> &'static str {
        match self {
            RbacKind::Role => "roles.rbac.authorization.k8s.io",
            RbacKind::ClusterRole => "clusterroles.rbac.authorization.k8s.io",
            RbacKind::RoleBinding => "rolebindings.rbac.authorization.k8s.io",
            RbacKind::ClusterRoleBinding => "clusterrolebindings.rbac.authorization.k8s.io",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::{Value, json};

    fn binding(kind: &str, role: &str, subjects: Value) -> Option<Arc<Binding>> {
        let role = json!({"kind": kind, "name": role});
        let body = json!({"metadata": {}, "roleRef": role, "subjects": subjects});
        Some(Arc::new(skiff_json::from_value(body).expect("a binding")))
    }

    fn user(name: &str, groups: &[&str]) -> User {
        let groups = groups.iter().map(|g| (*g).to_owned()).collect();
        User { name: name.into(), groups, ..User::default() }
    }

    fn grants(index: &Index, user: &User, namespace: &str) -> String {
        let line = |grant: &Grant| match grant.rules {
            Some(rules) => format!("{}: {} rules\n", grant.describe(), rules.len()),
            None => format!("{}\n", grant.dangling()),
        };
        index.grants(user, namespace).iter().map(line).collect()
    }

    #[test]
    fn bindings_are_found_by_subject_and_followed_through_changes() {
        let mut index = Index::default();
        index.set_role("", "view", Some([Rule::default()].into()));
        index.set_role("a", "r", Some([].into()));
        let group = json!([{"kind": "Group", "name": "g"}, {"kind": "User", "name": "bob"}]);
        index.set_binding("", "all", binding("ClusterRole", "view", group));
        let local =
            json!([{"kind": "ServiceAccount", "name": "sa"}, {"kind": "User", "name": "bob"}]);
        index.set_binding("a", "b", binding("Role", "r", local));
        let bob = json!([{"kind": "User", "name": "bob"}]);
        index.set_binding("a", "c", binding("Role", "gone", bob));
        let bob = user("bob", &["g"]);
        expect_test::expect![[r#"
            ClusterRoleBinding "all" of ClusterRole "view" to Group "g": 1 rules
            RoleBinding "b/a" of Role "r" to User "bob": 0 rules
            role.rbac.authorization.k8s.io "gone" not found
        "#]]
        .assert_eq(&grants(&index, &bob, "a"));
        expect_test::expect![[r#"
            RoleBinding "b/a" of Role "r" to ServiceAccount "sa/a": 0 rules
        "#]]
        .assert_eq(&grants(&index, &user("system:serviceaccount:a:sa", &[]), "a"));
        assert_eq!(grants(&index, &user("system:serviceaccount:b:sa", &[]), "b"), "");

        index.set_binding("a", "c", None);
        index.set_binding("a", "b", binding("Role", "r", json!(null)));
        assert_eq!(grants(&index, &bob, "a").lines().count(), 1);
        index.set_binding("a", "b", None);
        index.set_binding("", "all", None);
        assert!(index.subjects.is_empty() && index.bindings.is_empty());
    }
}
