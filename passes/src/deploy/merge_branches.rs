//! Merge a sum of linear branches over one input into one convolution or one matrix product.
//!
//! ```text
//! Given    y = A(x) + B(x)      each a convolution with stride s, a BatchNorm, a factor per channel, an unpadded average pool, or x itself
//! Result   y = conv(x; W_A ⊕ W_B, b_A + b_B)      kernels laid over each other at the same input offset, zero elsewhere
//! Given    y = (W_A x + b_A) + (W_B x + b_B)   or   (W x + b) + x
//! Result   y = (W_A + W_B) x + (b_A + b_B)     or   (W + I) x + b
//! ```
//!
//! Exact    Tap u of a convolution padded by p at the top reads row i·s − p + u, and 0 outside the map. Branches with equal stride and output grid
//!          therefore agree on what lies under each offset u − p, borders included, whatever their kernel sizes, so kernels add
//!          offset by offset. An average pool is such a branch only without padding, because it does not count what it pads.
//!          A branch with g groups is one with fewer groups G | g whose kernel is zero between the old groups.
//!          Sums associate: where A + B does not merge, (A + B) + C merges C with the one that it fits.
//!
//! Done only if the merged kernel has no more elements than the branches together, so that multiply-accumulates never rise. A branch that
//! something else reads stays, and the report says so.

