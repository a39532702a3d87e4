//! The doors to running containers, by the names that the API has for them: exec, attach, logs.
//!
//! This is what the node's API stands on; it knows nothing of HTTP.

use crate::logs;
use crate::pod::adopt::{ATTEMPT, CONTAINER, POD_NAME, POD_NAMESPACE};
use crate::rim::Rim;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use skiff_api::view::Key;
use skiff_base::Lock;
use skiff_kinds::views::Pod;
use skiff_runtime::client::{Attach, Exec};
use skiff_runtime::spec::{AttachSpec, ExecSpec, TtySize};
use skiff_runtime::status::{ContainerState, ContainerStatus, Exit};
use skiff_runtime::stream::Stream;
use skiff_runtime::{Error, Result};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;

/// Which container is meant.
#[derive(Debug, Clone)]
pub struct Target {
    pub namespace: String,
    pub pod: String,
    pub container: String,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    rim: Arc<Rim>,
    /// How far logs were read, in bytes; forgotten when there are many, which costs a line said twice.
    reads: Arc<Lock<HashMap<PathBuf, u64>>>,
}

const MAX_READS: usize = 256;

impl Streams {
    pub(crate) fn new(rim: Arc<Rim>) -> Streams {
        Streams { rim, reads: Arc::default() }
    }

    /// The container that runs now; `NotFound` if there is none.
    pub async fn running(&self, target: &Target) -> Result<ContainerStatus> {
        let runs = self.runs(target).await?;
        let running = runs.into_iter().rev().find(|run| run.state == ContainerState::Running);
        running.ok_or_else(|| Error::NotFound(format!("container {}", target.container)))
    }

    pub async fn exec(&self, target: &Target, spec: &ExecSpec) -> Result<Exec> {
        let container = self.running(target).await?;
        self.rim.runtime.exec(&container.id, spec).await
    }

    pub async fn wait_exec(&self, exec: &str) -> Result<Exit> {
        self.rim.runtime.wait_exec(exec).await
    }

    /// Joins the streams of the newest run. One that has ended already, perhaps a moment before it
    /// could be joined, gives what it has said since its log was last read, and the end: kubectl
    /// reads the log, then attaches, and what came in between is nowhere else.
    pub async fn attach(&self, target: &Target, spec: AttachSpec) -> Result<(String, Attach)> {
        let missing = || Error::NotFound(format!("container {}", target.container));
        let run = self.runs(target).await?.pop();
        match &run {
            Some(run) if run.state == ContainerState::Running => {
                match self.rim.runtime.attach(&run.id, spec).await {
                    Err(Error::State(_)) if self.running(target).await.is_err() => {}
                    other => return other.map(|attach| (run.id.clone(), attach)),
                }
            }
            Some(run) if run.state == ContainerState::Created => return Err(missing()),
            _ => {}
        }
        let key = Key::new(&target.namespace, &target.pod);
        let pod = self.rim.caches.of::<Pod>().get(&key).ok_or_else(missing)?;
        let path = self.log(target, &pod.metadata.uid, Which::Newest).await?;
        let path = path.ok_or_else(missing)?;
        let said = |wanted: bool, only| wanted.then(|| self.said(&path, only)).transpose();
        let (stdout, stderr) = (said(spec.stdout, "stdout")?, said(spec.stderr, "stderr")?);
        // One that the runtime has forgotten cannot be waited for, which is an end too.
        let id = run.map_or_else(|| target.container.clone(), |run| run.id);
        Ok((id, Attach { stdin: None, stdout, stderr }))
    }

