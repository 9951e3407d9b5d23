//! Compute on values of fewer axes where a target holds no value of so many.
//!
//! ```text
//! Given    y = f(x₁, x₂, …)                          more axes than the target's values have; f treats neighbouring axes alike
//! Result   y = reshape(f'(reshape(x₁), …))           neighbours that every operand has whole, or has not at all, are one axis
//! ```
//!
//! The reshapes to and from the many axes are movements, which [`super::narrow_moves`] says through fewer.
//!
//! Exact    that f' finds each operand's axes where f found them is asked of the operator ([`Op::axes`]).

use crate::pass::{Context, Pass, Result, Rewritten};
use crate::view::count::{Count, product};
use vitc_ir::{Axis, AxisMap, Builder, Copier, Dim, Graph, Node, NodeId, Op, Shape, Type, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::only("narrow_values", |t| t.rank_limit < usize::MAX, run);

fn run(graph: &Graph, context: &Context) -> Result {
    let limit = context.target.rank_limit;
    let mut copy = Copier::new(graph, graph.stage);
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let narrow = if graph.is_constant(id.into()) { None } else { Narrow::of(graph, id, limit) };
        let Some(Narrow { op, operands }) = narrow else {
            copy.node(id)?;
            continue;
        };
        let inputs = copy.inputs(id)?;
        let mut net = Builder::within(&mut copy.new, &node.path);
        let mut narrowed = Vec::new();
        for (i, (x, shape)) in inputs.into_iter().zip(operands).enumerate() {
            let same = net.ty(x).shape == shape;
            narrowed.push(if same { x } else { net.reshape(format!("narrow{i}"), x, shape)? });
        }
        let made = net.push("narrow", op, &narrowed)?;
        for (index, ty) in node.types.iter().enumerate() {
            let part = Value { node: made.node, index: index as u32 };
            let name = if index == 0 { String::new() } else { format!("part{index}") };
            let y = Builder::within(&mut copy.new, &node.path).reshape(name, part, ty.shape.clone())?;
            copy.set(Value { node: id, index: index as u32 }, y);
        }
        count += 1;
    }
    Ok(Rewritten::new(copy.finish()?, count))
}

/// An operator on fewer axes.
struct Narrow {
    op: Op,
    operands: Vec<Shape>,
}

impl Narrow {
    /// The operator of a node that has too many axes on as few as it can have; `None` if that are too many still.
    fn of(graph: &Graph, id: NodeId, limit: usize) -> Option<Narrow> {
        let node = graph.node(id);
        let shapes: Vec<&Shape> = node.inputs.iter().map(|&v| graph.shape(v)).collect();
        let wide = |s: &Shape| s.rank() > limit;
        if !node.types.iter().any(|t| wide(&t.shape)) && !shapes.iter().any(|s| wide(s)) {
            return None;
        }
        let map = node.op.axes(&shapes);
        let ways = [true, false].into_iter().filter_map(|ones| groups(node, &shapes, &map, ones));
        let mut narrow = ways.filter_map(|group| Narrow::by(graph, node, &shapes, &map, &group));
        narrow.find(|n| n.operands.iter().all(|s| !wide(s)))
    }

    /// With axes joined; `None` if the operator would not do the same.
    fn by(graph: &Graph, node: &Node, shapes: &[&Shape], map: &AxisMap, group: &[usize]) -> Option<Narrow> {
        let (mut operands, mut expected, mut first) = (Vec::new(), Vec::new(), Vec::new());
        for (slot, (shape, axes)) in shapes.iter().zip(&map.0).enumerate() {
            let own = Joined::of(shape, axes, group)?;
            if slot == 0 {
                first = own.to;
            }
            operands.push(Shape(own.dims));
            expected.push(own.axes);
        }
        let op = renumbered(&node.op, &first, group)?;
        let new: Vec<&Shape> = operands.iter().collect();
        let typed = |(&v, shape): (&Value, &Shape)| Type { shape: shape.clone(), ..graph.ty(v).clone() };
        let types: Vec<Type> = node.inputs.iter().zip(&operands).map(typed).collect();
        // What takes the operands at all gives as many elements of each result.
        let made = vitc_ir::infer::infer(&op, &types.iter().collect::<Vec<_>>()).ok()?;
        let count = |t: &Type| product(t.shape.0.iter().map(|&d| Count::from(d)));
        let same = made.len() == node.types.len() && made.iter().zip(&node.types).all(|(a, b)| count(a) == count(b));
        (same && alike(&op.axes(&new), &expected, &new)).then_some(Narrow { op, operands })
    }
}

/// For each axis of the result the axis that it is part of, where those of one element may be part of any if `ones`; `None` if no two can be one.
fn groups(node: &Node, shapes: &[&Shape], map: &AxisMap, ones: bool) -> Option<Vec<usize>> {
    let result = &node.types.first()?.shape;
    let mut group = vec![0; result.rank()];
    for a in 1..result.rank() {
        let fits = shapes.iter().zip(&map.0).all(|(shape, axes)| join(shape, axes, result, a - 1, ones));
        group[a] = group[a - 1] + usize::from(!fits);
    }
    (group.last().is_some_and(|&last| last + 1 < group.len())).then_some(group)
}

