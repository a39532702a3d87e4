//! One run: what it is made of, and who does what when.

use crate::agent::Agent;
use crate::check::{self, Violation};
use crate::dice::Dice;
use crate::disk::Disk;
use crate::entropy;
use crate::faults::{Faults, Order};
use crate::history::{History, Record};
use crate::kernel::Kernel;
use crate::network::Net;
use crate::observer::Observer;
use crate::plane::Plane;
use crate::workload::Users;
use skiff_api::view::{Resource, View};
use skiff_api::wire::User;
use skiff_base::{Tasks, World};
use skiff_client::Client;
use skiff_kinds::views::{ConfigMap, Deployment, Pod};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

/// How many nodes there are.
const NODES: u8 = 3;
/// Of a hundred parts of a run, so many pass before nobody asks for anything and nothing fails any more.
const BUSY: u32 = 60;
/// What is followed, to be held against the log.
const OBSERVED: [Resource; 3] = [Pod::RESOURCE, Deployment::RESOURCE, ConfigMap::RESOURCE];
/// Between two tries to start a control plane.
const AGAIN: Duration = Duration::from_secs(1);

/// What is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub seed: u64,
    /// How long it lasts, in virtual time.
    pub span: Duration,
    /// Each line is printed as it comes.
    pub loud: bool,
    pub faults: Faulty,
}

/// Whether anything goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faulty {
    Yes,
    No,
}

/// What became of a run.
pub struct Outcome {
    pub digest: u64,
    pub violations: Vec<Violation>,
    pub record: Record,
}

