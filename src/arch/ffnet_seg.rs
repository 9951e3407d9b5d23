//! FFNet for segmentation: the backbone of "MetaMixer Is All You Need" (Yun et al., arXiv 2406.02021) for dense prediction.
//!
//! The pyramid of [`super::ffnet`] with a deeper stem, larger token kernels made of square and strip convolutions, and LayerScale everywhere.
//!
//! | | widths | depths | token kernels | parameters |
//! |---|---|---|---|---|
//! | seg | 96 192 384 768 | 3 4 18 5 | 3 3 9 9 | 63.8M |

use super::family::{ArchError, BuildOptions, Family, Spelling, StageMap, StageOutputs, Variant};
use super::layers::{BN_EPS, ConvNorm, layer_scale, mean, mlp, stages, strip_conv};
use super::results::StageSet;
use crate::checkpoint::NameTable;
use vitc_ir::{ConvSpec, Net, UnaryKind, Value};

const WIDTHS: [usize; 4] = [96, 192, 384, 768];
const DEPTHS: [usize; 4] = [3, 4, 18, 5];
/// Kernel of the token mixers' two convolutions, by stage.
const TOKEN_KERNELS: [usize; 4] = [3, 3, 9, 9];
const CHANNEL_KERNEL: usize = 3;
const STEM: usize = 64;
const MLP_RATIO: usize = 4;

/// A convolution and its BatchNorm.
const CONV_BN: ConvNorm = ConvNorm { conv: "c", norm: "bn", merged: None, eps: BN_EPS };

/// The family.
pub(super) static FAMILY: Family = Family {
    id: "ffnet-seg",
    paper: "MetaMixer Is All You Need, Yun et al., arXiv 2406.02021",
    code: "ysj9909/FFNet",
    note: Some("published as a segmenter; its classification heads are not built"),
    variants: &VARIANTS,
    spellings: &[Spelling {
        anchors: &[
            "stages.*.*.token_mixer.*.main",
            "stages.*.*.channel_mixer.main",
            "stages.*.*.token_mixer.*.main.conv*.strip_conv*",
        ],
        table: NameTable::IDENTITY,
    }],
    heads: &[],
    choices: &[],
    position_tables: |_| None,
    leftover: |_| false,
    pool: |net, _, x| mean(net, x),
    outputs: StageOutputs { norms: StageOutputs::ALL.norms, stages: |_| StageSet::FROM_SECOND },
};

static VARIANTS: [Variant; 1] = [Variant::new("ffnet-seg", 512, ["63.8M", "-", "-"], 1.0, build)];

fn build(net: &mut Net, options: &BuildOptions) -> Result<Vec<StageMap>, ArchError> {
    options.check_smallest(32)?;
    let image = options.image(net);
    let x = stem(&mut net.at("patch_embed"), options, image);
    let enter = |net: &mut Net, x: Value, i: usize| match i {
        0 => x,
        _ => patch_merging(&mut net.at(format!("stages.{i}.0.proj")), options, x, WIDTHS[i]),
    };
    let block = |net: &mut Net, x: Value, i: usize, j: usize| {
        let place = j + usize::from(i > 0); // behind the merging
        block(&mut net.at(format!("stages.{i}.{place}")), options, x, TOKEN_KERNELS[i])
    };
    Ok(stages(net, x, DEPTHS, enter, block))
}

/// Four convolutions, a quarter of the resolution; between the last two there is no activation.
fn stem(net: &mut Net, options: &BuildOptions, x: Value) -> Value {
    let conv = |net: &mut Net, i: usize, x: Value, width: usize, stride: usize| {
        CONV_BN.build(&mut net.at(i), options, x, ConvSpec::new(width, 3).stride(stride).no_bias())
    };
    let x = conv(net, 0, x, STEM, 2);
    let x = net.unary("1", UnaryKind::Gelu, x);
    let x = conv(net, 2, x, STEM, 1);
    let x = net.unary("3", UnaryKind::Gelu, x);
    let x = conv(net, 4, x, WIDTHS[0], 1);
    conv(net, 5, x, WIDTHS[0], 2)
}

/// Half the resolution: a strided 3x3 to twice the width, then a 1x1.
fn patch_merging(net: &mut Net, options: &BuildOptions, x: Value, width: usize) -> Value {
    let x = CONV_BN.build(&mut net.at(0), options, x, ConvSpec::new(2 * width, 3).stride(2).no_bias());
    let x = net.unary("1", UnaryKind::Gelu, x);
    CONV_BN.build(&mut net.at(2), options, x, ConvSpec::new(width, 1).no_bias())
}

/// One block: token mixer, channel mixer, each scaled per channel.
fn block(net: &mut Net, options: &BuildOptions, x: Value, kernel: usize) -> Value {
    let y = token_mixer(&mut net.at("token_mixer.0.main"), options, x, kernel);
    let x = residual(&mut net.at("token_mixer.0"), x, y);
    let mut mixer = net.at("channel_mixer.main");
    let c = mixer.dim(x, 1);
    let y = CONV_BN.build(&mut mixer.at("conv"), options, x, ConvSpec::new(c, CHANNEL_KERNEL).depthwise().no_bias());
    let y = mlp(&mut mixer, y, MLP_RATIO);
    residual(&mut net.at("channel_mixer"), x, y)
}

/// x + γ∘y.
fn residual(net: &mut Net, x: Value, y: Value) -> Value {
    let y = layer_scale(net, y, "layer_scale", "mul");
    net.add(y, x)
}

/// 1x1, then two depthwise convolutions around a GELU.
pub(super) fn token_mixer(net: &mut Net, options: &BuildOptions, x: Value, kernel: usize) -> Value {
    let c = net.dim(x, 1);
    let x = CONV_BN.build(&mut net.at("fc"), options, x, ConvSpec::new(c, 1).no_bias());
    let x = strip_depthwise(&mut net.at("conv1"), x, kernel);
    let x = net.gelu(x);
    strip_depthwise(&mut net.at("conv2"), x, kernel)
}

/// The sum of depthwise convolutions of several kernels: k x k, (k-4) x (k-4) if there is one, 1 x k and k x 1, each with its BatchNorm.
pub(super) fn strip_depthwise(net: &mut Net, x: Value, kernel: usize) -> Value {
    let mut kernels = vec![("conv1", [kernel; 2])];
    if kernel > 4 {
        kernels.push(("conv2", [kernel - 4; 2]));
    }
    kernels.extend([("strip_conv1", [1, kernel]), ("strip_conv2", [kernel, 1])]);
    let mut sum: Option<Value> = None;
    for (name, kernel) in kernels {
        let mut place = net.at(name);
        let y = strip_conv(&mut place.at("c"), x, kernel);
        let y = place.at("bn").batch_norm(y, BN_EPS);
        sum = Some(sum.map_or(y, |so_far| place.add(so_far, y)));
    }
    sum.unwrap_or(x)
}
