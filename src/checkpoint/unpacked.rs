//! A PyTorch archive that somebody unpacked: a folder with `data.pkl`, and a file in `data/` for each storage.

use super::contents::{Contents, MAX_TENSORS};
use super::error::CheckpointError;
use super::mapped::Mapped;
use super::torch;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The unpacked archive at this path: the folder, the only folder inside it, or its `data.pkl` itself.
pub(super) fn root(path: &Path) -> Option<PathBuf> {
    let is_root = |folder: &Path| folder.join("data.pkl").is_file() && folder.join("data").is_dir();
    if path.file_name().is_some_and(|name| name == "data.pkl") {
        return path.parent().filter(|p| is_root(p)).map(Path::to_path_buf);
    }
    if is_root(path) {
        return Some(path.to_path_buf());
    }
    let mut inside: Vec<PathBuf> =
        std::fs::read_dir(path).ok()?.filter_map(|e| Some(e.ok()?.path())).take(64).collect();
    inside.retain(|p| is_root(p));
    if inside.len() == 1 { inside.pop() } else { None }
}

/// The files of the archive, and what they hold.
pub(super) fn read(root: &Path) -> Result<(Vec<Mapped>, Contents), CheckpointError> {
    let open = |path: &Path| Mapped::open(path).map_err(|e| CheckpointError::io(path, &e));
    let byteorder = std::fs::read(root.join("byteorder")).unwrap_or_else(|_| b"little".to_vec());
    let mut files = vec![open(&root.join("data.pkl"))?];
    let folder = root.join("data");
    let entries = std::fs::read_dir(&folder).map_err(|e| CheckpointError::io(&folder, &e))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.is_file()).collect();
    paths.sort();
    if paths.len() > MAX_TENSORS {
        return Err(CheckpointError::damaged(folder.display().to_string(), "it holds too many files"));
    }
    let mut storages = HashMap::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        storages.insert(name, files.len());
        files.push(open(&path)?);
    }
    let storage = |key: &str| storages.get(key).map(|&number| (number, 0..files[number].bytes().len()));
    let contents = torch::read_unpacked(files[0].bytes(), &byteorder, &storage);
    let contents = contents.map_err(|e| e.within(&root.join("data.pkl").display().to_string()))?;
    Ok((files, contents))
}
