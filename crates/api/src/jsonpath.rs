//! JSONPath templates as printer columns and kubectl use them:
//! `{.status.readyReplicas}/{.spec.replicas}`.
//!
//! Fields, positions, slices, unions, wildcards, descent (`..`) and filters; no `range`, which no
//! column can have. A field that is not there yields nothing; a position that is not there is an
//! error. (kubectl reference, "JSONPath Support")

use skiff_json::Value;

use crate::json::float;

mod cell;
mod eval;
mod parse;

pub use cell::cell;

/// A path may be this long, and filters nested this deep: far more than any column, and little
/// enough to run per row.
pub const MAX_PATH_BYTES: usize = 4096;
const MAX_FILTER_DEPTH: usize = 8;

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Path(Vec<Step>),
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    /// All values of a map or list.
    Wildcard,
    /// The value and everything below it that has parts.
    Descend,
    Slice(Slice),
    /// The results of several paths after each other.
    Union(Vec<Vec<Step>>),
    Filter(Box<Filter>),
    /// A constant of a filter.
    Literal(Value),
    /// A bare word: an error once it is evaluated.
    Word(String),
}

/// `[start:end:step]`; a single position is a slice of one.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Slice {
    start: Option<i64>,
    end: Option<i64>,
    step: Option<i64>,
    single: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Filter {
    left: Vec<Step>,
    /// Operator and right side; without them the left side must exist.
    right: Option<(String, Vec<Step>)>,
}

impl JsonPath {
    /// Reads a template: text with paths in braces.
    pub fn parse(text: &str) -> Result<JsonPath, String> {
        parse::template(text)
    }

    /// Reads the `jsonPath` of a printer column, a single path without braces.
    pub fn column(path: &str) -> Result<JsonPath, String> {
        parse::template(&format!("{{{path}}}"))
    }

    /// Everything that the first path of the template finds.
    pub fn find<'v>(&'v self, object: &'v Value) -> Result<Vec<&'v Value>, String> {
        match self.parts.iter().find(|part| matches!(part, Part::Path(_))) {
            Some(Part::Path(steps)) => eval::run(steps, object),
            _ => Ok(Vec::new()),
        }
    }

    /// The template filled in; results of one path stand with a space between.
    pub fn render(&self, object: &Value) -> Result<String, String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Path(steps) => {
                    for (i, value) in eval::run(steps, object)?.into_iter().enumerate() {
                        if i > 0 {
                            out.push(' ');
                        }
                        out.push_str(&show(value));
                    }
                }
            }
        }
        Ok(out)
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(value) if number.is_f64() => float(value),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
