//! The default policy: the roles and bindings that a cluster begins with, read from
//! `data/policy.txt`.
//!
//! The file holds facts in lines: a header for each object, then its rules or subjects, indented.
//! It is read once at the start, and its text costs less memory than the objects would. The
//! self-test reads all of it, so reading cannot fail later.

use super::rule::Rule;
use skiff_json::{Value, json};
use std::collections::BTreeMap;

const TEXT: &str = include_str!("../../data/policy.txt");

const GROUP: &str = "rbac.authorization.k8s.io";
/// Marks what belongs to the default policy.
const LABEL: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");
/// `"false"` keeps an object from being completed at the start.
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// One role or binding of the policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub kind: &'static str,
    pub name: &'static str,
    pub namespace: &'static str,
    pub labels: Vec<&'static str>,
    /// The label of the roles whose rules this one gathers.
    pub gathers: Option<&'static str>,
    pub rules: Vec<Rule>,
    /// Kind and name of the role of a binding.
    pub role: Option<(&'static str, &'static str)>,
    /// Kind, name and namespace of each subject.
    pub subjects: Vec<[&'static str; 3]>,
}

/// All of the policy; roles that gather hold what they gather.
pub fn defaults() -> Vec<Entry> {
    let mut entries = parse(TEXT).expect("the self-test reads this very text");
    gather(&mut entries);
    entries
}

impl Entry {
    pub fn is(&self, kind: &str, name: &str) -> bool {
        self.kind == kind && self.name == name
    }

    /// The object, as a client would create it.
    pub fn object(&self) -> Value {
        let mut labels = BTreeMap::from([LABEL]);
        labels.extend(self.labels.iter().map(|label| (*label, "true")));
        let mut object = json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": self.kind,
            "metadata": {"name": self.name, "labels": labels, "annotations": {AUTOUPDATE: "true"}},
        });
        if !self.namespace.is_empty() {
            object["metadata"]["namespace"] = self.namespace.into();
        }
        match self.role {
            Some((kind, name)) => {
                object["roleRef"] = json!({"apiGroup": GROUP, "kind": kind, "name": name});
                if !self.subjects.is_empty() {
                    object["subjects"] = self.subjects.iter().map(subject).collect();
                }
            }
            None => object["rules"] = json!(self.rules),
        }
        if let Some(label) = self.gathers {
            object["aggregationRule"] =
                json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        }
        object
    }
}

fn subject([kind, name, namespace]: &[&str; 3]) -> Value {
    match *kind {
        "ServiceAccount" => json!({"kind": kind, "name": name, "namespace": namespace}),
        _ => json!({"apiGroup": GROUP, "kind": kind, "name": name}),
    }
}

/// Fills the roles that gather from those they gather, the innermost first.
fn gather(entries: &mut [Entry]) {
    // Each pass completes one level; the policy has three: view, then edit, then admin.
    for _ in 0..3 {
        for index in 0..entries.len() {
            let Some(label) = entries[index].gathers else { continue };
            let mut rules: Vec<Rule> = Vec::new();
            for entry in entries.iter().filter(|entry| entry.labels.contains(&label)) {
                for rule in &entry.rules {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
            entries[index].rules = rules;
        }
    }
}

/// Reads the whole text; the error is the line that makes no sense.
fn parse(text: &'static str) -> Result<Vec<Entry>, &'static str> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if !line.starts_with(' ') {
            entries.push(header(line).ok_or(line)?);
            continue;
        }
        let entry = entries.last_mut().ok_or(line)?;
        if entry.role.is_none() {
            entry.rules.push(rule(line.trim()).ok_or(line)?);
            continue;
        }
        match line.trim().split(' ').collect::<Vec<_>>()[..] {
            ["ServiceAccount", name, namespace] => {
                entry.subjects.push(["ServiceAccount", name, namespace]);
            }
            [kind @ ("User" | "Group"), name] => entry.subjects.push([kind, name, ""]),
            _ => return Err(line),
        }
    }
    Ok(entries)
}

fn header(line: &'static str) -> Option<Entry> {
    let (settings, words): (Vec<&str>, Vec<&str>) = line.split(' ').partition(|w| w.contains('='));
    let (kind, name, namespace) = match words[..] {
        [kind, name] => (kind, name, ""),
        [kind, name, namespace] => (kind, name, namespace),
        _ => return None,
    };
    let mut entry = Entry {
        kind,
        name,
        namespace,
        labels: Vec::new(),
        gathers: None,
        rules: Vec::new(),
        role: None,
        subjects: Vec::new(),
    };
    for setting in settings {
        match setting.split_once('=')? {
            ("label", label) => entry.labels.push(label),
            ("gather", label) => entry.gathers = Some(label),
            ("role", role) => entry.role = Some(role.split_once('/')?),
            _ => return None,
        }
    }
    Some(entry)
}

/// One rule: `VERBS GROUPS RESOURCES [NAMES]` or `VERBS PATHS`.
pub fn rule(line: &str) -> Option<Rule> {
    let list = |text: &str| -> Vec<String> {
        text.split(',').map(|t| if t == "-" { String::new() } else { t.to_owned() }).collect()
    };
    let words: Vec<&str> = line.split(' ').collect();
    Some(match words[..] {
        [verbs, paths] => Rule { verbs: list(verbs), paths: list(paths), ..Rule::default() },
        [verbs, groups, resources] | [verbs, groups, resources, _] => Rule {
            verbs: list(verbs),
            api_groups: list(groups),
            resources: list(resources),
            resource_names: words.get(3).map_or_else(Vec::new, |names| list(names)),
            paths: Vec::new(),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_reads_whole() {
        let entries = defaults();
        let count = |kind| entries.iter().filter(|e| e.kind == kind).count();
        let counts = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"].map(count);
        assert_eq!(counts, [73, 54, 7, 7]);
        for entry in &entries {
            if let Some((kind, name)) = entry.role {
                assert!(entries.iter().any(|e| e.is(kind, name)), "{} has no {name}", entry.name);
            } else {
                assert!(!entry.rules.is_empty(), "{} allows nothing", entry.name);
            }
        }
        let rules = |name| {
            entries.iter().find(|e| e.is("ClusterRole", name)).expect("it is there").rules.len()
        };
        assert!(rules("admin") > rules("edit") && rules("edit") > rules("view"));
    }

    #[test]
    fn entries_become_objects() {
        let entries = parse(
            "ClusterRole r label=a/b gather=c/d\nRole q ns\n  get,list -,apps pods x\nRoleBinding b ns \
             role=Role/q\n  User u\n  ServiceAccount s kube-system\n",
        )
        .expect("it reads");
        let objects: Vec<Value> = entries.iter().map(Entry::object).collect();
        assert_eq!(objects[0]["metadata"]["labels"]["a/b"], "true");
        assert_eq!(
            objects[0]["aggregationRule"],
            json!({"clusterRoleSelectors": [{"matchLabels": {"c/d": "true"}}]})
        );
        assert_eq!(
            objects[1]["rules"],
            json!([{"verbs": ["get", "list"], "apiGroups": ["", "apps"], "resources": ["pods"],
                    "resourceNames": ["x"]}])
        );
        assert_eq!(
            objects[2]["subjects"],
            json!([{"apiGroup": GROUP, "kind": "User", "name": "u"},
                   {"kind": "ServiceAccount", "name": "s", "namespace": "kube-system"}])
        );
        assert_eq!(parse("Role\n"), Err("Role"));
        assert_eq!(parse("Role a b\n  get\n"), Err("  get"));
    }
}
