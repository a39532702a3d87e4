//! Follows flow schemas and priority levels of the store, and has the table made anew when what they say has changed.
//! One that cannot be read stays as it was last known.

use super::Fairness;
use super::matching::SchemaSpec;
use super::table::{LevelSpec, Object};
use crate::read::follow::{Fed, feed, step};
use serde::Deserialize;
use skiff_api::follow::{Follower, Health, Input, Start};
use skiff_base::{Lock, Time, World};
use skiff_store::{ReadError, Record, Store};
use std::sync::Arc;
use std::time::Duration;

/// The first parts of the keys.
const KEYS: [&str; 2] = [
    "flowschemas.flowcontrol.apiserver.k8s.io",
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
];

/// An object of either kind.
#[derive(Clone, PartialEq)]
pub enum Either {
    Schema(Arc<Object<SchemaSpec>>),
    Level(Arc<Object<LevelSpec>>),
}

/// What is known of both, in the order of the keys.
#[derive(Default)]
pub struct Followed([Lock<Follower<Arc<str>, Either>>; 2]);

impl Followed {
    pub fn objects(&self) -> (Vec<Arc<Object<SchemaSpec>>>, Vec<Arc<Object<LevelSpec>>>) {
        let (mut schemas, mut levels) = (Vec::new(), Vec::new());
        for follower in &self.0 {
            for (_, object) in follower.lock().iter() {
                match object {
                    Either::Schema(it) => schemas.push(it.clone()),
                    Either::Level(it) => levels.push(it.clone()),
                }
            }
        }
        (schemas, levels)
    }
}

/// One of the two kinds, as it is fed.
pub struct Source {
    fairness: Arc<Fairness>,
    at: usize,
}

impl Source {
    /// Reads all objects of both kinds.
    ///
    /// # Errors
    /// When the store has stopped.
    pub async fn load(
        fairness: &Arc<Fairness>,
        store: &Arc<dyn Store>,
        world: &World,
    ) -> Result<Vec<Source>, ReadError> {
        let all: Vec<Source> =
            (0..KEYS.len()).map(|at| Source { fairness: fairness.clone(), at }).collect();
        for source in &all {
            step(source, store, world).await?;
        }
        Ok(all)
    }

    /// Keeps them up to date until the task is ended.
    pub async fn follow(self, store: Arc<dyn Store>, world: World) {
        match feed(&self, &store, &world).await {}
    }

    fn follower(&self) -> &Lock<Follower<Arc<str>, Either>> {
        &self.fairness.followed.0[self.at]
    }
}

impl Fairness {
    /// How the followers fare, by resource.
    pub fn health(&self) -> Vec<(&'static str, Health)> {
        let all = KEYS.iter().zip(&self.followed.0);
        all.map(|(key, it)| (key.split('.').next().unwrap_or(key), it.lock().health())).collect()
    }
}

impl Fed for Source {
    type Object = Either;

    fn prefix(&self) -> &str {
        KEYS[self.at]
    }

    fn read(&self, record: &Record) -> Result<Either, String> {
        match self.at {
            0 => object(record).map(|it| Either::Schema(Arc::new(it))),
            _ => object(record).map(|it| Either::Level(Arc::new(it))),
        }
    }

    fn delay(&self) -> Duration {
        self.follower().lock().delay()
    }

    fn start(&self, now: Time) -> Start {
        self.follower().lock().start(now)
    }

    fn take(&self, input: Input<Arc<str>, Either>, now: Time) {
        let changed = {
            let out = self.follower().lock().take(input, now);
            // Their status says nothing of what is in force.
            out.changes.iter().any(|change| change.old != change.new)
        };
        if changed {
            self.fairness.configure();
        }
    }
}

fn object<T: for<'a> Deserialize<'a>>(record: &Record) -> Result<Object<T>, String> {
    #[derive(Deserialize)]
    struct Stored<T> {
        metadata: Metadata,
        spec: T,
    }
    #[derive(Deserialize)]
    struct Metadata {
        name: String,
        uid: String,
    }
    let Stored { metadata: Metadata { name, uid }, spec } =
        skiff_json::from_slice(&record.body).map_err(|error| error.to_string())?;
    Ok(Object { name, uid, spec })
}
