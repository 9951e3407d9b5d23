//! Finds nodes by their content: a hash index that keeps no copy of what it finds.
//!
//! Passes copy graphs tens of times, so what a copy costs is what the compiler costs. The index stores a hash and an id; the caller
//! compares with the node itself.

use crate::id::NodeId;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hash};

/// Hash of a key, the same in every run.
pub(crate) fn hash(key: &impl Hash) -> u64 {
    foldhash::fast::FixedState::with_seed(0).hash_one(key)
}

/// Ids of nodes by the hash of some key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index(HashTable<(u64, NodeId)>);

impl Index {
    /// The node under this hash that `is` the one sought.
    pub(crate) fn find(&self, hash: u64, is: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        self.0.find(hash, |&(h, id)| h == hash && is(id)).map(|&(_, id)| id)
    }

    /// Make room for so many nodes.
    pub(crate) fn reserve(&mut self, nodes: usize) {
        self.0.reserve(nodes, |&(h, _)| h);
    }

    /// Add a node that is not there yet.
    pub(crate) fn insert(&mut self, hash: u64, id: NodeId) {
        self.0.insert_unique(hash, (hash, id), |&(h, _)| h);
    }

    /// Take a node out.
    pub(crate) fn remove(&mut self, hash: u64, id: NodeId) {
        if let Ok(entry) = self.0.find_entry(hash, |&(_, found)| found == id) {
            entry.remove();
        }
    }
}
