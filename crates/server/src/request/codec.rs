//! Decode: what a client sent becomes an object of its kind, whatever the verb; and objects become stored bodies.
//!
//! Create, update, patch and apply differ here and nowhere else.

use crate::Server;
use crate::read::versions::Conversions;
use crate::request::media::{self, JSON};
use crate::request::{Request, Strictness};
use bytes::Bytes;
use skiff_api::Status;
use skiff_api::apply::{self, Force, Set};
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Does, Kind, Verb};
use skiff_api::object::Object;
use skiff_api::schema::decode::{DecodeError, Mode, decode};
use skiff_api::schema::prune::prune;
use skiff_api::schema::{Struct, emit};
use skiff_api::status::About;
use skiff_api::time::{Precision, format};
use skiff_api::wire::Payload;
use skiff_api::{json as text, patch, protobuf};
use skiff_base::Time;
use skiff_json::{Value, json};

const YAML: &str = "application/yaml";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
/// Where upstream keeps its types, as its messages name it.
const SCHEME: &str = "\"pkg/api/legacyscheme/scheme.go:30\"";
const APPLY_YAML: &str = "application/apply-patch+yaml";

/// How often ownership is reckoned anew with what was converted for it: each time goes a step further, and there are
/// few of them.
const CONVERSIONS_MOST: usize = 8;

/// What a client sent, read once, before the first try of the bracket.
pub enum Incoming {
    /// The whole object (or the whole body of an entry below it).
    Object(Object),
    Patch {
        type_: &'static str,
        bytes: Bytes,
    },
    Apply {
        config: Value,
        force: Force,
    },
}

impl Incoming {
    pub fn read(request: &Request) -> Result<Incoming, Status> {
        if request.verb != Verb::Patch {
            let mut accepted = vec![JSON, YAML, protobuf::MEDIA_TYPE];
            let schema = body_schema(request)?;
            // The types of custom resources have no numbers.
            if request.kind.is_custom() && is_whole(request, schema) {
                accepted.truncate(2);
            }
            let type_ = media::of(request, &accepted)?;
            let parsed = match type_ {
                protobuf::MEDIA_TYPE => parse_protobuf(request, schema)?.into(),
                _ => parse(request, type_)?,
            };
            let object = whole(request, parsed)?;
            request.notes.sent(&object, || shown(request, &object));
            return Ok(Incoming::Object(object));
        }
        let mut accepted = vec![JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_YAML];
        if !request.kind.manner.strategic_patch {
            accepted.retain(|type_| *type_ != STRATEGIC_PATCH);
        }
        let type_ = media::of(request, &accepted)?;
        if type_ == APPLY_YAML {
            return read_apply(request);
        }
        if request.query.get("force").is_some() {
            let why = "may not be specified for non-apply patch";
            return Err(patch_options(|errors| errors.forbidden(&Path::new("force"), why)));
        }
        let bytes = payload_bytes(request)?;
        // One that is garbage is refused later, and not told of.
        if request.notes.are_taken()
            && let Ok(patch) = skiff_json::from_slice(&bytes)
        {
            request.notes.sent_as(|| patch);
        }
        Ok(Incoming::Patch { type_, bytes })
    }

    /// Whether the server is to draw a name.
    pub fn wants_a_name(&self) -> bool {
        match self {
            Incoming::Object(object) => {
                object.name().is_empty() && !object.text("metadata.generateName").is_empty()
            }
            _ => false,
        }
    }

    /// The new object, made of the old one where the verb says so. A create with a name is made once, and takes it.
    pub async fn object(
        &mut self,
        server: &Server,
        request: &Request,
        old: Option<&Object>,
    ) -> Result<Object, Status> {
        match self {
            Incoming::Object(object) if request.verb == Verb::Create => {
                Ok(match object.name().is_empty() {
                    true => object.clone(),
                    false => std::mem::replace(object, Object::new(Value::Null)),
                })
            }
            Incoming::Object(object) => updated(request, object, old),
            Incoming::Patch { type_, bytes } => {
                let old = old.ok_or_else(|| request.not_found())?;
                patched(request, type_, bytes, old)
            }
            Incoming::Apply { config, force } => {
                applied(server, request, config, *force, old).await
            }
        }
    }

