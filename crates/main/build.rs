//! Tells the linker to keep only one of functions that are equal: the same views are decoded in many crates, and each
//! brings its own copy. Rust's functions have no identity, so nothing can tell.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Where Rust brings its own linker; others may not know the word.
    if std::env::var("TARGET").is_ok_and(|target| target == "x86_64-unknown-linux-gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}
