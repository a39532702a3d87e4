//! Expressions over a request: what they see, the variables of a policy, and what they may cost, in match conditions,
//! validations and mutations alike (documentation pages "Dynamic Admission Control", "Validating Admission Policy").
//!
//! A variable is evaluated when it is first asked for, once for all expressions that are evaluated together. What it
//! cost is taken from their budget; its failure is the failure of whoever asked.

use super::Admit;
use super::matching::Face;
use super::webhook::review;
use crate::authorize::Attributes;
use crate::authorize::expression::Asker;
use skiff_api::object::text;
use skiff_cel::env::{Bindings, Env};
use skiff_cel::run::{Budget, Program, RunError};
use skiff_cel::value::{Fields, Value};
use skiff_json::Value as Json;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// How deep variables may ask for each other: each level is a piece of the stack.
const NESTED_MOST: usize = 16;

/// An expression as it is stored.
pub struct Expression {
    pub text: String,
    /// Or what is wrong with it: it was stored when that was not known.
    pub program: Result<Program, String>,
}

/// The variables of a policy, the later of two of one name.
#[derive(Default)]
pub struct Variables {
    all: Vec<(String, Result<Program, String>)>,
    places: HashMap<String, usize>,
}

impl Variables {
    pub fn add(&mut self, name: &str, program: Result<Program, String>) {
        self.places.insert(name.to_owned(), self.all.len());
        self.all.push((name.to_owned(), program));
    }
}

/// What the expressions of one policy or webhook share.
pub struct Shared<'a> {
    /// The places of values; those of a policy have `variables` and perhaps `params`.
    pub env: &'a Env,
    pub variables: &'a Variables,
}

/// What expressions of a request are evaluated over.
pub struct Subject<'a> {
    at: &'a Admit<'a>,
    request: Json,
    new: Option<&'a Json>,
    old: Option<&'a Json>,
    params: Option<&'a Json>,
    namespace: Option<&'a Json>,
}

/// What became of an expression: its value, or upstream's words for why it has none.
pub type Found<'v, 'a> = Result<&'v Value<'a>, String>;

impl<'a> Subject<'a> {
    /// As match conditions see it: `request.resource` is what was asked for, whatever version objects are shown in.
    pub fn new(
        at: &'a Admit<'a>,
        face: &Face,
        (new, old): (Option<&'a Json>, Option<&'a Json>),
    ) -> Subject<'a> {
        let mut request = review::request(face, at, new);
        request["resource"] = review::resource(at.kind);
        Subject { at, request, new, old, params: None, namespace: None }
    }

    /// The same with the parameter of a policy.
    pub fn with_params(self, params: Option<&'a Json>) -> Subject<'a> {
        Subject { params, ..self }
    }

    /// As all other expressions of a policy see it: with the namespace of the request, and its resource as it was
    /// matched.
    pub fn matched(mut self, face: &Face, namespace: Option<&'a Json>) -> Subject<'a> {
        self.request["resource"] = review::resource(face.kind(self.at));
        Subject { namespace, ..self }
    }

    /// Evaluates expressions one after the other, and hands out what each gives, by its place. Without an asker nobody
    /// may be asked.
    ///
    /// # Errors
    /// When the budget does not last for all.
    pub fn evaluate<'s>(
        &'s self,
        shared: &'s Shared<'s>,
        asker: Option<&Asker>,
        (expressions, budget): (&[(usize, &'s Expression)], &mut Budget),
        found: &mut dyn FnMut(usize, Found<'_, '_>),
    ) -> Result<(), String> {
        let lazy = Lazy::new(shared.variables);
        let bindings = self.bindings(shared.env, asker);
        lazy.link(&lazy, bindings);
        let bindings = lazy.bindings.get().expect("they are linked");
        for (place, expression) in expressions {
            let program = match &expression.program {
                Ok(program) => program,
                Err(why) => {
                    found(*place, Err(format!("compilation error: {why}")));
                    continue;
                }
            };
            let mut own = Budget { left: u64::MAX };
            let value = program.run(bindings, &mut own);
            for cost in [lazy.cost.swap(0, Ordering::Relaxed), u64::MAX - own.left] {
                if cost > budget.left {
                    budget.left = 0;
                    return Err(RunError::Budget.to_string());
                }
                budget.left -= cost;
            }
            match value {
                Ok(value) => found(*place, Ok(&value)),
                Err(error) => {
                    let text = &expression.text;
                    found(*place, Err(format!("expression '{text}' resulted in error: {error}")));
                }
            }
        }
        Ok(())
    }

    /// All values are what their JSON says, whatever expressions were checked against: a time is a text.
    fn bindings<'s>(&'s self, env: &Env, asker: Option<&Asker>) -> Bindings<'s> {
        let of = |value: Option<&'s Json>| value.map_or(Value::Null, Value::untyped);
        let bindings = env
            .bindings()
            .set("object", of(self.new))
            .set("oldObject", of(self.old))
            .set("params", of(self.params))
            .set("namespaceObject", of(self.namespace))
            .set("request", Value::untyped(&self.request));
        let Some(asker) = asker else { return bindings };
        let (kind, user) = (self.at.kind, self.at.user);
        let about = Attributes {
            group: kind.group.to_string(),
            resource: kind.plural.to_string(),
            subresource: self.at.subresource.to_owned(),
            namespace: text(&self.request, "namespace").to_owned(),
            name: text(&self.request, "name").to_owned(),
            ..Attributes::default()
        };
        bindings
            .set("authorizer", asker.authorizer(user))
            .set("authorizer.requestResource", asker.resource(user, about))
    }
}

/// `variables` in one evaluation.
struct Lazy<'a> {
    of: &'a Variables,
    found: Vec<OnceLock<Result<Value<'a>, RunError>>>,
    busy: Vec<AtomicBool>,
    /// What variables see, this among it.
    bindings: OnceLock<Bindings<'a>>,
    me: OnceLock<&'a Lazy<'a>>,
    /// What variables have cost since it was last taken.
    cost: AtomicU64,
    depth: AtomicUsize,
}

