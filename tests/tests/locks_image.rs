//! Images as people meet them: odd layers, wrong names, archives that end early, what is in use.

use std::path::Path;

use skiff_tests::cluster::{BUSYBOX, Cluster};

/// Puts odd layers above the layers of an archive. Arguments: that archive, the folder for the new ones.
const MAKE: &str = r#"
import hashlib, io, json, sys, tarfile
sha = lambda b: hashlib.sha256(b).hexdigest()
base = tarfile.open(sys.argv[1])
saved = json.load(base.extractfile("manifest.json"))[0]
below = [base.extractfile(name).read() for name in saved["Layers"]]
config = json.load(base.extractfile(saved["Config"]))
KINDS = {"d": tarfile.DIRTYPE, "f": tarfile.REGTYPE, "s": tarfile.SYMTYPE, "h": tarfile.LNKTYPE}
def layer(*entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, value in entries:
            entry = tarfile.TarInfo("x")
            entry.name, entry.type, entry.mode = name, KINDS[kind], 0o755
            if kind in "sh": entry.linkname = value
            data = value.encode() if kind == "f" else b""
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()
def image(name, *layers):
    layers = below + list(layers)
    made = json.dumps({**config, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha(l) for l in layers]}}).encode()
    manifest = [{"Config": sha(made) + ".json", "RepoTags": ["field.example/" + name + ":1"], "Layers": [sha(l) + ".tar" for l in layers]}]
    members = {sha(l) + ".tar": l for l in layers} | {sha(made) + ".json": made, "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(sys.argv[2] + "/" + name + ".tar", "w") as tar:
        for member, data in members.items():
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
low = layer(("t", "d", ""), ("t/keep", "f", "keep"), ("link", "s", "/t"), ("d", "d", ""), ("d/old", "f", "old"), ("d/same", "f", "v1"), ("gone", "f", "x"), ("a", "f", "one"))
top = layer(("link", "d", ""), ("link/new", "f", "new"), ("link/.wh..wh..opq", "f", ""), ("d/same", "f", "v2"), ("d/.wh..wh..opq", "f", ""), (".wh.gone", "h", "a"), ("b", "h", "a"), ("p/q/r", "h", "a"), (".wh.never", "f", ""))
image("layers", low, top)
one = layer(("n", "f", "1"))
image("twice", one, layer((".wh.n", "f", "")), one, layer(), one)
image("kaniko", layer(("/", "d", ""), ("/k", "d", ""), ("/k/a", "f", "hard"), ("/k/b", "h", "/k/a"), ("/k/c", "s", "/k/a")))
image("climbs", layer(("/../../etc/evil", "f", "")))
"#;

/// Runs a line once in an image that is on the node; what it prints, in one line.
#[track_caller]
fn printed(c: &Cluster, name: &str, line: &str) -> String {
    c.k.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  containers:\n  \
         - {{name: c, image: 'field.example/{name}:1', imagePullPolicy: Never, command: [sh, -c, '{line}']}}\n"
    ));
    c.k.ok(&format!("wait --for=jsonpath={{.status.phase}}=Succeeded pod/{name} --timeout=60s"));
    c.k.ok(&format!("logs {name}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn layers_as_builders_write_them() {
    let c = Cluster::start("image-layers");
    let folder = c.machine().data().to_owned();
    std::fs::write(folder.join("make.py"), MAKE).unwrap();
    let (base, at) = (c.busybox("docker"), folder.display());
    c.shell(&format!("python3 {at}/make.py {base} {at}"));
    for name in ["layers", "twice", "kaniko"] {
        let loaded = c.skiff(&["image", "load", &format!("{at}/{name}.tar")]);
        assert_eq!(loaded, format!("Loaded image: field.example/{name}:1\n"));
    }
    let line = "cat /t/keep; echo; ls /link; ls /d; cat /d/same; echo; test -e /gone && echo yes || echo no; cat /b; \
                echo; cat /p/q/r; echo; ls -a / /d /link | grep -c ^.wh";
    let line = format!("{line}; true");
    assert_eq!(printed(&c, "layers", &line), "keep new same v2 no one one 0");
    assert_eq!(printed(&c, "twice", "cat /n"), "1");
    let line = "cat /k/a; echo; cat /k/b; echo; cat /k/c; echo; test /k/a -ef /k/b && echo same";
    assert_eq!(printed(&c, "kaniko", line), "hard hard hard same");
    let refused = c.skiff_answers(&["image", "load", &format!("{at}/climbs.tar")]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.err.contains("/../../etc/evil: the name climbs above the image's root"),
        "{}",
        refused.err
    );
    assert!(!Path::new("/etc/evil").exists());
}

#[test]
fn images_by_name_by_folder_and_in_use() {
    let c = Cluster::start("image-words");
    let at = c.machine().data().display().to_string();
    let said = |args: &[&str]| {
        let answer = c.skiff_answers(args);
        assert_eq!(answer.code, 1, "{args:?}: {}", answer.out);
        answer.err
    };
    let hint = said(&["image", "load", "my/app:1"]);
    assert!(hint.contains("`docker save my/app:1 | skiff image load -`"), "{hint}");

    // An OCI layout as a folder, a link in it that leads elsewhere; a folder that is none.
    c.shell(&format!("mkdir {at}/layout && tar -C {at}/layout -xf {}", c.busybox("oci-gzip")));
    c.shell(&format!("ln -s /etc/shadow {at}/layout/blobs/sha256/link"));
    let loaded = c.skiff(&["image", "load", &format!("{at}/layout")]);
    assert_eq!(loaded, format!("Loaded image: {BUSYBOX}\n"));
    let other = said(&["image", "load", &format!("{at}/logs")]);
    assert!(other.contains("is no OCI layout"), "{other}");

    // An archive that ends early, wherever it does.
    c.shell(&format!("cp {} {at}/whole.tar; gzip -k {at}/whole.tar", c.busybox("docker")));
    for (file, part) in [("whole.tar", "/ 2"), ("whole.tar", "- 11000"), ("whole.tar.gz", "/ 3")] {
        c.shell(&format!("head -c $(( $(stat -c %s {at}/{file}) {part} )) {at}/{file} > {at}/cut"));
        let cut = said(&["image", "load", &format!("{at}/cut")]);
        assert!(cut.contains("cut short"), "{file} {part}: {cut}");
    }

    // What a pod uses stays, unless it is said twice; a second name may go.
    c.k.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: user}}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
         containers: [{{name: c, image: '{BUSYBOX}', command: [sleep, '3600']}}]\n"
    ));
    c.k.ok("wait --for=condition=Ready pod/user --timeout=60s");
    let used = said(&["image", "rm", BUSYBOX]);
    assert!(used.contains("in use by pod default/user") && used.contains("--force"), "{used}");
    assert!(c.skiff(&["image", "ls"]).contains("busybox"));
    assert!(c.skiff(&["image", "rm", "--force", BUSYBOX]).contains("Untagged:"));

    // The tag latest means Always: the event names what runs the image that is here.
    c.shell(&format!(
        "{}/tests/kit/image app:latest {at}/app.tar",
        skiff_tests::kit::root().display()
    ));
    c.skiff(&["image", "load", &format!("{at}/app.tar")]);
    c.k.ok("run latest --image=app:latest");
    let events = "get events --field-selector involvedObject.name=latest,reason=Failed -o jsonpath={.items[*].message}";
    c.k.ok("wait --for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImagePull pod/latest --timeout=60s");
    let events = c.k.ok(events);
    assert!(events.contains("imagePullPolicy IfNotPresent runs it"), "{events}");
}
