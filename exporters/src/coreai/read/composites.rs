//! Private graphs that systems know by name.
//!
//! A system may run the body or its own operation for the name, so a composite is read only if both are the same: the body must be the one known
//! form of what its declaration says. Then the operator stands for it.

use super::Header;
use super::attributes::Attribute;
use super::body::Function;
use super::container::{Block, Container};
use vitc_ir::op::{AttentionLayout, ReduceKind};
use vitc_ir::{BinaryKind, DType, Graph, Op, Real, Shape, Stage, Type, UnaryKind, Value};

/// A composite whose body keeps its promise.
#[derive(Debug)]
pub(super) struct Composite<'a> {
    kind: Kind,
    /// What it is named after; for messages.
    name: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// A norm of so many last axes.
    LayerNorm { axes: usize, eps: f32 },
    /// Attention with this factor.
    Attention { scale: f32, mask: bool },
}

impl<'a> Composite<'a> {
    /// The composite that a private graph declares.
    pub(super) fn read(
        container: &Container<'a>,
        header: &Header<'a>,
        block: Block<'a>,
    ) -> Result<Composite<'a>, String> {
        let fail = |what: &str| format!("the private graph {}: {what}", header.name);
        let Some(Attribute::Named(name, parts)) = &header.declared else { return Err(fail("declares no composite")) };
        let part = |wanted: &str| {
            parts.iter().find_map(|p| match p {
                Attribute::Named(key, values) if *key == wanted => values.first(),
                _ => None,
            })
        };
        let Some(Attribute::Dictionary(settings)) = part("op_attrs") else { return Err(fail("has no settings")) };
        let setting = |wanted: &str| {
            settings.iter().find_map(|s| match s {
                Attribute::Named(key, values) if *key == wanted => values.first(),
                _ => None,
            })
        };
        let inputs: Vec<&str> = match part("input_names") {
            Some(Attribute::List(names)) => {
                names.iter().filter_map(|n| if let Attribute::Text(t) = n { Some(*t) } else { None }).collect()
            }
            _ => return Err(fail("names no inputs")),
        };
        let kind = match (*name, &inputs[..]) {
            ("layer_norm", ["input", "gamma", "beta"]) => {
                let (Some(Attribute::List(axes)), Some(Attribute::Float(eps))) = (setting("axes"), setting("eps"))
                else {
                    return Err(fail("has no axes or no epsilon"));
                };
                let count = axes.len() as i64;
                let trailing = (1..=count).rev().map(|i| Attribute::Integer(-i));
                if !trailing.eq(axes.iter().cloned()) {
                    return Err(fail("normalises other than the last axes"));
                }
                Kind::LayerNorm { axes: axes.len(), eps: *eps }
            }
            ("scaled_dot_product_attention", ["query", "key", "value", rest @ ..])
                if rest.is_empty() || *rest == ["attn_mask"] =>
            {
                let whole = setting("is_causal") == Some(&Attribute::Integer(0))
                    && setting("window_size") == Some(&Attribute::Integer(-1));
                match setting("scale") {
                    Some(Attribute::Float(scale)) if whole => Kind::Attention { scale: *scale, mask: !rest.is_empty() },
                    _ => return Err(fail("is causal, has windows or no factor")),
                }
            }
            _ => return Err(fail(&format!("the composite {name} is not read"))),
        };
        let body = Function::body(container, &block).map_err(|what| fail(&what))?;
        let promised = promised(kind, &body).map_err(|what| fail(&what))?;
        if !same(&body, &promised) {
            return Err(fail("its body computes something else than it declares"));
        }
        Ok(Composite { kind, name: header.name })
    }

    /// The operator on these operands.
    pub(super) fn op(&self, inputs: &[Value], graph: &Graph) -> Result<Op, String> {
        let wrong = || format!("{} has other operands", self.name);
        let rank = inputs.first().map(|&x| graph.shape(x).rank()).ok_or_else(wrong)?;
        Ok(match self.kind {
            Kind::LayerNorm { axes, eps } => {
                let first = rank.checked_sub(axes).ok_or_else(wrong)?;
                Op::LayerNorm { axes: (first..rank).collect(), eps: Real(f64::from(eps)) }
            }
            Kind::Attention { scale, mask } => {
                let heads = graph.shape(inputs[0]).0.get(1).and_then(|d| d.fixed()).ok_or_else(wrong)?;
                let scale = Real(f64::from(scale));
                Op::Attention { heads, scale, layout: AttentionLayout::Heads, bias: mask, talking: false }
            }
        })
    }
}

