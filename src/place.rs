//! Putting an artifact in its place, so that a run that fails, or is killed at any moment, loses nothing and leaves nothing half-written.
//!
//! A run stages its artifact in a folder of its own beside the destination, `.<name>.vitc-<random>`, checks it there, and then moves it:
//!
//! - a file takes its place by one rename, which replaces what was there;
//! - a package is a folder, and a folder that is not empty cannot be replaced by a rename: the old one moves into the staging folder,
//!   the new one into the place, and if that second rename fails the old one moves back.
//!
//! Invariants:
//! - The destination is untouched until [`Staging::commit`], and holds the old artifact, the new one or, for packages, nothing for the
//!   moment between two renames. A run that is killed in that moment leaves the old package in its staging folder; the next run that
//!   writes to the same folder puts it back ([`sweep`]).
//! - A staging folder holds a lock file, locked while its run lives. The system releases the lock however the run ends, so a folder whose
//!   lock can be taken belongs to nobody and is swept. The lock, not age or process number, decides.
//! - What vitc did not write is replaced only when the caller says so.

use crate::message;
use crate::message::{Explain, Message, Setting};
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Between the destination's name and the random part in the name of a staging folder.
const MARK: &str = ".vitc-";
/// Length of the random part.
const RANDOM: usize = 8;
/// The lock file in a staging folder.
const LOCK: &str = "lock";
/// Where an old package waits, in a staging folder, while the new one takes its place.
const OLD: &str = "old";

/// What stands between an artifact and its place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The folder that should hold the artifact does not exist.
    MissingFolder {
        /// The artifact.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// The destination exists and was not written by vitc.
    Foreign(PathBuf),
    /// A folder stands where a file should go.
    Folder(PathBuf),
    /// The path has no file name.
    NoName(PathBuf),
    /// The operating system refused.
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The new package could not take its place, and the old one could not be put back.
    Stuck {
        /// The destination.
        path: PathBuf,
        /// Where the old package is.
        kept: PathBuf,
        /// Why the rename failed.
        #[source]
        source: io::Error,
    },
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message().fmt(f)
    }
}

impl Explain for PlaceError {
    fn message(&self) -> Message {
        match self {
            PlaceError::MissingFolder { path, folder } => format!(
                "{}: the folder {folder} does not exist\n  create it first: mkdir -p {folder}",
                path.display(),
                folder = folder.display()
            )
            .into(),
            PlaceError::Foreign(path) => message!(
                format!("{}: exists and was not written by vitc, so it is not replaced\n", path.display()),
                "  choose another place with ",
                Setting::Place,
                ", or replace it with ",
                Setting::Force.on(),
            ),
            PlaceError::Folder(path) => message!(
                format!("{}: is a folder, and a file should take this name\n", path.display()),
                "  choose another name, or put the file inside: ",
                Setting::Place.to(format_args!("{}/", path.display())),
            ),
            PlaceError::NoName(path) => message!(
                format!("{}: names no file\n  give the artifact's name, as in ", path.display()),
                Setting::Place.to("model.onnx"),
            ),
            PlaceError::Io { what, path, source } => {
                message!(format!("{}: {what}: {source}", path.display()), advice(source))
            }
            PlaceError::Stuck { path, kept, source } => format!(
                "{}: the new package could not take its place ({source}), and the old one could not be put back\n  \
                 the old one is kept in {}; the next export to this folder puts it back",
                path.display(),
                kept.display()
            )
            .into(),
        }
    }
}

/// What a person can do about a system error, as a further line of the message; empty where the error speaks for itself.
pub fn advice(error: &io::Error) -> Message {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => message!(
            "\n  free some space or choose another disk with ",
            Setting::Place,
            "; what was there before is untouched",
        ),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            message!("\n  choose a folder that you may write to with ", Setting::Place)
        }
        _ => Message::default(),
    }
}

/// Form of an artifact on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One file, with files beside it that it refers to (external data).
    File,
    /// A folder.
    Package,
}

/// Which rename of [`Staging::commit`] comes next; tests stop here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Files that the artifact refers to move beside the place.
    Beside,
    /// The old package moves out of the place.
    Aside,
    /// The new artifact moves into the place.
    Into,
    /// The staging folder is removed.
    Clean,
}

