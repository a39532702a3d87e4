//! Bootstrap tokens as credentials (documentation page "Authenticating with Bootstrap Tokens"): the secret is looked up
//! on every use, so that a token ends with it.

use super::Tokens;
use skiff_api::wire::User;
use skiff_kinds::views::bootstrap::{self, BootstrapToken, NAMESPACE, PREFIX, SORT};

impl Tokens {
    /// The user of a bootstrap token that is good now.
    pub(super) fn bootstrapper(&self, token: &str) -> Option<User> {
        let (id, secret) = bootstrap::parse(token)?;
        let name = format!("{PREFIX}{id}");
        let found = self.read::<BootstrapToken>("secrets", NAMESPACE, &name)?;
        let good = !found.metadata.deleting()
            && found.type_ == SORT
            && found.id() == id
            && same(found.secret(), secret)
            && !found.ended(self.world.now())
            && found.serves("authentication");
        let groups = found.groups().filter(|_| good)?;
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        Some(User::system(&format!("system:bootstrap:{id}"), &groups))
    }
}

/// Compares in a time that tells nothing of where two secrets differ.
fn same(a: &str, b: &str) -> bool {
    let differing = a.bytes().zip(b.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && differing == 0
}
