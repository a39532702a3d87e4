//! What the pods of this node have been given of its processors and memory (KEP-1287), and of its ports.
//!
//! A pod that comes has what it asks for: the scheduler has seen to that. Whoever names the node himself passes it by:
//! what the whole node has not is refused, and a port that another has. One whose resources change while it is here
//! gets the change when it fits; until then it keeps what it has. Whenever room appears those that wait are told, and
//! one that asks leaves room for those before it.
//! Never here: what is done to containers.

use super::containers;
use super::worker::Mail;
use crate::admit;
use crate::qos::{self, Requests};
use serde::Serialize;
use skiff_base::Lock;
use skiff_base::Time;
use skiff_json::Value;
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{Container, HostPort, Resources, clash};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

/// The condition of a pod whose change is not given; its reason is one of the two below.
pub const PENDING: &str = "PodResizePending";
const DEFERRED: &str = "Deferred";
pub const INFEASIBLE: &str = "Infeasible";

/// Why a change is not given.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub reason: &'static str,
    pub message: String,
}

/// What the node has, and who has it.
pub struct Allocations {
    most: Requests,
    state: Lock<State>,
}

#[derive(Default)]
struct State {
    given: HashMap<String, Requests>,
    ports: HashMap<String, Vec<HostPort>>,
    /// In the order in which they are served.
    waiting: Vec<Waiting>,
}

struct Waiting {
    rank: Rank,
    uid: String,
    wanted: Requests,
    tell: UnboundedSender<Mail>,
}

/// Priority first, then the class of service, then how long it has waited.
type Rank = (Reverse<i32>, bool, Time);

impl Allocations {
    pub fn new(most: Requests) -> Allocations {
        Allocations { most, state: Lock::default() }
    }

    /// A pod has come: why it cannot have what it asks for, or it has it.
    pub fn take_in(&self, pod: &Pod) -> Option<admit::Refusal> {
        let (wanted, used, most) = (qos::requests(pod), self.used(), self.most);
        for (reason, name, wanted, used, most) in [
            ("OutOfcpu", "cpu", wanted.milli_cpu, used.milli_cpu, most.milli_cpu),
            ("OutOfmemory", "memory", wanted.memory, used.memory, most.memory),
        ] {
            if wanted > most {
                let amounts =
                    format!("{name}, requested: {wanted}, used: {used}, capacity: {most}");
                let message = format!("Node didn't have enough resource: {amounts}");
                return Some(admit::Refusal { reason, message });
            }
        }
        // Looked at and taken under one lock: pods come at once.
        let mut state = self.state.lock();
        let ports = pod.spec.taken_ports();
        if clash(&ports, state.ports.values().flatten()) {
            return Some(admit::Refusal::ports());
        }
        state.give(pod, ports);
        None
    }

    fn used(&self) -> Requests {
        self.state.lock().used()
    }

    /// A pod was here before.
    pub fn give(&self, pod: &Pod) {
        let mut state = self.state.lock();
        state.give(pod, pod.spec.taken_ports());
    }

    /// Whether the pod, which has been given something before, may have what it asks for now. One
    /// that has to wait is told through `tell` when it shall ask again.
    pub fn ask(&self, pod: &Pod, now: Time, tell: &UnboundedSender<Mail>) -> Result<(), Refusal> {
        let (uid, wanted) = (&pod.metadata.uid, qos::requests(pod));
        let mut state = self.state.lock();
        let before = state.waiting.iter().position(|waiting| waiting.uid == *uid);
        let before = before.map(|at| state.waiting.remove(at).rank.2);
        let priority = Reverse(pod.spec.priority.unwrap_or(0));
        let rank = (priority, qos::class(pod) != "Guaranteed", before.unwrap_or(now));
        if let Err(refusal) = state.fits(uid, wanted, rank, self.most) {
            if refusal.reason == DEFERRED {
                let waiting = Waiting { rank, uid: uid.clone(), wanted, tell: tell.clone() };
                let at = state.waiting.partition_point(|other| other.rank <= rank);
                state.waiting.insert(at, waiting);
            }
            return Err(refusal);
        }
        state.given.insert(uid.clone(), wanted);
        state.tell();
        Ok(())
    }

    /// Nothing of the pod runs any more.
    pub fn free(&self, uid: &str) {
        let mut state = self.state.lock();
        state.waiting.retain(|waiting| waiting.uid != uid);
        state.ports.remove(uid);
        if state.given.remove(uid).is_some() {
            state.tell();
        }
    }
}

