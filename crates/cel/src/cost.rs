//! Estimates what an expression may cost at worst, from the sizes that schemas allow. Which rules a
//! definition may have is decided by it, so it is upstream's reckoning part by part.

use std::collections::HashMap;

use crate::ast::{Expr, Fold, Id, Kind, Literal, Test};
use crate::check::Checked;
use crate::decl::Decl;
use crate::env::Env;
use crate::price::{PATTERN, TEXT};
use crate::types::Type;

/// The least and the most of a cost or a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub min: u64,
    pub max: u64,
}

impl Range {
    const UNKNOWN: Range = Range { min: 0, max: u64::MAX };
    const ZERO: Range = Range::fixed(0);

    const fn fixed(it: u64) -> Range {
        Range { min: it, max: it }
    }

    fn plus(self, other: Range) -> Range {
        Range { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Range) -> Range {
        Range { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    /// A share of it, rounded up.
    fn share(self, share: f64) -> Range {
        let of = |it: u64| {
            let it = (it as f64 * share).ceil();
            if it >= 2f64.powi(64) { u64::MAX } else { it as u64 }
        };
        Range { min: of(self.min), max: of(self.max) }
    }

    fn or(self, other: Range) -> Range {
        Range { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// What the whole may cost.
pub fn estimate(tree: &Expr, checked: &Checked, env: &Env) -> Range {
    let mut coster = Coster {
        checked,
        env,
        places: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
        locals: Vec::new(),
    };
    coster.cost(tree)
}

/// Where in the schema a value comes from.
#[derive(Clone, Copy)]
enum Place<'a> {
    Decl(&'a Decl),
    /// Keys of a map, whose length no schema bounds.
    Keys,
}

impl<'a> Place<'a> {
    fn size(self) -> Range {
        match self {
            Place::Decl(it) => Range { min: 0, max: it.max },
            Place::Keys => Range::ZERO,
        }
    }

    fn field(self, name: &str) -> Option<Place<'a>> {
        match self {
            Place::Decl(it) => it.field(name).map(|it| Place::Decl(it)),
            Place::Keys => None,
        }
    }

    fn elements(self) -> Option<Place<'a>> {
        match self {
            Place::Decl(it) => it.elements().map(|it| Place::Decl(it)),
            Place::Keys => None,
        }
    }
}

/// Sizes of the keys and the values of a container.
#[derive(Clone, Copy)]
struct Entries {
    list: Listed,
    key: Range,
    value: Range,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    List,
    Map,
}

struct Local<'a> {
    name: String,
    place: Option<Place<'a>>,
    size: Option<Range>,
    entries: Option<Entries>,
}

struct Coster<'a> {
    checked: &'a Checked,
    env: &'a Env,
    places: HashMap<Id, Place<'a>>,
    sizes: HashMap<Id, Range>,
    entries: HashMap<Id, Entries>,
    locals: Vec<Local<'a>>,
}

/// An argument as functions look at it.
struct Node<'e, 'a> {
    expr: &'e Expr,
    kind: &'a Type,
    place: Option<Place<'a>>,
    size: Option<Range>,
}

impl Node<'_, '_> {
    fn size(&self) -> Range {
        self.size.unwrap_or(Range::UNKNOWN)
    }

    fn whole(&self) -> Option<u64> {
        match &self.expr.kind {
            Kind::Literal(Literal::Int(it)) => Some((*it).max(0) as u64),
            _ => None,
        }
    }
}

/// What a call costs, and how large its result is.
struct Estimate {
    cost: Range,
    size: Option<Range>,
}

fn costing(cost: Range) -> Option<Estimate> {
    Some(Estimate { cost, size: None })
}

fn sized(cost: Range, size: Range) -> Option<Estimate> {
    Some(Estimate { cost, size: Some(size) })
}

impl<'a> Coster<'a> {
    fn cost(&mut self, expr: &Expr) -> Range {
        match &expr.kind {
            Kind::Literal(_) => Range::ZERO,
            Kind::Ident(name) => {
                if let Some(it) = self.ident(name) {
                    self.places.insert(expr.id, it);
                }
                Range::fixed(1)
            }
            Kind::Select { operand, test: Test::Present, .. } => self.cost(operand),
            Kind::Select { operand, field, .. } => {
                let mut sum = self.cost(operand);
                let of = self.checked.kind(operand.id);
                if matches!(of, Type::Map(_) | Type::Object(..) | Type::Param(_)) {
                    sum = sum.plus(Range::fixed(1));
                }
                if let Some(it) = self.place(operand).and_then(|it| it.field(field)) {
                    self.places.insert(expr.id, it);
                }
                sum
            }
            Kind::Call { function, target, args } => {
                self.call(expr, function, target.as_deref(), args)
            }
            Kind::List(elements) => {
                let mut sum = Range::fixed(10);
                let mut value = Range { min: u64::MAX, max: 0 };
                for it in elements {
                    sum = sum.plus(self.cost(&it.value));
                    value = value.or(self.size_or_unknown(&it.value));
                }
                if elements.is_empty() {
                    value = Range::ZERO;
                }
                let entries = Entries { list: Listed::List, key: Range::fixed(1), value };
                self.entries.insert(expr.id, entries);
                sum
            }
            Kind::Map(entries) => {
                let mut sum = Range::fixed(30);
                let nothing = Range { min: u64::MAX, max: 0 };
                let (mut key, mut value) = (nothing, nothing);
                for it in entries {
                    sum = sum.plus(self.cost(&it.key)).plus(self.cost(&it.value));
                    key = key.or(self.size_or_unknown(&it.key));
                    value = value.or(self.size_or_unknown(&it.value));
                }
                if entries.is_empty() {
                    (key, value) = (Range::ZERO, Range::ZERO);
                }
                self.entries.insert(expr.id, Entries { list: Listed::Map, key, value });
                sum
            }
            Kind::Struct { fields, .. } => {
                fields.iter().fold(Range::fixed(40), |sum, it| sum.plus(self.cost(&it.value)))
            }
            Kind::Fold(fold) if fold.is_bind() => self.bind(expr, fold),
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn local(&self, name: &str) -> Option<&Local<'a>> {
        self.locals.iter().rev().find(|it| it.name == name)
    }

    fn ident(&self, name: &str) -> Option<Place<'a>> {
        match self.local(name) {
            Some(local) => local.place,
            None => self.env.decl(name.trim_start_matches('.')).map(Place::Decl),
        }
    }

    fn place(&self, expr: &Expr) -> Option<Place<'a>> {
        match &expr.kind {
            Kind::Ident(name) if self.local(name).is_some() => self.ident(name),
            _ => self.places.get(&expr.id).copied(),
        }
    }

    fn size(&mut self, expr: &Expr) -> Option<Range> {
        if let Some(found) = self.sizes.get(&expr.id) {
            return Some(*found);
        }
        let written = match &expr.kind {
            Kind::Literal(Literal::String(it)) => Some(it.chars().count()),
            Kind::Literal(Literal::Bytes(it)) => Some(it.len()),
            Kind::Literal(_) => Some(1),
            Kind::List(it) => Some(it.len()),
            Kind::Map(it) => Some(it.len()),
            _ => None,
        };
        if let Some(it) = written {
            return Some(Range::fixed(it as u64));
        }
        if let Some(place) = self.place(expr) {
            self.sizes.insert(expr.id, place.size());
            return Some(place.size());
        }
        if self.checked.kind(expr.id).is_scalar() {
            return Some(Range::fixed(1));
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|it| it.size),
            _ => None,
        }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(Range::UNKNOWN)
    }

