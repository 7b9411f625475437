//! Any text as a tracepoint's `format` file, and any bytes as the kernel's type information.
#![no_main]

use edgelore_capture::trace::{FIELDS_MAX, Format, SYMBOLS_MAX, Types};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let format = Format::parse(&text);
    assert!(format.fields().len() <= FIELDS_MAX);
    assert!(format.symbols("reason").len() <= SYMBOLS_MAX);
    for (field, size) in [("reason", 4), ("skaddr", 8), ("saddr_v6", 16)] {
        if let Ok(offset) = format.offset(field, size) {
            assert!(format.fields().iter().any(|f| f.name == field && f.offset == offset));
        }
    }
    if let Some(types) = Types::parse(bytes) {
        for (structure, member) in [("sock", "__sk_common"), ("net", "ns"), ("outer", "c")] {
            let _ = types.offset(structure, member);
        }
    }
});
