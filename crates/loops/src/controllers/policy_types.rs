//! Types of policies: of each ValidatingAdmissionPolicy it is said in the status what does not fit the schemas of the
//! kinds that it names, once for each generation (API reference: ValidatingAdmissionPolicy, `status.typeChecking`).

use crate::parts::status::{force, this_revision};
use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::Key;
use skiff_base::Time;
use skiff_json::{Value, json};
use skiff_kinds::admissionregistration::typed;
use skiff_kinds::views::ValidatingAdmissionPolicy;
use std::sync::Arc;

/// Key: a ValidatingAdmissionPolicy.
pub struct PolicyTypes;

pub struct Seen {
    policy: Arc<ValidatingAdmissionPolicy>,
    /// `{fieldRef, warning}`.
    warnings: Vec<Value>,
}

impl Loop for PolicyTypes {
    const NAME: &'static str = "validatingadmissionpolicy-status-controller";
    const WORKERS: usize = 1;
    type Seen = Seen;
    type Memory = ();

    fn on(on: &mut On) {
        on.own::<ValidatingAdmissionPolicy>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let policy = cx.caches.of::<ValidatingAdmissionPolicy>().get(key);
        let Some(policy) =
            policy.filter(|it| it.metadata.generation > it.status.observed_generation)
        else {
            return Ok(None);
        };
        let warnings = typed::warnings(&json!({"spec": policy.spec}), &cx.kinds.now());
        Ok(Some(Seen { policy, warnings }))
    }

    fn plan(seen: &Seen, _: &mut (), _: Time, out: &mut Changes) -> Next {
        let meta = &seen.policy.metadata;
        let warnings = match seen.warnings.is_empty() {
            // What an earlier generation was warned of goes.
            true => Value::Null,
            false => seen.warnings.clone().into(),
        };
        let after = json!({
            "observedGeneration": meta.generation,
            "typeChecking": {"expressionWarnings": warnings},
        });
        force(&*seen.policy, this_revision(meta), &after, out);
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_written_for_a_generation() {
        let policy =
            json!({"metadata": {"name": "p", "uid": "u", "resourceVersion": "7", "generation": 2}});
        let policy = Arc::new(skiff_json::from_value(policy).expect("a view"));
        let warnings = vec![json!({"fieldRef": "spec.validations[0].expression", "warning": "w"})];
        let mut out = Changes::default();
        PolicyTypes::plan(&Seen { policy, warnings }, &mut (), Time::UNIX_EPOCH, &mut out);
        let text = out.text();
        assert!(
            text.contains("\"observedGeneration\":2") && text.contains("\"warning\":\"w\""),
            "{text}"
        );
    }
}
