//! Looks at the constants of a checked expression: durations, times and patterns that could never be
//! read are faults of the text, not of each evaluation.

use crate::ast::{Expr, Kind, Literal, Source};
use crate::fault::{Fault, Faults};
use crate::time;

/// The faults of all constant arguments.
pub fn validate(tree: &Expr, source: &Source) -> Result<(), Faults> {
    let mut faults = Vec::new();
    walk(tree, source, &mut faults);
    if faults.is_empty() { Ok(()) } else { Err(Faults::new(&source.text, faults)) }
}

fn walk(expr: &Expr, source: &Source, faults: &mut Vec<Fault>) {
    match &expr.kind {
        Kind::Literal(_) | Kind::Ident(_) => {}
        Kind::Select { operand, .. } => walk(operand, source, faults),
        Kind::Call { function, target, args } => {
            let pattern_at = if target.is_some() { 0 } else { 1 };
            let (argument, fits): (_, fn(&str) -> bool) = match function.as_str() {
                "duration" => (args.first(), |it| skiff_api::duration::parse(it).is_ok()),
                "timestamp" => (args.first(), |it| time::rfc3339(it).is_some()),
                "matches" => (args.get(pattern_at), |it| regex::Regex::new(it).is_ok()),
                _ => (None, |_| true),
            };
            if let Some(it) = argument
                && let Kind::Literal(Literal::String(text)) = &it.kind
                && !fits(text)
            {
                let message = format!("invalid {function} argument");
                faults.push(Fault { at: Some(source.offset(it.id)), message });
            }
            target.iter().for_each(|it| walk(it, source, faults));
            args.iter().for_each(|it| walk(it, source, faults));
        }
        Kind::List(all) => all.iter().for_each(|it| walk(&it.value, source, faults)),
        Kind::Map(all) => all.iter().for_each(|it| {
            walk(&it.key, source, faults);
            walk(&it.value, source, faults);
        }),
        Kind::Struct { fields, .. } => {
            fields.iter().for_each(|it| walk(&it.value, source, faults));
        }
        Kind::Fold(fold) => {
            for it in [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result] {
                walk(it, source, faults);
            }
        }
    }
}
