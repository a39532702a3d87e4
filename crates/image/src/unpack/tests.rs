//! Layers, good and evil, and what became of them.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use expect_test::{Expect, expect};

use super::*;

/// A folder that is removed at the end.
pub(crate) struct Temp(pub(crate) PathBuf);

impl Temp {
    pub(crate) fn new() -> Temp {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("skiff-image-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Temp(path)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A tar under construction, byte by byte.
#[derive(Clone, Default)]
pub(crate) struct Tape(Vec<u8>);

impl Tape {
    /// One member: type, name, link target, mode, owner, data.
    pub(crate) fn add(mut self, flag: u8, path: &str, link: &str, mode: u32, data: &[u8]) -> Tape {
        let mut header = ::tar::Header::new_gnu();
        let raw = header.as_mut_bytes();
        raw[..path.len()].copy_from_slice(path.as_bytes());
        raw[157..157 + link.len()].copy_from_slice(link.as_bytes());
        raw[156] = flag;
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1000);
        header.set_size(data.len() as u64);
        if matches!(flag, b'3' | b'4') {
            header.set_device_major(1).unwrap();
            header.set_device_minor(u32::from(path.ends_with("null")) * 3).unwrap();
            if path.ends_with("zero-zero") {
                header.set_device_major(0).unwrap();
            }
        }
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, path: &str, data: &str) -> Tape {
        self.add(b'0', path, "", 0o644, data.as_bytes())
    }

    pub(crate) fn dir(self, path: &str) -> Tape {
        self.add(b'5', path, "", 0o755, b"")
    }

    pub(crate) fn symlink(self, path: &str, to: &str) -> Tape {
        self.add(b'2', path, to, 0o777, b"")
    }

    pub(crate) fn hard_link(self, path: &str, to: &str) -> Tape {
        self.add(b'1', path, to, 0o644, b"")
    }

    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Tape {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (rest..).find(|n| n.to_string().len() + rest == *n).unwrap();
            body.extend(format!("{length} {key}={value}\n").into_bytes());
        }
        self.add(b'x', "pax", "", 0, &body)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// Unpacks above the given layers, and lists what is there then.
fn run(layers: &[Tape]) -> String {
    let temp = Temp::new();
    let mut folders: Vec<PathBuf> = Vec::new();
    for (number, tape) in layers.iter().enumerate() {
        let folder = temp.0.join(format!("{number}"));
        std::fs::create_dir(&folder).unwrap();
        let lowers: Vec<PathBuf> = folders.iter().rev().cloned().collect();
        let limits = Limits { layer_bytes: 1 << 20, entries: 100, ..Limits::default() };
        let result = unpack(&mut &tape.clone().end()[..], &folder, limits)
            .and_then(|unpacked| settle::settle(&folder, unpacked.loose, &lowers));
        if let Err(error) = result {
            return format!("{error}\n");
        }
        folders.push(folder);
    }
    // Whatever happens inside of the folder, nothing appears beside it.
    assert_eq!(std::fs::read_dir(&temp.0).unwrap().count(), layers.len());
    list(folders.last().unwrap())
}

pub(crate) fn list(folder: &Path) -> String {
    let mut out = String::new();
    walk(folder, folder, &mut out);
    out
}

fn walk(root: &Path, at: &Path, out: &mut String) {
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names {
        let stat = std::fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display();
        write!(out, "{:06o} {}:{} {name}", stat.mode(), stat.uid(), stat.gid()).unwrap();
        if stat.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            write!(out, " {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(20)])).unwrap();
        }
        if stat.is_symlink() {
            write!(out, " -> {}", std::fs::read_link(&path).unwrap().display()).unwrap();
        }
        if stat.rdev() != 0 {
            write!(out, " dev {}", stat.rdev()).unwrap();
        }
        if !stat.is_dir() && stat.nlink() > 1 {
            write!(out, " links {}", stat.nlink()).unwrap();
        }
        if !stat.is_symlink() {
            let mut value = [0; 64];
            for xattr in [
                whiteout::OPAQUE_XATTR,
                "user.a",
                "security.capability",
                "trusted.overlay.redirect",
            ] {
                if let Ok(n) = fs::getxattr(&path, xattr, &mut value) {
                    write!(out, " {xattr}={:?}", String::from_utf8_lossy(&value[..n])).unwrap();
                }
            }
        }
        if stat.mtime() == 1000 || stat.mtime() == 2000 {
            write!(out, " @{}", stat.mtime()).unwrap();
        }
        out.push('\n');
        if stat.is_dir() {
            walk(root, &path, out);
        }
    }
}

fn check(layers: &[Tape], expected: Expect) {
    expected.assert_eq(&run(layers));
}

fn tape() -> Tape {
    Tape::default()
}

#[test]
fn everything_that_a_layer_can_hold() {
    check(
        &[tape()
            .dir("./")
            .dir("bin/")
            .add(b'0', "bin/su", "", 0o4755, b"root")
            .symlink("bin/sh", "/bin/su")
            .hard_link("bin/su2", "bin/su")
            .add(b'3', "null", "", 0o666, b"")
            .add(b'4', "disk", "", 0o660, b"")
            .add(b'6', "fifo", "", 0o600, b"")
            .add(b'5', "tmp", "", 0o1777, b"")
            .pax(&[("path", "bin/long"), ("mtime", "2000.5"), ("uid", "70000")])
            .pax(&[("SCHILY.xattr.user.a", "b")])
            .file("x", "pax")
            .pax(&[("SCHILY.xattr.trusted.overlay.redirect", "/etc")])
            .dir("plain")
            .add(b'L', "././@LongLink", "", 0, b"gnu/long/name\0")
            .file("x", "")],
        expect![[r#"
            040755 7:8 bin @1000
            100644 70000:8 bin/long "pax" user.a="b" @2000
            120777 7:8 bin/sh -> /bin/su @1000
            104755 7:8 bin/su "root" links 2 @1000
            104755 7:8 bin/su2 "root" links 2 @1000
            060660 7:8 disk dev 256 @1000
            010600 7:8 fifo @1000
            040755 0:0 gnu
            040755 0:0 gnu/long
            100644 7:8 gnu/long/name "" @1000
            020666 7:8 null dev 259 @1000
            040755 7:8 plain @1000
            041777 7:8 tmp @1000
        "#]],
    );
}

#[test]
fn later_entries_replace_earlier_ones() {
    check(
        &[tape()
            .file("a", "old")
            .file("a", "new")
            .dir("b")
            .file("b/x", "gone")
            .file("b", "file")
            .symlink("c", "a")
            .file("c", "not through the link")
            .file("d", "")
            .dir("d")
            .hard_link("a", "a")],
        expect![[r#"
            100644 7:8 a "new" @1000
            100644 7:8 b "file" @1000
            100644 7:8 c "not through the link" @1000
            040755 7:8 d @1000
        "#]],
    );
}

#[test]
fn whiteouts_hide_below_but_not_beside() {
    check(
        &[tape()
            .file(".wh.gone", "")
            .dir("kept")
            .file("kept/mine", "")
            .file("kept/.wh..wh..opq", "")
            .file(".wh.late", "")
            .dir("late")
            .file(".wh.file", "")
            .file("file", "here")
            .file("first", "here")
            .file(".wh.first", "")
            .dir("folder")
            .file(".wh.folder", "")
            .file("deep/.wh.x", "")
            .file(".wh..wh.plnk/1.2", "")],
        expect![[r#"
            040755 0:0 deep
            020000 0:0 deep/x
            100644 7:8 file "here" @1000
            100644 7:8 first "here" @1000
            040755 7:8 folder trusted.overlay.opaque="y" @1000
            020000 0:0 gone
            040755 7:8 kept trusted.overlay.opaque="y" @1000
            100644 7:8 kept/mine "" @1000
            040755 7:8 late trusted.overlay.opaque="y" @1000
        "#]],
    );
}

#[test]
fn links_are_followed_within_the_layer_only() {
    check(
        &[tape()
            .dir("run")
            .dir("var")
            .symlink("var/run", "/run")
            .file("var/run/pid", "1")
            .symlink("var/up", "../run/./x")
            .file("var/up/y", "2")],
        expect![[r#"
            040755 7:8 run @1000
            100644 7:8 run/pid "1" @1000
            040755 0:0 run/x
            100644 7:8 run/x/y "2" @1000
            040755 7:8 var @1000
            120777 7:8 var/run -> /run @1000
            120777 7:8 var/up -> ../run/./x @1000
        "#]],
    );
}

/// Kaniko writes an entry for the root, and absolute names and link targets.
#[test]
fn absolute_names_begin_at_the_root_of_the_image() {
    check(
        &[tape()
            .dir("/")
            .dir("/k")
            .file("/k/a", "hard")
            .hard_link("/k/b", "/k/a")
            .symlink("/k/c", "/k/a")
            .file("//k/../k/./d", "within")],
        expect![[r#"
            040755 7:8 k @1000
            100644 7:8 k/a "hard" links 2 @1000
            100644 7:8 k/b "hard" links 2 @1000
            120777 7:8 k/c -> /k/a @1000
            100644 7:8 k/d "within" @1000
        "#]],
    );
}

#[test]
fn evil_layers_are_refused() {
    let deep = "d/".repeat(49);
    let mut seen = String::new();
    for (what, tape) in [
        ("parent", tape().file("../evil", "")),
        ("parent inside", tape().file("a/../../evil", "")),
        ("absolute parent", tape().file("/../etc/passwd", "")),
        ("relative link", tape().symlink("l", "../../..").file("l/evil", "")),
        ("link to link", tape().symlink("a", "b").symlink("b", "../x").file("a/evil", "")),
        ("link loop", tape().symlink("a", "b").symlink("b", "a").file("a/evil", "")),
        ("file as folder", tape().file("a", "").file("a/b", "")),
        ("hard link out", tape().hard_link("a", "../../etc/passwd")),
        ("hard link through a link", tape().symlink("l", "../..").hard_link("a", "l/etc/passwd")),
        ("hard link to nothing", tape().hard_link("a", "nothing")),
        ("hard link to a folder", tape().dir("d").hard_link("a", "d")),
        ("hard link to the root", tape().hard_link("a", "/")),
        ("root as a link", tape().symlink("./", "/etc")),
        ("pax parent", tape().pax(&[("path", "a/../../b")]).file("x", "")),
        ("pax zero byte", tape().pax(&[("path", "a\0b")]).file("x", "")),
        ("whiteout of the parent", tape().file(".wh...", "")),
        ("whiteout of nothing", tape().file(".wh.", "")),
        ("device of overlayfs", tape().add(b'3', "zero-zero", "", 0o666, b"")),
        ("owner out of range", tape().pax(&[("uid", "4294967295")]).file("x", "")),
        ("empty link", tape().symlink("a", "")),
        ("unknown type", tape().add(b'Z', "a", "", 0, b"")),
        ("too large", tape().add(b'0', "a", "", 0o644, &vec![b'x'; (1 << 20) + 1])),
        (
            "too large holes",
            tape()
                .pax(&[("GNU.sparse.size", "9999999999999"), ("GNU.sparse.map", "0,1")])
                .file("x", "y"),
        ),
        (
            "sparse map beyond the end",
            tape().pax(&[("GNU.sparse.size", "5"), ("GNU.sparse.map", "5,1")]).file("x", "y"),
        ),
        (
            "sparse map too long",
            tape().pax(&[("GNU.sparse.size", "5"), ("GNU.sparse.map", "0,2")]).file("x", "y"),
        ),
        (
            "sparse overflow",
            tape()
                .pax(&[("GNU.sparse.size", "5"), ("GNU.sparse.map", "18446744073709551615,1")])
                .file("x", "y"),
        ),
        ("impossible size", tape().pax(&[("size", "18446744073709551615")]).file("x", "y")),
        ("cut short", tape().pax(&[("size", "5000")]).file("x", "y")),
        ("large extension", tape().add(b'x', "pax", "", 0, &vec![b'x'; (1 << 20) + 1])),
        (
            "large attribute",
            tape().pax(&[("SCHILY.xattr.user.a", &"x".repeat(70_000))]).file("x", ""),
        ),
        ("extensions for ever", (0..20).fold(tape(), |tape, _| tape.pax(&[("comment", "x")]))),
        (
            "deep",
            tape()
                .symlink("s", &deep)
                .pax(&[("path", &format!("{}x", "s/".repeat(9).replace('/', &format!("/{deep}"))))])
                .file("x", ""),
        ),
        ("many", (0..101).fold(tape(), |tape, n| tape.file(&n.to_string(), ""))),
        ("wrong checksum", Tape(vec![b'x'; 512])),
        ("half a header", Tape(vec![b'x'; 100 - 1024 % 100])),
    ] {
        write!(seen, "{what}: {}", run(&[tape])).unwrap();
    }
    expect![[r#"
        parent: refused layer: ../evil: the name climbs above the image's root
        parent inside: refused layer: a/../../evil: the name climbs above the image's root
        absolute parent: refused layer: /../etc/passwd: the name climbs above the image's root
        relative link: refused layer: l/evil: a symbolic link on the way leads out of the layer
        link to link: refused layer: a/evil: a symbolic link on the way leads out of the layer
        link loop: refused layer: a/evil: too many symbolic links on the way
        file as folder: refused layer: a/b: a component on the way is not a folder
        hard link out: refused layer: ../../etc/passwd: the name climbs above the image's root
        hard link through a link: refused layer: a: a symbolic link on the way leads out of the layer
        hard link to nothing: refused layer: a: a hard link to a file that does not exist
        hard link to a folder: unpack a: Operation not permitted (os error 1)
        hard link to the root: refused layer: a: a hard link to a folder
        root as a link: refused layer: ./: the root is not a folder
        pax parent: refused layer: a/../../b: the name climbs above the image's root
        pax zero byte: refused layer: a name contains a zero byte
        whiteout of the parent: refused layer: .wh...: this whiteout hides no file
        whiteout of nothing: refused layer: .wh.: this whiteout hides no file
        device of overlayfs: refused layer: zero-zero: character device 0:0 would be a whiteout
        owner out of range: refused layer: x: a user or group ID is out of range
        empty link: refused layer: a: the target of a symbolic link is empty or too long
        unknown type: refused layer: unknown entry type 'Z'
        too large: refused layer: a: the file is larger than a layer may be
        too large holes: refused layer: x: the file is larger than a layer may be
        sparse map beyond the end: refused layer: a sparse map is out of order or beyond the end of the file
        sparse map too long: refused layer: a sparse map does not fit the data
        sparse overflow: refused layer: a sparse map is out of order or beyond the end of the file
        impossible size: refused layer: an entry announces an impossible size
        cut short: refused layer: it is cut short, inside of an entry
        large extension: refused layer: an extension header is larger than 1048576 bytes
        large attribute: refused layer: an extended attribute is larger than 65536 bytes
        extensions for ever: refused layer: too many extension headers before one entry
        deep: refused layer: s/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/s/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/s/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/: more than 200 folders deep
        many: refused layer: it has more than 100 entries
        wrong checksum: refused layer: wrong checksum of a tar header: this is no tar, or it is damaged
        half a header: refused layer: wrong checksum of a tar header: this is no tar, or it is damaged
    "#]].assert_eq(&seen);
}

#[test]
fn sparse_files_have_holes() {
    let map10 = format!("{:\0<512}{}", "2\n0\n1\n1000000\n2\n", "abc");
    check(
        &[tape()
            .pax(&[
                ("GNU.sparse.size", "5"),
                ("GNU.sparse.map", "1,1,3,1"),
                ("GNU.sparse.name", "v01"),
            ])
            .file("x", "ab")
            .pax(&[
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.name", "v10"),
                ("GNU.sparse.realsize", "1000002"),
            ])
            .file("x", &map10)],
        expect![[r#"
            100644 7:8 v01 "\0a\0b\0" @1000
            100644 7:8 v10 "a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" @1000
        "#]],
    );
}

#[test]
fn what_the_layers_below_know_is_settled() {
    let base = tape()
        .dir("usr")
        .dir("usr/lib")
        .symlink("lib", "usr/lib")
        .file("usr/lib/base", "base")
        .add(b'5', "tmp", "", 0o1777, b"")
        .dir("etc")
        .file("gone", "x")
        .file("file", "x");
    check(
        &[
            base.clone(),
            tape().file(".wh.gone", ""),
            tape()
                .file("tmp/x", "keeps the sticky bit")
                .file("lib/new", "goes to usr/lib")
                .file("lib/sub/new", "too")
                .file("other/x", "")
                .hard_link("etc/base", "lib/base")
                .hard_link("etc/again", "etc/base"),
        ],
        expect![[r#"
            040755 7:8 etc
            100644 7:8 etc/again "base" links 3 @1000
            100644 7:8 etc/base "base" links 3 @1000
            040755 0:0 other
            100644 7:8 other/x "" @1000
            041777 7:8 tmp @1000
            100644 7:8 tmp/x "keeps the sticky bit" @1000
            040755 7:8 usr
            040755 7:8 usr/lib
            100644 7:8 usr/lib/new "goes to usr/lib" @1000
            040755 0:0 usr/lib/sub
            100644 7:8 usr/lib/sub/new "too" @1000
        "#]],
    );
    let mut seen = String::new();
    for tape in [
        tape().hard_link("a", "gone"),
        tape().file("file/x", ""),
        tape().hard_link("a", "usr"),
        tape().file(".wh.lib", "").hard_link("a", "lib/base"),
    ] {
        seen += &run(&[base.clone(), self::tape().file(".wh.gone", ""), tape]);
    }
    expect![[r#"
        refused layer: a: a hard link to a file that does not exist
        refused layer: file: it lies in something that is no folder in the layers below
        refused layer: a: a hard link to a file that does not exist
        refused layer: a: a hard link to a file that does not exist
    "#]]
    .assert_eq(&seen);
}

/// A small generator (SplitMix64) with a fixed seed: failures repeat.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below as u64) as usize
    }
}

/// Changes bytes, mostly in headers, and mends the checksums often enough to get further.
fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>) {
    for _ in 0..=dice.roll(3) {
        let block = dice.roll(bytes.len() / 512);
        let at = block * 512 + [dice.roll(512), dice.roll(160), 124 + dice.roll(40)][dice.roll(3)];
        bytes[at] = [b'0' + dice.roll(10) as u8, dice.roll(256) as u8, b"/.xLK\0S"[dice.roll(7)]]
            [dice.roll(3)];
        if dice.roll(4) > 0 {
            let header = &mut bytes[block * 512..][..512];
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    if dice.roll(8) == 0 {
        bytes.truncate(dice.roll(bytes.len()));
    }
}

#[test]
fn mutated_layers_never_panic_and_never_leave_the_folder() {
    let seed = tape()
        .dir("a")
        .file("a/b", "content")
        .symlink("l", "a")
        .file("l/x", "y")
        .hard_link("h", "a/b")
        .pax(&[("path", "p/q"), ("GNU.sparse.size", "9"), ("GNU.sparse.map", "0,2")])
        .file("x", "zz")
        .add(b'L', "long", "", 0, b"some/long/name")
        .file(".wh.a", "")
        .add(b'3', "null", "", 0o666, b"")
        .end();
    let mut dice = Dice(1);
    let mut good = 0;
    for _ in 0..600 {
        let temp = Temp::new();
        let folder = temp.0.join("fs");
        std::fs::create_dir(&folder).unwrap();
        let mut bytes = seed.clone();
        mutate(&mut dice, &mut bytes);
        let limits = Limits { layer_bytes: 1 << 20, entries: 50, ..Limits::default() };
        let result = unpack(&mut &bytes[..], &folder, limits)
            .and_then(|unpacked| settle::settle(&folder, unpacked.loose, &[]));
        good += usize::from(result.is_ok());
        assert_eq!(std::fs::read_dir(&temp.0).unwrap().count(), 1);
    }
    // Mutations must reach beyond the first check to mean anything.
    assert!((30..570).contains(&good), "{good}");
}
