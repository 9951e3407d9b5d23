//! Seeded weights suit any variant, resolution and number of classes: nothing leaves the f16 range, and the image matters.

use ndarray::{ArrayD, IxDyn};
use vitc::arch::{self, BuildOptions, seeded};
use vitc_ir::{cost, eval};

/// Half of the half of what f16 holds, so that another checkpoint of that size has room too.
const LARGEST: f64 = 4096.0;
/// Least change of the logits by another image, in standard deviations of the logits.
const LEAST_CHANGE: f64 = 0.05;

/// Parameters of the largest model that this test evaluates.
const LARGEST_MODEL: u64 = 100_000_000;

fn image(seed: u64, dims: &[usize]) -> ArrayD<f64> {
    let noise = seeded::noise("image", seed, dims.iter().product());
    ArrayD::from_shape_vec(IxDyn(dims), noise.into_iter().map(f64::from).collect()).expect("an element per position")
}

/// Largest activation, and the change of the logits by another image relative to their spread.
fn statistics(model: &str, resolution: [usize; 2], classes: usize, seed: u64) -> (f64, f64) {
    let (family, variant) = arch::find(model).unwrap_or_else(|e| panic!("{e}"));
    let options = BuildOptions { resolution, classes, ..BuildOptions::new(variant) };
    let graph = (family.build)(&options).unwrap_or_else(|e| panic!("{e}"));
    let weights = seeded::SeededWeights::new(&graph, seed);
    let mut largest: f64 = 0.0;
    let mut logits = Vec::new();
    for image_seed in 0..2 {
        let input = image(image_seed, &[1, 3, resolution[0], resolution[1]]);
        let results =
            eval::run_observed(&graph, &weights, &[input], 1, &mut |_, value: ndarray::ArrayViewD<'_, f64>| {
                largest = value.iter().fold(largest, |m, x| m.max(x.abs()));
            });
        logits.push(results.unwrap_or_else(|e| panic!("{model}: {e}"))[0].clone());
    }
    let n = logits[0].len() as f64;
    let mean = logits[0].sum() / n;
    let spread = (logits[0].mapv(|x| (x - mean).powi(2)).sum() / n).sqrt();
    let change = ((&logits[1] - &logits[0]).mapv(|x| x * x).sum() / n).sqrt();
    (largest, change / spread)
}

#[test]
fn every_variant_keeps_its_range_and_sees_the_image() {
    let mut failures = Vec::new();
    for (family, variant) in arch::FAMILIES.iter().flat_map(|f| f.variants.iter().map(move |v| (f, v))) {
        // Small maps where the architecture takes them; the largest variants repeat smaller ones in more and wider blocks.
        let small = BuildOptions { resolution: [64, 64], ..BuildOptions::new(variant) };
        let Ok(graph) = (family.build)(&small) else { continue };
        if cost::trained_parameters(&graph) > LARGEST_MODEL {
            continue;
        }
        let (largest, change) = statistics(variant.name, small.resolution, 10, 1);
        if largest >= LARGEST || change.is_nan() || change < LEAST_CHANGE {
            failures.push(format!("{}: largest {largest:.1}, change {change:.4}", variant.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
