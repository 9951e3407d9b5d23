//! Quantised values: weights as codes, and pairs around activations.

use super::attributes::{Element, Elements, TensorType};
use super::body::{Bound, Call};
use super::weights::Source;
use vitc_ir::packed::packed;
use vitc_ir::{DType, Op, Shape, StoredType, Type, Value};

impl<'a> Call<'_, '_, 'a> {
    /// A constant that is 0 everywhere.
    fn is_zero(&self, i: usize) -> Result<bool, String> {
        let Bound::Constant(_, Elements::Inline { bytes, .. }) = self.operand(i)? else { return Ok(false) };
        Ok(bytes.iter().all(|&b| b == 0))
    }

    /// A code of 0 stands for the number 0 in all that is read.
    fn no_shift(&self) -> Result<(), String> {
        match self.is_zero(2)? && self.is_zero(3)? {
            true => Ok(()),
            false => Err("an offset that is not 0 is not read".into()),
        }
    }

    /// One scale for a whole value.
    fn whole(&mut self) -> Result<[Value; 2], String> {
        self.no_shift()?;
        let [x, scale] = [self.value(0)?, self.value(1)?];
        let axes = self.axes(4, self.shape(x).rank())?;
        if self.shape(scale).rank() != 0 || !axes.iter().copied().eq(0..self.shape(x).rank()) {
            return Err("has other than one scale".into());
        }
        Ok([x, scale])
    }

    pub(super) fn quantize(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let inputs = self.whole()?;
        let to = self.declared(0)?.dtype;
        self.push(Op::Quantize { to }, &inputs)
    }

    pub(super) fn dequantize(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let inputs = self.whole()?;
        self.push(Op::Dequantize, &inputs)
    }

    /// Constants with a scale for each block.
    pub(super) fn scaled(&mut self) -> Result<Vec<Bound<'a>>, String> {
        self.no_shift()?;
        let inputs = [self.value(0)?, self.value(1)?];
        self.push(Op::Dequantize, &inputs)
    }

    /// Constants that are entries of a table.
    pub(super) fn lut_to_dense(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let Bound::Constant(ty, elements) = self.operand(0)?.clone() else {
            return Err("its indices are not constant".into());
        };
        let bits = match ty.element {
            Element::Unsigned8 => 8,
            Element::Codes { bits, signed: false } => usize::from(bits),
            other => return Err(format!("indices of {other:?} are not read")),
        };
        let (dims, _) = ty.fixed()?;
        let table = self.value(1)?;
        let sizes = self.shape(table).at(1);
        let parts = match &sizes[..] {
            [parts, ones @ .., entries, 1]
                if ones.len() + 1 == dims.len() && *entries == 1 << bits && ones.iter().all(|&n| n == 1) =>
            {
                *parts
            }
            _ => return Err(format!("a table of shape {sizes:?} is not read")),
        };
        let codes = self.packed(&ty, &elements, bits)?;
        let rows = Op::Reshape { shape: Shape::fixed(&[parts, 1 << bits]) };
        let table = self.before(rows, &[table])?;
        self.push(Op::Lookup { bits, shape: Shape::fixed(&dims) }, &[codes, table])
    }

    /// The leaf of packed codes, and the cast that makes bytes of it.
    fn packed(&mut self, ty: &TensorType, elements: &Elements<'a>, bits: usize) -> Result<Value, String> {
        let (_, count) = ty.fixed()?;
        let bytes = bytes_of(elements, count, bits, self.function.file)?;
        let shape = Shape::fixed(&[bytes.len()]);
        let source = Source::Held { bytes, dtype: StoredType::U8 };
        let key = self.function.free(format!("{}.codes", self.path), &source);
        self.function.sources.insert(key.clone(), source);
        let (weight, graph) = (Op::Weight { key: key.clone() }, &mut self.function.graph);
        let leaf = graph.push_leaf(weight, Type::new(DType::F32, shape), &key).map_err(|e| e.to_string())?;
        let cast = graph.push(Op::Cast { to: DType::U8 }, &[leaf], &format!("{key}.bytes"));
        Ok(cast.map_err(|e| e.to_string())?.into())
    }
}

/// Codes as they share bytes: no more of them than the file has bytes, however often it repeats one.
fn bytes_of(elements: &Elements<'_>, count: usize, bits: usize, file: &[u8]) -> Result<Vec<u8>, String> {
    match elements {
        Elements::Inline { splat: true, .. } if count > file.len() => {
            Err(format!("repeats one code {count} times in a file of {} bytes", file.len()))
        }
        Elements::Inline { bytes, splat: true } => Ok(packed(&vec![bytes[0]; count], bits)),
        Elements::Inline { bytes, splat: false } => Ok(packed(bytes, bits)),
        Elements::Resource(range) => Ok(file.get(range.clone()).ok_or("lies outside the file")?.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_code_takes_no_more_room_than_its_file() {
        let (elements, file) = (Elements::Inline { bytes: &[3], splat: true }, [0; 8]);
        assert_eq!(bytes_of(&elements, 4, 4, &file), Ok(vec![0x33, 0x33]));
        let refused = bytes_of(&elements, 1 << 40, 4, &file).unwrap_err();
        assert!(refused.contains("repeats one code"), "{refused}");
    }
}
