//! Kind: everything that Skiff knows about one resource of the API, built in or custom, as one value.
//!
//! Routes, discovery, OpenAPI, columns, RBAC names and store keys are read off kinds. A Kind is a *face* of a stored
//! resource: two faces with the same `storage` (Event in two groups, the versions of a custom resource) share objects.

use crate::errors::Errors;
use crate::jsonpath::JsonPath;
use crate::object::Object;
use crate::schema::fault::Fault;
use crate::schema::{Node, Ref, Struct};
use crate::table::Shown;
use crate::view::Resource;
use skiff_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// A name: a constant of a built-in kind, or owned by a custom one.
pub type Name = Cow<'static, str>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    Namespaced,
}

/// The verbs of the API, as discovery and RBAC name them (the connect verbs are `Get` and `Create` there).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub const ALL: &'static [Verb] = &[
        Verb::Create,
        Verb::Delete,
        Verb::DeleteCollection,
        Verb::Get,
        Verb::List,
        Verb::Patch,
        Verb::Update,
        Verb::Watch,
    ];
    /// All verbs, in the order in which discovery shows those of custom resources.
    pub const ALL_DEFINED: &'static [Verb] = &[
        Verb::Delete,
        Verb::DeleteCollection,
        Verb::Get,
        Verb::List,
        Verb::Patch,
        Verb::Create,
        Verb::Update,
        Verb::Watch,
    ];
    /// What a proxy answers.
    pub const PROXY: &'static [Verb] =
        &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];
    pub const CREATE: &'static [Verb] = &[Verb::Create];
    pub const PART: &'static [Verb] = &[Verb::Get, Verb::Patch, Verb::Update];

    pub fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }
}

/// What becomes of the objects that an object owns when its delete does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsaid {
    /// They go after it.
    Background,
    /// They stay.
    Orphan,
    /// They stay, and the user is warned in these words.
    OrphanAndWarn(&'static str),
}

/// An entry below an object, `/pods/web/log`.
#[derive(Debug, Clone)]
pub struct Subresource {
    pub name: Name,
    pub does: Does,
    pub verbs: &'static [Verb],
    /// Group, version and kind of its body, where that is not the parent's.
    pub body: Option<(&'static str, &'static str, &'static str)>,
    /// What nobody owns who writes through it, besides the spec and what it keeps.
    pub unowned: &'static [&'static str],
}

impl Subresource {
    pub fn connects(&self) -> bool {
        matches!(self.does, Does::Connect(_))
    }
}

/// What an entry below an object does.
#[derive(Debug, Clone)]
pub enum Does {
    /// Reads the parent and writes these parts of it (`metadata`, `status`); all else stays as it is.
    Part { part: &'static [&'static str], keeps: &'static [&'static str] },
    /// Shows the parent as autoscaling/v1 Scale.
    Scale(ScalePaths),
    /// Takes a body and does one thing.
    Act(Act),
    /// Leads to the node that runs the pod, or through it.
    Connect(Connect),
}

/// The things that entries do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Gives a pod to a node.
    Bind,
    /// Deletes a pod, if that disturbs nobody too much.
    Evict,
    /// Issues a token for a service account.
    IssueToken,
}

/// Where entries lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connect {
    /// To the text that a container wrote.
    Log,
    /// Into a container: exec and attach.
    Remote,
    /// To ports of a pod.
    PortForward,
    /// Through the node, to whatever speaks HTTP there.
    Proxy(Proxied),
}

/// What is reached through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxied {
    Pod,
    Service,
    Node,
}

/// Where a Scale finds its numbers (`x.spec.replicas`), dotted.
#[derive(Debug, Clone)]
pub struct ScalePaths {
    pub spec: Name,
    pub status: Name,
    /// A LabelSelector, a plain map of labels or, for custom resources, a text.
    pub selector: Option<Name>,
}