/// The body that a declaration promises, on inputs of these types.
fn promised(kind: Kind, body: &Graph) -> Result<Graph, String> {
    let types: Vec<Type> = body.inputs().map(|(_, n)| n.types[0].clone()).collect();
    let fits = match kind {
        Kind::LayerNorm { axes, .. } => {
            let affine = types.first().and_then(|x| x.shape.0.get(x.shape.rank().checked_sub(axes)?..));
            types.len() == 3
                && affine.is_some_and(|a| types[1..].iter().all(|t| t.shape.0 == a && t.dtype == types[0].dtype))
        }
        Kind::Attention { mask, .. } => {
            types.len() == 3 + usize::from(mask) && types.iter().all(|t| t.shape.rank() == 4)
        }
    };
    if !fits {
        return Err("has other inputs than it declares".into());
    }
    let mut graph = Graph::new("promised", Stage::Target);
    let mut builder = Promise { graph: &mut graph };
    let inputs: Vec<Value> = types
        .iter()
        .enumerate()
        .map(|(i, t)| builder.leaf(Op::Input, t.clone(), &format!("input{i}")))
        .collect::<Result<_, _>>()?;
    let value = match kind {
        Kind::LayerNorm { axes, eps } => builder.layer_norm(&inputs, axes, eps)?,
        Kind::Attention { scale, .. } => builder.attention(&inputs, scale)?,
    };
    graph.outputs = vec![vitc_ir::Output { name: "output".into(), value }];
    Ok(graph)
}

/// Builds what a declaration promises.
struct Promise<'g> {
    graph: &'g mut Graph,
}

impl Promise<'_> {
    fn leaf(&mut self, op: Op, ty: Type, path: &str) -> Result<Value, String> {
        self.graph.push_leaf(op, ty, path).map_err(|e| e.to_string())
    }

    fn push(&mut self, op: Op, inputs: &[Value]) -> Result<Value, String> {
        Ok(self.graph.push(op, inputs, "part").map_err(|e| e.to_string())?.into())
    }

    fn number(&mut self, like: Value, value: f64) -> Result<Value, String> {
        let ty = Type::new(self.graph.ty(like).dtype, Shape::default());
        self.leaf(Op::literal(&[value]), ty, "number")
    }

    fn binary(&mut self, kind: BinaryKind, a: Value, b: Value) -> Result<Value, String> {
        self.push(Op::Binary(kind), &[a, b])
    }

    fn mean(&mut self, x: Value, axes: &[usize]) -> Result<Value, String> {
        self.push(Op::Reduce { kind: ReduceKind::Mean, axes: axes.to_vec(), keep: true }, &[x])
    }

    fn layer_norm(&mut self, inputs: &[Value], count: usize, eps: f32) -> Result<Value, String> {
        let (x, rank) = (inputs[0], self.graph.shape(inputs[0]).rank());
        let axes: Vec<usize> = (rank - count..rank).collect();
        let half = self.graph.ty(x).dtype == DType::F16;
        let x = if half { self.push(Op::Cast { to: DType::F32 }, &[x])? } else { x };
        let mean = self.mean(x, &axes)?;
        let centred = self.binary(BinaryKind::Sub, x, mean)?;
        let square = self.binary(BinaryKind::Mul, centred, centred)?;
        let variance = self.mean(square, &axes)?;
        let eps = self.number(variance, f64::from(eps))?;
        let above = self.binary(BinaryKind::Add, variance, eps)?;
        let (one, root) = (self.number(above, 1.0)?, self.push(Op::Unary(UnaryKind::Sqrt), &[above])?);
        let factor = self.binary(BinaryKind::Div, one, root)?;
        let normal = self.binary(BinaryKind::Mul, centred, factor)?;
        let normal = if half { self.push(Op::Cast { to: DType::F16 }, &[normal])? } else { normal };
        let scaled = self.binary(BinaryKind::Mul, normal, inputs[1])?;
        self.binary(BinaryKind::Add, scaled, inputs[2])
    }

    fn attention(&mut self, inputs: &[Value], scale: f32) -> Result<Value, String> {
        let scale = match self.graph.ty(inputs[0]).dtype {
            DType::F16 => half::f16::from_f32(scale).to_f64(),
            _ => f64::from(scale),
        };
        let scale = self.number(inputs[0], scale)?;
        let q = self.binary(BinaryKind::Mul, inputs[0], scale)?;
        let k = self.push(Op::Transpose { perm: vec![0, 1, 3, 2] }, &[inputs[1]])?;
        let product = Op::MatMul { transpose_a: false, transpose_b: false };
        let mut scores = self.push(product.clone(), &[q, k])?;
        if let Some(&mask) = inputs.get(3) {
            scores = self.binary(BinaryKind::Add, scores, mask)?;
        }
        let weights = self.push(Op::Softmax { axis: 3 }, &[scores])?;
        self.push(product, &[weights, inputs[2]])
    }
}

/// Whether two graphs of one output are the same but for names. Bodies are small.
fn same(a: &Graph, b: &Graph) -> bool {
    let [x] = &a.outputs[..] else { return false };
    let [y] = &b.outputs[..] else { return false };
    let mut open = vec![(x.value, y.value)];
    let mut seen = std::collections::HashSet::new();
    while let Some((x, y)) = open.pop() {
        let (left, right) = (a.producer(x), b.producer(y));
        let inputs = left.op == Op::Input && left.path != right.path;
        if x.index != y.index
            || left.op != right.op
            || left.types != right.types
            || left.inputs.len() != right.inputs.len()
            || inputs
        {
            return false;
        }
        if seen.insert((x, y)) {
            open.extend(left.inputs.iter().copied().zip(right.inputs.iter().copied()));
        }
    }
    true
}
