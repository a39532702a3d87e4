//! Selection: which records a list or a watch is about, by labels and fields, decided on facets alone.

use crate::facets;
use crate::request::Request;
use skiff_api::Status;
use skiff_api::kind::Kind;
use skiff_api::selector::{FieldSelector, LabelSelector};
use skiff_store::{Facet, Record, Scope};

/// A label selector, a field selector, and perhaps a name.
#[derive(Debug)]
pub struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    /// The one object that is asked for.
    name: Option<String>,
}

impl Selection {
    /// Reads and checks the selectors of a request.
    pub fn of(request: &Request) -> Result<Selection, Status> {
        let text = |key| request.query.get(key).unwrap_or("");
        let labels = LabelSelector::parse(text("labelSelector"))
            .map_err(|why| Status::bad_request(why.to_string()))?;
        let fields = FieldSelector::parse(text("fieldSelector"))
            .map_err(|why| Status::bad_request(why.to_string()))?;
        for field in fields.fields() {
            let known = ["metadata.name", "metadata.namespace"].contains(&field)
                || request.kind.selectable.iter().any(|path| path == field);
            if !known {
                return Err(Status::bad_request(format!("field label not supported: {field}")));
            }
        }
        let name = match &*request.resource.name {
            "" => fields.exact("metadata.name").map(str::to_owned),
            name => Some(name.to_owned()),
        };
        Ok(Selection { labels, fields, name })
    }

    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty() && self.name.is_none()
    }

    /// The keys that can match: one, those of a namespace, or all.
    pub fn scope(&self, kind: &Kind, namespace: &str) -> Scope {
        let within = if kind.namespaced() { namespace } else { "" };
        match &self.name {
            Some(name) if !kind.namespaced() || !namespace.is_empty() => {
                Scope::key(kind.key(within, name).into())
            }
            _ => Scope::prefix(&kind.prefix(within)),
        }
    }

    /// One facet that every match has: an index finds them by it.
    pub fn facet(&self) -> Option<Facet> {
        let (sort, (key, value)) = match (self.fields.exact_fields().next(), self.labels.exact().next()) {
            (Some(field), _) => ("f", field),
            (None, Some(label)) => ("l", label),
            (None, None) => return None,
        };
        Some((format!("{sort}:{key}").into(), value.into()))
    }

    pub fn matches(&self, record: &Record) -> bool {
        let name_is = |name: &str| facets::value(record, "f:metadata.name") == Some(name);
        self.name.as_deref().is_none_or(name_is)
            && self.labels.matches(|key| facets::value(record, &format!("l:{key}")))
            && self.fields.matches(|path| facets::value(record, &format!("f:{path}")).unwrap_or(""))
    }
}
