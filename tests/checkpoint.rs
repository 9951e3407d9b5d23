//! Checkpoints as PyTorch writes them (`golden/checkpoints`, made by `make.py` there): every container, type and form reads to the same model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vitc::checkpoint::{Checkpoint, CheckpointError, NameTable, SelectOptions, Selected, bind};
use vitc::checkpoint::{Head, Model};
use vitc_ir::{Stored, StoredType, Weights};

type Shapes = BTreeMap<String, Vec<usize>>;

/// The model of `make.py`: key, shape, and which of its floating-point tensors it is.
const NET: [(&str, &[usize]); 8] = [
    ("patch_embed.0.weight", &[4, 3, 3, 3]),
    ("patch_embed.0.bias", &[4]),
    ("patch_embed.1.weight", &[4]),
    ("patch_embed.1.bias", &[4]),
    ("patch_embed.1.running_mean", &[4]),
    ("patch_embed.1.running_var", &[4]),
    ("head.weight", &[5, 4]),
    ("head.bias", &[5]),
];
const MODEL: Model<'_> = Model { name: "net", heads: &[Head { key: "head", features: 4 }] };

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/checkpoints").join(name)
}

fn recognised(shapes: &Shapes) -> bool {
    shapes.contains_key("patch_embed.0.weight") && shapes.contains_key("patch_embed.1.running_mean")
}

fn select(name: &str, options: &SelectOptions) -> Result<Selected, CheckpointError> {
    Checkpoint::open(&golden(name))?.select(&recognised, options)
}

fn required() -> impl Iterator<Item = (&'static str, Vec<usize>)> {
    NET.iter().map(|(key, shape)| (*key, shape.to_vec()))
}

fn widened(stored: &Stored<'_>) -> Vec<f64> {
    stored
        .bytes
        .chunks_exact(stored.dtype.bytes())
        .map(|b| match stored.dtype {
            StoredType::F16 => half::f16::from_le_bytes([b[0], b[1]]).to_f64(),
            StoredType::BF16 => half::bf16::from_le_bytes([b[0], b[1]]).to_f64(),
            StoredType::F32 => f64::from(f32::from_le_bytes(b.try_into().unwrap())),
            StoredType::F64 => f64::from_le_bytes(b.try_into().unwrap()),
        })
        .collect()
}

/// Binds strictly and compares every element with the rule of `make.py`, plus `offset`.
fn assert_is_net(selected: &Selected, offset: f64) {
    let weights =
        bind(selected, &NameTable::IDENTITY, required(), &|_| false, &MODEL).unwrap_or_else(|e| panic!("{e}"));
    for (i, (key, shape)) in NET.iter().enumerate() {
        let n: usize = shape.iter().product();
        let expected: Vec<f64> = (0..n).map(|j| (j % 17 + i + 1) as f64 + offset).collect();
        assert_eq!(widened(&weights.weight(key, n).unwrap()), expected, "{key}");
    }
}

#[test]
fn every_container_and_type_reads_to_the_same_model() {
    for name in [
        "plain.pth",
        "wrapped.pth.tar",
        "legacy.pth",
        "protocol5.pth",
        "bfloat16.pth",
        "float64.pth",
        "parameters.pth",
        "strided.pth",
        "strided_legacy.pth",
    ] {
        assert_is_net(&select(name, &SelectOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}")), 0.0);
    }
}
