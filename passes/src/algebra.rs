//! Linear nodes and the weight arithmetic that passes share: scaling, shifting and composing convolutions and matrix products.
//!
//! A [`Linear`] is a view of a `conv` or `linear` node: `y = W·x + b`. Its methods return a new view whose weights are new constant nodes named
//! after the node, and [`Linear::emit`] appends it.

use vitc_ir::{BinaryKind, Builder, Built, Generator, Graph, NodeId, Op, Real, Shape, Type, Value};

/// `f` of each of several, or the first error.
pub(crate) fn each<T, const N: usize>(items: [T; N], mut f: impl FnMut(T) -> Built) -> Built<[Value; N]> {
    let mut made = [Value { node: NodeId(0), index: 0 }; N];
    for (place, item) in made.iter_mut().zip(items) {
        *place = f(item)?;
    }
    Ok(made)
}

/// Biases of so many channels each, behind each other; zeros where there is none.
pub(crate) fn biases_or_zeros(net: &mut Builder, biases: &[Option<Value>], sizes: &[usize]) -> Built {
    let mut parts = Vec::new();
    for (bias, &size) in biases.iter().zip(sizes) {
        parts.push(match bias {
            Some(bias) => *bias,
            None => net.fill("no_bias", 0.0, &[size])?,
        });
    }
    net.concat("b", &parts, 0)
}

/// The permutation that undoes another.
pub(crate) fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut back = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(to, &from)| back[from] = to);
    back
}

/// A convolution or matrix product with its constant weights.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    pub(crate) op: Op,
    pub(crate) x: Value,
    pub(crate) w: Value,
    pub(crate) b: Option<Value>,
    /// Name of the node and prefix of its constants.
    pub(crate) path: String,
}

impl Linear {
    /// The view of a node, if it is a `conv` or `linear` with constant weights.
    pub(crate) fn of(graph: &Graph, id: NodeId) -> Option<Linear> {
        let node = graph.node(id);
        let constant = |&v: &Value| graph.is_constant(v) && !graph.shape(v).has_batch();
        if !matches!(node.op, Op::Conv { .. } | Op::Linear) || !node.inputs[1..].iter().all(constant) {
            return None;
        }
        let (x, w, b) = (node.inputs[0], node.inputs[1], node.inputs.get(2).copied());
        Some(Linear { op: node.op.clone(), x, w, b, path: node.path.clone() })
    }

    /// Output channels.
    pub(crate) fn outputs(&self, graph: &Graph) -> usize {
        graph.shape(self.w).dim(0)
    }

    /// Channel groups: 1 for a matrix product.
    pub(crate) fn groups(&self) -> usize {
        match self.op {
            Op::Conv { groups, .. } => groups,
            _ => 1,
        }
    }

    /// True if no output reads padding.
    pub(crate) fn is_unpadded(&self) -> bool {
        match &self.op {
            Op::Conv { pad, .. } => *pad == [0; 4],
            _ => true,
        }
    }

    /// Axis of the result that holds the output channels.
    pub(crate) fn channel_axis(&self, graph: &Graph) -> usize {
        match self.op {
            Op::Conv { .. } => 1,
            _ => graph.shape(self.x).rank() - 1,
        }
    }

    /// `s∘y`: outputs scaled by the vector or scalar `s`.
    pub(crate) fn scaled(self, graph: &mut Graph, s: Value) -> Built<Linear> {
        let rank = graph.shape(self.w).rank();
        let mut net = Builder::within(graph, &self.path);
        let column = if net.ty(s).shape.rank() == 0 { s } else { net.along("s_rows", s, 0, rank)? };
        let w = net.binary("w", BinaryKind::Mul, self.w, column)?;
        let b = self.b.map(|b| net.binary("b", BinaryKind::Mul, b, s)).transpose()?;
        Ok(Linear { w, b, ..self })
    }

    /// `y + t` for a vector `t` of one element per output channel.
    pub(crate) fn shifted(self, graph: &mut Graph, t: Value) -> Built<Linear> {
        let b = match self.b {
            Some(b) => Builder::within(graph, &self.path).binary("b", BinaryKind::Add, b, t)?,
            None => t,
        };
        Ok(Linear { b: Some(b), ..self })
    }

    /// `W·(s∘x) + b`: the factor `s`, one element per input channel or one in all, moved into the weights. Exact with any padding.
    pub(crate) fn with_scaled_inputs(self, graph: &mut Graph, s: Value) -> Built<Linear> {
        let shape = graph.fixed(self.w)?;
        let (outputs, groups) = (shape[0], self.groups());
        let mut net = Builder::within(graph, &self.path);
        let s = if net.ty(s).shape.rank() == 0 {
            s
        } else if groups == 1 {
            net.along("s_columns", s, 1, shape.len())?
        } else {
            // Row o reads the input channels of its group.
            let per_group = net.reshape("s_groups", s, Shape::fixed(&[groups, 1, shape[1]]))?;
            let rows = Shape::fixed(&[groups, outputs / groups, shape[1]]);
            let rows = net.push("s_rows", Op::Expand { shape: rows }, &[per_group])?;
            let mut dims = vec![1; shape.len()];
            dims[..2].copy_from_slice(&shape[..2]);
            net.reshape("s_rows", rows, Shape::fixed(&dims))?
        };
        let w = net.binary("w", BinaryKind::Mul, self.w, s)?;
        Ok(Linear { w, ..self })
    }

