//! Policies and bindings, followed from the store and compiled once for each change. What cannot be read any more stays
//! as it was. A policy without a binding concerns nobody, and a binding without its policy neither.

use super::metrics::Labels;
use crate::read::follow::{Fed, feed, step};
use crate::write::admission::conditions::Conditions;
use crate::write::admission::expressions::{Expression, Shared, Variables};
use crate::write::admission::matching::Criteria;
use skiff_api::follow::{Follower, Health, Input, Start};
use skiff_api::object::{at, text};
use skiff_api::selector::Selector;
use skiff_base::{Lock, RwLock, Tasks, Time, World, fault};
use skiff_cel::env::Env;
use skiff_json::Value;
use skiff_kinds::admissionregistration::expression::{Purpose, Scope, Types};
use skiff_store::{ReadError, Record, Store};
use std::sync::Arc;
use std::time::Duration;

/// One policy, compiled.
pub struct Policy {
    pub name: String,
    pub criteria: Criteria,
    pub conditions: Conditions,
    pub ignores_failure: bool,
    /// Group, version and kind of its parameters.
    pub params: Option<(String, String, String)>,
    env: Env,
    variables: Variables,
    pub validations: Vec<Validation>,
    pub annotations: Vec<(String, Expression)>,
    pub mutations: Vec<Mutation>,
    pub reinvoked: bool,
}

pub struct Validation {
    pub expression: Expression,
    pub message: String,
    pub says: Option<Expression>,
    pub reason: String,
}

pub struct Mutation {
    /// It gives operations of a JSON patch, and not a part of the object.
    pub patches: bool,
    pub expression: Expression,
}

/// Where a policy holds, and with which parameters.
pub struct Binding {
    pub name: String,
    policy: String,
    /// `None`: wherever the policy does.
    pub criteria: Option<Criteria>,
    pub param: Option<ParamRef>,
    pub actions: Vec<String>,
}

/// The objects that are parameters.
pub struct ParamRef {
    pub name: String,
    pub namespace: String,
    pub selector: Option<Selector>,
    pub denies_absence: bool,
}

/// A policy with its bindings.
pub struct Bound {
    pub policy: Arc<Policy>,
    pub bindings: Vec<Arc<Binding>>,
}

/// All that could concern a request, by their names.
pub type Active = Arc<[Bound]>;

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    at(value, field).and_then(Value::as_array).into_iter().flatten()
}

impl Policy {
    fn of(policy: &Value) -> Result<Policy, String> {
        let spec = at(policy, "spec").unwrap_or(&Value::Null);
        let kind = at(spec, "paramKind");
        let params = kind.map(|kind| {
            let version = text(kind, "apiVersion");
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            (group.to_owned(), version.to_owned(), text(kind, "kind").to_owned())
        });
        let mut scope = Scope::new(Types { object: None, params: kind.map(|_| None) });
        let mut variables = Variables::default();
        for variable in items(spec, "variables") {
            let name = text(variable, "name");
            variables.add(name, scope.variable(name, text(variable, "expression")));
        }
        let mut compiled = |text: &str, purpose| Expression {
            text: text.to_owned(),
            program: scope.compile(text, purpose),
        };
        let validations = items(spec, "validations").map(|it| Validation {
            expression: compiled(text(it, "expression"), Purpose::Validation),
            message: text(it, "message").trim().to_owned(),
            says: Some(text(it, "messageExpression"))
                .filter(|it| !it.is_empty())
                .map(|it| compiled(it, Purpose::Message)),
            reason: text(it, "reason").to_owned(),
        });
        let validations = validations.collect();
        let annotations = items(spec, "auditAnnotations").map(|it| {
            let expression = compiled(text(it, "valueExpression"), Purpose::Annotation);
            (text(it, "key").to_owned(), expression)
        });
        let annotations = annotations.collect();
        let mutations = items(spec, "mutations").map(|it| {
            let patches = text(it, "patchType") == "JSONPatch";
            let (path, purpose) = match patches {
                true => ("jsonPatch.expression", Purpose::Patches),
                false => ("applyConfiguration.expression", Purpose::Configuration),
            };
            Mutation { patches, expression: compiled(text(it, path), purpose) }
        });
        let mutations = mutations.collect();
        Ok(Policy {
            name: text(policy, "metadata.name").to_owned(),
            criteria: Criteria::of_policy(at(spec, "matchConstraints").unwrap_or(&Value::Null))?,
            conditions: Conditions::of(spec, |text| scope.compile(text, Purpose::Validation)),
            ignores_failure: text(spec, "failurePolicy") == "Ignore",
            params,
            env: scope.places(),
            variables,
            validations,
            annotations,
            mutations,
            reinvoked: text(spec, "reinvocationPolicy") == "IfNeeded",
        })
    }

    /// What its expressions share.
    pub fn shared(&self) -> Shared<'_> {
        Shared { env: &self.env, variables: &self.variables }
    }

    pub fn labels<'a>(&'a self, binding: &'a Binding) -> Labels<'a> {
        Labels { policy: &self.name, binding: &binding.name }
    }
}

