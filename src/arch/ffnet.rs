//! FFNet: "MetaMixer Is All You Need", Yun et al. (arXiv 2406.02021).
//!
//! A four-stage pyramid of feed-forward blocks: a token mixer of two depthwise convolutions around a GELU (keys and
//! values of a self-attention that are weights), then a channel mixer with a depthwise convolution in front of its MLP.
//! Large kernels are trained as 7x7 plus 3x3. Fully convolutional, so any input size fits the same weights.
//!
//! | | widths | depths | channel-mixer kernel | parameters, fused | MACs | top-1 (distilled) |
//! |---|---|---|---|---|---|---|
//! | 1 @256 | 80 160 320 640 | 2 2 8 2 | 3 | 13.7M | 2.9G | 81.3 (82.1) |
//! | 2 @256 | 88 176 352 704 | 3 3 15 3 | 7 | 26.9M | 6.0G | 82.9 (83.7) |
//! | 3 @256 | 96 192 384 768 | 4 4 22 5 | 7 | 48.3M | 10.1G | 83.9 (84.5) |
//! | 4 @384 | 128 256 512 1024 | 4 4 27 3 | 7 | 79.2M | 43.1G | 85.3 |
//!
//! A checkpoint after the authors' `fuse` holds one convolution in the place of each branch and BatchNorm; both forms
//! are built.

use super::family::{ArchError, BuildOptions, Family, Spelling, StageMap, StageOutputs, Variant};
use super::layers::{BN_EPS, ConvNorm, branches, layer_scale, mlp, norm_and_mean, stages};
use crate::checkpoint::NameTable;
use vitc_ir::{ConvSpec, Net, UnaryKind, Value};

struct Config {
    widths: [usize; 4],
    depths: [usize; 4],
    /// Kernel of the channel mixers' depthwise convolution: 7 has a parallel 3x3.
    channel_kernel: usize,
    /// Mixers are scaled per channel.
    layer_scale: bool,
}

/// Kernel of the token mixers' two convolutions, by stage.
const TOKEN_KERNELS: [usize; 4] = [3, 3, 7, 7];
const STEM: usize = 64;
const MLP_RATIO: usize = 3;

/// A convolution and its BatchNorm, and what the authors' `fuse` leaves of them.
const CONV_BN: ConvNorm = ConvNorm { conv: "c", norm: "bn", merged: Some(""), eps: BN_EPS };

/// The family.
pub(super) static FAMILY: Family = Family {
    id: "ffnet",
    paper: "MetaMixer Is All You Need, Yun et al., arXiv 2406.02021",
    code: "ysj9909/FFNet",
    note: None,
    variants: &VARIANTS,
    spellings: &[Spelling {
        anchors: &["stages.*.*.token_mixer.*.main", "stages.*.*.channel_mixer.main"],
        table: NameTable::IDENTITY,
    }],
    heads: &["head"],
    choices: &[],
    position_tables: |_| None,
    leftover: |_| false,
    pool: |net, _, x| norm_and_mean(net, x),
    outputs: StageOutputs::ALL,
};

static VARIANTS: [Variant; 4] = [
    Variant::new("ffnet-1", 256, ["13.7M", "2.9G", "82.1"], 0.9, |net, options| {
        let (widths, depths) = ([80, 160, 320, 640], [2, 2, 8, 2]);
        build(net, options, &Config { widths, depths, channel_kernel: 3, layer_scale: false })
    }),
    Variant::new("ffnet-2", 256, ["26.9M", "6.0G", "83.7"], 0.9, |net, options| {
        let (widths, depths) = ([88, 176, 352, 704], [3, 3, 15, 3]);
        build(net, options, &Config { widths, depths, channel_kernel: 7, layer_scale: false })
    }),
    Variant::new("ffnet-3", 256, ["48.3M", "10.1G", "84.5"], 0.95, |net, options| {
        let (widths, depths) = ([96, 192, 384, 768], [4, 4, 22, 5]);
        build(net, options, &Config { widths, depths, channel_kernel: 7, layer_scale: true })
    }),
    Variant::new("ffnet-4", 384, ["79.2M", "43.1G", "85.3"], 0.95, |net, options| {
        let (widths, depths) = ([128, 256, 512, 1024], [4, 4, 27, 3]);
        build(net, options, &Config { widths, depths, channel_kernel: 7, layer_scale: true })
    }),
];

