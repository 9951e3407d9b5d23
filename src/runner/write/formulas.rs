//! Operators by their formulas, in several steps.

use super::parts::Parts;
use super::step::Step;
use vitc_ir::DType;

/// The last two axes of an operand exchanged.
pub(super) fn transposed(p: &mut Parts<'_, '_>, operand: usize) -> String {
    let rank = p.dims(operand).len();
    let perm: Vec<usize> = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
    let x = p.read(operand);
    p.push(Step::new("Transpose", [x]).ints("perm", &perm))
}

/// x/2·(1 + erf(x/√2)).
pub(super) fn gelu(p: &mut Parts<'_, '_>) -> Step {
    let x = p.wide(0);
    let [root, one, half] = [std::f64::consts::FRAC_1_SQRT_2, 1.0, 0.5].map(|v| p.floats(&[], &[v]));
    let scaled = p.push(Step::new("Mul", [x.clone(), root]));
    let erf = p.push(Step::new("Erf", [scaled]));
    let cumulative = p.push(Step::new("Add", [erf, one]));
    let halved = p.push(Step::new("Mul", [x, half]));
    Step::new("Mul", [halved, cumulative])
}

/// x·σ(x).
pub(super) fn silu(p: &mut Parts<'_, '_>) -> Step {
    let x = p.wide(0);
    let gate = p.push(Step::new("Sigmoid", [x.clone()]));
    Step::new("Mul", [x, gate])
}

/// The operands, first to last.
pub(super) fn sum(p: &mut Parts<'_, '_>) -> Step {
    let mut total = p.wide(0);
    let last = p.node.inputs.len() - 1;
    for i in 1..last {
        let next = p.wide(i);
        total = p.push(Step::new("Add", [total, next]));
    }
    Step::new("Add", [total, p.wide(last)])
}

/// min(max(x, lo), hi).
pub(super) fn clip(p: &mut Parts<'_, '_>, lo: f64, hi: f64) -> Step {
    let mut x = p.wide(0);
    if lo.is_finite() {
        let lo = p.floats(&[], &[lo]);
        x = p.push(Step::new("Max", [x, lo]));
    }
    if hi.is_finite() { Step::new("Min", [x, p.floats(&[], &[hi])]) } else { Step::new("Identity", [x]) }
}

/// max(x, 0) + slope·min(x, 0), the slope along axis 1.
pub(super) fn prelu(p: &mut Parts<'_, '_>) -> Step {
    let (x, slope) = (p.wide(0), p.wide(1));
    let slope = along(p, slope, 0, &[1], p.dims(1));
    let zero = p.floats(&[], &[0.0]);
    let above = p.push(Step::new("Max", [x.clone(), zero.clone()]));
    let below = p.push(Step::new("Min", [x, zero]));
    let below = p.push(Step::new("Mul", [slope, below]));
    Step::new("Add", [above, below])
}

/// x·Wᵀ + b.
pub(super) fn linear(p: &mut Parts<'_, '_>) -> Step {
    let x = p.wide(0);
    let w = p.wide(1);
    // With the weights' axes named, tract packs them as they lie.
    let outer: String = ('a'..).take(p.dims(0).len() - 1).collect();
    let product = Step::new("Einsum", [x, w]).string("equation", &format!("{outer}z,yz->{outer}y"));
    if p.node.inputs.len() == 2 {
        return product;
    }
    let product = p.push(product);
    Step::new("Add", [product, p.wide(2)])
}

/// γ·x/√(σ² + ε) + (β − γ·μ/√(σ² + ε)) along axis 1: the formula with what does not depend on x computed first.
pub(super) fn batch_norm(p: &mut Parts<'_, '_>, eps: f64) -> Step {
    let x = p.wide(0);
    let [gamma, beta, mean, variance] = [1, 2, 3, 4].map(|i| {
        let v = p.wide(i);
        along(p, v, 0, &[1], p.dims(i))
    });
    let eps = p.floats(&[], &[eps]);
    let shifted = p.push(Step::new("Add", [variance, eps]));
    let deviation = p.push(Step::new("Sqrt", [shifted]));
    let scale = p.push(Step::new("Div", [gamma, deviation]));
    let centre = p.push(Step::new("Mul", [mean, scale.clone()]));
    let offset = p.push(Step::new("Sub", [beta, centre]));
    let scaled = p.push(Step::new("Mul", [x, scale]));
    Step::new("Add", [scaled, offset])
}

/// (x − mean)/√(var + ε)·scale + bias, the variance as the mean of squares of x − mean.
pub(super) fn layer_norm(p: &mut Parts<'_, '_>, axes: &[usize], eps: f64) -> Step {
    let x = p.wide(0);
    let mean_of = |x: String| Step::new("ReduceMean", [x]).ints("axes", axes).int("keepdims", 1);
    let mean = p.push(mean_of(x.clone()));
    let centred = p.push(Step::new("Sub", [x, mean]));
    let square = p.push(Step::new("Mul", [centred.clone(), centred.clone()]));
    let variance = p.push(mean_of(square));
    let eps = p.floats(&[], &[eps]);
    let shifted = p.push(Step::new("Add", [variance, eps]));
    let deviation = p.push(Step::new("Sqrt", [shifted]));
    let normal = Step::new("Div", [centred, deviation]);
    if p.node.inputs.len() == 1 {
        return normal;
    }
    let normal = p.push(normal);
    let [scale, bias] = [1, 2].map(|i| {
        let v = p.wide(i);
        along(p, v, 0, axes, p.dims(i))
    });
    let scaled = p.push(Step::new("Mul", [normal, scale]));
    Step::new("Add", [scaled, bias])
}

