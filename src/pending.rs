//! Interim, until `vitc_exporters::coreml` exists: its surface, refusing everything.

use std::collections::BTreeMap;
use std::path::Path;
use vitc_exporters::{ExportError, Metadata, Summary};
use vitc_ir::{Graph, Target, Weights};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum InputForm {
    #[default]
    Tensor,
    Image,
}

/// What of an artifact's interface the graph does not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    pub(crate) input: InputForm,
    pub(crate) input_description: String,
    pub(crate) labels: Option<Vec<String>>,
}

pub(crate) struct Release {
    pub(crate) ios: u32,
}

pub(crate) const RELEASES: [Release; 5] =
    [Release { ios: 15 }, Release { ios: 16 }, Release { ios: 17 }, Release { ios: 18 }, Release { ios: 26 }];

pub(crate) struct Package {
    pub(crate) graph: Graph,
    pub(crate) release: Release,
    pub(crate) interface: Interface,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) op_counts: Vec<(String, usize)>,
    pub(crate) bytes: u64,
}

/// Why a package cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("packages are not read yet")]
pub struct ReadError;

pub(crate) fn read(_: &Path) -> Result<Package, ReadError> {
    let _ = |graph, interface| Package {
        graph,
        release: Release { ios: 15 },
        interface,
        metadata: BTreeMap::new(),
        op_counts: Vec::new(),
        bytes: 0,
    };
    let _ = InputForm::Image;
    Err(ReadError)
}

pub(crate) fn minimum_ios(_: &Graph, interface: &Interface) -> Result<(u32, String), ExportError> {
    let _ = &interface.input_description;
    Err(ExportError::Target { name: "coreml", what: "packages are not written yet".into() })
}

pub(crate) fn write(
    graph: &Graph,
    _: &dyn Weights,
    _: &Target,
    interface: &Interface,
    _: &Metadata,
    _: &Path,
) -> Result<Summary, ExportError> {
    minimum_ios(graph, interface).map(|_| unreachable!("minimum_ios refuses"))
}
