//! Follows the roles and bindings of the store into the index: one follower for each of the four kinds, each change at
//! its own cost. It only copies; what the rules mean is the index's affair. What cannot be read grants nothing.

use super::index::{Binding, Index, Role, Sort};
use super::rule::Rule;
use crate::read::follow::{Fed, feed, step};
use skiff_api::follow::{Follower, Health, Input, Start};
use skiff_base::{Time, World};
use skiff_store::{ReadError, Record, Store};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

const UNPOISONED: &str = "no holder of this lock panics";

/// The objects of one kind.
pub struct Followed {
    sort: Sort,
    index: Arc<RwLock<Index>>,
    follower: Mutex<Follower<Arc<str>, Rights>>,
}

/// What is kept of an object, shared with the index.
#[derive(Clone)]
pub enum Rights {
    Role(Arc<[Rule]>),
    Binding(Arc<Binding>),
}

impl Followed {
    /// Reads all objects of one kind into the index.
    ///
    /// # Errors
    /// When the store has stopped.
    pub async fn load(
        sort: Sort,
        index: &Arc<RwLock<Index>>,
        store: &Arc<dyn Store>,
        world: &World,
    ) -> Result<Arc<Followed>, ReadError> {
        let (index, follower) = (index.clone(), Mutex::default());
        let followed = Followed { sort, index, follower };
        step(&followed, store, world).await?;
        Ok(Arc::new(followed))
    }

    /// Keeps the index up to date until the task is ended.
    pub async fn follow(self: Arc<Self>, store: Arc<dyn Store>, world: World) {
        match feed(&*self, &store, &world).await {}
    }

    /// The resource, and how its follower fares.
    pub fn health(&self) -> (&'static str, Health) {
        let resource = self.sort.storage();
        (resource.split('.').next().unwrap_or(resource), self.lock().health())
    }

    fn lock(&self) -> MutexGuard<'_, Follower<Arc<str>, Rights>> {
        self.follower.lock().expect(UNPOISONED)
    }

    fn set(&self, index: &mut Index, key: &str, rights: Option<&Rights>) {
        let mut parts = key.splitn(3, '/').skip(1);
        let (Some(namespace), Some(name)) = (parts.next(), parts.next()) else { return };
        match (rights, self.sort) {
            (Some(Rights::Role(rules)), _) => index.set_role(namespace, name, Some(rules.clone())),
            (Some(Rights::Binding(it)), _) => index.set_binding(namespace, name, Some(it.clone())),
            (None, Sort::Role | Sort::ClusterRole) => index.set_role(namespace, name, None),
            (None, Sort::RoleBinding | Sort::ClusterRoleBinding) => {
                index.set_binding(namespace, name, None);
            }
        }
    }
}

impl Fed for Followed {
    type Object = Rights;

    fn prefix(&self) -> &str {
        self.sort.storage()
    }

    fn read(&self, record: &Record) -> Result<Rights, String> {
        let read = match self.sort {
            Sort::Role | Sort::ClusterRole => serde_json::from_slice(&record.body)
                .map(|role: Role| Rights::Role(role.rules.into())),
            Sort::RoleBinding | Sort::ClusterRoleBinding => serde_json::from_slice(&record.body)
                .map(|binding: Binding| Rights::Binding(Arc::new(binding))),
        };
        read.map_err(|error| error.to_string())
    }

    fn delay(&self) -> Duration {
        self.lock().delay()
    }

    fn start(&self, now: Time) -> Start {
        self.lock().start(now)
    }

    fn take(&self, input: Input<Arc<str>, Rights>, now: Time) {
        let mut follower = self.lock();
        let out = follower.take(input, now);
        if out.changes.is_empty() && out.aside.is_empty() && !out.mended {
            return;
        }
        let mut index = self.index.write().expect(UNPOISONED);
        for change in &out.changes {
            let rights = change.new.as_ref().filter(|_| !follower.is_aside(&change.key));
            self.set(&mut index, &change.key, rights);
        }
        out.aside.iter().for_each(|key| self.set(&mut index, key, None));
    }
}
