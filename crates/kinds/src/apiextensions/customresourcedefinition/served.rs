//! Makes the kinds that a CustomResourceDefinition stands for: one face for each version that is served.

use super::condition;
use skiff_api::jsonpath::JsonPath;
use skiff_api::kind::{
    Cell, Column, Conversion, Custom, Does, Hooks, Kind, Manner, Name, ScalePaths, Scope,
    Subresource, Verb, name_column, status,
};
use skiff_api::object::{Object, at, text};
use skiff_api::schema::crd::{from_crd, without_schema};
use skiff_api::schema::{Node, Ref, Shape, Struct};
use skiff_cel::decl::Place;
use skiff_cel::rules::Rules;
use skiff_json::Value;
use std::sync::Arc;

/// How many versions have a number of their own within a generation; more share the last one.
const FACES_MOST: usize = 32;

/// The kinds of a definition whose names were accepted; none before that.
///
/// # Errors
/// When a schema that was accepted once is not understood (by an older Skiff): says which and why.
pub fn kinds(crd: &Object) -> Result<Vec<Arc<Kind>>, String> {
    if !condition(crd, "Established") {
        return Ok(Vec::new());
    }
    let versions = crd.list("spec.versions");
    let mut faces: Vec<Arc<Kind>> = Vec::new();
    let conversion = conversion(crd);
    let stored = versions.iter().position(|it| it["storage"] == true);
    for (index, version) in versions.iter().enumerate().filter(|(_, it)| it["served"] == true) {
        // What is converted is written, and read, as the stored version.
        let index = match &conversion {
            Some(_) => stored.unwrap_or(index),
            None => index,
        };
        faces.push(Arc::new(face(crd, version, index.min(FACES_MOST - 1), conversion.as_ref())?));
    }
    Ok(faces)
}

fn conversion(crd: &Object) -> Option<Arc<Conversion>> {
    if crd.text("spec.conversion.strategy") != "Webhook" {
        return None;
    }
    let webhook = crd.at("spec.conversion.webhook")?;
    let names = |list: Option<&Value>| -> Vec<Name> {
        let list = list.and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|it| Some(it.as_str()?.to_owned().into())).collect()
    };
    let stored: Name = super::storage(crd)?.into();
    let oldest = names(crd.at("status.storedVersions")).into_iter().next();
    Some(Arc::new(Conversion {
        client: at(webhook, "clientConfig")?.clone(),
        reviews: names(at(webhook, "conversionReviewVersions")),
        oldest: oldest.unwrap_or_else(|| stored.clone()),
        stored,
    }))
}

fn face(
    crd: &Object,
    version: &Value,
    index: usize,
    conversion: Option<&Arc<Conversion>>,
) -> Result<Kind, String> {
    let names = crd.at("status.acceptedNames").cloned().unwrap_or(Value::Null);
    let owned = |field: &str| text(&names, field).to_owned().into();
    let list = |field: &str| {
        let list = at(&names, field).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|it| Some(it.as_str()?.to_owned().into())).collect()
    };
    let schema = at(version, "schema.openAPIV3Schema").cloned().unwrap_or(Value::Null);
    let name = text(version, "name");
    let node = match schema.is_object() {
        true => from_crd(&schema, name).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            format!("the schema of version {name}: {}", faults.join(", "))
        })?,
        false => without_schema(),
    };
    let has_status = at(version, "subresources.status").is_some();
    let generation = crd.int("metadata.generation").unwrap_or(1) as u32;
    let group = crd.text("spec.group").to_owned().into();
    let (kind, plural, root) = (owned("kind"), owned("plural"), root(&node));
    Ok(Kind {
        list_kind: owned("listKind"),
        singular: owned("singular"),
        short: list("shortNames"),
        categories: list("categories"),
        scope: if crd.text("spec.scope") == "Cluster" { Scope::Cluster } else { Scope::Namespaced },
        verbs: Verb::ALL_DEFINED,
        subresources: subresources(version),
        columns: columns(version)?,
        selectable: selectable(version),
        converts_fields: true,
        hooks: Hooks {
            warn,
            generation: Some(if has_status { changed_but_status } else { changed }),
            ..Hooks::NONE
        },
        manner: Manner::DEFINED,
        deprecation: deprecation(crd, version),
        conditional: true,
        // What one face wrote, another reads under its own schema.
        generation: generation.wrapping_mul(FACES_MOST as u32).wrapping_add(index as u32),
        custom: Some(Arc::new(Custom {
            node,
            rules: Rules::of(&schema, Place::Root).map(|it| Arc::new(it) as _),
            schema,
            terminating: condition(crd, "Terminating"),
            stored: super::storage(crd)
                .filter(|_| crd.list("spec.versions").len() > 1)
                .map(Name::from),
            conversion: conversion.cloned(),
        })),
        ..Kind::named(group, name.to_owned().into(), kind, plural, root)
    })
}