    /// Gives the object its `managedFields`. An apply has them already.
    pub async fn own_fields(
        &self,
        server: &Server,
        request: &Request,
        new: &mut Object,
        old: Option<&Object>,
    ) -> Result<(), Status> {
        let kind = &request.kind;
        let entry = kind.subresource(&request.resource.subresource);
        let acts = entry.filter(|entry| matches!(entry.does, Does::Act(_)));
        let (schema, version): (&Struct, _) = match acts.and_then(|entry| entry.body) {
            Some((group, version, _)) => (body_schema(request)?, format!("{group}/{version}")),
            None => (&kind.schema, kind.api_version()),
        };
        emit::emit(new.value_mut(), schema);
        if matches!(self, Incoming::Apply { .. }) {
            return Ok(());
        }
        // Who has to wait for a conversion begins again with what was there.
        let sent = request.kind.conversion().map(|_| new.clone());
        with_ownership(server, request, (schema, &version), |write| {
            if let Some(sent) = &sent {
                new.clone_from(sent);
            }
            apply::update(write, old.map(Object::value), new.value_mut());
            Ok(())
        })
        .await
    }
}

fn updated(request: &Request, sent: &Object, old: Option<&Object>) -> Result<Object, Status> {
    let entry = request.kind.subresource(&request.resource.subresource);
    check_names(request, sent)?;
    match (entry.map(|e| &e.does), old) {
        (_, None) if !request.kind.creates_on_update => Err(request.not_found()),
        (Some(Does::Scale(paths)), Some(old)) => {
            validate_scale(request, sent)?;
            let mut new = old.clone();
            crate::read::scale::put(&mut new, sent, paths);
            Ok(new)
        }
        _ => {
            let mut new = sent.clone();
            if request.kind.namespaced() {
                new.set_absent("metadata.namespace", &*request.resource.namespace);
            }
            Ok(new)
        }
    }
}

/// Runs `work` with the description of this write that field ownership needs.
/// It runs again when a webhook had to convert something for it first.
async fn with_ownership<T>(
    server: &Server,
    request: &Request,
    (schema, version): (&Struct, &str),
    mut work: impl FnMut(&apply::Write) -> Result<T, Status>,
) -> Result<T, Status> {
    let mut reset = Set::default();
    let entry = request.kind.subresource(&request.resource.subresource);
    let mut unowned = |path: &&str| {
        let fields: Vec<String> = path.split('.').map(|field| format!("f:{field}")).collect();
        reset.insert(&fields.iter().map(String::as_str).collect::<Vec<_>>());
    };
    match entry.map(|e| (&e.does, e.unowned)) {
        None => {
            request.kind.has_status().then_some("status").iter().for_each(&mut unowned);
            request.kind.unowned.iter().for_each(unowned);
        }
        Some((Does::Part { keeps, .. }, more)) => {
            ["spec"].iter().chain(*keeps).chain(more).for_each(unowned);
        }
        Some(_) => {}
    }
    let (manager, now) = (request.manager(), time(server.world.now()));
    let mut conversions = Conversions::new(&server.reader, &request.kind);
    for _ in 0..CONVERSIONS_MOST {
        let done = work(&apply::Write {
            schema,
            version,
            subresource: &request.resource.subresource,
            manager: &manager,
            now: &now,
            reset: &reset,
            convert: Some(&|object, version| conversions.get(object, version)),
        });
        if !Box::pin(conversions.fetch()).await? {
            return done;
        }
    }
    Err(Status::internal("the fields' owners could not be told in all their versions"))
}

