//! What upstream's encoder wrote.

use super::*;
use crate::protobuf::{ENVELOPE_END, envelope, open};
use serde_json::Value;

#[test]
fn local_testdata() {
    let folder = std::path::PathBuf::from(std::env::var("TESTDATA").expect("TESTDATA"));
    let (mut good, mut bad, mut none) = (0, 0, 0);
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "pb"))
        .collect();
    names.sort();
    for path in names {
        let golden = std::fs::read(&path).unwrap();
        let json = std::fs::read(path.with_extension("json")).unwrap();
        let value: Value = serde_json::from_slice(&json).unwrap();
        let (Some(api), Some(kind)) = (value["apiVersion"].as_str(), value["kind"].as_str()) else {
            println!("no type in {path:?}");
            continue;
        };
        let (group, version) = api.split_once('/').unwrap_or(("", api));
        let Some(of) = crate::schema::gvk(group, version, kind) else {
            none += 1;
            continue;
        };
        let mut out = Vec::new();
        let mut compact = serde_json::to_vec(&value).unwrap();
        if std::env::var("RAW").is_ok() {
            compact = json;
        }
        let r = encode(&compact, of, &mut out);
        let mut whole = envelope(api, kind, out.len());
        whole.extend(&out);
        whole.extend(ENVELOPE_END);
        if r.is_err() || whole != golden {
            bad += 1;
            let raw = open(&golden).unwrap().raw.to_vec();
            let at =
                raw.iter().zip(&out).position(|(a, b)| a != b).unwrap_or(raw.len().min(out.len()));
            println!(
                "{} {r:?} at {at} of {} / {}\n  golden {:?}\n  ours   {:?}",
                path.file_name().unwrap().to_string_lossy(),
                raw.len(),
                out.len(),
                String::from_utf8_lossy(&raw[at.saturating_sub(30)..(at + 40).min(raw.len())]),
                String::from_utf8_lossy(
                    &out[at.saturating_sub(30).min(out.len())..(at + 40).min(out.len())]
                )
            );
        } else {
            good += 1;
        }
    }
    println!("good {good} bad {bad} none {none}");
}
