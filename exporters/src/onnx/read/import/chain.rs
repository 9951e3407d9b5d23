//! Where a number that should be known comes from: the way from an input of the model to the node that needs it.

use super::super::flat::{Flat, FlatNode};
use std::collections::HashMap;

/// Nodes of a way that are shown at its start and its end.
const SHOWN: [usize; 2] = [3, 3];
/// Most nodes that are looked at.
const FAR: usize = 1 << 12;

/// The nodes of a flat graph by what they produce.
pub(super) struct Producers<'a>(HashMap<&'a str, &'a FlatNode>);

impl<'a> Producers<'a> {
    pub(super) fn of(flat: &'a Flat) -> Producers<'a> {
        let all = flat.nodes.iter().flat_map(|node| node.outputs.iter().map(move |name| (name.as_str(), node)));
        Producers(all.filter(|(name, _)| !name.is_empty()).collect())
    }

    /// `x -> Greater_2 (Greater) -> NonZero_3 (NonZero) -> …`: the way to a node through operands that are computed, the first of several.
    pub(super) fn chain(&self, node: &FlatNode, computed: impl Fn(&str) -> bool) -> Option<String> {
        let mut way = vec![node.name.clone()];
        let mut at = node;
        for _ in 0..FAR {
            // What decides a shape stands last, what decides a course first.
            let mut operands: Vec<&str> = at.inputs.iter().map(String::as_str).filter(|&name| computed(name)).collect();
            if !matches!(at.op.as_str(), "If" | "Loop") {
                operands.reverse();
            }
            let name = *operands.first()?;
            match self.0.get(name) {
                Some(&next) => {
                    way.push(format!("{} ({})", next.name, next.operator()));
                    at = next;
                }
                None => {
                    way.push(name.to_string());
                    break;
                }
            }
        }
        way.reverse();
        let [first, last] = SHOWN;
        if way.len() > first + last + 1 {
            way.splice(first..way.len() - last, ["…".to_string()]);
        }
        Some(way.join(" -> "))
    }
}
