//! The store over restarts, in use and out of use.

use std::os::unix::fs::MetadataExt;
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
    let error = Images::open(&temp.0.join("images"), Settings::new(World::real())).err().unwrap();
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
        let error = Images::open(&root, Settings::new(World::real())).err().unwrap().to_string();
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
    let removed = images.remove("one").unwrap();
    assert_eq!(removed.untagged, ["docker.io/library/one:latest"]);
    assert_eq!(removed.deleted, None);
    let removed = images.remove(&one.id.hex()[..8]).unwrap();
    assert_eq!(removed.untagged, ["docker.io/library/other:v1"]);
    assert_eq!(removed.deleted, Some(one.id));
    assert!(matches!(images.remove("one"), Err(Error::NoSuchImage(_))));
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
fn overlayfs_shows_the_layers_as_one() {
    use crate::load::tests::config;
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
    let config = config(&[&bottom, &top]);
    let archive = Tape::default()
        .add(b'0', "1.tar", "", 0, &bottom)
        .add(b'0', "2.tar", "", 0, &top)
        .file("c.json", &config)
        .file(
            "manifest.json",
            r#"[{"Config":"c.json","RepoTags":["x"],"Layers":["1.tar","2.tar"]}]"#,
        )
        .end();
    images.load(&archive[..]).unwrap();
    let image = images.resolve("x").unwrap().unwrap();
    let rootfs = images.rootfs(&image, "c").unwrap();
    assert_eq!(std::fs::metadata(&rootfs.upper).unwrap().mode() & 0o7777, 0o1711);
    let lower: Vec<String> = rootfs.lower.iter().map(|path| path.display().to_string()).collect();
    let script = format!(
        "mount -t overlay overlay -o lowerdir={},upperdir={},workdir={} {merged} && \
         cd {merged} && find . | LC_ALL=C sort | tr '\\n' ' '",
        lower.join(":"),
        rootfs.upper.display(),
        rootfs.work.display(),
        merged = rootfs.merged.display()
    );
    let shown = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    assert_eq!(
        String::from_utf8(shown.stdout).unwrap(),
        ". ./d ./d/new ./kept ./kept/above ./kept/below ./lib ./usr ./usr/lib ./usr/lib/x ",
        "{}",
        String::from_utf8_lossy(&shown.stderr)
    );
}
