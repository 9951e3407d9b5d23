//! Real and imaginary part as one value.
//!
//! The paper's graph computes with two values; this finds, from an inverse transform back to the spectrum that it came from, what treats both
//! alike, and says it once on the pair `[…,2H,K]` (parts one behind the other along the rows):
//!
//! ```text
//! f(re), f(im)                              f(pair), any elementwise f, and of two pairs
//! Σ W·re + Σ V·im + b                       one real 1x1 mix of the 2C channels 2c + part: output (o,q), input (i,p) takes the kernel of
//!                                           part p in part q; a complex mix has [w_r, −w_i; w_i, w_r]
//! re₁·re₂ − im₁·im₂, re₁·im₂ + im₁·re₂       the product of two pairs, split into parts or as all four real products
//! ```
//!
//! A spectrum that is not normalised orthonormally is an orthonormal pair and a factor. Mixes, sums, ReLU, clips and products of pairs carry it on:
//! f(r·z) = r·f'(z) with biases and thresholds over r. Any other elementwise operator gets r·z, from weights times r where a mix made z.
//!
//! What is not recognised stands as it is and is joined in front of the inverse transform.

use super::choice::Site;
use super::views::{scaled, view, with_tail};
use crate::algebra::{Linear, each, regrouped};
use std::collections::HashMap;
use vitc_ir::target::{MixForm, ProductForm, SpectralForms};
use vitc_ir::{BinaryKind, Builder, Built, Graph, Node, Op, Shape, UnaryKind, Value};

/// A spectrum in one value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spectrum {
    pub(super) value: Value,
    /// Stored columns K.
    pub(super) columns: usize,
    /// Four real products rr, ri, ir, ii instead of two parts.
    pub(super) outer: bool,
    /// The paper's spectrum is this times the value.
    pub(super) factor: f64,
}

/// What is known about pairs of values of the new graph.
pub(super) struct Pairs {
    forms: SpectralForms,
    /// Both parts to their pair; `None` for two values that are no pair.
    known: HashMap<[Value; 2], Option<Pair>>,
    /// Pairs that are being looked for, each for the one before.
    depth: usize,
}

/// Nodes between two transforms that a pair is followed through. Further back values stay apart.
const DEEPEST: usize = 64;

/// Convolutions that one sum mixes at most.
const MOST_TERMS: usize = 64;

/// What a function of both parts reads at one place.
#[derive(Clone, Copy)]
enum Operand {
    /// The same number for both.
    Number(Value),
    Pair(Pair),
}

/// A value that holds both parts in memory order `[…, part, row, column]`, under any shape.
#[derive(Debug, Clone, Copy)]
struct Pair {
    value: Value,
    /// Rows and stored columns.
    grid: [usize; 2],
    /// The paper's parts are this times the value's.
    factor: f64,
}

/// A linear node with the sign of its part in a sum.
type Term = (bool, Linear);

impl Pairs {
    pub(super) fn new(forms: SpectralForms) -> Self {
        Pairs { forms, known: HashMap::new(), depth: 0 }
    }

    /// Remember an orthonormal spectrum `[…,2H,K]` whose paper's is `factor` times it, and return the paper's two parts `[…,H,W/2+1]`, for readers that are not understood.
    pub(super) fn register(
        &mut self,
        net: &mut Builder,
        spectrum: Value,
        site: &Site,
        factor: f64,
    ) -> Built<[Value; 2]> {
        let shape = net.ty(spectrum).shape.clone();
        let (rank, h, kept) = (shape.rank(), site.grid[0], site.grid[1] / 2 + 1);
        let columns = shape.dim(rank - 1);
        let parts = net.split("split", spectrum, rank - 2, &[h, h])?;
        let mut cut = |v| -> Built {
            let v = if columns == kept { v } else { net.slice("kept", v, rank - 1, 0..kept)? };
            Ok(if factor == 1.0 { v } else { scaled(net, v, factor)? })
        };
        let parts = [cut(parts[0])?, cut(parts[1])?];
        self.known.insert(parts, Some(Pair { value: spectrum, grid: [h, columns], factor }));
        Ok(parts)
    }

