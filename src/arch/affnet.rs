//! AFFNet: "Adaptive Frequency Filters As Efficient Global Token Mixers", Huang et al., ICCV 2023 (arXiv 2307.14008).
//!
//! A MobileViT-like body whose token mixer is a filter in the Fourier domain, computed from the spectrum itself.
//!
//! | | widths of the five layers | expansion | parameters | MACs | top-1 |
//! |---|---|---|---|---|---|
//! | ET | 32 48 64 104 144 | 2 | 1.4M | 0.4G | 73.0 |
//! | T | 32 48 96 160 192 | 4 | 2.6M | 0.8G | 77.0 |
//! | AFFNet | 32 64 128 256 320 | 4 | 5.5M | 1.5G | 79.8 |
//! | base (unpublished) | 64 128 256 512 640 | 4 | 17.2M | - | - |
//!
//! The checkpoint does not say which activation was trained, nor which of two norms with the same keys: the family's choices do.

use super::choice::Choice;
use super::family::{ArchError, Build, BuildOptions, EvalTransform, Family, Spelling, StageMap, StageOutputs, Variant};
use super::layers::{BN_EPS, conv_bn, mean, stages};
use crate::checkpoint::NameTable;
use vitc_ir::op::{ReduceKind, SliceAxis, SpectralNorm};
use vitc_ir::{BinaryKind, ConvSpec, Net, Op, Real, Shape, UnaryKind, Value};

struct Config {
    /// Widths of layer_1 to layer_5.
    widths: [usize; 5],
    expansion: usize,
    /// Whether layer_3, layer_4, layer_5 end in a fusion of their input and their mixed map.
    fuses: [bool; 3],
}

const STEM: usize = 16;
/// Inner blocks of layer_3, layer_4, layer_5.
const INNER_BLOCKS: [usize; 3] = [2, 4, 3];
/// Expansion inside an inner block.
const INNER_EXPANSION: usize = 2;
/// Channel groups of the filter's mixes.
const GROUPS: usize = 8;
/// Soft-shrink threshold.
const LAMBDA: f64 = 0.01;
const GROUP_NORM_EPS: f64 = 1e-5;

/// No mean and no standard deviation: the recipes only scale to 0..1.
const PIXELS: EvalTransform =
    EvalTransform { mean: [0.0; 3], std: [1.0; 3], crop: 256.0 / 288.0, interpolation: "bilinear" };

const fn variant(name: &'static str, figures: [&'static str; 3], build: Build) -> Variant {
    Variant { transform: PIXELS, ..Variant::new(name, 256, figures, 1.0, build) }
}

static VARIANTS: [Variant; 4] = [
    variant("affnet-et", ["1.4M", "0.4G", "73.0"], |net, options| {
        build(net, options, &Config { widths: [32, 48, 64, 104, 144], expansion: 2, fuses: [true; 3] })
    }),
    variant("affnet-t", ["2.6M", "0.8G", "77.0"], |net, options| {
        build(net, options, &Config { widths: [32, 48, 96, 160, 192], expansion: 4, fuses: [true; 3] })
    }),
    variant("affnet", ["5.5M", "1.5G", "79.8"], |net, options| {
        build(net, options, &Config { widths: [32, 64, 128, 256, 320], expansion: 4, fuses: [true; 3] })
    }),
    variant("affnet-base", ["17.2M", "-", "-"], |net, options| {
        build(net, options, &Config { widths: [64, 128, 256, 512, 640], expansion: 4, fuses: [true, false, false] })
    })
    .without_weights(),
];

static ACTIVATION: Choice = Choice {
    name: "activation",
    values: &["silu", "relu", "gelu"],
    help: "activation of the convolution layers and the filter; every published recipe of the code base uses silu. PReLU is recognised from the keys",
};

/// Pixels per position of layer_5's map.
pub(super) static OUTPUT_STRIDE: Choice = Choice {
    name: "output-stride",
    values: &["auto", "8", "16", "32"],
    help: "pixels per position of the last map: recipes of segmentation train with 16 or 8, classifiers and SSDLite with 32. auto: 16 in front of a head \
           of segmentation, else 32",
};

static INNER_NORM: Choice = Choice {
    name: "inner-norm",
    values: &["layer_norm_2d", "layer_norm"],
    help: "norm of the inner blocks: over channels and positions together, or over channels per position. BatchNorm is recognised from the keys",
};

