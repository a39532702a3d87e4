//! What expressions about requests may name, and their compilation: match conditions of webhooks ([`condition`]) and
//! all that policies have ([`Scope`]), at the write and where they are evaluated (documentation pages "Dynamic
//! Admission Control" and "Validating Admission Policy").

use skiff_cel::decl::{Compared, Decl, Object, Shape, escape};
use skiff_cel::env::{Env, Messages};
use skiff_cel::fault::Stage;
use skiff_cel::rules::MOST_PARTS;
use skiff_cel::run::Program;
use skiff_cel::types::{Type, read};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Words that no variable may have as its name.
const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
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

pub fn is_identifier(name: &str) -> bool {
    let first = name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
    first
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
        && !RESERVED.contains(&name)
}

/// How `request` is read.
pub static REQUEST: LazyLock<Arc<Decl>> = LazyLock::new(request);
/// How `namespaceObject` is read.
pub static NAMESPACE: LazyLock<Arc<Decl>> = LazyLock::new(namespace);
const VARIABLES: &str = "kubernetes.variables";
const OBJECT: &str = "Object";
const PATCH: &str = "JSONPatch";

/// What expressions about a request may name (documentation page "Dynamic Admission Control", "matchConditions"). A
/// binding that an expression reads is `object`, `oldObject`, `request`, `namespaceObject`, `authorizer` or
/// `authorizer.requestResource`.
pub static OF_REQUESTS: LazyLock<Env> = LazyLock::new(|| {
    Env::default()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .declared("namespaceObject", &NAMESPACE)
        .declared("request", &REQUEST)
        .with("authorizer", read("kubernetes.authorization.Authorizer"))
        .with("authorizer.requestResource", read("kubernetes.authorization.ResourceCheck"))
});

/// Compiles a match condition of a webhook.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub fn condition(text: &str) -> Result<Program, String> {
    compile(&OF_REQUESTS, text, &[Type::Bool])
}

/// Compiles an expression that has to give one of these types; none: any.
fn compile(env: &Env, text: &str, wanted: &[Type]) -> Result<Program, String> {
    let program = Program::compile(env, text).map_err(|faults| match faults.stage() {
        Stage::Compilation => format!("compilation failed: {faults}"),
        Stage::Instantiation => format!("program instantiation failed: {faults}"),
    })?;
    let found = program.result();
    if wanted.is_empty() || wanted.contains(found) {
        return Ok(program);
    }
    let found = printed(found);
    Err(match wanted {
        [one] => format!("must evaluate to {} but got {found}", printed(one)),
        several => {
            let several: Vec<String> = several.iter().map(printed).collect();
            format!("must evaluate to one of [{}] but got {found}", several.join(" "))
        }
    })
}

/// A type as upstream prints what an expression gives: by the names that expressions have for types.
fn printed(of: &Type) -> String {
    match of {
        Type::Null => "null_type".into(),
        Type::Duration => "google.protobuf.Duration".into(),
        Type::Timestamp => "google.protobuf.Timestamp".into(),
        Type::List(of) => format!("list({})", printed(of)),
        Type::Map(of) => format!("map({}, {})", printed(&of.0), printed(&of.1)),
        Type::Opaque(name, of) if !of.is_empty() => {
            let of: Vec<String> = of.iter().map(printed).collect();
            format!("{name}({})", of.join(", "))
        }
        other => other.to_string(),
    }
}

/// What the expressions of one policy may name (documentation page "Validating Admission Policy"; KEP-3488, KEP-3962),
/// and the bound of what they are together. Variables are named by those expressions that are compiled after them.
pub struct Scope {
    types: Types,
    known: Arc<Known>,
    /// What programs hold so far; all of one policy together have a bound.
    parts: usize,
}

/// The types of what is not the policy's own.
#[derive(Clone, Default)]
pub struct Types {
    /// Of `object` and `oldObject`; any, where that depends on the request.
    pub object: Option<Arc<Decl>>,
    /// Of `params`; the policy has none, or it has some of any type, or of this.
    pub params: Option<Option<Arc<Decl>>>,
}

/// What an expression is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A match condition as it is written: no variables.
    Condition,
    /// A match condition as it is evaluated, or a validation.
    Validation,
    /// The text of a refusal: it asks nobody.
    Message,
    Annotation,
    /// A part of an object that is merged into what the request brings.
    Configuration,
    /// The operations of a JSON patch.
    Patches,
    /// Whatever it gives.
    Any,
}

/// Types of messages that only policies have.
#[derive(Clone, Default)]
struct Known {
    variables: HashMap<String, Type>,
    patches: bool,
}

