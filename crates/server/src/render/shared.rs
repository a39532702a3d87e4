//! Shared: the renditions that were made last, for others who ask for the same. A thousand watchers of a Table cost one
//! rendition per event, and who lists again what hardly changed pays for what did.

use crate::Server;
use crate::read::convert::{self, is_stored};
use crate::render::rendition::{Form, Rendition};
use crate::rim::limit::Limits;
use skiff_api::Status;
use skiff_api::kind::Kind;
use skiff_api::wire::Stored;
use skiff_base::Lock;
use skiff_store::{Record, Revision};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, OnceLock};

/// Bytes of renditions that are kept for watches. One that keeps up is at most a full queue behind (256 events): that
/// many rows with a pod each (8 KiB), of four kinds.
pub const WATCHED_MOST: usize = 8 << 20;
/// Those for gets and lists, which would push out the former: 10,000 objects of 2 KiB, until all is quiet.
pub const ASKED_MOST: usize = 32 << 20;
/// What an entry costs beside its bytes, roughly.
const ENTRY: usize = 256;

/// Whether a record is shown as it is, or, under the revision of its end, as it was last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    Is,
    Was,
}

/// What was made. A revision is that of one write, so with the state it names a body; the face is a place in memory,
/// which the entry holds so that nothing else comes to lie there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    revision: u64,
    state: State,
    face: usize,
    /// `None` is the whole body, in another face than the stored one.
    form: Option<Form>,
}

type Made = Arc<OnceLock<Result<Arc<Rendition>, Status>>>;

struct Entry {
    made: Made,
    size: usize,
    _face: Arc<Kind>,
}

/// The renditions that are kept, and how often they served.
pub struct Renditions {
    most: usize,
    /// Told of what is asked for: when that rests, it is a good time to let go.
    limits: Limits,
    kept: Lock<Kept>,
    turns: Lock<HashMap<usize, Arc<tokio::sync::Mutex<()>>>>,
    found: AtomicU64,
    made: AtomicU64,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<Key, Entry>,
    /// The oldest first, which goes first.
    order: VecDeque<Key>,
    bytes: usize,
}

/// Figures for metrics.
#[derive(Debug, PartialEq, Eq)]
pub struct Figures {
    /// How many were made.
    pub made: u64,
    /// How often one was found.
    pub found: u64,
    /// Bytes that are kept.
    pub bytes: usize,
    /// How many may be.
    pub most: usize,
}

impl Renditions {
    /// None yet, and of so many bytes at the most.
    pub fn new(most: usize, limits: Limits) -> Renditions {
        Renditions {
            most,
            limits,
            kept: Lock::default(),
            turns: Lock::default(),
            found: AtomicU64::new(0),
            made: AtomicU64::new(0),
        }
    }

    /// The rendition of a stored object (one that a write only tried has none that others could want).
    pub fn of(
        &self,
        form: Form,
        kind: &Arc<Kind>,
        stored: &Stored,
        state: State,
    ) -> Result<Arc<Rendition>, Status> {
        let make = || Rendition::make(form, kind, stored);
        self.get(kind, (stored.revision, state, Some(form)), make)
    }

    /// What is kept, or was made now. Whoever comes while it is made waits for it.
    fn get(
        &self,
        kind: &Arc<Kind>,
        (revision, state, form): (u64, State, Option<Form>),
        make: impl FnOnce() -> Result<Rendition, Status>,
    ) -> Result<Arc<Rendition>, Status> {
        let key = Key { revision, state, face: address(kind), form };
        let slot = self.kept().slot(key, kind);
        let mut size = None;
        let made = slot.get_or_init(|| {
            let made = make();
            size = Some(made.as_ref().map_or(0, Rendition::size));
            made.map(Arc::new)
        });
        match size {
            None => self.found.fetch_add(1, Ordering::Relaxed),
            Some(size) => {
                self.kept().count(key, &slot, size, self.most);
                self.made.fetch_add(1, Ordering::Relaxed)
            }
        };
        self.limits.spent(made.as_ref().map_or(0, |made| made.size()));
        made.clone()
    }

