//! Log: audit events in a file of the machine, a line each. The file is its owner's alone; one that is full becomes a
//! backup with the time in its name, and backups go by number and age. A line that could not be written whole is taken
//! back: no reader meets half an event.

use super::sink::{Batch, Sink};
use flate2::{Compression, write::GzEncoder};
use skiff_api::time::{Precision, format};
use skiff_base::{Blocking, Time, World};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Lines of one go: while they are written, the queue has room for the next. Nobody waits for more.
pub const LINES: Batch = Batch { events: 1024, bytes: 4 << 20, wait: Duration::ZERO };
/// A century is for ever.
const DAYS_MOST: u64 = 36_500;
/// The length of `2026-12-01T00-40-48.403`.
const TO_MILLIS: usize = 23;

/// The file, and what becomes of it when it is full.
#[derive(Debug, Clone)]
pub struct Rotation {
    pub path: PathBuf,
    /// 0: it grows for ever.
    pub size_most: u64,
    /// 0: whatever its age.
    pub days_most: u64,
    /// 0: all of them.
    pub backups_most: usize,
    pub zipped: Zipped,
}

/// How backups are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zipped {
    Plain,
    Gzip,
}

/// Writes what the sink has, until its part is stopped.
///
/// # Errors
/// When the file cannot be opened.
pub async fn run(sink: Arc<Sink>, rotation: Rotation, world: World) -> Result<(), String> {
    // One thread writes, another zips: events do not wait for that.
    let (writes, tidies) = (Blocking::new(1), Blocking::new(1));
    let opened = rotation.clone();
    let mut log = writes.run(move || Log::open(opened)).await.map_err(|cut| cut.to_string())??;
    let tasks = skiff_base::Tasks::new();
    let mut is_tidy = false;
    loop {
        if !std::mem::replace(&mut is_tidy, true) {
            let (tidies, rotation, now) = (tidies.clone(), rotation.clone(), world.now());
            tasks.spawn(async move {
                if let Ok(Err(error)) = tidies.run(move || rotation.tidy(now)).await {
                    tracing::warn!(%error, "old audit logs are not put in order");
                }
            });
        }
        let entries = sink.take(&world).await;
        let (now, told) = (world.now(), sink.clone());
        let write = move || {
            let before = log.rotations;
            for entry in entries {
                let written = log.write(&entry.line, now);
                told.settle(vec![entry], written.map_err(|error| error.to_string()));
            }
            (log.rotations == before, log)
        };
        (is_tidy, log) = writes.run(write).await.map_err(|cut| cut.to_string())?;
    }
}

/// The open file.
struct Log {
    rotation: Rotation,
    file: File,
    size: u64,
    rotations: u64,
}

impl Log {
    fn open(rotation: Rotation) -> Result<Log, String> {
        let opened = rotation.open();
        let (file, size) = opened.map_err(|why| format!("{}: {why}", rotation.path.display()))?;
        Ok(Log { rotation, file, size, rotations: 0 })
    }

    fn write(&mut self, line: &[u8], now: Time) -> io::Result<()> {
        let length = line.len() as u64 + 1;
        let most = self.rotation.size_most;
        if most > 0 && self.size > 0 && self.size + length > most {
            match fs::rename(&self.rotation.path, self.rotation.backup(now)) {
                // It was moved already, and the next could not be made.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                moved => moved?,
            }
            self.rotations += 1;
            (self.file, self.size) = self.rotation.open()?;
        }
        let mut whole = Vec::with_capacity(line.len() + 1);
        whole.extend_from_slice(line);
        whole.push(b'\n');
        if let Err(error) = self.file.write_all(&whole) {
            return Err(match self.file.set_len(self.size) {
                Ok(()) => error,
                Err(also) => io::Error::other(format!("{error}; half a line stays: {also}")),
            });
        }
        self.size += length;
        Ok(())
    }
}

