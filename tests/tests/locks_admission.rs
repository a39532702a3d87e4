//! Locks: what asks for safety is enforced, what belongs to others is not taken, what the cluster needs comes back.

use skiff_tests::cluster::{BUSYBOX, Cluster};

fn owned(kind: &str, uid: &str) -> String {
    let (version, name) = match kind {
        "ClusterRole" => ("rbac.authorization.k8s.io/v1", "cluster-wide"),
        _ => ("v1", "child"),
    };
    format!(
        r#"{{"apiVersion":"{version}","kind":"{kind}","metadata":{{"name":"{name}","ownerReferences":[
        {{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"{uid}","blockOwnerDeletion":true}}]}}}}"#
    )
}

/// The garbage collector's own say, in upstream's words: an owner counts where it can be one.
#[test]
fn an_owner_in_another_namespace_is_none() {
    let c = Cluster::start("locks-owners");
    let (a, b) = (c.k.namespace("a"), c.k.namespace("b"));
    c.k.ok("create namespace a");
    c.k.ok("create namespace b");
    a.ok("create configmap owner");
    let uid = a.ok("get configmap owner -o jsonpath={.metadata.uid}");
    b.apply(&owned("ConfigMap", &uid));
    c.k.apply(&owned("ClusterRole", &uid));
    b.wait("--for=delete configmap/child");
    let told = "get events -A --field-selector reason=OwnerRefInvalidNamespace -o jsonpath={.items[*].involvedObject.kind}";
    c.k.ok("wait --for=create event --all -n default --timeout=20s");
    assert!(c.k.ok(told).contains("ClusterRole") && c.k.ok(told).contains("ConfigMap"));
    // Neither holds up the owner's end, nor goes with it. One that really has no owner is looked at later, and goes.
    a.ok("delete configmap owner --cascade=foreground --timeout=30s");
    a.apply(&owned("ConfigMap", &uid));
    a.wait("--for=delete configmap/child");
    c.k.ok("get clusterrole cluster-wide");
    // The right uid under another name is nobody either; the right one is.
    a.ok("create configmap owner");
    let uid = a.ok("get configmap owner -o jsonpath={.metadata.uid}");
    a.apply(&owned("ConfigMap", &uid));
    a.apply(
        &owned("ConfigMap", &uid)
            .replace("child", "misled")
            .replace(r#""name":"owner""#, r#""name":"x""#),
    );
    a.wait("--for=delete configmap/misled");
    a.ok("get configmap child");
}

/// `kubectl delete all --all`, and worse: what every pod needs is back before anybody notices.
#[test]
fn what_the_cluster_needs_comes_back() {
    let c = Cluster::start("locks-comes-back");
    let system = c.k.namespace("kube-system");
    let back = |what: &str| c.k.ok(&format!("wait --for=create --timeout=20s {what}"));
    let right = |path: &str, value: &str, what: &str| {
        c.k.wait(&format!("--for=jsonpath={{{path}}}={value} {what}"));
    };
    c.k.ok("delete all --all -n default");
    c.k.ok("delete all --all -n kube-system");
    back("-n default service/kubernetes");
    back("-n kube-system service/kube-dns");
    right(".spec.clusterIP", "10.96.0.1", "-n default service/kubernetes");
    right(".spec.clusterIP", "10.96.0.10", "-n kube-system service/kube-dns");
    let address = c.k.ok("get endpointslice kubernetes -o jsonpath={.endpoints[0].addresses[0]}");
    c.k.ok("delete endpointslices --all -n default");
    system.ok("delete endpointslices --all");
    back("-n default endpointslice/kubernetes");
    back("-n kube-system endpointslice/kube-dns");
    c.k.ok("delete namespace kube-node-lease");
    back("namespace/kube-node-lease");
    // What is bent is put right, what cannot be changed back is made anew, what is added stays.
    let patch = |patch: &str, what: &str| {
        c.k.args(&["patch", "-n", "default", what, "--type=merge", "-p", patch]);
    };
    patch(r#"{"endpoints":[{"addresses":["192.0.2.66"]}]}"#, "endpointslice/kubernetes");
    right(".endpoints[0].addresses[0]", &address, "endpointslice/kubernetes");
    patch(r#"{"spec":{"ports":[{"name":"https","port":444}]}}"#, "service/kubernetes");
    right(".spec.ports[0].port", "443", "service/kubernetes");
    patch(r#"{"metadata":{"labels":{"mine":"stays"}}}"#, "service/kubernetes");
    c.k.ok("delete endpointslice kubernetes --wait=false");
    right(".endpoints[0].addresses[0]", &address, "endpointslice/kubernetes");
    assert_eq!(c.k.ok("get service kubernetes -o jsonpath={.metadata.labels.mine}"), "stays");
    for namespace in ["default", "kube-system", "kube-public"] {
        let why = c.k.fails(&format!("delete namespace {namespace}"));
        assert!(why.contains("this namespace may not be deleted"), "{why}");
    }
    c.load_busybox();
    c.k.apply(&format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p"}},"spec":{{"restartPolicy":"Never",
        "containers":[{{"name":"c","image":"{BUSYBOX}","command":
        ["nslookup","kubernetes.default.svc.cluster.local"]}}]}}}}"#
    ));
    c.k.wait("--for=jsonpath={.status.phase}=Succeeded pod/p");
    assert!(c.k.ok("logs p").contains("10.96.0.1"));
}

