//! Aggregated cluster roles: the rules of a ClusterRole with an `aggregationRule` are those of all roles that its
//! selectors match (API reference: ClusterRole). Rules that somebody wrote there by hand are overwritten.

use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::selector::Selector;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_client::PatchKind;
use skiff_json::{Value, json};
use skiff_kinds::views::ClusterRole;
use std::sync::Arc;

/// Key: a ClusterRole.
pub struct Aggregation;

pub struct Seen {
    role: Arc<ClusterRole>,
    selectors: Vec<Selector>,
    roles: Vec<Arc<ClusterRole>>,
}

impl Loop for Aggregation {
    const NAME: &'static str = "clusterrole-aggregation-controller";
    const MANAGER: &'static str = Self::NAME;
    type Seen = Seen;
    type Memory = ();

    fn on(on: &mut On) {
        // Which roles a changed one belongs to depends on labels that it has and had: all are looked at, there are few.
        on.map::<ClusterRole>(|_, caches| {
            let all = caches.of::<ClusterRole>().find("aggregates", "");
            all.iter().map(|role| role.metadata.key()).collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let cache = cx.caches.of::<ClusterRole>();
        let Some(role) = cache.get(key) else { return Ok(None) };
        let Some(rule) = &role.aggregation_rule else { return Ok(None) };
        let selectors = rule
            .cluster_role_selectors
            .iter()
            .map(|selector| crate::parts::adoption::selector(selector, &role.metadata))
            .collect::<Result<_, _>>()?;
        Ok(Some(Seen { roles: cache.list(""), selectors, role }))
    }

    fn plan(seen: &Seen, _: &mut (), _: Time, out: &mut Changes) -> Next {
        let meta = &seen.role.metadata;
        let mut rules: Vec<&Value> = Vec::new();
        for selector in &seen.selectors {
            for role in seen.roles.iter().filter(|role| role.metadata.name != meta.name) {
                let labels = &role.metadata.labels;
                if selector.matches(|key| labels.get(key).map(String::as_str)) {
                    let new: Vec<_> = role.rules.iter().filter(|it| !rules.contains(it)).collect();
                    rules.extend(new);
                }
            }
        }
        if rules.iter().copied().ne(seen.role.rules.iter()) {
            let body = json!({"apiVersion": ClusterRole::RESOURCE.api_version(), "kind": "ClusterRole",
                "metadata": {"name": meta.name}, "rules": rules});
            out.patch(PatchKind::Apply, ClusterRole::RESOURCE, meta.key(), "", body);
        }
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn rules_are_gathered_once_each() {
        let role = |value: Value| -> Arc<ClusterRole> {
            Arc::new(skiff_json::from_value(value).expect("the case is a valid view"))
        };
        let rule = |verb: &str| json!({"verbs": [verb], "resources": ["pods"], "apiGroups": [""]});
        let all = json!({"metadata": {"name": "all"}, "rules": null, "aggregationRule": {"clusterRoleSelectors":
            [{"matchLabels": {"to": "all"}}]}});
        let part = |name: &str, verbs: &[&str]| {
            let rules: Vec<Value> = verbs.iter().map(|verb| rule(verb)).collect();
            role(json!({"metadata": {"name": name, "labels": {"to": "all"}}, "rules": rules}))
        };
        let other = role(json!({"metadata": {"name": "x"}, "rules": [rule("delete")]}));
        let roles = vec![part("a", &["get", "list"]), part("b", &["list", "watch"]), other];
        let selectors = vec![Selector::from_labels([("to", "all")])];
        let mut seen = Seen { role: role(all), selectors, roles };
        let mut out = Changes::default();
        Aggregation::plan(&seen, &mut (), Time::UNIX_EPOCH, &mut out);
        expect![[r#"
            patch Apply clusterroles all  {"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"all"},"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]},{"apiGroups":[""],"resources":["pods"],"verbs":["list"]},{"apiGroups":[""],"resources":["pods"],"verbs":["watch"]}]}
        "#]].assert_eq(&out.text());

        let rules = json!([rule("get"), rule("list"), rule("watch")]);
        seen.role = role(json!({"metadata": {"name": "all"}, "rules": rules}));
        let mut out = Changes::default();
        Aggregation::plan(&seen, &mut (), Time::UNIX_EPOCH, &mut out);
        assert_eq!(out.text(), "");
    }
}
