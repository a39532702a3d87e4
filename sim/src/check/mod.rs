//! Checkers: each reads the whole record of a run and says what must not have happened. Pure; one file each, one
//! line in the list.

mod acknowledged;
mod state;
mod watch;

use crate::history::Record;
use std::fmt;

/// Something that must never happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub checker: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.what)
    }
}

/// Finds what must not be, in words.
type Check = fn(&Record) -> Vec<String>;

const CHECKERS: &[(&str, Check)] =
    &[("acknowledged", acknowledged::check), ("watch", watch::check)];

/// So many violations of one checker are enough to know.
const MOST: usize = 5;

/// Everything that any checker finds.
pub fn all(record: &Record) -> Vec<Violation> {
    let found = |(checker, check): &(&'static str, Check)| {
        let checker = *checker;
        let found = check(record).into_iter().take(MOST);
        found.map(|what| Violation { checker, what }).collect::<Vec<_>>()
    };
    CHECKERS.iter().flat_map(found).collect()
}
