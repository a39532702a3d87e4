//! The types of expressions: how they are written, which is assignable to which, and how type
//! parameters are found (CEL language definition, type checking).

use std::fmt;
use std::sync::Arc;

use crate::decl::Decl;

/// The type of an expression.
#[derive(Clone, Debug)]
pub enum Type {
    /// Of what is wrong already: goes with everything, so that one fault is told once.
    Error,
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    List(Arc<Type>),
    Map(Arc<(Type, Type)>),
    /// A message: its fields are those of the declaration, if it has one.
    Object(Arc<str>, Option<Arc<Decl>>),
    /// A type of a library, perhaps of others (`optional_type(int)`).
    Opaque(Arc<str>, Vec<Type>),
    /// Of what is a type itself.
    Type(Option<Arc<Type>>),
    Param(u32),
}

/// The name of the type that may hold nothing.
const OPTIONAL: &str = "optional_type";
/// Parameters below this number are those of a signature; others are variables of a check.
pub const FIRST_VARIABLE: u32 = 26;

impl Type {
    pub fn list(of: Type) -> Type {
        Type::List(Arc::new(of))
    }

    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new((key, value)))
    }

    pub fn optional(of: Type) -> Type {
        Type::Opaque(OPTIONAL.into(), vec![of])
    }

    pub fn object(name: &str) -> Type {
        Type::Object(name.into(), None)
    }

    /// What an optional may hold.
    pub fn unwrapped(&self) -> Option<&Type> {
        match self {
            Type::Opaque(name, of) if &**name == OPTIONAL => of.first(),
            _ => None,
        }
    }

    pub fn is_dyn_or_error(&self) -> bool {
        matches!(self, Type::Dyn | Type::Error)
    }

    /// The types that this one is made of.
    fn parts(&self) -> Vec<&Type> {
        match self {
            Type::List(of) => vec![of],
            Type::Map(of) => vec![&of.0, &of.1],
            Type::Opaque(_, of) => of.iter().collect(),
            Type::Type(Some(of)) => vec![of],
            _ => Vec::new(),
        }
    }

    /// May be null, as messages and the like may.
    fn is_nullable(&self) -> bool {
        matches!(
            self,
            Type::Null | Type::Opaque(..) | Type::Object(..) | Type::Duration | Type::Timestamp
        )
    }

    /// A constant of this type has a known size.
    pub fn is_scalar(&self) -> bool {
        match self {
            Type::Bool
            | Type::Double
            | Type::Duration
            | Type::Int
            | Type::Timestamp
            | Type::Uint => true,
            _ => self.unwrapped().is_some_and(Type::is_scalar),
        }
    }
}

impl PartialEq for Type {
    fn eq(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Object(a, _), Type::Object(b, _)) => a == b,
            (Type::Opaque(a, _), Type::Opaque(b, _)) if a != b => false,
            (Type::Param(a), Type::Param(b)) => a == b,
            _ => {
                std::mem::discriminant(self) == std::mem::discriminant(other)
                    && self.parts() == other.parts()
            }
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        let name = match self {
            Type::Error => "!error!",
            Type::Dyn => "dyn",
            Type::Null => "null",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Duration => "duration",
            Type::Timestamp => "timestamp",
            Type::List(_) => "list",
            Type::Map(_) => "map",
            Type::Object(name, _) | Type::Opaque(name, _) => name,
            Type::Type(_) => "type",
            Type::Param(number @ FIRST_VARIABLE..) => {
                return write!(to, "_var{}", number - FIRST_VARIABLE);
            }
            Type::Param(number) => return write!(to, "{}", (b'A' + *number as u8) as char),
        };
        to.write_str(name)?;
        for (index, part) in self.parts().into_iter().enumerate() {
            write!(to, "{}{part}", if index == 0 { "(" } else { ", " })?;
        }
        to.write_str(if self.parts().is_empty() { "" } else { ")" })
    }
}

/// What the type parameters stand for, as far as is known.
#[derive(Default)]
pub struct Bound {
    found: Vec<Option<Type>>,
    /// What was there before each change since the last decision, to take it back.
    changes: Vec<(usize, Option<Type>)>,
}

impl Bound {
    pub fn variable(&mut self) -> Type {
        self.found.push(None);
        Type::Param(FIRST_VARIABLE + self.found.len() as u32 - 1)
    }

    fn get(&self, param: u32) -> Option<&Type> {
        self.found.get((param - FIRST_VARIABLE) as usize)?.as_ref()
    }

    /// The end of a chain of parameters that stand for each other: a chain may be long.
    fn end<'a>(&'a self, of: &'a Type) -> &'a Type {
        let mut at = of;
        while let Type::Param(param @ FIRST_VARIABLE..) = at
            && let Some(next) = self.get(*param)
        {
            at = next;
        }
        at
    }

    fn set(&mut self, param: u32, to: Type) {
        let at = (param - FIRST_VARIABLE) as usize;
        self.changes.push((at, self.found[at].replace(to)));
    }

