//! Measures loading and root file systems: `measure ARCHIVE FOLDER`.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use skiff_base::World;
use skiff_image::{ImageBuilder, Images, StoreOptions};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, archive, folder] = &arguments[..] else { panic!("usage: measure ARCHIVE FOLDER") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    let _inside = runtime.enter();
    let images = Images::open(Path::new(folder), StoreOptions::new(World::real())).expect("open");
    let start = Instant::now();
    let names = images.load(File::open(archive).expect("archive")).expect("load");
    println!("load {names:?}: {:?}", start.elapsed());
    let start = Instant::now();
    images.load(File::open(archive).expect("archive")).expect("load");
    println!("load again: {:?}", start.elapsed());
    let image = images.resolve(&names[0]).expect("resolve").expect("it was loaded");
    let start = Instant::now();
    for n in 0..1000 {
        images.rootfs(&image, &format!("c{n}")).expect("rootfs");
    }
    println!("rootfs: {:?}", start.elapsed() / 1000);
    let start = Instant::now();
    for n in 0..1000 {
        images.discard(&format!("c{n}")).expect("discard");
    }
    println!("discard: {:?}", start.elapsed() / 1000);
    let exe = std::env::current_exe().expect("exe");
    for _ in 0..2 {
        let start = Instant::now();
        ImageBuilder::new().file_from("/tool", 0o755, &exe).load(&images, "demo").expect("build");
        println!("build of {} bytes: {:?}", exe.metadata().expect("exe").len(), start.elapsed());
    }
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
}
