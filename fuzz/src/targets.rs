//! The targets: bytes in, a word about the answer out. A panic is a finding, and so is a property that does not hold.

use crate::answer::{self, Sort};
use crate::converted::{self, Wrong};
use crate::found;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_api::apply::{self, Force, Set};
use skiff_api::json::too_deep;
use skiff_api::jsonpath::JsonPath;
use skiff_api::object::Object;
use skiff_api::patch::{Error, Patched, json_patch, merge, strategic};
use skiff_api::quantity::Quantity;
use skiff_api::schema::{self, Struct, decode, emit};
use skiff_api::selector::{FieldSelector, Selector};
use skiff_api::{duration, protobuf, yaml};
use skiff_base::World;
use skiff_cel::decl::{Decl, Place};
use skiff_cel::env::Env;
use skiff_cel::run::{Budget, Program, RUNTIME_BUDGET};
use skiff_cel::value::Value as Cel;
use skiff_cli::keep::entries::{self, EntryType};
use skiff_cli::keep::parcel::{Unwrap, Wrap};
use skiff_json::{Value, json};
use std::path::Path;

pub struct Target {
    pub name: &'static str,
    pub seeds: fn() -> Vec<Vec<u8>>,
    pub run: fn(&[u8]) -> String,
}

pub const TARGETS: &[Target] = &[
    Target { name: "url", seeds: || files("urls"), run: url },
    Target { name: "json", seeds: || recorded("json-errors"), run: json },
    Target { name: "yaml", seeds: || recorded("yaml"), run: yaml },
    Target { name: "protobuf", seeds: envelopes, run: protobuf },
    Target { name: "message", seeds: messages, run: message },
    Target { name: "schema", seeds: || files("objects"), run: decode },
    Target { name: "patch", seeds: patches, run: patch },
    Target { name: "apply", seeds: objects, run: apply },
    Target { name: "cel", seeds: || files("expressions"), run: cel },
    Target { name: "selector", seeds: || recorded("selectors"), run: selector },
    Target { name: "jsonpath", seeds: || recorded("jsonpath"), run: jsonpath },
    Target { name: "quantity", seeds: || files("quantities"), run: quantity },
    Target { name: "reference", seeds: || files("references"), run: reference },
    Target { name: "manifest", seeds: || files("manifests"), run: manifest },
    Target { name: "archive", seeds: archives, run: archive },
    Target { name: "layer", seeds: || files("layers"), run: layer },
    Target { name: "spdy", seeds: spdy_frames, run: spdy },
    Target { name: "dns", seeds: dns_queries, run: dns },
    Target { name: "user", seeds: || files("users"), run: user },
    Target { name: "backup", seeds: backups, run: backup },
    Target { name: "encryption", seeds: || files("encryption"), run: encryption },
    Target { name: "admission", seeds: || files("admission"), run: admission },
    Target { name: "conversion", seeds: || files("conversion"), run: conversion },
    Target { name: "discovery", seeds: || files("discovery"), run: discovery },
    Target { name: "facets", seeds: || vec![b"\x05l:app\x03web\x01o\x02ab".to_vec()], run: facets },
];

/// The cases of a file in `seeds`, one a line; `\xNN` stands for a byte.
fn files(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let text = std::fs::read_to_string(&path).expect("the seeds are in the repository");
    text.lines().map(bytes).collect()
}

fn bytes(line: &str) -> Vec<u8> {
    let mut parts = line.split("\\x");
    let mut out = parts.next().unwrap_or("").as_bytes().to_vec();
    for part in parts {
        out.push(u8::from_str_radix(&part[..2], 16).expect("two hexadecimal digits"));
        out.extend_from_slice(&part.as_bytes()[2..]);
    }
    out
}

