//! YAML as kubectl writes it: one line per text, lists not further in than their name.

use anyhow::Result;
use skiff_json::Value;

/// Reads a document; what is wrong with one is said in one line, without a picture of it.
pub fn read(text: &str) -> Result<Value> {
    serde_saphyr::from_str(text).map_err(|error| {
        let error = error.to_string();
        anyhow::anyhow!("no YAML: {}", error.lines().next().unwrap_or("unreadable"))
    })
}

pub fn text(value: &Value) -> Result<String> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    Ok(serde_saphyr::to_string_with_options(value, options)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn long_texts_stay_on_one_line() {
        let value = skiff_json::json!({"a": ["x".repeat(100)], "b": "1", "c": "null", "d": ""});
        expect![[r#"
            a:
            - xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
            b: "1"
            c: "null"
            d: ""
        "#]]
        .assert_eq(&text(&value).unwrap());
    }
}
