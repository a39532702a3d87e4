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

    /// Adds what the other has.
    pub fn add(&mut self, other: &Quantities) {
        for (name, amount) in other.iter() {
            match self.0.get_mut(name) {
                Some(sum) => sum.add(amount),
                None => drop(self.0.insert(name.to_owned(), amount.clone())),
            }
        }
    }

    /// Takes away what the other has, and never more than there is.
    pub fn take(&mut self, other: &Quantities) {
        for (name, amount) in other.iter() {
            let Some(left) = self.0.get_mut(name) else { continue };
            left.sub(amount);
            if left.is_negative() {
                *left = Quantity::zero();
            }
        }
    }

    /// Each amount is at least that of the other.
    pub fn raise(&mut self, other: &Quantities) {
        for (name, amount) in other.iter() {
            if self.get(name).is_none_or(|own| own < amount) {
                self.0.insert(name.to_owned(), amount.clone());
            }
        }
    }

    /// Whether they are the same amounts, however they are written.
    pub fn same(&self, other: &Quantities) -> bool {
        self.0 == other.0
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
