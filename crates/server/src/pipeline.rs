//! The pipeline: every request goes through these stages, in this order, whoever sends it.
//!
//! authenticate, impersonate, find the flow, authorize, resolve the kind, take in the body, wait for seats, then one
//! bracket (read, write, delete, connect, answer), then encode. Nothing of a body is read before it is known who sends
//! it and that they may. This file is the table of contents; each stage is a file of its own.

use crate::Server;
use crate::aggregate::{Asker, Registered, forward};
use crate::audit::Trail;
use crate::authorize::Attributes;
use crate::fairness::{Asked, Held, Schema};
use crate::identity::impersonate::{Acting, impersonate};
use crate::render::accept::{Accept, Offer};
use crate::request::codec::Incoming;
use crate::request::url::{self, Query, RequestInfo, Target};
use crate::request::{Request, Warnings};
use crate::rim::requests::Labels;
use futures_util::StreamExt;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, StatusCode};
use skiff_api::Status;
use skiff_api::kind::{Backend, Does, Kind, Subresource, Verb};
use skiff_api::view::Resource;
use skiff_api::wire::{
    Answer, Body, Call, Items, List, Payload, Peer, Rendered, Sending, Stored, User,
};
use std::sync::Arc;
use std::time::Duration;

/// What a request to another server may take that names no time of its own.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// Clients ask all groups for their discovery, one after the other.
const DISCOVERY_TIME: Duration = Duration::from_secs(5);

/// What a call is refused with, and what its sender is warned of all the same.
pub struct Refused {
    pub status: Status,
    pub warnings: Warnings,
}

impl From<Status> for Refused {
    fn from(status: Status) -> Refused {
        Refused { status, warnings: Warnings::default() }
    }
}

/// The stages of one call.
pub async fn run(
    server: &Arc<Server>,
    call: Call,
    trail: &mut Trail,
    schema: &mut Option<Arc<Schema>>,
) -> Result<Answer, Refused> {
    let query = Query::parse(&call.query);
    match url::parse(&call.path) {
        Target::Path(path) => {
            let asked = Attributes::of_path(call.method.as_str(), &path);
            let caller =
                server.authenticator.authenticate(&call.peer, &call.headers, &call.path).await;
            trail.open(&call, caller.as_deref().ok(), &asked);
            let user =
                enter(server, caller, &call.headers, &asked, (&mut *trail, &mut *schema)).await?;
            let what = Asked::of(&user, &asked, &query, (&call.path, ""));
            let seat = match server.fairness.enter(schema, what, None).await {
                Ok(seat) => seat,
                Err(answer) => return Ok(*answer),
            };
            if let Some(to) = elsewhere(server, &path) {
                drop(seat);
                let asker = Asker { user: &user, within: Some(DISCOVERY_TIME) };
                return Ok(Box::pin(forward(server, &to, asker, call)).await?);
            }
            crate::registry::custom::refresh(server);
            let answer = crate::paths::answer(server, &call, &path, &query).map_err(Refused::from);
            count(server, Labels::of_path(&path), code(&answer));
            drop(seat);
            answer
        }
        Target::Resource(resource) => {
            run_resource(server, query, resource, call, trail, schema).await
        }
    }
}

/// As whom the caller is served, to which flow that belongs, and that they may do what they ask.
async fn enter(
    server: &Server,
    caller: Result<Arc<User>, Status>,
    headers: &HeaderMap,
    asked: &Attributes,
    (trail, schema): (&mut Trail, &mut Option<Arc<Schema>>),
) -> Result<Arc<User>, Status> {
    trail.received().await?;
    let notes = trail.notes();
    let Acting { user, constraint } =
        impersonate(&server.authorizer, caller?, headers, asked).await?;
    if let Some(constraint) = constraint {
        notes.acts_as(&user, constraint);
    }
    *schema = server.fairness.classify(&user, asked);
    let decision = server.authorizer.decide(&user, asked).await;
    notes.decided(&decision);
    decision.settle(&user, asked)?;
    Ok(user)
}

