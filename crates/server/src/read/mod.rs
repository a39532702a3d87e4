//! GET and LIST: records of the store become answers, whole or page by page, at the newest or a named revision
//! (API concepts page "Resource versions", "Retrieving large results sets in chunks").

pub(crate) mod convert;
mod converted;
pub(crate) mod facets;
pub(crate) mod follow;
pub(crate) mod options;
pub mod reader;
pub(crate) mod scale;
pub(crate) mod select;
mod token;
pub mod unreadable;
pub(crate) mod versions;
pub(crate) mod watch;

use crate::Server;
use crate::read::options::ListOptions;
use crate::read::select::Selection;
use crate::render::shared;
use crate::request::Request;
use http::StatusCode;
use skiff_api::Status;
use skiff_api::kind::{Does, Kind};
use skiff_api::object::Object;
use skiff_api::wire::{Answer, Body, Items, List, Stored};
use skiff_json::json;
use skiff_store::{Currency, ListRequest, ReadError, Record, Revision};
use std::sync::Arc;
use std::time::Duration;

/// How long a read waits for a revision that is not there yet.
const FUTURE_WAIT: Duration = Duration::from_secs(3);
/// How many records are looked at before a page with a selector is given out to the scheduler again.
const CHUNK: usize = 500;

/// GET of one object, or of a part of it.
pub async fn get(server: &Arc<Server>, request: &Request) -> Result<Answer, Status> {
    let asked = options::revision(request)?;
    if let Some(revision) = asked {
        wait_for(server, revision).await?;
    }
    let record = server.reader.record(&request.key(), currency(asked)).await?;
    let record = record.ok_or_else(|| request.not_found())?;
    let stored = convert::one(&server.reader, &request.kind, &record).await?;
    let entry = request.kind.subresource(&request.resource.subresource);
    if let Some(Does::Scale(paths)) = entry.map(|e| &e.does) {
        let object = Object::new(stored.tree().map_err(Status::internal)?);
        return Ok(Answer::json(StatusCode::OK, crate::read::scale::show(&object, paths).value()));
    }
    Ok(Answer::new(StatusCode::OK, Body::Object(stored)))
}

/// Who names no revision wants what is current; a revision, once it is there, is new enough.
pub fn currency(asked: Option<Revision>) -> Currency {
    if asked.is_some() { Currency::Seen } else { Currency::Current }
}

/// LIST, filtered and paged.
pub async fn list(server: &Arc<Server>, request: &Request) -> Result<Answer, Status> {
    let selection = Selection::of(request)?;
    let page = page(server, request, &selection).await?;
    let after = page.after.as_deref().unwrap_or("");
    let next = match page.more {
        true => token::write(request, Some(page.revision), after),
        false => String::new(),
    };
    let (items, unreadable) = items(server, request, page.records).await?;
    Ok(Answer::new(
        StatusCode::OK,
        Body::List(List {
            head: list_head(&request.kind),
            revision: page.revision.0,
            items,
            next,
            remaining: (page.more && selection.is_everything()).then_some(page.remaining as u64),
            headed_items: request.kind.manner.headed_items,
            unreadable,
        }),
    ))
}

/// The records that a list, or the delete of a collection, is about.
pub(crate) async fn page(
    server: &Server,
    request: &Request,
    selection: &Selection,
) -> Result<Page, Status> {
    let options = ListOptions::of(request)?;
    let mut page = start(server, request, &options).await?;
    page.fill(server, request, selection, options.limit).await?;
    Ok(page)
}

/// What is shown of the records of a page, and the places of those that cannot be.
async fn items(
    server: &Server,
    request: &Request,
    records: Vec<Arc<Record>>,
) -> Result<(Box<dyn Items>, Vec<String>), Status> {
    let (kind, head) = (&request.kind, head(&request.kind));
    let plain = |it: &Arc<Record>| {
        convert::is_stored(kind, it) && server.reader.unreadable.why(it).is_none()
    };
    if records.iter().all(plain) {
        return Ok((Box::new(Stock { head, records }), Vec::new()));
    }
    let (mut items, mut unreadable) = (Vec::with_capacity(records.len()), Vec::new());
    let shown = shared::faces(server, kind, &head, &records, |_| None).await;
    for (record, stored) in records.iter().zip(shown) {
        match stored {
            Ok(stored) => items.push(stored),
            // Whoever converts them did not.
            Err(status) if !status.is_storage_read() => return Err(status),
            // It stops no list of others.
            Err(status) => {
                unreadable.push(crate::read::unreadable::place(&record.key).to_owned());
                request.warn(status.message);
            }
        }
    }
    Ok((Box::new(items), unreadable))
}

/// Records that are shown as they are stored.
struct Stock {
    head: Arc<str>,
    records: Vec<Arc<Record>>,
}

impl Items for Stock {
    fn count(&self) -> usize {
        self.records.len()
    }

    fn get(&self, at: usize) -> Stored {
        let record = &self.records[at];
        Stored { head: self.head.clone(), revision: record.revision.0, body: record.body.clone() }
    }
}

