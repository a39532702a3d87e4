//! Evaluates a plan over values that are borrowed, and counts what it costs as it goes.
//!
//! The stack is as deep as the expression; the parser bounds that. Nothing else recurses.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ast::Kept;
use crate::env::{Binding, Bindings};
use crate::equal;
use crate::plan::{Call, Loop, Root, Step, What, json_name};
use crate::run::RunError;
use crate::value::{Key, List, Map, Message, Text, Value};

type Made<'a> = Result<Value<'a>, RunError>;

/// One evaluation.
pub struct Frame<'a> {
    bindings: &'a [Binding<'a>],
    locals: Vec<Value<'a>>,
    cost: u64,
    limit: u64,
}

/// What the creation of values costs (CEL's table of costs).
const LIST: u64 = 10;
const MAP: u64 = 30;
const MESSAGE: u64 = 40;

impl<'a> Frame<'a> {
    pub fn new(bindings: &'a Bindings<'a>, limit: u64) -> Frame<'a> {
        Frame { bindings: &bindings.values, locals: Vec::new(), cost: 0, limit }
    }

    pub fn cost(&self) -> u64 {
        self.cost
    }

    fn spend(&mut self, cost: u64) -> Result<(), RunError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(RunError::Cost) } else { Ok(()) }
    }

    pub fn eval(&mut self, step: &'a Step) -> Made<'a> {
        match step {
            Step::Const(it) => Ok(it.clone()),
            Step::Text(it) => Ok(Value::Text(Text::Borrowed(it))),
            Step::Local(place) => {
                self.spend(1)?;
                Ok(self.locals[*place].clone())
            }
            Step::Variable(index, name) => {
                self.spend(1)?;
                match &self.bindings[*index] {
                    Binding::Value(it) => Ok(it.clone()),
                    Binding::Absent => Err(RunError::of(format!("no such attribute(s): {name}"))),
                }
            }
            Step::Select(of, field, root) => {
                let of = self.eval(of)?;
                self.spend(if *root == Root::Path { 1 } else { 2 })?;
                select(&of, field)
            }
            Step::Has(of, field) => {
                let of = self.eval(of)?;
                Ok(Value::Bool(present(&of, field)?.is_some()))
            }
            Step::Index(it, root) => {
                let (of, at) = (self.eval(&it[0])?, self.eval(&it[1])?);
                self.spend(if *root == Root::Path { 1 } else { 2 })?;
                index(&of, &at)
            }
            Step::And(it) => self.logic(it, false),
            Step::Or(it) => self.logic(it, true),
            Step::If(it) => match self.eval(&it[0])? {
                Value::Bool(true) => self.eval(&it[1]),
                Value::Bool(false) => self.eval(&it[2]),
                _ => Err(RunError::no_overload()),
            },
            Step::InConst(it, list) => {
                let it = self.eval(it)?;
                contains(list, &it).map(Value::Bool)
            }
            Step::Call(call) => self.call(call),
            Step::List(elements) => self.list(elements),
            Step::Map(entries) => self.map(entries),
            Step::Message(name, fields) => self.message(name, fields),
            Step::Loop(it) => self.each(it),
            _ => self.optional(step),
        }
    }

    /// What may be missing, and names for values.
    fn optional(&mut self, step: &'a Step) -> Made<'a> {
        match step {
            Step::OptSelect(of, field) => {
                let of = self.eval(of)?;
                self.spend(1)?;
                match present(&of, field)? {
                    Some(found) => Ok(Value::some(found)),
                    None => Ok(Value::Optional(None)),
                }
            }
            Step::OptIndex(it) => {
                let (of, at) = (self.eval(&it[0])?, self.eval(&it[1])?);
                self.spend(1)?;
                match entry(&of, &at)? {
                    Some(found) => Ok(Value::some(found)),
                    None => Ok(Value::Optional(None)),
                }
            }
            Step::OptOr(it) | Step::OptOrValue(it) => match self.eval(&it[0])? {
                Value::Optional(None) => self.eval(&it[1]),
                found @ Value::Optional(Some(_)) if matches!(step, Step::OptOr(_)) => Ok(found),
                Value::Optional(Some(found)) => Ok((*found).clone()),
                _ => Err(RunError::no_overload()),
            },
            Step::Bind(it) => {
                let value = self.eval(&it[0])?;
                self.spend(LIST)?;
                self.locals.push(value);
                let result = self.eval(&it[1]);
                self.locals.pop();
                result
            }
            _ => Err(RunError::no_overload()),
        }
    }

    /// `&&` and `||`: one side that decides is enough, whatever error the other is.
    fn logic(&mut self, it: &'a [Step; 2], decides: bool) -> Made<'a> {
        let left = self.eval(&it[0]);
        match &left {
            Ok(Value::Bool(it)) if *it == decides => return left,
            Err(error) if error.is_final() => return left,
            _ => {}
        }
        let right = self.eval(&it[1]);
        match (left, right) {
            (_, Ok(Value::Bool(it))) if it == decides => Ok(Value::Bool(it)),
            (_, Err(error)) if error.is_final() => Err(error),
            (Err(error), _) => Err(error),
            (Ok(Value::Bool(_)), Ok(Value::Bool(it))) => Ok(Value::Bool(it)),
            (Ok(Value::Bool(_)), Err(error)) => Err(error),
            _ => Err(RunError::no_overload()),
        }
    }

    fn call(&mut self, call: &'a Call) -> Made<'a> {
        let result = match call.args.as_slice() {
            [one] => {
                let args = [self.eval(one)?];
                apply(call, &args).map(|it| (call.price.actual(&args, &it), it))
            }
            [one, two] => {
                let args = [self.eval(one)?, self.eval(two)?];
                apply(call, &args).map(|it| (call.price.actual(&args, &it), it))
            }
            all => {
                let args =
                    all.iter().map(|it| self.eval(it)).collect::<Result<Vec<_>, RunError>>()?;
                apply(call, &args).map(|it| (call.price.actual(&args, &it), it))
            }
        };
        match result {
            Ok((cost, it)) => {
                self.spend(cost?)?;
                Ok(it)
            }
            Err(error) => {
                self.spend(1)?;
                Err(error)
            }
        }
    }

    fn list(&mut self, elements: &'a [(Kept, Step)]) -> Made<'a> {
        let mut made = Vec::with_capacity(elements.len());
        for (kept, it) in elements {
            let it = self.eval(it)?;
            made.extend(kept_value(*kept, it)?);
        }
        self.spend(LIST)?;
        Ok(Value::list(made))
    }

    fn map(&mut self, entries: &'a [(Kept, Step, Step)]) -> Made<'a> {
        let mut made = BTreeMap::new();
        for (kept, key, value) in entries {
            let (key, value) = (self.eval(key)?, self.eval(value)?);
            let Some(value) = kept_value(*kept, value)? else { continue };
            insert(&mut made, &key, value)?;
        }
        self.spend(MAP)?;
        Ok(Value::Map(Map::Owned(Arc::new(made))))
    }

    fn message(&mut self, name: &Arc<str>, fields: &'a [(Kept, Box<str>, Step)]) -> Made<'a> {
        let mut made = BTreeMap::new();
        for (kept, field, value) in fields {
            let value = self.eval(value)?;
            let Some(value) = kept_value(*kept, value)? else { continue };
            let field = json_name(field).map_or(field.to_string(), |it| it.into_owned());
            made.insert(field, value);
        }
        self.spend(MESSAGE)?;
        Ok(Value::Message(Arc::new(Message { name: name.clone(), fields: made })))
    }

    fn each(&mut self, of: &'a Loop) -> Made<'a> {
        let range = self.eval(&of.range)?;
        let mut state = Fold { decided: None, wrong: None, count: 0, list: Vec::new() };
        let mut map = BTreeMap::new();
        match &range {
            Value::List(list) => {
                let mut index = 0;
                list.each(|it| {
                    if of.pairs {
                        self.locals.push(Value::Int(index));
                    }
                    index += 1;
                    self.locals.push(it);
                    self.once(of, &mut state, &mut map)
                })?;
            }
            Value::Map(entries) => {
                for (key, value) in entries.entries()? {
                    self.locals.push(key.into_value());
                    if of.pairs {
                        self.locals.push(value?);
                    }
                    if !self.once(of, &mut state, &mut map)? {
                        break;
                    }
                }
            }
            _ => return Err(RunError::no_overload()),
        }
        if of.what == What::All || of.what == What::Exists {
            self.spend(2)?;
        }
        self.spend(1)?;
        if let Some(wrong) = state.wrong.filter(|_| state.decided.is_none()) {
            return Err(wrong);
        }
        Ok(match of.what {
            What::All => Value::Bool(state.decided.is_none()),
            What::Exists => Value::Bool(state.decided.is_some()),
            What::ExistsOne => {
                self.spend(1)?;
                Value::Bool(state.count == 1)
            }
            What::Collect => Value::list(state.list),
            What::Insert | What::InsertAll => Value::Map(Map::Owned(Arc::new(map))),
        })
    }

    /// One element, whose places are the last ones; false ends the loop.
    fn once(
        &mut self,
        of: &'a Loop,
        state: &mut Fold<'a>,
        map: &mut BTreeMap<Key<'a>, Value<'a>>,
    ) -> Result<bool, RunError> {
        let going = self.body(of, state, map);
        let outside = self.locals.len() - 1 - usize::from(of.pairs);
        self.locals.truncate(outside);
        going
    }

    fn body(
        &mut self,
        of: &'a Loop,
        state: &mut Fold<'a>,
        map: &mut BTreeMap<Key<'a>, Value<'a>>,
    ) -> Result<bool, RunError> {
        if let Some(filter) = &of.filter {
            match self.eval(filter)? {
                Value::Bool(true) => {}
                Value::Bool(false) => return self.spend(1).map(|()| true),
                _ => return Err(RunError::no_overload()),
            }
        }
        match of.what {
            What::All | What::Exists => {
                self.spend(if of.what == What::All { 3 } else { 4 })?;
                match self.eval(&of.body) {
                    Ok(Value::Bool(it)) if it == (of.what == What::Exists) => {
                        state.decided = Some(());
                        return Ok(false);
                    }
                    Ok(Value::Bool(_)) => {}
                    Ok(_) => state.wrong = Some(RunError::no_overload()),
                    Err(error) if error.is_final() => return Err(error),
                    Err(error) => state.wrong = state.wrong.take().or(Some(error)),
                }
            }
            What::ExistsOne => match self.eval(&of.body)? {
                Value::Bool(true) => {
                    state.count += 1;
                    self.spend(2)?;
                }
                Value::Bool(false) => self.spend(1)?,
                _ => return Err(RunError::no_overload()),
            },
            What::Collect => {
                let it = self.eval(&of.body)?;
                self.spend(LIST + 2)?;
                state.list.push(it);
            }
            What::Insert => {
                let key = self.eval(&of.body)?;
                let value = self.eval(of.value.as_ref().expect("an entry has a value"))?;
                self.spend(2)?;
                insert_new(map, &key, value)?;
            }
            What::InsertAll => {
                let Value::Map(it) = self.eval(&of.body)? else {
                    return Err(RunError::no_overload());
                };
                self.spend(2)?;
                for (key, value) in it.entries()? {
                    insert_new(map, &key.into_value(), value?)?;
                }
            }
        }
        Ok(true)
    }
}

/// What a loop has found so far.
struct Fold<'a> {
    decided: Option<()>,
    wrong: Option<RunError>,
    count: u64,
    list: Vec<Value<'a>>,
}

fn apply<'a>(call: &Call, args: &[Value<'a>]) -> Made<'a> {
    match args.first() {
        Some(Value::Host(it)) if call.name != "_==_" && call.name != "_!=_" => {
            it.call(call.name, &args[1..])
        }
        _ => (call.function)(args),
    }
}

/// What is written after `?`, if it is there.
fn kept_value(kept: Kept, value: Value) -> Result<Option<Value>, RunError> {
    match (kept, value) {
        (Kept::Always, it) => Ok(Some(it)),
        (Kept::IfPresent, Value::Optional(it)) => Ok(it.map(|it| (*it).clone())),
        (Kept::IfPresent, _) => Err(RunError::no_overload()),
    }
}

fn insert<'a>(
    map: &mut BTreeMap<Key<'a>, Value<'a>>,
    key: &Value<'a>,
    value: Value<'a>,
) -> Result<(), RunError> {
    let name = key.to_key().ok_or_else(|| RunError::of("unsupported key type"))?;
    if map.insert(name, value).is_some() {
        return Err(RunError::of(format!("Failed with repeated key {key:?}")));
    }
    Ok(())
}

fn insert_new<'a>(
    map: &mut BTreeMap<Key<'a>, Value<'a>>,
    key: &Value<'a>,
    value: Value<'a>,
) -> Result<(), RunError> {
    let name = key.to_key().ok_or_else(|| RunError::of("unsupported key type"))?;
    if map.contains_key(&name) {
        return Err(RunError::of(format!("insert failed: key {name} already exists")));
    }
    map.insert(name, value);
    Ok(())
}

/// The field of a value, if it is there; through an optional.
fn present<'a>(of: &Value<'a>, field: &str) -> Result<Option<Value<'a>>, RunError> {
    let found = match of {
        Value::Map(it @ Map::Json(..)) => match it.get(&Value::Text(Text::Borrowed(field))) {
            Some(found) => found,
            None => return Ok(None),
        },
        Value::Map(it) => match it.get_text(field) {
            Some(found) => found,
            None => return Ok(None),
        },
        Value::Message(it) => return Ok(it.fields.get(field).cloned()),
        Value::Fields(it) => match it.field(field) {
            Some(found) => found,
            None => return Ok(None),
        },
        Value::Optional(Some(it)) => return present(it, field),
        Value::Optional(None) => return Ok(None),
        _ => return Err(RunError::no_overload()),
    };
    found.map(Some)
}

