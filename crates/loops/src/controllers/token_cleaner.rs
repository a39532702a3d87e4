//! Takes away bootstrap tokens whose time is over (documentation page "Authenticating with Bootstrap Tokens").

use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_kinds::views::bootstrap::{BootstrapToken, Ends, NAMESPACE};
use std::sync::Arc;

/// Key: such a secret.
pub struct TokenCleaner;

impl Loop for TokenCleaner {
    const NAME: &'static str = "token-cleaner";
    type Seen = Arc<BootstrapToken>;
    type Memory = ();

    fn on(on: &mut On) {
        on.own::<BootstrapToken>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Arc<BootstrapToken>>, Status> {
        let token = cx.caches.of::<BootstrapToken>().get(key);
        Ok(token.filter(|it| it.metadata.namespace == NAMESPACE && !it.metadata.deleting()))
    }

    fn plan(token: &Arc<BootstrapToken>, _: &mut (), now: Time, out: &mut Changes) -> Next {
        let meta = &token.metadata;
        match token.ends() {
            Ends::Never => Next::Wait,
            Ends::At(at) if at > now => Next::At(at),
            Ends::At(_) | Ends::Unreadable => {
                out.delete(BootstrapToken::RESOURCE, meta.key(), &meta.uid);
                Next::Wait
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(expiration: &str, expected: Expect) {
        let mut token = BootstrapToken::default();
        token.metadata.name = "bootstrap-token-abcdef".into();
        token.metadata.uid = "u".into();
        token.data.insert("expiration".into(), expiration.into());
        let mut out = Changes::default();
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let next = TokenCleaner::plan(&Arc::new(token), &mut (), now, &mut out);
        expected.assert_eq(&format!("{}{next:?}", out.text()));
    }

    #[test]
    fn a_token_goes_when_its_time_is_over() {
        check("", expect!["Wait"]);
        check("2026-01-01T01:00:00Z", expect!["At(2026-01-01T01:00:00Z)"]);
        let gone = expect![[r#"
            delete secrets bootstrap-token-abcdef uid=u
            Wait"#]];
        check("2026-01-01T00:00:00Z", gone);
    }
}
