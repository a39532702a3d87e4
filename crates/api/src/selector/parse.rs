//! The grammar of label selectors: `a=b,c in (d,e),!f`, with the error texts of the API. (API
//! reference, "Labels and Selectors")

use super::words::{label_key_problems, label_value_problems};
use super::{MAX_SELECTOR_BYTES, Operator, Requirement, Selector};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Error,
    End,
    Close,
    Comma,
    Not,
    Word,
    Open,
    In,
    NotIn,
    Compare(Operator),
}

/// Reads a whole selector.
pub(super) fn selector(text: &str) -> Result<Selector, String> {
    if text.len() > MAX_SELECTOR_BYTES {
        return Err(format!("the selector must be at most {MAX_SELECTOR_BYTES} bytes long"));
    }
    let mut parser = Parser { tokens: scan(text), at: 0 };
    let mut all = Vec::new();
    loop {
        let (token, literal) = parser.peek();
        match token {
            Token::Word | Token::Not => {
                let requirement = parser
                    .requirement()
                    .map_err(|e| format!("unable to parse requirement: {e}"))?;
                all.push(requirement);
                let (token, literal) = parser.next();
                match token {
                    Token::End => break,
                    Token::Comma => {
                        let (token, literal) = parser.peek();
                        if !matches!(token, Token::Word | Token::Not) {
                            return Err(format!(
                                "found '{literal}', expected: identifier after ','"
                            ));
                        }
                    }
                    _ => {
                        return Err(format!("found '{literal}', expected: ',' or 'end of string'"));
                    }
                }
            }
            Token::End => break,
            _ => {
                let expected = "!, identifier, or 'end of string'";
                return Err(format!("found '{literal}', expected: {expected}"));
            }
        }
    }
    all.sort_by(|a: &Requirement, b| a.key.cmp(&b.key));
    Ok(Selector::All(all))
}

fn scan(text: &str) -> Vec<(Token, String)> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        // A zero byte ends the text, as it does for upstream's scanner.
        let Some(first) = rest.bytes().next().filter(|b| *b != 0) else { break };
        let end = if is_symbol(first) {
            let (token, length) = symbol(rest);
            let literal = match token {
                Token::Error => format!("error expected: keyword found '{}'", &rest[..length]),
                _ => rest[..length].to_string(),
            };
            out.push((token, literal));
            length
        } else {
            let end = rest
                .bytes()
                .position(|b| b == 0 || is_symbol(b) || matches!(b, b' ' | b'\t' | b'\r' | b'\n'))
                .unwrap_or(rest.len());
            let word = &rest[..end];
            let token = match word {
                "in" => Token::In,
                "notin" => Token::NotIn,
                _ => Token::Word,
            };
            out.push((token, word.to_string()));
            end
        };
        rest = &rest[end..];
    }
    out.push((Token::End, String::new()));
    out
}

