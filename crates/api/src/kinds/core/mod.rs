//! The core group, `/api/v1`.

pub mod configmap;
pub mod namespace;
pub mod pod;
pub mod secret;
pub mod serviceaccount;
