//! Seeded weights: deterministic stand-ins for a checkpoint, for latency measurements and tests.
//!
//! Every weight is `offset + factor·u`, u uniform in [−1, 1), from a stream that depends on key and seed only. Offset
//! and factor follow from what reads the weight and from one closed-form estimate per operator of the root mean
//! square of its result, so that statistics fit the activations of any variant, resolution and class count, and
//! nothing leaves the f16 range:
//!
//! | read as | value |
//! |---|---|
//! | kernel or matrix | √(3/fan-in)·u, which keeps the RMS |
//! | kernel or matrix that reads an activation | that, less the mean of each row: what all positive maps have in common would drown the image |
//! | kernel or matrix that reads a product of two maps | the first / 64: a product squares what an image has more than others, block after block |
//! | kernel that ends a branch which no norm bounds, and is added to what entered it | the first / 4: such branches add up, dozens of times |
//! | bias | 0.02·u, small so that the image decides |
//! | BatchNorm mean, variance | 0.02·r·u, r²·(1 + u/2), r the RMS of what enters |
//! | scale of a norm | 1 + u/4 |
//! | scale of a norm on the way to queries or keys | a quarter of that: a score squares amplitudes, and a softmax of large scores is all or nothing |
//! | factor of a branch (LayerScale) | 0.3 + 0.1·u |
//! | stored in pieces (complex mixes of a spectrum) | 0.1·u: a mask of RMS 1 would square the spectrum's mean bin |
//! | anything else (position tables, …) | 0.2·u |

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use vitc_ir::op::{ReduceKind, SpectralNorm};
use vitc_ir::{BinaryKind, Graph, Node, NodeId, Op, Stored, StoredType, UnaryKind, Value, WeightError, Weights};

/// Deterministic weights for one graph.
#[derive(Debug, Clone)]
pub struct SeededWeights {
    seed: u64,
    rules: HashMap<String, Rule>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Rule {
    offset: f64,
    factor: f64,
    /// Elements of each row, if its mean is taken away.
    centred: Option<usize>,
}

impl Rule {
    fn mean_square(self) -> f64 {
        self.offset * self.offset + self.factor * self.factor / 3.0
    }
}

/// What reads a weight.
#[derive(Debug, Clone, Copy)]
enum Role {
    Matrix {
        fan_in: usize,
    },
    /// A matrix that reads an activation's mostly positive result.
    Centred {
        fan_in: usize,
    },
    /// A matrix that reads a product of maps.
    Damped {
        fan_in: usize,
    },
    /// A matrix that ends a branch without a norm.
    BranchEnd {
        fan_in: usize,
    },
    Bias,
    Mean,
    Variance,
    NormScale,
    /// A norm's scale on the way to queries or keys.
    ScoreScale,
    BranchFactor,
    Filter,
    Other,
}

impl SeededWeights {
    /// Weights for every leaf of a paper graph.
    pub fn new(graph: &Graph, seed: u64) -> Self {
        let roles = roles(graph);
        let mut rules = HashMap::new();
        let mut squares: Vec<f64> = Vec::with_capacity(graph.len());
        let mut shares: Vec<Share> = Vec::with_capacity(graph.len());
        for (id, node) in graph.nodes() {
            let square = |v: Value| squares[v.node.0 as usize];
            let square = match &node.op {
                Op::Weight { key } => {
                    let (role, reader) = roles.get(&Value::from(id)).copied().unwrap_or((Role::Other, None));
                    let entering = reader.map_or(1.0, square);
                    let rule = rule(role, entering);
                    rules.insert(key.clone(), rule);
                    rule.mean_square()
                }
                _ => mean_square(graph, node, &square),
            };
            let share = Share::of(graph, id.into(), &squares, &shares);
            let square = share.map_or(square, |s| s.mean_square(&squares)).clamp(1e-12, 1e12);
            squares.push(square);
            shares.push(share.unwrap_or(Share { root: id.into(), factor: 1.0, rest: 0.0 }));
        }
        SeededWeights { seed, rules }
    }

