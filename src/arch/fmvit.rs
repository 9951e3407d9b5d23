//! FMViT: "A multiple-frequency mixing Vision Transformer", Tan, Geng and Xie (arXiv 2311.05707): reference design R1.
//!
//! The authors never released their code, so this is **not** their network: R1 is a reconstruction around what the
//! abstract and secondary sources state, in the lineage of Next-ViT, calibrated so that parameters and
//! multiply-accumulates of all five sizes print as published. Every choice that was inferred is a field of [`Design`]
//! or [`Config`] with its provenance:
//!
//! | tag | meaning |
//! |---|---|
//! | stated | in the paper's abstract or in a summary of it |
//! | Next-ViT | inherited from the public relative (`bytedance/Next-ViT`) |
//! | inferred | our decision |
//! | calibrated | inferred, the value picked to meet the published counts |
//!
//! | | widths | depths | parameters | MACs | published parameters / MACs / top-1 |
//! |---|---|---|---|---|---|
//! | T | 32 64 128 256 | 2 2 7 2 | 2.05M | 0.315G | 2.0M / 0.3G / 72.9 |
//! | S | 48 96 192 384 | 2 2 8 4 | 6.39M | 0.815G | 6.4M / 0.8G / 78.5 |
//! | M | 64 128 256 512 | 2 2 16 3 | 12.78M | 1.990G | 12.8M / 2.0G / 80.3 |
//! | B | 80 160 320 640 | 3 3 23 3 | 24.33M | 4.199G | 24.3M / 4.2G / 82.4 |
//! | L | 96 192 384 768 | 4 5 27 2 | 35.34M | 7.103G | 35.3M / 7.1G / 83.3 |
//!
//! A deploy-form checkpoint holds `reparam.weight` and `reparam.bias` in the place of each group of branches; each
//! place is built in the form it is stored in.

use super::family::{ArchError, Build, BuildOptions, Family, Spelling, StageMap, StageOutputs, Variant};
use super::layers::{ConvNorm, branches, mean, stages};
use crate::checkpoint::NameTable;
use vitc_ir::op::AttentionLayout;
use vitc_ir::{ConvSpec, Net, Op, UnaryKind, Value};

/// What differs between the sizes: calibrated.
struct Config {
    /// Channels of each stage.
    widths: [usize; 4],
    /// Blocks of each stage.
    depths: [usize; 4],
}

