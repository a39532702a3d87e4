//! GET /containerLogs: the log of a container as text, to its present end or as it grows.
//!
//! A follower is woken by the kernel (inotify on the log's folder), not by a clock; it survives the
//! rotation of the file, and ends with the container.

use super::cri_log::{self, Options, Reader};
use super::reply::{self, Reply, refuse};
use super::{Api, Doors, Place, Query, Run};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self as streams, BoxStream, StreamExt};
use http::{Response, StatusCode};
use rustix::fs::inotify;
use skiff_api::views::pod::{ContainerStatus, Pod};
use skiff_base::Time;
use skiff_runtime::Error;
use skiff_runtime::stream::Stream;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;

/// The file is read in pieces of this size.
const PIECE: usize = 64 * 1024;

/// Answers with the log or says why there is none.
pub async fn answer(api: &Api, place: Place, query: &Query) -> Response<Reply> {
    let (options, lines) = match options(query, api.world.now()) {
        Ok(options) => options,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, why),
    };
    let Some(pod) = api.doors.pod(&place.namespace, &place.pod) else {
        let why = format!("pod \"{}\" in namespace \"{}\" not found", place.pod, place.namespace);
        return refuse(StatusCode::NOT_FOUND, why);
    };
    let path = match find(&*api.doors, &pod, &place, query.flag("previous")).await {
        Ok(path) => path,
        Err((code, why)) => return refuse(code, why),
    };
    let end = match query.flag("follow") && !query.flag("previous") {
        true => end_of(&*api.doors, &place).await,
        false => Ok(None),
    };
    let opened = end.and_then(|end| Tail::open(path, lines, end));
    match opened {
        Ok(tail) => reply::stream(pieces(tail, Reader::new(options))),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

fn options(query: &Query, now: Time) -> Result<(Options, Option<u64>), String> {
    let number = |key: &str| match query.get(key) {
        None => Ok(None),
        Some(text) => text
            .parse::<u64>()
            .map(Some)
            .map_err(|_| format!("{key} is no number that makes sense: {text:?}")),
    };
    let seconds = number("sinceSeconds")?.and_then(|s| i64::try_from(s).ok());
    let since = match (seconds, query.get("sinceTime")) {
        (Some(seconds), _) => now.checked_sub(jiff::SignedDuration::from_secs(seconds)).ok(),
        (None, Some(text)) => {
            Some(text.parse().map_err(|_| format!("sinceTime is no time: {text:?}"))?)
        }
        (None, None) => None,
    };
    let stream = match query.get("stream") {
        Some("Stdout") => Some("stdout"),
        Some("Stderr") => Some("stderr"),
        _ => None,
    };
    let timestamps = query.flag("timestamps");
    let options = Options { since, timestamps, limit: number("limitBytes")?, stream };
    Ok((options, number("tailLines")?))
}

/// The file, or why there is none, in the words that users know.
async fn find(
    doors: &dyn Doors,
    pod: &Pod,
    place: &Place,
    previous: bool,
) -> Result<PathBuf, (StatusCode, String)> {
    let (container, name) = (&place.container, &place.pod);
    let status = status(pod, container);
    let crashed = status.is_some_and(|status| {
        let (now, last) = (&status.state, &status.last_state);
        now.running.is_none() && now.terminated.is_none() && last.terminated.is_some()
    });
    let before = status.is_some_and(|status| status.last_state.terminated.is_some());
    let not_there = || {
        let why =
            format!("previous terminated container \"{container}\" in pod \"{name}\" not found");
        (StatusCode::BAD_REQUEST, why)
    };
    if previous && !before {
        return Err(not_there());
    }
    // A container that waits to be started again has its newest run behind it.
    let run = if previous && !crashed { Run::Previous } else { Run::Newest };
    let found = doors.log(place, &pod.metadata.uid, run).await.map_err(|error| match error {
        Error::NotFound(what) => (StatusCode::NOT_FOUND, format!("{what} not found")),
        other => (StatusCode::INTERNAL_SERVER_ERROR, other.to_string()),
    })?;
    match found {
        Some(path) => Ok(path),
        None if previous => Err(not_there()),
        None => Err((StatusCode::BAD_REQUEST, waiting(status, container, name))),
    }
}

fn status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = &pod.status;
    let all = status.container_statuses.iter().chain(&status.init_container_statuses);
    all.chain(&status.ephemeral_container_statuses).find(|it| it.name == container)
}

/// Why a container has no log yet.
fn waiting(status: Option<&ContainerStatus>, container: &str, pod: &str) -> String {
    let subject = format!("container \"{container}\" in pod \"{pod}\"");
    let Some(status) = status else { return format!("{subject} is not available") };
    if status.state.terminated.is_some() {
        return format!("{subject} is terminated");
    }
    match status.state.waiting.as_ref().map(|waiting| &*waiting.reason) {
        Some("ErrImagePull") => format!("{subject} is waiting to start: image can't be pulled"),
        Some("ImagePullBackOff") => {
            format!("{subject} is waiting to start: trying and failing to pull image")
        }
        Some(reason) => format!("{subject} is waiting to start: {reason}"),
        None => format!("{subject} is waiting to start - no logs yet"),
    }
}