/// Runs it, and judges what happened. What the process asks the kernel's randomness for (the order of hash maps, whom
/// tokio wakes first) follows from the seed too, but tokio counts its runtimes: a process runs one seed only.
///
/// # Panics
/// When no runtime can be made.
pub fn run(run: Run) -> Outcome {
    entropy::seed(run.seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread needs nothing that could fail");
    let record = runtime.block_on(live(run));
    let violations = check::all(&record);
    Outcome { digest: record.digest(), violations, record }
}

async fn live(run: Run) -> Record {
    let quiet = run.span * BUSY / 100;
    let (stage, tasks) = (Arc::new(Stage::new(&run)), Tasks::new());
    let orders = stage.keep(&tasks);
    let mut links = stage.nodes.clone();
    links.push("user".to_owned());
    links.extend(stage.observe(&tasks));
    let failing = async {
        match run.faults {
            Faulty::Yes => stage.faults(orders, links).live(quiet).await,
            Faulty::No => stage.calm(),
        }
    };
    stage.net.up().await;
    futures_util::future::join(stage.users().live(quiet), failing).await;
    stage.calm();
    stage.history.tell("quiet");
    stage.history.record().quiet = stage.world.uptime();
    stage.world.sleep(run.span.saturating_sub(stage.world.uptime())).await;
    stage.over.send_replace(true);
    // Whoever keeps the control plane notes what its caches hold, and has nothing to wait for.
    stage.world.sleep(Duration::from_millis(1)).await;
    tasks.stop().await;
    let mut record = stage.history.take();
    record.end = stage.world.uptime();
    record
}

/// What everybody in a run shares.
struct Stage {
    seed: u64,
    world: World,
    history: Arc<History>,
    net: Arc<Net>,
    disk: Disk,
    nodes: Vec<String>,
    kernels: Vec<Arc<Kernel>>,
    /// The run is at its end.
    over: watch::Sender<bool>,
}

impl Stage {
    fn new(run: &Run) -> Stage {
        let (seed, world) = (run.seed, World::seeded(run.seed));
        let history = Arc::new(History::new(world.clone(), seed, run.loud));
        let kernel = |number| {
            let (node, dice) = (format!("n{number}"), Dice::new(seed, &format!("kernel {number}")));
            Kernel::new((&node, number), world.clone(), history.clone(), dice)
        };
        let kernels: Vec<Arc<Kernel>> = (1..=NODES).map(kernel).collect();
        Stage {
            seed,
            net: Net::new(world.clone(), history.clone(), seed),
            disk: Disk::new(history.clone()),
            nodes: kernels.iter().map(|kernel| kernel.node.clone()).collect(),
            kernels,
            over: watch::Sender::new(false),
            history,
            world,
        }
    }

    fn client(&self, who: &str) -> Client {
        let owner = User::system("owner", &["system:masters"]);
        Client::new(self.net.link(who), owner, "sim")
    }

    /// Machines fail no more by themselves.
    fn calm(&self) {
        self.kernels.iter().for_each(|kernel| kernel.calm());
    }

    /// Keeps a control plane and agents running; takes orders to end some of them.
    fn keep(self: &Arc<Self>, tasks: &Tasks) -> UnboundedSender<Order> {
        let (plane, plane_orders) = unbounded_channel();
        let kept = self.clone();
        tasks.vital(async move { kept.keep_plane(plane_orders).await });
        let mut agents = Vec::new();
        for kernel in &self.kernels {
            let (agent, agent_orders) = unbounded_channel();
            let (kept, kernel) = (self.clone(), kernel.clone());
            tasks.vital(async move { kept.keep_agent(kernel, agent_orders).await });
            agents.push(agent);
        }
        let (orders, taken) = unbounded_channel();
        tasks.spawn(pass_on(taken, plane, agents));
        orders
    }

    /// Has a few resources followed; the links of those who do.
    fn observe(&self, tasks: &Tasks) -> Vec<String> {
        let observe = |resource: Resource| {
            let who = format!("observer of {}", resource.plural);
            let (world, history, client) =
                (self.world.clone(), self.history.clone(), self.client(&who));
            tasks.spawn(Observer { world, history, client, who: who.clone(), resource }.live());
            who
        };
        OBSERVED.into_iter().map(observe).collect()
    }

    fn users(&self) -> Users {
        Users {
            world: self.world.clone(),
            history: self.history.clone(),
            client: self.client("user"),
            dice: Dice::new(self.seed, "user"),
            nodes: self.nodes.clone(),
        }
    }

    fn faults(&self, orders: UnboundedSender<Order>, links: Vec<String>) -> Faults {
        let history = self.history.clone();
        Faults {
            world: self.world.clone(),
            dice: Dice::new(self.seed, "faults"),
            net: self.net.clone(),
            disk: self.disk.clone(),
            orders,
            links,
            nodes: self.nodes.len(),
            tell: Box::new(move |what| history.tell(what)),
        }
    }

    async fn ended(&self) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    /// Keeps a control plane running, as an init system does.
    async fn keep_plane(&self, mut orders: UnboundedReceiver<Order>) {
        let (world, history) = (&self.world, &self.history);
        loop {
            let plane = match Plane::start(world, history, &self.net, &self.disk).await {
                Ok(plane) => plane,
                Err(error) => {
                    history.tell(format_args!("plane: does not start: {error:#}"));
                    world.sleep(AGAIN).await;
                    continue;
                }
            };
            let away = tokio::select! {
                biased;
                fatal = plane.fatal() => {
                    history.tell(format_args!("plane: {fatal}"));
                    Some(AGAIN)
                }
                Some(order) = orders.recv() => match order {
                    Order::KillPlane(away) => Some(away),
                    _ => Some(AGAIN),
                },
                () = self.ended() => None,
            };
            let Some(away) = away else {
                plane.note_caches(history);
                return std::future::pending().await;
            };
            plane.crash(history, &self.net).await;
            history.tell("plane: is down");
            world.sleep(away).await;
        }
    }

    /// Keeps an agent running on a machine that may lose its power.
    async fn keep_agent(&self, kernel: Arc<Kernel>, mut orders: UnboundedReceiver<Order>) {
        let (world, history, node) = (&self.world, &self.history, &kernel.node);
        loop {
            let agent = Agent::start(world, self.net.link(node), &kernel);
            history.tell(format_args!("{node}: its agent is up"));
            let Some(order) = orders.recv().await else {
                // Nobody ends it any more.
                return std::future::pending().await;
            };
            agent.crash(history).await;
            history.tell(format_args!("{node}: its agent is down"));
            match order {
                Order::CutPower(_, away) => {
                    kernel.lose_power().await;
                    history.tell(format_args!("{node}: has no power"));
                    world.sleep(away).await;
                }
                Order::KillAgent(_, away) | Order::KillPlane(away) => world.sleep(away).await,
            }
        }
    }
}

/// Hands each order to whom it concerns.
async fn pass_on(
    mut orders: UnboundedReceiver<Order>,
    plane: UnboundedSender<Order>,
    agents: Vec<UnboundedSender<Order>>,
) {
    while let Some(order) = orders.recv().await {
        let to = match &order {
            Order::KillPlane(_) => Some(&plane),
            Order::KillAgent(node, _) | Order::CutPower(node, _) => agents.get(*node),
        };
        if let Some(to) = to {
            // It ends with the run.
            let _ = to.send(order);
        }
    }
}