    /// The spectrum that an inverse transform reads.
    pub(super) fn joined(&mut self, graph: &mut Graph, parts: [Value; 2]) -> Built<Spectrum> {
        if let Some(factors) = self.product(graph, parts)? {
            return self.multiplied(graph, parts, factors);
        }
        let shape = graph.shape(parts[0]).clone();
        if let Some(pair) = self.pair(graph, parts)? {
            return Ok(Spectrum { value: pair.value, columns: pair.grid[1], outer: false, factor: pair.factor });
        }
        let path = paired_path(graph, parts);
        let rank = shape.rank();
        let value = Builder::within(graph, path).concat("joined", &parts, rank - 2)?;
        Ok(Spectrum { value, columns: shape.dim(rank - 1), outer: false, factor: 1.0 })
    }

    /// The pair of two values, if they are the parts of one.
    fn pair(&mut self, graph: &mut Graph, parts: [Value; 2]) -> Built<Option<Pair>> {
        if let Some(&known) = self.known.get(&parts) {
            return Ok(known);
        }
        if self.depth == DEEPEST {
            return Ok(None);
        }
        self.depth += 1;
        let found = self.find(graph, parts)?;
        self.depth -= 1;
        self.known.insert(parts, found);
        Ok(found)
    }

    fn find(&mut self, graph: &mut Graph, parts: [Value; 2]) -> Built<Option<Pair>> {
        if graph.is_constant(parts[0]) || graph.is_constant(parts[1]) || graph.ty(parts[0]) != graph.ty(parts[1]) {
            return Ok(None);
        }
        let nodes = parts.map(|v| graph.producer(v).clone());
        if let Some(factors) = self.product(graph, parts)? {
            let grid = factors[0].grid;
            let factor = factors[0].factor * factors[1].factor;
            let value = self.split_product(graph, parts, factors)?;
            return Ok(Some(Pair { value, grid, factor }));
        }
        if let Some(pair) = self.mixed(graph, parts)? {
            return Ok(Some(pair));
        }
        if nodes[0].op != nodes[1].op {
            return Ok(None);
        }
        match nodes[0].op {
            Op::Unary(_) | Op::Clip { .. } => self.mapped(graph, parts, nodes),
            Op::Binary(kind) => self.combined(graph, parts, nodes, kind),
            _ => Ok(None),
        }
    }

    /// An elementwise function of both parts.
    fn mapped(&mut self, graph: &mut Graph, parts: [Value; 2], nodes: [Node; 2]) -> Built<Option<Pair>> {
        let Some(mut x) = self.pair(graph, [nodes[0].inputs[0], nodes[1].inputs[0]])? else { return Ok(None) };
        let op = match nodes[0].op {
            Op::Clip { lo, hi } => Op::Clip { lo: (lo.0 / x.factor).into(), hi: (hi.0 / x.factor).into() },
            Op::Unary(UnaryKind::Relu | UnaryKind::Abs | UnaryKind::Neg) => nodes[0].op.clone(),
            _ => {
                x = multiplied_out(graph, x)?;
                nodes[0].op.clone()
            }
        };
        let path = paired_path(graph, parts);
        let value = Builder::within(graph, path).push("", op, &[x.value])?;
        Ok(Some(Pair { value, ..x }))
    }

