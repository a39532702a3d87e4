//! Stand-in for the one way to an object.

use crate::request::codec;
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_api::registry::Kinds;
use skiff_store::Store;
use std::sync::Arc;

pub struct Reader {
    pub store: Arc<dyn Store>,
    pub kinds: Kinds,
}

impl Reader {
    pub async fn find(
        &self,
        (group, plural): (&str, &str),
        namespace: &str,
        name: &str,
    ) -> Result<Option<Object>, Status> {
        let kind = self.kinds.now().find(group, "v1", plural).cloned();
        let kind = kind.ok_or_else(|| Status::internal(format!("{plural} are not served")))?;
        let Some(record) = self.store.get(&kind.key(namespace, name)) else { return Ok(None) };
        let object = codec::record_tree(&kind, &record);
        object
            .map(Some)
            .map_err(|why| Status::internal(format!("{} cannot be read: {why}", record.key)))
    }
}
