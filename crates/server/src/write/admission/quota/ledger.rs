//! The ledger: charges of a namespace, many at once. Who comes while quotas are written waits for the next writing, and
//! all that wait then are judged in their order and charged in one status of each quota.
//!
//! A charge is *open* until it is known what became of its write. Whoever counts anew first waits until what was open
//! is not any more ([`Ledger::settled`]): then what a quota says is used is there to be counted, or was given back.

use super::judge::{Ask, share};
use crate::read::convert;
use crate::read::reader::Reader;
use crate::write::admission::taking::Fate;
use crate::write::commit_refusal;
use serde::Deserialize;
use skiff_api::Status;
use skiff_api::kind::Kind;
use skiff_api::object::Object;
use skiff_base::{Lock, Tasks, World};
use skiff_json::Map;
use skiff_kinds::core::resourcequota::RESOURCE;
use skiff_kinds::quota::Counted;
use skiff_kinds::views::ResourceQuota;
use skiff_kinds::views::pod::Quantities;
use skiff_store::{CommitError, Currency, ListRequest, Record, Revision, Scope, Write};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How often quotas are read again when somebody else wrote them: their loop, or who changes them.
const TRIES: usize = 16;
/// So long a write may take whose caller has left, and so long a count waits for writes.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is remembered of so many namespaces; beyond it, of those where something is under way.
const REMEMBERED: usize = 4096;

/// What quotas of namespaces are charged with.
pub struct Ledger {
    reader: Arc<Reader>,
    world: World,
    tasks: Tasks,
    desks: Lock<HashMap<String, Desk>>,
    /// Changes when a charge is open no more.
    closed: watch::Sender<u64>,
}

/// What is under way in one namespace.
#[derive(Default)]
struct Desk {
    waiting: Vec<Entry>,
    /// Somebody works on it.
    busy: bool,
    open: BTreeSet<u64>,
    /// The revision of the newest pod whose charge is open no more.
    newest_pod: u64,
}

enum Entry {
    Charge { ask: Ask, tell: oneshot::Sender<Result<Charge, Refusal>> },
    GiveBack(Charge),
}

/// Why a write is not charged.
#[derive(Debug)]
pub enum Refusal {
    Forbidden(String),
    Failed(Status),
}

/// What a write has been charged, and of which quotas. One that is dropped is given back.
pub struct Charge {
    ledger: Arc<Ledger>,
    namespace: String,
    number: u64,
    of_pod: bool,
    shares: Vec<Share>,
    open: bool,
}

struct Share {
    uid: String,
    amounts: Quantities,
}

impl Charge {
    /// Its write has come to be, or not.
    pub fn became(mut self, fate: Fate) {
        match fate {
            Fate::Written(Revision(at)) => self.close(if self.of_pod { at } else { 0 }),
            Fate::Refused => {}
            // It is there in a while, if it came to be; then it is counted, or not.
            Fate::Unknown => {
                let ledger = self.ledger.clone();
                ledger.clone().tasks.spawn(async move {
                    ledger.world.sleep(PATIENCE).await;
                    self.close(0);
                });
            }
        }
    }

    /// Nothing is to be given back any more. `pod_at`: the revision of the pod that it was for.
    fn close(&mut self, pod_at: u64) {
        if std::mem::replace(&mut self.open, false) {
            self.ledger.close(&self.namespace, self.number, pod_at);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if !self.open || self.shares.is_empty() {
            return self.close(0);
        }
        self.open = false;
        let back = Charge {
            ledger: self.ledger.clone(),
            namespace: self.namespace.clone(),
            shares: std::mem::take(&mut self.shares),
            open: true,
            number: self.number,
            of_pod: self.of_pod,
        };
        self.ledger.put(&self.namespace, Entry::GiveBack(back));
    }
}

/// A quota as it is, and what will be used of it.
struct Page {
    record: Arc<Record>,
    object: Object,
    quota: ResourceQuota,
    changed: bool,
}

/// Somebody whose write is judged, with what it is charged so far.
struct Client {
    ask: Ask,
    tell: oneshot::Sender<Result<Charge, Refusal>>,
    charge: Charge,
}

impl Ledger {
    pub fn new(reader: Arc<Reader>, world: World, tasks: Tasks) -> Ledger {
        Ledger { reader, world, tasks, desks: Lock::default(), closed: watch::Sender::new(0) }
    }

    /// Whether a namespace has quotas at all.
    pub async fn limits(&self, namespace: &str) -> Result<bool, Status> {
        let kind = self.kind()?;
        let asked = ListRequest { limit: Some(1), ..asked(&kind, namespace) };
        let listed = self.reader.store.list(asked).await;
        let listed = listed.map_err(crate::read::read_error)?;
        Ok(!listed.records.is_empty())
    }

    /// Whether a write would be charged, now.
    pub async fn check(&self, namespace: &str, ask: &Ask) -> Result<(), Refusal> {
        let pages = self.pages(namespace).await.map_err(Refusal::Failed)?;
        let refused = pages.iter().find_map(|page| share(&page.quota, ask).err());
        refused.map_or(Ok(()), |why| Err(Refusal::Forbidden(why)))
    }

