//! What a cluster has promised, by what it said through its port (`tests/vm/powercut`), and whether it holds.
//!
//! An acknowledged write is there with its revision, or a later one that was asked for and not answered. What was
//! asked for and not answered may be there or not. No revision comes twice, and none is lower than one that was told.

use anyhow::{Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is known of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Object {
    /// Its revision, by the last answer that counts; `None`: it is not there.
    at: Option<u64>,
    /// Writes that were asked for since.
    asked: Vec<String>,
}

/// An answer, and how long the log of the disk's writes was when it came.
#[derive(Debug)]
struct Answer {
    name: String,
    before: Object,
    revision: u64,
    log: u64,
}

/// All of them, over any number of cuts.
#[derive(Debug, Default)]
pub struct Promises {
    objects: BTreeMap<String, Object>,
    /// Images that were being loaded, and whether that was answered.
    images: BTreeMap<String, bool>,
    /// Pods that ran, by their uids.
    pods: BTreeMap<String, String>,
    /// Revisions that were answered.
    revisions: BTreeSet<u64>,
    /// The newest that each worker was told since the last cut: it writes one after the other.
    rising: BTreeMap<String, u64>,
    /// No revision of a new machine is lower.
    highest: u64,
    acknowledged: u64,
    /// Of this machine, in their order.
    answers: Vec<Answer>,
    /// Images that were loaded, and how long the log was then.
    loaded: Vec<(String, u64)>,
    /// What this machine has listed; taken in when the list is whole.
    listed: BTreeMap<String, u64>,
    /// Machines that came back.
    starts: u64,
}

impl Promises {
    /// Writes that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Takes in a line; `log` is how long the log of the disk's writes was then. An error names the promise that does
    /// not hold.
    pub fn hear(&mut self, line: &str, log: u64) -> Result<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["FAILED", ..] => bail!("it does not come back without a hand: {line}"),
            ["mounted"] => {}
            ["up"] => self.starts += 1,
            ["at", revision] => {
                let now: u64 = revision.parse()?;
                let before = self.highest;
                ensure!(
                    now >= before,
                    "the newest revision is {now}, and {before} was told before"
                );
                self.highest = now;
            }
            ["have", name, revision] => {
                self.listed.insert(name.to_owned(), revision.parse()?);
            }
            ["pod", name, uid] => {
                let known = self.pods.entry(name.to_owned()).or_insert_with(|| uid.to_owned());
                ensure!(*known == uid, "pod {name} was {known}, and is {uid} now");
            }
            ["image", name, "?"] => _ = self.images.insert(name.to_owned(), false),
            ["image", name, "loaded"] => {
                self.images.insert(name.to_owned(), true);
                self.loaded.push((name.to_owned(), log));
            }
            ["holds", name] => {
                ensure!(
                    self.images.contains_key(name),
                    "image {name} is there, and nobody loaded it"
                );
                // It is removed next, and that may outlive the next cut or not.
                self.images.insert(name.to_owned(), false);
            }
            ["loading"] => self.judge()?,
            [name, what, "?"] => self.object(name).asked.push(what.to_owned()),
            [name, what, revision] => self.answer(name, what, revision.parse()?, log)?,
            _ => bail!("the machine says {line:?}, which means nothing"),
        }
        Ok(())
    }

    fn object(&mut self, name: &str) -> &mut Object {
        self.objects.entry(name.to_owned()).or_default()
    }

    fn answer(&mut self, name: &str, what: &str, revision: u64, log: u64) -> Result<()> {
        let object = self.object(name);
        let before = object.clone();
        *object = Object { at: (what != "delete").then_some(revision), asked: Vec::new() };
        if what != "delete" {
            ensure!(
                self.revisions.insert(revision),
                "{name}: revision {revision} was given before"
            );
            let worker = name.rsplit_once('-').map_or(name, |(worker, _)| worker).to_owned();
            let told = self.rising.insert(worker, revision);
            let highest = before.at.max(told).unwrap_or(0);
            ensure!(revision > highest, "{name}: revision {revision} came after {highest}");
        }
        self.acknowledged += 1;
        self.answers.push(Answer { name: name.to_owned(), before, revision, log });
        Ok(())
    }

    /// The disk keeps what its log had up to `end`. Who was answered when the log was longer may have been answered
    /// behind that: what it was told is as if it had not been answered.
    pub fn cut(&mut self, end: u64) {
        for answer in std::mem::take(&mut self.answers).into_iter().rev() {
            if answer.log > end {
                let now = self.object(&answer.name);
                let mut asked = answer.before.asked;
                asked.append(&mut now.asked);
                *now = Object { at: answer.before.at, asked };
                self.revisions.remove(&answer.revision);
                self.acknowledged -= 1;
            }
        }
        for (name, log) in std::mem::take(&mut self.loaded) {
            if log > end {
                self.images.insert(name, false);
            }
        }
        let told = self.objects.values().filter_map(|object| object.at).max();
        self.highest = self.highest.max(told.unwrap_or(0));
        self.listed.clear();
        self.rising.clear();
    }

    /// Holds what a new machine has listed against what was promised; from then on what is there counts.
    fn judge(&mut self) -> Result<()> {
        if let Some((name, _)) = self.images.iter().find(|(_, loaded)| **loaded) {
            bail!("image {name} was loaded, and is not there");
        }
        for (name, found) in &self.listed {
            let known = self.objects.contains_key(name) || name == "kube-root-ca.crt";
            ensure!(known, "{name} is there at {found}, and nobody asked for it");
        }
        for (name, object) in &mut self.objects {
            let found = self.listed.get(name).copied();
            ensure!(object.allows(found), "{name}: {object:?} was promised, there is {found:?}");
            *object = Object { at: found, asked: Vec::new() };
        }
        Ok(())
    }
}

