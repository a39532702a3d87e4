//! Mutating policies: one after the other, each sees what those before it made. When one changes something, all of the
//! mutating chain runs once more, and those policies that ask for it see what came of that (`reinvocationPolicy`).

use super::concerned::{self, Concerned};
use super::configuration::{Active, Binding, Policy};
use super::metrics::Step;
use super::patches::{self, Failure};
use super::{Policies, namespace};
use crate::authorize::expression::Asker;
use crate::read::scale;
use crate::write::admission::expressions::Subject;
use crate::write::admission::matching::scale_of;
use crate::write::admission::{Admit, Next, conditions};
use skiff_api::Status;
use skiff_api::object::{Object, text};
use skiff_json::{Value, json};

/// Why a request is refused, unless the policy ignores that.
struct Refused {
    message: String,
    reason: &'static str,
}

/// All refusals of one request.
#[derive(Default)]
struct Refusals(Vec<Refused>);

impl Refusals {
    fn add(&mut self, policy: &Policy, binding: Option<&Binding>, why: &str, reason: &'static str) {
        if policy.ignores_failure {
            return;
        }
        let name = &policy.name;
        let message = match binding {
            Some(binding) => {
                format!("policy '{name}' with binding '{}' denied request: {why}", binding.name)
            }
            None => format!("policy {name:?} denied request: {why}"),
        };
        self.0.push(Refused { message, reason });
    }

    fn end(self, at: &Admit<'_>) -> Result<(), Status> {
        let Some(first) = self.0.first() else { return Ok(()) };
        let mut status = at.forbid("admission request denied by policy");
        status.message.clone_from(&first.message);
        status.reason = first.reason.into();
        let causes = self.0.iter().map(|it| json!({"message": it.message})).collect::<Vec<_>>();
        if let Some(details) = &mut status.details {
            details["causes"] = causes.into();
        }
        Err(status)
    }
}

/// Changes the object as those policies say whom it concerns.
pub async fn object(
    policies: &Policies,
    active: &Active,
    at: &Admit<'_>,
    new: &mut Object,
) -> Result<Next, Status> {
    let numbers = scale_of(at);
    let mut seen = match numbers {
        Some(paths) => scale::show(new, paths),
        None => std::mem::replace(new, Object::new(Value::Null)),
    };
    let before = match (numbers, at.old) {
        (Some(paths), Some(old)) => Some(scale::show(old, paths)),
        _ => None,
    };
    let old = before.as_ref().or(at.old);
    let outcome = chain(policies, active, at, (&mut seen, old)).await;
    match numbers {
        Some(paths) => scale::put(new, &seen, paths),
        None => *new = seen,
    }
    outcome
}

/// The options of a stream: what would change them is refused, as they are under way already.
pub async fn options(
    policies: &Policies,
    active: &Active,
    at: &Admit<'_>,
    options: &Object,
) -> Result<(), Status> {
    let mut seen = options.clone();
    match chain(policies, active, at, (&mut seen, None)).await? {
        Next::GoOn => Ok(()),
        Next::Again => Err(at.forbid(
            "a mutating admission policy attempted to modify the options of a connection, which is not supported",
        )),
    }
}

async fn chain(
    policies: &Policies,
    active: &Active,
    at: &Admit<'_>,
    (seen, old): (&mut Object, Option<&Object>),
) -> Result<Next, Status> {
    if at.again {
        at.policies.lock().begin(seen.value());
    }
    let found = concerned::all(active, at, (Some(seen), old)).await;
    if found.is_empty() {
        return Ok(Next::GoOn);
    }
    let (mut next, mut refusals) = (Next::GoOn, Refusals::default());
    let namespace = namespace(at).await?;
    for one in found {
        let concerned = match one {
            Ok(concerned) => concerned,
            Err(unclear) => {
                refusals.add(unclear.policy, unclear.binding, &unclear.why, "Forbidden");
                continue;
            }
        };
        for params in &concerned.params {
            let values =
                (params.as_ref().map(Object::value), namespace.as_ref().map(Object::value));
            let changed =
                invoke(policies, &concerned, at, (seen, old), values, &mut refusals).await?;
            if changed {
                next = Next::Again;
            }
        }
    }
    at.policies.lock().leave(seen.value());
    refusals.end(at)?;
    Ok(next)
}

