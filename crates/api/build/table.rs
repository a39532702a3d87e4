//! Writes the statics of the schema tree: a `Struct` and its fields for each definition.
//!
//! The table's grammar is described where it is written (`xtask`, chore `gen`). Types refer to each
//! other by definition name; here a name becomes the address of a static, so cycles cost nothing.

use crate::natural::natural;
use std::collections::BTreeMap;
use std::fmt::Write;

pub fn statics(table: &str) -> String {
    let lines: Vec<&str> = table.lines().filter(|it| !it.starts_with('#')).collect();
    let mut names = BTreeMap::new();
    for line in lines.iter().filter(|it| !it.starts_with(' ')) {
        let words: Vec<&str> = line.split(' ').collect();
        names.insert(words[0], (names.len(), words.contains(&"atomic")));
    }
    let mut writer = Writer { names, out: String::new(), nodes: String::new(), count: 0 };
    let mut fields = Vec::new();
    let mut kinds = Vec::new();
    for line in lines.iter().rev() {
        if let Some(field) = line.strip_prefix("  ") {
            fields.push(field);
        } else {
            fields.reverse();
            writer.definition(line, &fields, &mut kinds);
            fields.clear();
        }
    }
    writer.finish(kinds)
}

struct Writer<'a> {
    /// A definition's number and whether its type is atomic.
    names: BTreeMap<&'a str, (usize, bool)>,
    out: String,
    nodes: String,
    count: usize,
}

impl<'a> Writer<'a> {
    fn definition(&mut self, line: &'a str, lines: &[&str], kinds: &mut Vec<(&'a str, usize)>) {
        let fields: String = lines.iter().map(|field| self.field(field)).collect();
        let wire = wire(lines);
        let words: Vec<&str> = line.split(' ').collect();
        let (number, atomic) = self.names[words[0]];
        let topology = if atomic { "Atomic" } else { "Granular" };
        kinds.extend(words.iter().filter_map(|it| Some((it.strip_prefix("gvk=")?, number))));
        writeln!(
            self.out,
            "static F{number}: &[Field] = &[\n{fields}];\nstatic S{number}: Struct = Struct {{ \
             name: Cow::Borrowed({:?}), go: Cow::Borrowed({:?}), fields: Cow::Borrowed(F{number}), \
             topology: Topology::{topology}, open: false, wire: &{wire:?} }};",
            words[0], words[1],
        )
        .expect("strings grow");
    }

    fn field(&mut self, line: &str) -> String {
        let (line, default) = match line.split_once(" default=") {
            Some((line, default)) => (line, format!("Some(Cow::Borrowed({default:?}))")),
            None => (line, "None".into()),
        };
        let words: Vec<&str> = line.split(' ').collect();
        let [name, shape, emit, tag, extras @ ..] = &words[..] else {
            panic!("not a field: {line}");
        };
        let extra = |key: &str| extras.iter().find_map(|it| it.strip_prefix(key));
        let go = extra("go=").map_or_else(|| natural(shape), str::to_string);
        let topology = self.topology(shape, &go, extra("list="), extra("map="));
        let node = self.node(shape, &topology);
        let strategy = strategy(extra("patch="), extra("key="));
        let emit = match *emit {
            "always" => "Always",
            "notempty" => "NotEmpty",
            "present" => "Present",
            "null" => "Null",
            other => panic!("no such way to show: {other}"),
        };
        let values = extra("enum=").into_iter().flat_map(|it| it.split(','));
        let values: Vec<String> = values.map(|it| it.replace('~', " ")).collect();
        let (required, said_atomic) = (extras.contains(&"req"), extras.contains(&"list=~atomic"));
        format!(
            "    Field {{ name: Cow::Borrowed({name:?}), go: Cow::Borrowed({go:?}), \
             inline: {}, node: {node}, required: {required}, emit: Emit::{emit}, \
             topology: {topology}, said_atomic: {said_atomic}, strategy: {strategy}, default: {default}, \
             values: &{values:?}, \
             tag: {tag} }},\n",
            inline(extra("via=")),
        )
    }

    fn node(&mut self, shape: &str, topology: &str) -> String {
        let shape = self.shape(shape);
        format!("Node {{ shape: {shape}, topology: {topology}, default: None, rules: None }}")
    }

    fn shape(&mut self, shape: &str) -> String {
        let of = |name: &str| format!("Shape::{name}");
        match shape {
            "any" => of("Any"),
            "bool" => of("Bool"),
            "int32" => of("Int32"),
            "int64" => of("Int64"),
            "float" => of("Float"),
            "string" => of("String"),
            "bytes" => of("Bytes"),
            "time" => of("Time"),
            "microtime" => of("MicroTime"),
            "duration" => of("Duration"),
            "quantity" => of("Quantity"),
            "intorstring" => of("IntOrString"),
            _ => match (shape.strip_prefix("[]"), shape.strip_prefix("{}")) {
                (Some(element), _) => format!("Shape::List(Ref::Static(&{}))", self.part(element)),
                (_, Some(element)) => format!("Shape::Map(Ref::Static(&{}))", self.part(element)),
                _ => format!("Shape::Struct(Ref::Static(&S{}))", self.names[shape].0),
            },
        }
    }

    /// The static node of a list's or map's elements.
    fn part(&mut self, shape: &str) -> String {
        let topology = self.topology(shape, "", None, None);
        let node = self.node(shape, &topology);
        self.count += 1;
        writeln!(self.nodes, "static N{}: Node = {node};", self.count).expect("strings grow");
        format!("N{}", self.count)
    }

    fn topology(&self, shape: &str, go: &str, list: Option<&str>, map: Option<&str>) -> String {
        let atomic = match (list, map) {
            (Some("~set"), _) => return "Topology::Set".into(),
            (Some("~atomic"), _) => true,
            (Some(keys), _) => return keyed(keys),
            (_, Some(map)) => map == "atomic",
            _ if shape.starts_with("[]") => true,
            // Upstream's schema calls a raw extension an object and other raw JSON a scalar.
            _ if shape == "any" => go != "runtime.RawExtension",
            _ => self.names.get(shape).is_some_and(|(_, atomic)| *atomic),
        };
        if atomic { "Topology::Atomic".into() } else { "Topology::Granular".into() }
    }

    fn finish(self, mut kinds: Vec<(&str, usize)>) -> String {
        let mut out = self.out + &self.nodes;
        out.push_str("pub static DEFINITIONS: &[&Struct] = &[\n");
        for (number, _) in self.names.values() {
            writeln!(out, "    &S{number},").expect("strings grow");
        }
        out.push_str("];\npub static KINDS: &[(Gvk, &Struct)] = &[\n");
        kinds.sort_by_key(|(gvk, _)| gvk.split('/').collect::<Vec<_>>());
        for (gvk, number) in kinds {
            let [group, version, kind] = gvk.split('/').collect::<Vec<_>>()[..] else {
                panic!("not a group-version-kind: {gvk}");
            };
            writeln!(
                out,
                "    (Gvk {{ group: {group:?}, version: {version:?}, kind: {kind:?} }}, &S{number}),"
            )
            .expect("strings grow");
        }
        out + "];\n"
    }
}