    /// Make every weight that both have the one of `other`, a model of the same seed.
    pub fn take_over(&mut self, other: &SeededWeights) {
        for (key, rule) in &mut self.rules {
            if let Some(known) = other.rules.get(key) {
                *rule = *known;
            }
        }
    }
}

/// A value as a multiple of an earlier one and an independent rest: a skip and a BatchNorm of the same map add up in
/// phase, which a sum of mean squares would miss, block after block.
#[derive(Debug, Clone, Copy)]
struct Share {
    root: Value,
    factor: f64,
    /// Mean square of the rest.
    rest: f64,
}

impl Share {
    /// The share of a sum of values with one root, or of a BatchNorm; `None` for anything that mixes.
    fn of(graph: &Graph, value: Value, squares: &[f64], shares: &[Share]) -> Option<Share> {
        let node = graph.producer(value);
        let square = |i: usize| squares[node.inputs[i].node.0 as usize];
        let share = |i: usize| shares[node.inputs[i].node.0 as usize];
        match &node.op {
            Op::BatchNorm { .. } => {
                let gain = norm_gain(square(1), square(4));
                Some(Share { root: node.inputs[0], factor: gain.sqrt(), rest: square(3) * gain + square(2) })
            }
            Op::Binary(BinaryKind::Add) => {
                let whole = |i: usize| Share { root: node.inputs[i], factor: 1.0, rest: 0.0 };
                let (a, b) = match [share(0), share(1)] {
                    [a, _] if a.root == node.inputs[1] => (a, whole(1)),
                    [_, b] if b.root == node.inputs[0] => (whole(0), b),
                    [a, b] if a.root == b.root => (a, b),
                    // The earlier root stays: branches that start from it come back to it.
                    [a, b] if a.root < b.root => (a, Share { factor: 0.0, rest: square(1), ..b }),
                    [a, b] => (b, Share { factor: 0.0, rest: square(0), ..a }),
                };
                Some(Share { root: a.root, factor: a.factor + b.factor, rest: a.rest + b.rest })
            }
            _ => None,
        }
    }

