//! The log in SQLite: one table in revision order, in WAL mode, every commit synced.
//!
//! Two connections. The committer's appends; the other one, on a thread of its own, reads old
//! revisions and copies the WAL into the database (a checkpoint) while commits go on, so that no
//! commit waits for that. There is no index on the key: memory has one, and each row names the row
//! before it, which is all that compaction and history need.
//!
//! Nothing but rows is decided here; what they mean is decided above.

use crate::check::{self, OpenError};
use crate::codec::Stored;
use crate::journal::{History, Stretch};
use crate::log::{
    Append, Content, Entry, Log, LogError, Marks, Pair, READ_ROWS, Row, Sweep, stretch,
};
use crate::reserve::Reserve;
use crate::seal::{self, Sealing};
use crate::{ReadError, Revision};
use futures_util::future::BoxFuture;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// What the table is made of. `deleted` is 0 or 1; `body` of a delete is the last one, if it
/// differs. The large columns come last, so that reading the small ones touches no further page.
const TABLES: &str = "
    CREATE TABLE log (
        revision INTEGER PRIMARY KEY,
        prev INTEGER NOT NULL,
        deleted INTEGER NOT NULL,
        generation INTEGER NOT NULL,
        sum INTEGER NOT NULL,
        key TEXT NOT NULL,
        facets BLOB NOT NULL,
        body BLOB
    ) STRICT;
    CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;";

/// 2 MB of pages for the committer, which only ever touches the end of the table and what it
/// sweeps; 512 KB for the reader. FULL: the WAL is synced at every commit. Checkpoints are ours.
const COMMITTER: &str = "
    PRAGMA page_size = 4096;
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 0;
    PRAGMA journal_size_limit = 33554432;
    PRAGMA cache_size = -2048;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA busy_timeout = 10000;";
const READER: &str = "
    PRAGMA wal_autocheckpoint = 0;
    PRAGMA synchronous = FULL;
    PRAGMA cache_size = -512;
    PRAGMA trusted_schema = OFF;
    PRAGMA busy_timeout = 10000;";

const INSERT: &str = "INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const MARK: &str = "INSERT INTO marks VALUES (?1, ?2)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value";
/// What was superseded by the entries of a range, and then the deletes among them.
const SWEEP_SUPERSEDED: &str = "DELETE FROM log WHERE revision IN
    (SELECT prev FROM log WHERE revision > ?1 AND revision <= ?2 AND prev > 0)";
const SWEEP_DELETES: &str =
    "DELETE FROM log WHERE revision > ?1 AND revision <= ?2 AND deleted = 1";
const LOAD: &str = "SELECT revision, prev, deleted, generation, sum, key, facets, body
    FROM log ORDER BY revision";
const READ: &str = "SELECT
    l.revision, l.prev, l.deleted, l.generation, l.sum, l.key, l.facets, l.body,
    p.revision, p.prev, p.deleted, p.generation, p.sum, p.key, p.facets, p.body
    FROM log l LEFT JOIN log p ON p.revision = l.prev
    WHERE l.revision > ?1 AND l.revision <= ?2 ORDER BY l.revision LIMIT ?3";

/// A checkpoint begins when about so much was appended since the last one.
const CHECKPOINT_BYTES: usize = 4 << 20;

/// The same while space is scarce.
const SCARCE_CHECKPOINT_BYTES: usize = 256 << 10;

/// What a commit adds to the WAL beside its rows, about: the last page of the table, the page above
/// it, and the first page, which holds the size.
const COMMIT_BYTES: usize = 3 * 4096;

/// Free pages beyond this and a quarter of the file go back to the file system, so many at a time.
const FREE_PAGES: i64 = 4096;
const VACUUM: &str = "PRAGMA incremental_vacuum(256)";

/// Who wants to see the rows of an opening.
pub(crate) type EachRow<'a> = &'a mut dyn FnMut(&Marks, Row) -> Result<(), String>;

/// Opens or makes the database of a folder and reads it once, in order.
pub(crate) fn open(
    folder: &Path,
    origin: Revision,
    seal: &Sealing,
    each: EachRow<'_>,
) -> Result<(SqliteLog, Arc<dyn History>, Marks), OpenError> {
    let lock = check::lock(folder)?;
    let file = folder.join("store.db");
    let (db, marks) = match connect(&file, origin) {
        // Even to be opened a database needs a little space.
        Err(OpenError::Full { .. }) if Reserve::new(folder).release().is_ok_and(|there| there) => {
            connect(&file, origin)?
        }
        connected => connected?,
    };
    load(&db, &file, &marks, seal, each)?;
    let reserve = Arc::new(Reserve::new(folder));
    let log = SqliteLog::new(db, lock, folder, reserve.clone(), seal.clone())?;
    // Some 50 ms of writing that nobody needs to wait for. The thread is there.
    let _ = log.jobs.send(Job::Reserve(reserve));
    let history = Arc::new(Reader { jobs: log.jobs.clone() });
    Ok((log, history, marks))
}

