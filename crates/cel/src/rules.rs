//! The rules of a custom resource's schema (`x-kubernetes-validations`): compiled once for a
//! definition, in a tree of the places that have some, and judged over each object (KEP-2876), with what did not change
//! let be (KEP-4008).

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_api::kind::Judged;
use skiff_api::schema::fault::{Fault, Reason};
use skiff_api::schema::items::ByIdentity;
use skiff_json::{Map, Value as Json};

use crate::decl::{Decl, Place};
use crate::definition::field_path;
use crate::env::{Bindings, Env};
use crate::fault::Stage;
use crate::run::{Budget, Program, RunError};
use crate::types::Type;
use crate::value::Value;

/// Upstream's bound of a message that an expression makes, in bytes.
const LONGEST_MESSAGE: usize = 5 * 1024;
/// The parts that all rules of a schema may have together, some hundred bytes each: they are held while it is served.
/// Upstream bounds neither; a cheap rule that doubles could stand in a definition thousands of times.
pub const MOST_PARTS: usize = 500_000;
const SPENT: &str = "validation failed due to running out of cost budget, no further validation \
                     rules will be run";

/// All rules of one schema.
pub struct Rules {
    root: Node,
}

/// A place of the schema at or below which there are rules.
struct Node {
    decl: Arc<Decl>,
    /// The type that the schema says, as messages show it.
    kind: String,
    envs: Envs,
    rules: Vec<Rule>,
    /// The keys that elements of a list are known by.
    keys: Option<Vec<String>>,
    items: Option<Box<Node>>,
    values: Option<Box<Node>>,
    properties: BTreeMap<String, Node>,
}

/// The environments of rules: the old value as it is, or as what may be missing.
pub struct Envs {
    pub plain: Env,
    pub optional: Env,
}

pub struct Rule {
    /// The rule, or why it cannot be judged; none where it is empty.
    pub program: Option<Result<Program, String>>,
    pub message: Option<Result<Program, String>>,
    text: String,
    said: String,
    reason: String,
    field_path: Option<String>,
    old: Old,
}

/// What a rule makes of an old value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Old {
    Unused,
    /// The rule is judged only where there is one.
    Needed,
    Optional,
}

impl Envs {
    pub fn of(decl: &Arc<Decl>) -> Envs {
        let optional = Type::optional(decl.kind());
        Envs {
            plain: Env::default().declared("self", decl).declared("oldSelf", decl),
            optional: Env::default().declared("self", decl).declared_as("oldSelf", optional, decl),
        }
    }
}

impl Rule {
    /// Compiles a rule of a schema.
    pub fn of(rule: &Json, schema: &Json, envs: &Envs) -> Rule {
        let text = |key: &str| rule[key].as_str().unwrap_or_default();
        let optional = rule["optionalOldSelf"] == true;
        let env = if optional { &envs.optional } else { &envs.plain };
        let compiled = |text: &str, wanted: &Type, before: &str, wrong: &str| match Program::compile(
            env, text,
        ) {
            Err(faults) => Err(match (faults.stage(), before) {
                (Stage::Compilation, _) => format!("{before}compilation failed: {faults}"),
                (_, "") => format!("program instantiation failed: {faults}"),
                _ => format!("{before}instantiation failed: {faults}"),
            }),
            Ok(program) if program.result() != wanted => Err(wrong.to_string()),
            Ok(program) => Ok(program),
        };
        let not_bool = "cel expression must evaluate to a bool";
        let not_text = "messageExpression must evaluate to a string";
        let program = (!text("rule").trim().is_empty())
            .then(|| compiled(text("rule"), &Type::Bool, "", not_bool));
        let sound = matches!(&program, Some(Ok(_)));
        let message = (sound && !text("messageExpression").is_empty()).then(|| {
            compiled(text("messageExpression"), &Type::String, "messageExpression ", not_text)
        });
        let reads = matches!(&program, Some(Ok(it)) if it.reads("oldSelf"));
        let path = text("fieldPath");
        Rule {
            program,
            message,
            text: text("rule").trim().to_string(),
            said: text("message").trim().to_string(),
            reason: text("reason").to_string(),
            field_path: field_path(path, schema).filter(|_| !path.is_empty()),
            old: match (reads, optional) {
                (false, _) => Old::Unused,
                (true, false) => Old::Needed,
                (true, true) => Old::Optional,
            },
        }
    }

