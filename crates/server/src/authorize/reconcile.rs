//! Reconcile: what must be written at the start so that the default policy holds, and what users
//! added stays.
//!
//! A missing object is created; a missing rule, subject, label or selector is added; a binding
//! whose role differs is made anew, for a role reference cannot change. Nothing is ever taken away,
//! and an object whose annotation `rbac.authorization.kubernetes.io/autoupdate` is `"false"` is
//! left alone. Pure: it plans, somebody else writes.

use super::policy::{AUTOUPDATE, Entry};
use super::rule::{Rule, missing};
use skiff_api::object::{Object, at};
use skiff_json::{Map, Value, json};

/// One thing to write.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Create(Object),
    Update(Object),
    /// Delete what is there, then create this.
    Replace(Object),
}

/// What to write so that the entries hold; `find` gives what is there by kind, namespace and name.
pub fn plan(entries: &[Entry], find: impl Fn(&str, &str, &str) -> Option<Object>) -> Vec<Change> {
    let change = |entry: &Entry| {
        let wanted = Object::new(entry.object());
        match find(entry.kind, entry.namespace, entry.name) {
            None => Some(Change::Create(wanted)),
            Some(found) => complete(found, &wanted),
        }
    };
    entries.iter().filter_map(change).collect()
}

fn complete(found: Object, wanted: &Object) -> Option<Change> {
    if found.annotation(AUTOUPDATE) == Some("false") {
        return None;
    }
    if at(found.value(), "roleRef") != at(wanted.value(), "roleRef") {
        return Some(Change::Replace(wanted.clone()));
    }
    let mut new = found.clone();
    for field in ["metadata.labels", "metadata.annotations"] {
        let mut map: Map = wanted.map(field).clone();
        map.extend(found.map(field).clone());
        new.set(field, map);
    }
    for field in ["subjects", "aggregationRule.clusterRoleSelectors"] {
        add_missing(&mut new, wanted, field);
    }
    // The rules of a role that gathers are the gatherer's affair.
    if wanted.at("aggregationRule").is_none() {
        let lacking = missing(&rules(&found), &rules(wanted));
        if !lacking.is_empty() {
            let mut all = found.list("rules").to_vec();
            all.extend(lacking.iter().map(|rule| json!(rule)));
            new.set("rules", all);
        }
    }
    (new != found).then_some(Change::Update(new))
}

/// Adds the elements of a list that are wanted and not there.
fn add_missing(new: &mut Object, wanted: &Object, field: &str) {
    let mut all = new.list(field).to_vec();
    let before = all.len();
    for element in wanted.list(field) {
        if !all.contains(element) {
            all.push(element.clone());
        }
    }
    if all.len() > before {
        new.set(field, all);
    }
}

/// The rules of a role; what is no rule allows nothing.
pub fn rules(role: &Object) -> Vec<Rule> {
    let rule = |value: &Value| skiff_json::from_value(value.clone()).ok();
    role.list("rules").iter().filter_map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::super::policy;
    use super::*;

    fn entry(name: &str) -> Vec<Entry> {
        policy::defaults().into_iter().filter(|e| e.name == name).collect()
    }

    fn changed(name: &str, kind: &str, edit: impl Fn(&mut Object)) -> Vec<Change> {
        let entries: Vec<Entry> = entry(name).into_iter().filter(|e| e.kind == kind).collect();
        plan(&entries, |_, _, _| {
            let mut object = Object::new(entries[0].object());
            edit(&mut object);
            Some(object)
        })
    }

    #[test]
    fn an_empty_cluster_gets_all_and_a_complete_one_nothing() {
        let all = policy::defaults();
        let created = plan(&all, |_, _, _| None);
        assert_eq!(created.len(), all.len());
        assert!(created.iter().all(|change| matches!(change, Change::Create(_))));
        let find = |kind: &str, namespace: &str, name: &str| {
            let found = all.iter().find(|e| e.is(kind, name) && e.namespace == namespace)?;
            Some(Object::new(found.object()))
        };
        assert_eq!(plan(&all, find), []);
    }

    #[test]
    fn what_is_missing_is_added_and_what_is_more_stays() {
        let more = |object: &mut Object| {
            object.set("rules", json!([{"verbs": ["x"], "apiGroups": ["y"], "resources": ["z"]}]));
            object.set("metadata.labels", json!({"own": "1"}));
        };
        let changes = changed("system:kube-dns", "ClusterRole", more);
        let [Change::Update(object)] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!(object.list("rules")[0]["verbs"], json!(["x"]));
        assert_eq!(object.list("rules").len(), 5);
        assert_eq!(object.label("own"), Some("1"));
        assert_eq!(object.label("kubernetes.io/bootstrapping"), Some("rbac-defaults"));

        let off = |object: &mut Object| {
            object.annotate(AUTOUPDATE, "false");
            object.set("rules", json!([]));
        };
        assert_eq!(changed("system:kube-dns", "ClusterRole", off), []);
        let gathered = |object: &mut Object| object.set("rules", json!([]));
        assert_eq!(changed("admin", "ClusterRole", gathered), []);
        let bound =
            |object: &mut Object| object.set("subjects", json!([{"kind": "User", "name": "u"}]));
        let changes = changed("system:kube-dns", "ClusterRoleBinding", bound);
        let [Change::Update(object)] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!(object.list("subjects").len(), 2);
        let elsewhere = |object: &mut Object| object.set("roleRef.name", "other");
        let changes = changed("system:kube-dns", "ClusterRoleBinding", elsewhere);
        assert!(matches!(changes[..], [Change::Replace(_)]), "{changes:?}");
    }
}