/// The family.
pub(super) static FAMILY: Family = Family {
    id: "affnet",
    paper: "Adaptive Frequency Filters As Efficient Global Token Mixers, Huang et al., ICCV 2023",
    code: "microsoft/TokenMixers",
    note: None,
    variants: &VARIANTS,
    spellings: &[Spelling {
        anchors: &["layer_*.*.global_rep.*.filter", "layer_*.*.global_rep.*.mlp.block", "layer_*.*.conv_proj.block"],
        table: NameTable::IDENTITY,
    }],
    heads: &["classifier.fc"],
    choices: &[&ACTIVATION, &INNER_NORM, &OUTPUT_STRIDE],
    position_tables: |_| None,
    leftover: |_| false,
    pool: |net, options, x| {
        let width = (4 * net.dim(x, 1)).min(960);
        let x = conv_layer(&mut net.at("conv_1x1_exp"), options, x, ConvSpec::new(width, 1), true);
        mean(net, x)
    },
    outputs: StageOutputs::ALL,
};

fn build(net: &mut Net, options: &BuildOptions, config: &Config) -> Result<Vec<StageMap>, ArchError> {
    options.check_smallest(32)?;
    let image = options.image(net);
    let x = conv_layer(&mut net.at("conv_1"), options, image, ConvSpec::new(STEM, 3).stride(2), true);
    let [first, widths @ ..] = config.widths;
    let m = config.expansion;
    let x = inverted_residual(&mut net.at("layer_1.0"), options, x, first, Step::PLAIN, m);
    // layer_2 is three inverted residuals, the first of stride 2; each layer behind it begins with one, and then mixes.
    let steps = steps(output_stride(options));
    let enter = |net: &mut Net, x: Value, i: usize| {
        inverted_residual(&mut net.at(format!("layer_{}.0", i + 2)), options, x, widths[i], steps[i], m)
    };
    let block = |net: &mut Net, x: Value, i: usize, j: usize| {
        let mut net = net.at(format!("layer_{}.{}", i + 2, j + 1));
        match i.checked_sub(1) {
            None => inverted_residual(&mut net, options, x, widths[0], Step::PLAIN, m),
            Some(i) => aff_block(&mut net, options, x, INNER_BLOCKS[i], config.fuses[i]),
        }
    };
    let mut maps = stages(net, x, [2, 1, 1, 1], enter, block);
    maps.iter_mut().for_each(|map| map.stride = map.stride.min(output_stride(options)));
    Ok(maps)
}

/// How a layer begins.
#[derive(Clone, Copy)]
struct Step {
    stride: usize,
    dilation: usize,
}

impl Step {
    const PLAIN: Step = Step { stride: 1, dilation: 1 };
}

/// How layer_2 to layer_5 begin. Where a stride is taken away the layers behind it are dilated instead, but the step itself only by what was taken away
/// in front of it.
fn steps(output_stride: usize) -> [Step; 4] {
    let (mut reached, mut dilation) = (2, 1);
    [(); 4].map(|()| {
        if reached < output_stride {
            reached *= 2;
            return Step { stride: 2, dilation };
        }
        let step = Step { stride: 1, dilation };
        dilation *= 2;
        step
    })
}

fn output_stride(options: &BuildOptions) -> usize {
    match options.choice(&OUTPUT_STRIDE) {
        "8" => 8,
        "16" => 16,
        "32" => 32,
        _ => options.map_head.and_then(|head| head.backbone_stride).unwrap_or(32),
    }
}

/// Convolution without bias, BatchNorm, activation.
fn conv_layer(net: &mut Net, options: &BuildOptions, x: Value, spec: ConvSpec, activated: bool) -> Value {
    let mut net = net.at("block");
    let x = conv_bn(&mut net, x, ["conv", "norm"], spec.no_bias());
    if !activated {
        return x;
    }
    let slope = net.path("act.weight");
    match options.tensors.and_then(|t| t.get(&slope)) {
        Some(shape) => {
            let slope = net.weight("act.weight", &[shape.iter().product()]);
            net.push("act", Op::Prelu, &[x, slope])
        }
        None => net.unary("act", activation(options), x),
    }
}

