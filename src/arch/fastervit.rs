//! FasterViT: "FasterViT: Fast Vision Transformers with Hierarchical Attention", Hatamizadeh et al., ICLR 2024 (arXiv
//! 2306.06189).
//!
//! Two levels of plain convolution blocks, two of windowed attention. In the third level every window is summarised by
//! a 2x2 grid of *carrier tokens*; carriers attend to each other densely, then each window attends over its own tokens
//! and carriers. All positions come from small MLPs.
//!
//! | | dim | stem | depths | heads | windows | parameters | MACs | top-1 |
//! |---|---|---|---|---|---|---|---|---|
//! | 0 | 64 | 64 | 2 3 6 5 | 2 4 8 16 | 7 7 7 7 | 31.4M | 3.3G | 82.1 |
//! | 1 | 80 | 32 | 1 3 8 5 | 2 4 8 16 | 7 7 7 7 | 53.4M | 5.3G | 83.2 |
//! | 2 | 96 | 64 | 3 3 8 5 | 2 4 8 16 | 7 7 7 7 | 75.9M | 8.7G | 84.2 |
//! | 3 | 128 | 64 | 3 3 12 5 | 2 4 8 16 | 7 7 7 7 | 159.5M | 18.2G | 84.9 |
//! | 4 | 196 | 64 | 3 3 12 5 | 4 8 16 32 | 7 7 7 7 | 424.6M | 36.6G | 85.4 |
//! | 5 | 320 | 64 | 3 3 12 5 | 4 8 16 32 | 7 7 7 7 | 975.5M | 113G | 85.6 |
//! | 6 | 320 | 64 | 3 3 16 8 | 4 8 16 32 | 7 7 7 7 | 1360M | 142G | 85.8 |
//! | 4-21k-224 | 196 | 64 | 3 3 12 5 | 4 8 16 32 | 7 7 14 7 | 271.9M | 40.8G | 86.6 |
//! | 4-21k-384 | | | | | 7 7 24 12 | 271.9M | 120.1G | 87.6 |
//! | 4-21k-512 | | | | | 7 7 32 16 | 271.9M | 213.5G | 87.8 |
//! | 4-21k-768 | | | | | 7 7 48 24 | 271.9M | 480.4G | 87.9 |
//!
//! Every variant has an any-resolution twin, which pads its maps to whole windows. From 3 on attention levels have
//! LayerScale, and the last block of the hierarchical level adds the carriers to the map.
//!
//! The detector's form (DINO on FasterViT) has the same keys and norms on the maps of levels 1 to 3 besides. It pads every level, counts positions
//! from the middle of all tokens instead of the middle of a row, and reads the carriers' pooled map in the order of memory.

use super::choice::Choice;
use super::family::{
    ArchError, Build, BuildOptions, Family, PositionTables, Spelling, StageMap, StageOutputs, Variant,
};
use super::layers::{BN_EPS, ConvNorm, MAP_NORM_EPS, conv_bn, layer_scale, mlp, padded, stages, table_bias};
use super::results::StageSet;
use crate::checkpoint::{NameTable, Shapes};
use crate::message;
use crate::message::Setting;
use vitc_ir::op::{AttentionLayout, OffsetOrder, Sampling};
use vitc_ir::{BinaryKind, ConvSpec, Dim, Generator, Net, Op, PadMode, Shape, Type, UnaryKind, Value};

struct Config {
    dim: usize,
    stem: usize,
    depths: [usize; 4],
    heads: [usize; 4],
    windows: [usize; 4],
    /// LayerScale in the attention levels, and carriers added to the map at the end of the hierarchical one.
    scaled: bool,
    /// The third level has carrier tokens.
    carriers: bool,
}

/// Width of the position MLPs.
const POSITION_HIDDEN: usize = 512;
const MLP_RATIO: usize = 4;
/// Pixels per position of the last level's map.
const STRIDE: usize = 32;
const STEM_BN_EPS: f64 = 1e-4;
const LN_EPS: f64 = 1e-5;

const fn size(dim: usize, stem: usize, depths: [usize; 4], heads: [usize; 4], scaled: bool) -> Config {
    Config { dim, stem, depths, heads, windows: [7; 4], scaled, carriers: true }
}

