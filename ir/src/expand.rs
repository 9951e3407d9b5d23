//! Defining expansions: what each high-level operator means, in primitive operators.
//!
//! Written from the formulas beside [`Op`], for clarity and not for speed; windows use views of rank 6. Only the check uses them, as the
//! reference that is independent of every lowering.

mod grid;

pub use grid::grid_sample;

use crate::attention::bias_turns;
use crate::build::Builder;
use crate::copier::Copier;
use crate::graph::Graph;
use crate::id::Value;
use crate::net::Net;
use crate::op::{AttentionLayout, BinaryKind, Generator, Op, Part, SpectralNorm};
use crate::ty::{Dim, Shape, Type};

/// Why copying cannot fail here.
const IN_ORDER: &str = "nodes are visited in order, and each stands for a value of its own type";

/// The same function without `Attention`, `Rfft2`, `Irfft2`, `Dct2`, `Idct2`, `WindowPartition`, `WindowMerge` and `Keep`, and
/// without `GridSample` where the number of maps is known. What is computed from stored codes is a constant then.
/// Every other node is copied. An expansion's result keeps the path of its node; inner nodes stand below it.
pub fn expand(graph: &Graph) -> Graph {
    let mut copier = Copier::new(graph, graph.stage);
    for (id, node) in graph.nodes() {
        let x = copier.inputs(id).expect(IN_ORDER);
        let net = &mut Net::within(&mut copier.new, &node.path);
        let results = match &node.op {
            Op::Attention { heads, scale, layout, bias, talking } => {
                vec![attention(net, &x, *heads, scale.0, *layout, *bias, *talking, node.types[0].shape.clone())]
            }
            Op::Rfft2 { norm } => rfft2(net, x[0], *norm).to_vec(),
            Op::Irfft2 { norm, width } => vec![irfft2(net, [x[0], x[1]], *norm, *width)],
            Op::Dct2 => vec![dct2(net, x[0], false)],
            Op::Idct2 => vec![dct2(net, x[0], true)],
            Op::WindowPartition { window } => vec![window_partition(net, x[0], *window)],
            Op::WindowMerge { window, map } => vec![window_merge(net, x[0], *window, *map)],
            Op::Keep => x,
            &Op::GridSample { kernel, outside, corners } if graph.shape(node.inputs[0]).0[0].fixed().is_some() => {
                let net = &mut Builder::within(&mut copier.new, &node.path);
                vec![grid_sample(net, [x[0], x[1]], kernel, outside, corners).expect(IN_ORDER)]
            }
            Op::Input
            | Op::Weight { .. }
            | Op::Literal { .. }
            | Op::Generate(_)
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Sum
            | Op::Clip { .. }
            | Op::Prelu
            | Op::Cast { .. }
            | Op::Conv { .. }
            | Op::ConvTranspose { .. }
            | Op::MatMul { .. }
            | Op::Linear
            | Op::BatchNorm { .. }
            | Op::LayerNorm { .. }
            | Op::Softmax { .. }
            | Op::Reduce { .. }
            | Op::AvgPool { .. }
            | Op::MaxPool { .. }
            | Op::ArgMax { .. }
            | Op::TopK { .. }
            | Op::Select
            | Op::DepthToSpace { .. }
            | Op::SpaceToDepth { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Concat { .. }
            | Op::Split { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Gather { .. }
            | Op::GridSample { .. }
            | Op::Expand { .. }
            | Op::Quantize { .. }
            | Op::Dequantize
            | Op::Lookup { .. }
            | Op::Resize { .. } => {
                copier.node(id).expect(IN_ORDER);
                continue;
            }
        };
        for (index, new) in results.into_iter().enumerate() {
            copier.set(Value { node: id, index: index as u32 }, new);
        }
    }
    copier.finish().expect(IN_ORDER)
}

/// `O = softmax(scale·q kᵀ + bias) v` per head, on operands brought to `[B,H,N,d]`.
fn attention(
    net: &mut Net,
    inputs: &[Value],
    heads: usize,
    scale: f64,
    layout: AttentionLayout,
    bias: bool,
    talking: bool,
    result: Shape,
) -> Value {
    let q = by_head(net, "q_heads", inputs[0], heads, layout);
    let k = by_head(net, "k_heads", inputs[1], heads, layout);
    let v = by_head(net, "v_heads", inputs[2], heads, layout);
    let k = net.transpose("k_columns", k, &[0, 1, 3, 2]);
    let scores = net.matmul("products", q, k);
    let factor = net.scalar_of(scale, net.ty(scores).dtype);
    let mut scores = net.binary("scores", BinaryKind::Mul, scores, factor);
    if bias {
        scores = biased(&mut net.at("biased"), scores, inputs[3]);
    }
    let mix = &inputs[3 + usize::from(bias)..];
    if talking {
        scores = mix_heads(&mut net.at("mixed_scores"), scores, mix[0], mix[1]);
    }
    let mut weights = net.push("probabilities", Op::Softmax { axis: 3 }, &[scores]);
    if talking {
        weights = mix_heads(&mut net.at("mixed_probabilities"), weights, mix[2], mix[3]);
    }
    let context = net.matmul("context", weights, v);
    let perm = match layout {
        AttentionLayout::Channels => [0, 1, 3, 2],
        AttentionLayout::Tokens => [0, 2, 1, 3],
        AttentionLayout::Heads => return net.reshape("", context, result),
    };
    let context = net.transpose("context_rows", context, &perm);
    net.reshape("", context, result)
}

/// Scores `[B,H,Nq,Nk]` and a bias; one for each of several sets is added to so many sets at once.
fn biased(net: &mut Net, scores: Value, bias: Value) -> Value {
    let (shape, own) = (net.ty(scores).shape.clone(), net.ty(bias).shape.clone());
    let Some(turns) = bias_turns(&own, shape.0[0]) else { return net.add(scores, bias) };
    let scores = net.reshape("turns", scores, Shape([&[turns, own.0[0]], &shape.0[1..]].concat()));
    let scores = net.add(scores, bias);
    net.reshape("sets", scores, shape)
}

/// `[B,C,…]` or `[B,N,C]` to `[B,H,N,d]`, channels head-major.
fn by_head(net: &mut Net, name: &str, x: Value, heads: usize, layout: AttentionLayout) -> Value {
    let shape = net.ty(x).shape.clone();
    let batch = shape.0[0];
    match layout {
        AttentionLayout::Heads => x,
        AttentionLayout::Channels => {
            let (channels, tokens) = (shape.dim(1), Shape(shape.0[2..].to_vec()).elements());
            let x = net.reshape(format!("{name}_split"), x, Shape::batched(batch, &[heads, channels / heads, tokens]));
            net.transpose(name, x, &[0, 1, 3, 2])
        }
        AttentionLayout::Tokens => {
            let (tokens, channels) = (shape.dim(1), shape.dim(2));
            let x = net.reshape(format!("{name}_split"), x, Shape::batched(batch, &[tokens, heads, channels / heads]));
            net.transpose(name, x, &[0, 2, 1, 3])
        }
    }
}

/// `A_h ← Σ_g w[h,g]·A_g + b[h]` on `[B,H,Nq,Nk]`.
fn mix_heads(net: &mut Net, a: Value, w: Value, b: Value) -> Value {
    let shape = net.ty(a).shape.clone();
    let (heads, pairs) = (shape.dim(1), shape.dim(2) * shape.dim(3));
    let flat = net.reshape("flat", a, Shape::batched(shape.0[0], &[heads, pairs]));
    let mixed = net.matmul("products", w, flat);
    let b = net.reshaped("bias", b, &[heads, 1]);
    let mixed = net.add(mixed, b);
    net.reshape("", mixed, shape)
}

/// The DFT basis `[n,m]` over √n as a constant of the graph.
fn dft(net: &mut Net, part: Part, n: usize, m: usize, like: Value) -> Value {
    let word = match part {
        Part::Cos => "cos",
        Part::Sin => "sin",
    };
    let ty = Type::new(net.ty(like).dtype, Shape::fixed(&[n, m]));
    net.generate(format!("{word}_{n}x{m}"), Generator::DftBasis { n, part }, ty)
}

/// `x·factor`, named `name`. A factor of 1 stands too: it keeps the name of the result.
fn scaled(net: &mut Net, name: &str, x: Value, factor: f64) -> Value {
    let factor = net.scalar_of(factor, net.ty(x).dtype);
    net.binary(name, BinaryKind::Mul, x, factor)
}

/// With C, S the cosine and sine bases: `Z = (C_H − i·S_H)·(x·C_W − i·x·S_W)`. The bases are orthonormal, so without normalisation the
/// result is √(HW) times that.
fn rfft2(net: &mut Net, x: Value, norm: SpectralNorm) -> [Value; 2] {
    let rank = net.ty(x).shape.rank();
    let (h, w) = (net.dim(x, rank - 2), net.dim(x, rank - 1));
    let (cw, sw) = (dft(net, Part::Cos, w, w / 2 + 1, x), dft(net, Part::Sin, w, w / 2 + 1, x));
    let (ch, sh) = (dft(net, Part::Cos, h, h, x), dft(net, Part::Sin, h, h, x));
    let (c, s) = (net.matmul("rows_cos", x, cw), net.matmul("rows_sin", x, sw));
    let (cc, ss) = (net.matmul("cos_cos", ch, c), net.matmul("sin_sin", sh, s));
    let (cs, sc) = (net.matmul("cos_sin", ch, s), net.matmul("sin_cos", sh, c));
    let re = net.at("real").sub(cc, ss);
    let im = net.at("imag").add(cs, sc);
    let factor = match norm {
        SpectralNorm::Ortho => 1.0,
        SpectralNorm::Backward => ((h * w) as f64).sqrt(),
    };
    [scaled(net, "", re, factor), scaled(net, "imag", im, -factor)]
}

/// `r + i·j = (C_H + i·S_H)·(Z_re + i·Z_im)`, then `y = (r∘c)·C_Wᵀ − (j∘c)·S_Wᵀ` with c the weights of the half spectrum's columns.
fn irfft2(net: &mut Net, [re, im]: [Value; 2], norm: SpectralNorm, width: usize) -> Value {
    let rank = net.ty(re).shape.rank();
    let (h, w, columns) = (net.dim(re, rank - 2), width, width / 2 + 1);
    let (ch, sh) = (dft(net, Part::Cos, h, h, re), dft(net, Part::Sin, h, h, re));
    let (cr, si) = (net.matmul("cos_real", ch, re), net.matmul("sin_imag", sh, im));
    let (ci, sr) = (net.matmul("cos_imag", ch, im), net.matmul("sin_real", sh, re));
    let r = net.at("real").sub(cr, si);
    let j = net.at("imag").add(ci, sr);
    // Columns 0 and, for an even width, W/2 stand for themselves; every other one also for its mirror image.
    let single = if w % 2 == 0 && w > 1 { 2 } else { 1 };
    let dtype = net.ty(re).dtype;
    let mut fill = |name: &str, value: f64, n: usize| {
        let ty = Type::new(dtype, Shape::fixed(&[n]));
        (n > 0).then(|| net.generate(name, Generator::Fill { value: value.into() }, ty))
    };
    let parts = [fill("one", 1.0, 1), fill("two", 2.0, columns - single), fill("one", 1.0, single - 1)];
    let c = net.concat("mirrored", &parts.into_iter().flatten().collect::<Vec<_>>(), 0);
    let (r, j) = (net.at("real").mul(r, c), net.at("imag").mul(j, c));
    let (cw, sw) = (dft(net, Part::Cos, w, columns, re), dft(net, Part::Sin, w, columns, re));
    let (cw, sw) = (net.transpose("cos_rows", cw, &[1, 0]), net.transpose("sin_rows", sw, &[1, 0]));
    let (r, j) = (net.matmul("real_columns", r, cw), net.matmul("imag_columns", j, sw));
    let y = net.at("ortho").sub(r, j);
    let factor = match norm {
        SpectralNorm::Ortho => 1.0,
        SpectralNorm::Backward => ((h * w) as f64).sqrt().recip(),
    };
    scaled(net, "", y, factor)
}

/// `D_H·x·D_Wᵀ`, or for the inverse `D_Hᵀ·x·D_W`.
fn dct2(net: &mut Net, x: Value, inverse: bool) -> Value {
    let shape = &net.ty(x).shape;
    let (h, w) = (shape.dim(shape.rank() - 2), shape.dim(shape.rank() - 1));
    let dtype = net.ty(x).dtype;
    let mut basis = |n: usize, transposed: bool| {
        let ty = Type::new(dtype, Shape::fixed(&[n, n]));
        let d = net.generate(format!("basis_{n}"), Generator::DctBasis { n }, ty);
        if transposed { net.transpose(format!("basis_{n}_rows"), d, &[1, 0]) } else { d }
    };
    let (left, right) = (basis(h, inverse), basis(w, !inverse));
    let rows = net.matmul("rows", x, right);
    net.matmul("", left, rows)
}

/// `[B,C,H,W]` seen as `[B,C,H/h,h,W/w,w]`, axes to `[B,H/h,W/w,h,w,C]`, flattened to windows, tokens and channels.
fn window_partition(net: &mut Net, x: Value, [h, w]: [usize; 2]) -> Value {
    let (batch, channels) = (net.batch(x), net.dim(x, 1));
    let (rows, columns) = (net.dim(x, 2) / h, net.dim(x, 3) / w);
    let x = net.reshape("split", x, Shape::batched(batch, &[channels, rows, h, columns, w]));
    let x = net.transpose("windows", x, &[0, 2, 4, 3, 5, 1]);
    net.reshape("", x, Shape::batched(batch.times(rows * columns), &[h * w, channels]))
}

/// The way back: `[B,H/h,W/w,h,w,C]` to `[B,C,H/h,h,W/w,w]`.
fn window_merge(net: &mut Net, x: Value, [h, w]: [usize; 2], [height, width]: [usize; 2]) -> Value {
    let (rows, columns, channels) = (height / h, width / w, net.dim(x, 2));
    let batch: Dim = net.batch(x).divided(rows * columns).expect("the shape rule saw whole images");
    let x = net.reshape("split", x, Shape::batched(batch, &[rows, columns, h, w, channels]));
    let x = net.transpose("map", x, &[0, 5, 1, 3, 2, 4]);
    net.reshape("", x, Shape::batched(batch, &[channels, height, width]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Options, assert_same_function, random_graph};
    use crate::{parse, validate};

    /// Bases are constants and therefore rounded to f32.
    const TOLERANCE: f64 = 1e-5;

    fn has_expansion(graph: &Graph) -> bool {
        let words =
            ["attention", "rfft2", "irfft2", "dct2", "idct2", "window_partition", "window_merge", "grid_sample"];
        graph.nodes().any(|(_, n)| words.contains(&n.op.word()))
    }

    fn check(graph: &Graph, seed: u64) {
        let expanded = expand(graph);
        assert!(!has_expansion(&expanded), "{expanded}");
        assert_eq!(validate(&expanded, None), Ok(()), "{expanded}");
        assert_same_function(graph, &expanded, seed, TOLERANCE);
        assert_eq!(expand(&expanded).to_string(), expanded.to_string());
    }

    #[test]
    fn random_graphs_keep_their_function() {
        for seed in 0..200 {
            let batch = if seed % 2 == 0 { Dim::Batch(1) } else { Dim::Fixed(1) };
            check(&random_graph(seed, Options { batch, blocks: 3 }), seed);
        }
    }

    #[test]
    fn attention_of_unequal_sides() {
        for talking in [false, true] {
            for (tokens, heads) in [("1", 1), ("3", 3)] {
                let mixes = "weight\"w1\":f32[3,3], weight\"b1\":f32[3], weight\"w2\":f32[3,3], weight\"b2\":f32[3]";
                let (mixes, flag) = if talking { (format!(", {mixes}"), ", talking") } else { (String::new(), "") };
                let bias = format!("weight\"bias\":f32[{heads},4,{tokens}]");
                let text = format!(
                    "graph g  stage=paper\n%q: f32[2B,6,2,2] = input\n%k: f32[2B,6,1,{tokens}] = input\n\
                    %v: f32[2B,9,{tokens},1] = input\n%qt: f32[2B,4,6] = input\n%kt: f32[2B,{tokens},6] = input\n\
                    %vt: f32[2B,{tokens},9] = input\n\
                    %map: f32[2B,9,2,2] = attention(%q, %k, %v, {bias}{mixes}){{heads=3, scale=0.7, layout=channels, bias{flag}}}\n\
                    %row: f32[2B,4,9] = attention(%qt, %kt, %vt{mixes}){{heads=3, scale=-1.5, layout=tokens{flag}}}\n\
                    outputs map=%map, row=%row"
                );
                check(&parse(&text).unwrap_or_else(|e| panic!("{e}")), 7);
            }
        }
    }

    /// Every parity of both sides, and spectra that belong to no real map.
    #[test]
    fn transforms_of_all_sizes() {
        for h in 1..6 {
            for w in 1..8 {
                for norm in ["ortho", "backward"] {
                    let k = w / 2 + 1;
                    let text = format!(
                        "graph g  stage=paper\n%x: f32[B,2,{h},{w}] = input\n%a: f32[B,2,{h},{k}] = input\n\
                        %b: f32[B,2,{h},{k}] = input\n\
                        %z, %z:1: f32[B,2,{h},{k}], f32[B,2,{h},{k}] = rfft2(%x){{norm={norm}}}\n\
                        %y: f32[B,2,{h},{w}] = irfft2(%a, %b){{norm={norm}, width={w}}}\n\
                        %d: f32[B,2,{h},{w}] = dct2(%x)\n%i: f32[B,2,{h},{w}] = idct2(%x)\n\
                        outputs re=%z, im=%z:1, y=%y, d=%d, i=%i"
                    );
                    check(&parse(&text).unwrap_or_else(|e| panic!("{e}")), h * 8 + w);
                }
            }
        }
    }

    /// Places inside, at the corners and far outside, of every kernel and every border.
    #[test]
    fn grids_that_read_outside() {
        for kernel in ["nearest", "linear", "cubic"] {
            for outside in ["zeros", "border", "mirror"] {
                for corners in ["", ", corners"] {
                    for size in ["4,5", "1,3", "2,1"] {
                        let text = format!(
                            "graph g  stage=paper\n%x: f32[2,3,{size}] = input\n%g: f32[2,4,3,2] = input\n\
                            %far: f32[2,4,3,2] = mul(%g, literal[2.7]:f32[])\n\
                            %y: f32[2,3,4,3] = grid_sample(%x, %far){{kernel={kernel}, outside={outside}{corners}}}\noutputs y=%y"
                        );
                        check(&parse(&text).unwrap_or_else(|e| panic!("{e}")), 11);
                    }
                }
            }
        }
    }

    #[test]
    fn windows_that_are_not_square() {
        let text = "graph g  stage=paper\n%x: f32[B,3,4,6] = input\n%t: f32[8B,3,5] = input\n\
            %p: f32[6B,4,3] = window_partition(%x){window=2}\n%q: f32[4B,6,3] = window_partition(%x){window=[2,3]}\n\
            %m: f32[B,5,4,6] = window_merge(%t){window=[1,3], map=[4,6]}\noutputs p=%p, q=%q, m=%m";
        check(&parse(text).unwrap_or_else(|e| panic!("{e}")), 3);
    }
}
