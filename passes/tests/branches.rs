//! Sums of linear branches over one input, in every geometry: kernels of different sides, groups and paddings on one grid, norms, factors,
//! averages and the input itself. Merged, they compute the same, borders and strides included; and what must not merge does not.

mod common;

use common::deploy;
use vitc_ir::net::paper;
use vitc_ir::op::Op;
use vitc_ir::testing::{Rng, assert_same_function};
use vitc_ir::{Dim, Graph, Net, Output, Shape, Type, UnaryKind, Value, cost, parse, validate};

const SEEDS: u64 = 400;
const EXACT: f64 = 1e-9;

/// What every branch of a sum maps to.
struct Grid {
    channels: usize,
    rows: usize,
    columns: usize,
    stride: [usize; 2],
}

/// Padding in front and behind with which a kernel of side `k` reaches exactly `out` places, and now and then some zeros that no place reads.
fn padding(rng: &mut Rng, size: usize, k: usize, stride: usize, out: usize) -> Option<[usize; 2]> {
    let reach = (out - 1) * stride + k;
    let before = rng.range(0, k - 1).min(reach);
    let spare = if rng.chance(30) { rng.below(stride) } else { 0 };
    let after = (reach + spare).checked_sub(size + before)?;
    Some([before, after])
}

/// A linear branch over `x`, or `None` where the geometry that was drawn has another grid.
fn branch(net: &mut Net, rng: &mut Rng, x: Value, grid: &Grid) -> Option<Value> {
    let (c, size) = (net.dim(x, 1), [net.dim(x, 2), net.dim(x, 3)]);
    let out = [grid.rows, grid.columns];
    let keeps = grid.channels == c && out == size && grid.stride == [1, 1];
    let y = match rng.below(8) {
        0 if keeps => x,
        1 if keeps => net.at("bn").batch_norm(x, 1e-5),
        2 if keeps => {
            let factor = net.weight("factor", &[c, 1, 1]);
            net.mul(x, factor)
        }
        3 if grid.channels == c => {
            let kernel = [0, 1].map(|a| size[a] + grid.stride[a] - out[a] * grid.stride[a]);
            let inside = [0, 1].iter().all(|&a| kernel[a] >= 1 && (size[a] - kernel[a]) / grid.stride[a] + 1 == out[a]);
            let pool = Op::AvgPool { kernel, stride: grid.stride, pad: [0; 4] };
            return inside.then(|| net.push("pool", pool, &[x]));
        }
        _ => {
            let kernel = [rng.range(1, 5), rng.range(1, 5)];
            let all = if grid.channels.is_multiple_of(c) { c } else { 1 };
            let groups = rng.pick(&[1, 2, 4, all]);
            let rows = padding(rng, size[0], kernel[0], grid.stride[0], out[0])?;
            let columns = padding(rng, size[1], kernel[1], grid.stride[1], out[1])?;
            let mut inputs = vec![x, net.weight("weight", &[grid.channels, c / groups, kernel[0], kernel[1]])];
            if rng.chance(50) {
                inputs.push(net.weight("bias", &[grid.channels]));
            }
            let pad = [rows[0], columns[0], rows[1], columns[1]];
            net.push("conv", Op::Conv { stride: grid.stride, pad, dilation: [1; 2], groups }, &inputs)
        }
    };
    match rng.below(4) {
        0 => Some(net.at("norm").batch_norm(y, 1e-3)),
        1 => {
            let factor = net.weight("gamma", &[grid.channels, 1, 1]);
            Some(net.at("scaled").mul(y, factor))
        }
        _ => Some(y),
    }
}

/// Two sums of up to five branches, added in any order, with an activation or nothing between.
fn graph(seed: u64) -> Graph {
    let mut graph = paper(format!("branches-{seed}"));
    let rng = &mut Rng::new(seed);
    let net = &mut Net::new(&mut graph);
    let batch = if rng.chance(50) { Dim::Batch(1) } else { Dim::Fixed(2) };
    let mut x = net
        .input("image", Type::new(vitc_ir::DType::F32, Shape::batched(batch, &[4, rng.range(1, 9), rng.range(1, 9)])));
    for i in 0..2 {
        let net = &mut net.at(format!("sums.{i}"));
        let grid = grid(net, rng, x);
        let mut terms = Vec::new();
        for j in 0..rng.range(2, 5) {
            terms.extend(branch(&mut net.at(format!("branch_{j}")), rng, x, &grid));
        }
        while terms.len() > 1 {
            let a = terms.swap_remove(rng.below(terms.len()));
            let at = rng.below(terms.len());
            terms[at] = net.add(terms[at], a);
        }
        let Some(&sum) = terms.first() else { continue };
        x = if rng.chance(50) { net.unary("act", UnaryKind::Gelu, sum) } else { sum };
    }
    let result = net.unary("result", UnaryKind::Tanh, x);
    graph.outputs.push(Output { name: "map".into(), value: result });
    graph
}

fn grid(net: &Net, rng: &mut Rng, x: Value) -> Grid {
    let size = [net.dim(x, 2), net.dim(x, 3)];
    let stride = if rng.chance(50) { [1, 1] } else { [rng.range(1, 3), rng.range(1, 3)] };
    let channels = rng.pick(&[4, 4, 8]);
    let [rows, columns] = [0, 1].map(|a| size[a].div_ceil(stride[a]));
    Grid { channels, rows, columns, stride }
}

