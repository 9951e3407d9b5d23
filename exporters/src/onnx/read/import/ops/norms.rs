//! Normalisations.

use super::super::call::{Call, Read, axis};
use super::super::cx::Cx;
use super::super::refusal::Done;
use super::super::value::Val;
use super::elementwise::float;
use super::{lookup, pooling, reduce};
use vitc_ir::{BinaryKind, Dim, Op, Real, UnaryKind, Value};

pub(super) fn find(op: &str) -> Option<Read> {
    Some(match op {
        "BatchNormalization" => batch,
        "LayerNormalization" => layer,
        "InstanceNormalization" => instance,
        "GroupNormalization" => group,
        "RMSNormalization" => rms,
        "LpNormalization" => power,
        "LRN" => pooling::lrn,
        "Softmax" | "LogSoftmax" | "Hardmax" => softmax,
        _ => return None,
    })
}

fn batch(cx: &mut Cx, c: &Call<'_>) -> Done {
    if c.int("training_mode", 0)? != 0 || c.version < 7 && c.int("is_test", 0)? == 0 {
        return by_own_statistics(cx, c);
    }
    if c.version < 9 && c.int("spatial", 1)? == 0 {
        return Err("normalises each position by itself".into());
    }
    let elem = cx.elem(c.needed(0)?)?;
    let mut inputs = Vec::new();
    for (slot, name) in ["x", "weight", "bias", "running_mean", "running_var"].into_iter().enumerate() {
        inputs.push(float(cx, c.needed(slot)?, &c.at(name))?);
    }
    let eps = Real(c.float("epsilon", 1e-5)?);
    Ok(vec![Val::Node(cx.push(Op::BatchNorm { eps }, &inputs, &c.path)?, elem)])
}

/// The form for training, by the mean and variance of all that is there of a channel. Weights are standardised so before a convolution reads them: of a
/// constant it is a constant. What the image decides was exported for training.
fn by_own_statistics(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let rank = cx.shape(x).len();
    if !cx.graph.is_constant(x) || rank < 2 {
        return Err("normalises by the batch's own statistics: export the model for inference".into());
    }
    let axes = (0..rank).filter(|&a| a != 1).collect();
    let y = cx.push(Op::LayerNorm { axes, eps: Real(c.float("epsilon", 1e-5)?) }, &[x], &c.at("norm"))?;
    let y = channels(cx, y, c.needed(1)?, c.needed(2)?, &c.path)?;
    let running = Val::Missing("its running statistics are not computed".into());
    Ok(vec![Val::Node(y, elem), running.clone(), running])
}

/// A scale or shift of a norm over the axes behind `axis`, as the operator takes it: one dimension per axis.
fn affine(cx: &mut Cx, value: &Val, sizes: &[usize], path: &str) -> Done<Value> {
    let x = float(cx, value, path)?;
    let own = cx.sizes(x)?;
    let mut dims = vec![1; sizes.len().saturating_sub(own.len())];
    dims.extend(&own);
    let fits = dims.len() == sizes.len() && dims.iter().zip(sizes).all(|(d, s)| d == s || *d == 1);
    if !fits {
        return Err(format!("scale or shift {own:?} does not fit {sizes:?}").into());
    }
    let x = cx.reshape(x, dims.iter().map(|&d| Dim::Fixed(d)).collect(), &format!("{path}.axes"))?;
    let shape = vitc_ir::Shape::fixed(sizes);
    if *cx.graph.shape(x) == shape { Ok(x) } else { cx.push(Op::Expand { shape }, &[x], &format!("{path}.all")) }
}

fn layer(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let from = axis(c.int("axis", -1)?, cx.shape(x).len())?;
    let eps = c.float("epsilon", 1e-5)?;
    let mut results = vec![Val::Node(layer_norm(cx, x, from, c.input(1), c.input(2), eps, &c.path)?, elem)];
    if c.wants(1) || c.wants(2) {
        let axes: Vec<usize> = (from..cx.shape(x).len()).collect();
        let mean = reduce::spell(cx, "ReduceMean", x, axes.clone(), true, &c.at("mean"))?;
        let apart = cx.binary(BinaryKind::Sub, x, mean, &c.at("centred"))?;
        let square = cx.binary(BinaryKind::Mul, apart, apart, &c.at("square"))?;
        let variance = reduce::spell(cx, "ReduceMean", square, axes, true, &c.at("variance"))?;
        let shifted = cx.with(BinaryKind::Add, variance, eps, &c.at("shifted"))?;
        let root = cx.unary(UnaryKind::Sqrt, shifted, &c.at("root"))?;
        let one = cx.scalar(1.0, &c.at("one"))?;
        let inverse = cx.binary(BinaryKind::Div, one, root, &c.at("inverse"))?;
        results.extend([Val::Node(mean, elem), Val::Node(inverse, elem)]);
    }
    Ok(results)
}

