//! EfficientFormerV2: "Rethinking Vision Transformers for MobileNet Size and Speed", Li et al., ICCV 2023 (arXiv 2212.08059).
//!
//! A four-stage pyramid of MLP blocks with a depthwise convolution inside; the last blocks of stages 3 and 4 attend first. Stage 3 attends at
//! half resolution, stage 4 at its own, and the step between them is an attention with strided queries. Heads talk before and after softmax.
//!
//! | | widths | depths | attention blocks | parameters | MACs | top-1 (300 / 450 epochs) |
//! |---|---|---|---|---|---|---|
//! | S0 | 32 48 96 176 | 2 2 6 4 | 2 | 3.5M | 0.40G | 75.7 / 76.2 |
//! | S1 | 32 48 120 224 | 3 3 9 6 | 2 | 6.1M | 0.65G | 79.0 / 79.7 |
//! | S2 | 32 64 144 288 | 4 4 12 8 | 4 | 12.6M | 1.25G | 81.6 / 82.0 |
//! | L | 40 80 192 384 | 5 5 15 10 | 6 | 26.1M | 2.56G | 83.3 / 83.5 |

use super::family::{ArchError, BuildOptions, Family, PositionTables, Spelling, StageMap, StageOutputs, Variant};
use super::layers::{conv_bn, downsample, layer_scale, norm_and_mean, stages, stem, table_bias};
use crate::checkpoint::{NameTable, Shapes};
use vitc_ir::op::{AttentionLayout, OffsetOrder, Sampling};
use vitc_ir::{BinaryKind, ConvSpec, Generator, Net, Op, Real, Type, UnaryKind, Value};