    /// A function of two pairs, or of a pair and a number.
    fn combined(
        &mut self,
        graph: &mut Graph,
        parts: [Value; 2],
        nodes: [Node; 2],
        kind: BinaryKind,
    ) -> Built<Option<Pair>> {
        let mut operands = [Operand::Number(parts[0]); 2];
        for (i, operand) in operands.iter_mut().enumerate() {
            let [re, im] = [nodes[0].inputs[i], nodes[1].inputs[i]];
            *operand = match self.pair(graph, [re, im])? {
                _ if re == im && graph.is_constant(re) && graph.shape(re).elements() == 1 => Operand::Number(re),
                Some(pair) => Operand::Pair(pair),
                None => return Ok(None),
            };
        }
        let pairs = operands.map(|o| if let Operand::Pair(pair) = o { Some(pair) } else { None });
        let Some(first) = pairs[0].or(pairs[1]) else { return Ok(None) };
        // A product has the product of both factors; what is added or compared needs one.
        let factors = pairs.map(|p| p.map_or(1.0, |p| p.factor));
        let common = match kind {
            BinaryKind::Mul => factors[0] * factors[1],
            BinaryKind::Div => factors[0] / factors[1],
            BinaryKind::Add | BinaryKind::Sub | BinaryKind::Max | BinaryKind::Min => first.factor,
            BinaryKind::Pow | BinaryKind::Quotient => 1.0,
        };
        let additive = !matches!(kind, BinaryKind::Mul | BinaryKind::Div);
        let shape = graph.shape(first.value).clone();
        let [a, b] = each(operands, |operand| {
            let mut net = Builder::within(graph, &nodes[0].path);
            match operand {
                Operand::Number(c) if additive && common != 1.0 => scaled(&mut net, c, 1.0 / common),
                Operand::Number(c) => Ok(c),
                Operand::Pair(pair) => {
                    let value = view(&mut net, "like", pair.value, shape.clone())?;
                    let differs = additive && pair.factor != common;
                    if differs { scaled(&mut net, value, pair.factor / common) } else { Ok(value) }
                }
            }
        })?;
        let path = paired_path(graph, parts);
        let value = Builder::within(graph, path).binary("", kind, a, b)?;
        Ok(Some(Pair { value, factor: common, ..first }))
    }

    /// Both parts as linear maps of the parts of one pair: one 1x1 mix of the 2C channels.
    fn mixed(&mut self, graph: &mut Graph, parts: [Value; 2]) -> Built<Option<Pair>> {
        let Some(mix) = Mix::of(graph, parts) else { return Ok(None) };
        let [re, im] = mix.sources;
        let (sources, x) = match self.pair(graph, [re, im])? {
            Some(x) => ([re, im], x),
            None => match self.pair(graph, [im, re])? {
                Some(x) => ([im, re], x),
                None => return Ok(None),
            },
        };
        let path = paired_path(graph, parts);
        let batch = graph.shape(parts[0]).0[0];
        let mut net = Builder::within(graph, &path);
        let w = mix.kernel(&mut net, sources)?;
        let bias = mix.bias(&mut net, x.factor)?;
        let [h, columns] = x.grid;
        let [outputs, channels] = [2 * mix.outputs, 2 * mix.inner * mix.groups];
        let value = match (self.forms.mix, bias) {
            (MixForm::GroupedConv, bias) => {
                let maps = view(&mut net, "maps", x.value, Shape::batched(batch, &[channels, h, columns]))?;
                let inputs: Vec<Value> = [maps, w].into_iter().chain(bias).collect();
                net.push("", Op::Conv { stride: [1; 2], pad: [0; 4], dilation: [1; 2], groups: mix.groups }, &inputs)?
            }
            (MixForm::BlockDiagonal, bias) => {
                let bins = view(&mut net, "bins", x.value, Shape::batched(batch, &[channels, h * columns]))?;
                let w = regrouped(&mut net, w, mix.groups, 1)?;
                let w = net.reshape("matrix", w, Shape::fixed(&[outputs, channels]))?;
                let Some(b) = bias else { return Ok(Some(Pair { value: net.matmul("", w, bins)?, ..x })) };
                let y = net.matmul("product", w, bins)?;
                let b = net.reshape("offset", b, Shape::fixed(&[outputs, 1]))?;
                net.binary("", BinaryKind::Add, y, b)?
            }
        };
        Ok(Some(Pair { value, ..x }))
    }

