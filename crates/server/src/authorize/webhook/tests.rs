use super::super::chain::{Chain, Link};
use super::super::tests::{asked, user};
use crate::configured::fake::{Fake, Folder, kubeconfig};
use skiff_base::World;
use skiff_json::{Value, json};

/// A file with one webhook, with these further fields.
fn file(kubeconfig: &str, more: Value) -> Vec<u8> {
    let mut hook = json!({
        "timeout": "1s", "subjectAccessReviewVersion": "v1", "failurePolicy": "NoOpinion",
        "matchConditionSubjectAccessReviewVersion": "v1",
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": kubeconfig},
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        hook[name] = value.clone();
    }
    let authorizers = json!([{"type": "Webhook", "name": "hook", "webhook": hook}]);
    let head = ("apiserver.config.k8s.io/v1", "AuthorizationConfiguration");
    json!({"apiVersion": head.0, "kind": head.1, "authorizers": authorizers})
        .to_string()
        .into_bytes()
}

async fn decide(chain: &Chain, who: &str, what: &str) -> String {
    let [(_, Link::Webhook(webhook))] = &chain.0[..] else { panic!("one webhook") };
    let decision = webhook.decide(&user(who), &asked(what)).await;
    format!("{:?} {:?} {:?}", decision.opinion, decision.reason, decision.error)
}

fn answer(status: Value) -> Value {
    json!({"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "status": status})
}

#[tokio::test]
async fn a_webhook_allows_denies_or_says_nothing() {
    let (world, fake, folder) = (World::real(), Fake::plain().await, Folder::new("answers"));
    let named = folder.write("config", &kubeconfig(&format!("{}/ask", fake.url)));
    let read = |more| Chain::read(&file(&named, more), &world);
    let chain = read(json!({})).unwrap_or_else(|why| panic!("{why}"));
    let mut out = String::new();
    for (index, (status, body)) in [
        (201, answer(json!({"allowed": true, "reason": "fine"}))),
        (200, answer(json!({"allowed": false, "reason": "no idea"}))),
        (200, answer(json!({"allowed": false, "denied": true, "reason": "never"}))),
        (200, answer(json!({"allowed": true, "denied": true}))),
        (200, json!({"kind": "Pod", "apiVersion": "v1"})),
        (200, json!("garbage")),
        (200, json!(null)),
        (404, json!({})),
        (302, json!({})),
        (200, json!("x".repeat(2 << 20))),
    ]
    .into_iter()
    .enumerate()
    {
        match body {
            Value::Null => fake.answers("/ask", status, "<html>Sign in</html>"),
            body => fake.answers("/ask", status, body),
        }
        out += &decide(&chain, "bob g", &format!("get /api/v1/namespaces/n{index}/pods/p")).await;
        out.push('\n');
    }
    fake.answers("/ask", 200, answer(json!({"allowed": false})));
    // What was allowed is remembered.
    out +=
        &format!("again: {}\n", decide(&chain, "bob g", "get /api/v1/namespaces/n0/pods/p").await);
    fake.asked();
    let query = "list /api/v1/pods?labelSelector=a+in+(b,c),!d&fieldSelector=spec.nodeName!%3Dn";
    decide(&chain, "bob g h", query).await;
    decide(&chain, "bob", "get /healthz").await;
    let earlier = read(json!({"subjectAccessReviewVersion": "v1beta1"}));
    let earlier = earlier.unwrap_or_else(|why| panic!("{why}"));
    let of_v1 = decide(&earlier, "bob g", "get /healthz").await;
    for (_, body) in fake.asked() {
        out += &format!("{} ", body["apiVersion"]);
        out += &format!("{}\n", body["spec"]);
    }
    out += &format!("a version that was not asked for: {of_v1}\n");
    let denying = read(json!({"failurePolicy": "Deny"})).unwrap_or_else(|why| panic!("{why}"));
    fake.answers("/ask", 404, "");
    out += &format!("on error: {}\n", decide(&denying, "bob", "get /x").await);
    let out = out.replace(&fake.url, "URL");
    expect_test::expect![[r#"
        Allow "fine" ""
        None "no idea" ""
        Deny "never" ""
        Deny "" "webhook subject access review returned both allow and deny response"
        None "" "the answer is no \"SubjectAccessReview\" of \"authorization.k8s.io/v1\""
        None "" "the answer is no \"SubjectAccessReview\" of \"authorization.k8s.io/v1\""
        None "" "couldn't get version/kind; json parse error: expected value at line 1 column 1"
        None "" "the server could not find the requested resource"
        None "" "the server responded with the status code 302 but did not return more information"
        None "" "Post \"URL/ask\": the answer is larger than 1048576 bytes"
        again: Allow "fine" ""
        "authorization.k8s.io/v1" {"groups":["g","h"],"resourceAttributes":{"fieldSelector":{"requirements":[{"key":"spec.nodeName","operator":"NotIn","values":["n"]}]},"labelSelector":{"requirements":[{"key":"a","operator":"In","values":["b","c"]},{"key":"d","operator":"DoesNotExist"}]},"resource":"pods","verb":"list","version":"v1"},"user":"bob"}
        "authorization.k8s.io/v1" {"nonResourceAttributes":{"path":"/healthz","verb":"get"},"user":"bob"}
        "authorization.k8s.io/v1beta1" {"group":["g"],"nonResourceAttributes":{"path":"/healthz","verb":"get"},"user":"bob"}
        a version that was not asked for: None "" "the answer is no \"SubjectAccessReview\" of \"authorization.k8s.io/v1beta1\""
        on error: Deny "" "the server could not find the requested resource"
    "#]].assert_eq(&out);
}

#[tokio::test]
async fn a_webhook_that_is_silent_or_not_there_costs_its_time_alone() {
    let (world, fake, folder) = (World::real(), Fake::plain().await, Folder::new("silent"));
    let mut out = String::new();
    for (name, url) in
        [("silent", format!("{}/none", fake.url)), ("gone", "http://127.0.0.1:1/".into())]
    {
        let named = folder.write(name, &kubeconfig(&url));
        let chain =
            Chain::read(&file(&named, json!({})), &world).unwrap_or_else(|why| panic!("{why}"));
        out += &format!(
            "{name}: {}\n",
            decide(&chain, "bob", "get /x").await.replace(&fake.url, "URL")
        );
    }
    expect_test::expect![[r#"
        silent: None "" "Post \"URL/none\": context deadline exceeded"
        gone: None "" "Post \"http://127.0.0.1:1/\": dial tcp 127.0.0.1:1: connect: connection refused"
    "#]].assert_eq(&out);
}

#[tokio::test]
async fn conditions_say_what_is_asked() {
    let (world, fake, folder) = (World::real(), Fake::plain().await, Folder::new("conditions"));
    fake.answers("/", 200, answer(json!({"allowed": true})));
    let named = folder.write("config", &kubeconfig(&fake.url));
    let conditions = json!({"failurePolicy": "Deny", "matchConditions": [
        {"expression": "has(request.resourceAttributes)"},
        {"expression": "request.user != 'system:x'"},
        {"expression": "request.resourceAttributes.fieldSelector.requirements.size() > 0"},
    ]});
    let chain =
        Chain::read(&file(&named, conditions), &world).unwrap_or_else(|why| panic!("{why}"));
    let mut out = String::new();
    for (who, what) in [
        ("bob", "get /x"),
        ("system:x", "list /api/v1/pods"),
        ("bob", "list /api/v1/pods"),
        ("bob", "list /api/v1/pods?fieldSelector=a%3Db"),
    ] {
        out += &format!("{who} {what}: {}\n", decide(&chain, who, what).await);
    }
    expect_test::expect![[r#"
        bob get /x: None "" ""
        system:x list /api/v1/pods: None "" ""
        bob list /api/v1/pods: Deny "" "cel evaluation error: expression 'request.resourceAttributes.fieldSelector.requirements.size() > 0' resulted in error: no such key: fieldSelector"
        bob list /api/v1/pods?fieldSelector=a%3Db: Allow "" ""
    "#]].assert_eq(&out);
}

#[test]
fn what_is_wrong_with_a_chain_is_said() {
    let (world, folder) = (World::real(), Folder::new("wrong"));
    let named = folder.write("config", &kubeconfig("http://127.0.0.1:1/"));
    let mut out = String::new();
    let mut check = |text: &[u8]| {
        out += &match Chain::read(text, &world) {
            Ok(chain) => format!("{}\n", chain.0.len()),
            Err(why) => why.replace(&*folder.path(), "FOLDER") + "\n",
        };
    };
    for more in [
        json!({"timeout": "31s", "authorizedTTL": "-1s", "subjectAccessReviewVersion": "v2"}),
        json!({"timeout": "0s", "failurePolicy": "", "connectionInfo": {}}),
        json!({"connectionInfo": {"type": "InClusterConfig"}}),
        json!({"connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "x"}}),
        json!({"connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "/none"}}),
        json!({"matchConditions": [{"expression": " "}, {"expression": "true"}, {"expression": "true"},
            {"expression": "request.user"}, {"expression": "x"}]}),
        json!({"matchConditionSubjectAccessReviewVersion": "", "matchConditions": [{"expression": "true"}]}),
        json!({"wrong": 1}),
    ] {
        check(&file(&named, more));
    }
    for authorizers in [
        json!([]),
        json!([{}, {"type": "Any", "name": "any"}, {"type": "Node", "name": "n"}, {"type": "Node", "name": "node"}]),
        json!([{"type": "RBAC", "name": "rbac", "webhook": {}}, {"type": "Webhook", "name": "A"}]),
        json!([{"type": "RBAC", "name": "roles"}]),
        json!([{"type": "ABAC", "name": "abac"}]),
        json!([{"type": "Node", "name": "node"}, {"type": "RBAC", "name": "rbac"}]),
    ] {
        let head = ("apiserver.config.k8s.io/v1", "AuthorizationConfiguration");
        check(
            json!({"apiVersion": head.0, "kind": head.1, "authorizers": authorizers})
                .to_string()
                .as_bytes(),
        );
    }
    expect_test::expect![[r#"
        [authorizers[0].timeout: Invalid value: "31s": must be > 0s and <= 30s, authorizers[0].authorizedTTL: Invalid value: "-1s": must be > 0s, authorizers[0].subjectAccessReviewVersion: Unsupported value: "v2": supported values: "v1", "v1beta1"]
        [authorizers[0].timeout: Required value, authorizers[0].failurePolicy: Required value, authorizers[0].connectionInfo.type: Required value]
        authorizers[0].connectionInfo.type: Invalid value: "InClusterConfig": Skiff runs in no pod: type=KubeConfigFile is supported here
        authorizers[0].connectionInfo.kubeConfigFile: Invalid value: "x": must be an absolute path
        authorizers[0].connectionInfo.kubeConfigFile: Invalid value: "/none": error loading file: stat /none: no such file or directory
        [authorizers[0].matchConditions[0].expression: Required value, authorizers[0].matchConditions[2].expression: Duplicate value: "true", authorizers[0].matchConditions[3].expression: Invalid value: "request.user": must evaluate to bool but got string, authorizers[0].matchConditions[4].expression: Invalid value: "x": compilation failed: ERROR: <input>:1:1: undeclared reference to 'x' (in container '')
         | x
         | ^]
        authorizers[0].matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified
        failed to load AuthorizationConfiguration from file: strict decoding error: unknown field "authorizers[0].webhook.wrong"
        authorizers: Required value: at least one authorization mode must be defined
        [authorizers[0].type: Required value, authorizers[1].type: Unsupported value: "Any": supported values: "ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook", authorizers[3].type: Duplicate value: "Node"]
        [authorizers[0].webhook: Invalid value: "non-null": may only be specified when type=Webhook, authorizers[1].name: Invalid value: "A": authorizer name is invalid: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), authorizers[1].webhook: Required value: required when type=Webhook]
        expected name rbac for authorizer RBAC instead of roles
        authorizer type ABAC is not supported here
        2
    "#]].assert_eq(&out);
}
