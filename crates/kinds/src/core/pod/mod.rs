//! Pod: containers that run together on one node (API reference: workload-resources).
//!
//! One file for each hook. What pods share with the templates of workloads works on a pod *spec* and a path, so that
//! ReplicaSet and Deployment call the same functions: `default::spec`, `validate::spec`, `prepare::drop_disabled`.

mod columns;
pub mod conditions;
pub mod default;
pub mod image;
pub mod prepare;
pub mod validate;
pub mod warn;

use skiff_api::kind::{
    Act, Cell, Connect, Does, Hooks, Kind, Proxied, Subresource, Verb, act, age_column, column,
    connect, name_column, status, wide,
};
use skiff_api::object::Object;
use skiff_api::view::Resource;

pub const RESOURCE: Resource = Resource::core("pods", "Pod");

/// The lists of containers in a pod's spec, in the order in which upstream visits them.
pub const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

const SELECTABLE: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];
const STREAM: &[Verb] = &[Verb::Create, Verb::Get];

pub fn kind() -> Kind {
    Kind {
        short: vec!["po".into()],
        categories: vec!["all".into()],
        converts_fields: true,
        selectable: SELECTABLE.iter().map(|path| (*path).into()).collect(),
        subresources: subresources(),
        columns: vec![
            name_column(),
            column("Ready", Cell::With(columns::ready)),
            column("Status", Cell::With(columns::status)),
            column("Restarts", Cell::Since(columns::restarts)),
            age_column(),
            wide("IP", Cell::With(columns::ip)),
            wide("Node", Cell::With(|pod| columns::text_or_none(pod.text("spec.nodeName")))),
            wide(
                "Nominated Node",
                Cell::With(|pod| columns::text_or_none(pod.text("status.nominatedNodeName"))),
            ),
            wide("Readiness Gates", Cell::With(columns::readiness_gates)),
        ],
        hooks: Hooks {
            default: default::pod,
            prepare: prepare::prepare,
            prepare_part: prepare::part,
            fields: Some(fields),
            validate: validate::pod,
            validate_part: validate::part,
            warn: warn::pod,
            generation: Some(Hooks::spec_changed),
            grace_s: Some(grace_s),
            ..Hooks::NONE
        },
        shows_deleted: true,
        ..Kind::new(RESOURCE)
    }
}

fn subresources() -> Vec<Subresource> {
    let part = |name: &'static str, part: &'static [&'static str]| Subresource {
        name: name.into(),
        does: Does::Part { part, keeps: &[] },
        verbs: Verb::PART,
        body: None,
        unowned: &[],
    };
    let resize: &[&str] = &["metadata", "spec.containers", "spec.initContainers", "spec.resources"];
    vec![
        connect("attach", Connect::Remote, STREAM, "PodAttachOptions"),
        act("binding", Act::Bind, ("", "v1", "Binding")),
        part("ephemeralcontainers", &["metadata", "spec.ephemeralContainers"]),
        act("eviction", Act::Evict, ("policy", "v1", "Eviction")),
        connect("exec", Connect::Remote, STREAM, "PodExecOptions"),
        connect("log", Connect::Log, &[Verb::Get], "Pod"),
        connect("portforward", Connect::PortForward, STREAM, "PodPortForwardOptions"),
        connect("proxy", Connect::Proxy(Proxied::Pod), Verb::PROXY, "PodProxyOptions"),
        part("resize", resize),
        status(),
    ]
}

/// How long a pod has to end: what was asked for, else what it says; nothing when nothing of it runs.
fn grace_s(pod: &Object, asked_s: Option<i64>) -> i64 {
    let ended = matches!(pod.text("status.phase"), "Failed" | "Succeeded");
    if pod.text("spec.nodeName").is_empty() || ended {
        return 0;
    }
    match asked_s.or(pod.int("spec.terminationGracePeriodSeconds")) {
        Some(negative) if negative < 0 => 1,
        Some(seconds) => seconds,
        None => 30,
    }
}

/// What field selectors read: a flag that is not set reads `false`, and the address is the first.
fn fields(pod: &Object, put: &mut dyn FnMut(&'static str, &str)) {
    for path in SELECTABLE.iter().copied() {
        match path {
            "spec.hostNetwork" if pod.flag(path) => put(path, "true"),
            "spec.hostNetwork" => put(path, "false"),
            path => put(path, pod.text(path)),
        }
    }
}

/// The containers of one list of a spec.
pub(crate) fn containers<'a>(pod: &'a Object, list: &str) -> &'a [skiff_json::Value] {
    pod.list(&format!("spec.{list}"))
}
