//! Matching: to which flow schema a request belongs (API reference: FlowSchema). The first in order whose rules match
//! it; compiled once from the objects. Pure.

use crate::authorize::Attributes;
use serde::Deserialize;
use skiff_api::wire::User;
use skiff_kinds::views::null_is_empty;

const ALL: &str = "*";

/// The spec of a FlowSchema.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SchemaSpec {
    pub priority_level_configuration: Named,
    pub matching_precedence: i64,
    pub distinguisher_method: Option<Method>,
    #[serde(deserialize_with = "null_is_empty")]
    pub rules: Vec<Rule>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Named {
    pub name: String,
}

/// What tells the flows of a schema apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(tag = "type")]
pub enum Method {
    ByUser,
    ByNamespace,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    #[serde(deserialize_with = "null_is_empty")]
    subjects: Vec<Subject>,
    #[serde(deserialize_with = "null_is_empty")]
    resource_rules: Vec<ResourceRule>,
    #[serde(deserialize_with = "null_is_empty")]
    non_resource_rules: Vec<PathRule>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
enum Subject {
    User { user: Named },
    Group { group: Named },
    ServiceAccount { service_account: Account },
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Account {
    namespace: String,
    name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceRule {
    #[serde(deserialize_with = "null_is_empty")]
    verbs: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    api_groups: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    resources: Vec<String>,
    cluster_scope: bool,
    #[serde(deserialize_with = "null_is_empty")]
    namespaces: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PathRule {
    #[serde(deserialize_with = "null_is_empty")]
    verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs", deserialize_with = "null_is_empty")]
    urls: Vec<String>,
}

impl SchemaSpec {
    pub fn matches(&self, user: &User, asked: &Attributes) -> bool {
        self.rules.iter().any(|rule| rule.matches(user, asked))
    }

    /// The flow within the schema.
    pub fn flow<'a>(&self, user: &'a str, namespace: &'a str) -> &'a str {
        match self.distinguisher_method {
            None => "",
            Some(Method::ByUser) => user,
            Some(Method::ByNamespace) => namespace,
        }
    }
}

impl Rule {
    fn matches(&self, user: &User, asked: &Attributes) -> bool {
        if !self.subjects.iter().any(|subject| subject.is(user)) {
            return false;
        }
        match &asked.path {
            None => self.resource_rules.iter().any(|rule| rule.matches(asked)),
            Some(path) => self.non_resource_rules.iter().any(|rule| {
                has(&rule.verbs, &asked.verb) && rule.urls.iter().any(|url| covers(url, path))
            }),
        }
    }
}

impl Subject {
    fn is(&self, user: &User) -> bool {
        match self {
            Subject::User { user: Named { name } } => name == ALL || *name == user.name,
            Subject::Group { group: Named { name } } => name == ALL || user.groups.contains(name),
            Subject::ServiceAccount { service_account: Account { namespace, name } } => {
                let rest = user.name.strip_prefix("system:serviceaccount:");
                let rest = rest.and_then(|rest| rest.strip_prefix(&**namespace));
                let account = rest.and_then(|rest| rest.strip_prefix(':'));
                account.is_some_and(|account| name == ALL || name == account)
            }
        }
    }
}

impl ResourceRule {
    fn matches(&self, asked: &Attributes) -> bool {
        has(&self.verbs, &asked.verb)
            && has(&self.api_groups, &asked.group)
            && self.has_resource(&asked.resource, &asked.subresource)
            && match &*asked.namespace {
                "" => self.cluster_scope,
                namespace => has(&self.namespaces, namespace),
            }
    }

    fn has_resource(&self, resource: &str, entry: &str) -> bool {
        self.resources.iter().any(|it| match it.split_once('/') {
            Some((of, own)) => of == resource && own == entry,
            None => it == ALL || (entry.is_empty() && it == resource),
        })
    }
}

fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|it| it == ALL || it == word)
}

/// A URL covers itself and what is below it.
fn covers(url: &str, path: &str) -> bool {
    let head = url.strip_suffix('*').unwrap_or(url);
    let head = head.strip_suffix('/').unwrap_or(head);
    url == ALL || url == path || path.strip_prefix(head).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::url::{Query, Target, parse, verb};
    use expect_test::expect;
    use skiff_kinds::flowcontrol::bootstrap;

    fn asked(line: &str) -> Attributes {
        let (method, target) = line.split_once(' ').expect("a method");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match parse(path) {
            Target::Path(path) => Attributes::of_path(method, &path),
            Target::Resource(it) => {
                let query = Query::parse(query);
                let method = method.parse().expect("a method");
                let verb = verb(&method, &it, query.flag("watch")).expect("a verb");
                Attributes::of(verb.name(), &it, &query)
            }
        }
    }

    #[test]
    fn requests_belong_to_the_schemas_that_every_cluster_begins_with() {
        let mut schemas: Vec<(String, SchemaSpec)> = bootstrap::names("FlowSchema")
            .into_iter()
            .map(|name| {
                let spec = bootstrap::spec("FlowSchema", name).expect("it has the name");
                (name.to_owned(), skiff_json::from_value(spec).expect("it reads"))
            })
            .collect();
        schemas
            .sort_by(|(a, x), (b, y)| (x.matching_precedence, a).cmp(&(y.matching_precedence, b)));
        let admin = User::system("kubernetes-admin", &["system:masters"]);
        let node = User::system("system:node:n", &["system:nodes"]);
        let manager = User::system("system:kube-controller-manager", &[]);
        let scheduler = User::system("system:kube-scheduler", &[]);
        let controller = User::service_account("kube-system", "replicaset-controller");
        let account = User::service_account("default", "a");
        let similar = User::service_account("kube-system-2", "a");
        let user = User::system("jane", &[]);
        let guest = User { groups: vec!["system:unauthenticated".into()], ..User::default() };
        let stranger = User { name: "nobody".into(), ..User::default() };
        let lease = "PUT /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n";
        let cases: &[(&User, &str)] = &[
            (&admin, "GET /api/v1/pods"),
            (&guest, "GET /healthz"),
            (&guest, "GET /livez/ping"),
            (&guest, "GET /version"),
            (&node, lease),
            (&node, "PATCH /api/v1/nodes/n/status"),
            (&node, "GET /api/v1/pods?watch=1"),
            (&manager, lease),
            (&manager, "PATCH /apis/coordination.k8s.io/v1/namespaces/kube-system/leases/n"),
            (&controller, lease),
            (&controller, "POST /api/v1/namespaces/default/pods"),
            (&scheduler, "POST /api/v1/namespaces/default/pods/p/binding"),
            (&account, lease),
            (&similar, "GET /api/v1/nodes"),
            (&user, "GET /api/v1/nodes"),
            (&stranger, "GET /api/v1/nodes"),
        ];
        let mut out = String::new();
        for (user, line) in cases {
            let asked = asked(line);
            let found = schemas.iter().find(|(_, spec)| spec.matches(user, &asked));
            let flow = found.map(|(_, spec)| spec.flow(&user.name, &asked.namespace)).unwrap_or("");
            let found = found.map_or("none", |(name, _)| name);
            out += &format!("{}: {line}\n  {found} {flow:?}\n", user.name);
        }
        expect![[r#"
            kubernetes-admin: GET /api/v1/pods
              exempt ""
            : GET /healthz
              probes ""
            : GET /livez/ping
              probes ""
            : GET /version
              global-default ""
            system:node:n: PUT /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n
              system-node-high "system:node:n"
            system:node:n: PATCH /api/v1/nodes/n/status
              system-node-high "system:node:n"
            system:node:n: GET /api/v1/pods?watch=1
              system-nodes "system:node:n"
            system:kube-controller-manager: PUT /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n
              system-leader-election "system:kube-controller-manager"
            system:kube-controller-manager: PATCH /apis/coordination.k8s.io/v1/namespaces/kube-system/leases/n
              kube-controller-manager "kube-system"
            system:serviceaccount:kube-system:replicaset-controller: PUT /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n
              system-leader-election "system:serviceaccount:kube-system:replicaset-controller"
            system:serviceaccount:kube-system:replicaset-controller: POST /api/v1/namespaces/default/pods
              kube-system-service-accounts "default"
            system:kube-scheduler: POST /api/v1/namespaces/default/pods/p/binding
              kube-scheduler "default"
            system:serviceaccount:default:a: PUT /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n
              service-accounts "system:serviceaccount:default:a"
            system:serviceaccount:kube-system-2:a: GET /api/v1/nodes
              service-accounts "system:serviceaccount:kube-system-2:a"
            jane: GET /api/v1/nodes
              global-default "jane"
            nobody: GET /api/v1/nodes
              none ""
        "#]].assert_eq(&out);
    }

    #[test]
    fn rules_are_as_narrow_as_they_say() {
        for (url, path, covered) in [
            ("*", "/x", true),
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/ping", true),
            ("/healthz", "/healthzs", false),
            ("/logs/*", "/logs/a", true),
            ("/logs/*", "/logs", false),
        ] {
            assert_eq!(covers(url, path), covered, "{url} {path}");
        }
        let rule = |resources: &[&str]| ResourceRule {
            resources: resources.iter().map(|it| (*it).to_owned()).collect(),
            ..ResourceRule::default()
        };
        assert!(rule(&["*"]).has_resource("pods", "log"));
        assert!(rule(&["pods"]).has_resource("pods", ""));
        assert!(!rule(&["pods"]).has_resource("pods", "log"));
        assert!(rule(&["pods/log"]).has_resource("pods", "log"));
    }
}
