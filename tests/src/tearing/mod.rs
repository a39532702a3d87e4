//! A file system that loses what was not made durable: all in memory, cut off at a moment that a test names.
//!
//! It keeps what file systems of Linux keep, and no more. Names change in an order (a journal), and whoever syncs
//! anything makes all changes of names up to then durable. What is in a file is durable by that file's own sync alone.
//! At the cut a beginning of the other changes of names is there, and of what else was written to a file each piece,
//! in part (by pages), or not; so a file that was renamed into place without a sync has its name and not its content.
//! Modes and owners are durable at once: nobody is promised anything about them.
//!
//! [`door`] shows it to the kernel.

use crate::random::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

pub mod door;

/// Disks write these as a whole.
const PAGE: usize = 4096;
/// The top folder.
pub const ROOT: u64 = 1;

/// A name in a folder.
type Name = (u64, OsString);

/// What a file is beside its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sort {
    File,
    Folder,
    Link(Vec<u8>),
    /// A socket or a pipe: its type as stat(2) has it.
    Other(u32),
}

#[derive(Debug)]
pub struct Node {
    pub sort: Sort,
    /// Rights.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub device: u32,
    pub now: Vec<u8>,
    durable: Vec<u8>,
    /// From `durable` to `now`.
    edits: Vec<Edit>,
}

#[derive(Debug, Clone)]
enum Edit {
    Write(usize, Vec<u8>),
    Size(usize),
}

/// One change of names; what it does, it does as a whole.
#[derive(Debug, Clone)]
enum Change {
    Put(Name, u64),
    Take(Name),
    Move(Name, Name),
    Swap(Name, Name),
}

/// The file system.
#[derive(Debug)]
pub struct Disk {
    nodes: BTreeMap<u64, Node>,
    names: BTreeMap<Name, u64>,
    durable: BTreeMap<Name, u64>,
    changes: Vec<Change>,
    next: u64,
    /// Requests that would change something, since the beginning.
    requests: u64,
    /// At which of these the power is cut.
    cut_at: u64,
    /// At which of these a sync fails.
    fail_at: u64,
    /// Whether one has failed since the power came.
    failed: bool,
    /// Whether a sync says that it was done, and does nothing.
    lies: bool,
}

impl Default for Disk {
    fn default() -> Self {
        let mut disk = Self {
            nodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            changes: Vec::new(),
            next: ROOT,
            requests: 0,
            cut_at: u64::MAX,
            fail_at: u64::MAX,
            failed: false,
            lies: false,
        };
        disk.node(Sort::Folder, 0o755);
        disk
    }
}

/// Nothing answers any more.
#[derive(Debug, PartialEq, Eq)]
pub struct Cut;

impl Disk {
    /// The power goes after so many more requests that change something.
    pub fn cut_after(&mut self, requests: u64) {
        self.cut_at = self.requests.saturating_add(requests);
    }

    /// The first sync after so many more requests fails, and makes nothing durable.
    pub fn fail_after(&mut self, requests: u64) {
        self.fail_at = self.requests.saturating_add(requests);
    }

    /// From now on nothing becomes durable, and nobody is told: what a bench has to find.
    pub fn lie(&mut self) {
        self.lies = true;
    }

    pub fn is_cut(&self) -> bool {
        self.requests >= self.cut_at
    }

    /// Whether a sync has failed since the power came.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Requests that changed something, since the disk is there.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Counts a request that changes something, if the power is still there.
    pub fn changes(&mut self) -> Result<(), Cut> {
        if self.is_cut() {
            return Err(Cut);
        }
        self.requests += 1;
        Ok(())
    }

    /// After the cut: the disk as it is found, by the same numbers.
    pub fn power_on(&mut self, random: &mut Random) {
        let kept = random.below(self.changes.len() as u64 + 1);
        for change in std::mem::take(&mut self.changes).into_iter().take(kept as usize) {
            change.apply(&mut self.durable);
        }
        self.names = self.durable.clone();
        let named: BTreeSet<u64> = self.names.values().copied().chain([ROOT]).collect();
        self.nodes.retain(|number, _| named.contains(number));
        self.nodes.values_mut().for_each(|node| node.power_on(random));
        (self.cut_at, self.fail_at, self.failed) = (u64::MAX, u64::MAX, false);
    }

    fn node(&mut self, sort: Sort, mode: u32) -> u64 {
        let number = self.next;
        self.next += 1;
        let (now, durable, edits) = (Vec::new(), Vec::new(), Vec::new());
        let node = Node { sort, mode, uid: 0, gid: 0, device: 0, now, durable, edits };
        self.nodes.insert(number, node);
        number
    }

    pub fn get(&self, number: u64) -> Option<&Node> {
        self.nodes.get(&number)
    }

    pub fn get_mut(&mut self, number: u64) -> Option<&mut Node> {
        self.nodes.get_mut(&number)
    }

    pub fn find(&self, folder: u64, name: &OsStr) -> Option<u64> {
        self.names.get(&(folder, name.to_owned())).copied()
    }

    /// What is in a folder.
    pub fn list(&self, folder: u64) -> impl Iterator<Item = (&OsStr, u64)> {
        let all = self.names.range((folder, OsString::new())..);
        all.take_while(move |((of, _), _)| *of == folder).map(|((_, name), it)| (&**name, *it))
    }

    /// How many names lead to it.
    pub fn links(&self, number: u64) -> u32 {
        let names = self.names.values().filter(|it| **it == number).count();
        u32::try_from(names).unwrap_or(u32::MAX)
    }

    pub fn make(&mut self, folder: u64, name: &OsStr, sort: Sort, mode: u32) -> u64 {
        let number = self.node(sort, mode);
        self.put(folder, name, number);
        number
    }

