//! The API beside upstream's in one run: each sort of load goes to the one, then to the other.

use crate::cluster::client;
use crate::{Row, ask, load, number};
use anyhow::{Context, Result, ensure};
use skiff_json::Value;
use skiff_tests::cluster::Cluster;
use skiff_tests::kit;
use std::process::Command;

/// Upstream's kube-apiserver and etcd (see tests/kit/oracle), taken away at the end.
struct Peer;

impl Peer {
    fn start() -> Result<Peer> {
        let up = Peer::oracle().arg("up").output().context("start tests/kit/oracle")?;
        ensure!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
        Ok(Peer)
    }

    fn oracle() -> Command {
        let mut command = Command::new(kit::root().join("tests/kit/oracle"));
        command.env("NAME", "skiff-bench");
        command
    }

    fn client(&self) -> Result<Command> {
        let mut command = Peer::oracle();
        command.arg("run").arg(std::env::current_exe().context("find this program")?);
        Ok(command)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Err(e) = Peer::oracle().arg("down").output() {
            eprintln!("upstream's control plane may still run: {e}");
        }
    }
}

/// Asks both for the same.
fn both(cluster: &Cluster, peer: &Peer, words: &[&str]) -> Result<(Value, Value)> {
    let ours = ask(client(cluster)?, words).context("Skiff")?;
    let theirs = ask(peer.client()?, words).context("upstream")?;
    eprintln!("{words:?}\n  skiff    {ours}\n  upstream {theirs}");
    Ok((ours, theirs))
}

pub fn throughput() -> Result<Vec<Row>> {
    figures("bench-api", load::SORTS)
}

pub fn protobuf() -> Result<Vec<Row>> {
    figures("bench-protobuf", load::IN_PROTOBUF)
}

fn figures(name: &str, sorts: &[&str]) -> Result<Vec<Row>> {
    let cluster = Cluster::start(name);
    let peer = Peer::start()?;
    let mut rows = Vec::new();
    for type_ in sorts {
        let (ours, theirs) = both(&cluster, &peer, &["load", type_])?;
        let (ours, theirs) = (number(&ours, "per_s")?, number(&theirs, "per_s")?);
        rows.push(Row {
            figure: format!("API: {type_}, 64 at once"),
            ours: format!("{ours:.0} /s"),
            peer: Some((format!("{theirs:.0} /s"), ours / theirs)),
            goal: "ahead",
        });
    }
    cluster.skiff(&["delete"]);
    Ok(rows)
}

pub fn watchers() -> Result<Vec<Row>> {
    let cluster = Cluster::start("bench-watchers");
    let peer = Peer::start()?;
    let show = |it: &Value| -> Result<String> {
        let (p99, lost) = (number(it, "p99_ms")?, number(it, "lost")?);
        Ok(match lost {
            0.0 => format!("{p99:.1} ms"),
            _ => format!("{p99:.1} ms, {lost} lost"),
        })
    };
    let mut rows = Vec::new();
    for (shown, figure) in [
        ("objects", "event to 1,000 watchers at 60 writes/s, p99"),
        ("tables", "the same with pods as Table"),
    ] {
        let (ours, theirs) = both(&cluster, &peer, &["watchers", shown])?;
        let ratio = number(&theirs, "p99_ms")? / number(&ours, "p99_ms")?;
        rows.push(Row {
            figure: figure.to_owned(),
            ours: show(&ours)?,
            peer: Some((show(&theirs)?, ratio)),
            goal: "< 50 ms",
        });
        if let Some(made) = ours["made"].as_f64() {
            let made = format!("{made:.2}");
            rows.push(Row::alone("renditions made for each event of those", made, "1"));
        }
    }
    cluster.skiff(&["delete"]);
    Ok(rows)
}