    /// One for which there is no room. No definition has such a rule, unless it was written when there was more.
    fn refused() -> Rule {
        Rule {
            program: Some(Err(no_room())),
            message: None,
            text: String::new(),
            said: String::new(),
            reason: String::new(),
            field_path: None,
            old: Old::Unused,
        }
    }

    /// Whether it reads the old value.
    pub fn uses_old(&self) -> bool {
        self.old != Old::Unused
    }

    /// How many parts its expressions have.
    pub fn parts(&self) -> usize {
        let both = [&self.program, &self.message];
        both.into_iter().flatten().flatten().map(Program::parts).sum()
    }

    /// What it is called in messages.
    fn shown(&self) -> &str {
        if self.said.is_empty() { &self.text } else { &self.said }
    }

    fn detail(&self) -> String {
        match self.said.is_empty() {
            true => format!("failed rule: {}", self.text),
            false => self.said.clone(),
        }
    }
}

impl Rules {
    /// The rules of a schema; none if it has none.
    pub fn of(schema: &Json, place: Place) -> Option<Rules> {
        if !has_rules(schema) {
            return None;
        }
        let decl = Decl::of(schema, place, "selfType")?;
        Some(Rules { root: Node::of(schema, &decl, &mut 0)? })
    }

    /// What of a value that stands at `path` is broken, whether or not it was so before.
    pub fn faults(
        &self,
        path: &str,
        new: &Json,
        old: Option<&Json>,
        budget: &mut Budget,
    ) -> Vec<Fault> {
        let mut walk = Walk { found: Judged::default(), budget: *budget };
        let change = Change { now: None, above: None };
        // Running out of budget ends the walk; the fault says so.
        let _ = walk.place(&self.root, path, new, old, change);
        *budget = walk.budget;
        walk.found.faults
    }
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, to: &mut std::fmt::Formatter) -> std::fmt::Result {
        to.write_str("Rules")
    }
}

impl skiff_api::kind::Rules for Rules {
    fn judge(&self, new: &Json, old: Option<&Json>) -> Judged {
        let mut walk = Walk { found: Judged::default(), budget: Budget::of_request() };
        let change = Change { now: old.map(|old| (new, old, &self.root)), above: None };
        // Running out of budget ends the walk; the fault says so.
        let _ = walk.place(&self.root, "", new, old, change);
        walk.found
    }
}

/// Why further rules are refused.
pub fn no_room() -> String {
    format!("rules may have {MOST_PARTS} parts together, macros expanded")
}

/// Whether there are rules in a schema.
fn has_rules(schema: &Json) -> bool {
    let some = |it: &Json| it.as_array().is_some_and(|it| !it.is_empty());
    let all = |it: &Json| it.as_object().is_some_and(|it| it.values().any(has_rules));
    some(&schema["x-kubernetes-validations"])
        || all(&schema["properties"])
        || ["items", "additionalProperties"]
            .iter()
            .any(|it| schema[*it].is_object() && has_rules(&schema[*it]))
}

impl Node {
    /// `parts` is how many all rules so far have.
    fn of(schema: &Json, decl: &Arc<Decl>, parts: &mut usize) -> Option<Node> {
        if !has_rules(schema) {
            return None;
        }
        let envs = Envs::of(decl);
        let mut rules = Vec::new();
        for it in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let rule = match *parts > MOST_PARTS {
                true => Rule::refused(),
                false => Rule::of(it, schema, &envs),
            };
            *parts += rule.parts();
            rules.push(rule);
        }
        let mut below = |it: &Json| {
            let node = decl.elements().and_then(|decl| Node::of(it, decl, parts));
            node.map(Box::new)
        };
        let (items, values) = (below(&schema["items"]), below(&schema["additionalProperties"]));
        let mut properties = BTreeMap::new();
        for (name, it) in schema["properties"].as_object().into_iter().flatten() {
            let declared = match &decl.shape {
                crate::decl::Shape::Object(of) => of.known.get(name),
                _ => None,
            };
            if let Some(node) = declared.and_then(|decl| Node::of(it, decl, parts)) {
                properties.insert(name.clone(), node);
            }
        }
        let keys = schema["x-kubernetes-list-map-keys"]
            .as_array()
            .map(|keys| keys.iter().filter_map(|it| it.as_str().map(str::to_string)).collect());
        Some(Node {
            decl: decl.clone(),
            kind: schema["type"].as_str().unwrap_or_default().to_string(),
            rules,
            envs,
            keys: keys.filter(|_| schema["x-kubernetes-list-type"] == "map"),
            items,
            values,
            properties,
        })
    }

    fn same(&self, new: &Json, old: &Json) -> bool {
        match (new, old, &self.keys) {
            (Json::Array(new), Json::Array(old), Some(keys)) => {
                let old_ones = ByIdentity::of(old, keys);
                let same = |it: &Json| old_ones.like(it, keys) == Some(it);
                new.len() == old.len() && new.iter().all(same)
            }
            _ => new == old,
        }
    }
}