const fn pretrained_21k(windows: [usize; 4]) -> Config {
    let base = size(196, 64, [3, 3, 12, 5], [4, 8, 16, 32], true);
    Config { windows, carriers: false, ..base }
}

const FASTERVIT_0: Config = size(64, 64, [2, 3, 6, 5], [2, 4, 8, 16], false);
const FASTERVIT_1: Config = size(80, 32, [1, 3, 8, 5], [2, 4, 8, 16], false);
const FASTERVIT_2: Config = size(96, 64, [3, 3, 8, 5], [2, 4, 8, 16], false);
const FASTERVIT_3: Config = size(128, 64, [3, 3, 12, 5], [2, 4, 8, 16], true);
const FASTERVIT_4: Config = size(196, 64, [3, 3, 12, 5], [4, 8, 16, 32], true);
const FASTERVIT_5: Config = size(320, 64, [3, 3, 12, 5], [4, 8, 16, 32], true);
const FASTERVIT_6: Config = size(320, 64, [3, 3, 16, 8], [4, 8, 16, 32], true);
const FASTERVIT_4_21K_224: Config = pretrained_21k([7, 7, 14, 7]);
const FASTERVIT_4_21K_384: Config = pretrained_21k([7, 7, 24, 12]);
const FASTERVIT_4_21K_512: Config = pretrained_21k([7, 7, 32, 16]);
const FASTERVIT_4_21K_768: Config = pretrained_21k([7, 7, 48, 24]);

const fn variant(
    name: &'static str,
    aliases: &'static [&'static str],
    side: usize,
    figures: [&'static str; 3],
    crop: f64,
    build: Build,
) -> Variant {
    Variant::new(name, side, figures, crop, build).also(aliases)
}

/// A twin that takes images of any size, by default the one that its authors measured.
const fn any_res(
    name: &'static str,
    aliases: &'static [&'static str],
    resolution: [usize; 2],
    parameters: &'static str,
    build: Build,
) -> Variant {
    Variant { resolution, ..Variant::new(name, 0, [parameters, "-", "-"], 1.0, build).also(aliases) }
}

