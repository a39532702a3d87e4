//! Claims and volumes as they come: what is bound, what waits, and what users hear.

use super::*;
use crate::testkit::{merge, view};
use expect_test::{Expect, expect};

fn claim(more: Value) -> Value {
    let mut claim = json!({
        "metadata": {"name": "a", "namespace": "n", "uid": "ua", "resourceVersion": "1"},
        "spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "storageClassName": "c",
            "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Pending"}});
    merge(&mut claim, more);
    claim
}

fn volume(name: &str, size: &str, more: Value) -> Value {
    let mut volume = json!({
        "metadata": {"name": name, "uid": format!("u{name}"), "resourceVersion": "2"},
        "spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "storageClassName": "c",
            "capacity": {"storage": size}, "persistentVolumeReclaimPolicy": "Retain"},
        "status": {"phase": "Available"}});
    merge(&mut volume, more);
    volume
}

fn bound() -> Value {
    json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v"},
        "status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}})
}

/// `named` is the volume that the claim names; `class` and `pods` are there beside it.
fn looks(
    claim: Value,
    named: Option<Value>,
    candidates: Vec<Value>,
    around: Value,
    expected: Expect,
) {
    let seen = claim::Seen {
        claim: view(claim),
        volume: named.map(view),
        candidates: candidates.into_iter().map(view).collect(),
        class: around.get("class").cloned().map(view),
        default: around.get("default").cloned().map(view),
        pods: around["pods"].as_array().into_iter().flatten().cloned().map(view).collect(),
    };
    plans(Seen::Claim(seen), expected);
}

fn has(volume: Value, claim: Option<Value>, expected: Expect) {
    plans(Seen::Volume(volume::Seen { volume: view(volume), claim: claim.map(view) }), expected);
}

/// The second time nothing is told again.
fn plans(seen: Seen, expected: Expect) {
    let (mut memory, now) = (Memory::default(), Time::UNIX_EPOCH);
    let mut out = Changes::default();
    VolumeBinder::plan(&seen, &mut memory, now, &mut out);
    expected.assert_eq(&out.text());
    let mut again = Changes::default();
    VolumeBinder::plan(&seen, &mut memory, now, &mut again);
    if matches!(seen, Seen::Claim(_)) {
        assert!(!again.text().contains("event "), "{}", again.text());
    }
}

