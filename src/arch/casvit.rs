//! CAS-ViT: "Convolutional Additive Self-attention Vision Transformers for Efficient Mobile Applications", Zhang et al.
//! (arXiv 2408.03703).
//!
//! A four-stage pyramid without softmax: queries and keys pass a gate per pixel and a gate per channel each, their sum
//! goes through a depthwise convolution and multiplies the values. Fully convolutional, so any input size fits the same
//! weights.
//!
//! | | widths | depths | parameters | MACs | top-1 (224 / 384) |
//! |---|---|---|---|---|---|
//! | XS | 48 56 112 220 | 2 2 4 2 | 3.20M | 0.56G | 78.3 / 78.7 |
//! | S | 48 64 128 256 | 3 3 6 3 | 5.76M | 0.93G | 80.9 / 81.1 |
//! | M | 64 96 192 384 | 3 3 6 3 | 12.42M | 1.89G | 82.8 / 83.0 |
//! | T | 96 128 256 512 | 3 3 6 3 | 21.76M | 3.60G | 83.9 / 84.1 |

use super::family::{ArchError, Build, BuildOptions, Family, Spelling, StageMap, StageOutputs, Variant};
use super::layers::{BN_EPS, conv_bn, downsample, mlp, norm_and_mean, stages, stem};
use crate::checkpoint::NameTable;
use vitc_ir::{ConvSpec, Net, UnaryKind, Value};

struct Config {
    widths: [usize; 4],
    depths: [usize; 4],
}

const MLP_RATIO: usize = 4;

/// The family.
pub(super) static FAMILY: Family = Family {
    id: "cas-vit",
    paper: "CAS-ViT: Convolutional Additive Self-attention Vision Transformers, Zhang et al., arXiv 2408.03703",
    code: "Tianfang-Zhang/CAS-ViT",
    note: None,
    variants: &VARIANTS,
    spellings: &[Spelling {
        anchors: &["network.*.*.local_perception.network", "network.*.*.attn.oper_q", "network.*.*.attn.dwc"],
        table: NameTable::IDENTITY,
    }],
    heads: &["head", "dist_head"],
    choices: &[],
    position_tables: |_| None,
    leftover: |_| false,
    pool: |net, _, x| norm_and_mean(net, x),
    outputs: StageOutputs::EVEN,
};

static VARIANTS: [Variant; 4] = [
    variant("cas-vit-xs", &["rcvit_xs"], ["3.20M", "0.56G", "78.3 (384: 78.7)"], |net, options| {
        build(net, options, &Config { widths: [48, 56, 112, 220], depths: [2, 2, 4, 2] })
    }),
    variant("cas-vit-s", &["rcvit_s"], ["5.76M", "0.93G", "80.9 (384: 81.1)"], |net, options| {
        build(net, options, &Config { widths: [48, 64, 128, 256], depths: [3, 3, 6, 3] })
    }),
    variant("cas-vit-m", &["rcvit_m"], ["12.42M", "1.89G", "82.8 (384: 83.0)"], |net, options| {
        build(net, options, &Config { widths: [64, 96, 192, 384], depths: [3, 3, 6, 3] })
    }),
    variant("cas-vit-t", &["rcvit_t"], ["21.76M", "3.60G", "83.9 (384: 84.1)"], |net, options| {
        build(net, options, &Config { widths: [96, 128, 256, 512], depths: [3, 3, 6, 3] })
    }),
];

const fn variant(
    name: &'static str,
    aliases: &'static [&'static str],
    figures: [&'static str; 3],
    build: Build,
) -> Variant {
    Variant::new(name, 224, figures, 0.875, build).also(aliases)
}

fn build(net: &mut Net, options: &BuildOptions, config: &Config) -> Result<Vec<StageMap>, ArchError> {
    let image = options.image(net);
    let x = stem(&mut net.at("patch_embed"), image, config.widths[0], UnaryKind::Relu);
    let enter = |net: &mut Net, x: Value, i: usize| match i {
        0 => x,
        _ => downsample(&mut net.at(format!("network.{}", 2 * i - 1)), x, config.widths[i]),
    };
    let block = |net: &mut Net, x: Value, i: usize, j: usize| block(&mut net.at(format!("network.{}.{j}", 2 * i)), x);
    Ok(stages(net, x, config.depths, enter, block))
}

/// One block: local perception, additive attention, MLP (Fig. 3).
fn block(net: &mut Net, x: Value) -> Value {
    let y = local_perception(&mut net.at("local_perception.network"), x);
    let x = net.at("local_perception").add(x, y);
    let y = net.at("norm1").batch_norm(x, BN_EPS);
    let y = additive_attention(&mut net.at("attn"), y);
    let x = net.at("attn").add(x, y);
    let y = net.at("norm2").batch_norm(x, BN_EPS);
    let y = mlp(&mut net.at("mlp"), y, MLP_RATIO);
    net.at("mlp").add(x, y)
}

/// 1x1, depthwise 3x3, 1x1.
fn local_perception(net: &mut Net, x: Value) -> Value {
    let c = net.dim(x, 1);
    let x = conv_bn(net, x, ["0", "1"], ConvSpec::new(c, 1));
    let x = net.at("2").conv(x, ConvSpec::new(c, 3).depthwise());
    let x = net.unary("3", UnaryKind::Gelu, x);
    net.at("4").conv(x, ConvSpec::new(c, 1))
}

/// Γ(Φ(q) + Φ(k)) ∘ v with Φ the two gates and Γ a depthwise convolution (Eq. 6).
fn additive_attention(net: &mut Net, x: Value) -> Value {
    let c = net.dim(x, 1);
    let qkv = net.at("qkv").conv(x, ConvSpec::new(3 * c, 1).no_bias());
    let qkv = net.split("split", qkv, 1, &[c; 3]);
    let q = gates(&mut net.at("oper_q"), qkv[0]);
    let k = gates(&mut net.at("oper_k"), qkv[1]);
    let sum = net.binary("sum", vitc_ir::BinaryKind::Add, q, k);
    let context = net.at("dwc").conv(sum, ConvSpec::new(c, 3).depthwise());
    let x = net.mul(context, qkv[2]);
    net.at("proj").conv(x, ConvSpec::new(c, 3).depthwise())
}

/// Φ: a gate per pixel, then a gate per channel.
fn gates(net: &mut Net, x: Value) -> Value {
    let x = spatial_gate(&mut net.at("0"), x);
    channel_gate(&mut net.at("1"), x)
}

fn spatial_gate(net: &mut Net, x: Value) -> Value {
    let c = net.dim(x, 1);
    let y = conv_bn(net, x, ["block.0", "block.1"], ConvSpec::new(c, 3).depthwise());
    let y = net.unary("block.2", UnaryKind::Relu, y);
    let y = net.at("block.3").conv(y, ConvSpec::new(1, 1).no_bias());
    let y = net.unary("block.4", UnaryKind::Sigmoid, y);
    net.mul(x, y)
}

fn channel_gate(net: &mut Net, x: Value) -> Value {
    let c = net.dim(x, 1);
    let y = net.at("block.0").mean(x, &[2, 3], true);
    let y = net.at("block.1").conv(y, ConvSpec::new(c, 1).no_bias());
    let y = net.unary("block.2", UnaryKind::Sigmoid, y);
    net.mul(x, y)
}
