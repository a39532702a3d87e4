//! The identity of what is written: what a new object may say of itself, what it gets, and what no write changes.

use crate::Server;
use crate::request::{Request, codec};
use skiff_api::Status;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::Verb;
use skiff_api::object::Object;
use skiff_json::json;

/// The name of an object, or what its name will begin with.
pub fn named(new: &Object) -> &str {
    if new.name().is_empty() { new.text("metadata.generateName") } else { new.name() }
}

/// An object lies in the namespace of the request, also when it says none.
pub fn check_namespace(request: &Request, new: &mut Object) -> Result<(), Status> {
    if !request.kind.namespaced() {
        return Ok(());
    }
    match new.namespace() {
        "" => new.set("metadata.namespace", &*request.resource.namespace),
        given if given != request.resource.namespace => {
            let why = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Status::bad_request(why));
        }
        _ => {}
    }
    Ok(())
}

/// What a new object may say about itself.
pub fn check(request: &Request, new: &mut Object) -> Result<(), Status> {
    if !request.resource.subresource.is_empty() {
        return Err(request.not_found());
    }
    check_namespace(request, new)?;
    if !new.resource_version().is_empty() && request.verb == Verb::Create {
        let why = "resourceVersion should not be set on objects to be created";
        return Err(Status::new(500, "", why));
    }
    for path in [
        "metadata.uid",
        "metadata.creationTimestamp",
        "metadata.deletionTimestamp",
        "metadata.deletionGracePeriodSeconds",
        "metadata.selfLink",
        "metadata.resourceVersion",
    ] {
        new.remove(path);
    }
    Ok(())
}

/// What every new object gets from the server, once admission has had its say.
pub fn complete(server: &Server, new: &mut Object) {
    let prefix = new.text("metadata.generateName").to_owned();
    if new.name().is_empty() && !prefix.is_empty() {
        // 63 characters leave room for five random ones.
        let stem: String = prefix.chars().take(58).collect();
        new.set("metadata.name", stem + &skiff_base::id::suffix(&server.world, 5));
    }
    new.set("metadata.uid", skiff_base::id::uuid(&server.world));
    new.set("metadata.creationTimestamp", codec::time(server.world.now()));
}

/// What no write changes: it is taken from the old object when the new one does not name it.
pub fn keep(new: &mut Object, old: &Object) {
    for path in ["metadata.uid", "metadata.namespace", "metadata.generateName"] {
        // Protobuf sends empty texts where JSON leaves them out.
        if new.text(path).is_empty() {
            new.copy_from(old, path);
        }
    }
    for path in [
        "metadata.creationTimestamp",
        "metadata.deletionTimestamp",
        "metadata.deletionGracePeriodSeconds",
        "metadata.generation",
        "metadata.selfLink",
    ] {
        new.copy_from(old, path);
    }
}

/// The revision and UID that the client based its write on.
pub fn check_preconditions(request: &Request, new: &Object, old: &Object) -> Result<(), Status> {
    let (about, name) = (request.kind.about(), &*request.resource.name);
    if request.verb == Verb::Update && new.uid() != old.uid() {
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}, ResourceVersion: 0, \
             AdditionalErrorMsg: Precondition failed: UID in precondition: {}, UID in object meta: {}",
            request.key().trim_start_matches('/'),
            new.uid(),
            old.uid()
        );
        return Err(Status::conflict(about, name, &why));
    }
    match new.resource_version() {
        "" | "0" if request.verb == Verb::Update && request.kind.conditional => {
            let mut errors = Errors::new();
            let why = "must be specified for an update";
            errors.invalid(&Path::new("metadata.resourceVersion"), json!(0), why);
            // What validation finds is about the kind; this is about the resource.
            Err(Status::invalid(about, name, &errors))
        }
        "" | "0" => Ok(()),
        given if given == old.resource_version() => Ok(()),
        given if given.parse::<u64>().is_err() => Err(Status::new(
            500,
            "",
            format!("strconv.ParseUint: parsing {given:?}: invalid syntax"),
        )),
        _ => Err(Status::modified(about, name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_identity_is_none() {
        let old = Object::new(
            json!({"metadata": {"uid": "u", "creationTimestamp": "t", "namespace": "n"}}),
        );
        let sent = json!({"metadata": {"uid": "", "creationTimestamp": null, "namespace": "m"}});
        let mut new = Object::new(sent);
        keep(&mut new, &old);
        let expected =
            json!({"metadata": {"uid": "u", "creationTimestamp": "t", "namespace": "m"}});
        assert_eq!(new.value(), &expected);
    }
}
