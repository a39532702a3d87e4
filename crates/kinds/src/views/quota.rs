//! ResourceQuota as its loop and the admission of what it limits read it.

use super::pod::Quantities;
use serde::Deserialize;
use skiff_api::view::{Meta, Resource, View};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ResourceQuota {
    pub metadata: Meta,
    pub spec: ResourceQuotaSpec,
    pub status: ResourceQuotaStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceQuotaSpec {
    pub hard: Quantities,
    /// Of which objects, by a fact about them.
    pub scopes: Vec<String>,
    pub scope_selector: ScopeSelector,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeSelector {
    pub match_expressions: Vec<Scope>,
}

/// One fact that an object of a quota has.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scope {
    pub scope_name: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    pub values: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ResourceQuotaStatus {
    /// The limits that are in force, and what is used of them; absent until the loop has looked.
    pub hard: Option<Quantities>,
    pub used: Option<Quantities>,
}

impl View for ResourceQuota {
    const RESOURCE: Resource = crate::core::resourcequota::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl ResourceQuota {
    /// All that an object must be to count; those without a word of their own exist.
    pub fn scopes(&self) -> impl Iterator<Item = Scope> {
        let exists = |name: &String| Scope {
            scope_name: name.clone(),
            operator: "Exists".into(),
            values: Vec::new(),
        };
        let named = self.spec.scopes.iter().map(exists);
        named.chain(self.spec.scope_selector.match_expressions.iter().cloned())
    }
}
