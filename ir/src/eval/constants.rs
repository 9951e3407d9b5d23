//! How constant values are computed: fused where they are elementwise, once where they are shared.
//!
//! A plan is made of cells and roots. A *root* is a wanted value: programs over cells whose results follow each other,
//! one for each operand of a concatenation and a single one for anything else. A *cell* is something that is needed whole: a weight, the result of a product or reduction, an operand that broadcasting repeats, or a value
//! with several readers. A cell is computed by whoever needs it first and dropped after its last reader. Cells above
//! [`WIDE_LIMIT`] keep f32; elementwise values above [`SHARED_LIMIT`] are computed again by each reader, in blocks, instead
//! of being kept. An operator that works row by row gets its first operand in blocks too.
//!
//! Invariant: a cell's lock is held while it is computed, and computing never enters the thread pool, so a thread
//! that waits for a cell waits for a thread that makes progress. Cells form no cycles because graphs do not.

use super::affine::{Affine, Stop};
use super::expr::{Expr, Program};
use super::generate::generate;
use super::kernels;
use super::lower::{Application, is_arithmetic, is_fusable};
use super::numbers::Numbers;
use super::tensor::{Source, Tensor};
use super::{EvalError, fixed};
use crate::axes::{Axis, AxisMap};
use crate::graph::{Graph, Node};
use crate::id::{NodeId, Value};
use crate::op::{Generator, Op};
use crate::weights::WeightError;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of f64 above which a value is not kept in f64.
pub(super) const WIDE_LIMIT: usize = 64 << 20;

/// Bytes of f64 above which an elementwise value is computed again by each of its readers: about a core's cache, because
/// from there on fetching what was kept costs as much as computing it.
const SHARED_LIMIT: usize = 2 << 20;

/// Elements that an operator is given at a time which works row by row, or one row.
const ROWS: usize = 16 << 10;

/// What a cell holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Content {
    /// A weight as it is stored.
    Weight(NodeId),
    /// A literal or generated constant.
    Leaf(NodeId),
    /// A value that was computed before.
    Computed(Value),
    /// All outputs of an operator that needs whole operands.
    Kernel(NodeId),
    /// One elementwise value.
    Fused(Value),
}

/// How a value is computed.
#[derive(Debug)]
pub(super) struct Root {
    /// What follows each other in the value's row-major order.
    pub(super) parts: Vec<Part>,
}

/// A program and the cells that it reads: cell and which of its values.
#[derive(Debug)]
pub(super) struct Part {
    /// The program.
    pub(super) program: Program,
    /// Bytes that the computation may hold besides its result.
    pub(super) working_bytes: usize,
    sources: Vec<(usize, usize)>,
}

impl Root {
    /// Number of elements.
    pub(super) fn elements(&self) -> usize {
        self.parts.iter().map(|p| p.program.elements()).sum()
    }

    /// Bytes that the computation may hold besides its result: parts are computed one after the other.
    fn working_bytes(&self) -> usize {
        self.parts.iter().map(|p| p.working_bytes).max().unwrap_or(0)
    }
}

/// The values of a cell.
pub(super) type Held<'a> = Arc<Vec<Source<'a>>>;

#[derive(Debug)]
struct Cell<'a> {
    content: Content,
    /// Programs of the operands, or of the value itself.
    operands: Vec<Root>,
    readers: AtomicUsize,
    held: Mutex<Option<Held<'a>>>,
    bytes: usize,
}

/// What has to be computed for some constant values.
pub(super) struct Plan<'a> {
    graph: &'a Graph,
    numbers: Numbers<'a>,
    limit: usize,
    cells: Vec<Cell<'a>>,
    known: HashMap<Content, usize>,
    readers: HashMap<Value, usize>,
}

/// The cells of a program while it is computed; dropping it tells them.
pub(super) struct Opened<'p, 'a> {
    plan: &'p Plan<'a>,
    part: &'p Part,
    cells: Vec<Held<'a>>,
}