/// The usual status entry: takes `status`, keeps the rest but metadata.
pub fn status() -> Subresource {
    let does = Does::Part { part: &["metadata", "status"], keeps: &[] };
    Subresource { name: "status".into(), does, verbs: Verb::PART, body: None, unowned: &[] }
}

/// The usual scale entry of `spec.replicas`.
pub fn scale() -> Subresource {
    let paths = ScalePaths {
        spec: "spec.replicas".into(),
        status: "status.replicas".into(),
        selector: Some("spec.selector".into()),
    };
    Subresource {
        name: "scale".into(),
        does: Does::Scale(paths),
        verbs: Verb::PART,
        body: Some(("autoscaling", "v1", "Scale")),
        unowned: &[],
    }
}

/// An entry that takes a body of another kind and does one thing.
pub fn act(
    name: &'static str,
    act: Act,
    body: (&'static str, &'static str, &'static str),
) -> Subresource {
    let (does, body) = (Does::Act(act), Some(body));
    Subresource { name: name.into(), does, verbs: Verb::CREATE, body, unowned: &[] }
}

/// An entry that leads to the node.
pub fn connect(
    name: &'static str,
    to: Connect,
    verbs: &'static [Verb],
    body: &'static str,
) -> Subresource {
    let (does, body) = (Does::Connect(to), Some(("", "v1", body)));
    Subresource { name: name.into(), does, verbs, body, unowned: &[] }
}

/// What a kind does beyond its schema. Pure; what needs state is an admission plugin of the server.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// Goes up with each change of what `default` makes of an object that is stored already.
    pub revision: u32,
    /// Fills what the schema's defaults cannot say. Idempotent: old records pass it when they are read.
    pub default: fn(&mut Object),
    /// Before validation: sets and keeps what users may not write. `old` is `None` on create.
    pub prepare: fn(&mut Object, Option<&Object>),
    /// The same for a write through a `Part` entry, whose name comes first.
    pub prepare_part: fn(&str, &mut Object, &Object),
    pub validate: fn(&Object, Option<&Object>, &mut Errors),
    /// Validates a write through a `Part` entry instead of `validate`; the name of the entry comes first.
    pub validate_part: fn(&str, &Object, &Object, &mut Errors),
    /// Warnings for the user of a create or update.
    pub warn: fn(&Object, Option<&Object>) -> Vec<String>,
    /// Whether `new` differs from `old` so that `metadata.generation` goes up; `None` counts nothing.
    pub generation: Option<fn(&Object, &Object) -> bool>,
    /// What field selectors find it by, under the names of the stored resource; `None` takes the values at
    /// the `selectable` paths.
    pub fields: Option<fn(&Object, &mut dyn FnMut(&'static str, &str))>,
    /// Changes an object when it is first deleted, before anybody asks what holds it.
    pub deleting: fn(&mut Object),
    /// Whether something of its own holds a deleted object, besides its finalizers.
    pub held: fn(&Object) -> bool,
    /// The seconds that an object has to end when it is deleted, of those that were asked for; `None`: its kind ends at
    /// once.
    pub grace_s: Option<fn(&Object, Option<i64>) -> i64>,
    /// The name in the stored resource of a field that a selector names.
    pub field_name: fn(&str) -> &str,
}

impl Hooks {
    pub const NONE: Hooks = Hooks {
        revision: 0,
        default: |_| {},
        prepare: |_, _| {},
        prepare_part: |_, _, _| {},
        validate: |_, _, _| {},
        validate_part: |_, _, _, _| {},
        warn: |_, _| Vec::new(),
        generation: None,
        fields: None,
        deleting: |_| {},
        held: |_| false,
        grace_s: None,
        field_name: |name| name,
    };

    /// `generation` for kinds that count changes of `spec`.
    pub fn spec_changed(new: &Object, old: &Object) -> bool {
        new.at("spec") != old.at("spec")
    }
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooks")
    }
}

/// One column of `kubectl get`.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: Name,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub type_: Name,
    /// `name` for the column that `-o name` reads.
    pub format: Name,
    /// 0 shows always, 1 with `-o wide`.
    pub priority: i64,
    pub description: Name,
    pub cell: Cell,
}

