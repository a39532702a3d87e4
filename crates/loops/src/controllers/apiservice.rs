//! APIServices: every group and version that is served here is registered under its name (API reference: APIService),
//! and of one that a Service serves it is said whether it is available: whether that Service leads anywhere, and
//! whether who is there answers. That is looked at when anything of it changes, and from time to time.
//!
//! Those of built-in kinds are made once and put right when the server starts; whoever deletes one has it gone until
//! then. Those of definitions come and go with them.

use crate::parts::conditions::{condition, set};
use crate::parts::status::{this_revision, write};
use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::kind::api_version;
use skiff_api::view::{Key, View};
use skiff_api::wire::User;
use skiff_base::{Backoff, Time};
use skiff_client::Caches;
use skiff_json::json;
use skiff_kinds::views::{
    ApiService, ApiServiceBackend, CustomResourceDefinition, EndpointPort, EndpointSlice,
    Namespace, Service,
};
use std::sync::Arc;
use std::time::Duration;

/// How long what was found holds: a server can go, and come, without anything in the cluster telling of it. Who does
/// not answer is asked again sooner at first.
const AGAIN: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(30) };
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// What groups come before which in lists of groups, and the number of a version within its own, as upstream has it.
#[rustfmt::skip]
const PRIORITIES: &[(&str, i64, i64)] = &[
    ("", 18_000, 1),
    ("apps", 17_800, 15),
    ("events.k8s.io", 17_750, 15),
    ("authentication.k8s.io", 17_700, 15),
    ("authorization.k8s.io", 17_600, 15),
    ("autoscaling", 17_500, 15),
    ("batch", 17_400, 15),
    ("certificates.k8s.io", 17_300, 15),
    ("networking.k8s.io", 17_200, 15),
    ("policy", 17_100, 15),
    ("rbac.authorization.k8s.io", 17_000, 15),
    ("storage.k8s.io", 16_800, 15),
    ("admissionregistration.k8s.io", 16_700, 15),
    ("apiextensions.k8s.io", 16_700, 15),
    ("scheduling.k8s.io", 16_600, 15),
    ("coordination.k8s.io", 16_500, 15),
    ("node.k8s.io", 16_300, 15),
    ("discovery.k8s.io", 16_200, 15),
    ("resource.k8s.io", 16_200, 21),
    ("flowcontrol.apiserver.k8s.io", 16_100, 21),
    ("storagemigration.k8s.io", 15_800, 15),
];
/// Of versions that are not the first of their group.
const SECOND: &[(&str, &str, i64)] = &[("autoscaling", "v2", 30)];
/// Of groups that definitions make.
const DEFINED: (i64, i64) = (1000, 100);

/// Key: the name of an APIService, `version.group`.
pub struct Registration;

pub struct Seen {
    key: Key,
    wanted: Option<Wanted>,
    found: Option<Arc<ApiService>>,
    /// Of one that a Service serves: what stands in the way.
    backend: Option<Result<(), Lack>>,
}

/// What is to be registered: priorities of group and version, and until when.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    group: i64,
    version: i64,
    lasting: &'static str,
}

/// Why nobody can be asked, or what came of asking.
#[derive(Debug, PartialEq)]
enum Lack {
    Service,
    /// The Service has not that port.
    Port,
    Slices,
    /// No endpoint is ready at the port of this name.
    Ready(String),
    Answer(String),
}

/// Built-in ones are looked after once.
#[derive(Default)]
pub struct Memory {
    synced: bool,
    /// How often who is there did not answer, one after the other.
    failures: u32,
}

impl Loop for Registration {
    const NAME: &'static str = "kube-apiserver";
    const PART: &'static str = "autoregister";
    const MANAGER: &'static str = "kube-apiserver";
    /// Those who never answer keep a worker for five seconds of each thirty: hundreds of them keep nobody waiting.
    const WORKERS: usize = 64;
    type Seen = Seen;
    type Memory = Memory;

    /// Upstream does this inside the API server.
    fn user() -> User {
        User::system("system:apiserver", &["system:masters"])
    }