impl<'a> Opened<'_, 'a> {
    /// The program.
    pub(super) fn program(&self) -> &Program {
        &self.part.program
    }

    /// The program's sources.
    pub(super) fn sources(&self) -> Vec<&Source<'a>> {
        self.cells.iter().zip(&self.part.sources).map(|(held, (_, index))| &held[*index]).collect()
    }

    /// The cell of source `source`, and which of its values.
    pub(super) fn cell(&self, source: usize) -> (Held<'a>, usize) {
        (Arc::clone(&self.cells[source]), self.part.sources[source].1)
    }
}

impl Drop for Opened<'_, '_> {
    fn drop(&mut self) {
        for &(cell, _) in &self.part.sources {
            let cell = &self.plan.cells[cell];
            if cell.readers.fetch_sub(1, Ordering::AcqRel) == 1 {
                *cell.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        }
    }
}

impl<'a> Plan<'a> {
    /// Plan `values`, which are constant. Values above `limit` bytes of f64 are not kept in f64.
    pub(super) fn new(graph: &'a Graph, numbers: Numbers<'a>, values: &[Value], limit: usize) -> (Self, Vec<Root>) {
        let readers = count_readers(graph, values);
        let mut plan = Plan { graph, numbers, limit, cells: Vec::new(), known: HashMap::new(), readers };
        let roots = values.iter().map(|&v| plan.root(v)).collect();
        (plan, roots)
    }

    /// The whole value of a root, of sizes `dims`.
    pub(super) fn tensor(&self, root: &Root, dims: &[usize]) -> Result<Tensor, EvalError> {
        Ok(Tensor { dims: dims.to_vec(), data: self.evaluate(root)? })
    }

    /// The elements of a root, shared where a cell holds them as they are wanted.
    pub(super) fn evaluate(&self, root: &Root) -> Result<Arc<Vec<f64>>, EvalError> {
        let mut elements = Vec::with_capacity(root.elements());
        for part in &root.parts {
            let opened = self.open(part)?;
            let sources = opened.sources();
            if let Some((source, 0)) = part.program.as_run()
                && let Source::F64(data) = sources[source]
                && data.len() == part.program.elements()
                && root.parts.len() == 1
            {
                return Ok(Arc::clone(data));
            }
            part.program.evaluate(&sources, &mut elements);
        }
        Ok(Arc::new(elements))
    }

    /// Compute the cells of a program.
    pub(super) fn open<'p>(&'p self, part: &'p Part) -> Result<Opened<'p, 'a>, EvalError> {
        let cells = part.sources.iter().map(|&(cell, _)| self.get(cell)).collect::<Result<_, _>>()?;
        Ok(Opened { plan: self, part, cells })
    }

