//! An input or output as a person reads it: name, element type, shape.

use serde::Serialize;
use vitc_exporters::coreml::{CLASS_LABEL, CLASS_PROBABILITIES, InputForm, Interface};
use vitc_ir::{DType, Dim, Graph, Type};

/// One input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Name in the interface.
    pub name: String,
    /// Element type.
    pub dtype: String,
    /// Shape, the symbolic batch as `batch`.
    pub shape: String,
}

/// `fp32`, `fp16`, `int32`, …: how users write element types.
pub(crate) fn dtype(d: DType) -> &'static str {
    match d {
        DType::F32 => "fp32",
        DType::F16 => "fp16",
        DType::I32 => "int32",
        DType::I64 => "int64",
        DType::I8 => "int8",
        DType::U8 => "uint8",
        DType::I4 => "int4",
        DType::U4 => "uint4",
        DType::Bool => "bool",
    }
}

impl Port {
    /// A port of this name and type.
    pub fn new(name: &str, ty: &Type) -> Port {
        let dim = |d: &Dim| match d {
            Dim::Batch(1) => "batch".to_string(),
            d => d.to_string(),
        };
        let shape: Vec<String> = ty.shape.0.iter().map(dim).collect();
        Port { name: name.into(), dtype: dtype(ty.dtype).into(), shape: shape.join("x") }
    }

    /// Inputs and outputs of a graph.
    pub fn of(graph: &Graph) -> (Vec<Port>, Vec<Port>) {
        let inputs = graph.inputs().map(|(_, n)| Port::new(&n.path, &n.types[0])).collect();
        let outputs = graph.outputs.iter().map(|o| Port::new(&o.name, graph.ty(o.value))).collect();
        (inputs, outputs)
    }

    /// Inputs and outputs of a graph behind this interface: a picture for the input, a label before the probabilities.
    pub fn behind(interface: &Interface, graph: &Graph) -> (Vec<Port>, Vec<Port>) {
        let (mut inputs, mut outputs) = Port::of(graph);
        if interface.input == InputForm::Image {
            inputs.iter_mut().for_each(|p| p.dtype = "image".into());
        }
        if interface.labels.is_some() {
            outputs.iter_mut().for_each(|p| p.name = CLASS_PROBABILITIES.into());
            outputs.insert(0, Port { name: CLASS_LABEL.into(), dtype: "string".into(), shape: "1".into() });
        }
        (inputs, outputs)
    }
}
