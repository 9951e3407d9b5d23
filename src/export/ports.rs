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
    let layout = request.interface.layout;
    let Some(file) = model.file() else {
        let inputs = graph.inputs().map(|_| request.interface.bytes.then_some(DType::U8)).collect();
        return Stored { layout, inputs, outputs: Vec::new() };
    };
    let kept = |elem, dtype: DType| bytes_of(elem).filter(|b| dtype.is_float() && kept(request.target).contains(b));
    let elems = file.inputs.iter().map(|info| info.elem).chain(std::iter::repeat(None));
    let input = |elem, dtype| if request.interface.bytes { Some(DType::U8) } else { kept(elem, dtype) };
    let inputs = graph.inputs().zip(elems).map(|((_, node), elem)| input(elem, node.types[0].dtype)).collect();
    let outputs = graph.outputs.iter().zip(&file.outputs);
    let outputs = outputs.map(|(o, elem)| kept(Some(*elem), graph.ty(o.value).dtype)).collect();
    Stored { layout, inputs, outputs }
}

/// Whether every input is bytes in the artifact, each of which is a number of the computation's type.
pub(super) fn all_bytes(request: &Request, model: &Model) -> bool {
    let file = |elem| bytes_of(elem).is_some_and(|b| kept(request.target).contains(&b));
    let of_file = || model.file().is_some_and(|f| !f.inputs.is_empty() && f.inputs.iter().all(|i| file(i.elem)));
    request.interface.bytes || of_file()
}

/// That ports are of another type than in the model's own file.
pub(super) fn notices(request: &Request, model: &Model) -> Vec<Message> {
    let Some(file) = model.file() else { return Vec::new() };
    let other = |elem| bytes_of(elem).filter(|b| !kept(request.target).contains(b));
    let inputs = file.inputs.iter().zip(model.graph.inputs()).map(|(info, (_, node))| (&node.path, info.elem));
    let inputs = inputs.filter_map(|(name, elem)| Some(("input", name, other(elem)?, "taken")));
    let outputs = file.outputs.iter().zip(&model.graph.outputs);
    let outputs = outputs.filter_map(|(elem, o)| Some(("output", &o.name, other(Some(*elem))?, "returned")));
    let said = |(port, name, dtype, verb)| format!("{port} {name} of {} is {verb} as a float", port::dtype(dtype));
    inputs.chain(outputs).map(|found| said(found).into()).collect()
}

/// Ports that have 32 bits in the model's own file, under the names that they have now.
pub(super) fn int32(lowered: &Lowered) -> Vec<String> {
    let Some(file) = lowered.model.file() else { return Vec::new() };
    let wanted = |elem: Option<Elem>| elem == Some(Elem::Int(32));
    let inputs = lowered.graph.inputs().map(|(_, node)| &node.path).zip(file.inputs.iter().map(|info| info.elem));
    let outputs = lowered.graph.outputs.iter().map(|o| &o.name).zip(file.outputs.iter().copied().map(Some));
    inputs.chain(outputs).filter(|(_, elem)| wanted(*elem)).map(|(name, _)| name.clone()).collect()
}

/// Whole numbers of 8 bits, which the graph computes as floats.
fn bytes_of(elem: Option<Elem>) -> Option<DType> {
    match elem? {
        Elem::Uint(8) => Some(DType::U8),
        Elem::Int(8) => Some(DType::I8),
        _ => None,
    }
}

/// Which of them a target has in its interface. TensorRT takes signed ones only with scales; Apple's formats have neither.
fn kept(target: TargetKind) -> &'static [DType] {
    match target {
        TargetKind::Onnx => &[DType::U8, DType::I8],
        TargetKind::TensorRt => &[DType::U8],
        TargetKind::CoreMl | TargetKind::CoreAi => &[],
    }
}
