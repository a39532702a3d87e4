//! Finds the type of each part of an expression and the signatures that each call may mean, and says
//! what does not fit, in upstream's words.

use std::sync::Arc;

use crate::ast::{Expr, Fold, Id, Kept, Kind, Literal, Source, Test};
use crate::decl::Decl;
use crate::env::Env;
use crate::fault::{Fault, Faults};
use crate::functions::{self, Overload, Style};
use crate::types::{self, Bound, FIRST_VARIABLE, Type};

/// What checking found, by the numbers of the tree's parts.
pub struct Checked {
    pub types: Vec<Type>,
    /// The signatures that a call may mean.
    pub overloads: Vec<Vec<&'static str>>,
}

impl Checked {
    pub fn kind(&self, id: Id) -> &Type {
        self.types.get(id as usize).unwrap_or(&Type::Error)
    }

    pub fn overloads(&self, id: Id) -> &[&'static str] {
        self.overloads.get(id as usize).map_or(&[], Vec::as_slice)
    }
}

/// Checks a tree; names of functions in it become whole (`sets.contains`).
pub fn check(tree: &mut Expr, source: &Source, env: &Env) -> Result<Checked, Faults> {
    let count = source.offsets.len();
    let mut checker = Checker {
        env,
        source,
        faults: Vec::new(),
        scopes: Vec::new(),
        bound: Bound::default(),
        types: vec![Type::Error; count],
        overloads: vec![Vec::new(); count],
    };
    checker.expr(tree);
    let Checker { faults, bound, types, overloads, .. } = checker;
    if !faults.is_empty() {
        return Err(Faults::new(&source.text, faults));
    }
    let types = types.iter().map(|it| bound.resolved(it, Some(&Type::Dyn))).collect();
    Ok(Checked { types, overloads })
}

struct Checker<'a> {
    env: &'a Env,
    source: &'a Source,
    faults: Vec<Fault>,
    /// Variables of folds, the innermost last.
    scopes: Vec<(String, Type)>,
    bound: Bound,
    types: Vec<Type>,
    overloads: Vec<Vec<&'static str>>,
}

