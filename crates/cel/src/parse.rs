//! Parses an expression (CEL language definition, syntax) into a tree with its macros expanded.
//!
//! Written by hand, without a grammar's machine, so that memory and stack are bounded by what is
//! checked here; the words of the common syntax errors are those of upstream's generated parser.

use crate::ast::{Element, Entry, Expr, FieldInit, Id, Kept, Kind, Literal, Source, Test};
use crate::fault::{Fault, Faults};
use crate::lex::{self, Spot, Token};
use crate::macros;

/// Upstream's limit of an expression's length, in characters.
const LONGEST: usize = 100_000;
/// Upstream's limit of nesting; what walks the tree recurses as deep.
const DEEPEST: usize = 250;
/// What may begin an operand, as upstream's parser lists it.
const OPERAND: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, \
                       NUM_UINT, STRING, BYTES, IDENTIFIER}";
const RESERVED: &[&str] = &[
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
/// Operators and what they call, from those that bind least.
const OPERATORS: &[&[(&str, &str)]] = &[
    &[("||", "_||_")],
    &[("&&", "_&&_")],
    &[
        ("==", "_==_"),
        ("!=", "_!=_"),
        ("in", "@in"),
        ("<", "_<_"),
        ("<=", "_<=_"),
        (">=", "_>=_"),
        (">", "_>_"),
    ],
    &[("+", "_+_"), ("-", "_-_")],
    &[("*", "_*_"), ("/", "_/_"), ("%", "_%_")],
];

/// The tree of an expression and the places of its parts.
pub fn parse(text: &str) -> Result<(Expr, Source), Faults> {
    let length = text.chars().count();
    if length > LONGEST {
        let message =
            format!("expression code point size exceeds limit: size: {length}, limit {LONGEST}");
        return Err(Faults::new(text, vec![Fault { at: None, message }]));
    }
    let mut faults = Vec::new();
    let tokens = lex::tokens(text, &mut faults);
    let source = Source { text: text.to_string(), offsets: vec![0] };
    let mut parser = Parser { tokens, next: 0, depth: 0, made: Made { source, faults } };
    let tree = parser.whole();
    match tree {
        Ok(tree) if parser.made.faults.is_empty() => Ok((tree, parser.made.source)),
        _ => Err(Faults::new(text, parser.made.faults)),
    }
}

/// What is made of a text besides its tree.
pub struct Made {
    pub source: Source,
    pub faults: Vec<Fault>,
}

impl Made {
    /// A number for a part of the tree that stands at this offset.
    pub fn id(&mut self, at: usize) -> Id {
        self.source.offsets.push(at as u32);
        (self.source.offsets.len() - 1) as Id
    }

    pub fn fault(&mut self, at: usize, message: impl Into<String>) {
        self.faults.push(Fault { at: Some(at), message: message.into() });
    }
}

/// Parsing ends here; the fault was noted.
struct Ended;

/// An expression and how deep its tree is.
type Parsed = (Expr, usize);

struct Parser<'t> {
    tokens: Vec<Spot<'t>>,
    next: usize,
    depth: usize,
    made: Made,
}

