//! Attention with talking heads as one attention that TensorRT fuses.
//!
//! ```text
//! Given    A_h = Σ_g T₁[h,g]·(q_g·k_gᵀ + B_g) + t₁[h],   P = softmax(A),   O_h = (Σ_g T₂[h,g]·P_g + t₂[h])·v_h
//! Result   queries q'_h = [T₁[h,1]·q_1, …, T₁[h,H]·q_H]    H·d wide, rows of all heads behind each other: [H·N, H·d]
//!          keys    K = [k_1, …, k_H]                       one matrix [N, H·d] for all heads
//!          values  V cut into pieces of H·d columns        the batch of the product
//!          O[n,c] = Σ_g T₂[h(c),g]·(softmax(q'_g·Kᵀ + (T₁B)_g)·V)[n,c] + t₂[h(c)]·Σ_j V[j,c]
//! ```
//!
//! Exact    The first mix is linear in the scores, and a weighted sum of products is one product of longer vectors; it
//!          is folded into the rows of the projection of the queries. The second mix is linear in P and moves behind
//!          the product with the values; its bias weighs all keys alike. t₁ shifts whole rows, which softmax does not
//!          see.
//!
//! The price is about N²·H·(H·d + H·d_v) multiply-accumulates instead of N²·(H·d + H·d_v), and an H times wider
//! projection of the queries; the gain is one kernel where the parts take about ten more. The cost model weighs them;
//! `talking_heads` forces either.

