//! What a head that somebody wrote computes.

use super::own::{Kind, OwnHead};
use crate::arch::layers::BN_EPS;
use vitc_ir::op::ReduceKind;
use vitc_ir::{BinaryKind, Generator, Net, Op, Real, Shape, Type, UnaryKind, Value};

/// Epsilon of a LayerNorm where the code does not set it: PyTorch's default.
const LN_EPS: f64 = 1e-5;

/// `[B,width]` of the vector `[B,C]` that the head reads.
pub(in crate::arch) fn answer(head: &OwnHead, net: &mut Net, x: Value, activation: &str) -> Value {
    head.layers.iter().fold(x, |x, layer| {
        let mut net = net.at(&layer.key);
        let y = match layer.kind {
            Kind::Linear { outputs, bias, .. } => net.linear(x, outputs, bias),
            Kind::BatchNorm { affine: true, .. } => net.batch_norm(x, BN_EPS),
            Kind::BatchNorm { affine: false, width } => standardised(&mut net, x, width),
            Kind::LayerNorm(_) => net.layer_norm(x, 1, LN_EPS),
            Kind::Prelu(slopes) => prelu(&mut net, x, slopes),
        };
        if layer.activated { activated(&mut net.at("act"), y, activation) } else { y }
    })
}

/// max(x, 0) + slope·min(x, 0): elementwise, because not every target has the operator for vectors.
fn prelu(net: &mut Net, x: Value, slopes: usize) -> Value {
    let slope = net.weight("weight", &[slopes]);
    let zero = net.scalar(0.0);
    let [high, low] =
        [("high", BinaryKind::Max), ("low", BinaryKind::Min)].map(|(name, kind)| net.binary(name, kind, x, zero));
    let scaled = net.binary("scaled", BinaryKind::Mul, low, slope);
    net.binary("", BinaryKind::Add, high, scaled)
}

/// BatchNorm that neither scales nor shifts.
fn standardised(net: &mut Net, x: Value, width: usize) -> Value {
    let [mean, variance] = ["running_mean", "running_var"].map(|key| net.weight(key, &[width]));
    let mut fill =
        |name: &str, value: f64| net.generate(name, Generator::Fill { value: Real(value) }, Type::f32(&[width]));
    let (ones, zeros) = (fill("ones", 1.0), fill("zeros", 0.0));
    net.push("", Op::BatchNorm { eps: Real(BN_EPS) }, &[x, ones, zeros, mean, variance])
}

