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
//! made until none saves. None is made that leaves more operators than there were: TensorRT joins maps in place, and the
//! copy of ONNX Runtime takes 1 to 2 % of the time of GhostNet and SqueezeNet. Eliminated together are the parts of a
//! concatenation, which stops being one. Convolutions that then read one source are merged later; their number of
//! kernels is counted so. The report names the change in multiply-accumulates.

use crate::algebra::Linear;
use crate::note::Note;
use crate::pass::{Context, Pass, Result, Rewritten};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use vitc_ir::cost::{Price, Work};
use vitc_ir::{
    BinaryKind, Builder, Built, Copier, Generator, Graph, NodeId, Op, Shape, Target, Type, Use, Uses, Value,
};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("multiply_out", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let Context { target, options, .. } = context;
    let expressions = Expressions::new(graph);
    let mut eliminated = HashSet::new();
    let price = Price::new(graph, target, options.precision);
    let mut more = 0;
    for region in expressions.regions() {
        for piece in region.chunks(LARGEST) {
            more += Search::new(&expressions, piece, target, price).run(&mut eliminated);
        }
    }
    if eliminated.is_empty() {
        return Ok(Rewritten::unchanged(graph));
    }
    let count = eliminated.len();
    let notes = vec![Note::MultipliedOut { maps: Some(count), macs: more }];
    Ok(Rewritten { graph: emit(&expressions, &eliminated)?, count, notes })
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
}

/// The expressions of a graph some of whose values are eliminated.
struct View<'a> {
    expressions: &'a Expressions<'a>,
    eliminated: &'a HashSet<Value>,
    /// Terms by node, each put together once.
    known: RefCell<HashMap<NodeId, Rc<Terms>>>,
}

impl<'a> View<'a> {
    fn new(expressions: &'a Expressions<'a>, eliminated: &'a HashSet<Value>) -> Self {
        View { expressions, eliminated, known: RefCell::default() }
    }

    /// The eliminated node whose expression stands for an operand: the operand's own, or that of the pool's operand.
    fn inside(&self, reader: NodeId, operand: Value) -> Option<(NodeId, Form)> {
        let product = self.expressions.form(reader) == Some(Form::Product);
        let pooled = || self.expressions.pooled(operand).filter(|_| product);
        let value = [Some(operand), pooled()].into_iter().flatten().find(|x| self.eliminated.contains(x))?;
        Some((value.node, self.expressions.form(value.node)?))
    }

    /// The sources of a linear node's expression, each with true if its matrix is the identity.
    fn terms(&self, id: NodeId) -> Terms {
        self.shared_terms(id).as_ref().clone()
    }

    fn shared_terms(&self, id: NodeId) -> Rc<Terms> {
        if let Some(known) = self.known.borrow().get(&id) {
            return Rc::clone(known);
        }
        let sum = self.expressions.form(id) == Some(Form::Sum);
        let mut terms = Terms::new();
        let mut read = |source: Value, identity: bool| {
            let alone = !terms.contains_key(&source);
            terms.insert(source, identity && alone && sum);
        };
        for &operand in self.expressions.operands(id) {
            match self.inside(id, operand) {
                Some((inner, _)) => self.shared_terms(inner).iter().for_each(|(&s, &identity)| read(s, identity)),
                None => read(operand, true),
            }
        }
        let terms = Rc::new(terms);
        self.known.borrow_mut().insert(id, Rc::clone(&terms));
        terms
    }

    /// Whether an operand of the node was eliminated, so that it is emitted as its expression.
    fn changes(&self, id: NodeId) -> bool {
        self.expressions.operands(id).iter().any(|&x| self.inside(id, x).is_some())
    }

    /// The pool that the node's expression goes through.
    fn pool_behind(&self, id: NodeId) -> Option<&Op> {
        let &operand = self.expressions.operands(id).first()?;
        let (inner, _) = self.inside(id, operand)?;
        (operand.node != inner).then(|| self.expressions.graph.op(operand))
    }
}