async fn run_resource(
    server: &Arc<Server>,
    query: Query,
    resource: RequestInfo,
    mut call: Call,
    trail: &mut Trail,
    schema: &mut Option<Arc<Schema>>,
) -> Result<Answer, Refused> {
    let verb = url::verb(&call.method, &resource, query.flag("watch"));
    let asked = Attributes::of(verb.map_or("", Verb::name), &resource, &query);
    let caller = server.authenticator.authenticate(&call.peer, &call.headers, &call.path).await;
    trail.open(&call, caller.as_deref().ok(), &asked);
    let user = enter(server, caller, &call.headers, &asked, (&mut *trail, &mut *schema)).await?;
    if let Some(to) = server.aggregator.of(server, &resource.group, &resource.version) {
        return Box::pin(forwarded(server, &to, (&user, &asked, &query), call, schema)).await;
    }
    let verb = verb.ok_or_else(Status::method_not_allowed)?;
    let timeout = timeout(verb, &query)?;
    let (registry, kind) =
        crate::registry::custom::find(server, &resource.group, &resource.version, &resource.plural);
    let Some(kind) = kind.filter(|kind| kind.namespaced() || !resource.lies_in_a_namespace())
    else {
        return Ok(crate::registry::discovery::nothing(server, &resource.group)?);
    };
    check_place(verb, &resource, &kind)?;
    let header =
        |name| call.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or("");
    let labels = Labels::of(verb, header(CONTENT_TYPE), &resource, &kind, &query);
    let offer = if kind.custom.is_some() { Offer::Custom } else { Offer::BuiltIn };
    let accept = Accept::parse(header(ACCEPT), verb, offer)
        .inspect_err(|status| count(server, labels.clone(), status.code))?;
    let payload =
        match std::mem::replace(&mut call.payload, Sending::Here(Payload::None)).arrived().await {
            Ok(payload) => payload,
            Err(answer) => {
                count(server, labels, answer.status.as_u16());
                return Ok(*answer);
            }
        };
    // A body on its way has room of its own, and takes no seat of those that run.
    let what = Asked::of(&user, &asked, &query, (&call.path, &resource.version));
    let seat = match server.fairness.enter(schema, what, timeout).await {
        Ok(seat) => seat,
        Err(answer) => return Ok(*answer),
    };
    let connects = kind.subresource(&resource.subresource).is_some_and(Subresource::connects);
    let lasts = verb == Verb::Watch || connects;
    let holds = lasts.then(|| lasting(server, &asked, &labels)).transpose()?;
    let request = Request {
        verb,
        accept,
        content_type: header(CONTENT_TYPE).to_owned(),
        user_agent: header(USER_AGENT).to_owned(),
        payload,
        warnings: Warnings::default(),
        notes: trail.notes().clone(),
        user,
        resource,
        kind,
        registry,
        query,
        seat: Held::new(seat),
    };
    let answer = answer(server, request, timeout, call).await;
    count(server, labels, code(&answer));
    match holds {
        Some(holds) => answer.map(|answer| held(answer, holds)),
        None => answer,
    }
}

/// Who serves a path without a resource, where it is not this server: the discovery of a version of a group, and its
/// OpenAPI document.
fn elsewhere(server: &Server, path: &str) -> Option<Arc<Registered>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts[..] {
        ["apis", group, version] | ["openapi", "v3", "apis", group, version] => {
            server.aggregator.of(server, group, version)
        }
        _ => None,
    }
}

/// What another server answers. A request waits for its turn as any does; then its seat is free for others, as all that
/// is left to do is over there, where it has a place among its like. Who calls
/// this keeps it in a box, so that it takes no room in the futures of all who stay here.
async fn forwarded(
    server: &Arc<Server>,
    to: &Registered,
    (user, asked, query): (&User, &Attributes, &Query),
    call: Call,
    schema: &Option<Arc<Schema>>,
) -> Result<Answer, Refused> {
    let lasts = asked.verb == "watch" || schema.is_none();
    let timeout = timeout(Verb::Get, query)?;
    let what = Asked::of(user, asked, query, (&call.path, &to.version));
    let within = (!lasts).then(|| timeout.unwrap_or(REQUEST_TIME).min(REQUEST_TIME));
    match server.fairness.enter(schema, what, within).await {
        Ok(seat) => drop(seat),
        Err(answer) => return Ok(*answer),
    }
    let place = if lasts { Some(server.limits.enter()?) } else { None };
    let answer = forward(server, to, Asker { user, within }, call).await?;
    Ok(match place {
        Some(place) => held(answer, place),
        None => answer,
    })
}

