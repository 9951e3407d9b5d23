//! Graphs with values of few bits.

use super::more::model;
use vitc_ir::{DType, Graph, Net, Op, Shape, Type};

/// Quantised weights and activations, each with the first iOS version whose packages hold it.
pub(super) fn quantised(dtype: DType) -> Vec<(u32, Graph)> {
    let codes = |net: &mut Net<'_>, name: &str, dtype: DType, dims: &[usize]| {
        let iota = vitc_ir::Generator::Iota { axis: dims.len() - 1 };
        let codes = net.generate(name, iota, Type::new(dtype, Shape::fixed(dims)));
        net.push(format!("{name}.kept"), Op::Keep, &[codes])
    };
    let weights = |name: &str, code: DType, scale: &'static [usize]| {
        model(name, dtype, &[1, 8, 6, 5], |net, x, weight| {
            let q = codes(net, "codes", code, &[6, 8, 1, 1]);
            let s = weight(net, "scale", scale);
            let w = net.push("w", Op::Dequantize, &[q, s]);
            net.push("conv", Op::Conv { stride: [1; 2], pad: [0; 4], dilation: [1; 2], groups: 1 }, &[x, w])
        })
    };
    let table = |name: &str, bits: usize, parts: usize| {
        model(name, dtype, &[2, 4, 7], |net, x, weight| {
            let q = codes(net, "codes", DType::U8, &[(84 * bits).div_ceil(8)]);
            let t = weight(net, "table", &[parts, 1 << bits]);
            let w = net.push("w", Op::Lookup { bits, shape: Shape::fixed(&[12, 7]) }, &[q, t]);
            net.push("fc", Op::Linear, &[x, w])
        })
    };
    let pair = model("pair", dtype, &[1, 8, 6, 5], |net, x, _| {
        let s = net.scalar_of(0.125, dtype);
        let q = net.push("q", Op::Quantize { to: DType::I8 }, &[x, s]);
        net.push("dq", Op::Dequantize, &[q, s])
    });
    let mut all = vec![
        (16, weights("per_tensor", DType::I8, &[])),
        (16, weights("per_channel", DType::I8, &[6, 1, 1, 1])),
        (18, weights("per_block", DType::I4, &[6, 2, 1, 1])),
        (17, pair),
    ];
    all.extend([1, 2, 4, 6, 8].map(|bits| (16, table(&format!("table_{bits}"), bits, 1))));
    all.extend([1, 2, 3, 4, 6].map(|bits| (18, table(&format!("tables_{bits}"), bits, 3))));
    all
}
