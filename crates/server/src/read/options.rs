//! What a list, a watch or the delete of a collection asks for beside its selectors: read and judged as a whole, before
//! anything is looked up (API reference: ListOptions).

use crate::request::Request;
use skiff_api::Status;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::Verb;
use skiff_api::status::About;
use skiff_store::Revision;
use std::num::IntErrorKind;

/// The options of a request that concerns many objects.
#[derive(Debug, PartialEq)]
pub struct ListOptions {
    /// At most so many objects.
    pub limit: Option<usize>,
    /// So long does a watch last, in seconds.
    pub timeout_s: Option<u64>,
    /// 0 is any.
    pub revision: Option<Revision>,
    /// Of exactly that revision, and not of a later one.
    pub exact: bool,
    /// Where the page before ended.
    pub token: Option<String>,
    /// Whether a watch tells first what is there: one of any revision does, unless it says otherwise.
    pub initial_events: Option<bool>,
}

impl ListOptions {
    /// Numbers that are none come first, then what does not go together, then the revision.
    pub fn of(request: &Request) -> Result<ListOptions, Status> {
        let limit = number(request, "limit")?.and_then(|it| usize::try_from(it).ok());
        let timeout_s = number(request, "timeoutSeconds")?.and_then(|it| u64::try_from(it).ok());
        let initial_events = request.query.all("sendInitialEvents").next();
        let mut initial_events = initial_events.map(|it| !matches!(it, "false" | "0"));
        let mut matching = request.query.get("resourceVersionMatch");
        let from_any = matches!(request.query.get("resourceVersion"), None | Some("0"));
        if request.verb == Verb::Watch && from_any && initial_events.is_none() && matching.is_none()
        {
            (initial_events, matching) = (Some(true), Some("NotOlderThan"));
        }
        check(request, matching, initial_events)?;
        let revision = revision(request)?;
        let limit = limit.filter(|it| *it > 0);
        let bare = matching.is_none() && limit.is_some();
        Ok(ListOptions {
            limit,
            timeout_s: timeout_s.filter(|it| *it > 0),
            revision,
            exact: matching == Some("Exact") || bare,
            token: request.query.get("continue").map(str::to_owned),
            initial_events,
        })
    }
}

/// What does not go together.
fn check(
    request: &Request,
    matching: Option<&str>,
    initial_events: Option<bool>,
) -> Result<(), Status> {
    let mut errors = Errors::new();
    let path = Path::new("resourceVersionMatch");
    let is_continued = request.query.get("continue").is_some();
    if request.verb == Verb::Watch {
        if initial_events.is_some() && matching != Some("NotOlderThan") {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.forbidden(&path, why);
        }
        if let Some(matching) = matching {
            check_watch(matching, initial_events, &mut errors);
        }
    } else {
        if let Some(matching) = matching {
            check_list(request.query.get("resourceVersion"), matching, &mut errors);
        }
        if initial_events.is_some() {
            let path = Path::new("sendInitialEvents");
            errors.forbidden(&path, "sendInitialEvents is forbidden for list");
        }
    }
    if is_continued && matching.is_some() {
        errors.forbidden(&path, "resourceVersionMatch is forbidden when continue is provided");
    }
    if errors.is_empty() {
        return Ok(());
    }
    let about = About { group: "meta.k8s.io", resource: "ListOptions" };
    Err(Status::invalid(about, "", &errors))
}

fn check_watch(matching: &str, initial_events: Option<bool>, errors: &mut Errors) {
    let path = Path::new("resourceVersionMatch");
    if initial_events.is_none() {
        let why =
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        errors.forbidden(&path, why);
    }
    if matching != "NotOlderThan" {
        errors.not_supported(&path, matching, &["NotOlderThan"]);
    }
}

fn check_list(revision: Option<&str>, matching: &str, errors: &mut Errors) {
    let path = Path::new("resourceVersionMatch");
    if revision.is_none() {
        let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
        errors.forbidden(&path, why);
    }
    match matching {
        "Exact" if revision == Some("0") => {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.forbidden(&path, why);
        }
        "Exact" | "NotOlderThan" => {}
        other => errors.not_supported(&path, other, &["Exact", "NotOlderThan", ""]),
    }
}

/// A number in the query, in Go's words when it is none. An empty one is none.
fn number(request: &Request, key: &str) -> Result<Option<i64>, Status> {
    let Some(text) = request.query.all(key).next() else { return Ok(None) };
    text.parse().map(Some).map_err(|error: std::num::ParseIntError| {
        let what = wrong(error.kind());
        Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: {what}"))
    })
}

fn wrong(kind: &IntErrorKind) -> &'static str {
    match kind {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    }
}

/// The revision in the query; 0 is "any".
pub fn revision(request: &Request) -> Result<Option<Revision>, Status> {
    let Some(text) = request.query.get("resourceVersion") else { return Ok(None) };
    text.parse().map(|number| Some(Revision(number))).map_err(|error: std::num::ParseIntError| {
        let mut errors = Errors::new();
        let why = format!("strconv.ParseUint: parsing {text:?}: {}", wrong(error.kind()));
        errors.invalid(&Path::new("resourceVersion"), text, &why);
        // Upstream gives a list's bad revision a code, and a get's and a watch's none.
        match request.verb {
            Verb::List | Verb::DeleteCollection => {
                Status::bad_request(format!("invalid resource version: {}", errors.text()))
            }
            _ => Status::new(500, "", errors.text()),
        }
    })
}
