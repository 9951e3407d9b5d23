//! Quantised values: codes of few bits, and what they stand for.
//!
//! Stored codes become constants that the system decodes when it loads the program: `constexpr_affine_dequantize` and the flat
//! `constexpr_lut_to_dense` hold them as attributes, the forms from iOS 18 on read constants.

use crate::coreml::messages::DataType;
use crate::coreml::write::mil::{Mil, Operand, Param, Reader, dtype_word, int};
use crate::coreml::write::types::data_type;
use vitc_ir::{DType, Shape};

pub(super) fn quantize(n: &Reader, to: DType) -> Mil {
    let quantize = Mil::of("quantize").value("input", n.x).value("scale", n.node.inputs[1]);
    let word = Param::Str(dtype_word(to));
    quantize.param("zero_point", Param::Zero(to)).param("output_dtype", word).since(17, "quantised activations")
}

pub(super) fn dequantize(n: &Reader) -> Result<Mil, String> {
    let scale = n.node.inputs[1];
    n.constant(1, "a scale")?;
    let wide: Vec<usize> = (0..n.shape(1).rank()).filter(|&a| n.shape(1).dim(a) > 1).collect();
    if !n.graph.is_stored(n.x) {
        let pair = Mil::of("dequantize").value("input", n.x).param("zero_point", Param::Zero(n.dtype(0)));
        return match n.shape(1).rank() {
            0 => Ok(pair.value("scale", scale).since(17, "quantised activations")),
            _ => Err("a quantised activation has one scale".into()),
        };
    }
    let per_index = |&a: &usize| n.shape(1).dim(a) == n.shape(0).dim(a);
    if n.dtype(0).bits() == 8 && wide.len() < 2 && wide.iter().all(per_index) {
        let dims = wide.iter().map(|&a| n.shape(1).dim(a)).collect();
        let scale = Operand::As(scale, data_type(n.dtype(1)), dims);
        let data = Operand::As(n.x, data_type(n.dtype(0)), n.shape(0).at(1));
        let axis = int(wide.first().copied().unwrap_or(0))?;
        return Ok(Mil::of("constexpr_affine_dequantize")
            .attribute("quantized_data", data)
            .attribute("zero_point", Operand::Param(Param::Zero(n.dtype(0))))
            .attribute("scale", scale)
            .attribute("axis", Operand::Param(Param::Int(axis)))
            .since(16, "weights of 8 bits"));
    }
    if n.shape(1).rank() != n.shape(0).rank() {
        return Err("a scale of blocks has the rank of the codes".into());
    }
    let blocks = Mil::of("constexpr_blockwise_shift_scale").value("data", n.x).value("scale", scale);
    Ok(blocks.since(18, "weights with a scale per block"))
}

pub(super) fn lookup(n: &Reader, bits: usize, shape: &Shape, ios: u32) -> Result<Mil, String> {
    n.constant(0, "the codes")?;
    n.constant(1, "the table")?;
    let (table, dtype) = (n.node.inputs[1], data_type(n.dtype(1)));
    let [parts, entries] = [n.shape(1).dim(0), n.shape(1).dim(1)];
    let dims = shape.at(1);
    // The flat form has no tables of eight entries.
    let flat = parts == 1 && bits != 3 && ios < 18;
    if flat {
        let sizes = dims.iter().map(|&d| u32::try_from(d)).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        let codes = Operand::As(n.x, DataType::Uint8, n.shape(0).at(1));
        return Ok(Mil::of("constexpr_lut_to_dense")
            .attribute("indices", codes)
            .attribute("lut", Operand::As(table, dtype, vec![entries]))
            .attribute("shape", Operand::Param(Param::Sizes(sizes)))
            .since(16, "weights in a table"));
    }
    let codes = match bits {
        1 => DataType::Uint1,
        2 => DataType::Uint2,
        3 => DataType::Uint3,
        4 => DataType::Uint4,
        6 => DataType::Uint6,
        _ => DataType::Uint8,
    };
    let mut table_dims = vec![1; dims.len() + 2];
    (table_dims[0], table_dims[dims.len()]) = (parts, entries);
    let mut lut = Mil::of("constexpr_lut_to_dense");
    lut.inputs.push(("indices", Operand::As(n.x, codes, dims)));
    lut.inputs.push(("lut", Operand::As(table, dtype, table_dims)));
    Ok(match parts == 1 && bits != 3 {
        true => lut.since(16, "weights in a table"),
        false => lut.since(18, "weights in several tables"),
    })
}
