//! A pod as it is stored decodes into what its readers need.

use super::*;
use skiff_json::json;

fn pod(value: skiff_json::Value) -> Pod {
    skiff_json::from_value(value).expect("the view decodes")
}

#[test]
fn a_stored_pod_decodes() {
    let it = pod(json!({
        "metadata": {"name": "a", "ownerReferences": [{"uid": "u", "controller": true}]},
        "spec": {
            "nodeName": "n1",
            "containers": [{
                "name": "c", "image": "x", "resources": {"limits": {"cpu": "1500m"}},
                "ports": [{"containerPort": 80, "hostIP": "127.0.0.1"}],
                "livenessProbe": {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 10},
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}],
            "ephemeralContainers": [{"name": "e", "image": "y", "targetContainerName": "c"}],
            "volumes": [{"name": "v", "nfs": {"server": "s"}},
                {"name": "p", "projected": {"sources": [{"secret": {"name": "s"}}], "defaultMode": 420}}]},
        "status": {"podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "Ready", "status": "True"}]}}));
    let container = &it.spec.containers[0];
    assert_eq!(container.resources.limits.get("cpu").map(|q| q.milli_value()), Some(1500));
    assert_eq!(container.ports[0].host_ip, "127.0.0.1");
    let probe = container.liveness_probe.as_ref().expect("it has one");
    assert_eq!(
        probe.handler.http_get.as_ref().map(|h| &h.port),
        Some(&PortRef::Name("web".into()))
    );
    assert_eq!(it.spec.ephemeral_containers[0].name, "e");
    assert!(it.spec.volumes[0].other.contains_key("nfs"));
    let projected = it.spec.volumes[1].projected.as_ref().expect("it is one");
    assert_eq!(projected.sources[0].secret.as_ref().map(|s| &*s.secret_name), Some("s"));
    assert!(it.ready());
    let mut found = Vec::new();
    it.index(&mut |name, value| found.push(format!("{name}={value}")));
    assert_eq!(found, ["node=n1", "owner=u"]);
}

#[test]
fn a_bad_quantity_is_an_error() {
    let bad = json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "x"}}}]}});
    assert!(skiff_json::from_value::<Pod>(bad).is_err());
}
