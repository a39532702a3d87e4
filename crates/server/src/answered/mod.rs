//! stand-in
use skiff_api::{Status, wire::Answer};
pub async fn act(_: &std::sync::Arc<crate::Server>, _: &crate::request::Request) -> Result<Answer, Status> { Err(Status::no_such_path()) }
pub async fn create(_: &std::sync::Arc<crate::Server>, _: &crate::request::Request) -> Result<Answer, Status> { Err(Status::no_such_path()) }
