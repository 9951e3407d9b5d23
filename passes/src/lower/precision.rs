//! Give values their element types: f16 with the f32 islands that the target wants, inputs and outputs as asked.
//!
//! ```text
//! Given    a graph in f32
//! Result   every run-time float value f16, every constant rounded once; inputs and outputs as the options say, with one cast behind each
//!          input and one in front of each output; softmax and means over positions between casts in f32 where the target's data says so
//! ```
//!
//! Moments cancel: a square that only means read, its mean and the mean of what was squared are one island where the target's data says so. An
//! island also holds what is computed from means alone, elementwise or by movement: a variance, its root. A sum over rows of a map between
//! elementwise operators is an island where casts ride on those. Casts stand at its border, one for each value that crosses. Nodes whose values
//! were seen to come near the end of f16 are islands by decision.
//!
//! Operands that are places in a map stay f32 beside others in f16, or, where the target's operands have one type, the whole node does.
//!
//! A positive number that keeps a sum or a maximum from zero, and would be zero itself in f16, becomes the least number that f16 has.
//!
//! A graph that computes in f32 gets the casts at its inputs and outputs only. Integers stay what they are; truths are integers at the interface where the
//! target's ports hold none.
//!
//! Not exact: each f16 value is rounded to 11 bits. The check measures the error against the f32 paper graph and bounds it.

use crate::note::Note;
use crate::pass::{Context, Pass, Result, Rewritten};
use crate::pattern::number::number;
use std::collections::{HashMap, HashSet};
use vitc_ir::facts::Slots;
use vitc_ir::op::{ReduceKind, UnaryKind};
use vitc_ir::{BinaryKind, Builder, Built, Class, Copier, DType, Graph, Node, NodeId, Op, Output, Target, Type, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("precision", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let Context { target, options, .. } = context;
    let truth = |v: Value| graph.ty(v).dtype == DType::Bool;
    let truths = graph.inputs().any(|(id, _)| truth(id.into())) || graph.outputs.iter().any(|o| truth(o.value));
    let whole = [options.precision, options.input, options.output] == [DType::F32; 3];
    if whole && (target.truth_ports || !truths) {
        return Ok(Rewritten::unchanged(graph));
    }
    let mut island = if options.precision == DType::F16 { islands(graph, target) } else { vec![true; graph.len()] };
    let decided = &context.decisions.islands;
    graph
        .run_time_nodes()
        .filter(|(_, node)| decided.contains(&node.path))
        .for_each(|(id, _)| island[id.0 as usize] = true);
    let mut copy = Copier::new(graph, graph.stage);
    let mut casts = Casts::default();
    for (id, node) in graph.nodes() {
        if node.op == Op::Input {
            let own = &node.types[0];
            let dtype = match own.dtype {
                dtype if dtype.is_float() => options.input,
                DType::Bool if !target.truth_ports => DType::I32,
                dtype => dtype,
            };
            let mut input = copy.new.push_leaf(Op::Input, Type::new(dtype, own.shape.clone()), &node.path)?;
            if dtype != own.dtype && own.dtype == DType::Bool {
                input = cast(&mut copy.new, input, DType::Bool, &format!("{}.truth", node.path))?;
            }
            copy.set(id.into(), input);
            casts.to(&mut copy.new, input, options.precision)?;
        } else if graph.is_constant(id.into()) {
            copy.node(id)?;
        } else {
            let wanted = if island[id.0 as usize] { DType::F32 } else { DType::F16 };
            let mut inputs = copy.inputs(id)?;
            let single = node.op.facts().single;
            for (slot, (x, &old)) in inputs.iter_mut().zip(node.inputs.iter()).enumerate() {
                let wanted = if single.contains(slot) { DType::F32 } else { wanted };
                if let Some(dims) = vanishing(graph, node, old).filter(|_| wanted == DType::F16) {
                    *x = Builder::within(&mut copy.new, &node.path).fill("least", LEAST_HALF, &dims)?;
                }
                *x = casts.to(&mut copy.new, *x, wanted)?;
            }
            let new = copy.new.push(node.op.clone(), &inputs, &node.path)?;
            for index in 0..node.types.len() as u32 {
                copy.set(Value { node: id, index }, Value { node: new, index });
            }
        }
    }
    let results = graph.outputs.iter().map(|o| {
        let value = copy.get(o.value)?;
        let to = match copy.new.ty(value).dtype {
            dtype if dtype.is_float() => options.output,
            DType::Bool if !target.truth_ports => DType::I32,
            dtype => dtype,
        };
        let path = format!("{}.{to}", o.name);
        Ok(Output { name: o.name.clone(), value: cast(&mut copy.new, value, to, &path)? })
    });
    let results = results.collect::<Built<_>>()?;
    let mut new = copy.new;
    new.outputs = results;
    let (total, wide) =
        (graph.run_time_nodes().count(), graph.run_time_nodes().filter(|(id, _)| island[id.0 as usize]).count());
    let ports = |dtype: DType, count: usize| if dtype == DType::F32 { 0 } else { count };
    let ports = ports(options.input, graph.inputs().count()) + ports(options.output, graph.outputs.len());
    let ports = ports + usize::from(truths && !target.truth_ports);
    let notes =
        if wide > 0 && options.precision == DType::F16 { vec![Note::Islands { operators: wide }] } else { Vec::new() };
    Ok(Rewritten { graph: new, count: total - wide + ports, notes })
}

/// The least positive number of f16, a subnormal.
const LEAST_HALF: f64 = 1.0 / 16_777_216.0;

/// The sizes of a summand or bound that is a positive number and that f16 would round to zero.
fn vanishing(graph: &Graph, node: &Node, operand: Value) -> Option<Vec<usize>> {
    let keeps = matches!(node.op, Op::Binary(BinaryKind::Add | BinaryKind::Max)) && graph.ty(operand).dtype.is_float();
    let tiny = |n: &f64| *n > 0.0 && *n <= LEAST_HALF / 2.0;
    number(graph, operand).filter(|n| keeps && tiny(n)).and_then(|_| graph.shape(operand).as_fixed())
}

/// Why a node runs in f32 where all others run in f16.
pub fn island_reason(node: &Node) -> &'static str {
    match &node.op {
        Op::Unary(UnaryKind::Softplus) => "softplus: the exponential that it is computed of overflows f16 from 12 up",
        Op::Softmax { .. } => "softmax: its sum of exponentials loses bits in f16",
        Op::GridSample { .. } => "places: half precision moves them by parts of a pixel",
        Op::Reduce { kind: ReduceKind::Sum, .. } => "sum: over many values it loses bits in f16, or overflows",
        Op::Reduce { kind: ReduceKind::Mean, .. } => "mean: a sum over many values loses bits in f16, or overflows",
        Op::Binary(BinaryKind::Mul) if node.inputs[0] == node.inputs[1] => {
            "moment: a square overflows f16 from 256 up, and what moments cancel is lost"
        }
        _ => "statistic: computed from means alone, which cancel",
    }
}