    /// Whether each is assignable to its counterpart; if not, nothing is learnt.
    pub fn assignable(&mut self, pairs: &[(&Type, &Type)]) -> bool {
        self.changes.clear();
        let all = pairs.iter().all(|(from, to)| self.fits(from, to));
        if !all {
            for (at, before) in std::mem::take(&mut self.changes).into_iter().rev() {
                self.found[at] = before;
            }
        }
        all
    }

    fn fits(&mut self, a: &Type, b: &Type) -> bool {
        if let Type::Param(param) = b {
            let known = self.get(*param).is_some() || a == b;
            if self.stands_for(a, *param) {
                return true;
            }
            if known {
                return false;
            }
        }
        if let Type::Param(param) = a {
            return self.stands_for(b, *param);
        }
        match (a, b) {
            _ if a.is_dyn_or_error() || b.is_dyn_or_error() => true,
            (Type::Null, other) | (other, Type::Null) => other.is_nullable(),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::Opaque(one, _), Type::Opaque(other, _)) if one != other => false,
            (Type::Opaque(..) | Type::List(_) | Type::Map(_), _) => {
                let (ours, theirs) = (a.parts(), b.parts());
                std::mem::discriminant(a) == std::mem::discriminant(b)
                    && ours.len() == theirs.len()
                    && ours.into_iter().zip(theirs).all(|(a, b)| self.fits(a, b))
            }
            _ => a == b,
        }
    }

    /// Whether the parameter may stand for this type, which is then remembered.
    fn stands_for(&mut self, a: &Type, param: u32) -> bool {
        if matches!(a, Type::Param(it) if *it == param) {
            return true;
        }
        let Some(known) = self.get(param).cloned() else {
            let free = self.free(param, a);
            if free {
                self.set(param, a.clone());
            }
            return free;
        };
        if *a == known {
            return true;
        }
        if !self.fits(a, &known) {
            return false;
        }
        let general = if less_specific(a, &known) { a.clone() } else { known };
        if self.free(param, &general) {
            self.set(param, general);
        }
        true
    }

    /// Whether the parameter does not occur in the type.
    fn free(&self, param: u32, within: &Type) -> bool {
        match within {
            Type::Param(it) if *it == param => false,
            Type::Param(_) => match self.end(within) {
                Type::Param(it) => *it != param,
                end => self.free(param, end),
            },
            _ => within.parts().into_iter().all(|it| self.free(param, it)),
        }
    }

    /// The type with its parameters replaced; those unknown by `otherwise`, if given.
    pub fn resolved(&self, of: &Type, otherwise: Option<&Type>) -> Type {
        replaced(of, &|param| {
            if param < FIRST_VARIABLE {
                return None;
            }
            match self.end(&Type::Param(param)) {
                Type::Param(last) => otherwise.cloned().or(Some(Type::Param(*last))),
                end => Some(self.resolved(end, otherwise)),
            }
        })
    }
}

/// The type with each parameter that has a replacement replaced.
pub fn replaced(of: &Type, by: &impl Fn(u32) -> Option<Type>) -> Type {
    match of {
        Type::Param(param) => by(*param).unwrap_or_else(|| of.clone()),
        Type::List(inner) => Type::list(replaced(inner, by)),
        Type::Map(inner) => Type::map(replaced(&inner.0, by), replaced(&inner.1, by)),
        Type::Opaque(name, inner) => {
            Type::Opaque(name.clone(), inner.iter().map(|it| replaced(it, by)).collect())
        }
        Type::Type(Some(inner)) => Type::Type(Some(Arc::new(replaced(inner, by)))),
        _ => of.clone(),
    }
}

/// Whether the first of two types that go together is the more general.
pub fn less_specific(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Dyn | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Param(_)) => false,
        (Type::Type(_), Type::Type(_)) => true,
        (Type::Opaque(one, _), Type::Opaque(other, _)) if one != other => false,
        (Type::List(_) | Type::Map(_) | Type::Opaque(..), _) => {
            let (ours, theirs) = (a.parts(), b.parts());
            std::mem::discriminant(a) == std::mem::discriminant(b)
                && ours.len() == theirs.len()
                && ours.into_iter().zip(theirs).all(|(a, b)| less_specific(a, b))
        }
        _ => a == b,
    }
}

/// A type as the table of functions writes it: `list(T)`, `map(K,V)`, `opt(T)`, `net.IP`.
pub fn read(text: &str) -> Type {
    let (name, inner) = match text.split_once('(') {
        Some((name, inner)) => (name, inner.strip_suffix(')').unwrap_or(inner)),
        None => (text, ""),
    };
    match name {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "list" => Type::list(read(inner)),
        "opt" => Type::optional(read(inner)),
        "type" => Type::Type(Some(Arc::new(read(inner)))),
        "map" => {
            let (key, value) = inner.split_once(',').unwrap_or((inner, "dyn"));
            Type::map(read(key), read(value))
        }
        _ if name.len() == 1 => Type::Param(u32::from(name.as_bytes()[0] - b'A')),
        _ if name.starts_with("net.") => Type::Opaque(name.into(), Vec::new()),
        _ => Type::object(name),
    }
}
