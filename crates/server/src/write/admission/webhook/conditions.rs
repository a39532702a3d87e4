//! Match conditions: expressions in CEL that say whether a webhook is asked at all (KEP-3716). Here is where they go in:
//! they are compiled with their configuration, and evaluated last, when all else matches.
//!
//! As long as there is no evaluator, a webhook is asked as if all of them held: rather once too often.

use super::matching::Invocation;
use crate::write::admission::Admit;
use serde_json::Value;
use skiff_api::Status;

/// Those of one webhook.
#[derive(Debug, Default)]
pub struct Conditions;

impl Conditions {
    /// Those of a webhook as it is configured.
    pub fn of(_hook: &Value) -> Conditions {
        Conditions
    }

    /// Whether all hold for what the webhook would see.
    ///
    /// # Errors
    /// What one cannot be evaluated for; the failure policy decides then (KEP-3716).
    pub fn hold(
        &self,
        _: &Invocation<'_>,
        _: &Admit<'_>,
        _: (Option<&Value>, Option<&Value>),
    ) -> Result<bool, Status> {
        Ok(true)
    }
}