/// A folder beside the destination, in which an artifact is written and checked before it takes its place.
///
/// Dropping it removes the folder and leaves the destination as it was.
#[derive(Debug)]
pub struct Staging {
    place: PathBuf,
    folder: PathBuf,
    form: Form,
    force: bool,
    written_by_us: fn(&Path) -> bool,
    lock: Option<File>,
}

impl Staging {
    /// Prepare to write `place`: refuses early what cannot succeed, sweeps what killed runs left behind, creates the staging folder.
    ///
    /// `written_by_us` tells whether an existing artifact comes from vitc and may be replaced; `force` replaces anything of the same form.
    /// A symbolic link is followed: what it points to is replaced.
    ///
    /// # Errors
    /// See [`PlaceError`]. Nothing was changed.
    pub fn begin(
        place: &Path,
        form: Form,
        force: bool,
        written_by_us: fn(&Path) -> bool,
    ) -> Result<Staging, PlaceError> {
        let place = match fs::symlink_metadata(place) {
            Ok(m) if m.is_symlink() => fs::canonicalize(place).map_err(io_error("follow the link", place))?,
            _ => place.to_path_buf(),
        };
        let name = place.file_name().ok_or_else(|| PlaceError::NoName(place.clone()))?.to_string_lossy().into_owned();
        let parent = match place.parent() {
            Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
            _ => PathBuf::from("."),
        };
        if !parent.is_dir() {
            return Err(PlaceError::MissingFolder { path: place, folder: parent });
        }
        sweep(&parent);
        replaceable(&place, form, force, written_by_us)?;
        let (folder, lock) = staging_folder(&parent, &name)?;
        Ok(Staging { place, folder, form, force, written_by_us, lock })
    }

    /// Where to write the artifact, under its final name, so that references between its files stay true.
    pub fn artifact(&self) -> PathBuf {
        self.folder.join("new").join(self.place.file_name().expect("checked in begin"))
    }

