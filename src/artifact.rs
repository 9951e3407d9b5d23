//! An artifact as it lies on disk: an ONNX file, a CoreML package or a Core AI asset, described in one form.

use crate::checkpoint::Mapped;
use crate::port::Port;

use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vitc_exporters::coreai;
use vitc_exporters::coreml::{self, InputForm, Interface};
use vitc_exporters::{metadata, onnx};

/// Key of the names of the classes, as a JSON list, where the format has no place for them.
pub const LABELS_KEY: &str = "labels";

/// What an artifact says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// `ONNX opset 17, IR 8` or `ML Program for iOS 15`.
    pub format: String,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Operations, constants not counted.
    pub nodes: usize,
    /// Operations by kind.
    pub ops: BTreeMap<String, usize>,
    /// Elements of its float constants.
    pub parameters: u64,
    /// What goes in.
    pub inputs: Vec<Port>,
    /// What comes out.
    pub outputs: Vec<Port>,
    /// Its functions, if there are several; inputs and outputs above are those of the one that is meant where none is named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<FunctionPorts>,
    /// Keys and values.
    pub metadata: BTreeMap<String, String>,
    /// Names of the classes, in the order of the scores.
    #[serde(skip)]
    pub labels: Option<Vec<String>>,
    /// Names of the files beside it that hold constants.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data_files: Vec<String>,
}

/// One of several functions of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FunctionPorts {
    /// Its name.
    pub name: String,
    /// What goes in.
    pub inputs: Vec<Port>,
    /// What comes out.
    pub outputs: Vec<Port>,
}

/// Why an artifact cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The file cannot be opened.
    #[error("{}: cannot be opened: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is not ONNX.
    #[error("{}: not an ONNX file that vitc can read: {source}\n  it may be cut short: compare its size with the original's", path.display())]
    Onnx {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: onnx::ReadError,
    },
    /// It is not a package of ours.
    #[error("{}: not a CoreML package that vitc can read: {source}\n  vitc reads the packages that it writes", path.display())]
    CoreMl {
        /// The package.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: coreml::ReadError,
    },
    /// It is not an asset of ours.
    #[error("{}: not a Core AI asset that vitc can read: {source}\n  vitc reads the assets that it writes", path.display())]
    CoreAi {
        /// The asset.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: coreai::ReadError,
    },
    /// Its weights lie in a file that is not there.
    #[error("{}: its weights are in {name}, which is not beside it\n  the two belong together: move it here too, or export again", path.display())]
    MissingData {
        /// The artifact.
        path: PathBuf,
        /// Name of the data file.
        name: String,
    },
}

/// Whether a path is an artifact by its name.
pub fn is_artifact(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "onnx" || e == "mlpackage" || e == "aimodel")
}

/// Whether vitc wrote the artifact at `path`: its metadata say so. What cannot be read is not ours.
pub fn written_by_vitc(path: &Path) -> bool {
    Artifact::open(path).is_ok_and(|a| a.is_from_vitc())
}

impl Artifact {
    /// Read the description of the artifact at `path`. Constants are not read.
    ///
    /// # Errors
    /// If it cannot be opened or is neither form.
    pub fn open(path: &Path) -> Result<Artifact, ArtifactError> {
        match path {
            path if coreai::is_asset(path) => Artifact::asset(path),
            path if path.is_dir() => Artifact::package(path),
            path => Artifact::file(path),
        }
    }

    /// [`Artifact::open`] for an artifact that is to be run: its data files have to be there.
    ///
    /// # Errors
    /// As [`Artifact::open`], or if a data file is missing.
    pub fn open_to_run(path: &Path) -> Result<Artifact, ArtifactError> {
        let artifact = Artifact::open(path)?;
        match artifact.data_files.iter().find(|name| !path.with_file_name(name).is_file()) {
            Some(name) => Err(ArtifactError::MissingData { path: path.to_path_buf(), name: name.clone() }),
            None => Ok(artifact),
        }
    }

    /// Whether vitc wrote it: its metadata say so.
    pub fn is_from_vitc(&self) -> bool {
        self.metadata.contains_key(metadata::VERSION_KEY)
    }

