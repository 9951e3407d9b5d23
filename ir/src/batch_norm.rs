//! Arithmetic on the parameters of a BatchNorm, which has words of its own in the text form.
//!
//! `batch_norm(x, γ, β, μ, σ²){eps}` is `s∘x + t` with
//!
//! ```text
//! bn_scale(γ, σ²){eps}        s = γ/√(σ² + ε)
//! bn_shift(γ, β, μ, σ²){eps}  t = β − μ·γ/√(σ² + ε)
//! ```
//!
//! In a graph each is the elementary operators that the formula shows, in its order; both share `s`. `bn"KEY":f32[C]` in the place of the parameters
//! is a whole BatchNorm of a checkpoint: the weights `KEY.weight`, `KEY.bias`, `KEY.running_mean` and `KEY.running_var`.

use crate::graph::Graph;
use crate::id::Value;
use crate::infer::ShapeError;
use crate::op::{BinaryKind, Op, UnaryKind};
use crate::real::Real;
use crate::ty::Type;

/// What a checkpoint calls the parameters of a BatchNorm, in the order of the operator's operands.
pub(crate) const PARAMETERS: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

/// Name and type of a BatchNorm of a checkpoint, if `operands` are its weights of these names.
pub(crate) fn whole<'g>(graph: &'g Graph, operands: &[Value], names: &[&str]) -> Option<(&'g str, &'g Type)> {
    let parameter = |v: Value, name: &str| match graph.op(v) {
        Op::Weight { key } => Some((key.strip_suffix(name)?.strip_suffix('.')?, graph.ty(v))),
        _ => None,
    };
    let first = parameter(*operands.first()?, names.first()?)?;
    let all = operands.len() == names.len() && operands.iter().zip(names).all(|(&v, n)| parameter(v, n) == Some(first));
    all.then_some(first)
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Affine {
    Scale,
    Shift,
}

impl Affine {
    /// The one with this word.
    pub(crate) fn of_word(word: &str) -> Option<Affine> {
        [Affine::Scale, Affine::Shift].into_iter().find(|a| a.word() == word)
    }

    /// Its word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Affine::Scale => "bn_scale",
            Affine::Shift => "bn_shift",
        }
    }

    /// What its operands are to it.
    pub(crate) fn roles(self) -> &'static [&'static str] {
        match self {
            Affine::Scale => &["scale", "var"],
            Affine::Shift => &["scale", "shift", "mean", "var"],
        }
    }

    /// What a checkpoint calls its operands.
    pub(crate) fn keys(self) -> &'static [&'static str] {
        match self {
            Affine::Scale => &["weight", "running_var"],
            Affine::Shift => &PARAMETERS,
        }
    }

    /// Append its operators.
    pub(crate) fn push(
        self,
        graph: &mut Graph,
        eps: Real,
        operands: &[Value],
        path: &str,
    ) -> Result<Value, ShapeError> {
        let wrong =
            || ShapeError { path: path.into(), op: self.word(), what: format!("takes {}", self.roles().join(", ")) };
        match (self, operands) {
            (Affine::Scale, &[g, v]) => scale(graph, eps, [g, v], path),
            (Affine::Shift, &[g, b, m, v]) => {
                let s = scale(graph, eps, [g, v], &format!("{path}.s"))?;
                let ms = graph.push(Op::Binary(BinaryKind::Mul), &[m, s], &format!("{path}.mean_s"))?;
                Ok(graph.push(Op::Binary(BinaryKind::Sub), &[b, ms.into()], path)?.into())
            }
            _ => Err(wrong()),
        }
    }
}

fn scale(graph: &mut Graph, eps: Real, [g, v]: [Value; 2], path: &str) -> Result<Value, ShapeError> {
    let eps = graph.push_leaf(Op::Literal { values: vec![eps] }, Type::f32(&[]), &format!("{path}.eps"))?;
    let sum = graph.push(Op::Binary(BinaryKind::Add), &[v, eps], &format!("{path}.var_eps"))?;
    let std = graph.push(Op::Unary(UnaryKind::Sqrt), &[sum.into()], &format!("{path}.std"))?;
    Ok(graph.push(Op::Binary(BinaryKind::Div), &[g, std.into()], path)?.into())
}

/// What a constant is, if it is one of the two: its operands and ε.
pub(crate) fn recognised(graph: &Graph, value: Value) -> Option<(Affine, Vec<Value>, Real)> {
    if let Some(([g, v], eps)) = recognised_scale(graph, value) {
        return Some((Affine::Scale, vec![g, v], eps));
    }
    let [b, ms] = operands(graph, value, &Op::Binary(BinaryKind::Sub))?;
    let [m, s] = operands(graph, ms, &Op::Binary(BinaryKind::Mul))?;
    let ([g, v], eps) = recognised_scale(graph, s)?;
    Some((Affine::Shift, vec![g, b, m, v], eps))
}

fn recognised_scale(graph: &Graph, value: Value) -> Option<([Value; 2], Real)> {
    let [g, std] = operands(graph, value, &Op::Binary(BinaryKind::Div))?;
    let [sum] = operands(graph, std, &Op::Unary(UnaryKind::Sqrt))?;
    let [v, eps] = operands(graph, sum, &Op::Binary(BinaryKind::Add))?;
    match graph.op(eps) {
        Op::Literal { values } if values.len() == 1 && *graph.ty(eps) == Type::f32(&[]) => Some(([g, v], values[0])),
        _ => None,
    }
}

fn operands<const N: usize>(graph: &Graph, value: Value, op: &Op) -> Option<[Value; N]> {
    let node = graph.producer(value);
    if node.op == *op && graph.is_constant(value) { node.inputs[..].try_into().ok() } else { None }
}