    /// The elements of a value that was computed before.
    fn computed(&self, value: Value) -> Option<&'a Arc<Vec<f64>>> {
        self.numbers.computed?.get(&value).filter(|elements| elements.len() == self.graph.shape(value).elements())
    }

    fn get(&self, cell: usize) -> Result<Held<'a>, EvalError> {
        let cell = &self.cells[cell];
        let mut held = cell.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(values) = held.as_ref() {
            return Ok(Arc::clone(values));
        }
        let values = Arc::new(self.compute(cell)?);
        *held = Some(Arc::clone(&values));
        Ok(values)
    }

    fn compute(&self, cell: &Cell<'a>) -> Result<Vec<Source<'a>>, EvalError> {
        let dims = |v: Value| fixed(self.graph, v);
        match cell.content {
            Content::Weight(id) => {
                let node = self.graph.node(id);
                let Op::Weight { key } = &node.op else { unreachable!("a weight's cell") };
                let elements = dims(id.into()).iter().product();
                let at = |source| EvalError::Weight { path: node.path.clone(), source };
                let stored = self.numbers.weights.weight(key, elements).map_err(at)?;
                let expected = elements * stored.dtype.bytes();
                if stored.bytes.len() != expected {
                    let what = format!("has {} bytes where {expected} were due", stored.bytes.len());
                    return Err(at(WeightError { key: key.clone(), what }));
                }
                Ok(vec![Source::Stored(stored)])
            }
            Content::Leaf(id) => {
                let values = match &self.graph.node(id).op {
                    Op::Literal { values } => values.iter().map(|v| v.0).collect(),
                    Op::Generate(generator) => generate(generator, &dims(id.into())),
                    _ => unreachable!("a leaf's cell"),
                };
                Ok(vec![Source::F64(Arc::new(values))])
            }
            Content::Computed(value) => {
                let elements = self.computed(value).unwrap_or_else(|| unreachable!("the cell of a known value"));
                Ok(vec![Source::F64(Arc::clone(elements))])
            }
            Content::Kernel(id) => {
                let node = self.graph.node(id);
                let shapes: Vec<Vec<usize>> = node.inputs.iter().map(|&v| dims(v)).collect();
                if let Some(row) = kernels::row(&node.op, &shapes) {
                    return Ok(vec![self.keep(self.by_rows(cell, node, row)?)]);
                }
                let operands = cell.operands.iter().zip(node.inputs.iter());
                let inputs = operands.map(|(root, &v)| self.tensor(root, &dims(v))).collect::<Result<Vec<_>, _>>()?;
                let outputs: Vec<Vec<usize>> =
                    (0..node.types.len() as u32).map(|index| dims(Value { node: id, index })).collect();
                let results = kernels::apply(node, &inputs, &outputs)
                    .map_err(|what| EvalError::Operator { path: node.path.clone(), what })?;
                Ok(results.into_iter().map(|t| self.keep(t.data)).collect())
            }
            Content::Fused(_) => {
                let root = &cell.operands[0];
                if root.elements() * 8 <= self.limit {
                    return Ok(vec![Source::F64(self.evaluate(root)?)]);
                }
                let mut narrow = Vec::with_capacity(root.elements());
                for part in &root.parts {
                    let opened = self.open(part)?;
                    for piece in part.program.pieces(usize::MAX) {
                        let narrow = &mut narrow;
                        part.program
                            .each(&opened.sources(), &piece, |block| narrow.extend(block.iter().map(|&x| x as f32)));
                    }
                }
                Ok(vec![Source::F32(narrow)])
            }
        }
    }

    /// The result of an operator that works row by row, without holding its operand 0.
    fn by_rows(&self, cell: &Cell<'a>, node: &Node, row: usize) -> Result<Arc<Vec<f64>>, EvalError> {
        let others = cell.operands[1..].iter().zip(&node.inputs[1..]);
        let others =
            others.map(|(root, &v)| self.tensor(root, &fixed(self.graph, v))).collect::<Result<Vec<_>, _>>()?;
        let (mut rows, mut results) = (Vec::new(), Vec::new());
        let enough = row * (ROWS / row).max(1);
        for part in &cell.operands[0].parts {
            let opened = self.open(part)?;
            for piece in part.program.pieces(usize::MAX) {
                part.program.each(&opened.sources(), &piece, |mut block| {
                    while rows.len() + block.len() >= enough {
                        let (now, later) = block.split_at(enough - rows.len());
                        rows.extend_from_slice(now);
                        kernels::apply_rows(&node.op, row, &mut rows, &others, &mut results);
                        block = later;
                    }
                    rows.extend_from_slice(block);
                });
            }
        }
        kernels::apply_rows(&node.op, row, &mut rows, &others, &mut results);
        Ok(Arc::new(results))
    }

    fn keep(&self, data: Arc<Vec<f64>>) -> Source<'a> {
        if data.len() * 8 <= self.limit {
            Source::F64(data)
        } else {
            Source::F32(data.iter().map(|&x| x as f32).collect())
        }
    }

    // ---- planning ----

    /// How a wanted value is computed.
    fn root(&mut self, value: Value) -> Root {
        if self.shared(value) {
            let space = fixed(self.graph, value);
            let expr = Expr::Load { source: 0, at: Affine::identity(&space) };
            return self.finish(Program { space, expr }, &[(Content::Fused(value), 0)]);
        }
        self.expand(value)
    }

    /// How a value is computed whose own operator is part of its program if it can be.
    fn expand(&mut self, value: Value) -> Root {
        let mut space = fixed(self.graph, value);
        if let &Op::Concat { axis } = self.graph.op(value)
            && space[..axis].iter().all(|&n| n == 1)
        {
            let graph = self.graph;
            return Root { parts: graph.producer(value).inputs.iter().flat_map(|&v| self.root(v).parts).collect() };
        }
        // Where an operand of an operand is not affine, the operator alone is the program, over whole operands.
        let mut alone = false;
        loop {
            let mut lowering = Lowering { plan: self, sources: Vec::new(), alone };
            match lowering.expand(value, &space, Affine::identity(&space)) {
                Ok(expr) => {
                    let sources = lowering.sources;
                    return self.finish(Program { space, expr }, &sources);
                }
                Err(Stop::Refine { axis, inner }) if !alone => {
                    space[axis] /= inner;
                    space.insert(axis + 1, inner);
                }
                Err(_) => {
                    assert!(!alone, "{}: an operator over whole operands is affine", self.graph.producer(value).path);
                    space = fixed(self.graph, value);
                    alone = true;
                }
            }
        }
    }

    fn finish(&mut self, program: Program, contents: &[(Content, usize)]) -> Root {
        let sources: Vec<(usize, usize)> = contents.iter().map(|&(c, index)| (self.cell(c), index)).collect();
        let mut working_bytes = 0;
        for (cell, _) in &sources {
            *self.cells[*cell].readers.get_mut() += 1;
            working_bytes += self.cells[*cell].bytes;
        }
        Root { parts: vec![Part { program, working_bytes, sources }] }
    }

    fn cell(&mut self, content: Content) -> usize {
        if let Some(&cell) = self.known.get(&content) {
            return cell;
        }
        let elements = |v: Value| self.graph.shape(v).elements();
        let (own, operands) = match content {
            Content::Weight(_) | Content::Computed(_) => (0, Vec::new()),
            Content::Leaf(id) => (elements(id.into()), Vec::new()),
            Content::Fused(v) => (elements(v), vec![self.expand(v)]),
            Content::Kernel(id) => {
                let graph = self.graph;
                let node = graph.node(id);
                let outputs = node.types.iter().map(|t| t.shape.elements());
                let shapes: Vec<Vec<usize>> = node.inputs.iter().map(|&v| fixed(graph, v)).collect();
                let whole = if kernels::row(&node.op, &shapes).is_some() { 1 } else { 0 };
                let held = outputs.sum::<usize>() + node.inputs[whole..].iter().map(|&v| elements(v)).sum::<usize>();
                (held, node.inputs.iter().map(|&v| self.root(v)).collect())
            }
        };
        let bytes = 8 * own + operands.iter().map(Root::working_bytes).sum::<usize>();
        let cell = self.cells.len();
        let (readers, held) = (AtomicUsize::new(0), Mutex::new(None));
        self.cells.push(Cell { content, operands, readers, held, bytes });
        self.known.insert(content, cell);
        cell
    }

    /// True if a value is kept for several readers.
    fn shared(&self, value: Value) -> bool {
        let small = self.graph.shape(value).elements() * 8 <= self.limit.min(SHARED_LIMIT);
        let op = self.graph.op(value);
        small && is_arithmetic(op) && self.readers.get(&value).is_some_and(|&n| n > 1)
    }
}

