//! A load of writes that keeps account: what was asked, what was acknowledged, at which revision.
//!
//! Each worker is a shell loop with curl inside the machine that creates, changes and (every third)
//! deletes its own objects, one after the other, and notes each question before it is asked and
//! each answer after it came. A write without an answer may have happened or not, so its object is
//! left alone from then on. Whatever was answered has to be there in the end.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cluster::Cluster;
use crate::promises::Promises;

const WORKER: &str = include_str!("load.sh");
/// How the names of its objects begin.
const OWN: &str = "m-";

/// Workers that write until they are told to stop.
pub struct Load {
    folder: PathBuf,
    workers: Vec<Child>,
}

/// No worker outlives its load: what waits outside of the machine for one inside would keep the machine's cgroup busy.
impl Drop for Load {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            // What has ended already cannot be killed.
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}

impl Load {
    /// Workers whose accounts are read in the end ([`Load::settle`]).
    pub fn start(cluster: &Cluster, workers: u32) -> Result<Self> {
        Self::begin(cluster, workers, "", |folder, worker| {
            Ok(File::create(folder.join(log(worker)))?.into())
        })
    }

    /// Workers whose accounts are read while they write them; `name` tells them from those of another machine. They end
    /// with the machine.
    pub fn told(
        cluster: &Cluster,
        workers: u32,
        name: &str,
    ) -> Result<(Self, std::io::Lines<BufReader<PipeReader>>)> {
        let (read, write) = std::io::pipe()?;
        let load = Self::begin(cluster, workers, &format!("{name}-"), |_, _| {
            Ok(write.try_clone()?.into())
        })?;
        Ok((load, BufReader::new(read).lines()))
    }

    fn begin(
        cluster: &Cluster,
        workers: u32,
        name: &str,
        account: impl Fn(&Path, u32) -> Result<Stdio>,
    ) -> Result<Self> {
        let folder = cluster.machine().data().join("load");
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("worker"), WORKER)?;
        cluster.unfold(&folder);
        let start = |worker: u32| {
            let mut command = cluster.inside("bash".as_ref());
            let line = format!("cd {}; exec bash worker {name}{worker}", folder.display());
            command.args(["-c", &line]).stdout(account(&folder, worker)?);
            command.spawn().context("start a worker")
        };
        let workers = (0..workers).map(start).collect::<Result<_>>()?;
        Ok(Self { folder, workers })
    }

    /// Stops the workers and holds their accounts against what is there; the number of writes that were acknowledged.
    pub fn settle(mut self, cluster: &Cluster) -> Result<u64> {
        std::fs::write(self.folder.join("stop"), "")?;
        let mut promises = Promises::default();
        for (number, worker) in (0..).zip(&mut self.workers) {
            ensure!(worker.wait()?.success(), "a worker failed");
            let account = std::fs::read_to_string(self.folder.join(log(number)))?;
            account.lines().try_for_each(|line| promises.hear(line, 0))?;
        }
        promises.cut(0);
        hold(cluster, &mut promises, |name| name.starts_with(OWN))?;
        Ok(promises.acknowledged())
    }
}

fn log(worker: u32) -> String {
    format!("log-{worker}")
}

/// Holds what is there against what was promised of ConfigMaps with these names, as `tests/vm/powercut` tells it.
pub fn hold(c: &Cluster, promises: &mut Promises, names: impl Fn(&str) -> bool) -> Result<()> {
    let list = c.k.answer_of(&["get", "--raw", "/api/v1/namespaces/default/configmaps"]);
    ensure!(list.code == 0, "the ConfigMaps cannot be listed: {}", list.err);
    let list: serde_json::Value = serde_json::from_str(&list.out)?;
    fn text(value: &serde_json::Value) -> Result<&str> {
        value.as_str().context("a list and its items have names and revisions")
    }
    promises.hear("up", 0)?;
    promises.hear(&format!("at {}", text(&list["metadata"]["resourceVersion"])?), 0)?;
    for item in list["items"].as_array().context("a list has items")? {
        let name = text(&item["metadata"]["name"])?;
        if names(name) {
            let revision = text(&item["metadata"]["resourceVersion"])?;
            promises.hear(&format!("have {name} {revision}"), 0)?;
        }
    }
    promises.hear("loading", 0)
}
