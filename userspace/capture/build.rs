//! Embeds the eBPF object, if it has been built, so that one binary is all that a gateway needs.
//!
//! Without the object (a plain `cargo build`, or a machine without the eBPF toolchain) the crate
//! builds all the same, and opening a ring says what is missing.

use std::path::PathBuf;
use std::{env, fs};

/// Where `cargo xtask build` puts the object, from the workspace root.
const OBJECT: &str = "target/bpf/edgelore.bpf.o";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(bpf_object)");
    let variable =
        |name| PathBuf::from(env::var_os(name).expect("cargo sets it for build scripts"));
    let object = variable("CARGO_MANIFEST_DIR").join("../..").join(OBJECT);
    println!("cargo::rerun-if-changed={}", object.display());
    if !object.is_file() {
        return;
    }
    let copy = variable("OUT_DIR").join("edgelore.bpf.o");
    match fs::copy(&object, &copy) {
        Ok(_) => println!("cargo::rustc-cfg=bpf_object"),
        Err(error) => panic!("copy {} to {}: {error}", object.display(), copy.display()),
    }
}