/// The places of fields in the order in which protobuf writes them; those without a number are not written.
fn wire(fields: &[&str]) -> Vec<usize> {
    let path = |line: &str| -> Vec<u32> {
        let words: Vec<&str> = line.split(' ').collect();
        let via = words.iter().find_map(|it| it.strip_prefix("via=")).unwrap_or("");
        let outer = via.split('.').filter_map(|it| it.split_once('#')).map(|(_, tag)| tag);
        outer.chain([words[3]]).map(|tag| tag.parse().expect("a field number")).collect()
    };
    let mut paths: Vec<(Vec<u32>, usize)> =
        fields.iter().enumerate().map(|(at, line)| (path(line), at)).collect();
    paths.retain(|(path, _)| path.iter().all(|tag| *tag > 0));
    paths.sort();
    paths.into_iter().map(|(_, at)| at).collect()
}

fn keyed(keys: &str) -> String {
    let keys: Vec<String> = keys.split(',').map(|it| format!("Cow::Borrowed({it:?})")).collect();
    format!("Topology::Keyed(Cow::Borrowed(&[{}]))", keys.join(", "))
}

fn strategy(patch: Option<&str>, key: Option<&str>) -> String {
    match (patch, key) {
        (None, _) => "Strategy::Default".into(),
        (Some("retainKeys"), _) => "Strategy::RetainKeys".into(),
        (Some("replace"), _) => "Strategy::Replace".into(),
        (Some("merge"), None) => "Strategy::MergeSet".into(),
        (Some(merge), Some(key)) => format!(
            "Strategy::Merge {{ key: Cow::Borrowed({key:?}), retain_keys: {} }}",
            merge == "merge,retainKeys"
        ),
        (Some(other), None) => panic!("no such patch strategy: {other}"),
    }
}

fn inline(via: Option<&str>) -> String {
    let parts = via.into_iter().flat_map(|it| it.split('.')).map(|it| {
        let (go, tag) = it.split_once('#').expect("an embedded struct has a number");
        format!("Inline {{ go: {go:?}, tag: {tag} }}")
    });
    format!("&[{}]", parts.collect::<Vec<_>>().join(", "))
}
