//! The parts of one node's spelling.

use super::step::Step;
use super::writer::Writer;
use tract_onnx::pb::tensor_proto::DataType;
use vitc_ir::{DType, Node, Type};

/// In the name of every value that is a part of a node's spelling.
pub(crate) const PART: &str = ".spelled.";

/// The parts of one node's spelling.
pub(super) struct Parts<'w, 'g> {
    writer: &'w mut Writer<'g>,
    pub(super) node: &'w Node,
    /// Operands of f16 were widened, so the result is to be rounded.
    wide: bool,
}

impl<'w, 'g> Parts<'w, 'g> {
    /// Of a node of which nothing is written yet.
    pub(super) fn new(writer: &'w mut Writer<'g>, node: &'w Node) -> Self {
        Parts { writer, node, wide: false }
    }

    /// Whether operands of f16 were widened.
    pub(super) fn is_wide(&self) -> bool {
        self.wide
    }

    /// Type of an operand.
    fn ty(&self, operand: usize) -> &Type {
        self.writer.graph.ty(self.node.inputs[operand])
    }

    /// Dimensions of an operand.
    pub(super) fn dims(&self, operand: usize) -> Vec<usize> {
        self.ty(operand).shape.at(self.writer.batch)
    }

    /// Dimensions of a result.
    pub(super) fn result(&self, index: usize) -> Vec<usize> {
        self.node.types[index].shape.at(self.writer.batch)
    }

    /// An operand as it is.
    pub(super) fn read(&mut self, operand: usize) -> String {
        self.writer.read(self.node.inputs[operand])
    }

    /// An operand in f32. The node's result is rounded then.
    pub(super) fn wide(&mut self, operand: usize) -> String {
        let name = self.read(operand);
        if self.ty(operand).dtype != DType::F16 {
            return name;
        }
        self.wide = true;
        self.push(Step::new("Cast", [name]).int("to", DataType::Float as i64))
    }

    /// An operand in f32, of a node whose result is whole numbers.
    pub(super) fn wide_alone(&mut self, operand: usize) -> String {
        let wide = self.wide;
        let name = self.wide(operand);
        self.wide = wide;
        name
    }

    /// A part, named by its operator.
    pub(super) fn push(&mut self, step: Step) -> String {
        let name = self.writer.unused(&format!("{}{PART}{}", self.node.path, step.op.to_lowercase()));
        self.writer.emit(step, name.clone());
        name
    }

    /// A constant of the spelling, in f32.
    pub(super) fn floats(&mut self, dims: &[usize], values: &[f64]) -> String {
        let name = self.writer.unused(&format!("{}{PART}floats", self.node.path));
        let bytes = values.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect();
        self.writer.initializer(&name, DataType::Float, dims, bytes);
        name
    }

    /// Whether an operand holds integers.
    pub(super) fn is_whole(&self, operand: usize) -> bool {
        self.ty(operand).dtype == DType::I32
    }

    /// An integer.
    pub(super) fn integer(&mut self, value: f64) -> String {
        let name = self.writer.unused(&format!("{}{PART}integer", self.node.path));
        self.writer.initializer(&name, DataType::Int64, &[], (value as i64).to_le_bytes().to_vec());
        name
    }

    /// A vector of sizes, axes or places.
    pub(super) fn integers(&mut self, values: impl IntoIterator<Item = usize>) -> String {
        let name = self.writer.unused(&format!("{}{PART}integers", self.node.path));
        let bytes: Vec<u8> = values.into_iter().flat_map(|v| (v as i64).to_le_bytes()).collect();
        self.writer.initializer(&name, DataType::Int64, &[bytes.len() / 8], bytes);
        name
    }
}
