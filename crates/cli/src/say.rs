//! What a person sees: one line per step, colour only on a terminal.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

fn out_is_terminal() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// A line of output. A reader that has gone (`| head`) is no failure.
pub fn line(text: impl Display) {
    // Whoever closed the pipe does not want to know.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A line that the next one overwrites, for terminals alone; an empty one only clears.
pub fn passing(text: impl Display) {
    let mut out = std::io::stdout();
    if out.is_terminal() {
        // As above.
        let _ = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
    }
}

/// A step that is done.
pub fn step(text: impl Display) {
    match out_is_terminal() {
        true => line(format_args!("{GREEN}*{PLAIN} {text}")),
        false => line(format_args!("* {text}")),
    }
}

/// What to type next, each with a word on what it does.
pub fn next(commands: &[(String, &str)]) {
    let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    line("\nTry next:");
    for (command, what) in commands {
        let gap = " ".repeat(width - command.len());
        match out_is_terminal() {
            true => line(format_args!("  {BOLD}{command}{PLAIN}{gap}   {what}")),
            false => line(format_args!("  {command}{gap}   {what}")),
        }
    }
}

/// A remark that is no result.
pub fn remark(text: impl Display) {
    // Nothing is left to tell it to.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Why it did not work: one line, causes behind it.
pub fn failure(error: &anyhow::Error) {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (on, off) = if colour { (RED, PLAIN) } else { ("", "") };
    remark(format_args!("{on}skiff:{off} {}", explain(error)));
}

/// An error and its causes, but for those that the text before names already.
pub fn explain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text += &format!(": {cause}");
        }
    }
    text
}

/// A word as a shell takes it back.
pub fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&b);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A table as kubectl and docker print it: columns as wide as their widest cell, three blanks between.
pub fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        line(cells.collect::<Vec<_>>().join("   ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_from_a_shell() {
        assert_eq!(
            ["a=b/c", "a b", "", "it's"].map(quoted),
            ["a=b/c", "'a b'", "''", r"'it'\''s'"]
        );
    }

    #[test]
    fn a_cause_is_named_once() {
        let error = anyhow::anyhow!("refused").context("dialing x: refused").context("pulling");
        assert_eq!(explain(&error), "pulling: dialing x: refused");
    }
}
