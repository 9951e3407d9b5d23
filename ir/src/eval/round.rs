//! Rounding to the element types, to nearest even, with the same bits on every machine.
//!
//! Written out here because converters that go through f32, or that drop low mantissa bits first, round some ties the
//! wrong way.

/// The smallest normal f16, 2^-14.
pub(super) const SMALLEST_NORMAL_F16: f32 = 1.0 / 16_384.0;

/// `x` rounded to a multiple of the f16 spacing at `x`; beyond the largest f16 the result is 65536 or more.
#[inline(always)]
fn on_f16_grid(x: f64) -> f64 {
    const EXPONENT: u64 = 0x7ff << 52;
    // Below the smallest normal the spacing stays 2^-24. Compared as floats, because few machines compare vectors of 64-bit integers.
    let smallest = f64::from(SMALLEST_NORMAL_F16);
    let magnitude = if x.abs() > smallest { x.abs() } else { smallest };
    let scale = magnitude.to_bits() & EXPONENT;
    // 1.5 · 2^(e + 42): an f64 of this size has the spacing 2^(e − 10), so that adding it rounds as the hardware does.
    let magic = f64::from_bits(scale.wrapping_add((42 << 52) | (1 << 51)));
    (x + magic) - magic
}

/// Bits of the f16 nearest to `x`. Magnitudes that round past 65504 give infinity, NaN gives NaN.
#[inline(always)]
pub(super) fn f16_bits(x: f64) -> u16 {
    f16_pattern(nearest_f16(x))
}

/// The f16 nearest to `x`, which is an f32 too; 65536 or more where that is infinity.
#[inline(always)]
pub(super) fn nearest_f16(x: f64) -> f32 {
    // Nothing this large is finite, and the grid ends somewhere above.
    const LARGE: f64 = 131_072.0;
    let bounded = if x > LARGE { LARGE } else { x };
    let bounded = if bounded < -LARGE { -LARGE } else { bounded };
    on_f16_grid(bounded).copysign(x) as f32
}

/// Bits of a result of [`nearest_f16`]. Apart from it because one works in 64-bit lanes and the other in 32-bit lanes; those are compared with a sign
/// because few machines do without.
#[inline(always)]
pub(super) fn f16_pattern(nearest: f32) -> u16 {
    let bits = nearest.to_bits();
    let (sign, magnitude) = (bits >> 16 & 0x8000, (bits & 0x7fff_ffff) as i32);
    let normal = (magnitude >> 13) - (112 << 10);
    // Between 0.5 and 1 the spacing of f32 is that of subnormal f16.
    let subnormal = (f32::from_bits(magnitude as u32) + 0.5).to_bits() as i32 - 0x3f00_0000;
    let finite = if magnitude < 0x3880_0000 { subnormal } else { normal };
    let special = if magnitude > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
    (sign | if magnitude < 0x4780_0000 { finite } else { special } as u32) as u16
}

/// The number that f16 bits stand for, exactly.
#[inline(always)]
pub(super) fn f16_value(bits: u16) -> f64 {
    let magnitude = u32::from(bits & 0x7fff) << 13;
    // The exponent is 112 too small for f32; a multiplication by a power of two mends normals and subnormals alike.
    let finite = f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23);
    let value = if magnitude >= 0x7c00 << 13 { f32::from_bits(magnitude | 0x7f80_0000) } else { finite };
    f64::from(f32::from_bits(value.to_bits() | u32::from(bits & 0x8000) << 16))
}

/// The number that bf16 bits stand for, exactly.
#[inline(always)]
pub(super) fn bf16_value(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

/// `x` rounded to f16 and widened again.
#[inline(always)]
pub(super) fn through_f16(x: f64) -> f64 {
    f16_value(f16_bits(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_survives() {
        for bits in 0..=u16::MAX {
            let value = f16_value(bits);
            let reference = half::f16::from_bits(bits).to_f64();
            if reference.is_nan() {
                assert!(value.is_nan() && f16_value(f16_bits(value)).is_nan(), "{bits:#06x}");
            } else {
                assert_eq!(value.to_bits(), reference.to_bits(), "{bits:#06x}");
                assert_eq!(f16_bits(value), bits);
            }
        }
    }

    #[test]
    fn ties_go_to_even_and_neighbours_of_ties_to_their_side() {
        for bits in 0..0x7bffu16 {
            let (a, b) = (f16_value(bits), f16_value(bits + 1));
            let tie = (a + b) / 2.0;
            let even = if bits % 2 == 0 { bits } else { bits + 1 };
            assert_eq!(f16_bits(tie), even, "{tie}");
            assert_eq!(f16_bits(tie.next_down()), bits, "just below {tie}");
            assert_eq!(f16_bits(tie.next_up()), bits + 1, "just above {tie}");
            assert_eq!(f16_bits(-tie), even | 0x8000);
        }
    }

    #[test]
    fn overflow_starts_half_a_step_above_the_largest() {
        assert_eq!(f16_bits(65520.0_f64.next_down()), 0x7bff);
        assert_eq!(f16_bits(65520.0), 0x7c00);
        assert_eq!(f16_bits(-1e300), 0xfc00);
        assert_eq!(f16_bits(f64::INFINITY), 0x7c00);
        assert_eq!(f16_bits(f64::NEG_INFINITY), 0xfc00);
        assert_eq!(f16_bits(f64::MAX), 0x7c00);
        assert_eq!(f16_bits(f64::MIN_POSITIVE), 0);
        assert_eq!(f16_bits(-f64::MIN_POSITIVE), 0x8000);
        assert_eq!(f16_bits(-0.0), 0x8000);
    }
}
