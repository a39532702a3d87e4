//! The macros of the language and of its two-variable, optional and list extensions: each call of
//! one becomes a fold or a test of presence before anything is checked.

use crate::ast::{ACCUMULATOR, Element, Expr, Fold, Id, Kept, Kind, Literal, Test};
use crate::parse::{Made, call};

/// The name that other macro sets give the accumulator, refused as a variable too.
const OLD_ACCUMULATOR: &str = "__result__";

/// How much deeper than its call an expansion is: a fold, its step, what it adds and the list around that.
pub const DEPTH: usize = 3;
/// The most parts of an expression: more than its longest text has without copies. A macro may copy what it is called
/// on, so that a chain of them doubles.
const MOST_PARTS: usize = 200_000;

/// What a macro makes of a call, or the call's parts if it is none.
pub fn expand(
    made: &mut Made,
    at: usize,
    name: &str,
    target: Option<Expr>,
    args: Vec<Expr>,
) -> Result<Expr, (Option<Expr>, Vec<Expr>)> {
    let mut make = Make { made, at };
    let found = match (name, target.is_some(), args.len()) {
        ("has", false, 1) => make.has(&args[0]),
        ("all" | "exists" | "exists_one", true, 2 | 3) | ("existsOne", true, 3) => {
            make.quantifier(name, target.as_ref(), &args)
        }
        ("map", true, 2 | 3) => make.map(target.as_ref(), &args),
        ("filter", true, 2) => make.filter(target.as_ref(), &args),
        ("transformList" | "transformMap", true, 3 | 4) => {
            make.transform(name, target.as_ref(), &args)
        }
        ("transformMapEntry", true, 3 | 4) => make.transform(name, target.as_ref(), &args),
        ("optMap" | "optFlatMap", true, 2) => make.opt_map(name, target.as_ref(), &args),
        ("sortBy", true, 2) => make.sort_by(target.as_ref(), &args),
        _ => return Err((target, args)),
    };
    Ok(found.unwrap_or_else(|(id, message)| {
        let at = make.made.source.offset(id);
        make.made.fault(at, message);
        make.expr(Kind::Literal(Literal::Null))
    }))
}

type Wrong = (Id, String);

/// Makes the parts of an expansion, all of which stand where the call stands.
struct Make<'a> {
    made: &'a mut Made,
    at: usize,
}

/// The names of a fold's variables.
struct Vars {
    first: String,
    second: Option<String>,
}

