//! Eliminate maps between 1x1 convolutions: sums, concatenations and products of linear expressions multiplied out,
//! where that is cheaper.
//!
//! Between sources (results of anything else) dense unpadded 1x1 convolutions, sums, concatenations and splits over
//! channels compute affine expressions `Σ A_s·s + b`, position by position. Every value among them can be stored, or
//! eliminated by writing its expression into its readers:
//!
//! ```text
//! Given    z = W·x + b,  l = z + V·o,  y = [l ; U·l],  q = Q·z          o, x sources; z and l read by nothing else
//! Result   y = [W ; U·W]·x + [V ; U·V]·o + …,  q = (Q·W)·x + Q·b        without z and l
//! Given    y = W·average(z) + b, z eliminated                           Result   y = average((W·A)·x + …)
//! ```
//!
//! Exact    matrices multiply in any order. An average commutes with an affine map because its weights sum to one,
//! padded or not: padding is not counted.
//!
//! Which values to store is searched greedily: starting from all, the elimination that saves most on the target is
//! made until none saves. Eliminated together are the parts of a concatenation, which stops being one. Convolutions
//! that then read one source are merged later; their number of kernels is counted so. The report names the change in
//! multiply-accumulates.

use crate::algebra::Linear;
use crate::note::Note;
use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::{BTreeMap, HashMap, HashSet};
use vitc_ir::cost::{Price, Work};
use vitc_ir::{BinaryKind, Copier, Generator, Graph, Net, NodeId, Op, Real, Shape, Target, Type, Use, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("multiply_out", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let Context { target, options, .. } = context;
    let expressions = Expressions::new(graph);
    let mut eliminated = HashSet::new();
    let price = Price::new(graph, target, options.precision);
    let mut more = 0;
    for region in expressions.regions() {
        let search = Search { expressions: &expressions, region: &region, target, price };
        more += search.run(&mut eliminated);
    }
    if eliminated.is_empty() {
        return Ok(Rewritten::unchanged(graph));
    }
    let count = eliminated.len();
    let notes = vec![Note::MultipliedOut { maps: Some(count), macs: more }];
    Ok(Rewritten { graph: emit(&expressions, &eliminated), count, notes })
}

/// How a value follows from its operands, if linearly and position by position.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    /// Dense 1x1 convolution.
    Product,
    Sum,
    Concat,
    Split,
}

/// The linear values of a graph.
struct Expressions<'a> {
    graph: &'a Graph,
    uses: Uses,
    forms: Vec<Option<Form>>,
}

/// Expression of a value: its sources, each with true if its matrix is the identity.
type Terms = BTreeMap<Value, bool>;

impl<'a> Expressions<'a> {
    fn new(graph: &'a Graph) -> Self {
        let mut forms = vec![None; graph.len()];
        for (id, _) in graph.run_time_nodes() {
            forms[id.0 as usize] = form(graph, id);
        }
        Expressions { graph, uses: graph.uses(), forms }
    }

    fn form(&self, id: NodeId) -> Option<Form> {
        self.forms[id.0 as usize]
    }

    /// Run-time operands.
    fn operands(&self, id: NodeId) -> &[Value] {
        let node = self.graph.node(id);
        if self.form(id) == Some(Form::Product) { &node.inputs[..1] } else { &node.inputs }
    }

    /// The operand of an average pool that a product reads, if the pool can move behind the product: all its readers
    /// are products.
    fn pooled(&self, operand: Value) -> Option<Value> {
        let pool = self.graph.producer(operand);
        let products = self.uses.readers(operand).iter().all(|r| self.form(r.node) == Some(Form::Product));
        (matches!(pool.op, Op::AvgPool { .. }) && products && !self.uses.is_result(operand)).then(|| pool.inputs[0])
    }

    /// Whether every reader can do with the value's expression instead.
    fn can_be_eliminated(&self, value: Value) -> bool {
        let id = value.node;
        let readers = self.uses.readers(value);
        let takes = |r: &Use| {
            let pool = Value::from(r.node);
            self.form(r.node).is_some() || (self.pooled(pool) == Some(value) && !self.uses.readers(pool).is_empty())
        };
        matches!(self.form(id), Some(Form::Product | Form::Sum | Form::Concat))
            && !readers.is_empty()
            && readers.iter().all(takes)
            && !self.uses.is_result(value)
    }

