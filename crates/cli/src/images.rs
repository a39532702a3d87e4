//! `skiff image`: load, pull, list, remove, in the words and columns of `docker images`.

use crate::admin::{Admin, Body};
use crate::run::Run;
use crate::{layout, lifecycle, say};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::ArgMatches;
use futures_util::{Stream, TryStreamExt, stream};
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use skiff_base::World;
use skiff_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::Path;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What is read of an archive at once.
const CHUNK: usize = 256 << 10;
/// Hexadecimal digits of an ID that are shown.
const SHORT_ID: usize = 12;

pub async fn run(run: &Run<'_>, words: &ArgMatches) -> Result<u8> {
    let (word, words) = words.subcommand().context("clap asks for a command")?;
    let mut admin = lifecycle::running(run).await?;
    match word {
        "load" => load(&mut admin, words).await?,
        "ls" => list(&mut admin, words).await?,
        "rm" => remove(&mut admin, words).await?,
        "pull" => pull(&mut admin, words).await?,
        other => bail!("there is no command image {other}"),
    }
    Ok(0)
}

fn all<'a>(words: &'a ArgMatches, name: &str) -> impl Iterator<Item = &'a String> {
    words.get_many::<String>(name).into_iter().flatten()
}

async fn load(admin: &mut Admin, words: &ArgMatches) -> Result<()> {
    for file in all(words, "files") {
        let answer = match file.as_str() {
            "-" if io::stdin().is_terminal() => {
                bail!(
                    "the standard input is a terminal: use `docker save IMAGE | skiff image load -`"
                )
            }
            "-" => send(admin, tokio::io::stdin()).await,
            path if Path::new(path).is_dir() => {
                let pieces = layout::archive(Path::new(path))?;
                upload(
                    admin,
                    stream::unfold(pieces, async |mut pieces| Some((pieces.recv().await?, pieces))),
                )
                .await
            }
            path => {
                let opened = tokio::fs::File::open(path).await;
                send(admin, opened.with_context(|| unopened(path))?).await
            }
        };
        let answer = answer.with_context(|| format!("loading {file}"))?;
        for name in answer["loaded"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            match name.starts_with("sha256:") {
                true => say::line(format_args!("Loaded image ID: {name}")),
                false => say::line(format_args!("Loaded image: {name}")),
            }
        }
    }
    Ok(())
}

/// Somebody who types the name of an image instead of a file has it in Docker, most likely.
fn unopened(path: &str) -> String {
    let is_name =
        !path.starts_with(['/', '.']) && !path.ends_with(".tar") && !path.contains(".tar.");
    match is_name && !Path::new(path).exists() {
        true => format!(
            "opening {path} (an image of Docker's: `docker save {path} | skiff image load -`)"
        ),
        false => format!("opening {path}"),
    }
}

async fn send(admin: &mut Admin, reader: impl AsyncRead + Send + Unpin + 'static) -> Result<Value> {
    let pieces = stream::try_unfold(reader, |mut reader| async move {
        let mut chunk = vec![0; CHUNK];
        let n = reader.read(&mut chunk).await?;
        chunk.truncate(n);
        Ok::<_, io::Error>((n > 0).then(|| (Bytes::from(chunk), reader)))
    });
    upload(admin, pieces).await
}

