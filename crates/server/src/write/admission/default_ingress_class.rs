//! DefaultIngressClass: an Ingress that names no class gets the newest of those that are marked as the default.

use super::{Admit, Next, Plugin, Verdict};
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_kinds::networking::ingress::{CLASS, CLASS_ANNOTATION};
use skiff_kinds::networking::ingressclass::{DEFAULT_FACET, RESOURCE};
use skiff_store::{Currency, ListRequest, Scope};
use std::cmp::Reverse;

pub struct DefaultIngressClass;

impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn mutate<'a>(&'a self, at: &'a Admit<'_>, new: &'a mut Object) -> Verdict<'a, Next> {
        let named = new.at(CLASS).is_some() || new.annotation(CLASS_ANNOTATION).is_some();
        if named || !at.creates() || !at.is(RESOURCE.group, "ingresses") {
            return Ok(Next::GoOn).into();
        }
        Verdict::later(async move {
            if let Some(class) = newest_default(at).await? {
                new.set(CLASS, class.name());
            }
            Ok(Next::GoOn)
        })
    }
}

async fn newest_default(at: &Admit<'_>) -> Result<Option<Object>, Status> {
    let kind = at.reader.kind(RESOURCE.group, RESOURCE.plural)?;
    let asked = ListRequest {
        scope: Scope::prefix(&kind.prefix("")),
        facet: Some((format!("f:{DEFAULT_FACET}").into(), "true".into())),
        currency: Currency::Seen,
        ..ListRequest::default()
    };
    let mut classes = at.reader.list(&kind, asked).await?;
    let made = |class: &Object| class.text("metadata.creationTimestamp").to_owned();
    classes.sort_by_key(|class| (Reverse(made(class)), class.name().to_owned()));
    Ok(classes.into_iter().next())
}
