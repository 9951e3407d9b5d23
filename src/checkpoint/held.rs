//! Tensors that a program holds in its own memory: the road of a file's tensors, without a file.

use super::config;
use super::contents::{Contents, MAX_KEY, MAX_TENSORS};
use super::error::{CheckpointError, shortened};
use super::mapped::{HeldBytes, Mapped};
use super::names::joined;
use super::open::Checkpoint;
use super::tensor::{ElementType, TensorInfo};

/// A tensor in memory.
#[derive(Clone)]
pub struct HeldTensor {
    /// The dict that holds it, with dots between the names of dicts around that; empty for the outermost.
    pub dict: String,
    /// Its name in this dict.
    pub name: String,
    /// Element type.
    pub dtype: ElementType,
    /// Shape, outermost first.
    pub shape: Vec<usize>,
    /// Strides in elements; row-major if `None`.
    pub strides: Option<Vec<usize>>,
    /// From its first element to its last.
    pub bytes: HeldBytes,
}

impl Checkpoint {
    /// What a program holds: tensors, and what it knows about their model, laid out as in a file. `name` stands where a file's would.
    ///
    /// # Errors
    /// If there are none, two have one name, or the bytes of one do not hold its elements.
    pub fn of_tensors(
        name: &str,
        mut tensors: Vec<HeldTensor>,
        settings: Option<serde_json::Value>,
    ) -> Result<Checkpoint, CheckpointError> {
        let whole = |tensor: &HeldTensor| joined(&tensor.dict, &tensor.name);
        tensors.sort_by_cached_key(whole);
        let mut contents = Contents { document: settings, ..Contents::default() };
        let mut files = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            let key = whole(&tensor);
            if key.len() > MAX_KEY || contents.tensors.len() >= MAX_TENSORS {
                return Err(CheckpointError::damaged(name, "it holds absurdly long or many names"));
            }
            let storage = 0..(*tensor.bytes).as_ref().len();
            let info = TensorInfo::new(&key, tensor.dtype, tensor.shape, files.len(), &storage, 0, tensor.strides)?;
            contents.dicts.insert(tensor.dict);
            if contents.tensors.insert(key.clone(), info).is_some() {
                let why = "two different tensors have this name";
                return Err(CheckpointError::damaged(format!("tensor {}", shortened(&key)), why));
            }
            files.push(Mapped::held(name, tensor.bytes));
        }
        let config = contents.document.take().map(|document| config::read(&document, name)).unwrap_or_default();
        Checkpoint::of(name.as_ref(), name, files, contents, config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn tensor(name: &str, shape: &[usize], strides: Option<Vec<usize>>, values: &[f32]) -> HeldTensor {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let (dict, name) = (String::new(), name.to_string());
        HeldTensor { dict, name, dtype: ElementType::F32, shape: shape.to_vec(), strides, bytes: Arc::new(bytes) }
    }

    #[test]
    fn the_identity_is_that_of_names_and_values() {
        let of = |tensors: Vec<HeldTensor>| Checkpoint::of_tensors("dict", tensors, None).unwrap().blake3();
        let (a, b) = (tensor("a", &[2], None, &[1.0, 2.0]), tensor("b", &[2], None, &[3.0, 4.0]));
        assert_eq!(of(vec![a.clone(), b.clone()]), of(vec![b.clone(), a.clone()]));
        let swapped = [HeldTensor { name: "b".into(), ..a.clone() }, HeldTensor { name: "a".into(), ..b.clone() }];
        assert_ne!(of(swapped.to_vec()), of(vec![a.clone(), b.clone()]));
        // A view has the identity of its elements, wherever they lie.
        let turned = tensor("a", &[2, 2], Some(vec![1, 2]), &[1.0, 3.0, 2.0, 4.0]);
        let dense = tensor("a", &[2, 2], None, &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(of(vec![turned, b.clone()]), of(vec![dense, b]));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let refused = |tensors: Vec<HeldTensor>| Checkpoint::of_tensors("dict", tensors, None).unwrap_err().to_string();
        assert!(refused(vec![tensor("a", &[3], None, &[1.0])]).contains("do not fit"));
        assert!(refused(vec![tensor("a", &[2, 2], Some(vec![3, 1]), &[0.0; 4])]).contains("do not fit"));
        assert!(refused(vec![tensor("a", &[1], None, &[1.0]); 2]).contains("two different tensors"));
        assert!(refused(Vec::new()).contains("no tensors"), "{}", refused(Vec::new()));
    }
}