async fn upload(
    admin: &mut Admin,
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Result<Value> {
    let body: Body = StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync();
    admin.send(Method::POST, "/images/load", body).await
}

async fn list(admin: &mut Admin, words: &ArgMatches) -> Result<()> {
    let answer = admin.ask(Method::GET, "/images").await?;
    if words.get_one::<String>("output").is_some_and(|format| format == "json") {
        say::line(format_args!("{:#}", answer["images"]));
        return Ok(());
    }
    let images = answer["images"].as_array().context("the daemon's answer holds no list")?;
    if words.get_flag("quiet") {
        images.iter().for_each(|image| say::line(short(image)));
        return Ok(());
    }
    let now = World::real().now().as_second();
    let head = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"].map(str::to_owned);
    let mut rows: Vec<_> = images.iter().flat_map(|image| image_rows(image, now)).collect();
    rows.sort();
    rows.insert(0, head.to_vec());
    say::table(&rows);
    Ok(())
}

/// A row for each tag; an image without any has one all the same.
fn image_rows(image: &Value, now: i64) -> Vec<Vec<String>> {
    let names = |key: &str| {
        let names = image[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut names_and_tags: Vec<(String, String)> = names("tags")
        .iter()
        .filter_map(|name| name.rsplit_once(':'))
        .map(|(repository, tag)| (repository.to_owned(), tag.to_owned()))
        .collect();
    if names_and_tags.is_empty() {
        let digest = names("digests")
            .first()
            .and_then(|name| name.split_once('@'))
            .map_or("<none>".to_owned(), |(repository, _)| repository.to_owned());
        names_and_tags.push((digest, "<none>".to_owned()));
    }
    let created = image["created"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    // Images that are built the same twice have no time, or the epoch.
    let created = created.map(|time| time.as_second()).filter(|second| *second > 0);
    let created = created.map_or("N/A".to_owned(), |second| format!("{} ago", span(now - second)));
    let size = size(image["size"].as_u64().unwrap_or(0));
    names_and_tags
        .into_iter()
        .map(|(repository, tag)| vec![repository, tag, short(image), created.clone(), size.clone()])
        .collect()
}

fn short(image: &Value) -> String {
    let id = image["id"].as_str().unwrap_or("").trim_start_matches("sha256:");
    id.chars().take(SHORT_ID).collect()
}

/// Bytes in decimal units, with three digits that count: `4.43MB`.
fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, 0);
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value >= 100.0 || unit == 0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

/// A span in the words of `docker images`.
fn span(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{} minutes", seconds / MINUTE),
        3600..5400 => "About an hour".to_owned(),
        5400..172_800 => format!("{} hours", (seconds + HOUR / 2) / HOUR),
        172_800..1_209_600 => format!("{} days", seconds / DAY),
        1_209_600..5_184_000 => format!("{} weeks", seconds / DAY / 7),
        5_184_000..63_072_000 => format!("{} months", seconds / DAY / 30),
        _ => format!("{} years", seconds / DAY / 365),
    }
}

async fn remove(admin: &mut Admin, words: &ArgMatches) -> Result<()> {
    for name in all(words, "names") {
        let force = words.get_flag("force");
        let answer = admin.post("/images/remove", &json!({"name": name, "force": force})).await?;
        for gone in answer["untagged"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            say::line(format_args!("Untagged: {gone}"));
        }
        if let Some(id) = answer["deleted"].as_str() {
            say::line(format_args!("Deleted: {id}"));
        }
    }
    Ok(())
}

async fn pull(admin: &mut Admin, words: &ArgMatches) -> Result<()> {
    for name in all(words, "names") {
        let mut progress = Progress::default();
        let each = |line: &Value| progress.tell(line);
        let last = admin.lines("/images/pull", &json!({"name": name}), each).await;
        progress.clear();
        let last = last?;
        say::line(format_args!(
            "Pulled {} ({})",
            last["name"].as_str().unwrap_or(name),
            short(&last)
        ));
    }
    Ok(())
}

/// What is said while an image is pulled: a line for each layer that is complete, and on a terminal a
/// last line that tells how far it all is.
#[derive(Default)]
struct Progress {
    /// Bytes that have come, and that are to come, by layer.
    layers: BTreeMap<String, (u64, u64)>,
}

impl Progress {
    fn tell(&mut self, line: &Value) {
        let Some(blob) = line["blob"].as_str() else { return };
        let [done, total] = ["done", "total"].map(|key| line[key].as_u64().unwrap_or(0));
        self.clear();
        let before = self.layers.insert(blob.to_owned(), (done, total));
        if done == total && before.is_none_or(|(done, total)| done < total) {
            let id: String = blob.trim_start_matches("sha256:").chars().take(SHORT_ID).collect();
            say::line(format_args!("{id}: Pull complete ({})", size(total)));
        }
        say::passing(self.text());
    }

    fn text(&self) -> String {
        let layers = || self.layers.values();
        let (done, total) = layers().fold((0, 0), |(a, b), (done, total)| (a + done, b + total));
        let complete = layers().filter(|(done, total)| done == total).count();
        let percent = (done * 100).checked_div(total).unwrap_or(100);
        format!(
            "{percent}%  {} of {}, {complete} of {} layers",
            size(done),
            size(total),
            self.layers.len()
        )
    }

    fn clear(&self) {
        if !self.layers.is_empty() {
            say::passing("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn progress_is_of_all_layers() {
        let mut progress = Progress::default();
        for (blob, done, total) in [("a", 5, 10), ("b", 0, 1_000), ("a", 10, 10), ("c", 0, 0)] {
            progress.tell(&json!({"blob": blob, "done": done, "total": total}));
        }
        assert_eq!(progress.text(), "0%  10B of 1.01kB, 2 of 3 layers");
    }

    #[test]
    fn a_name_that_is_no_file_has_a_hint() {
        assert!(unopened("my/app:1").contains("`docker save my/app:1 | skiff image load -`"));
        for file in ["./my", "/tmp/x", "app.tar", "app.tar.gz", "Cargo.toml"] {
            assert_eq!(unopened(file), format!("opening {file}"));
        }
    }

    #[test]
    fn sizes_and_spans_as_docker_prints_them() {
        let sizes = [0, 999, 1_000, 4_430_000, 77_800_000, 187_900_000, 1_090_000_000];
        let sizes: Vec<_> = sizes.into_iter().map(size).collect();
        expect!["0B 999B 1kB 4.43MB 77.8MB 188MB 1.09GB"].assert_eq(&sizes.join(" "));
        let spans: Vec<_> =
            [0, 1, 59, 60, 150, 3_600, 7_200, 90_000, 172_800, 1_300_000, 6_000_000]
                .into_iter()
                .chain([70_000_000])
                .map(span)
                .collect();
        expect![[r#"
            Less than a second
            1 second
            59 seconds
            About a minute
            2 minutes
            About an hour
            2 hours
            25 hours
            2 days
            2 weeks
            2 months
            2 years"#]]
        .assert_eq(&spans.join("\n"));
    }

    #[test]
    fn a_row_for_each_tag() {
        let image = json!({
            "id": "sha256:0123456789abcdef", "tags": ["busybox:1", "localhost:5000/x/y:z"],
            "digests": [], "size": 1_500, "created": "1970-01-01T00:00:00Z",
        });
        let rows: Vec<_> = image_rows(&image, 100).iter().map(|row| row.join(" ")).collect();
        assert_eq!(
            rows,
            ["busybox 1 0123456789ab N/A 1.5kB", "localhost:5000/x/y z 0123456789ab N/A 1.5kB"]
        );
        let image = json!({"id": "sha256:01", "digests": ["a@sha256:2"], "tags": [], "size": 1});
        assert_eq!(image_rows(&image, 0)[0].join(" "), "a <none> 01 N/A 1B");
    }
}
