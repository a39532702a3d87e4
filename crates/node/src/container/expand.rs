//! `$(NAME)` in commands, arguments, values and sub-paths (API reference: Container.command).
//!
//! A name that is not defined stays as it is written; `$$` is one `$`, and so guards a reference.
//! Values that name values grow twofold with each: nothing grows past what a program can be given.

/// The longest argument or variable, with its name, that the kernel gives a program (execve(2)).
pub const ONE_MOST: usize = 128 * 1024 - 1;
/// The most for all of them together, whatever the limit of the stack.
pub const ALL_MOST: usize = 6 << 20;

/// The text has grown past [`ONE_MOST`].
#[derive(Debug, PartialEq)]
pub struct TooLong;

/// Replaces references by the values that `lookup` knows.
pub fn expand<'a>(text: &str, lookup: &dyn Fn(&str) -> Option<&'a str>) -> Result<String, TooLong> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        if out.len() > ONE_MOST {
            return Err(TooLong);
        }
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
            Some(value) => out.push_str(value),
            None => out.push_str(&format!("$({name})")),
        }
        rest = after;
    }
    out.push_str(rest);
    if out.len() > ONE_MOST { Err(TooLong) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::{ONE_MOST, TooLong, expand};

    #[test]
    fn references_and_guards() {
        let lookup = |name: &str| match name {
            "A" => Some("1"),
            "EMPTY" => Some(""),
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
            assert_eq!(expand(given, &lookup), Ok(wanted.to_owned()), "{given}");
        }
    }

    #[test]
    fn no_text_grows_past_what_a_program_can_be_given() {
        let long = "x".repeat(ONE_MOST / 2);
        let lookup = |name: &str| (name == "L").then_some(&*long);
        assert_eq!(expand("$(L)$(L)", &lookup).map(|text| text.len()), Ok(ONE_MOST / 2 * 2));
        assert_eq!(expand("$(L)$(L)12", &lookup), Err(TooLong));
        assert_eq!(expand(&"$(L)".repeat(1 << 16), &lookup), Err(TooLong));
        assert_eq!(expand(&"y".repeat(ONE_MOST + 1), &lookup), Err(TooLong));
    }
}
