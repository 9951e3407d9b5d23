//! Merge parallel products of one geometry on one input into one wider product whose result is split.
//!
//! ```text
//! Given    a = W_a·x + b_a,  b = W_b·x + b_b, …            same kernel, stride and padding, one group
//! Result   a, b, … = split([W_a; W_b; …]·x + [b_a; b_b; …])
//! ```
//!
//! Operands of an attention stand in its order, so that the split is one of packed queries, keys and values, whatever the file computes first.
//!
//! Exact    rows of a product are independent. Done from the number of siblings on that the target's data names,
//!          and from three on for spatial kernels.

use crate::algebra::{Linear, biases_or_zeros};
use crate::pass::{Context, Pass, Result, Rewritten};
use std::collections::HashMap;
use vitc_ir::{Builder, Built, Copier, Graph, NodeId, Op, Uses, Value};

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("merge_siblings", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let target = &context.target;
    let mut families: HashMap<(Op, Value, Vec<usize>), Vec<NodeId>> = HashMap::new();
    let mut order = Vec::new();
    for (id, _) in graph.run_time_nodes() {
        let Some(linear) = Linear::of(graph, id).filter(|l| l.groups() == 1) else { continue };
        let kernel = graph.fixed(linear.w)?[1..].to_vec();
        let key = (linear.op, linear.x, kernel);
        families
            .entry(key.clone())
            .or_insert_with(|| {
                order.push(key);
                Vec::new()
            })
            .push(id);
    }
    let uses = graph.uses();
    families.values_mut().for_each(|ids| ids.sort_by_key(|&id| slot(graph, &uses, id)));
    let merged: HashMap<NodeId, &Vec<NodeId>> = order
        .iter()
        .map(|key| (&families[key], key.2[1..].iter().all(|&side| side == 1)))
        // Two spatial kernels gain nothing sure: the last downsampling of EfficientFormerV2-S0, merged by hand, costs TensorRT-RTX 3 kernels where
        // talking heads are kept (154 against 151: the parts of the result are copied), and saves 1 where they are fused (94 against 95).
        .filter(|(ids, pointwise)| ids.len() >= target.merge_siblings.max(if *pointwise { 0 } else { 3 }))
        .filter_map(|(ids, _)| Some((*ids.iter().min()?, ids)))
        .collect();
    let mut copy = Copier::new(graph, graph.stage);
    for (id, _) in graph.nodes() {
        if let Some(&siblings) = merged.get(&id) {
            merge(&mut copy, siblings)?;
        }
        copy.node(id)?;
    }
    let count = merged.len();
    Ok(Rewritten::new(copy.finish()?, count))
}

/// The first attention that reads a product, and as which operand; products that none reads stand behind.
fn slot(graph: &Graph, uses: &Uses, id: NodeId) -> (bool, Option<(NodeId, usize)>) {
    let attends = |at: NodeId| matches!(graph.node(at).op, Op::Attention { .. });
    let first = uses.readers(id.into()).iter().filter(|r| attends(r.node)).map(|r| (r.node, r.slot)).min();
    (first.is_none(), first)
}

fn merge(copy: &mut Copier, siblings: &[NodeId]) -> Built<()> {
    let old = copy.old;
    let views: Vec<Linear> = siblings.iter().filter_map(|&id| Linear::of(old, id)).collect();
    let x = copy.get(views[0].x)?;
    let sizes: Vec<usize> = views.iter().map(|v| v.outputs(old)).collect();
    let weights: Vec<Value> = views.iter().map(|v| copy.constant(v.w)).collect::<Built<_>>()?;
    let biases: Vec<Option<Value>> =
        views.iter().map(|v| v.b.map(|b| copy.constant(b)).transpose()).collect::<Built<_>>()?;

    let names: Vec<&str> = views.iter().map(|v| v.path.as_str()).collect();
    let path = merged_path(&names);
    let mut net = Builder::within(&mut copy.new, &path);
    let w = net.concat("w", &weights, 0)?;
    let bias =
        if biases.iter().any(Option::is_some) { Some(biases_or_zeros(&mut net, &biases, &sizes)?) } else { None };
    let linear = Linear { op: views[0].op.clone(), x, w, b: bias, path: path.clone() };
    let axis = linear.channel_axis(&copy.new);
    let y = linear.emit(&mut copy.new)?;
    let parts = Builder::within(&mut copy.new, &path).split("split", y, axis, &sizes)?;
    for (&id, part) in siblings.iter().zip(parts) {
        copy.set(id.into(), part);
    }
    Ok(())
}

/// `scope.qkv` for `scope.q.0`, `scope.k.0`, `scope.v.0`: the scope they share, the names that differ, the rest if it is the same.
fn merged_path(names: &[&str]) -> String {
    let split: Vec<Vec<&str>> = names.iter().map(|n| n.split('.').collect()).collect();
    let shared = (0..).take_while(|&i| split.iter().all(|s| s.get(i).is_some() && s.get(i) == split[0].get(i))).count();
    let joined: String = split.iter().map(|s| s.get(shared).copied().unwrap_or_default()).collect();
    let mut path: Vec<&str> = split[0][..shared].to_vec();
    path.push(&joined);
    path.join(".")
}