/// One attempt to write a value as a program.
struct Lowering<'p, 'a> {
    plan: &'p Plan<'a>,
    sources: Vec<(Content, usize)>,
    alone: bool,
}

impl Lowering<'_, '_> {
    /// The value's elements at `at`, from a cell.
    fn load(&mut self, content: Content, index: usize, at: Affine) -> Expr {
        let wanted = (content, index);
        let source = self.sources.iter().position(|s| *s == wanted).unwrap_or_else(|| {
            self.sources.push(wanted);
            self.sources.len() - 1
        });
        Expr::Load { source, at }
    }

    /// The elements of an operand at `at`.
    fn operand(&mut self, value: Value, space: &[usize], at: Affine) -> Result<Expr, Stop> {
        let graph = self.plan.graph;
        let op = graph.op(value);
        let repeated = || at.coefs.iter().zip(space).any(|(&c, &n)| c == 0 && n > 1);
        let whole = self.alone || is_arithmetic(op) && (self.plan.shared(value) || repeated());
        if whole && is_fusable(op) {
            return Ok(self.load(Content::Fused(value), 0, at));
        }
        match self.expand(value, space, at.clone()) {
            Err(Stop::Opaque) => Ok(self.load(Content::Fused(value), 0, at)),
            other => other,
        }
    }

