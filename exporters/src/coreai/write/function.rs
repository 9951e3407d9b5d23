//! What an asset is made of.

use vitc_ir::Graph;
use vitc_ir::eval::Numbers;

/// One function of an asset: a target-stage graph under a name.
#[derive(Clone, Copy)]
pub struct Function<'a> {
    /// Its name; a single one is `main`.
    pub name: &'a str,
    /// What it computes.
    pub graph: &'a Graph,
    /// Where the numbers of its constants come from; the same weights for all functions.
    pub numbers: Numbers<'a>,
    /// Its input is a picture. The graph's input is `[1,3,H,W]` and holds 0..255; normalising is the graph's work.
    pub picture: bool,
}
