//! FFNet for super-resolution: the body of "MetaMixer Is All You Need" (Yun et al., arXiv 2406.02021) without norms, at one resolution.
//!
//! | | width | blocks | parameters |
//! |---|---|---|---|
//! | light x2 | 96 | 36 | 1.79M |
//! | x2 | 96 | 48 | 2.38M |

use super::family::{ArchError, BuildOptions, EvalTransform, Family, Spelling, StageMap, StageOutputs, Variant};
use super::layers::mean;
use super::results::StageSet;
use crate::checkpoint::NameTable;
use vitc_ir::{ConvSpec, Net, Value};

const WIDTH: usize = 96;
const EXPANSION: usize = 2;

/// No mean and no standard deviation: pixels are scaled to 0..1, in the picture's own size.
const PIXELS: EvalTransform = EvalTransform { mean: [0.0; 3], std: [1.0; 3], crop: 1.0, interpolation: "bicubic" };

/// The family.
pub(super) static FAMILY: Family = Family {
    id: "ffnet-sr",
    paper: "MetaMixer Is All You Need, Yun et al., arXiv 2406.02021",
    code: "ysj9909/FFNet",
    note: Some("enlarges a picture; whatever its size, the published weights serve"),
    variants: &VARIANTS,
    spellings: &[Spelling {
        anchors: &["body.*.token_mixer.*", "body.*.channel_mixer.*", "conv_bef_up"],
        table: NameTable::IDENTITY,
    }],
    heads: &[],
    choices: &[],
    position_tables: |_| None,
    leftover: |_| false,
    pool: |net, _, x| mean(net, x),
    outputs: StageOutputs { norms: StageOutputs::ALL.norms, stages: |_| StageSet::FIRST },
};

static VARIANTS: [Variant; 2] = [
    variant("ffnet-sr-light", ["1.79M", "-", "-"], |net, options| build(net, options, 36)),
    variant("ffnet-sr", ["2.38M", "-", "-"], |net, options| build(net, options, 48)),
];

const fn variant(name: &'static str, figures: [&'static str; 3], build: super::family::Build) -> Variant {
    Variant { transform: PIXELS, ..Variant::new(name, 512, figures, 1.0, build) }
}

fn build(net: &mut Net, options: &BuildOptions, depth: usize) -> Result<Vec<StageMap>, ArchError> {
    let image = options.image(net);
    let x = net.at("proj").conv(image, ConvSpec::new(WIDTH, 3));
    let value = (0..depth).fold(x, |x, j| block(&mut net.at(format!("body.{j}")), x));
    Ok(vec![StageMap { value, stride: 1 }])
}

/// One block: token mixer, channel mixer.
fn block(net: &mut Net, x: Value) -> Value {
    let y = token_mixer(&mut net.at("token_mixer"), x);
    let x = net.at("token_mixer").add(x, y);
    let y = channel_mixer(&mut net.at("channel_mixer"), x);
    net.at("channel_mixer").add(x, y)
}

/// 1x1, then two depthwise convolutions around a GELU.
fn token_mixer(net: &mut Net, x: Value) -> Value {
    let x = net.at(0).conv(x, ConvSpec::new(WIDTH, 1));
    let x = net.at(1).conv(x, ConvSpec::new(WIDTH, 3).depthwise());
    let x = net.gelu(x);
    net.at(3).conv(x, ConvSpec::new(WIDTH, 3).depthwise())
}

/// A depthwise convolution and an MLP.
fn channel_mixer(net: &mut Net, x: Value) -> Value {
    let x = net.at(0).conv(x, ConvSpec::new(WIDTH, 3).depthwise());
    let x = net.at(1).conv(x, ConvSpec::new(EXPANSION * WIDTH, 1));
    let x = net.gelu(x);
    net.at(3).conv(x, ConvSpec::new(WIDTH, 1))
}
