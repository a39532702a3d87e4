//! Opening: whose folder it is, and whether what is in it can be trusted.
//!
//! A store that cannot be trusted is not opened, and nothing in it is changed: whoever runs it
//! gets a sentence that says what to do. It never repairs and never starts empty beside damage.

use rusqlite::{Connection, ErrorCode};
use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why a store could not be opened; the message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{} is in use by another process: stop it first, or choose another data folder",
        folder.display()
    )]
    Locked { folder: PathBuf },
    #[error(
        "{} cannot be used as a data folder: {source}; \
         choose another one or mend its permissions",
        folder.display()
    )]
    Folder { folder: PathBuf, source: std::io::Error },
    #[error(
        "{} is not a database of Skiff: move it away, or choose another data folder",
        file.display()
    )]
    Foreign { file: PathBuf },
    #[error(
        "{} was written by a newer Skiff (format {found}, this one knows {known}): \
         run that version, or restore a copy from before the upgrade",
        file.display()
    )]
    Newer { file: PathBuf, found: i64, known: i64 },
    #[error(
        "{} is damaged ({what}): keep a copy of the folder, then restore a backup, or save what \
         can be read with `sqlite3 {} .recover`",
        file.display(),
        file.display()
    )]
    Corrupt { file: PathBuf, what: String },
    #[error("{} cannot be opened: {source}", file.display())]
    Database { file: PathBuf, source: rusqlite::Error },
    #[error(
        "the disk is full and {} cannot be made: free space below the data folder",
        file.display()
    )]
    Full { file: PathBuf },
    #[error("the store was closed and is not opened again")]
    Closed,
}

/// "SKIF", in the header of every database of ours.
pub(crate) const APPLICATION_ID: i64 = 0x534b_4946;

/// The form of the tables; a newer one is refused.
pub(crate) const FORMAT: i64 = 1;

/// A database up to this size is checked page by page at opening (some 10 ms). Of every database
/// all rows are read, summed and found complete anyway.
const QUICK_CHECK_BYTES: u64 = 4 << 20;

/// Makes the folder if need be (only its owner may look: there are Secrets in it) and takes its
/// lock, which ends with the process at the latest.
pub(crate) fn lock(folder: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Folder { folder: folder.into(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(folder.join("lock"))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { folder: folder.into() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// What SQLite says, in terms of what to do.
pub(crate) fn sqlite(file: &Path) -> impl Fn(rusqlite::Error) -> OpenError {
    move |source| match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::Foreign { file: file.into() },
        Some(ErrorCode::DatabaseCorrupt) => {
            OpenError::Corrupt { file: file.into(), what: source.to_string() }
        }
        Some(ErrorCode::DiskFull) => OpenError::Full { file: file.into() },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            OpenError::Locked { folder: file.parent().unwrap_or(file).into() }
        }
        _ => OpenError::Database { file: file.into(), source },
    }
}

/// Opens the file, or makes it so that only its owner may read it (SQLite gives its companions the
/// same permissions).
pub(crate) fn connect(file: &Path) -> Result<Connection, OpenError> {
    let folder = file.parent().unwrap_or(file);
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(file)
        .map_err(|source| OpenError::Folder { folder: folder.into(), source })?;
    Connection::open(file).map_err(sqlite(file))
}

/// Whether the database is ours; true: it is new and empty.
pub(crate) fn is_new(db: &Connection, file: &Path) -> Result<bool, OpenError> {
    let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0));
    let application = number("PRAGMA application_id").map_err(sqlite(file))?;
    let format = number("PRAGMA user_version").map_err(sqlite(file))?;
    let tables = number("SELECT count(*) FROM sqlite_schema").map_err(sqlite(file))?;
    if (application, format, tables) == (0, 0, 0) {
        return Ok(true);
    }
    if application != APPLICATION_ID {
        return Err(OpenError::Foreign { file: file.into() });
    }
    if format > FORMAT {
        return Err(OpenError::Newer { file: file.into(), found: format, known: FORMAT });
    }
    Ok(false)
}

/// What SQLite itself can find wrong, where that is cheap.
pub(crate) fn quick(db: &Connection, file: &Path) -> Result<(), OpenError> {
    let size = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    if size > QUICK_CHECK_BYTES {
        return Ok(());
    }
    let what: String =
        db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sqlite(file))?;
    if what == "ok" { Ok(()) } else { Err(OpenError::Corrupt { file: file.into(), what }) }
}
