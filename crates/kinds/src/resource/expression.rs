//! Expressions of device selectors: it is looked at whether they are there, and their brackets and texts end (CEL
//! language definition, "Syntax").

use skiff_api::errors::{Errors, Path};

/// Says what is wrong with an expression that is there.
pub fn validate(text: &str, path: &Path, errors: &mut Errors) {
    if let Err(why) = balanced(text) {
        errors.invalid(path, text, &format!("compilation failed: {why}"));
    }
}

/// Every bracket and every text ends; one pass, whatever the text is.
fn balanced(text: &str) -> Result<(), String> {
    let (bytes, mut open, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        let mut length = 1;
        match byte {
            b'(' => open.push(b')'),
            b'[' => open.push(b']'),
            b'{' => open.push(b'}'),
            b')' | b']' | b'}' if open.pop() != Some(byte) => {
                return Err(format!("{:?} at offset {at} closes nothing", byte as char));
            }
            b'"' | b'\'' => {
                length = quoted(&bytes[at..])
                    .ok_or_else(|| format!("the text at offset {at} does not end"))?;
            }
            b'/' if bytes[at..].starts_with(b"//") => {
                let line = bytes[at..].iter().position(|byte| *byte == b'\n');
                length = line.unwrap_or(bytes.len() - at);
            }
            _ => {}
        }
        at += length;
    }
    match open.pop() {
        Some(byte) => Err(format!("{:?} is missing at the end", byte as char)),
        None => Ok(()),
    }
}

/// The length of a quoted text, with its quotes: one or three at each end.
fn quoted(bytes: &[u8]) -> Option<usize> {
    let quote = &bytes[..1];
    let long = bytes.len() >= 3 && bytes[..3].iter().all(|byte| *byte == quote[0]);
    let end = if long { &bytes[..3] } else { quote };
    let mut at = end.len();
    while at < bytes.len() {
        if bytes[at..].starts_with(end) {
            return Some(at + end.len());
        }
        if !long && bytes[at] == b'\n' {
            return None;
        }
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_end_is_refused() {
        for good in ["a(b[0], {'x': \"]\"})", "'''a'b'''", "1 // )\n + 2", "\"\\\"(\""] {
            assert_eq!(balanced(good), Ok(()), "{good}");
        }
        for bad in ["(", "a)", "[(])", "'a", "\"a\nb\"", "'''a''"] {
            assert!(balanced(bad).is_err(), "{bad}");
        }
    }
}
