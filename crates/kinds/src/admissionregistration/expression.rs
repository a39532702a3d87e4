//! Expressions of the Common Expression Language. Those of match conditions are compiled ([`condition`]); of others
//! it is looked at whether they are there, and their brackets and texts end (CEL language definition, "Syntax").

use skiff_api::errors::{Errors, Path};
use skiff_cel::decl::{Compared, Decl, Object, Shape, escape};
use skiff_cel::env::Env;
use skiff_cel::run::Program;
use skiff_cel::types::{Type, read};
use std::sync::{Arc, LazyLock};

/// Words that no variable may have as its name.
const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

pub fn is_identifier(name: &str) -> bool {
    let first = name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
    first
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
        && !RESERVED.contains(&name)
}

/// How `request` is read.
pub static REQUEST: LazyLock<Arc<Decl>> = LazyLock::new(request);

/// What expressions about a request may name (documentation page "Dynamic Admission Control", "matchConditions"). A
/// binding that an expression reads is `object`, `oldObject`, `request`, `namespaceObject`, `authorizer` or
/// `authorizer.requestResource`.
pub static OF_REQUESTS: LazyLock<Env> = LazyLock::new(|| {
    Env::default()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .declared("namespaceObject", &namespace())
        .declared("request", &REQUEST)
        .with("authorizer", read("kubernetes.authorization.Authorizer"))
        .with("authorizer.requestResource", read("kubernetes.authorization.ResourceCheck"))
});

/// Compiles a match condition.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub fn condition(text: &str) -> Result<Program, String> {
    let compiled = Program::compile(&OF_REQUESTS, text);
    let program = compiled.map_err(|faults| format!("compilation failed: {faults}"))?;
    match program.result() {
        Type::Bool => Ok(program),
        other => Err(format!("must evaluate to bool but got {other}")),
    }
}

fn simple(shape: Shape, max: u64) -> Arc<Decl> {
    Arc::new(Decl { shape, nullable: false, max, min_bytes: 2 })
}

fn message(name: &str, fields: &[(&str, &Arc<Decl>)]) -> Arc<Decl> {
    let of = |it: &(&str, &Arc<Decl>)| (it.0.to_owned(), it.1.clone());
    let known = fields.iter().map(of).collect();
    let escaped = |it: &(&str, &Arc<Decl>)| Some((escape(it.0)?, it.1.clone()));
    let fields = fields.iter().filter_map(escaped).collect();
    simple(Shape::Object(Object { name: name.into(), fields, known }), 0)
}

/// Of what sizes are not said, the largest that a request has.
const LARGEST: u64 = 3 << 20;

fn text() -> Arc<Decl> {
    simple(Shape::String, LARGEST)
}

fn list(of: Arc<Decl>) -> Arc<Decl> {
    simple(Shape::List(of, Compared::InOrder), LARGEST)
}

/// What `request` is: the review, without objects and uid.
fn request() -> Arc<Decl> {
    let text = &text();
    let gvk = &message(
        "kubernetes.GroupVersionKind",
        &[("group", text), ("version", text), ("kind", text)],
    );
    let gvr = &message(
        "kubernetes.GroupVersionResource",
        &[("group", text), ("version", text), ("resource", text)],
    );
    let texts = &list(text.clone());
    let extra = &simple(Shape::Map(texts.clone()), LARGEST);
    let user = &message(
        "kubernetes.UserInfo",
        &[("username", text), ("uid", text), ("groups", texts), ("extra", extra)],
    );
    message(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", gvk),
            ("resource", gvr),
            ("subResource", text),
            ("requestKind", gvk),
            ("requestResource", gvr),
            ("requestSubResource", text),
            ("name", text),
            ("namespace", text),
            ("operation", text),
            ("userInfo", user),
            ("dryRun", &simple(Shape::Bool, 0)),
            ("options", Decl::dynamic()),
        ],
    )
}

/// What `namespaceObject` is.
fn namespace() -> Arc<Decl> {
    let (text, time) = (&text(), &simple(Shape::Timestamp, 32));
    let (texts, number) = (&list(text.clone()), &simple(Shape::Int, 0));
    let map = &simple(Shape::Map(text.clone()), LARGEST);
    let metadata = &message(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", text),
            ("generateName", text),
            ("namespace", text),
            ("labels", map),
            ("annotations", map),
            ("UID", text),
            ("creationTimestamp", time),
            ("deletionGracePeriodSeconds", number),
            ("deletionTimestamp", time),
            ("generation", number),
            ("resourceVersion", text),
            ("finalizers", texts),
        ],
    );
    let condition = message(
        "kubernetes.NamespaceCondition",
        &[
            ("status", text),
            ("type", text),
            ("lastTransitionTime", time),
            ("message", text),
            ("reason", text),
        ],
    );
    let spec = &message("kubernetes.NamespaceSpec", &[("finalizers", texts)]);
    let status = &message(
        "kubernetes.NamespaceStatus",
        &[("conditions", &list(condition)), ("phase", text)],
    );
    message("kubernetes.Namespace", &[("metadata", metadata), ("spec", spec), ("status", status)])
}

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
        assert!(is_identifier("_a1") && !is_identifier("in") && !is_identifier("1a"));
    }
}
