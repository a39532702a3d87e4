use super::*;
use skiff_api::kind::Kind;
use skiff_api::view::Resource;
use skiff_base::World;
use skiff_json::{Value, json};
use skiff_store::{Options, Store, Write};

/// A store with the default policy and these objects, by key.
pub(crate) async fn store(objects: &[(&str, Value)]) -> Arc<dyn Store> {
    let world = World::seeded(1);
    let store = skiff_store::memory(Options::new(Arc::new(move || world.uptime())));
    let policy = policy::defaults();
    let mut writes: Vec<Write> = policy
        .iter()
        .map(|entry| {
            let type_ = RbacKind::ALL.into_iter().find(|type_| {
                type_.storage().strip_suffix("s.rbac.authorization.k8s.io")
                    == Some(&entry.kind.to_lowercase())
            });
            let storage = type_.expect("one of the four").storage();
            write(&format!("{storage}/{}/{}", entry.namespace, entry.name), &entry.object())
        })
        .collect();
    writes.extend(objects.iter().map(|(key, object)| write(key, object)));
    store.commit(writes).await.expect("it commits");
    store
}

pub(crate) fn reader(store: &Arc<dyn Store>) -> Arc<Reader> {
    // Volumes are not served yet; their rights are.
    const VOLUMES: &[fn() -> Kind] =
        &[|| Kind::new(Resource::core("persistentvolumes", "PersistentVolume").cluster())];
    let kinds = [skiff_kinds::KINDS, &[VOLUMES]].concat();
    let kinds = skiff_api::registry::Kinds::builtin(&kinds);
    let outbound = crate::outbound::Outbound::new(
        skiff_base::World::real(),
        store.clone(),
        Default::default(),
    );
    Arc::new(Reader { store: store.clone(), kinds, unreadable: Default::default(), outbound })
}

fn write(key: &str, object: &Value) -> Write {
    let node = object.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or("");
    let facets = skiff_store::facets(vec![("f:spec.nodeName".into(), node.into())]);
    let body = object.to_string().into();
    Write::Put { key: key.into(), expect: None, body, generation: 1, facets }
}

pub(crate) fn user(text: &str) -> User {
    let mut words = text.split(' ').map(str::to_owned);
    let name = words.next().expect("a name");
    User { name, groups: words.collect(), ..User::default() }
}

/// `VERB PATH[?QUERY]`
pub(crate) fn asked(text: &str) -> Attributes {
    let (verb, path) = text.split_once(' ').expect("a verb and a path");
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    match crate::request::url::parse(path) {
        crate::request::url::Target::Path(path) => Attributes::of_path(verb, &path),
        crate::request::url::Target::Resource(resource) => {
            Attributes::of(verb, &resource, &crate::request::url::Query::parse(query))
        }
    }
}

async fn decisions(authorizer: &Authorizer, cases: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (who, what) in cases {
        let decision = authorizer.decide(&user(who), &asked(what)).await;
        let verdict = if decision.allowed() { "yes" } else { "no" };
        out += format!("{who}: {what}: {verdict} {}", decision.reason).trim_end();
        out.push('\n');
    }
    out
}

const BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";

fn binding(kind: &str, role: &str, user: &str) -> Value {
    json!({"metadata": {}, "roleRef": {"kind": kind, "name": role}, "subjects": [{"kind": "User", "name": user}]})
}