fn activation(options: &BuildOptions) -> UnaryKind {
    match options.choice(&ACTIVATION) {
        "relu" => UnaryKind::Relu,
        "gelu" => UnaryKind::Gelu,
        _ => UnaryKind::Silu,
    }
}

/// Expand, depthwise 3x3, reduce; its input is added where shapes agree.
fn inverted_residual(net: &mut Net, options: &BuildOptions, x: Value, out: usize, step: Step, m: usize) -> Value {
    let Step { stride, dilation } = step;
    let c = net.dim(x, 1);
    let hidden = multiple_of_8(c * m);
    let mut net = net.at("block");
    let y = conv_layer(&mut net.at("exp_1x1"), options, x, ConvSpec::new(hidden, 1), true);
    let depthwise = ConvSpec::new(hidden, 3).depthwise().stride(stride).dilation(dilation);
    let y = conv_layer(&mut net.at("conv_3x3"), options, y, depthwise, true);
    let y = conv_layer(&mut net.at("red_1x1"), options, y, ConvSpec::new(out, 1), false);
    if stride == 1 && c == out { net.add(x, y) } else { y }
}

/// The nearest multiple of 8 that is not more than a tenth below.
fn multiple_of_8(n: usize) -> usize {
    let rounded = ((n + 4) / 8 * 8).max(8);
    if rounded * 10 < n * 9 { rounded + 8 } else { rounded }
}

/// Inner blocks, a projection, and the fusion with the input.
fn aff_block(net: &mut Net, options: &BuildOptions, x: Value, blocks: usize, fuses: bool) -> Value {
    let c = net.dim(x, 1);
    let mut y = x;
    for j in 0..blocks {
        y = inner_block(&mut net.at(format!("global_rep.{j}")), options, y);
    }
    y = norm(&mut net.at(format!("global_rep.{blocks}")), options, y);
    y = conv_layer(&mut net.at("conv_proj"), options, y, ConvSpec::new(c, 1), false);
    if !fuses {
        return y;
    }
    let joined = net.concat("concat", &[x, y], 1);
    conv_layer(&mut net.at("fusion"), options, joined, ConvSpec::new(c, 1), true)
}

/// x + filter(norm(mix(norm(x)))): channels first, then positions.
fn inner_block(net: &mut Net, options: &BuildOptions, x: Value) -> Value {
    let c = net.dim(x, 1);
    let y = norm(&mut net.at("norm1"), options, x);
    let y = inverted_residual(&mut net.at("mlp"), options, y, c, Step::PLAIN, INNER_EXPANSION);
    let z = norm(&mut net.at("norm2"), options, y);
    let filtered = filter(&mut net.at("filter"), options, z);
    let filtered = net.at("filter").add(filtered, z);
    net.add(x, filtered)
}

/// The norm of the inner blocks.
fn norm(net: &mut Net, options: &BuildOptions, x: Value) -> Value {
    if options.holds(&net.path("running_mean"), false) {
        return net.batch_norm(x, BN_EPS);
    }
    let c = net.dim(x, 1);
    let [scale, bias] = ["weight", "bias"].map(|k| net.weight(k, &[c]));
    let [scale, bias] = [("scale", scale), ("shift", bias)].map(|(n, v)| net.reshape(n, v, Shape::fixed(&[c, 1, 1])));
    if options.choice(&INNER_NORM) == "layer_norm_2d" {
        return net.push("", Op::LayerNorm { axes: vec![1, 2, 3], eps: Real(GROUP_NORM_EPS) }, &[x, scale, bias]);
    }
    // Per position over channels, ε beside the standard deviation instead of under the root.
    let mean = net.mean(x, &[1], true);
    let centred = net.sub(x, mean);
    let square = net.binary("square", BinaryKind::Mul, centred, centred);
    let variance = Op::Reduce { kind: ReduceKind::Mean, axes: vec![1], keep: true };
    let variance = net.push("variance", variance, &[square]);
    let std = net.unary("std", UnaryKind::Sqrt, variance);
    let eps = net.scalar(GROUP_NORM_EPS);
    let std = net.binary("std_eps", BinaryKind::Add, std, eps);
    let y = net.div(centred, std);
    let y = net.mul(y, scale);
    net.add(y, bias)
}

