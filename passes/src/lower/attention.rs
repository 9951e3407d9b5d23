//! Spell attention with products, softmax and as little movement as the target needs.
//!
//! ```text
//! Given    attention(q, k, v, bias?, talking heads?)
//! Result   compact, channels first   O = v·softmax(qᵀ·k + bias)ᵀ          on [B,H,d,N], a view of the map
//!          fused, tokens             O = softmax(q·kᵀ + bias)·v            on [B,H,N,d], which TensorRT fuses
//!          per head                  O_h = softmax(q_h·k_hᵀ + bias_h)·v_h  on [B,N,d], one after the other, joined
//!          operator                  O = attention(q, k, v, bias)          on [B,H,N,d], where the target has one
//! ```
//!
//! Exact    The heads' mix before softmax is linear, so it is applied to the scores and, as arithmetic on constants, to
//!          the bias; its own bias is the same for all keys of a query, and softmax does not see what is constant along
//!          a row. The mix behind softmax is a 1x1 convolution over heads.

use crate::algebra::each;
use crate::note::Note;
use crate::pass::{Context, Pass, Result, Rewritten};
use vitc_ir::op::AttentionLayout;
use vitc_ir::target::AttentionForm;
use vitc_ir::{
    BinaryKind, Builder, Built, Copier, Dim, Graph, Node, Op, PadMode, Real, Shape, Target, Value, bias_turns,
};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("lower_attention", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let target = &context.target;
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    let mut kept = Vec::new();
    for (id, node) in graph.nodes() {
        let &Op::Attention { heads, scale, layout, bias, talking } = &node.op else {
            copy.node(id)?;
            continue;
        };
        if target.attention == AttentionForm::Operator && is_targets_own(graph, node) {
            copy.node(id)?;
            continue;
        }
        let inputs = copy.inputs(id)?;
        let result = graph.shape(id.into()).clone();
        let mut net = Builder::within(&mut copy.new, &node.path);
        let call = Call {
            heads,
            scale,
            bias: bias.then(|| inputs[3]),
            talking: talking.then(|| {
                let at = inputs.len() - 4;
                [inputs[at], inputs[at + 2], inputs[at + 3]]
            }),
        };
        let qkv = [inputs[0], inputs[1], inputs[2]];
        let form = match target.attention {
            AttentionForm::PerHead | AttentionForm::Operator if talking => {
                kept.push(node.path.clone());
                AttentionForm::Compact
            }
            form => form,
        };
        let y = match form {
            AttentionForm::Compact => call.compact(&mut net, qkv, layout, target)?,
            AttentionForm::Fused => call.fused(&mut net, qkv, layout, target)?,
            AttentionForm::PerHead => call.by_head(&mut net, qkv, layout, target)?,
            AttentionForm::Operator => call.as_operator(&mut net, qkv, layout, target)?,
        };
        let y = net.reshape("out", y, result)?;
        copy.set(id.into(), y);
        count += 1;
    }
    let notes = if kept.is_empty() { Vec::new() } else { vec![Note::KeptAsProducts { nodes: kept }] };
    Ok(Rewritten { graph: copy.finish()?, count, notes })
}

/// Whether an attention is the target's operator already: another lowering wrote it so.
fn is_targets_own(graph: &Graph, node: &Node) -> bool {
    let Op::Attention { scale, layout: AttentionLayout::Heads, talking: false, .. } = node.op else { return false };
    let (sets, width) = (graph.shape(node.inputs[0]).0[0], graph.shape(node.inputs[0]).0[3].fixed());
    let bias = node.inputs.get(3).map(|&b| graph.shape(b));
    bias.is_none_or(|b| bias_turns(b, sets).is_none()) && width.is_some_and(|d| scale == fixed_scale(d))
}

/// Scores `[B,H,Nq,Nk]` with a bias.
fn biased(net: &mut Builder, scores: Value, bias: Value) -> Built {
    let (shape, own) = (net.ty(scores).shape.clone(), net.ty(bias).shape.clone());
    let Some(turns) = bias_turns(&own, shape.0[0]) else {
        return net.binary("bias.add", BinaryKind::Add, scores, bias);
    };
    let scores = net.reshape("turns", scores, Shape([&[turns, own.0[0]], &shape.0[1..]].concat()))?;
    let scores = net.binary("bias.add", BinaryKind::Add, scores, bias)?;
    net.reshape("sets", scores, shape)
}

