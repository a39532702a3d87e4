//! Label and field selectors: reading them, matching, and finding the one facet that an index can
//! answer.
//!
//! A selector is a list of requirements that must all hold. Matching borrows the labels through a
//! function, so that it works on stored bytes, trees and views alike. Texts of errors are what the
//! API answers with 400.

use std::fmt;

use skiff_json::Value;

mod fields;
mod object;
mod parse;
mod words;

pub use fields::{FieldRequirement, FieldSelector};
pub use object::{Problem, ProblemKind, validate_label_selector};
pub use words::{label_key_problems, label_value_problems};

/// A selector string may be this long: longer than any URL that a proxy lets through, and short
/// enough to parse at once.
pub const MAX_SELECTOR_BYTES: usize = 256 * 1024;

/// How a requirement relates a label to its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    /// Sorted and without duplicates.
    pub values: Vec<String>,
}

/// Conditions on the labels of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// What an absent LabelSelector object selects.
    Nothing,
    /// All of these must hold; none at all select everything. Sorted by key.
    All(Vec<Requirement>),
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|it| it == value);
        let integer = |text: &str| text.parse::<i64>().ok();
        match (self.operator, value) {
            (Operator::In | Operator::Equals | Operator::DoubleEquals, Some(value)) => {
                listed(value)
            }
            (Operator::NotIn | Operator::NotEquals, Some(value)) => !listed(value),
            (Operator::NotIn | Operator::NotEquals | Operator::DoesNotExist, None) => true,
            (Operator::Exists, value) => value.is_some(),
            (Operator::GreaterThan | Operator::LessThan, Some(value)) => {
                match (integer(value), self.values.first().and_then(|it| integer(it))) {
                    (Some(a), Some(b)) if self.operator == Operator::GreaterThan => a > b,
                    (Some(a), Some(b)) => a < b,
                    _ => false,
                }
            }
            _ => false,
        }
    }
}

impl Selector {
    /// The selector of a query parameter.
    pub fn parse(text: &str) -> Result<Selector, String> {
        parse::selector(text)
    }

    /// The selector of a LabelSelector object; `None` and null select nothing, an empty one
    /// everything.
    pub fn from_object(selector: Option<&Value>) -> Result<Selector, String> {
        object::selector(selector)
    }

    /// The selector of whatever stands in an object's `selector`: a LabelSelector, or a plain map of labels. Only texts
    /// are values there, and none of a LabelSelector's fields is one.
    pub fn of(selector: Option<&Value>) -> Result<Selector, String> {
        let labels = selector.and_then(Value::as_object).filter(|map| !map.is_empty());
        match labels.filter(|map| map.values().all(Value::is_string)) {
            Some(labels) => Ok(Selector::from_labels(crate::object::texts(labels))),
            None => Selector::from_object(selector),
        }
    }

    /// The selector of a plain map of labels, as Services and ReplicationControllers have it.
    pub fn from_labels<'l>(labels: impl IntoIterator<Item = (&'l str, &'l str)>) -> Selector {
        let mut all: Vec<Requirement> = labels
            .into_iter()
            .map(|(key, value)| Requirement {
                key: key.to_string(),
                operator: Operator::Equals,
                values: vec![value.to_string()],
            })
            .collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        Selector::All(all)
    }

    pub fn selects_everything(&self) -> bool {
        matches!(self, Selector::All(all) if all.is_empty())
    }

    /// `label` gives the value of a label, if the object has it.
    pub fn matches<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        match self {
            Selector::Nothing => false,
            Selector::All(all) => all.iter().all(|it| it.holds(label(&it.key))),
        }
    }

    /// Matches `metadata.labels` of an object.
    pub fn matches_object(&self, object: &Value) -> bool {
        let labels = object.get("metadata").and_then(|metadata| metadata.get("labels"));
        self.matches(|key| labels?.get(key)?.as_str())
    }

    /// A label that must have exactly this value, so that an index answers most of the question.
    pub fn exact(&self) -> Option<(&str, &str)> {
        let Selector::All(all) = self else { return None };
        all.iter().find_map(|it| match (it.operator, it.values.as_slice()) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [one]) => {
                Some((it.key.as_str(), one.as_str()))
            }
            _ => None,
        })
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operator::In => "in",
            Operator::NotIn => "notin",
            Operator::Equals => "=",
            Operator::DoubleEquals => "==",
            Operator::NotEquals => "!=",
            Operator::Exists => "exists",
            Operator::DoesNotExist => "!",
            Operator::GreaterThan => ">",
            Operator::LessThan => "<",
        })
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, operator, values) = (&self.key, self.operator, self.values.join(","));
        match operator {
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::In | Operator::NotIn => write!(f, "{key} {operator} ({values})"),
            _ => write!(f, "{key}{operator}{values}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Selector::All(all) = self else { return Ok(()) };
        for (i, requirement) in all.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
