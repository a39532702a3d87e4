//! Aggregation: groups of the API that another server serves, a Service of the cluster, under this one's roof
//! (Kubernetes concepts page "Kubernetes API Aggregation Layer"; API reference: APIService).
//!
//! ```text
//! registered.rs  what an APIService says of its server
//! found.rs       what that server says of itself: its discovery, read. Pure
//! reach.rs       asks it; whether it answers is what makes it available
//! forward.rs     a request goes there, and its answer comes back
//! headers.rs     what such a request says of who sent it. Pure
//! merge.rs       its groups among those that are served here. Pure
//! ```
//! An aggregated server is believed about its own group and nothing else: what is served here no APIService takes away,
//! and one that is slow, lies or is gone costs its own requests. Whether it is available is decided by a loop
//! (`apiservice`), which asks through [`Aggregator::reach`] and writes the condition that is read here.

mod forward;
mod found;
mod headers;
mod merge;
mod reach;
mod registered;

pub use forward::{Asker, forward};
pub use merge::Order;
pub use registered::Registered;

use crate::Server;
use crate::identity::keys::Pair;
use crate::outbound::{AsWhom, Outbound, Rules};
use crate::read::follow::{Fed, feed, step};
use found::Found;
use registered::Places;
use skiff_api::follow::{Follower, Health, Input, Start};
use skiff_api::kind::Verb;
use skiff_api::registry::{Kinds, Remote};
use skiff_base::{Lock, RwLock, Tasks, Time, World, fault};
use skiff_store::{ReadError, Record, Store};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

const REGISTRATIONS: &str = "apiservices.apiregistration.k8s.io/";
/// Names of resources that are ever taken from other servers, for names of kinds are kept for good: more than any
/// cluster has, and no more than a server that makes up new ones may cost.
const NAMES_MOST: usize = 16_384;

/// All registrations, by their names.
type All = Arc<[Arc<Registered>]>;

/// What is known of aggregated servers.
pub struct Aggregator {
    world: World,
    store: Arc<dyn Store>,
    kinds: Kinds,
    outbound: Outbound,
    follower: Lock<Follower<Arc<str>, Arc<Registered>>>,
    all: RwLock<All>,
    /// By the name of the APIService: what its server said last, or why it said nothing.
    known: Lock<HashMap<String, Result<Arc<Found>, String>>>,
    /// Names of resources that were taken so far.
    names: Lock<HashSet<String>>,
}

impl Aggregator {
    /// Reads the registrations, and follows them in a task that the group cannot do without. `pair` is what shows an
    /// aggregated server that it is this one who calls.
    ///
    /// # Errors
    /// When the store has stopped.
    pub async fn start(
        store: &Arc<dyn Store>,
        kinds: &Kinds,
        (rules, pair): (Rules, Option<Pair>),
        (world, tasks): (&World, &Tasks),
    ) -> Result<Arc<Aggregator>, ReadError> {
        let as_whom = AsWhom { pair, name: None };
        let made = Arc::new(Aggregator {
            world: world.clone(),
            store: store.clone(),
            kinds: kinds.clone(),
            outbound: Outbound::showing(world.clone(), store.clone(), rules, as_whom),
            follower: Lock::default(),
            all: RwLock::new(Arc::from([])),
            known: Lock::default(),
            names: Lock::default(),
        });
        step(&*made, store, world).await?;
        let (followed, store, world) = (made.clone(), store.clone(), world.clone());
        tasks.vital(async move { match feed(&*followed, &store, &world).await {} });
        Ok(made)
    }

    /// How the follower of the registrations fares.
    pub fn health(&self) -> Health {
        self.follower.lock().health()
    }

    /// All registrations as they are now.
    pub fn all(&self) -> All {
        self.all.read().clone()
    }

    /// Who serves this version of a group, where it is not this server.
    pub fn of(&self, server: &Server, group: &str, version: &str) -> Option<Arc<Registered>> {
        let all = self.all.read();
        let mut elsewhere = all.iter().filter(|it| it.target.is_some());
        let found = elsewhere.find(|it| it.group == group && it.version == version)?.clone();
        drop(all);
        // What is served here is so whatever an APIService says.
        crate::registry::custom::refresh(server);
        (!server.kinds.now().serves(group, version)).then_some(found)
    }

