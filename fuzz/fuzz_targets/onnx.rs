//! ONNX files of any bytes: read or refused, without a panic and in bounded memory. Start from `golden/onnx` and `golden/operators` as corpus.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vitc_exporters::onnx::{ImportOptions, import};
use vitc_ir::Dim;

fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("vitc-fuzz-{}.onnx", std::process::id()));
    std::fs::write(&path, bytes).expect("a file");
    // The last byte chooses the batch, so that one corpus serves all.
    let batch = [None, Some(Dim::Batch(1)), Some(Dim::Fixed(2))][usize::from(bytes.last().copied().unwrap_or(0)) % 3];
    let options = ImportOptions { name: "file".into(), batch, shapes: Vec::new(), outputs: Vec::new() };
    let _ = import(&path, &options);
});
