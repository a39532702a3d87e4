//! Validates a custom resource against its schema, in the words of upstream's validator.
//!
//! The order of checks within one place is upstream's (type, logical, text, number, list, enum,
//! object), and so is what a failed `anyOf` says: itself first, then the faults of the alternative
//! that came nearest. Faults of different fields come in the order of names.

use std::borrow::Cow;

use skiff_json::{Map, Value};

use super::fault::{Fault, number, shown};
use super::items::{ByIdentity, identity};
use super::{Node, Ref, Rules, Shape, Topology, format};

/// All faults of a value. `prefix` stands before every path; it is empty for a whole object.
pub fn validate(value: &Value, node: &Node, prefix: &str) -> Vec<Fault> {
    validate_update((value, None), node, prefix)
}

/// The faults of a value that an older one has not already: what is the same as it was, where that can be told, is let
/// be (KEP-4008). Fields are found by their names and items by their keys; those of other lists are all new.
pub fn validate_update(now: Change<'_>, node: &Node, prefix: &str) -> Vec<Fault> {
    let (value, old) = now;
    let walk = Walk { prefix };
    let mut faults = walk.place(now, Some(node), rules(node), "").faults;
    let (mut twice, mut before) = (Vec::new(), Vec::new());
    walk.lists(value, node, "", &mut twice);
    if let Some(old) = old.filter(|_| !twice.is_empty()) {
        walk.lists(old, node, "", &mut before);
    }
    if before.is_empty() {
        faults.append(&mut twice);
    }
    faults
}

/// What stands in a place, and what stood there, if that can be told.
pub type Change<'v> = (&'v Value, Option<&'v Value>);

struct Walk<'a> {
    prefix: &'a str,
}

/// What one place yields; `passed` counts checks, by which the nearest alternative is chosen.
#[derive(Default)]
struct Outcome {
    faults: Vec<Fault>,
    passed: usize,
}

impl Outcome {
    fn merge(&mut self, other: Outcome) {
        self.faults.extend(other.faults);
        self.passed += other.passed;
    }
}

/// The items that a list had, and the keys that each is known by: where there are none, which was which cannot be told.
type Before<'v> = Option<(ByIdentity<'v>, &'v [Cow<'static, str>])>;

fn before<'v>(node: Option<&'v Node>, old: Option<&'v Value>) -> Before<'v> {
    match (&node?.topology, old?) {
        (Topology::Keyed(keys), Value::Array(items)) => Some((ByIdentity::of(items, keys), keys)),
        _ => None,
    }
}

