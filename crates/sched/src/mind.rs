//! What the scheduler has in mind: it follows the cluster change by change, decides about the next pod, and counts it
//! on its node at once. No IO and no clock, and nothing that a pod or an object holds can stop it: a panic while one is
//! looked at costs that one its turn.

use crate::plan::{Decision, Refused, plan};
use crate::plugins::{Event, PLUGINS, Write, devices};
use crate::pod::PodInfo;
use crate::preempt::Promise;
use crate::queue::{Lengths, Queue};
use crate::run::NAME;
use crate::snapshot::Snapshot;
use crate::storage::Storage;
use skiff_api::view::Key;
use skiff_kinds::views::storage::SELECTED_NODE;
use skiff_kinds::views::{Namespace, Node, PersistentVolumeClaim, Pod, PodDisruptionBudget};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// How a pod's node is found.
type Plan = fn(&Arc<PodInfo>, &Snapshot, usize) -> (Decision, usize);

pub struct Mind {
    plan: Plan,
    snapshot: Snapshot,
    queue: Queue,
    /// Pods whose binds are under way, by uid and node: the API does not show them there yet.
    assumed: HashMap<Key, (String, String)>,
    /// Of those the ones that wait for their claims to be bound first, and until when at most.
    claiming: BTreeMap<Key, (Arc<PodInfo>, Duration)>,
    /// A claim, and a pod that waits for it.
    claimed_by: BTreeSet<(Key, Key)>,
    /// Pods that wait for no claim any more.
    claimed: VecDeque<Arc<PodInfo>>,
    start: usize,
}

/// So long a pod waits for its volumes before it is tried anew (upstream's bindTimeoutSeconds).
const CLAIMING_MOST: Duration = Duration::from_secs(600);

/// What is to be done about a pod.
#[derive(Debug)]
pub enum Act {
    Bind(Arc<PodInfo>, String),
    /// To write this first. The bind follows when the pod's claims are bound.
    Claim(Arc<PodInfo>, Vec<Write>),
    Refuse(Refusal),
    /// Nothing: it is tried again later.
    Again,
}

/// What a pod without a node is told, and what is done so that it gets one.
#[derive(Debug)]
pub struct Refusal {
    pub pod: Arc<PodInfo>,
    pub message: String,
    pub promise: Promise,
    /// Lesser pods that were promised the same node, and are no more.
    pub displaced: Vec<Arc<PodInfo>>,
}

impl Default for Mind {
    fn default() -> Mind {
        Mind {
            plan,
            snapshot: Snapshot::default(),
            queue: Queue::default(),
            assumed: HashMap::new(),
            claiming: BTreeMap::new(),
            claimed_by: BTreeSet::new(),
            claimed: VecDeque::new(),
            start: 0,
        }
    }
}

impl Mind {
    pub fn node(&mut self, key: &Key, new: Option<&Arc<Node>>, now: Duration) {
        let old = self.snapshot.named(&key.name).map(|info| info.node.clone());
        self.snapshot.set_node(&key.name, new);
        let same = match (&old, new) {
            (Some(old), Some(new)) => {
                old.spec.taints == new.spec.taints
                    && old.spec.unschedulable == new.spec.unschedulable
                    && old.metadata.labels == new.metadata.labels
                    && old.metadata.annotations == new.metadata.annotations
                    && old.status.allocatable == new.status.allocatable
            }
            (old, new) => old.is_none() && new.is_none(),
        };
        if !same {
            let new = self.snapshot.named(&key.name).cloned();
            self.tell(&Event::Node(new.as_deref()), now);
        }
    }

    pub fn namespace(&mut self, key: &Key, new: Option<&Arc<Namespace>>, now: Duration) {
        let labels = |namespace: &Arc<Namespace>| namespace.metadata.labels.clone();
        let old = self.snapshot.namespaces.get(&key.name).map(labels);
        if old == new.map(labels) {
            return;
        }
        self.snapshot.set_namespace(&key.name, new);
        self.tell(&Event::Namespace, now);
    }