    /// The body of a face, if it is kept.
    fn find(&self, kind: &Arc<Kind>, (revision, state): (u64, State)) -> Option<Arc<Rendition>> {
        let key = Key { revision, state, face: address(kind), form: None };
        let made = self.kept().entries.get(&key)?.made.clone();
        made.get()?.clone().ok()
    }

    /// The turn of those who have bodies of a face made.
    fn turn(&self, kind: &Arc<Kind>) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock();
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(address(kind)).or_default().clone()
    }

    pub fn figures(&self) -> Figures {
        let [made, found] = [&self.made, &self.found].map(|it| it.load(Ordering::Relaxed));
        Figures { made, found, bytes: self.kept().bytes, most: self.most }
    }

    /// Keeps none of those that there are: for when nobody has asked for a while.
    pub fn let_go(&self) {
        let gone = std::mem::take(&mut *self.kept());
        // Outside the lock: they may be many.
        drop(gone);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock()
    }
}

fn address(kind: &Arc<Kind>) -> usize {
    Arc::as_ptr(kind) as usize
}

/// Records as one face of their kind shows them, one answer for each. `ended` is the revision of the end of a record
/// that is shown as it was last. A body that is not stored in this form is made once, with all of its page that are
/// missing; who asks for the same face meanwhile waits.
pub async fn faces(
    server: &Server,
    kind: &Arc<Kind>,
    head: &Arc<str>,
    records: &[Arc<Record>],
    ended: impl Fn(usize) -> Option<Revision>,
) -> Vec<Result<Stored, Status>> {
    let at = |at: usize| match ended(at) {
        Some(revision) => (revision.0, State::Was),
        None => (records[at].revision.0, State::Is),
    };
    if records.iter().all(|it| is_stored(kind, it)) {
        let mut shown = convert::shown(&server.reader, kind, head, records).await;
        for (i, stored) in shown.iter_mut().enumerate() {
            stored.iter_mut().for_each(|stored| stored.revision = at(i).0);
        }
        return shown;
    }
    let turn = server.watched.turn(kind);
    let _turn = turn.lock().await;
    let kept = |i: usize| match is_stored(kind, &records[i]) {
        true => None,
        false => server.watched.find(kind, at(i)),
    };
    let kept: Vec<_> = (0..records.len()).map(kept).collect();
    let missing = records.iter().zip(&kept).filter(|(_, kept)| kept.is_none());
    let missing: Vec<_> = missing.map(|(record, _)| record.clone()).collect();
    let mut made = convert::shown(&server.reader, kind, head, &missing).await.into_iter();
    let shown = kept.into_iter().enumerate().map(|(i, kept)| {
        let body = match kept {
            Some(kept) => kept.body(),
            None => made.next().expect("each that is missing has its answer")?.body,
        };
        let (revision, state) = at(i);
        if !is_stored(kind, &records[i]) {
            let make = || Ok(Rendition::whole(body.clone()));
            server.watched.get(kind, (revision, state, None), make)?;
        }
        Ok(Stored { head: head.clone(), revision, body })
    });
    shown.collect()
}

impl Kept {
    fn slot(&mut self, key: Key, face: &Arc<Kind>) -> Made {
        if let Some(entry) = self.entries.get(&key) {
            return entry.made.clone();
        }
        let made = Made::default();
        let entry = Entry { made: made.clone(), size: ENTRY, _face: face.clone() };
        self.entries.insert(key, entry);
        self.order.push_back(key);
        self.bytes += ENTRY;
        made
    }

    /// Counts what was made, and lets go what is too much.
    fn count(&mut self, key: Key, made: &Made, size: usize, most: usize) {
        if let Some(entry) = self.entries.get_mut(&key).filter(|it| Arc::ptr_eq(&it.made, made)) {
            entry.size += size;
            self.bytes += size;
        }
        while self.bytes > most
            && let Some(oldest) = self.order.pop_front()
            && let Some(entry) = self.entries.remove(&oldest)
        {
            self.bytes -= entry.size;
        }
    }
}