fn read_apply(request: &Request) -> Result<Incoming, Status> {
    if request.query.get("fieldManager").is_none() {
        let why = "is required for apply patch";
        return Err(patch_options(|errors| errors.required(&Path::new("fieldManager"), why)));
    }
    let text::Parsed { value: config, odd } = parse(request, APPLY_YAML)?;
    tell(request, odd, (&request.kind.version, &request.kind.kind))?;
    request.notes.sent_as(|| config.clone());
    let force = if request.query.flag("force") { Force::Yes } else { Force::No };
    Ok(Incoming::Apply { config, force })
}

fn patch_options(fill: impl FnOnce(&mut Errors)) -> Status {
    let mut errors = Errors::new();
    fill(&mut errors);
    Status::invalid(About { group: "meta.k8s.io", resource: "PatchOptions" }, "", &errors)
}

/// A whole object: decoded, with the warnings or refusals that its unknown fields deserve.
fn whole(request: &Request, parsed: text::Parsed) -> Result<Object, Status> {
    let text::Parsed { mut value, odd } = parsed;
    let (group, version, name) = body_type(request);
    let schema = body_schema(request)?;
    match request.payload {
        Payload::Bytes(_) if request.kind.is_custom() && is_whole(request, schema) => {
            check_custom_type(request, &value)?;
        }
        _ => check_type(&mut value, group, version, name)?,
    }
    decode_as(request, &mut value, odd, schema, (version, name))?;
    Ok(Object::new(value))
}

/// An object as it was sent, in its whole form: upstream tells the audit log what its decoder made of it.
fn shown(request: &Request, object: &Object) -> Value {
    let (kind, mut shown) = (&request.kind, object.clone());
    let own = kind.subresource(&request.resource.subresource).is_none_or(|it| it.body.is_none());
    if own {
        crate::read::convert::default(kind, &mut shown);
    }
    if let Ok(schema) = body_schema(request) {
        emit::emit(shown.value_mut(), schema);
    }
    shown.into_value()
}

/// What the body is: the kind's own object, or that of an entry below it; group, version and kind.
fn body_type(request: &Request) -> (&str, &str, &str) {
    let kind = &request.kind;
    match kind.subresource(&request.resource.subresource).and_then(|e| e.body) {
        Some(body) => body,
        None => (&*kind.group, &*kind.version, &*kind.kind),
    }
}

/// How that is written.
fn body_schema(request: &Request) -> Result<&Struct, Status> {
    let entry = request.kind.subresource(&request.resource.subresource);
    match entry.and_then(|e| e.body) {
        Some((group, version, kind)) => skiff_api::schema::gvk(group, version, kind)
            .ok_or_else(|| Status::internal(format!("{kind} has no schema"))),
        None => Ok(&request.kind.schema),
    }
}

/// Whether that is the kind itself, and not the body of an entry.
fn is_whole(request: &Request, schema: &Struct) -> bool {
    std::ptr::eq(schema, &*request.kind.schema)
}

/// An object in protobuf, of the type that it says that it has.
fn parse_protobuf(request: &Request, schema: &Struct) -> Result<Value, Status> {
    let bytes = payload_bytes(request)?;
    let envelope = protobuf::open(&bytes)
        .map_err(|why| unreadable(request, &format!("{why} ({})", summary(&bytes))))?;
    let (group, version, name) = body_type(request);
    check_type(&mut envelope.named().into(), group, version, name)?;
    protobuf::read(envelope, schema).map_err(|why| {
        let why = format!("{name} in version {version:?} cannot be handled as a {name}: {why}");
        Status::bad_request(why)
    })
}

