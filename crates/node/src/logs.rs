//! Reading the logs of containers, in the format of CRI: each record is a time, a stream, `F` for a
//! whole line or `P` for a part of one, and the text.
//!
//! Following waits for the kernel's word that the file has grown or was rotated, never for a clock.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use rustix::fs::{Mode, OFlags, ResolveFlags, inotify};
use skiff_base::Time;
use skiff_runtime::stream::Stream;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Take};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;

/// Read at once.
const BLOCK: usize = 64 * 1024;
/// A record that is longer than this is damage; runtimes cut at 16 KiB.
const RECORD_MOST: usize = 1 << 20;

/// What of a log is wanted (API reference: PodLogOptions).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    pub follow: bool,
    /// Only so many lines at the end.
    pub tail: Option<u64>,
    pub since: Option<Time>,
    pub timestamps: bool,
    pub limit_bytes: Option<u64>,
    /// `stdout` or `stderr`; None is both.
    pub only: Option<&'static str>,
    /// The byte of the file to begin with; its first one, when the file is shorter: it was rotated.
    pub from: u64,
    /// The byte of the file to end before; None is its end.
    pub until: Option<u64>,
}

/// One record of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// RFC 3339 with nanoseconds.
    pub time: &'a str,
    /// `stdout` or `stderr`.
    pub stream: &'a str,
    /// More of the same line follows in the next record.
    pub partial: bool,
    pub text: &'a [u8],
}

/// Takes a record apart; None if it is none.
pub fn parse(record: &[u8]) -> Option<Line<'_>> {
    let mut parts = record.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = std::str::from_utf8(parts.next()?).ok()?;
    let partial = parts.next()?.starts_with(b"P");
    Some(Line { time, stream, partial, text: parts.next().unwrap_or_default() })
}

/// The log as users see it, piece by piece. `ended` resolves when nothing more will be written:
/// what is followed ends then, after its last line.
pub fn read(
    path: &Path,
    options: Options,
    ended: BoxFuture<'static, ()>,
) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
    let notify = match options.follow {
        true => Some(watch(path)?),
        false => None,
    };
    let mut file = open(path)?;
    let start = match options.tail {
        Some(lines) => tail_start(&mut file, lines)?,
        None if options.from <= file.metadata()?.len() => options.from,
        None => 0,
    };
    file.seek(SeekFrom::Start(start))?;
    let left = options.until.map_or(u64::MAX, |until| until.saturating_sub(start));
    let filter = Filter { left: options.limit_bytes, options, inside: false };
    let reader = Reader {
        path: path.to_owned(),
        file: file.take(left),
        rest: Vec::new(),
        filter,
        notify,
        ended: Some(ended),
    };
    let pieces = stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(pieces.boxed())
}

/// How long a log is by now, in bytes.
pub fn length(path: &Path) -> io::Result<u64> {
    Ok(open(path)?.metadata()?.len())
}

/// Opens POD/CONTAINER/RUN.log. A pod that mounts the folder may have put there what it likes: no
/// link is followed below the folder of all logs, and what is no file is no log.
fn open(path: &Path) -> io::Result<File> {
    let root = path.ancestors().nth(3).unwrap_or(Path::new("/"));
    let below = path.strip_prefix(root).unwrap_or(path);
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let how = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = File::from(rustix::fs::openat2(root, below, how, Mode::empty(), within)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    Ok(file)
}

/// The folder is watched, not the file: a rotation makes a new one.
fn watch(path: &Path) -> io::Result<Stream> {
    let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
    let what =
        inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&fd, path.parent().unwrap_or(path), what)?;
    // The kernel's word is read as bytes; what they say does not matter.
    Stream::new(fd)
}

/// Where the last so many records begin.
fn tail_start(file: &mut File, lines: u64) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if lines == 0 {
        return Ok(length);
    }
    let mut end = length;
    let mut left = lines;
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let piece = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(piece)?;
        for (at, _) in piece.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = start + at as u64 + 1;
            // The newline at the very end closes the last record; it begins none.
            if after == length {
                continue;
            }
            left -= 1;
            if left == 0 {
                return Ok(after);
            }
        }
        end = start;
    }
    Ok(0)
}