    /// Nodes that are linked by linear operands, in order; only regions of more than one.
    fn regions(&self) -> Vec<Vec<NodeId>> {
        let mut leader: Vec<usize> = (0..self.graph.len()).collect();
        fn root(leader: &mut [usize], mut i: usize) -> usize {
            while leader[i] != i {
                leader[i] = leader[leader[i]];
                i = leader[i];
            }
            i
        }
        for (id, _) in self.graph.run_time_nodes().filter(|(id, _)| self.form(*id).is_some()) {
            for &x in self.operands(id) {
                // Across a pool that may move; sources link those that read them, which may become one convolution.
                let x = self.pooled(x).filter(|_| self.form(id) == Some(Form::Product)).unwrap_or(x);
                let (a, b) = (root(&mut leader, x.node.0 as usize), root(&mut leader, id.0 as usize));
                leader[a.max(b)] = a.min(b);
            }
        }
        let mut regions: BTreeMap<usize, Vec<NodeId>> = BTreeMap::new();
        for (id, _) in self.graph.run_time_nodes().filter(|(id, _)| self.form(*id).is_some()) {
            regions.entry(root(&mut leader, id.0 as usize)).or_default().push(id);
        }
        regions.into_values().filter(|r| r.len() > 1).collect()
    }

    /// What an operand stands for when values are eliminated: itself, or the sources of its expression.
    fn operand_terms(&self, operand: Value, product: bool, eliminated: &HashSet<Value>) -> Terms {
        if eliminated.contains(&operand) {
            return self.terms(operand.node, eliminated);
        }
        match self.pooled(operand).filter(|x| product && eliminated.contains(x)) {
            Some(x) => self.terms(x.node, eliminated),
            None => Terms::from([(operand, true)]),
        }
    }

    /// The sources of a linear node's expression.
    fn terms(&self, id: NodeId, eliminated: &HashSet<Value>) -> Terms {
        let form = self.form(id);
        let mut terms = Terms::new();
        for &operand in self.operands(id) {
            for (source, identity) in self.operand_terms(operand, form == Some(Form::Product), eliminated) {
                let alone = !terms.contains_key(&source);
                terms.insert(source, identity && alone && form == Some(Form::Sum));
            }
        }
        terms
    }

    /// Whether an operand of the node was eliminated, so that it is emitted as its expression.
    fn changes(&self, id: NodeId, eliminated: &HashSet<Value>) -> bool {
        let product = self.form(id) == Some(Form::Product);
        let gone = |&x: &Value| {
            eliminated.contains(&x) || (product && self.pooled(x).is_some_and(|z| eliminated.contains(&z)))
        };
        self.operands(id).iter().any(gone)
    }

    /// The pool that the node's expression goes through.
    fn pool_behind(&self, id: NodeId, eliminated: &HashSet<Value>) -> Option<&Op> {
        let &operand = self.operands(id).first().filter(|_| self.form(id) == Some(Form::Product))?;
        let x = self.pooled(operand)?;
        eliminated.contains(&x).then(|| self.graph.op(operand))
    }
}

fn form(graph: &Graph, id: NodeId) -> Option<Form> {
    let node = graph.node(id);
    let map = |v: &Value| graph.shape(*v).rank() == 4 && !graph.is_constant(*v);
    match &node.op {
        Op::Conv { stride: [1, 1], pad: [0, 0, 0, 0], groups: 1 } => {
            let pointwise = graph.shape(node.inputs[1]).as_fixed()?[2..] == [1, 1];
            (pointwise && Linear::of(graph, id).is_some()).then_some(Form::Product)
        }
        Op::Binary(BinaryKind::Add) => {
            let alike = node.inputs.iter().all(|v| map(v) && graph.ty(*v) == &node.types[0]);
            (alike && node.inputs[0] != node.inputs[1]).then_some(Form::Sum)
        }
        Op::Concat { axis: 1 } => node.inputs.iter().all(map).then_some(Form::Concat),
        Op::Split { axis: 1, .. } => node.inputs.iter().all(map).then_some(Form::Split),
        _ => None,
    }
}

/// The search for the values of one region to eliminate.
struct Search<'a> {
    expressions: &'a Expressions<'a>,
    region: &'a [NodeId],
    target: &'a Target,
    price: Price,
}

