//! Interim.
use vitc_ir::{Graph, Op, Value, Weights, StoredType};
/// Interim.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{path}: {what}")]
pub struct StreamError { pub path: String, pub what: String }
/// Interim.
pub fn stream(graph: &Graph, weights: &dyn Weights, values: &[Value], _budget: usize, sink: &mut dyn FnMut(usize, &[u8]) -> Result<(), std::io::Error>) -> Result<(), std::io::Error> {
    for (i, &v) in values.iter().enumerate() {
        let ty = graph.ty(v);
        if let Op::Weight { key } = graph.op(v) {
            let s = weights.weight(key, ty.shape.elements()).map_err(std::io::Error::other)?;
            if s.dtype != StoredType::F32 { return Err(std::io::Error::other("pending")); }
            sink(i, &s.bytes)?;
        } else { sink(i, &vec![0u8; ty.bytes()])?; }
    }
    Ok(())
}
