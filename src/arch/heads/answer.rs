//! What a head that somebody wrote computes.

use super::own::{Kind, OwnHead};
use crate::arch::layers::BN_EPS;
use vitc_ir::{BinaryKind, Net, Shape, UnaryKind, Value};

/// Epsilon of a LayerNorm where the code does not set it: PyTorch's default.
const LN_EPS: f64 = 1e-5;

/// `[B,width]` of the vector `[B,C]` that the head reads.
pub(in crate::arch) fn answer(head: &OwnHead, net: &mut Net, x: Value, activation: &str) -> Value {
    head.layers.iter().fold(x, |x, layer| {
        let mut net = net.at(&layer.key);
        let y = match layer.kind {
            Kind::Linear { outputs, bias, .. } => net.linear(x, outputs, bias),
            Kind::BatchNorm(_) => net.batch_norm(x, BN_EPS),
            Kind::LayerNorm(_) => net.layer_norm(x, 1, LN_EPS),
        };
        if layer.activated { activated(&mut net.at("act"), y, activation) } else { y }
    })
}

/// The function of this name, one of the choice's.
fn activated(net: &mut Net, x: Value, name: &str) -> Value {
    match name {
        "gelu" => net.unary("", UnaryKind::Gelu, x),
        "silu" | "swish" => net.unary("", UnaryKind::Silu, x),
        "tanh" => net.unary("", UnaryKind::Tanh, x),
        "sigmoid" => net.unary("", UnaryKind::Sigmoid, x),
        "relu6" => clipped(net, x),
        "hardswish" => {
            let three = net.scalar(3.0);
            let shifted = net.binary("shifted", BinaryKind::Add, x, three);
            let gate = clipped(net, shifted);
            let sixth = net.scalar(1.0 / 6.0);
            let y = net.binary("gated", BinaryKind::Mul, x, gate);
            net.binary("scaled", BinaryKind::Mul, y, sixth)
        }
        "leaky-relu" => {
            let slope = net.scalar(0.01);
            let low = net.binary("slope", BinaryKind::Mul, x, slope);
            net.binary("max", BinaryKind::Max, x, low)
        }
        "none" => x,
        _ => net.unary("", UnaryKind::Relu, x),
    }
}

/// min(max(x, 0), 6).
fn clipped(net: &mut Net, x: Value) -> Value {
    let x = net.unary("relu", UnaryKind::Relu, x);
    let six = net.scalar(6.0);
    net.binary("clip", BinaryKind::Min, x, six)
}

/// `[B,C·H·W]` of a map `[B,C,H,W]`.
pub(in crate::arch) fn flattened(net: &mut Net, map: Value) -> Value {
    let (batch, elements) = (net.batch(map), (1..4).map(|axis| net.dim(map, axis)).product());
    net.reshape("flatten", map, Shape::batched(batch, &[elements]))
}