use crate::algebra::{Linear, as_vector, batch_norm_affine, each, regrouped};
use crate::note::Note;
use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::{HashMap, HashSet};
use vitc_ir::{BinaryKind, Builder, Built, Copier, Generator, Graph, NodeId, Op, PadMode, Real, Shape, Type, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("merge_branches", run);

fn run(graph: &Graph, _: &Context) -> Result {
    let uses = graph.uses();
    let mut copy = Copier::new(graph, graph.stage);
    let mut sums = Sums::default();
    for (id, node) in graph.nodes() {
        if node.op == Op::Binary(BinaryKind::Add) && !graph.is_constant(id.into()) {
            let [a, b] = [node.inputs[0], node.inputs[1]];
            let terms = [(copy.get(a)?, uses.once(a)), (copy.get(b)?, uses.once(b))];
            sums.tries = TRIES;
            if let Some(y) = sums.merged(&mut copy.new, Place::New(&node.path), terms)? {
                copy.set(id.into(), y);
                continue;
            }
            copy.node(id)?;
            sums.terms.insert(copy.get(id.into())?, terms);
            continue;
        }
        copy.node(id)?;
    }
    let notes = if sums.results.is_empty() { vec![] } else { vec![became(&copy.new, sums.count, &sums.results)] };
    Ok(Rewritten { graph: copy.finish()?, count: sums.count, notes })
}

/// A value, and whether one node alone reads it.
type Term = (Value, bool);

/// Whose path a sum of the remaining terms bears.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// A sum that is not in the graph yet.
    New(&'a str),
    /// One that it replaces.
    Old(NodeId),
}

/// The sums of a graph so far.
#[derive(Default)]
struct Sums {
    /// Terms of the sums that stand.
    terms: HashMap<Value, [Term; 2]>,
    /// Merged nodes that no later sum swallowed: a sum of n branches takes n − 1 rewrites and leaves one.
    results: HashSet<Value>,
    count: usize,
    /// Pairs that may still be tried for the sum at hand.
    tries: usize,
}

/// Pairs of terms that are tried for one sum. Sums in models have up to six terms; of longer ones not every pair is worth the time.
const TRIES: usize = 64;

impl Sums {
    /// The sum of two terms, if they merge, or one merges with a term of the other.
    fn merged(&mut self, graph: &mut Graph, place: Place<'_>, terms: [Term; 2]) -> Built<Option<Value>> {
        if self.tries == 0 {
            return Ok(None);
        }
        self.tries -= 1;
        if let Some(y) = merge(graph, terms)? {
            self.count += 1;
            terms.iter().for_each(|(v, _)| {
                self.results.remove(v);
            });
            self.results.insert(y);
            return Ok(Some(y));
        }
        for [other, (inner, once)] in [terms, [terms[1], terms[0]]] {
            let Some(inner_terms) = self.terms.get(&inner).copied().filter(|_| once) else { continue };
            for [into, rest] in [inner_terms, [inner_terms[1], inner_terms[0]]] {
                if let Some(y) = self.merged(graph, Place::Old(inner.node), [into, other])? {
                    let path = match place {
                        Place::New(path) => path.to_string(),
                        Place::Old(id) => graph.release_path(id),
                    };
                    let sum = Builder::within(graph, path).binary("", BinaryKind::Add, y, rest.0)?;
                    self.terms.insert(sum, [(y, true), rest]);
                    return Ok(Some(sum));
                }
            }
        }
        Ok(None)
    }
}

/// What the branches of `count` sums became.
fn became(graph: &Graph, count: usize, results: &HashSet<Value>) -> Note {
    let convs = results.iter().filter(|&&v| matches!(graph.op(v), Op::Conv { .. })).count();
    Note::Merged { branches: count + results.len(), convs, products: results.len() - convs }
}

/// A linear map of the map `x` `[B,C,H,W]`.
struct Branch {
    x: Value,
    /// `[O,C/groups,kh,kw]`
    w: Value,
    b: Option<Value>,
    stride: [usize; 2],
    pad: [usize; 4],
    groups: usize,
    path: String,
}

/// Two terms as one linear node.
fn merge(graph: &mut Graph, operands: [Term; 2]) -> Built<Option<Value>> {
    let [(a, a_once), (b, b_once)] = operands;
    if graph.ty(a) != graph.ty(b) || a == b {
        return Ok(None);
    }
    if let Some(y) = merge_products(graph, operands)? {
        return Ok(Some(y));
    }
    let first = if a_once { branch(graph, a)? } else { None };
    let second = if b_once { branch(graph, b)? } else { None };
    let (first, second) = match (first, second) {
        (Some(f), Some(s)) if f.x == s.x => (f, s),
        (Some(f), _) if f.x == b && is_map(graph, b) => (f, identity(graph, b)?),
        (_, Some(s)) if s.x == a && is_map(graph, a) => (s, identity(graph, a)?),
        _ => return Ok(None),
    };
    let shape = graph.shape(a).clone();
    let Some(merged) = overlay(graph, &first, &second, shape)? else { return Ok(None) };
    for (v, path) in [(a, &first.path), (b, &second.path), (b, &first.path), (a, &second.path)] {
        if graph.producer(v).path == *path {
            graph.release_path(v.node);
        }
    }
    merged.emit(graph).map(Some)
}

/// Whether a value is a map `[B,C,H,W]`.
fn is_map(graph: &Graph, x: Value) -> bool {
    graph.shape(x).rank() == 4 && graph.shape(x).0[1..].iter().all(|d| d.fixed().is_some())
}

/// The value as a branch over its producer's operand.
fn branch(graph: &mut Graph, value: Value) -> Built<Option<Branch>> {
    let node = graph.producer(value).clone();
    let Some(&x) = node.inputs.first().filter(|&&x| is_map(graph, x)) else { return Ok(None) };
    let (path, c) = (node.path.clone(), graph.shape(x).dim(1));
    Ok(match &node.op {
        Op::Conv { stride, pad, dilation: [1, 1], groups } => Linear::of(graph, value.node).map(|linear| {
            let (w, b) = (linear.w, linear.b);
            Branch { x, w, b, stride: *stride, pad: *pad, groups: *groups, path }
        }),
        Op::BatchNorm { eps } => {
            let parameters = [node.inputs[1], node.inputs[2], node.inputs[3], node.inputs[4]];
            let (s, t) = batch_norm_affine(graph, &path, *eps, parameters)?;
            let w = Builder::within(graph, &path).along("w", s, 0, 4)?;
            Some(Branch { x, w, b: Some(t), stride: [1; 2], pad: [0; 4], groups: c, path })
        }
        Op::AvgPool { kernel, stride, pad } if *pad == [0; 4] => {
            let fill = Generator::Fill { value: Real(1.0 / (kernel[0] * kernel[1]) as f64) };
            let w = Builder::within(graph, &path).generate("w", fill, Type::f32(&[c, 1, kernel[0], kernel[1]]))?;
            Some(Branch { x, w, b: None, stride: *stride, pad: [0; 4], groups: c, path })
        }
        Op::Binary(BinaryKind::Mul) => {
            let Some(at) = node.inputs.iter().position(|&v| graph.is_constant(v)) else { return Ok(None) };
            let x = node.inputs[1 - at];
            let shape = graph.shape(x).clone();
            let scale = if is_map(graph, x) { as_vector(graph, node.inputs[at], &shape, 1)? } else { None };
            let Some(s) = scale else { return Ok(None) };
            let s = crate::algebra::repeated(graph, s, shape.dim(1))?;
            let w = Builder::within(graph, &path).along("w", s, 0, 4)?;
            Some(Branch { x, w, b: None, stride: [1; 2], pad: [0; 4], groups: shape.dim(1), path })
        }
        _ => None,
    })
}

/// The map x itself as a branch over x.
fn identity(graph: &mut Graph, x: Value) -> Built<Branch> {
    let c = graph.shape(x).dim(1);
    let path = graph.producer(x).path.clone();
    let fill = Generator::Fill { value: Real(1.0) };
    let w = Builder::within(graph, &path).generate("identity", fill, Type::f32(&[c, 1, 1, 1]))?;
    // The empty path never names the result.
    Ok(Branch { x, w, b: None, stride: [1; 2], pad: [0; 4], groups: c, path: String::new() })
}

/// Both branches as one convolution with the result shape `shape`, if it costs no more.
fn overlay(graph: &mut Graph, a: &Branch, b: &Branch, shape: Shape) -> Built<Option<Linear>> {
    if a.stride != b.stride {
        return Ok(None);
    }
    let kernels = [graph.fixed(a.w)?, graph.fixed(b.w)?];
    let groups = gcd(a.groups, b.groups);
    let channels = kernels[0][1] * a.groups;
    // Offsets of taps relative to i·s: from −pad to −pad + k − 1, per axis; the union starts at or before 0.
    let (mut pad, mut size) = ([0; 4], [0; 2]);
    let map = [graph.shape(a.x).dim(2), graph.shape(a.x).dim(3)];
    for axis in 0..2 {
        let before = a.pad[axis].max(b.pad[axis]);
        let end = |r: &Branch, k: &[usize]| before - r.pad[axis] + k[2 + axis];
        size[axis] = end(a, &kernels[0]).max(end(b, &kernels[1]));
        pad[axis] = before;
        let reach = (shape.dim(2 + axis) - 1) * a.stride[axis] + size[axis];
        pad[2 + axis] = reach.saturating_sub(before + map[axis]);
    }
    let elements = |k: &[usize]| k.iter().product::<usize>();
    let merged = kernels[0][0] * (channels / groups) * size[0] * size[1];
    if merged > elements(&kernels[0]) + elements(&kernels[1]) {
        return Ok(None);
    }
    let path = common_scope(&a.path, &b.path);
    let [wa, wb] = each([a, b], |r| placed(graph, &path, r, groups, pad, size))?;
    let mut net = Builder::within(graph, &path);
    let w = net.binary("w", BinaryKind::Add, wa, wb)?;
    let bias = match (a.b, b.b) {
        (Some(p), Some(q)) => Some(net.binary("b", BinaryKind::Add, p, q)?),
        (p, q) => p.or(q),
    };
    let op = Op::Conv { stride: a.stride, pad, dilation: [1; 2], groups };
    let inputs: Vec<&Type> = [a.x, w].into_iter().chain(bias).map(|v| graph.ty(v)).collect();
    let fits = vitc_ir::infer::infer(&op, &inputs).is_ok_and(|result| result[0].shape == shape);
    Ok(fits.then_some(Linear { op, x: a.x, w, b: bias, path }))
}

/// The branch's kernel with `groups` groups inside a kernel of side `size` whose top left tap lies `pad` before.
fn placed(graph: &mut Graph, path: &str, branch: &Branch, groups: usize, pad: [usize; 4], size: [usize; 2]) -> Built {
    let mut w = branch.w;
    let shape = graph.fixed(w)?;
    let (kh, kw) = (shape[2], shape[3]);
    let mut net = Builder::within(graph, path);
    w = regrouped(&mut net, w, branch.groups, groups)?;
    let before = [pad[0] - branch.pad[0], pad[1] - branch.pad[1]];
    if before == [0, 0] && [kh, kw] == size {
        return Ok(w);
    }
    let (before, after) =
        (vec![0, 0, before[0], before[1]], vec![0, 0, size[0] - kh - before[0], size[1] - kw - before[1]]);
    net.push("w_padded", Op::Pad { before, after, mode: PadMode::ZERO }, &[w])
}

/// Two matrix products of one input, or one and its input.
fn merge_products(graph: &mut Graph, [(a, a_once), (b, b_once)]: [Term; 2]) -> Built<Option<Value>> {
    let product =
        |graph: &Graph, v: Value, once: bool| Linear::of(graph, v.node).filter(|l| once && l.op == Op::Linear);
    let merged = match (product(graph, a, a_once), product(graph, b, b_once)) {
        (Some(p), Some(q)) if p.x == q.x => {
            let path = common_scope(&p.path, &q.path);
            let mut net = Builder::within(graph, &path);
            let w = net.binary("w", BinaryKind::Add, p.w, q.w)?;
            let bias = match (p.b, q.b) {
                (Some(x), Some(y)) => Some(net.binary("b", BinaryKind::Add, x, y)?),
                (x, y) => x.or(y),
            };
            graph.release_path(a.node);
            graph.release_path(b.node);
            Linear { w, b: bias, path, ..p }
        }
        (Some(p), _) if p.x == b => with_identity(graph, p, a)?,
        (_, Some(q)) if q.x == a => with_identity(graph, q, b)?,
        _ => return Ok(None),
    };
    merged.emit(graph).map(Some)
}

fn with_identity(graph: &mut Graph, product: Linear, value: Value) -> Built<Linear> {
    let n = product.outputs(graph);
    let path = graph.release_path(value.node);
    let mut net = Builder::within(graph, &path);
    let eye = net.generate("eye", Generator::Eye, Type::f32(&[n, n]))?;
    let w = net.binary("w", BinaryKind::Add, product.w, eye)?;
    Ok(Linear { w, path, ..product })
}

/// The scope that both paths share, or the first path if they share none. An empty path names nothing.
fn common_scope(a: &str, b: &str) -> String {
    if a.is_empty() || b.is_empty() {
        return format!("{a}{b}");
    }
    let shared = a.split('.').zip(b.split('.')).take_while(|(x, y)| x == y).map(|(x, _)| x);
    let scope = shared.collect::<Vec<_>>().join(".");
    if scope.is_empty() { a.to_string() } else { scope }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