struct Reader {
    path: PathBuf,
    file: Take<File>,
    /// The beginning of a record whose end is not written yet.
    rest: Vec<u8>,
    filter: Filter,
    notify: Option<Stream>,
    /// None once it has resolved.
    ended: Option<BoxFuture<'static, ()>>,
}

impl Reader {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if self.filter.left == Some(0) {
                return Ok(None);
            }
            let mut block = vec![0; BLOCK];
            let n = self.file.read(&mut block)?;
            if n > 0 {
                self.rest.extend_from_slice(&block[..n]);
                let piece = self.whole_records();
                if !piece.is_empty() {
                    return Ok(Some(piece.into()));
                }
            } else if !self.more().await? {
                return Ok(None);
            }
        }
    }

    fn whole_records(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for record in self.rest[..end].split(|byte| *byte == b'\n') {
            if let Some(line) = parse(record) {
                self.filter.put(&line, &mut out);
            }
        }
        self.rest.drain(..end);
        if self.rest.len() > RECORD_MOST {
            self.rest.clear();
        }
        out
    }

    /// At the end of the file: waits for more of it; false when there will be none.
    async fn more(&mut self) -> io::Result<bool> {
        let Some(notify) = &mut self.notify else { return Ok(false) };
        if let Ok(fresh) = open(&self.path)
            && fresh.metadata()?.ino() != self.file.get_ref().metadata()?.ino()
        {
            // What was written to the old file between two looks at it comes before the new one.
            let here = self.file.get_mut().stream_position()?;
            if self.file.get_ref().metadata()?.len() <= here {
                self.file = fresh.take(u64::MAX);
            }
            return Ok(true);
        }
        let Some(ended) = &mut self.ended else { return Ok(false) };
        let mut space = [0; 4096];
        tokio::select! {
            biased;
            told = notify.read(&mut space) => drop(told?),
            () = ended => self.ended = None,
        }
        Ok(true)
    }
}

/// Which records are shown, and how.
struct Filter {
    options: Options,
    left: Option<u64>,
    /// The record before this one was a part of the same line.
    inside: bool,
}

