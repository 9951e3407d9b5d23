//! Functions of each element.

use super::super::super::tensor::Elem;
use super::super::call::{Call, Read, axis};
use super::super::cx::Cx;
use super::super::known::{self, Num, Unknown};
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::whole;
use vitc_ir::{BinaryKind, DType, Dim, Generator, Op, Real, UnaryKind, Value};

pub(super) fn find(op: &str) -> Option<Read> {
    Some(match op {
        "Add" | "Sub" | "Mul" | "Div" => arithmetic,
        "Mod" => modulo,
        "Pow" => power,
        "Sum" | "Mean" | "Max" | "Min" => variadic,
        "Relu" | "Sigmoid" | "Tanh" | "Exp" | "Log" | "Sqrt" | "Abs" | "Neg" | "Erf" | "Sin" | "Cos" | "Floor"
        | "Ceil" | "Round" | "Sign" | "Softplus" | "Reciprocal" | "Softsign" | "Mish" | "HardSwish" => function,
        "LeakyRelu" | "Elu" | "Selu" | "Celu" | "HardSigmoid" | "ThresholdedRelu" | "Gelu" | "Swish" => with_parameters,
        "PRelu" => prelu,
        "Clip" => clip,
        "Identity" | "Dropout" => same,
        _ => return None,
    })
}

/// A float operand as a value of the graph.
pub(super) fn float(cx: &mut Cx, value: &Val, path: &str) -> Done<Value> {
    let elem = cx.elem(value)?;
    if !elem.is_float() {
        return Err(format!("computes with {} at run time", elem.word()).into());
    }
    cx.value(value, path)
}

/// A float, or codes that are kept as floats: for operators that only compare their elements.
pub(super) fn ordered(cx: &mut Cx, value: &Val, path: &str) -> Done<Value> {
    match value {
        Val::Node(v, elem) if elem.is_int() && cx.graph.ty(*v).dtype == DType::F32 => Ok(*v),
        value => float(cx, value, path),
    }
}

/// 1 − x.
pub(super) fn opposite(cx: &mut Cx, x: Value, path: &str) -> Done<Value> {
    let one = cx.scalar(1.0, &format!("{path}.one"))?;
    cx.binary(BinaryKind::Sub, one, x, path)
}

fn same(cx: &mut Cx, c: &Call<'_>) -> Done {
    if c.op() == "Dropout" && trains(cx, c)? {
        return Err("drops at random: export the model for inference".into());
    }
    let value = c.needed(0)?.clone();
    if !c.wants(1) {
        return Ok(vec![value]);
    }
    // Where nothing is dropped all is kept, and older versions say so in the value's own type.
    let elem = if c.version >= 10 { Elem::Bool } else { cx.elem(&value)? };
    let all =
        Val::known(known::Known::new(elem, vec![], vec![if elem.is_float() { Num::float(1.0) } else { Num::int(1) }]));
    let dims = cx.dims(&value)?;
    Ok(vec![value, cx.expanded(&all, &dims, &c.at("kept"))?])
}

/// Whether a dropout is in training mode and drops anything.
fn trains(cx: &mut Cx, c: &Call<'_>) -> Done<bool> {
    if c.version < 12 {
        return Ok(c.version < 7 && c.int("is_test", 0)? == 0);
    }
    let flag = |value: &Val, default: f64| match value {
        Val::Absent => Ok(default),
        value => Ok::<_, Refusal>(cx.reals(value, "training mode")?.first().copied().unwrap_or(default)),
    };
    Ok(flag(c.input(2), 0.0)? != 0.0 && flag(c.input(1), 0.5)? != 0.0)
}

// ---- two operands ----

/// The operator's second operand as it broadcasts: before opset 7 it was aligned at an axis.
pub(super) fn aligned(cx: &mut Cx, c: &Call<'_>) -> Done<Val> {
    let y = c.needed(1)?.clone();
    if c.version >= 7 || c.int("broadcast", 0)? == 0 {
        return Ok(y);
    }
    let (rank, mut dims) = (cx.dims(c.needed(0)?)?.len(), cx.dims(&y)?);
    let axis = match c.int("axis", -1)? {
        -1 => rank.saturating_sub(dims.len()),
        given => axis(given, rank)?,
    };
    while axis + dims.len() < rank {
        dims.push(Dim::Fixed(1));
    }
    cx.reshaped(&y, &dims, &c.at("aligned"))
}

