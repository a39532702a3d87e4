//! What goes wrong in a run, as the seed says: networks that are slow, lose and are cut, nodes whose agent or whose
//! power fails, a control plane that is killed, disks that fail. All of it ends before the run does.

use crate::dice::Dice;
use crate::disk::Disk;
use crate::network::{Net, Weather};
use crate::plane::INSIDE;
use skiff_base::World;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Between two faults.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(25));
/// How long one lasts.
const LASTS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(90));

/// What the run has to do for a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// The control plane dies, and comes back after so long.
    KillPlane(Duration),
    /// The agent of a node dies, and comes back after so long.
    KillAgent(usize, Duration),
    /// The power of a node fails, and comes back after so long.
    CutPower(usize, Duration),
}

/// Where faults are made.
pub struct Faults {
    pub world: World,
    pub dice: Dice,
    pub net: Arc<Net>,
    pub disk: Disk,
    pub orders: UnboundedSender<Order>,
    /// The names of links over which something can go wrong.
    pub links: Vec<String>,
    pub nodes: usize,
    pub tell: Box<dyn Fn(&str) + Send + Sync>,
}

impl Faults {
    /// One after the other, until the time is over; then all is well again.
    pub async fn live(&self, until: Duration) {
        while self.world.uptime() < until {
            self.world.sleep(self.dice.span(PAUSE.0, PAUSE.1)).await;
            self.one();
        }
        self.disk.heal();
        self.links.iter().for_each(|link| self.net.set(link, Weather::FAIR));
        INSIDE.iter().for_each(|link| self.net.set(link, Weather::INSIDE));
        (self.tell)("fault: all is well again");
    }

    fn one(&self) {
        let lasts = self.dice.span(LASTS.0, LASTS.1);
        match self.dice.below(12) {
            0..=3 => self.weather(),
            4 => self.slowness(),
            5..=6 => {
                let node = self.node();
                self.order(Order::KillAgent(node, lasts));
            }
            7 => {
                let node = self.node();
                self.order(Order::CutPower(node, lasts));
            }
            8..=9 => self.order(Order::KillPlane(lasts / 4)),
            10 => {
                (self.tell)("fault: the disk is about to fail");
                self.disk.fail(&self.dice);
            }
            _ => {
                self.links.iter().for_each(|link| self.net.set(link, Weather::FAIR));
                (self.tell)("fault: the weather clears up");
            }
        }
    }

    fn node(&self) -> usize {
        usize::try_from(self.dice.below(self.nodes as u64)).unwrap_or(0)
    }

    fn order(&self, order: Order) {
        (self.tell)(&format!("fault: {order:?}"));
        // Whoever takes orders lives as long as the run.
        let _ = self.orders.send(order);
    }

    /// Another weather for one link, until it changes again.
    fn weather(&self) {
        let link = self.dice.one(&self.links);
        let weather = match self.dice.below(4) {
            0 | 1 => Weather { cut: true, ..Weather::FAIR },
            2 => Weather { loss: 100, ..Weather::FAIR },
            _ => Weather { most: Duration::from_secs(5), ..Weather::FAIR },
        };
        (self.tell)(&format!("fault: the weather of {link} is {weather:?}"));
        self.net.set(link, weather);
    }

    /// What is within the process takes longer, as when it is short of processors.
    fn slowness(&self) {
        let link = self.dice.one(&INSIDE);
        let most = *self.dice.one(&[2, 200, 2000]);
        let weather = Weather { most: Duration::from_millis(most), ..Weather::INSIDE };
        (self.tell)(&format!("fault: {link} wait up to {most} ms for each turn"));
        self.net.set(link, weather);
    }
}
