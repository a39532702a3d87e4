//! Records outside of a running store: as rows of a backup, as a new database made of such rows, and as they lie on the
//! disk.
//!
//! A row is as on disk: what is sealed there is sealed here, and its sum goes along. A database that is made of rows
//! has no history: its revision is given, and everything before counts as compacted.

use crate::check::{self, OpenError};
use crate::codec::Stored;
use crate::seal::{self, Seal};
use crate::{Record, Revision};
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The numbers of a row: revision, generation, sum, the lengths of key and facets.
const HEAD: usize = 8 + 4 + 8 + 4 + 4;
/// A form's name is at the beginning of a body: `k8s:enc:`, the cipher, its version, the name of a key.
const FORM_MOST: usize = 512;

/// A record as a row. `seal` is what the store itself seals with.
///
/// # Errors
/// As of [`Seal::seal`].
pub fn row(record: &Record, seal: &Option<Arc<dyn Seal>>) -> Result<Vec<u8>, String> {
    let (facets, body) = seal::close(seal, &record.key, &record.facets, Some(&record.body))?;
    let body = body.expect("a record has a body");
    let stored = Stored {
        revision: record.revision.0,
        prev: 0,
        deleted: 0,
        generation: record.generation,
        key: &record.key,
        facets: &facets,
        body: Some(&body),
    };
    let sizes = [record.key.len(), facets.len()].map(|size| u32::try_from(size).ok());
    let [Some(key), Some(facets_len)] = sizes else { return Err("a record is too large".into()) };
    let mut row = Vec::with_capacity(HEAD + record.key.len() + facets.len() + body.len());
    row.extend(stored.revision.to_le_bytes());
    row.extend(stored.generation.to_le_bytes());
    row.extend(stored.sum().to_le_bytes());
    row.extend(key.to_le_bytes());
    row.extend(facets_len.to_le_bytes());
    row.extend(record.key.as_bytes());
    row.extend(&facets);
    row.extend(&body[..]);
    Ok(row)
}

/// `None`: the bytes are no row, or not the row that was written.
fn parse(row: &[u8]) -> Option<(Stored<'_>, i64)> {
    fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
        let (first, others) = rest.split_first_chunk::<N>()?;
        *rest = others;
        Some(*first)
    }
    let mut rest = row;
    let revision = u64::from_le_bytes(take(&mut rest)?);
    let generation = u32::from_le_bytes(take(&mut rest)?);
    let sum = i64::from_le_bytes(take(&mut rest)?);
    let key = u32::from_le_bytes(take(&mut rest)?) as usize;
    let facets = u32::from_le_bytes(take(&mut rest)?) as usize;
    let (key, rest) = rest.split_at_checked(key)?;
    let (facets, body) = rest.split_at_checked(facets)?;
    let key = std::str::from_utf8(key).ok()?;
    let (prev, deleted) = (0, 0);
    let stored = Stored { revision, prev, deleted, generation, key, facets, body: Some(body) };
    (stored.sum() == sum).then_some((stored, sum))
}

/// A new database in the making. Nothing of it is durable before [`Maker::finish`].
pub struct Maker {
    db: Connection,
    file: PathBuf,
    origin: Revision,
    last: u64,
}

impl Maker {
    /// Begins one in an empty folder, which is made. Every revision that it will give out is above `origin`, and so is
    /// none of its rows.
    ///
    /// # Errors
    /// The folder cannot be used, or is not empty.
    pub fn new(folder: &Path, origin: Revision) -> Result<Maker, OpenError> {
        let _lock = check::lock(folder)?;
        let file = folder.join("store.db");
        let db = check::connect(&file)?;
        if !check::is_new(&db, &file)? {
            return Err(OpenError::Foreign { file });
        }
        let made = crate::sqlite::create_at_once(&db, origin);
        made.map_err(check::sqlite(&file))?;
        Ok(Maker { db, file, origin, last: 0 })
    }

