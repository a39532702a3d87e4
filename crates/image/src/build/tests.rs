//! Images made here.

use expect_test::expect;

use super::*;
use crate::load::tests::open;
use crate::unpack::tests::{Temp, list};

#[test]
fn an_image_is_made_of_files() {
    let temp = Temp::new();
    let images = open(&temp);
    let source = temp.0.join("source");
    std::fs::write(&source, "from disk").unwrap();
    let make = || {
        ImageBuilder::new()
            .file("/bin/tool", 0o4755, "bytes")
            .file_from("opt/a/b", 0o600, &source)
            .dir("/tmp", 0o1777)
            .symlink("/bin/t", "tool")
            .entrypoint(["/bin/tool", "serve"])
            .cmd(["x"])
            .env("A", "b")
            .user("65534:65534")
            .working_dir("/tmp")
            .expose("80/tcp")
            .stop_signal("SIGINT")
            .label("l", "v")
    };
    let image = make().load(&images, "demo").unwrap();
    expect![[r#"
        040755 0:0 bin
        120777 0:0 bin/t -> tool
        104755 0:0 bin/tool "bytes"
        040755 0:0 opt
        040755 0:0 opt/a
        100600 0:0 opt/a/b "from disk"
        041777 0:0 tmp
    "#]]
    .assert_eq(&list(&images.rootfs(&image, "c").unwrap().lower[0]));
    let config = images.config_bytes(&image).unwrap();
    expect![[r#"{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/bin/tool","serve"],"Cmd":["x"],"Env":["A=b"],"WorkingDir":"/tmp","User":"65534:65534","ExposedPorts":{"80/tcp":{}},"StopSignal":"SIGINT","Volumes":{},"Labels":{"l":"v"}},"rootfs":{"type":"layers","diff_ids":["sha256:be794342941924ff0dc2fdcc6ffb0220aa72422f6ad6a68184ad6a1ffbfcc247"]}}"#]].assert_eq(&String::from_utf8(config).unwrap());
    assert_eq!(make().load(&images, "demo").unwrap(), image);
    let other = make().env("C", "d").load(&images, "demo").unwrap();
    assert_ne!(other.id, image.id);
    assert_eq!(images.resolve("demo").unwrap().unwrap(), other);
    assert!(images.resolve(&image.id.to_string()).unwrap().unwrap().repo_tags.is_empty());
    assert_eq!(
        list(&temp.0.join("images/snapshots")).lines().filter(|l| l.ends_with("/fs")).count(),
        1
    );
}

#[test]
fn a_missing_source_is_an_error_and_leaves_nothing() {
    let temp = Temp::new();
    let images = open(&temp);
    let made = ImageBuilder::new().file_from("a", 0o644, &temp.0.join("none")).load(&images, "x");
    assert!(made.is_err() && images.list().is_empty());
    assert_eq!(list(&temp.0.join("images/snapshots")), "");
}