fn connect(file: &Path, origin: Revision) -> Result<(Connection, Marks), OpenError> {
    let db = check::connect(file)?;
    let new = check::is_new(&db, file)?;
    db.execute_batch(COMMITTER).map_err(check::sqlite(file))?;
    if new {
        create(&db, origin).map_err(check::sqlite(file))?;
    } else {
        check::quick(&db, file)?;
    }
    let marks = marks(&db, origin).map_err(check::sqlite(file))?;
    Ok((db, marks))
}

fn create(db: &Connection, origin: Revision) -> rusqlite::Result<()> {
    let (application, format) = (check::APPLICATION_ID, check::FORMAT);
    db.execute_batch(&format!(
        "BEGIN; {TABLES} PRAGMA application_id = {application}; PRAGMA user_version = {format};
        INSERT INTO marks VALUES ('compacted', {0}), ('swept', {0}); COMMIT",
        origin.0
    ))
}

/// Makes the tables of a database that is written at once and synced as a whole; what it takes until `COMMIT` is one
/// transaction, whose end nobody sees who is cut off.
pub(crate) fn create_at_once(db: &Connection, origin: Revision) -> rusqlite::Result<()> {
    db.execute_batch(
        "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;
        PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;",
    )?;
    create(db, origin)?;
    db.execute_batch("BEGIN")
}

/// The newest revision given out.
pub(crate) fn newest(db: &Connection) -> rusqlite::Result<Revision> {
    Ok(marks(db, Revision(0))?.high)
}

fn marks(db: &Connection, origin: Revision) -> rusqlite::Result<Marks> {
    let mark = |name: &str| {
        let sql = "SELECT value FROM marks WHERE name = ?1";
        db.query_row(sql, [name], |row| row.get(0)).map(revision)
    };
    let newest = db
        .query_row("SELECT revision FROM log ORDER BY revision DESC LIMIT 1", [], |row| row.get(0))
        .optional()?
        .map_or(Revision(0), revision);
    let (compacted, swept) = (mark("compacted")?, mark("swept")?);
    let high = newest.max(compacted);
    if origin <= high {
        return Ok(Marks { high, compacted, swept });
    }
    // Whoever saw revisions above ours saw another history: no watch may go on from there.
    db.execute(MARK, params!["compacted", number(origin)])?;
    Ok(Marks { high: origin, compacted: origin, swept })
}

fn load(
    db: &Connection,
    file: &Path,
    marks: &Marks,
    seal: &Sealing,
    each: EachRow<'_>,
) -> Result<(), OpenError> {
    let failed = check::sqlite(file);
    let corrupt = |what| OpenError::Corrupt { file: file.into(), what };
    let mut statement = db.prepare(LOAD).map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        let row = decode(row, 0, seal).map_err(|error| match error {
            Undecoded::Sqlite(error) => failed(error),
            Undecoded::Damaged(what) => corrupt(what),
        })?;
        each(marks, row).map_err(corrupt)?;
    }
    Ok(())
}

/// The committer's half.
pub(crate) struct SqliteLog {
    db: Connection,
    folder: PathBuf,
    jobs: mpsc::Sender<Job>,
    reader: Option<JoinHandle<()>>,
    /// Appended since the last checkpoint began, about.
    appended: usize,
    checkpoint: Arc<Checkpoint>,
    reserve: Arc<Reserve>,
    seal: Sealing,
    _lock: File,
}

#[derive(Default)]
struct Checkpoint {
    running: AtomicBool,
    ended: AtomicBool,
}

/// The reading half.
struct Reader {
    jobs: mpsc::Sender<Job>,
}

enum Job {
    Read(Revision, Revision, oneshot::Sender<Result<Vec<Pair>, LogError>>),
    Checkpoint(Arc<Checkpoint>),
    Reserve(Arc<Reserve>),
    End,
}

