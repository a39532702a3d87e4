//! Merge: the groups and versions of aggregated servers among those that are served here, in the order that priorities
//! make (API reference: APIServiceSpec). Pure.

use super::Registered;
use skiff_api::names::version_order;
use skiff_api::registry::Registry;
use std::cmp::Reverse;
use std::sync::Arc;

/// Groups and versions at one moment, and who serves them.
pub struct Order<'a> {
    registry: &'a Registry,
    /// All registrations.
    all: &'a [Arc<Registered>],
}

impl<'a> Order<'a> {
    pub fn new(registry: &'a Registry, all: &'a [Arc<Registered>]) -> Order<'a> {
        Order { registry, all }
    }

    /// Those that other servers serve.
    pub fn elsewhere(&self) -> impl Iterator<Item = &'a Arc<Registered>> {
        let here = self.registry;
        let named = self.all.iter().filter(|it| it.target.is_some());
        named.filter(|it| !here.serves(&it.group, &it.version))
    }

    /// Who else serves this version.
    pub fn remote(&self, group: &str, version: &str) -> Option<&'a Arc<Registered>> {
        self.elsewhere().find(|it| it.group == group && it.version == version)
    }

    /// All groups: those of this server in their order, and each other one before the first that has less priority, or
    /// as much and a later name.
    pub fn groups(&self) -> Vec<&'a str> {
        let mut groups: Vec<&str> = Vec::new();
        for kind in self.registry.kinds() {
            if !groups.contains(&&*kind.group) {
                groups.push(&kind.group);
            }
        }
        let mut others: Vec<&str> = self.elsewhere().map(|it| &*it.group).collect();
        others.retain(|group| !groups.contains(group));
        others.sort_by_key(|group| (Reverse(self.priority(group)), *group));
        others.dedup();
        for other in others {
            let rank = |group: &str| (Reverse(self.priority(group)), group.to_owned());
            let behind = |group: &&str| rank(group) > rank(other);
            // What no APIService stands for comes first, and nothing before it.
            let at = groups.iter().position(behind).unwrap_or(groups.len());
            groups.insert(at, other);
        }
        groups
    }

    /// The versions of a group, the preferred one first.
    pub fn versions(&self, group: &str) -> Vec<&'a str> {
        let mut versions: Vec<&str> = Vec::new();
        for kind in self.registry.kinds().iter().filter(|kind| kind.group == group) {
            if !versions.contains(&&*kind.version) {
                versions.push(&kind.version);
            }
        }
        versions.sort_by_key(|version| version_order(version));
        let mut others =
            self.elsewhere().filter(|it| it.group == group).map(|it| &*it.version).peekable();
        if others.peek().is_some() {
            versions.extend(others);
            let priority = |version: &str| {
                let found = self.all.iter().find(|it| it.group == group && it.version == version);
                found.map_or(i64::MAX, |it| it.version_priority)
            };
            versions.sort_by_key(|version| (Reverse(priority(version)), version_order(version)));
        }
        versions
    }

    fn priority(&self, group: &str) -> i64 {
        let of = self.all.iter().filter(|it| it.group == group);
        of.map(|it| it.group_priority).max().unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::super::registered::Places;
    use super::*;
    use skiff_api::registry::Kinds;
    use skiff_json::json;

    fn check(registrations: &[(&str, i64, i64, bool)]) -> String {
        let made = registrations.iter().map(|(name, group, version, elsewhere)| {
            let (of, named) = name.split_once('.').expect("VERSION.GROUP");
            let mut body = json!({"metadata": {"name": name}, "spec": {"group": named, "version": of,
                "groupPriorityMinimum": group, "versionPriority": version}});
            if *elsewhere {
                body["spec"]["service"] = json!({"namespace": "n", "name": "s"});
            }
            let body = body.to_string();
            let read = Registered::read(body.as_bytes(), Arc::new(Places::new()));
            Arc::new(read.expect("it reads"))
        });
        let (all, kinds): (Vec<_>, _) = (made.collect(), Kinds::builtin(skiff_kinds::KINDS));
        let registry = kinds.now();
        let order = Order::new(&registry, &all);
        let shown = ["apps", "batch", "policy", "x.io", "a.io", "z.io"];
        let groups = order.groups().into_iter().filter(|it| shown.contains(it));
        groups
            .map(|it| format!("{it}={}", order.versions(it).join(",")))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn groups_come_by_priority_and_what_is_here_stays() {
        let here = [("v1.apps", 17_800, 15, false), ("v1.batch", 17_400, 15, false)];
        assert_eq!(check(&here), "apps=v1 batch=v1 policy=v1");
        let with = |more: &[(&'static str, i64, i64, bool)]| check(&[&here[..], more].concat());
        assert_eq!(
            with(&[("v1.x.io", 100, 1, true), ("v1.a.io", 100, 1, true)]),
            "apps=v1 batch=v1 policy=v1 a.io=v1 x.io=v1"
        );
        assert_eq!(with(&[("v1.x.io", 17_500, 1, true)]), "apps=v1 x.io=v1 batch=v1 policy=v1");
        assert_eq!(
            with(&[
                ("v1.x.io", 1, 1, true),
                ("v2beta1.x.io", 1, 10, true),
                ("v2.x.io", 1, 1, true)
            ]),
            "apps=v1 batch=v1 policy=v1 x.io=v2beta1,v2,v1"
        );
        // What is served here is nobody else's.
        assert_eq!(with(&[("v1.policy", 20_000, 1, true)]), "apps=v1 batch=v1 policy=v1");
    }
}
