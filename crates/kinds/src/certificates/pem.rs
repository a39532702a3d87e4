//! PEM (RFC 7468) as the API takes it: what is no block is passed over, a block says what it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// One block.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    pub label: String,
    /// It has lines of `Name: value` before its bytes.
    pub has_headers: bool,
    pub bytes: Vec<u8>,
}

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// The blocks of a text, in order. One that is damaged is no block.
pub fn blocks(text: &str) -> impl Iterator<Item = Block> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let at = rest
                .match_indices(BEGIN)
                .map(|(at, _)| at)
                .find(|at| *at == 0 || rest.as_bytes()[at - 1] == b'\n')?;
            rest = &rest[at + BEGIN.len()..];
            if let Some((block, after)) = block(rest) {
                rest = after;
                return Some(block);
            }
        }
    })
}

/// A block after its `BEGIN`, and what follows it.
fn block(text: &str) -> Option<(Block, &str)> {
    let (head, mut body) = text.split_once('\n')?;
    let label = head.trim_end().strip_suffix(DASHES)?;
    let mut has_headers = false;
    while let Some((line, after)) = body.split_once('\n')
        && line.contains(':')
    {
        (has_headers, body) = (true, after);
    }
    let end = format!("{DASHES}END {label}{DASHES}");
    let at = match body.strip_prefix(&end) {
        Some(_) => 0,
        None => body.find(&format!("\n{end}"))? + 1,
    };
    let (encoded, after) = body.split_at(at);
    let encoded: String = encoded.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = STANDARD.decode(encoded).ok()?;
    Some((Block { label: label.to_owned(), has_headers, bytes }, &after[end.len()..]))
}

/// Bytes as one block, in lines of 64 characters.
pub fn write(label: &str, bytes: &[u8]) -> String {
    let encoded = STANDARD.encode(bytes);
    let mut out = format!("{BEGIN}{label}{DASHES}\n");
    let mut rest = &encoded[..];
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out + &format!("{DASHES}END {label}{DASHES}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_between_whatever_else_there_is() {
        let one = write("A B", &[7; 100]);
        assert_eq!(one.lines().map(str::len).max(), Some(64));
        let text = format!(
            "words\n{one}more\n-----BEGIN X-----\nnot base64!\n-----END X-----\n\
             -----BEGIN C-----\nk: v\nl: w\n\nAQI=\n-----END C-----\n-----BEGIN D-----\n-----END D-----"
        );
        let found: Vec<Block> = blocks(&text).collect();
        let block = |label: &str, has_headers, bytes: &[u8]| Block {
            label: label.into(),
            has_headers,
            bytes: bytes.into(),
        };
        assert_eq!(
            found,
            [block("A B", false, &[7; 100]), block("C", true, &[1, 2]), block("D", false, &[])]
        );
        assert_eq!(blocks("-----BEGIN A-----").count(), 0);
        assert_eq!(blocks("-----BEGIN A-----\nAQI=\n-----END B-----\n").count(), 0);
    }
}
