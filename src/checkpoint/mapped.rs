//! A file as a slice of bytes, through the operating system's memory map; or bytes that a program holds, in the place of a file.
//!
//! The only `unsafe` of the library is here. Nothing is copied: pages are read when a tensor is, and the system drops them again when memory
//! is short.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The bytes of a tensor, which stay where they are for as long as they are held.
pub type HeldBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A mapped file.
#[derive(Debug)]
pub(crate) struct Mapped {
    path: PathBuf,
    content: Content,
}

/// Where the bytes are.
enum Content {
    /// Nowhere: an empty range cannot be mapped.
    Empty,
    File(memmap2::Mmap),
    Held(HeldBytes),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Content::Empty => "empty",
            Content::File(_) => "file",
            Content::Held(_) => "held",
        })
    }
}

impl Mapped {
    /// Map the regular file at `path`. Pipes and devices are refused: they have no size and opening them may block.
    #[allow(unsafe_code)] // see the argument below
    pub(crate) fn open(path: &Path) -> io::Result<Mapped> {
        let length = match std::fs::metadata(path)? {
            found if found.is_file() => found.len(),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        };
        let file = File::open(path)?;
        let content = if length == 0 {
            Content::Empty
        } else {
            // SAFETY: the map is read-only and private, lives as long as the slices borrowed from it, and any bit pattern is a valid `u8`. What
            // the type system cannot exclude is another process that writes to the file meanwhile: then bytes change between two reads, which
            // every reader here survives because it checks ranges against the mapped length and never trusts a value read before; or it
            // truncates the file, and the system ends the process with SIGBUS before a byte of an artifact is in place.
            Content::File(unsafe { memmap2::Mmap::map(&file)? })
        };
        Ok(Mapped { path: path.to_path_buf(), content })
    }

    /// Bytes of a program; `name` stands where a file's would.
    pub(super) fn held(name: &str, bytes: HeldBytes) -> Mapped {
        Mapped { path: name.into(), content: Content::Held(bytes) }
    }

    /// Whether a program holds the bytes.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.content, Content::Held(_))
    }

    /// The whole file.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Empty => &[],
            Content::File(map) => map,
            Content::Held(bytes) => (**bytes).as_ref(),
        }
    }

    /// Where it was found.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}
