//! Evens out what differs between any two clusters, or between two runs on one: uids, times,
//! revisions, cluster addresses and random names.
//!
//! Every rule is as narrow as it can be: a rule that swallows too much hides a difference. JSON
//! on a line of its own is printed anew, one field per line with sorted keys, so that a difference
//! in one field shows as one line.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

/// Names that the runner gave to this run of a case, and what stands for them in an answer.
pub type Given = Vec<(String, &'static str)>;

/// What stands for the name of a node.
pub const NODE: &str = "NODE";

/// The letters that Kubernetes draws random names from.
const RANDOM: &str = "[bcdfghjklmnpqrstvwxz2456789]";

static NOISE: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let rules: Vec<(String, &str)> = vec![
        (r"/tmp/kubectl-edit-\d+".into(), "/tmp/kubectl-edit"),
        // What Skiff says of kinds that it keeps and does not act on yet: docs/differences.md.
        (
            r"(?m)^Warning: [^\n]*(?:kept [^\n]* yet|Skiff does not enforce it yet)[^\n]*\n?"
                .into(),
            "",
        ),
        // One JSON text for another.
        (r"\\u0026".into(), "&"),
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}".into(), "UID"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z".into(), "TIME"),
        (r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}".into(), "TIME"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} UTC".into(), "TIME"),
        (r"[a-z-]+://[0-9a-f]{64}".into(), "CONTAINER"),
        (r"sha256:[0-9a-f]{64}".into(), "DIGEST"),
        (r"\b[0-9a-f]{64}\b".into(), "ID"),
        (format!("kube-api-access-{RANDOM}{{5}}"), "kube-api-access-RANDOM"),
        (r#"((?:resourceVersion|Resource Version)\\*"?[:=]\s*\\*"?)\d+"#.into(), "${1}REVISION"),
        (r"Too large resource version: \d+, current: \d+".into(), "Too large resource version"),
        (
            r"(?s)-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----(\\n)?".into(),
            "CERTIFICATE",
        ),
        (r#"in scheme \\?"[^"\\]*\\?""#.into(), "in scheme SCHEME"),
        (r"eyJ[\w-]+\.[\w-]+\.[\w-]+".into(), "TOKEN"),
        (r"(resource version: )\d+ \(\d+\)".into(), "${1}OLD (NEW)"),
        (r"(ResourceVersion in record \()\d+".into(), "${1}REVISION"),
        (r"https://[\w.\[\]-]+:\d+".into(), "https://SERVER"),
        (r#"("serverAddress": ")[\d.]+"#.into(), "${1}ADDRESS"),
        (r"\b10(?:\.\d{1,3}){3}\b".into(), "ADDRESS"),
        (r"(Node: .*/)[\d.]+".into(), "${1}ADDRESS"),
        (r"\b(\d+:)3[0-2]\d{3}/(TCP|UDP|SCTP)\b".into(), "${1}PORT/$2"),
        (r#"(nodePort"?: )3[0-2]\d{3}\b"#.into(), "${1}PORT"),
        (r"(NodePort: .*)\b3[0-2]\d{3}/".into(), "${1}PORT/"),
        (format!("-{RANDOM}{{6,10}}-{RANDOM}{{5}}\\b"), "-HASH-RANDOM"),
        (r#"(pod-template-hash"?[=:]\s*"?)[a-z0-9]+"#.into(), "${1}HASH"),
        (format!("-{RANDOM}{{8,10}}\\b"), "-HASH"),
        (format!("(gen-){RANDOM}{{5}}\\b"), "${1}RANDOM"),
        // After the random names: one may read like an age.
        (r"\b(?:\d+d)?(?:\d+h)?(?:\d+m)?\d+(?:s|m|h|d)\b".into(), "AGE"),
        (r"(?m)^([-+]{3}) /tmp/(LIVE|MERGED)-\S*/(\S+)\s.*$".into(), "$1 $2/$3"),
        (r"(?m)^diff .*/tmp/LIVE-.*$".into(), "diff"),
        (r"(?m)^(E|I|W)\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \S+\] ".into(), "$1 "),
    ];
    let compile = |(pattern, to): (String, &'static str)| {
        (Regex::new(&pattern).expect("the patterns above are constants"), to)
    };
    rules.into_iter().map(compile).collect()
});

static BLANKS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[ \t]+").expect("a constant pattern"));

/// The text as it is compared.
pub fn normal(text: &str, given: &Given) -> String {
    let mut text = sort_causes(&spread_json(text));
    for (value, word) in given {
        text = match *word {
            NODE => whole_word(&text, value),
            _ => text.replace(value.as_str(), word),
        };
    }
    for (pattern, to) in NOISE.iter() {
        text = pattern.replace_all(&text, *to).into_owned();
    }
    let lines: Vec<_> = text.lines().map(keep_indent).collect();
    lines.join("\n").trim_end().to_owned()
}

/// A node may have a short name, which other words have in them.
fn whole_word(text: &str, name: &str) -> String {
    let pattern = format!(r"(?m)(^|[^\w.-]){}($|[^\w-])", regex::escape(name));
    let pattern = Regex::new(&pattern).expect("an escaped name is a pattern");
    pattern.replace_all(text, format!("${{1}}{NODE}${{2}}")).into_owned()
}

/// Columns are padded by content, which is noise; the indent of YAML and of `describe` is not.
fn keep_indent(line: &str) -> String {
    let body = line.trim_start_matches(' ');
    let indent = &line[..line.len() - body.len()];
    format!("{indent}{}", BLANKS.replace_all(body.trim_end(), " "))
}

fn spread_json(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let is_json = line.len() > 2 && line.starts_with(['{', '[']);
        match is_json.then(|| serde_json::from_str::<Value>(line)) {
            Some(Ok(value)) => {
                let sorted = format!("{:#}", sorted(value));
                out.push_str(&sorted);
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(mut fields) => {
            drop_column_texts(&mut fields);
            order_causes(&mut fields);
            let mut fields: Vec<_> = fields.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// The columns of a Table carry upstream's documentation, which is neither compared nor kept.
fn drop_column_texts(table: &mut Map<String, Value>) {
    let Some(Value::Array(columns)) = table.get_mut("columnDefinitions") else { return };
    for column in columns {
        if let Some(Value::String(text)) = column.get_mut("description") {
            text.clear();
        }
    }
}

/// Several causes come in any order (upstream walks a hash map for some of its checks), in the
/// list and in the message that says them again.
fn order_causes(status: &mut Map<String, Value>) {
    let Some(Value::Array(causes)) = status.get_mut("details").and_then(|d| d.get_mut("causes"))
    else {
        return;
    };
    if causes.len() < 2 {
        return;
    }
    causes.sort_by_key(Value::to_string);
    if let Some(Value::String(message)) = status.get_mut("message")
        && let Some(start) = message.find(" is invalid: [")
    {
        message.truncate(start);
        message.push_str(" is invalid: [CAUSES]");
    }
}

/// kubectl prints the causes of an invalid object as lines `* ...`, in the order of the server,
/// which for some of upstream's checks is the order of a hash map.
fn sort_causes(text: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    let mut causes: Vec<&str> = Vec::new();
    for line in text.lines() {
        if line.starts_with("* ") {
            causes.push(line);
            continue;
        }
        causes.sort_unstable();
        out.append(&mut causes);
        out.push(line);
    }
    causes.sort_unstable();
    out.append(&mut causes);
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_goes_and_content_stays() {
        let given = vec![("d7k2x-12".to_owned(), "NS")];
        for (text, want) in [
            ("pod/a in d7k2x-12", "pod/a in NS"),
            ("NAME   READY\na      0/1", "NAME READY\na 0/1"),
            ("  name:   a", "  name: a"),
            ("uid: 0f8fad5b-d9cb-469f-a165-70867728950e", "uid: UID"),
            (r#"{"b":1,"a":[]}"#, "{\n  \"a\": [],\n  \"b\": 1\n}"),
            ("web-7d4b9c8f6d-x2z4k   Running   3m12s", "web-HASH-RANDOM Running AGE"),
            ("gen-24d5h", "gen-RANDOM"),
            ("resourceVersion: \"812\"", "resourceVersion: \"REVISION\""),
            ("10.96.3.4 192.0.2.7", "ADDRESS 192.0.2.7"),
            ("80:31234/TCP", "80:PORT/TCP"),
            ("* b\n* a\nend", "* a\n* b\nend"),
            ("2026-11-20T10:11:12Z", "TIME"),
        ] {
            assert_eq!(normal(text, &given), want);
        }
    }
}