    pub fn claim(&mut self, key: &Key, new: Option<&Arc<PersistentVolumeClaim>>, now: Duration) {
        Arc::make_mut(&mut self.snapshot.storage).set_claim(key, new);
        let first = (key.clone(), Key::default());
        let waiting = self.claimed_by.range(first..).take_while(|(claim, _)| claim == key);
        let waiting: Vec<Key> = waiting.map(|(_, pod)| pod.clone()).collect();
        for pod in waiting {
            self.look_at_claims(&pod, now);
        }
        self.tell(&Event::Claim(key), now);
    }

    pub fn storage(&mut self, change: impl FnOnce(&mut Storage), now: Duration) {
        change(Arc::make_mut(&mut self.snapshot.storage));
        self.tell(&Event::Storage, now);
    }

    /// A pod that waits for its claims: it may be bound, or is tried anew, or waits on.
    fn look_at_claims(&mut self, pod: &Key, now: Duration) {
        let Some((info, until)) = self.claiming.get(pod).cloned() else { return };
        let Some((_, node)) = self.assumed.get(pod).cloned() else { return };
        let mut bound = true;
        let mut hopeless = until <= now;
        for key in &info.claims {
            let Some(claim) = self.snapshot.storage.claim(key) else {
                hopeless = true;
                continue;
            };
            let selected = claim.metadata.annotations.get(SELECTED_NODE);
            // Whoever was to make the volume there takes the note away when he cannot.
            hopeless |= claim.metadata.deleting() || selected.is_some_and(|it| *it != node);
            bound &= claim.is_bound();
        }
        if hopeless && !bound {
            self.unbound(&info, now);
        } else if bound {
            self.wait_no_more(pod);
            self.claimed.push_back(info);
        }
    }

    fn wait_no_more(&mut self, pod: &Key) {
        if let Some((info, _)) = self.claiming.remove(pod) {
            for claim in &info.claims {
                self.claimed_by.remove(&(claim.clone(), pod.clone()));
            }
        }
    }

    pub fn budget(&mut self, key: &Key, new: Option<&Arc<PodDisruptionBudget>>) {
        self.snapshot.set_budget(key, new);
    }

    pub fn pod(&mut self, key: &Key, new: Option<&Arc<Pod>>, now: Duration) {
        let new = new.filter(|new| !new.ended()).map(|new| Arc::new(PodInfo::new(new.clone())));
        if let Some((uid, _)) = self.assumed.get(key)
            && new.as_ref().is_none_or(|new| new.uid() != uid || new.node().is_some())
        {
            self.assumed.remove(key);
            self.queue.remove(key);
            if let Some((info, _)) = self.claiming.get(key).cloned() {
                self.wait_no_more(key);
                self.give_back(&info, "");
            }
        }
        let assumed = self.assumed.get(key).map(|(_, node)| node.clone());
        let place = new.as_ref().and_then(|new| new.node().map(str::to_owned)).or(assumed);
        self.place(key, new.as_ref().zip(place.as_deref()), now);
        match new.filter(|new| wants_node(&new.pod)) {
            Some(new) => {
                self.hear_promise(&new);
                self.queue.add(new, now);
            }
            None => {
                self.snapshot.unpromise(key);
                self.queue.remove(key);
            }
        }
    }

    /// What the API says of a promise counts when it changes: what was just decided here shows there later.
    fn hear_promise(&mut self, new: &Arc<PodInfo>) {
        let old = self.queue.get(&new.key).filter(|old| old.uid() == new.uid());
        let of = |pod: &PodInfo| pod.pod.status.nominated_node_name.clone();
        let (before, after) = (old.map_or_else(String::new, |old| of(old)), of(new));
        let node = match before == after {
            true => self.snapshot.promised(&new.key).map(str::to_owned),
            false => Some(after).filter(|name| !name.is_empty()),
        };
        self.snapshot.promise(new, node.as_deref());
    }

    fn place(&mut self, key: &Key, to: Option<(&Arc<PodInfo>, &str)>, now: Duration) {
        let old = self.snapshot.pod(key).map(|(node, info)| (node.name.clone(), info.clone()));
        self.snapshot.set_pod(key, to);
        match (&old, to) {
            (Some((was, old)), Some((new, is))) if was == is && old.uid() == new.uid() => {
                let (a, b) = (&old.pod.metadata, &new.pod.metadata);
                let same = a.labels == b.labels && a.deleting() == b.deleting();
                if !same || old.requests != new.requests {
                    self.tell(&Event::Changed { old, new }, now);
                }
            }
            (old, new) => {
                if let Some((_, old)) = old {
                    self.tell(&Event::Left(old), now);
                }
                if let Some((new, _)) = new {
                    self.tell(&Event::Came(new), now);
                }
            }
        }
    }