/// LayerNorm over the axes from `from` on, with what there is of scale and shift.
pub(super) fn layer_norm(
    cx: &mut Cx,
    x: Value,
    from: usize,
    scale: &Val,
    shift: &Val,
    eps: f64,
    path: &str,
) -> Done<Value> {
    let dims = cx.shape(x);
    let sizes = dims[from..].iter().map(|&d| cx.size(d)).collect::<Done<Vec<_>>>()?;
    let op = Op::LayerNorm { axes: (from..dims.len()).collect(), eps: Real(eps) };
    if scale.is_absent() && shift.is_absent() {
        return cx.push(op, &[x], path);
    }
    let computed = |v: &Val| matches!(v, Val::Node(v, _) if !cx.graph.is_constant(*v));
    if computed(scale) || computed(shift) {
        // Not every format's operator reads what is computed.
        let mut y = cx.push(op, &[x], &format!("{path}.norm"))?;
        for (value, kind, name) in [(scale, BinaryKind::Mul, "weight"), (shift, BinaryKind::Add, "bias")] {
            if !value.is_absent() {
                let value = affine(cx, value, &sizes, &format!("{path}.{name}"))?;
                y = cx.binary(kind, y, value, &format!("{path}.{name}.of"))?;
            }
        }
        return Ok(y);
    }
    let mut pair = Vec::new();
    for (value, name, plain) in [(scale, "weight", 1.0), (shift, "bias", 0.0)] {
        pair.push(match value {
            Val::Absent => fill(cx, plain, &sizes, &format!("{path}.{name}"))?,
            value => affine(cx, value, &sizes, &format!("{path}.{name}"))?,
        });
    }
    cx.push(op, &[x, pair[0], pair[1]], path)
}

fn fill(cx: &mut Cx, value: f64, dims: &[usize], path: &str) -> Done<Value> {
    let op = Op::Generate(vitc_ir::Generator::Fill { value: Real(value) });
    Ok(cx.graph.push_leaf(op, vitc_ir::Type::f32(dims), path)?)
}

/// `y·scale + bias`, each along axis 1.
fn channels(cx: &mut Cx, y: Value, scale: &Val, bias: &Val, path: &str) -> Done<Value> {
    let rank = cx.shape(y).len();
    let mut y = y;
    for (value, kind, plain, name) in [(scale, BinaryKind::Mul, 1.0, "weight"), (bias, BinaryKind::Add, 0.0, "bias")] {
        // Norms inside of legacy group norms have a scale of 1 and a shift of 0.
        let idle = cx.known(value).and_then(|k| k.reals()).is_some_and(|all| all.iter().all(|&x| x == plain));
        if idle || value.is_absent() {
            continue;
        }
        let v = float(cx, value, &format!("{path}.{name}"))?;
        let size = cx.sizes(v)?.iter().product();
        let dims = (0..rank).map(|i| Dim::Fixed(if i == 1 { size } else { 1 })).collect();
        let v = cx.reshape(v, dims, &format!("{path}.{name}.channels"))?;
        y = cx.binary(kind, y, v, path)?;
    }
    Ok(y)
}

fn instance(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let rank = cx.shape(x).len();
    if rank < 3 {
        return Err(format!("normalises a value of rank {rank}").into());
    }
    let op = Op::LayerNorm { axes: (2..rank).collect(), eps: Real(c.float("epsilon", 1e-5)?) };
    let y = cx.push(op, &[x], &c.at("norm"))?;
    Ok(vec![Val::Node(channels(cx, y, c.input(1), c.input(2), &c.path)?, elem)])
}

fn group(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let dims = cx.shape(x);
    let groups = usize::try_from(c.int("num_groups", 0)?).ok().filter(|&g| g > 0).ok_or("has no number of groups")?;
    let inner = dims.iter().skip(1).map(|&d| cx.size(d)).collect::<Done<Vec<_>>>()?;
    if dims.len() < 3 || !inner[0].is_multiple_of(groups) {
        return Err(format!("{groups} groups do not divide the channels").into());
    }
    let all: usize = inner.iter().product();
    let split = cx.reshape(x, vec![dims[0], Dim::Fixed(groups), Dim::Fixed(all / groups)], &c.at("groups"))?;
    let op = Op::LayerNorm { axes: vec![2], eps: Real(c.float("epsilon", 1e-5)?) };
    let y = cx.push(op, &[split], &c.at("norm"))?;
    if c.version < 21 {
        // One scale for each group.
        let y = channels(cx, y, c.input(1), c.input(2), &c.at("affine"))?;
        return Ok(vec![Val::Node(cx.reshape(y, dims, &c.path)?, elem)]);
    }
    let y = cx.reshape(y, dims, &c.at("map"))?;
    Ok(vec![Val::Node(channels(cx, y, c.input(1), c.input(2), &c.path)?, elem)])
}

