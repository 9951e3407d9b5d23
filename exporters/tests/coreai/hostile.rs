//! Damaged assets are errors, never panics.

use super::{Written, all, dynamic, emit};
use proptest::prelude::*;
use std::sync::LazyLock;
use vitc_exporters::coreai;
use vitc_ir::{DType, Weights};

const FILES: [&str; 3] = ["main.mlirb", "main.hash", "metadata.json"];

/// The files of some assets that together hold every operation.
static ASSETS: LazyLock<Vec<[Vec<u8>; 3]>> = LazyLock::new(|| {
    let files = |w: &Written| FILES.map(|name| std::fs::read(w.path().join(name)).expect("a file of the asset"));
    all(DType::F16).into_iter().chain(dynamic(DType::F32)).map(|(_, graph)| files(&emit(&graph))).collect()
});

thread_local! {
    /// Where a thread puts one asset after the other.
    static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a folder");
}

/// Read an asset of these files and ask for all of its constants.
fn read(files: &[Vec<u8>; 3]) -> Result<(), coreai::ReadError> {
    FOLDER.with(|folder| {
        for (name, bytes) in FILES.iter().zip(files) {
            std::fs::write(folder.path().join(name), bytes).expect("written");
        }
        let asset = coreai::read(folder.path())?;
        for (_, graph) in &asset.functions {
            for (key, ty) in graph.weights() {
                asset.weights.weight(key, ty.shape.elements()).expect("what was read is there");
            }
        }
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_an_error_or_another_asset(which: usize, file in 0usize..12, at: usize, bit in 0u8..8, kind in 0u8..3) {
        let mut files = ASSETS[which % ASSETS.len()].clone();
        // Most of the damage goes to the program.
        let bytes = &mut files[file.saturating_sub(9)];
        let at = at % bytes.len();
        match kind {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << bit,
            _ => bytes[at] = bytes[at].wrapping_add(bit),
        }
        let _ = read(&files);
    }
}

#[test]
fn what_is_missing_or_foreign_is_said() {
    let intact = ASSETS[0].clone();
    read(&intact).expect("intact");
    let error = |file: usize, bytes: &[u8]| {
        let mut files = intact.clone();
        files[file] = bytes.to_vec();
        read(&files).expect_err("must be refused").to_string()
    };
    assert!(error(0, b"").contains("is not MLIR bytecode"));
    assert!(error(0, b"ML\xefR\x0f").contains("bytecode of version 7"));
    assert!(error(2, b"{").contains("is not JSON"));
    assert!(error(2, b"{\"assetVersion\": \"1.0\"}").contains("2.0 is read"));
    assert!(coreai::read(std::path::Path::new("nowhere.aimodel")).is_err());
}