/// The variants, then their any-resolution twins in the same order.
#[rustfmt::skip]
static VARIANTS: [Variant; 22] = [
    variant("fastervit-0", &["faster-vit-0-224", "faster-vit-0"], 224, ["31.4M", "3.3G", "82.1"], 0.875, |net, o| build(net, o, &FASTERVIT_0, false)),
    variant("fastervit-1", &["faster-vit-1-224", "faster-vit-1"], 224, ["53.4M", "5.3G", "83.2"], 1.0, |net, o| build(net, o, &FASTERVIT_1, false)),
    variant("fastervit-2", &["faster-vit-2-224", "faster-vit-2"], 224, ["75.9M", "8.7G", "84.2"], 1.0, |net, o| build(net, o, &FASTERVIT_2, false)),
    variant("fastervit-3", &["faster-vit-3-224", "faster-vit-3"], 224, ["159.5M", "18.2G", "84.9"], 1.0, |net, o| build(net, o, &FASTERVIT_3, false)),
    variant("fastervit-4", &["faster-vit-4-224", "faster-vit-4"], 224, ["424.6M", "36.6G", "85.4"], 1.0, |net, o| build(net, o, &FASTERVIT_4, false)),
    variant("fastervit-5", &["faster-vit-5-224", "faster-vit-5"], 224, ["975.5M", "113G", "85.6"], 1.0, |net, o| build(net, o, &FASTERVIT_5, false)),
    variant("fastervit-6", &["faster-vit-6-224", "faster-vit-6"], 224, ["1360M", "142G", "85.8"], 1.0, |net, o| build(net, o, &FASTERVIT_6, false)),
    variant("fastervit-4-21k-224", &["faster-vit-4-21k-224"], 224, ["271.9M", "40.8G", "86.6"], 0.95, |net, o| build(net, o, &FASTERVIT_4_21K_224, false)),
    variant("fastervit-4-21k-384", &["faster-vit-4-21k-384"], 384, ["271.9M", "120.1G", "87.6"], 1.0, |net, o| build(net, o, &FASTERVIT_4_21K_384, false)),
    variant("fastervit-4-21k-512", &["faster-vit-4-21k-512"], 512, ["271.9M", "213.5G", "87.8"], 1.0, |net, o| build(net, o, &FASTERVIT_4_21K_512, false)),
    variant("fastervit-4-21k-768", &["faster-vit-4-21k-768"], 768, ["271.9M", "480.4G", "87.9"], 0.93, |net, o| build(net, o, &FASTERVIT_4_21K_768, false)),
    any_res("fastervit-0-any-res", &["faster-vit-0-any-res"], [576, 960], "31.4M", |net, o| build(net, o, &FASTERVIT_0, true)),
    any_res("fastervit-1-any-res", &["faster-vit-1-any-res"], [576, 960], "53.4M", |net, o| build(net, o, &FASTERVIT_1, true)),
    any_res("fastervit-2-any-res", &["faster-vit-2-any-res"], [541, 960], "75.9M", |net, o| build(net, o, &FASTERVIT_2, true)),
    any_res("fastervit-3-any-res", &["faster-vit-3-any-res"], [576, 960], "159.5M", |net, o| build(net, o, &FASTERVIT_3, true)),
    any_res("fastervit-4-any-res", &["faster-vit-4-any-res"], [576, 960], "424.6M", |net, o| build(net, o, &FASTERVIT_4, true)),
    any_res("fastervit-5-any-res", &["faster-vit-5-any-res"], [576, 960], "975.5M", |net, o| build(net, o, &FASTERVIT_5, true)),
    any_res("fastervit-6-any-res", &["faster-vit-6-any-res"], [576, 960], "1360M", |net, o| build(net, o, &FASTERVIT_6, true)),
    any_res("fastervit-4-21k-224-any-res", &["faster-vit-4-21k-224-any-res"], [576, 960], "271.9M", |net, o| build(net, o, &FASTERVIT_4_21K_224, true)),
    any_res("fastervit-4-21k-384-any-res", &["faster-vit-4-21k-384-any-res"], [576, 960], "271.9M", |net, o| build(net, o, &FASTERVIT_4_21K_384, true)),
    any_res("fastervit-4-21k-512-any-res", &["faster-vit-4-21k-512-any-res"], [576, 960], "271.9M", |net, o| build(net, o, &FASTERVIT_4_21K_512, true)),
    any_res("fastervit-4-21k-768-any-res", &["faster-vit-4-21k-768-any-res"], [576, 960], "271.9M", |net, o| build(net, o, &FASTERVIT_4_21K_768, true)),
];

static WINDOWS: Choice = Choice {
    name: "windows",
    values: &["auto"],
    help: "window sides of the four levels (`7,7,7,7`); auto: the checkpoint's tables, else the variant's",
};

static FORM: Choice = Choice {
    name: "form",
    values: &["auto", "classifier", "detector"],
    help: "how positions are counted and maps padded; auto: as the detector's where the checkpoint has norms on the levels' maps",
};

static CARRIER_SIDE: Choice = Choice { name: "ct-size", values: &["2"], help: "carrier tokens per window and axis" };

/// The family.
pub(super) static FAMILY: Family = Family {
    id: "fastervit",
    paper: "FasterViT: Fast Vision Transformers with Hierarchical Attention, Hatamizadeh et al., ICLR 2024",
    code: "NVlabs/FasterViT",
    note: None,
    variants: &VARIANTS,
    spellings: &[Spelling {
        anchors: &["levels.*.blocks.*.attn.pos_emb_funct", "levels.*.blocks.*.pos_embed", "levels.*.blocks.*.conv*"],
        table: NameTable::IDENTITY,
    }],
    heads: &["head"],
    choices: &[&WINDOWS, &CARRIER_SIDE, &FORM],
    position_tables,
    leftover,
    pool: |net, _, x| {
        let x = net.at("norm").batch_norm(x, BN_EPS);
        net.at("avgpool").mean(x, &[2, 3], false)
    },
    outputs: StageOutputs { norms: NORMS, stages: outputs },
};

/// The norms on the maps of the detector's form.
const NORMS: [&str; 4] = ["norm0", "norm1", "norm2", "norm3"];