fn arithmetic(cx: &mut Cx, c: &Call<'_>) -> Done {
    let (x, y) = (c.needed(0)?.clone(), aligned(cx, c)?);
    let kind = match c.op() {
        "Add" => BinaryKind::Add,
        "Sub" => BinaryKind::Sub,
        "Mul" => BinaryKind::Mul,
        _ => BinaryKind::Div,
    };
    match plain_sum(cx, kind, &x, &y)? {
        Some(value) => Ok(vec![value]),
        None => Ok(vec![binary(cx, &x, &y, c.op(), kind, &c.path)?]),
    }
}

/// The float to which nothing is added, as a mask does that hides nothing.
fn plain_sum(cx: &Cx, kind: BinaryKind, x: &Val, y: &Val) -> Done<Option<Val>> {
    for (value, zero) in [(x, y), (y, x)] {
        let (Val::Node(v, elem), true) = (value, kind == BinaryKind::Add && is_zero(cx, zero)) else { continue };
        let own = cx.graph.shape(*v);
        if elem.is_float() && vitc_ir::infer::broadcast(own, &vitc_ir::Shape(cx.dims(zero)?)).as_ref() == Some(own) {
            return Ok(Some(value.clone()));
        }
    }
    Ok(None)
}

/// A constant that is zero throughout, as far as can be seen without its elements.
fn is_zero(cx: &Cx, value: &Val) -> bool {
    match value {
        Val::Known(k) => k.data.iter().all(|n| n.real() == Some(0.0)),
        Val::Node(v, _) => {
            let mut v = *v;
            while let Op::Expand { .. } | Op::Reshape { .. } = cx.graph.op(v) {
                v = cx.graph.producer(v).inputs[0];
            }
            match cx.graph.op(v) {
                Op::Literal { values } => values.iter().all(|x| x.0 == 0.0),
                Op::Generate(Generator::Fill { value }) => value.0 == 0.0,
                _ => false,
            }
        }
        _ => false,
    }
}

/// Known numbers element by element, if both operands are known.
pub(super) fn folded(cx: &Cx, x: &Val, y: &Val, op: &str) -> Done<Option<Val>> {
    let (Some(a), Some(b)) = (cx.known(x), cx.known(y)) else { return Ok(None) };
    let truth = matches!(op, "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor");
    let elem = if truth { Elem::Bool } else { a.elem };
    let one = |x: Num, y: Num| known::binary(op, x, y, elem).unwrap_or(Err(Unknown::Range));
    match a.zip(&b, elem, one) {
        Some(result) => Ok(Some(Val::known(result?))),
        None => Err(format!("{:?} and {:?} do not broadcast", a.dims, b.dims).into()),
    }
}

/// An operator of two operands, computed now if both are known.
pub(super) fn binary(cx: &mut Cx, x: &Val, y: &Val, op: &str, kind: BinaryKind, path: &str) -> Done<Val> {
    if let Some(known) = folded(cx, x, y, op)? {
        return Ok(known);
    }
    let elem = cx.elem(x)?;
    fits(cx, x, y)?;
    if elem.is_int() {
        return whole::arithmetic(cx, x, y, op, path);
    }
    let (a, b) = (float(cx, x, &format!("{path}.a"))?, float(cx, y, &format!("{path}.b"))?);
    Ok(Val::Node(cx.binary(kind, a, b, path)?, elem))
}

/// Both shapes broadcast.
pub(super) fn fits(cx: &Cx, x: &Val, y: &Val) -> Done<()> {
    let (a, b) = (cx.dims(x)?, cx.dims(y)?);
    match vitc_ir::infer::broadcast(&vitc_ir::Shape(a.clone()), &vitc_ir::Shape(b.clone())) {
        Some(_) => Ok(()),
        None => Err(Refusal::new(cx.contradiction(&a, &b))),
    }
}

