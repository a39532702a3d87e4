//! `$(NAME)` in commands, arguments, values and sub-paths (API reference: Container.command).
//!
//! A name that is not defined stays as it is written; `$$` is one `$`, and so guards a reference.

/// Replaces references by the values that `lookup` knows.
pub fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let name = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let Some((name, after)) = name else {
            out.push('$');
            continue;
        };
        match lookup(name) {
            Some(value) => out.push_str(&value),
            None => out.push_str(&format!("$({name})")),
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn references_and_guards() {
        let lookup = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (given, wanted) in [
            ("$(A)", "1"),
            ("x$(A)y$(EMPTY)z", "x1yz"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(B)", "$(B)"),
            ("$(A", "$(A"),
            ("$A $", "$A $"),
            ("$$$$", "$$"),
        ] {
            assert_eq!(expand(given, &lookup), wanted, "{given}");
        }
    }
}
