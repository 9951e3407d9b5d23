//! Every form of every spectral transform against the evaluator, whose transforms are tested against rustfft.

mod common;

use common::{deploy, lower};
use vitc_ir::eval::{MemoryWeights, run_observed};
use vitc_ir::testing::{assert_same_function, random_input};
use vitc_ir::{DType, Graph, Target, parse, validate};
use vitc_passes::{LowerOptions, Spectral};

/// The bases are rounded to f32.
const TOLERANCE: f64 = 1e-5;

/// Odd and even, H ≠ W, one row, one column.
const GRIDS: [[usize; 2]; 12] =
    [[1, 1], [1, 4], [5, 1], [2, 2], [4, 4], [7, 7], [5, 9], [6, 7], [8, 6], [3, 10], [14, 13], [9, 16]];

fn targets() -> [Target; 3] {
    [Target::onnx(17), Target::tensorrt(17), Target::coreml(15)]
}

fn lowered(paper: &Graph, target: &Target, spectral: Spectral) -> Graph {
    let options = LowerOptions { spectral, ..LowerOptions::new(DType::F32, DType::F32) };
    let (graph, _) = lower(&deploy(paper).0, target, &options);
    validate(&graph, Some(target)).unwrap_or_else(|e| panic!("{}: {e}\n{graph}", target.name()));
    graph
}

fn check(text: &str, seed: u64) {
    let paper = parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    for target in targets() {
        for spectral in [Spectral::Auto, Spectral::Dense, Spectral::Separable] {
            assert_same_function(&paper, &lowered(&paper, &target, spectral), seed, TOLERANCE);
        }
    }
}

fn count(graph: &Graph, word: &str) -> usize {
    graph.run_time_nodes().filter(|(_, n)| n.op.word() == word).count()
}

/// Transforms alone, both normalisations, ranks 2 to 4, spectra that belong to no real map.
#[test]
fn transforms() {
    for [h, w] in GRIDS {
        for norm in ["ortho", "backward"] {
            for (i, lead) in ["", "3,", "B,2,"].iter().enumerate() {
                let k = w / 2 + 1;
                let (map, half) = (format!("f32[{lead}{h},{w}]"), format!("f32[{lead}{h},{k}]"));
                let text = format!(
                    "graph g  stage=paper\n%x: {map} = input\n%a: {half} = input\n%b: {half} = input\n\
                    %z, %z:1: {half}, {half} = rfft2(%x){{norm={norm}}}\n\
                    %y: {map} = irfft2(%a, %b){{norm={norm}, width={w}}}\n\
                    %d: {map} = dct2(%x)\n%i: {map} = idct2(%x)\noutputs re=%z, im=%z:1, y=%y, d=%d, i=%i"
                );
                check(&text, (16 * h + 2 * w + i) as u64);
            }
        }
    }
}

/// An adaptive filter as AFFNet has it: two complex mixes in two groups of channels, activation and soft-shrink of each part, product with the
/// spectrum. `swap` exchanges operands of commutative operators.
fn filter(grid: [usize; 2], batch: &str, swap: bool) -> String {
    normalised_filter(grid, batch, swap, ["ortho", "ortho"], "silu")
}

