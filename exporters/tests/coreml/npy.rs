//! Arrays for foreign readers.

/// An array as a `.npy` file of f32.
pub(crate) fn npy(dims: &[usize], values: impl Iterator<Item = f64>) -> Vec<u8> {
    let shape: String = dims.iter().map(|d| format!("{d},")).collect();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}");
    let length = (header.len() + 11).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = length - 1).bytes());
    bytes.extend(values.flat_map(|v| (v as f32).to_le_bytes()));
    bytes
}
