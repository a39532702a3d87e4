//! Files of one volume that would lie over each other: one would hide the other, or take the place of its folder.

use skiff_api::check::*;
use skiff_api::object::at;
use skiff_json::Value;

/// A file of a volume, and what it comes from where that is one of several.
#[derive(Clone, PartialEq)]
struct File {
    path: String,
    source: String,
}

impl std::fmt::Display for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.source {
            "" => write!(f, "{:?}", self.path),
            source => write!(f, "{:?} ({source})", self.path),
        }
    }
}

/// The warnings about the volumes of a pod.
pub fn overlaps(volumes: &[Value]) -> Vec<String> {
    let mut out = Vec::new();
    for volume in volumes {
        let name = text(volume, "name");
        for (field, word, key) in
            [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")]
        {
            if let Some(source) = at(volume, field) {
                let about = format!("{word} {:?}", text(source, key));
                collide(&items(source, ""), name, &about, &mut out);
            }
        }
        if let Some(source) = at(volume, "downwardAPI") {
            collide(&items(source, ""), name, "DownwardAPI", &mut out);
        }
        let mut all = Vec::new();
        for source in list(volume, "projected.sources") {
            if source.as_object().is_none_or(skiff_json::Map::is_empty) {
                out.push(format!("volume {name:?} (Projected) has no sources provided"));
            }
            all.extend(projected(source));
        }
        collide(&all, name, "Projected", &mut out);
    }
    out
}

fn items(source: &Value, about: &str) -> Vec<File> {
    let file = |item| File { path: text(item, "path").to_owned(), source: about.to_owned() };
    list(source, "items").iter().map(file).collect()
}

fn projected(source: &Value) -> Vec<File> {
    let one = |path: &str, source: String| File { path: path.to_owned(), source };
    for (field, word) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
        if let Some(from) = at(source, field) {
            return items(from, &format!("{word} {:?}", text(from, "name")));
        }
    }
    if let Some(from) = at(source, "downwardAPI") {
        return items(from, "DownwardAPI");
    }
    if let Some(from) = at(source, "serviceAccountToken") {
        return vec![one(text(from, "path"), "ServiceAccountToken".into())];
    }
    if let Some(from) = at(source, "clusterTrustBundle") {
        let name = [text(from, "name"), text(from, "signerName")];
        let name = name.iter().find(|name| !name.is_empty()).copied().unwrap_or("");
        return vec![one(text(from, "path"), format!("ClusterTrustBundle {name:?}"))];
    }
    let Some(from) = at(source, "podCertificate") else { return Vec::new() };
    let parts = [
        ("certificateChainPath", "chain"),
        ("keyPath", "key"),
        ("credentialBundlePath", "credential bundle"),
    ];
    let given = parts.into_iter().filter(|(field, _)| !text(from, field).is_empty());
    given.map(|(field, word)| one(text(from, field), format!("PodCertificate {word}"))).collect()
}

fn collide(files: &[File], volume: &str, about: &str, out: &mut Vec<String>) {
    let mut before: Vec<File> = Vec::new();
    for file in files {
        let file = File { path: file.path.trim_end_matches('/').to_owned(), ..file.clone() };
        let within =
            |a: &File, b: &File| format!("{}/", a.path).starts_with(&format!("{}/", b.path));
        for other in before.iter().filter(|other| !other.path.is_empty() && !file.path.is_empty()) {
            if within(other, &file) || within(&file, other) {
                out.push(format!(
                    "volume {volume:?} ({about}): overlapping paths: {file} with {other}"
                ));
            }
        }
        before.push(file);
    }
}