    /// One more name for a node.
    pub fn put(&mut self, folder: u64, name: &OsStr, number: u64) {
        self.change(Change::Put((folder, name.to_owned()), number));
    }

    pub fn take(&mut self, folder: u64, name: &OsStr) {
        self.change(Change::Take((folder, name.to_owned())));
    }

    pub fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr), swap: bool) {
        let (from, to) = ((from.0, from.1.to_owned()), (to.0, to.1.to_owned()));
        self.change(if swap { Change::Swap(from, to) } else { Change::Move(from, to) });
    }

    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.names);
        self.changes.push(change);
    }

    /// Makes all names durable, and what is in this file. False: it failed.
    pub fn sync(&mut self, number: u64) -> bool {
        if self.requests >= self.fail_at {
            (self.fail_at, self.failed) = (u64::MAX, true);
            return false;
        }
        if self.lies {
            return true;
        }
        for change in std::mem::take(&mut self.changes) {
            change.apply(&mut self.durable);
        }
        if let Some(node) = self.nodes.get_mut(&number) {
            for edit in std::mem::take(&mut node.edits) {
                edit.apply(&mut node.durable);
            }
        }
        true
    }
}

impl Node {
    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        self.edit(Edit::Write(at, bytes.to_owned()));
    }

    pub fn resize(&mut self, size: usize) {
        self.edit(Edit::Size(size));
    }

    fn edit(&mut self, edit: Edit) {
        edit.apply(&mut self.now);
        self.edits.push(edit);
    }

    fn power_on(&mut self, random: &mut Random) {
        for edit in std::mem::take(&mut self.edits) {
            match (random.below(4), edit) {
                (0, _) => {}
                (1, Edit::Write(at, bytes)) => {
                    for (page, piece) in bytes.chunks(PAGE).enumerate() {
                        if random.below(2) == 0 {
                            Edit::Write(at + page * PAGE, piece.to_owned())
                                .apply(&mut self.durable);
                        }
                    }
                }
                (_, edit) => edit.apply(&mut self.durable),
            }
        }
        self.now.clone_from(&self.durable);
    }
}

impl Edit {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Edit::Size(size) => content.resize(*size, 0),
            Edit::Write(at, bytes) => {
                let end = at + bytes.len();
                content.resize(content.len().max(end), 0);
                content[*at..end].copy_from_slice(bytes);
            }
        }
    }
}

impl Change {
    fn apply(self, names: &mut BTreeMap<Name, u64>) {
        match self {
            Change::Put(name, number) => _ = names.insert(name, number),
            Change::Take(name) => _ = names.remove(&name),
            Change::Move(from, to) => {
                if let Some(number) = names.remove(&from) {
                    names.insert(to, number);
                }
            }
            Change::Swap(one, other) => {
                if let (Some(a), Some(b)) = (names.remove(&one), names.remove(&other)) {
                    names.extend([(one, b), (other, a)]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(disk: &Disk, name: &str) -> Option<Vec<u8>> {
        let number = disk.find(ROOT, name.as_ref())?;
        Some(disk.get(number).unwrap().now.clone())
    }

    /// All that may be found under the name, over many seeds.
    fn outcomes(name: &str, act: impl Fn(&mut Disk)) -> BTreeSet<Option<String>> {
        let one = |seed| {
            let mut disk = Disk::default();
            act(&mut disk);
            disk.power_on(&mut Random::of(seed));
            found(&disk, name).map(|bytes| String::from_utf8(bytes).unwrap())
        };
        (0..200).map(one).collect()
    }

    fn write(disk: &mut Disk, name: &str, text: &str) -> u64 {
        let number = disk.make(ROOT, name.as_ref(), Sort::File, 0o644);
        disk.get_mut(number).unwrap().write(0, text.as_bytes());
        number
    }

    fn set(all: &[Option<&str>]) -> BTreeSet<Option<String>> {
        all.iter().map(|it| it.map(str::to_owned)).collect()
    }

    #[test]
    fn what_is_synced_stays_and_the_rest_may_go() {
        let unsynced = outcomes("a", |disk| _ = write(disk, "a", "x"));
        assert_eq!(unsynced, set(&[None, Some(""), Some("x")]));
        let synced = outcomes("a", |disk| {
            let number = write(disk, "a", "x");
            assert!(disk.sync(number));
            disk.get_mut(number).unwrap().write(0, b"y");
        });
        assert_eq!(synced, set(&[Some("x"), Some("y")]));
    }

    #[test]
    fn a_rename_without_a_sync_may_have_no_content() {
        let replace = |sync: bool| {
            move |disk: &mut Disk| {
                let old = write(disk, "a", "old");
                assert!(disk.sync(old));
                let new = write(disk, "b", "new");
                if sync {
                    assert!(disk.sync(new));
                }
                disk.rename((ROOT, "b".as_ref()), (ROOT, "a".as_ref()), false);
            }
        };
        assert_eq!(outcomes("a", replace(true)), set(&[Some("old"), Some("new")]));
        assert_eq!(outcomes("a", replace(false)), set(&[Some("old"), Some(""), Some("new")]));
    }

    #[test]
    fn a_cut_and_a_failure_come_at_their_request() {
        let mut disk = Disk::default();
        disk.cut_after(2);
        disk.fail_after(1);
        assert!(disk.changes().is_ok());
        assert!(!disk.sync(ROOT) && disk.sync(ROOT), "one fails");
        assert!(disk.changes().is_ok());
        assert_eq!(disk.changes(), Err(Cut));
        disk.power_on(&mut Random::of(1));
        assert!(disk.changes().is_ok());
    }
}
