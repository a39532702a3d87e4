//! Resources that containers ask for and may use.

use serde::{Deserialize, Deserializer};
use skiff_api::quantity::Quantity;
use std::collections::BTreeMap;

/// Amounts by resource name (`cpu`, `memory`, `ephemeral-storage`, `hugepages-2Mi`, `example.com/gpu`).
#[derive(Debug, Clone, Default)]
pub struct Quantities(pub BTreeMap<String, Quantity>);

impl Quantities {
    pub fn get(&self, name: &str) -> Option<&Quantity> {
        self.0.get(name)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Quantity)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), amount))
    }
}

impl PartialEq for Quantities {
    fn eq(&self, other: &Quantities) -> bool {
        let text = |(name, amount): (&str, &Quantity)| (name.to_owned(), amount.to_string());
        self.iter().map(text).eq(other.iter().map(text))
    }
}

impl<'de> Deserialize<'de> for Quantities {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Quantities, D::Error> {
        let texts = BTreeMap::<String, String>::deserialize(from)?;
        let parsed = texts.into_iter().map(|(name, text)| Ok((name, Quantity::parse(&text)?)));
        let parsed: Result<_, skiff_api::quantity::QuantityError> = parsed.collect();
        parsed.map(Quantities).map_err(serde::de::Error::custom)
    }
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Resources {
    pub limits: Quantities,
    pub requests: Quantities,
    pub claims: Vec<Claim>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Claim {
    pub name: String,
    pub request: String,
}