impl Messages for Known {
    fn named(&self, name: &str) -> Option<Type> {
        let known = match name {
            VARIABLES => true,
            PATCH => self.patches,
            _ => self.patches && (name == OBJECT || name.starts_with("Object.")),
        };
        known.then(|| Type::object(name))
    }

    fn field(&self, name: &str, field: &str) -> Option<Type> {
        match (name, field) {
            (VARIABLES, field) => self.variables.get(field).cloned(),
            (PATCH, "op" | "path" | "from") => Some(Type::String),
            (PATCH, "value") => Some(Type::Dyn),
            (PATCH, _) => None,
            _ => self.named(name).map(|_| Type::Dyn),
        }
    }
}

impl Scope {
    pub fn new(types: Types) -> Scope {
        Scope { types, known: Arc::default(), parts: 0 }
    }

    /// Compiles a variable; whatever becomes of that, expressions may name it from now on.
    ///
    /// # Errors
    /// What is wrong with it, in upstream's words.
    pub fn variable(&mut self, name: &str, text: &str) -> Result<Program, String> {
        let compiled = self.compile(text, Purpose::Any);
        let found = compiled.as_ref().map_or(Type::Dyn, |program| held(program.result()));
        Arc::make_mut(&mut self.known).variables.insert(name.to_owned(), found);
        compiled
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it, in upstream's words.
    pub fn compile(&mut self, text: &str, purpose: Purpose) -> Result<Program, String> {
        let wanted: &[Type] = match purpose {
            Purpose::Condition | Purpose::Validation => &[Type::Bool],
            Purpose::Message => &[Type::String],
            Purpose::Annotation => &[Type::String, Type::Null],
            Purpose::Configuration => &[Type::object(OBJECT)],
            Purpose::Patches => &[Type::list(Type::object(PATCH))],
            Purpose::Any => &[],
        };
        if self.parts > MOST_PARTS {
            return Err(format!(
                "compilation failed: the expressions of the policy have more than {MOST_PARTS} parts together"
            ));
        }
        let program = compile(&self.env(purpose), text, wanted)?;
        self.parts += program.parts();
        Ok(program)
    }

    /// The places of all values, in the order that all programs of this policy share.
    pub fn places(&self) -> Env {
        self.env(Purpose::Validation)
    }

    /// What one purpose does without comes last, so that the places are the same for all.
    fn env(&self, purpose: Purpose) -> Env {
        let of_object = |env: Env, name: &str| match &self.types.object {
            Some(decl) => env.declared(name, decl),
            None => env.with(name, Type::Dyn),
        };
        let mut env = of_object(of_object(Env::default(), "object"), "oldObject")
            .declared("namespaceObject", &NAMESPACE)
            .declared("request", &REQUEST);
        env = match &self.types.params {
            None => env,
            Some(None) => env.with("params", Type::Dyn),
            Some(Some(decl)) => env.declared("params", decl),
        };
        if purpose != Purpose::Condition {
            env = env.with("variables", Type::object(VARIABLES));
        }
        if purpose != Purpose::Message {
            env = env.with("authorizer", read("kubernetes.authorization.Authorizer"));
        }
        // As upstream: who checks types does not know of it.
        if purpose != Purpose::Message && self.types.object.is_none() {
            let name = "authorizer.requestResource";
            env = env.with(name, read("kubernetes.authorization.ResourceCheck"));
        }
        match purpose {
            Purpose::Configuration | Purpose::Patches => {
                let known = Known { patches: true, ..(*self.known).clone() };
                env.with_patches().messages(Arc::new(known))
            }
            _ => env.messages(self.known.clone()),
        }
    }
}

/// The type of a variable: that of its expression, where it is one of the language; of any other nothing is known.
fn held(of: &Type) -> Type {
    match of {
        Type::Bool
        | Type::Bytes
        | Type::Double
        | Type::Duration
        | Type::Int
        | Type::Null
        | Type::String
        | Type::Timestamp
        | Type::Uint => of.clone(),
        Type::List(of) => Type::list(held(of)),
        Type::Map(of) => Type::map(held(&of.0), held(&of.1)),
        _ => Type::Dyn,
    }
}

fn simple(shape: Shape, max: u64) -> Arc<Decl> {
    Arc::new(Decl { shape, nullable: false, max, min_bytes: 2 })
}

fn message(name: &str, fields: &[(&str, &Arc<Decl>)]) -> Arc<Decl> {
    let of = |it: &(&str, &Arc<Decl>)| (it.0.to_owned(), it.1.clone());
    let known = fields.iter().map(of).collect();
    let escaped = |it: &(&str, &Arc<Decl>)| Some((escape(it.0)?, it.1.clone()));
    let fields = fields.iter().filter_map(escaped).collect();
    simple(Shape::Object(Object { name: name.into(), fields, known }), 0)
}

/// Of what sizes are not said, the largest that a request has.
const LARGEST: u64 = 3 << 20;

fn text() -> Arc<Decl> {
    simple(Shape::String, LARGEST)
}

fn list(of: Arc<Decl>) -> Arc<Decl> {
    simple(Shape::List(of, Compared::InOrder), LARGEST)
}

/// What `request` is: the review, without objects and uid.
fn request() -> Arc<Decl> {
    let text = &text();
    let gvk = &message(
        "kubernetes.GroupVersionKind",
        &[("group", text), ("version", text), ("kind", text)],
    );
    let gvr = &message(
        "kubernetes.GroupVersionResource",
        &[("group", text), ("version", text), ("resource", text)],
    );
    let texts = &list(text.clone());
    let extra = &simple(Shape::Map(texts.clone()), LARGEST);
    let user = &message(
        "kubernetes.UserInfo",
        &[("username", text), ("uid", text), ("groups", texts), ("extra", extra)],
    );
    message(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", gvk),
            ("resource", gvr),
            ("subResource", text),
            ("requestKind", gvk),
            ("requestResource", gvr),
            ("requestSubResource", text),
            ("name", text),
            ("namespace", text),
            ("operation", text),
            ("userInfo", user),
            ("dryRun", &simple(Shape::Bool, 0)),
            ("options", Decl::dynamic()),
        ],
    )
}

