//! The store over restarts, in use and out of use.

use std::process::Command;

use super::*;
use crate::build::ImageBuilder;
use crate::load::tests::open;
use crate::unpack::tests::Temp;

fn image(images: &Images, name: &str) -> Arc<Image> {
    ImageBuilder::new()
        .file("/bin/tool", 0o755, name)
        .entrypoint(["/bin/tool"])
        .load(images, name)
        .unwrap()
}

fn snapshots(temp: &Temp) -> usize {
    std::fs::read_dir(temp.0.join("images/snapshots")).unwrap().count()
}

#[test]
fn a_store_has_one_process() {
    let temp = Temp::new();
    let _first = open(&temp);
    let error =
        Images::open(&temp.0.join("images"), StoreOptions::new(World::real())).err().unwrap();
    assert!(error.to_string().ends_with("is in use by another process"), "{error}");
}

#[test]
fn what_was_not_finished_is_swept_away() {
    let temp = Temp::new();
    let images = open(&temp);
    let kept = image(&images, "kept");
    images.rootfs(&kept, "done").unwrap();
    drop(images);
    let root = temp.0.join("images");
    std::fs::create_dir_all(root.join("snapshots/99/fs/half")).unwrap();
    std::fs::create_dir_all(root.join("containers/half/fs")).unwrap();
    std::fs::write(root.join("blobs/0123.new"), "half").unwrap();
    std::fs::write(root.join("index.json.new"), "half").unwrap();
    let images = open(&temp);
    assert_eq!(images.list(), [kept]);
    assert_eq!(images.containers(), ["done"]);
    assert_eq!(snapshots(&temp), 1);
    assert!(!root.join("containers/half").exists() && !root.join("blobs/0123.new").exists());
}

#[test]
fn a_damaged_store_says_so() {
    for damage in [
        |root: &Path| std::fs::write(root.join("index.json"), "{").unwrap(),
        |root: &Path| std::fs::remove_dir_all(root.join("snapshots")).unwrap(),
        |root: &Path| std::fs::write(root.join("containers/c/layers"), "x\n").unwrap(),
    ] {
        let temp = Temp::new();
        let images = open(&temp);
        images.rootfs(&image(&images, "a"), "c").unwrap();
        drop(images);
        let root = temp.0.join("images");
        damage(&root);
        let error =
            Images::open(&root, StoreOptions::new(World::real())).err().unwrap().to_string();
        assert!(
            error.contains("move the folder away and load or pull the images again"),
            "{error}"
        );
    }
}

#[test]
fn layers_in_use_stay() {
    let temp = Temp::new();
    let images = open(&temp);
    let one = image(&images, "one");
    let lease = images.lease(&one).unwrap();
    images.rootfs(&one, "c").unwrap();
    images.tag("one", "other:v1").unwrap();
    let removed = images.remove("one", Used::Remove).unwrap();
    assert_eq!(removed.untagged, ["docker.io/library/one:latest"]);
    assert_eq!(removed.deleted, None);
    let removed = images.remove(&one.id.hex()[..8], Used::Remove).unwrap();
    assert_eq!(removed.untagged, ["docker.io/library/other:v1"]);
    assert_eq!(removed.deleted, Some(one.id));
    assert!(matches!(images.remove("one", Used::Remove), Err(Error::NoSuchImage(_))));
    assert_eq!(snapshots(&temp), 1);
    drop(lease);
    assert_eq!(images.collect().unwrap().snapshots, 0);
    drop(images);
    let images = open(&temp);
    assert!(images.container("c").unwrap().unwrap().lower[0].join("bin/tool").exists());
    images.discard("c").unwrap();
    images.discard("c").unwrap();
    assert_eq!(images.collect().unwrap(), Collected { snapshots: 1, bytes: 3 });
    assert_eq!(snapshots(&temp), 0);
    assert!(images.rootfs(&one, "c").is_err() && images.lease(&one).is_err());
    assert_eq!(images.containers(), [] as [&str; 0]);
}

#[test]
fn container_ids_are_folder_names() {
    let temp = Temp::new();
    let images = open(&temp);
    let image = image(&images, "one");
    for id in ["", ".", "..", "a/b", "../x", "a\0", &"x".repeat(129)] {
        assert!(matches!(images.rootfs(&image, id), Err(Error::ContainerId(_))), "{id}");
    }
    images.rootfs(&image, "a").unwrap();
    assert!(matches!(images.rootfs(&image, "a"), Err(Error::ContainerExists(_))));
}

#[test]
fn an_image_that_containers_use_is_kept() {
    let temp = Temp::new();
    let images = open(&temp);
    let one = image(&images, "one");
    images.tag("one", "other:v1").unwrap();
    images.rootfs(&one, "c").unwrap();
    // A name among others may go.
    images.remove("one", Used::Keep).unwrap();
    for name in ["other:v1", &one.id.to_string()] {
        let error = images.remove(name, Used::Keep).unwrap_err().to_string();
        assert_eq!(error, format!("image {name} is in use by containers: c"));
    }
    images.remove("other:v1", Used::Remove).unwrap();
    assert_eq!(images.list(), []);
    let two = image(&images, "two");
    images.rootfs(&two, "d").unwrap();
    images.discard("d").unwrap();
    images.remove("two", Used::Keep).unwrap();
}