/// The largest element and the mean of each channel of a map `[B,C,H,W]`, `[B,2·C]`, in this order or the other.
pub(in crate::arch) fn max_and_mean(net: &mut Net, map: Value, max_first: bool) -> Value {
    let mut reduced = |name: &str, kind| net.push(name, Op::Reduce { kind, axes: vec![2, 3], keep: false }, &[map]);
    let (max, mean) = (reduced("max", ReduceKind::Max), reduced("mean", ReduceKind::Mean));
    net.concat("pooled", &if max_first { [max, mean] } else { [mean, max] }, 1)
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

#[cfg(test)]
mod tests {
    use super::super::own::{ACTIVATION, Layer, Reads};
    use super::*;
    use vitc_ir::{Stored, StoredType, WeightError, Weights, eval};

    /// Every weight is these numbers.
    struct Same(Vec<f32>);

    impl Weights for Same {
        fn weight(&self, _: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
            let bytes: Vec<u8> = self.0.iter().take(elements).flat_map(|x| x.to_le_bytes()).collect();
            Ok(Stored { dtype: StoredType::F32, bytes: bytes.into() })
        }
    }

    /// What a linear layer of these four weights, activated, makes of (1, -1).
    fn answers(activation: &str) -> Vec<f64> {
        let kind = Kind::Linear { inputs: 2, outputs: 2, bias: false, conv: false };
        let layers = vec![Layer { key: "fc".into(), kind, activated: true }];
        let head = OwnHead { place: "fc".into(), reads: Reads::Features, layers, listed: false };
        let mut graph = vitc_ir::net::paper("head");
        let mut net = Net::new(&mut graph);
        let x = net.literal("x", &[1, 2], &[1.0, -1.0]);
        let value = answer(&head, &mut net, x, activation);
        eval::constant(&graph, &Same(vec![2.0, 1.0, 3.0, 5.0]), value).unwrap().into_iter().collect()
    }

    /// A PReLU of one slope and of one for each channel, on (2, -3).
    #[test]
    fn slopes_are_those_below_zero() {
        for (slopes, weights, wanted) in [(1, vec![0.5], [2.0, -1.5]), (2, vec![0.5, 0.25], [2.0, -0.75])] {
            let layers = vec![Layer { key: "act".into(), kind: Kind::Prelu(slopes), activated: false }];
            let head = OwnHead { place: "act".into(), reads: Reads::Features, layers, listed: false };
            let mut graph = vitc_ir::net::paper("head");
            let mut net = Net::new(&mut graph);
            let x = net.literal("x", &[1, 2], &[2.0, -3.0]);
            let value = answer(&head, &mut net, x, "relu");
            let answers: Vec<f64> = eval::constant(&graph, &Same(weights), value).unwrap().into_iter().collect();
            assert_eq!(answers, wanted);
        }
    }

    /// Of 1 and -2, which the linear layer returns.
    #[test]
    fn every_activation_is_its_formula() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let gelu = [0.841_344_746_068_542_9, -0.045_500_263_896_358_42];
        for &name in ACTIVATION.values {
            let formula = |x: f64| match name {
                "relu" => x.max(0.0),
                "gelu" => gelu[usize::from(x < 0.0)],
                "silu" | "swish" => x * sigmoid(x),
                "hardswish" => x * ((x + 3.0).clamp(0.0, 6.0)) / 6.0,
                "relu6" => x.clamp(0.0, 6.0),
                "leaky-relu" => {
                    if x > 0.0 {
                        x
                    } else {
                        0.01 * x
                    }
                }
                "tanh" => x.tanh(),
                "sigmoid" => sigmoid(x),
                "none" => x,
                other => panic!("{other} has no formula"),
            };
            for (found, wanted) in answers(name).into_iter().zip([1.0, -2.0].map(formula)) {
                assert!((found - wanted).abs() < 1e-6, "{name}: {found} for {wanted}");
            }
        }
    }

    /// Of (1, -1), with mean and variance 3.
    #[test]
    fn a_norm_may_neither_scale_nor_shift() {
        let layers =
            vec![Layer { key: "bn".into(), kind: Kind::BatchNorm { width: 2, affine: false }, activated: false }];
        let head = OwnHead { place: "bn".into(), reads: Reads::Features, layers, listed: false };
        let mut graph = vitc_ir::net::paper("head");
        let mut net = Net::new(&mut graph);
        let x = net.literal("x", &[1, 2], &[1.0, -1.0]);
        let value = answer(&head, &mut net, x, "none");
        let found: Vec<f64> = eval::constant(&graph, &Same(vec![3.0; 2]), value).unwrap().into_iter().collect();
        for (found, wanted) in found.iter().zip([-2.0, -4.0].map(|x| x / (3.0 + BN_EPS).sqrt())) {
            assert!((found - wanted).abs() < 1e-6, "{found} for {wanted}");
        }
    }

    #[test]
    fn both_kinds_of_pooling_come_in_the_order_that_is_said() {
        for (max_first, wanted) in [(true, [4.0, -1.0, 2.5, -2.5]), (false, [2.5, -2.5, 4.0, -1.0])] {
            let mut graph = vitc_ir::net::paper("pooled");
            let mut net = Net::new(&mut graph);
            let map = net.literal("map", &[1, 2, 2, 2], &[1.0, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0, -4.0]);
            let value = max_and_mean(&mut net, map, max_first);
            let found: Vec<f64> = eval::constant(&graph, &Same(Vec::new()), value).unwrap().into_iter().collect();
            assert_eq!(found, wanted);
        }
    }
}
