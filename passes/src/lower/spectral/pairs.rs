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
use super::{scaled, view, with_tail};
use crate::algebra::{Linear, regrouped};
use std::collections::HashMap;
use vitc_ir::target::{MixForm, ProductForm, SpectralForms};
use vitc_ir::{BinaryKind, Generator, Graph, Net, Op, Real, Shape, Type, UnaryKind, Value};

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
        Pairs { forms, known: HashMap::new() }
    }

    /// Remember an orthonormal spectrum `[…,2H,K]` whose paper's is `factor` times it, and return the paper's two parts `[…,H,W/2+1]`, for readers that are not understood.
    pub(super) fn register(&mut self, net: &mut Net, spectrum: Value, site: &Site, factor: f64) -> [Value; 2] {
        let shape = net.ty(spectrum).shape.clone();
        let (rank, h, kept) = (shape.rank(), site.grid[0], site.grid[1] / 2 + 1);
        let columns = shape.dim(rank - 1);
        let parts = net.split("split", spectrum, rank - 2, &[h, h]);
        let mut cut = |v| {
            let v = if columns == kept { v } else { net.slice("kept", v, rank - 1, 0..kept) };
            if factor == 1.0 { v } else { scaled(net, v, factor) }
        };
        let parts = [cut(parts[0]), cut(parts[1])];
        self.known.insert(parts, Some(Pair { value: spectrum, grid: [h, columns], factor }));
        parts
    }

    /// The spectrum that an inverse transform reads.
    pub(super) fn joined(&mut self, graph: &mut Graph, parts: [Value; 2]) -> Spectrum {
        if let Some(factors) = self.product(graph, parts) {
            return self.multiplied(graph, parts, factors);
        }
        let shape = graph.shape(parts[0]).clone();
        if let Some(pair) = self.pair(graph, parts) {
            return Spectrum { value: pair.value, columns: pair.grid[1], outer: false, factor: pair.factor };
        }
        let path = paired_path(graph, parts);
        let rank = shape.rank();
        let value = Net::within(graph, path).concat("joined", &parts, rank - 2);
        Spectrum { value, columns: shape.dim(rank - 1), outer: false, factor: 1.0 }
    }

    /// The pair of two values, if they are the parts of one.
    fn pair(&mut self, graph: &mut Graph, parts: [Value; 2]) -> Option<Pair> {
        if let Some(&known) = self.known.get(&parts) {
            return known;
        }
        let found = self.find(graph, parts);
        self.known.insert(parts, found);
        found
    }

    fn find(&mut self, graph: &mut Graph, parts: [Value; 2]) -> Option<Pair> {
        if graph.is_constant(parts[0]) || graph.is_constant(parts[1]) || graph.ty(parts[0]) != graph.ty(parts[1]) {
            return None;
        }
        let nodes = parts.map(|v| graph.producer(v).clone());
        if let Some(factors) = self.product(graph, parts) {
            let grid = factors[0].grid;
            let factor = factors[0].factor * factors[1].factor;
            let value = self.split_product(graph, parts, factors);
            return Some(Pair { value, grid, factor });
        }
        if let Some(pair) = self.mixed(graph, parts) {
            return Some(pair);
        }
        if nodes[0].op != nodes[1].op {
            return None;
        }
        match nodes[0].op {
            Op::Unary(_) | Op::Clip { .. } => {
                let mut x = self.pair(graph, [nodes[0].inputs[0], nodes[1].inputs[0]])?;
                let op = match nodes[0].op {
                    Op::Clip { lo, hi } => Op::Clip { lo: (lo.0 / x.factor).into(), hi: (hi.0 / x.factor).into() },
                    Op::Unary(UnaryKind::Relu | UnaryKind::Abs | UnaryKind::Neg) => nodes[0].op.clone(),
                    _ => {
                        x = multiplied_out(graph, x);
                        nodes[0].op.clone()
                    }
                };
                let path = paired_path(graph, parts);
                let value = Net::within(graph, path).push("", op, &[x.value]);
                Some(Pair { value, ..x })
            }
            Op::Binary(kind) => {
                let scalar = |graph: &Graph, i: usize| {
                    let v = nodes[0].inputs[i];
                    (v == nodes[1].inputs[i] && graph.is_constant(v) && graph.shape(v).elements() == 1).then_some(v)
                };
                let scalars = [scalar(graph, 0), scalar(graph, 1)];
                let mut pairs = [None; 2];
                for i in (0..2).filter(|&i| scalars[i].is_none()) {
                    pairs[i] = Some(self.pair(graph, [nodes[0].inputs[i], nodes[1].inputs[i]])?);
                }
                let first = pairs.iter().flatten().next().copied()?;
                // A product has the product of both factors; what is added or compared needs one.
                let factors = pairs.map(|p| p.map_or(1.0, |p| p.factor));
                let common = match kind {
                    BinaryKind::Mul => factors[0] * factors[1],
                    BinaryKind::Div => factors[0] / factors[1],
                    _ => first.factor,
                };
                let additive = !matches!(kind, BinaryKind::Mul | BinaryKind::Div);
                let mut operands = Vec::new();
                for i in 0..2 {
                    let mut net = Net::within(graph, &nodes[0].path);
                    operands.push(match (scalars[i], pairs[i]) {
                        (Some(c), _) if additive && common != 1.0 => scaled(&mut net, c, 1.0 / common),
                        (Some(c), _) => c,
                        (None, pair) => {
                            let pair = pair.expect("found above");
                            let shape = net.ty(first.value).shape.clone();
                            let value = view(&mut net, "like", pair.value, shape);
                            let differs = additive && pair.factor != common;
                            if differs { scaled(&mut net, value, pair.factor / common) } else { value }
                        }
                    });
                }
                let path = paired_path(graph, parts);
                let value = Net::within(graph, path).binary("", kind, operands[0], operands[1]);
                Some(Pair { value, factor: common, ..first })
            }
            _ => None,
        }
    }

    /// Both parts as linear maps of the parts of one pair: one 1x1 mix of the 2C channels.
    fn mixed(&mut self, graph: &mut Graph, parts: [Value; 2]) -> Option<Pair> {
        let mut terms: [Vec<Term>; 2] = [Vec::new(), Vec::new()];
        for (part, terms) in parts.iter().zip(&mut terms) {
            collect(graph, *part, false, terms)?;
        }
        let first = terms[0].first()?.1.clone();
        let other = terms.iter().flatten().map(|(_, l)| l.x).find(|&x| x != first.x)?;
        let geometry = |l: &Linear| l.op == first.op && (l.x == first.x || l.x == other);
        if !terms.iter().flatten().all(|(_, l)| geometry(l)) {
            return None;
        }
        let mut sources = [first.x, other];
        let x = match self.pair(graph, sources) {
            Some(x) => x,
            None => {
                sources.reverse();
                self.pair(graph, sources)?
            }
        };
        let path = paired_path(graph, parts);
        let groups = first.groups();
        let w = graph.shape(first.w).as_fixed()?;
        let (outputs, inner) = (w[0], w[1]);
        let batch = graph.shape(parts[0]).0[0];
        let mut net = Net::within(graph, &path);
        let zero =
            |net: &mut Net, dims: &[usize]| net.generate("none", Generator::Fill { value: Real(0.0) }, Type::f32(dims));
        // Kernels [O,1,I,1] of part p in part q, laid out as rows (o,q) and columns (i,p).
        let mut rows = Vec::new();
        for terms in &terms {
            let mut columns = Vec::new();
            for source in sources {
                let kernels = terms.iter().filter(|(_, l)| l.x == source).map(|(minus, l)| (*minus, l.w));
                let kernel = match signed_sum(&mut net, kernels) {
                    Some(w) => net.reshape("part", w, Shape::fixed(&[outputs, 1, inner, 1])),
                    None => zero(&mut net, &[outputs, 1, inner, 1]),
                };
                columns.push(kernel);
            }
            rows.push(net.concat("row", &columns, 3));
        }
        let w = net.concat("rows", &rows, 1);
        let w = net.reshape("w", w, Shape::fixed(&[2 * outputs, 2 * inner, 1, 1]));
        let biases = terms.each_ref().map(|terms| {
            let biases = terms.iter().filter_map(|(minus, l)| l.b.map(|b| (*minus, b)));
            signed_sum(&mut net, biases.collect::<Vec<_>>())
        });
        let bias = biases.iter().any(Option::is_some).then(|| {
            let parts = biases.map(|b| {
                let b = b.unwrap_or_else(|| zero(&mut net, &[outputs]));
                net.reshape("b_part", b, Shape::fixed(&[outputs, 1]))
            });
            let b = net.concat("b_parts", &parts, 1);
            let b = net.reshape("b", b, Shape::fixed(&[2 * outputs]));
            if x.factor == 1.0 { b } else { scaled(&mut net, b, 1.0 / x.factor) }
        });
        let [h, columns] = x.grid;
        let channels = 2 * inner * groups;
        let value = match self.forms.mix {
            MixForm::GroupedConv => {
                let maps = view(&mut net, "maps", x.value, Shape::batched(batch, &[channels, h, columns]));
                let inputs: Vec<Value> = [maps, w].into_iter().chain(bias).collect();
                net.push("", Op::Conv { stride: [1; 2], pad: [0; 4], groups }, &inputs)
            }
            MixForm::BlockDiagonal => {
                let bins = view(&mut net, "bins", x.value, Shape::batched(batch, &[channels, h * columns]));
                let w = regrouped(&mut net, w, groups, 1);
                let w = net.reshape("matrix", w, Shape::fixed(&[2 * outputs, channels]));
                let name = if bias.is_some() { "product" } else { "" };
                let y = net.matmul(name, w, bins);
                match bias {
                    Some(b) => {
                        let b = net.reshape("offset", b, Shape::fixed(&[2 * outputs, 1]));
                        net.binary("", BinaryKind::Add, y, b)
                    }
                    None => y,
                }
            }
        };
        Some(Pair { value, ..x })
    }

    /// The pairs (a, b) with re = a_re·b_re − a_im·b_im and im = a_re·b_im + a_im·b_re.
    fn product(&mut self, graph: &mut Graph, [re, im]: [Value; 2]) -> Option<[Pair; 2]> {
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
        let [reals, imags] = terms(graph, re, BinaryKind::Sub)?;
        let mut crossed = terms(graph, im, BinaryKind::Add)?.map(sorted);
        crossed.sort();
        for (ai, bi) in [(imags[0], imags[1]), (imags[1], imags[0])] {
            let [ar, br] = reals;
            let mut wanted = [sorted([ar, bi]), sorted([ai, br])];
            wanted.sort();
            if wanted == crossed
                && let (Some(a), Some(b)) = (self.pair(graph, [ar, ai]), self.pair(graph, [br, bi]))
                && a.grid == b.grid
            {
                return Some([a, b]);
            }
        }
        None
    }

    fn multiplied(&mut self, graph: &mut Graph, parts: [Value; 2], [a, b]: [Pair; 2]) -> Spectrum {
        let (columns, factor) = (a.grid[1], a.factor * b.factor);
        if self.forms.product == ProductForm::Split {
            return Spectrum { value: self.split_product(graph, parts, [a, b]), columns, outer: false, factor };
        }
        let shape = graph.shape(parts[0]).clone();
        let (lead, bins) = (shape.rank() - 2, a.grid[0] * columns);
        let path = paired_path(graph, parts);
        let mut net = Net::within(graph, path);
        let left = view(&mut net, "left", a.value, with_tail(&shape, lead, &[2, 1, bins]));
        let right = view(&mut net, "right", b.value, with_tail(&shape, lead, &[1, 2, bins]));
        let value = net.binary("products", BinaryKind::Mul, left, right);
        Spectrum { value, columns, outer: true, factor }
    }

    /// The product of two pairs as `[…,2,bins]`.
    fn split_product(&mut self, graph: &mut Graph, parts: [Value; 2], factors: [Pair; 2]) -> Value {
        let [h, columns] = factors[0].grid;
        let shape = graph.shape(parts[0]).clone();
        let lead = shape.rank() - 2;
        let [re_path, im_path] = parts.map(|p| graph.release_path(p.node));
        let path = paired(&re_path, &im_path);
        let mut net = Net::within(graph, path);
        let [a, b] = [("left", factors[0]), ("right", factors[1])].map(|(name, pair)| {
            let by_part = view(&mut net, name, pair.value, with_tail(&shape, lead, &[2, h * columns]));
            let halves = net.split(format!("{name}.split"), by_part, lead, &[1, 1]);
            [halves[0], halves[1]]
        });
        let mut times = |name: &str, x: Value, y: Value| net.binary(name, BinaryKind::Mul, x, y);
        let (rr, ii) = (times("rr", a[0], b[0]), times("ii", a[1], b[1]));
        let (ri, ir) = (times("ri", a[0], b[1]), times("ir", a[1], b[0]));
        let re = net.binary("re", BinaryKind::Sub, rr, ii);
        let im = net.binary("im", BinaryKind::Add, ri, ir);
        net.concat("product", &[re, im], lead)
    }
}

