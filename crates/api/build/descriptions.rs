//! Collects the descriptions of definitions and fields and packs them into compressed chunks.
//!
//! The crate `k8s-openapi` carries them inside its (here disabled) `schemars` code, one string
//! literal a line. Compiling that crate costs half a minute and yields nothing else we need, so it
//! is a dependency under a cfg that is never set: locked and fetched like any other, not compiled.
//! `cargo metadata` with that cfg set tells where its sources lie.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use flate2::{Compression, write::DeflateEncoder};

/// Definition and field name (empty: the definition itself) to its sentence.
type Sentences = BTreeMap<(String, String), String>;

/// A chunk is what one lookup expands: small for memory, large enough to compress well.
const CHUNK_BYTES: usize = 48 * 1024;

/// The folder with the sources of `k8s-openapi` for v1.37.
pub fn source(home: &Path) -> PathBuf {
    let answer = Command::new(env::var_os("CARGO").expect("cargo sets it"))
        .args(["metadata", "--format-version=1", "--locked"])
        .arg(format!("--filter-platform={}", env::var("TARGET").expect("cargo sets it")))
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", "--cfg=skiff_descriptions")
        .current_dir(home)
        .output()
        .expect("cargo runs build scripts, so it can be run");
    let text = String::from_utf8_lossy(&answer.stdout);
    let manifest = text
        .split("\"manifest_path\":\"")
        .filter_map(|it| it.split('"').next())
        .find(|it| it.contains("k8s-openapi-0"));
    let Some(manifest) = manifest else {
        panic!(
            "the sources of k8s-openapi are not here; run `cargo fetch` once with a registry in \
             reach: {}",
            String::from_utf8_lossy(&answer.stderr)
        );
    };
    Path::new(manifest).with_file_name("src").join("v1_37")
}

/// The compressed chunks one after another, and the Rust source of their index.
pub fn pack(sources: &Path) -> (Vec<u8>, String) {
    let mut sentences = Sentences::new();
    collect(sources, &mut sentences);
    assert!(sentences.len() > 3000, "k8s-openapi holds {} descriptions", sentences.len());
    let mut blob = Vec::new();
    let mut index = String::from("static CHUNKS: &[(&str, usize)] = &[\n");
    let mut chunk = String::new();
    let mut first = String::new();
    let mut last = String::new();
    for ((definition, field), sentence) in &sentences {
        if chunk.len() > CHUNK_BYTES && *definition != last {
            flush(&mut chunk, &first, &mut blob, &mut index);
        }
        if chunk.is_empty() {
            first.clone_from(definition);
        }
        last.clone_from(definition);
        write!(chunk, "{definition}\x1f{field}\x1f{sentence}\x1e").expect("strings grow");
    }
    flush(&mut chunk, &first, &mut blob, &mut index);
    index.push_str("];\n");
    (blob, index)
}

fn flush(chunk: &mut String, first: &str, blob: &mut Vec<u8>, index: &mut String) {
    writeln!(index, "    ({first:?}, {}),", blob.len()).expect("strings grow");
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(chunk.as_bytes()).expect("memory takes it");
    blob.extend(encoder.finish().expect("memory takes it"));
    chunk.clear();
}

fn collect(folder: &Path, sentences: &mut Sentences) {
    for entry in fs::read_dir(folder).expect("the sources are unpacked") {
        let path = entry.expect("the folder is readable").path();
        if path.is_dir() {
            collect(&path, sentences);
        } else {
            read(&fs::read_to_string(&path).expect("sources are text"), sentences);
        }
    }
}

/// The generated code is regular: its indentation says whose description a line is.
fn read(source: &str, sentences: &mut Sentences) {
    let mut definition = String::new();
    let mut field = String::new();
    for line in source.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        match indent {
            8 if text.starts_with('"') && text.ends_with(".into()") => {
                definition = literal(text);
                field.clear();
            }
            12 if text.starts_with("\"description\": ") => {
                let sentence = literal(&text["\"description\": ".len()..]);
                sentences.insert((definition.clone(), String::new()), sentence);
            }
            16 if text.starts_with('"') && text.ends_with('{') => field = literal(text),
            20 if text.contains("\"description\"") && !field.is_empty() => {
                let rest = text.split_once("\"description\"").expect("it contains it").1;
                let rest = &rest[rest.find('"').expect("a sentence follows")..];
                sentences.insert((definition.clone(), field.clone()), literal(rest));
            }
            _ => {}
        }
    }
}

/// The value of the string literal at the start of `text`.
fn literal(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().skip(1);
    while let Some(it) = chars.next() {
        match it {
            '"' => break,
            '\\' => match chars.next().expect("an escape has a letter") {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                'u' => {
                    let hex: String = chars.by_ref().skip(1).take_while(|it| *it != '}').collect();
                    let code = u32::from_str_radix(&hex, 16).expect("hexadecimal");
                    out.push(char::from_u32(code).expect("a character"));
                }
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
    out
}
