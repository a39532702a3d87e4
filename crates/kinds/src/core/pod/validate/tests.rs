//! A few pods, good and bad; how upstream answers hundreds of them is compared by the differential cases.

use crate::core::pod::{default, validate};
use expect_test::{Expect, expect};
use skiff_api::Object;
use skiff_api::errors::Errors;
use skiff_json::{Value, json};

fn defaulted(mut spec: Value) -> Object {
    skiff_api::schema::default::default(
        &mut spec,
        skiff_api::schema::builtin("io.k8s.api.core.v1.PodSpec").expect("it is in the table"),
    );
    let mut pod = Object::new(json!({"metadata": {"name": "a", "namespace": "b"}, "spec": spec}));
    default::pod(&mut pod);
    pod
}

fn check(new: Value, old: Option<Value>, wanted: Expect) {
    let mut errors = Errors::new();
    validate::pod(&defaulted(new), old.map(defaulted).as_ref(), &mut errors);
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    wanted.assert_eq(&lines.join("\n"));
}

#[test]
fn a_plain_pod_is_valid() {
    check(json!({"containers": [{"name": "c", "image": "x"}]}), None, expect![""]);
}

#[test]
fn faults_are_named() {
    let bad = json!({
        "containers": [{"name": "C", "ports": [{"containerPort": 70000}], "volumeMounts": [{"name": "v"}]}],
        "restartPolicy": "Sometimes", "volumes": [{"name": "w", "emptyDir": {}, "hostPath": {"path": "/"}}]});
    check(
        bad,
        None,
        expect![[r#"
            spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type
            spec.containers[0].name: Invalid value: "C": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.containers[0].image: Required value
            spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive
            spec.containers[0].volumeMounts[0].name: Not found: "v"
            spec.containers[0].volumeMounts[0].mountPath: Required value
            spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never""#]],
    );
}

#[test]
fn updates_show_what_may_not_change() {
    let old = json!({"containers": [{"name": "c", "image": "x"}]});
    let image = json!({"containers": [{"name": "c", "image": "y:2"}]});
    let node = json!({"containers": [{"name": "c", "image": "x"}], "hostIPC": true});
    let mut same_policy = image.clone();
    same_policy["containers"][0]["imagePullPolicy"] = "Always".into();
    check(same_policy, Some(old.clone()), expect![""]);
    check(
        node,
        Some(old),
        expect![[r#"
            spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
            @@ -46,7 +46,7 @@
              "NodeName": "",
              "HostNetwork": false,
              "HostPID": false,
            - "HostIPC": false,
            + "HostIPC": true,
              "ShareProcessNamespace": null,
              "SecurityContext": {
               "SELinuxOptions": null,
        "#]],
    );
}
