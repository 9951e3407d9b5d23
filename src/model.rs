//! A model to work on: what it is made of, its paper graph, where its weights come from.
//!
//! Three ways lead here: a name and a checkpoint, a checkpoint alone (the variant is recognised), or a name alone (seeded weights).
//! What the user did not say is decided here, in one place, and noted.

mod account;
mod behind;
mod classes;
mod dense;
mod derived;
mod digest;
mod empty;
mod file;
mod finite;
mod heads;
mod indices;
mod load;
mod loaded;
mod lookalike;
mod nature;
mod other_tools;
mod package;
mod recognise;
mod request;
mod settings;
mod size;
mod stem;
mod trained;

pub use file::{is_model_file, is_onnx};
pub use loaded::{Digest, FileOrigin, Model, Origin, PALETTE_KEY, WeightSource};
pub use lookalike::{Lookalike, lookalike};
pub use recognise::{Recognised, recognise};
pub use request::{FileRequest, ModelError, ModelRequest, TrainedWeights};
pub use settings::Source;
