//! The schema of a kind: one type for built-in kinds (generated statics) and custom resources
//! (made at run time).
//!
//! Decoding, defaulting, pruning, strategic merge, server-side apply, OpenAPI and `explain` all
//! walk
//! this one tree; nothing beside it knows the fields of a kind. It is data: it reads no clock, does
//! no IO, and holds no sentences (descriptions are looked up by definition name, where they are
//! asked for).

mod builtin;
pub mod crd;
pub mod decode;
pub mod default;
pub mod descriptions;
pub mod discovery;
pub mod emit;
pub mod fault;
pub mod format;
pub mod generation;
pub mod items;
pub mod openapi;
pub mod openapi_v2;
pub mod pattern;
pub mod prune;
mod structural;
pub mod validate;

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

pub use builtin::{DEFINITIONS, Gvk, KINDS, builtin, gvk, kinds_of};

/// A part of a schema: a generated static, or a node of a custom resource that is freed with it.
#[derive(Debug)]
pub enum Ref<T: 'static> {
    Static(&'static T),
    Shared(Arc<T>),
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        match self {
            Ref::Static(it) => Ref::Static(it),
            Ref::Shared(it) => Ref::Shared(it.clone()),
        }
    }
}

impl<T> Deref for Ref<T> {
    type Target = T;
    fn deref(&self) -> &T {
        match self {
            Ref::Static(it) => it,
            Ref::Shared(it) => it,
        }
    }
}

/// One place in an object: what may stand there and, for custom resources, what else must hold.
#[derive(Debug, Clone)]
pub struct Node {
    pub shape: Shape,
    /// How server-side apply owns what is below this place, where no field says it: the elements of
    /// lists and maps. For the node of a field it equals `Field::topology`.
    pub topology: Topology,
    /// The default of an element of a list or map, as JSON text; a field has its own.
    pub default: Option<Cow<'static, str>>,
    /// Value validations of a structural schema; built-in kinds have none (their hooks validate).
    pub rules: Option<Ref<Rules>>,
}

/// The JSON type of a place, as Go's API types see it.
#[derive(Debug, Clone)]
pub enum Shape {
    /// Any JSON value: `RawExtension`, `JSON`, or `x-kubernetes-preserve-unknown-fields` without a
    /// type.
    Any,
    Bool,
    Int32,
    Int64,
    Float,
    String,
    /// base64 in JSON, `[]byte` in Go.
    Bytes,
    /// RFC 3339 in whole seconds (`metav1.Time`).
    Time,
    /// RFC 3339 with microseconds (`metav1.MicroTime`).
    MicroTime,
    /// Go's duration text (`metav1.Duration`).
    Duration,
    Quantity,
    IntOrString,
    Struct(Ref<Struct>),
    Map(Ref<Node>),
    List(Ref<Node>),
}

/// A Go struct or a structural schema's object with `properties`.
#[derive(Debug)]
pub struct Struct {
    /// The definition's name in OpenAPI, `io.k8s.api.apps.v1.Deployment`; empty inside custom
    /// resources.
    pub name: Cow<'static, str>,
    /// Sorted by JSON name.
    pub fields: Cow<'static, [Field]>,
    /// The struct's name in Go, as decoding errors print it (`DeploymentSpec`); empty inside custom
    /// resources.
    pub go: Cow<'static, str>,
    /// `Atomic` where the type itself says `+structType=atomic`; fields of it repeat that.
    pub topology: Topology,
    /// Keeps fields that it does not name (custom resources with preserve-unknown-fields).
    pub open: bool,
    /// The places of its fields in the order in which protobuf writes them: by number, those of an embedded struct
    /// together at its own. Empty where protobuf does not know the type.
    pub wire: &'static [u16],
}

impl Struct {
    /// The field of that JSON name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let at = self.fields.binary_search_by(|it| it.name.as_ref().cmp(name)).ok()?;
        Some(&self.fields[at])
    }
}

