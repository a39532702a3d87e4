//! A load of writes that keeps account: what was asked, what was acknowledged, at which revision.
//!
//! Each worker is a shell loop with curl inside the machine that creates, changes and (every third)
//! deletes its own objects, one after the other, and notes each question before it is asked and
//! each answer after it came. A write without an answer may have happened or not, so its object is
//! left alone from then on. Whatever was answered has to be there in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, PipeReader};
use std::path::PathBuf;
use std::process::Child;

use anyhow::{Context, Result, bail, ensure};

use crate::cluster::Cluster;

const WORKER: &str = include_str!("load.sh");

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

/// What became of one object by its last answer.
#[derive(Debug, PartialEq, Eq)]
enum Last {
    /// A write was not answered.
    Unsure,
    At(String),
    Gone,
}

impl Load {
    pub fn start(cluster: &Cluster, workers: u32) -> Result<Self> {
        let folder = cluster.machine().data().join("load");
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("worker"), WORKER)?;
        cluster.unfold(&folder);
        let start = |worker: u32| {
            let log = std::fs::File::create(folder.join(format!("log-{worker}")))?;
            let mut command = cluster.inside("bash".as_ref());
            let line = format!("cd {}; exec bash worker {worker}", folder.display());
            command.args(["-c", &line]).stdout(log).spawn().context("start a worker")
        };
        let workers = (0..workers).map(start).collect::<Result<_>>()?;
        Ok(Self { folder, workers })
    }

    /// Workers whose account is read while they write it; `name` tells them from those of another machine. They end with
    /// the machine.
    pub fn told(
        cluster: &Cluster,
        workers: u32,
        name: &str,
    ) -> Result<(Self, std::io::Lines<BufReader<PipeReader>>)> {
        let folder = cluster.machine().data().join("load");
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("worker"), WORKER)?;
        cluster.unfold(&folder);
        let (read, write) = std::io::pipe()?;
        let start = |worker: u32| {
            let mut command = cluster.inside("bash".as_ref());
            let line = format!("cd {}; exec bash worker {name}-{worker}", folder.display());
            command.args(["-c", &line]).stdout(write.try_clone()?).spawn().context("start a worker")
        };
        let workers = (0..workers).map(start).collect::<Result<_>>()?;
        Ok((Self { folder, workers }, BufReader::new(read).lines()))
    }

    /// Stops the workers and holds their account against what is there; the number of writes that
    /// were acknowledged.
    pub fn settle(mut self, cluster: &Cluster) -> Result<usize> {
        std::fs::write(self.folder.join("stop"), "")?;
        let count = self.workers.len();
        for worker in &mut self.workers {
            ensure!(worker.wait()?.success(), "a worker failed");
        }
        let (mut objects, mut revisions) = (BTreeMap::new(), BTreeSet::new());
        let mut acknowledged = 0;
        for worker in 0..count {
            let log = std::fs::read_to_string(self.folder.join(format!("log-{worker}")))?;
            acknowledged += read(&log, &mut objects, &mut revisions)?;
        }
        let list = cluster.k.ok("get --raw /api/v1/namespaces/default/configmaps");
        let list: serde_json::Value = serde_json::from_str(&list)?;
        let items = list["items"].as_array().context("a list has items")?;
        let there: BTreeMap<_, _> = items
            .iter()
            .filter_map(|item| {
                let meta = &item["metadata"];
                Some((meta["name"].as_str()?, meta["resourceVersion"].as_str()?))
            })
            .collect();
        for (name, last) in &objects {
            match (last, there.get(name.as_str())) {
                (Last::Unsure, _) | (Last::Gone, None) => {}
                (Last::At(revision), Some(found)) if revision == found => {}
                (last, found) => bail!("{name}: {last:?} was acknowledged, there is {found:?}"),
            }
        }
        Ok(acknowledged)
    }
}

/// Takes in one worker's account; the number of answers in it.
fn read(
    log: &str,
    objects: &mut BTreeMap<String, Last>,
    revisions: &mut BTreeSet<u64>,
) -> Result<usize> {
    let (mut answers, mut highest) = (0, 0);
    for line in log.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let [name, what, revision] = words[..] else { bail!("{line:?} is no entry") };
        let last = match (what, revision) {
            (_, "?") => Last::Unsure,
            ("delete", _) => Last::Gone,
            (_, revision) => {
                let number: u64 = revision.parse().context("a revision")?;
                ensure!(number > highest, "{name}: {number} came after {highest}");
                ensure!(revisions.insert(number), "{name}: {number} was used before");
                highest = number;
                Last::At(revision.to_owned())
            }
        };
        answers += usize::from(last != Last::Unsure);
        objects.insert(name.to_owned(), last);
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read() {
        let (mut objects, mut revisions) = (BTreeMap::new(), BTreeSet::new());
        let log =
            "a create ?\na create 5\na update ?\nb create ?\nb create 7\nb delete ?\nb delete 0\n";
        assert_eq!(read(log, &mut objects, &mut revisions).unwrap(), 3);
        assert_eq!(objects["a"], Last::Unsure);
        assert_eq!(objects["b"], Last::Gone);
        assert!(read("c create 7\n", &mut objects, &mut revisions).is_err(), "7 was b's");
    }
}
