//! What functions there are: the signatures of the language and of Kubernetes' libraries
//! (`functions.txt`), as the checker and the estimate of costs read them.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::types::{self, Type};

/// One signature of a function.
pub struct Overload {
    /// Its name in the language definition: costs are told by it.
    pub id: &'static str,
    pub style: Style,
    pub args: Vec<Type>,
    pub result: Type,
}

/// Whether a function is called on its first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Method,
    Function,
}

static TABLE: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut table: HashMap<_, Vec<Overload>> = HashMap::new();
    for line in include_str!("functions.txt").lines() {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("each line has a name, an id, arguments, a result");
        let (name, id, args, result) = (word(), word(), word(), types::read(word()));
        let method = args.strip_prefix('.');
        let style = if method.is_some() { Style::Method } else { Style::Function };
        let args = method.unwrap_or(args).split(';').filter(|it| *it != "-");
        let args = args.map(types::read).collect();
        table.entry(name).or_default().push(Overload { id, style, args, result });
    }
    table
});

/// The signatures of a function, and its name for as long as the program lives.
pub fn find(name: &str) -> Option<(&'static str, &'static [Overload])> {
    TABLE.get_key_value(name).map(|(name, found)| (*name, found.as_slice()))
}

/// The types that expressions can name: those of the language and of the libraries.
pub fn named_type(name: &str) -> Option<Type> {
    let library =
        name.starts_with("kubernetes.") && LIBRARY.contains(&&name["kubernetes.".len()..]);
    plain_type(name).or_else(|| library.then(|| types::read(name)))
}

const LIBRARY: &[&str] = &[
    "URL",
    "Quantity",
    "Semver",
    "NamedFormat",
    "authorization.Authorizer",
    "authorization.PathCheck",
    "authorization.GroupCheck",
    "authorization.ResourceCheck",
    "authorization.Decision",
];

/// The types of the language.
pub fn plain_type(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "dyn" => Type::Dyn,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "string" => Type::String,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Type(None),
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "net.IP" | "net.CIDR" => types::read(name),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that plan and evaluation know themselves.
    const PLANNED: &[&str] =
        &["_&&_", "_||_", "_?_:_", "_[_]", "_[?_]", "_?._", "or", "orValue", "@not_strictly_false"];

    #[test]
    fn each_function_has_its_code() {
        let lost: Vec<_> = TABLE
            .keys()
            .filter(|it| !PLANNED.contains(it) && crate::library::find(it).is_none())
            .collect();
        assert!(lost.is_empty(), "without code: {lost:?}");
    }
}
