//! The architectures that make up a model, and the paper graph of all of them.
//!
//! Each part names its keys under a scope of its own in the graph: a backbone at the root, a classifier where its layers stand.

use super::family::{ArchError, Backbone, BuildOptions, Results, StageMap};
use super::heads::Classifier;
use crate::signature::{OutputRole, Over};
use vitc_ir::net::paper;
use vitc_ir::{Graph, Net, Output, Value};

/// What a model is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// From the image to stage maps.
    pub backbone: Backbone,
    /// From pooled features to scores, if the model ends in it.
    pub head: Option<Classifier>,
}

/// A paper graph.
#[derive(Debug)]
pub struct Built {
    /// What it is made of.
    pub parts: Parts,
    /// The graph.
    pub graph: Graph,
    /// What its outputs hold, in their order.
    pub roles: Vec<OutputRole>,
}

impl BuildOptions<'_> {
    /// The paper graph: backbone, and what is behind it in what is asked for.
    ///
    /// # Errors
    /// If the input size or a choice does not suit the architecture.
    pub fn build(&self) -> Result<Built, ArchError> {
        let Backbone { family, variant } = self.backbone;
        let mut graph = paper(variant.name);
        let mut net = Net::new(&mut graph);
        let maps = (variant.build)(&mut net, self)?;
        let head = Classifier::chosen(self).filter(|_| self.results == Results::Logits);
        let last = maps[maps.len() - 1].value; // a backbone has stages
        let outputs: Vec<(String, Value, OutputRole)> = match (self.results, &head) {
            (Results::Pyramid, _) => {
                let stage = |(i, map): (usize, &StageMap)| {
                    (format!("stage{}", i + 1), map.value, OutputRole::Map { stride: map.stride })
                };
                maps.iter().enumerate().map(stage).collect()
            }
            (_, None) => vec![("features".into(), (family.pool)(&mut net, self, last), OutputRole::Features)],
            (_, Some(head)) => {
                let pooled = (family.pool)(&mut net, self, last);
                let role = OutputRole::Scores { classes: head.classes, over: Over::Rows };
                vec![("logits".into(), head.build(&mut net, pooled), role)]
            }
        };
        let roles = outputs.iter().map(|(_, _, role)| *role).collect();
        graph.outputs = outputs.into_iter().map(|(name, value, _)| Output { name, value }).collect();
        Ok(Built { parts: Parts { backbone: self.backbone, head }, graph, roles })
    }
}