fn build(net: &mut Net, options: &BuildOptions, config: &Config) -> Result<Vec<StageMap>, ArchError> {
    let image = options.image(net);
    let x = stem(&mut net.at("patch_embed"), options, image, config.widths[0]);
    let enter = |net: &mut Net, x: Value, i: usize| match i {
        0 => x,
        _ => patch_merging(&mut net.at(format!("stages.{i}.0.proj")), options, x, config.widths[i]),
    };
    let block = |net: &mut Net, x: Value, i: usize, j: usize| {
        let place = j + usize::from(i > 0); // behind the merging
        block(&mut net.at(format!("stages.{i}.{place}")), options, config, x, TOKEN_KERNELS[i])
    };
    Ok(stages(net, x, config.depths, enter, block))
}

/// Two strided convolutions: a quarter of the resolution.
fn stem(net: &mut Net, options: &BuildOptions, x: Value, width: usize) -> Value {
    let x = CONV_BN.build(&mut net.at("0"), options, x, ConvSpec::new(STEM, 3).stride(2));
    let x = net.unary("1", UnaryKind::Gelu, x);
    CONV_BN.build(&mut net.at("2"), options, x, ConvSpec::new(width, 3).stride(2))
}

/// Half the resolution: a depthwise convolution with two outputs per channel, then x + 1x1(BN(x)).
fn patch_merging(net: &mut Net, options: &BuildOptions, x: Value, width: usize) -> Value {
    let channels = net.dim(x, 1);
    let x = large_kernel(&mut net.at("0"), options, x, ConvSpec::new(width, 7).stride(2).groups(channels));
    let spec = ConvSpec::new(width, 1);
    branches(&mut net.at("1"), options, "", x, spec, |net| {
        let y = net.at("conv.bn").batch_norm(x, BN_EPS);
        let y = net.at("conv.c").conv(y, spec.no_bias());
        net.add(y, x)
    })
}

/// One block: token mixer, channel mixer.
fn block(net: &mut Net, options: &BuildOptions, config: &Config, x: Value, kernel: usize) -> Value {
    let y = token_mixer(&mut net.at("token_mixer.0.main"), options, x, kernel);
    let x = residual(&mut net.at("token_mixer.0"), options, config, x, y);
    let y = channel_mixer(&mut net.at("channel_mixer.main"), options, x, config.channel_kernel);
    residual(&mut net.at("channel_mixer"), options, config, x, y)
}

/// x + γ∘y, or x + y in the variants without LayerScale.
fn residual(net: &mut Net, options: &BuildOptions, config: &Config, x: Value, y: Value) -> Value {
    let mut y = y;
    if options.holds(&net.path("layer_scale"), config.layer_scale) {
        y = layer_scale(net, y, "layer_scale", "mul");
    }
    net.add(y, x)
}

/// 1x1, then two depthwise convolutions around a GELU.
fn token_mixer(net: &mut Net, options: &BuildOptions, x: Value, kernel: usize) -> Value {
    let c = net.dim(x, 1);
    let depthwise = |net: &mut Net, x: Value| match kernel {
        7 => large_kernel(net, options, x, ConvSpec::new(c, 7).depthwise()),
        k => net.conv(x, ConvSpec::new(c, k).depthwise()),
    };
    let x = CONV_BN.build(&mut net.at("fc"), options, x, ConvSpec::new(c, 1));
    let x = depthwise(&mut net.at("conv1"), x);
    let x = net.gelu(x);
    depthwise(&mut net.at("conv2"), x)
}

/// A depthwise convolution and an MLP.
fn channel_mixer(net: &mut Net, options: &BuildOptions, x: Value, kernel: usize) -> Value {
    let c = net.dim(x, 1);
    let x = match kernel {
        7 => large_kernel(&mut net.at("conv"), options, x, ConvSpec::new(c, 7).depthwise()),
        k => CONV_BN.build(&mut net.at("conv"), options, x, ConvSpec::new(c, k).depthwise()),
    };
    mlp(net, x, MLP_RATIO)
}

/// A 7x7 convolution and a 3x3 beside it, each with its BatchNorm; one convolution in a fused checkpoint.
fn large_kernel(net: &mut Net, options: &BuildOptions, x: Value, spec: ConvSpec) -> Value {
    branches(net, options, "", x, spec, |net| {
        let large = CONV_BN.build(&mut net.at("conv"), options, x, spec);
        let small = CONV_BN.build(&mut net.at("conv1"), options, x, ConvSpec { kernel: 3, pad: 1, ..spec });
        net.add(large, small)
    })
}
