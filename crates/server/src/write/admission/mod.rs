//! Admission: what needs more than the object itself to decide. Plugins in one ordered list; mutating ones first.
//!
//! A plugin is a table of functions over the attributes of a request. Each may run several times for one request
//! (the bracket runs again on a conflict), so none takes anything: `reserve` only adds writes to the transaction.

mod default_toleration_seconds;
mod namespace_lifecycle;
mod node_restriction;
pub mod pod_security;
mod priority;
mod runtime_class;
pub mod service;
mod service_account;

use crate::Server;
use crate::request::Request;
use skiff_api::Status;
use skiff_api::kind::{Kind, Verb};
use skiff_api::object::Object;
use skiff_api::status::About;
use skiff_api::wire::User;
use skiff_store::Write;

/// The plugins, in the order in which they run.
const PLUGINS: &[Plugin] = &[
    namespace_lifecycle::PLUGIN,
    service_account::PLUGIN,
    node_restriction::PLUGIN,
    pod_security::PLUGIN,
    priority::PLUGIN,
    runtime_class::PLUGIN,
    default_toleration_seconds::PLUGIN,
    service::PLUGIN,
    crate::authorize::escalate::PLUGIN,
];

/// What a plugin does; the parts that it lacks do nothing.
pub struct Plugin {
    /// Upstream's name of it, as users know it from `--enable-admission-plugins`.
    pub name: &'static str,
    /// Changes a new or changed object before it is validated.
    pub mutate: fn(&Server, &Attributes, &mut Object, Option<&Object>) -> Result<(), Status>,
    /// Accepts or refuses a valid object.
    pub validate: fn(&Server, &Attributes, &Object, Option<&Object>) -> Result<(), Status>,
    /// Accepts or refuses a delete.
    pub validate_delete: fn(&Server, &Attributes, &Object) -> Result<(), Status>,
    /// Adds what the write takes (addresses, ports) to its transaction.
    pub reserve:
        fn(&Server, &Attributes, &Object, Option<&Object>, &mut Vec<Write>) -> Result<(), Status>,
    /// Adds what goes with a removed object to the transaction of its removal.
    pub release: fn(&Server, &Kind, &Object, &mut Vec<Write>),
}

impl Plugin {
    pub const NONE: Plugin = Plugin {
        name: "",
        mutate: |_, _, _, _| Ok(()),
        validate: |_, _, _, _| Ok(()),
        validate_delete: |_, _, _| Ok(()),
        reserve: |_, _, _, _, _| Ok(()),
        release: |_, _, _, _| {},
    };
}

/// What is asked for, by whom.
pub struct Attributes<'a> {
    pub user: &'a User,
    pub kind: &'a Kind,
    pub verb: Verb,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: String,
    /// The write makes a new object (an apply may, too).
    pub creating: bool,
    pub dry_run: bool,
    /// Whose warnings reach the user.
    pub told: Option<&'a Request>,
}

impl<'a> Attributes<'a> {
    pub fn of(request: &'a Request, creating: bool, name: &str) -> Attributes<'a> {
        Attributes {
            user: &request.user,
            kind: &request.kind,
            verb: request.verb,
            subresource: &request.resource.subresource,
            namespace: &request.resource.namespace,
            name: name.to_owned(),
            creating,
            dry_run: request.dry_run(),
            told: Some(request),
        }
    }

    /// Tells the user what is allowed all the same.
    pub fn warn(&self, text: impl Into<String>) {
        if let Some(request) = self.told {
            request.warn(text);
        }
    }

    /// Whether this is a write of the object itself, of this kind.
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.kind.group == group && self.kind.plural == plural && self.subresource.is_empty()
    }

    /// A refusal in the form that all plugins share.
    pub fn forbid(&self, why: &str) -> Status {
        Status::forbidden(self.kind.about(), &self.name, why)
    }
}

pub async fn mutate(
    server: &Server,
    attributes: &Attributes<'_>,
    new: &mut Object,
    old: Option<&Object>,
) -> Result<(), Status> {
    PLUGINS.iter().try_for_each(|plugin| (plugin.mutate)(server, attributes, new, old))
}

pub async fn validate(
    server: &Server,
    attributes: &Attributes<'_>,
    new: &Object,
    old: Option<&Object>,
) -> Result<(), Status> {
    PLUGINS.iter().try_for_each(|plugin| (plugin.validate)(server, attributes, new, old))
}

pub async fn validate_delete(
    server: &Server,
    attributes: &Attributes<'_>,
    old: &Object,
) -> Result<(), Status> {
    PLUGINS.iter().try_for_each(|plugin| (plugin.validate_delete)(server, attributes, old))
}

pub fn reserve(
    server: &Server,
    attributes: &Attributes<'_>,
    new: &Object,
    old: Option<&Object>,
    writes: &mut Vec<Write>,
) -> Result<(), Status> {
    PLUGINS.iter().try_for_each(|plugin| (plugin.reserve)(server, attributes, new, old, writes))
}

pub fn release(server: &Server, kind: &Kind, gone: &Object, writes: &mut Vec<Write>) {
    PLUGINS.iter().for_each(|plugin| (plugin.release)(server, kind, gone, writes));
}

/// An object of the core group, from the store: what plugins look up by name.
pub fn find(server: &Server, plural: &str, namespace: &str, name: &str) -> Result<Object, Status> {
    let about = About { group: "", resource: plural };
    let record = server.store.get(&format!("{plural}/{namespace}/{name}"));
    let record = record.ok_or_else(|| Status::not_found(about, name))?;
    serde_json::from_slice(&record.body).map(Object::new).map_err(Status::internal)
}
