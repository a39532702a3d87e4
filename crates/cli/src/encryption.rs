//! `skiff secrets-encrypt`: how secrets lie on the disk, and everything written anew.

use crate::admin::Admin;
use crate::run::Run;
use crate::{lifecycle, say};
use anyhow::{Context, Result, bail};
use clap::ArgMatches;
use http::Method;
use skiff_json::{Value, json};

pub async fn run(run: &Run<'_>, words: &ArgMatches) -> Result<u8> {
    let (word, words) = words.subcommand().context("clap asks for a command")?;
    let mut admin = lifecycle::running(run).await?;
    match word {
        "status" => status(run, &mut admin, words).await?,
        "rotate" => {
            rewrite(&mut admin, "/encryption/rotate", "A new key; the old ones are gone").await?
        }
        "reencrypt" => {
            rewrite(&mut admin, "/encryption/rewrite", "All as the configuration says").await?
        }
        other => bail!("there is no command secrets-encrypt {other}"),
    }
    Ok(0)
}

async fn rewrite(admin: &mut Admin, path: &str, done: &str) -> Result<()> {
    let told = admin.post(path, &json!({})).await?;
    let written = told["written"].as_u64().unwrap_or(0);
    say::step(format_args!("{done}: {written} objects were written again"));
    Ok(())
}

async fn status(run: &Run<'_>, admin: &mut Admin, words: &ArgMatches) -> Result<()> {
    let told = admin.ask(Method::GET, "/encryption").await?;
    if words.get_one::<String>("output").is_some_and(|format| format == "json") {
        say::line(format_args!("{told:#}"));
        return Ok(());
    }
    lines(&told).iter().for_each(say::line);
    if told["stale"].as_u64().unwrap_or(0) > 0 {
        say::line(format_args!("next: `{}`", run.command("secrets-encrypt reencrypt")));
    }
    Ok(())
}

fn lines(told: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let mut lines = vec![format!("encryption: {}", text(&told["source"]))];
    for row in told["forms"].as_array().into_iter().flatten() {
        let form = match row["form"].as_str().unwrap_or("") {
            "" => "plain".to_owned(),
            form => form.trim_end_matches(':').to_owned(),
        };
        lines.push(format!("{}: {} {form}", text(&row["resource"]), row["count"]));
    }
    if let Some(stale) = told["stale"].as_u64().filter(|stale| *stale > 0) {
        lines.push(format!("{stale} would be written otherwise today"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn it_says_how_secrets_lie() {
        let told = json!({"source": "keys of its own", "stale": 2, "forms": [
            {"resource": "secrets", "form": "", "count": 2},
            {"resource": "secrets", "form": "k8s:enc:secretbox:v1:key1:", "count": 9}]});
        expect![[r#"
            encryption: keys of its own
            secrets: 2 plain
            secrets: 9 k8s:enc:secretbox:v1:key1
            2 would be written otherwise today"#]]
        .assert_eq(&lines(&told).join("\n"));
    }
}
