//! Expression: a CEL expression in a file of the machine's owner, over claims, a user or a question. What it comes to
//! is data; nothing here knows what it is for.

use skiff_cel::ast::{Expr, Kind, Literal};
use skiff_cel::decl::{Decl, Place, escape};
use skiff_cel::env::Env;
use skiff_cel::run::{Budget, Program};
use skiff_cel::types::Type;
use skiff_json::{Number, Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

/// What an expression may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// `claims` of a token.
    Claims,
    /// `user`: UserInfo.
    User,
    /// `request`: SubjectAccessReviewSpec.
    Question,
}

/// What an expression has to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Any,
    Bool,
}

/// One that was compiled.
pub struct Expression {
    text: String,
    over: Over,
    program: Program,
    /// The fields of claims that it names.
    fields: BTreeSet<String>,
}

impl Over {
    fn variable(self) -> &'static str {
        match self {
            Over::Claims => "claims",
            Over::User => "user",
            Over::Question => "request",
        }
    }

    fn env(self) -> &'static Env {
        static CLAIMS: LazyLock<Env> =
            LazyLock::new(|| Env::default().with("claims", Type::map(Type::String, Type::Dyn)));
        static USER: LazyLock<Env> = LazyLock::new(|| Env::default().declared("user", &USER_INFO));
        static QUESTION: LazyLock<Env> =
            LazyLock::new(|| Env::default().declared("request", &QUESTIONS));
        match self {
            Over::Claims => &CLAIMS,
            Over::User => &USER,
            Over::Question => &QUESTION,
        }
    }
}

static USER_INFO: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    declared(
        "kubernetes.UserInfo",
        &json!({
            "username": text(), "uid": text(), "groups": list(text()), "extra": extra(),
        }),
    )
});

static QUESTIONS: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let requirement = object(&json!({"key": text(), "operator": text(), "values": list(text())}));
    let selector = object(&json!({"rawSelector": text(), "requirements": list(requirement)}));
    let mut attributes = json!({"fieldSelector": selector, "labelSelector": selector});
    for name in ["namespace", "verb", "group", "version", "resource", "subresource", "name"] {
        attributes[name] = text();
    }
    declared(
        "kubernetes.SubjectAccessReviewSpec",
        &json!({
            "user": text(), "uid": text(), "groups": list(text()), "extra": extra(),
            "resourceAttributes": object(&attributes),
            "nonResourceAttributes": object(&json!({"path": text(), "verb": text()})),
        }),
    )
});

fn text() -> Value {
    json!({"type": "string"})
}

