//! NumPy's `.npy` files: bytes, f16, f32 and f64, little-endian, row-major; values pass through f32.
//!
//! Invariants: foreign files never make this panic, and allocate at most three times the file's size.

use std::io::Write;
use std::path::Path;

/// An array from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Dimensions; empty for a scalar.
    pub shape: Vec<usize>,
    /// Elements, row-major.
    pub data: Vec<f32>,
}

/// A `.npy` file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What it said.
        source: std::io::Error,
    },
    /// The content is not an array that vitc reads.
    #[error("{path}: {what}\n  write it in Python with numpy.save({path:?}, array.astype('float32'))")]
    Format {
        /// The file.
        path: String,
        /// What was found.
        what: String,
    },
    /// The content is not several arrays that vitc reads.
    #[error("{path}: {what}\n  write it in Python with numpy.savez({path:?}, NAME=array.astype('float32'), …)")]
    Archive {
        /// The file.
        path: String,
        /// What was found.
        what: String,
    },
}

const MAGIC: &[u8] = b"\x93NUMPY";

/// Read an array.
///
/// # Errors
/// If the file cannot be read or holds anything but little-endian floats in row-major order.
pub fn read(path: &Path) -> Result<Array, NpyError> {
    parse(&bytes(path)?).map_err(|what| format(path, what))
}

/// What a file holds.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, NpyError> {
    std::fs::read(path).map_err(|source| NpyError::Io { path: path.display().to_string(), source })
}

/// The error about a file that is no array.
pub(super) fn format(path: &Path, what: String) -> NpyError {
    NpyError::Format { path: path.display().to_string(), what }
}

/// Write an f32 array, version 1.0.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, shape: &[usize], data: &[f32]) -> Result<(), NpyError> {
    let dims: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let dims = if shape.len() == 1 { dims.trim_end() } else { dims.trim_end_matches(", ") };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({dims}), }}");
    // Magic, version, length, header and a newline together are a multiple of 64, so that the elements can be mapped.
    while !(MAGIC.len() + 4 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = Vec::with_capacity(MAGIC.len() + 4 + header.len() + data.len() * 4);
    bytes.extend(MAGIC);
    bytes.extend([1, 0]);
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data.iter().flat_map(|v| v.to_le_bytes()));
    let written = std::fs::File::create(path).and_then(|mut f| f.write_all(&bytes));
    written.map_err(|source| NpyError::Io { path: path.display().to_string(), source })
}

/// The array that bytes are, or why they are none.
pub(super) fn parse(bytes: &[u8]) -> Result<Array, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("is not a .npy file")?;
    let (&[major, _], rest) = rest.split_first_chunk::<2>().ok_or("ends inside its header")?;
    let (length, rest) = match major {
        1 => rest.split_first_chunk::<2>().map(|(n, rest)| (u16::from_le_bytes(*n) as usize, rest)),
        2 | 3 => rest.split_first_chunk::<4>().map(|(n, rest)| (u32::from_le_bytes(*n) as usize, rest)),
        _ => return Err(format!("is of version {major}, known are 1 to 3")),
    }
    .ok_or("ends inside its header")?;
    let (header, elements) = rest.split_at_checked(length).ok_or("ends inside its header")?;
    let header = std::str::from_utf8(header).map_err(|_| "has a header that is not text")?;
    let field = |key: &str| {
        let at = header.find(&format!("'{key}':")).ok_or_else(|| format!("has no {key} in its header"))?;
        Ok::<&str, String>(header[at + key.len() + 3..].trim_start())
    };
    if !field("fortran_order")?.starts_with("False") {
        return Err("is in column-major order".into());
    }
    let descr = field("descr")?;
    let descr = descr.strip_prefix('\'').and_then(|d| d.split('\'').next()).unwrap_or("a record");
    let dims = field("shape")?.strip_prefix('(').and_then(|s| s.split(')').next()).ok_or("has no shape")?;
    let shape = dims.split(',').map(str::trim).filter(|d| !d.is_empty()).map(|d| d.parse::<usize>());
    let shape: Vec<usize> = shape.collect::<Result<_, _>>().map_err(|_| format!("has the shape ({dims})"))?;
    let size = match descr {
        "|u1" => 1,
        "<f2" => 2,
        "<f4" => 4,
        "<f8" => 8,
        other => return Err(format!("holds elements of type {other:?}, not bytes or little-endian floats")),
    };
    let needed = shape.iter().try_fold(size, |n: usize, &d| n.checked_mul(d));
    if needed != Some(elements.len()) {
        return Err(format!(
            "holds {} bytes of elements, not those of shape {shape:?} and type {descr}",
            elements.len()
        ));
    }
    let data = elements.chunks_exact(size).map(|e| match *e {
        [a] => f32::from(a),
        [a, b] => half::f16::from_le_bytes([a, b]).to_f32(),
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
        _ => f64::from_le_bytes(e.try_into().expect("chunks of eight")) as f32,
    });
    Ok(Array { shape, data: data.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x.npy");
        for shape in [vec![], vec![3], vec![2, 3], vec![1, 2, 0]] {
            let data: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| i as f32 / 3.0).collect();
            write(&path, &shape, &data).expect("writes");
            assert_eq!(std::fs::metadata(&path).expect("exists").len() as usize % 64, data.len() * 4 % 64);
            assert_eq!(read(&path).expect("reads"), Array { shape, data });
        }
    }

    fn file(descr: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(elements);
        bytes
    }

    #[test]
    fn other_float_types_are_converted() {
        let halves = [half::f16::from_f32(0.5), half::f16::from_f32(-2.0)].map(half::f16::to_le_bytes).concat();
        assert_eq!(parse(&file("<f2", "(2,)", &halves)).expect("f16").data, [0.5, -2.0]);
        assert_eq!(parse(&file("<f8", "()", &0.25f64.to_le_bytes())).expect("f64").data, [0.25]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (descr, shape, elements) in
            [("<i8", "(1,)", 8), (">f4", "(1,)", 4), ("<f4", "(2,)", 4), ("<f4", "(99999999999999999999,)", 4)]
        {
            parse(&file(descr, shape, &vec![0; elements])).expect_err(descr);
        }
        parse(&file("<f4", "(18446744073709551615, 2)", &[])).expect_err("an absurd size");
    }

    proptest! {
        #[test]
        fn damaged_files_are_errors_or_arrays(cut in 0usize..96, at in 0usize..96, byte: u8) {
            let mut bytes = file("<f4", "(2, 2)", &[0; 16]);
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Ok(array) = parse(&bytes) {
                prop_assert_eq!(array.shape.iter().product::<usize>(), array.data.len());
            }
        }
    }
}