/// The same with this normalisation forward and back and this activation.
fn normalised_filter(
    [h, w]: [usize; 2],
    batch: &str,
    swap: bool,
    [forth, back]: [&str; 2],
    activation: &str,
) -> String {
    let k = w / 2 + 1;
    let (map, half) = (format!("f32[{batch},4,{h},{w}]"), format!("f32[{batch},4,{h},{k}]"));
    let two = |a: &str, b: &str| if swap { format!("{b}, {a}") } else { format!("{a}, {b}") };
    let conv = |name: &str, x: &str, w: &str, b: &str| {
        let bias = if b.is_empty() { String::new() } else { format!(", weight\"{b}\":f32[4]") };
        format!("%{name}: {half} = conv(%{x}, weight\"{w}\":f32[4,2,1,1]{bias}){{stride=1, pad=0, groups=2}}\n")
    };
    let mut text = format!(
        "graph g  stage=paper\n%x: {map} = input\n%f.fft, %f.fft:1: {half}, {half} = rfft2(%x){{norm={forth}}}\n"
    );
    for (i, (re, im)) in [("f.fft", "f.fft:1"), ("f.act_re", "f.act_im")].into_iter().enumerate() {
        let name = |part: &str| format!("f.mix{i}.{part}");
        text += &conv(&name("rr"), re, &format!("r{i}"), &format!("b{i}"));
        text += &conv(&name("ii"), im, &format!("i{i}"), "");
        text += &conv(&name("ri"), im, &format!("r{i}"), &format!("c{i}"));
        text += &conv(&name("ir"), re, &format!("i{i}"), "");
        text += &format!("%f.mix{i}.re: {half} = sub(%f.mix{i}.rr, %f.mix{i}.ii)\n");
        text += &format!("%f.mix{i}.im: {half} = add({})\n", two(&format!("%f.mix{i}.ri"), &format!("%f.mix{i}.ir")));
        if i == 0 {
            for part in ["re", "im"] {
                text += &format!("%f.act_{part}: {half} = {activation}(%f.mix0.{part})\n");
            }
        }
    }
    for part in ["re", "im"] {
        text += &format!("%f.clip_{part}: {half} = clip(%f.mix1.{part}){{lo=-0.01, hi=0.01}}\n");
        text += &format!("%f.shrink_{part}: {half} = sub(%f.mix1.{part}, %f.clip_{part})\n");
    }
    for (name, a, b) in [
        ("rr", "f.shrink_re", "f.fft"),
        ("ii", "f.shrink_im", "f.fft:1"),
        ("ri", "f.shrink_re", "f.fft:1"),
        ("ir", "f.shrink_im", "f.fft"),
    ] {
        text += &format!("%f.{name}: {half} = mul({})\n", two(&format!("%{a}"), &format!("%{b}")));
    }
    text += &format!("%f.re: {half} = sub(%f.rr, %f.ii)\n%f.im: {half} = add({})\n", two("%f.ri", "%f.ir"));
    text + &format!("%y: {map} = irfft2(%f.re, %f.im){{norm={back}, width={w}}}\noutputs y=%y")
}

#[test]
fn filters() {
    for (seed, grid) in GRIDS.into_iter().enumerate() {
        for batch in ["B", "2"] {
            for swap in [false, true] {
                check(&filter(grid, batch, swap), seed as u64);
            }
        }
    }
}

const NORMS: [[&str; 2]; 4] =
    [["backward", "backward"], ["backward", "ortho"], ["ortho", "backward"], ["ortho", "ortho"]];

#[test]
fn filters_of_any_normalisation() {
    for (seed, grid) in GRIDS.into_iter().enumerate() {
        for norms in NORMS {
            for activation in ["silu", "relu", "gelu"] {
                check(&normalised_filter(grid, "B", false, norms, activation), seed as u64);
            }
        }
    }
}

/// Biases, thresholds and weights take the factor. What is proportional to two spectra has it once too often, and one product puts that right.
#[test]
fn a_normalisation_is_no_node_of_its_own() {
    for (activation, more) in [("silu", 0), ("relu", 1)] {
        let nodes = |norms, target: &Target, spectral| {
            let paper = parse(&normalised_filter([6, 7], "B", false, norms, activation)).unwrap();
            lowered(&paper, target, spectral).run_time_nodes().count()
        };
        for target in targets() {
            for spectral in [Spectral::Dense, Spectral::Separable] {
                let [ortho, backward] = [NORMS[3], NORMS[0]].map(|n| nodes(n, &target, spectral));
                assert_eq!(backward, ortho + more, "{} {spectral:?} {activation}", target.name());
            }
        }
    }
}

/// Largest magnitude among all run-time values but the result, for an image with a large mean.
fn largest(graph: &Graph, weights: &MemoryWeights) -> f64 {
    let input = &random_input(3, graph, 1)[0] * 0.1 + 4.0;
    let mut largest: f64 = 0.0;
    run_observed(graph, weights, &[input], 1, &mut |value, elements| {
        if value != graph.outputs[0].value {
            largest = elements.iter().fold(largest, |m, v| m.max(v.abs()));
        }
    })
    .unwrap();
    largest
}