    fn file(path: &Path) -> Result<Artifact, ArtifactError> {
        let io = |source| ArtifactError::Io { path: path.to_path_buf(), source };
        let mapped = Mapped::open(path).map_err(io)?;
        let mut bytes = mapped.bytes().len() as u64;
        let found = onnx::inspect(onnx::Bytes::from_owner(mapped))
            .map_err(|source| ArtifactError::Onnx { path: path.to_path_buf(), source })?;
        let data_files: Vec<String> = found.data_files.into_iter().filter(|n| is_plain_name(n)).collect();
        bytes += data_files.iter().filter_map(|n| path.with_file_name(n).metadata().ok()).map(|m| m.len()).sum::<u64>();
        let port = |p: onnx::Port| match p.ty.split_once('[') {
            Some((dtype, shape)) => Port {
                name: p.name,
                dtype: dtype.replace('f', "fp"),
                shape: shape.trim_end_matches(']').replace(',', "x"),
            },
            None => Port { name: p.name, dtype: p.ty, shape: String::new() },
        };
        let metadata: BTreeMap<String, String> = found.metadata.into_iter().collect();
        Ok(Artifact {
            format: format!("ONNX opset {}, IR {}", found.opset, found.ir_version),
            bytes,
            nodes: found.nodes,
            ops: found.op_counts.into_iter().collect(),
            parameters: found.parameters,
            functions: Vec::new(),
            inputs: found.inputs.into_iter().map(port).collect(),
            outputs: found.outputs.into_iter().map(port).collect(),
            labels: listed(&metadata),
            metadata,
            data_files,
        })
    }

    fn asset(path: &Path) -> Result<Artifact, ArtifactError> {
        let found = coreai::read(path).map_err(|source| ArtifactError::CoreAi { path: path.to_path_buf(), source })?;
        let input = if found.picture { InputForm::Image } else { InputForm::Tensor };
        let interface = Interface { input, ..Interface::default() };
        let (inputs, outputs) = found.main().map(|graph| Port::behind(&interface, graph)).unwrap_or_default();
        let ports = |(name, graph): &(String, vitc_ir::Graph)| {
            let (inputs, outputs) = Port::behind(&interface, graph);
            FunctionPorts { name: name.clone(), inputs, outputs }
        };
        Ok(Artifact {
            functions: match found.functions[..] {
                [_] => Vec::new(),
                _ => found.functions.iter().map(ports).collect(),
            },
            format: "Core AI asset for iOS 27".into(),
            bytes: found.bytes,
            nodes: found.op_counts.iter().map(|(_, n)| n).sum(),
            parameters: found.functions.iter().map(|(_, g)| vitc_ir::cost::parameters(g)).max().unwrap_or(0),
            ops: found.op_counts.into_iter().collect(),
            inputs,
            outputs,
            labels: listed(&found.metadata),
            metadata: found.metadata,
            data_files: Vec::new(),
        })
    }

    fn package(path: &Path) -> Result<Artifact, ArtifactError> {
        let found = coreml::read(path).map_err(|source| ArtifactError::CoreMl { path: path.to_path_buf(), source })?;
        let (inputs, outputs) = Port::behind(&found.interface, &found.graph);
        Ok(Artifact {
            format: format!("ML Program for iOS {}", found.release.ios),
            bytes: found.bytes,
            nodes: found.op_counts.iter().map(|(_, n)| n).sum(),
            ops: found.op_counts.into_iter().collect(),
            parameters: vitc_ir::cost::parameters(&found.graph),
            functions: Vec::new(),
            inputs,
            outputs,
            labels: found.interface.labels.or_else(|| listed(&found.metadata)),
            metadata: found.metadata,
            data_files: Vec::new(),
        })
    }
}

/// The names of the classes in an entry.
fn listed(metadata: &BTreeMap<String, String>) -> Option<Vec<String>> {
    serde_json::from_str(metadata.get(LABELS_KEY)?).ok()
}

/// Whether a data file's name stays in the artifact's folder.
fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(std::path::Component::Normal(_)), None))
}