impl State {
    fn give(&mut self, pod: &Pod, ports: Vec<HostPort>) {
        let uid = &pod.metadata.uid;
        self.given.insert(uid.clone(), qos::requests(pod));
        if !ports.is_empty() {
            self.ports.insert(uid.clone(), ports);
        }
    }

    fn used(&self) -> Requests {
        self.given.values().fold(Requests::default(), |sum, one| sum.and(*one))
    }

    fn fits(&self, uid: &str, wanted: Requests, rank: Rank, most: Requests) -> Result<(), Refusal> {
        let had = |uid: &str| self.given.get(uid).copied().unwrap_or_default();
        let own = had(uid);
        if wanted.milli_cpu <= own.milli_cpu && wanted.memory <= own.memory {
            return Ok(());
        }
        let refused = |reason, message| Err(Refusal { reason, message });
        for (name, wanted, most) in
            [("memory", wanted.memory, most.memory), ("cpu", wanted.milli_cpu, most.milli_cpu)]
        {
            if wanted > most {
                let amounts = format!("{name}, requested: {wanted}, capacity: {most}");
                let message = format!("Node didn't have enough capacity: {amounts}");
                return refused(INFEASIBLE, message);
            }
        }
        let mut used = self.used().without(own);
        for waiting in self.waiting.iter().take_while(|waiting| waiting.rank < rank) {
            let others = used.and(own).without(had(&waiting.uid));
            if waiting.wanted.within(most.without(others)) {
                used = used.without(had(&waiting.uid)).and(waiting.wanted);
            }
        }
        for (name, wanted, used, most) in [
            ("cpu", wanted.milli_cpu, used.milli_cpu, most.milli_cpu),
            ("memory", wanted.memory, used.memory, most.memory),
        ] {
            if wanted > most - used {
                let amounts = format!("requested: {wanted}, used: {used}, capacity: {most}");
                let message = format!("Node didn't have enough resource: {name}, {amounts}");
                return refused(DEFERRED, message);
            }
        }
        Ok(())
    }

    /// Those that wait look again. One whose worker has ended needs nothing.
    fn tell(&self) {
        for waiting in &self.waiting {
            let _ = waiting.tell.send(Mail::Room);
        }
    }
}

/// The pod with the resources that its last status says it has: a change that was asked for since is
/// not given by being read.
pub fn reported(pod: &Pod) -> Pod {
    let status = &pod.status;
    let statuses = || status.init_container_statuses.iter().chain(&status.container_statuses);
    with(pod, |name| statuses().find(|status| status.name == name)?.resources.clone())
}

/// The pod as it is now, with the resources that it had.
pub fn keeping(pod: &Pod, had: &Pod) -> Pod {
    let given = |name: &str| had.spec.all_containers().find(|it| it.name == name);
    let mut pod = with(pod, |name| given(name).map(|it| it.resources.clone()));
    pod.spec.resources = had.spec.resources.clone();
    pod
}

fn with(pod: &Pod, given: impl Fn(&str) -> Option<Resources>) -> Pod {
    let mut pod = pod.clone();
    for container in pod.spec.init_containers.iter_mut().chain(&mut pod.spec.containers) {
        if let Some(resources) = given(&container.name) {
            container.resources = resources;
        }
    }
    pod
}

/// The refusal that the last status tells of.
pub fn refused_before(pod: &Pod) -> Option<Refusal> {
    let said = pod.status.condition(PENDING).filter(|condition| condition.status == "True")?;
    let reason = [DEFERRED, INFEASIBLE].into_iter().find(|reason| *reason == said.reason)?;
    Some(Refusal { reason, message: said.message.clone() })
}