    /// What a server says that it serves: in the form of aggregated discovery, and whether that is so now.
    pub(crate) fn found(&self, of: &Registered) -> Result<Arc<Found>, String> {
        if !of.available {
            return Err("it is not available".into());
        }
        let known = self.known.lock();
        known.get(&of.name).cloned().unwrap_or_else(|| Err("it was not asked yet".into()))
    }

    /// In the Prometheus text format: who is not available.
    pub fn figures(&self) -> String {
        use std::fmt::Write;
        let mut text = "# HELP aggregator_unavailable_apiservice [ALPHA] Gauge of APIServices which are marked as \
                        unavailable broken down by APIService name.\n\
                        # TYPE aggregator_unavailable_apiservice gauge\n"
            .to_owned();
        for it in self.all().iter() {
            let (name, down) = (&it.name, u8::from(!it.available));
            writeln!(text, "aggregator_unavailable_apiservice{{name=\"{name}\"}} {down}")
                .expect("a String takes all that is written");
        }
        text
    }

    /// Takes note of what a server said, or of why it said nothing.
    fn learn(&self, name: &str, found: Result<Found, String>) {
        let found = found.and_then(|found| self.take_names(&found).map(|()| Arc::new(found)));
        if let Err(why) = &found {
            tracing::debug!(name, why, "nothing is known of what an aggregated server serves");
        }
        self.known.lock().insert(name.to_owned(), found);
        self.publish();
    }

    fn take_names(&self, found: &Found) -> Result<(), String> {
        let mut names = self.names.lock();
        // Of what cannot be deleted nobody keeps a name.
        let kept = found.resources.iter().filter(|it| it.verbs.contains(&Verb::Delete));
        let of = kept.flat_map(|it| [&it.plural, &it.kind]);
        let new: HashSet<&str> = of.map(|it| &**it).filter(|it| !names.contains(*it)).collect();
        if names.len() + new.len() > NAMES_MOST {
            return Err("aggregated servers have named more resources than a cluster has".into());
        }
        let new: Vec<String> = new.into_iter().map(str::to_owned).collect();
        names.extend(new);
        Ok(())
    }

    /// Tells everybody who walks all kinds what there is elsewhere.
    fn publish(&self) {
        let all = self.all();
        let mut known = self.known.lock();
        known.retain(|name, _| self.store.get(&key(name)).is_some());
        let nothing = Err("it was not asked yet".to_owned());
        let elsewhere = all.iter().filter(|it| it.target.is_some()).map(|it| {
            let found = known.get(&it.name).unwrap_or(&nothing);
            let resources = match found {
                _ if !it.available => Err("the server is currently unavailable".to_owned()),
                Ok(found) => Ok(found.resources.clone()),
                Err(why) => Err(why.clone()),
            };
            let (group, version) = (it.group.clone().into(), it.version.clone().into());
            Remote { group, version, resources }
        });
        // Under the lock, so that nobody publishes what was before.
        self.kinds.set_remote(elsewhere.collect());
    }
}

/// Where an APIService is stored.
fn key(name: &str) -> String {
    format!("{REGISTRATIONS}/{name}")
}

impl Fed for Aggregator {
    type Object = Arc<Registered>;

    fn prefix(&self) -> &str {
        REGISTRATIONS
    }

    fn read(&self, record: &Record) -> Result<Arc<Registered>, String> {
        fault::point("aggregation");
        let before = self.follower.lock().get(&*record.key).map(|it| it.places.clone());
        let places = before.unwrap_or_else(|| Arc::new(Places::new()));
        Registered::read(&record.body, places).map(Arc::new)
    }

    fn delay(&self) -> Duration {
        self.follower.lock().delay()
    }

    fn start(&self, now: Time) -> Start {
        self.follower.lock().start(now)
    }

    fn take(&self, input: Input<Arc<str>, Arc<Registered>>, now: Time) {
        let mut follower = self.follower.lock();
        let out = follower.take(input, now);
        if out.changes.is_empty() {
            return;
        }
        *self.all.write() = follower.iter().map(|(_, it)| it.clone()).collect();
        drop(follower);
        self.publish();
    }
}
