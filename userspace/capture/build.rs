//! Embeds the eBPF objects, if they have been built, so that one binary is all that a gateway needs.
//!
//! Without an object (a plain `cargo build`, or a machine without the eBPF toolchain) the crate
//! builds all the same, and opening what needs it says what is missing.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Where `cargo xtask build` puts the objects, from the workspace root.
const DIRECTORY: &str = "target/bpf";

/// Each object with the condition that says it is embedded.
const OBJECTS: [(&str, &str); 2] =
    [("edgelore.bpf.o", "bpf_object"), ("tracepoints.bpf.o", "bpf_trace_object")];

fn main() {
    let variable =
        |name| PathBuf::from(env::var_os(name).expect("cargo sets it for build scripts"));
    let directory = variable("CARGO_MANIFEST_DIR").join("../..").join(DIRECTORY);
    let out = variable("OUT_DIR");
    for (object, condition) in OBJECTS {
        println!("cargo::rustc-check-cfg=cfg({condition})");
        embed(&directory.join(object), &out.join(object), condition);
    }
}

fn embed(object: &Path, copy: &Path, condition: &str) {
    println!("cargo::rerun-if-changed={}", object.display());
    if !object.is_file() {
        return;
    }
    match fs::copy(object, copy) {
        Ok(_) => println!("cargo::rustc-cfg={condition}"),
        Err(error) => panic!("copy {} to {}: {error}", object.display(), copy.display()),
    }
}