/// The factor of the scores in operators that fix it: 1/√d.
fn fixed_scale(d: usize) -> Real {
    Real((d as f64).powf(-0.5))
}

/// An attention's parameters.
pub(crate) struct Call {
    pub(crate) heads: usize,
    pub(crate) scale: Real,
    pub(crate) bias: Option<Value>,
    /// First mix, second mix, second mix' bias.
    pub(crate) talking: Option<[Value; 3]>,
}

/// Attention on tokens `[N,B,C]`: q, k and v, or one value with all three side by side. The result is `[N,B,C]`.
///
/// Cut behind one view of all three, the operands cost fewest nodes, and with a symbolic batch fewest kernels (162
/// against 213 for FasterViT-0). With a fixed batch TensorRT reads views of the three parts in place (141 against 158).
pub(crate) fn sequence_first(call: &Call, net: &mut Builder, operands: &[Value], target: &Target) -> Built {
    let shape = net.ty(operands[0]).shape.clone();
    let batch = shape.0[1];
    let fixed = batch.fixed().is_some();
    let heads = |net: &mut Builder, name: &str, x: Value, heads: usize, perm: [usize; 4]| -> Built {
        let view = Shape(vec![net.ty(x).shape.0[0], batch, heads.into(), (net.dim(x, 2)? / heads).into()]);
        let x = net.reshape(name, x, view)?;
        net.transpose(format!("{name}.heads"), x, &perm)
    };
    if target.attention == AttentionForm::PerHead {
        let images = net.transpose("images", operands[0], &[1, 0, 2])?;
        let mut images = vec![images];
        for (name, &x) in ["k.images", "v.images"].iter().zip(&operands[1..]) {
            images.push(net.transpose(name, x, &[1, 0, 2])?);
        }
        let mut parts = Vec::new();
        for (i, &x) in images.iter().enumerate() {
            let count = call.heads * if operands.len() == 1 { 3 } else { 1 };
            let d = net.dim(x, 2)? / count;
            parts.extend(net.split(format!("heads{i}"), x, 2, &vec![d; count])?);
        }
        let views: Vec<Vec<Value>> = parts.chunks(call.heads).map(<[Value]>::to_vec).collect();
        let y = call.per_head(net, &views, false, target)?;
        return net.transpose("out", y, &[1, 0, 2]);
    }
    let flags = target.matmul_transpose || target.attention == AttentionForm::Operator;
    let (rows, columns) = ([1, 2, 0, 3], if flags { [1, 2, 0, 3] } else { [1, 2, 3, 0] });
    let [q, k, v] = match *operands {
        [qkv] if target.attention != AttentionForm::Fused || !fixed => {
            let all = heads(net, "qkv", qkv, 3 * call.heads, rows)?;
            let parts = net.split("parts", all, 1, &[call.heads; 3])?;
            let k = if flags { parts[1] } else { net.transpose("k", parts[1], &[0, 1, 3, 2])? };
            [parts[0], k, parts[2]]
        }
        _ => {
            let parts = match *operands {
                [qkv] => net.split("parts", qkv, 2, &[net.dim(qkv, 2)? / 3; 3])?,
                _ => operands.to_vec(),
            };
            let q = heads(net, "q", parts[0], call.heads, rows)?;
            let k = heads(net, "k", parts[1], call.heads, columns)?;
            [q, k, heads(net, "v", parts[2], call.heads, rows)?]
        }
    };
    let y = if target.attention == AttentionForm::Operator {
        call.operator(net, [q, k, v], target)?
    } else {
        let scores = net.push("scores", Op::MatMul { transpose_a: false, transpose_b: flags }, &[q, k])?;
        let weights = call.weights(net, scores)?;
        net.matmul("values", weights, v)?
    };
    let y = net.transpose("merge", y, &[2, 0, 1, 3])?;
    let (tokens, channels) = (net.batch(y)?, call.heads * net.dim(y, 3)?);
    net.reshape("out", y, Shape(vec![tokens, batch, channels.into()]))
}

