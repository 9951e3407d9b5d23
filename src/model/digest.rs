//! The identity of a checkpoint, computed beside everything else.

use super::loaded::Digest;
use crate::checkpoint::{Checkpoint, Mapped};
use std::path::Path;
use std::sync::LazyLock;
use std::thread::JoinHandle;

/// Starts hashing. Who asks before it is done waits.
pub(super) fn digest(checkpoint: Checkpoint) -> Digest {
    let mut hashing = Hashing(Some(std::thread::spawn(move || checkpoint.blake3())));
    LazyLock::new(Box::new(move || match hashing.0.take().map(JoinHandle::join) {
        Some(Ok(digest)) => digest,
        Some(Err(panic)) => std::panic::resume_unwind(panic),
        None => String::new(),
    }))
}

/// A thread that reads a mapped file. It ends with the model, so that nobody who overwrites the file later cuts off what it reads (a bus error).
struct Hashing<T>(Option<JoinHandle<T>>);

impl<T> Drop for Hashing<T> {
    fn drop(&mut self) {
        let _ = self.0.take().map(JoinHandle::join);
    }
}

/// BLAKE3 of a file's bytes; of none, if it is not there.
pub(super) fn blake3_of(path: &Path) -> Digest {
    let path = path.to_path_buf();
    LazyLock::new(Box::new(move || match Mapped::open(&path) {
        Ok(file) => blake3::hash(file.bytes()).to_hex().to_string(),
        Err(_) => blake3::hash(&[]).to_hex().to_string(),
    }))
}