/// How a column comes out of an object.
#[derive(Clone)]
pub enum Cell {
    /// A dotted path; absent shows as `<none>` in text columns.
    Path(Name),
    /// kubectl's JSONPath (custom resources).
    JsonPath(Arc<JsonPath>),
    /// A small function of the object.
    With(fn(&Object) -> Value),
    /// The same, for what goes on changing while the object stays as it is.
    Since(fn(&Object) -> Shown),
    /// How long ago the time at this path was.
    Age(Name),
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cell::Path(path) => write!(f, "Path({path})"),
            Cell::JsonPath(path) => write!(f, "JsonPath({path:?})"),
            Cell::With(_) => f.write_str("With(..)"),
            Cell::Since(_) => f.write_str("Since(..)"),
            Cell::Age(path) => write!(f, "Age({path})"),
        }
    }
}

/// A column that always shows.
pub fn column(name: &'static str, cell: Cell) -> Column {
    let type_ = if matches!(cell, Cell::Age(_)) { "date" } else { "string" };
    Column {
        name: name.into(),
        type_: type_.into(),
        format: if name == "Name" { "name".into() } else { "".into() },
        priority: 0,
        description: "".into(),
        cell,
    }
}

/// A column of `-o wide`.
pub fn wide(name: &'static str, cell: Cell) -> Column {
    Column { priority: 1, ..column(name, cell) }
}

/// A column of whole numbers.
pub fn number(name: &'static str, cell: Cell) -> Column {
    Column { type_: "integer".into(), ..column(name, cell) }
}

/// The first column of nearly every kind.
pub fn name_column() -> Column {
    column("Name", Cell::Path("metadata.name".into()))
}

/// The last column of nearly every kind.
pub fn age_column() -> Column {
    Column {
        type_: "string".into(),
        ..column("Age", Cell::Age("metadata.creationTimestamp".into()))
    }
}

/// Between this face and the stored one.
#[derive(Debug, Clone, Copy)]
pub struct Convert {
    pub to_stored: fn(&mut Object),
    pub from_stored: fn(&mut Object),
}

/// How names of this kind are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain: most kinds.
    Subdomain,
    /// The same, whose length is told in bytes: ReplicationController.
    LongName,
    /// RFC 1123 label: Namespace.
    Label,
    /// RFC 1035 label: Service.
    Label1035,
    /// One path segment: RBAC.
    Segment,
    /// An IP address in canonical form: IPAddress.
    Address,
}

/// Where the objects of a kind are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// In the store.
    Stored,
    /// Nowhere: a create is answered at once.
    Answered(Review),
    /// Nowhere: what is read is what the process says of itself when it is asked.
    Told,
    /// Nowhere: a create is one of this entry of an object that the body names.
    Entry { of: Resource, name: &'static str },
}

/// The questions that are answered at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Review {
    /// Who am I?
    Identity,
    /// Whose token is this?
    Token,
    /// May I?
    OwnAccess,
    /// May they?
    Access,
    /// What may I?
    OwnRules,
}

/// Rules over whole objects (`x-kubernetes-validations`), compiled.
pub trait Rules: std::fmt::Debug + Send + Sync {
    /// What an object breaks that its schema found sound.
    fn judge(&self, new: &Value, old: Option<&Value>) -> Judged;
}

/// What rules found.
#[derive(Debug, Default)]
pub struct Judged {
    pub faults: Vec<Fault>,
    /// What was broken before and did not change: told, and let be (KEP-4008).
    pub ratcheted: Vec<Fault>,
}

