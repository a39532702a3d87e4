//! Told: kinds of which nothing is stored: what is read is what the process says of its parts when it is asked.

use crate::Server;
use crate::read::select::Selection;
use crate::read::{convert, facets, head, list_head};
use crate::request::Request;
use http::StatusCode;
use skiff_api::Status;
use skiff_api::kind::Verb;
use skiff_api::object::Object;
use skiff_api::wire::{Answer, Body, List, Stored};
use skiff_kinds::core::componentstatus;
use skiff_store::{Record, Revision};

/// A part of the control plane under upstream's name, with what is wrong with it.
pub struct Component {
    pub name: &'static str,
    pub wrong: Option<String>,
}

/// How the components are now.
pub type Components = Box<dyn Fn() -> Vec<Component> + Send + Sync>;

/// A GET or a LIST.
pub async fn read(server: &Server, request: &Request) -> Result<Answer, Status> {
    let kind = &*request.kind;
    let components = (server.components)();
    let objects = components.iter().map(|it| componentstatus::of(it.name, it.wrong.as_deref()));
    if request.verb == Verb::Get {
        let found = objects.into_iter().find(|it| it.name() == request.resource.name);
        let found = found.ok_or_else(|| {
            // Upstream names the singular here.
            let about = skiff_api::status::About { group: "", resource: &kind.singular };
            Status::not_found(about, &request.resource.name)
        })?;
        return Ok(Answer::new(
            StatusCode::OK,
            Body::Object(shown(server, request, &found).await?),
        ));
    }
    let selection = Selection::of(request)?;
    let mut items = Vec::new();
    for object in objects {
        let record = Record {
            key: kind.key("", object.name()).into(),
            revision: Revision::default(),
            body: Default::default(),
            generation: kind.generation,
            facets: facets::of(kind, &object),
        };
        if selection.matches(&record) {
            items.push(shown(server, request, &object).await?);
        }
    }
    Ok(Answer::new(
        StatusCode::OK,
        Body::List(List {
            head: list_head(kind),
            revision: 0,
            items: Box::new(items),
            next: String::new(),
            remaining: None,
            headed_items: request.kind.manner.headed_items,
            unreadable: Vec::new(),
        }),
    ))
}

async fn shown(server: &Server, request: &Request, object: &Object) -> Result<Stored, Status> {
    let body = convert::body(&server.reader, &request.kind, object).await?;
    Ok(Stored { head: head(&request.kind), revision: 0, body })
}
