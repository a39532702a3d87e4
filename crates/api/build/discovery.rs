//! Writes the statics of discovery: what upstream's server offers, in upstream's order.

use std::fmt::Write;

pub fn statics(table: &str) -> String {
    let mut groups = String::from("pub static GROUPS: &[Group] = &[\n");
    let mut resources = String::from("pub static RESOURCES: &[ApiResource] = &[\n");
    for line in table.lines().filter(|it| !it.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["group", name, versions @ ..] = &words[..] {
            let name = if *name == "-" { "" } else { name };
            writeln!(groups, "    Group {{ name: {name:?}, versions: &{versions:?} }},")
        } else {
            let [group_version, name, kind, scope, verbs, extras @ ..] = &words[..] else {
                panic!("not a line of discovery: {line}");
            };
            let (group, version) = split(group_version);
            let extra = |key: &str| {
                extras.iter().find_map(|it| it.strip_prefix(key)?.strip_prefix('=')).unwrap_or("")
            };
            let list = |text: &'static str| -> Vec<String> {
                extra(text).split(',').filter(|it| !it.is_empty()).map(str::to_string).collect()
            };
            let shown_as = match extra("as") {
                "" => (group, version),
                other => split(other),
            };
            writeln!(
                resources,
                "    ApiResource {{ group: {group:?}, version: {version:?}, name: {name:?}, \
                 kind: {kind:?}, kind_group: {:?}, kind_version: {:?}, namespaced: {}, \
                 verbs: &{:?}, singular: {:?}, short: &{:?}, categories: &{:?}, \
                 storage: {:?} }},",
                shown_as.0,
                shown_as.1,
                *scope == "namespaced",
                verbs.split(',').collect::<Vec<_>>(),
                extra("singular"),
                list("short"),
                list("categories"),
                extra("storage"),
            )
        }
        .expect("strings grow");
    }
    groups + "];\n" + &resources + "];\n"
}

fn split(group_version: &str) -> (&str, &str) {
    group_version.split_once('/').unwrap_or(("", group_version))
}
