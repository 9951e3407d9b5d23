//! Codes of few bits that share bytes.

/// Codes one behind the other in whole bytes, the first in the low bits, as numbers: `count` of them, or as many as there are. 1 to 8 bits.
pub fn unpacked(bytes: &[u8], bits: usize, count: usize) -> Vec<u8> {
    let code = |i: usize| {
        let (byte, shift) = (i * bits / 8, i * bits % 8);
        let word = u16::from(bytes[byte]) | u16::from(bytes.get(byte + 1).copied().unwrap_or(0)) << 8;
        (word >> shift) as u8 & (0xFF >> (8 - bits))
    };
    (0..count.min(bytes.len() * 8 / bits)).map(code).collect()
}

/// Numbers as codes in whole bytes: the reverse.
pub fn packed(codes: &[u8], bits: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; (codes.len() * bits).div_ceil(8)];
    for (i, &code) in codes.iter().enumerate() {
        let word = u16::from(code) << (i * bits % 8);
        let byte = i * bits / 8;
        bytes[byte] |= word as u8;
        if let Some(next) = bytes.get_mut(byte + 1) {
            *next |= (word >> 8) as u8;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_packed_and_unpacked() {
        for bits in [1, 2, 3, 4, 6, 8] {
            let codes: Vec<u8> = (0..29u8).map(|i| i.wrapping_mul(37) & (0xFF >> (8 - bits))).collect();
            assert_eq!(unpacked(&packed(&codes, bits), bits, 29), codes, "{bits}");
        }
        assert_eq!(packed(&[1, 2, 3], 4), [0x21, 0x03]);
        assert_eq!(packed(&[0b111111, 0, 0b100001, 1], 6), [0b0011_1111, 0b0001_0000, 0b0000_0110]);
        assert_eq!(packed(&[200, 7], 8), [200, 7]);
    }
}