    fn entries_of(&self, expr: &Expr) -> Option<Entries> {
        let own = self.entries.get(&expr.id).copied();
        own.or_else(|| match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|it| it.entries),
            _ => None,
        })
    }

    fn bind(&mut self, expr: &Expr, fold: &Fold) -> Range {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push(&fold.accu, &fold.init);
        sum = sum.plus(self.cost(&fold.result));
        self.locals.pop();
        if let Some(size) = self.size(&fold.result) {
            self.sizes.insert(expr.id, size);
        }
        if let Some(entries) = self.entries_of(&fold.result) {
            self.entries.insert(expr.id, entries);
        }
        sum
    }

    fn push(&mut self, name: &str, value: &Expr) {
        let local = Local {
            name: name.to_string(),
            place: self.place(value),
            size: self.size(value),
            entries: self.entries_of(value),
        };
        self.locals.push(local);
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) -> Range {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push(&fold.accu, &fold.init);
        let entries = self.entries_of(&fold.range);
        let listed = match entries {
            Some(it) => it.list == Listed::List,
            None => matches!(self.checked.kind(fold.range.id), Type::List(_)),
        };
        let range = self.place(&fold.range);
        // Elements of what has no place in the schema are looked up at its root, as upstream does.
        let root = self.env.decl("").map(Place::Decl);
        let values = range.map_or(root, Place::elements);
        let keys = match range {
            None => root,
            Some(_) => (!listed).then_some(Place::Keys),
        };
        let (key, value) = (entries.map(|it| it.key), entries.map(|it| it.value));
        let outside = self.locals.len();
        let mut local = |name: &str, place, size| {
            self.locals.push(Local { name: name.to_string(), place, size, entries: None });
        };
        match &fold.var2 {
            Some(second) => {
                local(&fold.var, keys, key);
                local(second, values, value);
            }
            None if listed => local(&fold.var, values, value),
            None => local(&fold.var, keys, key),
        }
        let each = self.cost(&fold.condition).plus(self.cost(&fold.step));
        self.locals.truncate(outside);
        sum = sum.plus(self.cost(&fold.result));
        self.locals.pop();
        let count = self.size_or_unknown(&fold.range);
        sum = sum.plus(count.times(each));
        match &fold.init.kind {
            Kind::Literal(_) => {
                let size = self.size_or_unknown(&fold.init);
                self.sizes.insert(expr.id, size);
            }
            Kind::List(_) | Kind::Map(_) => {
                self.sizes.insert(expr.id, count);
                if let Some(it) = self.entries_of(&fold.step) {
                    self.entries.insert(expr.id, it);
                }
            }
            _ => {}
        }
        sum
    }

    fn node<'e>(&mut self, expr: &'e Expr) -> Node<'e, 'a> {
        let size = self.size(expr);
        Node { expr, kind: self.checked.kind(expr.id), place: self.place(expr), size }
    }

    fn call(&mut self, expr: &Expr, name: &str, target: Option<&Expr>, args: &[Expr]) -> Range {
        if name == "dyn" {
            let cost = self.cost(&args[0]).plus(Range::fixed(1));
            if let Some(size) = self.size(&args[0]) {
                self.sizes.insert(expr.id, size);
            }
            if let Some(entries) = self.entries_of(&args[0]) {
                self.entries.insert(expr.id, entries);
            }
            return cost;
        }
        let costs: Vec<Range> = args.iter().map(|it| self.cost(it)).collect();
        let nodes: Vec<Node> = args.iter().map(|it| self.node(it)).collect();
        let overloads = self.checked.overloads(expr.id);
        if overloads.is_empty() {
            return Range::ZERO;
        }
        let (mut sum, mut on) = (Range::ZERO, None);
        if let Some(target) = target {
            sum = self.cost(target);
            on = Some(self.node(target));
        }
        let mut cost = Range { min: u64::MAX, max: 0 };
        let mut size: Option<Range> = None;
        for overload in overloads {
            let found = self.one(expr, name, overload, on.as_ref(), &nodes, &costs);
            cost = cost.or(found.cost);
            size = match (size, found.size) {
                (Some(a), Some(b)) => Some(a.or(b)),
                (a, b) => a.or(b),
            };
            if ["index_list", "index_map"].contains(overload) {
                size = self.entries_of(&args[0]).map(|it| it.value);
                if let Some(it) = self.place(&args[0]).and_then(Place::elements) {
                    self.places.insert(expr.id, it);
                }
            }
            if size.is_none() {
                size = self.size(expr);
            }
        }
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
        sum.plus(cost)
    }

    /// A call by one of its signatures.
    fn one(
        &mut self,
        expr: &Expr,
        name: &str,
        overload: &str,
        on: Option<&Node<'_, 'a>>,
        args: &[Node<'_, 'a>],
        costs: &[Range],
    ) -> Estimate {
        let all = costs.iter().fold(Range::ZERO, |sum, it| sum.plus(*it));
        let library = list_function(overload, on, args)
            .or_else(|| equality_of_library(name, args))
            .or_else(|| text_function(name, on, args))
            .or_else(|| library_function(name, overload, args));
        if let Some(found) = library {
            return Estimate { cost: found.cost.plus(all), size: found.size };
        }
        match overload {
            "logical_or" | "logical_and" => {
                let cost = Range { min: costs[0].min, max: costs[0].plus(costs[1]).max };
                return Estimate { cost, size: None };
            }
            "conditional" => {
                let (yes, no) = (self.entries_of(args[1].expr), self.entries_of(args[2].expr));
                self.united(expr, yes, no);
                let size = Some(args[1].size().or(args[2].size()));
                return Estimate { cost: costs[0].plus(costs[1].or(costs[2])), size };
            }
            "add_string" | "add_bytes" | "add_list" => {
                let size = args[0].size().plus(args[1].size());
                let (one, other) = (self.entries_of(args[0].expr), self.entries_of(args[1].expr));
                self.united(expr, one, other);
                let own = if overload == "add_list" { Range::fixed(1) } else { size.share(TEXT) };
                return Estimate { cost: own.plus(all), size: Some(size) };
            }
            _ => {}
        }
        let found = language_function(overload, on, args)
            .unwrap_or(Estimate { cost: Range::fixed(1), size: None });
        Estimate { cost: found.cost.plus(all), size: found.size }
    }

    /// Remembers what the entries of either of two containers may be.
    fn united(&mut self, expr: &Expr, a: Option<Entries>, b: Option<Entries>) {
        if let (Some(a), Some(b)) = (a, b) {
            let (key, value) = (a.key.or(b.key), a.value.or(b.value));
            self.entries.insert(expr.id, Entries { list: a.list, key, value });
        }
    }
}