/// Whether an operand has axes `a` and `a + 1` of the result side by side and whole, or neither.
fn join(shape: &Shape, axes: &[Axis], result: &Shape, a: usize, ones: bool) -> bool {
    let at = |a: usize| axes.iter().position(|axis| found(axis) == Some(a));
    let plain = |i: usize| matches!(axes[i], Axis::Kept(_) | Axis::Broadcast(_));
    let one = |i: Option<usize>| i.is_none_or(|i| shape.0[i] == Dim::Fixed(1));
    let (first, second) = (at(a), at(a + 1));
    let beside = first.zip(second).is_none_or(|(i, j)| i + 1 == j);
    let neutral = ones && (result.0[a] == Dim::Fixed(1) || result.0[a + 1] == Dim::Fixed(1));
    beside && [first, second].into_iter().flatten().all(plain) && (neutral || one(first) == one(second))
}

/// The axis of the result on which an operand's axis is found.
fn found(axis: &Axis) -> Option<usize> {
    match axis {
        Axis::Kept(to) | Axis::Broadcast(to) | Axis::Mixed(to) | Axis::Windowed(to) | Axis::Placed(to) => Some(*to),
        Axis::Grouped { axis, .. } => Some(*axis),
        Axis::Contracted | Axis::Spread(_) => None,
    }
}

/// An operand with axes joined.
struct Joined {
    dims: Vec<Dim>,
    /// Where its new axes are found in the new result.
    axes: Vec<Axis>,
    /// For each old axis the new one.
    to: Vec<usize>,
}

impl Joined {
    fn of(shape: &Shape, axes: &[Axis], group: &[usize]) -> Option<Joined> {
        let mut joined = Joined { dims: Vec::new(), axes: Vec::new(), to: Vec::new() };
        for (&dim, axis) in shape.0.iter().zip(axes) {
            let axis = match axis {
                Axis::Kept(to) => Axis::Kept(group[*to]),
                Axis::Broadcast(to) => Axis::Broadcast(group[*to]),
                Axis::Mixed(to) => Axis::Mixed(group[*to]),
                Axis::Placed(to) => Axis::Placed(group[*to]),
                Axis::Contracted => Axis::Contracted,
                Axis::Grouped { .. } | Axis::Windowed(_) | Axis::Spread(_) => return None,
            };
            let goes_on = matches!(axis, Axis::Kept(_) | Axis::Broadcast(_))
                && joined.axes.last().is_some_and(|last| found(last) == found(&axis));
            match (joined.dims.last_mut(), joined.axes.last_mut()) {
                (Some(last), Some(at)) if goes_on => {
                    *last = product([Count::from(*last), Count::from(dim)])?.dim()?;
                    if let Axis::Kept(_) = axis {
                        *at = axis;
                    }
                }
                _ => {
                    joined.dims.push(dim);
                    joined.axes.push(axis);
                }
            }
            joined.to.push(joined.dims.len() - 1);
        }
        Some(joined)
    }
}

/// The operator with its axes renumbered: those of its first operand, and of its result.
fn renumbered(op: &Op, first: &[usize], group: &[usize]) -> Option<Op> {
    let all = |axes: &[usize]| axes.iter().map(|&a| first.get(a).copied()).collect::<Option<Vec<_>>>();
    Some(match op {
        Op::LayerNorm { axes, eps } => Op::LayerNorm { axes: all(axes)?, eps: *eps },
        Op::Softmax { axis } => Op::Softmax { axis: *first.get(*axis)? },
        Op::Reduce { kind, axes, keep: false } => Op::Reduce { kind: *kind, axes: all(axes)?, keep: false },
        Op::Concat { axis } => Op::Concat { axis: *group.get(*axis)? },
        Op::Split { axis, sizes } => Op::Split { axis: *first.get(*axis)?, sizes: sizes.clone() },
        Op::Linear | Op::MatMul { .. } => op.clone(),
        op if op.facts().class == vitc_ir::Class::Elementwise || op.facts().class == vitc_ir::Class::Cast => op.clone(),
        _ => return None,
    })
}

/// Whether an operator finds its operands' axes where they are expected; an axis of one element is kept and spread alike.
fn alike(map: &AxisMap, expected: &[Vec<Axis>], shapes: &[&Shape]) -> bool {
    let same = |((axis, expected), dim): ((&Axis, &Axis), &Dim)| {
        let plain = |axis: &Axis| matches!(axis, Axis::Kept(_) | Axis::Broadcast(_));
        axis == expected || *dim == Dim::Fixed(1) && plain(axis) && plain(expected) && found(axis) == found(expected)
    };
    map.0.len() == expected.len()
        && map.0.iter().zip(expected).zip(shapes).all(|((axes, expected), shape)| {
            axes.len() == expected.len() && axes.iter().zip(expected).zip(&shape.0).all(same)
        })
}
