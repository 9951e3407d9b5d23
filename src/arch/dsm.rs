//! DSM: "Dynamic Spectrum Mixer for Visual Recognition", Hu and Yu, 2023 (arXiv 2309.06721).
//!
//! The authors never published code or sizes; this is reference design D1, made to satisfy every sentence of the abstract: tokens mix in the DCT
//! domain, and gains generated from the image select bands of the spectrum. Variant names and sizes are ours.
//!
//! | | widths | depths | parameters | MACs with transforms |
//! |---|---|---|---|---|
//! | T | 64 128 320 512 | 2 2 4 2 | 12,507,464 | 1.935G |
//! | S | 64 128 320 512 | 2 3 10 3 | 21,730,248 | 3.429G |
//! | M | 64 128 320 512 | 3 4 18 3 | 30,412,600 | 5.377G |
//! | B | 96 192 384 768 | 2 2 18 2 | 44,758,840 | 7.620G |

use super::family::{ArchError, Build, BuildOptions, Family, Spelling, StageMap, StageOutputs, Variant};
use super::layers::{mean, mlp, stages};
use crate::checkpoint::NameTable;
use vitc_ir::{BinaryKind, ConvSpec, Dim, Generator, Net, Op, Shape, Type, UnaryKind, Value};

struct Config {
    widths: [usize; 4],
    depths: [usize; 4],
}

/// Channel groups that share gains.
const GROUPS: usize = 8;
/// Radial bands of the spectrum.
const BANDS: usize = 8;
const MLP_RATIO: usize = 4;
const LN_EPS: f64 = 1e-6;

const fn variant(name: &'static str, parameters: &'static str, macs: &'static str, build: Build) -> Variant {
    Variant::new(name, 224, [parameters, macs, "-"], 0.875, build).without_weights()
}

static VARIANTS: [Variant; 4] = [
    variant("dsm-t", "12.5M", "1.93G", |net, options| {
        build(net, options, &Config { widths: [64, 128, 320, 512], depths: [2, 2, 4, 2] })
    }),
    variant("dsm-s", "21.7M", "3.43G", |net, options| {
        build(net, options, &Config { widths: [64, 128, 320, 512], depths: [2, 3, 10, 3] })
    }),
    variant("dsm-m", "30.4M", "5.38G", |net, options| {
        build(net, options, &Config { widths: [64, 128, 320, 512], depths: [3, 4, 18, 3] })
    }),
    variant("dsm-b", "44.8M", "7.62G", |net, options| {
        build(net, options, &Config { widths: [96, 192, 384, 768], depths: [2, 2, 18, 2] })
    }),
];

/// The family.
pub(super) static FAMILY: Family = Family {
    id: "dsm",
    paper: "Dynamic Spectrum Mixer for Visual Recognition, Hu and Yu, 2023",
    code: "not published",
    note: Some("reference design D1: the authors published neither code nor sizes; variants and figures are vitc's"),
    variants: &VARIANTS,
    spellings: &[Spelling {
        anchors: &["stages.*.*.mixer.weight_gen", "stages.*.*.mixer.proj_in", "stages.*.*.mixer.proj_out"],
        table: NameTable { code_base: "reference", rules: &[] },
    }],
    heads: &["head"],
    choices: &[],
    position_tables: |_| None,
    leftover: |_| false,
    pool: |net, _, x| {
        let x = net.at("norm").layer_norm(x, 1, LN_EPS);
        mean(net, x)
    },
    outputs: StageOutputs::ALL,
};

fn build(net: &mut Net, options: &BuildOptions, config: &Config) -> Result<Vec<StageMap>, ArchError> {
    options.check_smallest(32)?;
    let image = options.image(net);
    let enter = |net: &mut Net, x: Value, i: usize| {
        let width = config.widths[i];
        let spec = if i == 0 { ConvSpec::new(width, 7).stride(4) } else { ConvSpec::new(width, 3).stride(2) };
        net.at(format!("down.{i}")).conv(x, spec)
    };
    let block = |net: &mut Net, x: Value, i: usize, j: usize| block(&mut net.at(format!("stages.{i}.{j}")), x);
    Ok(stages(net, image, config.depths, enter, block))
}

/// Mix tokens, then channels.
fn block(net: &mut Net, x: Value) -> Value {
    let y = net.at("norm1").layer_norm(x, 1, LN_EPS);
    let y = mixer(&mut net.at("mixer"), y);
    let x = net.at("mixer").add(x, y);
    let y = net.at("norm2").layer_norm(x, 1, LN_EPS);
    let y = mlp(net, y, MLP_RATIO);
    net.add(x, y)
}

/// Spectrum of the projected map, weighed band by band, transformed back.
fn mixer(net: &mut Net, u: Value) -> Value {
    let (batch, c, grid) = (net.batch(u), net.dim(u, 1), [net.dim(u, 2), net.dim(u, 3)]);
    let v = net.at("proj_in").conv(u, ConvSpec::new(c, 1));
    let spectrum = net.push("dct", Op::Dct2, &[v]);

    let gains = weight_generation(&mut net.at("weight_gen"), u);
    let masks = Type::f32(&[BANDS, grid[0] * grid[1]]);
    let masks = net.generate("bands", Generator::BandMask { grid }, masks);
    let weights = net.matmul("weights", gains, masks);
    let shape = |channels: usize| {
        Shape([GROUPS, channels, grid[0], grid[1]].iter().fold(vec![batch], |mut s, &d| {
            s.push(Dim::Fixed(d));
            s
        }))
    };
    let weights = net.reshape("weights.map", weights, shape(1));
    let spectrum = net.reshape("groups", spectrum, shape(c / GROUPS));
    let spectrum = net.binary("select", BinaryKind::Mul, spectrum, weights);
    let spectrum = net.reshape("channels", spectrum, Shape::batched(batch, &[c, grid[0], grid[1]]));

    let y = net.push("idct", Op::Idct2, &[spectrum]);
    net.at("proj_out").conv(y, ConvSpec::new(c, 1))
}

/// Gains `[B, groups, bands]` in (0, 2) from the image's mean.
fn weight_generation(net: &mut Net, u: Value) -> Value {
    let (batch, c) = (net.batch(u), net.dim(u, 1));
    let p = net.mean(u, &[2, 3], true);
    let e = net.at("fc1").conv(p, ConvSpec::new(c / 4, 1));
    let e = net.gelu(e);
    let e = net.at("fc2").conv(e, ConvSpec::new(GROUPS * BANDS, 1));
    let g = net.unary("sigmoid", UnaryKind::Sigmoid, e);
    let g = net.reshape("gains", g, Shape::batched(batch, &[GROUPS, BANDS]));
    let two = net.scalar(2.0);
    net.binary("gains.scaled", BinaryKind::Mul, g, two)
}
