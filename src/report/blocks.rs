//! A graph in pieces that a person can look at: blocks by path, within the stages of [`crate::stages`].

use crate::stages::stage_of;
use std::collections::{BTreeSet, HashMap};
use vitc_ir::{Graph, NodeId};

/// Nodes of one part of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// The stage it is part of.
    pub(super) stage: String,
    /// Paths under which its nodes lie; several if small neighbours stand together.
    pub(super) names: Vec<String>,
    /// Run-time nodes in the graph's order.
    pub(super) nodes: Vec<NodeId>,
}

impl Block {
    /// Name inside its stage; the stage's own where the block is all of it.
    pub(super) fn label(&self) -> String {
        let inner = |name: &String| {
            name.strip_prefix(&self.stage).map_or(name.as_str(), |n| n.trim_start_matches('.')).to_string()
        };
        let inner: Vec<String> = self.names.iter().map(inner).filter(|n| !n.is_empty()).collect();
        if inner.is_empty() || inner.len() < self.names.len() && inner.len() > 2 {
            self.stage.clone()
        } else {
            inner.join(", ")
        }
    }
}

/// A stage of so few nodes is one block.
const SMALL_STAGE: usize = 12;
/// Neighbours of fewer nodes stand together.
const SMALL: usize = 5;

/// The path of the block that a node belongs to: the stage with the next name, and the number behind it.
fn block_of(path: &str) -> &str {
    let stage = stage_of(path);
    let rest = path[stage.len()..].trim_start_matches('.');
    let number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let mut names = rest.split('.');
    let taken = match (names.next(), names.next(), names.next()) {
        (Some(first), Some(second), Some(_)) if !number(first) && number(second) => first.len() + 1 + second.len(),
        (Some(first), Some(_), _) => first.len(),
        _ => return stage,
    };
    &path[..path.len() - rest.len() + taken]
}

/// The blocks of a graph's run-time nodes, stage by stage, in the order of their first nodes. Where a stage is left and entered again (layers between
/// stages that share a name), it begins again.
pub(super) fn blocks(graph: &Graph) -> Vec<Block> {
    let mut stages: Vec<Vec<Block>> = Vec::new();
    for (id, node) in graph.run_time_nodes() {
        let (stage, name) = (stage_of(&node.path), block_of(&node.path));
        if stages.last().is_none_or(|blocks| blocks[0].stage != stage) {
            stages.push(Vec::new());
        }
        let blocks = stages.last_mut().expect("one was pushed");
        match blocks.iter_mut().find(|b| b.names[0] == name) {
            Some(block) => block.nodes.push(id),
            None => blocks.push(Block { stage: stage.into(), names: vec![name.into()], nodes: vec![id] }),
        }
    }
    stages.into_iter().flat_map(|blocks| joined(graph, blocks)).collect()
}

/// The blocks of one stage with small neighbours together.
fn joined(graph: &Graph, blocks: Vec<Block>) -> Vec<Block> {
    let whole = blocks.iter().map(|b| b.nodes.len()).sum::<usize>() <= SMALL_STAGE;
    let mut joined: Vec<Block> = Vec::new();
    for block in blocks {
        match joined.last_mut() {
            Some(last) if whole || last.nodes.len() < SMALL && block.nodes.len() < SMALL => {
                last.names.extend(block.names);
                last.nodes.extend(block.nodes);
                last.nodes.sort();
            }
            _ => joined.push(block),
        }
    }
    for block in &mut joined {
        if let [only] = block.nodes[..] {
            block.names = vec![graph.node(only).path.clone()];
        } else if whole {
            block.names = vec![block.stage.clone()];
        }
    }
    joined
}

/// Pairs of different blocks of which the second reads what the first makes.
pub(super) fn edges(graph: &Graph, blocks: &[Block]) -> BTreeSet<(usize, usize)> {
    let of_block = |(i, block): (usize, &Block)| block.nodes.iter().map(move |&id| (id, i)).collect::<Vec<_>>();
    let home: HashMap<NodeId, usize> = blocks.iter().enumerate().flat_map(of_block).collect();
    let reads = graph.run_time_nodes().flat_map(|(id, node)| node.inputs.iter().map(move |v| (v.node, id)));
    let pairs = reads.filter_map(|(from, to)| Some((*home.get(&from)?, *home.get(&to)?)));
    pairs.filter(|(from, to)| from != to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_follow_the_paths() {
        for (path, block) in [
            ("network.4.5.token_mixer.q", "network.4.5"),
            ("levels.2.blocks.0.attn.qkv", "levels.2.blocks.0"),
            ("levels.2.global_tokenizer.pool.sum", "levels.2.global_tokenizer"),
            ("layer_3.1.global_rep.0.filter.mix1", "layer_3.1.global_rep.0"),
            ("layer_3.1.fusion.block.conv", "layer_3.1.fusion"),
            ("network.1.proj", "network.1"),
            ("stem.2.conv", "stem.2"),
            ("head", "head"),
        ] {
            assert_eq!(block_of(path), block, "{path}");
        }
    }

    /// DSM's layers between stages are all below `down`: they must not become one block that everything runs through.
    #[test]
    fn a_stage_that_is_entered_again_begins_again() {
        let text = "graph g  stage=target\n%x: f32[1,4] = input\n%down.0: f32[1,4] = relu(%x)\n%stages.0.0.a: f32[1,4] = abs(%down.0)\n\
                    %stages.0.0.b: f32[1,4] = neg(%stages.0.0.a)\n%down.1: f32[1,4] = relu(%stages.0.0.b)\noutputs y=%down.1\n";
        let graph = vitc_ir::parse(text).expect("parses");
        let blocks = blocks(&graph);
        let names: Vec<&str> = blocks.iter().map(|b| b.names[0].as_str()).collect();
        assert_eq!(names, ["down.0", "stages.0", "down.1"]);
        assert_eq!(edges(&graph, &blocks), BTreeSet::from([(0, 1), (1, 2)]));
    }

    #[test]
    fn labels_are_short() {
        let block = |names: &[&str]| Block {
            stage: "s.1".into(),
            names: names.iter().map(|n| n.to_string()).collect(),
            nodes: vec![],
        };
        assert_eq!(block(&["s.1"]).label(), "s.1");
        assert_eq!(block(&["s.1.blocks.3"]).label(), "blocks.3");
        assert_eq!(block(&["s.1.proj", "s.1.fusion"]).label(), "proj, fusion");
    }
}