/// A page while it is filled.
#[derive(Default)]
pub(crate) struct Page {
    at: Option<Revision>,
    after: Option<Arc<str>>,
    currency: Currency,
    revision: Revision,
    pub(crate) records: Vec<Arc<Record>>,
    more: bool,
    remaining: usize,
}

impl Page {
    /// Reads the store in chunks until the page is full or the records end. All chunks are of one snapshot.
    async fn fill(
        &mut self,
        server: &Server,
        request: &Request,
        selection: &Selection,
        limit: Option<usize>,
    ) -> Result<(), Status> {
        loop {
            let wanted = limit.map(|limit| match selection.is_everything() {
                true => limit - self.records.len(),
                false => CHUNK,
            });
            let listed = server
                .store
                .list(ListRequest {
                    scope: selection.scope(&request.kind, &request.resource.namespace),
                    facet: selection.facet(),
                    after: self.after.clone(),
                    limit: wanted,
                    at: self.at,
                    currency: self.currency,
                })
                .await
                .map_err(|error| self.lost(request, error))?;
            self.revision = listed.revision;
            self.remaining = listed.remaining;
            self.more = listed.remaining > 0;
            if limit.is_none() && selection.is_everything() {
                self.records = listed.records;
                return Ok(());
            }
            for record in listed.records {
                if limit.is_some_and(|limit| self.records.len() >= limit) {
                    self.more = true;
                    return Ok(());
                }
                self.after = Some(record.key.clone());
                if selection.matches(&record) {
                    self.records.push(record);
                }
            }
            let full = limit.is_none_or(|limit| self.records.len() >= limit);
            if full || !self.more {
                return Ok(());
            }
            self.at = Some(self.revision);
        }
    }

    /// What a failed read tells the client; one whose snapshot is gone is told how to go on without it.
    fn lost(&self, request: &Request, error: ReadError) -> Status {
        match (&error, &self.after) {
            (ReadError::Compacted { .. }, Some(after))
                if request.query.get("continue").is_some() =>
            {
                Status {
                    next: token::write(request, None, after),
                    ..Status::expired(SNAPSHOT_GONE)
                }
            }
            _ => read_error(error),
        }
    }
}

const SNAPSHOT_GONE: &str = "The provided continue parameter is too old to display a consistent list result. You can \
    start a new list without the continue parameter, or use the continue token in this response to retrieve the \
    remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were \
    created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// Where a list begins: at a snapshot, behind the page before.
async fn start(server: &Server, request: &Request, options: &ListOptions) -> Result<Page, Status> {
    let revision = options.revision;
    if let Some(token) = &options.token {
        if revision.is_some_and(|r| r.0 != 0) {
            let why = "specifying resource version is not allowed when using continue";
            return Err(Status::bad_request(why));
        }
        let (at, after) = token::read(request, token)?;
        // The page before may have come from a server that is ahead of this one.
        server.reader.reach(Currency::Current).await?;
        return Ok(Page { at, after, ..Page::default() });
    }
    let mut page = Page { currency: currency(revision), ..Page::default() };
    if let Some(revision) = revision.filter(|r| r.0 > 0) {
        wait_for(server, revision).await?;
        page.at = options.exact.then_some(revision);
    }
    Ok(page)
}

/// Waits until a revision is there; one that does not come in time is refused as too large.
pub async fn wait_for(server: &Server, revision: Revision) -> Result<(), Status> {
    let current = server.store.current();
    if revision <= current {
        return Ok(());
    }
    // Who waits keeps the place of a read; when many do, the next one is told at once.
    let waiting = server.limits.future();
    let wait = async {
        let _waiting = waiting.ok()?;
        server.world.within(FUTURE_WAIT, server.store.reach(Currency::AtLeast(revision))).await
    };
    match wait.await {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(read_error(error)),
        None => {
            let text =
                format!("Too large resource version: {}, current: {}", revision.0, current.0);
            let message = format!("Timeout: {text}");
            let causes = json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]);
            Err(Status {
                details: Some(json!({"causes": causes, "retryAfterSeconds": 1})),
                ..Status::timeout(message)
            })
        }
    }
}

/// What a failed read tells the client.
pub fn read_error(error: ReadError) -> Status {
    match error {
        ReadError::Compacted { asked, oldest } => Status::expired(format!(
            "The resourceVersion for the provided list is too old. ({} < {})",
            asked.0, oldest.0
        )),
        ReadError::Future { asked, current } => {
            let text =
                format!("Timeout: Too large resource version: {}, current: {}", asked.0, current.0);
            Status::timeout(text)
        }
        ReadError::Stopped(why) => Status::internal(why),
    }
}

/// `"kind":"Pod","apiVersion":"v1",`
pub fn head(kind: &Kind) -> Arc<str> {
    type_head(&kind.api_version(), &kind.kind)
}

/// `"kind":"PodList","apiVersion":"v1",`
pub fn list_head(kind: &Kind) -> Arc<str> {
    type_head(&kind.api_version(), &kind.list_kind)
}

fn type_head(api_version: &str, kind: &str) -> Arc<str> {
    format!("\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",").into()
}

#[cfg(test)]
mod tests;
