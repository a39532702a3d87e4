//! How loops fare: when each last looked at something, what went wrong, and what waits. For `skiff status`, /metrics,
//! and whoever asks why nothing happens.

use crate::queue::{Depth, Queue};
use skiff_api::view::Resource;
use skiff_base::Lock;
use skiff_base::{Time, World};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, MutexGuard};

/// How one loop fares.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Health {
    /// It has not begun, for nothing is known yet of this resource.
    pub waits_for: Option<&'static str>,
    pub last_pass: Option<Time>,
    /// When the last pass or reaction failed, and why.
    pub last_error: Option<(Time, String)>,
    pub depth: Depth,
    pub passes: u64,
    /// Passes that failed, panics included.
    pub failures: u64,
    pub panics: u64,
}

/// The figures of all loops, by the names of their parts. They outlive a loop that starts again. Cheap to clone.
#[derive(Clone, Default)]
pub struct Healths(Arc<Lock<BTreeMap<&'static str, Arc<Stats>>>>);

/// The figures of one loop.
pub struct Stats {
    world: World,
    name: &'static str,
    health: Lock<Health>,
    queue: Lock<Arc<Queue>>,
}

impl Healths {
    /// Those of a loop that starts, with its new queue.
    pub(crate) fn of(&self, name: &'static str, world: &World, queue: &Arc<Queue>) -> Arc<Stats> {
        let new = || {
            let (world, health, queue) = (world.clone(), Lock::default(), queue.clone());
            Arc::new(Stats { world, name, health, queue: Lock::new(queue) })
        };
        let stats = self.lock().entry(name).or_insert_with(new).clone();
        *stats.queue.lock() = queue.clone();
        stats
    }

    /// How all loops fare.
    pub fn all(&self) -> Vec<(&'static str, Health)> {
        self.lock().iter().map(|(name, stats)| (*name, stats.health())).collect()
    }

    /// The same in the Prometheus text format.
    pub fn figures(&self) -> String {
        type Value = fn(&Health) -> u64;
        let figures: [(&str, &str, &str, Value); 6] = [
            ("passes_total", "counter", "Passes over a key.", |it| it.passes),
            ("failures_total", "counter", "Passes that failed.", |it| it.failures),
            ("panics_total", "counter", "Passes and reactions that panicked.", |it| it.panics),
            ("queued", "gauge", "Keys that wait for a pass.", |it| it.depth.ready as u64),
            ("later", "gauge", "Keys whose pass is due later.", |it| it.depth.later as u64),
            ("withheld", "gauge", "Keys of which something waits until all can be read.", |it| {
                it.depth.withheld as u64
            }),
        ];
        let (all, mut text) = (self.all(), String::new());
        for (name, type_, help, value) in figures {
            let name = format!("skiff_loop_{name}");
            text += &format!("# HELP {name} {help}\n# TYPE {name} {type_}\n");
            for (of, health) in &all {
                writeln!(text, "{name}{{loop=\"{of}\"}} {}", value(health))
                    .expect("a String takes all");
            }
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Arc<Stats>>> {
        self.0.lock()
    }
}

impl Stats {
    fn health(&self) -> Health {
        let depth = self.queue.lock().depth();
        Health { depth, ..self.lock().clone() }
    }

    pub fn waits_for(&self, resource: Option<Resource>) {
        self.lock().waits_for = resource.map(|resource| resource.plural);
    }

    /// A pass has ended.
    pub fn passed(&self) {
        let mut health = self.lock();
        health.passes += 1;
        health.last_pass = Some(self.world.now());
    }

    pub fn failed(&self, why: String) {
        let mut health = self.lock();
        health.failures += 1;
        health.last_error = Some((self.world.now(), why));
    }

    /// A pass held something back.
    pub fn withheld(&self, why: String) {
        self.lock().last_error = Some((self.world.now(), why));
    }

    pub fn panicked(&self, what: &str, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
        tracing::error!(name = self.name, what, text, "a loop panicked");
        self.lock().panics += 1;
        self.failed(format!("{what} panicked: {text}"));
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.health.lock()
    }
}
