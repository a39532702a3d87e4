//! What a call costs when it is made: the runtime costs of the language and of Kubernetes' libraries.

use crate::run::RunError;
use crate::value::Value;

/// A walk over a text costs this for each character.
pub const TEXT: f64 = 0.1;
/// A pattern costs this for each of its characters.
pub const PATTERN: f64 = 0.25;

/// How the cost of a call follows from its arguments and its result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Price {
    Fixed(u64),
    /// A share of the size of an argument.
    Size(usize, f64),
    /// A share of the size of the result.
    Result(f64),
    /// A share of the smaller of two.
    Smaller,
    /// As `Smaller`, but values of a library cost 1.
    Equality,
    Both,
    Pattern,
    Within,
    Walk,
    ContainsIp,
    ContainsCidr,
    Format,
    Selector,
    /// Lists that are made, each element at this share of the result.
    Made,
    Flatten,
    /// Each element with each, of this argument.
    Pairs(usize),
    Sets(f64),
}

impl Price {
    pub fn of(name: &str, overloads: &[&str]) -> Price {
        match overloads {
            ["list_slice" | "lists_range" | "list_reverse"] => return Price::Made,
            ["list_flatten" | "list_flatten_int"] => return Price::Flatten,
            ["list_distinct"] => return Price::Pairs(0),
            [it] if it.ends_with("_sort") => return Price::Pairs(0),
            [it] if it.ends_with("_sortByAssociatedKeys") => return Price::Pairs(1),
            ["list_sets_contains_list" | "list_sets_intersects_list"] => return Price::Sets(1.0),
            ["list_sets_equivalent_list"] => return Price::Sets(2.0),
            ["cidr_ip"] => return Price::Fixed(1),
            _ => {}
        }
        match name {
            "check" => return Price::Fixed(350_000),
            "fieldSelector" | "labelSelector" => return Price::Selector,
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "includes" => {
                return Price::Walk;
            }
            "url"
            | "lowerAscii"
            | "upperAscii"
            | "substring"
            | "trim"
            | "jsonpatch.escapeKey"
            | "cidr"
            | "isIP"
            | "isCIDR"
            | "ip"
            | "quantity"
            | "isQuantity"
            | "semver"
            | "isSemver" => return Price::Size(0, TEXT),
            "replace" | "split" | "ip.isCanonical" => return Price::Size(0, 2.0 * TEXT),
            "join" => return Price::Result(2.0 * TEXT),
            "find" | "findAll" => return Price::Pattern,
            "containsIP" => return Price::ContainsIp,
            "containsCIDR" => return Price::ContainsCidr,
            "validate" => return Price::Format,
            "_==_" => return Price::Equality,
            "_!=_" => return Price::Smaller,
            _ => {}
        }
        match overloads {
            ["starts_with_string" | "ends_with_string"] => Price::Size(1, TEXT),
            ["string_to_bytes" | "bytes_to_string" | "strings_quote" | "string_format"] => {
                Price::Size(0, TEXT)
            }
            ["in_list"] => Price::Size(1, 1.0),
            [
                "less_string"
                | "greater_string"
                | "less_equals_string"
                | "greater_equals_string"
                | "less_bytes"
                | "greater_bytes"
                | "less_equals_bytes"
                | "greater_equals_bytes",
            ] => Price::Smaller,
            ["add_string" | "add_bytes"] => Price::Both,
            ["matches" | "matches_string"] => Price::Pattern,
            ["contains_string"] => Price::Within,
            _ => Price::Fixed(1),
        }
    }

    pub fn actual(self, args: &[Value], result: &Value) -> Result<u64, RunError> {
        let size = |at: usize| args.get(at).map_or(0, Value::size);
        let share = |size: u64, share: f64| (size as f64 * share).ceil() as u64;
        let made = |share: f64, size: u64| ((size as f64 * share) as u64).saturating_add(11);
        Ok(match self {
            Price::Fixed(it) => it,
            Price::Size(at, it) => share(size(at), it),
            Price::Result(it) => share(result.size(), it),
            Price::Equality if is_library(&args[0]) => 1,
            Price::Smaller | Price::Equality => share(size(0).min(size(1)), TEXT),
            Price::Both => share(size(0) + size(1), TEXT),
            Price::Pattern => share(size(0) + 1, TEXT) * share(size(1), PATTERN),
            Price::Within => share(size(0), TEXT) * share(size(1), TEXT),
            Price::Walk => args[0].walk_cost()?,
            Price::ContainsIp => share(2 * size(0), TEXT) + parsing(args),
            Price::ContainsCidr => {
                share(2 * size(0), TEXT) + share(size(0), TEXT) + 1 + parsing(args)
            }
            Price::Format => match &args[0] {
                Value::Format(it) => share(size(1) + 1, TEXT) * share(it.pattern_length, PATTERN),
                _ => 1,
            },
            Price::Selector => 10 + share(size(1), TEXT) + share(share(size(1), 0.5), 50.0),
            Price::Made => made(1.0, result.size()),
            Price::Flatten => {
                let depth = match args.get(1) {
                    Some(Value::Int(it)) => *it as f64,
                    _ => 1.0,
                };
                made(depth, size(0))
            }
            Price::Pairs(at) => {
                let text = match &args[at] {
                    Value::List(it) => {
                        matches!(it.get(0), Some(Ok(Value::Text(_) | Value::Bytes(_))))
                    }
                    _ => false,
                };
                made(if text { 2.0 + TEXT } else { 2.0 }, size(at).saturating_mul(size(at)))
            }
            Price::Sets(it) => 1 + (size(0).saturating_mul(size(1)) as f64 * it) as u64,
        })
    }
}

/// Texts among the arguments are parsed first.
fn parsing(args: &[Value]) -> u64 {
    match &args[1] {
        it @ Value::Text(_) => (it.size() as f64 * TEXT).ceil() as u64,
        _ => 0,
    }
}

fn is_library(it: &Value) -> bool {
    matches!(
        it,
        Value::Quantity(_)
            | Value::Ip(_)
            | Value::Cidr(..)
            | Value::Url(_)
            | Value::Semver(_)
            | Value::Format(_)
            | Value::Host(_)
    )
}