#[test]
fn merged_sums_compute_the_same_for_no_more_work() {
    let (mut merged, mut adds) = (0, [0; 2]);
    for seed in 0..SEEDS {
        let paper = graph(seed);
        validate(&paper, None).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let (deployed, report) = deploy(&paper);
        validate(&deployed, None).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_same_function(&paper, &deployed, seed, EXACT);
        let [before, after] = [&paper, &deployed].map(cost::total_macs);
        // Norms, factors, averages and the input itself count nothing; as branches they have the taps of their kernels.
        let taps = |op: &Op| match op {
            Op::AvgPool { kernel, .. } => kernel[0] * kernel[1],
            Op::BatchNorm { .. } | Op::Binary(_) => 1,
            _ => 0,
        };
        let free: usize =
            paper.run_time_nodes().map(|(_, n)| n.types[0].shape.at(1).iter().product::<usize>() * taps(&n.op)).sum();
        assert!(
            after <= before + free as u64,
            "seed {seed}: {before} multiply-accumulates rose to {after}\n{paper}{deployed}"
        );
        merged += report.iter().filter(|r| r.pass == "merge_branches").map(|r| r.count).sum::<usize>();
        for (sum, graph) in adds.iter_mut().zip([&paper, &deployed]) {
            *sum += graph.run_time_nodes().filter(|(_, n)| n.op.word() == "add").count();
        }
    }
    assert!(merged > SEEDS as usize && adds[1] < adds[0] / 2, "{merged} merges, {adds:?} sums");
}

/// Run-time nodes of the deploy form of a body over `%x: f32[B,4,6,5]`, which computes the same.
fn nodes(body: &str) -> usize {
    let text =
        format!("graph g  stage=paper\n%x: f32[B,4,6,5] = input\n{body}\n%y: f32[B,4,6,5] = gelu(%s)\noutputs y=%y");
    let paper = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let (deployed, _) = deploy(&paper);
    assert_same_function(&paper, &deployed, 1, EXACT);
    // Without the GELU.
    deployed.run_time_nodes().count() - 1
}

const DW5: &str =
    "%a: f32[B,4,6,5] = conv(%x, weight\"a\":f32[4,1,5,5], weight\"ab\":f32[4]){stride=1, pad=2, groups=4}\n";
const DW3: &str = "%b: f32[B,4,6,5] = conv(%x, weight\"b\":f32[4,1,3,3]){stride=1, pad=1, groups=4}\n";
const DENSE: &str = "%d: f32[B,4,6,5] = conv(%x, weight\"d\":f32[4,4,1,1]){stride=1, pad=0}\n";

#[test]
fn branches_of_one_input_become_one() {
    for (body, expected) in [
        (format!("{DW5}{DW3}%s: f32[B,4,6,5] = add(%a, %b)"), 1),
        (format!("{DW5}%s: f32[B,4,6,5] = add(%x, %a)"), 1),
        (format!("{DW5}{DW3}%t: f32[B,4,6,5] = add(%a, %x)\n%s: f32[B,4,6,5] = add(%b, %t)"), 1),
        // A grouped kernel inside a dense one.
        (
            format!(
                "{DENSE}%e: f32[B,4,6,5] = conv(%x, weight\"e\":f32[4,2,1,1]){{stride=1, pad=0, groups=2}}\n\
                 %s: f32[B,4,6,5] = add(%e, %d)"
            ),
            1,
        ),
        // In any order of the sum: the two that fit are not neighbours.
        (format!("{DW5}{DENSE}{DW3}%t: f32[B,4,6,5] = add(%a, %d)\n%s: f32[B,4,6,5] = add(%t, %b)"), 3),
        (format!("{DW5}{DENSE}{DW3}%t: f32[B,4,6,5] = add(%d, %a)\n%s: f32[B,4,6,5] = add(%b, %t)"), 3),
    ] {
        assert_eq!(nodes(&body), expected, "{body}");
    }
}

#[test]
fn what_differs_stays() {
    for (body, expected) in [
        // A depthwise kernel of 25 taps made dense costs more than both.
        (format!("{DW5}{DENSE}%s: f32[B,4,6,5] = add(%a, %d)"), 3),
        // Other inputs.
        (
            format!(
                "{DW5}%n: f32[B,4,6,5] = relu(%x)\n\
                 %b: f32[B,4,6,5] = conv(%n, weight\"b\":f32[4,1,3,3]){{stride=1, pad=1, groups=4}}\n\
                 %s: f32[B,4,6,5] = add(%a, %b)"
            ),
            4,
        ),
        // An average that does not count its padding is no convolution.
        (
            format!(
                "{DW5}%p: f32[B,4,6,5] = avg_pool(%x){{kernel=3, stride=1, pad=1}}\n%s: f32[B,4,6,5] = add(%a, %p)"
            ),
            3,
        ),
        // Something else reads a branch.
        (
            format!(
                "{DW5}{DW3}%t: f32[B,4,6,5] = add(%a, %b)\n%g: f32[B,4,6,5] = gelu(%a)\n%s: f32[B,4,6,5] = mul(%t, %g)"
            ),
            5,
        ),
    ] {
        assert_eq!(nodes(&body), expected, "{body}");
    }
}

/// Strides of 2 and 3 that meet in one place only.
#[test]
fn equal_grids_of_different_strides_stay() {
    let text = "graph g  stage=paper\n%x: f32[B,2,3,3] = input\n\
        %a: f32[B,2,1,1] = conv(%x, weight\"a\":f32[2,2,3,3]){stride=2, pad=0}\n\
        %b: f32[B,2,1,1] = conv(%x, weight\"b\":f32[2,2,1,1]){stride=3, pad=0}\n\
        %s: f32[B,2,1,1] = add(%a, %b)\n%y: f32[B,2,1,1] = gelu(%s)\noutputs y=%y";
    let paper = parse(text).unwrap_or_else(|e| panic!("{e}"));
    let (deployed, _) = deploy(&paper);
    assert_same_function(&paper, &deployed, 1, EXACT);
    assert_eq!(deployed.run_time_nodes().count(), 4);
}