    /// The elements of a value at `at`, its own operator spelled out.
    fn expand(&mut self, value: Value, space: &[usize], at: Affine) -> Result<Expr, Stop> {
        let graph = self.plan.graph;
        let node = graph.producer(value);
        if self.plan.computed(value).is_some() {
            return Ok(self.load(Content::Computed(value), 0, at));
        }
        match &node.op {
            Op::Weight { .. } => return Ok(self.load(Content::Weight(value.node), 0, at)),
            Op::Generate(Generator::Fill { value }) => return Ok(Expr::Fill(value.0)),
            Op::Literal { values } if values.len() == 1 => return Ok(Expr::Fill(values[0].0)),
            Op::Literal { .. } | Op::Generate(_) => return Ok(self.load(Content::Leaf(value.node), 0, at)),
            op if !is_fusable(op) => return Ok(self.load(Content::Kernel(value.node), value.index as usize, at)),
            _ => {}
        }
        let inputs: Vec<Vec<usize>> = node.inputs.iter().map(|&v| fixed(graph, v)).collect();
        let output = fixed(graph, value);
        let (index, dtype) = (value.index as usize, graph.ty(value).dtype);
        let application = Application { op: &node.op, index, inputs: &inputs, output: &output, dtype, round: false };
        application.lower(space, at, &mut |i, space, at| self.operand(node.inputs[i], space, at))
    }
}

/// Whether all of the one operand of a node is read: nothing is cut off or laid beside other values.
fn reads_all(graph: &Graph, id: NodeId) -> bool {
    let AxisMap(operands) = graph.axes(id);
    matches!(&operands[..], [axes] if !axes.iter().any(|axis| matches!(axis, Axis::Placed(_))))
}

/// How often each constant value below `values` is read. A reshape or transposition passes its readers on to its
/// operand.
fn count_readers(graph: &Graph, values: &[Value]) -> HashMap<Value, usize> {
    let mut readers: HashMap<Value, usize> = HashMap::new();
    for &v in values {
        *readers.entry(v).or_default() += 1;
    }
    let Some(last) = values.iter().map(|v| v.node.0).max() else { return readers };
    for id in (0..=last).rev().map(NodeId) {
        let node = graph.node(id);
        let own = |index: u32| readers.get(&Value { node: id, index }).copied().unwrap_or(0);
        let total: usize = (0..node.types.len() as u32).map(own).sum();
        if total == 0 {
            continue;
        }
        let passes_on = is_fusable(&node.op) && !is_arithmetic(&node.op) && reads_all(graph, id);
        for &input in node.inputs.iter() {
            *readers.entry(input).or_default() += if passes_on { total } else { 1 };
        }
    }
    readers
}
