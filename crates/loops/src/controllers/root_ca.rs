//! The root certificate for pods: every active namespace has a ConfigMap `kube-root-ca.crt` (KEP-1205).

use crate::{Changes, Context, Loop, Next, On};
use serde::Deserialize;
use skiff_api::Status;
use skiff_api::view::{Key, Meta, Resource, View};
use skiff_base::Time;
use skiff_json::json;
use skiff_kinds::core::configmap;
use skiff_kinds::views::Namespace;
use std::collections::BTreeMap;
use std::sync::Arc;

const NAME: &str = "kube-root-ca.crt";

/// Such a ConfigMap; the others, which may be many and large, are none of this loop's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Published {
    metadata: Meta,
    data: BTreeMap<String, String>,
}

impl View for Published {
    const RESOURCE: Resource = configmap::RESOURCE;
    const QUERY: &'static str = "&fieldSelector=metadata.name%3Dkube-root-ca.crt";
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// Key: the name of a namespace.
pub struct RootCertificate;

pub struct Seen {
    namespace: Arc<Namespace>,
    map: Option<Arc<Published>>,
    ca: String,
}

impl Loop for RootCertificate {
    const NAME: &'static str = "root-ca-cert-publisher";
    type Seen = Seen;
    type Memory = ();

    fn on(on: &mut On) {
        on.own::<Namespace>();
        on.map::<Published>(|map, _| vec![Key::new("", &map.metadata.namespace)]);
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(namespace) = cx.caches.of::<Namespace>().get(key) else { return Ok(None) };
        let map = cx.caches.of::<Published>().get(&Key::new(&key.name, NAME));
        Ok(Some(Seen { namespace, map, ca: cx.settings.ca.clone() }))
    }

    fn plan(seen: &Seen, _: &mut (), _: Time, out: &mut Changes) -> Next {
        let name = &seen.namespace.metadata.name;
        let data = json!({"ca.crt": seen.ca});
        match &seen.map {
            _ if seen.namespace.metadata.deleting() => out.because("the namespace is going"),
            Some(map) if map.data.len() == 1 && map.data.get("ca.crt") == Some(&seen.ca) => {}
            Some(map) => {
                // Null takes out whatever else somebody put there.
                let mut body = data;
                for key in map.data.keys().filter(|key| *key != "ca.crt") {
                    body[key.as_str()] = skiff_json::Value::Null;
                }
                out.merge(Published::RESOURCE, map.metadata.key(), json!({"data": body}));
            }
            None => out.create(Published::RESOURCE, name, json!({
                "apiVersion": "v1", "kind": "ConfigMap", "data": data,
                "metadata": {"name": NAME, "namespace": name, "annotations": {
                    "kubernetes.io/description": "The certificate that verifies this cluster's API server, for pods \
                                                  that call it."}},
            })),
        }
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_made_and_mended() {
        let namespace: Namespace =
            skiff_json::from_value(json!({"metadata": {"name": "a"}})).expect("a view");
        let plan = |map: Option<skiff_json::Value>| {
            let seen = Seen {
                namespace: Arc::new(
                    skiff_json::from_value(json!({"metadata": {"name": "a"}})).expect("a view"),
                ),
                map: map.map(|m| Arc::new(skiff_json::from_value(m).expect("a view"))),
                ca: "PEM".into(),
            };
            let mut out = Changes::default();
            RootCertificate::plan(&seen, &mut (), Time::UNIX_EPOCH, &mut out);
            out.text()
        };
        assert!(plan(None).starts_with("create configmaps a "));
        let good = json!({"metadata": {"name": NAME, "namespace": "a"}, "data": {"ca.crt": "PEM"}});
        assert_eq!(plan(Some(good)), "");
        let bad = json!({"metadata": {"name": NAME, "namespace": "a"}, "data": {"x": "y"}});
        assert_eq!(
            plan(Some(bad)),
            format!("merge configmaps a/{NAME}  {{\"data\":{{\"ca.crt\":\"PEM\",\"x\":null}}}}\n")
        );
        assert!(!namespace.metadata.deleting());
    }
}