impl Binding {
    fn of(binding: &Value) -> Result<Binding, String> {
        let spec = at(binding, "spec").unwrap_or(&Value::Null);
        let param = at(spec, "paramRef").map(|it| -> Result<ParamRef, String> {
            Ok(ParamRef {
                name: text(it, "name").to_owned(),
                namespace: text(it, "namespace").to_owned(),
                selector: match at(it, "selector") {
                    Some(selector) => Some(Selector::from_object(Some(selector))?),
                    None => None,
                },
                denies_absence: text(it, "parameterNotFoundAction") == "Deny",
            })
        });
        let actions = items(spec, "validationActions").filter_map(Value::as_str);
        Ok(Binding {
            name: text(binding, "metadata.name").to_owned(),
            policy: text(spec, "policyName").to_owned(),
            criteria: at(spec, "matchResources").map(Criteria::of_policy).transpose()?,
            param: param.transpose()?,
            actions: actions.map(str::to_owned).collect(),
        })
    }
}

/// All policies of one sort, with their bindings.
pub struct Sort {
    policies: Arc<Followed<Policy>>,
    bindings: Arc<Followed<Binding>>,
    active: Arc<RwLock<Active>>,
}

impl Sort {
    /// Reads all, and follows them in tasks that the group cannot do without.
    pub async fn start(
        (policies, bindings): (&'static str, &'static str),
        store: &Arc<dyn Store>,
        world: &World,
        tasks: &Tasks,
    ) -> Result<Sort, ReadError> {
        let join: Arc<Join> = Arc::default();
        let policies =
            Followed::new(policies, Policy::of, join.clone(), |join, all| join.policies = all);
        let bindings =
            Followed::new(bindings, Binding::of, join.clone(), |join, all| join.bindings = all);
        let (policies, bindings) = (Arc::new(policies), Arc::new(bindings));
        step(&*policies, store, world).await?;
        step(&*bindings, store, world).await?;
        let (followed, of, clock) = (policies.clone(), store.clone(), world.clone());
        tasks.vital(async move { match feed(&*followed, &of, &clock).await {} });
        let (followed, of, clock) = (bindings.clone(), store.clone(), world.clone());
        tasks.vital(async move { match feed(&*followed, &of, &clock).await {} });
        Ok(Sort { policies, bindings, active: join.active.clone() })
    }

    pub fn active(&self) -> Active {
        self.active.read().clone()
    }

    pub fn health(&self) -> [(&'static str, Health); 2] {
        let (policies, bindings) = (&self.policies, &self.bindings);
        [(policies.plural, policies.health()), (bindings.plural, bindings.health())]
    }
}

/// Policies and bindings as they are known, and what comes of both.
#[derive(Default)]
struct Join {
    known: Lock<Known>,
    active: Arc<RwLock<Active>>,
}

#[derive(Default)]
struct Known {
    policies: Vec<Arc<Policy>>,
    bindings: Vec<Arc<Binding>>,
}

impl Join {
    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock();
        change(&mut known);
        let bound = known.policies.iter().map(|policy| {
            let own = known.bindings.iter().filter(|it| it.policy == policy.name);
            Bound { policy: policy.clone(), bindings: own.cloned().collect() }
        });
        *self.active.write() = bound.filter(|it| !it.bindings.is_empty()).collect();
    }
}

/// Objects of one resource, each made once of its record.
struct Followed<T> {
    plural: &'static str,
    prefix: String,
    make: fn(&Value) -> Result<T, String>,
    join: Arc<Join>,
    put: fn(&mut Known, Vec<Arc<T>>),
    follower: Lock<Follower<Arc<str>, Arc<T>>>,
}

impl<T> Followed<T> {
    fn new(
        plural: &'static str,
        make: fn(&Value) -> Result<T, String>,
        join: Arc<Join>,
        put: fn(&mut Known, Vec<Arc<T>>),
    ) -> Followed<T> {
        let prefix = format!("{plural}.admissionregistration.k8s.io/");
        Followed { plural, prefix, make, join, put, follower: Lock::default() }
    }

    fn health(&self) -> Health {
        self.follower.lock().health()
    }
}

impl<T: Send + Sync> Fed for Followed<T> {
    type Object = Arc<T>;

    fn prefix(&self) -> &str {
        &self.prefix
    }

    fn read(&self, record: &Record) -> Result<Arc<T>, String> {
        fault::point("policies");
        let value: Value =
            skiff_json::from_slice(&record.body).map_err(|error| error.to_string())?;
        (self.make)(&value).map(Arc::new)
    }

    fn delay(&self) -> Duration {
        self.follower.lock().delay()
    }

    fn start(&self, now: Time) -> Start {
        self.follower.lock().start(now)
    }

    fn take(&self, input: Input<Arc<str>, Arc<T>>, now: Time) {
        let mut follower = self.follower.lock();
        let out = follower.take(input, now);
        if out.changes.is_empty() {
            return;
        }
        // The follower is ordered by keys, hence by names.
        let all = follower.iter().map(|(_, made)| made.clone()).collect();
        self.join.change(|known| (self.put)(known, all));
    }
}