    fn tell(&mut self, event: &Event, now: Duration) {
        self.queue.tell(event, &self.snapshot, now);
    }

    pub fn is_ready(&mut self, now: Duration) -> bool {
        let late = self.claiming.iter().filter(|(_, (_, until))| *until <= now);
        let late: Vec<Key> = late.map(|(key, _)| key.clone()).collect();
        late.iter().for_each(|pod| self.look_at_claims(pod, now));
        !self.claimed.is_empty() || self.queue.is_ready(now)
    }

    /// When a pod becomes ready without any change.
    pub fn next(&self) -> Option<Duration> {
        let claiming = self.claiming.values().map(|(_, until)| *until).min();
        self.queue.next().into_iter().chain(claiming).min()
    }

    pub fn lengths(&self) -> Lengths {
        self.queue.lengths()
    }

    /// Decides about the next pod that is ready.
    pub fn decide(&mut self, now: Duration) -> Option<Act> {
        while let Some(pod) = self.claimed.pop_front() {
            let at = self.assumed.get(&pod.key).filter(|(uid, _)| uid == pod.uid());
            if let Some((_, node)) = at {
                let node = node.clone();
                return Some(Act::Bind(pod, node));
            }
        }
        let pod = self.queue.take(now)?;
        let planned = guarded(&pod.key, || (self.plan)(&pod, &self.snapshot, self.start));
        let Some((decision, next)) = planned else {
            self.queue.again(&pod.key, now);
            return Some(Act::Again);
        };
        self.start = next;
        match decision {
            Decision::Refuse(refused) => {
                tracing::debug!(key = %pod.key, by = ?refused.by, "refused");
                self.queue.refused(&pod.key, refused.by, now);
                let displaced = self.promise(&pod, &refused.promise);
                let Refused { message, promise, .. } = refused;
                Some(Act::Refuse(Refusal { pod, message, promise, displaced }))
            }
            Decision::Bind(node) => {
                let mut writes = Vec::new();
                for plugin in PLUGINS {
                    match plugin.reserve(&pod, &node, &mut self.snapshot) {
                        Ok(more) => writes.extend(more),
                        Err(why) => {
                            tracing::warn!(key = %pod.key, node, why, "not reserved");
                            self.give_back(&pod, &node);
                            self.queue.again(&pod.key, now);
                            return Some(Act::Again);
                        }
                    }
                }
                self.assumed.insert(pod.key.clone(), (pod.uid().to_owned(), node.clone()));
                self.place(&pod.key.clone(), Some((&pod, &node)), now);
                self.snapshot.unpromise(&pod.key);
                if writes.is_empty() {
                    return Some(Act::Bind(pod, node));
                }
                self.claiming.insert(pod.key.clone(), (pod.clone(), now + CLAIMING_MOST));
                let both = |claim: &Key| (claim.clone(), pod.key.clone());
                self.claimed_by.extend(pod.claims.iter().map(both));
                Some(Act::Claim(pod, writes))
            }
        }
    }

    /// Keeps a promise, and says who loses theirs by it.
    fn promise(&mut self, pod: &Arc<PodInfo>, promise: &Promise) -> Vec<Arc<PodInfo>> {
        let node = match promise {
            Promise::Keep => return Vec::new(),
            Promise::None => {
                self.snapshot.unpromise(&pod.key);
                return Vec::new();
            }
            Promise::Node(node, _) => node,
        };
        let lesser = self.snapshot.promised_to(node).filter(|it| it.priority() < pod.priority());
        let lesser: Vec<_> = lesser.cloned().collect();
        lesser.iter().for_each(|it| self.snapshot.unpromise(&it.key));
        self.snapshot.promise(pod, Some(node));
        lesser
    }

    fn give_back(&mut self, pod: &PodInfo, node: &str) {
        let snapshot = &mut self.snapshot;
        PLUGINS.iter().rev().for_each(|plugin| plugin.unreserve(pod, node, snapshot));
    }

