//! How messages print parts of a pod: with the names and in the order of upstream's own types, which differ from the
//! API's. `internal.txt` has the facts: a structure and its fields in a line each.

use skiff_api::errors::{ErrorType, Errors, Path};
use skiff_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

struct Field {
    shown: &'static str,
    name: &'static str,
    /// Empty takes the fields of `shown` in.
    type_: &'static str,
}

/// The structures by their names.
static TABLE: LazyLock<HashMap<&'static str, Vec<Field>>> = LazyLock::new(|| {
    let mut table: HashMap<&str, Vec<Field>> = HashMap::new();
    let mut current = "";
    for line in include_str!("../internal.txt").lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [name] => current = name,
            ["+", taken] => {
                table.entry(current).or_default().push(Field { shown: taken, name: "", type_: "" })
            }
            [shown, name, type_] => {
                table.entry(current).or_default().push(Field { shown, name, type_ })
            }
            _ => {}
        }
    }
    table
});

/// `field: Invalid value: {...}: why`, with the value printed as a structure.
pub fn invalid(errors: &mut Errors, path: &Path, structure: &str, value: &Value, why: &str) {
    let mut out = Out { text: String::new(), indent: None };
    out.structure(structure, Some(value));
    errors.push(ErrorType::Invalid, path, format!("Invalid value: {}: {why}", out.text));
}

/// `field: Duplicate value: {...}`.
pub fn duplicate(errors: &mut Errors, path: &Path, structure: &str, value: &Value) {
    let mut out = Out { text: String::new(), indent: None };
    out.structure(structure, Some(value));
    errors.push(ErrorType::Duplicate, path, format!("Duplicate value: {}", out.text));
}

/// The same for a list of structures.
pub fn invalid_list(errors: &mut Errors, path: &Path, structure: &str, list: &[Value], why: &str) {
    let mut out = Out { text: String::new(), indent: None };
    match list {
        [] => out.text.push_str("null"),
        list => out.items(list, |out, item| out.structure(structure, Some(item))),
    }
    errors.push(ErrorType::Invalid, path, format!("Invalid value: {}: {why}", out.text));
}

/// The same for a LabelSelector.
pub fn invalid_selector(errors: &mut Errors, path: &Path, selector: &Value, why: &str) {
    let mut out = Out { text: String::new(), indent: None };
    out.selector(selector);
    let colon = if why.is_empty() { "" } else { ": " };
    errors.push(ErrorType::Invalid, path, format!("Invalid value: {}{colon}{why}", out.text));
}

/// `field: Unsupported value: {...}: supported values: ...`.
pub fn not_supported(
    errors: &mut Errors,
    path: &Path,
    structure: &str,
    value: &Value,
    known: &str,
) {
    let mut out = Out { text: String::new(), indent: None };
    out.structure(structure, Some(value));
    let body = format!("Unsupported value: {}: supported values: {known}", out.text);
    errors.push(ErrorType::NotSupported, path, body);
}

/// The lines of a structure, indented by one space at each depth.
pub fn pretty(structure: &str, value: &Value) -> String {
    let mut out = Out { text: String::new(), indent: Some(0) };
    out.structure(structure, Some(value));
    out.text
}

struct Out {
    text: String,
    /// The depth where lines are broken; `None` writes one line.
    indent: Option<usize>,
}

impl Out {
    fn open(&mut self, mark: char) {
        self.text.push(mark);
        self.indent = self.indent.map(|depth| depth + 1);
    }

    fn close(&mut self, mark: char) {
        self.indent = self.indent.map(|depth| depth - 1);
        self.line();
        self.text.push(mark);
    }

    fn line(&mut self) {
        if let Some(depth) = self.indent {
            self.text.push('\n');
            self.text.push_str(&" ".repeat(depth));
        }
    }

    /// The name of a member, after a comma when it is not the first.
    fn member(&mut self, name: &str, first: &mut bool) {
        if !std::mem::replace(first, false) {
            self.text.push(',');
        }
        self.line();
        self.scalar(&Value::String(name.to_owned()));
        self.text.push_str(if self.indent.is_some() { ": " } else { ":" });
    }

    fn structure(&mut self, name: &str, value: Option<&Value>) {
        self.open('{');
        let mut first = true;
        self.fields(name, value, &mut first);
        self.close('}');
    }