/// No value of a lowered filter grows with the map because of its normalisation: neither the spectrum, nor what is computed in proportion to it.
#[test]
fn no_value_is_an_unnormalised_spectrum() {
    let grid = [16, 15];
    let [ortho, backward] =
        [NORMS[3], NORMS[0]].map(|n| parse(&normalised_filter(grid, "1", false, n, "relu")).unwrap());
    // Weights without biases, so that both filters compute the same up to the threshold.
    let weights: MemoryWeights = ortho
        .weights()
        .map(|(key, ty)| {
            let bias = ty.shape.rank() == 1;
            let value = |i: usize| if bias { 0.0 } else { [0.5, -0.25, 0.75][(i + key.len()) % 3] };
            (key.to_string(), (0..ty.shape.elements()).map(value).collect::<Vec<f32>>())
        })
        .collect();
    for target in targets() {
        for spectral in [Spectral::Dense, Spectral::Separable] {
            let [small, same] = [&ortho, &backward].map(|g| largest(&lowered(g, &target, spectral), &weights));
            assert!(same <= 1.01 * small, "{} {spectral:?}: {same} instead of {small}", target.name());
            let unnormalised = largest(&backward, &weights);
            assert!(
                unnormalised > 10.0 * small,
                "the paper's own values reach {unnormalised}, so this test says little"
            );
        }
    }
}

/// The whole filter runs on one value: one mix for four convolutions, nothing transposed, nothing joined again.
#[test]
fn a_filter_is_said_once() {
    let paper = parse(&filter([5, 6], "B", false)).unwrap();
    for (target, mix) in targets().into_iter().zip(["conv", "matmul", "conv"]) {
        for (spectral, transforms) in [(Spectral::Dense, 2), (Spectral::Separable, 4)] {
            let graph = lowered(&paper, &target, spectral);
            let expected = if mix == "matmul" { 2 + transforms } else { 2 };
            assert_eq!(count(&graph, mix), expected, "{}\n{graph}", target.name());
            assert_eq!((count(&graph, "clip"), count(&graph, "transpose")), (1, 0), "{graph}");
        }
    }
    let nodes = |spectral| lowered(&paper, &Target::onnx(17), spectral).run_time_nodes().count();
    assert_eq!([nodes(Spectral::Separable), nodes(Spectral::Dense)], [17, 15]);
}

/// A mask on each part, parts that are used apart, and a real mix that is not complex.
#[test]
fn other_readers() {
    for grid in GRIDS {
        let ([h, w], k) = (grid, grid[1] / 2 + 1);
        let (map, half) = (format!("f32[B,2,{h},{w}]"), format!("f32[B,2,{h},{k}]"));
        let text = format!(
            "graph g  stage=paper\n%x: {map} = input\n%z, %z:1: {half}, {half} = rfft2(%x){{norm=ortho}}\n\
            %a: {half} = mul(%z, weight\"m\":f32[2,{h},{k}])\n%b: {half} = mul(%z:1, weight\"m\":f32[2,{h},{k}])\n\
            %y: {map} = irfft2(%a, %b){{norm=ortho, width={w}}}\n\
            %c: {half} = conv(%z:1, weight\"v\":f32[2,2,1,1]){{stride=1, pad=0}}\n\
            %d: {half} = conv(%z, weight\"w\":f32[2,2,1,1], weight\"b\":f32[2]){{stride=1, pad=0}}\n\
            %e: {half} = add(%c, %d)\n\
            %s: {map} = irfft2(%c, %e){{norm=ortho, width={w}}}\n\
            %t: {map} = irfft2(%z:1, %z){{norm=ortho, width={w}}}\n\
            %n: {half} = neg(%z)\n%u: {map} = irfft2(%n, %z:1){{norm=ortho, width={w}}}\n\
            outputs y=%y, s=%s, t=%t, u=%u, e=%e"
        );
        check(&text, (h * 16 + w) as u64);
    }
}