/// What R1 fixes for all sizes. Should the authors' tables appear, only this and the variants' [`Config`]s change.
struct Design {
    /// 3x3 convolutions of stride 2 in the stem: the first stage's width divided by this. Inferred: Next-ViT's stem
    /// alone costs twice the budget of T.
    stem: [usize; 2],
    /// Stages whose last block fuses frequencies (FMB); every other block is convolutional (CFB). Calibrated.
    fmb_stages: &'static [usize],
    /// Sides of the parallel depthwise kernels, largest first, beside an identity. Depthwise is stated, 7 calibrated.
    depthwise: &'static [usize],
    /// Hidden channels of the MLP per channel, in CFB and FMB. Calibrated.
    mlp_ratio: [usize; 2],
    /// Share of an FMB's channels that carry low frequencies, rounded down to whole heads, at least one. Calibrated.
    low_share: f64,
    /// Channels per attention head. Next-ViT.
    head_dim: usize,
    /// Keys and values are averaged over squares of this side, by stage. Next-ViT.
    reduction: [usize; 4],
    /// Queries and keys share one projection. Inferred from "parameter sharing".
    share_qk: bool,
    /// Groups of the parallel branches of a pointwise layer, beside an identity where it fits. Existence stated, counts
    /// inferred.
    branch_groups: &'static [usize],
    /// High-frequency groups of an FMB in channel order: (name, fed from behind the attention). That there are several
    /// is stated, which is inferred.
    high_sources: [(&'static str, bool); 2],
    /// Activation, in the stem and between the layers of an MLP. Next-ViT.
    activation: UnaryKind,
    /// ε of every BatchNorm. Next-ViT.
    bn_eps: f64,
}

const R1: Design = Design {
    stem: [2, 1],
    fmb_stages: &[1, 2, 3],
    depthwise: &[7, 3, 1],
    mlp_ratio: [3, 3],
    low_share: 0.5,
    head_dim: 32,
    reduction: [8, 4, 2, 1],
    share_qk: true,
    branch_groups: &[1, 2, 4],
    high_sources: [("high_post", true), ("high_pre", false)],
    activation: UnaryKind::Relu,
    bn_eps: 1e-5,
};

/// A convolution and its BatchNorm, and what deploy form holds in their place.
const CONV_BN: ConvNorm = ConvNorm { conv: "conv", norm: "bn", merged: Some(MERGED), eps: R1.bn_eps };

/// Name of the one convolution that deploy form holds in the place of branches and BatchNorms.
const MERGED: &str = "reparam";

const fn variant(name: &'static str, figures: [&'static str; 3], build: Build) -> Variant {
    Variant::new(name, 224, figures, 0.875, build).without_weights()
}

/// The family.
pub(super) static FAMILY: Family = Family {
    id: "fmvit",
    paper: "FMViT: A multiple-frequency mixing Vision Transformer, Tan et al., arXiv 2311.05707",
    code: "tany0699/FMViT (announced, never released)",
    note: Some(
        "the authors' code and weights were never released: this is vitc's reference design R1, which meets the published parameter and MAC \
         counts and loads checkpoints trained with it",
    ),
    variants: &VARIANTS,
    spellings: &[Spelling {
        anchors: &["stages.*.*.high_pre", "stages.*.*.high_post", "stages.*.*.attn.qk", "stages.*.*.token_mixer"],
        table: NameTable::IDENTITY,
    }],
    heads: &["head"],
    choices: &[],
    position_tables: |_| None,
    leftover: |_| false,
    pool: |net, options, x| {
        // A deploy-form head has taken the norm in.
        let x = if options.holds("norm.weight", true) { net.at("norm").batch_norm(x, R1.bn_eps) } else { x };
        mean(net, x)
    },
    outputs: StageOutputs::ALL,
};

static VARIANTS: [Variant; 5] = [
    variant("fmvit-t", ["2.0M", "0.3G", "72.9"], |net, options| {
        build(net, options, &Config { widths: [32, 64, 128, 256], depths: [2, 2, 7, 2] })
    }),
    variant("fmvit-s", ["6.4M", "0.8G", "78.5"], |net, options| {
        build(net, options, &Config { widths: [48, 96, 192, 384], depths: [2, 2, 8, 4] })
    }),
    variant("fmvit-m", ["12.8M", "2.0G", "80.3"], |net, options| {
        build(net, options, &Config { widths: [64, 128, 256, 512], depths: [2, 2, 16, 3] })
    }),
    variant("fmvit-b", ["24.3M", "4.2G", "82.4"], |net, options| {
        build(net, options, &Config { widths: [80, 160, 320, 640], depths: [3, 3, 23, 3] })
    }),
    variant("fmvit-l", ["35.3M", "7.1G", "83.3"], |net, options| {
        build(net, options, &Config { widths: [96, 192, 384, 768], depths: [4, 5, 27, 2] })
    }),
];

fn build(net: &mut Net, options: &BuildOptions, config: &Config) -> Result<Vec<StageMap>, ArchError> {
    let image = options.image(net);
    let x = stem(&mut net.at("stem"), options, image, config.widths[0]);
    // The first block of a stage halves the map.
    let enter = |_: &mut Net, x: Value, _: usize| x;
    let block = |net: &mut Net, x: Value, i: usize, j: usize| {
        let stride = if i > 0 && j == 0 { 2 } else { 1 };
        let mut net = net.at(format!("stages.{i}.{j}"));
        let fuses = R1.fmb_stages.contains(&i) && j + 1 == config.depths[i];
        match fuses {
            true => fmb(&mut net, options, x, config.widths[i], stride, R1.reduction[i]),
            false => cfb(&mut net, options, x, config.widths[i], stride),
        }
    };
    Ok(stages(net, x, config.depths, enter, block))
}

/// Strided convolutions: a quarter of the resolution.
fn stem(net: &mut Net, options: &BuildOptions, x: Value, width: usize) -> Value {
    R1.stem.iter().enumerate().fold(x, |x, (i, divisor)| {
        let spec = ConvSpec::new(width / divisor, 3).stride(2);
        let x = CONV_BN.build(&mut net.at(2 * i), options, x, spec);
        net.unary(2 * i + 1, R1.activation, x)
    })
}

/// Convolutional fusion block: x + depthwise(x), then x + MLP(x).
fn cfb(net: &mut Net, options: &BuildOptions, x: Value, width: usize, stride: usize) -> Value {
    let x = patch_embed(&mut net.at("patch_embed"), options, x, width, stride);
    let x = local_mix(&mut net.at("token_mixer"), options, x);
    mlp(&mut net.at("mlp"), options, x, R1.mlp_ratio[0])
}

/// Multi-frequency fusion block: attention on the low-frequency channels, high-frequency groups from before and behind
/// it, then the MLP over both.
fn fmb(net: &mut Net, options: &BuildOptions, x: Value, width: usize, stride: usize, reduction: usize) -> Value {
    let heads = ((R1.low_share * width as f64) as usize / R1.head_dim).max(1);
    let low = heads * R1.head_dim;
    let before = patch_embed(&mut net.at("patch_embed"), options, x, low, stride);
    let y = attention(&mut net.at("attn"), options, before, heads, reduction);
    let behind = net.at("attn").add(y, before);

    let high = width - low;
    let [post, pre] = [high / 2, high - high / 2];
    let groups: Vec<Value> = R1
        .high_sources
        .iter()
        .zip([post, pre])
        .map(|(&(name, late), channels)| {
            let source = if late { behind } else { before };
            CONV_BN.build(&mut net.at(name), options, source, ConvSpec::new(channels, 1))
        })
        .collect();
    let high = net.concat("high", &groups, 1);
    let high = local_mix(&mut net.at("token_mixer"), options, high);
    let x = net.concat("fused", &[behind, high], 1);
    mlp(&mut net.at("mlp"), options, x, R1.mlp_ratio[1])
}

/// Halving by a 2x2 average, then a 1x1 where resolution or width change.
fn patch_embed(net: &mut Net, options: &BuildOptions, x: Value, width: usize, stride: usize) -> Value {
    if stride == 1 && net.dim(x, 1) == width {
        return x;
    }
    let x = average(net, "pool", x, stride);
    CONV_BN.build(&mut net.at("proj"), options, x, ConvSpec::new(width, 1))
}

/// Means over squares of side `side`; those that reach beyond the map average what lies inside.
fn average(net: &mut Net, name: &str, x: Value, side: usize) -> Value {
    if side == 1 {
        return x;
    }
    let missing = |axis: usize| net.dim(x, axis).next_multiple_of(side) - net.dim(x, axis);
    let pad = [0, 0, missing(2), missing(3)];
    net.push(name, Op::AvgPool { kernel: [side; 2], stride: [side; 2], pad }, &[x])
}

/// Light attention: keys are the pooled queries, values are projected behind the pooling.
fn attention(net: &mut Net, options: &BuildOptions, x: Value, heads: usize, reduction: usize) -> Value {
    let c = net.dim(x, 1);
    let pooled = average(net, "pool", x, reduction);
    let (q, k) = if R1.share_qk {
        let q = pointwise(&mut net.at("qk"), options, x, c);
        (q, average(net, "k", q, reduction))
    } else {
        (pointwise(&mut net.at("q"), options, x, c), pointwise(&mut net.at("k"), options, pooled, c))
    };
    let v = pointwise(&mut net.at("v"), options, pooled, c);
    let scale = (R1.head_dim as f64).powf(-0.5);
    let y = net.attention("attention", [q, k, v], None, heads, scale, AttentionLayout::Channels);
    pointwise(&mut net.at("proj"), options, y, c)
}

/// x plus its depthwise mix.
fn local_mix(net: &mut Net, options: &BuildOptions, x: Value) -> Value {
    let c = net.dim(x, 1);
    let merged = ConvSpec::new(c, R1.depthwise[0]).depthwise();
    let y = branches(net, options, MERGED, x, merged, |net| {
        let kernel = |net: &mut Net, &k: &usize| {
            CONV_BN.build(&mut net.at(format!("dw{k}")), options, x, ConvSpec::new(c, k).depthwise())
        };
        let kernels: Vec<Value> = R1.depthwise.iter().map(|k| kernel(net, k)).collect();
        with_identity(net, x, &kernels)
    });
    net.binary("skip", vitc_ir::BinaryKind::Add, x, y)
}

/// x plus the multi-group MLP of x.
fn mlp(net: &mut Net, options: &BuildOptions, x: Value, ratio: usize) -> Value {
    let c = net.dim(x, 1);
    let y = pointwise(&mut net.at("fc1"), options, x, ratio * c);
    let y = net.unary("act", R1.activation, y);
    let y = pointwise(&mut net.at("fc2"), options, y, c);
    net.add(x, y)
}

/// Multi-group pointwise layer: parallel 1x1 convolutions of different group counts, and the identity where widths
/// agree.
fn pointwise(net: &mut Net, options: &BuildOptions, x: Value, out: usize) -> Value {
    let channels = net.dim(x, 1);
    let fits = |g: &&usize| channels.is_multiple_of(**g) && out.is_multiple_of(**g);
    branches(net, options, MERGED, x, ConvSpec::new(out, 1), |net| {
        let group = |net: &mut Net, &g: &usize| {
            CONV_BN.build(&mut net.at(format!("g{g}")), options, x, ConvSpec::new(out, 1).groups(g))
        };
        let groups: Vec<Value> = R1.branch_groups.iter().filter(fits).map(|g| group(net, g)).collect();
        if channels == out { with_identity(net, x, &groups) } else { sum(net, &groups) }
    })
}

/// The sum of branches over x and of x's own BatchNorm.
fn with_identity(net: &mut Net, x: Value, branches: &[Value]) -> Value {
    let identity = net.at("identity").batch_norm(x, R1.bn_eps);
    let all: Vec<Value> = branches.iter().copied().chain([identity]).collect();
    sum(net, &all)
}

fn sum(net: &mut Net, branches: &[Value]) -> Value {
    let (first, rest) = branches.split_first().expect("one branch has a single group");
    rest.iter().fold(*first, |a, &b| net.add(a, b))
}