fn modulo(cx: &mut Cx, c: &Call<'_>) -> Done {
    let (x, y, fmod) = (c.needed(0)?.clone(), c.needed(1)?.clone(), c.int("fmod", 0)? != 0);
    if let Some(known) = folded(cx, &x, &y, if fmod { "Fmod" } else { "Mod" })? {
        return Ok(vec![known]);
    }
    if cx.elem(&x)?.is_int() {
        fits(cx, &x, &y)?;
        return Ok(vec![whole::arithmetic(cx, &x, &y, if fmod { "Fmod" } else { "Mod" }, &c.path)?]);
    }
    if !fmod {
        return Err("takes the remainder of floats with the divisor's sign".into());
    }
    // x − d·trunc(x/d), with trunc(q) = sign(q)·⌊|q|⌋.
    let (elem, x, d) = (cx.elem(&x)?, float(cx, &x, &c.at("x"))?, float(cx, &y, &c.at("d"))?);
    let q = cx.binary(BinaryKind::Div, x, d, &c.at("quotient"))?;
    let sign = cx.unary(UnaryKind::Sign, q, &c.at("sign"))?;
    let size = cx.unary(UnaryKind::Abs, q, &c.at("size"))?;
    let whole = cx.unary(UnaryKind::Floor, size, &c.at("whole"))?;
    let whole = cx.binary(BinaryKind::Mul, sign, whole, &c.at("truncated"))?;
    let part = cx.binary(BinaryKind::Mul, d, whole, &c.at("part"))?;
    Ok(vec![Val::Node(cx.binary(BinaryKind::Sub, x, part, &c.path)?, elem)])
}

fn power(cx: &mut Cx, c: &Call<'_>) -> Done {
    let (x, y) = (c.needed(0)?.clone(), aligned(cx, c)?);
    if let Some(known) = folded(cx, &x, &y, "Pow")? {
        return Ok(vec![known]);
    }
    let elem = cx.elem(&x)?;
    let base = cx.known(&x).and_then(|k| k.scalar()).and_then(Num::real);
    let exponent = cx.known(&y).filter(|k| k.dims.len() <= 1).and_then(|k| k.scalar()).and_then(Num::real);
    let path = c.path.as_str();
    if let (Some(base), None) = (base, exponent)
        && base > 0.0
    {
        let y = float(cx, &y, &c.at("y"))?;
        let scaled = cx.with(BinaryKind::Mul, y, base.ln(), &c.at("scaled"))?;
        return Ok(vec![Val::Node(cx.unary(UnaryKind::Exp, scaled, path)?, elem)]);
    }
    let b = float(cx, &x, &c.at("x"))?;
    let result = match exponent {
        Some(1.0) => b,
        Some(2.0) => cx.binary(BinaryKind::Mul, b, b, path)?,
        Some(3.0) => {
            let square = cx.binary(BinaryKind::Mul, b, b, &c.at("square"))?;
            cx.binary(BinaryKind::Mul, square, b, path)?
        }
        Some(0.5) => cx.unary(UnaryKind::Sqrt, b, path)?,
        Some(-0.5) => {
            let root = cx.unary(UnaryKind::Sqrt, b, &c.at("root"))?;
            reciprocal(cx, root, path)?
        }
        Some(-1.0) => reciprocal(cx, b, path)?,
        Some(e) => cx.with(BinaryKind::Pow, b, e, path)?,
        None => {
            fits(cx, &x, &y)?;
            // The exponent may be a table of whole numbers.
            let y = match cx.known(&y) {
                Some(k) => Val::known(k.map(elem, |n| known::cast(n, elem))?),
                None => y,
            };
            let e = float(cx, &y, &c.at("y"))?;
            cx.binary(BinaryKind::Pow, b, e, path)?
        }
    };
    Ok(vec![Val::Node(result, elem)])
}

fn reciprocal(cx: &mut Cx, x: Value, path: &str) -> Done<Value> {
    let one = cx.scalar(1.0, &format!("{path}.one"))?;
    cx.binary(BinaryKind::Div, one, x, path)
}

