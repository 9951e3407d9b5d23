//! Which known model a checkpoint's names belong to, and in whose spelling.
//!
//! Every spelling of every family names its anchors ([`Spelling`]). They stand in one inverted index, in which each stored name is looked up from
//! every segment on at which the model may begin: what lies in front of an anchor is the model's prefix. A spelling's score under a prefix is the
//! share of its anchors that was found there, so a model that lacks some tensors scores less than a whole one and is still found.

use crate::arch::{FAMILIES, Family, Spelling};
use crate::checkpoint::WRAPPERS;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

/// Most segments of a prefix that is looked for.
const MAX_PREFIX: usize = 16;
/// The least score of a model.
const LEAST: f64 = 0.5;

/// A model in a checkpoint.
#[derive(Debug, Clone)]
pub struct Recognised {
    /// What stands in front of its names, without the last dot.
    pub prefix: String,
    /// Whose architecture it is.
    pub family: &'static Family,
    /// How its names are spelled.
    pub spelling: &'static Spelling,
    /// Share of the spelling's anchors that was found.
    pub score: f64,
}

/// Anchors, and the spellings that they speak for.
struct Index {
    spellings: Vec<(&'static Family, &'static Spelling)>,
    /// Number of a spelling, and of the anchor among its own.
    anchors: HashMap<&'static str, Vec<(usize, usize)>>,
    /// Segments of the longest anchor.
    longest: usize,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let spellings: Vec<_> = FAMILIES.iter().flat_map(|&f| f.spellings.iter().map(move |s| (f, s))).collect();
    let mut anchors: HashMap<&'static str, Vec<(usize, usize)>> = HashMap::new();
    for (i, (_, spelling)) in spellings.iter().enumerate() {
        spelling.anchors.iter().enumerate().for_each(|(j, anchor)| anchors.entry(anchor).or_default().push((i, j)));
    }
    let longest = anchors.keys().map(|anchor| anchor.split('.').count()).max().unwrap_or(0);
    Index { spellings, anchors, longest }
});

/// The models among these names: under each prefix the best spelling; a whole model leaves those aside that lack anchors.
pub fn recognise<'k>(keys: impl IntoIterator<Item = &'k String>) -> Vec<Recognised> {
    let index = &*INDEX;
    // By prefix and spelling, a bit per anchor.
    let mut found: BTreeMap<(&str, usize), u64> = BTreeMap::new();
    for key in keys {
        let name = Plain::of(key);
        for start in 0..name.starts.len().min(MAX_PREFIX + 1) {
            for length in 1..=index.longest.min(name.starts.len() - start) {
                for &(spelling, anchor) in index.anchors.get(name.run(start, length)).into_iter().flatten() {
                    *found.entry((name.in_front(start), spelling)).or_default() |= 1 << anchor;
                }
            }
        }
    }
    let mut best: BTreeMap<&str, Recognised> = BTreeMap::new();
    for ((prefix, spelling), anchors) in found {
        let (family, spelling) = index.spellings[spelling];
        let score = f64::from(anchors.count_ones()) / spelling.anchors.len() as f64;
        if score >= LEAST && best.get(prefix).is_none_or(|other| other.score < score) {
            best.insert(prefix, Recognised { prefix: prefix.to_string(), family, spelling, score });
        }
    }
    let whole = best.values().any(|found| found.score == 1.0);
    best.into_values().filter(|found| !whole || found.score == 1.0).collect()
}

/// A name without what tools put into it, `*` for every number.
struct Plain<'k> {
    key: &'k str,
    text: String,
    /// Where each segment starts, here and in the key.
    starts: Vec<(usize, usize)>,
}

impl<'k> Plain<'k> {
    fn of(key: &'k str) -> Plain<'k> {
        let (mut text, mut starts, mut at) = (String::with_capacity(key.len()), Vec::new(), 0);
        for segment in key.split('.') {
            if !WRAPPERS.contains(&segment) {
                starts.push((text.len(), at));
                let mut digits = false;
                for c in segment.chars() {
                    if !c.is_ascii_digit() {
                        text.push(c);
                    } else if !digits {
                        text.push('*');
                    }
                    digits = c.is_ascii_digit();
                }
                text.push('.');
            }
            at += segment.len() + 1;
        }
        Plain { key, text, starts }
    }

    /// `length` segments from number `start` on.
    fn run(&self, start: usize, length: usize) -> &str {
        let end = self.starts.get(start + length).map_or(self.text.len(), |s| s.0);
        &self.text[self.starts[start].0..end - 1]
    }

    /// What of the key stands in front of a segment, without the last dot.
    fn in_front(&self, start: usize) -> &'k str {
        &self.key[..self.starts[start].1.saturating_sub(1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn recognised(keys: &[&str]) -> Vec<(String, &'static str, &'static str)> {
        let keys: Vec<String> = keys.iter().map(|k| k.to_string()).collect();
        recognise(&keys).into_iter().map(|r| (r.prefix, r.family.id, r.spelling.table.code_base)).collect()
    }

    #[test]
    fn anchors_are_told_apart_by_bits_and_hold_no_numbers() {
        for family in FAMILIES {
            for Spelling { anchors, .. } in family.spellings {
                assert!((1..=64).contains(&anchors.len()), "{}", family.id);
                assert!(anchors.iter().all(|a| !a.contains(|c: char| c.is_ascii_digit())), "{anchors:?}");
            }
        }
    }

    #[test]
    fn a_model_is_found_under_any_prefix_and_behind_any_wrapper() {
        let blocks = ["token_mixer.0.main.fc.c.weight", "channel_mixer.main.fc1.weight"];
        for (prefix, inside) in [("", ""), ("student.backbone", ""), ("_orig_mod", ""), ("net", "_orig_mod.")] {
            let dot = if prefix.is_empty() { "" } else { "." };
            let keys: Vec<String> = blocks.iter().map(|b| format!("{prefix}{dot}stages.2.{inside}11.{b}")).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            assert_eq!(recognised(&keys), [(prefix.to_string(), "ffnet", "official")]);
        }
    }

    #[test]
    fn a_whole_model_leaves_parts_of_others_aside() {
        let whole = ["a.stages.0.0.token_mixer.0.main.x", "a.stages.0.0.channel_mixer.main.x"];
        let part = "b.stages.0.0.token_mixer.0.main.x";
        assert_eq!(recognised(&[part]), [("b".to_string(), "ffnet", "official")]);
        assert_eq!(recognised(&[whole[0], whole[1], part]), [("a".to_string(), "ffnet", "official")]);
    }

    /// A file of no family costs a look, whatever its names resemble. Measured: below 10 ms, opening and answering included; the bound leaves room for a busy
    /// machine.
    #[test]
    fn a_foreign_file_is_seen_at_once() {
        let names = ["attn.qkv.weight", "mlp.fc1.weight", "norm1.bias", "token_mixer.conv.weight", "ls1.gamma"];
        let keys: Vec<String> = (0..1500)
            .map(|i| format!("model.backbone.stages.{}.blocks.{}.{}", i % 4, i / 20, names[i % names.len()]))
            .collect();
        let start = Instant::now();
        assert!(recognise(&keys).is_empty());
        let took = start.elapsed();
        assert!(took < Duration::from_millis(250), "{took:?}");
    }
}