/// An archive of docker-save's form; an image for each name and list of layers, each layer in it once.
fn archive(images: &[(&str, &[&[u8]])]) -> Vec<u8> {
    use crate::load::tests::config;
    use crate::unpack::tests::Tape;
    let mut members = BTreeMap::new();
    let mut manifest = Vec::new();
    for (name, layers) in images {
        let config = config(layers);
        let names: Vec<_> =
            layers.iter().map(|layer| format!("{}.tar", Digest::of(layer).hex())).collect();
        manifest.push(format!(
            r#"{{"Config":"{name}.json","RepoTags":["{name}"],"Layers":{names:?}}}"#
        ));
        members.insert(format!("{name}.json"), config.into_bytes());
        members.extend(names.into_iter().zip(layers.iter().map(|layer| layer.to_vec())));
    }
    let manifest = format!("[{}]", manifest.join(",")).into_bytes();
    members.insert("manifest.json".to_owned(), manifest);
    let add = |tape: Tape, (name, bytes): (&String, &Vec<u8>)| tape.add(b'0', name, "", 0, bytes);
    members.iter().fold(Tape::default(), add).end()
}

/// What a container of the image sees: names, and modes of folders that are not 0755.
fn shown(images: &Images, name: &str) -> String {
    let image = images.resolve(name).unwrap().unwrap();
    let rootfs = images.rootfs(&image, name).unwrap();
    let lower: Vec<String> = rootfs.lower.iter().map(|path| path.display().to_string()).collect();
    let script = format!(
        "mount -t overlay overlay -o lowerdir={},upperdir={},workdir={} {merged} && cd {merged} && \
         find . -type d ! -perm 0755 -printf '%p(%m)\n' -o -printf '%p\n' | LC_ALL=C sort | tr '\n' ' '",
        lower.join(":"),
        rootfs.upper.display(),
        rootfs.work.display(),
        merged = rootfs.merged.display()
    );
    let shown = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    let errors = String::from_utf8_lossy(&shown.stderr);
    assert!(shown.status.success(), "{errors}");
    String::from_utf8(shown.stdout).unwrap()
}

#[test]
fn overlayfs_shows_the_layers_as_one() {
    use crate::unpack::tests::Tape;
    let temp = Temp::new();
    let images = open(&temp);
    let bottom = Tape::default()
        .add(b'5', "./", "", 0o1711, b"")
        .dir("d")
        .file("d/hidden", "")
        .file("gone", "")
        .dir("kept")
        .file("kept/below", "")
        .symlink("lib", "usr/lib")
        .dir("usr")
        .dir("usr/lib")
        .end();
    let top = Tape::default()
        .file(".wh.gone", "")
        .dir("d")
        .file("d/.wh..wh..opq", "")
        .file("d/new", "")
        .file("kept/above", "")
        .file("lib/x", "")
        .end();
    images.load(&archive(&[("x", &[&bottom, &top])])[..]).unwrap();
    let wanted =
        ".(1711) ./d ./d/new ./kept ./kept/above ./kept/below ./lib ./usr ./usr/lib ./usr/lib/x ";
    assert_eq!(shown(&images, "x"), wanted);
}

#[test]
fn a_layer_may_stand_twice() {
    use crate::unpack::tests::Tape;
    let temp = Temp::new();
    let images = open(&temp);
    let layer = Tape::default().file("n", "1").end();
    let (hides, empty) = (Tape::default().file(".wh.n", "").end(), Tape::default().end());
    // The whiteout in the one that comes back hides what came between.
    let back = Tape::default().file(".wh.m", "").file("k", "").end();
    let between = Tape::default().file("m", "").end();
    let stack: [&[u8]; 7] = [&back, &layer, &hides, &between, &layer, &empty, &back];
    images.load(&archive(&[("twice", &stack), ("other", &stack[2..6])])[..]).unwrap();
    assert_eq!(shown(&images, "twice"), ". ./k ./n ");
    assert_eq!(shown(&images, "other"), ". ./m ./n ");
}

/// A layer without an entry for the folder of its file takes the folder from below, wherever it stands.
#[test]
fn a_layer_that_depends_on_those_below_stands_in_many_places() {
    use crate::unpack::tests::Tape;
    let base = |mode: u32| Tape::default().add(b'5', "d", "", mode, b"").file("d/a", "").end();
    let (narrow, wide) = (base(0o700), base(0o1777));
    let tool = Tape::default().file("d/tool", "").hard_link("d/b", "d/a").end();
    let between = Tape::default().file("d/.wh.tool", "").dir("d").end();
    let twice: [&[u8]; 4] = [&wide, &tool, &between, &tool];
    let all: [(&str, &[&[u8]]); 3] =
        [("narrow", &[&narrow, &tool]), ("wide", &[&wide, &tool]), ("twice", &twice)];
    let wanted = ["./d(700)", "./d(1777)", "./d"];
    // In one archive, and one after another.
    for apart in [false, true] {
        let temp = Temp::new();
        let images = open(&temp);
        match apart {
            true => all.iter().for_each(|one| drop(images.load(&archive(&[*one])[..]).unwrap())),
            false => drop(images.load(&archive(&all)[..]).unwrap()),
        }
        for ((name, _), wanted) in all.iter().zip(wanted) {
            assert_eq!(shown(&images, name), format!(". {wanted} ./d/a ./d/b ./d/tool "), "{name}");
        }
        drop(images);
        assert_eq!(open(&temp).list().len(), 3);
    }
}