impl Search<'_> {
    /// Add what pays to `eliminated`; returns the change in multiply-accumulates.
    fn run(&self, eliminated: &mut HashSet<Value>) -> i64 {
        let before = self.work(eliminated);
        let mut best = before;
        let price = |w: &Work| self.price.of(w);
        let candidates = self.candidates();
        loop {
            let trials = candidates.iter().filter(|c| !c.iter().all(|v| eliminated.contains(v))).map(|candidate| {
                let mut trial = eliminated.clone();
                trial.extend(candidate);
                (self.work(&trial), candidate)
            });
            let cheapest = trials.min_by(|a, b| price(&a.0).total_cmp(&price(&b.0)));
            match cheapest.filter(|(work, _)| price(work) < price(&best)) {
                Some((work, candidate)) => {
                    best = work;
                    eliminated.extend(candidate);
                }
                None => return best.macs as i64 - before.macs as i64,
            }
        }
    }

    /// Values to eliminate in one step: each alone, and the parts of each concatenation.
    fn candidates(&self) -> Vec<Vec<Value>> {
        let can = |v: &Value| v.index == 0 && self.expressions.can_be_eliminated(*v);
        let alone = self.region.iter().map(|&id| Value::from(id)).filter(can).map(|v| vec![v]);
        let concats = self.region.iter().filter(|&&id| self.expressions.form(id) == Some(Form::Concat));
        let parts = concats.map(|&id| self.expressions.operands(id).iter().copied().filter(can).collect::<Vec<_>>());
        alone.chain(parts.filter(|p| p.len() > 1)).collect()
    }

    /// Work of the region with these values eliminated.
    fn work(&self, eliminated: &HashSet<Value>) -> Work {
        let graph = self.expressions.graph;
        let mut total = Work::default();
        // Convolutions of one source, which become one with a split from the target's number on.
        let mut siblings: BTreeMap<Value, (usize, usize)> = BTreeMap::new();
        let mut pools = HashSet::new();
        for &id in self.region.iter().filter(|&&id| !eliminated.contains(&id.into())) {
            let node = graph.node(id);
            let elements = |t: &Type| self.price.elements(&t.shape);
            let outputs: usize = node.types.iter().map(elements).sum();
            let form = self.expressions.form(id);
            let changes = self.expressions.changes(id, eliminated);
            let split = form == Some(Form::Split);
            if split || (!changes && form == Some(Form::Concat)) {
                total += Work::movement(outputs);
            }
            if !changes && (split || form == Some(Form::Concat)) {
                continue;
            }
            let terms = self.expressions.terms(id, eliminated);
            let dense: Vec<Value> = terms.iter().filter(|(_, identity)| !**identity).map(|(&s, _)| s).collect();
            let rows: usize = node.types.iter().map(|t| t.shape.dim(1)).sum();
            for &source in &dense {
                let shape = graph.shape(source);
                let positions = shape.dim(2) * shape.dim(3);
                total += Work { kernels: 0, ..Work::convolution(rows * shape.dim(1), rows, positions) };
                let entry = siblings.entry(source).or_default();
                *entry = (entry.0 + 1, entry.1 + rows * positions);
            }
            // A sum rides on the convolution in front of it.
            let operands_ride = !changes && self.expressions.operands(id).iter().any(|&x| self.rides(x));
            let sums = terms.len() - 1 - usize::from(terms.len() > 1 && (!dense.is_empty() || operands_ride));
            total += Work { kernels: sums, results: sums * outputs, ..Work::default() };
            if self.expressions.pool_behind(id, eliminated).is_some() {
                total += Work::movement(outputs);
            } else if let Some(&x) = self.expressions.operands(id).first()
                && self.expressions.pooled(x).is_some()
                && pools.insert(x)
            {
                total += Work::movement(self.price.elements(graph.shape(x)));
            }
        }
        for (count, written) in siblings.into_values() {
            if count >= self.target.merge_siblings {
                total += Work { kernels: 2, results: written, ..Work::default() };
            } else {
                total.kernels += count;
            }
        }
        total
    }

    /// Whether the value is a convolution that only one node reads, so that a sum with it is part of its kernel.
    fn rides(&self, value: Value) -> bool {
        let conv = matches!(self.expressions.graph.op(value), Op::Conv { .. });
        conv && self.expressions.uses.readers(value).len() == 1
    }
}

