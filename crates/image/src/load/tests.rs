//! Archives, good and evil, and what the store has then.

use std::io::Write;

use expect_test::expect;
use skiff_base::World;

use super::*;
use crate::index::Image;
use crate::store::{StoreOptions, Used};
use crate::unpack::tests::{Dice, Tape, Temp, list};

pub(crate) fn open(temp: &Temp) -> Images {
    let mut options = StoreOptions::new(World::real());
    options.limits.layer_bytes = 1 << 20;
    Images::open(&temp.0.join("images"), options).unwrap()
}

pub(crate) fn layer(name: &str) -> Vec<u8> {
    Tape::default().dir("etc").file(&format!("etc/{name}"), name).end()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn config(layers: &[&[u8]]) -> String {
    let ids: Vec<String> =
        layers.iter().map(|layer| format!("\"{}\"", Digest::of(layer))).collect();
    format!(
        r#"{{"architecture":"amd64","os":"linux","created":"2026-01-01T00:00:00Z",
        "config":{{"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    )
}

fn member(tape: Tape, name: &str, bytes: &[u8]) -> Tape {
    tape.add(b'0', name, "", 0o644, bytes)
}

fn hex(bytes: &[u8]) -> String {
    Digest::of(bytes).hex()
}

/// What `docker save` wrote before OCI: layers anywhere, the manifest last, shared layers linked.
fn docker(tag: &str) -> Vec<u8> {
    let (a, b) = (layer("a"), layer("b"));
    let config = config(&[&a, &b, &a]);
    let manifest = format!(
        r#"[{{"Config":"{}.json","RepoTags":[{tag}],"Layers":["1/layer.tar","2/layer.tar","3/layer.tar"]}}]"#,
        hex(config.as_bytes())
    );
    let tape = member(Tape::default().dir("1"), "1/VERSION", b"1.0");
    let tape = member(tape, "1/layer.tar", &a).symlink("3/layer.tar", "../1/layer.tar");
    let tape = member(tape, "2/layer.tar", &b);
    let tape = member(tape, &format!("{}.json", hex(config.as_bytes())), config.as_bytes());
    member(tape, "manifest.json", manifest.as_bytes()).end()
}

/// An OCI layout; `spoil` may change what is written for a name.
fn oci(annotations: &str, spoil: impl Fn(&str, Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let layers = [layer("a"), layer("b")];
    let config = config(&[&layers[0], &layers[1]]).into_bytes();
    let blobs = [gzip(&layers[0]), zstd::encode_all(&layers[1][..], 3).unwrap()];
    let types = ["tar+gzip", "tar+zstd"];
    let descriptors: Vec<String> = blobs.iter().zip(types).map(|(blob, kind)| format!(
        r#"{{"mediaType":"application/vnd.oci.image.layer.v1.{kind}","digest":"{}","size":{}}}"#,
        Digest::of(blob), blob.len()
    )).collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":
        {{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},
        "layers":[{}]}}"#,
        Digest::of(&config),
        config.len(),
        descriptors.join(",")
    );
    let entry = |platform: &str, bytes: &str, annotations: &str| {
        format!(
            r#"{{"mediaType":"","digest":"{}","size":{}{platform},"annotations":{{{annotations}}}}}"#,
            Digest::of(bytes.as_bytes()),
            bytes.len()
        )
    };
    let here = format!(
        r#","platform":{{"os":"linux","architecture":"{}"}}"#,
        Platform::local().architecture
    );
    let other = r#","platform":{"os":"linux","architecture":"s390x"}"#;
    let list = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
        entry(other, "not in the archive", ""),
        entry(&here, &manifest, "")
    );
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entry("", &list, annotations));
    let mut tape = member(Tape::default(), "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    let documents = [manifest.into_bytes(), list.into_bytes(), config];
    for bytes in blobs.into_iter().chain(documents) {
        let name = format!("blobs/sha256/{}", hex(&bytes));
        let kind = if bytes.starts_with(b"{") { "document" } else { "layer" };
        tape = member(tape, &name, &spoil(kind, bytes));
    }
    member(tape, "index.json", &spoil("index", index.into_bytes())).end()
}

fn plain(_: &str, bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

const NAME: &str = r#""io.containerd.image.name":"docker.io/me/tool:v1""#;

#[test]
fn archives_of_all_kinds_are_loaded() {
    for (archive, wanted) in [
        (
            docker("\"busybox:1\",\"localhost:5000/a\""),
            "docker.io/library/busybox:1 localhost:5000/a:latest",
        ),
        (docker(""), "sha256:"),
        (gzip(&docker("\"x\"")), "docker.io/library/x:latest"),
        (zstd::encode_all(&docker("\"x\"")[..], 3).unwrap(), "docker.io/library/x:latest"),
        (oci(NAME, plain), "docker.io/me/tool:v1"),
        (oci(r#""org.opencontainers.image.ref.name":"a.b/c:d""#, plain), "a.b/c:d"),
        (oci(r#""org.opencontainers.image.ref.name":"latest""#, plain), "sha256:"),
    ] {
        let temp = Temp::new();
        let images = open(&temp);
        let loaded = images.load(&archive[..]).unwrap().join(" ");
        assert!(
            loaded == wanted || (wanted == "sha256:" && loaded.starts_with(wanted)),
            "{loaded}"
        );
        let name = loaded.split(' ').next().unwrap();
        let image = images.resolve(name).unwrap().unwrap();
        assert_eq!(image.config.cmd, ["sh"]);
        // A second time changes nothing.
        assert_eq!(images.load(&archive[..]).unwrap().join(" "), loaded);
        assert_eq!(images.list().len(), 1);
        let count = std::fs::read_dir(temp.0.join("images/snapshots")).unwrap().count();
        assert_eq!(count, 2);
        drop(images);
        assert_eq!(open(&temp).resolve(name).unwrap().unwrap(), image);
    }
}

#[test]
fn a_loaded_image_is_described_as_users_know_it() {
    let temp = Temp::new();
    let images = open(&temp);
    images.load(&oci(NAME, plain)[..]).unwrap();
    let image = images.resolve("me/tool:v1").unwrap().unwrap();
    // Compressors may write other bytes some day.
    let image_shown =
        Image { manifest: None, size: 0, repo_digests: Vec::new(), ..(*image).clone() };
    expect![[r#"
        Image {
            id: sha256:a14e20387809cb34aeb1214d447541b7a91d9e5c675927e2bd2ae75b5467f7ff,
            repo_tags: [
                "docker.io/me/tool:v1",
            ],
            repo_digests: [],
            manifest: None,
            size: 0,
            created: Some(
                "2026-01-01T00:00:00Z",
            ),
            architecture: "amd64",
            config: ImageConfig {
                entrypoint: [],
                cmd: [
                    "sh",
                ],
                env: [],
                working_dir: "",
                user: "",
                exposed_ports: {},
                stop_signal: "",
                volumes: {},
                labels: {},
            },
            layers: [
                Layer {
                    diff_id: sha256:c5b7b8cebbd81be8fae60bb7750bceb20b410fbed92552241f5e64513960a955,
                    chain_id: sha256:c5b7b8cebbd81be8fae60bb7750bceb20b410fbed92552241f5e64513960a955,
                    snapshot: 1,
                },
                Layer {
                    diff_id: sha256:80a32da1c9a982c75e90676a4079885e887ae1fd07f5f822ecbf39e3dace81c5,
                    chain_id: sha256:fc6a0f7182ee926fec2d7693de01ef5b21f79f6763d44b8147adf55971f5978d,
                    snapshot: 2,
                },
            ],
        }
    "#]].assert_eq(&format!("{image_shown:#?}\n"));
    for name in [&image.id.to_string()[..], &image.id.hex()[..12], &image.repo_digests[0]] {
        assert_eq!(images.resolve(name).unwrap().unwrap().id, image.id, "{name}");
    }
    assert_eq!(images.resolve("nothing").unwrap(), None);
    assert!(images.resolve("No").is_err());
}

#[test]
fn evil_archives_are_refused_and_leave_nothing() {
    let evil = |bytes: Vec<u8>| {
        move |kind: &str, good: Vec<u8>| {
            if kind == "layer" { bytes.clone() } else { good }
        }
    };
    let mut seen = String::new();
    let bomb = gzip(&vec![0; 2 << 20]);
    let escape = gzip(&Tape::default().file("../../evil", "").end());
    let cut = {
        let mut all = docker("\"x\"");
        all.truncate(all.len() / 2);
        all
    };
    let cut_gzip = {
        let mut all = gzip(&docker("\"x\""));
        all.truncate(all.len() / 2);
        all
    };
    for (what, archive) in [
        ("nothing", Vec::new()),
        ("text", b"hello".repeat(200)),
        ("empty tar", Tape::default().end()),
        ("cut short", cut),
        ("cut short gzip", cut_gzip),
        ("bomb", oci(NAME, evil(bomb))),
        ("escape", oci(NAME, evil(escape))),
        ("wrong layer", oci(NAME, evil(gzip(&layer("c"))))),
        (
            "wrong document",
            oci(NAME, |kind, mut bytes| {
                if kind == "document" {
                    bytes.push(b' ');
                }
                bytes
            }),
        ),
        ("name", oci(r#""io.containerd.image.name":"UPPER""#, plain)),
        (
            "index is a manifest",
            oci("", |kind, bytes| match kind {
                "index" => {
                    br#"{"schemaVersion":2,"config":{"digest":"sha256:0","size":1}}"#.to_vec()
                }
                _ => bytes,
            }),
        ),
        (
            "index and manifest",
            oci("", |kind, bytes| match kind {
                "index" => br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.to_vec(),
                _ => bytes,
            }),
        ),
        (
            "index that says manifest",
            oci("", |kind, bytes| match kind {
                "index" => {
                    let name = crate::manifest::OCI_MANIFEST;
                    format!(r#"{{"schemaVersion":2,"mediaType":"{name}","manifests":[]}}"#).into()
                }
                _ => bytes,
            }),
        ),
        (
            "deep json",
            oci("", |kind, bytes| match kind {
                "index" => b"[".repeat(100_000),
                _ => bytes,
            }),
        ),
        (
            "missing layer",
            member(
                member(Tape::default(), "c.json", config(&[&layer("a")]).as_bytes()),
                "manifest.json",
                br#"[{"Config":"c.json","Layers":["gone/layer.tar"]}]"#,
            )
            .end(),
        ),
        (
            "loop of links",
            member(
                member(Tape::default(), "c.json", config(&[&layer("a")]).as_bytes())
                    .symlink("l", "m")
                    .symlink("m", "l"),
                "manifest.json",
                br#"[{"Config":"c.json","Layers":["l"]}]"#,
            )
            .end(),
        ),
    ] {
        let temp = Temp::new();
        let images = open(&temp);
        let error = images.load(&archive[..]).unwrap_err();
        let short = error.to_string();
        // Digests depend on the compressor.
        let short = short.split(": expected sha256:").next().unwrap();
        let short = short.split("sha256/").next().unwrap();
        seen += &format!("{what}: {short}\n");
        assert!(images.list().is_empty());
        assert_eq!(list(&temp.0.join("images/snapshots")), "", "{what}");
        assert!(!temp.0.join("evil").exists());
    }
    expect![[r#"
        nothing: not an image archive: it is cut short, before manifest.json or index.json
        text: not an image archive: wrong checksum of a tar header: this is no tar, or it is damaged
        empty tar: not an image archive: it has neither manifest.json nor index.json, or they name no image
        cut short: not an image archive: it is cut short, inside of an entry
        cut short gzip: not an image archive: it is cut short: incomplete deflate stream
        bomb: refused layer: it is larger than 1048576 bytes unpacked
        escape: refused layer: ../../evil: the name climbs above the image's root
        wrong layer: wrong digest of blobs/
        wrong document: wrong digest of blobs/
        name: couldn't parse image name "UPPER": invalid reference format: repository name (library/UPPER) must be lowercase
        index is a manifest: cannot read index.json: invalid checksum digest length: "sha256:0" at line 1 column 48
        index and manifest: cannot read index.json: it is neither a manifest nor an index
        index that says manifest: cannot read index.json: it is neither a manifest nor an index
        deep json: cannot read index.json: invalid type: sequence, expected u32 at line 1 column 1
        missing layer: not an image archive: gone/layer.tar is missing
        loop of links: not an image archive: l links to a link
    "#]].assert_eq(&seen);
}

#[test]
fn mutated_archives_never_panic_and_leave_nothing_behind() {
    let seeds = [docker("\"x\""), oci(NAME, plain)];
    let mut dice = Dice(2);
    let temp = Temp::new();
    let images = open(&temp);
    let mut good = 0;
    for round in 0..200 {
        let mut archive = seeds[round % 2].clone();
        for _ in 0..=dice.roll(4) {
            let at = dice.roll(archive.len());
            archive[at] = dice.roll(256) as u8;
        }
        if dice.roll(4) == 0 {
            archive.truncate(dice.roll(archive.len()));
        }
        if let Ok(names) = images.load(&archive[..]) {
            good += 1;
            for name in names {
                images.remove(&name, Used::Remove).unwrap();
            }
        }
        for image in images.list() {
            images.remove(&image.id.to_string(), Used::Remove).unwrap();
        }
        assert_eq!(list(&temp.0.join("images/snapshots")), "");
    }
    assert!(good > 5, "{good}");
    for _ in 0..200 {
        let noise: Vec<u8> = (0..dice.roll(5000)).map(|_| dice.roll(256) as u8).collect();
        assert!(images.load(&noise[..]).is_err());
    }
}
