//! Seeded weights suit any variant, resolution and number of classes: nothing leaves the f16 range, and the image matters.

mod common;

use common::command::{stderr, vitc};
use ndarray::{ArrayD, IxDyn};
use vitc::arch::{self, Backbone, BuildOptions, Family, seeded};
use vitc_ir::testing::Rng;
use vitc_ir::{Dim, Graph, Weights, cost, eval};

/// Half of the half of what f16 holds, so that another checkpoint of that size has room too.
const LARGEST: f64 = 4096.0;
/// Least change of the logits by another image, in standard deviations of the logits.
const LEAST_CHANGE: f64 = 0.05;

/// Parameters of the largest model that every run of the tests evaluates.
const LARGE: u64 = 100_000_000;

/// Multiply-accumulates for both images beyond which a model is left out: the widest FasterViTs, whose smallest maps are padded to whole windows.
const WORK: u64 = 50_000_000_000;

/// Sides of small square images, the smallest first.
const SIDES: [usize; 5] = [64, 96, 128, 192, 224];

/// The backbones that classify; without a head of its own a net has no scores to look at.
fn classifying() -> impl Iterator<Item = Backbone> {
    arch::backbones().filter(|b| !b.family.heads.is_empty())
}

/// The sizes of a family.
fn of(family: &'static Family) -> impl Iterator<Item = Backbone> {
    family.variants.iter().map(move |variant| Backbone { family, variant })
}

/// The paper graph for two images.
fn build(backbone: Backbone, resolution: [usize; 2], classes: usize) -> Option<Graph> {
    let options = BuildOptions { resolution, classes, batch: Dim::Fixed(2), ..BuildOptions::new(backbone) };
    options.build().ok().map(|built| built.graph)
}

/// The variant on the smallest images that it takes.
fn smallest(backbone: Backbone) -> Graph {
    let sides = SIDES.iter().map(|&side| [side; 2]).chain([backbone.variant.resolution]);
    sides.filter_map(|r| build(backbone, r, 10)).next().unwrap_or_else(|| panic!("{}", backbone.variant.name))
}

/// The larger one; a NaN is larger than anything.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b <= a { a } else { b }
}

/// Logits of the model on two images, and its largest activation.
fn run(graph: &Graph, weights: &dyn Weights, images: ArrayD<f64>) -> (Vec<f64>, f64) {
    let mut largest: f64 = 0.0;
    let results = eval::run_observed(graph, weights, &[images], 1, &mut |_, value: ndarray::ArrayViewD<'_, f64>| {
        largest = value.iter().fold(largest, |m, x| larger(m, x.abs()));
    });
    let logits = results.unwrap_or_else(|e| panic!("{}: {e}", graph.name)).swap_remove(0);
    (logits.iter().copied().collect(), largest)
}

/// Nets without a classifier, on noise: their branches have no norms that would bound them.
#[test]
fn nets_that_enlarge_stay_in_range() {
    for backbone in arch::backbones().filter(|b| b.family.id == "ffnet-sr") {
        let graph = build(backbone, [32; 2], 10).unwrap_or_else(|| panic!("{}", backbone.variant.name));
        let noise = seeded::noise("image", 0, 2 * 3 * 32 * 32).into_iter().map(f64::from).collect();
        let noise = ArrayD::from_shape_vec(IxDyn(&[2, 3, 32, 32]), noise).expect("noise fills it");
        let (_, largest) = run(&graph, &seeded::SeededWeights::new(&graph, 0), noise);
        assert!(largest < LARGEST / 16.0, "{}: {largest}", backbone.variant.name);
    }
}