fn variadic(cx: &mut Cx, c: &Call<'_>) -> Done {
    let (op, kind) = match c.op() {
        "Sum" | "Mean" => ("Add", BinaryKind::Add),
        "Max" => ("Max", BinaryKind::Max),
        _ => ("Min", BinaryKind::Min),
    };
    let mut result = c.needed(0)?.clone();
    for i in 1..c.inputs.len() {
        let path = if i + 1 == c.inputs.len() && c.op() != "Mean" { c.path.clone() } else { c.at(&format!("part{i}")) };
        result = binary(cx, &result, c.needed(i)?, op, kind, &path)?;
    }
    if c.op() == "Mean" && c.inputs.len() > 1 {
        let elem = cx.elem(&result)?;
        let x = float(cx, &result, &c.at("sum"))?;
        result = Val::Node(cx.with(BinaryKind::Mul, x, 1.0 / c.inputs.len() as f64, &c.path)?, elem);
    }
    Ok(vec![result])
}

// ---- one operand ----

fn function(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?;
    if let Some(k) = cx.known(value)
        && let Some(result) = known_function(c.op(), &k)
    {
        return Ok(vec![Val::known(result?)]);
    }
    if whole::is_wide(cx.elem(value)?) {
        return Ok(vec![whole::function(cx, value, c.op(), &c.path)?]);
    }
    let (elem, x, path) = (cx.elem(value)?, float(cx, value, &c.at("x"))?, c.path.as_str());
    let kind = match c.op() {
        "Relu" => UnaryKind::Relu,
        "Sigmoid" => UnaryKind::Sigmoid,
        "Tanh" => UnaryKind::Tanh,
        "Exp" => UnaryKind::Exp,
        "Log" => UnaryKind::Log,
        "Sqrt" => UnaryKind::Sqrt,
        "Abs" => UnaryKind::Abs,
        "Neg" => UnaryKind::Neg,
        "Erf" => UnaryKind::Erf,
        "Sin" => UnaryKind::Sin,
        "Cos" => UnaryKind::Cos,
        "Floor" => UnaryKind::Floor,
        "Ceil" => UnaryKind::Ceil,
        "Round" => UnaryKind::Round,
        "Sign" => UnaryKind::Sign,
        "Softplus" => UnaryKind::Softplus,
        _ => return Ok(vec![Val::Node(formula(cx, c.op(), x, path)?, elem)]),
    };
    Ok(vec![Val::Node(cx.unary(kind, x, path)?, elem)])
}

/// The function of known numbers, if it is one that shapes are computed with.
fn known_function(op: &str, k: &known::Known) -> Option<Result<known::Known, Unknown>> {
    known::unary(op, *k.data.first()?, k.elem).is_some().then_some(())?;
    Some(k.map(k.elem, |x| known::unary(op, x, k.elem).unwrap_or(Err(Unknown::Range))))
}

/// Functions by their definitions.
fn formula(cx: &mut Cx, op: &str, x: Value, path: &str) -> Done<Value> {
    let at = |name: &str| format!("{path}.{name}");
    match op {
        "Reciprocal" => reciprocal(cx, x, path),
        "Softsign" => {
            let size = cx.unary(UnaryKind::Abs, x, &at("size"))?;
            let divisor = cx.with(BinaryKind::Add, size, 1.0, &at("divisor"))?;
            cx.binary(BinaryKind::Div, x, divisor, path)
        }
        "Mish" => {
            let soft = cx.unary(UnaryKind::Softplus, x, &at("softplus"))?;
            let gate = cx.unary(UnaryKind::Tanh, soft, &at("gate"))?;
            cx.binary(BinaryKind::Mul, x, gate, path)
        }
        _ => cx.unary(UnaryKind::HardSwish, x, path),
    }
}