/// The adaptive frequency filter (paper, section 3): spectrum times a mask that two complex channel mixes make of the spectrum.
fn filter(net: &mut Net, options: &BuildOptions, z: Value) -> Value {
    let width = net.dim(z, 3);
    let spectrum = net.push("rfft2", Op::Rfft2 { norm: SpectralNorm::Ortho }, &[z]).node;
    let spectrum = [Value { node: spectrum, index: 0 }, Value { node: spectrum, index: 1 }];

    let hidden = complex_mix(&mut net.at("mix1"), spectrum, ["w1", "b1"]);
    let hidden = [("act_re", "act.weight", hidden[0]), ("act_im", "act2.weight", hidden[1])].map(|(name, slope, x)| {
        if options.holds(&net.path(slope), false) {
            let slope = net.weight(slope, &[1]);
            return net.push(name, Op::Prelu, &[x, slope]);
        }
        net.unary(name, activation(options), x)
    });
    let mask = complex_mix(&mut net.at("mix2"), hidden, ["w2", "b2"]);
    let [mr, mi] = [("shrink_re", mask[0]), ("shrink_im", mask[1])].map(|(n, x)| soft_shrink(&mut net.at(n), x));

    let [zr, zi] = spectrum;
    let mut product = |name: &str, a: Value, b: Value| net.binary(name, BinaryKind::Mul, a, b);
    let (rr, ii, ri, ir) = (product("rr", mr, zr), product("ii", mi, zi), product("ri", mr, zi), product("ir", mi, zr));
    let re = net.binary("re", BinaryKind::Sub, rr, ii);
    let im = net.binary("im", BinaryKind::Add, ri, ir);
    net.push("irfft2", Op::Irfft2 { norm: SpectralNorm::Ortho, width }, &[re, im])
}

/// (x_r + i·x_i)·(W_r + i·W_i) + (b_r + i·b_i) per group of channels; weights are stored as `[part, group, in, out]` beside this scope.
fn complex_mix(net: &mut Net, [xr, xi]: [Value; 2], [w, b]: [&str; 2]) -> [Value; 2] {
    let c = net.dim(xr, 1);
    let width = c / GROUPS;
    let scope = net.path("");
    let filter = scope.rsplit_once('.').map_or("", |(f, _)| f).to_string();
    let (w, b) = {
        let mut net = Net::within(net.graph(), &filter);
        (net.weight(w, &[2, GROUPS, width, width]), net.weight(b, &[2, GROUPS, width]))
    };
    let part = |net: &mut Net, x: Value, part: usize, name: &str| {
        let cut = SliceAxis { axis: 0, start: part, stop: part + 1, step: 1 };
        net.push(name, Op::Slice { cuts: vec![cut] }, &[x])
    };
    let kernel = |net: &mut Net, index: usize, name: &str| {
        let w = part(net, w, index, name);
        let w = net.reshape(format!("{name}.groups"), w, Shape::fixed(&[GROUPS, width, width]));
        let w = net.transpose(format!("{name}.out_in"), w, &[0, 2, 1]);
        net.reshape(format!("{name}.kernel"), w, Shape::fixed(&[c, width, 1, 1]))
    };
    let offset = |net: &mut Net, index: usize, name: &str| {
        let b = part(net, b, index, name);
        net.reshape(format!("{name}.vector"), b, Shape::fixed(&[c]))
    };
    let (wr, wi) = (kernel(net, 0, "w_re"), kernel(net, 1, "w_im"));
    let (br, bi) = (offset(net, 0, "b_re"), offset(net, 1, "b_im"));
    let op = Op::Conv { stride: [1; 2], pad: [0; 4], dilation: [1; 2], groups: GROUPS };
    let rr = net.push("rr", op.clone(), &[xr, wr, br]);
    let ii = net.push("ii", op.clone(), &[xi, wi]);
    let ri = net.push("ri", op.clone(), &[xi, wr, bi]);
    let ir = net.push("ir", op, &[xr, wi]);
    [net.binary("re", BinaryKind::Sub, rr, ii), net.binary("im", BinaryKind::Add, ri, ir)]
}

/// sign(x)·max(|x| − λ, 0) = x − clip(x, −λ, λ).
fn soft_shrink(net: &mut Net, x: Value) -> Value {
    let clipped = net.push("clip", Op::Clip { lo: Real(-LAMBDA), hi: Real(LAMBDA) }, &[x]);
    net.sub(x, clipped)
}
