//! Priority: the name of a PriorityClass becomes a number in the pod; there is one default class at most.

use super::{Attributes, Plugin};
use crate::Server;
use serde_json::Value;
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_store::{ListRequest, Scope};

pub const PLUGIN: Plugin = Plugin { name: "Priority", mutate, validate, ..Plugin::NONE };

const CLASSES: &str = "priorityclasses.scheduling.k8s.io";

fn mutate(
    server: &Server,
    at: &Attributes,
    pod: &mut Object,
    old: Option<&Object>,
) -> Result<(), Status> {
    if !at.is("", "pods") {
        return Ok(());
    }
    if let Some(old) = old {
        for path in ["spec.priority", "spec.preemptionPolicy"] {
            if pod.at(path).is_none() {
                pod.copy_from(old, path);
            }
        }
        return Ok(());
    }
    let class = match pod.text("spec.priorityClassName") {
        "" => default_class(server)?,
        name => Some(class(server, at, name)?),
    };
    let priority = class.as_ref().map_or(0, |class| class.int("value").unwrap_or(0));
    let policy =
        class.as_ref().map_or("PreemptLowerPriority", |it| match it.text("preemptionPolicy") {
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

fn class(server: &Server, at: &Attributes, name: &str) -> Result<Object, Status> {
    match server.store.get(&format!("{CLASSES}//{name}")) {
        Some(record) => read(&record),
        None => Err(at.forbid(&format!("no PriorityClass with name {name} was found"))),
    }
}

fn read(record: &skiff_store::Record) -> Result<Object, Status> {
    let value: Value = serde_json::from_slice(&record.body)
        .map_err(|error| Status::internal(format!("{} cannot be read: {error}", record.key)))?;
    Ok(Object::new(value))
}

/// The default class; of several (which only races can make) the one of least value.
fn default_class(server: &Server) -> Result<Option<Object>, Status> {
    let asked = ListRequest {
        scope: Scope::prefix(&format!("{CLASSES}/")),
        facet: Some((format!("f:{FIELD}").into(), "true".into())),
        ..ListRequest::default()
    };
    let listed = futures_util::FutureExt::now_or_never(server.store.list(asked))
        .ok_or_else(|| Status::internal("the list of priority classes is not at hand"))?
        .map_err(|error| crate::read::read_error(error, false))?;
    let mut classes = listed.records.iter().map(|it| read(it)).collect::<Result<Vec<_>, _>>()?;
    classes.sort_by_key(|class| class.int("value"));
    Ok(classes.into_iter().next())
}

/// The facet under which the default class is found.
const FIELD: &str = "globalDefault";

fn validate(
    server: &Server,
    at: &Attributes,
    new: &Object,
    _: Option<&Object>,
) -> Result<(), Status> {
    if !at.is("scheduling.k8s.io", "priorityclasses") || !new.flag(FIELD) {
        return Ok(());
    }
    match default_class(server)? {
        Some(other) if at.creating || other.name() != new.name() => {
            let name = other.name();
            let why = format!(
                "PriorityClass {name} is already marked as default. Only one default can exist"
            );
            Err(at.forbid(&why))
        }
        _ => Ok(()),
    }
}