/// Functions of the language whose cost follows from sizes.
fn language_function(overload: &str, on: Option<&Node>, args: &[Node]) -> Option<Estimate> {
    let first = args.first().map(Node::size);
    match overload {
        "string_format" => costing(on?.size().share(TEXT)),
        "string_to_bytes" => {
            let size = first?;
            sized(size.share(TEXT), Range { min: size.min, max: size.max.wrapping_mul(4) })
        }
        "bytes_to_string" => {
            let size = first?;
            sized(size.share(TEXT), Range { min: size.min / 4, max: size.max })
        }
        "strings_quote" => {
            let size = first?;
            let most = size.max.wrapping_mul(2).wrapping_add(2);
            sized(size.share(TEXT), Range { min: size.min + 2, max: most })
        }
        "starts_with_string" | "ends_with_string" => costing(first?.share(TEXT)),
        "in_list" => costing(args[1].size().share(1.0)),
        "matches" => costing(pattern(args[0].size(), args[1].size())),
        "matches_string" => costing(pattern(on?.size(), first?)),
        "contains_string" => costing(on?.size().share(TEXT).times(first?.share(TEXT))),
        "less_string"
        | "greater_string"
        | "less_equals_string"
        | "greater_equals_string"
        | "less_bytes"
        | "greater_bytes"
        | "less_equals_bytes"
        | "greater_equals_bytes"
        | "equals"
        | "not_equals" => {
            let max = args[0].size().max.min(args[1].size().max);
            costing(Range { min: u64::from(max > 0), max }.share(TEXT))
        }
        _ => None,
    }
}

