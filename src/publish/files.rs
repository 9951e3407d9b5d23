//! Files of a published folder: what is in it, how large, and with which hash.

use crate::checkpoint::Mapped;
use crate::place::PlaceError;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Name of the weights in the folder, which comes first where a folder is read.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// Name of the card.
pub(super) const CARD: &str = "README.md";
/// Name of the list of hashes, as `b3sum` reads and prints it.
pub(super) const SUMS: &str = "BLAKE3SUMS";

/// A file of a published folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishedFile {
    /// Its path in the folder, with `/` between names.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of its bytes, in hexadecimal.
    pub blake3: String,
}

/// Every file below `root`, sorted by path, but for some at the top.
pub(super) fn list(root: &Path, except: &[&str]) -> Result<Vec<PublishedFile>, PlaceError> {
    let mut paths = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(failed("read the folder", &folder))? {
            let path = entry.map_err(failed("read the folder", &folder))?.path();
            if path.is_dir() { folders.push(path) } else { paths.push(path) }
        }
    }
    let inside = |path: &Path| {
        let names = path.strip_prefix(root).unwrap_or(path).components();
        names.map(|name| name.as_os_str().to_string_lossy().into_owned()).collect::<Vec<_>>().join("/")
    };
    let mut named: Vec<(String, PathBuf)> = paths.into_iter().map(|path| (inside(&path), path)).collect();
    named.retain(|(name, _)| !except.contains(&name.as_str()));
    named.sort();
    named.into_iter().map(|(name, path)| described(name, &path)).collect()
}

fn described(path: String, at: &Path) -> Result<PublishedFile, PlaceError> {
    let file = Mapped::open(at).map_err(failed("read the file", at))?;
    let bytes = file.bytes();
    let blake3 = blake3::Hasher::new().update_rayon(bytes).finalize().to_hex().to_string();
    Ok(PublishedFile { path, bytes: bytes.len() as u64, blake3 })
}

/// The list of hashes, as `b3sum` prints it.
pub(super) fn sums(files: &[PublishedFile]) -> String {
    files.iter().map(|file| format!("{}  {}\n", file.blake3, file.path)).collect()
}

/// Whether a folder holds the files of its own list, as they were, and nothing else.
pub(super) fn are_as_listed(root: &Path) -> bool {
    let listed = std::fs::read_to_string(root.join(SUMS)).unwrap_or_default();
    list(root, &[SUMS]).is_ok_and(|found| sums(&found) == listed)
}

/// Write a file of the folder.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), PlaceError> {
    std::fs::write(path, bytes).map_err(failed("write the file", path))
}

/// The error of a system call on a path.
pub(super) fn failed(what: &'static str, path: &Path) -> impl Fn(std::io::Error) -> PlaceError {
    let path = path.to_path_buf();
    move |source| PlaceError::Io { what, path: path.clone(), source }
}