/// The old value of a place, if it can be told, and that of the next place above that has one.
#[derive(Clone, Copy)]
struct Change<'a> {
    now: Option<(&'a Json, &'a Json, &'a Node)>,
    above: Option<(&'a Json, &'a Json, &'a Node)>,
}

impl<'a> Change<'a> {
    /// What was wrong before and is still the same is told as a warning only.
    fn unchanged(&self) -> bool {
        self.now.or(self.above).is_some_and(|(new, old, node)| node.same(new, old))
    }

    fn below(&self, node: &'a Node, new: &'a Json, old: Option<&'a Json>) -> Change<'a> {
        match self.now {
            None => *self,
            Some(_) => Change { now: old.map(|old| (new, old, node)), above: self.now },
        }
    }
}

/// The budget is spent: nothing further is judged.
struct Spent;

struct Walk {
    found: Judged,
    budget: Budget,
}

impl Walk {
    fn place<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        new: &'a Json,
        old: Option<&'a Json>,
        change: Change<'a>,
    ) -> Result<(), Spent> {
        if new.is_null() {
            return Ok(());
        }
        self.rules(node, path, new, old.filter(|it| !it.is_null()), &change)?;
        match new {
            Json::Array(new) => self.list(node, path, new, old, change),
            Json::Object(new) => self.object(node, path, new, old, change),
            _ => Ok(()),
        }
    }

    fn list<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        new: &'a [Json],
        old: Option<&'a Json>,
        change: Change<'a>,
    ) -> Result<(), Spent> {
        let Some(items) = &node.items else { return Ok(()) };
        // Only what has keys can be told from the others of an old list.
        let keys = node.keys.as_deref().zip(old.and_then(Json::as_array));
        let old = keys.map(|(keys, old)| (keys, ByIdentity::of(old, keys)));
        for (index, it) in new.iter().enumerate() {
            let before = old.as_ref().and_then(|(keys, old)| old.like(it, keys));
            let path = format!("{path}[{index}]");
            self.place(items, &path, it, before, change.below(items, it, before))?;
        }
        Ok(())
    }

    fn object<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        new: &'a Map,
        old: Option<&'a Json>,
        change: Change<'a>,
    ) -> Result<(), Spent> {
        for (name, it) in new {
            let before = old.and_then(|old| old.get(name));
            let (below, path) = match (&node.values, node.properties.get(name)) {
                (Some(values), _) => (&**values, format!("{path}[{name}]")),
                (None, Some(property)) if path.is_empty() => (property, name.clone()),
                (None, Some(property)) => (property, format!("{path}.{name}")),
                (None, None) => continue,
            };
            self.place(below, &path, it, before, change.below(below, it, before))?;
        }
        Ok(())
    }

    fn rules(
        &mut self,
        node: &Node,
        path: &str,
        new: &Json,
        old: Option<&Json>,
        change: &Change,
    ) -> Result<(), Spent> {
        if node.rules.is_empty() {
            return Ok(());
        }
        let path = if path.is_empty() { "<nil>" } else { path };
        if self.budget.left == 0 {
            self.wrong(node, path, SPENT);
            return Err(Spent);
        }
        let this = match Value::of(new, &node.decl) {
            Ok(it) => it,
            Err(error) => {
                self.wrong(node, path, &error.to_string());
                return Ok(());
            }
        };
        let before = old.and_then(|it| Value::of(it, &node.decl).ok());
        let plain = node.envs.plain.bindings().set("self", this.clone());
        let plain = match &before {
            Some(it) => plain.set("oldSelf", it.clone()),
            None => plain,
        };
        let optional = Value::Optional(before.map(Arc::new));
        let optional = node.envs.optional.bindings().set("self", this).set("oldSelf", optional);
        for rule in &node.rules {
            if rule.old == Old::Needed && old.is_none() {
                continue;
            }
            let bindings = if rule.old == Old::Optional { &optional } else { &plain };
            self.rule(node, rule, path, new, bindings, change)?;
        }
        Ok(())
    }

    fn rule(
        &mut self,
        node: &Node,
        rule: &Rule,
        path: &str,
        new: &Json,
        bindings: &Bindings,
        change: &Change,
    ) -> Result<(), Spent> {
        let program = match &rule.program {
            None => return Ok(()),
            Some(Ok(program)) => program,
            Some(Err(why)) => {
                self.wrong(node, path, &format!("rule compile error: {why}"));
                return Ok(());
            }
        };
        match program.run(bindings, &mut self.budget) {
            Ok(Value::Bool(true)) => return Ok(()),
            Ok(_) => {}
            Err(RunError::Budget) => {
                self.wrong(node, path, SPENT);
                return Err(Spent);
            }
            Err(error @ RunError::Cost) => {
                self.wrong(node, path, &format!(
                    "'{error}': no further validation rules will be run due to call cost exceeds \
                     limit for rule: {}",
                    rule.shown()
                ));
                return Err(Spent);
            }
            Err(RunError::Evaluation(error)) if error.starts_with("no such overload") => {
                self.wrong(
                    node,
                    path,
                    &format!(
                        "'{error}': call arguments did not match a supported operator, function or \
                     macro signature for rule: {}",
                        rule.shown()
                    ),
                );
                return Ok(());
            }
            Err(error) => {
                self.wrong(node, path, &format!("{error} evaluating rule: {}", rule.shown()));
                return Ok(());
            }
        }
        let path = match &rule.field_path {
            Some(below) if below.starts_with('[') => format!("{path}{below}"),
            Some(below) => format!("{path}.{below}"),
            None => path.to_string(),
        };
        let (detail, ended) = match self.message(rule, bindings) {
            Ok(detail) => (detail.unwrap_or_else(|| rule.detail()), Ok(())),
            Err(why) => {
                let value = Json::from(node.kind.as_str());
                self.add(rule, change, Fault::invalid(path, &value, &why));
                return Err(Spent);
            }
        };
        self.add(rule, change, broken(node, rule, path, new, &detail));
        ended
    }

    /// What the rule's message expression says, if it says something that can be shown.
    fn message(&mut self, rule: &Rule, bindings: &Bindings) -> Result<Option<String>, String> {
        let Some(Ok(program)) = &rule.message else { return Ok(None) };
        match program.run(bindings, &mut self.budget) {
            Ok(Value::Text(it)) => {
                let it = it.as_str().trim();
                let fits = !it.is_empty() && it.len() <= LONGEST_MESSAGE && !it.contains('\n');
                Ok(fits.then(|| it.to_string()))
            }
            Err(RunError::Budget) => Err("messageExpression evaluation failed due to running out \
                                          of cost budget, no further validation rules will be run"
                .to_string()),
            Err(RunError::Cost) => Err("no further validation rules will be run due to call cost \
                                        exceeds limit for messageExpression"
                .to_string()),
            _ => Ok(None),
        }
    }

    fn add(&mut self, rule: &Rule, change: &Change, fault: Fault) {
        match !rule.uses_old() && change.unchanged() {
            true => self.found.ratcheted.push(fault),
            false => self.found.faults.push(fault),
        }
    }

    fn wrong(&mut self, node: &Node, path: &str, detail: &str) {
        let value = Json::from(node.kind.as_str());
        self.found.faults.push(Fault::invalid(path, &value, detail));
    }
}

/// The fault of a rule that does not hold; objects and lists are not shown in it.
fn broken(node: &Node, rule: &Rule, path: String, new: &Json, detail: &str) -> Fault {
    let whole = ["object", "array"].contains(&node.kind.as_str());
    match rule.reason.as_str() {
        "FieldValueForbidden" => Fault::forbidden(path, detail),
        "FieldValueRequired" => Fault::required(path, detail),
        "FieldValueDuplicate" if whole => {
            Fault { path, reason: Reason::Duplicate, message: "Duplicate value".to_string() }
        }
        "FieldValueDuplicate" => Fault::duplicate(path, new),
        _ if whole => {
            Fault { path, reason: Reason::Invalid, message: format!("Invalid value: {detail}") }
        }
        _ => Fault::invalid(path, new, detail),
    }
}
