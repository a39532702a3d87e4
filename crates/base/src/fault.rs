//! Fault points: places at which a test makes this program fail, to see what goes on all the same.
//!
//! They are there in debug builds alone, which CI's black-box tests run; in a release they are nothing. The variable
//! `SKIFF_FAULTS` names a file of lines: the name of a point makes it fail once (the line goes), and one with a `*`
//! behind it as long as the line is there.

use std::fmt::Display;
use std::path::PathBuf;
#[cfg(debug_assertions)]
use std::sync::OnceLock;

/// The variable that names the file.
pub const VARIABLE: &str = "SKIFF_FAULTS";

#[cfg(debug_assertions)]
static FILE: OnceLock<PathBuf> = OnceLock::new();

/// Says which file it is, once, at the start of the process.
#[cfg(debug_assertions)]
pub fn from(file: PathBuf) {
    FILE.get_or_init(|| file);
}

#[cfg(not(debug_assertions))]
pub fn from(_file: PathBuf) {}

/// Panics when a test asks for it. The name is written out only where tests can ask.
pub fn point(name: impl Display) {
    if fails(&name) {
        panic!("the fault \"{name}\" that a test asked for");
    }
}

/// Whether a test asks for a failure that is no panic.
#[cfg(debug_assertions)]
pub fn fails(name: impl Display) -> bool {
    static TAKEN: crate::Lock<()> = crate::Lock::new(());
    let Some(file) = FILE.get() else { return false };
    let name = &*name.to_string();
    let _one_at_a_time = TAKEN.lock();
    let Ok(text) = std::fs::read_to_string(file) else { return false };
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.iter().any(|line| line.strip_suffix('*') == Some(name)) {
        return true;
    }
    let Some(at) = lines.iter().position(|line| *line == name) else { return false };
    lines.remove(at);
    std::fs::write(file, lines.join("\n")).is_ok()
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn fails(_name: impl Display) -> bool {
    false
}
