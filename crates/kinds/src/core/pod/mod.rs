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
    Cell, Does, Hooks, Kind, Subresource, Verb, act, age_column, column, connect, name_column,
    status, wide,
};
use skiff_api::object::Object;

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
const PROXY: &[Verb] = &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];

pub fn kind() -> Kind {
    Kind {
        short: vec!["po".into()],
        categories: vec!["all".into()],
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
            ..Hooks::NONE
        },
        graceful: true,
        shows_deleted: true,
        ..Kind::new("v1", "Pod", "pods", "io.k8s.api.core.v1.Pod")
    }
}

fn subresources() -> Vec<Subresource> {
    let part = |name: &'static str, part: &'static [&'static str]| Subresource {
        name: name.into(),
        does: Does::Part { part, keeps: &[] },
        verbs: Verb::PART,
        body: None,
    };
    let resize: &[&str] = &["spec.containers", "spec.initContainers", "spec.resources"];
    vec![
        connect("attach", STREAM, "PodAttachOptions"),
        act("binding", ("", "v1", "Binding")),
        part("ephemeralcontainers", &["spec.ephemeralContainers"]),
        act("eviction", ("policy", "v1", "Eviction")),
        connect("exec", STREAM, "PodExecOptions"),
        connect("log", &[Verb::Get], "Pod"),
        connect("portforward", STREAM, "PodPortForwardOptions"),
        connect("proxy", PROXY, "PodProxyOptions"),
        part("resize", resize),
        status(),
    ]
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
pub(crate) fn containers<'a>(pod: &'a Object, list: &str) -> &'a [serde_json::Value] {
    pod.list(&format!("spec.{list}"))
}
