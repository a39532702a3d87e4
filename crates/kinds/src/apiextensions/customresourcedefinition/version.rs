//! The rules of one version of a custom resource.

use skiff_api::check;
use skiff_api::errors::{Errors, Path};
use skiff_api::names;
use skiff_api::object::{Object, at};
use skiff_api::schema::crd::{from_crd, is_structural};
use skiff_json::Value;
use std::collections::HashSet;

const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
/// Formats that values are checked by, or that say how to show them.
const KNOWN_FORMATS: [&str; 31] = [
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "date-time",
    "datetime",
    "double",
    "duration",
    "email",
    "float",
    "hexcolor",
    "hostname",
    "int32",
    "int64",
    "ip",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8s-long-name",
    "k8s-short-name",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
];
const WARNING_MOST: usize = 256;
const SELECTABLE_MOST: usize = 8;

/// Versions, each by itself. Where all have the same schema (or subresources, or columns), upstream moves it
/// to the definition itself before it looks, and so paths name it there.
pub fn validate_all(path: &Path, versions: &[Value], errors: &mut Errors) {
    let spec = Path::new("spec");
    let shared = |field: &str| {
        let first = versions.first().and_then(|it| at(it, field));
        first.filter(|first| versions.iter().all(|it| at(it, field) == Some(*first)))
    };
    let (schema, subresources) = (shared("schema"), shared("subresources"));
    let (columns, fields) = (shared("additionalPrinterColumns"), shared("selectableFields"));
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        let name = version["name"].as_str().unwrap_or("");
        let wrong = names::label1035(name);
        if !wrong.is_empty() {
            errors.invalid(&path.child("name"), name, &wrong.join(","));
        }
        deprecation(&path.child("deprecationWarning"), version, errors);
        if schema.is_none() {
            validate_schema(&path.child("schema"), version, errors);
        }
        if subresources.is_none() {
            validate_scale(&path.child("subresources"), version, errors);
        }
        if columns.is_none() {
            validate_columns(&path.child("additionalPrinterColumns"), version, errors);
        }
        if fields.is_none() {
            validate_selectable(&path.child("selectableFields"), version, errors);
        }
    }
    let Some(first) = versions.first() else { return };
    if schema.is_some() {
        validate_schema(&spec.child("validation"), first, errors);
    }
    if subresources.is_some() {
        validate_scale(&spec.child("subresources"), first, errors);
    }
    if columns.is_some() {
        validate_columns(&spec.child("additionalPrinterColumns"), first, errors);
    }
    if fields.is_some() {
        validate_selectable(&spec.child("selectableFields"), first, errors);
    }
}

/// Versions as an error shows them: the fields of upstream's own type; what all share stands elsewhere.
pub fn shown(versions: &[Value]) -> String {
    if versions.is_empty() {
        return "Invalid value: null".to_owned();
    }
    let one = |it: &Value| {
        let flag = |field: &str| it[field] == true;
        let warning = at(it, "deprecationWarning").unwrap_or(&Value::Null);
        format!(
            "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{warning},\
             \"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\
             \"SelectableFields\":null}}",
            it["name"],
            flag("served"),
            flag("storage"),
            flag("deprecated")
        )
    };
    let all: Vec<String> = versions.iter().map(one).collect();
    format!("Invalid value: [{}]", all.join(","))
}

fn deprecation(path: &Path, version: &Value, errors: &mut Errors) {
    let Some(text) = at(version, "deprecationWarning") else { return };
    let given = text.as_str().unwrap_or("");
    let mut refuse = |why: &str| errors.invalid(path, given, why);
    if version["deprecated"] != true {
        return refuse("can only be set for deprecated versions");
    }
    if given.len() > WARNING_MOST {
        refuse("must be <= 256 characters long");
    }
    if given.is_empty() {
        refuse("must not be an empty string");
    }
    if let Some((index, _)) = given.char_indices().find(|(_, c)| c.is_control()) {
        refuse(&format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        ));
    }
}

fn validate_schema(path: &Path, version: &Value, errors: &mut Errors) {
    let Some(schema) = at(version, "schema.openAPIV3Schema") else { return };
    let path = path.child("openAPIV3Schema").to_string();
    let mut faults = from_crd(schema, &path).err().unwrap_or_default();
    // Rules are compiled where the schema at their place and below it is sound, and the whole structural.
    let mut structural = is_structural(schema, &path);
    if structural {
        let wrong = skiff_cel::definition::defaults(schema, &path);
        structural = wrong.is_empty();
        faults.splice(..0, wrong);
    }
    let sound = |place: &str| structural && !faults.iter().any(|it| below(&it.path, place));
    let rules = skiff_cel::definition::check(schema, &path, sound);
    faults.into_iter().chain(rules).for_each(|fault| errors.add(fault.into()));
}

/// Whether a path is a place or below it.
fn below(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|it| it.is_empty() || it.starts_with(['.', '[']))
}

fn validate_scale(path: &Path, version: &Value, errors: &mut Errors) {
    let Some(scale) = at(version, "subresources.scale") else { return };
    let text = |field: &str| at(scale, field).and_then(Value::as_str).unwrap_or("");
    let replicas = [
        ("specReplicasPath", &[".spec."][..], "should be a json path under .spec"),
        ("statusReplicasPath", &[".status."][..], "should be a json path under .status"),
        (
            "labelSelectorPath",
            &[".spec.", ".status."][..],
            "should be a json path under either .spec or .status",
        ),
    ];
    for (field, roots, why) in replicas {
        let dotted = format!("scale.{field}");
        let (path, given) = (path.child(&dotted), text(field));
        if given.is_empty() && field == "labelSelectorPath" {
            continue;
        }
        if given.is_empty() {
            errors.required(&path, "");
        } else if simple_path(&path, given, errors) && !roots.iter().any(|it| given.starts_with(it))
        {
            errors.invalid(&path, given, why);
        }
    }
}

