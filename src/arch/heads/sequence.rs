//! Heads that somebody wrote, read off names and shapes: which layers there are, in which order data passes them, what the first one reads.
//!
//! Numbers in names are places in a sequence (`head.0`, `head.3`) or counts (`fc1`, `fc2`); where names tell no order, widths must, and only one
//! order may fit. Between two linear layers stands an activation if the numbers leave room for a module without weights, right behind the first
//! layer that they leave room behind; names without numbers leave room everywhere, and then it stands in front of the second linear layer. Where the
//! numbers leave no room between any two linear layers, the head may be a list whose code activates: that is marked, and somebody must say it. What
//! names and widths leave open is a doubt, never a guess. A lone weight is a PReLU if it has one element and a place in a sequence, or is called so; what it stands
//! behind has its activation by that.

use super::own::{Kind, Layer, OwnHead, Reads};
use crate::checkpoint::Shapes;
use std::collections::BTreeMap;

/// Most layers of a head, and most steps of the search for their order: bounds the work on a hostile file.
const MOST: usize = 12;
const STEPS: usize = 20_000;

/// What can be read, and the width of each.
pub type Sources = Vec<(Reads, usize)>;

/// What tensors are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// These heads.
    Heads(Vec<OwnHead>),
    /// Heads perhaps, and what is not known of them.
    Doubt(String),
    /// No heads: what speaks against it.
    No(String),
}

/// The heads that these tensors are, each wherever it stands.
pub fn heads(tensors: &Shapes, sources: &Sources) -> Found {
    match layers(tensors) {
        Ok(layers) => search("", &layers.iter().collect::<Vec<_>>(), sources),
        Err(why) => Found::No(why),
    }
}

/// The one head that these tensors are, called `place`.
pub fn head(place: &str, tensors: &Shapes, sources: &Sources) -> Found {
    match layers(tensors) {
        Ok(layers) => match chain(&layers.iter().collect::<Vec<_>>(), sources) {
            Chain::One(layers, reads) => Found::Heads(vec![own(place.into(), reads, layers)]),
            Chain::Doubt(why) => Found::Doubt(why),
            Chain::No(why) => Found::No(why),
        },
        Err(why) => Found::No(why),
    }
}

/// A layer's name and what it computes.
type Named<'a> = (&'a String, &'a Kind);

/// Layers by name; an error if a tensor belongs to none that a head may have.
fn layers(tensors: &Shapes) -> Result<BTreeMap<String, Kind>, String> {
    let mut leaves: BTreeMap<&str, BTreeMap<&str, &Vec<usize>>> = BTreeMap::new();
    for (key, shape) in tensors {
        let (layer, leaf) = key.rsplit_once('.').ok_or_else(|| format!("{key} is no layer's weight"))?;
        leaves.entry(layer).or_default().insert(leaf, shape);
    }
    let kind = |(layer, mut leaves): (&str, BTreeMap<&str, &Vec<usize>>)| {
        leaves.remove("num_batches_tracked");
        if leaves.values().any(|shape| shape.contains(&0)) {
            return Err(format!("{layer} is empty"));
        }
        let names: Vec<&str> = leaves.keys().copied().collect();
        let vector = |leaf: &str| leaves.get(leaf).and_then(|s| if s.len() == 1 { Some(s[0]) } else { None });
        let weight = leaves.get("weight").map(|s| s.as_slice());
        let conv = weight.is_some_and(|shape| shape.len() == 4);
        let kind = match (&names[..], weight) {
            (["weight"], Some(&[outputs, inputs] | &[outputs, inputs, 1, 1])) => {
                Kind::Linear { inputs, outputs, bias: false, conv }
            }
            (["bias", "weight"], Some(&[outputs, inputs] | &[outputs, inputs, 1, 1]))
                if vector("bias") == Some(outputs) =>
            {
                Kind::Linear { inputs, outputs, bias: true, conv }
            }
            (["bias", "weight"], Some(&[width])) if vector("bias") == Some(width) => Kind::LayerNorm(width),
            (["weight"], Some(&[slopes])) if is_prelu(layer, slopes) => Kind::Prelu(slopes),
            (["bias", "running_mean", "running_var", "weight"], Some(&[width]))
                if ["bias", "running_mean", "running_var"].iter().all(|leaf| vector(leaf) == Some(width)) =>
            {
                Kind::BatchNorm { width, affine: true }
            }
            (["running_mean", "running_var"], None) => match (vector("running_mean"), vector("running_var")) {
                (Some(width), Some(same)) if width == same => Kind::BatchNorm { width, affine: false },
                _ => return Err(format!("{layer} is no linear layer and no norm")),
            },
            _ => return Err(format!("{layer} is no linear layer and no norm")),
        };
        Ok((layer.to_string(), kind))
    };
    leaves.into_iter().map(kind).collect()
}

