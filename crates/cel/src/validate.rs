//! Looks at the constants of a checked expression: durations, times, patterns and formats that could
//! never be read or written, and literals whose elements differ, are faults of the text and not of each evaluation.

use crate::ast::{Element, Entry, Expr, Kept, Kind, Literal, Source};
use crate::check::Checked;
use crate::fault::{Fault, Faults};
use crate::library::{pattern, print};
use crate::time;
use crate::types::Type;

/// The faults of all constants and literals.
pub fn validate(tree: &Expr, source: &Source, checked: &Checked) -> Result<(), Faults> {
    let mut walk = Walk { source, checked, faults: Vec::new() };
    walk.expr(tree, Literals::Alike);
    let Walk { faults, .. } = walk;
    if faults.is_empty() { Ok(()) } else { Err(Faults::new(&source.text, faults)) }
}

/// Whether the elements of literals must be of one type: those that are printed need not be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Literals {
    Alike,
    Any,
}

struct Walk<'a> {
    source: &'a Source,
    checked: &'a Checked,
    faults: Vec<Fault>,
}

impl Walk<'_> {
    fn fault(&mut self, at: &Expr, message: String) {
        self.faults.push(Fault { at: Some(self.source.offset(at.id)), message });
    }

    fn expr(&mut self, expr: &Expr, literals: Literals) {
        match &expr.kind {
            Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { operand, .. } => self.expr(operand, literals),
            Kind::Call { function, target, args } => {
                self.call(expr, function, target.as_deref(), args);
                let inner = if function == "format" { Literals::Any } else { literals };
                target.iter().for_each(|it| self.expr(it, inner));
                args.iter().for_each(|it| self.expr(it, inner));
            }
            Kind::List(all) => {
                if literals == Literals::Alike {
                    self.list(all);
                }
                all.iter().for_each(|it| self.expr(&it.value, literals));
            }
            Kind::Map(all) => {
                if literals == Literals::Alike {
                    self.map(all);
                }
                for it in all {
                    self.expr(&it.key, literals);
                    self.expr(&it.value, literals);
                }
            }
            Kind::Struct { fields, .. } => {
                fields.iter().for_each(|it| self.expr(&it.value, literals));
            }
            Kind::Fold(fold) => {
                for it in [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result] {
                    self.expr(it, literals);
                }
            }
        }
    }

    fn call(&mut self, expr: &Expr, function: &str, target: Option<&Expr>, args: &[Expr]) {
        let pattern_at = if target.is_some() { 0 } else { 1 };
        let (argument, fits): (_, fn(&str) -> bool) = match function {
            "duration" => (args.first(), |it| skiff_api::duration::parse(it).is_ok()),
            "timestamp" => (args.first(), |it| time::rfc3339(it).is_some()),
            "matches" => (args.get(pattern_at), |it| pattern::machine(it).is_ok()),
            _ => (None, |_| true),
        };
        if let Some(it) = argument
            && let Kind::Literal(Literal::String(text)) = &it.kind
            && !fits(text)
        {
            self.fault(it, format!("invalid {function} argument"));
        }
        if function == "format"
            && let Some(Expr { kind: Kind::Literal(Literal::String(template)), .. }) = target
            && let [Expr { kind: Kind::List(given), .. }] = args
        {
            self.format(expr, template, given);
        }
    }

    fn format(&mut self, expr: &Expr, template: &str, given: &[Element]) {
        let kinds: Vec<&Type> = given.iter().map(|it| self.checked.kind(it.value.id)).collect();
        match print::check(template, &kinds) {
            Err((Some(at), why)) => self.fault(&given[at].value, why),
            Err((None, why)) => self.fault(expr, why),
            Ok(asked) if asked < given.len() => {
                let why = format!(
                    "too many arguments supplied to string.format (expected {asked}, got {})",
                    given.len()
                );
                self.fault(expr, why);
            }
            Ok(_) => {}
        }
    }

    /// The type of what a literal holds there.
    fn kind(&self, it: &Expr, kept: Kept) -> Type {
        let kind = self.checked.kind(it.id);
        let inner = kind.unwrapped().filter(|_| kept == Kept::IfPresent);
        inner.unwrap_or(kind).clone()
    }

    fn alike(&mut self, first: &Option<Type>, found: &Type, at: &Expr) -> bool {
        match first {
            Some(first) if first != found => {
                self.fault(at, format!("expected type '{first}' but found '{found}'"));
                false
            }
            _ => true,
        }
    }

    fn list(&mut self, all: &[Element]) {
        let mut first = None;
        for it in all {
            let found = self.kind(&it.value, it.kept);
            if !self.alike(&first, &found, &it.value) {
                return;
            }
            first = first.or(Some(found));
        }
    }

    fn map(&mut self, all: &[Entry]) {
        let (mut key, mut value) = (None, None);
        for it in all {
            let (own, found) = (self.kind(&it.key, Kept::Always), self.kind(&it.value, it.kept));
            self.alike(&key, &own, &it.key);
            self.alike(&value, &found, &it.value);
            (key, value) = (key.or(Some(own)), value.or(Some(found)));
        }
    }
}