/// What a request that runs long holds to its end: a place among its like, one in the counts, and a watch one in the
/// cost of writes.
fn lasting(
    server: &Server,
    asked: &Attributes,
    labels: &Option<Labels>,
) -> Result<impl Send + Sync + use<>, Status> {
    let watching = (asked.verb == "watch").then(|| server.fairness.watching(asked));
    let counted = labels.clone().map(|labels| server.requests.run(labels));
    Ok((server.limits.enter()?, watching, counted))
}

/// What the request's own stages answer, from here on: one of a served kind.
async fn answer(
    server: &Arc<Server>,
    request: Request,
    timeout: Option<Duration>,
    call: Call,
) -> Result<Answer, Refused> {
    if let Some(told) = &request.kind.deprecation
        && request.kind.verbs.contains(&request.verb)
    {
        request.warn(told);
        request.notes.annotate("k8s.io/deprecated", "true");
    }
    let request = match (request.kind.backend, request.verb) {
        (Backend::Entry { of, name }, Verb::Create) => of_entry(request, of, name)?,
        _ => request,
    };
    let is_sent = matches!(call.peer, Peer::Remote { .. });
    let answer = match timeout {
        Some(most) => match server.world.within(most, bracket(server, &request, call)).await {
            Some(answer) => answer,
            None => return Ok(too_late()),
        },
        None => bracket(server, &request, call).await,
    };
    let answer = match answer {
        Ok(answer) => crate::render::encode(server, &request, answer).await,
        Err(status) => Err(status),
    };
    match answer {
        Ok(mut answer) => {
            request.warnings.write(&mut answer.headers);
            // What a large list becomes on the wire is made piece by piece, as it is read: that is work as well. In the
            // process nothing is made of it.
            Ok(match request.seat.take().filter(|seat| is_sent && seat.is_wide()) {
                Some(seat) => held(answer, server.fairness.sending(seat)),
                None => answer,
            })
        }
        Err(status) => Err(Refused { status, warnings: request.warnings }),
    }
}

fn code(answer: &Result<Answer, Refused>) -> u16 {
    answer.as_ref().map_or_else(|refused| refused.status.code, |answer| answer.status.as_u16())
}

fn count(server: &Server, labels: Option<Labels>, code: u16) {
    if let Some(labels) = labels {
        server.requests.count(labels, code);
    }
}

/// An answer that is made while it is sent keeps what it needs until it is read to its end, or dropped.
pub fn held(mut answer: Answer, place: impl Send + Sync + 'static) -> Answer {
    let place = Arc::new(place);
    answer.body = match answer.body {
        Body::Watch(frames) => Body::Watch(Box::pin(frames.inspect(move |_| _ = &place))),
        Body::Rendered(Rendered { size, pieces }) => {
            let pieces = Box::pin(pieces.inspect(move |_| _ = &place));
            Body::Rendered(Rendered { size, pieces })
        }
        Body::Stream(pieces) => Body::Stream(Box::pin(pieces.inspect(move |_| _ = &place))),
        Body::Upgraded(run) => Body::Upgraded(Box::pin(async move {
            run.await;
            drop(place);
        })),
        Body::List(list) => {
            let items = Box::new(HeldItems { items: list.items, _held: place });
            Body::List(List { items, ..list })
        }
        ended @ (Body::Bytes(_) | Body::Object(_)) => ended,
    };
    answer
}

/// The items of a list, and what it holds until they are dropped.
struct HeldItems<T> {
    items: Box<dyn Items>,
    _held: Arc<T>,
}

impl<T: Send + Sync> Items for HeldItems<T> {
    fn count(&self) -> usize {
        self.items.count()
    }

    fn get(&self, at: usize) -> Stored {
        self.items.get(at)
    }
}

/// A path below the collection serves other methods than the collection itself, and what lies in
/// namespaces can only be listed and watched across them.
fn check_place(verb: Verb, resource: &RequestInfo, kind: &Kind) -> Result<(), Status> {
    let named = !resource.name.is_empty();
    let across = kind.namespaced() && resource.namespace.is_empty();
    match verb {
        _ if named && across => return Err(Status::no_such_path()),
        // What is answered at once has no name to be found by.
        _ if named && matches!(kind.backend, Backend::Answered(_)) => {
            return Err(Status::no_such_path());
        }
        Verb::List | Verb::Watch => return Ok(()),
        Verb::Create if named && resource.subresource.is_empty() => {
            return Err(Status::method_not_allowed());
        }
        Verb::Update | Verb::Patch if !named => return Err(Status::method_not_allowed()),
        _ if across => return Err(Status::method_not_allowed()),
        _ => {}
    }
    let wrong = skiff_api::names::segment(&resource.name);
    if named && !wrong.is_empty() {
        let (name, why) = (&resource.name, wrong.join(";"));
        return Err(Status::bad_request(format!("Name parameter invalid: {name:?}: {why}")));
    }
    Ok(())
}

