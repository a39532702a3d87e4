//! One transaction: a list of changes of one table, sent whole.

use super::encode;
use super::expression::Expression;
use super::value::{Element, Set};
use crate::netlink::socket::Socket;
use crate::{Error, Result};

/// Where a base chain hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// What a base chain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Filter,
    /// Sees the first packet of each flow only.
    Nat,
}

/// What makes a chain a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    pub work: Work,
    pub hook: Hook,
    /// Lower comes first.
    pub priority: i32,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Makes the table if it is not there.
    AddTable,
    /// Removes the table with all that is in it; it has to be there.
    DeleteTable,
    AddChain {
        name: String,
        base: Option<Base>,
    },
    DeleteChain {
        name: String,
    },
    AddRule {
        chain: String,
        rule: Vec<Expression>,
    },
    /// A rule in a chain of somebody else's: with a comment by which it is found again, in front of
    /// another rule or behind all.
    AddMarkedRule {
        chain: String,
        rule: Vec<Expression>,
        mark: String,
        before: Option<u64>,
    },
    DeleteRule {
        chain: String,
        handle: u64,
    },
    /// Removes all rules of a chain.
    FlushChain {
        name: String,
    },
    AddSet(Set),
    DeleteSet {
        name: String,
    },
    AddElements {
        set: String,
        elements: Vec<Element>,
    },
    DeleteElements {
        set: String,
        elements: Vec<Element>,
    },
}

/// Changes of one table, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub table: String,
    pub steps: Vec<Step>,
}

/// A refusal names its step with at most this many characters.
const NAMED: usize = 300;

impl Batch {
    pub fn new(table: &str) -> Batch {
        Batch { table: table.to_string(), steps: Vec::new() }
    }

    /// Makes the table empty, whether it was there or not, as the first thing in this batch.
    pub fn replace(table: &str) -> Batch {
        let steps = vec![Step::AddTable, Step::DeleteTable, Step::AddTable];
        Batch { table: table.to_string(), steps }
    }

    pub fn chain(&mut self, name: impl Into<String>) {
        self.steps.push(Step::AddChain { name: name.into(), base: None });
    }

    pub fn base_chain(&mut self, name: &str, work: Work, hook: Hook, priority: i32) {
        let base = Some(Base { work, hook, priority });
        self.steps.push(Step::AddChain { name: name.to_string(), base });
    }

    pub fn rule(&mut self, chain: &str, rule: impl IntoIterator<Item = Expression>) {
        let rule = rule.into_iter().collect();
        self.steps.push(Step::AddRule { chain: chain.to_string(), rule });
    }

    pub fn set(&mut self, set: Set) {
        self.steps.push(Step::AddSet(set));
    }

    pub fn add(&mut self, set: &str, elements: Vec<Element>) {
        if !elements.is_empty() {
            self.steps.push(Step::AddElements { set: set.to_string(), elements });
        }
    }

    pub fn delete(&mut self, set: &str, elements: Vec<Element>) {
        if !elements.is_empty() {
            self.steps.push(Step::DeleteElements { set: set.to_string(), elements });
        }
    }

    /// Sends everything; either all of it has happened then, or nothing.
    pub fn commit(&self, socket: &mut Socket) -> Result<()> {
        /// The kernel asks to repeat when it had to load a module or met another writer.
        const TRIES: u32 = 5;
        if self.steps.is_empty() {
            return Ok(());
        }
        let encoded = encode::batch(self);
        let mut tries = 0;
        loop {
            tries += 1;
            match socket.transaction(encoded.bytes(), "change packet rules") {
                Ok(()) => return Ok(()),
                Err((_, error)) if retry(&error) && tries < TRIES => {}
                Err((sequence, error)) => return Err(self.named(&encoded, sequence, error)),
            }
        }
    }

    /// The refusal with the text of the step that it is about.
    fn named(&self, encoded: &encode::Encoded, sequence: u32, error: Error) -> Error {
        let Error::Refused { source, detail, .. } = error else { return error };
        let step = encoded.step(sequence).and_then(|i| self.steps.get(i));
        let text = step.map_or(String::from("commit"), |s| s.to_string().replace('\n', " "));
        let text: String = text.chars().take(NAMED).collect();
        Error::Refused { what: format!("change table {}: {text}", self.table), source, detail }
    }
}

fn retry(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::EAGAIN | libc::EINTR))
}