/// What `namespaceObject` is.
fn namespace() -> Arc<Decl> {
    let (text, time) = (&text(), &simple(Shape::Timestamp, 32));
    let (texts, number) = (&list(text.clone()), &simple(Shape::Int, 0));
    let map = &simple(Shape::Map(text.clone()), LARGEST);
    let metadata = &message(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", text),
            ("generateName", text),
            ("namespace", text),
            ("labels", map),
            ("annotations", map),
            ("UID", text),
            ("creationTimestamp", time),
            ("deletionGracePeriodSeconds", number),
            ("deletionTimestamp", time),
            ("generation", number),
            ("resourceVersion", text),
            ("finalizers", texts),
        ],
    );
    let condition = message(
        "kubernetes.NamespaceCondition",
        &[
            ("status", text),
            ("type", text),
            ("lastTransitionTime", time),
            ("message", text),
            ("reason", text),
        ],
    );
    let spec = &message("kubernetes.NamespaceSpec", &[("finalizers", texts)]);
    let status = &message(
        "kubernetes.NamespaceStatus",
        &[("conditions", &list(condition)), ("phase", text)],
    );
    message("kubernetes.Namespace", &[("metadata", metadata), ("spec", spec), ("status", status)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_policy_may_name() {
        let mut scope = Scope::new(Types::default());
        let wrong = |it: Result<Program, String>| it.err().unwrap_or_default();
        assert!(
            wrong(scope.compile("variables.x == 1", Purpose::Validation))
                .contains("undefined field 'x'")
        );
        assert!(scope.variable("x", "size(object.spec.names)").is_ok());
        assert!(scope.variable("bad", "1 +").is_err());
        assert!(scope.compile("variables.x == 1 && variables.bad", Purpose::Validation).is_ok());
        assert!(
            wrong(scope.compile("variables.x == 'a'", Purpose::Validation))
                .contains("found no matching overload")
        );
        assert!(
            wrong(scope.compile("variables.x == 1", Purpose::Condition))
                .contains("undeclared reference to 'variables'")
        );
        assert!(
            wrong(scope.compile("params.x", Purpose::Message))
                .contains("undeclared reference to 'params'")
        );
        assert!(
            wrong(scope.compile("authorizer.path('/a').check('get').reason()", Purpose::Message))
                .contains("undeclared")
        );
        assert_eq!(
            wrong(scope.compile("1", Purpose::Annotation)),
            "must evaluate to one of [string null_type] but got int"
        );
        assert_eq!(
            wrong(scope.compile("[]", Purpose::Patches)),
            "must evaluate to list(JSONPatch) but got list(dyn)"
        );
        for good in [
            "Object{spec: Object.spec{replicas: variables.x}}",
            "object.a ? Object{} : Object{metadata: Object.metadata{}}",
        ] {
            assert_eq!(wrong(scope.compile(good, Purpose::Configuration)), "");
        }
        let patch =
            "[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('b/c'), value: Object{a: 1}}]";
        assert_eq!(wrong(scope.compile(patch, Purpose::Patches)), "");
        assert!(scope.compile(patch, Purpose::Any).is_err());
        assert!(is_identifier("_a1") && !is_identifier("in") && !is_identifier("1a"));
    }
}