impl SqliteLog {
    fn new(
        db: Connection,
        lock: File,
        folder: &Path,
        reserve: Arc<Reserve>,
        seal: Sealing,
    ) -> Result<SqliteLog, OpenError> {
        let file = folder.join("store.db");
        let reader = Connection::open(&file).map_err(check::sqlite(&file))?;
        reader.execute_batch(READER).map_err(check::sqlite(&file))?;
        let (jobs, queue) = mpsc::channel();
        let opens = seal.clone();
        let thread = std::thread::Builder::new()
            .name("skiff-read".into())
            .spawn(move || run(&reader, &opens, &queue))
            .map_err(|source| OpenError::Folder { folder: folder.into(), source })?;
        Ok(SqliteLog {
            db,
            folder: folder.into(),
            jobs,
            reader: Some(thread),
            appended: 0,
            checkpoint: Arc::default(),
            reserve,
            seal,
            _lock: lock,
        })
    }

    fn transaction(
        &mut self,
        entries: &[Entry],
        compacted: Revision,
        sweep: Option<Sweep>,
    ) -> Result<(), LogError> {
        let sealing = self.seal.clone();
        let transaction = self.begin().map_err(failed)?;
        for entry in entries {
            insert_entry(&transaction, &sealing, entry)?;
        }
        close(transaction, compacted, sweep).map_err(failed)
    }

    fn begin(&mut self) -> rusqlite::Result<rusqlite::Transaction<'_>> {
        self.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
    }

    /// Starts a checkpoint beside the commits when it is time, and ends one that ran: what came in
    /// meanwhile is little, and without it the WAL could never begin anew. While space is scarce,
    /// checkpoints are small, are waited for, and give the WAL's space back.
    fn checkpoint(&mut self) -> rusqlite::Result<()> {
        if self.reserve.scarce() {
            if self.appended >= SCARCE_CHECKPOINT_BYTES {
                self.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
                self.appended = 0;
            }
            return Ok(());
        }
        if self.checkpoint.ended.swap(false, Ordering::AcqRel) {
            self.db.execute_batch("PRAGMA wal_checkpoint(PASSIVE)")?;
        }
        if self.appended >= CHECKPOINT_BYTES
            && !self.checkpoint.running.swap(true, Ordering::AcqRel)
        {
            self.appended = 0;
            // The thread ends only after us; if it panicked, the WAL grows and nothing is lost.
            let _ = self.jobs.send(Job::Checkpoint(self.checkpoint.clone()));
        }
        Ok(())
    }

    /// Gives free pages back to the file system, a few at a time.
    fn vacuum(&mut self) -> rusqlite::Result<()> {
        let number = |sql: &str| self.db.query_row(sql, [], |row| row.get::<_, i64>(0));
        let free = number("PRAGMA freelist_count")?;
        if free > FREE_PAGES && free > number("PRAGMA page_count")? / 4 {
            self.db.execute_batch(VACUUM)?;
            // Each of the pages may have moved.
            self.appended += 256 * 4096;
        }
        Ok(())
    }
}

/// Sweeps and commits.
fn close(
    transaction: rusqlite::Transaction<'_>,
    compacted: Revision,
    sweep: Option<Sweep>,
) -> rusqlite::Result<()> {
    if let Some(Sweep { after, to }) = sweep {
        let range = params![number(after), number(to)];
        transaction.prepare_cached(SWEEP_SUPERSEDED)?.execute(range)?;
        transaction.prepare_cached(SWEEP_DELETES)?.execute(range)?;
        let mut mark = transaction.prepare_cached(MARK)?;
        mark.execute(params!["compacted", number(compacted)])?;
        mark.execute(params!["swept", number(to)])?;
    }
    transaction.commit()
}

fn insert_entry(db: &Connection, sealing: &Sealing, entry: &Entry) -> Result<(), LogError> {
    let event = &entry.event;
    let newest = event.new.as_ref().or(event.old.as_ref()).expect("an event has a record");
    let body = match &event.new {
        Some(new) => Some(&new.body[..]),
        None => entry.last.as_deref(),
    };
    let sealed = seal::close(sealing, &newest.key, &newest.facets, body);
    let (facets, body) = sealed.map_err(LogError::Failed)?;
    let stored = Stored {
        revision: event.revision.0,
        prev: event.old.as_ref().map_or(0, |old| old.revision.0),
        deleted: u64::from(event.new.is_none()),
        generation: newest.generation,
        key: &newest.key,
        facets: &facets,
        body: body.as_deref(),
    };
    insert(db, &stored).map_err(failed)
}

pub(crate) fn insert(db: &Connection, stored: &Stored<'_>) -> rusqlite::Result<()> {
    db.prepare_cached(INSERT)?.execute(params![
        stored.revision.cast_signed(),
        stored.prev.cast_signed(),
        stored.deleted.cast_signed(),
        stored.generation,
        stored.sum(),
        stored.key,
        stored.facets,
        stored.body,
    ])?;
    Ok(())
}