/// What is wrong with a model's activations on two images of noise, a coloured surface and a slope, if anything is.
fn fault(graph: &Graph, seed: u64) -> Option<String> {
    let weights = seeded::SeededWeights::new(graph, seed);
    let shape = graph.inputs().next().expect("a model has an input").1.types[0].shape.at(1);
    let noise = seeded::noise("image", seed, shape.iter().product());
    let noise =
        ArrayD::from_shape_vec(IxDyn(&shape), noise.into_iter().map(f64::from).collect()).expect("noise fills it");
    // As far from grey as normalised pixels go: the same everywhere, and from one corner to the other.
    let plain = ArrayD::from_shape_fn(IxDyn(&shape), |at| {
        let colour = if at[1] == 1 { -2.0 } else { 2.0 };
        let slope = (at[2] as f64 / shape[2] as f64 + at[3] as f64 / shape[3] as f64) - 1.0;
        if at[0] == 0 { colour } else { colour * slope }
    });
    let (logits, largest) = run(graph, &weights, noise);
    let largest = larger(largest, run(graph, &weights, plain).1);
    let (first, second) = logits.split_at(logits.len() / 2);
    let n = first.len() as f64;
    let mean = first.iter().sum::<f64>() / n;
    let spread = (first.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
    let change = (first.iter().zip(second).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / n).sqrt() / spread;
    // A single class has no spread.
    let sees = n == 1.0 && first != second || change >= LEAST_CHANGE;
    (largest.is_nan() || largest >= LARGEST || !sees)
        .then(|| format!("{} on {shape:?}, seed {seed}: largest {largest:.1}, change {change:.4}", graph.name))
}

fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_variant_keeps_its_range_and_sees_the_image() {
    let graphs = classifying().map(smallest).filter(|g| cost::trained_parameters(g) <= LARGE);
    assert_none(graphs.filter_map(|g| fault(&g, 1)).collect());
}

/// Minutes: `tests/full` asks for it.
#[test]
#[ignore = "takes minutes"]
fn the_largest_variants_too() {
    let graphs = classifying().map(smallest).filter(|g| cost::trained_parameters(g) > LARGE);
    let graphs: Vec<Graph> = graphs.filter(|g| cost::total_macs(g) <= WORK).collect();
    assert!(graphs.iter().any(|g| g.name == "fastervit-4-any-res"));
    assert_none(graphs.iter().filter_map(|g| fault(g, 1)).collect());
}

#[test]
fn any_resolution_classes_and_seed_will_do() {
    let rng = &mut Rng::new(5);
    let mut faults = Vec::new();
    for &family in arch::FAMILIES.iter().filter(|f| !f.heads.is_empty()) {
        let smallest_variants: Vec<_> =
            of(family).filter(|b| cost::trained_parameters(&smallest(*b)) <= LARGE / 2).collect();
        let mut checked = 0;
        for _ in 0..60 {
            let backbone = rng.pick(&smallest_variants);
            // Sizes that fit a pyramid, and any.
            let side = |rng: &mut Rng| if rng.chance(70) { 32 * rng.range(1, 7) } else { rng.range(33, 160) };
            let resolution = [side(rng), side(rng)];
            let classes = rng.pick(&[1, 2, 37, 1000]);
            if let Some(graph) = build(backbone, resolution, classes) {
                faults.extend(fault(&graph, rng.bits()));
                checked += 1;
            }
            if checked == 4 {
                break;
            }
        }
        assert!(checked > 0, "{}: no size fits", family.id);
    }
    assert_none(faults);
}

/// Attention whose softmax is all or nothing would carry the rounding of half precision into whole channels.
#[test]
fn maps_in_half_precision_pass_their_check() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for seed in [602, 611, 625] {
        let model = format!("fmvit-t --resolution 128 --seed {seed} --output pyramid");
        let done = vitc(folder.path(), &format!("export {model} --target onnx --fp16 -o a.onnx"));
        assert!(done.status.success(), "{model}: {}", stderr(&done));
    }
}

#[test]
fn a_seed_decides_every_byte() {
    for &family in arch::FAMILIES {
        let graph = smallest(Backbone { family, variant: &family.variants[0] });
        let [first, same, other] = [3, 3, 4].map(|seed| seeded::SeededWeights::new(&graph, seed));
        for (key, ty) in graph.weights() {
            let elements = ty.shape.elements();
            let bytes = |w: &seeded::SeededWeights| {
                w.weight(key, elements).unwrap_or_else(|e| panic!("{e}")).bytes.into_owned()
            };
            assert_eq!(bytes(&first), bytes(&same), "{key}");
            assert_ne!(bytes(&first), bytes(&other), "{key}");
        }
    }
}
