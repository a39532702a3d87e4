//! Audit: who asked what of the server, and what came of it (documentation page "Auditing").
//!
//! ```text
//! policy.rs   which request is told of, and how much     pure
//! event.rs    what is told, as JSON or as a line         pure
//! trail.rs    one request, from its head to the end of its answer
//! notes.rs    what others add to that
//! sink.rs     a queue, bounded, with its losses counted
//! log.rs      a file that is rotated
//! webhook.rs  a server that takes lists of events
//! ```
//! A request has one [`Trail`]. The stages of the pipeline write down there what
//! they find out, and admission what it annotates ([`Notes`]); without a policy there is none, and it costs a branch.
//! Nothing here decides about a request, but that `blocking-strict` refuses one that cannot be told of.

pub mod event;
pub mod log;
mod notes;
pub mod policy;
pub mod sink;
mod trail;
pub mod webhook;

pub use notes::Notes;
pub use trail::Trail;

use http::header::{HeaderName, HeaderValue};
use policy::{Level, Policy};
use sink::Sink;
use skiff_api::wire::Call;
use skiff_base::World;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The header by which a request is named, in both directions.
pub const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// What is told, and to whom.
pub struct Audit {
    world: World,
    policy: Policy,
    sinks: Vec<Arc<Sink>>,
    /// By level.
    levels: [AtomicU64; 4],
    events: AtomicU64,
    rejected: AtomicU64,
}

impl Audit {
    pub fn new(policy: Policy, sinks: Vec<Arc<Sink>>, world: World) -> Audit {
        let (levels, events, rejected) = Default::default();
        Audit { world, policy, sinks, levels, events, rejected }
    }

    /// The metrics that upstream has of it.
    pub fn figures(&self) -> String {
        let mut out = String::new();
        let mut metric = |name: &str, help: &str, rows: &[(String, u64)]| {
            let name = format!("apiserver_audit_{name}_total");
            write!(out, "# HELP {name} {help}\n# TYPE {name} counter\n").expect("it is a String");
            for (labels, count) in rows {
                writeln!(out, "{name}{labels} {count}").expect("it is a String");
            }
        };
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut losses = BTreeMap::<_, u64>::new();
        for (plugin, count) in self.sinks.iter().flat_map(|sink| sink.losses()) {
            *losses.entry(format!("{{plugin=\"{plugin}\"}}")).or_default() += count;
        }
        let levels = Level::NAMES.iter().zip(&self.levels);
        let levels: Vec<_> =
            levels.map(|(name, count)| (format!("{{level=\"{name}\"}}"), read(count))).collect();
        let losses: Vec<_> = losses.into_iter().collect();
        metric("error", "Audit events that were not kept, by plugin.", &losses);
        metric("event", "Audit events.", &[(String::new(), read(&self.events))]);
        metric("level", "Requests by the level that the policy gave them.", &levels);
        let rejected = [(String::new(), read(&self.rejected))];
        metric("requests_rejected", "Requests that could not be told of.", &rejected);
        out
    }
}

/// The name of a call: the caller's own, or a new one.
pub fn id(call: &Call, world: &World) -> Option<HeaderValue> {
    match call.headers.get(AUDIT_ID).filter(|id| !id.is_empty()) {
        Some(id) => Some(id.clone()),
        None => HeaderValue::try_from(skiff_base::id::uuid(world)).ok(),
    }
}