/// What a body begins with, for a refusal.
fn summary(bytes: &[u8]) -> String {
    /// So much is shown of it, as upstream does.
    const MOST: usize = 30;
    let start = &bytes[..bytes.len().min(MOST)];
    let shown = match start {
        [] => "<empty>".to_owned(),
        [b'{', ..] => String::from_utf8_lossy(start).into_owned(),
        _ => start.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if bytes.len() > MOST { shown + " ..." } else { shown }
}

fn mode(request: &Request) -> Result<Mode, Status> {
    Ok(match request.strictness()? {
        Strictness::Ignore => Mode::Ignore,
        Strictness::Warn => Mode::Warn,
        Strictness::Strict => Mode::Strict,
    })
}

/// `odd` is what the reader found odd about the body.
fn decode_as(
    request: &Request,
    value: &mut Value,
    mut odd: Vec<String>,
    schema: &Struct,
    of: (&str, &str),
) -> Result<(), Status> {
    let mode = match mode(request)? {
        Mode::Ignore => Mode::Ignore,
        // What is unknown is told with what is odd, so it is gathered first.
        Mode::Warn | Mode::Strict => Mode::Warn,
    };
    let custom = request.kind.manner.prunes && is_whole(request, schema);
    let decoded = match custom {
        true => prune(value, schema, mode),
        false => decode(value, schema, mode),
    };
    odd.extend(decoded.map_err(|error| unfit(of, &error))?);
    // A custom resource is read before it is compared with its schema: what stands twice comes first.
    if let (Payload::Bytes(body), false, false) = (&request.payload, custom, odd.is_empty()) {
        text::places::sort(body, &mut odd);
    }
    tell(request, odd, of)
}

fn unfit((version, name): (&str, &str), error: &DecodeError) -> Status {
    Status::bad_request(format!(
        "{name} in version \"{version}\" cannot be handled as a {name}: {error}"
    ))
}

/// Fields that are unknown or stand twice: warnings, or a refusal, as `fieldValidation` says.
fn tell(request: &Request, odd: Vec<String>, of: (&str, &str)) -> Result<(), Status> {
    match request.strictness()? {
        Strictness::Strict if !odd.is_empty() => {
            Err(unfit(of, &DecodeError::Strict(skiff_api::yaml::in_one_text(odd))))
        }
        Strictness::Warn => {
            odd.into_iter().for_each(|text| request.warn(text));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The type that the body names must be the one of the path; a missing one is filled in.
fn check_type(value: &mut Value, group: &str, version: &str, kind: &str) -> Result<(), Status> {
    let expected = skiff_api::kind::api_version(group, version);
    let text = |key: &str| value.get(key).and_then(Value::as_str).filter(|it| !it.is_empty());
    let given = (text("apiVersion").unwrap_or(&expected), text("kind").unwrap_or(kind));
    if given != (&expected, kind) {
        let (why, by_version) = wrong_type(given, (&expected, kind));
        let version = given.0.rsplit('/').next().unwrap_or("");
        return Err(Status::bad_request(match by_version {
            true => why,
            false => {
                format!("{} in version {version:?} cannot be handled as a {kind}: {why}", given.1)
            }
        }));
    }
    if !value.is_object() {
        *value = json!({});
    }
    value["apiVersion"] = expected.into();
    value["kind"] = kind.into();
    Ok(())
}

/// A custom resource says itself what it is: nothing is filled in.
fn check_custom_type(request: &Request, value: &Value) -> Result<(), Status> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("");
    let (kind, version, expected) = (text("kind"), text("apiVersion"), request.kind.api_version());
    let refused = |why: String| {
        let bytes = payload_bytes(request)?;
        Err(unreadable(request, &format!("{why} ({})", summary(&bytes))))
    };
    if kind.is_empty() {
        return refused(format!("Object 'Kind' is missing in '{value}'"));
    }
    if version.split('/').count() > 2 {
        return refused(format!("unexpected GroupVersion string: {version}"));
    }
    if version != expected {
        return Err(Status::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({expected})"
        )));
    }
    if kind == &*request.kind.kind {
        return Ok(());
    }
    let mut errors = Errors::new();
    errors.invalid(&Path::new("kind"), kind, &format!("must be {}", request.kind.kind));
    let name = value["metadata"]["name"].as_str().unwrap_or("");
    Err(Status::invalid(About { group: &request.kind.group, resource: kind }, name, &errors))
}

/// That a type is not one of the API's.
pub fn no_kind(kind: &str, version: &str) -> String {
    format!("no kind {kind:?} is registered for version {version:?} in scheme {SCHEME}")
}

/// Why an object of one type cannot stand where one of another belongs, as conversion in upstream
/// finds it; and whether that is so only by its version.
fn wrong_type((given, given_kind): (&str, &str), (expected, kind): (&str, &str)) -> (String, bool) {
    let (group, version) = given.split_once('/').unwrap_or(("", given));
    let known = skiff_api::schema::gvk(group, version, given_kind).is_some();
    if known && given_kind == kind {
        let why = format!(
            "the API version in the data ({given}) does not match the expected API version ({expected})"
        );
        return (why, true);
    }
    if !known {
        return (no_kind(given_kind, given), false);
    }
    let group = expected.split_once('/').map_or("core", |(group, _)| group);
    let package = group.split('.').next().unwrap_or(group);
    let why =
        format!("converting ({version}.{given_kind}) to ({package}.{kind}): unknown conversion");
    (why, false)
}

fn patched(request: &Request, type_: &str, bytes: &[u8], old: &Object) -> Result<Object, Status> {
    let entry = request.kind.subresource(&request.resource.subresource);
    if let Some(Does::Scale(paths)) = entry.map(|e| &e.does) {
        let scale = crate::read::scale::show(old, paths).into_value();
        let schema = body_schema(request)?;
        let scale = Object::new(patch(request, type_, bytes, &scale, schema)?);
        validate_scale(request, &scale)?;
        let mut new = old.clone();
        crate::read::scale::put(&mut new, &scale, paths);
        return Ok(new);
    }
    let kind = &request.kind;
    let schema = &*kind.schema;
    let value = patch(request, type_, bytes, old.value(), schema)?;
    let new = Object::new(value);
    check_names(request, &new)?;
    Ok(new)
}

/// Patches a tree and decodes what comes out. What does not fit is refused as a fault of the patch.
fn patch(
    request: &Request,
    type_: &str,
    bytes: &[u8],
    object: &Value,
    schema: &Struct,
) -> Result<Value, Status> {
    let run = || {
        let object = object.clone();
        let patched = match type_ {
            JSON_PATCH => patch::json_patch::apply(object, bytes),
            MERGE_PATCH => patch::merge::apply(object, bytes),
            _ => patch::strategic::apply(object, bytes, schema),
        };
        patched.map_err(|error| refuse_patch(request, error))
    };
    let patch::Patched { object: mut value, odd } = run()?;
    let refuse = |why: String| {
        let shown = match type_ {
            STRATEGIC_PATCH => patch::shown::strategic(bytes, object),
            // Decoding has changed what the patch made, so it is made again.
            _ => patch::shown::made(bytes, &run()?.object, schema),
        };
        let mut errors = Errors::new();
        errors.invalid(&Path::new("patch"), shown, &why);
        Err(Status::invalid(About { group: "", resource: "" }, "", &errors))
    };
    let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let [given, wanted] = [&value, object].map(|of| (text(of, "apiVersion"), text(of, "kind")));
    if given != wanted {
        return refuse(wrong_type((&given.0, &given.1), (&wanted.0, &wanted.1)).0);
    }
    let mode = mode(request)?;
    let decoded = match request.kind.manner.prunes && is_whole(request, schema) {
        true => prune(&mut value, schema, mode),
        false => decode(&mut value, schema, mode),
    };
    match decoded {
        Ok(_) if mode == Mode::Strict && !odd.is_empty() => {
            refuse(DecodeError::Strict(odd).to_string())
        }
        Ok(warnings) => {
            let told = odd.into_iter().chain(warnings).filter(|_| mode == Mode::Warn);
            told.for_each(|warning| request.warn(warning));
            Ok(value)
        }
        Err(DecodeError::Strict(unknown)) => {
            let all = odd.into_iter().chain(unknown).collect();
            refuse(DecodeError::Strict(all).to_string())
        }
        Err(DecodeError::Type(why)) => refuse(match why.rsplit_once(" of type ") {
            Some((_, wanted)) if type_ == STRATEGIC_PATCH => format!("unrecognized type: {wanted}"),
            _ => why,
        }),
    }
}

fn refuse_patch(request: &Request, error: patch::Error) -> Status {
    let text = error.to_string();
    match error {
        patch::Error::Unreadable(_) => Status::bad_request(text),
        patch::Error::TooLarge(_) => {
            Status::new(413, "RequestEntityTooLarge", format!("Request entity too large: {text}"))
        }
        patch::Error::TooDeep(_) => Status {
            details: Some(json!({})),
            ..Status::new(422, "Invalid", format!("the patch does not fit: {text}"))
        },
        patch::Error::Unfit(why) | patch::Error::Untrue(why) => {
            tracing::debug!(name = request.resource.name, why, "a patch does not fit");
            Status { details: Some(json!({})), ..Status::new(422, "Invalid", text) }
        }
        patch::Error::Failed(_) => Status::new(500, "", text),
    }
}

async fn applied(
    server: &Server,
    request: &Request,
    config: &Value,
    force: Force,
    old: Option<&Object>,
) -> Result<Object, Status> {
    let kind = &request.kind;
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or("");
    let (version, name) = (text("apiVersion"), text("kind"));
    if (version, name) != (&*kind.api_version(), &*kind.kind) {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        return Err(Status::bad_request(format!(
            "invalid object type: {group}/{version}, Kind={name}"
        )));
    }
    let result = with_ownership(server, request, (&kind.schema, version), |write| {
        apply::apply(write, old.map(Object::value), config, force).map_err(refuse_apply)
    })
    .await?;
    if let (true, Some(old)) = (result.same, old) {
        // Nothing but ownership can have changed: times stay, so that nothing is written when nothing did.
        let mut object = result.object;
        apply::keep_times(old.value(), &mut object);
        return Ok(Object::new(object));
    }
    let mut object = Object::new(result.object);
    check_names(request, &object)?;
    let of = (&*kind.version, &*kind.kind);
    decode_as(request, object.value_mut(), Vec::new(), &kind.schema, of)?;
    if kind.namespaced() {
        object.set_absent("metadata.namespace", &*request.resource.namespace);
    }
    Ok(object)
}

fn refuse_apply(error: apply::Error) -> Status {
    match error {
        apply::Error::BadRequest(why) => Status::bad_request(why),
        apply::Error::Unfit(why) | apply::Error::Merge(why) => Status::new(500, "", why),
        apply::Error::Conflicts(conflicts) => {
            let causes: Vec<Value> = conflicts
                .0
                .iter()
                .map(|c| json!({"reason": "FieldManagerConflict", "message": c.message(), "field": c.field()}))
                .collect();
            Status {
                details: Some(json!({"causes": causes})),
                ..Status::new(409, "Conflict", conflicts.to_string())
            }
        }
    }
}

/// The name and namespace of the body must be those of the path.
fn check_names(request: &Request, sent: &Object) -> Result<(), Status> {
    let (name, namespace) = (&*request.resource.name, &*request.resource.namespace);
    if sent.name().is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if sent.name() != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            sent.name()
        )));
    }
    if request.kind.namespaced() && !sent.namespace().is_empty() && sent.namespace() != namespace {
        let why =
            "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(why));
    }
    Ok(())
}

