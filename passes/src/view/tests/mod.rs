//! Views against movements that are done element by element, and plans against views.

use super::View;
use super::count::Count;
use super::emit::Plan;
use super::rows::Rows;
use super::trail::{Through, Trail};
use vitc_ir::testing::{Rng, assert_same_function};
use vitc_ir::{Builder, Dim, Graph, Op, Output, Shape, Stage, Type, Value};

/// An input `[B,2,6,4]` behind some random movements, cuts among them if asked for.
fn moved(seed: u64, cuts: bool) -> Graph {
    let mut rng = Rng::new(seed);
    let mut graph = Graph::new("moved", Stage::Paper);
    let first = if seed.is_multiple_of(3) { Dim::Fixed(2) } else { Dim::Batch(1) };
    let shape = Shape::batched(first, &[2, 6, 4]);
    let input = Type::new(vitc_ir::DType::F32, shape);
    let mut x = graph.push_leaf(Op::Input, input, "x").expect("it fits");
    for step in 0..rng.range(1, 6) {
        let dims = graph.shape(x).0.clone();
        let op = match rng.below(if cuts { 4 } else { 2 }) {
            0 => {
                let mut perm: Vec<usize> = (0..dims.len()).collect();
                rng.shuffle(&mut perm);
                Op::Transpose { perm }
            }
            1 => {
                let Some(shape) = regrouped(&mut rng, &dims) else { continue };
                Op::Reshape { shape }
            }
            _ => {
                let axis = rng.below(dims.len());
                let Some(n) = dims[axis].fixed().filter(|&n| n > 1) else { continue };
                let start = rng.below(n);
                let (stop, step) = (rng.range(start + 1, n), rng.range(1, 2));
                Op::Slice { cuts: vec![vitc_ir::op::SliceAxis { axis, start, stop, step }] }
            }
        };
        x = graph.push(op, &[x], &format!("m{step}")).map_or(x, Value::from);
    }
    let y = Builder::new(&mut graph).unary("y", vitc_ir::UnaryKind::Exp, x).expect("it fits");
    graph.outputs.push(Output { name: "y".into(), value: y });
    graph
}

/// Two neighbours joined, or one axis cut in two.
fn regrouped(rng: &mut Rng, dims: &[Dim]) -> Option<Shape> {
    let mut dims = dims.to_vec();
    if rng.chance(50) && dims.len() > 1 {
        let at = rng.below(dims.len() - 1);
        let joined = match (dims[at], dims[at + 1]) {
            (a, Dim::Fixed(n)) => a.times(n),
            (Dim::Fixed(n), b) => b.times(n),
            _ => return None,
        };
        dims.splice(at..=at + 1, [joined]);
    } else {
        let at = rng.below(dims.len());
        let by = rng.pick(&[1, 2, 3]);
        let rest = dims[at].divided(by)?;
        let both = if rng.chance(50) { [Dim::Fixed(by), rest] } else { [rest, Dim::Fixed(by)] };
        dims.splice(at..=at, both);
    }
    Some(Shape(dims))
}

/// The value that the result is made of.
fn end(graph: &Graph) -> Value {
    graph.producer(graph.outputs[0].value).inputs[0]
}

/// Every element's place in the source, at a batch of 3, by the view.
fn places(view: &View) -> Vec<usize> {
    let at = |c: Count| c.factor() * 3usize.pow(c.power());
    let offset = view.offset.iter().enumerate().map(|(power, n)| n * 3usize.pow(power as u32)).sum();
    let mut all = vec![offset];
    for digit in view.axes.iter().flatten() {
        all = all.iter().flat_map(|&from| (0..at(digit.size)).map(move |i| from + i * at(digit.stride))).collect();
    }
    all
}

/// The same by the evaluator: an input that counts its elements.
fn counted(graph: &Graph) -> Vec<usize> {
    let mut graph = graph.clone();
    graph.outputs[0].value = end(&graph);
    let mut inputs = vitc_ir::testing::random_input(0, &graph, 3);
    inputs[0].iter_mut().enumerate().for_each(|(i, v)| *v = i as f64);
    let result = vitc_ir::eval::run(&graph, &vitc_ir::testing::random_weights(0, &graph), &inputs, 3);
    result.expect("it runs")[0].iter().map(|&v| v as usize).collect()
}

#[test]
fn a_view_says_where_each_element_comes_from() {
    let mut whole = 0;
    for seed in 0..400 {
        let graph = moved(seed, true);
        let value = end(&graph);
        let trail = Trail::to(&graph, value, Through::Parts).expect("it can be counted");
        if *graph.op(trail.view.source) == Op::Input && *graph.op(value) != Op::Input {
            assert_eq!(places(&trail.view), counted(&graph), "seed {seed}\n{graph}");
            whole += 1;
        }
    }
    assert!(whole > 200, "only {whole} of 400 chains are seen through");
}

#[test]
fn a_plan_is_its_view() {
    let mut shorter = 0;
    for seed in 0..400 {
        let graph = moved(seed, false);
        let value = end(&graph);
        let trail = Trail::to(&graph, value, Through::Permutations).expect("it can be counted");
        let plan = Plan::of(&graph, &trail.view, graph.shape(value)).expect("a permutation");
        let mut after = graph.clone();
        let y = plan.emit(&mut Builder::within(&mut after, "plan"), trail.view.source).expect("it fits");
        after.outputs[0].value = Builder::new(&mut after).unary("z", vitc_ir::UnaryKind::Exp, y).expect("it fits");
        let after = after.pruned();
        assert_same_function(&graph, &after, seed, 0.0);
        assert!(plan.nodes <= trail.nodes.len(), "seed {seed}: {plan:?}\n{graph}");
        let before = graph.run_time_nodes().count() - trail.nodes.len();
        assert_eq!(after.run_time_nodes().count(), before + plan.nodes, "seed {seed}: {plan:?}\n{graph}");
        shorter += usize::from(plan.nodes < trail.nodes.len());
    }
    assert!(shorter > 100, "only {shorter} of 400 chains become shorter");
}

/// Parts of channels as projections pack them: three behind each other, three per head, and every second one.
#[test]
fn rows_are_found_where_they_lie_regularly() {
    let place = |size, stride| super::places::Place { axis: 0, size: Count::fixed(size), stride: Count::fixed(stride) };
    let second = Rows::of(24, 8, &[place(2, 4), place(4, 1)]).expect("regular");
    assert_eq!(second.range(), Some(8..16));
    let by_head = Rows::of(24, 4, &[place(2, 12), place(4, 1)]).expect("regular");
    assert_eq!((by_head.range(), by_head.is_whole()), (None, false));
    let odd = Rows::of(24, 1, &[place(12, 2)]).expect("regular");
    assert_eq!(odd.range(), None);
    assert!(Rows::of(24, 0, &[place(6, 4), place(4, 1)]).expect("regular").is_whole());
    assert_eq!(Rows::of(24, 10, &[place(2, 12), place(4, 1)]), None);
    assert_eq!(Rows::of(24, 0, &[place(3, 9), place(4, 1)]), None);
}
