//! Layers that several papers share.

use vitc_ir::{ConvSpec, Net, UnaryKind, Value};

/// Epsilon of a BatchNorm where the authors' code does not set it: PyTorch's default.
pub(super) const BN_EPS: f64 = 1e-5;

/// A convolution and its BatchNorm, under these two names.
pub(super) fn conv_bn(net: &mut Net, x: Value, [conv, norm]: [&str; 2], spec: ConvSpec) -> Value {
    let x = net.at(conv).conv(x, spec);
    net.at(norm).batch_norm(x, BN_EPS)
}

/// Two strided convolutions, a quarter of the resolution: `[B,3,H,W]` to `[B,width,⌈H/4⌉,⌈W/4⌉]`.
pub(super) fn stem(net: &mut Net, x: Value, width: usize, activation: UnaryKind) -> Value {
    let x = conv_bn(net, x, ["0", "1"], ConvSpec::new(width / 2, 3).stride(2));
    let x = net.unary("2", activation, x);
    let x = conv_bn(net, x, ["3", "4"], ConvSpec::new(width, 3).stride(2));
    net.unary("5", activation, x)
}
