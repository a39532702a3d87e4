//! Unreadable: what lies in the store and cannot be decoded. It counts as present: its key keeps its name taken, and
//! whoever must know that nothing is left is told that something is. It stops nobody else's list or watch, is named by
//! `skiff status` and `/metrics`, and goes only by the delete that KEP-3926 has for it.
//!
//! Bodies are looked at once, when the server starts: what is written later was a tree before. What only a newer schema
//! cannot read is found, and noted, when it is read.

use skiff_api::Status;
use skiff_api::kind::Kind;
use skiff_api::wire::BODY_START;
use skiff_base::Lock;
use skiff_store::{Key, ListRequest, ReadError, Record, Revision, Store};
use std::collections::BTreeMap;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};

/// So many are remembered; beyond, they are found anew at each reading.
const KNOWN_MOST: usize = 10_000;

/// The records that cannot be read, and why. A record that was written since is another one.
#[derive(Debug, Default)]
pub struct Unreadable {
    /// Whether there are any: the way of nearly every read.
    any: AtomicBool,
    known: Lock<BTreeMap<Key, (Revision, String)>>,
}

impl Unreadable {
    /// Looks at all that is stored.
    pub async fn find(store: &dyn Store) -> Result<Unreadable, ReadError> {
        let found = Unreadable::default();
        for record in store.list(ListRequest::default()).await?.records {
            let sealed = crate::encrypt::sealed_text(&record.body);
            let why = sealed.or_else(|| {
                skiff_api::json::readable(&record.body).err().map(|error| error.to_string())
            });
            if let Some(why) = why {
                tracing::error!(key = %record.key, %why, "what is stored cannot be read");
                found.note(&record, &why);
            }
        }
        Ok(found)
    }

    /// Why a record cannot be read, if that is known.
    pub fn why(&self, record: &Record) -> Option<String> {
        if !record.body.starts_with(BODY_START.as_bytes()) {
            if let Some(why) = crate::encrypt::sealed_text(&record.body) {
                return Some(why);
            }
            return Some("it does not begin like an object".into());
        }
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let known = self.known();
        known.get(&record.key).filter(|(at, _)| *at == record.revision).map(|(_, why)| why.clone())
    }

    /// Remembers a record that cannot be read.
    pub fn note(&self, record: &Record, why: &str) {
        let mut known = self.known();
        if known.len() < KNOWN_MOST {
            known.insert(record.key.clone(), (record.revision, why.to_owned()));
            self.any.store(true, Ordering::Relaxed);
        }
    }

    /// The keys of those that are still there.
    pub fn present(&self, store: &dyn Store) -> Vec<String> {
        let is_there = |key: &Key, at: Revision| store.get(key).is_some_and(|it| it.revision == at);
        let mut known = self.known();
        known.retain(|key, (at, _)| is_there(key, *at));
        known.keys().map(ToString::to_string).collect()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Key, (Revision, String)>> {
        self.known.lock()
    }
}

/// The refusal of whatever needs to read this record.
pub fn refusal(known: &Unreadable, kind: &Kind, record: &Record, why: &str) -> Status {
    known.note(record, why);
    let why = format!(
        "Code: 7, Key: /{}, ResourceVersion: 0, AdditionalErrorMsg: object not decodable revision={}: {why}",
        record.key.replacen("//", "/", 1),
        record.revision.0
    );
    Status::storage_read(kind.about(), name(&record.key), &why)
}

/// The name that a key ends in.
fn name(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or("")
}

/// `namespace/name`, or the name of what lies in no namespace.
pub fn place(key: &str) -> &str {
    key.split_once('/').map_or(key, |(_, place)| place).trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_store::Write;

    fn put(key: &str, expect: Option<Revision>, body: &str) -> Write {
        Write::Put {
            key: key.into(),
            expect,
            body: body.to_owned().into(),
            generation: 1,
            facets: skiff_store::facets(Vec::new()),
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_found_and_forgotten_when_it_is_written_anew() {
        let store = skiff_store::memory(skiff_store::Options::new(std::sync::Arc::new(
            std::time::Duration::default,
        )));
        let deep = format!("{{\"metadata\":{{}},\"a\":{}1{}}}", "[".repeat(127), "]".repeat(127));
        let fine = r#"{"metadata":{"name":"a"}}"#;
        let rows =
            [("secrets/n/a", fine), ("secrets/n/b", "{\"metadata\":{"), ("foos.x/n/c", &deep)];
        for (key, body) in rows {
            store.commit(vec![put(key, None, body)]).await.expect("it is written");
        }
        store.commit(vec![put("ipallocations//1", None, "{}")]).await.expect("it is written");
        let found = Unreadable::find(&*store).await.expect("the store answers");
        assert_eq!(found.present(&*store), ["foos.x/n/c", "secrets/n/b"]);
        let record = |key: &str| store.get(key).expect("it is there");
        assert_eq!(found.why(&record("secrets/n/a")), None);
        assert!(found.why(&record("foos.x/n/c")).expect("a reason").contains("recursion limit"));
        // Nothing is taken apart that is no object, however it came to be there.
        assert!(found.why(&record("ipallocations//1")).is_some());
        let at = record("secrets/n/b").revision;
        store.commit(vec![put("secrets/n/b", Some(at), fine)]).await.expect("it is written");
        assert_eq!(found.why(&record("secrets/n/b")), None);
        assert_eq!(found.present(&*store), ["foos.x/n/c"]);
    }
}