    /// The bind of a pod came to nothing: it counts on its node no more, and is tried again.
    pub fn unbound(&mut self, pod: &PodInfo, now: Duration) {
        let key = &pod.key;
        let Some((_, node)) = self.assumed.get(key).filter(|(uid, _)| uid == pod.uid()) else {
            return;
        };
        let node = node.clone();
        self.wait_no_more(key);
        self.give_back(pod, &node);
        self.assumed.remove(key);
        self.place(key, None, now);
        self.queue.again(key, now);
    }
}

/// Does something about one object; a panic is logged, and the answer is `None`.
pub fn guarded<T>(key: &Key, work: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(work));
    if done.is_err() {
        tracing::error!(%key, "the scheduler panicked over this object");
    }
    done.ok()
}

/// Whether this scheduler has to find a node for the pod.
fn wants_node(pod: &Pod) -> bool {
    let spec = &pod.spec;
    spec.node_name.is_empty()
        && spec.scheduling_gates.is_empty()
        && devices::named(pod)
        && !pod.metadata.deleting()
        && matches!(&*spec.scheduler_name, "" | NAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::{Value, json};

    const AT: fn(u64) -> Duration = Duration::from_secs;

    fn node(mind: &mut Mind, name: &str, cpu: &str, now: Duration) {
        let node = json!({"metadata": {"name": name},
            "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "10"}}});
        let node = skiff_json::from_value(node).map(Arc::new).expect("a node");
        mind.node(&Key::new("", name), Some(&node), now);
    }

    fn pod(name: &str, cpu: &str, more: Value) -> Arc<Pod> {
        let mut pod = json!({"metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
        for (field, value) in more.as_object().into_iter().flatten() {
            pod["spec"][field] = value.clone();
        }
        skiff_json::from_value(pod).map(Arc::new).expect("a pod")
    }

    fn key(name: &str) -> Key {
        Key::new("n", name)
    }

    fn sees(mind: &mut Mind, pod: &Arc<Pod>, now: Duration) {
        mind.pod(&pod.metadata.key(), Some(pod), now);
    }

    fn decides(mind: &mut Mind, now: Duration) -> String {
        match mind.decide(now) {
            Some(Act::Bind(pod, node)) => format!("{} to {node}", pod.key.name),
            Some(Act::Claim(pod, writes)) => format!("{} claims {}", pod.key.name, writes.len()),
            Some(Act::Refuse(refusal)) => format!("{} refused", refusal.pod.key.name),
            Some(Act::Again) => "again".into(),
            None => "nothing".into(),
        }
    }

    #[test]
    fn a_pod_counts_on_its_node_before_the_api_shows_it_there_and_no_more_when_the_bind_fails() {
        let mut mind = Mind::default();
        node(&mut mind, "a", "2", AT(0));
        let (first, second) = (pod("first", "1500m", json!({})), pod("second", "1", json!({})));
        sees(&mut mind, &first, AT(0));
        sees(&mut mind, &second, AT(0));
        let Some(Act::Bind(under_way, _)) = mind.decide(AT(0)) else { panic!("first fits") };
        // Another change of it, while its bind is under way.
        sees(&mut mind, &first, AT(0));
        assert_eq!(decides(&mut mind, AT(0)), "second refused");
        assert_eq!(decides(&mut mind, AT(5)), "nothing");
        mind.unbound(&under_way, AT(5));
        assert_eq!(decides(&mut mind, AT(5)), "second to a", "it was woken");
        assert_eq!(decides(&mut mind, AT(6)), "first refused");
        sees(&mut mind, &pod("second", "1", json!({"nodeName": "a"})), AT(7));
        assert!(mind.assumed.is_empty());
        mind.pod(&key("second"), None, AT(8));
        assert_eq!(decides(&mut mind, AT(8)), "first to a");
        mind.unbound(&under_way, AT(8));
        mind.pod(&key("first"), None, AT(9));
        mind.unbound(&under_way, AT(9));
        assert_eq!((decides(&mut mind, AT(99)), mind.lengths()), ("nothing".into(), [0, 0, 0]));
    }

    #[test]
    fn a_gate_keeps_a_pod_out_until_it_is_gone_and_others_pods_stay_out() {
        let mut mind = Mind::default();
        node(&mut mind, "a", "2", AT(0));
        sees(&mut mind, &pod("p", "1", json!({"schedulingGates": [{"name": "g"}]})), AT(0));
        sees(&mut mind, &pod("q", "1", json!({"schedulerName": "mine"})), AT(0));
        assert_eq!((decides(&mut mind, AT(0)), mind.lengths()), ("nothing".into(), [0, 0, 0]));
        sees(&mut mind, &pod("p", "1", json!({})), AT(1));
        assert_eq!(decides(&mut mind, AT(1)), "p to a");
    }

    #[test]
    fn what_happens_while_a_pod_is_decided_about_is_not_lost() {
        let mut mind = Mind::default();
        sees(&mut mind, &pod("p", "1", json!({})), AT(0));
        assert_eq!(decides(&mut mind, AT(0)), "p refused");
        // It had come before the refusal, and is read after it.
        node(&mut mind, "small", "500m", AT(0));
        assert_eq!(mind.lengths(), [0, 1, 0], "any node helps where there was none");
        assert_eq!(decides(&mut mind, AT(1)), "p refused");
        node(&mut mind, "tiny", "100m", AT(1));
        assert_eq!(mind.lengths(), [0, 0, 1], "no help");
        node(&mut mind, "big", "4", AT(1));
        assert_eq!(
            (decides(&mut mind, AT(2)), decides(&mut mind, AT(3))),
            ("nothing".into(), "p to big".into())
        );
    }

    #[test]
    fn a_panic_over_one_pod_costs_that_one_its_turn() {
        let mut mind = Mind {
            plan: |pod, snapshot, start| match &*pod.key.name {
                "bad" => panic!("over this pod"),
                _ => plan(pod, snapshot, start),
            },
            ..Mind::default()
        };
        node(&mut mind, "a", "2", AT(0));
        sees(&mut mind, &pod("bad", "1", json!({"priority": 9})), AT(0));
        sees(&mut mind, &pod("good", "1", json!({})), AT(0));
        assert_eq!(decides(&mut mind, AT(0)), "again");
        assert_eq!(decides(&mut mind, AT(0)), "good to a");
        assert_eq!((decides(&mut mind, AT(0)), mind.next()), ("nothing".into(), Some(AT(1))));
        assert_eq!(decides(&mut mind, AT(1)), "again");
        assert_eq!(mind.next(), Some(AT(3)), "it backs off");
    }

    #[test]
    fn pods_count_on_a_node_that_comes_after_them_or_comes_back() {
        let mut mind = Mind::default();
        sees(&mut mind, &pod("there", "1500m", json!({"nodeName": "a"})), AT(0));
        node(&mut mind, "a", "2", AT(0));
        sees(&mut mind, &pod("p", "1", json!({})), AT(0));
        assert_eq!(decides(&mut mind, AT(0)), "p refused");
        mind.node(&Key::new("", "a"), None, AT(1));
        node(&mut mind, "a", "2", AT(1));
        assert_eq!(decides(&mut mind, AT(9)), "nothing", "as full as before");
        mind.pod(&key("there"), None, AT(9));
        assert_eq!(decides(&mut mind, AT(9)), "p to a");
    }

    #[test]
    fn an_event_wakes_those_whom_it_may_help() {
        let mut mind = Mind::default();
        node(&mut mind, "a", "2", AT(0));
        let port = json!({"containers": [{"name": "c",
            "ports": [{"containerPort": 80, "hostPort": 80}]}]});
        let on_a = |mut spec: Value| {
            spec["nodeName"] = json!("a");
            spec
        };
        sees(&mut mind, &pod("has-port", "0", on_a(port.clone())), AT(0));
        sees(&mut mind, &pod("other", "100m", on_a(json!({}))), AT(0));
        let near = json!({"affinity": {"podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}}]}}});
        for (name, cpu, spec) in
            [("port", "0", port), ("near", "0", near), ("room", "9", json!({}))]
        {
            sees(&mut mind, &pod(name, cpu, spec), AT(0));
            assert_eq!(decides(&mut mind, AT(0)), format!("{name} refused"));
        }
        let mut friend = pod("friend", "0", on_a(json!({}))).as_ref().clone();
        friend.metadata.labels.insert("app".into(), "x".into());
        sees(&mut mind, &Arc::new(friend), AT(0));
        assert_eq!(mind.lengths(), [0, 1, 2], "company for the one that wants to be near");
        mind.pod(&key("other"), None, AT(0));
        assert_eq!(mind.lengths(), [0, 2, 1], "room, but no port");
        mind.pod(&key("has-port"), None, AT(0));
        assert_eq!(mind.lengths(), [0, 3, 0]);
    }

    fn local_volume(mind: &mut Mind, node: &str) {
        let read = "a valid view";
        let class = json!({"metadata": {"name": "c"}, "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer"});
        let class = skiff_json::from_value(class).map(Arc::new).expect(read);
        mind.storage(|storage| storage.set_class("c", Some(&class)), AT(0));
        let affinity = json!({"required": {"nodeSelectorTerms": [{"matchFields": [
            {"key": "metadata.name", "operator": "In", "values": [node]}]}]}});
        let volume = json!({"metadata": {"name": "v", "uid": "uv"}, "status": {"phase": "Available"},
            "spec": {"storageClassName": "c", "capacity": {"storage": "1Gi"}, "nodeAffinity": affinity}});
        let volume = skiff_json::from_value(volume).map(Arc::new).expect(read);
        mind.storage(|storage| storage.set_volume("v", Some(&volume)), AT(0));
    }

    fn claim(mind: &mut Mind, name: &str, volume: &str, now: Duration) {
        let notes = json!({"pv.kubernetes.io/bind-completed": "yes"});
        let mut claim = json!({"metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"storageClassName": "c", "resources": {"requests": {"storage": "1Gi"}}}});
        if !volume.is_empty() {
            claim["metadata"]["annotations"] = notes;
            claim["spec"]["volumeName"] = json!(volume);
        }
        let claim = skiff_json::from_value(claim).map(Arc::new).expect("a claim");
        mind.claim(&key(name), Some(&claim), now);
    }

    #[test]
    fn a_pod_goes_where_its_volume_is_and_is_bound_after_its_claim() {
        let mut mind = Mind::default();
        local_volume(&mut mind, "b");
        for name in ["a", "b"] {
            node(&mut mind, name, "2", AT(0));
        }
        let uses = |claim: &str| json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]});
        let (first, second) = (pod("first", "0", uses("x")), pod("second", "0", uses("y")));
        sees(&mut mind, &first, AT(0));
        assert_eq!(decides(&mut mind, AT(0)), "first refused", "its claim is not there");
        claim(&mut mind, "x", "", AT(0));
        claim(&mut mind, "y", "", AT(0));
        assert_eq!(decides(&mut mind, AT(1)), "first claims 1");
        sees(&mut mind, &second, AT(1));
        assert_eq!(decides(&mut mind, AT(1)), "second refused", "the volume is promised");
        assert_eq!(decides(&mut mind, AT(1)), "nothing");
        claim(&mut mind, "x", "v", AT(2));
        assert!(mind.is_ready(AT(2)));
        assert_eq!(decides(&mut mind, AT(2)), "first to b");
    }

    #[test]
    fn a_volume_that_was_promised_is_free_again_when_the_pod_goes_or_waits_too_long() {
        let mut mind = Mind::default();
        local_volume(&mut mind, "a");
        node(&mut mind, "a", "2", AT(0));
        let uses = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "x"}}]});
        claim(&mut mind, "x", "", AT(0));
        sees(&mut mind, &pod("p", "0", uses.clone()), AT(0));
        assert_eq!(decides(&mut mind, AT(0)), "p claims 1");
        assert_eq!(mind.next(), Some(CLAIMING_MOST));
        assert!(!mind.is_ready(CLAIMING_MOST), "it backs off");
        assert_eq!(decides(&mut mind, CLAIMING_MOST + AT(1)), "p claims 1");
        mind.pod(&key("p"), None, CLAIMING_MOST + AT(2));
        sees(&mut mind, &pod("q", "0", uses), CLAIMING_MOST + AT(2));
        assert_eq!(decides(&mut mind, CLAIMING_MOST + AT(2)), "q claims 1");
    }
}