    /// `W·t`: the response to the constant `t` per input channel, one element per output channel. Only without padding.
    pub(crate) fn response(&self, graph: &mut Graph, t: Value) -> Built {
        if !self.is_unpadded() {
            return Err(graph.unfit(self.w, "the border of a padded convolution responds otherwise".into()));
        }
        let shape = graph.fixed(self.w)?;
        let (outputs, groups) = (shape[0], self.groups());
        let mut net = Builder::within(graph, &self.path);
        let w = if shape[2..].iter().all(|&d| d == 1) {
            net.reshaped("w_taps", self.w, &[outputs, shape[1]])?
        } else {
            let axes: Vec<usize> = (2..shape.len()).collect();
            let op = Op::Reduce { kind: vitc_ir::op::ReduceKind::Sum, axes, keep: false };
            net.push("w_taps", op, &[self.w])?
        };
        let w = net.reshaped("w_groups", w, &[groups, outputs / groups, shape[1]])?;
        let t = net.reshaped("t_groups", t, &[groups, shape[1], 1])?;
        let y = net.matmul("response", w, t)?;
        net.reshaped("response", y, &[outputs])
    }

    /// Append the node under its path.
    pub(crate) fn emit(self, graph: &mut Graph) -> Built {
        let inputs: Vec<Value> = [self.x, self.w].into_iter().chain(self.b).collect();
        Ok(graph.push(self.op, &inputs, &self.path)?.into())
    }
}

/// A kernel `[O,I/from,kh,kw]` of `from` channel groups as one of `to` groups, a divisor of `from`: zeros where groups do not meet.
pub(crate) fn regrouped(net: &mut Builder, w: Value, from: usize, to: usize) -> Built {
    let n = from / to;
    if n == 1 {
        return Ok(w);
    }
    let shape = net.fixed(w)?;
    let (outputs, inner, kh, kw) = (shape[0], shape[1], shape[2], shape[3]);
    let blocks = net.reshape("w_blocks", w, Shape::fixed(&[to, n, outputs / from, 1, inner * kh * kw]))?;
    let eye = net.generate(format!("eye_{n}"), Generator::Eye, Type::f32(&[n, n]))?;
    let eye = net.reshape(format!("eye_{n}"), eye, Shape::fixed(&[1, n, 1, n, 1]))?;
    let spread = net.binary("w_spread", BinaryKind::Mul, blocks, eye)?;
    net.reshape("w_dense", spread, Shape::fixed(&[outputs, n * inner, kh, kw]))
}

/// `s = γ/√(σ² + ε)` and `t = β − μ·s` of a BatchNorm node: `y = s∘x + t`.
pub(crate) fn batch_norm_affine(
    graph: &mut Graph,
    path: &str,
    eps: Real,
    [g, b, m, v]: [Value; 4],
) -> Built<(Value, Value)> {
    let mut net = Builder::within(graph, path);
    let eps = net.scalar(eps.0)?;
    let variance = net.binary("var_eps", BinaryKind::Add, v, eps)?;
    let std = net.unary("std", vitc_ir::UnaryKind::Sqrt, variance)?;
    let s = net.binary("s", BinaryKind::Div, g, std)?;
    let ms = net.binary("mean_s", BinaryKind::Mul, m, s)?;
    let t = net.binary("t", BinaryKind::Sub, b, ms)?;
    Ok((s, t))
}

/// Whether broadcasting makes the constant `c` a vector along `axis` of a value of shape `shape`, or a scalar.
pub(crate) fn is_vector(graph: &Graph, c: Value, shape: &Shape, axis: usize) -> bool {
    let Some(dims) = graph.shape(c).as_fixed() else { return false };
    let Some(offset) = shape.rank().checked_sub(dims.len()) else { return false };
    graph.is_constant(c) && dims.iter().enumerate().all(|(i, &d)| d == 1 || i + offset == axis)
}

/// The constant `c` as a vector along `axis` of a value of shape `shape`, or as a scalar, if broadcasting makes it that.
pub(crate) fn as_vector(graph: &mut Graph, c: Value, shape: &Shape, axis: usize) -> Built<Option<Value>> {
    if !is_vector(graph, c, shape, axis) {
        return Ok(None);
    }
    let n = graph.shape(c).elements();
    let path = graph.producer(c).path.clone();
    let mut net = Builder::within(graph, path);
    if n == 1 {
        return net.reshaped("scalar", c, &[]).map(Some);
    }
    net.reshaped("vector", c, &[n]).map(Some)
}

/// `c` repeated to a vector of `n` elements if it is a scalar.
pub(crate) fn repeated(graph: &mut Graph, c: Value, n: usize) -> Built {
    if graph.shape(c).rank() == 1 {
        return Ok(c);
    }
    let path = graph.producer(c).path.clone();
    Builder::within(graph, path).push("repeated", Op::Expand { shape: Shape::fixed(&[n]) }, &[c])
}
