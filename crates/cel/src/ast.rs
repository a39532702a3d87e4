//! The tree of an expression, as parsed and with its macros expanded, and where each part stands.
//!
//! Macros are expanded the way the language defines them (a fold over a range), because the cost of
//! an expression is defined on this tree.

/// The number of an expression: positions, types and references are kept beside the tree by it.
pub type Id = u32;

#[derive(Clone, Debug)]
pub struct Expr {
    pub id: Id,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Literal(Literal),
    Ident(String),
    Select { operand: Box<Expr>, field: String, test: Test },
    Call { function: String, target: Option<Box<Expr>>, args: Vec<Expr> },
    List(Vec<Element>),
    Map(Vec<Entry>),
    Struct { name: String, fields: Vec<FieldInit> },
    Fold(Box<Fold>),
}

/// Whether a selection reads a field or asks if it is there (`has(a.b)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    Read,
    Present,
}

/// Whether an element, an entry or a field is written with `?`: left out if its value is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Always,
    IfPresent,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug)]
pub struct Element {
    pub kept: Kept,
    pub value: Expr,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub kept: Kept,
    pub key: Expr,
    pub value: Expr,
}

#[derive(Clone, Debug)]
pub struct FieldInit {
    pub id: Id,
    pub kept: Kept,
    pub name: String,
    pub value: Expr,
}

/// `result` after `accu = step` for each element of `range`, while `condition` holds.
#[derive(Clone, Debug)]
pub struct Fold {
    pub range: Expr,
    pub var: String,
    /// With a second variable, the first is the index or the key.
    pub var2: Option<String>,
    pub accu: String,
    pub init: Expr,
    pub condition: Expr,
    pub step: Expr,
    pub result: Expr,
}

impl Fold {
    /// A fold over nothing only names a value (`optMap`, `sortBy`).
    pub fn is_bind(&self) -> bool {
        matches!(&self.range.kind, Kind::List(it) if it.is_empty())
            && matches!(self.condition.kind, Kind::Literal(Literal::Bool(false)))
    }
}

/// The accumulator of the macros; no name in a text can be spelled so.
pub const ACCUMULATOR: &str = "@result";

/// An expression's text and the place of each of its parts.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub text: String,
    /// Byte offsets by id.
    pub offsets: Vec<u32>,
}

impl Source {
    pub fn offset(&self, id: Id) -> usize {
        self.offsets.get(id as usize).map_or(0, |it| *it as usize)
    }
}