impl Walk<'_> {
    /// Checks one place: its shape, if it has one, and rules, which may come from elsewhere.
    fn place(
        &self,
        now: Change<'_>,
        node: Option<&Node>,
        rules: Option<&Rules>,
        name: &str,
    ) -> Outcome {
        let mut out = Outcome { passed: 1, ..Outcome::default() };
        let (value, old) = now;
        if old == Some(value) {
            return out;
        }
        let shape = node.map_or(&Shape::Any, |it| &it.shape);
        let nullable = rules.is_some_and(|it| it.nullable);
        match type_fault(value, shape, nullable) {
            None => out.passed += 1,
            Some((wanted, found)) => {
                let detail = format!("{name} in body must be of type {wanted}: {found:?}");
                out.faults.push(Fault::type_invalid(self.at(name), &found.into(), &detail));
            }
        }
        let none = Rules::default();
        let rules = rules.unwrap_or(&none);
        if !value.is_null() {
            out.merge(self.logical(now, rules, name));
            match value {
                Value::String(text) => self.text(text, rules, name, &mut out.faults),
                Value::Number(_) => self.number(value, shape, rules, name, &mut out.faults),
                Value::Array(items) => {
                    out.merge(self.list((items, before(node, old)), shape, rules, name));
                }
                _ => {}
            }
        }
        if let Some(allowed) = &rules.allowed
            && !allowed.iter().any(|it| same(it, value))
        {
            let texts: Vec<String> = allowed
                .iter()
                .map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_string))
                .collect();
            out.faults.push(Fault::not_supported(self.at(name), value, &texts));
        }
        if let Value::Object(map) = value {
            out.merge(self.object((map, old), shape, rules, name));
        }
        out
    }

    fn text(&self, text: &str, rules: &Rules, name: &str, faults: &mut Vec<Fault>) {
        let length = text.chars().count() as u64;
        let invalid = |detail: String| Fault::invalid(self.at(name), &text.into(), &detail);
        if let Some(most) = rules.max_length.filter(|most| length > *most) {
            faults.push(Fault::too_long(self.at(name), most));
        } else if let Some(least) = rules.min_length.filter(|least| length < *least) {
            faults.push(invalid(format!("{name} in body should be at least {least} chars long")));
        } else if let Some(pattern) = rules.pattern.as_ref().filter(|it| !it.is_match(text)) {
            faults.push(invalid(format!("{name} in body should match '{pattern}'")));
        }
        if let Some(format) = &rules.format
            && !format::matches(format, text)
        {
            let detail = format!("{name} in body must be of type {format}: {text:?}");
            faults.push(Fault::type_invalid(self.at(name), &text.into(), &detail));
        }
    }

    fn number(
        &self,
        value: &Value,
        shape: &Shape,
        rules: &Rules,
        name: &str,
        faults: &mut Vec<Fault>,
    ) {
        if matches!(shape, Shape::Int64)
            && let Some(kind) = out_of_range(value, rules.format.as_deref())
        {
            let detail = format!("Checked value must be of type integer {kind} in {name}");
            faults.push(self.composite(&detail));
        }
        let float = value.as_f64().unwrap_or(f64::NAN);
        // Upstream compares an integer with the whole part of a bound.
        let bound = |bound: f64| if value.is_f64() { bound } else { bound.trunc() };
        let mut check = |broken: bool, words: &str, bound: f64| {
            if broken {
                let detail = format!("{name} in body should be {words} {}", number(bound));
                faults.push(Fault::invalid(self.at(name), value, &detail));
            }
        };
        if let Some(of) = rules.multiple_of.map(bound).filter(|it| *it != 0.0) {
            check((float / of).fract() != 0.0, "a multiple of", of);
        }
        if let Some(least) = rules.minimum.map(bound) {
            match rules.exclusive_minimum {
                true => check(float <= least, "greater than", least),
                false => check(float < least, "greater than or equal to", least),
            }
        }
        if let Some(most) = rules.maximum.map(bound) {
            match rules.exclusive_maximum {
                true => check(float >= most, "less than", most),
                false => check(float > most, "less than or equal to", most),
            }
        }
    }

    fn list(
        &self,
        (items, before): (&[Value], Before<'_>),
        shape: &Shape,
        list: &Rules,
        name: &str,
    ) -> Outcome {
        let mut out = Outcome { passed: 2, ..Outcome::default() };
        let element = match shape {
            Shape::List(element) => Some(&**element),
            _ => None,
        };
        let own = element.and_then(rules);
        for (index, item) in items.iter().enumerate() {
            let place = format!("{name}[{index}]");
            let now = (item, before.as_ref().and_then(|(old, keys)| old.like(item, keys)));
            if element.is_some() {
                out.merge(self.place(now, element, own, &place));
            }
            if let Some(below) = &list.items {
                out.merge(self.place(now, None, Some(below), &place));
            }
        }
        if let Some(least) = list.min_items.filter(|it| (items.len() as u64) < *it) {
            let detail = format!("{name} in body should have at least {least} items");
            out.faults.push(Fault::invalid(self.at(name), &items.len().into(), &detail));
        }
        if let Some(most) = list.max_items.filter(|it| items.len() as u64 > *it) {
            out.faults.push(Fault::too_many(self.at(name), items.len(), most));
        }
        out
    }

    fn object(
        &self,
        (map, old): (&Map, Option<&Value>),
        shape: &Shape,
        own: &Rules,
        name: &str,
    ) -> Outcome {
        let mut out = Outcome { passed: 1, ..Outcome::default() };
        if let Some(least) = own.min_properties.filter(|it| (map.len() as u64) < *it) {
            let detail = format!("{name} in body should have at least {least} properties");
            out.faults.push(Fault::invalid(self.at(name), &map.len().into(), &detail));
        }
        if let Some(most) = own.max_properties.filter(|it| map.len() as u64 > *it) {
            out.faults.push(Fault::too_many(self.at(name), map.len(), most));
        }
        for (key, value) in map {
            let place = join(name, key);
            let now = (value, old.and_then(|it| it.get(key)));
            let below = match shape {
                Shape::Struct(of) => of.field(key).map(|it| &it.node),
                Shape::Map(element) => Some(&**element),
                _ => None,
            };
            if own.closed && !matches!(shape, Shape::Struct(_)) {
                let detail = format!("{name}.{key} in body is a forbidden property");
                out.faults.push(Fault::invalid(self.at(name), &key.as_str().into(), &detail));
            } else if let Some(below) = below {
                // Metadata is checked by the rules of metadata; here only what a schema adds.
                match is_built_in(below) {
                    true => out.merge(self.place(now, None, rules(below), &place)),
                    false => out.merge(self.place(now, Some(below), rules(below), &place)),
                }
            }
            for (_, rules) in own.properties.iter().filter(|(it, _)| it == key) {
                out.merge(self.place(now, None, Some(rules), &place));
            }
        }
        for key in own.required.iter().filter(|it| !map.contains_key(it)) {
            out.faults.push(Fault::required(self.at(&join(name, key)), ""));
        }
        if own.embedded_resource {
            for key in ["apiVersion", "kind"].iter().filter(|it| !map.contains_key(it)) {
                out.faults.push(Fault::required(self.at(&join(name, key)), ""));
            }
        }
        out
    }

    fn logical(&self, now: Change<'_>, rules: &Rules, name: &str) -> Outcome {
        let mut out = Outcome::default();
        if rules.any_of.is_empty()
            && rules.exactly_one_of.is_empty()
            && rules.all_of.is_empty()
            && rules.not.is_none()
        {
            return out;
        }
        let outcomes = |rules: &[Rules]| -> Vec<Outcome> {
            rules.iter().map(|it| self.place(now, None, Some(it), name)).collect()
        };
        let any = outcomes(&rules.any_of);
        if !any.is_empty() && !any.iter().any(|it| it.faults.is_empty()) {
            let detail = format!("{name:?} must validate at least one schema (anyOf)");
            out.faults.push(self.composite(&detail));
            out.merge(nearest(any));
        }
        let one = outcomes(&rules.exactly_one_of);
        let valid = one.iter().filter(|it| it.faults.is_empty()).count();
        if !one.is_empty() && valid != 1 {
            let found = match valid {
                0 => "Found none valid".to_string(),
                _ => format!("Found {valid} valid alternatives"),
            };
            let detail = format!("{name:?} must validate one and only one schema (oneOf). {found}");
            out.faults.push(self.composite(&detail));
            if valid == 0 {
                out.merge(nearest(one));
            }
        }
        let all = outcomes(&rules.all_of);
        let valid = all.iter().filter(|it| it.faults.is_empty()).count();
        let total = all.len();
        all.into_iter().for_each(|it| out.merge(it));
        if valid != total {
            let none = if valid == 0 { ". None validated" } else { "" };
            let detail = format!("{name:?} must validate all the schemas (allOf){none}");
            out.faults.push(self.composite(&detail));
        }
        if let Some(not) = &rules.not
            && self.place(now, None, Some(not), name).faults.is_empty()
        {
            let detail = format!("{name:?} must not validate the schema (not)");
            out.faults.push(self.composite(&detail));
        }
        out
    }

    /// Sets and keyed lists hold nothing twice.
    fn lists(&self, value: &Value, node: &Node, name: &str, faults: &mut Vec<Fault>) {
        match (&node.shape, value) {
            (Shape::Struct(of), Value::Object(map)) => {
                for (key, value) in map {
                    if let Some(field) = of.field(key).filter(|it| !is_built_in(&it.node)) {
                        self.lists(value, &field.node, &join(name, key), faults);
                    }
                }
            }
            (Shape::Map(element), Value::Object(map)) => {
                for (key, value) in map {
                    self.lists(value, element, &join(name, key), faults);
                }
            }
            (Shape::List(element), Value::Array(items)) => {
                self.unique(items, &node.topology, name, faults);
                for (index, item) in items.iter().enumerate() {
                    self.lists(item, element, &format!("{name}[{index}]"), faults);
                }
            }
            _ => {}
        }
    }

    fn unique(&self, items: &[Value], topology: &Topology, name: &str, faults: &mut Vec<Fault>) {
        let keys = match topology {
            Topology::Set => None,
            Topology::Keyed(keys) => Some(keys),
            Topology::Granular | Topology::Atomic => return,
        };
        let mut seen = ByIdentity::default();
        for (index, item) in items.iter().enumerate() {
            let place = || self.at(&format!("{name}[{index}]"));
            let known_by = match (keys, item) {
                (None, item) => vec![Some(item)],
                (Some(keys), Value::Object(_)) => identity(item, keys),
                (Some(_), item) => {
                    let detail = "must be an object for an array of list-type map";
                    faults.push(Fault::invalid(place(), item, detail));
                    continue;
                }
            };
            if !seen.add(known_by, item) {
                let shown = match (keys, item) {
                    (Some(keys), Value::Object(map)) => {
                        let pick = |key: &str| Some((key.to_string(), map.get(key)?.clone()));
                        Value::Object(keys.iter().filter_map(|it| pick(it)).collect())
                    }
                    _ => item.clone(),
                };
                faults.push(Fault::duplicate(place(), &shown));
            }
        }
    }

    fn at(&self, name: &str) -> String {
        match (self.prefix, name) {
            (prefix, "") => prefix.to_string(),
            ("", name) => name.to_string(),
            (prefix, name) => format!("{prefix}.{name}"),
        }
    }

    /// A fault of several schemas at once has no field; upstream prints the missing path so.
    fn composite(&self, detail: &str) -> Fault {
        let path = if self.prefix.is_empty() { "<nil>" } else { self.prefix };
        Fault::invalid(path, &"".into(), detail)
    }
}