/// What tells one evaluation of a policy from all others.
fn key(concerned: &Concerned<'_>, params: Option<&Value>) -> String {
    let of = |path| params.map_or("", |params| text(params, path));
    let (policy, binding) = (&concerned.policy.name, &concerned.binding.name);
    format!("{policy}/{binding}/{}/{}", of("metadata.namespace"), of("metadata.name"))
}

/// What all mutations of a policy make of an object, each of what the one before has made.
async fn mutated(
    policies: &Policies,
    concerned: &Concerned<'_>,
    at: &Admit<'_>,
    (mut object, old): (Object, Option<&Value>),
    (params, namespace): (Option<&Value>, Option<&Value>),
    refusals: &mut Refusals,
) -> Result<Object, Status> {
    let Concerned { policy, binding, face, .. } = concerned;
    let asker = Asker::new(&policies.authorizer);
    for mutation in &policy.mutations {
        let since = policies.world.uptime();
        let made = {
            let subject = Subject::new(at, face, (Some(object.value()), old));
            let subject = subject.with_params(params).matched(face, namespace);
            let evaluation = (&subject, &asker);
            patches::made((policy, mutation), evaluation, face, at, &object).await
        };
        let took = policies.world.uptime().saturating_sub(since);
        let count = |action, why: Option<&str>| {
            policies.metrics.count(Step::Mutating, policy.labels(binding), action, why, took);
        };
        match made {
            Ok(made) => {
                count("allow", None);
                object = made;
            }
            Err(Failure::Final(status)) => {
                count("deny", Some(&status.message));
                return Err(status);
            }
            Err(Failure::Policy(why)) => {
                count("deny", Some(&why));
                refusals.add(policy, Some(binding), &why, "Invalid");
            }
        }
    }
    Ok(object)
}

/// Evaluates one policy with one parameter, and says whether it changed anything.
async fn invoke(
    policies: &Policies,
    concerned: &Concerned<'_>,
    at: &Admit<'_>,
    (seen, old): (&mut Object, Option<&Object>),
    (params, namespace): (Option<&Value>, Option<&Value>),
    refusals: &mut Refusals,
) -> Result<bool, Status> {
    let Concerned { policy, binding, face, .. } = concerned;
    let shown = match face.both(at, (Some(seen), old)).await {
        Ok(shown) => shown,
        Err(status) => {
            let why = format!("failed to configure policy: {}", status.message);
            refusals.add(policy, None, &why, "Forbidden");
            return Ok(false);
        }
    };
    let (Some(mut object), shown_old) =
        (shown.new.map(|it| it.into_owned()), shown.old.map(|it| it.into_owned()))
    else {
        return Ok(false);
    };
    let old = shown_old.as_ref().map(Object::value);
    let subject = Subject::new(at, face, (Some(object.value()), old)).with_params(params);
    match policies.conditions(policy, &subject, (Step::Mutating, at.operation)).await {
        conditions::Verdict::Holds => {}
        conditions::Verdict::Excluded => return Ok(false),
        conditions::Verdict::Failed(why) => {
            refusals.add(policy, Some(binding), &why, "Invalid");
            return Ok(false);
        }
    }
    let key = key(concerned, params);
    if at.again && !at.policies.lock().is_asked(&key) {
        return Ok(false);
    }
    let before = object.clone();
    object = mutated(policies, concerned, at, (object, old), (params, namespace), refusals).await?;
    let changed = before.value() != object.value();
    if changed {
        *seen = face.taken(at, object).await?;
    }
    let mut chain = at.policies.lock();
    if changed {
        chain.changed();
    }
    if policy.reinvoked {
        chain.asked(&key);
    }
    Ok(changed)
}