    /// Write the artifact, if it is one file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, bytes: &[u8]) -> Result<(), PlaceError> {
        let path = self.artifact();
        fs::write(&path, bytes).map_err(io_error("write the file", &path))
    }

    /// A folder inside for what is needed on the way and does not stay.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn scratch(&self) -> Result<PathBuf, PlaceError> {
        let scratch = self.folder.join("scratch");
        fs::create_dir_all(&scratch).map_err(io_error("create a folder here", &scratch))?;
        Ok(scratch)
    }

    /// The staging folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the artifact will be.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Move the artifact into its place.
    ///
    /// # Errors
    /// If something else took the place since [`Staging::begin`], or a rename fails. The place then holds what it held before, with the
    /// one exception that [`PlaceError::Stuck`] describes.
    pub fn commit(self) -> Result<(), PlaceError> {
        self.commit_with(|_| ())
    }

    /// [`Staging::commit`], telling before each step which it is.
    ///
    /// # Errors
    /// As [`Staging::commit`].
    pub fn commit_with(mut self, mut step: impl FnMut(Step)) -> Result<(), PlaceError> {
        replaceable(&self.place, self.form, self.force, self.written_by_us)?;
        let old = self.folder.join(OLD);
        let put_aside = self.place.symlink_metadata().is_ok() && (self.form == Form::Package || self.place.is_dir());
        step(Step::Beside);
        self.move_beside()?;
        if put_aside {
            step(Step::Aside);
            fs::rename(&self.place, &old).map_err(io_error("move the old package aside", &self.place))?;
        }
        step(Step::Into);
        if let Err(source) = fs::rename(self.artifact(), &self.place) {
            if put_aside && fs::rename(&old, &self.place).is_err() {
                self.lock = None; // the folder now holds the only copy: leave it for the next run's sweep
                let folder = std::mem::take(&mut self.folder);
                return Err(PlaceError::Stuck { path: self.place.clone(), kept: folder.join(OLD), source });
            }
            return Err(io_error("move the new artifact into its place", &self.place)(source));
        }
        step(Step::Clean);
        Ok(())
    }

    /// Leave the artifact as `<place>.failed` for inspection, and the place as it was.
    ///
    /// # Errors
    /// If the rename fails.
    pub fn keep_failed(self) -> Result<PathBuf, PlaceError> {
        let mut name = self.place.file_name().expect("checked in begin").to_os_string();
        name.push(".failed");
        let kept = self.place.with_file_name(name);
        replaceable(&kept, self.form, self.force, self.written_by_us)?;
        self.move_beside()?;
        if kept.is_dir() {
            fs::remove_dir_all(&kept).map_err(io_error("remove the previous failed package", &kept))?;
        }
        fs::rename(self.artifact(), &kept).map_err(io_error("keep the failed artifact", &kept))?;
        Ok(kept)
    }

    /// Move every other file of the staged artifact beside the place. Their names belong to this content (they carry its hash), so what
    /// has such a name already is the same file.
    fn move_beside(&self) -> Result<(), PlaceError> {
        let artifact = self.artifact();
        let staged = artifact.parent().expect("the artifact is inside the staging folder");
        let entries = fs::read_dir(staged).map_err(io_error("list the staged files", staged))?;
        for entry in entries {
            let from = entry.map_err(io_error("list the staged files", staged))?.path();
            if from != artifact {
                let to = self.place.with_file_name(from.file_name().expect("directory entries have names"));
                fs::rename(&from, &to).map_err(io_error("move the data file beside the artifact", &to))?;
            }
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.folder.as_os_str().is_empty() {
            // The lock file goes last with its folder; what cannot be removed is swept by the next run.
            self.lock = None;
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Whether the thing at `place`, if any, may be replaced by an artifact of this form.
fn replaceable(place: &Path, form: Form, force: bool, written_by_us: fn(&Path) -> bool) -> Result<(), PlaceError> {
    let Ok(there) = fs::symlink_metadata(place) else { return Ok(()) };
    if form == Form::File && there.is_dir() {
        return Err(PlaceError::Folder(place.to_path_buf()));
    }
    if force || written_by_us(place) {
        return Ok(());
    }
    Err(PlaceError::Foreign(place.to_path_buf()))
}

/// Create and lock `.<name>.vitc-<random>/` with an empty `new/` inside.
fn staging_folder(parent: &Path, name: &str) -> Result<(PathBuf, Option<File>), PlaceError> {
    let prefix = format!(".{name}{MARK}");
    let cannot = "create a file in this folder";
    // Another run may sweep the folder between its creation and its lock: it is then gone, and another is made.
    for _ in 0..16 {
        let made = tempfile::Builder::new().prefix(&prefix).rand_bytes(RANDOM).tempdir_in(parent);
        let folder = made.map_err(io_error(cannot, parent))?.keep();
        let made_lock = File::create(folder.join(LOCK));
        let lock = match made_lock {
            Ok(file) => file.lock().is_ok().then_some(file), // no locks on this file system: nobody will sweep it either
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => {
                let _ = fs::remove_dir(&folder);
                return Err(io_error(cannot, parent)(e));
            }
        };
        match fs::create_dir(folder.join("new")) {
            Ok(()) => return Ok((folder, lock)),
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => {
                let _ = fs::remove_dir_all(&folder);
                return Err(io_error(cannot, parent)(e));
            }
        }
    }
    Err(io_error(cannot, parent)(io::Error::other("other runs keep removing it")))
}

/// Remove what killed runs left in `folder`, and put back a package that one of them had moved aside. Folders of runs that live are left
/// alone, and so is everything whose name is not that of a staging folder. What cannot be removed stays for the next sweep.
pub fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(destination) = name.to_str().and_then(destination_of) else { continue };
        let left = entry.path();
        if !fs::symlink_metadata(&left).is_ok_and(|m| m.is_dir()) {
            continue;
        }
        let lock = match File::open(left.join(LOCK)) {
            Ok(lock) => lock,
            Err(_) => {
                let _ = fs::remove_dir(&left); // killed before it could lock: empty, or not ours
                continue;
            }
        };
        match lock.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => continue,
        }
        let (old, place) = (left.join(OLD), folder.join(destination));
        if old.exists() && !place.exists() && fs::rename(&old, &place).is_err() {
            continue; // the only copy of somebody's package: keep it
        }
        let _ = fs::remove_dir_all(&left);
    }
}

/// The destination's name in the name of a staging folder, or `None` for any other name.
fn destination_of(name: &str) -> Option<&str> {
    let (destination, random) = name.strip_prefix('.')?.rsplit_once(MARK)?;
    let ours = random.len() == RANDOM && random.bytes().all(|b| b.is_ascii_alphanumeric());
    (ours && !destination.is_empty()).then_some(destination)
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PlaceError {
    let path = path.to_path_buf();
    move |source| PlaceError::Io { what, path, source }
}

#[cfg(test)]
mod tests;