impl Rotation {
    /// Whether the file can be written to, for who wants to know before anything starts.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> io::Result<()> {
        self.open().map(drop)
    }

    fn open(&self) -> io::Result<(File, u64)> {
        if let Some(folder) = self.path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        // Whatever it was before.
        file.set_permissions(Permissions::from_mode(0o600))?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    /// `audit.log` -> `audit-` and `.log`.
    fn affixes(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| {
            part.map(|it| it.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let ending = text(self.path.extension());
        let ending = if ending.is_empty() { ending } else { format!(".{ending}") };
        (text(self.path.file_stem()) + "-", ending)
    }

    /// A name that is free.
    fn backup(&self, now: Time) -> PathBuf {
        let (start, ending) = self.affixes();
        let micros = format(now, Precision::Micros).replace(':', "-");
        let name = format!("{start}{}{ending}", &micros[..TO_MILLIS]);
        let backup = self.path.with_file_name(name);
        if backup.exists() { self.backup(now + Duration::from_millis(1)) } else { backup }
    }

    /// When the backup of this name was made.
    fn made(&self, name: &str) -> Option<Time> {
        let (start, ending) = self.affixes();
        let plain = name.strip_suffix(ZIP).unwrap_or(name);
        let at = plain.strip_prefix(&start)?.strip_suffix(&ending)?;
        let (day, clock) = at.split_once('T')?;
        format!("{day}T{}Z", clock.replace('-', ":")).parse().ok()
    }

    /// Removes the backups that are too many or too old, and zips the others if that is wanted.
    fn tidy(&self, now: Time) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let mut backups: Vec<(Time, PathBuf)> = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if let Some(made) = self.made(&entry.file_name().to_string_lossy()) {
                backups.push((made, entry.path()));
            }
        }
        backups.sort();
        let oldest = now - Duration::from_secs(self.days_most.min(DAYS_MOST) * 86_400);
        for (at, (made, path)) in backups.iter().rev().enumerate() {
            let many = self.backups_most > 0 && at >= self.backups_most;
            if many || (self.days_most > 0 && *made < oldest) {
                fs::remove_file(path)?;
            } else if self.zipped == Zipped::Gzip && !path.to_string_lossy().ends_with(ZIP) {
                zip(path)?;
            }
        }
        Ok(())
    }
}

const ZIP: &str = ".gz";