fn rms(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let from = axis(c.int("axis", -1)?, cx.shape(x).len())?;
    let y = rms_norm(cx, x, from, c.input(1), c.float("epsilon", 1e-5)?, &c.path)?;
    Ok(vec![Val::Node(y, elem)])
}

/// x/√(mean x² + ε)·scale over the axes from `from` on.
pub(super) fn rms_norm(cx: &mut Cx, x: Value, from: usize, scale: &Val, eps: f64, path: &str) -> Done<Value> {
    let at = |name: &str| format!("{path}.{name}");
    let square = cx.binary(BinaryKind::Mul, x, x, &at("square"))?;
    let rank = cx.shape(x).len();
    let mean = reduce::spell(cx, "ReduceMean", square, (from..rank).collect(), true, &at("mean"))?;
    let shifted = cx.with(BinaryKind::Add, mean, eps, &at("shifted"))?;
    let root = cx.unary(UnaryKind::Sqrt, shifted, &at("root"))?;
    let y = cx.binary(BinaryKind::Div, x, root, &at("normal"))?;
    match scale {
        Val::Absent => Ok(y),
        scale => {
            let scale = float(cx, scale, &at("weight"))?;
            cx.binary(BinaryKind::Mul, y, scale, path)
        }
    }
}

fn power(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let along = axis(c.int("axis", -1)?, cx.shape(x).len())?;
    let op = match c.int("p", 2)? {
        1 => "ReduceL1",
        2 => "ReduceL2",
        p => return Err(format!("takes the norm of power {p}").into()),
    };
    let norm = reduce::spell(cx, op, x, vec![along], true, &c.at("norm"))?;
    // Zeros stay zeros: the least normal float stands for a norm of zero.
    let norm = cx.with(BinaryKind::Max, norm, f64::from(f32::MIN_POSITIVE), &c.at("divisor"))?;
    Ok(vec![Val::Node(cx.binary(BinaryKind::Div, x, norm, &c.path)?, elem)])
}

fn softmax(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let x = float(cx, c.needed(0)?, &c.at("x"))?;
    let dims = cx.shape(x);
    let modern = c.version >= 13;
    let along = axis(c.int("axis", if modern { -1 } else { 1 })?, dims.len().max(1))?;
    let flat = !modern && dims.iter().skip(along + 1).any(|&d| d != Dim::Fixed(1));
    let (map, at) = match flat {
        true => {
            let inner = dims[along..].iter().map(|&d| cx.size(d)).collect::<Done<Vec<_>>>()?;
            let before = dims[..along].iter().try_fold(Dim::Fixed(1), |n, &d| match (n, d) {
                (n, Dim::Fixed(d)) => Some(n.times(d)),
                (Dim::Fixed(n), d) => Some(d.times(n)),
                _ => None,
            });
            let rows = before.ok_or("flattens two batches into one")?;
            (cx.reshape(x, vec![rows, Dim::Fixed(inner.iter().product())], &c.at("rows"))?, 1)
        }
        false => (x, along),
    };
    if cx.shape(map).is_empty() {
        return Err("is a softmax of a scalar".into());
    }
    cx.size(cx.shape(map)[at])?;
    let y = match c.op() {
        "Softmax" => cx.push(Op::Softmax { axis: at }, &[map], &if flat { c.at("softmax") } else { c.path.clone() })?,
        "Hardmax" => hardmax(cx, map, at, &c.path)?,
        _ => log_softmax(cx, map, at, &c.path)?,
    };
    Ok(vec![Val::Node(cx.reshape(y, dims, &c.path)?, elem)])
}

/// 1 at the first of the largest elements along an axis, else 0.
fn hardmax(cx: &mut Cx, x: Value, axis: usize, path: &str) -> Done<Value> {
    let size = cx.size(cx.shape(x)[axis])?;
    let first = cx.push(Op::ArgMax { axis, keep: true }, &[x], &format!("{path}.first"))?;
    lookup::counted(cx, first, axis, size, [0.0, 1.0], path)
}

/// x − max − ln Σ e^(x − max).
fn log_softmax(cx: &mut Cx, x: Value, axis: usize, path: &str) -> Done<Value> {
    let at = |name: &str| format!("{path}.{name}");
    let most = reduce::spell(cx, "ReduceMax", x, vec![axis], true, &at("most"))?;
    let less = cx.binary(BinaryKind::Sub, x, most, &at("less"))?;
    let exp = cx.unary(UnaryKind::Exp, less, &at("exp"))?;
    let sum = reduce::spell(cx, "ReduceSum", exp, vec![axis], true, &at("sum"))?;
    let log = cx.unary(UnaryKind::Log, sum, &at("log"))?;
    cx.binary(BinaryKind::Sub, less, log, path)
}