/// Every text in a recording of upstream's answers.
fn recorded(name: &str) -> Vec<Vec<u8>> {
    fn collect(value: &Value, out: &mut Vec<Vec<u8>>) {
        match value {
            Value::String(text) => out.push(text.clone().into_bytes()),
            Value::Array(list) => list.iter().for_each(|it| collect(it, out)),
            Value::Object(map) => map.values().for_each(|it| collect(it, out)),
            _ => {}
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/api/tests-data");
    let text = std::fs::read(folder.join(format!("{name}.json"))).expect("the recording");
    let mut out = Vec::new();
    collect(&skiff_json::from_slice(&text).expect("the recording is JSON"), &mut out);
    out
}

fn said<T, E: ToString>(result: Result<T, E>) -> String {
    result.map_or_else(|error| error.to_string(), |_| "ok".to_owned())
}

fn kind(name: &str) -> &'static Struct {
    let group = if name == "Deployment" { "apps" } else { "" };
    schema::gvk(group, "v1", name).expect("a kind")
}

fn url(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let (path, query) = text.split_once('?').unwrap_or((&text, ""));
    let query = skiff_server::request::url::Query::parse(query);
    match skiff_server::request::url::parse(path) {
        skiff_server::request::url::Target::Path(_) => "path".into(),
        skiff_server::request::url::Target::Resource(it) => {
            let verb =
                skiff_server::request::url::verb(&http_method(input), &it, query.flag("watch"));
            format!("{} {verb:?} {}", it.subresource.len().min(1), it.watch)
        }
    }
}

fn http_method(input: &[u8]) -> http::Method {
    match input.len() % 3 {
        0 => http::Method::GET,
        1 => http::Method::POST,
        _ => http::Method::DELETE,
    }
}

fn json(input: &[u8]) -> String {
    let read = skiff_api::json::parse(input);
    if let Ok(parsed) = &read {
        let again = skiff_api::json::parse(&skiff_api::json::write(&parsed.value));
        assert_eq!(again.expect("what was written is read").value, parsed.value);
    }
    said(skiff_api::json::read_object(input)) + &said(read)
}

fn yaml(input: &[u8]) -> String {
    let read = yaml::parse(input);
    if let Ok(parsed) = &read {
        let again = yaml::parse(yaml::write(&parsed.value).as_bytes());
        assert_eq!(again.expect("what was written is read").value, parsed.value);
    }
    said(read)
}

/// Objects that upstream wrote: each as JSON, and in its envelope.
fn upstreams() -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let recorded = include_str!("../../crates/api/tests-data/protobuf.txt");
    let mut lines = recorded.lines();
    std::iter::from_fn(move || {
        let (json, envelope) = (lines.next()?, lines.next()?);
        Some((json.into(), STANDARD.decode(envelope).expect("the recording is base64")))
    })
}

fn envelopes() -> Vec<Vec<u8>> {
    files("protobuf").into_iter().chain(upstreams().map(|it| it.1)).collect()
}

/// An object of every kind with nothing in it, and whatever else there is.
fn messages() -> Vec<Vec<u8>> {
    let empty = schema::KINDS.iter().map(|(it, _)| {
        let version = skiff_api::kind::api_version(it.group, it.version);
        json!({"apiVersion": version, "kind": it.kind}).to_string().into_bytes()
    });
    objects().into_iter().chain(upstreams().map(|it| it.0)).chain(empty).collect()
}

fn of_type(api_version: &str, kind: &str) -> Option<&'static Struct> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    schema::gvk(group, version, kind)
}

/// What was read is an object like others: written and read again, nothing of it is lost.
fn protobuf(input: &[u8]) -> String {
    let named = match protobuf::open(input) {
        Ok(it) => of_type(&it.api_version, &it.kind),
        Err(error) => return error.to_string(),
    };
    let mut out = String::new();
    for of in ["Pod", "Deployment", "ConfigMap"].map(kind).into_iter().chain(named) {
        let read = protobuf::open(input).and_then(|it| protobuf::read(it, of));
        if let Ok(mut value) = read.clone() {
            let decoded = decode::decode(&mut value, of, decode::Mode::Warn);
            if decoded.is_ok() {
                there_and_back(&mut value, of);
            }
            out += &said(decoded);
        }
        out += &said(read);
    }
    out
}