impl Object {
    /// Whether it may be found so.
    fn allows(&self, found: Option<u64>) -> bool {
        let asked = |what: &str| self.asked.iter().any(|it| it == what);
        match (self.at, found) {
            (Some(at), Some(found)) => found == at || (found > at && asked("update")),
            (Some(_), None) => asked("delete"),
            (None, Some(_)) => asked("create"),
            (None, None) => true,
        }
    }
}

impl fmt::Display for Promises {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (writes, objects) = (self.acknowledged, self.objects.len());
        let (pods, images) = (self.pods.len(), self.images.len());
        write!(
            f,
            "{} starts, {writes} writes acknowledged, {objects} objects, {pods} pods, {images} images, revision {}",
            self.starts, self.highest
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[(&str, u64)]) -> Promises {
        let mut promises = Promises::default();
        for (line, log) in lines {
            promises.hear(line, *log).unwrap();
        }
        promises
    }

    fn after(promises: &mut Promises, lines: &[&str]) -> String {
        let mut all = lines.iter().chain(["loading"].iter());
        let heard = all.try_for_each(|line| promises.hear(line, 0));
        heard.map_or_else(|error| error.to_string(), |()| "holds".to_owned())
    }

    const LOAD: &[(&str, u64)] = &[
        ("a create ?", 0),
        ("a create 5", 10),
        ("a update ?", 10),
        ("b create ?", 10),
        ("b create 6", 20),
        ("b delete ?", 20),
        ("b delete 0", 30),
        ("c create ?", 30),
    ];

    #[test]
    fn revisions_of_a_worker_rise_and_none_comes_twice() {
        let load = [
            ("m-0-0 create ?", 0),
            ("m-0-0 create 5", 0),
            ("m-0-0 update ?", 0),
            ("m-1-0 create ?", 0),
            ("m-1-0 create 7", 0),
            ("m-1-0 delete ?", 0),
            ("m-1-0 delete 0", 0),
        ];
        let mut promises = heard(&load);
        assert_eq!(promises.acknowledged(), 3);
        let said = |line: &str| heard(&load).hear(line, 0).unwrap_err().to_string();
        assert_eq!(said("m-2-0 create 7"), "m-2-0: revision 7 was given before");
        assert_eq!(said("m-0-1 create 4"), "m-0-1: revision 4 came after 5");
        promises.cut(0);
        // Nobody was told what became of the update; what was deleted is gone.
        assert_eq!(after(&mut promises, &["have m-0-0 9"]), "holds");
        promises = heard(&load);
        assert!(after(&mut promises, &["have m-0-0 5", "have m-1-0 7"]).contains("m-1-0"));
    }

    #[test]
    fn what_was_answered_is_there_and_the_rest_may_be() {
        for (end, found, says) in [
            (99, vec!["at 6", "have a 5"], "holds"),
            (99, vec!["at 8", "have a 7", "have c 8"], "holds"),
            (99, vec!["at 4"], "the newest revision is 4, and 5 was told before"),
            (99, vec!["have c 7"], "there is None"),
            (99, vec!["have a 4"], "there is Some(4)"),
            (99, vec!["have a 5", "have b 6"], "there is Some(6)"),
            (99, vec!["have a 5", "have d 6"], "nobody asked for it"),
            (20, vec!["have a 5", "have b 6"], "holds"),
            (20, vec!["have a 5"], "holds"),
            (5, vec![], "holds"),
        ] {
            let mut promises = heard(LOAD);
            promises.cut(end);
            let said = after(&mut promises, &found);
            assert!(said.contains(says), "{end} {found:?}: {said}");
        }
    }

    #[test]
    fn images_that_were_loaded_are_there_until_they_are_removed() {
        let load = [("image a ?", 0), ("image a loaded", 10), ("image b ?", 10)];
        for (end, found, says) in [
            (99, vec!["holds a"], "holds"),
            (99, vec!["holds a", "holds b"], "holds"),
            (99, vec![], "image a was loaded, and is not there"),
            (99, vec!["holds a", "holds c"], "nobody loaded it"),
            (5, vec![], "holds"),
        ] {
            let mut promises = heard(&load);
            promises.cut(end);
            let said = after(&mut promises, &found);
            assert!(said.contains(says), "{end} {found:?}: {said}");
        }
    }

    #[test]
    fn pods_keep_their_names_and_revisions_are_given_once() {
        let mut promises = heard(LOAD);
        promises.hear("pod p one", 0).unwrap();
        promises.hear("pod p one", 0).unwrap();
        assert!(promises.hear("pod p two", 0).is_err());
        assert!(promises.hear("d create 6", 0).is_err());
        assert!(promises.hear("FAILED skiff up: no", 0).is_err());
    }
}
