//! Data files beside a model: only plain relative paths inside of the model's folder, only what lies in the file.

use super::tensor::{Elements, Tensor};
use memmap2::Mmap;
use prost::bytes::Bytes;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The data files of a model, mapped when they are first asked for.
pub(super) struct DataFiles {
    folder: PathBuf,
    open: HashMap<String, Bytes>,
}

impl DataFiles {
    /// Of the model at this path.
    pub(super) fn beside(model: &Path) -> DataFiles {
        let folder = model.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        DataFiles { folder: folder.to_path_buf(), open: HashMap::new() }
    }

    /// The tensor with its elements at hand.
    ///
    /// # Errors
    /// If the file is not a plain file in the model's folder, or ends before the elements do.
    pub(super) fn resolve(&mut self, tensor: &Tensor) -> Result<Tensor, String> {
        let Elements::External { location, offset, length } = &tensor.elements else { return Ok(tensor.clone()) };
        let fail = |what: String| format!("tensor {:?}: its data file {location:?} {what}", tensor.name);
        let due = tensor.bytes_due().ok_or_else(|| fail(format!("holds {}", tensor.elem.word())))?;
        if length.is_some_and(|l| l != due as u64) {
            return Err(fail(format!("is said to hold {} bytes of it, {due} are due", length.unwrap_or(0))));
        }
        let bytes = self.open(location).map_err(fail)?;
        let start = usize::try_from(*offset).ok().filter(|&s| s.checked_add(due).is_some_and(|end| end <= bytes.len()));
        let Some(start) = start else {
            let what = format!(
                "has {} bytes, {due} at byte {offset} are due: it is cut short, or another model's",
                bytes.len()
            );
            return Err(fail(what));
        };
        Ok(Tensor { elements: Elements::Here(bytes.slice(start..start + due)), ..tensor.clone() })
    }

    fn open(&mut self, location: &str) -> Result<Bytes, String> {
        if let Some(bytes) = self.open.get(location) {
            return Ok(bytes.clone());
        }
        let parts = || location.split('/');
        if location.contains(['\\', '\0', ':']) || parts().any(|p| matches!(p, "" | "." | "..")) {
            return Err("is no plain relative path".into());
        }
        let gone = |e: std::io::Error| {
            format!("cannot be opened: {e}\n  the two belong together: put it into the model's folder")
        };
        let folder = self.folder.canonicalize().map_err(gone)?;
        let path = self.folder.join(location).canonicalize().map_err(gone)?;
        if !path.starts_with(&folder) || !path.is_file() {
            return Err("leads out of the model's folder".into());
        }
        let bytes = map(&path).map_err(gone)?;
        self.open.insert(location.to_string(), bytes.clone());
        Ok(bytes)
    }
}

/// The bytes of a file, mapped.
///
/// # Errors
/// If it is not a regular file that can be opened.
pub(super) fn map(path: &Path) -> std::io::Result<Bytes> {
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file"));
    }
    // An empty range cannot be mapped.
    if found.len() == 0 {
        return Ok(Bytes::new());
    }
    let file = File::open(path)?;
    // SAFETY: read-only and private; any bytes are valid, and every reader of them checks ranges. Another process that changes the file meanwhile
    // gives other numbers, one that truncates it ends this process before an artifact is in place.
    #[allow(unsafe_code)]
    let map = unsafe { Mmap::map(&file) }?;
    Ok(Bytes::from_owner(map))
}
