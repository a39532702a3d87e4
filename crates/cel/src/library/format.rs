//! Named formats (Kubernetes' `format`): what is wrong with a text as a name, a label or a date.

use skiff_api::{names, schema};

use super::{Function, text};
use crate::run::RunError;
use crate::value::Value;

pub struct Format {
    pub name: &'static str,
    /// The length of the pattern that it stands for: its cost.
    pub pattern_length: u64,
    problems: fn(&str) -> Vec<String>,
}

static FORMATS: &[(&str, Format)] = &[
    ("format.dns1123Label", of("DNS1123Label", 30, names::label)),
    ("format.dns1123Subdomain", of("DNS1123Subdomain", 60, names::subdomain)),
    ("format.dns1035Label", of("DNS1035Label", 30, names::label1035)),
    ("format.qualifiedName", of("QualifiedName", 60, names::qualified)),
    ("format.dns1123LabelPrefix", of("DNS1123LabelPrefix", 30, |it| names::label(&prefix(it)))),
    (
        "format.dns1123SubdomainPrefix",
        of("DNS1123SubdomainPrefix", 60, |it| names::subdomain(&prefix(it))),
    ),
    ("format.dns1035LabelPrefix", of("DNS1035LabelPrefix", 30, |it| names::label1035(&prefix(it)))),
    ("format.labelValue", of("LabelValue", 40, names::label_value)),
    ("format.uri", of("URI", 2000, |it| super::url::parse(it).err().into_iter().collect())),
    ("format.uuid", of("uuid", 77, |it| formatted("uuid", it, "does not match the UUID format"))),
    ("format.byte", of("byte", 69, |it| formatted("byte", it, "invalid base64"))),
    ("format.date", of("date", 123, |it| formatted("date", it, "invalid date"))),
    ("format.datetime", of("datetime", 123, |it| formatted("date-time", it, "invalid datetime"))),
];

const fn of(name: &'static str, pattern_length: u64, problems: fn(&str) -> Vec<String>) -> Format {
    Format { name, pattern_length, problems }
}

/// What the server would make of a prefix: a dash at its end stands for what follows.
fn prefix(it: &str) -> String {
    match it.strip_suffix('-').filter(|it| !it.is_empty()) {
        Some(rest) => format!("{rest}a"),
        None => it.to_string(),
    }
}

fn formatted(format: &str, it: &str, wrong: &str) -> Vec<String> {
    match schema::format::matches(format, it) {
        true => Vec::new(),
        false => vec![wrong.to_string()],
    }
}

fn named<'a>(name: &str) -> Option<Value<'a>> {
    FORMATS.iter().find(|it| it.0 == name).map(|it| Value::Format(&it.1))
}

pub fn find(name: &str) -> Option<Function> {
    Some(match name {
        "validate" => validate,
        "format.named" => |args| {
            let found = named(&format!("format.{}", text(args, 0)?));
            Ok(found.map_or(Value::Optional(None), Value::some))
        },
        "format.dns1123Label" => |_| constant("format.dns1123Label"),
        "format.dns1123Subdomain" => |_| constant("format.dns1123Subdomain"),
        "format.dns1035Label" => |_| constant("format.dns1035Label"),
        "format.qualifiedName" => |_| constant("format.qualifiedName"),
        "format.dns1123LabelPrefix" => |_| constant("format.dns1123LabelPrefix"),
        "format.dns1123SubdomainPrefix" => |_| constant("format.dns1123SubdomainPrefix"),
        "format.dns1035LabelPrefix" => |_| constant("format.dns1035LabelPrefix"),
        "format.labelValue" => |_| constant("format.labelValue"),
        "format.uri" => |_| constant("format.uri"),
        "format.uuid" => |_| constant("format.uuid"),
        "format.byte" => |_| constant("format.byte"),
        "format.date" => |_| constant("format.date"),
        "format.datetime" => |_| constant("format.datetime"),
        _ => return None,
    })
}

fn constant<'a>(name: &str) -> Result<Value<'a>, RunError> {
    named(name).ok_or_else(RunError::no_overload)
}

fn validate<'a>(args: &[Value<'a>]) -> Result<Value<'a>, RunError> {
    let Some(Value::Format(format)) = args.first() else { return Err(RunError::no_overload()) };
    let found = (format.problems)(text(args, 1)?);
    Ok(match found.is_empty() {
        true => Value::Optional(None),
        false => Value::some(Value::list(found.into_iter().map(Value::text).collect())),
    })
}