    /// Charges a write, or says why it may not be.
    pub async fn charge(self: &Arc<Self>, namespace: &str, ask: Ask) -> Result<Charge, Refusal> {
        let (tell, told) = oneshot::channel();
        self.put(namespace, Entry::Charge { ask, tell });
        let ended = |_| Refusal::Failed(Status::internal("resource quota evaluation ended early"));
        told.await.map_err(ended)?
    }

    /// Waits until what is charged by now in a namespace is there, or was given back, for a while at most; the revision
    /// of the newest pod of those.
    pub async fn settled(&self, namespace: &str) -> u64 {
        let mut closed = self.closed.subscribe();
        let open =
            self.desks.lock().get(namespace).map(|desk| desk.open.clone()).unwrap_or_default();
        let settle = async {
            while self.is_open(namespace, &open) {
                // The sender lives in self, so waiting cannot fail.
                let _ = closed.changed().await;
            }
        };
        self.world.within(PATIENCE, settle).await;
        self.desks.lock().get(namespace).map_or(0, |desk| desk.newest_pod)
    }

    fn is_open(&self, namespace: &str, some: &BTreeSet<u64>) -> bool {
        let desks = self.desks.lock();
        desks.get(namespace).is_some_and(|desk| !desk.open.is_disjoint(some))
    }

    fn close(&self, namespace: &str, number: u64, pod_at: u64) {
        if let Some(desk) = self.desks.lock().get_mut(namespace) {
            desk.open.remove(&number);
            desk.newest_pod = desk.newest_pod.max(pod_at);
        }
        self.closed.send_modify(|count| *count += 1);
    }

    fn put(self: &Arc<Self>, namespace: &str, entry: Entry) {
        let mut desks = self.desks.lock();
        if desks.len() > REMEMBERED {
            desks.retain(|_, desk| desk.busy || !desk.open.is_empty());
        }
        let desk = desks.entry(namespace.to_owned()).or_default();
        desk.waiting.push(entry);
        if !std::mem::replace(&mut desk.busy, true) {
            let (ledger, namespace) = (self.clone(), namespace.to_owned());
            self.tasks.spawn(async move { ledger.work(namespace).await });
        }
    }

    async fn work(self: Arc<Self>, namespace: String) {
        let at_work = AtWork { ledger: &self, namespace: &namespace };
        loop {
            let waiting = match self.desks.lock().get_mut(&namespace) {
                Some(desk) if !desk.waiting.is_empty() => std::mem::take(&mut desk.waiting),
                Some(desk) => {
                    desk.busy = false;
                    break;
                }
                None => break,
            };
            self.serve(&namespace, waiting).await;
        }
        std::mem::forget(at_work);
    }

    /// Serves all who wait, in as many rounds as it takes until nobody else writes in between.
    async fn serve(self: &Arc<Self>, namespace: &str, waiting: Vec<Entry>) {
        let (mut clients, mut back) = (Vec::new(), Vec::new());
        for entry in waiting {
            match entry {
                Entry::GiveBack(charge) => back.push(charge),
                Entry::Charge { ask, tell } => {
                    let charge = self.open(namespace, ask.after.type_ == Counted::Pods);
                    clients.push(Client { ask, tell, charge });
                }
            }
        }
        for _ in 0..TRIES {
            match self.round(namespace, &mut clients, &mut back).await {
                Ok(true) => {}
                Ok(false) => return self.finish(clients, back, None),
                Err(status) => return self.finish(clients, back, Some(status)),
            }
        }
        let status = Status::internal("the quotas of the namespace are being changed, try again");
        self.finish(clients, back, Some(status));
    }

    fn open(self: &Arc<Self>, namespace: &str, of_pod: bool) -> Charge {
        let number = self.world.random();
        let mut desks = self.desks.lock();
        desks.entry(namespace.to_owned()).or_default().open.insert(number);
        drop(desks);
        let (ledger, namespace) = (self.clone(), namespace.to_owned());
        Charge { ledger, namespace, number, of_pod, shares: Vec::new(), open: true }
    }

    /// Judges all, and writes what that changes; whether it has to be done again, for somebody wrote in between.
    async fn round(
        &self,
        namespace: &str,
        clients: &mut Vec<Client>,
        back: &mut [Charge],
    ) -> Result<bool, Status> {
        let mut pages = self.pages(namespace).await?;
        for charge in back.iter() {
            for share in &charge.shares {
                pages.iter_mut().filter(|it| it.is(share)).for_each(|it| it.take(&share.amounts));
            }
        }
        // What each would be charged, by the place of the quota.
        let mut drafts: Vec<(usize, usize, Quantities)> = Vec::new();
        let mut place = 0;
        let mut take_in = |client: Client| match judge(&client, &pages) {
            Err(why) => {
                client.refuse(Refusal::Forbidden(why));
                None
            }
            Ok(shares) => {
                for (page, amounts) in shares {
                    pages[page].add(&amounts);
                    drafts.push((place, page, amounts));
                }
                place += 1;
                Some(client)
            }
        };
        *clients = std::mem::take(clients).into_iter().filter_map(&mut take_in).collect();
        for (index, page) in pages.iter().enumerate().filter(|(_, page)| page.changed) {
            if !self.write(page).await? {
                return Ok(true);
            }
            let uid = &page.quota.metadata.uid;
            back.iter_mut().for_each(|charge| charge.shares.retain(|share| share.uid != *uid));
            for (client, _, amounts) in drafts.iter().filter(|(_, page, _)| *page == index) {
                let (uid, amounts) = (uid.clone(), amounts.clone());
                clients[*client].charge.shares.push(Share { uid, amounts });
            }
        }
        Ok(false)
    }

