//! ONNX: opset 17 to 23, complete static types, every node named by its path.

pub mod messages;
