//! Why a text is not JSON, in the words of upstream's decoder: `invalid character '}' after object
//! key`.
//!
//! A scan, character by character, that keeps only its state and the open brackets.

/// The first syntax error; `None` if there is none.
pub fn syntax_error(bytes: &[u8]) -> Option<String> {
    let mut scan = Scan { state: State::Value, open: Vec::new() };
    for byte in bytes {
        if let Err(context) = scan.step(*byte) {
            return Some(format!("invalid character {} {context}", quote(*byte)));
        }
    }
    if matches!(scan.state, State::End) && scan.open.is_empty() {
        return None;
    }
    // The end of the text is felt as a space first: it ends numbers and spoils words.
    match scan.step(b' ') {
        Err(context) => Some(format!("invalid character ' ' {context}")),
        Ok(()) if matches!(scan.state, State::End) && scan.open.is_empty() => None,
        Ok(()) => Some("unexpected end of JSON input".to_string()),
    }
}

/// The text with the replacement character for each half of a surrogate pair that stands alone in an escape, as
/// upstream reads it; `None` if there is none.
pub fn without_lone_surrogates(text: &str) -> Option<String> {
    let code = |at: usize| {
        let hex = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(hex, 16).ok()
    };
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(found) = text[at..].find('\\') {
        at += found;
        let next = code(at + 6).filter(|it| (0xDC00..0xE000).contains(it));
        at += match (code(at), next) {
            (Some(0xD800..0xDC00), Some(_)) => 12,
            (Some(0xD800..0xE000), _) => {
                out.push_str(&text[copied..at]);
                out.push_str("\\ufffd");
                copied = at + 6;
                6
            }
            (Some(_), _) => 6,
            // A backslash, or a sign behind one.
            (None, _) => text[at..].chars().take(2).map(char::len_utf8).sum(),
        };
    }
    (copied > 0).then(|| out + &text[copied..])
}

fn quote(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_string(),
        b'"' => "'\"'".to_string(),
        b'\\' => r"'\\'".to_string(),
        b'\n' => r"'\n'".to_string(),
        b'\r' => r"'\r'".to_string(),
        b'\t' => r"'\t'".to_string(),
        7 => r"'\a'".to_string(),
        8 => r"'\b'".to_string(),
        11 => r"'\v'".to_string(),
        12 => r"'\f'".to_string(),
        0..32 | 127 => format!("'\\x{byte:02x}'"),
        128..=160 | 173 => format!("'\\u{byte:04x}'"),
        byte => format!("'{}'", byte as char),
    }
}

#[derive(Clone, Copy)]
enum State {
    /// A value must begin.
    Value,
    /// After `[`.
    FirstItem,
    /// After `{`.
    FirstKey,
    /// After `,` in an object.
    Key,
    /// A value ended.
    End,
    String,
    Escape,
    Hex(u8),
    Minus,
    Zero,
    Digits,
    Dot,
    Fraction,
    Power,
    PowerSign,
    PowerDigits,
    Word(&'static str, usize),
}

enum Open {
    Key,
    Member,
    List,
}

struct Scan {
    state: State,
    open: Vec<Open>,
}

impl Scan {
    fn step(&mut self, c: u8) -> Result<(), String> {
        let space = matches!(c, b' ' | b'\t' | b'\r' | b'\n');
        self.state = match self.state {
            State::Value | State::FirstItem | State::FirstKey | State::Key if space => {
                return Ok(());
            }
            State::FirstItem if c == b']' => {
                self.open.pop();
                State::End
            }
            State::Value | State::FirstItem => return self.value(c),
            State::FirstKey if c == b'}' => {
                self.open.pop();
                State::End
            }
            State::FirstKey | State::Key if c == b'"' => State::String,
            State::FirstKey | State::Key => {
                return Err("looking for beginning of object key string".to_string());
            }
            State::End => return self.after_value(c, space),
            State::String => match c {
                b'"' => State::End,
                b'\\' => State::Escape,
                0..32 => return Err("in string literal".to_string()),
                _ => State::String,
            },
            State::Escape => match c {
                b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => State::String,
                b'u' => State::Hex(4),
                _ => return Err("in string escape code".to_string()),
            },
            State::Hex(left) if c.is_ascii_hexdigit() => {
                if left == 1 {
                    State::String
                } else {
                    State::Hex(left - 1)
                }
            }
            State::Hex(_) => return Err(r"in \u hexadecimal character escape".to_string()),
            State::Word(word, at) => {
                let expected = word.as_bytes()[at];
                if c != expected {
                    let expected = expected as char;
                    return Err(format!("in literal {word} (expecting '{expected}')"));
                }
                if at + 1 == word.len() { State::End } else { State::Word(word, at + 1) }
            }
            number => return self.number(number, c, space),
        };
        Ok(())
    }

    fn value(&mut self, c: u8) -> Result<(), String> {
        self.state = match c {
            b'{' => {
                self.open.push(Open::Key);
                State::FirstKey
            }
            b'[' => {
                self.open.push(Open::List);
                State::FirstItem
            }
            b'"' => State::String,
            b'-' => State::Minus,
            b'0' => State::Zero,
            b'1'..=b'9' => State::Digits,
            b't' => State::Word("true", 1),
            b'f' => State::Word("false", 1),
            b'n' => State::Word("null", 1),
            _ => return Err("looking for beginning of value".to_string()),
        };
        Ok(())
    }

    fn number(&mut self, state: State, c: u8, space: bool) -> Result<(), String> {
        let digit = c.is_ascii_digit();
        self.state = match state {
            State::Minus => match c {
                b'0' => State::Zero,
                _ if digit => State::Digits,
                _ => return Err("in numeric literal".to_string()),
            },
            State::Digits if digit => State::Digits,
            State::Zero | State::Digits if c == b'.' => State::Dot,
            State::Zero | State::Digits | State::Fraction if matches!(c, b'e' | b'E') => {
                State::Power
            }
            State::Dot if digit => State::Fraction,
            State::Dot => return Err("after decimal point in numeric literal".to_string()),
            State::Fraction if digit => State::Fraction,
            State::Power if matches!(c, b'+' | b'-') => State::PowerSign,
            State::Power | State::PowerSign | State::PowerDigits if digit => State::PowerDigits,
            State::Power | State::PowerSign => {
                return Err("in exponent of numeric literal".to_string());
            }
            _ => return self.after_value(c, space),
        };
        Ok(())
    }

    fn after_value(&mut self, c: u8, space: bool) -> Result<(), String> {
        self.state = State::End;
        if space {
            return Ok(());
        }
        let context = match self.open.last_mut() {
            None => "after top-level value",
            Some(top @ Open::Key) => {
                if c == b':' {
                    *top = Open::Member;
                    self.state = State::Value;
                    return Ok(());
                }
                "after object key"
            }
            Some(top @ Open::Member) => match c {
                b',' => {
                    *top = Open::Key;
                    self.state = State::Key;
                    return Ok(());
                }
                b'}' => {
                    self.open.pop();
                    return Ok(());
                }
                _ => "after object key:value pair",
            },
            Some(Open::List) => match c {
                b',' => {
                    self.state = State::Value;
                    return Ok(());
                }
                b']' => {
                    self.open.pop();
                    return Ok(());
                }
                _ => "after array element",
            },
        };
        Err(context.to_string())
    }
}
