//! Selection: which records a list or a watch is about, by labels and fields, decided on facets alone.

use crate::read::facets;
use crate::request::Request;
use skiff_api::Status;
use skiff_api::kind::Kind;
use skiff_api::selector::{FieldSelector, Selector};
use skiff_store::{Facet, Record, Scope};
use std::sync::Arc;

/// A label selector, a field selector, and perhaps a name.
#[derive(Debug)]
pub struct Selection {
    labels: Selector,
    fields: FieldSelector,
    /// The one object that is asked for.
    name: Option<String>,
    /// From the names of this face to those that are stored.
    field_name: fn(&str) -> &str,
    /// The kind, when its selectable fields can change: records of another generation are looked into.
    redefined: Option<Arc<Kind>>,
}

impl Selection {
    /// Reads and checks the selectors of a request.
    pub fn of(request: &Request) -> Result<Selection, Status> {
        let text = |key| request.query.get(key).unwrap_or("");
        let labels = Selector::parse(text("labelSelector")).map_err(Status::bad_request)?;
        let fields = FieldSelector::parse(text("fieldSelector")).map_err(Status::bad_request)?;
        let known = |field: &str| {
            ["metadata.name", "metadata.namespace"].contains(&field)
                || request.kind.selectable.iter().any(|path| path == field)
        };
        if let Err(unknown) = fields.check(known) {
            return Err(Status::bad_request(match request.kind.converts_fields {
                true => format!("field label not supported: {unknown}"),
                false => format!(
                    "{unknown:?} is not a known field selector: only \"metadata.name\", \
                     \"metadata.namespace\""
                ),
            }));
        }
        let name = match &*request.resource.name {
            "" => fields.exact("metadata.name").map(str::to_owned),
            name => Some(name.to_owned()),
        };
        Ok(Selection {
            labels,
            fields,
            name,
            field_name: request.kind.hooks.field_name,
            redefined: request.kind.manner.redefined.then(|| request.kind.clone()),
        })
    }

    pub fn is_everything(&self) -> bool {
        self.labels.selects_everything() && self.fields.0.is_empty() && self.name.is_none()
    }

    /// The keys that can match: one, those of a namespace, or all.
    pub fn scope(&self, kind: &Kind, namespace: &str) -> Scope {
        let within = if kind.namespaced() { namespace } else { "" };
        match &self.name {
            Some(name) if !kind.namespaced() || !namespace.is_empty() => {
                Scope::key(&*kind.key(within, name))
            }
            _ => Scope::prefix(&kind.prefix(within)),
        }
    }

    /// One facet that every match has: an index finds them by it.
    pub fn facet(&self) -> Option<Facet> {
        // What was written under another schema may lack the facet.
        let fields = self.fields.0.iter().filter(|_| self.redefined.is_none());
        let indexed = fields.filter(|f| !f.field.starts_with("metadata."));
        let field = indexed.filter(|f| !f.negated && !f.value.is_empty());
        let field = field.map(|f| ((self.field_name)(&f.field), &*f.value)).next();
        let (type_, (key, value)) = match (field, self.labels.exact()) {
            (Some(field), _) => ("f", field),
            (None, Some(label)) => ("l", label),
            (None, None) => return None,
        };
        Some((format!("{type_}:{key}").into(), value.into()))
    }

    fn fields_match(&self, record: &Record) -> bool {
        if let Some(kind) = self.redefined.as_ref().filter(|_| !self.fields.0.is_empty()) {
            let value = |path: &str| match path.starts_with("metadata.") {
                true => facets::value(record, &format!("f:{path}")),
                false => facets::of_version(record, kind, path),
            };
            if self.fields.0.iter().all(|asked| value(&asked.field).is_some()) {
                return self.fields.matches(value);
            }
        }
        let older = self.redefined.as_ref().filter(|kind| kind.generation != record.generation);
        let Some(kind) = older.filter(|_| !self.fields.0.is_empty()) else {
            return self.fields.matches(|path| {
                let name = format!("f:{}", (self.field_name)(path));
                Some(facets::value(record, &name).unwrap_or(""))
            });
        };
        // A body that cannot be read matches nothing; reading it says why.
        let Ok(object) = super::convert::renewed(kind, record) else { return false };
        let now = facets::of(kind, &object);
        let text = |path: &str| {
            let name = format!("f:{path}");
            now.iter().find(|(key, _)| **key == *name).map(|(_, value)| &**value)
        };
        self.fields.matches(|path| {
            let own = facets::value(record, &format!("f:{path}"));
            Some(if path.starts_with("metadata.") { own } else { text(path) }.unwrap_or(""))
        })
    }

    pub fn matches(&self, record: &Record) -> bool {
        let name_is = |name: &str| facets::value(record, "f:metadata.name") == Some(name);
        self.name.as_deref().is_none_or(name_is)
            && self.labels.matches(|key| facets::value(record, &format!("l:{key}")))
            && self.fields_match(record)
    }
}