    fn fields(&mut self, name: &str, value: Option<&Value>, first: &mut bool) {
        for field in TABLE.get(name).map_or(&[][..], Vec::as_slice) {
            let found =
                value.and_then(|value| value.get(field.name)).filter(|found| !found.is_null());
            match field.type_ {
                "" => self.fields(field.shown, value, first),
                "meta" => {
                    for part in ["name", "labels", "annotations", "finalizers"] {
                        if let Some(map) = found.and_then(|meta| meta.get(part)) {
                            self.member(part, first);
                            self.any(map);
                        }
                    }
                }
                type_ => {
                    self.member(field.shown, first);
                    self.value(type_, found);
                }
            }
        }
    }

    fn value(&mut self, type_: &str, value: Option<&Value>) {
        let inner = type_.split_once(':').map_or("", |(_, inner)| inner);
        match (type_.split(':').next().unwrap_or(""), value) {
            ("struct", value) => self.structure(inner, value),
            ("string", None) => self.text.push_str("\"\""),
            ("number" | "intstr", None) => self.text.push('0'),
            ("bool", None) => self.text.push_str("false"),
            ("quantity", None) => self.text.push_str("\"0\""),
            (_, None) => self.text.push_str("null"),
            ("list", Some(Value::Array(items))) if items.is_empty() => self.text.push_str("null"),
            ("list", Some(Value::Array(items))) => self.items(items, |out, item| {
                if inner.is_empty() { out.any(item) } else { out.value(inner, Some(item)) }
            }),
            ("map", Some(Value::Object(map))) if map.is_empty() => self.text.push_str("null"),
            ("ptr", Some(value)) if !inner.is_empty() => self.value(inner, Some(value)),
            ("selector", Some(value)) => self.selector(value),
            (_, Some(value)) => self.any(value),
        }
    }

    fn items(&mut self, items: &[Value], mut each: impl FnMut(&mut Out, &Value)) {
        self.open('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            self.line();
            each(self, item);
        }
        self.close(']');
    }

    /// A LabelSelector has the API's own names, in the order of its type.
    fn selector(&mut self, selector: &Value) {
        let Some(map) = selector.as_object() else { return self.text.push_str("null") };
        if map.is_empty() {
            return self.text.push_str("{}");
        }
        self.ordered(map, &["matchLabels", "matchExpressions", "key", "operator", "values"]);
    }

    fn ordered(&mut self, map: &skiff_json::Map, order: &[&str]) {
        self.open('{');
        let mut first = true;
        for (name, value) in order.iter().filter_map(|name| Some((*name, map.get(name)?))) {
            self.member(name, &mut first);
            match value {
                Value::Array(items) if name == "matchExpressions" => {
                    self.items(items, |out, item| out.selector(item));
                }
                value => self.any(value),
            }
        }
        self.close('}');
    }

    fn any(&mut self, value: &Value) {
        match value {
            Value::Object(map) if map.is_empty() => self.text.push_str("{}"),
            Value::Array(items) if items.is_empty() => self.text.push_str("[]"),
            Value::Object(map) => {
                self.open('{');
                let mut first = true;
                let mut members: Vec<_> = map.iter().collect();
                members.sort_by_key(|(name, _)| name.as_str());
                for (name, value) in members {
                    self.member(name, &mut first);
                    self.any(value);
                }
                self.close('}');
            }
            Value::Array(items) => self.items(items, |out, item| out.any(item)),
            scalar => self.scalar(scalar),
        }
    }

    fn scalar(&mut self, value: &Value) {
        let text = value.to_string();
        self.text.push_str(
            &text.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn structures_print_with_all_their_fields() {
        let mut errors = Errors::new();
        let profile = json!({"type": "Unconfined", "localhostProfile": "x"});
        invalid(&mut errors, &Path::new("a"), "SeccompProfile", &profile, "no");
        assert_eq!(
            errors.text(),
            r#"a: Invalid value: {"Type":"Unconfined","LocalhostProfile":"x"}: no"#
        );
        let lines = pretty("PodSpec", &json!({"nodeSelector": {"a": "b"}}));
        assert!(lines.starts_with("{\n \"Volumes\": null,\n"), "{lines}");
        assert!(lines.contains(" \"NodeSelector\": {\n  \"a\": \"b\"\n },\n"), "{lines}");
    }
}
