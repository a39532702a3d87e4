//! Checkers: each reads the whole record of a run and says what must not have happened. Pure; one
//! file each, one line in the list.

mod acknowledged;
mod alone;
mod budgets;
mod calm;
mod capacity;
mod converged;
mod orphans;
mod parts;
mod quota;
mod state;
mod surplus;
mod watch;

use crate::history::Record;
use state::Story;
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
type Check = fn(&Story) -> Vec<String>;

const CHECKERS: &[(&str, Check)] = &[
    ("acknowledged", acknowledged::check),
    ("alone", alone::check),
    ("budgets", budgets::check),
    ("calm", calm::check),
    ("capacity", capacity::check),
    ("converged", converged::check),
    ("orphans", orphans::check),
    ("parts", parts::check),
    ("quota", quota::check),
    ("surplus", surplus::check),
    ("watch", watch::check),
];

/// So many violations of one checker are enough to know.
const MOST: usize = 5;

/// Everything that any checker finds.
pub fn all(record: &Record) -> Vec<Violation> {
    let story = Story::new(record);
    let found = |(checker, check): &(&'static str, Check)| {
        let checker = *checker;
        let found = check(&story).into_iter().take(MOST);
        found.map(|what| Violation { checker, what }).collect::<Vec<_>>()
    };
    CHECKERS.iter().flat_map(found).collect()
}
