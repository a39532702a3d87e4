use super::*;
use crate::authorize::tests::{asked, store, user};
use skiff_base::{Tasks, World};
use skiff_json::json;

/// Headers of the form `user=x group=y uid=z extra-k=v`.
fn headers(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in text.split_whitespace().filter_map(|word| word.split_once('=')) {
        let name: http::HeaderName = format!("impersonate-{name}").parse().expect("a header name");
        headers.append(name, value.parse().expect("a header value"));
    }
    headers
}

fn role(rules: skiff_json::Value) -> skiff_json::Value {
    json!({"metadata": {}, "rules": rules})
}

fn bound(role: &str, user: &str) -> skiff_json::Value {
    json!({"metadata": {}, "roleRef": {"kind": "ClusterRole", "name": role},
           "subjects": [{"kind": "User", "name": user}]})
}

#[tokio::test(start_paused = true)]
async fn callers_act_as_others_when_they_may() {
    let rule = |verb: &str, group: &str, resource: &str| json!({"verbs": [verb], "apiGroups": [group], "resources": [resource]});
    let (roles, bindings) = (
        "clusterroles.rbac.authorization.k8s.io/",
        "clusterrolebindings.rbac.authorization.k8s.io/",
    );
    let old = role(json!([rule("impersonate", "", "users"), rule("impersonate", "", "groups")]));
    let narrow = role(json!([
        rule("impersonate:user-info", "authentication.k8s.io", "users"),
        rule("impersonate-on:user-info:list", "", "pods"),
    ]));
    let store = store(&[
        (&format!("{roles}/old"), old),
        (&format!("{roles}/narrow"), narrow),
        (&format!("{bindings}/old"), bound("old", "old")),
        (&format!("{bindings}/narrow"), bound("narrow", "narrow")),
    ])
    .await;
    let tasks = Tasks::new();
    let authorizer =
        Authorizer::start(crate::authorize::tests::reader(&store), &World::seeded(1), &tasks)
            .await
            .expect("it reads");
    let mut out = String::new();
    for (who, wanted, what) in [
        ("bob", "", "list /api/v1/pods"),
        ("bob", "group=g extra-a=b uid=7", "list /api/v1/pods"),
        ("bob", "user=zed", "list /api/v1/namespaces/a/pods"),
        ("bob", "user=system:node:n1", "list /api/v1/pods"),
        ("bob", "user=system:serviceaccount:a:sa", "get /foo"),
        ("bob", "user=system:serviceaccount:a:sa group=g", "list /api/v1/pods"),
        ("old", "user=zed group=g", "delete /api/v1/nodes/n1"),
        ("old", "user=zed uid=7", "list /api/v1/pods"),
        ("narrow", "user=zed", "list /api/v1/pods"),
        ("narrow", "user=zed", "get /api/v1/namespaces/a/pods/p"),
        ("narrow", "user=zed group=system:masters", "list /api/v1/pods"),
        ("root system:masters", "user=zed group=g uid=7 extra-acme.io%2fa=b", "list /api/v1/pods"),
        ("root system:masters", "user=system:anonymous", "list /api/v1/pods"),
        ("root system:masters", "user=system:serviceaccount:a:sa", "list /api/v1/pods"),
        ("root system:masters", "user=system:node:n1", "list /api/v1/pods"),
        ("root system:masters", "user=zed group=system:masters", "list /api/v1/pods"),
    ] {
        let served =
            impersonate(&authorizer, user(who).into(), &headers(wanted), &asked(what)).await;
        let served = match served {
            Ok(Acting { user, .. }) => {
                format!("{} {:?} {:?} {:?}", user.name, user.uid, user.groups, user.extra)
            }
            Err(status) => format!("{} {}", status.code, status.message),
        };
        out += &format!("{who} as {wanted} {what}\n    {served}\n");
    }
    expect_test::expect![[r#"
        bob as  list /api/v1/pods
            bob "" [] []
        bob as group=g extra-a=b uid=7 list /api/v1/pods
            400 requested &user.DefaultInfo{Name:"", UID:"7", Groups:[]string{"g"}, Extra:map[string][]string{"a":[]string{"b"}}} without impersonating a user name
        bob as user=zed list /api/v1/namespaces/a/pods
            403 pods is forbidden: User "bob" cannot impersonate-on:user-info:list resource "pods" in API group "" in the namespace "a"
        bob as user=system:node:n1 list /api/v1/pods
            403 pods is forbidden: User "bob" cannot impersonate-on:arbitrary-node:list resource "pods" in API group "" at the cluster scope
        bob as user=system:serviceaccount:a:sa get /foo
            403 forbidden: User "bob" cannot impersonate-on:serviceaccount:get path "/foo"
        bob as user=system:serviceaccount:a:sa group=g list /api/v1/pods
            403 serviceaccounts "sa" is forbidden: User "bob" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "a"
        old as user=zed group=g delete /api/v1/nodes/n1
            zed "" ["g", "system:authenticated"] []
        old as user=zed uid=7 list /api/v1/pods
            403 pods is forbidden: User "old" cannot impersonate-on:user-info:list resource "pods" in API group "" at the cluster scope
        narrow as user=zed list /api/v1/pods
            zed "" ["system:authenticated"] []
        narrow as user=zed get /api/v1/namespaces/a/pods/p
            403 pods "p" is forbidden: User "narrow" cannot impersonate-on:user-info:get resource "pods" in API group "" in the namespace "a"
        narrow as user=zed group=system:masters list /api/v1/pods
            403 groups.authentication.k8s.io "system:masters" is forbidden: User "narrow" cannot impersonate:user-info resource "groups" in API group "authentication.k8s.io" at the cluster scope: impersonating the system:masters group is not allowed
        root system:masters as user=zed group=g uid=7 extra-acme.io%2fa=b list /api/v1/pods
            zed "7" ["g", "system:authenticated"] [("acme.io/a", ["b"])]
        root system:masters as user=system:anonymous list /api/v1/pods
            system:anonymous "" ["system:unauthenticated"] []
        root system:masters as user=system:serviceaccount:a:sa list /api/v1/pods
            system:serviceaccount:a:sa "" ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"] []
        root system:masters as user=system:node:n1 list /api/v1/pods
            system:node:n1 "" ["system:authenticated"] []
        root system:masters as user=zed group=system:masters list /api/v1/pods
            zed "" ["system:masters", "system:authenticated"] []
    "#]].assert_eq(&out);
    tasks.stop().await;
}
