//! stand-in
pub async fn impersonate(_: &crate::authorize::Authorizer, user: skiff_api::wire::User, _: &http::HeaderMap) -> Result<skiff_api::wire::User, skiff_api::Status> { Ok(user) }