    /// Takes a row; they come in the order of their revisions.
    ///
    /// # Errors
    /// It is damaged, or does not follow the one before; or the disk is full.
    pub fn add(&mut self, row: &[u8]) -> Result<(), OpenError> {
        let corrupt = |what: String| OpenError::Corrupt { file: self.file.clone(), what };
        let Some((stored, _)) = parse(row) else {
            return Err(corrupt(format!("the row after revision {} fails its sum", self.last)));
        };
        if stored.revision <= self.last || stored.revision > self.origin.0 {
            return Err(corrupt(format!("revision {} is out of order", stored.revision)));
        }
        crate::sqlite::insert(&self.db, &stored).map_err(check::sqlite(&self.file))?;
        self.last = stored.revision;
        Ok(())
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// What the disk says.
    pub fn finish(self) -> Result<(), OpenError> {
        self.db.execute_batch("COMMIT").map_err(check::sqlite(&self.file))?;
        drop(self.db);
        let folder = self.file.parent().unwrap_or(&self.file).to_owned();
        let synced = || File::open(&self.file)?.sync_all().and(File::open(&folder)?.sync_all());
        synced().map_err(|source| OpenError::Folder { folder: folder.clone(), source })
    }
}

/// The newest revision that a database which is not in use has given out; 0: there is none.
///
/// # Errors
/// It is in use, or cannot be read.
pub fn newest(folder: &Path) -> Result<Revision, OpenError> {
    let file = folder.join("store.db");
    if !file.exists() {
        return Ok(Revision(0));
    }
    let _lock = check::lock(folder)?;
    let db = Connection::open(&file).map_err(check::sqlite(&file))?;
    if check::is_new(&db, &file)? {
        return Ok(Revision(0));
    }
    crate::sqlite::newest(&db).map_err(check::sqlite(&file))
}

/// The form of the tables that this program writes; it reads all older ones.
pub const FORMAT: i64 = check::FORMAT;

/// Shows each record as it lies on the disk: its key, its revision and how its body begins. Beside a store that runs.
///
/// # Errors
/// The database cannot be read.
pub fn forms(folder: &Path, mut each: impl FnMut(&str, Revision, &[u8])) -> Result<(), OpenError> {
    let file = folder.join("store.db");
    let failed = check::sqlite(&file);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(&file, flags).map_err(&failed)?;
    let sql = "SELECT key, revision, substr(body, 1, ?1) FROM log WHERE deleted = 0";
    let mut statement = db.prepare(sql).map_err(&failed)?;
    let mut rows = statement.query([FORM_MOST as i64]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        let mut show = || -> rusqlite::Result<()> {
            let body = row.get_ref(2)?.as_blob()?;
            each(row.get_ref(0)?.as_str()?, Revision(row.get::<_, i64>(1)?.cast_unsigned()), body);
            Ok(())
        };
        show().map_err(&failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::tests::Added;
    use crate::{ListRequest, Options, Store, WatchRequest, WatchStart, Write, facets};
    use std::time::Duration;

    fn temp(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("skiff-saved-{name}-{}", std::process::id()))
    }

    fn options(seal: Option<Arc<dyn Seal>>) -> Options {
        Options { seal, ..Options::new(Arc::new(|| Duration::ZERO)) }
    }

    async fn put(store: &dyn Store, key: &str, body: &str) -> u64 {
        let expect = store.get(key).map(|record| record.revision);
        let (body, facets) = (body.to_owned().into(), facets(vec![("l:a".into(), key.into())]));
        let write = Write::Put { key: key.into(), expect, body, generation: 3, facets };
        store.commit(vec![write]).await.unwrap()[0].0
    }

    #[tokio::test]
    async fn a_new_database_of_saved_rows_answers_nothing_older() {
        let (old, new) = (temp("old"), temp("new"));
        let seal: Option<Arc<dyn Seal>> = Some(Arc::new(Added(1)));
        let store = crate::open(&old, options(seal.clone())).unwrap();
        for key in ["secrets/n/b", "pods/n/a", "secrets/n/b"] {
            put(&*store, key, "{\"of\":\"it\"}").await;
        }
        let listed = store.list(ListRequest::default()).await.unwrap();
        let mut records = listed.records;
        records.sort_by_key(|record| record.revision);
        let rows: Vec<_> = records.iter().map(|record| row(record, &seal).unwrap()).collect();
        assert!(matches!(newest(&old), Err(OpenError::Locked { .. })));
        store.close().await;
        assert_eq!(newest(&old).unwrap(), Revision(4));
        let mut maker = Maker::new(&new, Revision(1000)).unwrap();
        rows.iter().for_each(|row| maker.add(row).unwrap());
        assert!(maker.add(&rows[0]).is_err(), "it does not follow");
        let mut bad = rows[0].clone();
        bad[HEAD] ^= 1;
        assert!(maker.add(&bad).unwrap_err().to_string().contains("fails its sum"));
        maker.finish().unwrap();
        assert_eq!(newest(&new).unwrap(), Revision(1000));
        let store = crate::open(&new, options(seal)).unwrap();
        let record = store.get("secrets/n/b").unwrap();
        assert_eq!((&record.body[..], record.revision.0), (&b"{\"of\":\"it\"}"[..], 4));
        assert_eq!((&*record.facets[0].1, record.generation), ("secrets/n/b", 3));
        let (scope, start) = (crate::Scope::default(), WatchStart::After(Revision(999)));
        let watch = store.watch(WatchRequest { scope, facet: None, start });
        assert!(matches!(watch, Err(crate::ReadError::Compacted { .. })));
        assert_eq!(put(&*store, "pods/n/new", "{}").await, 1001);
        store.close().await;
        [old, new].iter().for_each(|folder| std::fs::remove_dir_all(folder).unwrap());
    }

    /// What was in plain before is nowhere on the disk once it was written again and the rest purged; what has lost its
    /// key is there.
    #[tokio::test]
    async fn what_was_plain_is_gone_and_what_lost_its_key_stays() {
        let folder = temp("plain");
        let on_disk = |text: &str| {
            let held = |name: &str| std::fs::read(folder.join(name)).unwrap_or_default();
            let all = [held("store.db"), held("store.db-wal")].concat();
            all.windows(text.len()).any(|window| window == text.as_bytes())
        };
        let store = crate::open(&folder, options(None)).unwrap();
        put(&*store, "secrets/n/a", "{\"x\":\"in plain sight\"}").await;
        assert!(on_disk("in plain sight"));
        store.close().await;
        let store = crate::open(&folder, options(Some(Arc::new(Added(7))))).unwrap();
        let text = store.get("secrets/n/a").unwrap().body.clone();
        put(&*store, "secrets/n/a", std::str::from_utf8(&text).unwrap()).await;
        store.purge().await.unwrap();
        assert!(!on_disk("in plain sight") && !on_disk("l:a"));
        let mut seen = Vec::new();
        forms(&folder, |key, at, head| seen.push((key.to_owned(), at.0, head[..9].to_vec())))
            .unwrap();
        assert_eq!(seen, [("secrets/n/a".to_owned(), 3, b"k8s:enc:\x07".to_vec())]);
        store.close().await;
        let store = crate::open(&folder, options(None)).unwrap();
        assert!(store.get("secrets/n/a").unwrap().body.starts_with(crate::SEALED));
        store.close().await;
        let store = crate::open(&folder, options(Some(Arc::new(Added(7))))).unwrap();
        assert_eq!(store.get("secrets/n/a").unwrap().body, text);
        store.close().await;
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
