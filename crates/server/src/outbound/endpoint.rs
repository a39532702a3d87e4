//! Endpoints: from a Service to the addresses that serve one of its ports now, and from a host to its addresses.
//!
//! It reads bodies as they are stored: the few fields that it looks at have been in every generation of both kinds.

use super::Failure;
use serde::Deserialize;
use skiff_store::{Currency, ListRequest, Scope, Store};
use std::net::SocketAddr;

/// The facet that names the Service of an EndpointSlice.
const SERVICE_NAME: &str = "l:kubernetes.io/service-name";

#[derive(Deserialize)]
struct Service {
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec {
    #[serde(rename = "type")]
    sort: String,
    ports: Vec<Port>,
    #[serde(rename = "ipFamilies")]
    families: Vec<String>,
    #[serde(rename = "externalName")]
    external_name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Port {
    name: Option<String>,
    port: Option<u16>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Slice {
    #[serde(rename = "addressType")]
    sort: String,
    ports: Option<Vec<Port>>,
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Endpoint {
    addresses: Vec<String>,
    conditions: Conditions,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
}

/// Where a port of a Service leads: those of its first family before others. One that stands for a name elsewhere leads
/// there.
pub async fn of_service(
    store: &dyn Store,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, Failure> {
    let nowhere = |why: String| Failure::Nowhere(why);
    let record = store.get(&format!("services/{namespace}/{name}"));
    let record = record.ok_or_else(|| nowhere(format!("service \"{name}\" not found")))?;
    let service: Service = skiff_json::from_slice(&record.body)
        .map_err(|error| nowhere(format!("service \"{name}\": {error}")))?;
    let Spec { sort, ports, families, external_name } = service.spec;
    if sort == "ExternalName" {
        return of_host(&external_name, port).await;
    }
    if !matches!(&*sort, "ClusterIP" | "NodePort" | "LoadBalancer") {
        return Err(nowhere(format!("unsupported service type \"{sort}\"")));
    }
    let wanted = ports.into_iter().find(|it| it.port == Some(port));
    let wanted = wanted
        .ok_or_else(|| nowhere(format!("no service port {port} found for service \"{name}\"")))?;
    let wanted = wanted.name.unwrap_or_default();
    let asked = ListRequest {
        scope: Scope::prefix(&format!("endpointslices.discovery.k8s.io/{namespace}/")),
        facet: Some((SERVICE_NAME.into(), name.into())),
        currency: Currency::Seen,
        ..ListRequest::default()
    };
    let listed = store.list(asked).await.map_err(|error| nowhere(error.to_string()))?;
    let mut found: Vec<(bool, SocketAddr)> = Vec::new();
    for record in &listed.records {
        let slice: Slice = skiff_json::from_slice(&record.body)
            .map_err(|error| nowhere(format!("endpointslice {}: {error}", record.key)))?;
        let other_family = families.first().is_some_and(|family| *family != slice.sort);
        found.extend(ready(slice, &wanted).map(|address| (other_family, address)));
    }
    if found.is_empty() {
        return Err(nowhere(format!("no endpoints available for service \"{name}\"")));
    }
    let first = found.iter().all(|(other, _)| *other);
    Ok(found.into_iter().filter(|(other, _)| first || !other).map(|(_, it)| it).collect())
}

fn ready(slice: Slice, port_name: &str) -> impl Iterator<Item = SocketAddr> {
    let mut ports = slice.ports.into_iter().flatten();
    let port = ports.find(|it| it.name.as_deref().unwrap_or("") == port_name);
    let port = port.and_then(|port| port.port);
    let endpoints = slice.endpoints.into_iter().flatten();
    let ready = endpoints.filter(|it| it.conditions.ready.unwrap_or(true));
    ready.filter_map(move |it| {
        let address = it.addresses.first()?.parse().ok()?;
        Some(SocketAddr::new(address, port?))
    })
}

/// The addresses of a host, as the resolver of this machine knows it. It is looked up once: what is judged is what is
/// dialled.
pub async fn of_host(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let found = tokio::net::lookup_host((host, port)).await;
    let found: Vec<_> = found.map(Iterator::collect).unwrap_or_default();
    if found.is_empty() {
        return Err(Failure::Lookup { host: host.to_owned(), why: "no such host".to_owned() });
    }
    Ok(found)
}
