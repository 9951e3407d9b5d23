//! Core AI: a target-stage graph to an `.aimodel` asset for iOS and macOS 27, and an asset back to a graph.
//!
//! An asset is a folder: `main.mlirb`, the program as MLIR bytecode in Apple's versioned storage dialect `aicode`; `main.hash`, its SHA-256;
//! `metadata.json`. The format is written and read here without any of the vendor's or LLVM's libraries. The bytecode's container is documented by
//! the LLVM project; the dialect's encodings are facts found by experiment with the vendor's package.
//!
//! Writing: each node is spelled in the dialect's operations, small constants stand in the attribute table, large ones are streamed into the
//! resource section. Reading decodes a file from its bytes alone. The two share no table and no helper, so that a mistake in one of them shows
//! as a difference in the check.
//!
//! Invariants of what is written: no date, no machine, no randomness, so equal graphs, weights and metadata give equal bytes; names of inputs and
//! outputs are unique and not empty; the size of every constant is that of its type, because readers do not look.

mod read;
mod write;

pub use read::{Asset, AssetWeights, ReadError, read};
pub use write::{Function, write};

/// Whether the folder at `path` is meant as an asset: it holds a program, or its name says so.
pub fn is_asset(path: &std::path::Path) -> bool {
    path.join(PROGRAM).is_file() || (path.is_dir() && path.extension().is_some_and(|e| e == "aimodel"))
}

/// The program's file in the asset's folder.
const PROGRAM: &str = "main.mlirb";

/// Its SHA-256, 32 bytes.
const HASH: &str = "main.hash";

/// What the asset says about itself.
const METADATA: &str = "metadata.json";