impl<'a> Lazy<'a> {
    fn new(of: &'a Variables) -> Lazy<'a> {
        let count = of.all.len();
        Lazy {
            of,
            found: (0..count).map(|_| OnceLock::new()).collect(),
            busy: (0..count).map(|_| AtomicBool::new(false)).collect(),
            bindings: OnceLock::new(),
            me: OnceLock::new(),
            cost: AtomicU64::new(0),
            depth: AtomicUsize::new(0),
        }
    }

    /// Gives variables what they see; `me` is this.
    fn link(&self, me: &'a Lazy<'a>, bindings: Bindings<'a>) {
        self.me.get_or_init(|| me);
        self.bindings.get_or_init(|| bindings.set("variables", Value::Fields(me)));
    }

    fn value(&'a self, place: usize) -> Result<Value<'a>, RunError> {
        let (name, program) = &self.of.all[place];
        if let Some(found) = self.found[place].get() {
            return found.clone();
        }
        let why =
            |why: String| RunError::of(format!("composited variable {name:?} fails to {why}"));
        let program = program.as_ref().map_err(|error| why(format!("compile: {error}")))?;
        if self.busy[place].swap(true, Ordering::Relaxed) {
            return Err(why("evaluate: it asks for itself".into()));
        }
        let depth = self.depth.fetch_add(1, Ordering::Relaxed);
        let mut budget = Budget { left: u64::MAX };
        let found = match self.bindings.get() {
            Some(bindings) if depth < NESTED_MOST => program.run(bindings, &mut budget),
            _ => Err(RunError::of(format!(
                "variables ask for each other more than {NESTED_MOST} levels deep"
            ))),
        };
        self.depth.fetch_sub(1, Ordering::Relaxed);
        self.busy[place].store(false, Ordering::Relaxed);
        let cost = u64::MAX - budget.left;
        self.cost.fetch_add(cost, Ordering::Relaxed);
        let found = found.map_err(|error| why(format!("evaluate: {error}")));
        self.found[place].get_or_init(|| found).clone()
    }
}

impl Fields for Lazy<'_> {
    fn kind(&self) -> &str {
        "kubernetes.variables"
    }

    fn field(&self, name: &str) -> Option<Result<Value<'_>, RunError>> {
        let place = *self.of.places.get(name)?;
        Some(self.me.get().copied()?.value(place))
    }
}
