//! Checkpoints: files and folders of tensors that somebody trained.
//!
//! The road of a checkpoint, one file each:
//! - `open` asks each of these: `mapped` maps the file; `safetensors`, `zip`, `pickle` and `torch` find the tensors in it, `folder` those of several files, `held` those in
//!   a program's memory, and
//!   `recognise_foreign` says what a file is if it is none of these. The result is a [`Checkpoint`]: names, types, shapes and places.
//! - `select` chooses the tensors of one model among them: wrappers, prefixes, EMA copies, the user's flags. The result is a [`Selected`].
//! - `names` turns upstream's keys into the architecture's, `forms` recognises weights that are stored as factors, and `bind` matches what is
//!   there with what the graph asks for, strictly. The result is a [`BoundWeights`], which implements [`vitc_ir::Weights`].
//!
//! Architecture invariants: every byte of a file is untrusted. Nothing here panics on it, runs code found in it, or takes memory that is
//! not bounded by the file's size. Nothing here prints; what the user should know is returned as notices.

mod bind;
mod config;
mod contents;
mod dense_config;
mod document;
mod error;
mod folder;
mod forms;
mod held;
mod literals;
mod mapped;
mod names;
mod open;
mod other_settings;
mod pattern;
mod peft;
mod pickle;
mod recognise_foreign;
mod relatives;
mod safetensors;
mod select;
mod settings;
mod tensor;
mod torch;
mod unpacked;
pub(crate) mod zip;

pub use bind::{BoundPart, BoundWeights, Mismatch, ModelHints, StrictError, bind};
pub use config::{Channels, in_unit_range, labels};
pub use contents::Shapes;
pub use dense_config::DenseConfig;
pub use error::{CheckpointError, hub_name};
pub use forms::{Forms, merged_shapes, respelled};
pub use held::HeldTensor;
pub use mapped::HeldBytes;
pub use names::{NameTable, WRAPPERS};
pub use open::Checkpoint;
pub use select::{SelectOptions, Selected, is_average};
pub use settings::{ModelConfig, Said};
pub use tensor::{ElementType, TensorInfo};

pub(crate) use mapped::Mapped;
