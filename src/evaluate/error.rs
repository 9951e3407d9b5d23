//! Why an evaluation did not happen.

use crate::artifact::ArtifactError;
use crate::picture::PictureError;
use crate::provenance::Unprepared;
use std::path::PathBuf;

/// Why an evaluation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The artifact cannot be opened.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// A picture or a mask cannot be read.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The artifact cannot be run.
    #[error("{}: cannot run the artifact: {what}", path.display())]
    Run {
        /// The artifact.
        path: PathBuf,
        /// What the runner said.
        what: String,
    },
    /// The artifact does not answer what is asked.
    #[error("{}: {what}", path.display())]
    Unsuited {
        /// The artifact.
        path: PathBuf,
        /// Why not.
        what: String,
    },
    /// Nobody knows how a picture becomes its input.
    #[error("{}: {why}", path.display())]
    Unprepared {
        /// The artifact.
        path: PathBuf,
        /// Why not.
        why: Unprepared,
    },
    /// Several outputs could be meant.
    #[error("{}: several outputs could be judged: {}", path.display(), outputs.join(", "))]
    Outputs {
        /// The artifact.
        path: PathBuf,
        /// Their names.
        outputs: Vec<String>,
    },
    /// An answer is not finite.
    #[error("{}: answers with values that are not finite for {}", artifact.display(), picture.display())]
    NotFinite {
        /// The artifact.
        artifact: PathBuf,
        /// The picture.
        picture: PathBuf,
    },
    /// A file or folder cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The folder holds no pictures to judge by.
    #[error("{}: holds no class folders with PNG or JPEG pictures", .0.display())]
    NoClassFolders(PathBuf),
    /// The folder holds no pictures.
    #[error("{}: holds no PNG or JPEG pictures", .0.display())]
    NoPictures(PathBuf),
    /// What the pictures show does not fit the artifact's classes.
    #[error("{}: {what}", path.display())]
    Classes {
        /// Where that was found.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A picture has no mask.
    #[error("{}: has no mask {}", picture.display(), mask.display())]
    NoMask {
        /// The picture.
        picture: PathBuf,
        /// Where it should be.
        mask: PathBuf,
    },
    /// A mask holds a class that the artifact does not have.
    #[error("{}: holds class {class}, and the artifact has the classes 0 to {last}", mask.display())]
    BeyondClasses {
        /// The mask.
        mask: PathBuf,
        /// The value found.
        class: usize,
        /// The artifact's last class.
        last: usize,
        /// 0 was taken for no class already.
        zero_ignored: bool,
    },
    /// A mask has another size than its picture.
    #[error("{}: is {}x{} pixels, its picture {}x{}", mask.display(), found[1], found[0], wanted[1], wanted[0])]
    MaskSize {
        /// The mask.
        mask: PathBuf,
        /// Its height and width.
        found: [usize; 2],
        /// Height and width of the picture.
        wanted: [usize; 2],
    },
    /// The artifact's frame cuts away what the mask shows.
    #[error("{}: sees the centre of a picture only, so it cannot be judged by the whole mask", .0.display())]
    Cropped(PathBuf),
}