/// What events say of a pod's change, in the order of fields that they have.
pub fn summary(pod: &Arc<Pod>, error: &str) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Summary<'a> {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        init_containers: Vec<Part<'a>>,
        containers: Vec<Part<'a>>,
        generation: i64,
        #[serde(skip_serializing_if = "str::is_empty")]
        error: &'a str,
    }
    #[derive(Serialize)]
    struct Part<'a> {
        name: &'a str,
        resources: Value,
    }
    fn parts(containers: &[Container]) -> Vec<Part<'_>> {
        containers.iter().map(part).collect()
    }
    fn part(container: &Container) -> Part<'_> {
        let resources = containers::resources_value(&container.resources);
        Part { name: &container.name, resources }
    }
    let summary = Summary {
        init_containers: parts(&pod.spec.init_containers),
        containers: parts(&pod.spec.containers),
        generation: pod.metadata.generation,
        error,
    };
    skiff_json::to_string(&summary).expect("has string keys only")
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use skiff_json::json;
    use tokio::sync::mpsc::{self, UnboundedReceiver};

    const MOST: Requests = Requests { milli_cpu: 4000, memory: 1000 };

    fn pod(uid: &str, priority: i32, cpu: &str) -> Pod {
        let requests = json!({"cpu": cpu, "memory": "100"});
        skiff_json::from_value(json!({"metadata": {"name": uid, "uid": uid, "generation": 2},
            "spec": {"priority": priority, "containers": [{"name": "c",
            "resources": {"requests": requests}}]}}))
        .expect("a pod")
    }

    struct Node {
        node: Allocations,
        tell: UnboundedSender<Mail>,
        told: UnboundedReceiver<Mail>,
        text: String,
    }

    impl Node {
        fn new(pods: &[(&str, &str)]) -> Node {
            let (tell, told) = mpsc::unbounded_channel();
            let node = Node { node: Allocations::new(MOST), tell, told, text: String::new() };
            pods.iter().for_each(|(uid, cpu)| node.node.give(&pod(uid, 0, cpu)));
            node
        }

        fn ask(&mut self, uid: &str, priority: i32, cpu: &str) -> &mut Node {
            let now = Time::from_second(1000).expect("in range");
            let said = match self.node.ask(&pod(uid, priority, cpu), now, &self.tell) {
                Ok(()) => "given".into(),
                Err(refusal) => format!("{}: {}", refusal.reason, refusal.message),
            };
            self.line(&format!("{uid} asks for {cpu}: {said}"))
        }

        fn line(&mut self, line: &str) -> &mut Node {
            self.text += line;
            while self.told.try_recv().is_ok() {
                self.text += " (one is told)";
            }
            self.text.push('\n');
            self
        }
    }

    #[test]
    fn room_is_waited_for_in_order() {
        let mut node = Node::new(&[("a", "1"), ("b", "1"), ("c", "1500m")]);
        node.ask("a", 0, "5").ask("a", 0, "2").ask("b", 7, "2").ask("c", 0, "1");
        node.ask("a", 0, "1500m").ask("b", 7, "2").ask("a", 0, "1200m");
        node.node.free("c");
        node.line("c has gone").ask("a", 0, "1200m").ask("a", 0, "1");
        expect![[r#"
            a asks for 5: Infeasible: Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000
            a asks for 2: Deferred: Node didn't have enough resource: cpu, requested: 2000, used: 2500, capacity: 4000
            b asks for 2: Deferred: Node didn't have enough resource: cpu, requested: 2000, used: 2500, capacity: 4000
            c asks for 1: given (one is told) (one is told)
            a asks for 1500m: Deferred: Node didn't have enough resource: cpu, requested: 1500, used: 3000, capacity: 4000
            b asks for 2: given (one is told)
            a asks for 1200m: Deferred: Node didn't have enough resource: cpu, requested: 1200, used: 3000, capacity: 4000
            c has gone (one is told)
            a asks for 1200m: given
            a asks for 1: given
        "#]].assert_eq(&node.text);
    }

    #[test]
    fn a_port_of_the_machine_is_one_pods() {
        let node = Allocations::new(MOST);
        let pod = |uid: &str, ip: &str| -> Pod {
            let port = json!({"containerPort": 80, "hostPort": 80, "hostIP": ip});
            skiff_json::from_value(json!({"metadata": {"name": uid, "uid": uid},
                "spec": {"containers": [{"name": "c", "ports": [port]}]}}))
            .expect("a pod")
        };
        assert_eq!(node.take_in(&pod("a", "127.0.0.1")), None);
        assert_eq!(node.take_in(&pod("b", "127.0.0.2")), None);
        let refused = node.take_in(&pod("c", "0.0.0.0")).expect("two have it");
        let why = "node(s) didn't have free ports for the requested pod ports";
        let message = format!("Predicate NodePorts failed: {why}");
        assert_eq!((refused.reason, refused.message), ("NodePorts", message));
        node.free("a");
        node.free("b");
        assert_eq!(node.take_in(&pod("c", "0.0.0.0")), None);
    }

    #[test]
    fn events_list_all_containers() {
        let pod = Arc::new(pod("a", 0, "2"));
        expect![[r#"{"containers":[{"name":"c","resources":{"requests":{"cpu":"2","memory":"100"}}}],"generation":2,"error":"no room"}"#]]
            .assert_eq(&summary(&pod, "no room"));
        let more = skiff_json::from_value(json!({"limits": {"cpu": "3"}})).expect("resources");
        let kept = keeping(&with(&pod, |_| Some(Resources::clone(&more))), &pod);
        assert!(kept.spec == pod.spec);
    }
}
