//! Which policies a request concerns, by which bindings, and with which parameters.

use super::configuration::{Active, Binding, Policy};
use super::params;
use crate::write::admission::Admit;
use crate::write::admission::matching::Face;
use skiff_api::object::Object;

/// A binding that a request concerns.
pub struct Concerned<'a> {
    pub policy: &'a Policy,
    pub binding: &'a Binding,
    pub face: Face,
    /// The policy is evaluated once with each.
    pub params: Vec<Option<Object>>,
}

/// Why it is not known what a policy would say: the failure policy decides.
pub struct Unclear<'a> {
    pub policy: &'a Policy,
    pub binding: Option<&'a Binding>,
    pub why: String,
}

/// All whom a request with these objects concerns, in their order.
pub async fn all<'a>(
    active: &'a Active,
    at: &Admit<'_>,
    (new, old): (Option<&Object>, Option<&Object>),
) -> Vec<Result<Concerned<'a>, Unclear<'a>>> {
    let mut found = Vec::new();
    for bound in active.iter() {
        let policy = &*bound.policy;
        let of_policy = |why: String| {
            Err(Unclear {
                policy,
                binding: None,
                why: format!("failed to configure policy: {why}"),
            })
        };
        let face = match policy.criteria.face(at, (new, old)).await {
            Ok(Some(face)) => face,
            Ok(None) => continue,
            Err(status) => {
                found.push(of_policy(status.message));
                continue;
            }
        };
        let kind = match params::kind(policy, at) {
            Ok(kind) => kind,
            Err(why) => {
                found.push(of_policy(why));
                continue;
            }
        };
        for binding in bound.bindings.iter().map(|it| &**it) {
            let of_binding = |why: String| {
                let why = format!("failed to configure binding: {why}");
                Err(Unclear { policy, binding: Some(binding), why })
            };
            let matches = match &binding.criteria {
                None => Ok(true),
                Some(criteria) => criteria.face(at, (new, old)).await.map(|it| it.is_some()),
            };
            match matches {
                Ok(true) => {}
                Ok(false) => continue,
                Err(status) => {
                    found.push(of_binding(status.message));
                    continue;
                }
            }
            let namespace = at.target(new.map(Object::value)).1;
            found.push(match params::of_binding(kind.as_deref(), binding, at, &namespace).await {
                Ok(params) => Ok(Concerned { policy, binding, face: face.clone(), params }),
                Err(why) => of_binding(why),
            });
        }
    }
    found
}