fn pattern(text: Range, pattern: Range) -> Range {
    text.plus(Range::fixed(1)).share(TEXT).times(pattern.share(PATTERN))
}

/// Values of some library types are compared at a fixed cost.
fn equality_of_library(name: &str, args: &[Node]) -> Option<Estimate> {
    if name != "_==_" || args.len() != 2 || args[0].kind != args[1].kind {
        return None;
    }
    let name = match &args[0].kind {
        Type::Object(name, None) | Type::Opaque(name, _) => &**name,
        _ => return None,
    };
    match name {
        "net.IP" | "net.CIDR" | "kubernetes.Quantity" | "kubernetes.Semver" => {
            costing(Range::fixed(1))
        }
        "kubernetes.NamedFormat" => costing(Range { min: 1, max: 64 }.share(TEXT)),
        "kubernetes.URL" => {
            let max = args[1].size.map_or(1, |it| it.max);
            costing(Range { min: 1, max }.share(TEXT))
        }
        it if it.starts_with("kubernetes.authorization.") => costing(Range::fixed(1)),
        _ => None,
    }
}

/// Functions on lists, which make lists.
fn list_function(overload: &str, on: Option<&Node>, args: &[Node]) -> Option<Estimate> {
    let made = |share: f64, size: Range| {
        sized(size.share(share).plus(Range::fixed(1)).plus(Range::fixed(10)), size)
    };
    match overload {
        "list_slice" => {
            let start = args[0].whole().unwrap_or(0);
            let end = args[1].whole().unwrap_or(on?.size().max);
            made(1.0, Range::fixed(end.wrapping_sub(start)))
        }
        "lists_range" => made(1.0, Range::fixed(args[0].whole().unwrap_or(u64::MAX))),
        "list_reverse" => made(1.0, on?.size()),
        "list_flatten" => made(1.0, on?.size()),
        "list_flatten_int" => made(args[0].whole().unwrap_or(u64::MAX) as f64, on?.size()),
        "list_distinct" => made(2.0, on?.size().times(on?.size())),
        "list_sets_contains_list" | "list_sets_intersects_list" | "list_sets_equivalent_list" => {
            let share = if overload == "list_sets_equivalent_list" { 2.0 } else { 1.0 };
            let pairs = args[0].size().times(args[1].size());
            costing(pairs.share(share).plus(Range::fixed(1)))
        }
        _ if overload.ends_with("_sort") || overload.ends_with("_sortByAssociatedKeys") => {
            let text = ["list_string_", "list_bytes_"].iter().any(|it| overload.starts_with(it));
            let of = if overload.ends_with("_sort") { on? } else { &args[0] };
            made(if text { 2.0 + TEXT } else { 2.0 }, of.size().times(of.size()))
        }
        _ => None,
    }
}