impl Log for SqliteLog {
    fn append(
        &mut self,
        entries: &[Entry],
        compacted: Revision,
        sweep: Option<Sweep>,
    ) -> Result<(), LogError> {
        self.transaction(entries, compacted, sweep)?;
        let weight = |entry: &Entry| {
            const ROW: usize = 512;
            ROW + entry.event.new.as_ref().map_or(0, |record| record.body.len())
        };
        self.appended += COMMIT_BYTES + entries.iter().map(weight).sum::<usize>();
        Ok(())
    }

    fn tend(&mut self, last: Append) -> Result<(), LogError> {
        self.checkpoint().map_err(failed)?;
        if last == Append::SweepOnly || self.reserve.scarce() {
            self.vacuum().map_err(failed)?;
        }
        Ok(())
    }

    fn rewrite(&mut self) -> Result<(), LogError> {
        self.db.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").map_err(failed)
    }

    fn release_reserve(&mut self) -> Result<(), LogError> {
        self.reserve.release().map_err(|error| LogError::Failed(error.to_string()))?;
        // The space is for this first: what is in the WAL moves to where it belongs.
        self.appended = SCARCE_CHECKPOINT_BYTES;
        self.checkpoint().map_err(failed)
    }

    fn restore_reserve(&mut self) -> Result<(), LogError> {
        self.reserve.restore().map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull => LogError::Full,
            _ => LogError::Failed(error.to_string()),
        })
    }

    fn disk_bytes(&self) -> u64 {
        let size = |name: &str| {
            std::fs::metadata(self.folder.join(name)).map_or(0, |metadata| metadata.len())
        };
        size("store.db") + size("store.db-wal")
    }

    fn close(&mut self) -> Result<(), LogError> {
        if let Some(reader) = self.reader.take() {
            // A thread that is gone needs no end.
            let _ = self.jobs.send(Job::End);
            if reader.join().is_err() {
                return Err(LogError::Failed("the reader panicked".into()));
            }
        }
        self.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").map_err(failed)
    }
}

impl History for Reader {
    fn read(
        &self,
        after: Revision,
        to: Revision,
    ) -> BoxFuture<'static, Result<Stretch, ReadError>> {
        let (reply, answer) = oneshot::channel();
        let sent = self.jobs.send(Job::Read(after, to, reply));
        Box::pin(async move {
            let gone = || ReadError::Stopped("it was closed".into());
            sent.map_err(|_| gone())?;
            let pairs = answer.await.map_err(|_| gone())?;
            let pairs = pairs.map_err(|error| ReadError::Stopped(error.to_string().into()))?;
            Ok(stretch(pairs, to))
        })
    }
}

fn run(db: &Connection, seal: &Sealing, jobs: &mpsc::Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Read(after, to, reply) => {
                // Whoever asked may have gone away.
                let _ = reply.send(read(db, seal, after, to));
            }
            Job::Checkpoint(checkpoint) => {
                if let Err(error) = db.execute_batch("PRAGMA wal_checkpoint(PASSIVE)") {
                    // The committer meets the same trouble itself, and decides.
                    tracing::warn!(%error, "a checkpoint did not succeed");
                }
                checkpoint.ended.store(true, Ordering::Release);
                checkpoint.running.store(false, Ordering::Release);
            }
            Job::Reserve(reserve) => {
                if let Err(error) = reserve.make() {
                    // Then the first write that finds no space tells.
                    tracing::warn!(%error, "nothing is held back for a full disk");
                }
            }
            Job::End => return,
        }
    }
}

fn read(
    db: &Connection,
    seal: &Sealing,
    after: Revision,
    to: Revision,
) -> Result<Vec<Pair>, LogError> {
    let mut statement = db.prepare_cached(READ).map_err(failed)?;
    let limit = i64::try_from(READ_ROWS).expect("a small number");
    let mut rows = statement.query(params![number(after), number(to), limit]).map_err(failed)?;
    let mut pairs = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let new = decode(row, 0, seal).map_err(undecoded)?;
        let has_old = row.get::<_, Option<i64>>(8).map_err(failed)?.is_some();
        let old = has_old.then(|| decode(row, 8, seal)).transpose().map_err(undecoded)?;
        pairs.push((new, old));
    }
    Ok(pairs)
}

enum Undecoded {
    Sqlite(rusqlite::Error),
    Damaged(String),
}

