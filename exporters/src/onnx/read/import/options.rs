//! What a caller says about a file that the file leaves open.

use vitc_ir::Dim;

/// What is asked of an import.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Name of the graph.
    pub name: String,
    /// The batch, where a file leaves the first dimension of an input open; `None` for 1.
    pub batch: Option<Dim>,
    /// Sizes of an input, of the only input, or of a symbol; `None` among them is the symbolic batch.
    pub shapes: Vec<(Option<String>, Vec<Option<usize>>)>,
    /// Names of the values that become the outputs; empty for the file's.
    pub outputs: Vec<String>,
}