/// The levels whose maps leave the backbone: in the detector's form those with a norm.
fn outputs(options: &BuildOptions) -> StageSet {
    let normed = (0..4).filter(|&level| holds_norm(options, level));
    let detector = if is_detector(options) { StageSet::of(normed) } else { None };
    detector.unwrap_or(StageSet::ALL)
}

fn holds_norm(options: &BuildOptions, level: usize) -> bool {
    options.holds(&format!("{}.weight", NORMS[level]), false)
}

fn is_detector(options: &BuildOptions) -> bool {
    match options.choice(&FORM) {
        "auto" => (0..4).any(|level| holds_norm(options, level)),
        form => form == "detector",
    }
}

/// Caches that the forward pass overwrites, buffers that follow from the window, the tokenizer's second name, and what
/// a map of one window or a rectangular grid of windows does not read.
fn leftover(key: &str) -> bool {
    ["relative_bias", "relative_position_index", "relative_coords_table"].iter().any(|b| key.ends_with(b))
        || key.contains("global_tokenizer.")
        || key.contains("hat_pos_embed.")
}

/// Sizes on which the model ran when it was saved: a cache of the carrier tokens' positions keeps their number, and the carriers of a window span
/// `STEP` pixels. Any size computes, so none is refused; of those with this number the usual ones come first.
fn position_tables(tensors: &Shapes) -> Option<PositionTables> {
    const USUAL: [[usize; 2]; 8] = [[224; 2], [576, 960], [384; 2], [512; 2], [768; 2], [256; 2], [640; 2], [1024; 2]];
    let key = "levels.2.blocks.0.hat_attn.pos_emb_funct.relative_bias";
    let carriers = *tensors.get(key)?.last()?;
    let window = stored_window(tensors, 2)?;
    let windows = carriers / 4;
    let step = 16 * window;
    let grids = (1..=windows).filter(|rows| windows.is_multiple_of(*rows)).map(|rows| [rows, windows / rows]);
    // A table of its own exists for square grids only.
    let square = tensors.keys().any(|key| key.starts_with("levels.2.blocks.0.hat_pos_embed."));
    let grids: Vec<[usize; 2]> = grids.filter(|[rows, columns]| (rows == columns) == square).collect();
    let largest = grids.into_iter().map(|grid| grid.map(|side| side * step));
    let largest: Vec<[usize; 2]> = largest.filter(|[h, w]| *h <= 4 * w && *w <= 4 * h).collect();
    let fits = |size: &[usize; 2]| largest.contains(&size.map(|side| side.next_multiple_of(step)));
    let mut sizes: Vec<[usize; 2]> = USUAL.into_iter().filter(fits).collect();
    sizes.extend(largest.iter().copied().filter(|size| !USUAL.contains(size)));
    (carriers.is_multiple_of(4) && !sizes.is_empty()).then(|| PositionTables {
        sizes,
        key: key.to_string(),
        trained: false,
        step,
        resized: false,
    })
}

/// What a build was asked for, resolved.
struct Plan<'a> {
    config: &'a Config,
    any_res: bool,
    /// The detector's form.
    detector: bool,
    windows: [usize; 4],
    carriers: usize,
    options: &'a BuildOptions<'a>,
}

fn plan<'a>(options: &'a BuildOptions<'a>, config: &'a Config, any_res: bool) -> Result<Plan<'a>, ArchError> {
    let fail = |choice: &str, takes: String| ArchError::Option {
        model: options.backbone.variant.name,
        what: message!(Setting::Choice.to(choice), takes),
    };
    let windows = match options.choice(&WINDOWS) {
        "auto" => {
            let mut windows = config.windows;
            for (level, window) in windows.iter_mut().enumerate() {
                *window = options.tensors.and_then(|t| stored_window(t, level)).unwrap_or(*window);
            }
            windows
        }
        text => {
            let parsed: Option<Vec<usize>> =
                text.split(',').map(|p| p.trim().parse().ok().filter(|&w| w > 0)).collect();
            let parsed = parsed.and_then(|w| <[usize; 4]>::try_from(w).ok());
            parsed.ok_or_else(|| fail("windows=", format!(" takes four sides like 7,7,7,7, found `{text}`")))?
        }
    };
    let carriers = options.choice(&CARRIER_SIDE);
    let carriers =
        carriers.parse().ok().filter(|c| (1..=windows[2]).contains(c)).ok_or_else(|| {
            fail("ct-size=", format!(" takes a number from 1 to the window's side, found `{carriers}`"))
        })?;
    let plan = Plan { config, any_res, detector: is_detector(options), windows, carriers, options };
    plan.check_resolution()?;
    Ok(plan)
}

