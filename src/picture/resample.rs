//! Antialiased resampling of 8-bit pictures, as PIL's `Image.resize`.
//!
//! One axis after the other, the horizontal first, each rounded to 8 bits: overshoot of the first is cut off before the second. Along an axis, output position i has its centre at c = (i + ½)·r, r = input over
//! output size. It is the mean of the inputs at j + ½ within `reach`·max(r, 1) of c, weighted by the kernel at (j + ½ − c) / max(r, 1).

use super::Picture;
use vitc_ir::resample::cubic;

/// An interpolation kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    /// Beyond this the kernel is zero.
    reach: f64,
    at: fn(f64) -> f64,
}

/// The kernel of this name, as timm and torchvision name them.
pub(super) fn kernel(name: &str) -> Option<Kernel> {
    match name {
        "bilinear" => Some(Kernel { reach: 1.0, at: |x| 1.0 - x.abs() }),
        "bicubic" => Some(Kernel { reach: 2.0, at: |x| cubic(x, -0.5) }),
        "lanczos" => Some(Kernel { reach: 3.0, at: |x| sinc(x) * sinc(x / 3.0) }),
        _ => None,
    }
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

/// First input and weights of each output along an axis; weights sum to 1.
fn weights(input: usize, output: usize, kernel: Kernel) -> Vec<(usize, Vec<f64>)> {
    let ratio = input as f64 / output as f64;
    let wide = ratio.max(1.0);
    let weight = |i: usize| {
        let centre = (i as f64 + 0.5) * ratio;
        let bound = |x: f64| (x + 0.5).clamp(0.0, input as f64) as usize;
        let (first, end) = (bound(centre - kernel.reach * wide), bound(centre + kernel.reach * wide));
        let at = |j: usize| {
            let x = (j as f64 + 0.5 - centre) / wide;
            if x.abs() < kernel.reach { (kernel.at)(x) } else { 0.0 }
        };
        let all: Vec<f64> = (first..end).map(at).collect();
        let sum: f64 = all.iter().sum();
        (first, all.into_iter().map(|w| w / sum).collect())
    };
    (0..output).map(weight).collect()
}

/// The picture with another width; `pixel(x, y)` reads it.
fn rows(width: usize, size: [usize; 2], kernel: Kernel, pixel: impl Fn(usize, usize) -> [u8; 3]) -> Picture {
    let [new, height] = size;
    let weights = weights(width, new, kernel);
    Picture::new(new, height, |x, y| {
        let (first, weights) = &weights[x];
        let mut sum = [0.0; 3];
        for (j, w) in (*first..).zip(weights) {
            let colour = pixel(j, y);
            (0..3).for_each(|c| sum[c] += w * f64::from(colour[c]));
        }
        sum.map(|v| (v + 0.5).clamp(0.0, 255.0) as u8)
    })
}

/// The picture in another size.
pub(super) fn resize(picture: &Picture, width: usize, height: usize, kernel: Kernel) -> Picture {
    let narrow = rows(picture.width, [width, picture.height], kernel, |x, y| picture.at(x, y));
    let turned = rows(picture.height, [height, width], kernel, |x, y| narrow.at(y, x));
    Picture::new(width, height, |x, y| turned.at(y, x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_its_own_size_and_a_plain_one_stay() {
        let picture = Picture::new(7, 5, |x, y| [(x * 30) as u8, (y * 50) as u8, ((x * y) % 7 * 36) as u8]);
        let plain = Picture::new(9, 4, |_, _| [200, 0, 255]);
        for name in ["bilinear", "bicubic", "lanczos"] {
            let kernel = kernel(name).unwrap();
            assert_eq!(resize(&picture, 7, 5, kernel), picture, "{name}");
            assert!(resize(&plain, 5, 11, kernel).pixels.iter().all(|p| *p == [200, 0, 255]), "{name}");
        }
    }
}
