//! The two sides of a check: the reference graph, and the artifact as it lies on disk. Both become an ONNX model that tract runs.

use super::CheckError;
use super::cut::{self, Bottleneck};
use super::spell;
use super::tract::{self, Model, Request, Source};
use std::path::{Path, PathBuf};
use vitc_exporters::coreml;
use vitc_exporters::metadata::{Metadata, WeightSource};
use vitc_exporters::onnx;
use vitc_ir::{Graph, Weights};

/// One computation.
pub(super) enum Side<'a> {
    /// The reference.
    Graph {
        /// Without high-level operators.
        graph: Graph,
        /// Its weights.
        weights: &'a dyn Weights,
    },
    /// An ONNX file, run as it is.
    File(PathBuf),
    /// A CoreML package, read back.
    Package {
        /// What its program computes.
        graph: Graph,
        /// Its constants.
        weights: Box<dyn Weights>,
        /// It takes a picture: pixels in 0..255.
        image: bool,
        /// It is a classifier: its output is probabilities.
        classifier: bool,
    },
}

impl Side<'_> {
    /// The artifact at `path`: a folder is a CoreML package, a file is ONNX.
    pub(super) fn artifact(path: &Path) -> Result<Side<'static>, CheckError> {
        if !path.is_dir() {
            return Ok(Side::File(path.to_path_buf()));
        }
        let package = coreml::read(path).map_err(|e| CheckError::Artifact(e.to_string()))?;
        Ok(Side::Package {
            graph: vitc_ir::expand(&package.graph),
            weights: Box::new(package.weights),
            image: matches!(package.interface.input, coreml::InputForm::Image),
            classifier: package.interface.labels.is_some(),
        })
    }

    fn parts(&self) -> Result<(&Graph, &dyn Weights), &Path> {
        match self {
            Side::Graph { graph, weights } => Ok((graph, *weights)),
            Side::Package { graph, weights, .. } => Ok((graph, weights.as_ref())),
            Side::File(path) => Err(path),
        }
    }

    /// Ready to run.
    pub(super) fn load(&self, request: Request<'_>) -> Result<Model, CheckError> {
        let run = |source, request| {
            Model::load(source, request).map_err(|e| CheckError::Run { side: self.name(), what: e.what })
        };
        match self.parts() {
            Err(path) => run(Source::File(path), request),
            Ok((graph, weights)) => {
                let mut graph = spell::spell(graph, request.batch);
                if let Some(piece) = request.piece {
                    graph = cut::piece_of_graph(&graph, piece);
                }
                let bytes = encode(&graph, weights).map_err(|what| CheckError::Run { side: self.name(), what })?;
                run(Source::Bytes(&bytes), Request { piece: None, ..request })
            }
        }
    }

    /// Places where it can be cut, in order.
    pub(super) fn bottlenecks(&self) -> Result<Vec<Bottleneck>, CheckError> {
        match self.parts() {
            Ok((graph, _)) => Ok(cut::of_graph(graph)),
            Err(path) => {
                tract::bottlenecks(Source::File(path)).map_err(|e| CheckError::Run { side: self.name(), what: e.what })
            }
        }
    }

    /// Word for messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Side::Graph { .. } => "reference",
            Side::File(_) | Side::Package { .. } => "artifact",
        }
    }
}

/// A spelled graph as an ONNX model in memory.
fn encode(graph: &Graph, weights: &dyn Weights) -> Result<Vec<u8>, String> {
    let metadata = Metadata::new(&graph.name, WeightSource::Seeded { seed: 0 }, graph.precision());
    let mut bytes = Vec::new();
    onnx::write(graph, weights, &spell::target(), &metadata, &mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}
