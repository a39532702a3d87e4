//! Attributes: what is asked of the authorizer, as data, and the refusal in the words that users
//! know. Decides nothing.

use crate::request::url::{Query, RequestInfo};
use skiff_api::Status;
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
    /// What a field selector demands to be equal: the node's rights depend on it.
    pub fields: Vec<(String, String)>,
}

impl Attributes {
    /// What a request for a resource asks.
    pub fn of(verb: &str, resource: &RequestInfo, query: &Query) -> Attributes {
        let fields = match verb {
            "list" | "watch" | "deletecollection" => {
                query.get("fieldSelector").map_or_else(Vec::new, equalities)
            }
            _ => Vec::new(),
        };
        // A list or watch of exactly one object is authorized as that object's.
        let named = fields.iter().find(|(field, _)| field == "metadata.name").map(|(_, name)| name);
        let name = named.filter(|_| resource.name.is_empty()).unwrap_or(&resource.name).clone();
        Attributes {
            verb: verb.into(),
            group: resource.group.clone(),
            version: resource.version.clone(),
            resource: resource.plural.clone(),
            subresource: resource.subresource.clone(),
            name,
            namespace: resource.namespace.clone(),
            path: None,
            fields,
        }
    }

    /// What a request for a path asks; `method` is HTTP's.
    pub fn of_path(method: &str, path: &str) -> Attributes {
        Attributes { verb: method.to_lowercase(), path: Some(path.into()), ..Attributes::default() }
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

/// The demands for equality in a field selector, `a=b,c==d,e!=f`.
pub fn equalities(selector: &str) -> Vec<(String, String)> {
    let equality = |part: &str| {
        let (field, value) = part.split_once('=')?;
        let value = value.strip_prefix('=').unwrap_or(value);
        (!field.ends_with('!')).then(|| (field.trim().to_owned(), value.trim().to_owned()))
    };
    selector.split(',').filter_map(equality).collect()
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
    fn equalities_are_read_from_selectors() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(equalities("a=b,c==d,e!=f"), [pair("a", "b"), pair("c", "d")]);
    }
}
