//! What is wrong with an expression's text, with the line and a caret below it.

use std::fmt;

/// One fault of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Byte offset in the text; none where the whole is meant.
    pub at: Option<usize>,
    pub message: String,
}

/// All faults of one text, in the order of their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    text: String,
    faults: Vec<Fault>,
    stage: Stage,
}

/// What an expression's faults are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Compilation,
    /// A constant that cannot be converted, a pattern that is none: the text is right, and there is no program of it.
    Instantiation,
}

/// More are counted only: the text of an expression is its author's, and so is the number.
const MOST: usize = 100;
/// A longer line is not repeated in a message.
const LONGEST_LINE: usize = 16_384;

impl Faults {
    pub fn new(text: &str, faults: Vec<Fault>) -> Faults {
        Faults { text: text.to_string(), faults, stage: Stage::Compilation }
    }

    pub fn instantiation(message: String) -> Faults {
        let faults = vec![Fault { at: None, message }];
        Faults { text: String::new(), faults, stage: Stage::Instantiation }
    }

    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Line and column, from 1 and 0, and the line itself.
    fn place(&self, at: usize) -> (usize, usize, &str) {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let start = before.rfind('\n').map_or(0, |it| it + 1);
        let line = self.text[start..].split('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, before[start..].chars().count(), line)
    }

    fn write_one(&self, fault: &Fault, to: &mut fmt::Formatter) -> fmt::Result {
        if self.stage == Stage::Instantiation {
            return to.write_str(&fault.message);
        }
        let Some(at) = fault.at else {
            return write!(to, "ERROR: <input>:-1:0: {}", fault.message);
        };
        let (line, column, text) = self.place(at);
        write!(to, "ERROR: <input>:{line}:{}: {}", column + 1, fault.message)?;
        if text.len() > LONGEST_LINE {
            return Ok(());
        }
        let text = text.replace('\t', " ");
        write!(to, "\n | {text}\n | ")?;
        for it in text.chars().take(column) {
            to.write_str(if it.len_utf8() > 1 { "\u{ff0e}" } else { "." })?;
        }
        let wide = text.chars().nth(column).is_some_and(|it| it.len_utf8() > 1);
        to.write_str(if wide { "\u{ff3e}" } else { "^" })
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        let mut faults: Vec<&Fault> = self.faults.iter().take(MOST).collect();
        faults.sort_by_key(|it| it.at.map(|at| (self.place(at).0, self.place(at).1)));
        for (index, fault) in faults.into_iter().enumerate() {
            if index > 0 {
                to.write_str("\n")?;
            }
            self.write_one(fault, to)?;
        }
        match self.faults.len().saturating_sub(MOST) {
            0 => Ok(()),
            more => write!(to, "\n{more} more errors were truncated"),
        }
    }
}

impl std::error::Error for Faults {}