    fn on(on: &mut On) {
        // What is written of it here wakes nobody: the next look has its time.
        on.own_if::<ApiService>(|old, new| match (old, new) {
            (Some(old), Some(new)) => {
                old.spec != new.spec || old.metadata.labels != new.metadata.labels
            }
            _ => true,
        });
        // A namespace that is always there tells of the beginning.
        on.map::<Namespace>(|namespace, _| match &*namespace.metadata.name {
            "kube-system" => PRIORITIES
                .iter()
                .map(|(group, ..)| ("v1", *group))
                .chain(SECOND.iter().map(|(group, version, _)| (*version, *group)))
                .map(|(version, group)| name(version, group))
                .collect(),
            _ => Vec::new(),
        });
        on.map::<CustomResourceDefinition>(|crd, _| {
            crd.spec.versions.iter().map(|it| name(&it.name, &crd.spec.group)).collect()
        });
        on.map::<Service>(|service, caches| of_service(&service.metadata.key(), caches));
        on.map::<EndpointSlice>(|slice, caches| {
            let service = slice.metadata.labels.get(SERVICE_NAME);
            let service = service.map(|name| Key::new(&slice.metadata.namespace, name));
            service.map_or_else(Vec::new, |service| of_service(&service, caches))
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some((version, group)) = key.name.split_once('.') else { return Ok(None) };
        let found = cx.caches.of::<ApiService>().get(key);
        let backend = match found.as_ref().and_then(|it| it.spec.service.as_ref()) {
            None => None,
            Some(named) => Some(match leads_somewhere(named, &cx.caches) {
                Ok(()) => (cx.settings.reach)(&key.name).await.map_err(Lack::Answer),
                lack => lack,
            }),
        };
        let crds = cx.caches.of::<CustomResourceDefinition>().find("group", group);
        let defined = crds.iter().flat_map(|crd| &crd.spec.versions);
        let wanted = if defined.into_iter().any(|it| it.served && it.name == version) {
            Some(Wanted { group: DEFINED.0, version: DEFINED.1, lasting: "true" })
        } else {
            let registry = cx.kinds.now();
            let mut kinds = registry.kinds().iter();
            let built_in =
                kinds.any(|it| !it.is_custom() && it.group == group && it.version == version);
            built_in.then(|| priority(group, version)).flatten()
        };
        Ok(Some(Seen { key: key.clone(), wanted, found, backend }))
    }

    fn plan(seen: &Seen, memory: &mut Memory, now: Time, out: &mut Changes) -> Next {
        let mut next = Next::Wait;
        if let (Some(found), Some(backend)) = (&seen.found, &seen.backend) {
            tell(found, backend, now, out);
            let answered = !matches!(backend, Err(Lack::Answer(_)));
            memory.failures = if answered { 0 } else { memory.failures.saturating_add(1) };
            next = Next::At(now + if answered { AGAIN.most } else { AGAIN.delay(memory.failures) });
        }
        let once = seen.wanted.is_some_and(|it| it.lasting == "onstart");
        if once && memory.synced {
            return next;
        }
        memory.synced = true;
        register(seen, out);
        next
    }
}

/// The APIServices that name a Service.
fn of_service(service: &Key, caches: &Caches) -> Vec<Key> {
    let services = caches.of::<ApiService>().find("service", &service.to_string());
    services.iter().map(|it| it.metadata.key()).collect()
}

/// Whether there is anybody to ask. Only a Service with an address in the cluster says enough to tell.
fn leads_somewhere(named: &ApiServiceBackend, caches: &Caches) -> Result<(), Lack> {
    let key = Key::new(&named.namespace, &named.name);
    let service = caches.of::<Service>().get(&key).ok_or(Lack::Service)?;
    if service.spec.type_ != "ClusterIP" {
        return Ok(());
    }
    let port = service.spec.ports.iter().find(|it| i64::from(it.port) == named.port);
    let port = port.ok_or(Lack::Port)?;
    let slices = caches.of::<EndpointSlice>().find("service", &key.to_string());
    if slices.is_empty() {
        return Err(Lack::Slices);
    }
    let ready = slices.iter().any(|slice| {
        let named = |it: &EndpointPort| it.name.as_deref().unwrap_or("") == port.name;
        slice.endpoints.iter().any(|it| it.conditions.ready.unwrap_or(true))
            && slice.ports.iter().any(|it| named(it) && it.port.is_some())
    });
    if ready { Ok(()) } else { Err(Lack::Ready(port.name.clone())) }
}

fn name(version: &str, group: &str) -> Key {
    Key::new("", &format!("{version}.{group}"))
}

fn priority(group: &str, version: &str) -> Option<Wanted> {
    let (_, place, number) = PRIORITIES.iter().find(|(name, ..)| *name == group)?;
    let second = SECOND.iter().find(|(name, of, _)| (*name, *of) == (group, version));
    let version = second.map_or(*number, |(.., number)| *number);
    Some(Wanted { group: *place, version, lasting: "onstart" })
}

fn register(seen: &Seen, out: &mut Changes) {
    let resource = ApiService::RESOURCE;
    let (version, group) = seen.key.name.split_once('.').unwrap_or((&seen.key.name, ""));
    let managed = |it: &ApiService| it.metadata.labels.get(MANAGED).cloned();
    match (&seen.found, seen.wanted) {
        (None, None) => {}
        (None, Some(wanted)) => {
            let body = json!({"apiVersion": api_version(resource.group, resource.version), "kind": resource.kind,
                "metadata": {"name": seen.key.name, "labels": {MANAGED: wanted.lasting}},
                "spec": {"group": group, "version": version, "groupPriorityMinimum": wanted.group,
                    "versionPriority": wanted.version}});
            out.create(resource, "", body);
        }
        (Some(found), None) => {
            // A definition is gone; what users made themselves is theirs.
            if managed(found).as_deref() == Some("true") {
                out.delete(resource, seen.key.clone(), &found.metadata.uid);
            }
        }
        (Some(found), Some(wanted)) => {
            let now = (found.spec.group_priority_minimum, found.spec.version_priority);
            let other = now != (wanted.group, wanted.version) || found.spec.service.is_some();
            if managed(found).is_some() && other {
                let spec = json!({"groupPriorityMinimum": wanted.group, "versionPriority": wanted.version,
                    "service": null, "caBundle": null, "insecureSkipTLSVerify": null});
                let body = json!({"metadata": this_revision(&found.metadata), "spec": spec});
                out.merge(resource, seen.key.clone(), body);
            }
        }
    }
}

/// Says whether it is available, and the first reason why not, in upstream's words.
fn tell(found: &ApiService, backend: &Result<(), Lack>, now: Time, out: &mut Changes) {
    let Some(ApiServiceBackend { namespace, name, port }) = &found.spec.service else { return };
    let service = format!("service/{name} in {namespace:?}");
    let (status, reason, message) = match backend {
        Ok(()) => ("True", "Passed", "all checks passed".to_owned()),
        Err(Lack::Service) => ("False", "ServiceNotFound", format!("{service} is not present")),
        Err(Lack::Port) => {
            ("False", "ServicePortError", format!("{service} is not listening on port {port}"))
        }
        Err(Lack::Slices) => {
            ("False", "EndpointsNotFound", format!("cannot find endpointslices for {service}"))
        }
        Err(Lack::Ready(port)) => {
            let why =
                format!("endpointslices for {service} have no addresses with port name {port:?}");
            ("False", "MissingEndpoints", why)
        }
        Err(Lack::Answer(why)) => ("False", "FailedDiscoveryCheck", why.clone()),
    };
    let mut after = found.status.clone();
    set(&mut after.conditions, condition("Available", status, reason, message, now));
    write(found, this_revision(&found.metadata), (&found.status, &after), out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use skiff_json::Value;

    fn check(name: &str, wanted: Option<Wanted>, found: Option<Value>, expected: Expect) {
        let found = found.map(|it| Arc::new(skiff_json::from_value(it).expect("a valid view")));
        let backend = found.as_ref().and_then(|it: &Arc<ApiService>| it.spec.service.as_ref());
        let backend = backend.map(|_| Err(Lack::Service));
        let (mut memory, mut out) = (Memory::default(), Changes::default());
        let seen = Seen { key: Key::new("", name), wanted, found, backend };
        Registration::plan(&seen, &mut memory, Time::UNIX_EPOCH, &mut out);
        expected.assert_eq(&out.text());
        let mut again = Changes::default();
        if seen.found.is_none() {
            Registration::plan(&seen, &mut memory, Time::UNIX_EPOCH, &mut again);
            assert!(again.is_empty(), "a built-in one is made once");
        }
    }

    #[test]
    fn what_is_served_is_registered_once() {
        check(
            "v1.apps",
            priority("apps", "v1"),
            None,
            expect![[r#"
                create apiservices  {"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"labels":{"kube-aggregator.kubernetes.io/automanaged":"onstart"},"name":"v1.apps"},"spec":{"group":"apps","groupPriorityMinimum":17800,"version":"v1","versionPriority":15}}
            "#]],
        );
        let bent = json!({"metadata": {"name": "v1.apps", "uid": "u", "resourceVersion": "2",
            "labels": {MANAGED: "onstart"}}, "spec": {"groupPriorityMinimum": 1, "versionPriority": 15}});
        check(
            "v1.apps",
            priority("apps", "v1"),
            Some(bent),
            expect![[r#"
                merge apiservices v1.apps  {"metadata":{"resourceVersion":"2","uid":"u"},"spec":{"caBundle":null,"groupPriorityMinimum":17800,"insecureSkipTLSVerify":null,"service":null,"versionPriority":15}}
            "#]],
        );
    }

    #[test]
    fn those_of_definitions_go_with_them() {
        let gone = |label: &str| json!({"metadata": {"name": "v1.x.com", "uid": "u", "labels": {MANAGED: label}}});
        check(
            "v1.x.com",
            None,
            Some(gone("true")),
            expect![[r#"
            delete apiservices v1.x.com uid=u
        "#]],
        );
        check("v1.x.com", None, Some(gone("no")), expect![[""]]);
    }

    #[test]
    fn what_a_service_would_serve_is_not_available() {
        let remote = json!({"metadata": {"name": "v1.x.com", "uid": "u", "resourceVersion": "2"},
            "spec": {"service": {"namespace": "n", "name": "s", "port": 443}}});
        check(
            "v1.x.com",
            None,
            Some(remote),
            expect![[r#"
            merge apiservices v1.x.com status {"metadata":{"resourceVersion":"2","uid":"u"},"status":{"conditions":[{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"service/s in \"n\" is not present","reason":"ServiceNotFound","status":"False","type":"Available"}]}}
        "#]],
        );
    }
}
