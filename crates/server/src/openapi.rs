//! stand-in
use skiff_api::{Status, wire::Answer};
pub fn answer(_: &std::sync::Arc<crate::Server>, _: &[&str], _: &crate::url::Query) -> Result<Answer, Status> { Err(Status::no_such_path()) }
