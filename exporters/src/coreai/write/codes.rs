//! Quantised values: weights that the system decodes from codes, and pairs around activations.

use super::program::{Element, Id, Tensor};
use super::spell::{Body, element, sizes};
use vitc_ir::{DType, Node, Shape, Value};

/// The type of codes of so many bits that name entries of a table.
fn indices(bits: usize) -> Result<Element, String> {
    match bits {
        1 => Ok(Element::U1),
        2 => Ok(Element::U2),
        3 => Ok(Element::U3),
        4 => Ok(Element::U4),
        6 => Ok(Element::U6),
        8 => Ok(Element::U8),
        other => Err(format!("the dialect has no codes of {other} bits")),
    }
}

impl Body<'_> {
    /// One scale for all: the whole number nearest to x/scale.
    pub(super) fn quantize(&mut self, x: Id, node: &Node, to: DType) -> Result<Id, String> {
        let scale = self.shaped(node.inputs[1], &[])?;
        let (code, (lo, hi)) = match to {
            DType::I8 => (Element::I8, (-128.0, 127.0)),
            other => return Err(format!("values of {other} are not written")),
        };
        Ok(self.builder.quantize(x, scale, code, lo, hi))
    }

    /// Codes times their scale: constants in blocks, values at run time by one number.
    pub(super) fn dequantize(&mut self, node: &Node) -> Result<Id, String> {
        let (codes, scale) = (self.graph.stored(node.inputs[0]), node.inputs[1]);
        let out = element(node.types[0].dtype)?;
        if !self.is_constant(codes) {
            if self.graph.shape(scale).elements() != 1 {
                return Err("several scales of a value at run time".into());
            }
            let (x, scale) = (self.operand(codes)?, self.shaped(scale, &[])?);
            return Ok(self.builder.dequantize(x, scale, out));
        }
        let dims = sizes(self.graph.shape(codes));
        let own = sizes(self.graph.shape(scale));
        let own = if own.is_empty() { vec![1; dims.len()] } else { own };
        if own.len() != dims.len() || !self.is_constant(self.graph.stored(scale)) {
            return Err("codes whose scales are computed at run time".into());
        }
        let (data, scale) = (self.operand(codes)?, self.shaped(scale, &own)?);
        Ok(self.builder.scaled(data, scale, out))
    }

    /// Entries of a table, or of one for each of several parts of the first axis.
    pub(super) fn lookup(&mut self, node: &Node, bits: usize, shape: &Shape) -> Result<Id, String> {
        let codes: Value = self.graph.stored(node.inputs[0]);
        let packed = self.elements.get(&codes).ok_or("its codes are not constant")?.clone();
        let data = self.builder.constant(Tensor::new(indices(bits)?, &sizes(shape)), packed);
        let parts = self.graph.shape(node.inputs[1]).dim(0) as i64;
        let mut table = vec![1; shape.rank() + 2];
        (table[0], table[shape.rank()]) = (parts, 1 << bits);
        let table = self.shaped(node.inputs[1], &table)?;
        Ok(self.builder.lut_to_dense(data, table))
    }
}

#[cfg(test)]
mod tests {
    use super::super::builder::Builder;
    use super::*;

    #[test]
    fn codes_have_the_widths_that_the_dialect_knows() {
        assert_eq!((1..=8).filter(|&bits| indices(bits).is_ok()).collect::<Vec<_>>(), [1, 2, 3, 4, 6, 8]);
    }

    #[test]
    fn a_builder_gives_what_codes_stand_for_their_own_shape() {
        let mut b = Builder::new(vec![Tensor::new(Element::F32, &[2, 3])]);
        let x = b.parameters()[0];
        let scale = b.scalar(Element::F32, 0.5);
        let q = b.quantize(x, scale, Element::I8, -128.0, 127.0);
        assert_eq!(*b.ty(q), Tensor::new(Element::I8, &[2, 3]));
        let y = b.dequantize(q, scale, Element::F32);
        assert_eq!(*b.ty(y), Tensor::new(Element::F32, &[2, 3]));
    }
}