/// Side of the window for which the checkpoint's position tables of a level were made.
fn stored_window(tensors: &Shapes, level: usize) -> Option<usize> {
    let table = tensors.get(&format!("levels.{level}.blocks.0.attn.pos_emb_funct.relative_coords_table"))?;
    (table.len() == 4).then(|| table[1].div_ceil(2))
}

impl Plan<'_> {
    /// Map of a level: the stem divides by 4, each level by 2, rounding up.
    fn map(&self, level: usize) -> [usize; 2] {
        self.options.resolution.map(|s| s.div_ceil(4 << level))
    }

    /// Side of the square of carriers that their attention's table was made for.
    fn carrier_table(&self) -> usize {
        let table = self.options.stored("levels.2.blocks.0.hat_attn.pos_emb_funct.relative_coords_table");
        // Models are built for images of 224, where the level has windows in two rows.
        table.filter(|shape| shape.len() == 4).map_or(2 * self.carriers, |shape| shape[1].div_ceil(2))
    }

    fn check_resolution(&self) -> Result<(), ArchError> {
        self.options.check_smallest(STRIDE)?;
        if self.detector && self.config.carriers {
            let windows = self.map(2).map(|side| side.div_ceil(self.windows[2]));
            let carriers = windows[0] * windows[1] * self.carriers * self.carriers;
            let least = self.carrier_table();
            if carriers < least * least {
                let why =
                    format!("its {carriers} carrier tokens are fewer than the {} it was built for", least * least);
                return Err(self.options.misfit(why, "use 224x224 or more"));
            }
        }
        for level in 2..4 {
            let (map, window) = (self.map(level), self.windows[level]);
            if !self.any_res && !self.detector && map.iter().any(|s| s % window != 0) {
                let step = STRIDE * self.windows[3].max(self.windows[2].div_ceil(2));
                return Err(self.options.misfit(
                    format!("level {level} cuts its {}x{} map into {window}x{window} windows", map[0], map[1]),
                    format!(
                        "use a multiple of {step}, or `{}-any-res`, which pads",
                        self.options.backbone.variant.name
                    ),
                ));
            }
        }
        Ok(())
    }
}

fn build(net: &mut Net, options: &BuildOptions, config: &Config, any_res: bool) -> Result<Vec<StageMap>, ArchError> {
    let plan = plan(options, config, any_res)?;
    let image = options.image(net);
    let x = stem(&mut net.at("patch_embed.conv_down"), image, config.stem, config.dim);
    let enter = |net: &mut Net, x: Value, level: usize| match level {
        0 => x,
        _ => downsample(&mut net.at(format!("levels.{}.downsample", level - 1)), x),
    };
    let all_blocks = |net: &mut Net, x: Value, level: usize, _: usize| {
        let mut net = net.at(format!("levels.{level}"));
        let convs = |net: &mut Net, x: Value| {
            (0..config.depths[level]).fold(x, |x, j| conv_block(&mut net.at(format!("blocks.{j}")), x, options))
        };
        match level {
            0 | 1 if plan.detector => padded(&mut net, x, plan.windows[level], convs),
            0 | 1 => convs(&mut net, x),
            _ => attention_level(&mut net, x, &plan, level),
        }
    };
    Ok(stages(net, x, [1; 4], enter, all_blocks))
}

/// Two strided convolutions: a quarter of the resolution.
fn stem(net: &mut Net, x: Value, width: usize, out: usize) -> Value {
    let conv_bn = |net: &mut Net, x: Value, conv: &str, norm: &str, out: usize| {
        let spec = ConvSpec::new(out, 3).stride(2).no_bias();
        ConvNorm { eps: STEM_BN_EPS, ..ConvNorm::named(conv, norm) }.apart(net, x, spec)
    };
    let x = conv_bn(net, x, "0", "1", width);
    let x = net.unary("2", UnaryKind::Relu, x);
    let x = conv_bn(net, x, "3", "4", out);
    net.unary("5", UnaryKind::Relu, x)
}