fn list(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

fn extra() -> Value {
    json!({"type": "object", "additionalProperties": list(text())})
}

fn object(properties: &Value) -> Value {
    json!({"type": "object", "properties": properties})
}

fn declared(name: &str, properties: &Value) -> Arc<Decl> {
    Decl::of(&object(properties), Place::Within, name).expect("it has fields")
}

impl Expression {
    /// # Errors
    /// Why it cannot be compiled, in the words of upstream's compiler.
    pub fn compile(over: Over, wanted: Wanted, text: &str) -> Result<Expression, String> {
        let program = Program::compile(over.env(), text);
        let program = program.map_err(|faults| format!("compilation failed: {faults}"))?;
        let result = program.result();
        if wanted == Wanted::Bool && *result != Type::Bool {
            return Err(match over {
                Over::Question => format!("must evaluate to bool but got {result}"),
                Over::Claims | Over::User => "must evaluate to bool".to_owned(),
            });
        }
        let mut fields = BTreeSet::new();
        if over == Over::Claims
            && let Ok((tree, _)) = skiff_cel::parse::parse(text)
        {
            named(&tree, &mut fields);
        }
        Ok(Expression { text: text.to_owned(), over, program, fields })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it comes to.
    ///
    /// # Errors
    /// Why it comes to nothing.
    pub fn value(&self, over: &Value) -> Result<Value, String> {
        let seen;
        let over = match self.over {
            Over::Claims => {
                seen = as_seen(over);
                &seen
            }
            Over::User | Over::Question => over,
        };
        let (env, variable) = (self.over.env(), self.over.variable());
        let value = match self.over {
            Over::Claims => Ok(skiff_cel::value::Value::untyped(over)),
            Over::User => skiff_cel::value::Value::of(over, &USER_INFO),
            Over::Question => skiff_cel::value::Value::of(over, &QUESTIONS),
        };
        let value = value.map_err(|error| error.to_string())?;
        let bindings = env.bindings().set(variable, value);
        let run = self.program.run(&bindings, &mut Budget::of_request());
        run.and_then(|value| value.to_json()).map_err(|error| error.to_string())
    }

    /// Whether it is true.
    ///
    /// # Errors
    /// Why it comes to nothing.
    pub fn holds(&self, over: &Value) -> Result<bool, String> {
        match self.value(over)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(format!("eval result type should be bool but got {other}")),
        }
    }

    /// Whether it names `claims.FIELD`.
    pub fn looks_at(&self, field: &str) -> bool {
        self.fields.contains(field)
    }
}

/// Claims as expressions see them: all numbers are of one type, and names that no expression can spell have another
/// that it can.
fn as_seen(claims: &Value) -> Value {
    match claims {
        Value::Number(number) => {
            number.as_f64().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
        }
        Value::Array(all) => all.iter().map(as_seen).collect(),
        Value::Object(map) => {
            let mut seen = skiff_json::Map::new();
            for (name, value) in map {
                let value = as_seen(value);
                if let Some(other) = escape(name).filter(|other| other != name) {
                    seen.insert(other, value.clone());
                }
                seen.insert(name.clone(), value);
            }
            seen.into()
        }
        other => other.clone(),
    }
}

/// The fields of claims that an expression names, wherever.
fn named(expr: &Expr, fields: &mut BTreeSet<String>) {
    let is_claims = |of: &Expr| matches!(&of.kind, Kind::Ident(name) if name == "claims");
    match &expr.kind {
        Kind::Literal(_) | Kind::Ident(_) => {}
        Kind::Select { operand, field, .. } => {
            if is_claims(operand) {
                fields.insert(field.clone());
            }
            named(operand, fields);
        }
        Kind::Call { function, target, args } => {
            if let ("_?._", [of, Expr { kind: Kind::Literal(Literal::String(field)), .. }]) =
                (&**function, &args[..])
                && is_claims(of)
            {
                fields.insert(field.clone());
            }
            target.iter().for_each(|target| named(target, fields));
            args.iter().for_each(|it| named(it, fields));
        }
        Kind::List(all) => all.iter().for_each(|it| named(&it.value, fields)),
        Kind::Map(all) => all.iter().for_each(|it| {
            named(&it.key, fields);
            named(&it.value, fields);
        }),
        Kind::Struct { fields: all, .. } => all.iter().for_each(|it| named(&it.value, fields)),
        Kind::Fold(fold) => {
            for part in [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result] {
                named(part, fields);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_come_to_values_or_say_why_not() {
        let claims = json!({"sub": "bob", "n": 1, "a.b": ["x"], "deep": {"c-d": true}, "groups": ["g", "h"]});
        let check = |over, wanted, text: &str, value: &Value| {
            let told = match Expression::compile(over, wanted, text) {
                Ok(expression) => match expression.value(value) {
                    Ok(value) => value.to_string(),
                    Err(why) => format!("fails: {why}"),
                },
                Err(why) => why,
            };
            format!("{text}: {told}\n")
        };
        let mut out = String::new();
        for text in [
            "'p:' + claims.sub",
            "claims.n == 1 && claims.n < 1.5",
            "claims.groups.map(g, 'x-' + g)",
            "claims.a__dot__b[0]",
            "claims.deep.c__dash__d",
            "claims.?none.orValue('nobody')",
            "claims.none",
            "claims.sub +",
            "user.name",
        ] {
            out += &check(Over::Claims, Wanted::Any, text, &claims);
        }
        out += &check(Over::Claims, Wanted::Bool, "claims.sub", &claims);
        let user = json!({"username": "bob", "uid": "", "groups": ["g"], "extra": {"a/b": ["c"]}});
        for text in [
            "!user.username.startsWith('system:')",
            "user.extra['a/b'][0] == 'c'",
            "user.name == ''",
        ] {
            out += &check(Over::User, Wanted::Bool, text, &user);
        }
        let question = json!({"user": "bob", "uid": "", "groups": [], "extra": {},
            "resourceAttributes": {"verb": "get", "namespace": "", "resource": "pods"}});
        for text in [
            "request.resourceAttributes.verb in ['get', 'list']",
            "has(request.nonResourceAttributes)",
            "request.resourceAttributes.fieldSelector.requirements.size() == 0",
            "request.user",
        ] {
            out += &check(Over::Question, Wanted::Bool, text, &question);
        }
        expect_test::expect![[r#"
            'p:' + claims.sub: "p:bob"
            claims.n == 1 && claims.n < 1.5: true
            claims.groups.map(g, 'x-' + g): ["x-g","x-h"]
            claims.a__dot__b[0]: "x"
            claims.deep.c__dash__d: true
            claims.?none.orValue('nobody'): "nobody"
            claims.none: fails: no such key: none
            claims.sub +: compilation failed: ERROR: <input>:1:13: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}
             | claims.sub +
             | ............^
            user.name: compilation failed: ERROR: <input>:1:1: undeclared reference to 'user' (in container '')
             | user.name
             | ^
            claims.sub: must evaluate to bool
            !user.username.startsWith('system:'): true
            user.extra['a/b'][0] == 'c': true
            user.name == '': compilation failed: ERROR: <input>:1:5: undefined field 'name'
             | user.name == ''
             | ....^
            request.resourceAttributes.verb in ['get', 'list']: true
            has(request.nonResourceAttributes): false
            request.resourceAttributes.fieldSelector.requirements.size() == 0: fails: no such key: fieldSelector
            request.user: must evaluate to bool but got string
        "#]].assert_eq(&out);
    }

    #[test]
    fn which_claims_are_named_is_known() {
        let names = |text| {
            let expression = Expression::compile(Over::Claims, Wanted::Any, text).expect(text);
            expression.looks_at("email")
        };
        for text in [
            "claims.email",
            "has(claims.email) ? claims.sub : ''",
            "claims.?email.orValue('')",
            "[claims.sub].map(x, x + claims.email)",
        ] {
            assert!(names(text), "{text}");
        }
        for text in ["claims.sub", "'claims.email'", "claims['email']", "claims.a.email"] {
            assert!(!names(text), "{text}");
        }
    }
}