/// A Service with more in its port and in its spec.
fn service(name: &str, port: &str, spec: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"{name}"}},"spec":{{
        "ports":[{{"port":53,"protocol":"UDP"{port}}}]{spec}}}}}"#
    )
}

/// Addresses and ports of others, with what the settings add: no namespace says anything of itself here.
#[test]
fn what_belongs_to_others_is_not_taken() {
    let c = Cluster::empty("locks-others");
    c.skiff(&["up", "--listen", "0.0.0.0:31000", "--pod-security-default", "enforce=baseline"]);
    let create = |code: i32, manifest: &str| {
        let answer = c.k.exits(code, &["create", "-f", "-"], manifest);
        answer.out + &answer.err
    };
    let external =
        |name: &str, list: &str| service(name, "", &format!(r#","externalIPs":[{list}]"#));
    let told = create(0, &external("a", r#""10.96.0.10","192.0.2.7","10.244.0.5""#));
    for text in [
        "spec.externalIPs[0]: 10.96.0.10 is in the range of service addresses",
        "spec.externalIPs[2]: 10.244.0.5 is in the range of pod addresses",
    ] {
        assert!(told.contains(text), "{told}");
    }
    assert!(!told.contains("192.0.2.7"), "{told}");
    let taken = create(1, &service("b", r#","nodePort":31000"#, r#","type":"NodePort""#));
    assert!(taken.contains("provided port is already allocated"), "{taken}");
    let pod = |name: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{"schedulerName":"nobody",
            "hostPID":true,"containers":[{{"name":"c","image":"x"}}]}}}}"#
        )
    };
    let refused = create(1, &pod("p"));
    assert!(
        refused.contains(r#"violates PodSecurity "baseline:latest": host namespaces"#),
        "{refused}"
    );
    // Roles of the system come back with the next start, as upstream's do; its classes do not even go.
    c.k.ok("delete clusterrole view system:node");
    c.k.ok("delete clusterrolebinding cluster-admin");
    let kept = c.k.fails("delete priorityclass system-node-critical");
    assert!(kept.contains("this is a system priority class and cannot be deleted"), "{kept}");
    c.skiff(&["down"]);
    c.skiff(&[
        "up",
        "--deny-service-external-ips",
        "true",
        "--pod-security-exempt",
        "namespace=kube-system",
        "--pod-security-exempt",
        "user=builder",
    ]);
    c.k.ok("get clusterrole/view clusterrole/system:node clusterrolebinding/cluster-admin");
    c.k.ok("get priorityclass system-node-critical");
    let denied = create(1, &external("d", r#""192.0.2.8""#));
    assert!(denied.contains("Use of external IPs is denied by admission control"), "{denied}");
    // What a Service has already, it may keep and give back.
    c.k.ok("label service a x=y");
    c.k.args(&["patch", "service", "a", "-p", r#"{"spec":{"externalIPs":["192.0.2.7"]}}"#]);
    c.k.exits(1, &["patch", "service", "a", "-p", r#"{"spec":{"externalIPs":["192.0.2.9"]}}"#], "");
    c.k.exits(0, &["create", "-n", "kube-system", "-f", "-"], &pod("p"));
    c.k.ok("create clusterrolebinding builder --clusterrole=edit --user=builder");
    c.k.exits(0, &["create", "--as=builder", "-f", "-"], &pod("q"));
    create(1, &pod("r"));
    let label = "label namespace kube-system pod-security.kubernetes.io/enforce=restricted";
    let words: Vec<&str> = label.split(' ').collect();
    let told = c.k.exits(0, &words, "").err;
    assert!(
        told.contains("is exempt from Pod Security, and the policy (enforce=restricted:latest)"),
        "{told}"
    );
}

/// Whoever may patch may not thereby make (KEP-555 applies create what is not there), and a name that the server draws
/// is none that a node may give (admission controllers: NodeRestriction).
#[test]
fn what_is_made_otherwise_needs_the_same_rights() {
    let c = Cluster::start("locks-made");
    c.k.ok("create role patcher --verb=get,patch,update --resource=configmaps,services");
    c.k.ok("create rolebinding patcher --role=patcher --user=alice");
    let made =
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"made"},"data":{"a":"b"}}"#;
    let alice = ["apply", "--server-side", "--force-conflicts", "--as", "alice", "-f", "-"];
    let refused = c.k.exits(1, &alice, made).err;
    let why =
        "cannot create resource \"configmaps\" in API group \"\" in the namespace \"default\"";
    assert!(refused.contains(why), "{refused}");
    c.k.apply(made);
    c.k.exits(0, &alice, &made.replace("\"b\"", "\"c\""));
    c.k.ok("create role maker --verb=create --resource=configmaps");
    c.k.ok("create rolebinding maker --role=maker --user=alice");
    c.k.exits(0, &alice, &made.replace("made", "another"));

    let node = ["create", "--as", "system:node:n", "--as-group", "system:nodes", "-f", "-"];
    let drawn = r#"{"apiVersion":"v1","kind":"Node","metadata":{"generateName":"n"},
        "status":{"conditions":[{"type":"Ready","status":"True"}]}}"#;
    let refused = c.k.exits(1, &node, drawn).err;
    assert!(refused.contains("node \"n\" is not allowed to modify node \"n"), "{refused}");
    let lease = r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"generateName":"n",
        "namespace":"kube-node-lease"}}"#;
    let refused = c.k.exits(1, &node, lease).err;
    let why = "can only access node lease with the same name as the requesting node";
    assert!(refused.contains(why), "{refused}");
    c.k.exits(0, &node, &drawn.replace("generateName", "name"));
}