fn validate_scale(request: &Request, scale: &Object) -> Result<(), Status> {
    let mut errors = Errors::new();
    // Of a custom resource its own schema says what is too little.
    if request.kind.custom.is_none()
        && let Some(negative) = scale.int("spec.replicas").filter(|n| *n < 0)
    {
        let why = "must be greater than or equal to 0";
        errors.invalid(&Path::new("spec.replicas"), negative, why);
    }
    if errors.is_empty() {
        return Ok(());
    }
    let about = About { group: "autoscaling", resource: "Scale" };
    Err(Status::invalid(about, &request.resource.name, &errors))
}

fn payload_bytes(request: &Request) -> Result<Bytes, Status> {
    match &request.payload {
        Payload::None => Ok(Bytes::new()),
        Payload::Bytes(bytes) => Ok(bytes.clone()),
        Payload::Tree(tree) => Ok(text::write(tree).into()),
    }
}

/// The body as a tree.
fn parse(request: &Request, type_: &str) -> Result<text::Parsed, Status> {
    if let Payload::Tree(tree) = &request.payload {
        return Ok(tree.clone().into());
    }
    let bytes = payload_bytes(request)?;
    let read = match type_ {
        APPLY_YAML => skiff_api::yaml::parse(&bytes),
        JSON => text::read_object(&bytes),
        _ => skiff_api::yaml::read_object(&bytes),
    };
    read.map_err(|why| unreadable(request, &why))
}