/// `v` of dimensions `dims`, one for each of `axes`, as it broadcasts against an operand.
fn along(p: &mut Parts<'_, '_>, v: String, operand: usize, axes: &[usize], dims: Vec<usize>) -> String {
    let mut shape = vec![1; p.dims(operand).len()];
    axes.iter().zip(dims).for_each(|(&axis, n)| shape[axis] = n);
    let shape = p.integers(shape);
    p.push(Step::new("Reshape", [v, shape]))
}

/// Sums over windows, as a convolution of each channel with ones, over the number of elements that each window holds.
pub(super) fn avg_pool(p: &mut Parts<'_, '_>, kernel: [usize; 2], stride: [usize; 2], pad: [usize; 4]) -> Step {
    let x = p.wide(0);
    let (dims, result) = (p.dims(0), p.result(0));
    let channels = dims[1];
    let ones = p.floats(&[channels, 1, kernel[0], kernel[1]], &vec![1.0; channels * kernel[0] * kernel[1]]);
    let sums = Step::new("Conv", [x, ones]).ints("strides", &stride).ints("pads", &pad).int("group", channels as i64);
    let sums = p.push(sums);
    let held = |axis: usize| -> Vec<f64> {
        let size = dims[2 + axis];
        let inside = |position: usize| (pad[axis]..pad[axis] + size).contains(&position);
        let window = |i: usize| (0..kernel[axis]).filter(|k| inside(i * stride[axis] + k)).count() as f64;
        (0..result[2 + axis]).map(window).collect()
    };
    let (rows, columns) = (held(0), held(1));
    let counts: Vec<f64> = rows.iter().flat_map(|r| columns.iter().map(move |c| r * c)).collect();
    let counts = p.floats(&[1, 1, rows.len(), columns.len()], &counts);
    Step::new("Div", [sums, counts])
}

/// x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
pub(super) fn gelu_tanh(p: &mut Parts<'_, '_>) -> Step {
    let x = p.wide(0);
    let [cubic, root, one, half] =
        [0.044715, (2.0 / std::f64::consts::PI).sqrt(), 1.0, 0.5].map(|v| p.floats(&[], &[v]));
    let square = p.push(Step::new("Mul", [x.clone(), x.clone()]));
    let factor = p.push(Step::new("Mul", [square, cubic]));
    let factor = p.push(Step::new("Add", [factor, one.clone()]));
    let inner = p.push(Step::new("Mul", [x.clone(), factor]));
    let inner = p.push(Step::new("Mul", [inner, root]));
    let tanh = p.push(Step::new("Tanh", [inner]));
    let gate = p.push(Step::new("Add", [tanh, one]));
    let halved = p.push(Step::new("Mul", [x, half]));
    Step::new("Mul", [halved, gate])
}

/// max(x, 0) + α·(e^min(x, 0) − 1).
pub(super) fn elu(p: &mut Parts<'_, '_>, alpha: f64) -> Step {
    let x = p.wide(0);
    let [zero, one, alpha] = [0.0, 1.0, alpha].map(|v| p.floats(&[], &[v]));
    let above = p.push(Step::new("Max", [x.clone(), zero.clone()]));
    let below = p.push(Step::new("Min", [x, zero]));
    let grown = p.push(Step::new("Exp", [below]));
    let fallen = p.push(Step::new("Sub", [grown, one]));
    let scaled = p.push(Step::new("Mul", [fallen, alpha]));
    Step::new("Add", [above, scaled])
}

/// max(x, 0) + slope·min(x, 0).
pub(super) fn leaky_relu(p: &mut Parts<'_, '_>, slope: f64) -> Step {
    let x = p.wide(0);
    let [zero, slope] = [0.0, slope].map(|v| p.floats(&[], &[v]));
    let above = p.push(Step::new("Max", [x.clone(), zero.clone()]));
    let below = p.push(Step::new("Min", [x, zero]));
    let below = p.push(Step::new("Mul", [below, slope]));
    Step::new("Add", [above, below])
}

/// x·min(max(x/6 + ½, 0), 1).
pub(super) fn hard_swish(p: &mut Parts<'_, '_>) -> Step {
    let x = p.wide(0);
    let gate = hard_sigmoid(p, 1.0 / 6.0, 0.5);
    let gate = p.push(gate);
    Step::new("Mul", [x, gate])
}

/// min(max(α·x + β, 0), 1).
pub(super) fn hard_sigmoid(p: &mut Parts<'_, '_>, alpha: f64, beta: f64) -> Step {
    let x = p.wide(0);
    let [alpha, beta, zero, one] = [alpha, beta, 0.0, 1.0].map(|v| p.floats(&[], &[v]));
    let scaled = p.push(Step::new("Mul", [x, alpha]));
    let shifted = p.push(Step::new("Add", [scaled, beta]));
    let above = p.push(Step::new("Max", [shifted, zero]));
    Step::new("Min", [above, one])
}

/// `min(max(round(x/scale), lo), hi)`, ties to even, as numbers.
pub(super) fn quantize(p: &mut Parts<'_, '_>, to: DType) -> Step {
    let (x, scale) = (p.wide_alone(0), p.wide_alone(1));
    let steps = p.push(Step::new("Div", [x, scale]));
    let whole = p.push(Step::new("Round", [steps]));
    let [lo, hi] = if to == DType::U8 { [0.0, 255.0] } else { [-128.0, 127.0] };
    let [lo, hi] = [lo, hi].map(|bound| p.floats(&[], &[bound]));
    let above = p.push(Step::new("Max", [whole, lo]));
    Step::new("Min", [above, hi])
}
