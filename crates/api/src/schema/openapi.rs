//! OpenAPI v3: one document per group and version, and the index of all, made when asked for.
//!
//! `kubectl explain`, its validation and its `diff` live on these documents. None stands expanded:
//! a document is written straight out, one definition and one path at a time, so that making the
//! largest (core/v1) holds a few hundred kilobytes at most besides what the caller collects. The
//! hash in the index is over what a document is made of, so the index makes no document.

use std::collections::BTreeSet;
use std::io::{self, Write};

use skiff_base::Fnv;
use skiff_json::{Map, Value, json};

use super::descriptions::Descriptions;

pub(super) mod definition;
mod operation;
pub(super) mod path;

/// What a document needs to know of a kind.
#[derive(Debug, Clone, Copy)]
pub struct KindRef<'a> {
    /// Empty for the core group.
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    pub plural: &'a str,
    pub namespaced: bool,
    pub verbs: &'a [&'a str],
    /// A delete answers with the object that went.
    pub shows_deleted: bool,
    pub source: Source<'a>,
    pub subresources: &'a [Subresource<'a>],
}

/// Where the schema of a kind comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A definition's name, `io.k8s.api.apps.v1.Deployment`.
    BuiltIn(&'a str),
    /// The `openAPIV3Schema` of a custom resource; null where it has none.
    Custom(&'a Value),
}

/// `status`, `scale`, `exec` and the like.
#[derive(Debug, Clone, Copy)]
pub struct Subresource<'a> {
    pub name: &'a str,
    pub verbs: &'a [&'a str],
    pub entry: Entry<'a>,
}

/// What is at an entry below an object.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// Bodies of this group, version and kind; the parent's where there is none.
    Object(Option<(&'a str, &'a str, &'a str)>),
    /// The log of a pod.
    Log,
    /// Whatever speaks there; the kind of the options that lead to it.
    Stream(&'a str),
}

/// The document of the kinds of one group and version.
pub fn document(kinds: &[KindRef<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    write(kinds, &mut out).expect("memory takes it");
    out
}

/// The same, written out piece by piece.
pub fn write(kinds: &[KindRef<'_>], out: &mut dyn Write) -> io::Result<()> {
    let mut sentences = Descriptions::default();
    out.write_all(br#"{"openapi":"3.0.0","info":{"title":"Kubernetes","version":"v1.37.1"},"#)?;
    out.write_all(br#""paths":{"#)?;
    let mut needed: BTreeSet<String> = BTreeSet::new();
    let mut first = true;
    if let Some((name, item)) = kinds.first().and_then(|kind| path::of_version(kind, &mut needed)) {
        entry(out, &mut first, &name, &item)?;
    }
    for kind in kinds {
        for (name, item) in path::of(kind, &mut needed) {
            entry(out, &mut first, &name, &item)?;
        }
    }
    out.write_all(br#"},"components":{"schemas":{"#)?;
    let mut first = true;
    definition::write(kinds, needed, &mut sentences, &mut |name, it| {
        entry(out, &mut first, name, it)
    })?;
    out.write_all(br#"},"securitySchemes":{"BearerToken":{"type":"apiKey","#)?;
    out.write_all(br#""name":"authorization","in":"header"}}}}"#)
}

/// The index: where each document lies. `documents` are paths (`api/v1`, `apis/apps/v1`) and the
/// fingerprints of their kinds.
pub fn index<'a>(documents: impl IntoIterator<Item = (&'a str, String)>) -> Value {
    let paths: Map = documents
        .into_iter()
        .map(|(path, hash)| {
            let url = address(path, &hash);
            (path.to_string(), json!({ "serverRelativeURL": url }))
        })
        .collect();
    json!({ "paths": paths })
}

/// Where the document of this path lies, as long as its kinds have this fingerprint.
pub fn address(path: &str, fingerprint: &str) -> String {
    format!("/openapi/v3/{path}?hash={fingerprint}")
}

/// Changes whenever the document of these kinds does.
pub fn fingerprint(kinds: &[KindRef<'_>]) -> String {
    let mut hash = Fnv::after(TABLE_HASH);
    for kind in kinds {
        let source = match kind.source {
            Source::BuiltIn(name) => name.to_string(),
            Source::Custom(schema) => schema.to_string(),
        };
        let text = format!(
            "{}\0{}\0{}\0{}\0{}\0{:?}\0{}\0{source}\0{:?}\0",
            kind.group,
            kind.version,
            kind.kind,
            kind.plural,
            kind.namespaced,
            kind.verbs,
            kind.shows_deleted,
            kind.subresources
        );
        hash.add(text.as_bytes());
    }
    format!("{:016X}", hash.value())
}

/// The name of a kind's definition; a custom resource's has its group's parts turned round.
pub(super) fn definition_name(kind: &KindRef<'_>) -> String {
    match kind.source {
        Source::BuiltIn(name) => name.to_string(),
        Source::Custom(_) => {
            let mut parts: Vec<&str> = kind.group.split('.').collect();
            parts.reverse();
            format!("{}.{}.{}", parts.join("."), kind.version, kind.kind)
        }
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn entry(out: &mut dyn Write, first: &mut bool, name: &str, value: &Value) -> io::Result<()> {
    if !std::mem::replace(first, false) {
        out.write_all(b",")?;
    }
    skiff_json::to_writer(&mut *out, name)?;
    out.write_all(b":")?;
    skiff_json::to_writer(out, value)?;
    Ok(())
}

include!(concat!(env!("OUT_DIR"), "/hash.rs"));

#[cfg(test)]
mod tests;
