//! Names of values and operations: the node's path in the alphabet that CoreML allows.
//!
//! An identifier is `[A-Za-z_][A-Za-z0-9_]*` and not a word of MIL's text form. Two paths can become the same
//! identifier, so names are made unique after rewriting.

use std::collections::{HashMap, HashSet};

const RESERVED: [&str; 24] = [
    "any", "bool", "program", "func", "tensor", "list", "dict", "tuple", "true", "false", "string", "bf16", "fp16",
    "fp32", "fp64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "state",
];

/// A path as an identifier: dots and everything else that is not allowed become underscores.
pub(super) fn identifier(path: &str) -> String {
    let mut name: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    if RESERVED.contains(&name.as_str()) {
        name.push('_');
    }
    name
}

/// True if a package can have an input or output of this name: letters, digits and `_`, no digit first, no word of MIL's
/// text form.
pub fn is_identifier(name: &str) -> bool {
    identifier(name) == name
}

/// A space of names in which each is given once.
#[derive(Debug, Default)]
pub(super) struct Unique {
    taken: HashSet<String>,
    next: HashMap<String, usize>,
}

impl Unique {
    /// Take exactly this name; false if it is taken.
    pub(super) fn reserve(&mut self, name: &str) -> bool {
        self.taken.insert(name.to_string())
    }

    /// Take the identifier of `path`, with a number behind it if it is taken.
    pub(super) fn fresh(&mut self, path: &str) -> String {
        let base = identifier(path);
        if self.taken.insert(base.clone()) {
            return base;
        }
        let count = self.next.entry(base.clone()).or_insert(1);
        loop {
            *count += 1;
            let name = format!("{base}_{count}");
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers_and_unique() {
        let mut names = Unique::default();
        assert_eq!(names.fresh("stages.2.blocks.5.q"), "stages_2_blocks_5_q");
        assert_eq!(names.fresh("stages.2.blocks_5.q"), "stages_2_blocks_5_q_2");
        assert_eq!(names.fresh("stages_2_blocks_5_q"), "stages_2_blocks_5_q_3");
        assert_eq!(names.fresh("0.weight:1"), "_0_weight_1");
        assert_eq!(names.fresh("fp16"), "fp16_");
        assert_eq!(names.fresh("größe"), "gr__e");
        assert_eq!(names.fresh(""), "_");
        assert!(names.reserve("logits") && !names.reserve("logits"));
        assert_eq!(names.fresh("logits"), "logits_2");
    }
}