/// Functions with parameters, whose defaults hold where the file does not say them.
fn with_parameters(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?;
    let (elem, x, path) = (cx.elem(value)?, float(cx, value, &c.at("x"))?, c.path.as_str());
    let result = match c.op() {
        "LeakyRelu" => cx.unary(UnaryKind::LeakyRelu { slope: Real(c.float("alpha", 0.01)?) }, x, path)?,
        "Elu" => cx.unary(UnaryKind::Elu { alpha: Real(c.float("alpha", 1.0)?) }, x, path)?,
        "Selu" => {
            let alpha = Real(c.float("alpha", 1.673_263_2)?);
            let elu = cx.unary(UnaryKind::Elu { alpha }, x, &c.at("elu"))?;
            cx.with(BinaryKind::Mul, elu, c.float("gamma", 1.050_701)?, path)?
        }
        // α·elu(x/α) is x where x is positive, else α·(e^(x/α) − 1).
        "Celu" => {
            let alpha = c.float("alpha", 1.0)?;
            let scaled = cx.with(BinaryKind::Mul, x, 1.0 / alpha, &c.at("scaled"))?;
            let elu = cx.unary(UnaryKind::Elu { alpha: Real(1.0) }, scaled, &c.at("elu"))?;
            cx.with(BinaryKind::Mul, elu, alpha, path)?
        }
        "HardSigmoid" => {
            let (alpha, beta) = (Real(c.float("alpha", 0.2)?), Real(c.float("beta", 0.5)?));
            cx.unary(UnaryKind::HardSigmoid { alpha, beta }, x, path)?
        }
        "ThresholdedRelu" => thresholded(cx, x, c.float("alpha", 1.0)?, path)?,
        "Gelu" if c.text("approximate", "none")? == "tanh" => cx.unary(UnaryKind::GeluTanh, x, path)?,
        "Gelu" => cx.unary(UnaryKind::Gelu, x, path)?,
        _ => gated(cx, x, c.float("alpha", 1.0)?, path)?,
    };
    Ok(vec![Val::Node(result, elem)])
}

/// x·σ(αx).
pub(super) fn gated(cx: &mut Cx, x: Value, alpha: f64, path: &str) -> Done<Value> {
    let inner = if alpha == 1.0 { x } else { cx.with(BinaryKind::Mul, x, alpha, &format!("{path}.scaled"))? };
    let gate = cx.unary(UnaryKind::Sigmoid, inner, &format!("{path}.gate"))?;
    cx.binary(BinaryKind::Mul, x, gate, path)
}

/// x where x > α, else 0: x·(1 − max(sign(α − x) + 1, 0) bounded by 1), which is 0 at α itself.
fn thresholded(cx: &mut Cx, x: Value, alpha: f64, path: &str) -> Done<Value> {
    let above = cx.with(BinaryKind::Sub, x, alpha, &format!("{path}.above"))?;
    let sign = cx.unary(UnaryKind::Sign, above, &format!("{path}.sign"))?;
    let gate = cx.unary(UnaryKind::Relu, sign, &format!("{path}.gate"))?;
    cx.binary(BinaryKind::Mul, x, gate, path)
}

fn prelu(cx: &mut Cx, c: &Call<'_>) -> Done {
    let (value, mut slope) = (c.needed(0)?.clone(), c.needed(1)?.clone());
    if c.version < 7 && cx.dims(&slope)?.len() == 1 {
        // One for each channel, or one for all of them.
        let size = cx.fixed(&slope)?[0];
        let behind = cx.dims(&value)?.len().saturating_sub(2);
        let dims = [vec![Dim::Fixed(size)], vec![Dim::Fixed(1); behind]].concat();
        slope = cx.reshaped(&slope, &dims, &c.at("channels"))?;
    }
    let (elem, x, dims, own) = (cx.elem(&value)?, float(cx, &value, &c.at("x"))?, cx.dims(&value)?, cx.fixed(&slope)?);
    let behind = |axis: usize| {
        own.len() + axis >= dims.len()
            && own.iter().enumerate().all(|(i, &d)| i + dims.len() == own.len() + axis || d == 1)
    };
    let channels = dims.get(1).and_then(|d| d.fixed());
    let size: usize = own.iter().product();
    let one = if size == 1 { cx.constant(&slope).and_then(|k| k.reals()) } else { None };
    if let Some(&[slope]) = one.as_deref() {
        let kind = UnaryKind::LeakyRelu { slope: Real(slope) };
        return Ok(vec![Val::Node(cx.unary(kind, x, &c.path)?, elem)]);
    }
    let constant = !matches!(slope, Val::Node(v, _) if !cx.graph.is_constant(v));
    if constant && dims.len() >= 2 && (size == 1 || behind(1) && Some(size) == channels) {
        let slope = cx.reshaped(&slope, &[Dim::Fixed(size)], &c.at("slope"))?;
        let slope = float(cx, &slope, &c.at("slope"))?;
        return Ok(vec![Val::Node(cx.push(Op::Prelu, &[x, slope], &c.path)?, elem)]);
    }
    fits(cx, &value, &slope)?;
    let slope = float(cx, &slope, &c.at("slope"))?;
    let up = cx.unary(UnaryKind::Relu, x, &c.at("up"))?;
    let down = cx.with(BinaryKind::Min, x, 0.0, &c.at("down"))?;
    let down = cx.binary(BinaryKind::Mul, slope, down, &c.at("scaled"))?;
    Ok(vec![Val::Node(cx.binary(BinaryKind::Add, up, down, &c.path)?, elem)])
}