fn root(node: &Node) -> Ref<Struct> {
    match &node.shape {
        Shape::Struct(of) => of.clone(),
        // Every root is a struct, for it has metadata.
        _ => Ref::Shared(Arc::new(Struct {
            name: "".into(),
            fields: Vec::new().into(),
            go: "".into(),
            topology: node.topology.clone(),
            open: true,
            wire: &[],
        })),
    }
}

fn subresources(version: &Value) -> Vec<Subresource> {
    let mut entries = Vec::new();
    if at(version, "subresources.status").is_some() {
        // Of the metadata it takes only who owns what, unlike a built-in kind's.
        let part: &[&str] = &["metadata.managedFields", "status"];
        let does = Does::Part { part, keeps: &[] };
        entries.push(Subresource { does, ..status() });
    }
    if let Some(scale) = at(version, "subresources.scale") {
        let path = |field: &str| text(scale, field).trim_start_matches('.').to_owned();
        let selector = path("labelSelectorPath");
        let paths = ScalePaths {
            spec: path("specReplicasPath").into(),
            status: path("statusReplicasPath").into(),
            selector: (!selector.is_empty()).then(|| selector.into()),
        };
        entries.push(Subresource {
            name: "scale".into(),
            does: Does::Scale(paths),
            verbs: Verb::PART,
            body: Some(("autoscaling", "v1", "Scale")),
            unowned: &[],
        });
    }
    entries
}

fn columns(version: &Value) -> Result<Vec<Column>, String> {
    let mut columns = vec![name_column()];
    let given = at(version, "additionalPrinterColumns").and_then(Value::as_array);
    for column in given.into_iter().flatten() {
        let path = text(column, "jsonPath");
        let parsed = JsonPath::column(path).map_err(|why| format!("column {path}: {why}"))?;
        let description = match text(column, "description") {
            "" => format!("Custom resource definition column (in JSONPath format): {path}"),
            text => text.to_owned(),
        };
        columns.push(Column {
            name: text(column, "name").to_owned().into(),
            type_: text(column, "type").to_owned().into(),
            format: text(column, "format").to_owned().into(),
            priority: at(column, "priority").and_then(Value::as_i64).unwrap_or(0),
            description: description.into(),
            cell: Cell::JsonPath(Arc::new(parsed)),
        });
    }
    if given.is_none_or(Vec::is_empty) {
        let parsed = JsonPath::column(".metadata.creationTimestamp")?;
        columns.push(Column {
            name: "Age".into(),
            type_: "date".into(),
            format: "".into(),
            priority: 0,
            description: "".into(),
            cell: Cell::JsonPath(Arc::new(parsed)),
        });
    }
    Ok(columns)
}

fn selectable(version: &Value) -> Vec<Name> {
    let fields = at(version, "selectableFields").and_then(Value::as_array);
    let paths = fields.into_iter().flatten().map(|it| text(it, "jsonPath"));
    paths.map(|path| path.trim_start_matches('.').to_owned().into()).collect()
}