impl Checker<'_> {
    fn fault(&mut self, id: Id, message: String) {
        self.faults.push(Fault { at: Some(self.source.offset(id)), message });
    }

    fn undeclared(&mut self, id: Id, name: &str) -> Type {
        self.fault(id, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn mismatch(&mut self, id: Id, expected: &Type, found: &Type) {
        self.fault(id, format!("expected type '{expected}' but found '{found}'"));
    }

    fn assignable(&mut self, from: &Type, to: &Type) -> bool {
        self.bound.assignable(&[(from, to)])
    }

    fn resolved(&self, it: &Type) -> Type {
        self.bound.resolved(it, None)
    }

    fn expr(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        let found = match &mut expr.kind {
            Kind::Literal(it) => literal(it),
            Kind::Ident(name) => match self.named(name) {
                Some(found) => found,
                None => {
                    let name = name.clone();
                    self.undeclared(id, &name)
                }
            },
            Kind::Select { .. } => self.select(expr),
            Kind::Call { .. } => self.call(expr),
            Kind::List(elements) => {
                let mut of = None;
                for it in elements {
                    let found = self.expr(&mut it.value);
                    let found = self.kept(it.kept, &it.value, found);
                    of = Some(self.joined(of, found));
                }
                Type::list(of.unwrap_or_else(|| self.bound.variable()))
            }
            Kind::Map(entries) => {
                let (mut key, mut value) = (None, None);
                for it in entries {
                    let found = self.expr(&mut it.key);
                    key = Some(self.joined(key, found));
                    let found = self.expr(&mut it.value);
                    let found = self.kept(it.kept, &it.value, found);
                    value = Some(self.joined(value, found));
                }
                let key = key.unwrap_or_else(|| self.bound.variable());
                Type::map(key, value.unwrap_or_else(|| self.bound.variable()))
            }
            Kind::Struct { .. } => self.message(expr),
            Kind::Fold(fold) => self.fold(fold),
        };
        self.types[id as usize] = found.clone();
        found
    }

    /// The type of a variable, or of the name of a type.
    fn named(&self, name: &str) -> Option<Type> {
        let global = name.strip_prefix('.');
        let local = self.scopes.iter().rev().find(|it| global.is_none() && it.0 == name);
        if let Some((_, found)) = local {
            return Some(found.clone());
        }
        let name = global.unwrap_or(name);
        if let Some(found) = self.env.variable(name) {
            return Some(found.clone());
        }
        let found = functions::named_type(name).or_else(|| self.env.named_type(name))?;
        Some(Type::Type(Some(Arc::new(found))))
    }

    /// What `?` before an element takes: an optional's content.
    fn kept(&mut self, kept: Kept, value: &Expr, found: Type) -> Type {
        if kept == Kept::Always {
            return found;
        }
        match found.unwrapped() {
            Some(inner) => inner.clone(),
            None => {
                if !matches!(found, Type::Dyn) {
                    self.mismatch(value.id, &Type::optional(found.clone()), &found);
                }
                found
            }
        }
    }

    /// What elements have in common; that they differ is told of the literal later.
    fn joined(&mut self, before: Option<Type>, found: Type) -> Type {
        let Some(before) = before else { return found };
        if self.assignable(&before, &found) {
            return if types::less_specific(&before, &found) { before } else { found };
        }
        Type::Dyn
    }

    fn select(&mut self, expr: &mut Expr) -> Type {
        if let Some(name) = qualified(expr).filter(|it| it.contains('.'))
            && !self.is_local(&name)
            && let Some(found) = self.named(&name)
        {
            expr.kind = Kind::Ident(name);
            return found;
        }
        let id = expr.id;
        let Kind::Select { operand, field, test } = &mut expr.kind else {
            unreachable!("only selections come here")
        };
        let of = self.expr(operand);
        let (field, test) = (field.clone(), *test);
        let found = self.field(id, &of, &field, Kept::Always);
        match test {
            Test::Present => Type::Bool,
            Test::Read => self.resolved(&found),
        }
    }

    /// Whether the first part of a dotted name is a fold's variable.
    fn is_local(&self, name: &str) -> bool {
        let first = name.split('.').next().unwrap_or_default();
        self.scopes.iter().any(|it| it.0 == first)
    }

    fn field(&mut self, id: Id, of: &Type, field: &str, kept: Kept) -> Type {
        let of = self.resolved(of);
        let inner = of.unwrapped();
        let found = match inner.unwrap_or(&of) {
            Type::Map(it) => it.1.clone(),
            Type::Object(name, decl) => {
                let named =
                    |it: &Decl| it.field(field).or_else(|| it.keyword(field)).map(|it| it.kind());
                let found = decl.as_deref().and_then(named);
                match found.or_else(|| self.env.field(name, field)) {
                    Some(found) => found,
                    None => {
                        self.fault(id, format!("undefined field '{field}'"));
                        Type::Error
                    }
                }
            }
            it @ Type::Param(_) => {
                self.bound.assignable(&[(&Type::Dyn, it)]);
                Type::Dyn
            }
            it if it.is_dyn_or_error() => Type::Dyn,
            it => {
                self.fault(id, format!("type '{it}' does not support field selection"));
                Type::Dyn
            }
        };
        if inner.is_some() || kept == Kept::IfPresent { Type::optional(found) } else { found }
    }

    fn call(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        let Kind::Call { function, target, args } = &mut expr.kind else {
            unreachable!("only calls come here")
        };
        if function == "_?._" {
            let of = self.expr(&mut args[0]);
            let Kind::Literal(Literal::String(field)) = &args[1].kind else {
                unreachable!("the parser writes the field's name there")
            };
            let field = field.clone();
            self.types[args[1].id as usize] = Type::String;
            self.overloads[id as usize] = vec!["select_optional_field"];
            let found = self.field(id, &of, &field, Kept::IfPresent);
            return self.resolved(&found);
        }
        let mut given: Vec<Type> = args.iter_mut().map(|it| self.expr(it)).collect();
        if let Some(it) = target {
            let whole = qualified(it).map(|it| format!("{it}.{function}"));
            match whole.filter(|it| self.env.function(it.trim_start_matches('.')).is_some()) {
                Some(whole) => {
                    *function = whole.trim_start_matches('.').to_string();
                    *target = None;
                }
                None => {
                    let found = self.expr(it);
                    given.insert(0, found);
                }
            }
        }
        let style = if target.is_some() { Style::Method } else { Style::Function };
        let found = self.env.function(function.trim_start_matches('.'));
        let Some((name, overloads)) = found else {
            let function = function.clone();
            return self.undeclared(id, &function);
        };
        if ["_&&_", "_||_"].contains(&name) {
            return self.logic(id, args, &given, overloads[0].id);
        }
        self.resolve(id, name, overloads, style, &given)
    }

    fn logic(&mut self, id: Id, args: &[Expr], given: &[Type], overload: &'static str) -> Type {
        let mut found = Type::Bool;
        for (arg, it) in args.iter().zip(given) {
            if !self.assignable(it, &Type::Bool) {
                self.mismatch(arg.id, &Type::Bool, it);
                found = Type::Error;
            }
        }
        self.overloads[id as usize] = vec![overload];
        found
    }

    fn resolve(
        &mut self,
        id: Id,
        name: &str,
        overloads: &'static [Overload],
        style: Style,
        given: &[Type],
    ) -> Type {
        let mut result: Option<Type> = None;
        for overload in overloads.iter().filter(|it| it.style == style) {
            if overload.args.len() != given.len() {
                continue;
            }
            let mut fresh: [Option<Type>; FIRST_VARIABLE as usize] = std::array::from_fn(|_| None);
            for it in overload.args.iter().chain([&overload.result]) {
                self.freshen(it, &mut fresh);
            }
            let own = |it: &Type| types::replaced(it, &|param| fresh[param as usize].clone());
            let wanted: Vec<Type> = overload.args.iter().map(own).collect();
            let pairs: Vec<(&Type, &Type)> = given.iter().zip(&wanted).collect();
            if !self.bound.assignable(&pairs) {
                continue;
            }
            self.overloads[id as usize].push(overload.id);
            let found = self.resolved(&own(&overload.result));
            result = Some(match result {
                None => found,
                Some(before) if matches!(before, Type::Dyn) || before == found => before,
                Some(_) => Type::Dyn,
            });
        }
        if let Some(result) = result {
            return result;
        }
        let given: Vec<String> =
            given.iter().map(|it| self.bound.resolved(it, Some(&Type::Dyn)).to_string()).collect();
        let applied = match style {
            Style::Method => format!("{}.({})", given[0], given[1..].join(", ")),
            Style::Function => format!("({})", given.join(", ")),
        };
        self.fault(id, format!("found no matching overload for '{name}' applied to '{applied}'"));
        Type::Error
    }

    /// Gives each parameter of a signature a variable of this call's own.
    fn freshen(&mut self, of: &Type, fresh: &mut [Option<Type>]) {
        let mut needed = Vec::new();
        collect(of, &mut needed);
        for param in needed {
            if fresh[param as usize].is_none() {
                fresh[param as usize] = Some(self.bound.variable());
            }
        }
    }

    fn message(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        let Kind::Struct { name, fields } = &mut expr.kind else {
            unreachable!("only messages come here")
        };
        let known = name.trim_start_matches('.');
        let Some(found) = functions::plain_type(known).or_else(|| self.env.named_type(known))
        else {
            return self.undeclared(id, &name.clone());
        };
        let result = match found {
            it @ Type::Object(..) => it,
            other => {
                self.fault(id, format!("'{other}' is not a message type"));
                Type::Error
            }
        };
        for it in fields {
            let given = self.expr(&mut it.value);
            let given = self.kept(it.kept, &it.value, given);
            let wanted = match matches!(result, Type::Object(..)) {
                true => self.field(it.id, &result, &it.name, Kept::Always),
                false => {
                    self.fault(it.id, format!("undefined field '{}'", it.name));
                    Type::Error
                }
            };
            if !self.assignable(&wanted, &given) {
                let message = format!(
                    "expected type of field '{}' is '{wanted}' but provided type is '{given}'",
                    it.name
                );
                self.fault(it.id, message);
            }
        }
        result
    }

    fn fold(&mut self, fold: &mut Fold) -> Type {
        let range = self.expr(&mut fold.range);
        let accu = self.expr(&mut fold.init);
        let range = self.resolved(&range);
        let two = fold.var2.is_some();
        let (first, second) = match &range {
            Type::List(of) if two => (Type::Int, (**of).clone()),
            Type::List(of) => ((**of).clone(), Type::Error),
            Type::Map(of) => (of.0.clone(), of.1.clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.bound.assignable(&[(&Type::Dyn, &range)]);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be \
                     list, map, or dynamic)"
                );
                self.fault(fold.range.id, message);
                (Type::Error, Type::Error)
            }
        };
        let outside = self.scopes.len();
        self.scopes.push((fold.accu.clone(), accu.clone()));
        self.scopes.push((fold.var.clone(), first));
        if let Some(name) = &fold.var2 {
            self.scopes.push((name.clone(), second));
        }
        for (part, wanted) in [(&mut fold.condition, &Type::Bool), (&mut fold.step, &accu)] {
            let found = self.expr(part);
            if !self.assignable(wanted, &found) {
                self.mismatch(part.id, wanted, &found);
            }
        }
        self.scopes.truncate(outside + 1);
        let found = self.expr(&mut fold.result);
        self.scopes.truncate(outside);
        self.resolved(&found)
    }
}

fn literal(it: &Literal) -> Type {
    match it {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// The parameters of a signature's type.
fn collect(of: &Type, found: &mut Vec<u32>) {
    let noted = std::cell::RefCell::new(found);
    types::replaced(of, &|param| {
        noted.borrow_mut().push(param);
        None
    });
}

/// `a.b.c` as one name.
pub fn qualified(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Ident(name) => Some(name.clone()),
        Kind::Select { operand, field, test: Test::Read } => {
            Some(format!("{}.{field}", qualified(operand)?))
        }
        _ => None,
    }
}