/// Functions of Kubernetes' libraries.
fn library_function(name: &str, overload: &str, args: &[Node]) -> Option<Estimate> {
    let one = || costing(Range::fixed(1));
    let first = args.first().map(Node::size);
    match name {
        "check" => costing(Range::fixed(350_000)),
        "serviceAccount" | "path" | "group" | "resource" | "subresource" | "namespace" | "name"
        | "allowed" | "reason" | "error" | "errored" => one(),
        "fieldSelector" | "labelSelector" => {
            let size = first?;
            costing(Range::fixed(10).plus(size.share(TEXT)).plus(size.share(0.5).share(50.0)))
        }
        "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
            costing(first?.share(TEXT))
        }
        "ip" if overload == "cidr_ip" => one(),
        "ip" => costing(first?.share(TEXT)),
        "ip.isCanonical" => costing(first?.share(2.0 * TEXT)),
        "containsIP" | "containsCIDR" => {
            let bytes = Range { min: 4, max: 16 };
            let mut cost = bytes.plus(bytes).share(TEXT);
            if name == "containsCIDR" {
                cost = cost.plus(bytes.share(TEXT)).plus(Range::fixed(1));
            }
            if overload.ends_with("_string") {
                cost = cost.plus(first?.share(TEXT));
            }
            costing(cost)
        }
        "validate" => costing(first?.share(TEXT).share(128.0 * PATTERN)),
        "format.named"
        | "masked"
        | "prefixLength"
        | "family"
        | "isUnspecified"
        | "isLoopback"
        | "isLinkLocalMulticast"
        | "isLinkLocalUnicast"
        | "isGlobalUnicast"
        | "sign"
        | "asInteger"
        | "isInteger"
        | "asApproximateFloat"
        | "isGreaterThan"
        | "isLessThan"
        | "compareTo"
        | "add"
        | "sub"
        | "major"
        | "minor"
        | "patch"
        | "getScheme"
        | "getHostname"
        | "getHost"
        | "getPort"
        | "getEscapedPath"
        | "getQuery" => one(),
        _ => None,
    }
}