    /// The pairs (a, b) with re = a_re·b_re − a_im·b_im and im = a_re·b_im + a_im·b_re.
    fn product(&mut self, graph: &mut Graph, [re, im]: [Value; 2]) -> Built<Option<[Pair; 2]>> {
        let factors = |graph: &Graph, v: Value| match graph.op(v) {
            Op::Binary(BinaryKind::Mul) => Some([graph.producer(v).inputs[0], graph.producer(v).inputs[1]]),
            _ => None,
        };
        let terms = |graph: &Graph, v: Value, kind: BinaryKind| match graph.op(v) {
            Op::Binary(k) if *k == kind => {
                let inputs = &graph.producer(v).inputs;
                Some([factors(graph, inputs[0])?, factors(graph, inputs[1])?])
            }
            _ => None,
        };
        let Some([reals, imags]) = terms(graph, re, BinaryKind::Sub) else { return Ok(None) };
        let Some(crossed) = terms(graph, im, BinaryKind::Add) else { return Ok(None) };
        let mut crossed = crossed.map(sorted);
        crossed.sort();
        for (ai, bi) in [(imags[0], imags[1]), (imags[1], imags[0])] {
            let [ar, br] = reals;
            let mut wanted = [sorted([ar, bi]), sorted([ai, br])];
            wanted.sort();
            if wanted == crossed
                && let (Some(a), Some(b)) = (self.pair(graph, [ar, ai])?, self.pair(graph, [br, bi])?)
                && a.grid == b.grid
            {
                return Ok(Some([a, b]));
            }
        }
        Ok(None)
    }

    fn multiplied(&mut self, graph: &mut Graph, parts: [Value; 2], [a, b]: [Pair; 2]) -> Built<Spectrum> {
        let (columns, factor) = (a.grid[1], a.factor * b.factor);
        if self.forms.product == ProductForm::Split {
            return Ok(Spectrum { value: self.split_product(graph, parts, [a, b])?, columns, outer: false, factor });
        }
        let shape = graph.shape(parts[0]).clone();
        let (lead, bins) = (shape.rank() - 2, a.grid[0] * columns);
        let path = paired_path(graph, parts);
        let mut net = Builder::within(graph, path);
        let left = view(&mut net, "left", a.value, with_tail(&shape, lead, &[2, 1, bins]))?;
        let right = view(&mut net, "right", b.value, with_tail(&shape, lead, &[1, 2, bins]))?;
        let value = net.binary("products", BinaryKind::Mul, left, right)?;
        Ok(Spectrum { value, columns, outer: true, factor })
    }

    /// The product of two pairs as `[…,2,bins]`.
    fn split_product(&mut self, graph: &mut Graph, parts: [Value; 2], factors: [Pair; 2]) -> Built {
        let [h, columns] = factors[0].grid;
        let shape = graph.shape(parts[0]).clone();
        let lead = shape.rank() - 2;
        let [re_path, im_path] = parts.map(|p| graph.release_path(p.node));
        let path = paired(&re_path, &im_path);
        let mut net = Builder::within(graph, path);
        let mut halves = |name: &str, pair: Pair| -> Built<Vec<Value>> {
            let by_part = view(&mut net, name, pair.value, with_tail(&shape, lead, &[2, h * columns]))?;
            net.split(format!("{name}.split"), by_part, lead, &[1, 1])
        };
        let (a, b) = (halves("left", factors[0])?, halves("right", factors[1])?);
        let mut times = |name: &str, x: Value, y: Value| net.binary(name, BinaryKind::Mul, x, y);
        let (rr, ii) = (times("rr", a[0], b[0])?, times("ii", a[1], b[1])?);
        let (ri, ir) = (times("ri", a[0], b[1])?, times("ir", a[1], b[0])?);
        let re = net.binary("re", BinaryKind::Sub, rr, ii)?;
        let im = net.binary("im", BinaryKind::Add, ri, ir)?;
        net.concat("product", &[re, im], lead)
    }
}

