//! Bootstrap tokens: secrets that let somebody in who is nobody yet (documentation page "Authenticating with Bootstrap
//! Tokens"). The server that believes them and the loops that sign with them and take them away all read this.

use super::token::texts;
use serde::Deserialize;
use skiff_api::view::{Meta, Resource, View};
use std::collections::{BTreeMap, BTreeSet};

/// Where they lie, and how their names begin.
pub const NAMESPACE: &str = "kube-system";
pub const PREFIX: &str = "bootstrap-token-";
pub const SORT: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";
/// Characters after the prefix of a further group.
const GROUP_MOST: usize = 256;

/// A secret of the type [`SORT`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct BootstrapToken {
    pub metadata: Meta,
    #[serde(rename = "type")]
    pub type_: String,
    #[serde(deserialize_with = "texts")]
    pub data: BTreeMap<String, String>,
}

/// When a token ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    Never,
    At(jiff::Timestamp),
    /// What it says is no time: it is over.
    Unreadable,
}

impl BootstrapToken {
    fn says(&self, key: &str) -> &str {
        self.data.get(key).map_or("", String::as_str)
    }

    pub fn id(&self) -> &str {
        self.says("token-id")
    }

    pub fn secret(&self) -> &str {
        self.says("token-secret")
    }

    /// Whether it may be used so: `authentication` or `signing`.
    pub fn serves(&self, usage: &str) -> bool {
        self.says(&format!("usage-bootstrap-{usage}")) == "true"
    }

    pub fn ends(&self) -> Ends {
        match self.says("expiration") {
            "" => Ends::Never,
            text => text.parse().map_or(Ends::Unreadable, Ends::At),
        }
    }

    pub fn ended(&self, now: jiff::Timestamp) -> bool {
        match self.ends() {
            Ends::Never => false,
            Ends::At(at) => at <= now,
            Ends::Unreadable => true,
        }
    }

    /// The groups of who shows it; none when one of them is not a bootstrapper's.
    pub fn groups(&self) -> Option<Vec<String>> {
        let more = self.says("auth-extra-groups");
        let mut groups = BTreeSet::from([GROUP.to_owned()]);
        for group in more.split(',').filter(|_| !more.is_empty()) {
            let name = group.strip_prefix("system:bootstrappers:")?;
            let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-:".contains(c);
            let ends_well = name.ends_with(|c: char| c.is_ascii_alphanumeric());
            if name.len() > GROUP_MOST || !ends_well || !name.chars().all(good) {
                return None;
            }
            groups.insert(group.to_owned());
        }
        Some(groups.into_iter().collect())
    }
}

impl View for BootstrapToken {
    const RESOURCE: Resource = crate::core::secret::RESOURCE;
    const QUERY: &'static str = "&fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken";

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// Identifier and secret of a text that has the form of a bootstrap token.
pub fn parse(token: &str) -> Option<(&str, &str)> {
    let word = |text: &str, len| {
        text.len() == len && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    token.split_once('.').filter(|(id, secret)| word(id, 6) && word(secret, 16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn tokens_and_groups_have_a_form() {
        assert_eq!(parse("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for bad in ["abcdef.0123456789abcde", "abcdeF.0123456789abcdef", "abcdef", "a.b.c", ""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        let groups = |more: &str| {
            let data = [("auth-extra-groups".to_owned(), more.to_owned())].into();
            let token = BootstrapToken { data, ..BootstrapToken::default() };
            token.groups().map(|groups| groups.join(" "))
        };
        assert_eq!(groups("").as_deref(), Some("system:bootstrappers"));
        let two = "system:bootstrappers:b,system:bootstrappers:a";
        let shown = "system:bootstrappers system:bootstrappers:a system:bootstrappers:b";
        assert_eq!(groups(two).as_deref(), Some(shown));
        assert_eq!(groups("system:masters"), None);
        assert_eq!(groups("system:bootstrappers:a,"), None);
        assert_eq!(groups("system:bootstrappers:A"), None);
    }

    #[test]
    fn what_ends_at_no_time_has_ended() {
        let now: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let ended = |at: &str| {
            use base64::Engine;
            let at = base64::engine::general_purpose::STANDARD.encode(at);
            let token: BootstrapToken =
                skiff_json::from_value(json!({"data": {"expiration": at}})).expect("a view");
            token.ended(now)
        };
        assert!(!ended(""));
        assert!(!ended("2026-01-01T02:00:00+01:00"));
        assert!(ended("2026-01-01T01:00:00+01:00"));
        assert!(ended("soon"));
    }
}
