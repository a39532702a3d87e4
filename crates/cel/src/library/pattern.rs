//! Patterns that expressions search with. A machine is made when it is first asked for, and the last ones are
//! kept: objects bring patterns too, and a definition may have more of them than memory has room for.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use regex::Regex;
use skiff_api::schema::pattern;
use skiff_base::Lock;

/// The bytes of one machine.
const LARGEST: usize = 1 << 20;
/// How many are kept; when there are more, keeping begins anew.
const MOST: usize = 128;

static KEPT: LazyLock<Lock<HashMap<Box<str>, Arc<Regex>>>> = LazyLock::new(Lock::default);

/// The machine of a pattern.
///
/// # Errors
/// What is wrong with it, in Go's words.
pub fn machine(pattern: &str) -> Result<Arc<Regex>, String> {
    if let Some(found) = KEPT.lock().get(pattern) {
        return Ok(found.clone());
    }
    let made = Arc::new(pattern::machine_within(pattern, LARGEST)?);
    let mut kept = KEPT.lock();
    if kept.len() >= MOST {
        kept.clear();
    }
    kept.insert(pattern.into(), made.clone());
    Ok(made)
}
