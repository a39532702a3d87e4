//! Default service accounts: every active namespace has a ServiceAccount `default`.
//!
//! The exemplar of a loop: which changes wake it, what it looks at, and a pure plan.

use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_json::json;
use skiff_kinds::views::{Namespace, ServiceAccount};
use std::sync::Arc;

/// Key: the name of a namespace.
pub struct DefaultAccount;

pub struct Seen {
    namespace: Arc<Namespace>,
    account: Option<Arc<ServiceAccount>>,
}

impl Loop for DefaultAccount {
    const NAME: &'static str = "service-account-controller";
    type Seen = Seen;
    type Memory = ();

    fn on(on: &mut On) {
        on.own::<Namespace>();
        on.map::<ServiceAccount>(|account, _| vec![Key::new("", &account.metadata.namespace)]);
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(namespace) = cx.caches.of::<Namespace>().get(key) else { return Ok(None) };
        let account = cx.caches.of::<ServiceAccount>().get(&Key::new(&key.name, "default"));
        Ok(Some(Seen { namespace, account }))
    }

    fn plan(seen: &Seen, _: &mut (), _: Time, out: &mut Changes) -> Next {
        let namespace = &seen.namespace;
        if namespace.metadata.deleting() || namespace.status.phase == "Terminating" {
            out.because("the namespace is going");
        } else if seen.account.is_none() {
            let name = &namespace.metadata.name;
            out.create(ServiceAccount::RESOURCE, name, json!({
                "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name},
            }));
        }
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(namespace: skiff_json::Value, account: Option<skiff_json::Value>, expected: Expect) {
        let read = "the case is a valid view";
        let seen = Seen {
            namespace: Arc::new(skiff_json::from_value(namespace).expect(read)),
            account: account.map(|a| Arc::new(skiff_json::from_value(a).expect(read))),
        };
        let mut out = Changes::default();
        DefaultAccount::plan(&seen, &mut (), Time::UNIX_EPOCH, &mut out);
        expected.assert_eq(&out.text());
    }

    #[test]
    fn an_active_namespace_gets_its_account_once() {
        let active = json!({"metadata": {"name": "a"}, "status": {"phase": "Active"}});
        check(
            active.clone(),
            None,
            expect![[r#"
            create serviceaccounts a {"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default","namespace":"a"}}
        "#]],
        );
        check(active, Some(json!({"metadata": {"name": "default"}})), expect![""]);
        let going = json!({"metadata": {"name": "a"}, "status": {"phase": "Terminating"}});
        check(
            going,
            None,
            expect![[r#"
            because the namespace is going
        "#]],
        );
    }
}
