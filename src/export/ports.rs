//! Element types of inputs and outputs: which of those that a model's own file has its artifact keeps.

use super::format::TargetKind;
use super::lowered::Lowered;
use super::request::Request;
use crate::interface::Stored;
use crate::message::Message;
use crate::model::Model;
use crate::port;
use vitc_exporters::onnx::Elem;
use vitc_ir::{DType, Graph};

/// How the ports of an artifact lie in it: what is asked for, and bytes where the model's own file has them and the target takes them.
pub(super) fn stored(request: &Request, model: &Model, graph: &Graph) -> Stored {
    let float = |dtype: DType| dtype.is_float();
    let (of_inputs, of_outputs) = elements(model);
    let of_inputs = of_inputs.into_iter().chain(std::iter::repeat(None));
    let input = |elem| if request.interface.bytes { Some(DType::U8) } else { kept(request.target, elem) };
    let inputs = graph.inputs().zip(of_inputs);
    let inputs = inputs.map(|((_, node), elem)| input(elem).filter(|_| float(node.types[0].dtype))).collect();
    let outputs = graph.outputs.iter().zip(of_outputs);
    let outputs = outputs.map(|(o, elem)| kept(request.target, elem).filter(|_| float(graph.ty(o.value).dtype)));
    Stored { layout: request.interface.layout, inputs, outputs: outputs.collect() }
}

/// Whether every input is bytes in the artifact, each of which is a number of the computation's type.
pub(super) fn all_bytes(request: &Request, model: &Model) -> bool {
    let (inputs, _) = elements(model);
    let of_file = !inputs.is_empty() && inputs.into_iter().all(|elem| kept(request.target, elem).is_some());
    request.interface.bytes || of_file
}

/// That ports are of another type than in the model's own file.
pub(super) fn notices(request: &Request, model: &Model) -> Vec<Message> {
    let (of_inputs, of_outputs) = elements(model);
    let inputs = model.graph.inputs().zip(of_inputs).map(|((_, node), elem)| ("input", &node.path, elem, "taken"));
    let outputs = model.graph.outputs.iter().zip(of_outputs).map(|(o, elem)| ("output", &o.name, elem, "returned"));
    let said = |(port, name, elem, verb): (_, _, Option<Elem>, _)| {
        let dtype = bytes(elem).filter(|_| kept(request.target, elem).is_none())?;
        Some(format!("{port} {name} of {} is {verb} as a float", port::dtype(dtype)).into())
    };
    inputs.chain(outputs).filter_map(said).collect()
}

/// Ports that have 32 bits in the model's own file, under the names that they have now.
pub(super) fn int32(lowered: &Lowered) -> Vec<String> {
    let (of_inputs, of_outputs) = elements(&lowered.model);
    let inputs = lowered.graph.inputs().map(|(_, node)| &node.path).zip(of_inputs);
    let outputs = lowered.graph.outputs.iter().map(|o| &o.name).zip(of_outputs);
    let wanted = inputs.chain(outputs).filter(|(_, elem)| *elem == Some(Elem::Int(32)));
    wanted.map(|(name, _)| name.clone()).collect()
}

/// Element types of inputs and outputs in the model's own file, in order; nothing if it has none.
fn elements(model: &Model) -> (Vec<Option<Elem>>, Vec<Option<Elem>>) {
    let Some(file) = model.file() else { return Default::default() };
    (file.inputs.iter().map(|info| info.elem).collect(), file.outputs.iter().copied().map(Some).collect())
}

/// Whole numbers of 8 bits, which the graph computes as floats.
fn bytes(elem: Option<Elem>) -> Option<DType> {
    match elem? {
        Elem::Uint(8) => Some(DType::U8),
        Elem::Int(8) => Some(DType::I8),
        _ => None,
    }
}

/// Bytes that a target has in its interface. TensorRT takes signed ones only with scales; Apple's formats have neither.
fn kept(target: TargetKind, elem: Option<Elem>) -> Option<DType> {
    let takes: &[DType] = match target {
        TargetKind::Onnx => &[DType::U8, DType::I8],
        TargetKind::TensorRt => &[DType::U8],
        TargetKind::CoreMl | TargetKind::CoreAi => &[],
    };
    bytes(elem).filter(|dtype| takes.contains(dtype))
}
