//! One ONNX node before it has a name.

use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;

/// Operator, operands and attributes.
pub(super) struct Step {
    pub(super) op: &'static str,
    pub(super) inputs: Vec<String>,
    pub(super) attributes: Vec<pb::AttributeProto>,
    /// Which result is wanted, and how many there are.
    pub(super) wanted: [usize; 2],
}

impl Step {
    pub(super) fn new(op: &'static str, inputs: impl IntoIterator<Item = String>) -> Step {
        Step { op, inputs: inputs.into_iter().collect(), attributes: Vec::new(), wanted: [0, 1] }
    }

    /// One of several results.
    pub(super) fn one_of(self, wanted: usize, results: usize) -> Step {
        Step { wanted: [wanted, results], ..self }
    }

    pub(super) fn int(mut self, name: &str, i: i64) -> Step {
        let r#type = AttributeType::Int as i32;
        self.attributes.push(pb::AttributeProto { name: name.into(), r#type, i, ..Default::default() });
        self
    }

    pub(super) fn string(mut self, name: &str, s: &str) -> Step {
        let (r#type, s) = (AttributeType::String as i32, s.as_bytes().to_vec());
        self.attributes.push(pb::AttributeProto { name: name.into(), r#type, s, ..Default::default() });
        self
    }

    pub(super) fn ints(mut self, name: &str, ints: &[usize]) -> Step {
        let (r#type, ints) = (AttributeType::Ints as i32, ints.iter().map(|&i| i as i64).collect());
        self.attributes.push(pb::AttributeProto { name: name.into(), r#type, ints, ..Default::default() });
        self
    }
}
