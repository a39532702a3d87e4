//! Which nodes a daemon fits, and how its pod is meant for one: it requires the node by its name, and the scheduler
//! binds it there (concepts: DaemonSet).

use serde::Deserialize;
use skiff_api::view::Key;
use skiff_client::Caches;
use skiff_json::{Value, json};
use skiff_kinds::views::pod::{NODE_NAME, PodSpec, tolerated};
use skiff_kinds::views::{DaemonSet, NOT_READY, Node, Pod, Taint, UNREACHABLE, UNSCHEDULABLE};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
/// Troubles of a node that its daemons outlast: the taint and its effect.
const OUTLASTED: [(&str, &str); 6] = [
    (NOT_READY, "NoExecute"),
    (UNREACHABLE, "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    (UNSCHEDULABLE, "NoSchedule"),
];
/// The network of a node may be missing to those alone who use that of the machine.
const WITHOUT_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// What the pods of a set have in common.
pub struct Daemon {
    /// With all that is tolerated.
    spec: Value,
    wants: PodSpec,
}

/// How a node fits a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    Never,
    /// It gets no new pod, and keeps the one that it has.
    Stays,
    Runs,
}

impl Daemon {
    pub fn of(set: &DaemonSet) -> Result<Daemon, skiff_json::Error> {
        let mut spec = set.spec.template.spec.clone();
        let network = spec["hostNetwork"].as_bool().unwrap_or(false).then_some(WITHOUT_NETWORK);
        for (key, effect) in OUTLASTED.into_iter().chain(network) {
            tolerate(&mut spec, json!({"key": key, "operator": "Exists", "effect": effect}));
        }
        Ok(Daemon { wants: PodSpec::deserialize(&spec)?, spec })
    }

    pub fn fit(&self, node: &Node) -> Fit {
        let named = &self.wants.node_name;
        if !(named.is_empty() || *named == node.metadata.name) || !self.wants.wants(node) {
            return Fit::Never;
        }
        let repelled = |taint: &&Taint| !tolerated(&self.wants.tolerations, taint);
        let effects: Vec<&str> =
            node.spec.taints.iter().filter(repelled).map(|taint| &*taint.effect).collect();
        match () {
            () if effects.contains(&"NoExecute") => Fit::Never,
            () if effects.contains(&"NoSchedule") => Fit::Stays,
            () => Fit::Runs,
        }
    }

    /// The spec of the pod for one node: what the template requires of nodes was looked at already.
    pub fn on(&self, node: &str) -> Value {
        let mut spec = self.spec.clone();
        let field = json!({"key": NODE_NAME, "operator": "In", "values": [node]});
        spec["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"] =
            json!([{"matchFields": [field]}]);
        spec
    }
}

/// Adds a toleration, or puts it in the place of one that ends after some time.
fn tolerate(spec: &mut Value, toleration: Value) {
    if !spec["tolerations"].is_array() {
        spec["tolerations"] = json!([]);
    }
    let Some(list) = spec["tolerations"].as_array_mut() else { return };
    let text = |it: &Value, field: &str| it[field].as_str().unwrap_or("").to_owned();
    let same = |it: &&mut Value| {
        ["key", "operator", "value", "effect"].iter().all(|f| text(it, f) == text(&toleration, f))
    };
    let mut found = false;
    for it in list.iter_mut().filter(same) {
        *it = toleration.clone();
        found = true;
    }
    if !found {
        list.push(toleration);
    }
}

/// The node that a pod is on or is meant for.
pub fn target(pod: &Pod) -> Option<&str> {
    if !pod.spec.node_name.is_empty() {
        return Some(&pod.spec.node_name);
    }
    let required = pod.spec.affinity.node_affinity.required.as_ref()?;
    let mut fields = required.node_selector_terms.iter().flat_map(|term| &term.match_fields);
    let named = fields.find(|field| field.key == NODE_NAME && field.operator == "In")?;
    match &named.values[..] {
        [one] => Some(one),
        _ => None,
    }
}

/// The sets that a change of a node makes a difference to.
pub fn concerned(old: Option<&Node>, new: Option<&Node>, caches: &Caches) -> Vec<Key> {
    if let (Some(old), Some(new)) = (old, new)
        && old.metadata.labels == new.metadata.labels
        && old.spec.taints == new.spec.taints
    {
        return Vec::new();
    }
    let differs = |set: &DaemonSet| {
        // One whose template cannot be read says so in its pass.
        let Ok(daemon) = Daemon::of(set) else { return true };
        let fit = |node: Option<&Node>| node.map_or(Fit::Never, |node| daemon.fit(node));
        set.status.number_misscheduled > 0 || fit(old) != fit(new)
    };
    let sets = caches.of::<DaemonSet>().list("");
    sets.iter().filter(|set| differs(set)).map(|set| set.metadata.key()).collect()
}
