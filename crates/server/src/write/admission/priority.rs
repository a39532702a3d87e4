//! Priority: the name of a PriorityClass becomes a number in the pod; there is one default class at most, and those of
//! the system stay.

use super::{Admit, Next, Plugin, Verdict};
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_kinds::scheduling::priorityclass::SYSTEM;
use skiff_store::{Currency, ListRequest, Scope};

const GROUP: &str = "scheduling.k8s.io";
const CLASSES: &str = "priorityclasses";
/// The facet under which the default class is found.
const FIELD: &str = "globalDefault";

pub struct Priority;

impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn mutate<'a>(&'a self, at: &'a Admit<'_>, pod: &'a mut Object) -> Verdict<'a, Next> {
        match at.old {
            _ if !at.is("", "pods") => Ok(Next::GoOn).into(),
            Some(old) => {
                for path in ["spec.priority", "spec.preemptionPolicy"] {
                    if pod.at(path).is_none() {
                        pod.copy_from(old, path);
                    }
                }
                Ok(Next::GoOn).into()
            }
            None => Verdict::later(complete(at, pod)),
        }
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        match new {
            None if at.is(GROUP, CLASSES) && SYSTEM.iter().any(|it| it.0 == at.name) => {
                Err(at.forbid("this is a system priority class and cannot be deleted")).into()
            }
            Some(class) if at.is(GROUP, CLASSES) && class.flag(FIELD) => {
                Verdict::later(check_default(at, class))
            }
            _ => Verdict::PASS,
        }
    }
}

async fn complete(at: &Admit<'_>, pod: &mut Object) -> Result<Next, Status> {
    let class =
        match pod.text("spec.priorityClassName") {
            "" => default_class(at).await?,
            name => Some(at.read((GROUP, CLASSES), "", name).await?.ok_or_else(|| {
                at.forbid(&format!("no PriorityClass with name {name} was found"))
            })?),
        };
    give(at, pod, class.as_ref())?;
    Ok(Next::GoOn)
}

/// The default class; of several (which only races can make) the one of least value.
async fn default_class(at: &Admit<'_>) -> Result<Option<Object>, Status> {
    let kind = at.reader.kind(GROUP, CLASSES)?;
    let asked = ListRequest {
        scope: Scope::prefix(&kind.prefix("")),
        facet: Some((format!("f:{FIELD}").into(), "true".into())),
        currency: Currency::Seen,
        ..ListRequest::default()
    };
    let mut classes = at.reader.list(&kind, asked).await?;
    classes.sort_by_key(|class| class.int("value"));
    Ok(classes.into_iter().next())
}

async fn check_default(at: &Admit<'_>, new: &Object) -> Result<(), Status> {
    match default_class(at).await? {
        Some(other) if at.creates() || other.name() != new.name() => {
            let name = other.name();
            let why = format!(
                "PriorityClass {name} is already marked as default. Only one default can exist"
            );
            Err(at.forbid(&why))
        }
        _ => Ok(()),
    }
}

/// Puts what a class says into the pod.
fn give(at: &Admit<'_>, pod: &mut Object, class: Option<&Object>) -> Result<(), Status> {
    let priority = class.map_or(0, |class| class.int("value").unwrap_or(0));
    let policy = class.map_or("PreemptLowerPriority", |it| match it.text("preemptionPolicy") {
        "" => "PreemptLowerPriority",
        policy => policy,
    });
    if let Some(given) = pod.int("spec.priority").filter(|given| *given != priority) {
        return Err(at.forbid(&format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
             controller computed {priority} from the given PriorityClass name"
        )));
    }
    let given = pod.text("spec.preemptionPolicy");
    if !given.is_empty() && given != policy {
        return Err(at.forbid(&format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        )));
    }
    pod.set("spec.priority", priority);
    pod.set("spec.preemptionPolicy", policy);
    if let Some(class) = class {
        pod.set("spec.priorityClassName", class.name());
    }
    Ok(())
}