/// What a kind that came from a CustomResourceDefinition has besides.
#[derive(Debug)]
pub struct Custom {
    /// The whole schema with its rules, for validation.
    pub node: Node,
    /// `openAPIV3Schema` as it was given, for OpenAPI; null where there is none.
    pub schema: Value,
    /// Its rules beyond the schema, if it has some.
    pub rules: Option<Arc<dyn Rules>>,
    /// The definition is being deleted: nothing new is made.
    pub terminating: bool,
    /// The version that objects are stored in, where there are several.
    pub stored: Option<Name>,
    /// How its versions become each other, where they differ in more than their names.
    pub conversion: Option<Arc<Conversion>>,
}

/// Objects are converted by a webhook (API reference: CustomResourceConversion).
#[derive(Debug)]
pub struct Conversion {
    /// `clientConfig`: whom to ask.
    pub client: Value,
    /// The versions of the review that the webhook accepts, the best first.
    pub reviews: Vec<Name>,
    /// The version that objects are stored in.
    pub stored: Name,
    /// The version of those that do not say in which they were stored: they are older than any change of it.
    pub oldest: Name,
}

/// Where upstream treats the kinds that it is built with and those that come from definitions differently: as facts,
/// so that nobody asks a kind which of the two it is.
#[derive(Debug)]
pub struct Manner {
    /// What a body has beyond the schema goes, and validation judges the rest; else each field is decoded by its type.
    pub prunes: bool,
    /// Patches may be strategic: the schema says by which keys lists merge.
    pub strategic_patch: bool,
    /// The items of a list say what they are.
    pub headed_items: bool,
    /// An entry that it has not is an object that is not found, and no path that leads nowhere.
    pub entry_not_found: bool,
    /// Its group is there without it, and says so when something else is not.
    pub lasting_group: bool,
    /// Aggregated discovery names group and version of its types even where they are the kind's own.
    pub full_names: bool,
    /// It may change while it is served: watches of it end then, and records of before are looked into.
    pub redefined: bool,
    /// Its columns read what is stored, whatever face of it is shown.
    pub stored_columns: bool,
}

impl Manner {
    pub const BUILT_IN: &'static Manner = &Manner {
        prunes: false,
        strategic_patch: true,
        headed_items: false,
        entry_not_found: false,
        lasting_group: true,
        full_names: false,
        redefined: false,
        stored_columns: true,
    };
    pub const DEFINED: &'static Manner = &Manner {
        prunes: true,
        strategic_patch: false,
        headed_items: true,
        entry_not_found: true,
        lasting_group: false,
        full_names: true,
        redefined: true,
        stored_columns: false,
    };
}

/// One kind of the API. See the exemplar `crates/kinds/src/core/configmap.rs`.
#[derive(Debug, Clone)]
pub struct Kind {
    pub group: Name,
    pub version: Name,
    pub kind: Name,
    pub list_kind: Name,
    pub plural: Name,
    pub singular: Name,
    pub short: Vec<Name>,
    pub categories: Vec<Name>,
    pub scope: Scope,
    pub schema: Ref<Struct>,
    pub backend: Backend,
    pub verbs: &'static [Verb],
    pub subresources: Vec<Subresource>,
    pub columns: Vec<Column>,
    pub name_rule: NameRule,
    /// Unknown fields in selectors are refused in the words of a conversion of its own, as upstream has one for it.
    pub converts_fields: bool,
    /// Dotted paths that field selectors may name besides `metadata.name` and `metadata.namespace`.
    pub selectable: Vec<Name>,
    /// The stored resource, `deployments.apps`: the first part of the store's keys.
    pub storage: Name,
    /// Between this face and the stored one; `None` when they differ in nothing but apiVersion.
    pub convert: Option<Convert>,
    pub hooks: Hooks,
    /// What only custom resources have; `None` is a built-in kind.
    pub custom: Option<Arc<Custom>>,
    pub manner: &'static Manner,
    /// What users of a deprecated version are told.
    pub deprecation: Option<String>,
    /// The version that the hash of the storage names, where clients know it by another than the first face's.
    pub hashed_version: Option<&'static str>,
    /// A delete answers with the object that went, instead of a Status.
    pub shows_deleted: bool,
    /// Updates must name the revision that they are based on.
    pub conditional: bool,
    pub unsaid: Unsaid,
    /// An update of what does not exist creates it.
    pub creates_on_update: bool,
    /// A create may carry a status (nodes).
    pub status_on_create: bool,
    /// What nobody owns who writes it, since no later write changes it.
    pub unowned: &'static [&'static str],
    /// `metadata.generation` of a new object, of kinds that count it ([`Hooks::generation`]); 0 is not shown.
    pub first_generation: i64,
    /// The generation of the schema that bodies are written under: of a built-in kind reckoned from it when the
    /// registry is made ([`crate::schema::generation`]), the stored face's for all faces with a conversion.
    pub generation: u32,
}

