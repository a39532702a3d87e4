//! Attributes: what is asked of the authorizer, as data, and the refusal in the words that users
//! know. Decides nothing.

use crate::request::url::{Query, RequestInfo};
use skiff_api::Status;
use skiff_api::names;
use skiff_api::selector::{FieldRequirement, FieldSelector, Requirement, Selector};
use skiff_api::status::About;
use skiff_api::wire::User;

/// A verb on a resource or, with `path`, on a path that is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes {
    pub verb: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    pub namespace: String,
    pub path: Option<String>,
    /// What selectors demand of whatever is listed, watched or deleted together (KEP-4601). One that cannot be read
    /// demands nothing, which only makes the question broader.
    pub fields: Vec<FieldRequirement>,
    pub labels: Vec<Requirement>,
}

impl Attributes {
    /// What a request for a resource asks.
    pub fn of(verb: &str, resource: &RequestInfo, query: &Query) -> Attributes {
        let (mut fields, mut labels) = (FieldSelector::default(), Vec::new());
        if matches!(verb, "list" | "watch" | "deletecollection") {
            let text = |name| query.get(name).unwrap_or_default();
            fields = FieldSelector::parse(text("fieldSelector")).unwrap_or_default();
            labels = requirements(text("labelSelector")).unwrap_or_default();
        }
        // A list or watch of exactly one object is authorized as that object's.
        let named = fields.exact("metadata.name").filter(|name| names::segment(name).is_empty());
        let named = named.filter(|_| resource.name.is_empty() && verb != "deletecollection");
        let name = named.unwrap_or(&resource.name).to_owned();
        Attributes {
            verb: verb.into(),
            group: resource.group.clone(),
            version: resource.version.clone(),
            resource: resource.plural.clone(),
            subresource: resource.subresource.clone(),
            name,
            namespace: resource.namespace.clone(),
            path: None,
            fields: fields.0,
            labels,
        }
    }

    /// What a request for a path asks; `method` is HTTP's.
    pub fn of_path(method: &str, path: &str) -> Attributes {
        Attributes { verb: method.to_lowercase(), path: Some(path.into()), ..Attributes::default() }
    }

    /// Whether only objects are asked for whose field has this value.
    pub fn selects(&self, field: &str, value: &str) -> bool {
        self.fields.iter().any(|it| it.field == field && it.value == value && !it.negated)
    }

    /// The refusal.
    pub fn refusal(&self, user: &User, reason: &str) -> Status {
        let mut message = match &self.path {
            Some(path) => format!("User {:?} cannot {} path {path:?}", user.name, self.verb),
            None => {
                let resource = match &*self.subresource {
                    "" => self.resource.clone(),
                    sub => format!("{}/{sub}", self.resource),
                };
                let scope = match &*self.namespace {
                    "" => "at the cluster scope".to_owned(),
                    namespace => format!("in the namespace {namespace:?}"),
                };
                format!(
                    "User {:?} cannot {} resource {resource:?} in API group {:?} {scope}",
                    user.name, self.verb, self.group
                )
            }
        };
        // Nothing that a caller chose may look like markup to a browser.
        for (bad, good) in [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")] {
            message = message.replace(bad, good);
        }
        if !reason.is_empty() {
            message = format!("{message}: {reason}");
        }
        let about = About { group: &self.group, resource: &self.resource };
        Status::forbidden(about, &self.name, &message)
    }
}

/// What a label selector demands.
pub fn requirements(selector: &str) -> Result<Vec<Requirement>, String> {
    match Selector::parse(selector)? {
        Selector::All(all) => Ok(all),
        Selector::Nothing => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::url::{Target, parse};

    fn refusal(method: &str, path: &str, query: &str, reason: &str) -> String {
        let user = User { name: "eve".into(), ..User::default() };
        let asked = match parse(path) {
            Target::Path(path) => Attributes::of_path(method, &path),
            Target::Resource(resource) => Attributes::of(method, &resource, &Query::parse(query)),
        };
        asked.refusal(&user, reason).message + "\n"
    }

    #[test]
    fn refusals_read_as_users_know_them() {
        let all = [
            refusal("list", "/api/v1/namespaces/a/pods", "", ""),
            refusal("get", "/api/v1/namespaces/a/pods/x/log", "", ""),
            refusal("list", "/apis/apps/v1/deployments", "", "rbac: RBAC: why"),
            refusal("watch", "/api/v1/nodes", "fieldSelector=metadata.name%3Dn1", ""),
            refusal("GET", "/foo<b>", "", ""),
        ]
        .concat();
        expect_test::expect![[r#"
            pods is forbidden: User "eve" cannot list resource "pods" in API group "" in the namespace "a"
            pods "x" is forbidden: User "eve" cannot get resource "pods/log" in API group "" in the namespace "a"
            deployments.apps is forbidden: User "eve" cannot list resource "deployments" in API group "apps" at the cluster scope: rbac: RBAC: why
            nodes "n1" is forbidden: User "eve" cannot watch resource "nodes" in API group "" at the cluster scope
            forbidden: User "eve" cannot get path "/foo&lt;b&gt;"
        "#]]
        .assert_eq(&all);
    }

    #[test]
    fn selectors_count_where_many_are_asked_for() {
        let of = |method: &str, path: &str, query: &str| {
            let Target::Resource(resource) = parse(path) else { panic!("a resource") };
            let asked = Attributes::of(method, &resource, &Query::parse(query));
            let fields: Vec<String> = asked
                .fields
                .iter()
                .map(|it| format!("{}{}{}", it.field, it.negated, it.value))
                .collect();
            let labels: Vec<String> = asked
                .labels
                .iter()
                .map(|it| format!("{} {:?} {:?}", it.key, it.operator, it.values))
                .collect();
            format!("{} {fields:?} {labels:?}", asked.name)
        };
        let query = "fieldSelector=metadata.name%3Dx,a!%3Db&labelSelector=c+in+(d,e),!f";
        let mut out = String::new();
        for method in ["list", "watch", "deletecollection", "get"] {
            out += &format!("{method}: {}\n", of(method, "/api/v1/namespaces/a/pods", query));
        }
        out += &of("list", "/api/v1/pods", "fieldSelector=,,a&labelSelector=(");
        expect_test::expect![[r#"
            list: x ["atrueb", "metadata.namefalsex"] ["c In [\"d\", \"e\"]", "f DoesNotExist []"]
            watch: x ["atrueb", "metadata.namefalsex"] ["c In [\"d\", \"e\"]", "f DoesNotExist []"]
            deletecollection:  ["atrueb", "metadata.namefalsex"] ["c In [\"d\", \"e\"]", "f DoesNotExist []"]
            get:  [] []
             [] []"#]].assert_eq(&out);
    }
}
