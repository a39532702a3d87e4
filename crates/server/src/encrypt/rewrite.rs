//! What the disk holds, and everything written anew: after a change of keys, or when encryption begins or ends.
//!
//! A record is written again with the body that it has, as an ordinary change of it: whoever watches sees a new
//! resourceVersion, as upstream's advice (get all, replace all) has it. When all are, the rest of the disk is purged,
//! so that nothing of the old form is left in what the database keeps of former times.

use super::{Sealer, form_of};
use futures_util::StreamExt;
use skiff_store::{CommitError, Key, OpenError, SEALED, Store, Write};
use std::collections::BTreeMap;
use std::path::Path;

/// Writes under way at once: enough to share the waits for the disk.
const AT_ONCE: usize = 64;

/// How records of a resource lie on the disk: by form, how many.
pub type Forms = BTreeMap<(String, String), usize>;

/// What is there now, and whatever would be written otherwise today.
pub struct Seen {
    pub forms: Forms,
    pub stale: Vec<Key>,
}

/// Why not everything is in today's form.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    #[error("looking at what is stored: {0}")]
    Look(#[from] OpenError),
    #[error("writing {key} again: {source}")]
    Write { key: Key, source: CommitError },
    #[error("purging the disk: {0}")]
    Purge(CommitError),
    #[error(
        "{count} objects are encrypted with keys that are not there ({first}, ...): give those keys back first, or \
         delete the objects; nothing was taken away"
    )]
    Lost { count: usize, first: Key },
}

/// Looks at every newest record of the resources that are, or were, encrypted.
///
/// # Errors
/// The database cannot be read.
pub fn look(folder: &Path, store: &dyn Store, sealer: &Sealer) -> Result<Seen, OpenError> {
    let mut seen = Seen { forms: Forms::new(), stale: Vec::new() };
    skiff_store::saved::forms(folder, |key, at, head| {
        if store.get(key).is_none_or(|record| record.revision != at) {
            return;
        }
        let (is, wanted) = (form_of(head), sealer.form(key));
        if is.is_empty() && wanted.is_empty() && sealer.config().providers(key).is_empty() {
            return;
        }
        if is != wanted {
            seen.stale.push(key.into());
        }
        let resource = key.split('/').next().unwrap_or("").to_owned();
        *seen.forms.entry((resource, is)).or_default() += 1;
    })?;
    Ok(seen)
}

/// Brings all of it into today's form; how many were written.
///
/// # Errors
/// See [`RewriteError`]; what was written stays so.
pub async fn rewrite(
    folder: &Path,
    store: &dyn Store,
    sealer: &Sealer,
) -> Result<usize, RewriteError> {
    let stale = look(folder, store, sealer)?.stale;
    let writes = stale.into_iter().map(|key| again(store, key));
    let mut writes = futures_util::stream::iter(writes).buffer_unordered(AT_ONCE);
    let (mut written, mut lost) = (0, Vec::new());
    while let Some((key, outcome)) = writes.next().await {
        match outcome {
            Ok(Again::Written) => written += 1,
            Ok(Again::Lost) => lost.push(key),
            Err(source) => return Err(RewriteError::Write { key, source }),
        }
    }
    if let Some(first) = lost.first() {
        return Err(RewriteError::Lost { count: lost.len(), first: first.clone() });
    }
    store.purge().await.map_err(RewriteError::Purge)?;
    Ok(written)
}

enum Again {
    Written,
    Lost,
}

async fn again(store: &dyn Store, key: Key) -> (Key, Result<Again, CommitError>) {
    let Some(record) = store.get(&key) else { return (key, Ok(Again::Written)) };
    if record.body.starts_with(SEALED) {
        return (key, Ok(Again::Lost));
    }
    let write = Write::Put {
        key: key.clone(),
        expect: Some(record.revision),
        body: record.body.clone(),
        generation: record.generation,
        facets: record.facets.clone(),
    };
    let outcome = match store.commit(vec![write]).await {
        // Somebody else wrote it meanwhile, in today's form.
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(Again::Written),
        Err(error) => Err(error),
    };
    (key, outcome)
}

#[cfg(test)]
mod tests {
    use super::super::config::Config;
    use super::super::own::{Manner, Own};
    use super::*;
    use skiff_base::World;
    use skiff_store::{Options, Seal, facets};
    use std::sync::Arc;

    #[tokio::test]
    async fn all_is_sealed_then_turned_over_to_a_new_key_and_what_is_lost_is_kept() {
        let folder = std::env::temp_dir().join(format!("skiff-rewrite-{}", std::process::id()));
        let (own, world) = (Own::new(&folder), World::real());
        std::fs::create_dir_all(&folder).unwrap();
        let sealer = Arc::new(Sealer::new(Config::default(), world.clone()));
        let seal: Arc<dyn Seal> = sealer.clone();
        let options = Options { seal: Some(seal), ..Options::new(Arc::new(Default::default)) };
        let at = folder.join("store");
        let store = skiff_store::open(&at, options.clone()).unwrap();
        for key in ["secrets/n/a", "secrets/n/b", "pods/n/a"] {
            let body = format!("{{\"metadata\":{{\"name\":\"{key}\"}}}}").into();
            let facets = facets(Vec::new());
            let write = Write::Put { key: key.into(), expect: None, body, generation: 1, facets };
            store.commit(vec![write]).await.unwrap();
        }
        let forms = |store: &dyn Store| -> Vec<String> {
            let seen = look(&at, store, &sealer).unwrap();
            let each = |((resource, form), n): (&(String, String), &usize)| {
                format!("{resource} {form} {n}")
            };
            let stale = seen.stale.len();
            // The names of keys end in chance.
            let bare = |text: String| match text.split_once('-') {
                Some((before, after)) => format!("{before}{}", &after[8..]),
                None => text,
            };
            seen.forms.iter().map(each).map(bare).chain([format!("stale {stale}")]).collect()
        };
        assert_eq!(forms(&*store), ["stale 0"]);
        sealer.replace(own.open(Manner::Sealed, &world).unwrap().unwrap());
        assert_eq!(forms(&*store), ["secrets  2", "stale 2"]);
        assert_eq!(rewrite(&at, &*store, &sealer).await.unwrap(), 2);
        assert_eq!(forms(&*store), ["secrets k8s:enc:secretbox:v1:key1: 2", "stale 0"]);
        sealer.replace(own.add(&world).unwrap().1);
        assert_eq!(rewrite(&at, &*store, &sealer).await.unwrap(), 2);
        sealer.replace(own.keep_first().unwrap());
        assert_eq!(forms(&*store), ["secrets k8s:enc:secretbox:v1:key2: 2", "stale 0"]);
        store.close().await;
        // The key is lost: the names are there, and nothing is written over.
        sealer.replace(Config::default());
        let store = skiff_store::open(&at, options).unwrap();
        let lost = rewrite(&at, &*store, &sealer).await.unwrap_err().to_string();
        assert!(lost.starts_with("2 objects are encrypted with keys that are not there"), "{lost}");
        assert!(store.get("secrets/n/a").is_some());
        sealer.replace(own.open(Manner::Sealed, &world).unwrap().unwrap());
        store.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }
}
