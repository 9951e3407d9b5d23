//! Interim, until `vitc_ir::eval::stream` exists: hands over stored f32 weights and nothing computed.
use vitc_ir::{Graph, Op, StoredType, Value, Weights};

pub(super) fn stream(
    graph: &Graph,
    weights: &dyn Weights,
    values: &[Value],
    _budget: usize,
    sink: &mut dyn FnMut(usize, &[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    for (i, &v) in values.iter().enumerate() {
        let Op::Weight { key } = graph.op(v) else { return Err(std::io::Error::other("computed constants")) };
        let stored = weights.weight(key, graph.shape(v).elements()).map_err(std::io::Error::other)?;
        if stored.dtype != StoredType::F32 {
            return Err(std::io::Error::other("stored types other than f32"));
        }
        sink(i, &stored.bytes)?;
    }
    Ok(())
}