/// One field of a struct, with everything that the struct tag and the markers of the API say about
/// it.
#[derive(Debug, Clone)]
pub struct Field {
    pub name: Cow<'static, str>,
    /// The type in Go, without its pointer, as decoding errors print it (`int32`, `v1.PodPhase`,
    /// `[]v1.Container`); empty inside custom resources.
    pub go: Cow<'static, str>,
    /// The embedded Go structs that the field comes through (`VolumeSource` in `Volume`).
    pub inline: &'static [Inline],
    pub node: Node,
    pub required: bool,
    pub emit: Emit,
    /// The topology for server-side apply (`x-kubernetes-list-type`, `-map-type`).
    pub topology: Topology,
    /// Whether the API says of a list that it is atomic; others are without a word. OpenAPI shows the difference.
    pub said_atomic: bool,
    /// `patchStrategy` and `patchMergeKey` of a strategic merge patch.
    pub strategy: Strategy,
    /// The default as JSON text.
    pub default: Option<Cow<'static, str>>,
    /// The values of an enumeration, sorted: of the field, or of what its list or map holds. OpenAPI shows them;
    /// whether another one is refused is the kind's affair.
    pub values: &'static [&'static str],
    /// The field number in protobuf; 0 where there is none.
    pub tag: u32,
}

/// A struct that Go embeds and JSON flattens: decoding errors name it, protobuf keeps it a message.
#[derive(Debug)]
pub struct Inline {
    pub go: &'static str,
    /// Its field number; 0 for `TypeMeta`, which protobuf moves into the envelope.
    pub tag: u32,
}

/// Whether an empty value shows in an answer, and so who owns it (omitempty, omitzero and pointers
/// of the Go type). A struct by value is never empty in Go, so its `omitempty` means `Always`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// A value that always shows: an absent one becomes the empty one of its shape (`""`, `0`,
    /// false, `{}` for a struct, null for lists, maps, bytes, times and any value).
    Always,
    /// A value with `omitempty` (or a time with `omitzero`): an empty one (`""`, `0`, false, null,
    /// an empty list or map) is dropped.
    NotEmpty,
    /// A pointer with `omitempty`: kept when present, whatever it holds; null is absent.
    Present,
    /// A pointer without `omitempty`: null when absent.
    Null,
}

/// How fields are owned and merged below this one (server-side apply).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// Structs and maps are owned field by field; scalars have no parts.
    Granular,
    /// Owned and replaced as a whole. The default of lists.
    Atomic,
    /// A list of scalars without order of ownership.
    Set,
    /// A list of structs, found by these fields.
    Keyed(Cow<'static, [Cow<'static, str>]>),
}

/// How a strategic merge patch treats this field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// Lists are replaced, structs and maps merged.
    Default,
    /// A list of scalars that is merged as a set.
    MergeSet,
    /// A list of structs merged by this key; `retainKeys` where the API says `merge,retainKeys`.
    Merge { key: Cow<'static, str>, retain_keys: bool },
    /// `retainKeys` on a struct.
    RetainKeys,
    /// `replace` on a struct or map.
    Replace,
}

/// Value validations of OpenAPI v3 and the extensions of structural schemas (KEP-95 apiextensions).
#[derive(Debug, Default)]
pub struct Rules {
    pub nullable: bool,
    pub embedded_resource: bool,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub pattern: Option<regex::Regex>,
    pub format: Option<String>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub unique_items: bool,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    pub required: Vec<String>,
    pub allowed: Option<Vec<skiff_json::Value>>,
    pub all_of: Vec<Rules>,
    pub any_of: Vec<Rules>,
    pub exactly_one_of: Vec<Rules>,
    pub not: Option<Box<Rules>>,
    /// Rules of named properties, inside `allOf`, `anyOf`, `oneOf` and `not`, where no shape is
    /// given.
    pub properties: Vec<(String, Rules)>,
    pub items: Option<Box<Rules>>,
    /// Any value, but objects in it are emptied: the elements of `additionalProperties: true`.
    pub pruned: bool,
    /// `additionalProperties: false`: no field is allowed that the shape does not name.
    pub closed: bool,
}

#[cfg(test)]
mod tests;
