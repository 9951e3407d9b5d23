//! What a model takes and returns: its ports and their roles. Everything behind a model asks these, never where it came from or what
//! a port is called.

use vitc_exporters::metadata::Preprocessing;
use vitc_ir::Graph;

/// The ports of a model, in the order of its graph's inputs and outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Signature {
    /// What goes in.
    pub inputs: Vec<InputPort>,
    /// What comes out.
    pub outputs: Vec<OutputPort>,
}

impl Signature {
    /// The ports of a graph, whose outputs hold this; a model that takes pictures has one input.
    pub fn of_picture(graph: &Graph, preprocessing: Preprocessing, outputs: Vec<OutputRole>) -> Signature {
        let role = InputRole::Image(Box::new(preprocessing));
        let inputs =
            graph.inputs().map(|(_, node)| InputPort { name: node.path.clone(), role: role.clone() }).collect();
        let outputs = graph.outputs.iter().zip(outputs);
        let outputs = outputs.map(|(output, role)| OutputPort { name: output.name.clone(), role }).collect();
        Signature { inputs, outputs }
    }

    /// How a picture becomes the input, if the model takes one.
    pub fn preprocessing(&self) -> Option<&Preprocessing> {
        self.inputs.iter().find_map(|input| match &input.role {
            InputRole::Image(preprocessing) => Some(&**preprocessing),
            InputRole::Whole { .. } | InputRole::Tensor => None,
        })
    }

    /// Give the ports the names that the graph's inputs and outputs have.
    pub fn rename(&mut self, graph: &Graph) {
        for (port, (_, node)) in self.inputs.iter_mut().zip(graph.inputs()) {
            port.name.clone_from(&node.path);
        }
        for (port, output) in self.outputs.iter_mut().zip(&graph.outputs) {
            port.name.clone_from(&output.name);
        }
    }

    /// Number of classes of whatever is classified: pictures, pixels, boxes; `None` if nothing is, or different numbers are.
    pub fn named_classes(&self) -> Option<usize> {
        let classes = |port: &OutputPort| match port.role {
            OutputRole::Scores { classes, .. }
            | OutputRole::Probabilities { classes, .. }
            | OutputRole::Classes { classes } => Some(classes),
            OutputRole::Features
            | OutputRole::Map { .. }
            | OutputRole::Boxes
            | OutputRole::Picture { .. }
            | OutputRole::Tensor => None,
        };
        let mut found = self.outputs.iter().filter_map(classes);
        let first = found.next()?;
        found.all(|other| other == first).then_some(first)
    }

    /// Whether a vector per picture is all that the model returns.
    pub fn are_features(&self) -> bool {
        self.outputs.iter().all(|port| port.role == OutputRole::Features)
    }

    /// Number of classes, if scores of the whole picture are all that the model returns.
    pub fn classes(&self) -> Option<usize> {
        match self.outputs[..] {
            [OutputPort { role: OutputRole::Scores { classes, over: Over::Rows }, .. }] => Some(classes),
            _ => None,
        }
    }
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
    /// Whole numbers from 0 on, below this.
    Whole {
        /// The first number that is too large.
        below: u32,
    },
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
    /// The class of each pixel of the picture, i32 `[B,H,W]`.
    Classes {
        /// Number of classes.
        classes: usize,
    },
    /// Corners of boxes `[B,N,4]`: left, top, right, bottom in pixels of the input.
    Boxes,
    /// A picture `[B,3,H·scale,W·scale]`, values in 0..1.
    Picture {
        /// Pixels per pixel of the input, along each side.
        scale: usize,
    },
    /// Numbers of which nothing else is known.
    Tensor,
}

/// How scores become probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Likelihood {
    /// Of classes that exclude each other: softmax over them.
    OneOf,
    /// Of classes that do not: the sigmoid of each.
    EachOf,
}

/// What is classified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The picture: `[B,classes]`.
    Rows,
    /// Each position: `[B,classes,H,W]`.
    Pixels,
    /// Each box: `[B,N,classes]`.
    Boxes,
}