/// Texts as they stand, which the program writes itself and must not trust all the same; and objects, there and back.
fn message(input: &[u8]) -> String {
    let out = said(protobuf::document(input));
    let Ok(mut value) = skiff_api::json::parse(input).map(|it| it.value) else { return out };
    let text = |key: &str| value[key].as_str().unwrap_or_default();
    let Some(of) = of_type(text("apiVersion"), text("kind")) else { return out };
    let decoded = decode::decode(&mut value, of, decode::Mode::Warn);
    if decoded.is_ok() {
        there_and_back(&mut value, of);
    }
    out + &said(decoded)
}

/// JSON, protobuf, JSON, protobuf: the same bytes.
fn there_and_back(value: &mut Value, of: &Struct) {
    emit::emit(value, of);
    let written = |value: &Value| {
        let mut out = Vec::new();
        protobuf::encode(value.to_string().as_bytes(), of, &mut out).map(|()| out)
    };
    let message = match written(value) {
        Err(protobuf::ProtobufError::TooDeep) => return,
        written => written.expect("what was decoded is written"),
    };
    let mut envelope = protobuf::envelope("", "", message.len());
    envelope.extend_from_slice(&message);
    envelope.extend_from_slice(protobuf::ENVELOPE_END);
    let again = protobuf::open(&envelope).and_then(|it| protobuf::read(it, of));
    let mut again = again.expect("what was written is read");
    decode::decode(&mut again, of, decode::Mode::Strict).expect("and is an object");
    emit::emit(&mut again, of);
    assert_eq!(written(&again).expect("it was written"), message, "{value} and {again}");
}

/// A decoded object is canonical: decoding it again changes nothing.
fn decode(input: &[u8]) -> String {
    let Ok(parsed) = skiff_api::json::parse(input) else { return "no JSON".into() };
    let mut out = String::new();
    for name in ["Pod", "Deployment", "Service"] {
        let mut value = parsed.value.clone();
        let done = decode::decode(&mut value, kind(name), decode::Mode::Warn);
        if done.is_ok() {
            let mut again = value.clone();
            decode::decode(&mut again, kind(name), decode::Mode::Strict).expect("it was decoded");
            assert_eq!(again, value);
            emit::emit(&mut value, kind(name));
        }
        out += &said(done);
    }
    out
}

/// The examples, and one that is as deep as anything may be.
fn objects() -> Vec<Vec<u8>> {
    let deep = (0..115).fold(json!({}), |within, _| json!({"a": within}));
    let mut out = files("objects");
    for more in [json!({"labels": deep}), json!({"labels": {"a": "b"}, "deep": deep})] {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": more, "spec": {
            "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 1, "a": deep}]}]}});
        out.push(pod.to_string().into_bytes());
    }
    out
}

fn sample() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"x": "y"}},
           "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}],
                                     "env": [{"name": "A", "value": "1"}]}],
                    "tolerations": [{"key": "k"}], "volumes": [{"name": "v", "emptyDir": {}}]}})
}

fn patch(input: &[u8]) -> String {
    type Patch = fn(&[u8]) -> Result<Patched, Error>;
    let patches: [Patch; 3] = [
        |patch| json_patch::apply(sample(), patch),
        |patch| merge::apply(sample(), patch),
        |patch| strategic::apply(sample(), patch, kind("Pod")),
    ];
    let one = |patch: &Patch| {
        let done = patch(input);
        if let Ok(patched) = &done {
            let most = PATCH_GROWTH * (input.len() + sample().to_string().len());
            kept(&patched.object, most + json_patch::MAX_COPIED_BYTES);
        }
        // Users are not told why it does not fit, but the driver goes by it.
        said(done.map_err(|error| match error {
            Error::Unfit(why) => why,
            other => other.to_string(),
        }))
    };
    if let Ok(patched) = patches[0](input) {
        let (depth, _) = skiff_api::json::measure(&patched.object);
        assert!(depth <= skiff_api::json::MAX_DEPTH, "JSON Patch made {depth} levels");
    }
    patches.iter().map(one).collect()
}

