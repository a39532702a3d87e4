//! Claims: what a volume holds outlives its pods, what is in use stays, and a class of runtime is one that there is.

use skiff_tests::cluster::{BUSYBOX, Cluster};

/// A volume that is a folder of the machine.
fn volume(c: &Cluster, name: &str, source: &str) {
    c.k.apply(&format!(
        r#"{{"apiVersion":"v1","kind":"PersistentVolume","metadata":{{"name":"{name}"}},"spec":{{
        "capacity":{{"storage":"1Gi"}},"accessModes":["ReadWriteOnce"],"storageClassName":"here",{source}}}}}"#
    ));
}

fn claim(c: &Cluster, name: &str) {
    c.k.apply(&format!(
        r#"{{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{{"name":"{name}"}},"spec":{SPEC}}}"#
    ));
}

const SPEC: &str = r#"{"accessModes":["ReadWriteOnce"],"storageClassName":"here",
    "resources":{"requests":{"storage":"1Gi"}}}"#;

/// A pod with one volume at /data that runs a shell line.
fn pod(c: &Cluster, name: &str, volume: &str, line: &str) {
    c.k.apply(&format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{"restartPolicy":"Never",
        "terminationGracePeriodSeconds":1,"volumes":[{{"name":"v",{volume}}}],"containers":[{{"name":"c",
        "image":"{BUSYBOX}","command":["sh","-c",{}],"volumeMounts":[{{"name":"v","mountPath":"/data"}}]}}]}}}}"#,
        serde_json::Value::from(line)
    ));
}

const BY_CLAIM: &str = r#""persistentVolumeClaim":{"claimName":"a"}"#;

#[test]
fn what_a_claim_holds_outlives_its_pods() {
    let c = Cluster::start("claims-data");
    c.load_busybox();
    volume(&c, "v", r#""hostPath":{"path":"/var/lib/claims-data","type":"DirectoryOrCreate"}"#);
    claim(&c, "a");
    c.k.wait("--for=jsonpath={.status.phase}=Bound pvc/a");
    pod(&c, "one", BY_CLAIM, "echo kept > /data/file");
    c.k.wait("--for=jsonpath={.status.phase}=Succeeded pod/one");
    c.k.ok("delete pod one");
    pod(&c, "two", BY_CLAIM, "cat /data/file; sleep 3600");
    c.k.wait("--for=condition=Ready pod/two");
    assert_eq!(c.k.ok("logs two"), "kept\n");
    // It is used, and stays until it is not.
    c.k.ok("delete pvc a --wait=false");
    c.k.ok("delete pv v --wait=false");
    assert!(c.k.ok("get pvc a").contains("Terminating"));
    assert!(c.k.ok("describe pvc a").contains("Used By:       two"));
    c.k.ok("delete pod two");
    c.k.wait("--for=delete pvc/a");
    c.k.wait("--for=delete pv/v");
    assert_eq!(c.shell("cat /var/lib/claims-data/file"), "kept\n");
}

#[test]
fn a_claim_of_one_pod_comes_and_goes_with_it() {
    let c = Cluster::start("claims-own");
    c.load_busybox();
    volume(&c, "v", r#""hostPath":{"path":"/var/lib/claims-own"}"#);
    let own = format!(r#""ephemeral":{{"volumeClaimTemplate":{{"spec":{SPEC}}}}}"#);
    pod(&c, "p", &own, "touch /data/file && sleep 3600");
    c.k.wait("--for=condition=Ready pod/p");
    assert_eq!(c.k.ok("get pvc p-v -o jsonpath={.status.phase}"), "Bound");
    c.k.ok("delete pod p");
    c.k.wait("--for=delete pvc/p-v");
    c.k.wait("--for=jsonpath={.status.phase}=Released pv/v");
}

#[test]
fn a_local_volume_is_bound_where_its_pod_goes_and_others_are_refused() {
    let c = Cluster::start("claims-local");
    c.load_busybox();
    c.shell("mkdir -p /var/lib/claims-local");
    // It says nothing of its class, and gets the default as soon as there is one.
    c.k.apply(
        r#"{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"a"},"spec":{
        "accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}"#,
    );
    c.k.apply(
        r#"{"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","metadata":{"name":"here","annotations":{
        "storageclass.kubernetes.io/is-default-class":"true"}},
        "provisioner":"kubernetes.io/no-provisioner","volumeBindingMode":"WaitForFirstConsumer"}"#,
    );
    c.k.wait("--for=jsonpath={.spec.storageClassName}=here pvc/a");
    let node = c.k.ok("get nodes -o jsonpath={.items[0].metadata.name}");
    let local = format!(
        r#""local":{{"path":"/var/lib/claims-local"}},"nodeAffinity":{{"required":{{"nodeSelectorTerms":[{{
        "matchExpressions":[{{"key":"kubernetes.io/hostname","operator":"In","values":["{node}"]}}]}}]}}}}"#
    );
    volume(&c, "v", &local);
    c.k.wait("--for=jsonpath={.status.phase}=Available pv/v");
    pod(&c, "p", BY_CLAIM, "touch /data/file");
    c.k.wait("--for=jsonpath={.status.phase}=Succeeded pod/p");
    c.shell("test -f /var/lib/claims-local/file");
    volume(
        &c,
        "share",
        r#""nfs":{"server":"a","path":"/b"},"claimRef":{"namespace":"default","name":"b"}"#,
    );
    claim(&c, "b");
    pod(&c, "q", r#""persistentVolumeClaim":{"claimName":"b"}"#, "true");
    c.k.wait("--for=create event --field-selector=reason=FailedMount,involvedObject.name=q");
    let why = c.k.ok("get events --field-selector=reason=FailedMount,involvedObject.name=q");
    assert!(why.contains("persistent volumes of type nfs are not supported by this node"), "{why}");
}

#[test]
fn a_class_of_runtime_is_one_that_the_node_has() {
    let c = Cluster::start("claims-runtime");
    c.load_busybox();
    for handler in ["skiff", "other"] {
        c.k.apply(&format!(
            r#"{{"apiVersion":"node.k8s.io/v1","kind":"RuntimeClass","metadata":{{"name":"{handler}"}},
            "handler":"{handler}"}}"#
        ));
        c.k.apply(&format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{handler}"}},"spec":{{
            "restartPolicy":"Never","runtimeClassName":"{handler}","containers":[{{"name":"c",
            "image":"{BUSYBOX}","command":["true"]}}]}}}}"#
        ));
    }
    c.k.wait("--for=jsonpath={.status.phase}=Succeeded pod/skiff");
    c.k.wait("--for=create event --field-selector=reason=FailedCreatePodSandBox");
    let why = c.k.ok("get events --field-selector=reason=FailedCreatePodSandBox");
    assert!(why.contains(r#"RuntimeHandler "other" not supported"#), "{why}");
}