impl Call {
    /// `[B,C,…]` seen as `[B,H,d,N]`.
    fn channel_major(&self, net: &mut Builder, name: &str, x: Value) -> Built {
        let (shape, d) = (net.ty(x).shape.clone(), net.dim(x, 1)? / self.heads);
        let tokens: usize = shape.0[2..].iter().map(|d| d.at(1)).product();
        net.reshape(name, x, Shape(vec![shape.0[0], Dim::Fixed(self.heads), Dim::Fixed(d), Dim::Fixed(tokens)]))
    }

    /// Fewest nodes: products on channel-major maps, or token-major where the channels lie last.
    fn compact(&self, net: &mut Builder, qkv: [Value; 3], layout: AttentionLayout, target: &Target) -> Built {
        match layout {
            AttentionLayout::Channels => self.channels_compact(net, qkv, target),
            AttentionLayout::Tokens => self.tokens(net, qkv, target),
            AttentionLayout::Heads => self.products(net, qkv, target),
        }
    }

    /// In the spelling that fuses.
    fn fused(&self, net: &mut Builder, qkv: [Value; 3], layout: AttentionLayout, target: &Target) -> Built {
        match layout {
            AttentionLayout::Channels => self.channels_fused(net, qkv, target),
            AttentionLayout::Tokens => self.tokens(net, qkv, target),
            AttentionLayout::Heads => self.products(net, qkv, target),
        }
    }

    /// One operator.
    fn as_operator(&self, net: &mut Builder, qkv: [Value; 3], layout: AttentionLayout, target: &Target) -> Built {
        match layout {
            AttentionLayout::Channels => self.channels_fused(net, qkv, target),
            AttentionLayout::Tokens => self.tokens(net, qkv, target),
            AttentionLayout::Heads => self.operator(net, qkv, target),
        }
    }

    /// Every head by itself.
    fn by_head(&self, net: &mut Builder, qkv: [Value; 3], layout: AttentionLayout, target: &Target) -> Built {
        let mut heads = Vec::new();
        for (name, x) in ["q", "k", "v"].into_iter().zip(qkv) {
            heads.push(self.separate(net, name, x, layout)?);
        }
        let y = self.per_head(net, &heads, layout == AttentionLayout::Channels, target)?;
        if layout != AttentionLayout::Heads {
            return Ok(y);
        }
        let (batch, tokens, width) = (net.batch(y)?, net.dim(y, 1)?, net.dim(y, 2)? / self.heads);
        let y = net.reshape("by_head", y, Shape::batched(batch, &[tokens, self.heads, width]))?;
        net.transpose("heads_first", y, &[0, 2, 1, 3])
    }

    /// The heads of an operand one by one: `[B,d,N]` if channels lie first, else `[B,N,d]`.
    fn separate(&self, net: &mut Builder, name: &str, x: Value, layout: AttentionLayout) -> Built<Vec<Value>> {
        let (shape, heads) = (net.ty(x).shape.clone(), self.heads);
        match layout {
            AttentionLayout::Channels => {
                let tokens = shape.0[2..].iter().map(|d| d.at(1)).product();
                let channels = net.dim(x, 1)?;
                let flat = net.reshape(format!("{name}.flat"), x, Shape::batched(shape.0[0], &[channels, tokens]))?;
                net.split(format!("{name}.heads"), flat, 1, &vec![channels / heads; heads])
            }
            AttentionLayout::Tokens => {
                let width = net.dim(x, 2)? / heads;
                net.split(format!("{name}.heads"), x, 2, &vec![width; heads])
            }
            AttentionLayout::Heads => {
                let one = Shape(vec![shape.0[0], shape.0[2], shape.0[3]]);
                let parts = net.split(format!("{name}.heads"), x, 1, &vec![1; heads])?;
                parts.into_iter().map(|part| net.reshape(format!("{name}.head"), part, one.clone())).collect()
            }
        }
    }