/// What a patch writes is no longer than what it says and finds, but for escapes (six bytes for one).
const PATCH_GROWTH: usize = 6;

/// What the server would store of this object can be read again, and is not larger than `most`.
fn kept(object: &Value, most: usize) {
    let text = skiff_api::json::write(object);
    assert!(text.len() <= most, "{} bytes, at most {most}", text.len());
    if skiff_api::json::too_deep(object).is_none() {
        skiff_api::json::readable(&text).expect("what is not too deep is read");
    }
}

/// The cases of upstream, and towers: moved, copied and replaced into themselves, to the bound and beyond it.
fn patches() -> Vec<Vec<u8>> {
    let tower = |depth: usize| (0..depth).fold(json!({}), |within, _| json!({"a": within}));
    let deep = "/metadata/labels".to_owned() + &"/a".repeat(60);
    let moves = |times: usize| -> Value {
        let steps = (0..times).flat_map(|_| {
            [
                json!({"op": "add", "path": "/more", "value": {}}),
                json!({"op": "move", "from": "/spec", "path": "/more/a"}),
                json!({"op": "move", "from": "/more", "path": "/spec"}),
            ]
        });
        steps.collect()
    };
    let copies = (0..10).map(|i| {
        let path = "/spec".to_owned() + &"/spec".repeat(1 << i);
        json!({"op": "copy", "from": "/spec", "path": path})
    });
    let items = (0..20).map(|_| json!({"op": "copy", "from": "/spec", "path": "/spec/volumes/-"}));
    let labels =
        |value: Value| json!({"op": "replace", "path": "/metadata/labels", "value": value});
    let within = [labels(tower(60)), json!({"op": "add", "path": deep, "value": tower(60)})];
    let more: [Value; 8] = [
        moves(3),
        moves(150),
        copies.collect(),
        items.collect(),
        within.into_iter().collect(),
        json!([labels(tower(118))]),
        json!({"metadata": {"labels": tower(119)}, "spec": tower(120)}),
        json!({"spec": {"$patch": "replace", "volumes": [tower(117)]}}),
    ];
    let mut out = recorded("patch");
    out.extend(more.iter().map(|patch| patch.to_string().into_bytes()));
    out
}

/// Each field is there once, and once in the set of its manager, within the keys and names around it.
const APPLY_GROWTH: usize = 12;

/// To apply the same again changes nothing.
fn apply(input: &[u8]) -> String {
    let Ok(parsed) = skiff_api::json::parse(input) else { return "no JSON".into() };
    let write = apply::Write {
        schema: kind("Pod"),
        version: "v1",
        subresource: "",
        manager: "m",
        now: "2024-01-01T00:00:00Z",
        reset: &Set::default(),
        convert: None,
    };
    let mut config = parsed.value;
    if decode::decode(&mut config, kind("Pod"), decode::Mode::Warn).is_err() {
        return "no pod".into();
    }
    let first = apply::apply(&write, Some(&sample()), &config, Force::Yes);
    if let Ok(applied) = &first {
        let both = config.to_string().len() + sample().to_string().len();
        kept(&applied.object, APPLY_GROWTH * both);
        let again = apply::apply(&write, Some(&applied.object), &config, Force::No);
        assert_eq!(again.expect("it was applied").object, applied.object);
    }
    said(first.map_err(|error| error.to_string()))
}