/// Which nodes run in f32, by index.
fn islands(graph: &Graph, target: &Target) -> Vec<bool> {
    let uses = graph.uses();
    let is_mean = |node: &Node| matches!(node.op, Op::Reduce { kind: ReduceKind::Mean, .. });
    let is_square = |id: NodeId, node: &Node| {
        node.op == Op::Binary(BinaryKind::Mul)
            && node.inputs[0] == node.inputs[1]
            && uses.readers(id.into()).iter().all(|r| is_mean(graph.node(r.node)))
    };
    let squares = graph.run_time_nodes().filter(|(id, node)| target.moments_f32 && is_square(*id, node));
    // Squares and what they are squares of.
    let squared: HashSet<Value> = squares.flat_map(|(id, node)| [id.into(), node.inputs[0]]).collect();
    let mut wide = vec![false; graph.len()];
    // What is computed from means alone; a softmax stands for itself.
    let mut statistic = vec![false; graph.len()];
    for (id, node) in graph.run_time_nodes() {
        let at = id.0 as usize;
        let movable = matches!(node.op.facts().class, Class::Elementwise | Class::Movement | Class::Reduction);
        let from_means = node.inputs.iter().all(|&v| graph.is_constant(v) || statistic[v.node.0 as usize]);
        let mean = is_mean(node) && (target.mean_f32 || squared.contains(&node.inputs[0]));
        statistic[at] = mean || movable && from_means;
        let exponential = match node.op {
            Op::Softmax { .. } => target.softmax_f32,
            Op::Unary(UnaryKind::Softplus) => target.softplus_f32,
            _ => false,
        };
        let single = node.op.facts().single != Slots::NONE && !target.mixed_floats;
        let rides = target.position_sums_f32 && is_position_sum(graph, node) && {
            let elementwise = |at: NodeId| graph.node(at).op.facts().class == Class::Elementwise;
            !uses.is_result(id.into()) && uses.readers(id.into()).iter().all(|r| elementwise(r.node))
        };
        let moment = squared.contains(&id.into()) && is_square(id, node);
        wide[at] = statistic[at] || exponential || single || rides || moment;
    }
    wide
}

/// A sum or mean over rows of positions of a map, or over all.
fn is_position_sum(graph: &Graph, node: &Node) -> bool {
    let Op::Reduce { kind: ReduceKind::Sum | ReduceKind::Mean, axes, .. } = &node.op else { return false };
    graph.shape(node.inputs[0]).rank() == 4 && axes.contains(&3)
}

/// The same value in two element types, each made once.
#[derive(Default)]
struct Casts {
    made: HashMap<(Value, DType), Value>,
}

impl Casts {
    /// A float value in another type; an integer as it is, and f32 constants of islands too.
    fn to(&mut self, graph: &mut Graph, value: Value, to: DType) -> Built {
        if !graph.ty(value).dtype.is_float() {
            return Ok(value);
        }
        let path = format!("{}.{to}", graph.value_name(value));
        if let Some(&made) = self.made.get(&(value, to)) {
            return Ok(made);
        }
        let made = cast(graph, value, to, &path)?;
        self.made.insert((value, to), made);
        Ok(made)
    }
}

/// `value` in element type `to`, without a node if it has it.
fn cast(graph: &mut Graph, value: Value, to: DType, path: &str) -> Built {
    if graph.ty(value).dtype == to {
        return Ok(value);
    }
    Ok(graph.push(Op::Cast { to }, &[value], path)?.into())
}
