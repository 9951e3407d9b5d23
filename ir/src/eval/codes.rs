//! Numbers as codes of few bits, and back.

use super::tensor::Tensor;
use crate::ty::DType;

/// The codes of x, by one scale.
pub(super) fn quantize(x: &Tensor, scale: f64, to: DType) -> Vec<f64> {
    let (lo, hi) = if to == DType::U8 { (0.0, 255.0) } else { (-128.0, 127.0) };
    x.data.iter().map(|x| (x / scale).round_ties_even().clamp(lo, hi)).collect()
}

/// What codes stand for; the scale's sizes divide theirs.
pub(super) fn dequantize(codes: &Tensor, scale: &Tensor) -> Vec<f64> {
    if scale.data.len() == 1 {
        return codes.data.iter().map(|q| q * scale.data[0]).collect();
    }
    let blocks: Vec<usize> = codes.dims.iter().zip(&scale.dims).map(|(d, s)| d / s).collect();
    let mut index = vec![0; codes.dims.len()];
    let mut result = Vec::with_capacity(codes.data.len());
    for q in codes.data.iter() {
        let place = index.iter().zip(&blocks).zip(&scale.dims).fold(0, |at, ((i, block), size)| at * size + i / block);
        result.push(q * scale.data[place]);
        for (i, &size) in index.iter_mut().zip(&codes.dims).rev() {
            *i += 1;
            if *i < size {
                break;
            }
            *i = 0;
        }
    }
    result
}

/// The entries of a table `[parts,2^bits]` at packed codes.
pub(super) fn lookup(codes: &Tensor, table: &Tensor, bits: usize, elements: usize) -> Vec<f64> {
    let part = elements / table.dims[0];
    let code = |i: usize| {
        let (byte, shift) = (i * bits / 8, i * bits % 8);
        let low = codes.data[byte] as usize;
        let high = codes.data.get(byte + 1).map_or(0, |&b| b as usize);
        ((low | (high << 8)) >> shift) & ((1 << bits) - 1)
    };
    (0..elements).map(|i| table.data[(i / part) * (1 << bits) + code(i)]).collect()
}