    fn channels_compact(&self, net: &mut Builder, [q, k, v]: [Value; 3], target: &Target) -> Built {
        let [q, k, v] = each([("q", q), ("k", k), ("v", v)], |(name, x)| self.channel_major(net, name, x))?;
        let scores = product(net, "scores", [q, k], [true, false], target)?;
        let weights = self.weights(net, scores)?;
        product(net, "values", [v, weights], [false, true], target)
    }

    /// Operands on `[B,H,N,d]`, gathered by one kernel and padded there to one width.
    fn channels_fused(&self, net: &mut Builder, [q, k, v]: [Value; 3], target: &Target) -> Built {
        let [q, k, v] = each([("q", q), ("k", k), ("v", v)], |(name, x)| {
            let x = self.channel_major(net, name, x)?;
            net.transpose(format!("{name}.tokens"), x, &[0, 1, 3, 2])
        })?;
        let width = net.dim(v, 3)?;
        // Kept talking heads do not fuse, so they gain nothing by the gather.
        let operands = if target.attention == AttentionForm::Operator {
            self.operator(net, [q, k, v], target)?
        } else if self.talking.is_some() {
            self.products(net, [q, k, v], target)?
        } else {
            let operands = one_gather(net, [q, k, v], target)?;
            self.products(net, operands, target)?
        };
        let y = if net.dim(operands, 3)? == width { operands } else { net.slice("width", operands, 3, 0..width)? };
        net.transpose("map", y, &[0, 1, 3, 2])
    }

    /// `softmax(q·kᵀ + bias)·v` on operands `[B,H,N,d]`.
    pub(crate) fn products(&self, net: &mut Builder, [q, k, v]: [Value; 3], target: &Target) -> Built {
        let flags = target.matmul_transpose;
        let k = if flags { k } else { net.transpose("k.columns", k, &[0, 1, 3, 2])? };
        let scores = net.push("scores", Op::MatMul { transpose_a: false, transpose_b: flags }, &[q, k])?;
        let weights = self.weights(net, scores)?;
        net.matmul("values", weights, v)
    }

    /// Operands `[B,N,C]`.
    fn tokens(&self, net: &mut Builder, qkv: [Value; 3], target: &Target) -> Built {
        // Sets that have biases of their own take one view of all three also where it fuses: 91 kernels against 97 for a small Swin.
        let own = self.bias.is_some_and(|b| net.ty(b).shape.rank() == 4) && target.attention == AttentionForm::Fused;
        let (count, compact) = (self.heads, target.attention == AttentionForm::Compact || own);
        let heads = |net: &mut Builder, name: &str, x: Value, heads: usize, perm: [usize; 4]| -> Built {
            let shape = net.ty(x).shape.clone();
            let split = Shape(vec![shape.0[0], shape.0[1], heads.into(), (net.dim(x, 2)? / heads).into()]);
            let x = net.reshape(name, x, split)?;
            net.transpose(format!("{name}.heads"), x, &perm)
        };
        if let Some(all) = packed(net.graph(), qkv).filter(|_| compact) {
            let all = heads(net, "qkv", all, 3 * count, [0, 2, 1, 3])?;
            let parts = net.split("parts", all, 1, &[count; 3])?;
            let y = self.products(net, [parts[0], parts[1], parts[2]], target)?;
            return net.transpose("merge", y, &[0, 2, 1, 3]);
        }
        let operator = target.attention == AttentionForm::Operator && self.talking.is_none();
        let heads = |net: &mut Builder, name: &str, x: Value, perm| heads(net, name, x, count, perm);
        let (q, v) = (heads(net, "q", qkv[0], [0, 2, 1, 3])?, heads(net, "v", qkv[2], [0, 2, 1, 3])?);
        let k = heads(net, "k", qkv[1], if operator { [0, 2, 1, 3] } else { [0, 2, 3, 1] })?;
        let y = if operator {
            self.operator(net, [q, k, v], target)?
        } else {
            let scores = net.matmul("scores", q, k)?;
            let weights = self.weights(net, scores)?;
            net.matmul("values", weights, v)?
        };
        net.transpose("merge", y, &[0, 2, 1, 3])
    }