impl Make<'_> {
    fn expr(&mut self, kind: Kind) -> Expr {
        Expr { id: self.made.id(self.at), kind }
    }

    fn literal(&mut self, it: Literal) -> Expr {
        self.expr(Kind::Literal(it))
    }

    fn ident(&mut self, name: &str) -> Expr {
        self.expr(Kind::Ident(name.to_string()))
    }

    fn accu(&mut self) -> Expr {
        self.ident(ACCUMULATOR)
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        let id = self.made.id(self.at);
        call(id, function, args)
    }

    fn method(&mut self, function: &str, target: Expr, args: Vec<Expr>) -> Expr {
        let kind =
            Kind::Call { function: function.to_string(), target: Some(Box::new(target)), args };
        self.expr(kind)
    }

    fn list(&mut self, elements: Vec<Expr>) -> Expr {
        let element = |value| Element { kept: Kept::Always, value };
        self.expr(Kind::List(elements.into_iter().map(element).collect()))
    }

    fn fold(
        &mut self,
        range: Expr,
        vars: Vars,
        [init, condition, step, result]: [Expr; 4],
    ) -> Expr {
        let accu = ACCUMULATOR.to_string();
        let (var, var2) = (vars.first, vars.second);
        let fold = Fold { range, var, var2, accu, init, condition, step, result };
        self.expr(Kind::Fold(Box::new(fold)))
    }

    /// A name for a value within an expression: a fold over nothing.
    fn bind(&mut self, name: &str, value: Expr, result: Expr) -> Expr {
        let fold = Fold {
            range: self.list(Vec::new()),
            var: "#unused".to_string(),
            var2: None,
            accu: name.to_string(),
            init: value,
            condition: self.literal(Literal::Bool(false)),
            step: self.ident(name),
            result,
        };
        self.expr(Kind::Fold(Box::new(fold)))
    }

    /// The same expression once more, with numbers of its own.
    fn copy(&mut self, it: &Expr) -> Expr {
        if self.made.source.offsets.len() > MOST_PARTS {
            let message = format!("expression expands to more than {MOST_PARTS} parts");
            self.made.fault(self.at, message);
            return self.literal(Literal::Null);
        }
        let mut copy = it.clone();
        renumber(&mut copy, self.made);
        copy
    }

    fn has(&mut self, arg: &Expr) -> Result<Expr, Wrong> {
        let Kind::Select { operand, field, test: Test::Read } = &arg.kind else {
            return Err((arg.id, "invalid argument to has() macro".to_string()));
        };
        let (operand, field) = (operand.clone(), field.clone());
        Ok(self.expr(Kind::Select { operand, field, test: Test::Present }))
    }

    /// The variables of a macro whose last argument is its body.
    fn vars(args: &[Expr], count: usize, wrong: &str) -> Result<Vars, Wrong> {
        let mut names = Vec::new();
        for arg in &args[..count] {
            match &arg.kind {
                Kind::Ident(name) if !name.starts_with('.') => names.push(name.clone()),
                _ => return Err((arg.id, wrong.to_string())),
            }
        }
        if count == 2 && names[0] == names[1] {
            return Err((args[1].id, format!("duplicate variable name: {}", names[0])));
        }
        if let Some(at) = names.iter().position(|it| it == OLD_ACCUMULATOR) {
            let message = "iteration variable overwrites accumulator variable";
            return Err((args[at].id, message.to_string()));
        }
        let second = if count == 2 { names.pop() } else { None };
        Ok(Vars { first: names.swap_remove(0), second })
    }

    fn quantifier(
        &mut self,
        name: &str,
        range: Option<&Expr>,
        args: &[Expr],
    ) -> Result<Expr, Wrong> {
        let vars = Self::vars(args, args.len() - 1, "argument must be a simple name")?;
        let (range, body) = (range.expect("a receiver's").clone(), args[args.len() - 1].clone());
        let parts = match name {
            "all" => {
                let init = self.literal(Literal::Bool(true));
                let accu = self.accu();
                let condition = self.call("@not_strictly_false", vec![accu]);
                let accu = self.accu();
                let step = self.call("_&&_", vec![accu, body]);
                [init, condition, step, self.accu()]
            }
            "exists" => {
                let init = self.literal(Literal::Bool(false));
                let accu = self.accu();
                let not = self.call("!_", vec![accu]);
                let condition = self.call("@not_strictly_false", vec![not]);
                let accu = self.accu();
                let step = self.call("_||_", vec![accu, body]);
                [init, condition, step, self.accu()]
            }
            _ => {
                let init = self.literal(Literal::Int(0));
                let condition = self.literal(Literal::Bool(true));
                let (accu, one) = (self.accu(), self.literal(Literal::Int(1)));
                let more = self.call("_+_", vec![accu, one]);
                let accu = self.accu();
                let step = self.call("_?_:_", vec![body, more, accu]);
                let (accu, one) = (self.accu(), self.literal(Literal::Int(1)));
                [init, condition, step, self.call("_==_", vec![accu, one])]
            }
        };
        Ok(self.fold(range, vars, parts))
    }

    /// `accu + [element]`, if the filter says so.
    fn collected(&mut self, element: Expr, filter: Option<Expr>) -> [Expr; 4] {
        let init = self.list(Vec::new());
        let condition = self.literal(Literal::Bool(true));
        let (accu, one) = (self.accu(), self.list(vec![element]));
        let mut step = self.call("_+_", vec![accu, one]);
        if let Some(filter) = filter {
            let accu = self.accu();
            step = self.call("_?_:_", vec![filter, step, accu]);
        }
        [init, condition, step, self.accu()]
    }

    fn map(&mut self, range: Option<&Expr>, args: &[Expr]) -> Result<Expr, Wrong> {
        let vars = Self::vars(args, 1, "argument is not an identifier")?;
        let filter = (args.len() == 3).then(|| args[1].clone());
        let parts = self.collected(args[args.len() - 1].clone(), filter);
        Ok(self.fold(range.expect("a receiver's").clone(), vars, parts))
    }

    fn filter(&mut self, range: Option<&Expr>, args: &[Expr]) -> Result<Expr, Wrong> {
        let vars = Self::vars(args, 1, "argument is not an identifier")?;
        let parts = self.collected(args[0].clone(), Some(args[1].clone()));
        Ok(self.fold(range.expect("a receiver's").clone(), vars, parts))
    }

    fn transform(
        &mut self,
        name: &str,
        range: Option<&Expr>,
        args: &[Expr],
    ) -> Result<Expr, Wrong> {
        let vars = Self::vars(args, 2, "argument must be a simple name")?;
        let range = range.expect("a receiver's").clone();
        let filter = (args.len() == 4).then(|| args[2].clone());
        let value = args[args.len() - 1].clone();
        if name == "transformList" {
            let parts = self.collected(value, filter);
            return Ok(self.fold(range, vars, parts));
        }
        let init = self.expr(Kind::Map(Vec::new()));
        let condition = self.literal(Literal::Bool(true));
        let mut put = vec![self.accu()];
        if name == "transformMap" {
            put.push(self.ident(&vars.first));
        }
        put.push(value);
        let mut step = self.call("cel.@mapInsert", put);
        if let Some(filter) = filter {
            let accu = self.accu();
            step = self.call("_?_:_", vec![filter, step, accu]);
        }
        let parts = [init, condition, step, self.accu()];
        Ok(self.fold(range, vars, parts))
    }

    fn opt_map(&mut self, name: &str, target: Option<&Expr>, args: &[Expr]) -> Result<Expr, Wrong> {
        let wrong = format!("{name}() variable name must be a simple identifier");
        let Kind::Ident(var) = &args[0].kind else { return Err((args[0].id, wrong)) };
        let target = target.expect("a receiver's").clone();
        let again = self.copy(&target);
        let has = self.method("hasValue", target, Vec::new());
        let value = self.method("value", again, Vec::new());
        let mut made = self.bind(var, value, args[1].clone());
        if name == "optMap" {
            made = self.call("optional.of", vec![made]);
        }
        let none = self.call("optional.none", Vec::new());
        Ok(self.call("_?_:_", vec![has, made, none]))
    }

    fn sort_by(&mut self, target: Option<&Expr>, args: &[Expr]) -> Result<Expr, Wrong> {
        const INPUT: &str = "@__sortBy_input__";
        let target = target.expect("a receiver's").clone();
        if matches!(target.kind, Kind::Literal(_) | Kind::Map(_) | Kind::Struct { .. }) {
            let message = "sortBy can only be applied to a list, identifier, comprehension, call \
                           or select expression";
            return Err((target.id, message.to_string()));
        }
        let range = self.ident(INPUT);
        let keys = self.map(Some(&range), args)?;
        let list = self.ident(INPUT);
        let sorted = self.method("@sortByAssociatedKeys", list, vec![keys]);
        Ok(self.bind(INPUT, target, sorted))
    }
}

fn renumber(expr: &mut Expr, made: &mut Made) {
    let at = made.source.offset(expr.id);
    expr.id = made.id(at);
    match &mut expr.kind {
        Kind::Literal(_) | Kind::Ident(_) => {}
        Kind::Select { operand, .. } => renumber(operand, made),
        Kind::Call { target, args, .. } => {
            target.iter_mut().for_each(|it| renumber(it, made));
            args.iter_mut().for_each(|it| renumber(it, made));
        }
        Kind::List(elements) => elements.iter_mut().for_each(|it| renumber(&mut it.value, made)),
        Kind::Map(entries) => entries.iter_mut().for_each(|it| {
            renumber(&mut it.key, made);
            renumber(&mut it.value, made);
        }),
        Kind::Struct { fields, .. } => {
            fields.iter_mut().for_each(|it| renumber(&mut it.value, made));
        }
        Kind::Fold(fold) => {
            let parts = [
                &mut fold.range,
                &mut fold.init,
                &mut fold.condition,
                &mut fold.step,
                &mut fold.result,
            ];
            parts.into_iter().for_each(|it| renumber(it, made));
        }
    }
}