/// Any text as a rule of a schema: what is wrong with it, or what it gives within a request's budget.
fn cel(input: &[u8]) -> String {
    let schema = json!({"type": "object", "properties": {
        "sails": {"type": "integer"}, "ratio": {"type": "number"}, "afloat": {"type": "boolean"},
        "name": {"type": "string", "maxLength": 40}, "when": {"type": "string", "format": "date-time"},
        "port": {"x-kubernetes-int-or-string": true}, "blob": {"type": "string", "format": "byte"},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "crew": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
            "items": {"type": "object", "properties": {"id": {"type": "integer"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    }});
    let object = json!({
        "sails": 3, "ratio": 0.5, "afloat": true, "name": "skiff\u{e9}", "when": "2026-01-02T03:04:05Z",
        "port": "http", "blob": "AAH/", "any": {"a": [1, "b", null]}, "tags": ["a", "b"],
        "crew": [{"id": 1}, {"id": 2}], "labels": {"k": "v", "l": "w"},
    });
    let decl = Decl::of(&schema, Place::Within, "selfType").expect("it has fields");
    let env = Env::default().declared("self", &decl).with_patches();
    let program = match Program::compile(&env, &String::from_utf8_lossy(input)) {
        Ok(program) => program,
        Err(faults) => return letters(&faults.to_string()),
    };
    let estimate = program.estimate();
    assert!(estimate.min <= estimate.max, "an estimate is a range");
    let bindings = env.bindings().set("self", Cel::of(&object, &decl).expect("as its schema says"));
    let mut budget = Budget::of_request();
    let kind = program.result().to_string();
    match program.run(&bindings, &mut budget) {
        Ok(_) => format!("{kind} {}", (RUNTIME_BUDGET - budget.left).max(1).ilog2()),
        Err(error) => letters(&error.to_string()),
    }
}

/// A message without what it cites, so that each kind of message is new once.
fn letters(message: &str) -> String {
    const LONGEST: usize = 40;
    let first = message.lines().next().unwrap_or_default();
    let parts = first.split(['\'', '"']).step_by(2).flat_map(str::chars);
    parts.filter(|it| it.is_alphabetic()).take(LONGEST).collect()
}

fn selector(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let (labels, fields) = (Selector::parse(&text), FieldSelector::parse(&text));
    if let Ok(labels) = &labels {
        labels.matches(|_| Some("x"));
        labels.exact();
    }
    if let Ok(fields) = &fields {
        fields.matches(|_| Some("x"));
    }
    said(labels) + &said(fields)
}

fn jsonpath(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let object = sample();
    let one = |path: Result<JsonPath, String>| match path {
        Ok(path) => said(path.find(&object)) + &said(path.render(&object)),
        Err(error) => error,
    };
    one(JsonPath::parse(&text)) + &one(JsonPath::column(&text))
}

/// What is written is canonical, of quantities and durations.
fn quantity(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let (parsed, time) = (Quantity::parse(&text), duration::parse(&text));
    if let Ok(quantity) = &parsed {
        let shown = quantity.to_string();
        let again = Quantity::parse(&shown).expect("what was written is read");
        assert_eq!(again.to_string(), shown, "{text}");
        let mut sum = again.clone();
        sum.add(quantity);
        sum.sub(quantity);
        std::hint::black_box((sum.value(), sum.milli_value(), sum.approximate()));
    }
    if let Ok(nanos) = &time {
        assert_eq!(duration::parse(&duration::format(*nanos)), Ok(*nanos), "{text}");
    }
    said(parsed) + &said(time)
}

fn reference(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    // What fails to be credentials names no secret in its error.
    let config = skiff_image::DockerConfig::parse(input);
    let parsed = skiff_image::Reference::parse(&text);
    if let Ok(reference) = &parsed {
        let again = skiff_image::Reference::parse(&reference.to_string());
        assert_eq!(again.expect("what was written is read"), *reference);
        if let Ok(config) = &config {
            config.lookup(reference);
        }
        reference.familiar();
    }
    said(parsed) + &said(config)
}

/// A folder that goes when it is dropped.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("a folder of our own");
    }
}

/// Whatever an archive says, nothing but the store's own folder is touched.
fn archive(input: &[u8]) -> String {
    let outer = std::env::temp_dir().join(format!("skiff-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&outer).expect("a temporary folder");
    let folder = Folder(outer);
    let settings = skiff_image::StoreOptions::new(skiff_base::World::seeded(1));
    let images = skiff_image::Images::open(&folder.0.join("images"), settings).expect("it opens");
    let loaded = images.load(input);
    drop(images);
    let beside = std::fs::read_dir(&folder.0).expect("the folder is still there").count();
    assert_eq!(beside, 1, "something was written outside of the store");
    said(loaded)
}

fn packed(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        out.append_data(&mut header, name, *bytes).expect("into memory");
    }
    out.into_inner().expect("into memory")
}

const SAVED: &[u8] = br#"[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l/layer.tar"]}]"#;

/// The input as every document of an archive.
fn manifest(input: &[u8]) -> String {
    let layer = packed(&[("etc/passwd", b"x")]);
    let saved = packed(&[("manifest.json", input), ("c.json", b"{}"), ("l/layer.tar", &layer)]);
    let config = packed(&[("manifest.json", SAVED), ("c.json", input), ("l/layer.tar", &layer)]);
    let index =
        packed(&[("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}"), ("index.json", input)]);
    [saved, config, index].iter().map(|it| archive(it)).collect()
}

/// Entries of one layer: each takes 1,536 bytes of a tar, however few it has here.
const ENTRIES_MOST: usize = 1000;

/// Entries of a layer, `|` between them: the type as tar has it, the name and, behind `>`, where it links to. Names are
/// given as PAX records, which hold any bytes.
fn layer(input: &[u8]) -> String {
    let mut layer = tar::Builder::new(Vec::new());
    for entry in input.split(|byte| *byte == b'|').take(ENTRIES_MOST) {
        let Some((kind, rest)) = entry.split_first() else { continue };
        let (name, link) = match rest.iter().position(|byte| *byte == b'>') {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, &rest[..0]),
        };
        let records = [("path", name), ("linkpath", link)];
        layer.append_pax_extensions(records).expect("into memory");
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_mode(0o6755);
        header.set_size(0);
        header.set_cksum();
        layer.append(&header, &[][..]).expect("into memory");
    }
    let layer = layer.into_inner().expect("into memory");
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        skiff_image::Digest::of(&layer)
    );
    let config = config.as_bytes();
    archive(&packed(&[("manifest.json", SAVED), ("c.json", config), ("l/layer.tar", &layer)]))
}