fn nearest(outcomes: Vec<Outcome>) -> Outcome {
    let mut best = Outcome::default();
    for (index, it) in outcomes.into_iter().enumerate() {
        if index == 0 || it.passed > best.passed {
            best = it;
        }
    }
    best
}

fn rules(node: &Node) -> Option<&Rules> {
    node.rules.as_ref().map(|it| match it {
        Ref::Static(it) => *it,
        Ref::Shared(it) => &**it,
    })
}

fn is_built_in(node: &Node) -> bool {
    matches!(&node.shape, Shape::Struct(of) if !of.go.is_empty())
}

/// The wanted and the found type, where they differ.
fn type_fault(
    value: &Value,
    shape: &Shape,
    nullable: bool,
) -> Option<(&'static str, &'static str)> {
    let wanted = match shape {
        Shape::Any => return None,
        Shape::Bool => "boolean",
        Shape::Int32 | Shape::Int64 => "integer",
        Shape::Float => "number",
        Shape::IntOrString => "integer,string",
        Shape::Struct(_) | Shape::Map(_) => "object",
        Shape::List(_) => "array",
        _ => "string",
    };
    let found = match value {
        Value::Null if nullable => return None,
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(it) if it.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = wanted.split(',').any(|it| it == found) || (wanted, found) == ("number", "integer");
    (!fits).then_some((wanted, found))
}

/// How upstream names the integer type that a number does not fit.
fn out_of_range(value: &Value, format: Option<&str>) -> Option<&'static str> {
    let whole = value.as_i64();
    match format {
        Some("int32") if whole.is_none_or(|it| i32::try_from(it).is_err()) => {
            Some("with format int32")
        }
        Some("int64") if whole.is_none() => Some("with format int64"),
        _ if whole.is_none() => Some("(default format)"),
        _ => None,
    }
}

/// Equal as JSON values, whichever way a number was written.
fn same(a: &Value, b: &Value) -> bool {
    a == b || (a.is_number() && b.is_number() && shown(a) == shown(b))
}

fn join(name: &str, key: &str) -> String {
    if name.is_empty() { key.into() } else { format!("{name}.{key}") }
}
