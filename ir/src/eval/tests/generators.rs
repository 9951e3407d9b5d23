//! Generated constants against their formulas.

use super::super::{MemoryWeights, constant};
use super::{assert_close, build};
use crate::graph::Graph;
use crate::op::{Generator, OffsetOrder, Op, Part};
use crate::real::Real;
use crate::stage::Stage;
use crate::ty::{DType, Shape, Type};
use ndarray::ArrayD;
use std::f64::consts::PI;

fn generate(generator: Generator, dims: &[usize]) -> ArrayD<f64> {
    let mut g = Graph::new("g", Stage::Paper);
    let integer = matches!(generator, Generator::RelativeIndex { .. });
    let dtype = if integer { DType::I32 } else { DType::F32 };
    let leaf = g.push_leaf(Op::Generate(generator), Type::new(dtype, Shape::fixed(dims)), "x").unwrap();
    constant(&g, &MemoryWeights::new(), leaf).unwrap()
}

#[test]
fn simple() {
    assert_eq!(generate(Generator::Fill { value: Real(2.5) }, &[2, 3]), build(&[2, 3], |_| 2.5));
    assert_eq!(generate(Generator::Iota { axis: 1 }, &[2, 3, 2]), build(&[2, 3, 2], |i| i[1] as f64));
    assert_eq!(generate(Generator::Eye, &[3, 4]), build(&[3, 4], |i| if i[0] == i[1] { 1.0 } else { 0.0 }));
}

#[test]
fn relative_index() {
    let (query, key, step) = ([2, 3], [4, 6], [2, 2]);
    for order in [OffsetOrder::Absolute, OffsetOrder::Signed] {
        let y = generate(Generator::RelativeIndex { query, key, step, order }, &[6, 24]);
        let expected = build(&[6, 24], |i| {
            let dy = 2.0 * (i[0] / 3) as f64 - (i[1] / 6) as f64;
            let dx = 2.0 * (i[0] % 3) as f64 - (i[1] % 6) as f64;
            match order {
                OffsetOrder::Absolute => dy.abs() * 6.0 + dx.abs(),
                OffsetOrder::Signed => (dy + 3.0) * 11.0 + dx + 5.0,
            }
        });
        assert_eq!(y, expected);
    }
}

#[test]
fn bases() {
    for n in 1..40usize {
        let m = n / 2 + 1;
        for part in [Part::Cos, Part::Sin] {
            let y = generate(Generator::DftBasis { n, part }, &[n, m]);
            let root = (n as f64).sqrt();
            let expected = build(&[n, m], |i| {
                let angle = 2.0 * PI * (i[0] * i[1]) as f64 / n as f64;
                (if part == Part::Cos { angle.cos() } else { angle.sin() }) / root
            });
            assert_close(&y, &expected);
            // Quarter turns are exact.
            for (at, &x) in y.iter().enumerate() {
                let quarter = 4 * (at / m) * (at % m);
                if quarter % n == 0 {
                    let cos = [1.0, 0.0, -1.0, 0.0][quarter / n % 4];
                    let sin = [0.0, 1.0, 0.0, -1.0][quarter / n % 4];
                    let exact: f64 = (if part == Part::Cos { cos } else { sin }) / root;
                    assert_eq!(x, exact);
                    assert!(x != 0.0 || x.is_sign_positive());
                }
            }
        }
        let y = generate(Generator::DctBasis { n }, &[n, n]);
        let expected = build(&[n, n], |i| {
            let scale = if i[0] == 0 { (1.0 / n as f64).sqrt() } else { (2.0 / n as f64).sqrt() };
            scale * (PI * ((2 * i[1] + 1) * i[0]) as f64 / (2 * n) as f64).cos()
        });
        assert_close(&y, &expected);
    }
}

#[test]
fn bands_partition_the_grid() {
    for (grid, bands) in [([7, 7], 4), ([14, 9], 8), ([1, 1], 3), ([56, 56], 8)] {
        let y = generate(Generator::BandMask { grid }, &[bands, grid[0] * grid[1]]);
        for at in 0..grid[0] * grid[1] {
            let (a, b) = ((at / grid[1]) as f64 / grid[0] as f64, (at % grid[1]) as f64 / grid[1] as f64);
            let place = bands as f64 * ((a * a + b * b) / 2.0).sqrt();
            let band = (0..bands).position(|k| y[[k, at]] == 1.0).unwrap();
            assert_eq!((0..bands).map(|k| y[[k, at]]).sum::<f64>(), 1.0);
            // Where the radius is on a border but for rounding, the lower bound counts.
            assert!(band as f64 <= place + 1e-12 && (place < (band + 1) as f64 || band == bands - 1));
        }
    }
    // r = 1/3 exactly: K·r = 1, which floating point may miss.
    assert_eq!(generate(Generator::BandMask { grid: [3, 3] }, &[3, 9])[[1, 4]], 1.0);
}

#[test]
fn coordinates() {
    let y = generate(Generator::LogCoords { window: [3, 1] }, &[5, 2]);
    let scaled = |offset: f64| {
        let t: f64 = 8.0 * offset / 2.0;
        t.signum() * (t.abs() + 1.0).log2() / 3.0
    };
    let expected = build(&[5, 2], |i| if i[1] == 0 && i[0] != 2 { scaled(i[0] as f64 - 2.0) } else { 0.0 });
    assert_close(&y, &expected);
    let y = generate(Generator::GridCoords { side: 3 }, &[9, 2]);
    assert_eq!(y, build(&[9, 2], |i| (if i[1] == 0 { i[0] / 3 } else { i[0] % 3 }) as f64 - 1.0));
    assert_eq!(generate(Generator::GridCoords { side: 1 }, &[1, 2]), build(&[1, 2], |_| 0.0));
}