/// Two values, each the signed sum of 1x1 convolutions of the same two.
struct Mix {
    /// By part of the result.
    terms: [Vec<Term>; 2],
    sources: [Value; 2],
    groups: usize,
    outputs: usize,
    /// Input channels of a group.
    inner: usize,
}

impl Mix {
    fn of(graph: &Graph, parts: [Value; 2]) -> Option<Mix> {
        let mut terms: [Vec<Term>; 2] = [Vec::new(), Vec::new()];
        for (part, terms) in parts.iter().zip(&mut terms) {
            collect(graph, *part, false, DEEPEST, terms)?;
        }
        let first = terms[0].first()?.1.clone();
        let other = terms.iter().flatten().map(|(_, l)| l.x).find(|&x| x != first.x)?;
        let alike = |l: &Linear| l.op == first.op && (l.x == first.x || l.x == other);
        let w = graph.shape(first.w).as_fixed()?;
        let (groups, outputs, inner) = (first.groups(), w[0], w[1]);
        let alike = terms.iter().flatten().all(|(_, l)| alike(l));
        alike.then_some(Mix { terms, sources: [first.x, other], groups, outputs, inner })
    }

    /// Kernels `[O,1,I,1]` of part p in part q, laid out as rows (o,q) and columns (i,p).
    fn kernel(&self, net: &mut Builder, sources: [Value; 2]) -> Built {
        let (outputs, inner) = (self.outputs, self.inner);
        let mut rows = Vec::new();
        for terms in &self.terms {
            let mut columns = Vec::new();
            for source in sources {
                let kernels = terms.iter().filter(|(_, l)| l.x == source).map(|(minus, l)| (*minus, l.w));
                columns.push(match signed_sum(net, kernels)? {
                    Some(w) => net.reshape("part", w, Shape::fixed(&[outputs, 1, inner, 1]))?,
                    None => net.fill("none", 0.0, &[outputs, 1, inner, 1])?,
                });
            }
            rows.push(net.concat("row", &columns, 3)?);
        }
        let w = net.concat("rows", &rows, 1)?;
        net.reshape("w", w, Shape::fixed(&[2 * outputs, 2 * inner, 1, 1]))
    }

    /// Biases of both parts in turn, over the pair's factor; `None` if there are none.
    fn bias(&self, net: &mut Builder, factor: f64) -> Built<Option<Value>> {
        let outputs = self.outputs;
        let mut parts = Vec::new();
        for terms in &self.terms {
            let biases = terms.iter().filter_map(|(minus, l)| l.b.map(|b| (*minus, b)));
            parts.push(signed_sum(net, biases)?);
        }
        if parts.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut columns = Vec::new();
        for part in parts {
            let b = match part {
                Some(b) => b,
                None => net.fill("none", 0.0, &[outputs])?,
            };
            columns.push(net.reshape("b_part", b, Shape::fixed(&[outputs, 1]))?);
        }
        let b = net.concat("b_parts", &columns, 1)?;
        let b = net.reshape("b", b, Shape::fixed(&[2 * outputs]))?;
        Ok(Some(if factor == 1.0 { b } else { scaled(net, b, 1.0 / factor)? }))
    }
}

/// The pair whose elements are the paper's: constants times the factor where a mix made it, else a product.
fn multiplied_out(graph: &mut Graph, x: Pair) -> Built<Pair> {
    if x.factor == 1.0 {
        return Ok(x);
    }
    let path = format!("{}.normalised", graph.producer(x.value).path);
    let value = times(&mut Builder::within(graph, path), x.value, x.factor)?;
    Ok(Pair { value, factor: 1.0, ..x })
}

