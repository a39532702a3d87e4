use super::*;
use skiff_api::schema::{Shape, Struct, builtin};
use skiff_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn check(metadata: Value, spec: Value, rules: &Rules) -> String {
    let pod = json!({"metadata": metadata, "spec": spec});
    let pod: Pod = skiff_json::from_value(pod).expect("a pod");
    match (refusal(&pod, rules), warning(&pod, rules)) {
        (Some(refusal), _) => format!("{}: {}", refusal.reason, refusal.message),
        (None, Some((reason, _))) => format!("taken, {reason}"),
        (None, None) => "taken".into(),
    }
}

fn rules() -> Rules {
    Rules {
        unsafe_sysctls: vec!["kernel.msg*".into(), "net/core/somaxconn".into()],
        own_ports: vec![6443, 10250],
        profiles: || None,
        selinux: false,
    }
}

#[test]
fn sysctls() {
    let mut text = String::new();
    for (name, host) in [
        ("net.ipv4.tcp_wmem", ""),
        ("net/ipv4/tcp_wmem", ""),
        ("net.ipv4.tcp_wmem", "hostNetwork"),
        ("kernel.shm_rmid_forced", "hostIPC"),
        ("kernel.shm_rmid_forced", "hostNetwork"),
        ("kernel.msgmax", ""),
        ("kernel/msgmax", "hostIPC"),
        ("net.core.somaxconn", ""),
        ("net.core.somaxconn1", ""),
        ("net.core.rmem_max", ""),
        ("kernel.shmmax", ""),
        ("net.ipv4.tcp_wmem.", ""),
        ("net.ipv4..tcp_wmem", ""),
        ("kernel.msg/../../kernel/core_pattern", ""),
        ("kernel/msg/../core_pattern", ""),
        ("kernel.core_pattern", ""),
    ] {
        let mut spec = json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
        if !host.is_empty() {
            spec[host] = json!(true);
        }
        text += &format!("{name} {host}: {}\n", check(json!({}), spec, &rules()));
    }
    expect_test::expect![[r#"
        net.ipv4.tcp_wmem : taken
        net/ipv4/tcp_wmem : taken
        net.ipv4.tcp_wmem hostNetwork: SysctlForbidden: forbidden sysctl: "net.ipv4.tcp_wmem" not allowed with host net enabled
        kernel.shm_rmid_forced hostIPC: SysctlForbidden: forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host ipc enabled
        kernel.shm_rmid_forced hostNetwork: taken
        kernel.msgmax : taken
        kernel/msgmax hostIPC: SysctlForbidden: forbidden sysctl: "kernel.msgmax" not allowed with host ipc enabled
        net.core.somaxconn : taken
        net.core.somaxconn1 : SysctlForbidden: forbidden sysctl: "net.core.somaxconn1" not allowlisted
        net.core.rmem_max : SysctlForbidden: forbidden sysctl: "net.core.rmem_max" not allowlisted
        kernel.shmmax : SysctlForbidden: forbidden sysctl: "kernel.shmmax" not allowlisted
        net.ipv4.tcp_wmem. : SysctlForbidden: forbidden sysctl: "net.ipv4.tcp_wmem." not allowlisted
        net.ipv4..tcp_wmem : SysctlForbidden: forbidden sysctl: "net.ipv4..tcp_wmem" not allowlisted
        kernel.msg/../../kernel/core_pattern : SysctlForbidden: forbidden sysctl: "kernel.msg/../../kernel/core_pattern" not allowlisted
        kernel/msg/../core_pattern : SysctlForbidden: forbidden sysctl: "kernel.msg.//.core_pattern" not allowlisted
        kernel.core_pattern : SysctlForbidden: forbidden sysctl: "kernel.core_pattern" not allowlisted
    "#]]
    .assert_eq(&text);
}

#[test]
fn a_pod_that_says_nothing_listens_and_pings_without_root() {
    let of = |spec: Value| {
        let pod: Pod = skiff_json::from_value(json!({"spec": spec})).expect("a pod");
        let all =
            effective_sysctls(&pod).into_iter().map(|(name, value)| format!("{name}={value}"));
        all.collect::<Vec<_>>().join(", ")
    };
    let all = "net.ipv4.ip_unprivileged_port_start=0, net.ipv4.ping_group_range=0 2147483647";
    assert_eq!(of(json!({})), all);
    assert_eq!(of(json!({"hostNetwork": true})), "");
    // A value stays one value, whatever signs are in it (CVE-2022-0811).
    let value = "1+kernel.core_pattern=|/x\nkernel.panic=1";
    let odd = [json!({"name": "kernel.shm_rmid_forced", "value": value})];
    let odd = json!({"hostNetwork": true, "securityContext": {"sysctls": odd}});
    assert_eq!(of(odd), format!("kernel.shm_rmid_forced={value}"));
    let own = [json!({"name": "net/ipv4/ip_unprivileged_port_start", "value": "1024"})];
    assert_eq!(
        of(json!({"securityContext": {"sysctls": own}})),
        all.replace("start=0", "start=1024")
    );
}

#[test]
fn ports_of_the_cluster_are_nobody_elses() {
    let ports = |list: &str, port: Value| {
        check(json!({}), json!({list: [{"name": "c", "ports": [port]}]}), &rules())
    };
    let refused = "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the \
                   requested pod ports";
    for list in ["containers", "initContainers"] {
        for port in [
            json!({"containerPort": 80, "hostPort": 6443, "protocol": "TCP"}),
            json!({"containerPort": 80, "hostPort": 10250}),
            json!({"containerPort": 80, "hostPort": 6443, "hostIP": "192.0.2.7"}),
        ] {
            assert_eq!(ports(list, port), refused, "{list}");
        }
        let udp = json!({"containerPort": 80, "hostPort": 6443, "protocol": "UDP"});
        assert_eq!(ports(list, udp), "taken");
        assert_eq!(ports(list, json!({"containerPort": 6443})), "taken");
    }
}

#[test]
fn apparmor() {
    let none = rules();
    let loaded = || Some(vec!["docker-default".to_owned(), "mine".to_owned()]);
    let some = Rules { profiles: loaded, ..rules() };
    let mut text = String::new();
    let field = |type_: &str, name: Option<&str>| {
        let profile = json!({"type": type_, "localhostProfile": name});
        json!({"containers": [{"name": "c", "securityContext": {"appArmorProfile": profile}}]})
    };
    let annotation = "container.apparmor.security.beta.kubernetes.io/c";
    for (annotated, spec) in [
        (None, field("RuntimeDefault", None)),
        (None, field("Unconfined", None)),
        (None, field("Localhost", Some("mine"))),
        (None, field("Localhost", Some("other"))),
        (None, field("Localhost", Some(" "))),
        (Some("runtime/default"), json!({"containers": [{"name": "c"}]})),
        (Some("localhost/mine"), json!({"containers": [{"name": "c"}]})),
        (Some("localhost/"), json!({"containers": [{"name": "c"}]})),
        (
            Some("unconfined"),
            json!({"containers": [{"name": "c"}],
            "securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}),
        ),
        (
            None,
            json!({"initContainers": [{"name": "c"}],
            "securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}),
        ),
    ] {
        let metadata = json!({"annotations": annotated.map(|text| json!({annotation: text}))});
        let metadata = if annotated.is_some() { metadata } else { json!({}) };
        let (without, with) =
            (check(metadata.clone(), spec.clone(), &none), check(metadata, spec, &some));
        text += &format!("{without} | {with}\n");
    }
    expect_test::expect![[r#"
        AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host | taken
        taken | taken
        AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host | taken
        AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host | AppArmor: Cannot enforce AppArmor: the profile "other" is not loaded
        AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host | AppArmor: Cannot enforce AppArmor: invalid empty AppArmor profile name
        AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host | taken
        AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host | taken
        AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host | AppArmor: Cannot enforce AppArmor: invalid empty AppArmor profile name
        taken | taken
        AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host | taken
    "#]]
    .assert_eq(&text);
}

/// Where the kernel has AppArmor, whoever asks for nothing is confined all the same (documentation: "Restrict a
/// container's access to resources with AppArmor").
#[test]
fn the_default_profile_of_apparmor() {
    let own = || Some(vec!["docker-default".to_owned(), "skiff-default".to_owned()]);
    let other = || Some(vec!["docker-default".to_owned()]);
    let none = || Some(Vec::new());
    let without = || None;
    let given = |security: skiff_json::Value, profiles: fn() -> Option<Vec<String>>| {
        let spec = json!({"containers": [{"name": "c", "securityContext": security}]});
        let pod: Pod = skiff_json::from_value(json!({"spec": spec})).expect("a pod");
        profile(&pod, &pod.spec.containers[0], profiles).expect("nothing that is not loaded")
    };
    let plain = json!({});
    assert_eq!(given(plain.clone(), own).as_deref(), Some("skiff-default"));
    assert_eq!(given(plain.clone(), other).as_deref(), Some("docker-default"));
    assert_eq!(given(plain.clone(), none), None);
    assert_eq!(given(plain, without), None);
    assert_eq!(given(json!({"privileged": true}), own), None);
    assert_eq!(given(json!({"appArmorProfile": {"type": "Unconfined"}}), own), None);
    let asked = json!({"privileged": true, "appArmorProfile": {"type": "RuntimeDefault"}});
    assert_eq!(given(asked, own).as_deref(), Some("skiff-default"));
}

#[test]
fn labels_of_selinux() {
    let spec = json!({"containers": [{"name": "c", "securityContext": {"seLinuxOptions": {"level": "s0"}}}]});
    assert_eq!(check(json!({}), spec.clone(), &rules()), "taken, SELinuxNotEnforced");
    let enforcing = Rules { selinux: true, ..rules() };
    let refused = "UnsupportedPodSpec: this node does not support seLinuxOptions";
    assert_eq!(check(json!({}), spec, &enforcing), refused);
    assert_eq!(check(json!({}), json!({}), &enforcing), "taken");
}

/// Fields by definition, with what docs/node.md says of each.
fn listed() -> BTreeMap<String, BTreeMap<&'static str, &'static str>> {
    let mut all: BTreeMap<String, BTreeMap<_, _>> = BTreeMap::new();
    let text = include_str!("../../../../docs/node.md");
    for section in text.split("\n## ").skip(1) {
        let (heading, body) = section.split_once('\n').expect("a heading ends");
        let rows = body.lines().filter(|line| line.starts_with("| `"));
        let mut fields = BTreeMap::new();
        for row in rows {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let what = cells[2];
            assert!(["honoured", "refused", "dropped", "harmless"].contains(&what), "{row}");
            let why = what != "harmless" || !cells[3].is_empty();
            assert!(why, "{row} does not say why");
            for name in cells[1].split(", ") {
                let before = fields.insert(name.trim_matches('`'), what);
                assert!(before.is_none(), "{heading}: {name} stands twice");
            }
        }
        let kinds: Vec<&str> = heading.split(", ").collect();
        let schema =
            |kind: &&str| builtin(&definition(kind)).unwrap_or_else(|| panic!("no {kind}"));
        let known = |name: &str| kinds.iter().any(|kind| schema(kind).field(name).is_some());
        for name in fields.keys() {
            assert!(known(name), "{heading}: the schema has no {name}");
        }
        for kind in kinds {
            assert!(all.insert(definition(kind), fields.clone()).is_none(), "{kind} stands twice");
        }
    }
    all
}

fn definition(kind: &str) -> String {
    let meta = kind.starts_with("LabelSelector");
    let package = if meta { "apimachinery.pkg.apis.meta" } else { "api.core" };
    format!("io.k8s.{package}.v1.{kind}")
}

/// The struct that a field leads to.
fn below(shape: &Shape) -> Option<&Struct> {
    match shape {
        Shape::Struct(it) => Some(&**it),
        Shape::List(node) | Shape::Map(node) => below(&node.shape),
        _ => None,
    }
}

#[test]
fn every_field_of_a_pod_is_listed() {
    let listed = listed();
    let mut reached = BTreeSet::new();
    let mut todo = vec![builtin("io.k8s.api.core.v1.PodSpec").expect("it is built in")];
    while let Some(kind) = todo.pop() {
        if !reached.insert(kind.name.to_string()) {
            continue;
        }
        let fields =
            listed.get(&*kind.name).unwrap_or_else(|| panic!("{} is not listed", kind.name));
        for field in kind.fields.iter() {
            let what = fields.get(&*field.name);
            let what = what.unwrap_or_else(|| panic!("{}.{} is not listed", kind.name, field.name));
            todo.extend(below(&field.node.shape).filter(|_| *what == "honoured"));
        }
    }
    let listed: BTreeSet<String> = listed.into_keys().collect();
    let idle: Vec<&String> = listed.difference(&reached).collect();
    assert!(idle.is_empty(), "no honoured field leads to {idle:?}");
    assert!(reached.len() > 60, "{}", reached.len());
}

/// What is listed as refused without another word fails the pod by its name.
#[test]
fn what_is_refused_is_refused() {
    for (name, spec) in [
        ("hostUsers", json!({"hostUsers": false})),
        ("resourceClaims", json!({"resourceClaims": [{"name": "x"}]})),
        ("os", json!({"os": {"name": "windows"}})),
        ("volumeDevices", json!({"containers": [{"name": "c", "volumeDevices": [{"name": "v"}]}]})),
        (
            "restartPolicyRules",
            json!({"initContainers": [{"name": "c",
            "restartPolicyRules": [{"action": "RestartAllContainers"}]}]}),
        ),
    ] {
        let said = check(json!({}), spec, &rules());
        assert!(said.starts_with("UnsupportedPodSpec: ") && said.contains(name), "{said}");
    }
}