    /// The target's operator on operands `[B,H,N,d]`; it fixes the factor, so queries are scaled to it where no
    /// projection took that. A bias that sets read in turn it does not take.
    fn operator(&self, net: &mut Builder, [q, k, v]: [Value; 3], target: &Target) -> Built {
        let sets = net.ty(q).shape.0[0];
        if self.bias.is_some_and(|b| bias_turns(&net.ty(b).shape, sets).is_some()) {
            return self.products(net, [q, k, v], target);
        }
        let fixed = fixed_scale(net.dim(q, 3)?);
        let mut q = q;
        if self.scale != fixed {
            let factor = net.scalar(self.scale.0 / fixed.0)?;
            q = net.binary("q.scale", BinaryKind::Mul, q, factor)?;
        }
        let layout = AttentionLayout::Heads;
        let op = Op::Attention { heads: self.heads, scale: fixed, layout, bias: self.bias.is_some(), talking: false };
        let inputs: Vec<Value> = [q, k, v].into_iter().chain(self.bias).collect();
        net.push("values", op, &inputs)
    }

    /// The heads of q, k and v one by one, as `[B,d,N]` or `[B,N,d]`; the results are joined on the channels.
    fn per_head(&self, net: &mut Builder, heads: &[Vec<Value>], channels: bool, target: &Target) -> Built {
        let mut results = Vec::new();
        for (h, ((&q, &k), &v)) in heads[0].iter().zip(&heads[1]).zip(&heads[2]).enumerate() {
            let mut scores = product(net, &format!("scores{h}"), [q, k], [channels, !channels], target)?;
            if self.scale != Real(1.0) {
                let scale = net.scalar(self.scale.0)?;
                scores = net.binary(format!("scale{h}"), BinaryKind::Mul, scores, scale)?;
            }
            if let Some(bias) = self.bias {
                scores = self.biased_head(net, h, scores, bias)?;
            }
            let weights = net.push(format!("softmax{h}"), Op::Softmax { axis: 2 }, &[scores])?;
            results.push(match channels {
                true => product(net, &format!("values{h}"), [v, weights], [false, true], target)?,
                false => product(net, &format!("values{h}"), [weights, v], [false, false], target)?,
            });
        }
        net.concat("heads", &results, if channels { 1 } else { 2 })
    }

    /// Scores `[B,Nq,Nk]` of a head with its rows of the bias.
    fn biased_head(&self, net: &mut Builder, h: usize, scores: Value, bias: Value) -> Built {
        let heads = net.ty(bias).shape.rank() - 3;
        let row = if net.dim(bias, heads)? == 1 { 0 } else { h };
        let bias = net.slice(format!("bias{h}"), bias, heads, row..row + 1)?;
        let mut net = net.at(format!("head{h}"));
        if heads == 0 {
            return net.binary("bias.add", BinaryKind::Add, scores, bias);
        }
        let shape = net.ty(scores).shape.clone();
        let one = Shape([&[shape.0[0], Dim::Fixed(1)], &shape.0[1..]].concat());
        let scores = net.reshape("scores", scores, one)?;
        let scores = biased(&mut net, scores, bias)?;
        net.reshape("biased", scores, shape)
    }

    /// Attention weights `[B,H,Nq,Nk]` from raw scores.
    fn weights(&self, net: &mut Builder, scores: Value) -> Built {
        let mut scores = scores;
        if self.scale != Real(1.0) {
            let scale = net.scalar(self.scale.0)?;
            scores = net.binary("scale", BinaryKind::Mul, scores, scale)?;
        }
        let mix = Op::Conv { stride: [1; 2], pad: [0; 4], dilation: [1; 2], groups: 1 };
        let mut bias = self.bias;
        if let Some([first, ..]) = self.talking {
            let h = self.heads;
            let kernel = net.reshape("mix1.w", first, Shape::fixed(&[h, h, 1, 1]))?;
            scores = net.push("mix1", mix.clone(), &[scores, kernel])?;
            bias = bias.map(|b| mixed_bias(net, b, first, h)).transpose()?;
        }
        if let Some(bias) = bias {
            scores = biased(net, scores, bias)?;
        }
        let mut weights = net.push("softmax", Op::Softmax { axis: 3 }, &[scores])?;
        if let Some([_, second, offset]) = self.talking {
            let kernel = net.reshape("mix2.w", second, Shape::fixed(&[self.heads, self.heads, 1, 1]))?;
            weights = net.push("mix2", mix, &[weights, kernel, offset])?;
        }
        Ok(weights)
    }
}