#[test]
fn the_smallest_volume_that_fits_is_taken() {
    let free = vec![
        volume("big", "5Gi", json!({})),
        volume("small", "500Mi", json!({})),
        volume("many", "1Gi", json!({"spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}})),
        volume("fits", "2Gi", json!({})),
        volume(
            "taken",
            "1Gi",
            json!({"spec": {"claimRef": {"namespace": "n", "name": "b", "uid": "x"}}}),
        ),
        volume("new", "1Gi", json!({"status": {"phase": "Pending"}})),
        volume("block", "1Gi", json!({"spec": {"volumeMode": "Block"}})),
    ];
    looks(
        claim(json!({})),
        None,
        free.clone(),
        json!({}),
        expect![[r#"
        merge persistentvolumes fits  {"metadata":{"annotations":{"pv.kubernetes.io/bound-by-controller":"yes"},"resourceVersion":"2","uid":"ufits"},"spec":{"claimRef":{"apiVersion":"v1","kind":"PersistentVolumeClaim","name":"a","namespace":"n","resourceVersion":"1","uid":"ua"}}}
        merge persistentvolumes fits status {"metadata":{"uid":"ufits"},"status":{"message":null,"phase":"Bound"}}
        merge persistentvolumeclaims n/a  {"metadata":{"annotations":{"pv.kubernetes.io/bind-completed":"yes","pv.kubernetes.io/bound-by-controller":"yes"},"resourceVersion":"1","uid":"ua"},"spec":{"volumeName":"fits"}}
        merge persistentvolumeclaims n/a status {"metadata":{"uid":"ua"},"status":{"accessModes":["ReadWriteOnce"],"capacity":{"storage":"2Gi"},"phase":"Bound"}}
    "#]],
    );
    let selects = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}});
    let labeled = volume("labeled", "9Gi", json!({"metadata": {"labels": {"a": "b"}}}));
    looks(
        claim(selects),
        None,
        [free, vec![labeled]].concat(),
        json!({}),
        expect![[r#"
        merge persistentvolumes labeled  {"metadata":{"annotations":{"pv.kubernetes.io/bound-by-controller":"yes"},"resourceVersion":"2","uid":"ulabeled"},"spec":{"claimRef":{"apiVersion":"v1","kind":"PersistentVolumeClaim","name":"a","namespace":"n","resourceVersion":"1","uid":"ua"}}}
        merge persistentvolumes labeled status {"metadata":{"uid":"ulabeled"},"status":{"message":null,"phase":"Bound"}}
        merge persistentvolumeclaims n/a  {"metadata":{"annotations":{"pv.kubernetes.io/bind-completed":"yes","pv.kubernetes.io/bound-by-controller":"yes"},"resourceVersion":"1","uid":"ua"},"spec":{"volumeName":"labeled"}}
        merge persistentvolumeclaims n/a status {"metadata":{"uid":"ua"},"status":{"accessModes":["ReadWriteOnce"],"capacity":{"storage":"9Gi"},"phase":"Bound"}}
    "#]],
    );
}

#[test]
fn a_volume_that_names_its_claim_is_kept_for_it() {
    let own = volume("own", "9Gi", json!({"spec": {"claimRef": {"namespace": "n", "name": "a"}}}));
    let free = volume("free", "1Gi", json!({}));
    looks(
        claim(json!({})),
        None,
        vec![free, own],
        json!({}),
        expect![[r#"
        merge persistentvolumes own  {"metadata":{"resourceVersion":"2","uid":"uown"},"spec":{"claimRef":{"apiVersion":"v1","kind":"PersistentVolumeClaim","name":"a","namespace":"n","resourceVersion":"1","uid":"ua"}}}
        merge persistentvolumes own status {"metadata":{"uid":"uown"},"status":{"message":null,"phase":"Bound"}}
        merge persistentvolumeclaims n/a  {"metadata":{"annotations":{"pv.kubernetes.io/bind-completed":"yes","pv.kubernetes.io/bound-by-controller":"yes"},"resourceVersion":"1","uid":"ua"},"spec":{"volumeName":"own"}}
        merge persistentvolumeclaims n/a status {"metadata":{"uid":"ua"},"status":{"accessModes":["ReadWriteOnce"],"capacity":{"storage":"9Gi"},"phase":"Bound"}}
    "#]],
    );
}

#[test]
fn a_claim_that_names_its_volume_gets_no_other() {
    let wants = || claim(json!({"spec": {"volumeName": "v"}}));
    looks(wants(), None, vec![], json!({}), expect![[r#""#]]);
    looks(
        wants(),
        Some(volume("v", "1Gi", json!({}))),
        vec![],
        json!({}),
        expect![[r#"
        merge persistentvolumes v  {"metadata":{"annotations":{"pv.kubernetes.io/bound-by-controller":"yes"},"resourceVersion":"2","uid":"uv"},"spec":{"claimRef":{"apiVersion":"v1","kind":"PersistentVolumeClaim","name":"a","namespace":"n","resourceVersion":"1","uid":"ua"}}}
        merge persistentvolumes v status {"metadata":{"uid":"uv"},"status":{"message":null,"phase":"Bound"}}
        merge persistentvolumeclaims n/a  {"metadata":{"annotations":{"pv.kubernetes.io/bind-completed":"yes"},"resourceVersion":"1","uid":"ua"},"spec":{"volumeName":"v"}}
        merge persistentvolumeclaims n/a status {"metadata":{"uid":"ua"},"status":{"accessModes":["ReadWriteOnce"],"capacity":{"storage":"1Gi"},"phase":"Bound"}}
    "#]],
    );
    looks(
        wants(),
        Some(volume("v", "1Mi", json!({}))),
        vec![],
        json!({}),
        expect![[r#"
        event Warning VolumeMismatch: Cannot bind to requested volume "v": requested PV is too small
    "#]],
    );
    let other = json!({"spec": {"claimRef": {"namespace": "n", "name": "b", "uid": "x"}}});
    looks(
        wants(),
        Some(volume("v", "1Gi", other)),
        vec![],
        json!({}),
        expect![[r#"
        event Warning FailedBinding: volume "v" already bound to a different claim.
    "#]],
    );
}

#[test]
fn who_gets_nothing_hears_for_what_it_waits() {
    let class = |provisioner: &str, mode: &str| json!({"class": {"metadata": {"name": "c"}, "provisioner": provisioner, "volumeBindingMode": mode}});
    looks(
        claim(json!({})),
        None,
        vec![],
        json!({}),
        expect![[r#"
        event Warning ProvisioningFailed: storageclass.storage.k8s.io "c" not found
    "#]],
    );
    let none = json!({"spec": {"storageClassName": ""}});
    looks(
        claim(none),
        None,
        vec![],
        json!({}),
        expect![[r#"
        event Normal FailedBinding: no persistent volumes available for this claim and no storage class is set
    "#]],
    );
    looks(
        claim(json!({})),
        None,
        vec![],
        class("a.b/c", "Immediate"),
        expect![[r#"
        merge persistentvolumeclaims n/a  {"metadata":{"annotations":{"volume.beta.kubernetes.io/storage-provisioner":"a.b/c","volume.kubernetes.io/storage-provisioner":"a.b/c"},"resourceVersion":"1","uid":"ua"}}
        event Normal ExternalProvisioning: Waiting for a volume to be created either by the external provisioner 'a.b/c' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.
    "#]],
    );
    looks(
        claim(json!({})),
        None,
        vec![],
        class("kubernetes.io/gce-pd", "Immediate"),
        expect![[r#"
            merge persistentvolumeclaims n/a  {"metadata":{"annotations":{"volume.beta.kubernetes.io/storage-provisioner":"pd.csi.storage.gke.io","volume.kubernetes.io/storage-provisioner":"pd.csi.storage.gke.io"},"resourceVersion":"1","uid":"ua"}}
            event Normal ExternalProvisioning: Waiting for a volume to be created either by the external provisioner 'pd.csi.storage.gke.io' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.
        "#]],
    );
    looks(
        claim(json!({})),
        None,
        vec![],
        class("kubernetes.io/no-provisioner", "Immediate"),
        expect![[r#"
            event Warning ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner
        "#]],
    );
    let mut waits = class("a.b/c", "WaitForFirstConsumer");
    let free = vec![volume("v", "1Gi", json!({}))];
    looks(
        claim(json!({})),
        None,
        free.clone(),
        waits.clone(),
        expect![[r#"
        event Normal WaitForFirstConsumer: waiting for first consumer to be created before binding
    "#]],
    );
    waits["pods"] = json!([{"metadata": {"name": "p"}}, {"metadata": {"name": "q"}}]);
    looks(
        claim(json!({})),
        None,
        free.clone(),
        waits.clone(),
        expect![[r#"
        event Normal WaitForPodScheduled: waiting for pods p,q to be scheduled
    "#]],
    );
    let selected =
        json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "x"}}});
    looks(
        claim(selected),
        None,
        free,
        waits,
        expect![[r#"
        merge persistentvolumeclaims n/a  {"metadata":{"annotations":{"volume.beta.kubernetes.io/storage-provisioner":"a.b/c","volume.kubernetes.io/storage-provisioner":"a.b/c"},"resourceVersion":"1","uid":"ua"}}
        event Normal ExternalProvisioning: Waiting for a volume to be created either by the external provisioner 'a.b/c' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.
    "#]],
    );
    let mut bare = claim(json!({}));
    bare["spec"]["storageClassName"] = Value::Null;
    bare["spec"].as_object_mut().expect("fields").remove("storageClassName");
    looks(
        bare,
        None,
        vec![],
        json!({"default": {"metadata": {"name": "d"}}}),
        expect![[r#"
        merge persistentvolumeclaims n/a  {"metadata":{"resourceVersion":"1","uid":"ua"},"spec":{"storageClassName":"d"}}
    "#]],
    );
}

#[test]
fn a_bound_claim_is_bound_or_lost() {
    let own = json!({"spec": {"claimRef": {"namespace": "n", "name": "a", "uid": "ua"}},
        "status": {"phase": "Bound"}});
    looks(claim(bound()), Some(volume("v", "1Gi", own)), vec![], json!({}), expect![[r#""#]]);
    looks(
        claim(bound()),
        None,
        vec![],
        json!({}),
        expect![[r#"
        merge persistentvolumeclaims n/a status {"metadata":{"uid":"ua"},"status":{"accessModes":null,"capacity":null,"phase":"Lost"}}
        event Warning ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!
    "#]],
    );
    let other = json!({"spec": {"claimRef": {"namespace": "n", "name": "b", "uid": "x"}}});
    looks(
        claim(bound()),
        Some(volume("v", "1Gi", other)),
        vec![],
        json!({}),
        expect![[r#"
        merge persistentvolumeclaims n/a status {"metadata":{"uid":"ua"},"status":{"accessModes":null,"capacity":null,"phase":"Lost"}}
        event Warning ClaimMisbound: Two claims are bound to the same volume, this one is bound incorrectly
    "#]],
    );
}

#[test]
fn a_volume_follows_its_claim() {
    let of = |uid: &str, more: Value| {
        let mut it = json!({"spec": {"claimRef": {"namespace": "n", "name": "a", "uid": uid}}});
        merge(&mut it, more);
        volume("v", "1Gi", it)
    };
    has(
        volume("v", "1Gi", json!({"status": {"phase": "Pending"}})),
        None,
        expect![[r#"
        merge persistentvolumes v status {"metadata":{"uid":"uv"},"status":{"message":null,"phase":"Available"}}
    "#]],
    );
    has(
        of("", json!({"status": {"phase": "Pending"}})),
        None,
        expect![[r#"
        merge persistentvolumes v status {"metadata":{"uid":"uv"},"status":{"message":null,"phase":"Available"}}
    "#]],
    );
    has(
        of("ua", json!({})),
        Some(claim(bound())),
        expect![[r#"
        merge persistentvolumes v status {"metadata":{"uid":"uv"},"status":{"message":null,"phase":"Bound"}}
    "#]],
    );
    has(
        of("ua", json!({})),
        Some(claim(json!({}))),
        expect![[r#"
        because its claim takes it
    "#]],
    );
    let elsewhere = claim(json!({"spec": {"volumeName": "w"}}));
    has(
        of("ua", json!({})),
        Some(elsewhere.clone()),
        expect![[r#"
        merge persistentvolumes v  {"metadata":{"resourceVersion":"2","uid":"uv"},"spec":{"claimRef":{"uid":null}}}
    "#]],
    );
    let chosen =
        json!({"metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}}});
    has(
        of("ua", chosen),
        Some(elsewhere),
        expect![[r#"
        merge persistentvolumes v  {"metadata":{"annotations":{"pv.kubernetes.io/bound-by-controller":null},"resourceVersion":"2","uid":"uv"},"spec":{"claimRef":null}}
    "#]],
    );
}

#[test]
fn a_volume_that_its_claim_has_left_is_kept_or_given_back() {
    let left = |more: Value| {
        let mut it = json!({"spec": {"claimRef": {"namespace": "n", "name": "a", "uid": "ua"}},
            "status": {"phase": "Bound"}});
        merge(&mut it, more);
        volume("v", "1Gi", it)
    };
    let policy = |policy: &str, source: Value| {
        let mut it = json!({"spec": {"persistentVolumeReclaimPolicy": policy}});
        merge(&mut it["spec"], source);
        it
    };
    has(
        left(json!({})),
        None,
        expect![[r#"
        merge persistentvolumes v status {"metadata":{"uid":"uv"},"status":{"message":null,"phase":"Released"}}
    "#]],
    );
    has(
        left(policy("Recycle", json!({"csi": {"driver": "d"}}))),
        None,
        expect![[r#"
        merge persistentvolumes v status {"metadata":{"uid":"uv"},"status":{"message":null,"phase":"Released"}}
        event Warning VolumeFailedRecycle: No recycler plugin found for the volume!
        merge persistentvolumes v status {"metadata":{"uid":"uv"},"status":{"message":"No recycler plugin found for the volume!","phase":"Failed"}}
    "#]],
    );
    has(
        left(policy("Delete", json!({"csi": {"driver": "d"}}))),
        None,
        expect![[r#"
        merge persistentvolumes v status {"metadata":{"uid":"uv"},"status":{"message":null,"phase":"Released"}}
    "#]],
    );
    has(
        left(policy("Delete", json!({"nfs": {"server": "s"}}))),
        None,
        expect![[r#"
        merge persistentvolumes v status {"metadata":{"uid":"uv"},"status":{"message":null,"phase":"Released"}}
        event Warning VolumeFailedDelete: error getting deleter volume plugin for volume "v": no deletable volume plugin matched
        merge persistentvolumes v status {"metadata":{"uid":"uv"},"status":{"message":"error getting deleter volume plugin for volume \"v\": no deletable volume plugin matched","phase":"Failed"}}
    "#]],
    );
    has(
        left(policy("Delete", json!({"hostPath": {"path": "/data"}}))),
        None,
        expect![[r#"
        merge persistentvolumes v status {"metadata":{"uid":"uv"},"status":{"message":null,"phase":"Released"}}
        event Warning VolumeFailedDelete: host_path deleter only supports /tmp/.+ but received provided /data
        merge persistentvolumes v status {"metadata":{"uid":"uv"},"status":{"message":"host_path deleter only supports /tmp/.+ but received provided /data","phase":"Failed"}}
    "#]],
    );
    let mut failed = policy("Delete", json!({"nfs": {"server": "s"}}));
    merge(&mut failed, json!({"status": {"phase": "Failed"}}));
    has(
        left(failed),
        None,
        expect![[r#"
        because nobody here can give it back
    "#]],
    );
}