/// x + [γ·] two full 3x3 convolutions.
fn conv_block(net: &mut Net, x: Value, options: &BuildOptions) -> Value {
    let c = net.dim(x, 1);
    let y = conv_bn(net, x, ["conv1", "norm1"], ConvSpec::new(c, 3));
    let y = net.unary("act1", UnaryKind::Gelu, y);
    let mut y = conv_bn(net, y, ["conv2", "norm2"], ConvSpec::new(c, 3));
    if options.holds(&net.path("gamma"), false) {
        let gamma = net.weight("gamma", &[c]);
        let gamma = net.along("gamma.map", gamma, 1, 4);
        y = net.at("gamma").mul(y, gamma);
    }
    net.add(x, y)
}

/// Halve the map, double the width.
fn downsample(net: &mut Net, x: Value) -> Value {
    let c = net.dim(x, 1);
    let x = net.at("norm").layer_norm(x, 1, MAP_NORM_EPS);
    net.at("reduction.0").conv(x, ConvSpec::new(2 * c, 3).stride(2).no_bias())
}

/// Geometry of one attention level.
struct Level {
    /// Window side.
    window: usize,
    /// Windows down and across.
    grid: [usize; 2],
    heads: usize,
    /// Carrier tokens per window and axis; 0 without carriers.
    carriers: usize,
    scaled: bool,
    /// The detector's form: the side of the square of carriers that their attention's table is for.
    detector: Option<usize>,
}

impl Level {
    /// Carrier tokens down and across.
    fn carrier_map(&self) -> [usize; 2] {
        self.grid.map(|g| g * self.carriers)
    }
}

/// Attention in the windows of the map, which is padded to whole ones.
fn attention_level(net: &mut Net, x: Value, plan: &Plan, level: usize) -> Value {
    let window = plan.windows[level];
    padded(net, x, window, |net, x| {
        let map = [net.dim(x, 2), net.dim(x, 3)];
        let grid = map.map(|side| side / window);
        let hierarchical = plan.config.carriers && level == 2 && (grid != [1, 1] || plan.detector);
        let depth = plan.config.depths[level];
        let level = Level {
            window,
            grid,
            heads: plan.config.heads[level],
            carriers: if hierarchical { plan.carriers } else { 0 },
            scaled: plan.config.scaled,
            detector: plan.detector.then(|| plan.carrier_table()),
        };
        let mut carriers = hierarchical.then(|| tokenizer(&mut net.at("global_tokenizer"), x, &level));
        let mut x = net.push("partition", Op::WindowPartition { window: [window; 2] }, &[x]);
        for j in 0..depth {
            let last = j + 1 == depth;
            x = block(&mut net.at(format!("blocks.{j}")), x, &mut carriers, &level, last);
        }
        net.push("merge", Op::WindowMerge { window: [window; 2], map }, &[x])
    })
}

/// Carrier tokens `[B, T, C]`, window by window: a depthwise convolution and an average pool to `carriers` per window
/// and axis.
fn tokenizer(net: &mut Net, x: Value, level: &Level) -> Value {
    let c = net.dim(x, 1);
    let x = net.at("pos_embed").conv(x, ConvSpec::new(c, 3).depthwise());
    let out = level.carrier_map();
    let side = |axis: usize| net.dim(x, 2 + axis);
    let stride = [side(0) / out[0], side(1) / out[1]];
    let kernel = [side(0) - (out[0] - 1) * stride[0], side(1) - (out[1] - 1) * stride[1]];
    let x = net.push("pool", Op::AvgPool { kernel, stride, pad: [0; 4] }, &[x]);
    if level.detector.is_some() {
        // The map's memory is read as tokens of channels, without a transpose.
        let shape = Shape::batched(net.batch(x), &[out[0] * out[1], c]);
        return net.reshape("carriers", x, shape);
    }
    let x = net.push("windows", Op::WindowPartition { window: [level.carriers; 2] }, &[x]);
    all_carriers(net, x, level)
}