impl Kind {
    /// A stored kind with all verbs, under these names.
    ///
    /// # Panics
    /// When the generated table has no schema for it: a mistake in the list of kinds, found by its self-test.
    pub fn new(resource: Resource) -> Kind {
        let Resource { group, version, plural, kind, namespaced } = resource;
        let schema = crate::schema::gvk(group, version, kind);
        let schema = Ref::Static(schema.unwrap_or_else(|| panic!("{kind} has no schema")));
        Kind {
            scope: if namespaced { Scope::Namespaced } else { Scope::Cluster },
            ..Kind::named(group.into(), version.into(), kind.into(), plural.into(), schema)
        }
    }

    /// A namespaced, stored kind with all verbs, under names that may come from a definition.
    pub fn named(
        group: Name,
        version: Name,
        kind: Name,
        plural: Name,
        schema: Ref<Struct>,
    ) -> Kind {
        let storage = match &*group {
            "" => plural.clone(),
            group => format!("{plural}.{group}").into(),
        };
        Kind {
            list_kind: format!("{kind}List").into(),
            singular: kind.to_lowercase().into(),
            group,
            version,
            kind,
            plural,
            short: Vec::new(),
            categories: Vec::new(),
            scope: Scope::Namespaced,
            schema,
            backend: Backend::Stored,
            verbs: Verb::ALL,
            subresources: Vec::new(),
            columns: vec![name_column(), age_column()],
            name_rule: NameRule::Subdomain,
            converts_fields: false,
            selectable: Vec::new(),
            storage,
            convert: None,
            hooks: Hooks::NONE,
            custom: None,
            manner: Manner::BUILT_IN,
            deprecation: None,
            hashed_version: None,
            shows_deleted: false,
            conditional: false,
            unsaid: Unsaid::Background,
            creates_on_update: false,
            status_on_create: false,
            unowned: &[],
            first_generation: 1,
            generation: 0,
        }
    }

    /// `apps/v1`, `v1`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// What its refusals are about.
    pub fn about(&self) -> crate::status::About<'_> {
        crate::status::About { group: &self.group, resource: &self.plural }
    }

    /// What its validation errors are about: upstream names the kind there.
    pub fn about_kind(&self) -> crate::status::About<'_> {
        crate::status::About { group: &self.group, resource: &self.kind }
    }

    /// The key of an object in the store.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        format!("{}/{namespace}/{name}", self.storage)
    }

    /// The prefix of all keys, or of those of one namespace (not empty).
    pub fn prefix(&self, namespace: &str) -> String {
        if namespace.is_empty() {
            format!("{}/", self.storage)
        } else {
            format!("{}/{namespace}/", self.storage)
        }
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// How its objects are converted, where a webhook does that.
    pub fn conversion(&self) -> Option<&Arc<Conversion>> {
        self.custom.as_ref()?.conversion.as_ref()
    }

    /// Whether objects are stored as this face shows them.
    pub fn is_stored_face(&self) -> bool {
        self.convert.is_none() && self.conversion().is_none_or(|it| it.stored == self.version)
    }

    pub fn is_custom(&self) -> bool {
        self.custom.is_some()
    }

    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }
}

/// `group/version`, or the version alone for the core group.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