fn clip(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let bound = |slot: usize, name: &str| -> Done<Option<Val>> {
        if c.version < 11 {
            let said = if c.has(name) { Some(c.float(name, 0.0)?) } else { None };
            let elem = cx.elem(&value)?;
            return Ok(said
                .filter(|x| x.abs() < 3e38)
                .map(|x| Val::known(known::Known::new(elem, vec![], vec![Num::float(x)]))));
        }
        Ok(Some(c.input(slot).clone()).filter(|v| !v.is_absent()))
    };
    // Exporters write the largest float where there is no bound.
    let far = |v: &Val| cx.known(v).and_then(|k| k.scalar()?.real()).filter(|x| x.abs() > 3e38);
    let lo = bound(1, "min")?.filter(|v| far(v).is_none_or(|x| x > 0.0));
    let hi = bound(2, "max")?.filter(|v| far(v).is_none_or(|x| x < 0.0));
    if let Some(k) = cx.known(&value) {
        let mut k = Val::Known(k);
        for (bound, op) in [(&lo, "Max"), (&hi, "Min")] {
            if let Some(bound) = bound {
                k = folded(cx, &k, bound, op)?.ok_or_else(|| Refusal::computed("its bounds depend on the image"))?;
            }
        }
        return Ok(vec![k]);
    }
    let number = |bound: &Option<Val>| bound.as_ref().and_then(|v| cx.known(v)?.scalar()?.real());
    let (low, high) = (number(&lo), number(&hi));
    if whole::is_wide(cx.elem(&value)?) {
        let mut y = value;
        for (bound, op, kind) in [(lo, "Max", BinaryKind::Max), (hi, "Min", BinaryKind::Min)] {
            if let Some(bound) = bound {
                y = binary(cx, &y, &bound, op, kind, &c.at(op))?;
            }
        }
        return Ok(vec![y]);
    }
    let (elem, x) = (cx.elem(&value)?, float(cx, &value, &c.at("x"))?);
    if let (Some(lo), Some(hi)) = (low, high)
        && lo < hi
    {
        return Ok(vec![Val::Node(cx.push(Op::Clip { lo: Real(lo), hi: Real(hi) }, &[x], &c.path)?, elem)]);
    }
    // Where the bounds leave no room all is the upper one.
    if let (Some(_), Some(all)) = (low, high)
        && let Ok(dims) = cx.fixed(&value)
    {
        let all = Val::known(known::Known::new(elem, vec![], vec![Num::float(all)]));
        let dims: Vec<Dim> = dims.into_iter().map(Dim::Fixed).collect();
        return Ok(vec![cx.expanded(&all, &dims, &c.path)?]);
    }
    if let (Some(0.0), None) = (low, &hi) {
        return Ok(vec![Val::Node(cx.unary(UnaryKind::Relu, x, &c.path)?, elem)]);
    }
    let mut y = x;
    for (bound, kind, name) in [(lo, BinaryKind::Max, "low"), (hi, BinaryKind::Min, "high")] {
        if let Some(bound) = bound {
            let scalar = cx.reshaped(&bound, &[], &c.at(name))?;
            let bound = float(cx, &scalar, &c.at(name))?;
            y = cx.binary(kind, y, bound, &c.path)?;
        }
    }
    Ok(vec![Val::Node(y, elem)])
}
