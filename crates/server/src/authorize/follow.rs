//! Follows the roles and bindings of the store into the index: one follower for each of the four kinds, each change at
//! its own cost. It only copies; what the rules mean is the index's affair. What cannot be read grants nothing.

use super::index::{Binding, Index, RbacKind, Role};
use super::rule::Rule;
use crate::read::follow::{Fed, feed, step};
use skiff_api::follow::{Follower, Health, Input, Start};
use skiff_base::{Lock, RwLock};
use skiff_base::{Time, World};
use skiff_store::{ReadError, Record, Store};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

/// The objects of one kind.
pub struct Followed {
    type_: RbacKind,
    index: Arc<RwLock<Index>>,
    follower: Lock<Follower<Arc<str>, Rights>>,
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
        type_: RbacKind,
        index: &Arc<RwLock<Index>>,
        store: &Arc<dyn Store>,
        world: &World,
    ) -> Result<Arc<Followed>, ReadError> {
        let (index, follower) = (index.clone(), Lock::default());
        let followed = Followed { type_, index, follower };
        step(&followed, store, world).await?;
        Ok(Arc::new(followed))
    }

    /// Keeps the index up to date until the task is ended.
    pub async fn follow(self: Arc<Self>, store: Arc<dyn Store>, world: World) {
        match feed(&*self, &store, &world).await {}
    }

    /// The resource, and how its follower fares.
    pub fn health(&self) -> (&'static str, Health) {
        let resource = self.type_.storage();
        (resource.split('.').next().unwrap_or(resource), self.lock().health())
    }

    fn lock(&self) -> MutexGuard<'_, Follower<Arc<str>, Rights>> {
        self.follower.lock()
    }

    fn set(&self, index: &mut Index, key: &str, rights: Option<&Rights>) {
        let mut parts = key.splitn(3, '/').skip(1);
        let (Some(namespace), Some(name)) = (parts.next(), parts.next()) else { return };
        match (rights, self.type_) {
            (Some(Rights::Role(rules)), _) => index.set_role(namespace, name, Some(rules.clone())),
            (Some(Rights::Binding(it)), _) => index.set_binding(namespace, name, Some(it.clone())),
            (None, RbacKind::Role | RbacKind::ClusterRole) => index.set_role(namespace, name, None),
            (None, RbacKind::RoleBinding | RbacKind::ClusterRoleBinding) => {
                index.set_binding(namespace, name, None);
            }
        }
    }
}

impl Fed for Followed {
    type Object = Rights;

    fn prefix(&self) -> &str {
        self.type_.storage()
    }

    fn read(&self, record: &Record) -> Result<Rights, String> {
        let read = match self.type_ {
            RbacKind::Role | RbacKind::ClusterRole => skiff_json::from_slice(&record.body)
                .map(|role: Role| Rights::Role(role.rules.into())),
            RbacKind::RoleBinding | RbacKind::ClusterRoleBinding => {
                skiff_json::from_slice(&record.body)
                    .map(|binding: Binding| Rights::Binding(Arc::new(binding)))
            }
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
        let mut index = self.index.write();
        for change in &out.changes {
            let rights = change.new.as_ref().filter(|_| !follower.is_aside(&change.key));
            self.set(&mut index, &change.key, rights);
        }
        out.aside.iter().for_each(|key| self.set(&mut index, key, None));
    }
}