    /// Tells everybody. Without a status all that was wanted is written.
    fn finish(&self, clients: Vec<Client>, back: Vec<Charge>, failed: Option<Status>) {
        for mut charge in back {
            // What could not be given back is found by counting.
            charge.close(0);
        }
        for client in clients {
            match &failed {
                None => client.accept(),
                Some(status) => client.refuse(Refusal::Failed(status.clone())),
            }
        }
    }

    fn kind(&self) -> Result<Arc<Kind>, Status> {
        self.reader.kind(RESOURCE.group, RESOURCE.plural)
    }

    async fn pages(&self, namespace: &str) -> Result<Vec<Page>, Status> {
        let kind = self.kind()?;
        let listed = self.reader.store.list(asked(&kind, namespace)).await;
        let listed = listed.map_err(crate::read::read_error)?;
        let objects = convert::trees(&self.reader, &kind, &listed.records).await;
        let page = |(record, object): (Arc<Record>, Result<Object, Status>)| {
            let object = object?;
            let quota = ResourceQuota::deserialize(object.value()).map_err(Status::internal)?;
            Ok(Page { record, object, quota, changed: false })
        };
        listed.records.into_iter().zip(objects).map(page).collect()
    }

    /// Writes what is used of a quota; `false` when somebody else wrote it, and that is seen now.
    async fn write(&self, page: &Page) -> Result<bool, Status> {
        let (kind, mut object) = (self.kind()?, page.object.clone());
        let used = page.quota.status.used.iter().flat_map(Quantities::iter);
        let used: Map =
            used.map(|(name, amount)| (name.to_owned(), amount.to_string().into())).collect();
        object.set("status.used", used);
        let write = Write::Put {
            key: page.record.key.clone(),
            expect: Some(page.record.revision),
            body: convert::body(&self.reader, &kind, &object).await?,
            generation: kind.generation,
            facets: crate::read::facets::of(&kind, &object),
        };
        match self.reader.store.commit(vec![write]).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict { at, .. }) => {
                self.reader.reach(Currency::AtLeast(at)).await?;
                Ok(false)
            }
            Err(other) => Err(commit_refusal(&other)),
        }
    }
}

/// The quotas of a namespace, in the order of their names.
fn asked(kind: &Kind, namespace: &str) -> ListRequest {
    let scope = Scope::prefix(&kind.prefix(namespace));
    ListRequest { scope, currency: Currency::Seen, ..ListRequest::default() }
}

/// What is to be charged to which quotas, of those that were not charged in a round before.
fn judge(client: &Client, pages: &[Page]) -> Result<Vec<(usize, Quantities)>, String> {
    let mut shares = Vec::new();
    for (index, page) in pages.iter().enumerate() {
        let charged = client.charge.shares.iter().any(|share| page.is(share));
        if !charged && let Some(amounts) = share(&page.quota, &client.ask)? {
            shares.push((index, amounts));
        }
    }
    Ok(shares)
}

impl Page {
    fn is(&self, share: &Share) -> bool {
        self.quota.metadata.uid == share.uid
    }

    fn add(&mut self, amounts: &Quantities) {
        self.quota.status.used.get_or_insert_default().add(amounts);
        self.changed = true;
    }

    fn take(&mut self, amounts: &Quantities) {
        self.quota.status.used.get_or_insert_default().take(amounts);
        self.changed = true;
    }
}

impl Client {
    fn accept(self) {
        // One who left meanwhile gives it back: the charge is dropped.
        let _ = self.tell.send(Ok(self.charge));
    }

    /// What was charged in a round before is given back by the drop of the charge.
    fn refuse(self, why: Refusal) {
        // One who left meanwhile need not hear of it.
        let _ = self.tell.send(Err(why));
    }
}

/// Somebody who works at a desk: when they break off, others can begin, and who waited is told.
struct AtWork<'a> {
    ledger: &'a Ledger,
    namespace: &'a str,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        let waiting = match self.ledger.desks.lock().get_mut(self.namespace) {
            Some(desk) => {
                desk.busy = false;
                std::mem::take(&mut desk.waiting)
            }
            None => Vec::new(),
        };
        for entry in waiting {
            // Not again: whatever broke this off may do so each time.
            if let Entry::GiveBack(mut charge) = entry {
                charge.close(0);
            }
        }
    }
}
