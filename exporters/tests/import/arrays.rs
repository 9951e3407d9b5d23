//! Arrays as NumPy stores them, of the element types that files of models have.

use half::f16;
use std::path::Path;

/// An array.
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f64>,
}

/// Read a `.npy` file in row-major order.
pub(crate) fn read(path: &Path) -> Array {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + length]).expect("a header");
    let between = |from: &str, to: char| {
        let start = header.find(from).expect("a key") + from.len();
        let end = header[start..].find(to).expect("an end") + start;
        &header[start..end]
    };
    let shape: Vec<usize> = between("'shape': (", ')').split(',').filter_map(|d| d.trim().parse().ok()).collect();
    let body = &bytes[10 + length..];
    let data: Vec<f64> = match between("'descr': '", '\'') {
        "<f4" => body.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
        "<f8" => body.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
        "<f2" => body.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f64()).collect(),
        "<i8" => body.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect(),
        "<i4" => body.as_chunks().0.iter().map(|&b| f64::from(i32::from_le_bytes(b))).collect(),
        "|i1" => body.iter().map(|&b| f64::from(b as i8)).collect(),
        "|u1" | "|b1" => body.iter().map(|&b| f64::from(b)).collect(),
        other => panic!("{}: elements of {other}", path.display()),
    };
    assert_eq!(data.len(), shape.iter().product::<usize>(), "{}", path.display());
    Array { shape, data }
}