struct Config {
    widths: [usize; 4],
    /// MLP expansion of every block, by stage (so also the depths).
    ratios: [&'static [usize]; 4],
    /// How many blocks at the end of stages 3 and 4 attend.
    attention: usize,
}

const HEADS: usize = 8;
/// Pixels per position of the last stage's map.
const STRIDE: usize = 32;
/// The position tables of dense models.
const DENSE_BIASES: &str = "attention_biases_seg";

/// Attention inside a stage: key and value channels per head.
const KEY: usize = 32;
const VALUE: usize = 128;
/// The same in the attention between stages 3 and 4.
const DOWN_KEY: usize = 16;
const DOWN_VALUE: usize = 64;

/// The family.
pub(super) static FAMILY: Family = Family {
    id: "efficientformerv2",
    paper: "Rethinking Vision Transformers for MobileNet Size and Speed, Li et al., ICCV 2023",
    code: "snap-research/EfficientFormer",
    note: None,
    variants: &VARIANTS,
    spellings: &[
        Spelling {
            anchors: &["network.*.*.mlp.mid", "network.*.*.token_mixer.talking_head*", "network.*.attn.q.local.*"],
            table: NameTable::IDENTITY,
        },
        Spelling {
            anchors: &[
                "stages.*.blocks.*.mlp.mid",
                "stages.*.blocks.*.token_mixer.talking_head*",
                "stages.*.downsample.attn.q.local",
            ],
            table: TIMM,
        },
    ],
    heads: &["head", "dist_head"],
    choices: &[],
    position_tables,
    leftover: |key| {
        // The detector's and the segmenter's model keeps the classifier's tables beside its own.
        let leaves =
            ["attention_biases", "attention_bias_idxs", "attention_bias_idxs_seg", "token_mixer.ab", "attn.ab"];
        leaves.iter().any(|leaf| key.ends_with(leaf))
    },
    pool: |net, _, x| norm_and_mean(net, x),
    outputs: StageOutputs::EVEN,
};

static VARIANTS: [Variant; 4] = [
    Variant::new("efficientformerv2-s0", 224, ["3.5M", "0.40G", "76.2"], 0.875, |net, options| {
        let ratios: [&[usize]; 4] = [&[4; 2], &[4; 2], &[4, 3, 3, 3, 4, 4], &[4, 3, 3, 4]];
        build(net, options, &Config { widths: [32, 48, 96, 176], ratios, attention: 2 })
    }),
    Variant::new("efficientformerv2-s1", 224, ["6.1M", "0.65G", "79.7"], 0.875, |net, options| {
        let ratios: [&[usize]; 4] = [&[4; 3], &[4; 3], &[4, 4, 3, 3, 3, 3, 4, 4, 4], &[4, 4, 3, 3, 4, 4]];
        build(net, options, &Config { widths: [32, 48, 120, 224], ratios, attention: 2 })
    }),
    Variant::new("efficientformerv2-s2", 224, ["12.6M", "1.25G", "82.0"], 0.875, |net, options| {
        let ratios: [&[usize]; 4] =
            [&[4; 4], &[4; 4], &[4, 4, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4], &[4, 4, 3, 3, 3, 3, 4, 4]];
        build(net, options, &Config { widths: [32, 64, 144, 288], ratios, attention: 4 })
    }),
    Variant::new("efficientformerv2-l", 224, ["26.1M", "2.56G", "83.5"], 0.875, |net, options| {
        let ratios: [&[usize]; 4] =
            [&[4; 5], &[4; 5], &[4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4], &[4, 4, 4, 3, 3, 3, 3, 4, 4, 4]];
        build(net, options, &Config { widths: [40, 80, 192, 384], ratios, attention: 6 })
    }),
];

/// timm's spelling of the same state dict.
const TIMM: NameTable = NameTable {
    code_base: "timm",
    rules: &[
        ("^stem.conv1.conv", "patch_embed.0"),
        ("^stem.conv1.bn", "patch_embed.1"),
        ("^stem.conv2.conv", "patch_embed.3"),
        ("^stem.conv2.bn", "patch_embed.4"),
        ("^stages.0.blocks", "network.0"),
        ("^stages.1.blocks", "network.2"),
        ("^stages.2.blocks", "network.4"),
        ("^stages.3.blocks", "network.6"),
        ("^stages.1.downsample.conv.conv", "network.1.proj"),
        ("^stages.1.downsample.conv.bn", "network.1.norm"),
        ("^stages.2.downsample.conv.conv", "network.3.proj"),
        ("^stages.2.downsample.conv.bn", "network.3.norm"),
        ("^stages.3.downsample.conv.conv", "network.5.conv"),
        ("^stages.3.downsample.conv.bn", "network.5.bn"),
        ("^stages.3.downsample.attn", "network.5.attn"),
        ("mlp.fc1.conv", "mlp.fc1"),
        ("mlp.fc1.bn", "mlp.norm1"),
        ("mlp.mid.conv", "mlp.mid"),
        ("mlp.mid.bn", "mlp.mid_norm"),
        ("mlp.fc2.conv", "mlp.fc2"),
        ("mlp.fc2.bn", "mlp.norm2"),
        ("ls1.gamma", "layer_scale_1"),
        ("ls2.gamma", "layer_scale_2"),
        ("q.local", "q.local.0"),
        ("q.proj.conv", "q.proj.0"),
        ("q.proj.bn", "q.proj.1"),
        ("proj.conv", "proj.1"),
        ("proj.bn", "proj.2"),
        ("token_mixer.*.conv", "token_mixer.*.0"),
        ("token_mixer.*.bn", "token_mixer.*.1"),
        ("attn.*.conv", "attn.*.0"),
        ("attn.*.bn", "attn.*.1"),
        ("^head_dist", "dist_head"),
    ],
};

/// Tables hold one entry per position of the stage-4 map, which is a thirty-second of the image; the authors' are square, timm's need not be.
fn position_tables(tensors: &Shapes) -> Option<PositionTables> {
    // Dense models are built for one square image and resize what they look up to any other.
    if let Some((key, shape)) = tensors.get_key_value(&format!("network.5.attn.{DENSE_BIASES}")) {
        let side = shape.last().copied()?.isqrt() * STRIDE / 2;
        let (sizes, key) = (vec![[side; 2]], key.clone());
        return Some(PositionTables { sizes, key, trained: true, step: STRIDE, resized: true });
    }
    let table =
        |(key, _): &(&String, _)| key.starts_with("network.6.") && key.ends_with("token_mixer.attention_biases");
    let (key, shape) = tensors.iter().find(table)?;
    let positions = *shape.last()?;
    // Sides up to a ratio of 4.
    let sides = (1..=2 * positions.isqrt()).filter(|h| positions.is_multiple_of(*h) && positions / h <= 4 * h);
    let mut maps: Vec<[usize; 2]> = sides.map(|h| [h, positions / h]).filter(|[h, w]| *h <= 4 * w).collect();
    maps.sort_by_key(|[h, w]| h.abs_diff(*w));
    let sizes: Vec<[usize; 2]> = maps.into_iter().map(|map| map.map(|side| side * STRIDE)).collect();
    (!sizes.is_empty()).then(|| PositionTables { sizes, key: key.clone(), trained: true, step: STRIDE, resized: false })
}

/// Side of a map after `n` halvings by a 3x3 convolution of stride 2.
fn halved(side: usize, n: u32) -> usize {
    side.div_ceil(1 << n)
}

fn check_resolution(options: &BuildOptions) -> Result<(), ArchError> {
    let [height, width] = options.resolution;
    // Stage 3 attends at stride 2 and upsamples by 2, so its map has even sides.
    let fits = |side: usize| side >= STRIDE && halved(side, 4).is_multiple_of(2);
    if !fits(height) || !fits(width) {
        let near = |side: usize| {
            let (down, up) = ((STRIDE..=side).rev().find(|&s| fits(s)), (side.max(STRIDE)..).find(|&s| fits(s)));
            let mut sides: Vec<String> = down.into_iter().chain(up).map(|s| s.to_string()).collect();
            sides.dedup(); // one that fits is nearest on both sides
            sides.join(" or ")
        };
        let why = format!(
            "stage 3 attends on every second position of a {}x{} map, whose sides must be even",
            halved(height, 4),
            halved(width, 4)
        );
        return Err(options.misfit(why, format!("heights that fit: {}; widths: {}", near(height), near(width))));
    }
    Ok(())
}

fn build(net: &mut Net, options: &BuildOptions, config: &Config) -> Result<Vec<StageMap>, ArchError> {
    check_resolution(options)?;
    let image = options.image(net);
    let x = stem(&mut net.at("patch_embed"), image, config.widths[0], UnaryKind::Gelu);
    let enter = |net: &mut Net, x: Value, i: usize| match i {
        0 => x,
        3 => attention_downsample(&mut net.at("network.5"), options, x, config.widths[i]),
        _ => downsample(&mut net.at(format!("network.{}", 2 * i - 1)), x, config.widths[i]),
    };
    let block = |net: &mut Net, x: Value, i: usize, j: usize| {
        let ratios = config.ratios[i];
        let attends = i >= 2 && j + config.attention >= ratios.len();
        block(&mut net.at(format!("network.{}.{j}", 2 * i)), options, x, ratios[j], attends.then_some(i == 2))
    };
    Ok(stages(net, x, config.ratios.map(<[usize]>::len), enter, block))
}

/// One block: attention in the last blocks of stages 3 and 4, at half resolution if `attention` says so, then the MLP, each scaled per channel.
fn block(net: &mut Net, options: &BuildOptions, x: Value, ratio: usize, attention: Option<bool>) -> Value {
    let mut x = x;
    if let Some(strided) = attention {
        let y = self::attention(&mut net.at("token_mixer"), options, x, strided);
        x = residual(net, x, y, "layer_scale_1");
    }
    let y = mlp(&mut net.at("mlp"), x, ratio);
    residual(net, x, y, "layer_scale_2")
}

/// x + γ·y.
fn residual(net: &mut Net, x: Value, y: Value, scale: &str) -> Value {
    let y = layer_scale(net, y, scale, &format!("{scale}.mul"));
    net.binary(format!("{scale}.add"), BinaryKind::Add, x, y)
}

/// 1x1, depthwise 3x3, 1x1.
fn mlp(net: &mut Net, x: Value, ratio: usize) -> Value {
    let c = net.dim(x, 1);
    let hidden = c * ratio;
    let x = conv_bn(net, x, ["fc1", "norm1"], ConvSpec::new(hidden, 1));
    let x = net.unary("act1", UnaryKind::Gelu, x);
    let x = conv_bn(net, x, ["mid", "mid_norm"], ConvSpec::new(hidden, 3).depthwise());
    let x = net.unary("act2", UnaryKind::Gelu, x);
    conv_bn(net, x, ["fc2", "norm2"], ConvSpec::new(c, 1))
}

/// Attention with talking heads and a local path over the values; in stage 3 at half resolution.
fn attention(net: &mut Net, options: &BuildOptions, x: Value, strided: bool) -> Value {
    let (c, map) = (net.dim(x, 1), [net.dim(x, 2), net.dim(x, 3)]);
    let x = if strided {
        conv_bn(net, x, ["stride_conv.0", "stride_conv.1"], ConvSpec::new(c, 3).depthwise().stride(2))
    } else {
        x
    };
    let grid = [net.dim(x, 2), net.dim(x, 3)];
    let q = conv_bn(net, x, ["q.0", "q.1"], ConvSpec::new(HEADS * KEY, 1));
    let k = conv_bn(net, x, ["k.0", "k.1"], ConvSpec::new(HEADS * KEY, 1));
    let v = conv_bn(net, x, ["v.0", "v.1"], ConvSpec::new(HEADS * VALUE, 1));
    let local = conv_bn(net, v, ["v_local.0", "v_local.1"], ConvSpec::new(HEADS * VALUE, 3).depthwise());

    let mut inputs = vec![q, k, v, position_bias(net, options, grid, grid)];
    for mix in ["talking_head1", "talking_head2"] {
        let w = net.at(mix).weight("weight", &[HEADS, HEADS, 1, 1]);
        inputs.push(net.reshaped(format!("{mix}.matrix"), w, &[HEADS, HEADS]));
        inputs.push(net.at(mix).weight("bias", &[HEADS]));
    }
    let scale = Real((KEY as f64).powf(-0.5));
    let op = Op::Attention { heads: HEADS, scale, layout: AttentionLayout::Channels, bias: true, talking: true };
    let x = net.push("attention", op, &inputs);
    let mut x = net.add(x, local);
    if strided {
        x = net.resize("upsample", x, Sampling::LINEAR, map);
    }
    let x = net.unary("proj.0", UnaryKind::Gelu, x);
    conv_bn(net, x, ["proj.1", "proj.2"], ConvSpec::new(c, 1))
}

/// Stage 3 to 4: a strided convolution plus an attention whose queries lie at every second position.
fn attention_downsample(net: &mut Net, options: &BuildOptions, x: Value, width: usize) -> Value {
    let main = conv_bn(net, x, ["conv", "bn"], ConvSpec::new(width, 3).stride(2));
    let y = strided_attention(&mut net.at("attn"), options, x, width);
    net.add(main, y)
}

fn strided_attention(net: &mut Net, options: &BuildOptions, x: Value, width: usize) -> Value {
    let (c, keys) = (net.dim(x, 1), [net.dim(x, 2), net.dim(x, 3)]);
    let local = net.at("q.local.0").conv(x, ConvSpec::new(c, 3).depthwise().stride(2));
    let pooled = net.push("q.pool", Op::AvgPool { kernel: [1; 2], stride: [2; 2], pad: [0; 4] }, &[x]);
    let q = net.at("q").add(local, pooled);
    let queries = [net.dim(q, 2), net.dim(q, 3)];
    let q = conv_bn(net, q, ["q.proj.0", "q.proj.1"], ConvSpec::new(HEADS * DOWN_KEY, 1));
    let k = conv_bn(net, x, ["k.0", "k.1"], ConvSpec::new(HEADS * DOWN_KEY, 1));
    let v = conv_bn(net, x, ["v.0", "v.1"], ConvSpec::new(HEADS * DOWN_VALUE, 1));
    let local = ConvSpec::new(HEADS * DOWN_VALUE, 3).depthwise().stride(2);
    let local = conv_bn(net, v, ["v_local.0", "v_local.1"], local);

    let bias = position_bias(net, options, queries, keys);
    let scale = (DOWN_KEY as f64).powf(-0.5);
    let x = net.attention("attention", [q, k, v], Some(bias), HEADS, scale, AttentionLayout::Channels);
    let x = net.add(x, local);
    let x = net.unary("proj.0", UnaryKind::Gelu, x);
    conv_bn(net, x, ["proj.1", "proj.2"], ConvSpec::new(width, 1))
}

/// `[heads, Nq, Nk]`: the table's entry for the absolute offset between a query and a key.
fn position_bias(net: &mut Net, options: &BuildOptions, query: [usize; 2], key: [usize; 2]) -> Value {
    if let Some(shape) = options.stored(&net.path(DENSE_BIASES)) {
        let side = shape.last().map_or(0, |n| n.isqrt());
        return resized_bias(net, side, [query, key]);
    }
    let table = net.weight("attention_biases", &[HEADS, key[0] * key[1]]);
    table_bias(net, table, 1, [query, key], OffsetOrder::Absolute, ["bias_index", "bias"])
}

/// The same of a table for a square map of keys of this side: the matrix of all its pairs is resized as if it were a picture, bicubically, whatever its
/// rows and columns mean then.
fn resized_bias(net: &mut Net, side: usize, [query, key]: [[usize; 2]; 2]) -> Value {
    let strided = query[0] < key[0];
    let [built_query, built_key] = [[if strided { side.div_ceil(2) } else { side }; 2], [side; 2]];
    let table = net.weight(DENSE_BIASES, &[HEADS, side * side]);
    let bias = table_bias(net, table, 1, [built_query, built_key], OffsetOrder::Absolute, ["bias_index", "bias"]);
    let count = |grid: [usize; 2]| grid[0] * grid[1];
    let resample = |net: &mut Net, name: &str, built: usize, wanted: usize| {
        let generator = Generator::Resample { sampling: Sampling::CUBIC, scale: None };
        (built != wanted).then(|| net.generate(name, generator, Type::f32(&[wanted, built])))
    };
    let mut bias = bias;
    if let Some(rows) = resample(net, "resampled_rows", count(built_query), count(query)) {
        bias = net.matmul("resized_rows", rows, bias);
    }
    if let Some(columns) = resample(net, "resampled_columns", count(built_key), count(key)) {
        let product = Op::MatMul { transpose_a: false, transpose_b: true };
        bias = net.push("resized", product, &[bias, columns]);
    }
    bias
}
