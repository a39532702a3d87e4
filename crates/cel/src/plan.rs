//! Makes of a checked tree what is evaluated: names become places, folds the loop that their macro
//! meant, constants values, and every call knows what it costs.

use std::sync::Arc;

use crate::ast::{Expr, Fold, Kept, Kind, Literal, Test};
use crate::check::Checked;
use crate::decl;
use crate::env::Env;
use crate::functions;
use crate::library::{self, Function, pattern};
use crate::price::Price;
use crate::value::Value;

pub enum Step {
    Const(Value<'static>),
    /// A text of the program, lent to its values.
    Text(Box<str>),
    Local(usize),
    Variable(usize, Box<str>),
    /// A field by its name in expressions and in JSON.
    Select(Box<Step>, Box<str>, Root),
    Has(Box<Step>, Box<str>),
    OptSelect(Box<Step>, Box<str>),
    Index(Box<[Step; 2]>, Root),
    OptIndex(Box<[Step; 2]>),
    And(Box<[Step; 2]>),
    Or(Box<[Step; 2]>),
    OptOr(Box<[Step; 2]>),
    OptOrValue(Box<[Step; 2]>),
    If(Box<[Step; 3]>),
    /// `in` a list of constants.
    InConst(Box<Step>, Value<'static>),
    Call(Box<Call>),
    List(Vec<(Kept, Step)>),
    Map(Vec<(Kept, Step, Step)>),
    Message(Arc<str>, Vec<(Kept, Box<str>, Step)>),
    Loop(Box<Loop>),
    /// A name for a value: a place, the value and what is said with it.
    Bind(Box<[Step; 2]>),
}

/// Whether a selection continues a path from a variable; one of a call's result costs one more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Root {
    Path,
    Value,
}

pub struct Call {
    pub name: &'static str,
    pub function: Function,
    pub args: Vec<Step>,
    pub price: Price,
}

pub struct Loop {
    pub range: Step,
    pub pairs: bool,
    pub what: What,
    /// For those that collect: only elements of which it is true.
    pub filter: Option<Step>,
    pub body: Step,
    /// The value of an entry whose key is the body.
    pub value: Option<Step>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum What {
    All,
    Exists,
    ExistsOne,
    Collect,
    /// A map's entry by key and value.
    Insert,
    /// A map's entries of one or more.
    InsertAll,
}

/// The plan of a checked tree.
///
/// # Errors
/// A constant that cannot be converted, or a pattern that is none: upstream's words.
pub fn plan(tree: &Expr, checked: &Checked, env: &Env) -> Result<Step, String> {
    let mut planner = Planner { checked, env, scope: Vec::new(), wrong: None };
    let step = planner.step(tree);
    planner.wrong.map_or(Ok(step), Err)
}

/// The variables that a tree names.
pub fn names_read(tree: &Expr, scope: &mut Vec<String>, found: &mut Vec<String>) {
    match &tree.kind {
        Kind::Literal(_) => {}
        Kind::Ident(name) => {
            if name.starts_with('.') || !scope.contains(name) {
                found.push(name.trim_start_matches('.').to_string());
            }
        }
        Kind::Select { operand, .. } => names_read(operand, scope, found),
        Kind::Call { target, args, .. } => {
            target.iter().for_each(|it| names_read(it, scope, found));
            args.iter().for_each(|it| names_read(it, scope, found));
        }
        Kind::List(all) => all.iter().for_each(|it| names_read(&it.value, scope, found)),
        Kind::Map(all) => all.iter().for_each(|it| {
            names_read(&it.key, scope, found);
            names_read(&it.value, scope, found);
        }),
        Kind::Struct { fields, .. } => {
            fields.iter().for_each(|it| names_read(&it.value, scope, found));
        }
        Kind::Fold(fold) => {
            names_read(&fold.range, scope, found);
            names_read(&fold.init, scope, found);
            let outside = scope.len();
            scope.extend([fold.accu.clone(), fold.var.clone()]);
            scope.extend(fold.var2.clone());
            names_read(&fold.step, scope, found);
            names_read(&fold.result, scope, found);
            scope.truncate(outside);
        }
    }
}

struct Planner<'a> {
    checked: &'a Checked,
    env: &'a Env,
    /// Names that have a place, in the order of their places.
    scope: Vec<String>,
    /// The first constant for which there is no program.
    wrong: Option<String>,
}

impl Planner<'_> {
    fn boxed(&mut self, expr: &Expr) -> Box<Step> {
        Box::new(self.step(expr))
    }