impl<'t> Parser<'t> {
    fn spot(&self) -> Spot<'t> {
        self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn after(&self) -> Spot<'t> {
        self.tokens[(self.next + 1).min(self.tokens.len() - 1)]
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.spot().token, Token::Sign(it) if it == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        self.next += usize::from(found);
        found
    }

    /// The sign that must follow. One token too many before it is passed over, and one that is missing before
    /// something that may follow it is thought to be there; both are faults.
    fn expect(&mut self, sign: &'static str, expected: &str) -> Result<usize, Ended> {
        let spot = self.spot();
        if self.take(sign) {
            return Ok(spot.at);
        }
        let one = expected.starts_with('\'');
        let fits = match sign {
            ":" => self.begins(spot),
            _ => !self.begins(spot) || matches!(spot.token, Token::Sign("[" | "." | "-")),
        };
        if one && matches!(self.after().token, Token::Sign(it) if it == sign) {
            let message =
                format!("Syntax error: extraneous input '{}' expecting {expected}", spot.text);
            self.made.fault(spot.at, message);
            self.next += 2;
            return Ok(spot.at);
        }
        if one && fits {
            let message = format!("Syntax error: missing {expected} at '{}'", spot.text);
            self.made.fault(spot.at, message);
            return Ok(spot.at);
        }
        let message =
            format!("Syntax error: mismatched input '{}' expecting {expected}", spot.text);
        self.made.fault(spot.at, message);
        Err(Ended)
    }

    fn too_deep(&mut self) -> Ended {
        let message = format!("expression recursion limit exceeded: {DEEPEST}");
        self.made.faults.push(Fault { at: None, message });
        Ended
    }

    fn deeper(&mut self, depth: usize) -> Result<usize, Ended> {
        if depth < DEEPEST {
            return Ok(depth + 1);
        }
        self.made.faults.push(Fault { at: None, message: "max recursion depth exceeded".into() });
        Err(Ended)
    }

    fn whole(&mut self) -> Result<Expr, Ended> {
        let (tree, _) = self.expr()?;
        let spot = self.spot();
        if spot.token != Token::End {
            let how = match self.after().token {
                Token::End => "extraneous",
                _ => "mismatched",
            };
            let message = format!("Syntax error: {how} input '{}' expecting <EOF>", spot.text);
            self.made.fault(spot.at, message);
            return Err(Ended);
        }
        Ok(tree)
    }

    fn expr(&mut self) -> Result<Parsed, Ended> {
        if self.depth >= DEEPEST {
            return Err(self.too_deep());
        }
        self.depth += 1;
        let parsed = self.conditional();
        self.depth -= 1;
        parsed
    }

    fn conditional(&mut self) -> Result<Parsed, Ended> {
        let (condition, depth) = self.terms(0)?;
        let at = self.spot().at;
        if !self.take("?") {
            return Ok((condition, depth));
        }
        let id = self.made.id(at);
        let (yes, yes_depth) = self.terms(0)?;
        self.expect(":", "':'")?;
        let (no, no_depth) = self.expr()?;
        let depth = self.deeper(depth.max(yes_depth).max(no_depth))?;
        Ok((call(id, "_?_:_", vec![condition, yes, no]), depth))
    }

    /// The operator that stands here, if it binds at least as closely as this level.
    fn operator(&self, level: usize) -> Option<(usize, &'static str)> {
        let Token::Sign(sign) = self.spot().token else { return None };
        let found = OPERATORS.iter().position(|it| it.iter().any(|it| it.0 == sign))?;
        let (_, function) = OPERATORS[found].iter().find(|it| it.0 == sign)?;
        (found >= level).then_some((found, *function))
    }

    /// Operands and the operators between them, by how closely those bind. One function for all levels: the stack
    /// of a nested expression is that of its parentheses.
    fn terms(&mut self, level: usize) -> Result<Parsed, Ended> {
        let (mut left, mut depth) = self.unary()?;
        while let Some((found, function)) = self.operator(level) {
            if found < 2 {
                depth = self.logic(&mut left, depth, found, function)?;
                continue;
            }
            let id = self.made.id(self.spot().at);
            self.next += 1;
            let (right, right_depth) = self.terms(found + 1)?;
            depth = self.deeper(depth.max(right_depth))?;
            left = call(id, function, vec![left, right]);
        }
        Ok((left, depth))
    }

    /// Terms of `||` or `&&`: a balanced tree, so that a thousand of them are ten deep.
    fn logic(
        &mut self,
        left: &mut Expr,
        mut depth: usize,
        level: usize,
        function: &str,
    ) -> Result<usize, Ended> {
        let nothing = Expr { id: 0, kind: Kind::Literal(Literal::Null) };
        let (mut terms, mut ids) = (vec![Some(std::mem::replace(left, nothing))], Vec::new());
        while self.operator(level).is_some_and(|it| it.0 == level) {
            let at = self.spot().at;
            self.next += 1;
            let (next, next_depth) = self.terms(level + 1)?;
            terms.push(Some(next));
            ids.push(self.made.id(at));
            depth = depth.max(next_depth);
        }
        depth = self.deeper(depth + ids.len().ilog2() as usize)?;
        *left = balanced(function, &mut terms, &ids, 0, ids.len() - 1);
        Ok(depth)
    }

    fn unary(&mut self) -> Result<Parsed, Ended> {
        let spot = self.spot();
        let (sign, function) = match spot.token {
            Token::Sign("!") => ("!", "!_"),
            Token::Sign("-") if !matches!(self.after().token, Token::Int | Token::Float) => {
                ("-", "-_")
            }
            _ => return self.member(),
        };
        let mut count = 0;
        while self.take(sign) {
            count += 1;
        }
        if count % 2 == 0 {
            return self.member();
        }
        let id = self.made.id(spot.at);
        let (operand, depth) = self.member()?;
        let depth = self.deeper(depth)?;
        Ok((call(id, function, vec![operand]), depth))
    }

    fn member(&mut self) -> Result<Parsed, Ended> {
        let (mut left, mut depth) = self.primary()?;
        loop {
            let at = self.spot().at;
            if self.take(".") {
                left = self.selected(left, at, &mut depth)?;
            } else if self.take("[") {
                let optional = self.take("?");
                let id = self.made.id(at);
                let (index, index_depth) = self.expr()?;
                self.expect("]", "']'")?;
                depth = depth.max(index_depth);
                let function = if optional { "_[?_]" } else { "_[_]" };
                left = call(id, function, vec![left, index]);
            } else {
                return Ok((left, depth));
            }
            depth = self.deeper(depth)?;
        }
    }

    /// What follows a dot: a field, a field that may be missing, or a call.
    fn selected(&mut self, left: Expr, at: usize, depth: &mut usize) -> Result<Expr, Ended> {
        let optional = self.take("?");
        let spot = self.spot();
        match spot.token {
            Token::Ident | Token::Escaped => self.next += 1,
            _ => {
                let text = if spot.token == Token::End { "" } else { spot.text };
                let message = format!("Syntax error: no viable alternative at input '.{text}'");
                self.made.fault(spot.at, message);
                if !text.is_empty() {
                    self.next += 1;
                    let spot = self.spot();
                    return self.no_operand(spot).map(|it| it.0);
                }
                return Err(Ended);
            }
        }
        let open = self.spot().at;
        if !optional && spot.token == Token::Ident && self.take("(") {
            let id = self.made.id(open);
            let (args, args_depth) = self.arguments()?;
            *depth = (*depth).max(args_depth);
            let (made, more) = self.called(id, spot.text, Some(left), args);
            *depth += more;
            return Ok(made);
        }
        let field = spot.text.trim_matches('`').to_string();
        if optional {
            let name = Expr { id: self.made.id(at), kind: Kind::Literal(Literal::String(field)) };
            let id = self.made.id(at);
            return Ok(call(id, "_?._", vec![left, name]));
        }
        let kind = Kind::Select { operand: Box::new(left), field, test: Test::Read };
        Ok(Expr { id: self.made.id(at), kind })
    }

    fn arguments(&mut self) -> Result<(Vec<Expr>, usize), Ended> {
        let (mut args, mut deepest) = (Vec::new(), 0);
        if self.take(")") {
            return Ok((args, 0));
        }
        loop {
            let (arg, depth) = self.expr()?;
            args.push(arg);
            deepest = deepest.max(depth);
            if !self.take(",") {
                self.expect(")", "')'")?;
                return Ok((args, deepest));
            }
        }
    }

    /// A call, or what the macro of its name makes of it; and how much deeper than a call that is.
    fn called(
        &mut self,
        id: Id,
        name: &str,
        target: Option<Expr>,
        args: Vec<Expr>,
    ) -> (Expr, usize) {
        let at = self.made.source.offset(id);
        match macros::expand(&mut self.made, at, name, target, args) {
            Ok(expanded) => (expanded, macros::DEPTH),
            Err((target, args)) => {
                let target = target.map(Box::new);
                let kind = Kind::Call { function: name.to_string(), target, args };
                (Expr { id, kind }, 0)
            }
        }
    }

    fn primary(&mut self) -> Result<Parsed, Ended> {
        let spot = self.spot();
        match spot.token {
            Token::Sign("(") => {
                self.next += 1;
                let inner = self.expr()?;
                self.expect(")", "')'")?;
                Ok(inner)
            }
            Token::Sign("[") => self.list(spot.at),
            Token::Sign("{") => self.map(spot.at),
            Token::Sign(".") if self.after().token == Token::Ident => {
                self.next += 1;
                self.named(spot.at, ".")
            }
            Token::Ident => self.named(spot.at, ""),
            Token::Sign("-") if matches!(self.after().token, Token::Int | Token::Float) => {
                self.next += 1;
                Ok((self.literal("-"), 1))
            }
            Token::Int | Token::Uint | Token::Float | Token::String | Token::Bytes => {
                Ok((self.literal(""), 1))
            }
            Token::Sign("true" | "false" | "null") => Ok((self.literal(""), 1)),
            _ => self.no_operand(spot),
        }
    }

    /// Whether a token may begin an operand.
    fn begins(&self, spot: Spot) -> bool {
        match spot.token {
            Token::End | Token::Escaped => false,
            Token::Sign(sign) => OPERAND.contains(&format!("'{sign}'")),
            _ => true,
        }
    }

    /// An operand is missing; one token too many before it is passed over.
    fn no_operand(&mut self, spot: Spot) -> Result<Parsed, Ended> {
        let begins = self.begins(self.after()) && spot.token != Token::End;
        let how = if begins { "extraneous" } else { "mismatched" };
        let message = format!("Syntax error: {how} input '{}' expecting {OPERAND}", spot.text);
        self.made.fault(spot.at, message);
        match begins {
            true => {
                self.next += 1;
                self.primary()
            }
            false => Err(Ended),
        }
    }

    /// An identifier, a call of a function, or a message that is made.
    fn named(&mut self, at: usize, dot: &str) -> Result<Parsed, Ended> {
        let spot = self.spot();
        self.next += 1;
        let name = format!("{dot}{}", spot.text);
        if let Some(message) = self.message_name(&name) {
            return self.message(message);
        }
        if RESERVED.contains(&spot.text) {
            self.made.fault(spot.at, format!("reserved identifier: {}", spot.text));
        }
        let open = self.spot().at;
        if self.take("(") {
            let id = self.made.id(open);
            let (args, depth) = self.arguments()?;
            let (made, more) = self.called(id, &name, None, args);
            let depth = self.deeper(depth + more)?;
            return Ok((made, depth));
        }
        let at = if dot.is_empty() { spot.at } else { at };
        Ok((Expr { id: self.made.id(at), kind: Kind::Ident(name) }, 1))
    }

    /// `a.b.C` if a brace follows it: then it names the type of a message.
    fn message_name(&mut self, first: &str) -> Option<String> {
        let (mut at, mut name) = (self.next, first.to_string());
        while matches!(self.tokens.get(at).map(|it| it.token), Some(Token::Sign(".")))
            && matches!(self.tokens.get(at + 1).map(|it| it.token), Some(Token::Ident))
        {
            name = format!("{name}.{}", self.tokens[at + 1].text);
            at += 2;
        }
        matches!(self.tokens.get(at).map(|it| it.token), Some(Token::Sign("{"))).then(|| {
            self.next = at;
            name
        })
    }

    fn message(&mut self, name: String) -> Result<Parsed, Ended> {
        let id = self.made.id(self.spot().at);
        self.next += 1;
        let (mut fields, mut deepest) = (Vec::new(), 0);
        let empty = self.only_comma("}");
        while !empty && !self.take("}") {
            let kept = if self.take("?") { Kept::IfPresent } else { Kept::Always };
            let spot = self.spot();
            if spot.token != Token::Ident {
                let message = format!(
                    "Syntax error: mismatched input '{}' expecting {{'}}', ',', '?', IDENTIFIER, \
                     ESC_IDENTIFIER}}",
                    spot.text
                );
                self.made.fault(spot.at, message);
                return Err(Ended);
            }
            self.next += 1;
            let colon = self.expect(":", "':'")?;
            let id = self.made.id(colon);
            let (value, depth) = self.expr()?;
            deepest = deepest.max(depth);
            fields.push(FieldInit { id, kept, name: spot.text.to_string(), value });
            if !self.take(",") {
                self.expect("}", "{'}', ','}")?;
                break;
            }
        }
        let depth = self.deeper(deepest)?;
        Ok((Expr { id, kind: Kind::Struct { name, fields } }, depth))
    }

    /// `{,}` is as empty as `{}`.
    fn only_comma(&mut self, close: &str) -> bool {
        let found = self.is(",") && matches!(self.after().token, Token::Sign(it) if it == close);
        self.next += if found { 2 } else { 0 };
        found
    }

    fn list(&mut self, at: usize) -> Result<Parsed, Ended> {
        self.next += 1;
        let id = self.made.id(at);
        let (mut elements, mut deepest) = (Vec::new(), 0);
        let empty = self.only_comma("]");
        while !empty && !self.take("]") {
            let kept = if self.take("?") { Kept::IfPresent } else { Kept::Always };
            let (value, depth) = self.expr()?;
            deepest = deepest.max(depth);
            elements.push(Element { kept, value });
            if !self.take(",") {
                self.expect("]", "{']', ','}")?;
                break;
            }
        }
        let depth = self.deeper(deepest)?;
        Ok((Expr { id, kind: Kind::List(elements) }, depth))
    }

    fn map(&mut self, at: usize) -> Result<Parsed, Ended> {
        self.next += 1;
        let id = self.made.id(at);
        let (mut entries, mut deepest) = (Vec::new(), 0);
        let empty = self.only_comma("}");
        while !empty && !self.take("}") {
            let kept = if self.take("?") { Kept::IfPresent } else { Kept::Always };
            let (key, key_depth) = self.expr()?;
            self.expect(":", "':'")?;
            let (value, depth) = self.expr()?;
            deepest = deepest.max(depth).max(key_depth);
            entries.push(Entry { kept, key, value });
            if !self.take(",") {
                self.expect("}", "{'}', ','}")?;
                break;
            }
        }
        let depth = self.deeper(deepest)?;
        Ok((Expr { id, kind: Kind::Map(entries) }, depth))
    }

    fn literal(&mut self, sign: &str) -> Expr {
        let spot = self.spot();
        self.next += 1;
        let id = self.made.id(spot.at);
        let (found, kind) = match spot.token {
            Token::Int => (integer(sign, spot.text).map(Literal::Int), "int"),
            Token::Uint => {
                let digits = spot.text.trim_end_matches(['u', 'U']);
                let found = match digits.strip_prefix("0x") {
                    Some(hex) => u64::from_str_radix(hex, 16),
                    None => digits.parse(),
                };
                (found.ok().map(Literal::Uint), "uint")
            }
            Token::Float => {
                let found = format!("{sign}{}", spot.text).parse().ok();
                (found.filter(|it: &f64| it.is_finite()).map(Literal::Double), "double")
            }
            Token::String => {
                let text = lex::unquote(spot.text).and_then(|it| String::from_utf8(it).ok());
                if text.is_none() {
                    self.made.fault(spot.at, "invalid unicode code point");
                    return Expr { id, kind: Kind::Literal(Literal::Null) };
                }
                (text.map(Literal::String), "string")
            }
            Token::Bytes => (lex::unquote(spot.text).map(Literal::Bytes), "bytes"),
            Token::Sign("null") => (Some(Literal::Null), ""),
            token => (Some(Literal::Bool(token == Token::Sign("true"))), ""),
        };
        if found.is_none() {
            self.made.fault(spot.at, format!("invalid {kind} literal"));
        }
        Expr { id, kind: Kind::Literal(found.unwrap_or(Literal::Null)) }
    }
}

fn integer(sign: &str, text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(&format!("{sign}{hex}"), 16).ok(),
        None => format!("{sign}{text}").parse().ok(),
    }
}

pub fn call(id: Id, function: &str, args: Vec<Expr>) -> Expr {
    Expr { id, kind: Kind::Call { function: function.to_string(), target: None, args } }
}

fn balanced(
    function: &str,
    terms: &mut [Option<Expr>],
    ids: &[Id],
    low: usize,
    high: usize,
) -> Expr {
    let middle = (low + high).div_ceil(2);
    let mut term = |at: usize| terms[at].take().expect("each term stands in the tree once");
    let left = match middle == low {
        true => term(middle),
        false => balanced(function, terms, ids, low, middle - 1),
    };
    let right = match middle == high {
        true => terms[middle + 1].take().expect("each term stands in the tree once"),
        false => balanced(function, terms, ids, middle + 1, high),
    };
    call(ids[middle], function, vec![left, right])
}