/// The graph without the eliminated values.
fn emit(expressions: &Expressions, eliminated: &HashSet<Value>) -> Graph {
    let graph = expressions.graph;
    let copy = Copier::new(graph, graph.stage);
    let mut emitter = Emitter { expressions, eliminated, copy, matrices: HashMap::new() };
    for (id, _) in graph.nodes() {
        if eliminated.contains(&id.into()) {
            continue;
        }
        let pool_of_nothing =
            expressions.pooled(id.into()).is_some_and(|x| eliminated.contains(&x)) && !graph.is_constant(id.into());
        if pool_of_nothing {
            continue;
        }
        if expressions.form(id).is_some() && expressions.changes(id, eliminated) {
            emitter.node(id);
        } else {
            emitter.copy.node(id);
        }
    }
    emitter.copy.finish()
}

/// A matrix `[rows, channels of the source]` of the new graph.
#[derive(Debug, Clone, Copy)]
enum Matrix {
    Identity,
    Dense(Value),
}

struct Emitter<'a> {
    expressions: &'a Expressions<'a>,
    eliminated: &'a HashSet<Value>,
    copy: Copier<'a>,
    matrices: HashMap<(NodeId, Value), Option<Matrix>>,
}

impl Emitter<'_> {
    /// Emit a node as the sum of its terms.
    fn node(&mut self, id: NodeId) {
        let node = self.expressions.graph.node(id);
        let terms = self.expressions.terms(id, self.eliminated);
        let pool = self.expressions.pool_behind(id, self.eliminated).cloned();
        let rows: usize = node.types.iter().map(|t| t.shape.dim(1)).sum();
        let mut bias = self.bias(id);
        let (mut products, mut plain) = (Vec::new(), Vec::new());
        for (source, identity) in terms {
            let x = self.copy.get(source);
            if identity {
                plain.push(x);
                continue;
            }
            let matrix = self.matrix(id, source).expect("a term has a matrix");
            let matrix = self.dense(matrix, &node.path, rows);
            let name = self.expressions.graph.producer(source).path.rsplit('.').next().unwrap_or_default().to_string();
            products.push((x, matrix, bias.take(), name));
        }
        let single = products.len() + plain.len() == 1 && pool.is_none() && node.types.len() == 1;
        let mut net = Net::within(&mut self.copy.new, &node.path);
        let mut sum: Option<Value> = None;
        for (x, matrix, bias, name) in products {
            let channels = net.dim(x, 1);
            let w = net.reshape(format!("w_{name}"), matrix, Shape::fixed(&[rows, channels, 1, 1]));
            let inputs: Vec<Value> = [x, w].into_iter().chain(bias).collect();
            let op = Op::Conv { stride: [1; 2], pad: [0; 4], groups: 1 };
            let name = if single { String::new() } else { format!("of_{name}") };
            let y = net.push(name, op, &inputs);
            sum = Some(sum.map_or(y, |s| net.binary("sum", BinaryKind::Add, s, y)));
        }
        for x in plain {
            sum = Some(sum.map_or(x, |s| net.binary("sum", BinaryKind::Add, s, x)));
        }
        let mut y = sum.expect("an expression has a term");
        if let Some(bias) = bias {
            let bias = net.along("bias", bias, 1, 4);
            y = net.binary("shift", BinaryKind::Add, y, bias);
        }
        if let Some(op) = pool {
            y = net.push("average", op, &[y]);
        }
        if let Op::Split { sizes, .. } = &node.op {
            let parts = net.split("", y, 1, sizes);
            for (index, part) in parts.into_iter().enumerate() {
                self.copy.set(Value { node: id, index: index as u32 }, part);
            }
        } else {
            if self.copy.new.producer(y).path != node.path && self.copy.new.find(&node.path).is_none() {
                self.copy.new.rename(y.node, &node.path);
            }
            self.copy.set(id.into(), y);
        }
    }

    /// The matrix of a node's expression for one source, or `None` if the source has no part in it. A split is taken
    /// whole.
    fn matrix(&mut self, id: NodeId, source: Value) -> Option<Matrix> {
        if let Some(&known) = self.matrices.get(&(id, source)) {
            return known;
        }
        let node = self.expressions.graph.node(id);
        let operands = self.expressions.operands(id).to_vec();
        let parts: Vec<Option<Matrix>> = operands.iter().map(|&x| self.operand_matrix(id, x, source)).collect();
        let matrix = if parts.iter().all(Option::is_none) {
            None
        } else {
            Some(match self.expressions.form(id).expect("a linear node") {
                Form::Product => {
                    let w = self.copy.constant(node.inputs[1]);
                    let (rows, inner) = (self.copy.new.shape(w).dim(0), self.copy.new.shape(w).dim(1));
                    let mut net = Net::within(&mut self.copy.new, &node.path);
                    let w = net.reshaped("w_rows", w, &[rows, inner]);
                    match parts[0]? {
                        Matrix::Identity => Matrix::Dense(w),
                        Matrix::Dense(m) => Matrix::Dense(net.matmul("w_product", w, m)),
                    }
                }
                Form::Sum => match (parts[0], parts[1]) {
                    (Some(a), Some(b)) => {
                        let rows = node.types[0].shape.dim(1);
                        let (a, b) = (self.dense(a, &node.path, rows), self.dense(b, &node.path, rows));
                        let mut net = Net::within(&mut self.copy.new, &node.path);
                        Matrix::Dense(net.binary("w_sum", BinaryKind::Add, a, b))
                    }
                    (a, b) => a.or(b)?,
                },
                Form::Concat => {
                    let columns = self.expressions.graph.shape(source).dim(1);
                    let rows: Vec<Value> = operands
                        .iter()
                        .zip(parts)
                        .map(|(&x, part)| {
                            let rows = self.expressions.graph.shape(x).dim(1);
                            match part {
                                Some(part) => self.dense(part, &node.path, rows),
                                None => Net::within(&mut self.copy.new, &node.path).generate(
                                    "w_zero",
                                    Generator::Fill { value: Real(0.0) },
                                    Type::f32(&[rows, columns]),
                                ),
                            }
                        })
                        .collect();
                    Matrix::Dense(Net::within(&mut self.copy.new, &node.path).concat("w_concat", &rows, 0))
                }
                Form::Split => parts[0]?,
            })
        };
        self.matrices.insert((id, source), matrix);
        matrix
    }

    fn operand_matrix(&mut self, reader: NodeId, operand: Value, source: Value) -> Option<Matrix> {
        match self.inside(reader, operand) {
            Some(id) => self.matrix(id, source),
            None => (operand == source).then_some(Matrix::Identity),
        }
    }

    /// The eliminated node whose expression stands for the operand.
    fn inside(&self, reader: NodeId, operand: Value) -> Option<NodeId> {
        let product = self.expressions.form(reader) == Some(Form::Product);
        let pooled = || self.expressions.pooled(operand).filter(|x| product && self.eliminated.contains(x));
        let direct = self.eliminated.contains(&operand).then_some(operand);
        direct.or_else(pooled).map(|v| v.node)
    }

    fn dense(&mut self, matrix: Matrix, path: &str, rows: usize) -> Value {
        match matrix {
            Matrix::Dense(m) => m,
            Matrix::Identity => {
                Net::within(&mut self.copy.new, path).generate("w_eye", Generator::Eye, Type::f32(&[rows, rows]))
            }
        }
    }

    /// The constant part of a node's expression: one element per channel, `None` for zero.
    fn bias(&mut self, id: NodeId) -> Option<Value> {
        let node = self.expressions.graph.node(id);
        let operands = self.expressions.operands(id).to_vec();
        let parts: Vec<Option<Value>> =
            operands.iter().map(|&x| self.inside(id, x).and_then(|inner| self.bias(inner))).collect();
        match self.expressions.form(id).expect("a linear node") {
            Form::Product => {
                let own = node.inputs.get(2).map(|&b| self.copy.constant(b));
                let Some(inner) = parts[0] else { return own };
                let w = self.copy.constant(node.inputs[1]);
                let op = node.op.clone();
                let linear = Linear { op, x: inner, w, b: own, path: node.path.clone() };
                let response = linear.response(&mut self.copy.new, inner);
                linear.shifted(&mut self.copy.new, response).b
            }
            Form::Sum => match (parts[0], parts[1]) {
                (Some(a), Some(b)) => {
                    Some(Net::within(&mut self.copy.new, &node.path).binary("b_sum", BinaryKind::Add, a, b))
                }
                (a, b) => a.or(b),
            },
            Form::Concat => {
                if parts.iter().all(Option::is_none) {
                    return None;
                }
                let graph = self.expressions.graph;
                let mut net = Net::within(&mut self.copy.new, &node.path);
                let parts: Vec<Value> = operands
                    .iter()
                    .zip(parts)
                    .map(|(&x, part)| {
                        let zero = Generator::Fill { value: Real(0.0) };
                        part.unwrap_or_else(|| net.generate("b_zero", zero, Type::f32(&[graph.shape(x).dim(1)])))
                    })
                    .collect();
                Some(net.concat("b_concat", &parts, 0))
            }
            Form::Split => parts[0],
        }
    }
}
