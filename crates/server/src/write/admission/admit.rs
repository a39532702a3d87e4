//! What admission is asked: who wants to do what to which object, and what plugins may ask in turn.

use crate::Server;
use crate::audit::Notes;
use crate::read::reader::Reader;
use crate::request::url::Query;
use crate::request::{Request, Warnings};
use crate::write::admission::chain::Chain;
use skiff_api::Status;
use skiff_api::kind::{Kind, Verb};
use skiff_api::object::{Object, at};
use skiff_api::status::About;
use skiff_api::wire::User;
use skiff_base::Lock;
use skiff_json::Value;
use skiff_store::Currency;
use std::borrow::Cow;

/// What is done to an object (API reference: AdmissionReview).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Of an object (an apply may, too), or of an entry that acts: a binding, an eviction, a token.
    Create,
    Update,
    Delete,
    /// A stream to where a pod runs.
    Connect,
}

/// One question to all plugins.
pub struct Admit<'a> {
    pub user: &'a User,
    /// The kind below which the request lies, in the version that was asked for.
    pub kind: &'a Kind,
    /// Group, version and kind of what the client sent: those of `kind`, or of a Scale, an Eviction, PodExecOptions.
    pub asked: (&'a str, &'a str, &'a str),
    pub subresource: &'a str,
    pub namespace: &'a str,
    /// The object's name, or what its name will begin with.
    pub name: Cow<'a, str>,
    pub operation: Operation,
    /// Options of the operation as the query names them.
    pub options: &'a Query,
    /// The options of a delete, as they are understood.
    pub delete_options: Option<&'a Value>,
    /// It is one of many that a request selects.
    pub of_many: bool,
    /// What is there: none on create and connect.
    pub old: Option<&'a Object>,
    pub dry_run: bool,
    /// The mutating chain runs a second time, for what somebody has changed since.
    pub again: bool,
    /// What mutating policies leave for that.
    pub policies: Lock<Chain>,
    /// What webhooks leave for that.
    pub chain: Lock<Chain>,
    pub warnings: &'a Warnings,
    pub notes: &'a Notes,
    pub reader: &'a Reader,
}

impl<'a> Admit<'a> {
    pub fn of(server: &'a Server, request: &'a Request, operation: Operation) -> Admit<'a> {
        let (kind, subresource) = (&*request.kind, &*request.resource.subresource);
        let body = kind.subresource(subresource).and_then(|entry| entry.body);
        Admit {
            user: &request.user,
            kind,
            asked: body.unwrap_or((&kind.group, &kind.version, &kind.kind)),
            subresource,
            namespace: &request.resource.namespace,
            name: Cow::Borrowed(&request.resource.name),
            operation,
            options: &request.query,
            delete_options: None,
            of_many: request.verb == Verb::DeleteCollection,
            old: None,
            dry_run: request.dry_run(),
            again: false,
            policies: Lock::default(),
            chain: Lock::default(),
            warnings: &request.warnings,
            notes: &request.notes,
            reader: &server.reader,
        }
    }

    /// Name and namespace of what is asked about: a namespace lies in itself, a generated name is not there before it
    /// is drawn, and of many nobody is named.
    pub fn target(&self, new: Option<&Value>) -> (String, String) {
        let of_new = |path| new.and_then(|new| at(new, path)).and_then(Value::as_str);
        let name = match self.operation {
            Operation::Create if self.subresource.is_empty() => {
                of_new("metadata.name").unwrap_or("")
            }
            Operation::Delete if self.of_many => "",
            _ => &self.name,
        };
        let of_namespace = self.kind.group.is_empty() && self.kind.plural == "namespaces";
        let namespace = if of_namespace { name } else { self.namespace };
        (name.to_owned(), namespace.to_owned())
    }

    /// Tells the user what is allowed all the same.
    pub fn warn(&self, text: impl Into<String>) {
        self.warnings.add(text.into());
    }

    /// Tells the audit log something under this key, if there is one; what was told first stays.
    pub fn annotate(&self, key: &str, value: impl Into<String>) {
        self.notes.annotate(key, value);
    }

    /// Whether this is about the object itself, of this kind.
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.kind.group == group && self.kind.plural == plural && self.subresource.is_empty()
    }

    /// Whether this is about this entry of an object of this kind.
    pub fn is_part(&self, group: &str, plural: &str, entry: &str) -> bool {
        self.kind.group == group && self.kind.plural == plural && self.subresource == entry
    }

    pub fn creates(&self) -> bool {
        self.operation == Operation::Create
    }

    /// An object of a built-in kind (group and plural), as it is seen here; that there is none is asked of the journal.
    pub async fn read(
        &self,
        of: (&str, &str),
        namespace: &str,
        name: &str,
    ) -> Result<Option<Object>, Status> {
        match self.reader.find(of, namespace, name, Currency::Seen).await? {
            Some(seen) => Ok(Some(seen)),
            None => self.reader.find(of, namespace, name, Currency::Current).await,
        }
    }

    /// The same, of one that must be there.
    pub async fn find(
        &self,
        of: (&str, &str),
        namespace: &str,
        name: &str,
    ) -> Result<Object, Status> {
        let about = About { group: of.0, resource: of.1 };
        self.read(of, namespace, name).await?.ok_or_else(|| Status::not_found(about, name))
    }

    /// A refusal in the form that all plugins share.
    pub fn forbid(&self, why: &str) -> Status {
        Status::forbidden(self.kind.about(), &self.name, why)
    }
}
