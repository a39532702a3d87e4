//! Who is meant: a pod by its name, the container in it, the node it runs on, an endpoint of a
//! service. Never here: a connection.

use crate::Server;
use crate::request::Request;
use skiff_api::Status;
use skiff_api::kind::Kind;
use skiff_api::object::Object;
use skiff_store::{Currency, ListRequest, Scope};
use std::sync::Arc;

/// A node's API, by address.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub name: String,
    pub address: String,
    pub port: u16,
}

/// Where a node listens if it does not say.
const KUBELET_PORT: u16 = 10250;

/// The label that names the Service of an EndpointSlice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// An object of the core group as it is now.
pub async fn object(
    server: &Server,
    request: &Request,
    plural: &str,
    namespace: &str,
    name: &str,
) -> Result<Object, Status> {
    let kind = kind(request, "", plural)?;
    let found = server.reader.read(kind, namespace, name, Currency::Current).await?;
    let found = found.ok_or_else(|| Status::not_found(kind.about(), name))?;
    Ok(found.object)
}

fn kind<'a>(request: &'a Request, group: &str, plural: &str) -> Result<&'a Arc<Kind>, Status> {
    let found = request.registry.find(group, "v1", plural);
    found.ok_or_else(|| Status::internal(format!("{plural} are not served")))
}

/// The pod that a request names.
pub async fn pod(server: &Server, request: &Request) -> Result<Object, Status> {
    object(server, request, "pods", &request.resource.namespace, &request.resource.name).await
}

/// The container that is meant: the named one, or the only one.
pub fn container(pod: &Object, named: Option<&str>) -> Result<String, Status> {
    let lists = ["spec.initContainers", "spec.containers", "spec.ephemeralContainers"];
    let names = lists.iter().flat_map(|list| pod.list(list)).filter_map(|c| c["name"].as_str());
    let names: Vec<&str> = names.collect();
    match (named, pod.list("spec.containers")) {
        (Some(name), _) if names.contains(&name) => Ok(name.to_owned()),
        (Some(name), _) => {
            let why = format!("container {name} is not valid for pod {}", pod.name());
            Err(Status::bad_request(why))
        }
        (None, [only]) => Ok(only["name"].as_str().unwrap_or("").to_owned()),
        (None, _) => Err(Status::bad_request(format!(
            "a container name must be specified for pod {}, choose one of: [{}]",
            pod.name(),
            names.join(" ")
        ))),
    }
}

/// Where the pod's node listens; `None` while it has none.
pub async fn node_of(
    server: &Server,
    request: &Request,
    pod: &Object,
) -> Result<Option<Node>, Status> {
    match pod.text("spec.nodeName") {
        "" => Ok(None),
        name => node(server, request, name).await.map(Some),
    }
}

/// Where a node listens.
pub async fn node(server: &Server, request: &Request, name: &str) -> Result<Node, Status> {
    let found = object(server, request, "nodes", "", name).await?;
    let port = found.int("status.daemonEndpoints.kubeletEndpoint.Port");
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
    let addresses = found.list("status.addresses");
    // Upstream's order (--kubelet-preferred-address-types), but addresses before names: a name
    // would have to be resolved.
    let address = ["InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS"]
        .iter()
        .find_map(|type_| addresses.iter().find(|a| a["type"] == *type_)?["address"].as_str());
    let Some(address) = address else {
        let why = format!("no preferred addresses found; known addresses: {addresses:?}");
        return Err(Status::internal(why));
    };
    Ok(Node {
        name: name.to_owned(),
        address: address.to_owned(),
        port: port.unwrap_or(KUBELET_PORT),
    })
}

/// All addresses and ports that a port of a service leads to now.
pub async fn endpoints(
    server: &Server,
    request: &Request,
    service: &Object,
    port_name: &str,
) -> Result<Vec<(String, u16)>, Status> {
    let kind = kind(request, "discovery.k8s.io", "endpointslices")?;
    let scope = Scope::prefix(&kind.prefix(service.namespace()));
    let wanted = ListRequest { scope, ..ListRequest::default() };
    let mut found = Vec::new();
    for slice in server.reader.list(kind, wanted).await? {
        if slice.label(SERVICE_NAME) == Some(service.name()) {
            found.extend(ready(&slice, port_name));
        }
    }
    Ok(found)
}

fn ready(slice: &Object, port_name: &str) -> Vec<(String, u16)> {
    let is = |port: &&skiff_json::Value| port["name"].as_str().unwrap_or("") == port_name;
    let port = slice.list("ports").iter().find(is).and_then(|port| port["port"].as_u64());
    let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else { return Vec::new() };
    let ready = |it: &&skiff_json::Value| it["conditions"]["ready"].as_bool().unwrap_or(true);
    let endpoints = slice.list("endpoints").iter().filter(ready);
    let address = |it: &skiff_json::Value| it["addresses"][0].as_str().map(str::to_owned);
    endpoints.filter_map(address).map(|address| (address, port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use skiff_json::json;

    #[test]
    fn containers_are_found_or_refused_in_known_words() {
        let pod = |containers: &[&str]| {
            let list: Vec<_> = containers.iter().map(|name| json!({"name": name})).collect();
            let spec = json!({"initContainers": [{"name": "i"}], "containers": list});
            Object::new(json!({"metadata": {"name": "p"}, "spec": spec}))
        };
        let mut out = String::new();
        for (containers, named) in
            [(&["a"][..], None), (&["a", "b"], Some("i")), (&["a", "b"], None), (&["a"], Some("z"))]
        {
            let found = container(&pod(containers), named).map_err(|status| status.message);
            out += &format!("{found:?}\n");
        }
        expect![[r#"
            Ok("a")
            Ok("i")
            Err("a container name must be specified for pod p, choose one of: [i a b]")
            Err("container z is not valid for pod p")
        "#]]
        .assert_eq(&out);
    }

    #[test]
    fn only_ready_endpoints_of_the_named_port_count() {
        let slice = Object::new(json!({"ports": [{"name": "http", "port": 80}, {"port": 9}],
            "endpoints": [{"addresses": ["10.0.0.1"]},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}]}));
        assert_eq!(ready(&slice, "http"), [("10.0.0.1".to_owned(), 80)]);
        assert_eq!(ready(&slice, ""), [("10.0.0.1".to_owned(), 9)]);
        assert!(ready(&slice, "x").is_empty());
    }
}