fn select<'a>(of: &Value<'a>, field: &str) -> Made<'a> {
    let found = present(of, field)?;
    match (of, found) {
        (Value::Optional(_), Some(found)) => Ok(Value::some(found)),
        (Value::Optional(_), None) => Ok(Value::Optional(None)),
        (_, Some(found)) => Ok(found),
        (_, None) => Err(RunError::of(format!("no such key: {field}"))),
    }
}

/// The element at an index or under a key, if it is there.
fn entry<'a>(of: &Value<'a>, at: &Value<'a>) -> Result<Option<Value<'a>>, RunError> {
    match of {
        Value::List(list) => {
            let place = match at {
                Value::Int(it) => usize::try_from(*it).ok(),
                Value::Uint(it) => usize::try_from(*it).ok(),
                Value::Double(it) if it.fract() == 0.0 && *it >= 0.0 => Some(*it as usize),
                Value::Double(_) => return Err(RunError::of("unsupported index value in list")),
                _ => return Err(RunError::no_overload()),
            };
            place.and_then(|it| list.get(it)).transpose()
        }
        Value::Map(it) => it.get(at).transpose(),
        Value::Optional(Some(it)) => entry(it, at),
        Value::Optional(None) => Ok(None),
        Value::Fields(it) => match at.as_text().and_then(|name| it.field(name)) {
            Some(found) => found.map(Some),
            None => Ok(None),
        },
        // What has no entries has not this one either.
        _ => Ok(None),
    }
}

fn index<'a>(of: &Value<'a>, at: &Value<'a>) -> Made<'a> {
    match (of, entry(of, at)?) {
        (Value::Optional(_), found) => Ok(Value::Optional(found.map(Arc::new))),
        (_, Some(found)) => Ok(found),
        (Value::List(_), None) => Err(RunError::of(format!("index out of bounds: {at:?}"))),
        (_, None) => {
            let key = at.as_key().map_or_else(|| format!("{at:?}"), |it| it.to_string());
            Err(RunError::of(format!("no such key: {key}")))
        }
    }
}

/// Whether a list has an element, or a map a key.
pub fn contains(of: &Value, it: &Value) -> Result<bool, RunError> {
    match of {
        Value::List(list) => {
            let mut found = false;
            list.each(|other| {
                found = equal::equal(it, &other)?;
                Ok(!found)
            })?;
            Ok(found)
        }
        Value::Map(map) => match map.get(it) {
            Some(found) => found.map(|_| true),
            None => Ok(false),
        },
        _ => Err(RunError::no_overload()),
    }
}

/// Two lists as one value.
pub fn plus<'a>(a: &List<'a>, b: &List<'a>) -> Made<'a> {
    equal::joined(a, b).map(Value::List)
}
