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

use super::{ArchError, BuildOptions, Family, NameTable, Variant, finish};
use vitc_ir::net::paper;
use vitc_ir::{ConvSpec, Graph, Net, UnaryKind, Value};

struct Config {
    widths: [usize; 4],
    depths: [usize; 4],
    /// Kernel of the channel mixers' depthwise convolution: 7 has a parallel 3x3.
    channel_kernel: usize,
    /// Mixers are scaled per channel.
    layer_scale: bool,
}

const CONFIGS: [Config; 4] = [
    Config { widths: [80, 160, 320, 640], depths: [2, 2, 8, 2], channel_kernel: 3, layer_scale: false },
    Config { widths: [88, 176, 352, 704], depths: [3, 3, 15, 3], channel_kernel: 7, layer_scale: false },
    Config { widths: [96, 192, 384, 768], depths: [4, 4, 22, 5], channel_kernel: 7, layer_scale: true },
    Config { widths: [128, 256, 512, 1024], depths: [4, 4, 27, 3], channel_kernel: 7, layer_scale: true },
];

/// Kernel of the token mixers' two convolutions, by stage.
const TOKEN_KERNELS: [usize; 4] = [3, 3, 7, 7];
const STEM: usize = 64;
const MLP_RATIO: usize = 3;
const BN_EPS: f64 = 1e-5;

/// The family.
pub(super) static FAMILY: Family = Family {
    id: "ffnet",
    paper: "MetaMixer Is All You Need, Yun et al., arXiv 2406.02021",
    code: "ysj9909/FFNet",
    note: None,
    variants: &VARIANTS,
    tables: &[NameTable::IDENTITY],
    heads: &["head"],
    choices: &[],
    signature: |t| t.contains_key("stages.0.0.token_mixer.0.main.conv1.weight"),
    table_resolutions: |_| Vec::new(),
    leftover: |_| false,
    build,
};

static VARIANTS: [Variant; 4] = [
    Variant::new("ffnet-1", 256, ["13.7M", "2.9G", "82.1"], 0.9),
    Variant::new("ffnet-2", 256, ["26.9M", "6.0G", "83.7"], 0.9),
    Variant::new("ffnet-3", 256, ["48.3M", "10.1G", "84.5"], 0.95),
    Variant::new("ffnet-4", 384, ["79.2M", "43.1G", "85.3"], 0.95),
];

fn build(options: &BuildOptions) -> Result<Graph, ArchError> {
    let config = &CONFIGS[options.index(&FAMILY)];
    let mut graph = paper(options.variant.name);
    let mut net = Net::new(&mut graph);

    let image = options.image(&mut net);
    let mut x = stem(&mut net.at("patch_embed"), options, image, config.widths[0]);
    let mut stages = Vec::new();
    for (i, (&width, depth)) in config.widths.iter().zip(config.depths).enumerate() {
        let mut stage = net.at(format!("stages.{i}"));
        if i > 0 {
            x = patch_merging(&mut stage.at("0.proj"), options, x, width);
        }
        let first = usize::from(i > 0);
        for j in first..first + depth {
            x = block(&mut stage.at(j), options, config, x, TOKEN_KERNELS[i]);
        }
        stages.push(x);
    }
    finish(&mut net, &FAMILY, options, &stages, |net| {
        let x = net.at("norm").batch_norm(x, BN_EPS);
        net.at("pool").mean(x, &[2, 3], false)
    });
    Ok(graph)
}

/// Two strided convolutions: a quarter of the resolution.
fn stem(net: &mut Net, options: &BuildOptions, x: Value, width: usize) -> Value {
    let x = conv_bn(&mut net.at("0"), options, x, ConvSpec::new(STEM, 3).stride(2));
    let x = net.unary("1", UnaryKind::Gelu, x);
    conv_bn(&mut net.at("2"), options, x, ConvSpec::new(width, 3).stride(2))
}

/// Half the resolution: a depthwise convolution with two outputs per channel, then x + 1x1(BN(x)).
fn patch_merging(net: &mut Net, options: &BuildOptions, x: Value, width: usize) -> Value {
    let channels = net.dim(x, 1);
    let x = large_kernel(&mut net.at("0"), options, x, ConvSpec::new(width, 7).stride(2).groups(channels));
    let mut net = net.at("1");
    if is_fused(&mut net, options) {
        return net.conv(x, ConvSpec::new(width, 1));
    }
    let y = net.at("conv.bn").batch_norm(x, BN_EPS);
    let y = net.at("conv.c").conv(y, ConvSpec::new(width, 1).no_bias());
    net.add(y, x)
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
        let c = net.dim(x, 1);
        let gamma = net.weight("layer_scale", &[c, 1, 1]);
        y = net.mul(y, gamma);
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
    let x = conv_bn(&mut net.at("fc"), options, x, ConvSpec::new(c, 1));
    let x = depthwise(&mut net.at("conv1"), x);
    let x = net.gelu(x);
    depthwise(&mut net.at("conv2"), x)
}

/// A depthwise convolution and an MLP.
fn channel_mixer(net: &mut Net, options: &BuildOptions, x: Value, kernel: usize) -> Value {
    let c = net.dim(x, 1);
    let x = match kernel {
        7 => large_kernel(&mut net.at("conv"), options, x, ConvSpec::new(c, 7).depthwise()),
        k => conv_bn(&mut net.at("conv"), options, x, ConvSpec::new(c, k).depthwise()),
    };
    let x = net.at("fc1").conv(x, ConvSpec::new(MLP_RATIO * c, 1));
    let x = net.gelu(x);
    net.at("fc2").conv(x, ConvSpec::new(c, 1))
}

/// A 7x7 convolution and a 3x3 beside it, each with its BatchNorm; one convolution in a fused checkpoint.
fn large_kernel(net: &mut Net, options: &BuildOptions, x: Value, spec: ConvSpec) -> Value {
    if is_fused(net, options) {
        return net.conv(x, spec);
    }
    let large = conv_bn(&mut net.at("conv"), options, x, spec);
    let small = conv_bn(&mut net.at("conv1"), options, x, ConvSpec { kernel: 3, pad: 1, ..spec });
    net.add(large, small)
}

/// A convolution without bias and its BatchNorm; one convolution with bias in a fused checkpoint.
fn conv_bn(net: &mut Net, options: &BuildOptions, x: Value, spec: ConvSpec) -> Value {
    if is_fused(net, options) {
        return net.conv(x, spec);
    }
    let x = net.at("c").conv(x, spec.no_bias());
    net.at("bn").batch_norm(x, BN_EPS)
}

/// Whether the checkpoint holds one convolution in the place of the branches and BatchNorms here.
fn is_fused(net: &mut Net, options: &BuildOptions) -> bool {
    options.holds(&net.path("weight"), false)
}
