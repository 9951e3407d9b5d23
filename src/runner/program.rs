//! What can be run: an ONNX file, a CoreML package or a Core AI asset read back to a graph, or a graph.

use super::cut::{self, Bottleneck};
use super::reference;
use super::session::{self, Request, RunError, Session};
use super::write::write;
use std::path::{Path, PathBuf};
use vitc_exporters::coreai;
use vitc_exporters::coreml::{self, InputForm, Interface};
use vitc_exporters::onnx::{Flat, PortInfo};
use vitc_ir::{Graph, Weights, expand};

/// Which function of an artifact is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick<'a> {
    /// `main`, or the first.
    Main,
    /// The one of this name.
    Named(&'a str),
    /// The first with one input of this shape, else as for `Main`.
    Taking(&'a [usize]),
}

/// A model that can be loaded, whole or in part.
pub struct Program<'a> {
    content: Content<'a>,
    interface: Option<Interface>,
}

enum Content<'a> {
    /// An ONNX file, run as it is.
    File(PathBuf),
    /// An ONNX file's own graph, flat, and its inputs.
    Flat(&'a Flat, &'a [PortInfo]),
    /// A graph without high-level operators, and its weights.
    Graph(Graph, Box<dyn Weights + 'a>),
}

impl<'a> Program<'a> {
    /// A graph, its high-level operators by their definitions.
    pub fn of_graph(graph: &Graph, weights: &'a dyn Weights) -> Program<'a> {
        Program { content: Content::Graph(expand(graph), Box::new(weights)), interface: None }
    }

    /// A file's own graph, flat, with these inputs.
    pub fn of_flat(flat: &'a Flat, inputs: &'a [PortInfo]) -> Program<'a> {
        Program { content: Content::Flat(flat, inputs), interface: None }
    }

    /// The artifact at `path`: a folder is a Core AI asset or a CoreML package, a file is ONNX. Of several functions it is `main`, or the first.
    ///
    /// # Errors
    /// If a package or asset cannot be read. A file is read when it is loaded.
    pub fn open(path: &Path) -> Result<Program<'static>, RunError> {
        Program::open_function(path, Pick::Main)
    }

    /// A function of the artifact at `path`; only assets have functions to pick from.
    ///
    /// # Errors
    /// As for [`Program::open`], or if there is no such function.
    pub fn open_function(path: &Path, pick: Pick<'_>) -> Result<Program<'static>, RunError> {
        if let (Pick::Named(name), false) = (pick, coreai::is_asset(path)) {
            return Err(RunError { what: format!("has one graph, and no functions such as {name}") });
        }
        if !path.is_dir() {
            return Ok(Program { content: Content::File(path.to_path_buf()), interface: None });
        }
        if coreai::is_asset(path) {
            return Program::of_asset(path, pick);
        }
        let package = coreml::read(path).map_err(|e| RunError { what: e.to_string() })?;
        let content = Content::Graph(expand(&package.graph), Box::new(package.weights));
        Ok(Program { content, interface: Some(package.interface) })
    }

    fn of_asset(path: &Path, pick: Pick<'_>) -> Result<Program<'static>, RunError> {
        let asset = coreai::read(path).map_err(|e| RunError { what: e.to_string() })?;
        let takes = |graph: &Graph, shape: &[usize]| {
            let mut inputs = graph.inputs();
            let first =
                inputs.next().is_some_and(|(_, n)| n.types[0].shape.at(shape.first().copied().unwrap_or(1)) == shape);
            first && inputs.next().is_none()
        };
        let picked = match pick {
            Pick::Main => asset.main(),
            Pick::Named(name) => asset.function(name),
            Pick::Taking(shape) => {
                let fitting = asset.functions.iter().find(|(_, graph)| takes(graph, shape)).map(|(_, graph)| graph);
                fitting.or_else(|| asset.main())
            }
        };
        let Some(graph) = picked else {
            let names: Vec<&str> = asset.functions.iter().map(|(name, _)| name.as_str()).collect();
            return Err(RunError { what: format!("has no such function; its functions are {}", names.join(", ")) });
        };
        let input = if asset.picture { InputForm::Image } else { InputForm::Tensor };
        let interface = Some(Interface { input, ..Interface::default() });
        Ok(Program { content: Content::Graph(expand(graph), Box::new(asset.weights)), interface })
    }

    /// What a package says of its interface beyond its graph.
    pub fn interface(&self) -> Option<&Interface> {
        self.interface.as_ref()
    }

    /// The graph that runs, if it is one.
    pub fn graph(&self) -> Option<&Graph> {
        match &self.content {
            Content::File(_) | Content::Flat(..) => None,
            Content::Graph(graph, _) => Some(graph),
        }
    }

    /// Ready to run.
    ///
    /// # Errors
    /// If the file cannot be read, a weight is missing, or tract does not know or accept an operator.
    pub fn load(&self, request: Request<'_>) -> Result<Session, RunError> {
        match &self.content {
            Content::File(path) => session::load(session::decode(path)?, path.parent(), request),
            Content::Flat(flat, inputs) => {
                let proto = reference::proto(flat, inputs, request.batch).map_err(|what| RunError { what })?;
                session::load(proto, None, request)
            }
            Content::Graph(graph, weights) => {
                let proto = write(graph, weights.as_ref(), request.batch, request.piece);
                session::load(proto.map_err(|what| RunError { what })?, None, Request { piece: None, ..request })
            }
        }
    }

    /// Places where it can be cut, in order; the last entry, without a name, is the end.
    ///
    /// # Errors
    /// If the file is not an ONNX model.
    pub fn bottlenecks(&self) -> Result<Vec<Bottleneck>, RunError> {
        match &self.content {
            Content::File(path) => Ok(session::decode(path)?.graph.as_ref().map(cut::of_file).unwrap_or_default()),
            Content::Flat(..) => Ok(Vec::new()),
            Content::Graph(graph, _) => Ok(cut::of_graph(graph)),
        }
    }
}