/// What a version that goes tells its users; it names the version to go to, if there is one.
fn deprecation(crd: &Object, version: &Value) -> Option<String> {
    if version["deprecated"] != true {
        return None;
    }
    if let Some(given) = at(version, "deprecationWarning").and_then(Value::as_str) {
        return Some(given.to_owned());
    }
    let (group, kind) = (crd.text("spec.group"), crd.text("spec.names.kind"));
    let own = text(version, "name");
    let mut better: Vec<&str> = crd
        .list("spec.versions")
        .iter()
        .filter(|it| it["served"] == true && it["deprecated"] != true)
        .map(|it| text(it, "name"))
        .filter(|it| skiff_api::names::version_order(it) < skiff_api::names::version_order(own))
        .collect();
    better.sort_by_key(|it| skiff_api::names::version_order(it));
    let head = format!("{group}/{own} {kind} is deprecated");
    Some(match better.first() {
        Some(best) => format!("{head}; use {group}/{best} {kind}"),
        None => head,
    })
}

fn without<'a>(object: &'a Object, fields: &[&str]) -> Vec<(&'a String, &'a Value)> {
    let all = object.value().as_object().into_iter().flatten();
    let mut kept: Vec<_> = all.filter(|(key, _)| !fields.contains(&key.as_str())).collect();
    kept.sort_by_key(|(key, _)| *key);
    kept
}

fn changed(new: &Object, old: &Object) -> bool {
    without(new, &["metadata"]) != without(old, &["metadata"])
}

fn changed_but_status(new: &Object, old: &Object) -> bool {
    without(new, &["metadata", "status"]) != without(old, &["metadata", "status"])
}

const STANDARD_FINALIZERS: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];

fn warn(new: &Object, old: Option<&Object>) -> Vec<String> {
    let before: Vec<&str> = old.map_or_else(Vec::new, |old| old.finalizers().collect());
    let mut added: Vec<&str> = new.finalizers().filter(|it| !before.contains(it)).collect();
    added.sort_unstable();
    let mut warnings = Vec::new();
    for name in added {
        let head = format!("metadata.finalizers: {name:?}");
        warnings
            .extend(skiff_api::names::qualified(name).iter().map(|why| format!("{head}: {why}")));
        if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
            let path = if name.contains('.') { " including a path (/)" } else { "" };
            warnings.push(format!(
                "{head}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other \
                 finalizer writers"
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    fn crd() -> Object {
        let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"a": {"type": "integer"}}}}}});
        Object::new(
            json!({"metadata": {"generation": 2}, "spec": {"group": "x.com", "scope": "Namespaced",
            "names": {"kind": "Foo"}, "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": schema},
                {"name": "v1beta1", "served": true, "deprecated": true, "schema": schema},
                {"name": "v0", "served": false}]},
            "status": {"acceptedNames": {"plural": "foos", "kind": "Foo", "listKind": "FooList"},
                "conditions": [{"type": "Established", "status": "True"}]}}),
        )
    }

    #[test]
    fn served_versions_become_faces() {
        let kinds = kinds(&crd()).expect("the schemas are sound");
        let names: Vec<String> = kinds.iter().map(|kind| kind.api_version()).collect();
        assert_eq!(names, ["x.com/v1", "x.com/v1beta1"]);
        assert_eq!((&*kinds[0].storage, &*kinds[0].plural), ("foos.x.com", "foos"));
        assert_ne!(kinds[0].generation, kinds[1].generation);
        let told = kinds[1].deprecation.clone();
        assert_eq!(told.as_deref(), Some("x.com/v1beta1 Foo is deprecated; use x.com/v1 Foo"));
    }

    #[test]
    fn before_its_names_are_accepted_it_is_not_served() {
        let mut crd = crd();
        crd.remove("status.conditions");
        assert!(kinds(&crd).expect("nothing is read").is_empty());
    }
}