/// Done when the container has ended; `None` if none runs.
async fn end_of(doors: &dyn Doors, place: &Place) -> io::Result<Option<BoxFuture<'static, ()>>> {
    let id = match doors.running(place).await {
        Ok(id) => id,
        Err(Error::NotFound(_)) => return Ok(None),
        Err(error) => return Err(io::Error::other(error)),
    };
    let wait = doors.wait(&id);
    Ok(Some(Box::pin(async move {
        if let Err(error) = wait.await {
            tracing::debug!(%error, "the end of a container was not seen");
        }
    })))
}

/// A log file and the place where reading goes on.
struct Tail {
    path: PathBuf,
    file: File,
    /// Wakes the reader when something happens in the folder.
    changes: Stream,
    /// The end of the container; `None` once that is past.
    end: Option<BoxFuture<'static, ()>>,
}

impl Tail {
    fn open(
        path: PathBuf,
        lines: Option<u64>,
        end: Option<BoxFuture<'static, ()>>,
    ) -> io::Result<Tail> {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let changes = inotify::init(flags)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let of = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&changes, folder, of)?;
        let mut file = File::open(&path)?;
        if let Some(lines) = lines {
            let at = cri_log::tail(&mut file, lines)?;
            file.seek(SeekFrom::Start(at))?;
        }
        Ok(Tail { path, file, changes: Stream::new(changes)?, end })
    }

    /// The next bytes; empty at the end of the log.
    async fn next(&mut self) -> io::Result<Vec<u8>> {
        loop {
            // Whether it had ended is asked before the read, so that nothing written before it ended
            // is missed.
            if self.end.as_mut().is_some_and(|end| end.now_or_never().is_some()) {
                self.end = None;
            }
            let bytes = self.read()?;
            if !bytes.is_empty() || (self.end.is_none() && !self.rotated()?) {
                return Ok(bytes);
            }
            if self.rotated()? {
                // What came between the two looks at the old file is read before the new one.
                let rest = self.read()?;
                if !rest.is_empty() {
                    return Ok(rest);
                }
                self.file = File::open(&self.path)?;
                continue;
            }
            self.change().await?;
        }
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; PIECE];
        let count = self.file.read(&mut bytes)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Another file has the log's name now. While the name is between two files, nothing has.
    fn rotated(&self) -> io::Result<bool> {
        match std::fs::metadata(&self.path) {
            Ok(now) => Ok(now.ino() != self.file.metadata()?.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until something happens in the folder, or the container ends.
    async fn change(&mut self) -> io::Result<()> {
        let mut events = [0; 4096];
        let end = async {
            match &mut self.end {
                Some(end) => end.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = end => {
                self.end = None;
                Ok(())
            }
            // Only that there are events counts; they are read to be rid of them.
            read = self.changes.read(&mut events) => read.map(|_| ()),
        }
    }
}

/// The text of a log, piece by piece.
fn pieces(tail: Tail, reader: Reader) -> BoxStream<'static, io::Result<Bytes>> {
    streams::unfold(Some((tail, reader)), |state| async move {
        let (mut tail, mut reader) = state?;
        loop {
            if reader.full() {
                return None;
            }
            match tail.next().await {
                Ok(bytes) if bytes.is_empty() => return None,
                Ok(bytes) => {
                    let text = reader.take(&bytes);
                    if !text.is_empty() {
                        return Some((Ok(text.into()), Some((tail, reader))));
                    }
                }
                Err(error) => return Some((Err(error), None)),
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[tokio::test]
    async fn a_follower_goes_over_a_rotation_and_ends_with_the_container() {
        let folder = std::env::temp_dir().join(format!("skiff-log-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("0.log");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"2026-01-01T00:00:01Z stdout F one\n").unwrap();
        file.write_all(b"2026-01-01T00:00:01Z stdout F two\n").unwrap();
        let (over, ended) = tokio::sync::oneshot::channel::<()>();
        let end = Box::pin(ended.map(|_| ()));
        let tail = Tail::open(path.clone(), Some(1), Some(end)).unwrap();
        let mut text = pieces(tail, Reader::new(Options::default()));
        assert_eq!(text.next().await.unwrap().unwrap(), "two\n");
        std::fs::rename(&path, folder.join("0.log.1")).unwrap();
        file.write_all(b"2026-01-01T00:00:01Z stdout F three\n").unwrap();
        let mut file = File::create(&path).unwrap();
        file.write_all(b"2026-01-01T00:00:01Z stdout F four\n").unwrap();
        assert_eq!(text.next().await.unwrap().unwrap(), "three\n");
        assert_eq!(text.next().await.unwrap().unwrap(), "four\n");
        file.write_all(b"2026-01-01T00:00:01Z stdout F five\n").unwrap();
        over.send(()).unwrap();
        assert_eq!(text.next().await.unwrap().unwrap(), "five\n");
        assert!(text.next().await.is_none());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn waiting_containers_are_told_in_known_words() {
        let mut status = ContainerStatus::default();
        assert_eq!(
            waiting(Some(&status), "a", "p"),
            "container \"a\" in pod \"p\" is waiting to start - no logs yet"
        );
        status.state.waiting = Some(skiff_api::views::pod::Waiting {
            reason: "ContainerCreating".into(),
            ..Default::default()
        });
        assert_eq!(
            waiting(Some(&status), "a", "p"),
            "container \"a\" in pod \"p\" is waiting to start: ContainerCreating"
        );
    }
}