    /// What an ended run's log has of one stream, since it was last read.
    fn said(&self, path: &Path, only: &'static str) -> Result<Stream> {
        let failed = |e: io::Error| Error::System(format!("read {}: {e}", path.display()));
        let (read, mut write) = Stream::pipe().map_err(failed)?;
        let from = self.reads.lock().get(path).copied();
        let from = from.unwrap_or_default();
        let options = logs::Options { only: Some(only), from, ..logs::Options::default() };
        let ended = Box::pin(std::future::ready(()));
        let mut text = logs::read(path, options, ended).map_err(failed)?;
        self.rim.tasks.spawn(async move {
            while let Some(Ok(piece)) = text.next().await {
                // The client has left; nobody wants the rest.
                if write.write_all(&piece).await.is_err() {
                    return;
                }
            }
        });
        Ok(read)
    }

    /// Bytes, not times: a line may be written a moment after the time that it bears.
    fn note_read(&self, path: &Path, until: u64) {
        let mut reads = self.reads.lock();
        if reads.len() >= MAX_READS {
            reads.clear();
        }
        reads.insert(path.to_path_buf(), until);
    }

    pub async fn resize(&self, id: &str, size: TtySize) -> Result<()> {
        self.rim.runtime.resize_tty(id, size).await
    }

    /// The end of a container that was attached to.
    pub async fn wait(&self, id: &str) -> Result<ContainerStatus> {
        self.rim.runtime.wait_container(id).await
    }

    /// The log of the newest run, or of the one before it.
    pub async fn log(&self, target: &Target, uid: &str, which: Which) -> Result<Option<PathBuf>> {
        let dir = self.rim.log_dir(&target.namespace, &target.pod, uid).join(&target.container);
        let names = match std::fs::read_dir(&dir) {
            Ok(names) => names,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::System(format!("read {}: {e}", dir.display()))),
        };
        let number = |entry: std::io::Result<std::fs::DirEntry>| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_suffix(".log")?.parse::<u32>().ok()
        };
        let mut numbers: Vec<u32> = names.filter_map(number).collect();
        numbers.sort_unstable();
        let at = match which {
            Which::Newest => numbers.len().checked_sub(1),
            Which::Previous => numbers.len().checked_sub(2),
        };
        Ok(at.map(|at| dir.join(format!("{}.log", numbers[at]))))
    }

    /// A log as users see it; None: the container has not run (that often).
    pub async fn read_log(
        &self,
        target: &Target,
        uid: &str,
        which: Which,
        options: logs::Options,
    ) -> Result<Option<BoxStream<'static, io::Result<Bytes>>>> {
        let Some(path) = self.log(target, uid, which).await? else { return Ok(None) };
        let failed = |e: io::Error| Error::System(format!("read {}: {e}", path.display()));
        let length = logs::length(&path).map_err(failed)?;
        self.note_read(&path, length);
        let until = (!options.follow).then_some(length);
        let options = logs::Options { until, ..options };
        let running = self.running(target).await.ok().filter(|_| which == Which::Newest);
        let runtime = self.rim.runtime.clone();
        let ended = async move {
            if let Some(running) = running
                && let Err(error) = runtime.wait_container(&running.id).await
            {
                tracing::debug!(%error, "the end of a container whose log is followed");
            }
        };
        let read = logs::read(&path, options, Box::pin(ended));
        read.map(Some).map_err(failed)
    }

    /// The runs of a container that the runtime still has, oldest first.
    async fn runs(&self, target: &Target) -> Result<Vec<ContainerStatus>> {
        let listing = self.rim.runtime.list().await?;
        let is = |container: &ContainerStatus, key: &str, value: &str| {
            container.labels.get(key).is_some_and(|label| label == value)
        };
        let mut runs: Vec<ContainerStatus> = listing
            .containers
            .into_iter()
            .filter(|c| {
                is(c, POD_NAMESPACE, &target.namespace)
                    && is(c, POD_NAME, &target.pod)
                    && is(c, CONTAINER, &target.container)
            })
            .collect();
        runs.sort_by_key(|run| {
            let attempt = run.labels.get(ATTEMPT).and_then(|text| text.parse::<u32>().ok());
            (run.created_at, attempt)
        });
        Ok(runs)
    }
}

/// Which run's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Newest,
    Previous,
}