fn simple_path(path: &Path, given: &str, errors: &mut Errors) -> bool {
    if given.starts_with('.') {
        return true;
    }
    errors.invalid(path, given, "must be a simple json path starting with .");
    false
}

fn validate_columns(path: &Path, version: &Value, errors: &mut Errors) {
    let columns = at(version, "additionalPrinterColumns").and_then(Value::as_array);
    for (index, column) in columns.into_iter().flatten().enumerate() {
        let path = path.index(index);
        let text = |field: &str| at(column, field).and_then(Value::as_str).unwrap_or("");
        if text("name").is_empty() {
            errors.required(&path.child("name"), "");
        }
        let types = format!("must be one of {}", TYPES.join(","));
        match text("type") {
            "" => errors.required(&path.child("type"), &types),
            type_ if TYPES.contains(&type_) => {}
            other => errors.invalid(&path.child("type"), other, &types),
        }
        let format = text("format");
        if !format.is_empty() && !FORMATS.contains(&format) {
            let why = format!("must be one of {}", FORMATS.join(","));
            errors.invalid(&path.child("format"), format, &why);
        }
        match text("jsonPath") {
            "" => errors.required(&path.child("JSONPath"), ""),
            given => {
                simple_path(&path.child("JSONPath"), given, errors);
            }
        }
    }
}

fn validate_selectable(path: &Path, version: &Value, errors: &mut Errors) {
    let Some(fields) = at(version, "selectableFields").and_then(Value::as_array) else { return };
    let Some(schema) = at(version, "schema.openAPIV3Schema") else {
        let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
        return errors.invalid(path, "", why);
    };
    let mut seen = HashSet::new();
    for (index, field) in fields.iter().enumerate() {
        let item = path.index(index);
        let item = item.child("jsonPath");
        let given = at(field, "jsonPath").and_then(Value::as_str).unwrap_or("");
        if given.is_empty() {
            errors.required(&item, "");
            continue;
        }
        let type_ = match find(schema, given) {
            Ok(type_) => type_,
            Err(why) => {
                errors.invalid(&item, given, &format!("is an invalid path: {why}"));
                continue;
            }
        };
        if given.starts_with(".metadata") {
            errors.invalid(&item, given, "must not point to fields in metadata");
        }
        if !["string", "boolean", "integer"].contains(&type_) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings \
                       with formats are allowed.";
            errors.invalid(&item, given, why);
        }
        check::unique(&item, given, &mut seen, errors);
    }
    check::at_most(path, seen.len(), SELECTABLE_MOST, errors);
}

/// The type of the field at a dotted path.
fn find<'a>(schema: &'a Value, path: &str) -> Result<&'a str, String> {
    let Some(rest) = path.strip_prefix('.') else {
        let first = path.split(['.', '[']).next().unwrap_or(path);
        return Err("expected [ or . but got: ".to_owned() + first);
    };
    if rest.contains('[') {
        return Err("array notation is not allowed".to_owned());
    }
    let mut place = schema;
    for name in rest.split('.') {
        place = at(place, "properties")
            .and_then(|properties| properties.get(name))
            .ok_or_else(|| "does not refer to a valid field".to_owned())?;
    }
    Ok(place["type"].as_str().unwrap_or(""))
}

/// Whether a schema of these versions fills in anything.
pub fn has_defaults(versions: &[Value]) -> bool {
    let mut found = false;
    for schema in versions.iter().filter_map(|it| at(it, "schema.openAPIV3Schema")) {
        walk(schema, &mut |place| found |= place.get("default").is_some());
    }
    found
}

/// What users are warned of: formats that nobody checks, and sets of what is no scalar.
pub fn warnings(crd: &Object) -> Vec<String> {
    let (mut formats, mut sets) = (Vec::new(), Vec::new());
    for version in crd.list("spec.versions") {
        if let Some(schema) = at(version, "schema.openAPIV3Schema") {
            walk(schema, &mut |schema| {
                let format = schema["format"].as_str().unwrap_or("");
                if !format.is_empty() && !KNOWN_FORMATS.contains(&format) {
                    formats.push(format!("unrecognized format {format:?}"));
                }
                let items = schema["items"]["type"].as_str().unwrap_or("");
                if schema["x-kubernetes-list-type"] == "set" && matches!(items, "object" | "array")
                {
                    sets.push(format!(
                        "x-kubernetes-list-type: set for items of type {items:?} is not supported by server-side \
                         apply or CEL validation rules"
                    ));
                }
            });
        }
    }
    sets.sort();
    sets.dedup();
    formats.extend(sets);
    formats
}

fn walk(schema: &Value, see: &mut impl FnMut(&Value)) {
    see(schema);
    for (_, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, see);
    }
    for below in ["items", "additionalProperties", "not"] {
        if schema[below].is_object() {
            walk(&schema[below], see);
        }
    }
    for below in ["allOf", "anyOf", "oneOf"] {
        schema[below].as_array().into_iter().flatten().for_each(|it| walk(it, see));
    }
}
