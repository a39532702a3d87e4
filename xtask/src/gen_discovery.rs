//! Writes the discovery table: every resource that upstream's server offers, one line each.
//!
//! ```text
//! group apps v1
//! apps/v1 deployments Deployment namespaced create,delete,get singular=deployment short=deploy
//! apps/v1 deployments/scale Scale namespaced get,patch,update as=autoscaling/v1
//! ```
//! Groups stand in the order of discovery, their versions in order of preference.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::Value;

pub fn table(read: &dyn Fn(&str) -> Result<Value>) -> Result<String> {
    let mut out = String::from(
        "# Discovery of Kubernetes v1.37. Made by `cargo xtask gen`; never edit.\n\
         # group NAME VERSION...   (the core group has the name -)\n\
         # group/version resource kind scope verbs [singular=] [short=] [categories=] [as=] \
         [storage=]\n\
         group - v1\n",
    );
    resources(&mut out, "v1", &read("api__v1.json")?)?;
    let groups = read("apis.json")?;
    for group in groups["groups"].as_array().context("apis.json lists groups")? {
        let name = group["name"].as_str().context("a group has a name")?;
        let versions: Vec<&str> = group["versions"]
            .as_array()
            .context("a group has versions")?
            .iter()
            .filter_map(|it| it["version"].as_str())
            .collect();
        writeln!(out, "group {name} {}", versions.join(" "))?;
        for version in versions {
            let document = read(&format!("apis__{name}__{version}.json"))?;
            resources(&mut out, &format!("{name}/{version}"), &document)?;
        }
    }
    Ok(out)
}

fn resources(out: &mut String, group_version: &str, document: &Value) -> Result<()> {
    for it in document["resources"].as_array().context("a group version lists resources")? {
        let text = |key: &str| it[key].as_str().unwrap_or_default();
        let list = |key: &str| {
            let values = it[key].as_array().into_iter().flatten();
            values.filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        };
        let scope = if it["namespaced"] == true { "namespaced" } else { "cluster" };
        write!(out, "{group_version} {} {} {scope} {}", text("name"), text("kind"), list("verbs"))?;
        let shown_as = match (text("group"), text("version")) {
            (_, "") => String::new(),
            ("", version) => version.to_string(),
            (group, version) => format!("{group}/{version}"),
        };
        let extras = [
            ("singular", text("singularName").to_string()),
            ("short", list("shortNames")),
            ("categories", list("categories")),
            ("as", shown_as),
            ("storage", text("storageVersionHash").to_string()),
        ];
        for (key, value) in extras.iter().filter(|(_, value)| !value.is_empty()) {
            write!(out, " {key}={value}")?;
        }
        out.push('\n');
    }
    Ok(())
}
