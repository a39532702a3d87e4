//! Read: the one way from a name to an object. Whoever looks something up says how new the answer must be, gets the
//! object as its kind is today (old records are renewed), and is told when what lies there cannot be read.
//!
//! It never writes, and never decides what the absence of an object means.

use super::convert;
use super::unreadable::Unreadable;
use crate::outbound::Outbound;
use skiff_api::Status;
use skiff_api::kind::Kind;
use skiff_api::object::Object;
use skiff_api::registry::Kinds;
use skiff_store::{Currency, ListRequest, Record, Store};
use std::sync::Arc;

/// Reads objects; shared by all that look something up.
pub struct Reader {
    pub store: Arc<dyn Store>,
    pub kinds: Kinds,
    /// What is stored and cannot be read.
    pub unreadable: Unreadable,
    /// How those are called who convert custom resources.
    pub outbound: Outbound,
}

/// What lies under a name: the record, and the object that it is today.
pub struct Found {
    pub record: Arc<Record>,
    pub object: Object,
}

impl Reader {
    /// The object of that kind and name; `None` when there is none. `namespace` is empty for what lies in none.
    ///
    /// # Errors
    /// When it is there and cannot be read, or when the store cannot say what is current.
    pub async fn read(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        currency: Currency,
    ) -> Result<Option<Found>, Status> {
        let Some(record) = self.record(&kind.key(namespace, name), currency).await? else {
            return Ok(None);
        };
        let object = convert::tree(self, kind, &record).await?;
        Ok(Some(Found { record, object }))
    }

    /// The same for a kind that the server itself knows by its group and plural.
    ///
    /// # Errors
    /// Those of [`Reader::read`].
    pub async fn find(
        &self,
        (group, plural): (&str, &str),
        namespace: &str,
        name: &str,
        currency: Currency,
    ) -> Result<Option<Object>, Status> {
        let kind = self.kind(group, plural)?;
        let found = self.read(&kind, namespace, name, currency).await?;
        Ok(found.map(|found| found.object))
    }

    /// All objects of a kind that a request selects.
    ///
    /// # Errors
    /// When one of them cannot be read: an unreadable list is not a shorter one.
    pub async fn list(&self, kind: &Kind, request: ListRequest) -> Result<Vec<Object>, Status> {
        let listed = self.store.list(request).await;
        let listed = listed.map_err(super::read_error)?;
        convert::trees(self, kind, &listed.records).await.into_iter().collect()
    }

    /// The record under a key, for those whose answer is its facets or its revision alone.
    ///
    /// # Errors
    /// When the store cannot say what is current.
    pub async fn record(
        &self,
        key: &str,
        currency: Currency,
    ) -> Result<Option<Arc<Record>>, Status> {
        self.reach(currency).await?;
        Ok(self.store.get(key))
    }

    /// Waits until what is read is as new as that: before a write that was beaten tries again, for example.
    ///
    /// # Errors
    /// When the store cannot say what is current.
    pub async fn reach(&self, currency: Currency) -> Result<(), Status> {
        self.store.reach(currency).await.map_err(super::read_error)
    }

    /// A built-in kind by its group and plural.
    ///
    /// # Errors
    /// When there is none: a mistake of ours.
    pub fn kind(&self, group: &str, plural: &str) -> Result<Arc<Kind>, Status> {
        let found = self.kinds.now().find_in_group(group, plural).cloned();
        found.ok_or_else(|| Status::internal(format!("{plural} are not served")))
    }
}