use crate::algebra::Linear;
use crate::lower::attention::{Call, mixed_bias, one_gather};
use crate::note::Note;
use crate::pass::{Context, Pass, Result, Rewritten, TalkingHeads};
use vitc_ir::cost::Price;
use vitc_ir::op::{AttentionLayout, ReduceKind};
use vitc_ir::target::FusedAttention;
use vitc_ir::{BinaryKind, Builder, Built, Copier, Graph, NodeId, Op, Real, Shape, Target, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::only("fuse_talking_heads", |t| t.fusing().is_some(), run);

fn run(graph: &Graph, context: &Context) -> Result {
    let Context { target, options, .. } = context;
    let Some(fusing) = target.fusing() else { return Ok(Rewritten::unchanged(graph)) };
    let (uses, price) = (graph.uses(), Price::new(graph, target, options.precision));
    let mut copy = Copier::new(graph, graph.stage);
    let (mut count, mut notes) = (0, Vec::new());
    for (id, node) in graph.nodes() {
        let shape = Geometry::of(graph, id, fusing);
        let query = node.inputs.first().and_then(|&q| {
            let once = uses.once(q);
            Linear::of(graph, q.node).filter(|l| once && matches!(l.op, Op::Conv { groups: 1, .. }))
        });
        let (Some(g), Some(query)) = (shape, query) else {
            copy.node(id)?;
            continue;
        };
        let macs = g.extra_macs(graph, &query);
        let gained = fusing.kernels_saved * target.cost.launch;
        let paid = price.items() as f64 * macs / target.cost.rate;
        let fuse = match options.talking_heads {
            TalkingHeads::Fuse => true,
            TalkingHeads::Keep => false,
            TalkingHeads::Auto => gained > paid,
        };
        if !fuse {
            copy.node(id)?;
            continue;
        }
        let (node, kernels) = (node.path.clone(), fusing.kernels_saved);
        notes.push(Note::TalkingHeadsFused { node, macs, paid, kernels, gained });
        let y = g.spell(&mut copy, id, &query, target)?;
        copy.set(id.into(), y);
        count += 1;
    }
    Ok(Rewritten { graph: copy.finish()?, count, notes })
}

/// Sizes of an attention that can be fused.
struct Geometry {
    heads: usize,
    /// Width of a head's keys and of its values.
    key: usize,
    value: usize,
    queries: usize,
    keys: usize,
    scale: Real,
    bias: bool,
}

impl Geometry {
    fn of(graph: &Graph, id: NodeId, fusing: &FusedAttention) -> Option<Geometry> {
        let node = graph.node(id);
        let Op::Attention { heads, scale, layout: AttentionLayout::Channels, bias, talking: true } = node.op else {
            return None;
        };
        let width = |i: usize| graph.shape(node.inputs[i]).dim(1) / heads;
        let tokens = |i: usize| graph.shape(node.inputs[i]).0[2..].iter().map(|d| d.at(1)).product();
        let (key, value) = (width(1), width(2));
        let wide = heads * key;
        let fits = value.is_multiple_of(key) && fusing.width(wide) == wide && wide <= fusing.widest;
        let constant = node.inputs[3..].iter().all(|&v| graph.is_constant(v));
        (fits && constant).then(|| Geometry { heads, key, value, queries: tokens(0), keys: tokens(1), scale, bias })
    }

    /// Pieces of the values.
    fn pieces(&self) -> usize {
        self.value / self.key
    }

    /// Multiply-accumulates more than with the heads kept, for one batch item.
    fn extra_macs(&self, graph: &Graph, query: &Linear) -> f64 {
        let (h, n) = (self.heads, self.queries * self.keys);
        let kernel = graph.shape(query.w).elements() / h;
        let kept = n * h * (self.key + self.value) + 2 * n * h * h + h * kernel * self.queries;
        let fused = n * h * (self.pieces() * h * self.key + h * self.value) + h * h * kernel * self.queries;
        fused as f64 - kept as f64
    }

    fn spell(&self, copy: &mut Copier, id: NodeId, query: &Linear, target: &Target) -> Built {
        let old = copy.old;
        let node = old.node(id);
        let inputs = copy.inputs(id)?;
        let mixes = &inputs[inputs.len() - 4..];
        let (first, second, offset) = (mixes[0], mixes[2], mixes[3]);
        let bias = self.bias.then(|| inputs[3]);
        let (h, wide, pieces) = (self.heads, self.heads * self.key, self.pieces());

        let q = self.wide_query(copy, query, first)?;
        let mut net = Builder::within(&mut copy.new, &node.path);
        let batch = net.batch(q)?;
        let rows = |net: &mut Builder, name: &str, x: Value, heads: usize, tokens: usize| -> Built {
            let view = Shape::batched(batch, &[heads, wide, tokens]);
            let x = net.reshape(name, x, view)?;
            net.transpose(format!("{name}.tokens"), x, &[0, 1, 3, 2])
        };
        let q = rows(&mut net, "q", q, h, self.queries)?;
        let q = net.reshape("q.rows", q, Shape::batched(batch, &[1, h * self.queries, wide]))?;
        let k = rows(&mut net, "k", inputs[1], 1, self.keys)?;
        let v = rows(&mut net, "v", inputs[2], pieces, self.keys)?;
        // Keys and queries that broadcast over the pieces are not recognised.
        let spread = |net: &mut Builder, name: &str, x: Value, tokens: usize| -> Built {
            let shape = Shape::batched(batch, &[pieces, tokens, wide]);
            Ok(if pieces == 1 { x } else { net.push(name, Op::Expand { shape }, &[x])? })
        };
        let q = spread(&mut net, "q.pieces", q, h * self.queries)?;
        let k = spread(&mut net, "k.pieces", k, self.keys)?;
        let [q, k, v] = one_gather(&mut net, [q, k, v], target)?;

        let bias = match bias {
            Some(bias) => {
                let mixed = mixed_bias(&mut net, bias, first, h)?;
                Some(net.reshape("bias.rows", mixed, Shape::fixed(&[h * self.queries, self.keys]))?)
            }
            None => None,
        };
        let call = Call { heads: h, scale: self.scale, bias, talking: None };
        let y = call.products(&mut net, [q, k, v], target)?;
        let y = self.second_mix(&mut net, y, v, second, offset)?;
        let y = net.transpose("map", y, &[0, 1, 3, 2])?;
        net.reshape("out", y, node.types[0].shape.clone())
    }

    /// The projection of the queries with its rows repeated per head, each weighed by the first mix: `[H·H·d]`
    /// channels.
    fn wide_query(&self, copy: &mut Copier, query: &Linear, first: Value) -> Built {
        let (h, d) = (self.heads, self.key);
        let (x, w) = (copy.get(query.x)?, copy.constant(query.w)?);
        let b = query.b.map(|b| copy.constant(b)).transpose()?;
        let mut net = Builder::within(&mut copy.new, &query.path);
        let mix = net.reshape("mix1", first, Shape::fixed(&[h, h, 1, 1]))?;
        let mut spread = |name: &str, c: Value| -> Built {
            let mut dims = net.fixed(c)?;
            let inner: usize = dims[1..].iter().product();
            let view = net.reshape(format!("{name}.heads"), c, Shape::fixed(&[1, h, d, inner]))?;
            let all = net.binary(format!("{name}.mixed"), BinaryKind::Mul, view, mix)?;
            dims[0] = h * h * d;
            net.reshape(format!("{name}.mixed"), all, Shape::fixed(&dims))
        };
        let w = spread("w", w)?;
        let b = b.map(|b| spread("b", b)).transpose()?;
        let inputs: Vec<Value> = [x, w].into_iter().chain(b).collect();
        net.push("wide", query.op.clone(), &inputs)
    }

    /// `Σ_g T₂[h(c),g]·O_g[n,c] + t₂[h(c)]·Σ_j V[j,c]` on `[B, pieces, H·N, H·d]`: products and sums one by one, which
    /// the compiler joins in one kernel (a reduction costs one more).
    fn second_mix(&self, net: &mut Builder, y: Value, v: Value, second: Value, offset: Value) -> Built {
        let (h, pieces, wide) = (self.heads, self.pieces(), self.heads * self.key);
        // A row per source head and one for the offset, a column per channel of the values.
        let by_channel = |net: &mut Builder, name: &str, c: Value| -> Built {
            let rows = net.ty(c).shape.elements() / h;
            let c = net.reshape(name, c, Shape::fixed(&[h, rows]))?;
            let c = net.transpose(name, c, &[1, 0])?;
            let c = net.reshape(name, c, Shape::fixed(&[rows, h, 1]))?;
            let c = net.push(name, Op::Expand { shape: Shape::fixed(&[rows, h, self.value]) }, &[c])?;
            net.reshape(name, c, Shape::fixed(&[rows, pieces, 1, wide]))
        };
        let factors = by_channel(net, "mix2.w", second)?;
        let offset = by_channel(net, "mix2.b", offset)?;
        let offset = net.reshape("mix2.b", offset, Shape::fixed(&[pieces, 1, wide]))?;
        let parts = net.split("mix2.heads", y, 2, &vec![self.queries; h])?;
        let sum_op = Op::Reduce { kind: ReduceKind::Sum, axes: vec![2], keep: true };
        let total = net.push("mix2.total", sum_op, &[v])?;
        let mut sum = net.binary("mix2.offset", BinaryKind::Mul, total, offset)?;
        for (g, part) in parts.into_iter().enumerate() {
            let factor = net.slice(format!("mix2.factor{g}"), factors, 0, g..g + 1)?;
            let factor = net.reshape(format!("mix2.factor{g}"), factor, Shape::fixed(&[pieces, 1, wide]))?;
            let term = net.binary(format!("mix2.mul{g}"), BinaryKind::Mul, part, factor)?;
            sum = net.binary(format!("mix2.add{g}"), BinaryKind::Add, term, sum)?;
        }
        Ok(sum)
    }
}