/// Whether a layer whose one vector is its weight is a PReLU: a norm without bias looks the same, and has more than one element.
fn is_prelu(layer: &str, slopes: usize) -> bool {
    let last = layer.rsplit('.').next().unwrap_or(layer).to_ascii_lowercase();
    let placed = last.bytes().all(|b| b.is_ascii_digit());
    last.contains("prelu") || slopes == 1 && (placed || last.starts_with("act"))
}

/// One head under `root`, or several beside each other.
fn search(root: &str, layers: &[Named<'_>], sources: &Sources) -> Found {
    if !layers.iter().any(|(_, kind)| matches!(kind, Kind::Linear { .. })) {
        return Found::No("it has no linear layer".into());
    }
    let one = chain(layers, sources);
    let beside = if layers.len() > 1 { beside(root, layers, sources) } else { Found::No(String::new()) };
    match (one, beside) {
        (Chain::One(..), Found::Heads(_) | Found::Doubt(_)) if !gaps(layers) => {
            let names: Vec<&str> = layers.iter().map(|l| l.0.as_str()).collect();
            Found::Doubt(format!("{} may follow each other or stand beside each other", names.join(", ")))
        }
        (Chain::One(found, reads), _) => Found::Heads(vec![own(place(root, &found), reads, found)]),
        (Chain::Doubt(why), _) => Found::Doubt(why),
        (Chain::No(_), beside @ (Found::Heads(_) | Found::Doubt(_))) => beside,
        (Chain::No(why), Found::No(_)) => Found::No(why),
    }
}

/// Where a head stands: the innermost name that all of its layers share, else that of its last layer.
fn place(root: &str, layers: &[Layer]) -> String {
    let mut common: Vec<&str> = layers[0].key.split('.').collect();
    for layer in layers {
        let same = common.iter().zip(layer.key.split('.')).take_while(|(a, b)| *a == b).count();
        common.truncate(same);
    }
    let common = common.join(".");
    match (layers, common.as_str()) {
        (_, "") if root.is_empty() => layers[layers.len() - 1].key.clone(),
        (_, "") => root.into(),
        _ => common,
    }
}

/// Heads under each of the names behind `root`.
fn beside(root: &str, layers: &[Named<'_>], sources: &Sources) -> Found {
    let depth = if root.is_empty() { 0 } else { root.len() + 1 };
    let child = |layer: &Named<'_>| {
        let end = layer.0[depth.min(layer.0.len())..].find('.').map_or(layer.0.len(), |dot| depth + dot);
        layer.0[..end].to_string()
    };
    let mut children: BTreeMap<String, Vec<Named<'_>>> = BTreeMap::new();
    layers.iter().for_each(|layer| children.entry(child(layer)).or_default().push(*layer));
    // Where the names go on together, they part further in.
    if let (1, Some(name)) = (children.len(), children.keys().next()) {
        return if name == root { Found::No(String::new()) } else { beside(name, layers, sources) };
    }
    let mut all = Vec::new();
    for (name, layers) in &children {
        match search(name, layers, sources) {
            Found::Heads(heads) => all.extend(heads),
            other => return other,
        }
    }
    Found::Heads(all)
}

/// Whether numbers in the names leave room between layers: then they are places in one sequence.
fn gaps(layers: &[Named<'_>]) -> bool {
    let names = || layers.iter().map(|l| l.0.as_str());
    let next = |a: &str| names().filter_map(|b| room(a, b)).min();
    names().all(|a| names().all(|b| a == b || room(a, b).is_some() || room(b, a).is_some()))
        && names().filter_map(next).any(|room| room > 0)
}

/// An order of layers.
enum Chain {
    One(Vec<Layer>, Reads),
    Doubt(String),
    No(String),
}

/// The order in which data pass all of these layers.
fn chain(layers: &[Named<'_>], sources: &Sources) -> Chain {
    if layers.is_empty() || layers.len() > MOST {
        return Chain::No(format!("it has {} layers", layers.len()));
    }
    let mut orders: Vec<(Reads, Vec<usize>)> = Vec::new();
    for &(reads, width) in sources {
        let mut search = Search { layers, found: Vec::new(), steps: 0 };
        search.extend(&mut Vec::new(), width);
        orders.extend(search.found.into_iter().map(|order| (reads, order)));
    }
    let names = || layers.iter().map(|l| l.0.as_str()).collect::<Vec<_>>().join(", ");
    match &orders[..] {
        [(reads, order)] => {
            let layer = |&i: &usize| Layer { key: layers[i].0.clone(), kind: *layers[i].1, activated: false };
            Chain::One(order.iter().map(layer).collect(), *reads)
        }
        [] => {
            let widths: Vec<String> = sources.iter().map(|(r, w)| format!("{w} {}", r.word())).collect();
            Chain::No(format!("the widths of {} do not fit each other and {}", names(), widths.join(", ")))
        }
        [(first, _), rest @ ..] => match rest.iter().find(|(reads, _)| reads != first) {
            Some((other, _)) => {
                Chain::Doubt(format!("{} may read the {} or the {}", names(), first.word(), other.word()))
            }
            None => Chain::Doubt(format!("the order of {} is told neither by names nor by widths", names())),
        },
    }
}

/// The search for orders; two are enough to doubt.
struct Search<'s, 'l> {
    layers: &'s [Named<'l>],
    found: Vec<Vec<usize>>,
    steps: usize,
}

impl Search<'_, '_> {
    fn extend(&mut self, order: &mut Vec<usize>, width: usize) {
        self.steps += 1;
        if order.len() == self.layers.len() {
            self.found.push(order.clone());
        }
        for next in 0..self.layers.len() {
            let [reads, returns] = self.layers[next].1.widths().unwrap_or([width; 2]);
            let waits = |other: usize| {
                other != next && !order.contains(&other) && before(self.layers[other], self.layers[next]) == Some(true)
            };
            if self.found.len() > 1 || self.steps > STEPS || order.contains(&next) || reads != width {
                continue;
            }
            if !(0..self.layers.len()).any(waits) {
                order.push(next);
                self.extend(order, returns);
                order.pop();
            }
        }
    }
}

/// The first segments in which two names differ, and whether those are the last of both.
fn difference<'a>(a: &'a str, b: &'a str) -> Option<(&'a str, &'a str, bool)> {
    let mut pairs = a.split('.').zip(b.split('.'));
    let (x, y) = pairs.find(|(x, y)| x != y)?;
    let (depth, whole) = (a.split('.').count(), b.split('.').count());
    let common = a.split('.').zip(b.split('.')).take_while(|(x, y)| x == y).count();
    Some((x, y, common + 1 == depth && common + 1 == whole))
}

/// Whether one layer precedes another, if their names tell.
fn before(a: Named<'_>, b: Named<'_>) -> Option<bool> {
    let (x, y, _) = difference(a.0, b.0)?;
    let number = |s: &str| s[s.trim_end_matches(|c: char| c.is_ascii_digit()).len()..].parse::<usize>().ok();
    let (m, n) = (number(x)?, number(y)?);
    if m != n {
        return Some(m < n);
    }
    // `fc1` and `bn1`: a norm follows its layer.
    let linear = |layer: Named<'_>| matches!(layer.1, Kind::Linear { .. });
    (linear(a) != linear(b)).then(|| linear(a))
}

/// Modules without weights between two places of one sequence.
fn room(a: &str, b: &str) -> Option<usize> {
    let (x, y, last) = difference(a, b)?;
    let (m, n) = (x.parse::<usize>().ok()?, y.parse::<usize>().ok()?);
    if last { n.checked_sub(m + 1) } else { None }
}

/// The head of these layers, with the activations that stand between them.
fn own(place: String, reads: Reads, mut layers: Vec<Layer>) -> OwnHead {
    let linear: Vec<usize> =
        layers.iter().enumerate().filter(|(_, l)| matches!(l.kind, Kind::Linear { .. })).map(|(i, _)| i).collect();
    let behind = |pair: &[usize]| pair[0]..pair[1];
    let mut between: Vec<Between> = linear.windows(2).map(|pair| Between::of(&layers, behind(pair))).collect();
    // A list's code activates between all of its layers, or between none. Convolutions are people's sequences.
    let convs = layers.iter().any(|layer| matches!(layer.kind, Kind::Linear { conv: true, .. }));
    let listed = !convs && !between.is_empty() && between.iter().all(|b| *b == Between::NoRoom);
    if listed {
        between = linear.windows(2).map(|pair| Between::Activated(pair[1] - 1)).collect();
    }
    for at in between {
        if let Between::Activated(at) = at {
            layers[at].activated = true;
        }
    }
    OwnHead { place, reads, layers, listed }
}

/// What stands between two linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    /// An activation, behind this layer.
    Activated(usize),
    /// A PReLU.
    Slopes,
    /// Nothing, or what code does.
    NoRoom,
}

