//! Secret: confidential bytes (API reference: config-and-storage-resources). Values are base64 in JSON.

use super::configmap::{DATA_MOST, validate_immutable, validate_key};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_api::check;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column};
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource = Resource::core("secrets", "Secret");

pub fn kind() -> Kind {
    Kind {
        columns: vec![
            name_column(),
            column("Type", Cell::Path("type".into())),
            column("Data", Cell::With(|secret| secret.map("data").len().into())),
            age_column(),
        ],
        converts_fields: true,
        selectable: vec!["type".into()],
        hooks: Hooks { default, validate, ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

/// `stringData` is write-only: its texts become `data`.
fn default(new: &mut Object) {
    if new.text("type").is_empty() {
        new.set("type", "Opaque");
    }
    if let Some(Value::Object(texts)) = new.remove("stringData") {
        for (key, text) in texts {
            let encoded = STANDARD.encode(text.as_str().unwrap_or(""));
            let mut data = new.map("data").clone();
            data.insert(key, encoded.into());
            new.set("data", data);
        }
    }
}

/// The keys that a type demands.
fn demanded(type_: &str) -> &'static [&'static str] {
    match type_ {
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        _ => &[],
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let data = Path::new("data");
    let mut size = 0;
    for (key, value) in new.map("data") {
        validate_key(&data.key(key), key, errors);
        size += decoded(value).len();
    }
    if size > DATA_MOST {
        errors.too_long(&data, DATA_MOST);
    }
    let type_ = new.text("type");
    for key in demanded(type_) {
        match new.map("data").get(key) {
            None => errors.required(&data.key(key), ""),
            Some(value) if type_.starts_with("kubernetes.io/dockerc") => {
                if let Err(why) = skiff_api::json::parse(&decoded(value)) {
                    errors.invalid(&data.key(key), "<secret contents redacted>", &why);
                }
            }
            Some(_) => {}
        }
    }
    match type_ {
        "kubernetes.io/service-account-token"
            if new.annotation("kubernetes.io/service-account.name").unwrap_or("").is_empty() =>
        {
            let path = Path::new("metadata.annotations");
            errors.required(&path.key("kubernetes.io/service-account.name"), "");
        }
        "kubernetes.io/basic-auth" => {
            let has = |key| new.map("data").contains_key(key);
            if !has("username") && !has("password") {
                errors.required(&data.key("username"), "");
                errors.required(&data.key("password"), "");
            }
        }
        _ => {}
    }
    if let Some(old) = old {
        check::immutable("type", new, old, errors);
        validate_immutable(new, old, &["data"], errors);
    }
}

/// The bytes of a value; what is no base64 was refused by the decoder.
fn decoded(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap_or("")).unwrap_or_else(|_| Vec::new())
}
