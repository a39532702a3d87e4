//! The fake kernel of a node: sandboxes and containers that start, run, end and crash, in virtual time. It outlives
//! the agent that uses it, and forgets what ran when the machine loses its power.
//!
//! What a program does follows from its image: `serve` runs until it is stopped, `work` ends by itself.

use crate::dice::Dice;
use crate::history::{History, Ran};
use skiff_base::{Lock, Tasks, World};
use skiff_net::Attachment;
use skiff_node::pod::adopt::{ATTEMPT, CONTAINER, POD_NAME, POD_NAMESPACE, POD_UID, image_labels};
use skiff_node::pod::seen::ImageFact;
use skiff_runtime::status::{
    ContainerState, ContainerStatus, Event, Exit, ExitReason, Listing, Nanos, SandboxStatus,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A call of the kernel takes so long at most.
const CALL_MOST: Duration = Duration::from_millis(300);
/// A program that works ends after so long at most.
const WORK_MOST: Duration = Duration::from_secs(30);
/// Calls in a thousand that fail, and programs that crash or fail, while anything fails at all.
const FAILING: u64 = 40;
/// A program that crashes does so within this time.
const CRASH_MOST: Duration = Duration::from_secs(120);
/// Programs in a thousand that hear no signal.
const DEAF: u64 = 100;
/// The others have ended by then.
const DEATH_MOST: Duration = Duration::from_secs(4);

/// The kernel of one machine.
pub struct Kernel {
    pub node: String,
    /// Its place among the nodes: the third part of the addresses of its pods.
    number: u8,
    world: World,
    history: Arc<History>,
    dice: Dice,
    state: Lock<State>,
}

#[derive(Default)]
struct State {
    sandboxes: BTreeMap<String, (SandboxStatus, IpAddr)>,
    containers: BTreeMap<String, ContainerStatus>,
    /// Pods that have a folder, by uid.
    folders: BTreeSet<String>,
    /// Who hears what happens.
    listener: Option<UnboundedSender<Event>>,
    /// What programs do; ends with the power.
    programs: Tasks,
    addresses: u8,
    /// Nothing fails any more.
    steady: bool,
}

/// What a container is started as.
pub struct Program {
    pub pod: String,
    pub namespace: String,
    pub uid: String,
    pub container: String,
    pub id: String,
    pub sandbox: String,
    pub image: ImageFact,
    pub attempt: u32,
}

impl Kernel {
    pub fn new(
        (node, number): (&str, u8),
        world: World,
        history: Arc<History>,
        dice: Dice,
    ) -> Arc<Kernel> {
        let state = Lock::default();
        Arc::new(Kernel { node: node.to_owned(), number, world, history, dice, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn now(&self) -> Nanos {
        i64::try_from(self.world.now().as_nanosecond()).unwrap_or(i64::MAX)
    }

    /// From now on nothing fails by itself.
    pub fn calm(&self) {
        self.state().steady = true;
    }

    fn fails(&self) -> bool {
        !self.state().steady && self.dice.chance(FAILING)
    }

    async fn call(&self) {
        self.world.sleep(self.dice.span(Duration::ZERO, CALL_MOST)).await;
    }

    /// What happens from now on; whoever heard it before hears no more.
    pub fn events(&self) -> UnboundedReceiver<Event> {
        let (send, receive) = unbounded_channel();
        self.state().listener = Some(send);
        receive
    }

    /// All there is, with the addresses of sandboxes and the uids of pods that have folders.
    pub fn list(&self) -> (Listing, Vec<Attachment>, Vec<String>) {
        let state = self.state();
        let attached = state.sandboxes.values().map(|(sandbox, address)| Attachment {
            id: sandbox.id.clone(),
            address: *address,
            gateway: *address,
            link: 0,
            host_ports: Vec::new(),
        });
        let listing = Listing {
            sandboxes: state.sandboxes.values().map(|(sandbox, _)| sandbox.clone()).collect(),
            containers: state.containers.values().cloned().collect(),
        };
        (listing, attached.collect(), state.folders.iter().cloned().collect())
    }

    /// A place for the containers of a pod.
    ///
    /// # Errors
    /// When the kernel fails.
    pub async fn make_sandbox(
        &self,
        (namespace, name, uid): (&str, &str, &str),
        id: String,
    ) -> Result<(String, Option<IpAddr>), String> {
        self.call().await;
        if self.fails() {
            return Err("no namespace could be made".to_owned());
        }
        let labels = marks([(POD_UID, uid), (POD_NAME, name), (POD_NAMESPACE, namespace)]);
        let created_at = self.now();
        let address = {
            let mut state = self.state();
            state.addresses = state.addresses.wrapping_add(1).max(1);
            let address = IpAddr::from(Ipv4Addr::new(10, 244, self.number, state.addresses));
            let id = id.clone();
            let sandbox =
                SandboxStatus { id, labels, ready: true, pid: None, netns: None, created_at };
            state.sandboxes.insert(sandbox.id.clone(), (sandbox, address));
            state.folders.insert(uid.to_owned());
            address
        };
        self.call().await;
        Ok((id, Some(address)))
    }

    /// A call that changes nothing that matters here: a mount, a pull.
    ///
    /// # Errors
    /// When the kernel fails.
    pub async fn prepare(&self, uid: &str) -> Result<(), String> {
        self.state().folders.insert(uid.to_owned());
        self.call().await;
        if self.fails() { Err("an input/output error".to_owned()) } else { Ok(()) }
    }

    /// Starts a program.
    ///
    /// # Errors
    /// When the kernel fails, or the sandbox is not there.
    pub async fn start(self: &Arc<Self>, program: Program) -> Result<(), String> {
        self.call().await;
        if self.fails() {
            return Err("the program could not be executed".to_owned());
        }
        let mut labels = marks([
            (POD_UID, &program.uid),
            (POD_NAME, &program.pod),
            (POD_NAMESPACE, &program.namespace),
            (CONTAINER, &program.container),
            (ATTEMPT, &program.attempt.to_string()),
        ]);
        labels.extend(image_labels(&program.image, "0:0:"));
        let now = self.now();
        let status = ContainerStatus {
            id: program.id.clone(),
            sandbox: program.sandbox.clone(),
            labels,
            state: ContainerState::Running,
            created_at: now,
            pid: None,
            started_at: Some(now),
            exit: None,
            log_path: None,
        };
        let pod = format!("{}/{}", program.namespace, program.pod);
        self.run(status, &program.image.name)?;
        self.history.tell(format_args!("{}: {pod} runs as {}", self.node, short(&program.id)));
        self.history.record().ran.push(Ran {
            node: self.node.clone(),
            id: program.id,
            pod,
            uid: program.uid,
            from: self.world.uptime(),
            to: None,
        });
        self.call().await;
        Ok(())
    }

    /// Has a program run in its sandbox, to its end.
    fn run(self: &Arc<Self>, status: ContainerStatus, image: &str) -> Result<(), String> {
        let mut state = self.state();
        if !state.sandboxes.get(&status.sandbox).is_some_and(|(sandbox, _)| sandbox.ready) {
            return Err("its sandbox is not there".to_owned());
        }
        let id = status.id.clone();
        state.containers.insert(id.clone(), status);
        if let Some((after, code)) = self.fate(image, state.steady) {
            let kernel = self.clone();
            state.programs.spawn(async move {
                kernel.world.sleep(after).await;
                kernel.end(&id, code, ExitReason::Error);
            });
        }
        Ok(())
    }

    /// When a program ends by itself, and with which code.
    fn fate(&self, image: &str, steady: bool) -> Option<(Duration, i32)> {
        let failing = !steady && self.dice.chance(FAILING);
        let work = image.contains("work");
        match (work, failing) {
            (true, _) => {
                let code = i32::from(failing);
                Some((self.dice.span(Duration::from_millis(100), WORK_MOST), code))
            }
            (false, true) => Some((self.dice.span(Duration::ZERO, CRASH_MOST), 1)),
            (false, false) => None,
        }
    }

    /// Asks a program to end; it may hear it.
    pub fn signal(self: &Arc<Self>, id: &str) {
        if self.dice.chance(DEAF) {
            return;
        }
        let (kernel, id) = (self.clone(), id.to_owned());
        let after = self.dice.span(Duration::ZERO, DEATH_MOST);
        self.state().programs.spawn(async move {
            kernel.world.sleep(after).await;
            kernel.end(&id, 143, ExitReason::Error);
        });
    }

    /// Ends a program.
    pub fn kill(&self, id: &str) {
        self.end(id, 137, ExitReason::Error);
    }

    fn end(&self, id: &str, code: i32, reason: ExitReason) {
        let finished_at = self.now();
        let mut state = self.state();
        let Some(container) = state.containers.get_mut(id) else { return };
        if container.state != ContainerState::Running {
            return;
        }
        container.state = ContainerState::Exited;
        let reason = if code == 0 { ExitReason::Completed } else { reason };
        let message = String::new();
        container.exit = Some(Exit { code, signal: None, reason, message, finished_at });
        let status = container.clone();
        if let Some(listener) = &state.listener {
            // An agent that has ended hears nothing.
            let _ = listener.send(Event::Exited(status));
        }
        drop(state);
        self.history.tell(format_args!("{}: {} ends with {code}", self.node, short(id)));
        self.note_end(id);
    }

    fn note_end(&self, id: &str) {
        let mut record = self.history.record();
        let ran = record.ran.iter_mut().rev().find(|ran| ran.id == id);
        if let Some(ran) = ran.filter(|ran| ran.to.is_none()) {
            ran.to = Some(self.world.uptime());
        }
    }

    /// Takes sandboxes away, with the containers that live in them.
    ///
    /// # Errors
    /// When the kernel fails.
    pub async fn remove(
        &self,
        sandboxes: &BTreeSet<String>,
        containers: &BTreeSet<String>,
    ) -> Result<(), String> {
        self.call().await;
        if self.fails() {
            return Err("a namespace is busy".to_owned());
        }
        let within: Vec<String> = {
            let state = self.state();
            let of = state.containers.values();
            let of = of.filter(|it| sandboxes.contains(&it.sandbox) || containers.contains(&it.id));
            of.map(|it| it.id.clone()).collect()
        };
        within.iter().for_each(|id| self.kill(id));
        let mut state = self.state();
        within.iter().for_each(|id| drop(state.containers.remove(id)));
        sandboxes.iter().for_each(|id| drop(state.sandboxes.remove(id)));
        Ok(())
    }

    /// Takes away what is left of a pod on the disk.
    ///
    /// # Errors
    /// When the kernel fails.
    pub async fn clean_up(&self, uid: &str) -> Result<(), String> {
        self.call().await;
        if self.fails() {
            return Err("a folder is busy".to_owned());
        }
        self.state().folders.remove(uid);
        Ok(())
    }

    /// The power is gone: nothing runs any more, and nobody saw it end.
    pub async fn lose_power(&self) {
        let programs = std::mem::take(&mut self.state().programs);
        programs.stop().await;
        let finished_at = self.now();
        let mut ended = Vec::new();
        let mut state = self.state();
        state.listener = None;
        state.sandboxes.values_mut().for_each(|(sandbox, _)| sandbox.ready = false);
        for container in state.containers.values_mut() {
            if container.state == ContainerState::Running {
                container.state = ContainerState::Exited;
                let (code, signal, message) = (137, None, String::new());
                let reason = ExitReason::Unknown;
                container.exit = Some(Exit { code, signal, reason, message, finished_at });
                ended.push(container.id.clone());
            }
        }
        drop(state);
        ended.iter().for_each(|id| self.note_end(id));
    }
}

fn marks<const N: usize>(marks: [(&str, &str); N]) -> BTreeMap<String, String> {
    marks.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Enough of an id to tell it from others in a line.
fn short(id: &str) -> &str {
    &id[..id.len().min(8)]
}