fn unreadable(request: &Request, why: &str) -> Status {
    if request.verb == Verb::Patch {
        return Status::bad_request(format!(
            "error decoding patch: error converting YAML to JSON: {why}"
        ));
    }
    let entry = request.kind.subresource(&request.resource.subresource);
    let kind = match (request.verb, entry.and_then(|e| e.body)) {
        (Verb::Delete | Verb::DeleteCollection, _) => "DeleteOptions",
        (_, Some((_, _, kind))) => kind,
        _ => &*request.kind.kind,
    };
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why}"
    ))
}

/// The body of a request whatever it is (options of a delete).
pub fn read_any(request: &Request) -> Result<Value, Status> {
    match media::of(request, &[JSON, YAML, protobuf::MEDIA_TYPE])? {
        protobuf::MEDIA_TYPE => {
            let options =
                skiff_api::schema::builtin("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions")
                    .ok_or_else(|| Status::internal("DeleteOptions have no schema"))?;
            let bytes = payload_bytes(request)?;
            let read = protobuf::open(&bytes).and_then(|it| protobuf::read(it, options));
            read.map_err(|why| Status::bad_request(why.to_string()))
        }
        type_ => parse(request, type_).map(|parsed| parsed.value),
    }
}

/// What admission changed gets its final form; when nothing changed at all, nothing will be written.
pub fn settle(kind: &Kind, new: &mut Object, old: Option<&Object>) {
    emit::emit(new.value_mut(), &kind.schema);
    if let Some(old) = old {
        apply::keep_times(old.value(), new.value_mut());
    }
}

