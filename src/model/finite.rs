//! Statistics and other vectors of a checkpoint that are no numbers: what is computed of them may be one, and then nothing else shows it.
//!
//! A variance that overflowed to infinity makes its channel zero: the file would be written, and its numbers would be wrong. Larger tensors are not read here;
//! an element that is no number reaches what is computed of them, and stops the export there.

use super::account::printable;
use super::request::ModelError;
use vitc_ir::{Graph, StoredType, Weights};

/// Elements beyond which a tensor is no vector.
const LARGEST: usize = 1 << 16;

/// Look at every small weight that the graph asks for.
///
/// # Errors
/// If one holds NaN or an infinity.
pub(super) fn check(graph: &Graph, weights: &dyn Weights) -> Result<(), ModelError> {
    for (key, ty) in graph.weights() {
        let elements = ty.shape.elements();
        if elements > LARGEST {
            continue;
        }
        // What cannot be read is said where it is used.
        let Ok(stored) = weights.weight(key, elements) else { continue };
        let finite: fn(&[u8]) -> bool = match stored.dtype {
            StoredType::F16 => |b| b[1] & 0x7c != 0x7c,
            StoredType::BF16 => |b| b[1] & 0x7f != 0x7f || b[0] & 0x80 == 0,
            StoredType::F32 => |b| b[3] & 0x7f != 0x7f || b[2] & 0x80 == 0,
            StoredType::F64 => |b| b[7] & 0x7f != 0x7f || b[6] & 0xf0 != 0xf0,
            StoredType::I8 | StoredType::U8 => |_| true,
        };
        if let Some(element) = stored.bytes.chunks_exact(stored.dtype.bytes()).position(|b| !finite(b)) {
            let key = printable(key);
            return Err(ModelError::Other(
                format!(
                    "element {element} of {key} is not finite: the checkpoint is damaged, or its numbers overflowed when they were stored in half \
                     precision\n  give a checkpoint of before that"
                )
                .into(),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitc_ir::{Net, Stored, WeightError};

    /// One element of one type.
    struct One(StoredType, Vec<u8>);

    impl Weights for One {
        fn weight(&self, _: &str, _: usize) -> Result<Stored<'_>, WeightError> {
            Ok(Stored { dtype: self.0, bytes: (&self.1[..]).into() })
        }
    }

    #[test]
    fn every_type_knows_its_infinities() {
        let mut graph = vitc_ir::net::paper("one");
        let mut net = Net::new(&mut graph);
        net.weight("running_var", &[1]);
        let all = |x: f64| {
            [
                One(StoredType::F16, half::f16::from_f64(x).to_le_bytes().to_vec()),
                One(StoredType::BF16, half::bf16::from_f64(x).to_le_bytes().to_vec()),
                One(StoredType::F32, (x as f32).to_le_bytes().to_vec()),
                One(StoredType::F64, x.to_le_bytes().to_vec()),
            ]
        };
        for x in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            assert!(all(x).iter().all(|weights| check(&graph, weights).is_err()), "{x}");
        }
        for x in [0.0, -1.5, 65504.0, 3e38, 6e-8] {
            let fits = |weights: &One| x <= 65504.0 || weights.0 != StoredType::F16;
            assert!(all(x).iter().filter(|w| fits(w)).all(|weights| check(&graph, weights).is_ok()), "{x}");
        }
    }
}