/// `[B·windows, t, C]` seen as `[B, windows·t, C]`.
fn all_carriers(net: &mut Net, x: Value, level: &Level) -> Value {
    let shape = net.ty(x).shape.clone();
    let windows = level.grid[0] * level.grid[1];
    let batch = shape.0[0].divided(windows).expect("whole images");
    net.reshape("carriers", x, Shape(vec![batch, Dim::Fixed(windows * shape.dim(1)), shape.0[2]]))
}

/// One block: carriers among themselves, then each window over its carriers and tokens (Fig. 4).
fn block(net: &mut Net, x: Value, carriers: &mut Option<Value>, level: &Level, last: bool) -> Value {
    let c = net.dim(x, 2);
    let side = level.window;
    let position = match level.detector {
        Some(_) => counted_embedding(&mut net.at("pos_embed"), [side; 2], c),
        None => position_embedding(&mut net.at("pos_embed"), side, c),
    };
    let mut x = net.at("pos_embed").add(x, position);

    if let Some(ct) = *carriers {
        let ct = carrier_attention(net, ct, level);
        x = net.concat("concat", &[ct, x], 1);
    }
    let t = level.carriers * level.carriers;
    let bias = |net: &mut Net| attention_bias(net, level.heads, side, t);
    let y = net.at("norm1").layer_norm(x, 2, LN_EPS);
    let y = attention(&mut net.at("attn"), y, level.heads, bias);
    x = residual(net, x, y, "gamma3", level.scaled);
    let y = net.at("norm2").layer_norm(x, 2, LN_EPS);
    let y = mlp(&mut net.at("mlp"), y, MLP_RATIO);
    x = residual(net, x, y, "gamma4", level.scaled);

    if carriers.is_some() {
        let parts = net.split("split", x, 1, &[t, side * side]);
        x = parts[1];
        if last && level.scaled {
            x = propagate(net, x, parts[0], level);
        }
        *carriers = Some(all_carriers(net, parts[0], level));
    }
    x
}

/// Carriers attend densely in raster order and go back to their windows: `[B·windows, t, C]`.
fn carrier_attention(net: &mut Net, ct: Value, level: &Level) -> Value {
    let (c, [rows, columns]) = (net.dim(ct, 2), level.carrier_map());
    let total = rows * columns;
    let window = [level.carriers; 2];
    let t = level.carriers * level.carriers;

    let batch = net.batch(ct);
    let windows = Shape(vec![batch.times(level.grid[0] * level.grid[1]), Dim::Fixed(t), Dim::Fixed(c)]);
    let ct = net.reshape("hat.windows", ct, windows);
    let ct = net.push("hat.map", Op::WindowMerge { window, map: [rows, columns] }, &[ct]);
    let mut ct = net.push("hat.raster", Op::WindowPartition { window: [rows, columns] }, &[ct]);
    let position = match level.detector {
        Some(_) => Some(counted_embedding(&mut net.at("hat_pos_embed"), [rows, columns], c)),
        None if rows == columns => Some(position_embedding(&mut net.at("hat_pos_embed"), rows, c)),
        None => None,
    };
    if let Some(position) = position {
        ct = net.at("hat_pos_embed").add(ct, position);
    }
    // The bias of a grid that is not square is the largest square's, padded: odd, and what the authors' code computes.
    let side = level.detector.unwrap_or(total.isqrt());
    let bias = |net: &mut Net| attention_bias(net, level.heads, side, total - side * side);
    let y = net.at("hat_norm1").layer_norm(ct, 2, LN_EPS);
    let y = attention(&mut net.at("hat_attn"), y, level.heads, bias);
    ct = residual(net, ct, y, "gamma1", level.scaled);
    let y = net.at("hat_norm2").layer_norm(ct, 2, LN_EPS);
    let y = mlp(&mut net.at("hat_mlp"), y, MLP_RATIO);
    ct = residual(net, ct, y, "gamma2", level.scaled);

    // The authors' code swaps rows and columns here: on a rectangular grid tokens land in other windows than they came
    // from.
    let swapped = [columns, rows];
    let ct = net.push("hat.swapped", Op::WindowMerge { window: swapped, map: swapped }, &[ct]);
    net.push("hat.back", Op::WindowPartition { window }, &[ct])
}