    fn two(&mut self, args: &[Expr]) -> Box<[Step; 2]> {
        Box::new([self.step(&args[0]), self.step(&args[1])])
    }

    fn step(&mut self, expr: &Expr) -> Step {
        match &expr.kind {
            Kind::Literal(it) => literal(it),
            Kind::Ident(name) => self.named(name),
            Kind::Select { operand, field, test: Test::Present } => {
                Step::Has(self.boxed(operand), field.as_str().into())
            }
            Kind::Select { operand, field, .. } => {
                Step::Select(self.boxed(operand), field.as_str().into(), root(operand))
            }
            Kind::Call { function, target, args } => {
                self.call(expr, function, target.as_deref(), args)
            }
            Kind::List(elements) => {
                let all: Vec<_> =
                    elements.iter().map(|it| (it.kept, self.step(&it.value))).collect();
                let constant: Option<Vec<_>> = all
                    .iter()
                    .map(|(kept, it)| constant(it).filter(|_| *kept == Kept::Always))
                    .collect();
                match constant.filter(|it| !it.is_empty()) {
                    Some(all) => Step::Const(Value::list(all)),
                    None => Step::List(all),
                }
            }
            Kind::Map(entries) => Step::Map(
                entries
                    .iter()
                    .map(|it| (it.kept, self.step(&it.key), self.step(&it.value)))
                    .collect(),
            ),
            Kind::Struct { name, fields } => {
                let name = name.trim_start_matches('.').into();
                let field = |it: &crate::ast::FieldInit| {
                    (it.kept, it.name.as_str().into(), self.step(&it.value))
                };
                Step::Message(name, fields.iter().map(field).collect())
            }
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    fn named(&self, name: &str) -> Step {
        let global = name.strip_prefix('.');
        if global.is_none()
            && let Some(place) = self.scope.iter().rposition(|it| it == name)
        {
            return Step::Local(place);
        }
        let name = global.unwrap_or(name);
        if let Some(index) = self.env.index(name) {
            return Step::Variable(index, name.into());
        }
        let named = functions::named_type(name).map_or(name.to_string(), |it| {
            let name = it.to_string();
            match name.split('(').next() {
                Some("null") => "null_type".to_string(),
                Some("duration") => "google.protobuf.Duration".to_string(),
                Some("timestamp") => "google.protobuf.Timestamp".to_string(),
                Some(plain) => plain.to_string(),
                None => name,
            }
        });
        Step::Const(Value::kind(&named))
    }

    fn call(&mut self, expr: &Expr, function: &str, target: Option<&Expr>, args: &[Expr]) -> Step {
        match function {
            "_&&_" => return Step::And(self.two(args)),
            "_||_" => return Step::Or(self.two(args)),
            "_?_:_" => {
                let [yes, no] = *self.two(&args[1..]);
                return Step::If(Box::new([self.step(&args[0]), yes, no]));
            }
            "_[_]" => return Step::Index(self.two(args), root(&args[0])),
            "_[?_]" => return Step::OptIndex(self.two(args)),
            "_?._" => {
                let field = match &args[1].kind {
                    Kind::Literal(Literal::String(it)) => it.as_str(),
                    _ => "",
                };
                return Step::OptSelect(self.boxed(&args[0]), field.into());
            }
            _ => {}
        }
        let all: Vec<&Expr> = target.into_iter().chain(args).collect();
        let mut steps: Vec<Step> = all.iter().map(|it| self.step(it)).collect();
        if ["or", "orValue"].contains(&function) && steps.len() == 2 {
            let two = [steps.remove(0), steps.remove(0)].into();
            return if function == "or" { Step::OptOr(two) } else { Step::OptOrValue(two) };
        }
        let overloads = self.checked.overloads(expr.id);
        if overloads == ["in_list"]
            && let Step::Const(list @ Value::List(_)) = &steps[1]
        {
            let list = list.clone();
            return Step::InConst(Box::new(steps.swap_remove(0)), list);
        }
        let (name, _) = functions::find(function.trim_start_matches('.'))
            .expect("the checker has found it there");
        let function = library::find(name).expect("each function of the table has its code");
        if library::CONVERSIONS.contains(&name)
            && let [one] = steps.as_slice()
            && let Some(value) = constant(one)
        {
            match function(&[value]) {
                Ok(made) => return Step::Const(made),
                Err(error) => self.wrong = self.wrong.take().or(Some(error.to_string())),
            }
        }
        if ["find", "findAll", "matches"].contains(&name)
            && let Some(Step::Text(pattern)) = steps.get(1)
            && let Err(error) = pattern::machine(pattern)
        {
            self.wrong = self.wrong.take().or(Some(error));
        }
        let price = Price::of(name, overloads);
        Step::Call(Box::new(Call { name, function, args: steps, price }))
    }

    fn fold(&mut self, fold: &Fold) -> Step {
        if fold.is_bind() {
            let value = self.step(&fold.init);
            self.scope.push(fold.accu.clone());
            let result = self.step(&fold.result);
            self.scope.pop();
            return Step::Bind(Box::new([value, result]));
        }
        let range = self.step(&fold.range);
        self.scope.push(fold.var.clone());
        self.scope.extend(fold.var2.clone());
        let (filter, step) = match &fold.step.kind {
            Kind::Call { function, args, .. } if function == "_?_:_" => match &args[1].kind {
                Kind::Call { function, args: inner, .. }
                    if function == "_+_" && matches!(inner[1].kind, Kind::Literal(_)) =>
                {
                    (None, &args[0])
                }
                _ => (Some(self.step(&args[0])), &args[1]),
            },
            _ => (None, &fold.step),
        };
        let (what, body, value) = match (&step.kind, &fold.result.kind) {
            (_, Kind::Call { .. }) => (What::ExistsOne, step, None),
            (Kind::Call { function, args, .. }, _) => match (function.as_str(), args.len()) {
                ("_&&_", _) => (What::All, &args[1], None),
                ("_||_", _) => (What::Exists, &args[1], None),
                ("cel.@mapInsert", 3) => (What::Insert, &args[1], Some(&args[2])),
                ("cel.@mapInsert", _) => (What::InsertAll, &args[1], None),
                _ => (What::Collect, only(&args[1]), None),
            },
            _ => (What::Collect, step, None),
        };
        let body = self.step(body);
        let value = value.map(|it| self.step(it));
        self.scope.truncate(self.scope.len() - 1 - usize::from(fold.var2.is_some()));
        let pairs = fold.var2.is_some();
        Step::Loop(Box::new(Loop { range, pairs, what, filter, body, value }))
    }
}

/// The element of a list of one.
fn only(expr: &Expr) -> &Expr {
    match &expr.kind {
        Kind::List(elements) if elements.len() == 1 => &elements[0].value,
        _ => expr,
    }
}

fn root(of: &Expr) -> Root {
    match &of.kind {
        Kind::Ident(_) | Kind::Select { .. } => Root::Path,
        Kind::Call { function, .. } if ["_[_]", "_[?_]", "_?._"].contains(&function.as_str()) => {
            Root::Path
        }
        _ => Root::Value,
    }
}

fn literal(it: &Literal) -> Step {
    Step::Const(match it {
        Literal::Null => Value::Null,
        Literal::Bool(it) => Value::Bool(*it),
        Literal::Int(it) => Value::Int(*it),
        Literal::Uint(it) => Value::Uint(*it),
        Literal::Double(it) => Value::Double(*it),
        Literal::Bytes(it) => Value::Bytes(it.as_slice().into()),
        Literal::String(it) => return Step::Text(it.as_str().into()),
    })
}

fn constant(it: &Step) -> Option<Value<'static>> {
    match it {
        Step::Const(it) => Some(it.clone()),
        Step::Text(it) => Some(Value::text(&**it)),
        _ => None,
    }
}

/// The name in JSON of a field that an expression names.
pub fn json_name(field: &str) -> Option<std::borrow::Cow<'_, str>> {
    decl::unescape(field)
}
