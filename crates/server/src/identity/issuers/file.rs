//! The file of issuers (`AuthenticationConfiguration`, KEP-3331): its fields as data. What is wrong with them is
//! [`super::check`]'s to say.

use crate::configured;
use serde::Deserialize;
use skiff_json::{Value, json};

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct File {
    pub jwt: Vec<Jwt>,
    pub anonymous: Option<Anonymous>,
}

/// Whether somebody who says nothing is let in as nobody in particular, and on which paths.
#[derive(Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(default)]
pub struct Anonymous {
    pub enabled: bool,
    pub conditions: Vec<Condition>,
}

#[derive(Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(default)]
pub struct Condition {
    pub path: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct Jwt {
    pub issuer: Issuer,
    pub claim_validation_rules: Vec<ClaimRule>,
    pub claim_mappings: Mappings,
    pub user_validation_rules: Vec<UserRule>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct Issuer {
    pub url: String,
    #[serde(rename = "discoveryURL")]
    pub discovery_url: String,
    pub certificate_authority: String,
    pub audiences: Vec<String>,
    pub audience_match_policy: String,
    pub egress_selector_type: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimRule {
    pub claim: String,
    pub required_value: String,
    pub expression: String,
    pub message: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Mappings {
    pub username: Prefixed,
    pub groups: Prefixed,
    pub uid: Plain,
    pub extra: Vec<Extra>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Prefixed {
    pub claim: String,
    pub prefix: Option<String>,
    pub expression: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Plain {
    pub claim: String,
    pub expression: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct Extra {
    pub key: String,
    pub value_expression: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct UserRule {
    pub expression: String,
    pub message: String,
}

fn form() -> Value {
    let prefixed =
        json!({"#": "PrefixedClaimOrExpression", "claim": "", "prefix": "", "expression": ""});
    json!({
        "#": "AuthenticationConfiguration",
        "jwt": [{
            "#": "JWTAuthenticator",
            "issuer": {
                "#": "Issuer", "url": "", "discoveryURL": "", "certificateAuthority": "", "audiences": [""],
                "audienceMatchPolicy": "", "egressSelectorType": "",
            },
            "claimValidationRules": [{
                "#": "ClaimValidationRule", "claim": "", "requiredValue": "", "expression": "", "message": "",
            }],
            "claimMappings": {
                "#": "ClaimMappings", "username": prefixed, "groups": prefixed,
                "uid": {"#": "ClaimOrExpression", "claim": "", "expression": ""},
                "extra": [{"#": "ExtraMapping", "key": "", "valueExpression": ""}],
            },
            "userValidationRules": [{"#": "UserValidationRule", "expression": "", "message": ""}],
        }],
        "anonymous": {
            "#": "AnonymousAuthConfig", "enabled": true,
            "conditions": [{"#": "AnonymousAuthCondition", "path": ""}],
        },
    })
}

/// Reads the file.
///
/// # Errors
/// What is wrong with its form.
pub fn read(text: &[u8]) -> Result<File, String> {
    configured::read(text, configured::OF_SERVER, "AuthenticationConfiguration", &form())
}