/// What is created is meant for this entry of the object that it names.
fn of_entry(request: Request, of: Resource, entry: &str) -> Result<Request, Status> {
    let Incoming::Object(body) = Incoming::read(&request)? else {
        return Err(Status::method_not_allowed());
    };
    let kind = request.registry.find(of.group, of.version, of.plural).cloned();
    let kind = kind.ok_or_else(Status::no_such_path)?;
    let resource = RequestInfo {
        group: of.group.into(),
        version: of.version.into(),
        plural: of.plural.into(),
        name: body.name().into(),
        subresource: entry.into(),
        ..request.resource.clone()
    };
    // The entry reads the body, and warns of it, itself.
    Ok(Request { kind, resource, warnings: Warnings::default(), ..request })
}

/// `timeout` bounds a request that ends soon.
fn timeout(verb: Verb, query: &Query) -> Result<Option<Duration>, Status> {
    let given = query.get("timeout").filter(|_| verb != Verb::Watch);
    let parsed = given.map(skiff_api::duration::parse).transpose().map_err(|why| {
        Status::bad_request(format!("invalid timeout specified in the request URL - {why}"))
    })?;
    let nanos = parsed.and_then(|nanos| u64::try_from(nanos).ok()).filter(|nanos| *nanos > 0);
    Ok(nanos.map(Duration::from_nanos))
}

/// The answer to a request whose time is up; upstream sends it as text, without a kind.
pub fn too_late() -> Answer {
    let body = "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"Timeout: request did not complete \
                within the allotted timeout\",\"reason\":\"Timeout\",\"details\":{},\"code\":504}\n";
    Answer::text(StatusCode::GATEWAY_TIMEOUT, body)
}

/// The bracket that a verb leads to: the one place where verbs part. All but what is asked for most, to get and to
/// list, is in a box: else each request would be given, and move about, as much room as the widest of them needs.
async fn bracket(server: &Arc<Server>, request: &Request, call: Call) -> Result<Answer, Status> {
    let kind = &request.kind;
    if !request.resource.subresource.is_empty() {
        let entry = kind.subresource(&request.resource.subresource);
        let entry = entry.ok_or_else(|| match kind.manner.entry_not_found {
            true => request.not_found(),
            false => Status::no_such_path(),
        })?;
        return match &entry.does {
            _ if !entry.verbs.contains(&request.verb) => Err(match kind.is_custom() {
                true => Status::no_verb(request.verb.name(), kind.about()),
                false => Status::method_not_allowed(),
            }),
            Does::Connect(to) => {
                Box::pin(crate::connect::connect(server, request, *to, call)).await
            }
            Does::Act(act) => Box::pin(crate::answered::act(server, request, *act)).await,
            Does::Scale(_) | Does::Part { .. } => match request.verb {
                Verb::Get => crate::read::get(server, request).await,
                _ => Box::pin(crate::write::write(server, request)).await,
            },
        };
    }
    if !kind.verbs.contains(&request.verb) {
        return Err(match request.verb {
            Verb::Watch if kind.verbs.contains(&Verb::List) => {
                Status::no_verb("watch", kind.about())
            }
            _ => Status::method_not_allowed(),
        });
    }
    if let Backend::Answered(review) = kind.backend {
        return Box::pin(crate::answered::create(server, request, review)).await;
    }
    if kind.backend == Backend::Told {
        return Box::pin(crate::answered::told::read(server, request)).await;
    }
    match request.verb {
        Verb::Get => crate::read::get(server, request).await,
        Verb::List => crate::read::list(server, request).await,
        Verb::Watch => Box::pin(crate::read::watch::watch(server, request)).await,
        Verb::Create | Verb::Update | Verb::Patch => {
            Box::pin(crate::write::write(server, request)).await
        }
        Verb::Delete => Box::pin(crate::write::delete::delete(server, request)).await,
        Verb::DeleteCollection => {
            Box::pin(crate::write::delete::delete_collection(server, request)).await
        }
    }
}