/// The value validations of a structural schema, and its rules; built-in kinds have none. What was wrong before and is
/// still the same is let be (KEP-4008): of broken rules the user is warned.
pub fn validate(
    kind: &Kind,
    subresource: &str,
    new: &Object,
    old: Option<&Object>,
    errors: &mut Errors,
) -> Vec<String> {
    use skiff_api::schema::fault::{Fault, Reason};
    use skiff_api::schema::validate::validate_update;
    let Some(custom) = &kind.custom else { return Vec::new() };
    // A write of the status is judged by the schema of the status alone.
    let status = kind.schema.field("status").filter(|_| subresource == "status");
    let faults = match status {
        None => validate_update((new.value(), old.map(Object::value)), &custom.node, ""),
        Some(field) => match new.at("status") {
            Some(status) => {
                let before = old.and_then(|it| it.at("status"));
                validate_update((status, before), &field.node, "status")
            }
            None => Vec::new(),
        },
    };
    let mut blocked = false;
    for fault in faults {
        blocked |= !matches!(fault.reason, Reason::Invalid | Reason::Duplicate | Reason::Forbidden);
        errors.add(fault.into());
    }
    for entry in &kind.subresources {
        if let Does::Scale(paths) = &entry.does {
            crate::read::scale::validate(new, paths, errors);
        }
    }
    let Some(rules) = &custom.rules else { return Vec::new() };
    if blocked {
        let why = "some validation rules were not checked because the object was invalid; correct \
                   the existing errors to complete validation";
        errors.add(Fault::invalid("<nil>", &Value::Null, why).into());
        return Vec::new();
    }
    let judged = rules.judge(new.value(), old.map(Object::value));
    judged.faults.into_iter().for_each(|fault| errors.add(fault.into()));
    judged.ratcheted.iter().map(ToString::to_string).collect()
}

/// A time as `metadata` shows it.
pub fn time(time: Time) -> String {
    format(time, Precision::Seconds)
}