impl Between {
    /// Between the first of these layers and the linear one behind them.
    fn of(layers: &[Layer], all: std::ops::Range<usize>) -> Between {
        if layers[all.clone()].iter().any(|layer| matches!(layer.kind, Kind::Prelu(_))) {
            return Between::Slopes;
        }
        let rooms: Option<Vec<usize>> = all.clone().map(|i| room(&layers[i].key, &layers[i + 1].key)).collect();
        match rooms {
            Some(rooms) => match rooms.iter().position(|&room| room > 0) {
                Some(i) => Between::Activated(all.start + i),
                None => Between::NoRoom,
            },
            None => Between::Activated(all.end - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCES: [(Reads, usize); 3] = [(Reads::Features, 16), (Reads::Scores, 10), (Reads::Map, 144)];

    /// Layers as `NAME INxOUT` (with bias), `NAME INxOUT-` (without), `NAME bn N`, `NAME plain N` (a BatchNorm without scale and shift), `NAME ln N`, `NAME one N` (a
    /// weight alone).
    fn tensors(text: &str) -> Shapes {
        let mut shapes = Shapes::new();
        for layer in text.split(',').map(str::trim) {
            let words: Vec<&str> = layer.split(' ').collect();
            let mut put =
                |leaf: &str, shape: &[usize]| drop(shapes.insert(format!("{}.{leaf}", words[0]), shape.into()));
            let leaves: &[&str] = match words[1] {
                "bn" => &["weight", "bias", "running_mean", "running_var"],
                "plain" => &["running_mean", "running_var"],
                "ln" => &["weight", "bias"],
                "one" => &["weight"],
                linear => {
                    let (inputs, outputs) = linear.trim_end_matches('-').split_once('x').unwrap();
                    let [inputs, outputs] = [inputs, outputs].map(|n| n.parse().unwrap());
                    put("weight", &[outputs, inputs]);
                    if !linear.ends_with('-') {
                        put("bias", &[outputs]);
                    }
                    continue;
                }
            };
            leaves.iter().for_each(|leaf| put(leaf, &[words[2].parse().unwrap()]));
        }
        shapes
    }

    /// What was found, as text.
    fn read(text: &str) -> String {
        match heads(&tensors(text), &SOURCES.to_vec()) {
            Found::Heads(heads) => heads.iter().map(|h| h.describe("relu")).collect::<Vec<_>>().join("; "),
            Found::Doubt(_) => "doubt".into(),
            Found::No(_) => "no".into(),
        }
    }

    #[test]
    fn sequences_are_read_from_numbers_and_widths() {
        for (tensors, found) in [
            ("fc 16x5", "fc on features: 16 -> 5"),
            ("head.1 16x5-", "head.1 on features: 16 -> 5"),
            ("fc 10x7", "fc on scores: 10 -> 7"),
            ("fc 144x7", "fc on map: 144 -> 7"),
            // Numbers that leave room between linear layers leave it to one activation.
            ("head.0 16x8, head.3 8x5", "head on features: 16 -> 8, relu -> 5"),
            ("c.1 16x8, c.4 8x5", "c on features: 16 -> 8, relu -> 5"),
            // A sequence with room elsewhere has none here.
            ("c.0 16x8, c.1 8x8, c.3 8x5", "c on features: 16 -> 8 -> 8, relu -> 5"),
            ("c.0 16x8, c.1 bn 8, c.4 8x5", "c on features: 16 -> 8, BatchNorm, relu -> 5"),
            ("h.10 8x5, h.2 16x8", "h on features: 16 -> 8, relu -> 5"),
            // fastai's: the activation in front of the norm, a norm in front of all.
            ("1.0 bn 16, 1.2 16x8-, 1.4 bn 8, 1.6 8x5-", "1 on features: 16, BatchNorm -> 8, relu, BatchNorm -> 5"),
            // Names without numbers: the order that widths allow, the activation in front of the next linear layer.
            ("fc1 16x8, bn1 bn 8, fc2 8x5", "fc2 on features: 16 -> 8, BatchNorm, relu -> 5"),
            ("head.norm ln 16, head.fc 16x5", "head on features: 16, LayerNorm -> 5"),
            (
                "head.norm ln 16, head.pre_logits.fc 16x8, head.fc 8x5",
                "head on features: 16, LayerNorm -> 8, relu -> 5",
            ),
            ("bottleneck plain 16, classifier 16x5-", "classifier on features: 16, BatchNorm -> 5"),
            ("bottleneck bn 16, classifier 16x5-", "classifier on features: 16, BatchNorm -> 5"),
            // A PReLU is the activation; the room behind it is a Dropout's.
            ("h.0 16x8, h.1 one 1, h.3 8x5", "h on features: 16 -> 8, PReLU -> 5"),
            (
                "h.0 16x8, h.1 bn 8, h.2 one 1, h.4 8x8, h.6 8x5",
                "h on features: 16 -> 8, BatchNorm, PReLU -> 8, relu -> 5",
            ),
            ("h.0 16x8, h.1 one 1, h.2 8x5", "h on features: 16 -> 8, PReLU -> 5"),
            ("h.0 one 1, h.1 16x5", "h on features: 16, PReLU -> 5"),
            ("fc1 16x8, prelu1 one 8, fc2 8x5", "fc2 on features: 16 -> 8, PReLU -> 5"),
            // Several heads.
            ("age 16x1, sex 16x2", "age on features: 16 -> 1; sex on features: 16 -> 2"),
            (
                "heads.age 16x1, heads.sex.0 16x8, heads.sex.2 8x2",
                "heads.age on features: 16 -> 1; heads.sex on features: 16 -> 8, relu -> 2",
            ),
            ("heads.0 16x3, heads.1 16x4", "heads.0 on features: 16 -> 3; heads.1 on features: 16 -> 4"),
        ] {
            assert_eq!(read(tensors), found, "{tensors}");
        }
    }

    #[test]
    fn layers_without_room_between_them_may_be_a_list() {
        for (text, listed) in [
            ("c.0 16x8, c.1 8x5", true),
            ("c.layers.0 16x8, c.layers.1 bn 8, c.layers.2 8x5", true),
            ("c.0 16x8, c.2 8x5", false),
            ("c.0 16x8, c.1 one 1, c.2 8x5", false),
            ("c.0 16x8, c.1 8x8, c.3 8x5", false),
            ("c.0 bn 16, c.1 16x5", false),
        ] {
            let Found::Heads(heads) = heads(&tensors(text), &SOURCES.to_vec()) else { panic!("{text}") };
            assert_eq!(
                (heads[0].listed, heads[0].activated()),
                (listed, !text.contains("one") && heads[0].layers.len() > 1 && !text.contains("bn 16")),
                "{text}"
            );
        }
    }

    #[test]
    fn what_names_and_widths_leave_open_is_a_doubt() {
        for tensors in [
            "heads.0 16x16, heads.1 16x4",    // one behind the other, or beside
            "a 16x16, b 16x16, c 16x3",       // in which order
            "head.norm ln 16, head.fc 16x16", // which first
            "fc1 16x8, act one 1, fc2 8x5",   // where
        ] {
            assert_eq!(read(tensors), "doubt", "{tensors}");
        }
        let both: Sources = vec![(Reads::Features, 16), (Reads::Scores, 16)];
        assert!(matches!(heads(&tensors("fc 16x5"), &both), Found::Doubt(_)));
    }

    #[test]
    fn what_is_no_head_is_none() {
        // A weight of several elements may be a norm's.
        for tensors in [
            "h.0 16x8, h.1 one 8, h.3 8x5",
            "fc 16x5, temperature one 1",
            "fc 15x5",
            "norm0 bn 16",
            "head.0 16x8, head.3 9x5",
            "neck.bn bn 16, a 16x2, b 16x3",
        ] {
            assert_eq!(read(tensors), "no", "{tensors}");
        }
        let mut conv = tensors("head.0 16x8");
        conv.insert("head.2.weight".into(), vec![8, 8, 3, 3]);
        assert!(matches!(heads(&conv, &SOURCES.to_vec()), Found::No(_)));
        // A hostile file costs a bounded search.
        let many: Vec<String> = (0..12).map(|i| format!("{} 16x16", "abcdefghijkl".get(i..=i).unwrap())).collect();
        assert_eq!(read(&many.join(", ")), "doubt");
    }
}
