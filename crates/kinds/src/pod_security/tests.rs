use super::*;
use expect_test::{Expect, expect};
use skiff_json::json;

/// What each standard has against the same pod.
fn check(metadata: Value, spec: Value, standards: &[&str], expected: Expect) {
    let pod = json!({"metadata": metadata, "spec": spec});
    let mut seen = String::new();
    for text in standards {
        let mut policy = Policy::default();
        policy.set(&format!("enforce={text}")).unwrap();
        let found = Violations::of(Pod { value: &pod }, policy.enforce);
        let found = found.map_or_else(|| "nothing".to_owned(), |found| found.to_string());
        seen += &format!("{}: {found}\n", policy.enforce);
    }
    expected.assert_eq(&seen);
}

/// A spec whose containers are what `restricted` wants, but for what is given.
fn spec(container: Value, more: Value) -> Value {
    let fine = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    let mut own = json!({"name": "c", "image": "x", "securityContext": fine});
    merge(&mut own, container);
    let mut spec = json!({"containers": [own]});
    merge(&mut spec, more);
    spec
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.into_iter()
                .for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from,
    }
}

#[test]
fn a_pod_that_fits_and_one_that_says_nothing() {
    let versions = ["privileged", "baseline", "restricted", "restricted:v1.0", "restricted:v1.99"];
    check(
        json!({}),
        spec(json!({}), json!({})),
        &versions,
        expect![[r#"
        privileged:latest: nothing
        baseline:latest: nothing
        restricted:latest: nothing
        restricted:v1.0: nothing
        restricted:v1.99: nothing
    "#]],
    );
    let plain = json!({"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]});
    check(
        json!({}),
        plain,
        &["baseline", "restricted", "restricted:v1.21", "restricted:v1.18", "restricted:v1.7"],
        expect![[r#"
            baseline:latest: nothing
            restricted:latest: allowPrivilegeEscalation != false (containers "i", "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers "i", "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or containers "i", "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or containers "i", "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")
            restricted:v1.21: allowPrivilegeEscalation != false (containers "i", "c" must set securityContext.allowPrivilegeEscalation=false), runAsNonRoot != true (pod or containers "i", "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or containers "i", "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")
            restricted:v1.18: allowPrivilegeEscalation != false (containers "i", "c" must set securityContext.allowPrivilegeEscalation=false), runAsNonRoot != true (pod or containers "i", "c" must set securityContext.runAsNonRoot=true)
            restricted:v1.7: runAsNonRoot != true (pod or containers "i", "c" must set securityContext.runAsNonRoot=true)
        "#]],
    );
}

#[test]
fn what_reaches_the_host() {
    let more = json!({"hostNetwork": true, "hostPID": true, "hostIPC": true});
    let ports = json!({"ports": [{"hostPort": 80}, {"hostPort": 0}, {"hostPort": 8080}]});
    check(
        json!({}),
        spec(ports, more),
        &["baseline", "restricted:v1.0"],
        expect![[r#"
        baseline:latest: host namespaces (hostNetwork=true, hostPID=true, hostIPC=true), hostPort (container "c" uses hostPorts 80, 8080)
        restricted:v1.0: host namespaces (hostNetwork=true, hostPID=true, hostIPC=true), hostPort (container "c" uses hostPorts 80, 8080)
    "#]],
    );
    let own =
        json!({"securityContext": {"privileged": true, "windowsOptions": {"hostProcess": true}}});
    let more = json!({"securityContext": {"windowsOptions": {"hostProcess": true}},
        "ephemeralContainers": [{"name": "e", "securityContext": {"privileged": true}}]});
    check(
        json!({}),
        spec(own, more),
        &["baseline"],
        expect![[r#"
        baseline:latest: privileged (containers "c", "e" must not set securityContext.privileged=true), hostProcess (pod and container "c" must not set securityContext.windowsOptions.hostProcess=true)
    "#]],
    );
    let hosts = json!({"livenessProbe": {"httpGet": {"host": "b"}}, "startupProbe": {"tcpSocket": {"host": "a"}},
        "lifecycle": {"preStop": {"httpGet": {"host": "a"}}, "postStart": {"tcpSocket": {"host": ""}}}});
    check(
        json!({}),
        spec(hosts, json!({})),
        &["baseline", "baseline:v1.33"],
        expect![[r#"
        baseline:latest: probe or lifecycle host (container "c" uses probe or lifecycle hosts "a", "b")
        baseline:v1.33: nothing
    "#]],
    );
}

#[test]
fn volumes() {
    let volumes = json!({"volumes": [{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "nfs": {}},
        {"name": "d", "emptyDir": {}}, {"name": "e", "image": {}}, {"name": "f", "emptyDir": null}]});
    check(
        json!({}),
        spec(json!({}), volumes),
        &["baseline", "restricted:v1.0"],
        expect![[r#"
        baseline:latest: hostPath volumes (volume "a")
        restricted:v1.0: restricted volume types (volumes "a", "b", "f" use restricted volume types "hostPath", "nfs", "unknown")
    "#]],
    );
}

#[test]
fn capabilities() {
    let own = json!({"securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE", "SYS_TIME", "CHOWN"], "drop": ["all"]}}});
    let standards = ["baseline", "restricted:v1.21", "restricted:v1.22", "restricted"];
    check(
        json!({}),
        spec(own, json!({"os": {"name": "windows"}})),
        &standards,
        expect![[r#"
        baseline:latest: non-default capabilities (container "c" must not include "SYS_TIME" in securityContext.capabilities.add)
        restricted:v1.21: non-default capabilities (container "c" must not include "SYS_TIME" in securityContext.capabilities.add)
        restricted:v1.22: unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]; container "c" must not include "CHOWN", "SYS_TIME" in securityContext.capabilities.add)
        restricted:latest: nothing
    "#]],
    );
}

#[test]
fn profiles() {
    let own = json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}, "appArmorProfile": {"type": "Unconfined"}}});
    let more = json!({"securityContext": {"appArmorProfile": {"type": "Localhost"}, "seccompProfile": {"type": "Localhost"}},
        "initContainers": [{"name": "i", "securityContext": {"appArmorProfile": {"type": "Unconfined"}}}]});
    let annotations = json!({"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "unconfined",
        "container.apparmor.security.beta.kubernetes.io/d": "localhost/x",
        "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
        "container.seccomp.security.alpha.kubernetes.io/none": "unconfined",
        "container.seccomp.security.alpha.kubernetes.io/c": "docker/default"}});
    let standards = ["baseline", "baseline:v1.18", "restricted:v1.19"];
    check(
        annotations,
        spec(own, more),
        &standards,
        expect![[r#"
        baseline:latest: forbidden AppArmor profiles (containers "i", "c" and annotation must not set AppArmor profile type to "Unconfined", "container.apparmor.security.beta.kubernetes.io/c="unconfined""), seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")
        baseline:v1.18: forbidden AppArmor profiles (containers "i", "c" and annotation must not set AppArmor profile type to "Unconfined", "container.apparmor.security.beta.kubernetes.io/c="unconfined""), seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")
        restricted:v1.19: forbidden AppArmor profiles (containers "i", "c" and annotation must not set AppArmor profile type to "Unconfined", "container.apparmor.security.beta.kubernetes.io/c="unconfined""), allowPrivilegeEscalation != false (container "i" must set securityContext.allowPrivilegeEscalation=false), runAsNonRoot != true (pod or container "i" must set securityContext.runAsNonRoot=true), seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")
    "#]],
    );
    let selinux =
        json!({"securityContext": {"seLinuxOptions": {"type": "container_engine_t", "role": "r"}}});
    let more = json!({"securityContext": {"seLinuxOptions": {"user": "u", "level": "s0"}}});
    check(
        json!({}),
        spec(selinux, more),
        &["baseline", "baseline:v1.30"],
        expect![[r#"
        baseline:latest: seLinuxOptions (pod and container "c" set forbidden securityContext.seLinuxOptions: user may not be set; role may not be set)
        baseline:v1.30: seLinuxOptions (pod and container "c" set forbidden securityContext.seLinuxOptions: type "container_engine_t"; user may not be set; role may not be set)
    "#]],
    );
}

#[test]
fn sysctls_are_safe_since_a_version() {
    let set = SYSCTLS_BY_AGE.map(|name| json!({"name": name}));
    let more = json!({"securityContext": {"sysctls": set}});
    let versions =
        ["baseline:v1.26", "baseline:v1.27", "baseline:v1.29", "baseline:v1.32", "baseline:v1.37"];
    check(
        json!({}),
        spec(json!({}), more),
        &versions,
        expect![[r#"
        baseline:v1.26: forbidden sysctls (net.ipv4.ip_local_reserved_ports, net.ipv4.tcp_keepalive_time, net.ipv4.tcp_rmem, net.ipv4.tcp_notsent_lowat, kernel/shm_rmid_forced)
        baseline:v1.27: forbidden sysctls (net.ipv4.tcp_keepalive_time, net.ipv4.tcp_rmem, net.ipv4.tcp_notsent_lowat, kernel/shm_rmid_forced)
        baseline:v1.29: forbidden sysctls (net.ipv4.tcp_rmem, net.ipv4.tcp_notsent_lowat, kernel/shm_rmid_forced)
        baseline:v1.32: forbidden sysctls (net.ipv4.tcp_notsent_lowat, kernel/shm_rmid_forced)
        baseline:v1.37: forbidden sysctls (kernel/shm_rmid_forced)
    "#]],
    );
}

const SYSCTLS_BY_AGE: [&str; 6] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_notsent_lowat",
    "kernel/shm_rmid_forced",
];

#[test]
fn root_and_users_of_its_own() {
    let own = json!({"securityContext": {"runAsNonRoot": false, "runAsUser": 0, "procMount": "Unmasked"}});
    let standards = ["baseline:v1.34", "restricted:v1.22", "restricted:v1.34", "restricted"];
    let pod = json!({"hostUsers": false, "securityContext": {"runAsUser": 0}});
    check(
        json!({}),
        spec(own.clone(), pod),
        &standards,
        expect![[r#"
        baseline:v1.34: procMount (container "c" must not set securityContext.procMount to "Unmasked")
        restricted:v1.22: procMount (container "c" must not set securityContext.procMount to "Unmasked"), runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false)
        restricted:v1.34: procMount (container "c" must not set securityContext.procMount to "Unmasked"), runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false), runAsUser=0 (pod and container "c" must not set runAsUser=0)
        restricted:latest: procMount (container "c" must not set securityContext.procMount to "Unmasked")
    "#]],
    );
    check(
        json!({}),
        spec(own, json!({"hostUsers": true})),
        &["baseline", "restricted"],
        expect![[r#"
            baseline:latest: procMount (container "c" must not set securityContext.procMount to "Unmasked")
            restricted:latest: procMount (container "c" must not set securityContext.procMount to "Unmasked"), runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false), runAsUser=0 (container "c" must not set runAsUser=0)
        "#]],
    );
}

/// Labels, the policy that they make, and what is wrong with them.
fn labelled(defaults: &[&str], labels: &[(&str, &str)], expected: Expect) {
    let mut policy = Policy::default();
    defaults.iter().for_each(|text| policy.set(text).unwrap());
    let label = |key: &str| {
        let key = key.strip_prefix(LABELS)?;
        labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    };
    let (policy, errors) = Policy::of_labels(label, policy);
    let mut seen = format!("{} {} {}\n", policy.enforce, policy.audit, policy.warn);
    errors.iter().for_each(|error| seen += &format!("{error}\n"));
    expected.assert_eq(&seen);
}

#[test]
fn labels_make_a_policy() {
    labelled(
        &[],
        &[],
        expect![[r#"
        privileged:latest privileged:latest privileged:latest
    "#]],
    );
    labelled(
        &["enforce=baseline", "warn=restricted:v1.30"],
        &[],
        expect![[r#"
        baseline:latest privileged:latest restricted:v1.30
    "#]],
    );
    labelled(
        &[],
        &[("enforce", "baseline"), ("enforce-version", "v1.30")],
        expect![[r#"
        baseline:v1.30 privileged:latest baseline:v1.30
    "#]],
    );
    labelled(
        &[],
        &[("enforce", "restricted"), ("warn-version", "v1.0")],
        expect![[r#"
        restricted:latest privileged:latest restricted:v1.0
    "#]],
    );
    labelled(
        &["warn=restricted"],
        &[("enforce", "baseline")],
        expect![[r#"
        baseline:latest privileged:latest restricted:latest
    "#]],
    );
    labelled(
        &[],
        &[("enforce", "restricted"), ("warn", "privileged")],
        expect![[r#"
        restricted:latest privileged:latest privileged:latest
    "#]],
    );
    labelled(
        &["audit=baseline"],
        &[("enforce", "Baseline"), ("audit", ""), ("warn", "x"), ("enforce-version", "v1.01")],
        expect![[r#"
            restricted:latest privileged:latest privileged:latest
            metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "Baseline": must be one of privileged, baseline, restricted
            metadata.labels[pod-security.kubernetes.io/enforce-version]: Invalid value: "v1.01": must be "latest" or "v1.x"
            metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: "": must be one of privileged, baseline, restricted
            metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: "x": must be one of privileged, baseline, restricted
        "#]],
    );
    for wrong in
        ["1.30", "v1.", "v1.x", "v1.-1", "v1.+1", "v2.0", "v1.9223372036854775808", "Latest"]
    {
        assert!(Version::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn only_other_images_and_further_containers_change_what_is_judged() {
    let object = |spec: Value| Object::new(json!({"spec": spec}));
    let old = object(json!({"containers": [{"name": "c", "image": "x"}],
        "ephemeralContainers": [{"name": "e", "image": "x"}]}));
    let mut same = old.clone();
    same.set("metadata.labels", json!({"a": "b"}));
    assert!(!changes(&same, &old));
    for (path, value) in [
        ("spec.containers", json!([{"name": "c", "image": "y"}])),
        ("spec.containers", json!([])),
        ("spec.initContainers", json!([{"name": "i"}])),
        (
            "spec.ephemeralContainers",
            json!([{"name": "e", "image": "x"}, {"name": "f", "image": "x"}]),
        ),
        ("spec.ephemeralContainers", json!([{"name": "e", "image": "y"}])),
    ] {
        let mut new = old.clone();
        new.set(path, value);
        assert!(changes(&new, &old), "{path}");
    }
}