fn archives() -> Vec<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    for (kind, name, link) in [
        (tar::EntryType::Directory, "etc/", ""),
        (tar::EntryType::Symlink, "etc/a", "../../x"),
        (tar::EntryType::Link, "etc/b", "etc/a"),
        (tar::EntryType::Regular, "etc/.wh.c", ""),
        (tar::EntryType::Fifo, "etc/d", ""),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o755);
        match link {
            "" => layer.append_data(&mut header, name, &[][..]),
            link => layer.append_link(&mut header, name, link),
        }
        .expect("into memory");
    }
    let layer = layer.into_inner().expect("into memory");
    let members = [("manifest.json", SAVED), ("c.json", b"{}"), ("l/layer.tar", &layer[..])];
    vec![packed(&members), packed(&members[..2]), layer]
}

fn spdy_frames() -> Vec<Vec<u8>> {
    use crate::spdy::{Encoder, Frame, Side};
    let headers = || vec![("streamtype".to_owned(), "stdin".to_owned())];
    let open = Frame::Open { stream: 1, headers: headers(), side: Side::Open };
    let data = Frame::Data { stream: 1, bytes: b"hello".as_slice().into(), side: Side::Ends };
    let frames = [open, data, Frame::Ping(7), Frame::Reset { stream: 1, code: 5 }, Frame::GoAway];
    let mut encoder = Encoder::new();
    vec![frames.iter().flat_map(|frame| encoder.write(frame)).collect()]
}