fn form(graph: &Graph, id: NodeId) -> Option<Form> {
    let node = graph.node(id);
    // A symbolic batch may stand on any axis of a valid value; a map has it in front.
    let map = |v: &Value| {
        let shape = graph.shape(*v);
        shape.rank() == 4 && shape.0[1..].iter().all(|d| d.fixed().is_some()) && !graph.is_constant(*v)
    };
    match &node.op {
        Op::Conv { stride: [1, 1], pad: [0, 0, 0, 0], dilation: [1, 1], groups: 1 } => {
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

/// Nodes that are searched together at most: a search takes the cube of their number. Regions in models have up to 40.
const LARGEST: usize = 48;

/// The search for the values of one region to eliminate. What nodes elsewhere read stays, so expressions do not outgrow the region.
struct Search<'a> {
    expressions: &'a Expressions<'a>,
    region: &'a [NodeId],
    members: HashSet<NodeId>,
    target: &'a Target,
    price: Price,
}

impl<'a> Search<'a> {
    fn new(expressions: &'a Expressions<'a>, region: &'a [NodeId], target: &'a Target, price: Price) -> Self {
        Search { expressions, region, members: region.iter().copied().collect(), target, price }
    }

    /// Whether the value can be eliminated, and only this region reads it.
    fn can_be_eliminated(&self, value: Value) -> bool {
        let read_here = |node: NodeId| self.members.contains(&node);
        let readers = self.expressions.uses.readers(value).iter().all(|r| {
            let beyond = self.expressions.uses.readers(r.node.into());
            read_here(r.node) || beyond.iter().all(|r| read_here(r.node))
        });
        value.index == 0 && readers && self.expressions.can_be_eliminated(value)
    }

    /// Add what pays to `eliminated`; returns the change in multiply-accumulates.
    fn run(&self, eliminated: &mut HashSet<Value>) -> i64 {
        let before = self.work(eliminated);
        let most = self.operators(eliminated);
        let mut best = before;
        let price = |w: &Work| self.price.of(w);
        let candidates = self.candidates();
        loop {
            let trials = candidates.iter().filter(|c| !c.iter().all(|v| eliminated.contains(v))).map(|candidate| {
                let mut trial = eliminated.clone();
                trial.extend(candidate);
                (trial, candidate)
            });
            let sound = trials.filter(|(trial, _)| !self.averages_inside(trial) && self.operators(trial) <= most);
            let cheapest = sound
                .map(|(trial, candidate)| (self.work(&trial), candidate))
                .min_by(|a, b| price(&a.0).total_cmp(&price(&b.0)));
            match cheapest.filter(|(work, _)| price(work) < price(&best)) {
                Some((work, candidate)) => {
                    best = work;
                    eliminated.extend(candidate);
                }
                None => return best.macs as i64 - before.macs as i64,
            }
        }
    }

    /// Whether an eliminated value is an average: no matrix of its readers says that.
    fn averages_inside(&self, eliminated: &HashSet<Value>) -> bool {
        let view = View::new(self.expressions, eliminated);
        self.region.iter().any(|&id| eliminated.contains(&id.into()) && view.pool_behind(id).is_some())
    }

    /// Values to eliminate in one step: each alone, and the parts of each concatenation, without it and with it.
    fn candidates(&self) -> Vec<Vec<Value>> {
        let can = |v: &Value| self.can_be_eliminated(*v);
        let alone = self.region.iter().map(|&id| Value::from(id)).filter(can).map(|v| vec![v]);
        let concats = self.region.iter().filter(|&&id| self.expressions.form(id) == Some(Form::Concat));
        let joined = concats.flat_map(|&id| {
            let parts: Vec<Value> = self.expressions.operands(id).iter().copied().filter(can).collect();
            let whole = [Value::from(id)].into_iter().filter(can).chain(parts.iter().copied()).collect();
            [parts, whole]
        });
        alone.chain(joined.filter(|p| p.len() > 1)).collect()
    }

    /// Work of the region with these values eliminated.
    fn work(&self, eliminated: &HashSet<Value>) -> Work {
        let graph = self.expressions.graph;
        let view = View::new(self.expressions, eliminated);
        let mut total = Work::default();
        // Convolutions of one source, which become one with a split from the target's number on.
        let mut siblings: BTreeMap<Value, (usize, usize)> = BTreeMap::new();
        let mut pools = HashSet::new();
        for &id in self.region.iter().filter(|&&id| !eliminated.contains(&id.into())) {
            let node = graph.node(id);
            let elements = |t: &Type| self.price.elements(&t.shape);
            let outputs: usize = node.types.iter().map(elements).sum();
            let form = self.expressions.form(id);
            let changes = view.changes(id);
            let split = form == Some(Form::Split);
            if split || (!changes && form == Some(Form::Concat)) {
                total += Work::movement(outputs);
            }
            if !changes && (split || form == Some(Form::Concat)) {
                continue;
            }
            let terms = view.terms(id);
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
            let additions = terms.len() - 1;
            let free = usize::from(!dense.is_empty() || operands_ride);
            let sums = additions.saturating_sub(free);
            total += Work { kernels: sums, results: sums * outputs, ..Work::default() };
            if view.pool_behind(id).is_some() {
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

    /// Operators of the region, and pools in front of it, with these values eliminated.
    fn operators(&self, eliminated: &HashSet<Value>) -> usize {
        let view = View::new(self.expressions, eliminated);
        let (mut total, mut siblings, mut pools) = (0, BTreeMap::<Value, usize>::new(), HashSet::new());
        for &id in self.region.iter().filter(|&&id| !eliminated.contains(&id.into())) {
            let form = self.expressions.form(id);
            let changes = view.changes(id);
            let product = form == Some(Form::Product);
            if let Some(&x) = self.expressions.operands(id).first().filter(|_| product && !changes) {
                total += usize::from(self.expressions.pooled(x).is_some() && pools.insert(x));
            }
            if !changes && !product {
                total += 1;
                continue;
            }
            let terms = view.terms(id);
            terms.iter().filter(|(_, identity)| !**identity).for_each(|(&s, _)| *siblings.entry(s).or_default() += 1);
            let pool = usize::from(view.pool_behind(id).is_some());
            total += terms.len() - 1 + pool + usize::from(form == Some(Form::Split));
        }
        let merged = |count: usize| if count >= self.target.merge_siblings { 2 } else { count };
        total + siblings.into_values().map(merged).sum::<usize>()
    }

    /// Whether the value is a convolution that only one node reads, so that a sum with it is part of its kernel.
    fn rides(&self, value: Value) -> bool {
        let conv = matches!(self.expressions.graph.op(value), Op::Conv { .. });
        conv && self.expressions.uses.readers(value).len() == 1
    }
}

/// The graph without the eliminated values.
fn emit(expressions: &Expressions, eliminated: &HashSet<Value>) -> Built<Graph> {
    let graph = expressions.graph;
    let copy = Copier::new(graph, graph.stage);
    let view = View::new(expressions, eliminated);
    let mut emitter = Emitter { view, copy, matrices: HashMap::new(), biases: HashMap::new() };
    for (id, _) in graph.nodes() {
        if eliminated.contains(&id.into()) {
            continue;
        }
        let pool_of_nothing =
            expressions.pooled(id.into()).is_some_and(|x| eliminated.contains(&x)) && !graph.is_constant(id.into());
        if pool_of_nothing {
            continue;
        }
        match expressions.form(id) {
            Some(form) if emitter.view.changes(id) => emitter.node(id, form)?,
            _ => drop(emitter.copy.node(id)?),
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
    view: View<'a>,
    copy: Copier<'a>,
    /// By node and source, each made once.
    matrices: HashMap<(NodeId, Value), Option<Matrix>>,
    /// By node, each made once.
    biases: HashMap<NodeId, Option<Value>>,
}

impl<'a> Emitter<'a> {
    fn graph(&self) -> &'a Graph {
        self.view.expressions.graph
    }

    /// Emit a node as the sum of its terms.
    fn node(&mut self, id: NodeId, form: Form) -> Built<()> {
        let node = self.graph().node(id);
        let pool = self.view.pool_behind(id).cloned();
        let rows: usize = node.types.iter().map(|t| t.shape.dim(1)).sum();
        let mut bias = self.bias(id, form)?;
        let (mut products, mut plain) = (Vec::new(), Vec::new());
        for (source, identity) in self.view.terms(id) {
            let x = self.copy.get(source)?;
            if identity {
                plain.push(x);
                continue;
            }
            let Some(matrix) = self.matrix(id, form, source)? else { continue };
            let matrix = self.dense(matrix, &node.path, rows)?;
            let name = self.graph().producer(source).path.rsplit('.').next().unwrap_or_default().to_string();
            products.push((x, matrix, bias.take(), name));
        }
        let single = products.len() + plain.len() == 1 && pool.is_none() && node.types.len() == 1;
        let mut net = Builder::within(&mut self.copy.new, &node.path);
        let mut summands = Vec::new();
        for (x, matrix, bias, name) in products {
            let channels = net.dim(x, 1)?;
            let w = net.reshape(format!("w_{name}"), matrix, Shape::fixed(&[rows, channels, 1, 1]))?;
            let inputs: Vec<Value> = [x, w].into_iter().chain(bias).collect();
            let op = Op::Conv { stride: [1; 2], pad: [0; 4], dilation: [1; 2], groups: 1 };
            let name = if single { String::new() } else { format!("of_{name}") };
            let y = net.push(name, op, &inputs)?;
            add(&mut net, &mut summands, y)?;
        }
        for x in plain {
            add(&mut net, &mut summands, x)?;
        }
        let Some(mut y) = summands.pop() else {
            return Err(self.graph().unfit(id.into(), "is a sum of nothing".into()));
        };
        if let Some(bias) = bias {
            let bias = net.along("bias", bias, 1, 4)?;
            y = net.binary("shift", BinaryKind::Add, y, bias)?;
        }
        if let Some(op) = pool {
            y = net.push("average", op, &[y])?;
        }
        if let Op::Split { sizes, .. } = &node.op {
            let parts = net.split("", y, 1, sizes)?;
            for (index, part) in parts.into_iter().enumerate() {
                self.copy.set(Value { node: id, index: index as u32 }, part);
            }
        } else {
            if self.copy.new.producer(y).path != node.path && self.copy.new.find(&node.path).is_none() {
                self.copy.new.rename(y.node, &node.path);
            }
            self.copy.set(id.into(), y);
        }
        Ok(())
    }

    /// The matrix of a node's expression for one source, or `None` if the source has no part in it. A split is taken
    /// whole.
    fn matrix(&mut self, id: NodeId, form: Form, source: Value) -> Built<Option<Matrix>> {
        if let Some(&known) = self.matrices.get(&(id, source)) {
            return Ok(known);
        }
        let mut parts = Vec::new();
        for &x in self.view.expressions.operands(id) {
            parts.push(match self.view.inside(id, x) {
                Some((inner, form)) => self.matrix(inner, form, source)?,
                None => (x == source).then_some(Matrix::Identity),
            });
        }
        let matrix = if parts.iter().all(Option::is_none) { None } else { self.joined(id, form, source, &parts)? };
        self.matrices.insert((id, source), matrix);
        Ok(matrix)
    }

    /// The matrix of a node from those of its operands.
    fn joined(&mut self, id: NodeId, form: Form, source: Value, parts: &[Option<Matrix>]) -> Built<Option<Matrix>> {
        let node = self.graph().node(id);
        let dense = match (form, parts) {
            (Form::Product, _) => {
                let w = self.copy.constant(node.inputs[1])?;
                let mut net = Builder::within(&mut self.copy.new, &node.path);
                let (rows, inner) = (net.dim(w, 0)?, net.dim(w, 1)?);
                let w = net.reshaped("w_rows", w, &[rows, inner])?;
                match parts[0] {
                    Some(Matrix::Dense(m)) => net.matmul("w_product", w, m)?,
                    Some(Matrix::Identity) => w,
                    None => return Ok(None),
                }
            }
            (Form::Sum, &[Some(a), Some(b)]) => {
                let rows = node.types[0].shape.dim(1);
                let (a, b) = (self.dense(a, &node.path, rows)?, self.dense(b, &node.path, rows)?);
                Builder::within(&mut self.copy.new, &node.path).binary("w_sum", BinaryKind::Add, a, b)?
            }
            (Form::Concat, _) => {
                let columns = self.graph().shape(source).dim(1);
                let mut blocks = Vec::new();
                for (&x, part) in self.view.expressions.operands(id).iter().zip(parts) {
                    let rows = self.graph().shape(x).dim(1);
                    blocks.push(match part {
                        Some(part) => self.dense(*part, &node.path, rows)?,
                        None => {
                            Builder::within(&mut self.copy.new, &node.path).fill("w_zero", 0.0, &[rows, columns])?
                        }
                    });
                }
                Builder::within(&mut self.copy.new, &node.path).concat("w_concat", &blocks, 0)?
            }
            (Form::Sum | Form::Split, _) => return Ok(parts.iter().flatten().next().copied()),
        };
        Ok(Some(Matrix::Dense(dense)))
    }

    fn dense(&mut self, matrix: Matrix, path: &str, rows: usize) -> Built {
        match matrix {
            Matrix::Dense(m) => Ok(m),
            Matrix::Identity => {
                let square = Type::f32(&[rows, rows]);
                Builder::within(&mut self.copy.new, path).generate("w_eye", Generator::Eye, square)
            }
        }
    }

    /// The constant part of a node's expression: one element per channel, `None` for zero.
    fn bias(&mut self, id: NodeId, form: Form) -> Built<Option<Value>> {
        if let Some(&known) = self.biases.get(&id) {
            return Ok(known);
        }
        let mut parts = Vec::new();
        for &x in self.view.expressions.operands(id) {
            parts.push(match self.view.inside(id, x) {
                Some((inner, form)) => self.bias(inner, form)?,
                None => None,
            });
        }
        let bias = self.joined_bias(id, form, &parts)?;
        self.biases.insert(id, bias);
        Ok(bias)
    }

    /// The bias of a node from those of its operands.
    fn joined_bias(&mut self, id: NodeId, form: Form, parts: &[Option<Value>]) -> Built<Option<Value>> {
        let node = self.graph().node(id);
        match (form, parts) {
            (Form::Product, _) => {
                let own = node.inputs.get(2).map(|&b| self.copy.constant(b)).transpose()?;
                let Some(inner) = parts[0] else { return Ok(own) };
                let w = self.copy.constant(node.inputs[1])?;
                let linear = Linear { op: node.op.clone(), x: inner, w, b: own, path: node.path.clone() };
                let response = linear.response(&mut self.copy.new, inner)?;
                Ok(linear.shifted(&mut self.copy.new, response)?.b)
            }
            (Form::Sum, &[Some(a), Some(b)]) => {
                Builder::within(&mut self.copy.new, &node.path).binary("b_sum", BinaryKind::Add, a, b).map(Some)
            }
            (Form::Concat, parts) if parts.iter().any(Option::is_some) => {
                let mut net = Builder::within(&mut self.copy.new, &node.path);
                let mut blocks = Vec::new();
                for (&x, part) in self.view.expressions.operands(id).iter().zip(parts) {
                    blocks.push(match part {
                        Some(part) => *part,
                        None => net.fill("b_zero", 0.0, &[self.view.expressions.graph.shape(x).dim(1)])?,
                    });
                }
                net.concat("b_concat", &blocks, 0).map(Some)
            }
            (Form::Sum | Form::Concat | Form::Split, parts) => Ok(parts.iter().flatten().next().copied()),
        }
    }
}

/// Add a value to a sum, which is empty or one value.
fn add(net: &mut Builder, sum: &mut Vec<Value>, x: Value) -> Built<()> {
    let y = match sum.pop() {
        Some(s) => net.binary("sum", BinaryKind::Add, s, x)?,
        None => x,
    };
    sum.push(y);
    Ok(())
}
