//! A compiled expression, and how it is run within a budget.

use crate::check;
use crate::cost::{self, Range};
use crate::env::{Bindings, Env};
use crate::eval::Frame;
use crate::fault::Faults;
use crate::parse;
use crate::plan::{self, Step};
use crate::types::Type;
use crate::validate;
use crate::value::Value;

/// Upstream's limit of what one evaluation may cost.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// Upstream's limit of what all evaluations of one request may cost.
pub const RUNTIME_BUDGET: u64 = 10_000_000;
/// Upstream's limit of what one rule may be estimated to cost.
pub const ESTIMATE_LIMIT: u64 = 10_000_000;
/// Upstream's limit of what all rules of a definition may be estimated to cost.
pub const DEFINITION_ESTIMATE_LIMIT: u64 = 100_000_000;

/// Why an evaluation gave no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// This evaluation cost more than one may.
    #[error("operation cancelled: actual cost limit exceeded")]
    Cost,
    /// What is left of the budget is less than this evaluation cost.
    #[error(
        "validation failed due to running out of cost budget, no further validation rules will be run"
    )]
    Budget,
    #[error("{0}")]
    Evaluation(String),
}

impl RunError {
    pub fn of(message: impl Into<String>) -> RunError {
        RunError::Evaluation(message.into())
    }

    pub fn no_overload() -> RunError {
        RunError::of("no such overload")
    }

    /// Ends everything, whatever else an expression says (`false && it`).
    pub fn is_final(&self) -> bool {
        !matches!(self, RunError::Evaluation(_))
    }
}

/// What evaluations may still cost; those of one request share one.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pub left: u64,
}

impl Budget {
    pub fn of_request() -> Budget {
        Budget { left: RUNTIME_BUDGET }
    }
}

/// An expression that was parsed, checked and planned; runs as often as one likes, anywhere.
pub struct Program {
    plan: Step,
    result: Type,
    reads: Vec<String>,
    estimate: Range,
    parts: usize,
}

impl Program {
    /// Compiles a text. The faults are upstream's words, with the line and a caret.
    pub fn compile(env: &Env, text: &str) -> Result<Program, Faults> {
        let (mut tree, source) = parse::parse(text)?;
        let checked = check::check(&mut tree, &source, env)?;
        validate::validate(&tree, &source, &checked)?;
        let mut reads = Vec::new();
        plan::names_read(&tree, &mut Vec::new(), &mut reads);
        let plan = plan::plan(&tree, &checked, env).map_err(Faults::instantiation)?;
        let estimate = cost::estimate(&tree, &checked, env);
        let result = checked.kind(tree.id).clone();
        Ok(Program { plan, result, reads, estimate, parts: source.offsets.len() })
    }

    /// The type of what it gives.
    pub fn result(&self) -> &Type {
        &self.result
    }

    /// Whether it names this variable.
    pub fn reads(&self, variable: &str) -> bool {
        self.reads.iter().any(|it| it == variable)
    }

    /// The least and the most that a run may cost, by the sizes that schemas allow.
    pub fn estimate(&self) -> Range {
        self.estimate
    }

    /// How many parts its tree has, macros expanded: the measure of the memory that it holds.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Evaluates it. What it cost is taken from the budget also when it fails.
    pub fn run<'a>(
        &'a self,
        bindings: &'a Bindings<'a>,
        budget: &mut Budget,
    ) -> Result<Value<'a>, RunError> {
        let mut frame = Frame::new(bindings, PER_CALL_LIMIT);
        let result = frame.eval(&self.plan);
        let cost = frame.cost();
        if cost > budget.left {
            budget.left = 0;
            return Err(RunError::Budget);
        }
        budget.left -= cost;
        result
    }
}
