//! Parameters: the objects that a binding names for its policy. They are read from the store when a request comes: as
//! they are seen here, and that there is none of a name is asked of the journal.

use super::configuration::{Binding, ParamRef, Policy};
use crate::read::facets;
use crate::read::reader::Reader;
use crate::write::admission::Admit;
use skiff_api::Status;
use skiff_api::kind::Kind;
use skiff_api::object::Object;
use skiff_api::selector::Selector;
use skiff_json::Value;
use skiff_store::{Currency, Facet, ListRequest, Scope};
use std::sync::Arc;

const NONE: &str = "no params found for policy binding with `Deny` parameterNotFoundAction";

/// The kind of a policy's parameters; `None` when it has none.
///
/// # Errors
/// When nothing of that kind is served, in upstream's words.
pub fn kind(policy: &Policy, at: &Admit<'_>) -> Result<Option<Arc<Kind>>, String> {
    let Some((group, version, kind)) = &policy.params else { return Ok(None) };
    let registry = at.reader.kinds.now();
    let found = registry.find_kind(group, version, kind).cloned();
    let why = || {
        format!("failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind}'")
    };
    found.map(Some).ok_or_else(why)
}

/// The parameters with which a policy is evaluated for a binding, once with each. `None` is no parameter.
///
/// # Errors
/// Why it cannot be evaluated, in upstream's words.
pub async fn of_binding(
    kind: Option<&Kind>,
    binding: &Binding,
    at: &Admit<'_>,
    namespace: &str,
) -> Result<Vec<Option<Object>>, String> {
    let (Some(kind), Some(param)) = (kind, &binding.param) else { return Ok(vec![None]) };
    let within = match (kind.namespaced(), &*param.namespace, namespace) {
        (false, "", _) => "",
        (false, ..) => {
            return Err(
                "paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into()
            );
        }
        (true, "", "") => {
            let why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
            return Err(why.into());
        }
        (true, "", own) => own,
        (true, named, _) => named,
    };
    let found = objects(at.reader, kind, param, within).await.map_err(|status| status.message)?;
    match found.is_empty() && param.denies_absence {
        true => Err(NONE.into()),
        false => Ok(found.into_iter().map(Some).collect()),
    }
}

async fn objects(
    reader: &Reader,
    kind: &Kind,
    param: &ParamRef,
    within: &str,
) -> Result<Vec<Object>, Status> {
    let mut found = match &param.selector {
        Some(selector) => selected(reader, kind, selector, within).await?,
        None => {
            let mut found = None;
            for currency in [Currency::Seen, Currency::Current] {
                if found.is_none() {
                    found = reader.read(kind, within, &param.name, currency).await?;
                }
            }
            found.into_iter().map(|found| found.object).collect()
        }
    };
    for object in &mut found {
        let value = object.value_mut();
        value["apiVersion"] = kind.api_version().into();
        value["kind"] = Value::from(&*kind.kind);
    }
    Ok(found)
}

/// Those whose labels fit: no body of any other is looked into.
async fn selected(
    reader: &Reader,
    kind: &Kind,
    selector: &Selector,
    within: &str,
) -> Result<Vec<Object>, Status> {
    let facet: Option<Facet> =
        selector.exact().map(|(key, value)| (format!("l:{key}").into(), value.into()));
    let scope = Scope::prefix(&kind.prefix(within));
    let request = ListRequest { scope, facet, currency: Currency::Seen, ..ListRequest::default() };
    let listed = reader.store.list(request).await.map_err(crate::read::read_error)?;
    let fits = |record: &&Arc<skiff_store::Record>| {
        selector.matches(|key| facets::value(record, &format!("l:{key}")))
    };
    let records: Vec<_> = listed.records.iter().filter(fits).cloned().collect();
    crate::read::convert::trees(reader, kind, &records).await.into_iter().collect()
}
