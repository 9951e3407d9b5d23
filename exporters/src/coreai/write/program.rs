//! A program of the dialect `aicode`, before it is encoded: graphs of typed operations, with their constants.
//!
//! Values are numbered per region: arguments first, then results in order. Every region is isolated and sees nothing outside.

use super::dialect::OperationName;

/// Size of a dimension that is known when the program runs.
pub(super) const DYNAMIC: i64 = i64::MIN;

/// Element types that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Element {
    /// A picture of 8-bit red, green and blue, as an argument and nowhere else; its sizes are height and width.
    Picture,
    Bool,
    U8,
    I8,
    /// Signed codes of 4 bits.
    I4,
    /// Codes of few bits that name entries of a table.
    U1,
    U2,
    U3,
    U4,
    U6,
    F32,
    F16,
    I16,
    I32,
    U32,
}

impl Element {
    /// Bytes of one element in the attribute table, where codes of few bits have a byte each.
    pub(super) fn bytes(self) -> usize {
        match self {
            Element::Picture => 3,
            Element::Bool | Element::U8 | Element::I8 | Element::I4 => 1,
            Element::U1 | Element::U2 | Element::U3 | Element::U4 | Element::U6 => 1,
            Element::F16 | Element::I16 => 2,
            Element::F32 | Element::I32 | Element::U32 => 4,
        }
    }
}

/// Type of a value: an array, outermost dimension first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Tensor {
    pub(super) element: Element,
    pub(super) dims: Vec<i64>,
}

impl Tensor {
    pub(super) fn new(element: Element, dims: &[i64]) -> Self {
        Tensor { element, dims: dims.to_vec() }
    }

    pub(super) fn rank(&self) -> usize {
        self.dims.len()
    }
}

/// A value of the region at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id(pub(super) u32);

/// Where the elements of a constant stand.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Elements {
    /// In the attribute table: all of them, or the one that all are.
    Inline { bytes: Vec<u8>, splat: bool },
    /// In the resource section, under this number.
    Resource(usize),
}

/// What an operation says besides its operands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Attribute {
    Nothing,
    Constant(Elements),
    /// What a padding holds.
    Padding(Padding),
    /// GELU by the error function, or by tanh.
    Gelu {
        tanh: bool,
    },
    /// How `interpolate` reads between samples.
    Interpolation(Interpolation),
    /// The name of the private graph that is called.
    Callee(String),
}

/// What stands around a padded tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Padding {
    Constant = 1,
    Reflect = 2,
    Replicate = 3,
}

/// How `interpolate` reads between samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Interpolation {
    Linear = 0,
    Nearest = 1,
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operation {
    pub(super) name: OperationName,
    pub(super) operands: Vec<Id>,
    pub(super) results: Vec<Tensor>,
    pub(super) attribute: Attribute,
    /// What it computes in simpler operations, for readers that do not know it.
    pub(super) decomposition: Option<Region>,
    /// Name of the layer that it belongs to; empty for none.
    pub(super) layer: String,
}

/// One block of operations.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Region {
    pub(super) arguments: Vec<Tensor>,
    pub(super) operations: Vec<Operation>,
    /// Type of each value so far.
    types: Vec<Tensor>,
}

impl Region {
    /// A region that takes values of these types.
    pub(super) fn new(arguments: Vec<Tensor>) -> Self {
        Region { types: arguments.clone(), arguments, operations: Vec::new() }
    }

    /// Its arguments.
    pub(super) fn parameters(&self) -> Vec<Id> {
        (0..self.arguments.len() as u32).map(Id).collect()
    }

    /// Type of a value.
    pub(super) fn ty(&self, value: Id) -> &Tensor {
        &self.types[value.0 as usize]
    }

    /// Number of values.
    pub(super) fn values(&self) -> usize {
        self.types.len()
    }

    /// Append an operation; its results.
    pub(super) fn push(&mut self, operation: Operation) -> Vec<Id> {
        let first = self.types.len() as u32;
        self.types.extend(operation.results.iter().cloned());
        let results = (first..self.types.len() as u32).map(Id).collect();
        self.operations.push(operation);
        results
    }
}

/// Declares a private graph to be a known composite, which systems replace by their own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Composite {
    pub(super) name: &'static str,
    pub(super) inputs: Vec<&'static str>,
    /// In the order of their keys.
    pub(super) settings: Vec<(&'static str, Setting)>,
    pub(super) outputs: Vec<&'static str>,
}

/// A setting of a composite.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Setting {
    Flag(bool),
    Integer(i64),
    Integers(Vec<i64>),
    Float(f32),
}

/// A function of the asset, or a private graph that functions call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GraphOperation {
    pub(super) name: String,
    pub(super) region: Region,
    pub(super) input_names: Vec<String>,
    /// Names and values of the results; a private graph's results have no names.
    pub(super) outputs: Vec<(String, Id)>,
    /// Set for private graphs.
    pub(super) composite: Option<Composite>,
}

/// A constant of the resource section: its key and its bytes' number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) key: String,
    pub(super) bytes: u64,
}

/// All that an asset's program holds.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub(super) graphs: Vec<GraphOperation>,
    pub(super) blobs: Vec<Blob>,
}