/// x + γ₁·(carriers of the window, enlarged to its side).
fn propagate(net: &mut Net, x: Value, carriers: Value, level: &Level) -> Value {
    let c = net.dim(x, 2);
    let (small, large) = ([level.carriers; 2], [level.window; 2]);
    let gamma = net.weight("gamma1", &[c]);
    let mut net = net.at("propagate");
    let y = net.push("map", Op::WindowMerge { window: small, map: small }, &[carriers]);
    let y = net.push("upsampler", Op::Resize { sampling: Sampling::NEAREST, size: large, scale: None }, &[y]);
    let y = net.push("tokens", Op::WindowPartition { window: large }, &[y]);
    let y = net.mul(y, gamma);
    net.add(x, y)
}

fn attention(net: &mut Net, x: Value, heads: usize, bias: impl FnOnce(&mut Net) -> Value) -> Value {
    let c = net.dim(x, 2);
    let qkv = net.at("qkv").linear(x, 3 * c, true);
    let parts = net.split("split", qkv, 2, &[c; 3]);
    let bias = bias(&mut net.at("pos_emb_funct"));
    let scale = ((c / heads) as f64).powf(-0.5);
    let qkv = [parts[0], parts[1], parts[2]];
    let x = net.attention("attention", qkv, Some(bias), heads, scale, AttentionLayout::Tokens);
    net.at("proj").linear(x, c, true)
}

/// x + [γ·]y.
fn residual(net: &mut Net, x: Value, y: Value, gamma: &str, scaled: bool) -> Value {
    let mut y = y;
    if scaled {
        y = layer_scale(net, y, gamma, &format!("{gamma}.mul"));
    }
    net.at(gamma).add(x, y)
}

/// `[n·n, C]`: an MLP of the position on an n x n grid.
fn position_embedding(net: &mut Net, side: usize, channels: usize) -> Value {
    let ty = Type::f32(&[side * side, 2]);
    let coords = net.generate("coords", Generator::GridCoords { side }, ty);
    position_mlp(net, coords, channels)
}

/// `[h·w, C]`: the same of a grid whose rows and columns are counted from the middle of all its tokens.
fn counted_embedding(net: &mut Net, [height, width]: [usize; 2], channels: usize) -> Value {
    let tokens = height * width;
    let axes = [("rows", 0), ("columns", 1)];
    let axes = axes.map(|(name, axis)| net.generate(name, Generator::Iota { axis }, Type::f32(&[height, width, 1])));
    let grid = net.concat("grid", &axes, 2);
    let grid = net.reshape("tokens", grid, Shape::fixed(&[tokens, 2]));
    let middle = net.scalar((tokens / 2) as f64);
    let from_middle = net.binary("from_middle", BinaryKind::Sub, grid, middle);
    let coords = net.binary("coords", BinaryKind::Div, from_middle, middle);
    position_mlp(net, coords, channels)
}

/// Linear, ReLU, Linear without bias.
fn position_mlp(net: &mut Net, coords: Value, channels: usize) -> Value {
    let mut net = net.at("cpb_mlp");
    let x = net.at(0).linear(coords, POSITION_HIDDEN, true);
    let x = net.unary("1", UnaryKind::Relu, x);
    net.at(2).linear(x, channels, false)
}

/// `[heads, N, N]`: 16·σ(MLP of the log-spaced offset), gathered for every pair of a square window; pairs with one of
/// the `extra` tokens in front get 0.
fn attention_bias(net: &mut Net, heads: usize, side: usize, extra: usize) -> Value {
    let offsets = (2 * side - 1) * (2 * side - 1);
    let coords = Generator::LogCoords { window: [side; 2] };
    let coords = net.generate("coords", coords, Type::f32(&[offsets, 2]));
    let table = position_mlp(net, coords, heads);
    let table = net.unary("sigmoid", UnaryKind::Sigmoid, table);
    let sixteen = net.scalar(16.0);
    let table = net.binary("table", BinaryKind::Mul, table, sixteen);
    let bias = table_bias(net, table, 0, [[side; 2]; 2], OffsetOrder::Signed, ["index", "pairs"]);
    let bias = net.transpose("heads", bias, &[2, 0, 1]);
    if extra == 0 {
        return bias;
    }
    net.push("bias", Op::Pad { before: vec![0, extra, extra], after: vec![0; 3], mode: PadMode::ZERO }, &[bias])
}