/// Functions of Kubernetes' libraries on texts and lists.
fn text_function(name: &str, on: Option<&Node>, args: &[Node]) -> Option<Estimate> {
    let first = args.first().map(Node::size);
    match name {
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => over_list(on?),
        "url" | "jsonpatch.escapeKey" => sized(first?.share(TEXT), first?),
        "lowerAscii" | "upperAscii" | "substring" | "trim" => {
            sized(on?.size().share(TEXT), on?.size())
        }
        "replace" => replace(on?.size(), args[0].size(), args[1].size()),
        "split" => {
            let limit = args.get(1).and_then(|it| match &it.expr.kind {
                Kind::Literal(Literal::Int(it)) => Some(*it as u64),
                _ => None,
            });
            let size = Range { min: 0, max: limit.unwrap_or(on?.size().max) };
            sized(on?.size().share(2.0 * TEXT), size)
        }
        "join" => join(on?, first),
        "find" | "findAll" => {
            let cost = pattern(on?.size(), first?);
            sized(cost, Range { min: 0, max: on?.size().max })
        }
        _ => None,
    }
}

/// The type and the size of the elements of a list.
fn elements<'t>(of: &Node<'_, 't>) -> Option<(&'t Type, Range)> {
    let kind = match of.kind {
        Type::List(kind) => kind,
        Type::Map(both) => &both.0,
        _ => return None,
    };
    let size = of.place.and_then(Place::elements).map(Place::size);
    Some((kind, size.unwrap_or(Range::UNKNOWN)))
}

/// Each element is looked at once.
fn over_list(on: &Node) -> Option<Estimate> {
    let Some((kind, size)) = elements(on) else { return costing(on.size().share(TEXT)) };
    let mut each = Range::fixed(1);
    if matches!(kind, Type::String | Type::Bytes) {
        each = each.plus(size.share(TEXT));
    }
    costing(on.size().times(each))
}

fn join(on: &Node, separator: Option<Range>) -> Option<Estimate> {
    let list = on.size();
    let mut size = elements(on).map_or(Range::ZERO, |(_, each)| list.times(each));
    if let Some(separator) = separator {
        let between = Range { min: list.min.saturating_sub(1), max: list.max.saturating_sub(1) };
        size = size.plus(separator.times(between));
    }
    sized(size.share(TEXT), size)
}

/// The longest and the shortest that a replacement may leave.
fn replace(text: Range, old: Range, new: Range) -> Option<Estimate> {
    let (mut count, mut kept) = (Range::ZERO, Range::ZERO);
    if old.min == 0 {
        (count.max, kept.max) = (text.max.saturating_add(1), text.max);
    } else if new.max <= old.min {
        kept.max = text.max;
    } else {
        count.max = (text.max as f64 / old.min as f64).ceil() as u64;
    }
    if old.max == 0 {
        (count.min, kept.min) = (text.min.saturating_add(1), text.min);
    } else if old.max <= new.min {
        kept.min = text.min;
    } else {
        count.min = (text.min as f64 / old.max as f64).ceil() as u64;
    }
    sized(text.share(2.0 * TEXT), count.times(new).plus(kept))
}