/// The value whose three equal parts on the last axis are q, k and v.
fn packed(graph: &Graph, qkv: [Value; 3]) -> Option<Value> {
    let node = graph.producer(qkv[0]);
    let Op::Split { axis: 2, sizes } = &node.op else { return None };
    let parts = (0..).zip(qkv).all(|(index, v)| v == Value { node: qkv[0].node, index });
    (parts && sizes.len() == 3 && sizes[1..] == sizes[..2]).then(|| node.inputs[0])
}

/// `a·b`, transposed first where asked for, by flags where the target has them.
fn product(net: &mut Builder, name: &str, [a, b]: [Value; 2], [ta, tb]: [bool; 2], target: &Target) -> Built {
    if target.matmul_transpose {
        return net.push(name, Op::MatMul { transpose_a: ta, transpose_b: tb }, &[a, b]);
    }
    let a = if ta { swapped(net, &format!("{name}.a"), a)? } else { a };
    let b = if tb { swapped(net, &format!("{name}.b"), b)? } else { b };
    net.matmul(name, a, b)
}

/// The last two axes swapped.
fn swapped(net: &mut Builder, name: &str, x: Value) -> Built {
    let rank = net.ty(x).shape.rank();
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    net.transpose(name, x, &perm)
}

/// `(T₁B)[h]` for a bias `[H|1,Nq,Nk]`.
pub(crate) fn mixed_bias(net: &mut Builder, bias: Value, mix: Value, heads: usize) -> Built {
    let dims = net.fixed(bias)?;
    let flat = net.reshape("bias.flat", bias, Shape::fixed(&[dims[0], dims[1] * dims[2]]))?;
    let all = Shape(vec![Dim::Fixed(heads), Dim::Fixed(dims[1] * dims[2])]);
    let all = net.push("bias.heads", Op::Expand { shape: all }, &[flat])?;
    let mixed = net.matmul("bias.mixed", mix, all)?;
    net.reshape("bias.mixed", mixed, Shape::fixed(&[heads, dims[1], dims[2]]))
}

/// Queries, keys and values `[…,N,d]` joined along the tokens and cut again at once, padded with zero columns to one
/// width that fuses.
///
/// Exact: an identity, and zero columns add nothing to scores. Why: TensorRT copies each operand that comes out of a
/// convolution by a kernel of its own, and the parallel copies wait for each other; joined, one kernel writes them all
/// (a block of EfficientFormerV2: 9 kernels become 7).
pub(crate) fn one_gather(net: &mut Builder, [q, k, v]: [Value; 3], target: &Target) -> Built<[Value; 3]> {
    let rank = net.ty(q).shape.rank();
    let (tokens, columns) = (rank - 2, rank - 1);
    let sizes = [net.dim(q, tokens)?, net.dim(k, tokens)?, net.dim(v, tokens)?];
    let widest = net.dim(q, columns)?.max(net.dim(v, columns)?);
    let width = target.fusing().map_or(widest, |fusing| fusing.width(widest));
    let padded = |net: &mut Builder, name: &str, x: Value| -> Built {
        let missing = width - net.dim(x, columns)?;
        if missing == 0 {
            return Ok(x);
        }
        let mut after = vec![0; rank];
        after[columns] = missing;
        net.push(name, Op::Pad { before: vec![0; rank], after, mode: PadMode::ZERO }, &[x])
    };
    let mut joined = vec![q, k];
    if net.dim(q, columns)? < width {
        let both = net.concat("qk", &joined, tokens)?;
        joined = vec![padded(net, "qk.padded", both)?];
    }
    joined.push(padded(net, "v.padded", v)?);
    let all = net.concat("qkv", &joined, tokens)?;
    let parts = net.split("gathered", all, tokens, &sizes)?;
    Ok([parts[0], parts[1], parts[2]])
}