#[tokio::test(start_paused = true)]
async fn users_may_what_the_default_policy_says() {
    let store =
        store(&[(&format!("{BINDINGS}/a/edit"), binding("ClusterRole", "edit", "bob"))]).await;
    let tasks = Tasks::new();
    let authorizer =
        Authorizer::start(reader(&store), &World::seeded(1), &tasks).await.expect("it reads");
    let known = "bob system:authenticated";
    let cases = [
        ("x system:masters", "delete /api/v1/nodes/n1"),
        ("system:anonymous system:unauthenticated", "get /readyz"),
        ("system:anonymous system:unauthenticated", "get /api"),
        ("system:anonymous system:unauthenticated", "list /api/v1/pods"),
        (known, "get /apis/apps"),
        (known, "create /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
        (known, "create /apis/apps/v1/namespaces/a/deployments"),
        (known, "create /apis/apps/v1/namespaces/b/deployments"),
        (known, "create /apis/rbac.authorization.k8s.io/v1/namespaces/a/roles"),
        (
            "system:serviceaccount:kube-system:deployment-controller",
            "update /apis/apps/v1/namespaces/a/deployments/x/status",
        ),
        ("system:serviceaccount:kube-system:deployment-controller", "list /api/v1/secrets"),
        ("system:kube-scheduler", "create /api/v1/namespaces/a/pods/p/binding"),
    ];
    expect_test::expect![[r#"
        x system:masters: delete /api/v1/nodes/n1: yes
        system:anonymous system:unauthenticated: get /readyz: yes RBAC: allowed by ClusterRoleBinding "system:public-info-viewer" of ClusterRole "system:public-info-viewer" to Group "system:unauthenticated"
        system:anonymous system:unauthenticated: get /api: no
        system:anonymous system:unauthenticated: list /api/v1/pods: no
        bob system:authenticated: get /apis/apps: yes RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group "system:authenticated"
        bob system:authenticated: create /apis/authorization.k8s.io/v1/selfsubjectaccessreviews: yes RBAC: allowed by ClusterRoleBinding "system:basic-user" of ClusterRole "system:basic-user" to Group "system:authenticated"
        bob system:authenticated: create /apis/apps/v1/namespaces/a/deployments: yes RBAC: allowed by RoleBinding "edit/a" of ClusterRole "edit" to User "bob"
        bob system:authenticated: create /apis/apps/v1/namespaces/b/deployments: no
        bob system:authenticated: create /apis/rbac.authorization.k8s.io/v1/namespaces/a/roles: no
        system:serviceaccount:kube-system:deployment-controller: update /apis/apps/v1/namespaces/a/deployments/x/status: yes RBAC: allowed by ClusterRoleBinding "system:controller:deployment-controller" of ClusterRole "system:controller:deployment-controller" to ServiceAccount "deployment-controller/kube-system"
        system:serviceaccount:kube-system:deployment-controller: list /api/v1/secrets: no
        system:kube-scheduler: create /api/v1/namespaces/a/pods/p/binding: yes RBAC: allowed by ClusterRoleBinding "system:kube-scheduler" of ClusterRole "system:kube-scheduler" to User "system:kube-scheduler"
    "#]].assert_eq(&decisions(&authorizer, &cases).await);
    tasks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nodes_may_what_their_pods_need() {
    let pod = |node: &str, secret: &str| {
        json!({"metadata": {"name": "p"}, "spec": {"nodeName": node, "serviceAccountName": "sa",
               "volumes": [{"secret": {"secretName": secret}}, {"persistentVolumeClaim": {"claimName": "c"}}]}})
    };
    let volume = json!({"metadata": {"name": "v"}, "spec": {"claimRef": {"namespace": "a", "name": "c"},
                        "csi": {"nodePublishSecretRef": {"namespace": "k", "name": "driver"}}}});
    let store = store(&[
        ("pods/a/p", pod("n1", "own")),
        ("pods/a/q", pod("n2", "other")),
        ("persistentvolumes//v", volume),
    ])
    .await;
    let tasks = Tasks::new();
    let authorizer =
        Authorizer::start(reader(&store), &World::seeded(1), &tasks).await.expect("it reads");
    let node = "system:node:n1 system:nodes system:authenticated";
    let cases: Vec<(&str, &str)> = [
        "get /api/v1/namespaces/a/secrets/own",
        "get /api/v1/namespaces/a/secrets/other",
        "get /api/v1/namespaces/b/secrets/own",
        "get /api/v1/namespaces/k/secrets/driver",
        "watch /api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Down",
        "create /api/v1/namespaces/a/serviceaccounts/sa/token",
        "create /api/v1/namespaces/a/serviceaccounts/default/token",
        "get /api/v1/persistentvolumes/v",
        "get /api/v1/namespaces/a/persistentvolumeclaims/c",
        "get /api/v1/namespaces/a/pods/p",
        "get /api/v1/namespaces/a/pods/q",
        "list /api/v1/pods?fieldSelector=spec.nodeName%3Dn1",
        "list /api/v1/pods",
        "list /api/v1/services",
        "list /api/v1/secrets",
    ]
    .map(|what| (node, what))
    .into();
    let out = decisions(&authorizer, &cases).await.replace(node, "n1");
    expect_test::expect![[r#"
        n1: get /api/v1/namespaces/a/secrets/own: yes
        n1: get /api/v1/namespaces/a/secrets/other: no node: no relationship found between node 'n1' and this object
        n1: get /api/v1/namespaces/b/secrets/own: no node: no relationship found between node 'n1' and this object
        n1: get /api/v1/namespaces/k/secrets/driver: yes
        n1: watch /api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Down: yes
        n1: create /api/v1/namespaces/a/serviceaccounts/sa/token: yes
        n1: create /api/v1/namespaces/a/serviceaccounts/default/token: no node: no relationship found between node 'n1' and this object
        n1: get /api/v1/persistentvolumes/v: yes
        n1: get /api/v1/namespaces/a/persistentvolumeclaims/c: yes
        n1: get /api/v1/namespaces/a/pods/p: yes
        n1: get /api/v1/namespaces/a/pods/q: no node: no relationship found between node 'n1' and this object
        n1: list /api/v1/pods?fieldSelector=spec.nodeName%3Dn1: yes
        n1: list /api/v1/pods: no node: can only list/watch pods with spec.nodeName field selector
        n1: list /api/v1/services: yes
        n1: list /api/v1/secrets: no node: can only read namespaced object of this type
    "#]].assert_eq(&out);
    tasks.stop().await;
}

/// Lets the followers run until the authorizer says what is expected; fails when it never does.
async fn until(authorizer: &Authorizer, who: &str, what: &str, allowed: bool) {
    for _ in 0..1000 {
        if authorizer.decide(&user(who), &asked(what)).await.allowed() == allowed {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{who} {what} never became {allowed}");
}

#[tokio::test(start_paused = true)]
async fn changes_are_followed() {
    let store = store(&[]).await;
    let tasks = Tasks::new();
    let authorizer =
        Authorizer::start(reader(&store), &World::seeded(1), &tasks).await.expect("it reads");
    let (who, what) = ("bob", "list /api/v1/namespaces/a/pods");
    assert!(!authorizer.decide(&user(who), &asked(what)).await.allowed());
    let key = format!("{BINDINGS}/a/view");
    let put = write(&key, &binding("ClusterRole", "view", "bob"));
    let committed = store.commit(vec![put]).await.expect("it commits");
    until(&authorizer, who, what, true).await;
    let expect = committed[0];
    let delete = Write::Delete { key: key.into(), expect, last: None };
    store.commit(vec![delete]).await.expect("it commits");
    until(&authorizer, who, what, false).await;
    tasks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_hands_out_more_than_they_have() {
    let role = json!({"metadata": {}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]});
    let store = store(&[
        ("roles.rbac.authorization.k8s.io/a/r", role),
        (&format!("{BINDINGS}/a/view"), binding("ClusterRole", "view", "eve")),
        (&format!("{BINDINGS}/a/admin"), binding("ClusterRole", "cluster-admin", "root")),
    ])
    .await;
    let tasks = Tasks::new();
    let authorizer =
        Authorizer::start(reader(&store), &World::seeded(1), &tasks).await.expect("it reads");
    let mut out = String::new();
    let roles = |rules: Value| json!({"metadata": {"name": "x"}, "rules": rules});
    let bound = |kind: &str, name: &str| json!({"metadata": {"name": "x"}, "roleRef": {"kind": kind, "name": name}});
    let cases = [
        (
            "eve",
            "roles",
            roles(json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}])),
        ),
        (
            "eve",
            "roles",
            roles(
                json!([{"verbs": ["get", "delete"], "apiGroups": [""], "resources": ["pods", "secrets"]}]),
            ),
        ),
        (
            "root",
            "roles",
            roles(
                json!([{"verbs": ["get", "delete"], "apiGroups": [""], "resources": ["pods", "secrets"]}]),
            ),
        ),
        ("eve", "rolebindings", bound("Role", "r")),
        ("eve", "rolebindings", bound("Role", "gone")),
        ("eve", "rolebindings", bound("ClusterRole", "cluster-admin")),
        ("root", "rolebindings", bound("ClusterRole", "cluster-admin")),
    ];
    for (who, resource, new) in cases {
        let new = skiff_api::Object::new(new);
        let at = escalate::Written { resource, name: "", namespace: "a", new: &new, old: None };
        let verdict = authorizer.check_escalation(&user(who), &at).await;
        let verdict = verdict.map_or_else(|status| status.message, |()| "yes".into());
        out += &format!("{who} {resource}: {verdict}\n");
    }
    expect_test::expect![[r#"
        eve roles: yes
        eve roles: roles.rbac.authorization.k8s.io "x" is forbidden: user "eve" (groups=[]) is attempting to grant RBAC permissions not currently held:
        {APIGroups:[""], Resources:["pods"], Verbs:["delete"]}
        {APIGroups:[""], Resources:["secrets"], Verbs:["get" "delete"]}
        root roles: yes
        eve rolebindings: yes
        eve rolebindings: rolebindings.rbac.authorization.k8s.io "gone" not found
        eve rolebindings: rolebindings.rbac.authorization.k8s.io "x" is forbidden: user "eve" (groups=[]) is attempting to grant RBAC permissions not currently held:
        {APIGroups:["*"], Resources:["*"], Verbs:["*"]}
        {NonResourceURLs:["*"], Verbs:["*"]}
        root rolebindings: yes
    "#]].assert_eq(&out);
    tasks.stop().await;
}