fn spdy(input: &[u8]) -> String {
    let mut decoder = crate::spdy::Decoder::new();
    let mut frames = 0;
    // Cut anywhere, as a network does.
    for piece in input.chunks(1 + input.first().copied().map_or(0, usize::from)) {
        decoder.feed(piece);
        loop {
            match decoder.next() {
                Ok(Some(_)) => frames += 1,
                Ok(None) => break,
                Err(error) => return format!("{error} {frames}"),
            }
        }
    }
    "ok".into()
}

fn dns_queries() -> Vec<Vec<u8>> {
    files("dns")
}

fn dns(input: &[u8]) -> String {
    use hickory_proto::op::Message;
    let Ok(query) = Message::from_vec(input) else { return "no message".into() };
    let reply = skiff_dns::answer::reply_to(&query);
    skiff_dns::answer::room(&query);
    let bytes = reply.to_vec();
    if let Ok(bytes) = &bytes {
        Message::from_vec(bytes).expect("what was written is read");
    }
    match skiff_dns::answer::answer(&query, None) {
        skiff_dns::answer::Outcome::Answer(reply) => said(reply.to_vec()),
        _ => "elsewhere".into(),
    }
}

/// A user, a passwd file and a group file, parted by a zero byte. Digits are what they say, and whoever is found is
/// somebody whom the kernel takes for the same.
fn user(input: &[u8]) -> String {
    use skiff_runtime::container::user;
    let folder = std::env::temp_dir().join(format!("skiff-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("etc")).expect("a temporary folder");
    let folder = Folder(folder);
    let mut parts = input.splitn(3, |byte| *byte == 0);
    let asked = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    for file in ["etc/passwd", "etc/group"] {
        std::fs::write(folder.0.join(file), parts.next().unwrap_or_default()).expect("it is ours");
    }
    let found = user::resolve(&skiff_runtime::spec::Rootfs::Folder(folder.0.clone()), &asked);
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if let Ok(found) = &found {
        let (name, group) = asked.split_once(':').unwrap_or((&asked, ""));
        for (text, id) in [(name, found.uid), (group, found.gid)] {
            assert!(
                !digits(text) || text.is_empty() || text.parse() == Ok(id),
                "{asked}: {found:?}"
            );
        }
        let most = found.groups.iter().chain([&found.uid, &found.gid]).max();
        assert!(most.is_some_and(|id| *id <= i32::MAX as u32), "{asked}: {found:?}");
    }
    // What follows the last colon is the reason; what comes before names what was asked.
    said(found.map_err(|error| error.to_string().rsplit(':').next().unwrap_or_default().to_owned()))
}

fn facets(input: &[u8]) -> String {
    match crate::store::decode_facets(input) {
        Some(facets) => {
            let bytes = crate::store::encode_facets(&facets);
            assert_eq!(crate::store::decode_facets(&bytes), Some(facets));
            "ok".into()
        }
        None => "damaged".into(),
    }
}

/// Entries as a backup has them, bare and in a parcel.
fn backups() -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    for (sort, bytes) in [
        (EntryType::Meta, &br#"{"revision":7,"fixed":{"node":["n"]}}"#[..]),
        (EntryType::File, br#"{"path":"pki/ca.key"}"#),
        (EntryType::Data, b"text"),
        (EntryType::Record, &[7; 40]),
        (EntryType::End, br#"{"records":1}"#),
    ] {
        entries::put(&mut entries, sort, bytes).expect("it is small");
    }
    let mut wrap = Wrap::new(Vec::new(), None, &World::seeded(1)).expect("memory takes it");
    wrap.put(&entries).expect("memory takes it");
    vec![entries, wrap.finish().expect("memory takes it")]
}

fn backup(input: &[u8]) -> String {
    let read = |from: &mut dyn std::io::Read| {
        let mut count = 0;
        loop {
            match entries::next(from) {
                Ok(Some(_)) => count += 1,
                Ok(None) => return format!("{count} entries"),
                Err(error) => return format!("{count} entries, then {error}"),
            }
        }
    };
    let bare = read(&mut &input[..]);
    match Unwrap::new(input, || Ok(None)) {
        Ok(mut unwrapped) => format!("{bare}; {}", read(&mut unwrapped)),
        Err(error) => format!("{bare}; {error}"),
    }
}

fn encryption(input: &[u8]) -> String {
    match skiff_server::encrypt::config::Config::parse(input) {
        Ok(config) => format!("{} rules", config.resources().count()),
        Err(error) => error,
    }
}

/// What a webhook answers: whatever it is, it is refused, or is what a client may be told and a pod may become.
fn admission(input: &[u8]) -> String {
    let Ok(review) = skiff_api::json::parse(input) else { return "no JSON".into() };
    let mut out = String::new();
    for (version, sort) in
        [("v1", Sort::Mutating), ("v1", Sort::Validating), ("v1beta1", Sort::Mutating)]
    {
        let answer = match answer::read(review.value.clone(), version, sort, "u") {
            Ok(answer) => answer,
            Err(why) => {
                out += &why;
                continue;
            }
        };
        let told = (answer.annotations.len(), answer.warnings.len());
        assert!(told.0 <= answer::ANNOTATIONS_MOST && told.1 <= answer::WARNINGS_MOST);
        match answer.verdict {
            Err(status) => {
                let refusal = answer::refusal("hook.example.com", status);
                assert!((400..1000).contains(&refusal.code));
                out += &refusal.message;
            }
            Ok(allowed) => {
                assert!(sort == Sort::Mutating || allowed.patch.is_none());
                let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                                 "spec": {"containers": [{"name": "c", "image": "i"}]}});
                let Some(patch) = allowed.patch else { continue };
                let made = json_patch::apply(pod, &patch);
                out += &match made {
                    Ok(mut made) => {
                        said(decode::decode(&mut made.object, kind("Pod"), decode::Mode::Ignore))
                    }
                    Err(error) => error.to_string(),
                };
            }
        }
    }
    out
}

/// What a webhook that converts answers: the same object in another version, or nothing.
fn conversion(input: &[u8]) -> String {
    let Ok(review) = skiff_api::json::parse(input) else { return "no JSON".into() };
    let sent = Object::new(json!({"apiVersion": "example.com/v1", "kind": "Peer",
        "metadata": {"name": "a", "uid": "x", "labels": {"l": "m"}, "finalizers": ["f"]}}));
    let mut out = String::new();
    for version in ["v1", "v1beta1"] {
        let made = match converted::read(review.value.clone(), version, "u") {
            Ok(made) => made,
            Err(why) => {
                out += &why;
                continue;
            }
        };
        for made in made {
            match converted::check(Object::new(made), &sent, ("Peer", "example.com/v2")) {
                Err(Wrong::Object(why) | Wrong::Metadata(why)) => out += &why,
                Ok(made) => {
                    assert!(too_deep(made.value()).is_none());
                    for field in ["name", "uid", "finalizers", "namespace", "ownerReferences"] {
                        let path = format!("metadata.{field}");
                        assert_eq!(made.at(&path), sent.at(&path), "{field} stays");
                    }
                    out += "ok";
                }
            }
        }
    }
    out
}

/// What an aggregated server says that it serves: its own group, in names that a path can hold, or nothing.
fn discovery(input: &[u8]) -> String {
    let index = found::openapi(input, "/apis/x.io/v1");
    assert!(index.bytes().all(|it| it.is_ascii_alphanumeric()));
    match found::read(input, "x.io/v1") {
        Ok(found) => {
            for it in &found.resources {
                let bad = |it: char| it == '/' || it == '%' || it.is_whitespace();
                assert!(!it.plural.is_empty() && !it.plural.contains(bad), "{}", it.plural);
            }
            assert!(found.shown.len() >= found.resources.len());
            Value::from(found.shown).to_string()
        }
        Err(why) => why,
    }
}
