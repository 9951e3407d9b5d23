//! What a model takes and returns: its ports and their roles. Everything behind a model asks these, never where it came from or what
//! a port is called.

use vitc_exporters::metadata::Preprocessing;

/// The ports of a model, in the order of its graph's inputs and outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Signature {
    /// What goes in.
    pub inputs: Vec<InputPort>,
    /// What comes out.
    pub outputs: Vec<OutputPort>,
}

/// One input.
#[derive(Debug, Clone, PartialEq)]
pub struct InputPort {
    /// Name in the graph.
    pub name: String,
    /// What it holds.
    pub role: InputRole,
}

/// One output.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputPort {
    /// Name in the graph.
    pub name: String,
    /// What it holds.
    pub role: OutputRole,
}

/// What an input holds.
#[derive(Debug, Clone, PartialEq)]
pub enum InputRole {
    /// A picture `[B,C,H,W]`, prepared so.
    Image(Box<Preprocessing>),
    /// Numbers of which nothing else is known.
    Tensor,
}

/// What an output holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputRole {
    /// A number per class, before softmax or sigmoid.
    Scores {
        /// Number of classes.
        classes: usize,
        /// Of what.
        over: Over,
    },
    /// Scores behind softmax or sigmoid.
    Probabilities {
        /// Number of classes.
        classes: usize,
        /// Of what.
        over: Over,
    },
    /// A vector per picture.
    Features,
    /// A map `[B,C,H/stride,W/stride]`.
    Map {
        /// Pixels of the picture per position.
        stride: usize,
    },
    /// Corners of boxes.
    Boxes,
    /// Numbers of which nothing else is known.
    Tensor,
}

/// What is classified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The picture: `[B,classes]`.
    Rows,
    /// Each position: `[B,classes,H,W]`.
    Pixels,
}