impl Filter {
    fn put(&mut self, line: &Line<'_>, out: &mut Vec<u8>) {
        if self.options.only.is_some_and(|only| only != line.stream) {
            return;
        }
        let before = |since: Time| line.time.parse::<Time>().is_ok_and(|time| time < since);
        if self.options.since.is_some_and(before) {
            return;
        }
        let start = out.len();
        if self.options.timestamps && !self.inside {
            out.extend_from_slice(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if !line.partial {
            out.push(b'\n');
        }
        self.inside = line.partial;
        if let Some(left) = &mut self.left {
            let length = ((out.len() - start) as u64).min(*left);
            out.truncate(start + length as usize);
            *left -= length;
        }
    }
}

/// The end of a log: so many lines and bytes at most (terminationMessagePolicy
/// FallbackToLogsOnError).
pub fn last_words(path: &Path, lines: usize, bytes: usize) -> io::Result<String> {
    let mut file = open(path)?;
    let start = tail_start(&mut file, lines as u64)?;
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let mut filter = Filter { options: Options::default(), left: None, inside: false };
    let mut whole = Vec::new();
    for line in tail.split(|byte| *byte == b'\n').filter_map(parse) {
        filter.put(&line, &mut whole);
    }
    let whole = &whole[whole.len().saturating_sub(bytes)..];
    Ok(String::from_utf8_lossy(whole).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use std::io::Write;

    #[test]
    fn links_lead_out_of_no_log() {
        let log = file("links");
        let folder = log.parent().expect("it has one");
        let secret = folder.join("secret");
        std::fs::write(&secret, LOG).expect("written");
        let opened = |path: &Path| open(path).map(drop).map_err(|error| error.to_string());
        std::os::unix::fs::symlink(&secret, &log).expect("linked");
        assert!(opened(&log).is_err_and(|why| why.contains("symbolic links")));
        std::os::unix::fs::symlink("/etc", folder.join("container")).expect("linked");
        assert!(opened(&folder.join("container/passwd")).is_err());
        // Whoever opens a FIFO would wait for its writer.
        let fifo = folder.join("1.log");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .expect("made");
        assert_eq!(opened(&fifo), Err("it is no file".to_owned()));
        assert_eq!(opened(&secret), Ok(()));
        std::fs::remove_dir_all(folder).expect("removed");
    }

    const LOG: &str = "\
2026-01-01T00:00:01.000000001Z stdout F one
2026-01-01T00:00:02.000000001Z stderr F two
2026-01-01T00:00:03.000000001Z stdout P thr
2026-01-01T00:00:03.000000002Z stdout F ee
2026-01-01T00:00:04.000000001Z stdout F 
2026-01-01T00:00:05.000000001Z stdout F five
";

    fn file(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("skiff-logs-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("made");
        dir.join("0.log")
    }

    async fn check(name: &str, options: Options, expected: Expect) {
        let path = file(name);
        std::fs::write(&path, LOG).expect("written");
        let pieces = read(&path, options, Box::pin(std::future::pending())).expect("opened");
        let all: Vec<Bytes> = pieces.map(|piece| piece.expect("read")).collect().await;
        std::fs::remove_dir_all(path.parent().expect("it has one")).expect("removed");
        expected.assert_eq(&String::from_utf8_lossy(&all.concat()));
    }

    #[tokio::test]
    async fn what_options_show() {
        check(
            "all",
            Options::default(),
            expect![[r#"
            one
            two
            three

            five
        "#]],
        )
        .await;
        let tail = Options { tail: Some(2), timestamps: true, ..Options::default() };
        check(
            "tail",
            tail,
            expect![[r#"
            2026-01-01T00:00:04.000000001Z 
            2026-01-01T00:00:05.000000001Z five
        "#]],
        )
        .await;
        let since = "2026-01-01T00:00:03Z".parse().ok();
        let since = Options { since, limit_bytes: Some(8), ..Options::default() };
        check(
            "since",
            since,
            expect![[r#"
            three

            f"#]],
        )
        .await;
        let only = Options { only: Some("stderr"), ..Options::default() };
        check(
            "only",
            only,
            expect![[r#"
            two
        "#]],
        )
        .await;
        check("none", Options { tail: Some(0), ..Options::default() }, expect![""]).await;
        let second = LOG.find('\n').expect("a line") as u64 + 1;
        check(
            "until",
            Options { until: Some(second), ..Options::default() },
            expect![[r#"
            one
        "#]],
        )
        .await;
        let rest = Options { from: second, only: Some("stdout"), ..Options::default() };
        check(
            "from",
            rest,
            expect![[r#"
            three

            five
        "#]],
        )
        .await;
        let rotated = Options { from: 1 << 20, tail: None, ..Options::default() };
        check("rotated", Options { limit_bytes: Some(3), ..rotated }, expect!["one"]).await;
    }

    #[tokio::test]
    async fn following_sees_more_lines_a_rotation_and_the_end() {
        let path = file("follow");
        std::fs::write(&path, LOG).expect("written");
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let ended = Box::pin(async move {
            // Dropped or sent, it is the end.
            let _ = ended.await;
        });
        let options = Options { follow: true, tail: Some(1), ..Options::default() };
        let mut pieces = read(&path, options, ended).expect("opened");
        assert_eq!(pieces.next().await.expect("one").expect("read"), "five\n");
        let mut log = File::options().append(true).open(&path).expect("opened");
        let line = |text: &str| format!("2026-01-01T00:00:06.000000001Z stdout F {text}\n");
        log.write_all(line("six").as_bytes()).expect("written");
        assert_eq!(pieces.next().await.expect("one").expect("read"), "six\n");
        std::fs::rename(&path, path.with_extension("old")).expect("renamed");
        std::fs::write(&path, line("seven")).expect("written");
        assert_eq!(pieces.next().await.expect("one").expect("read"), "seven\n");
        end.send(()).expect("it waits");
        assert!(pieces.next().await.is_none());
        std::fs::remove_dir_all(path.parent().expect("it has one")).expect("removed");
    }
}