fn undecoded(error: Undecoded) -> LogError {
    match error {
        Undecoded::Sqlite(error) => failed(error),
        Undecoded::Damaged(what) => LogError::Failed(format!("the database is damaged: {what}")),
    }
}

/// A row from column `first` on.
fn decode(row: &rusqlite::Row<'_>, first: usize, seal: &Sealing) -> Result<Row, Undecoded> {
    let column = |at: usize| row.get_ref(first + at);
    let integer = |at: usize| column(at)?.as_i64().map_err(rusqlite::Error::from);
    let parts = || -> rusqlite::Result<_> {
        let stored = Stored {
            revision: integer(0)?.cast_unsigned(),
            prev: integer(1)?.cast_unsigned(),
            deleted: integer(2)?.cast_unsigned(),
            generation: row.get(first + 3)?,
            key: column(5)?.as_str()?,
            facets: column(6)?.as_blob()?,
            body: column(7)?.as_blob_or_null()?,
        };
        Ok((stored, integer(4)?))
    };
    let (stored, sum) = parts().map_err(Undecoded::Sqlite)?;
    let damaged = || Undecoded::Damaged(format!("revision {} fails its sum", stored.revision));
    if stored.sum() != sum {
        return Err(damaged());
    }
    let opened = seal::open(seal, stored.key, stored.facets, stored.body);
    let (facets, body) = opened.ok_or_else(damaged)?;
    let content = match (stored.deleted, body) {
        (0, Some(body)) => Content::Put(body),
        (1, last) => Content::Delete(last),
        _ => return Err(damaged()),
    };
    Ok(Row {
        revision: Revision(stored.revision),
        prev: Revision(stored.prev),
        key: stored.key.into(),
        generation: stored.generation,
        facets,
        content,
    })
}

fn failed(error: rusqlite::Error) -> LogError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => LogError::Full,
        _ => LogError::Failed(error.to_string()),
    }
}

fn number(revision: Revision) -> i64 {
    revision.0.cast_signed()
}

fn revision(number: i64) -> Revision {
    Revision(number.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Record, facets};

    fn entry(revision: u64, prev: u64, size: usize) -> Entry {
        let record = |revision, size: usize| {
            Some(Arc::new(Record {
                key: "a/b/c".into(),
                revision: Revision(revision),
                body: vec![7; size].into(),
                generation: 3,
                facets: facets(vec![("l:a".into(), "b".into())]),
            }))
        };
        let old = if prev > 0 { record(prev, 1) } else { None };
        let (revision, new) = (Revision(revision), record(revision, size));
        Entry { event: Arc::new(Event { revision, key: "a/b/c".into(), old, new }), last: None }
    }

    #[test]
    fn full_is_told_and_survived() {
        let folder = std::env::temp_dir().join(format!("skiff-full-{}", std::process::id()));
        let (mut log, _, marks) = open(&folder, Revision(1), &None, &mut |_, _| Ok(())).unwrap();
        let oldest = marks.compacted;
        log.append(&[entry(2, 0, 100)], oldest, None).unwrap();
        let pages = |log: &SqliteLog, sql: &str| -> i64 {
            log.db.query_row(sql, [], |row| row.get(0)).unwrap()
        };
        // SQLite says of its own limit what it says of the disk.
        let limit = pages(&log, "PRAGMA page_count") + 4;
        pages(&log, &format!("PRAGMA max_page_count = {limit}"));
        let large = [entry(3, 2, 10), entry(4, 3, 100_000)];
        assert_eq!(log.append(&large, oldest, None), Err(LogError::Full));
        log.append(&[entry(3, 2, 10)], oldest, None).unwrap();
        pages(&log, "PRAGMA max_page_count = 100000");
        log.append(&[entry(4, 3, 100_000)], oldest, None).unwrap();
        log.close().unwrap();
        drop(log);
        let mut rows = Vec::new();
        let each: EachRow<'_> = &mut |_, row| {
            rows.push((row.revision.0, row.prev.0, row.generation));
            Ok(())
        };
        let (mut log, _, marks) = open(&folder, Revision(1), &None, each).unwrap();
        assert_eq!(rows, [(2, 0, 3), (3, 2, 3), (4, 3, 3)]);
        let oldest = Revision(5);
        let sweep = Some(Sweep { after: Revision(1), to: Revision(5) });
        log.append(&[entry(5, 4, 10)], marks.compacted, None).unwrap();
        log.append(&[], oldest, sweep).unwrap();
        assert_eq!(pages(&log, "SELECT count(*) FROM log"), 1);
        assert!(pages(&log, "PRAGMA freelist_count") > 20);
        log.close().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