/// The pair whose elements are the paper's: constants times the factor where a mix made it, else a product.
fn multiplied_out(graph: &mut Graph, x: Pair) -> Pair {
    if x.factor == 1.0 {
        return x;
    }
    let path = format!("{}.normalised", graph.producer(x.value).path);
    let value = times(&mut Net::within(graph, path), x.value, x.factor);
    Pair { value, factor: 1.0, ..x }
}

/// `x` times a number, taken into the constants of the mix that made it.
fn times(net: &mut Net, x: Value, factor: f64) -> Value {
    let node = net.graph().producer(x).clone();
    let constant: Vec<bool> = node.inputs.iter().map(|&v| net.graph().is_constant(v)).collect();
    match (&node.op, &constant[..]) {
        (Op::Conv { .. }, [false, true, ..]) => {
            let weights: Vec<Value> = node.inputs[1..].iter().map(|&w| scaled(net, w, factor)).collect();
            let inputs: Vec<Value> = [node.inputs[0]].into_iter().chain(weights).collect();
            net.push("", node.op.clone(), &inputs)
        }
        (Op::MatMul { .. }, [true, false]) => {
            let matrix = scaled(net, node.inputs[0], factor);
            net.push("product", node.op.clone(), &[matrix, node.inputs[1]])
        }
        (Op::Binary(BinaryKind::Add), [false, true]) => {
            let (x, c) = (times(net, node.inputs[0], factor), scaled(net, node.inputs[1], factor));
            net.push("", node.op.clone(), &[x, c])
        }
        _ => scaled(net, x, factor),
    }
}

fn sorted(mut pair: [Value; 2]) -> [Value; 2] {
    pair.sort();
    pair
}

/// The unpadded 1x1 convolutions of stride 1 whose signed sum a value is.
fn collect(graph: &Graph, v: Value, minus: bool, terms: &mut Vec<Term>) -> Option<()> {
    match graph.op(v) {
        Op::Binary(kind @ (BinaryKind::Add | BinaryKind::Sub)) => {
            let inputs = &graph.producer(v).inputs;
            collect(graph, inputs[0], minus, terms)?;
            collect(graph, inputs[1], minus ^ (*kind == BinaryKind::Sub), terms)
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
fn signed_sum(net: &mut Net, terms: impl IntoIterator<Item = (bool, Value)>) -> Option<Value> {
    terms.into_iter().fold(None, |sum, (minus, v)| {
        Some(match (sum, minus) {
            (None, false) => v,
            (None, true) => net.unary("neg", UnaryKind::Neg, v),
            (Some(s), false) => net.binary("sum", BinaryKind::Add, s, v),
            (Some(s), true) => net.binary("sum", BinaryKind::Sub, s, v),
        })
    })
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