    fn mean_square(&self, squares: &[f64]) -> f64 {
        self.factor * self.factor * squares[self.root.node.0 as usize] + self.rest
    }
}

/// The role of every weight leaf, and for statistics the value that enters the norm.
fn roles(graph: &Graph) -> HashMap<Value, (Role, Option<Value>)> {
    let mut roles = HashMap::new();
    let ends = ends_of_bare_branches(graph);
    for norm in norms_of_scores(graph) {
        roles.insert(leaf_behind(graph, graph.node(norm).inputs[1]), (Role::ScoreScale, None));
    }
    for (id, node) in graph.nodes() {
        for (i, &input) in node.inputs.iter().enumerate() {
            let role = match (&node.op, i) {
                (Op::Conv { .. }, 1) => {
                    let w = graph.shape(input);
                    Role::Matrix { fan_in: w.elements() / w.dim(0) }
                }
                (Op::Linear, 1) => Role::Matrix { fan_in: graph.shape(input).dim(1) },
                (Op::MatMul { .. }, 1) => {
                    let w = graph.shape(input);
                    Role::Matrix { fan_in: w.0[w.rank() - 2].at(1) }
                }
                (Op::Attention { heads, .. }, i) if i >= 3 && graph.shape(input).rank() == 2 => {
                    Role::Matrix { fan_in: *heads }
                }
                (Op::Conv { .. } | Op::Linear, 2) | (Op::BatchNorm { .. } | Op::LayerNorm { .. }, 2) => Role::Bias,
                (Op::BatchNorm { .. } | Op::LayerNorm { .. }, 1) => Role::NormScale,
                (Op::BatchNorm { .. }, 3) => Role::Mean,
                (Op::BatchNorm { .. }, 4) => Role::Variance,
                (Op::Binary(BinaryKind::Mul), _) if !graph.is_constant(node.inputs[1 - i]) => Role::BranchFactor,
                _ => Role::Other,
            };
            let role = match role {
                Role::Matrix { fan_in } if ends.contains(&id) => Role::BranchEnd { fan_in },
                Role::Matrix { fan_in } if is_product(graph, node.inputs[0]) => Role::Damped { fan_in },
                Role::Matrix { fan_in } if reads_activation(graph, node) => Role::Centred { fan_in },
                role => role,
            };
            if graph.is_constant(input) && !matches!(role, Role::Other) {
                let entering = matches!(role, Role::Mean | Role::Variance).then_some(node.inputs[0]);
                let leaf = leaf_behind(graph, input);
                let pieces = graph.shape(leaf).elements() > graph.shape(input).elements();
                let role = if pieces { Role::Filter } else { role };
                roles.entry(leaf).or_insert((role, entering));
            }
        }
    }
    roles
}

/// Convolutions that end a chain of several and of activations, with no norm among them, and are added to what entered the chain. Trained networks of
/// this kind keep their maps where they are over dozens of such sums; kernels that keep the RMS would double the mean square at each.
fn ends_of_bare_branches(graph: &Graph) -> HashSet<NodeId> {
    let entered = |end: Value, other: Value| {
        let (mut at, mut kernels) = (end, 0);
        while at != other {
            match graph.op(at) {
                Op::Conv { .. } | Op::Linear => kernels += 1,
                Op::Unary(_) if at != end => {}
                _ => return false,
            }
            at = graph.producer(at).inputs[0];
        }
        kernels > 1
    };
    let end = |node: &Node| match (&node.op, &node.inputs[..]) {
        (Op::Binary(BinaryKind::Add), &[a, b]) if a != b => {
            [(a, b), (b, a)].into_iter().find(|&(end, other)| entered(end, other)).map(|(end, _)| end.node)
        }
        _ => None,
    };
    graph.nodes().filter_map(|(_, node)| end(node)).collect()
}

/// The BatchNorms whose results, added up, pooled or laid out differently, are the queries or keys of an attention.
fn norms_of_scores(graph: &Graph) -> Vec<NodeId> {
    let mut norms = Vec::new();
    let attentions = graph.nodes().filter(|(_, n)| matches!(n.op, Op::Attention { .. }));
    let mut stack: Vec<Value> = attentions.flat_map(|(_, n)| n.inputs[..2].to_vec()).collect();
    while let Some(value) = stack.pop() {
        let node = graph.producer(value);
        match &node.op {
            Op::BatchNorm { .. } => norms.push(value.node),
            Op::Binary(BinaryKind::Add) => stack.extend(node.inputs.iter()),
            Op::AvgPool { .. } | Op::Reshape { .. } | Op::Transpose { .. } | Op::Resize { .. } => {
                stack.push(node.inputs[0])
            }
            _ => {}
        }
    }
    norms
}

/// The leaf of a constant that is only moved, not computed with.
fn leaf_behind(graph: &Graph, value: Value) -> Value {
    match graph.op(value) {
        Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Split { .. } | Op::Expand { .. } => {
            leaf_behind(graph, graph.producer(value).inputs[0])
        }
        _ => value,
    }
}

fn rule(role: Role, entering: f64) -> Rule {
    let (offset, factor) = match role {
        Role::Matrix { fan_in } | Role::Centred { fan_in } => (0.0, (3.0 / fan_in as f64).sqrt()),
        Role::Damped { fan_in } => (0.0, (3.0 / fan_in as f64).sqrt() / 64.0),
        Role::BranchEnd { fan_in } => (0.0, (3.0 / fan_in as f64).sqrt() / 4.0),
        Role::Bias => (0.0, 0.02),
        Role::Mean => (0.0, 0.02 * entering.sqrt()),
        Role::Variance => (entering, 0.5 * entering),
        Role::NormScale => (1.0, 0.25),
        Role::ScoreScale => (0.25, 0.0625),
        Role::BranchFactor => (0.3, 0.1),
        Role::Filter => (0.0, 0.1),
        Role::Other => (0.0, 0.2),
    };
    let centred = if let Role::Centred { fan_in } = role { Some(fan_in) } else { None };
    Rule { offset, factor, centred }
}

/// Estimate of the mean square of a node's result from those of its operands, taken as independent and centred.
fn mean_square(graph: &Graph, node: &Node, square: &dyn Fn(Value) -> f64) -> f64 {
    let x = |i: usize| square(node.inputs[i]);
    let optional = |i: usize| node.inputs.get(i).map_or(0.0, |&v| square(v));
    let shape = |i: usize| graph.shape(node.inputs[i]);
    match &node.op {
        Op::Input => 1.0,
        Op::Weight { .. } | Op::Generate(_) => 1.0,
        Op::Literal { values } => values.iter().map(|v| v.0 * v.0).sum::<f64>() / values.len().max(1) as f64,
        Op::Unary(kind) => after_unary(*kind, x(0)),
        Op::Binary(kind) => {
            let maps = node.inputs.iter().all(|&v| is_map(graph, v));
            after_binary(*kind, [x(0), x(1)], maps)
        }
        Op::Sum => node.inputs.iter().map(|&v| square(v)).sum(),
        Op::Clip { lo, hi } => x(0).min(lo.0.abs().max(hi.0.abs()).powi(2)),
        Op::Prelu => x(0) / 2.0 * (1.0 + x(1)),
        Op::Conv { .. } => {
            let fan_in = shape(1).elements() / shape(1).dim(0);
            fan_in as f64 * x(0) * x(1) * centred(graph, node) + optional(2)
        }
        Op::Linear => shape(1).dim(1) as f64 * x(0) * x(1) * centred(graph, node) + optional(2),
        Op::MatMul { transpose_a, .. } => {
            let a = shape(0);
            a.0[a.rank() - if *transpose_a { 2 } else { 1 }].at(1) as f64 * x(0) * x(1)
        }
        Op::BatchNorm { .. } => norm_gain(x(1), x(4)) * (x(0) + x(3)) + x(2),
        Op::LayerNorm { .. } => {
            if node.inputs.len() > 1 {
                x(1) + x(2)
            } else {
                1.0
            }
        }
        Op::Softmax { axis } => {
            let n = shape(0).0[*axis].at(1) as f64;
            4.0 / (n * n)
        }
        Op::Reduce { kind, axes, .. } => after_reduce(*kind, axes.iter().map(|&a| shape(0).0[a].at(1)).product(), x(0)),
        Op::AvgPool { .. } => x(0) / 2.0,
        Op::MaxPool { .. } => 2.0 * x(0),
        // each result meets the kernel once per stride
        Op::ConvTranspose { stride, .. } => {
            x(0) * square(node.inputs[1]) * elements(node, 1) / (shape(1).dim(1) * stride[0] * stride[1]) as f64
        }
        Op::Select => (x(1) + x(2)) / 2.0,
        Op::TopK { .. } => 4.0 * x(0),
        Op::ArgMax { axis, .. } => (shape(0).0[*axis].at(1) as f64).powi(2) / 3.0,
        // weights average what values have in common
        Op::Attention { .. } => x(2),
        Op::Concat { .. } => node.inputs.iter().map(|&v| square(v)).sum::<f64>() / node.inputs.len() as f64,
        Op::Rfft2 { norm } => match norm {
            SpectralNorm::Ortho => x(0) / 2.0,
            SpectralNorm::Backward => x(0) / 2.0 * elements(node, 0),
        },
        Op::Irfft2 { norm, .. } => match norm {
            SpectralNorm::Ortho => x(0) + x(1),
            SpectralNorm::Backward => (x(0) + x(1)) / elements(node, 0),
        },
        Op::Cast { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Split { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Gather { .. }
        | Op::GridSample { .. }
        | Op::Expand { .. }
        | Op::Resize { .. }
        | Op::Quantize { .. }
        | Op::Dequantize
        | Op::Lookup { .. }
        | Op::Keep
        | Op::DepthToSpace { .. }
        | Op::SpaceToDepth { .. }
        | Op::Dct2
        | Op::Idct2
        | Op::WindowPartition { .. }
        | Op::WindowMerge { .. } => x(0),
    }
}

/// Mean square of a reduction of `n` elements for that of one.
fn after_reduce(kind: ReduceKind, n: usize, x: f64) -> f64 {
    match kind {
        ReduceKind::Sum | ReduceKind::L2 => n as f64 * x,
        // A mean keeps the common part and loses the rest.
        ReduceKind::Mean => x / 2.0,
        ReduceKind::Max | ReduceKind::Min => 4.0 * x,
        ReduceKind::Prod => x.powf(n as f64),
    }
}

/// Mean square of f(x) for that of x.
fn after_unary(kind: UnaryKind, x: f64) -> f64 {
    match kind {
        UnaryKind::Relu => x / 2.0,
        // x/2 for small arguments, max(x, 0) for large ones
        UnaryKind::Gelu | UnaryKind::Silu | UnaryKind::HardSwish => x / 4.0 * (1.0 + x / (1.0 + x)),
        UnaryKind::Sigmoid => 0.25 + 0.05 * x / (1.0 + x),
        UnaryKind::Tanh | UnaryKind::Erf => x / (1.0 + x),
        UnaryKind::Sqrt => x.sqrt(),
        UnaryKind::Exp => (2.0 * x).exp(),
        UnaryKind::Abs | UnaryKind::Neg => x,
        UnaryKind::GeluTanh => x / 4.0 * (1.0 + x / (1.0 + x)),
        UnaryKind::Log => x.max(1.0).ln().powi(2) / 4.0 + 1.0,
        UnaryKind::Sin | UnaryKind::Cos => 0.5,
        UnaryKind::Floor | UnaryKind::Ceil => x + 0.5,
        UnaryKind::Round => x + 0.1,
        UnaryKind::Sign => 1.0,
        UnaryKind::Softplus => 0.5 + x / 2.0,
        UnaryKind::Elu { alpha } => x / 2.0 + alpha.0.powi(2) * x / (2.0 + 2.0 * x),
        UnaryKind::LeakyRelu { slope } => x / 2.0 * (1.0 + slope.0.powi(2)),
        UnaryKind::HardSigmoid { .. } => 0.25 + 0.05 * x / (1.0 + x),
    }
}

/// Mean square of f(a, b) for those of both, which may both be maps.
fn after_binary(kind: BinaryKind, [a, b]: [f64; 2], maps: bool) -> f64 {
    match kind {
        BinaryKind::Add | BinaryKind::Sub => a + b,
        // Maps of one input follow the same amplitude, whose fourth moment grows from block to block: the estimate errs on the large side, because
        // an error on the small one squares in every block. A gate is bounded.
        BinaryKind::Mul if maps => 16.0 * a * b,
        BinaryKind::Mul => a * b,
        BinaryKind::Div | BinaryKind::Quotient => a / b,
        BinaryKind::Max | BinaryKind::Min => a.max(b),
        // exponents near 2 are the usual ones
        BinaryKind::Pow => a * a,
    }
}

/// Mean of γ²/σ² of a BatchNorm with σ² = r²·(1 + u/2): 1/σ² averages ln 3/r², and the mean square of σ² is 13/12·r⁴.
fn norm_gain(scale: f64, variance: f64) -> f64 {
    scale * 3f64.ln() / (variance * 12.0 / 13.0).sqrt()
}

/// What is left of the mean square of a positive map when its mean is gone: 1 − 1/π behind ReLU, and about that behind GELU and SiLU.
fn centred(graph: &Graph, node: &Node) -> f64 {
    if reads_activation(graph, node) { 1.0 - std::f64::consts::FRAC_1_PI } else { 1.0 }
}

/// A product of two maps.
fn is_product(graph: &Graph, value: Value) -> bool {
    let node = graph.producer(value);
    node.op == Op::Binary(BinaryKind::Mul) && node.inputs.iter().all(|&v| is_map(graph, v))
}

/// Whether a convolution or linear layer over several channels reads an activation's result. Of few channels too little would be left.
fn reads_activation(graph: &Graph, node: &Node) -> bool {
    let channels = match &node.op {
        Op::Conv { .. } | Op::Linear => graph.shape(node.inputs[1]).dim(1),
        _ => 0,
    };
    channels >= 8 && matches!(graph.op(node.inputs[0]), Op::Unary(UnaryKind::Relu | UnaryKind::Gelu | UnaryKind::Silu))
}

/// A run-time value that is no gate.
fn is_map(graph: &Graph, value: Value) -> bool {
    !graph.is_constant(value) && !matches!(graph.op(value), Op::Unary(UnaryKind::Sigmoid))
}

/// Elements of the last two axes of a node's result.
fn elements(node: &Node, output: usize) -> f64 {
    let s = &node.types[output].shape;
    (s.0[s.rank() - 1].at(1) * s.0[s.rank() - 2].at(1)) as f64
}

/// 64-bit FNV-1a of a text.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3))
}

/// The i-th element of a stream, uniform in [−1, 1) and exact in f32 (SplitMix64's finaliser).
fn uniform(stream: u64, i: u64) -> f64 {
    let mut z = stream.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 40) as f64 / 8_388_608.0 - 1.0
}

/// `n` numbers of the stream `name`, uniform in [−1, 1): synthetic images.
pub fn noise(name: &str, seed: u64, n: usize) -> Vec<f32> {
    let stream = fnv1a(name) ^ seed;
    (0..n as u64).map(|i| uniform(stream, i) as f32).collect()
}

impl Weights for SeededWeights {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        let missing = || WeightError { key: key.into(), what: "is not a weight of the seeded model".into() };
        let rule = self.rules.get(key).ok_or_else(missing)?;
        let stream = fnv1a(key) ^ self.seed;
        let mut bytes = vec![0; elements * 4];
        let number = |i: usize| rule.offset + rule.factor * uniform(stream, i as u64);
        let row = rule.centred.unwrap_or(elements);
        for (r, out) in bytes.chunks_mut(4 * row.max(1)).enumerate() {
            let mean = rule.centred.map_or(0.0, |n| (r * n..(r + 1) * n).map(number).sum::<f64>() / n as f64);
            for (i, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                *out = ((number(r * row + i) - mean) as f32).to_le_bytes();
            }
        }
        Ok(Stored { dtype: StoredType::F32, bytes: Cow::Owned(bytes) })
    }
}