/// `x` times a number, taken into the constants of the mix that made it.
fn times(net: &mut Builder, x: Value, factor: f64) -> Built {
    let node = net.graph().producer(x).clone();
    let constant: Vec<bool> = node.inputs.iter().map(|&v| net.graph().is_constant(v)).collect();
    Ok(match (&node.op, &constant[..]) {
        (Op::Conv { .. }, [false, true, ..]) => {
            let weights: Vec<Value> = node.inputs[1..].iter().map(|&w| scaled(net, w, factor)).collect::<Built<_>>()?;
            let inputs: Vec<Value> = [node.inputs[0]].into_iter().chain(weights).collect();
            net.push("", node.op.clone(), &inputs)?
        }
        (Op::MatMul { .. }, [true, false]) => {
            let matrix = scaled(net, node.inputs[0], factor)?;
            net.push("product", node.op.clone(), &[matrix, node.inputs[1]])?
        }
        (Op::Binary(BinaryKind::Add), [false, true]) => {
            let (x, c) = (times(net, node.inputs[0], factor)?, scaled(net, node.inputs[1], factor)?);
            net.push("", node.op.clone(), &[x, c])?
        }
        _ => scaled(net, x, factor)?,
    })
}

fn sorted(mut pair: [Value; 2]) -> [Value; 2] {
    pair.sort();
    pair
}

/// The unpadded 1x1 convolutions of stride 1 whose signed sum a value is, if it nests at most so deep.
fn collect(graph: &Graph, v: Value, minus: bool, depth: usize, terms: &mut Vec<Term>) -> Option<()> {
    let depth = depth.checked_sub(1).filter(|_| terms.len() < MOST_TERMS)?;
    match graph.op(v) {
        Op::Binary(kind @ (BinaryKind::Add | BinaryKind::Sub)) => {
            let inputs = &graph.producer(v).inputs;
            collect(graph, inputs[0], minus, depth, terms)?;
            collect(graph, inputs[1], minus ^ (*kind == BinaryKind::Sub), depth, terms)
        }
        Op::Conv { stride: [1, 1], pad: [0, 0, 0, 0], .. } => {
            let linear = Linear::of(graph, v.node)?;
            let shape = graph.shape(linear.w).as_fixed()?;
            (shape[2..] == [1, 1]).then(|| terms.push((minus, linear)))
        }
        _ => None,
    }
}

/// The sum of constants, some negative; `None` if there are none.
fn signed_sum(net: &mut Builder, terms: impl IntoIterator<Item = (bool, Value)>) -> Built<Option<Value>> {
    let mut sum = None;
    for (minus, v) in terms {
        sum = Some(match (sum, minus) {
            (None, false) => v,
            (None, true) => net.unary("neg", UnaryKind::Neg, v)?,
            (Some(s), false) => net.binary("sum", BinaryKind::Add, s, v)?,
            (Some(s), true) => net.binary("sum", BinaryKind::Sub, s, v)?,
        });
    }
    Ok(sum)
}

/// A name for what replaces both nodes.
fn paired_path(graph: &mut Graph, parts: [Value; 2]) -> String {
    let [a, b] = parts.map(|v| graph.producer(v).path.clone());
    paired(&a, &b)
}

/// `scope.act` for `scope.act_re` and `scope.act_im`, `scope.mix` for `scope.mix.re` and `scope.mix.im`: what both share of each segment.
fn paired(a: &str, b: &str) -> String {
    let segments = a.split('.').zip(b.split('.')).map(|(x, y)| {
        if x == y {
            return x;
        }
        let shared =
            x.char_indices().zip(y.chars()).find(|((_, c), d)| c != d).map_or(x.len().min(y.len()), |((i, _), _)| i);
        x[..shared].trim_end_matches('_')
    });
    let path: Vec<&str> = segments.filter(|s| !s.is_empty()).collect();
    if path.is_empty() { "spectrum".into() } else { path.join(".") }
}