fn is_symbol(b: u8) -> bool {
    matches!(b, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}

fn symbol(rest: &str) -> (Token, usize) {
    let two = match rest.get(..2) {
        Some("==") => Some(Operator::DoubleEquals),
        Some("!=") => Some(Operator::NotEquals),
        _ => None,
    };
    if let Some(operator) = two {
        return (Token::Compare(operator), 2);
    }
    let token = match rest.as_bytes()[0] {
        b')' => Token::Close,
        b'(' => Token::Open,
        b',' => Token::Comma,
        b'!' => Token::Not,
        b'=' => Token::Compare(Operator::Equals),
        b'>' => Token::Compare(Operator::GreaterThan),
        b'<' => Token::Compare(Operator::LessThan),
        _ => Token::Error,
    };
    (token, 1)
}

struct Parser {
    tokens: Vec<(Token, String)>,
    at: usize,
}

impl Parser {
    /// The next token, where `in` and `notin` are ordinary words.
    fn peek(&self) -> (Token, &str) {
        let (token, literal) = &self.tokens[self.at.min(self.tokens.len() - 1)];
        let token = if matches!(token, Token::In | Token::NotIn) { Token::Word } else { *token };
        (token, literal)
    }

    fn next(&mut self) -> (Token, String) {
        let (token, literal) = self.peek();
        let found = (token, literal.to_string());
        self.at += 1;
        found
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut token, mut key) = self.next();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next();
        }
        if token != Token::Word {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let problems = label_key_problems(&key);
        if !problems.is_empty() {
            return Err(format!("<nil>: Invalid value: {key:?}: {}", problems.join("; ")));
        }
        if negated {
            return Ok(Requirement { key, operator: Operator::DoesNotExist, values: Vec::new() });
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(Requirement { key, operator: Operator::Exists, values: Vec::new() });
        }
        let operator = self.operator()?;
        let mut values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.value()?],
        };
        values.sort();
        values.dedup();
        check(&key, operator, &values)?;
        Ok(Requirement { key, operator, values })
    }

    fn operator(&mut self) -> Result<Operator, String> {
        let (token, literal) = &self.tokens[self.at.min(self.tokens.len() - 1)];
        let operator = match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Compare(operator) => *operator,
            _ => {
                return Err(format!("found '{literal}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        self.at += 1;
        Ok(operator)
    }

    fn value(&mut self) -> Result<String, String> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next() {
            (Token::Word, value) => Ok(value),
            (_, literal) => Err(format!("found '{literal}', expected: identifier")),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        let (token, literal) = self.next();
        if token != Token::Open {
            return Err(format!("found '{literal}' expected: '('"));
        }
        match self.peek() {
            (Token::Word | Token::Comma, _) => {}
            (Token::Close, _) => {
                self.at += 1;
                return Ok(vec![String::new()]);
            }
            (_, literal) => {
                return Err(format!("found '{literal}', expected: ',', ')' or identifier"));
            }
        }
        let values = self.words()?;
        self.at += 1;
        Ok(values)
    }

    /// Words and empty words between commas, up to the closing parenthesis.
    fn words(&mut self) -> Result<Vec<String>, String> {
        let mut out = Vec::new();
        loop {
            match self.next() {
                (Token::Word, word) => {
                    out.push(word);
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(out),
                        (_, literal) => {
                            return Err(format!("found '{literal}', expected: ',' or ')'"));
                        }
                    }
                }
                (Token::Comma, _) => {
                    if out.is_empty() {
                        out.push(String::new());
                    }
                    match self.peek().0 {
                        Token::Close => {
                            out.push(String::new());
                            return Ok(out);
                        }
                        Token::Comma => out.push(String::new()),
                        _ => {}
                    }
                }
                (_, literal) => {
                    return Err(format!("found '{literal}', expected: ',', or identifier"));
                }
            }
        }
    }
}

/// The values that an operator may have.
pub(super) fn check(key: &str, operator: Operator, values: &[String]) -> Result<(), String> {
    let mut problems = Vec::new();
    let list = || skiff_json::Value::from(values.to_vec());
    let mut wrong = |detail: &str| {
        problems.push(format!("values: Invalid value: {}: {detail}", list()));
    };
    match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            wrong("for 'in', 'notin' operators, values set can't be empty");
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            wrong("values set must be empty for exists and does not exist");
        }
        Operator::GreaterThan | Operator::LessThan => {
            for (i, value) in values.iter().enumerate().filter(|(_, v)| v.parse::<i64>().is_err()) {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                problems.push(format!("values[{i}]: Invalid value: {value:?}: {detail}"));
            }
        }
        _ => {}
    }
    for (i, value) in values.iter().enumerate() {
        let found = label_value_problems(value);
        if !found.is_empty() {
            let found = found.join("; ");
            problems.push(format!("values[{i}][{key}]: Invalid value: {value:?}: {found}"));
        }
    }
    match problems.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}