fn zip(path: &Path) -> io::Result<()> {
    let zipped = PathBuf::from(format!("{}{ZIP}", path.display()));
    let mut out = OpenOptions::new();
    out.write(true).create(true).truncate(true).mode(0o600);
    let written = out.open(&zipped).and_then(|out| {
        let mut encoder = GzEncoder::new(out, Compression::default());
        io::copy(&mut File::open(path)?, &mut encoder)?;
        encoder.finish()?.sync_all()
    });
    match written {
        Ok(()) => fs::remove_file(path),
        Err(error) => {
            fs::remove_file(&zipped)?;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Format;
    use super::super::sink::{Fate, Manner, Mode, Patience};
    use super::*;
    use crate::audit::event::Event;
    use crate::audit::policy::Stage;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder that goes with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let name = format!(
                "skiff-audit-{}-{}",
                std::process::id(),
                NEXT.fetch_add(1, Ordering::Relaxed)
            );
            Folder(std::env::temp_dir().join(name))
        }

        fn names(&self) -> Vec<String> {
            let names = fs::read_dir(&self.0).expect("it is there");
            let mut names: Vec<String> =
                names.map(|it| it.expect("a name").file_name().to_string_lossy().into()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("it is the test's own");
        }
    }

    fn rotation(folder: &Folder, zipped: Zipped) -> Rotation {
        Rotation {
            path: folder.0.join("audit.log"),
            size_most: 20,
            days_most: 3,
            backups_most: 3,
            zipped,
        }
    }

    fn time(text: &str) -> Time {
        text.parse().expect("a time")
    }

    #[test]
    fn a_full_file_becomes_a_backup_and_backups_go_by_number_and_age() {
        let folder = Folder::new();
        let rotation = rotation(&folder, Zipped::Plain);
        let mut log = Log::open(rotation.clone()).expect("it opens");
        let mode =
            |name: &str| fs::metadata(folder.0.join(name)).expect("there").permissions().mode();
        for day in 1..=5 {
            let now = time(&format!("2026-12-0{day}T00:00:00.5Z"));
            log.write(b"0123456789", now).expect("it is written");
            // A line that is larger than a file may be has one to itself.
            log.write(&[b'x'; 30], now).expect("it is written");
        }
        assert_eq!(log.rotations, 9);
        fs::write(folder.0.join("audit-notes.log"), "mine").expect("it is written");
        rotation.tidy(time("2026-12-06T00:00:00Z")).expect("it is tidied");
        assert_eq!(
            folder.names(),
            [
                "audit-2026-12-04T00-00-00.501.log",
                "audit-2026-12-05T00-00-00.500.log",
                "audit-2026-12-05T00-00-00.501.log",
                "audit-notes.log",
                "audit.log"
            ]
        );
        rotation.tidy(time("2026-12-07T12:00:00Z")).expect("it is tidied");
        assert_eq!(folder.names().len(), 4);
        for name in ["audit.log", "audit-2026-12-05T00-00-00.500.log"] {
            assert_eq!(mode(name) & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn backups_are_zipped_and_files_are_their_owners_whatever_they_were() {
        let folder = Folder::new();
        fs::create_dir(&folder.0).expect("a folder");
        let rotation = rotation(&folder, Zipped::Gzip);
        fs::write(&rotation.path, "an older line that is long\n").expect("it is written");
        fs::set_permissions(&rotation.path, Permissions::from_mode(0o644)).expect("it is ours");
        let mut log = Log::open(rotation.clone()).expect("it opens");
        let mode = fs::metadata(&rotation.path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        log.write(b"new", time("2026-12-01T00:00:00Z")).expect("it is written");
        rotation.tidy(time("2026-12-01T00:00:00Z")).expect("it is tidied");
        assert_eq!(folder.names(), ["audit-2026-12-01T00-00-00.000.log.gz", "audit.log"]);
        let zipped = File::open(folder.0.join(&folder.names()[0])).expect("there");
        let text = io::read_to_string(flate2::read::GzDecoder::new(zipped)).expect("it unzips");
        assert_eq!(text, "an older line that is long\n");
        assert_eq!(fs::read_to_string(&rotation.path).expect("there"), "new\n");
    }

    fn manner(mode: Mode, events_most: usize) -> Manner {
        let (format, batch) = (Format::Json, LINES);
        Manner { name: "log", mode, format, event_most: None, events_most, batch }
    }

    #[tokio::test]
    async fn who_blocks_waits_for_the_file_and_hears_that_the_disk_is_full() {
        let (world, event) = (World::seeded(1), Event::default());
        let folder = Folder::new();
        let sink = Arc::new(Sink::new(manner(Mode::BlockingStrict, 1)));
        let writes = run(sink.clone(), rotation(&folder, Zipped::Plain), world.clone());
        let told = sink.tell(&event, Stage::RequestReceived, world.now(), Patience::Waits);
        tokio::select! {
            ended = writes => panic!("{ended:?}"),
            fate = told.expect("it blocks") => assert_eq!(fate, Ok(Fate::Kept)),
        }
        assert!(fs::read_to_string(folder.0.join("audit.log")).expect("there").ends_with("}\n"));
        // The device of the kernel that is always full.
        let full =
            Rotation { path: "/dev/full".into(), size_most: 0, ..rotation(&folder, Zipped::Plain) };
        let mut file = Log {
            file: OpenOptions::new().append(true).open("/dev/full").expect("there"),
            size: 0,
            rotations: 0,
            rotation: full,
        };
        let error = file.write(b"x", world.now()).expect_err("there is no room");
        assert!(error.to_string().starts_with("No space left on device"), "{error}");
    }

    #[tokio::test]
    async fn what_finds_no_room_is_lost_and_counted() {
        let (world, event) = (World::seeded(1), Event::default());
        let sink = Sink::new(manner(Mode::Batch, 2));
        for _ in 0..5 {
            // A request never hears of it.
            assert!(sink.tell(&event, Stage::Panic, world.now(), Patience::Waits).is_none());
        }
        assert_eq!(sink.losses(), [("buffered", 3), ("truncate", 0), ("log", 0)]);
        let taken = sink.take(&world).await;
        assert_eq!(taken.len(), 2);
        sink.settle(taken, Err("no room".into()));
        assert_eq!(sink.losses()[2], ("log", 2));
        let cut = Sink::new(Manner { event_most: Some(300), ..manner(Mode::Batch, 9) });
        let large = Event {
            level: crate::audit::policy::Level::Request,
            request: Some(format!("{:?}", "x".repeat(400)).into()),
            ..Event::default()
        };
        cut.tell(&large, Stage::Panic, world.now(), Patience::Goes);
        let shown = cut.take(&world).await;
        assert!(String::from_utf8_lossy(&shown[0].line).contains("audit.k8s.io/truncated"));
        let larger = Event { uri: "x".repeat(400), ..large };
        cut.tell(&larger, Stage::Panic, world.now(), Patience::Goes);
        assert_eq!(cut.losses()[1], ("truncate", 1));
    }
}
