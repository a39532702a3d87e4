//! Differential tests: the same commands against Skiff and against upstream, compared as a user
//! reads them (output, error text, warnings, exit code).
//!
//! A case is a name and some lines of shell in `tests/differential/*.txt` ([`cases`]). Running it
//! ([`run`]) gives a text; [`normal`] evens out what differs between any two clusters (uids, times,
//! random names). Upstream's texts are recorded once in `tests/differential/answers/` and compared
//! with ours in CI ([`answers`]). What is known to differ, and why, stands in `known.txt`: that
//! list may only shrink, so a known difference that is gone fails as loudly as a new one.
//!
//! Answers hold what a user sees of errors, tables and statuses; never upstream's documentation
//! texts, which are not ours to copy.

pub mod answers;
pub mod cases;
pub mod normal;
pub mod run;
pub mod wire;
