//! Strict matching: every weight that the graph asks for is stored under one name, and every stored tensor is asked for or known.
//!
//! What does not match is reported all at once, each line with the nearest name and the flag that would settle it. A shape may differ from
//! what is asked for by axes of size 1 only (`[C,1,1]` for `[C]`, `[O,I]` for a 1x1 kernel): the elements and their order are the same.

use super::error::{count, shortened};
use super::forms;
use super::mapped::Mapped;
use super::names::{NameTable, joined, replaced};
use super::select::Selected;
use super::tensor::{Dims, ElementType, TensorInfo};
use crate::message;
use crate::message::{Explain, Given, Listing, Message, Setting};
use crate::nearest::edit_distance;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vitc_ir::{Stored, WeightError, Weights};

/// Lines of each kind that the message prints.
const SHOWN: usize = 10;
/// Names that are compared with a missing one, and their greatest length: bounds the work on a hostile file.
const COMPARED: usize = 4096;
const LONGEST: usize = 200;
/// Segments of a name that are tried for --ignore.
const MAX_SEGMENTS: usize = 16;

/// The tensors of one part of a model: those under one prefix of the checkpoint, in one spelling.
#[derive(Debug, Clone, Copy)]
pub struct BoundPart<'a> {
    /// The tensors.
    pub selected: &'a Selected,
    /// Their spelling.
    pub table: &'a NameTable,
    /// Where the part's keys stand in the graph; empty for the root.
    pub scope: &'a str,
}

impl BoundPart<'_> {
    /// The graph's key for an upstream key that may name a factor.
    fn key(&self, upstream: &str) -> String {
        joined(self.scope, &forms::canonical(upstream, &self.selected.tensors, self.table))
    }
}

/// What messages say about the model that is bound.
#[derive(Debug, Clone, Copy)]
pub struct ModelHints<'a> {
    /// Name of the variant (`efficientformerv2-s0`).
    pub name: &'a str,
    /// True if nobody named the variant: it is the one nearest to the tensors.
    pub nearest: bool,
    /// Its classifiers, so that a renamed one is found even where its absence is allowed.
    pub heads: &'a [LinearHead<'a>],
}

/// A linear classifier.
#[derive(Debug, Clone, Copy)]
pub struct LinearHead<'a> {
    /// Canonical key of the layer (`head`).
    pub key: &'a str,
    /// Columns of its weight.
    pub features: usize,
}

/// A source of weights: a checkpoint's tensors under the architecture's names.
#[derive(Debug, Clone)]
pub struct BoundWeights {
    files: Arc<[Mapped]>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl BoundWeights {
    /// The bound tensors, by the architecture's keys.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }
}

impl Weights for BoundWeights {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        let fail = |what: String| WeightError { key: key.to_string(), what };
        let tensor = self.tensors.get(key).ok_or_else(|| fail("the checkpoint holds no such tensor".into()))?;
        let ElementType::Float(dtype) = tensor.dtype else {
            return Err(fail(format!("it is stored as {}, which is no floating-point type", tensor.dtype)));
        };
        if tensor.elements() != elements {
            return Err(fail(format!("{} elements are stored, {elements} were asked for", tensor.elements())));
        }
        Ok(Stored { dtype, bytes: tensor.read(self.files[tensor.file()].bytes()) })
    }
}

/// A key without a counterpart, or with an unfit one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The key: canonical if it is missing, upstream's if it is stored.
    pub key: String,
    /// Type and shape stored, or shape asked for.
    pub found: String,
    /// What is nearest, or what was asked for.
    pub note: String,
    /// The setting that would settle it, if one would.
    pub fix: Option<Given>,
}

/// A checkpoint does not fit a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct StrictError {
    /// Name of the variant, and how it was chosen.
    pub model: String,
    /// File and prefix.
    pub place: String,
    /// Asked for, not stored.
    pub missing: Vec<Mismatch>,
    /// Stored, not asked for.
    pub unexpected: Vec<Mismatch>,
    /// Stored under the right name in another shape or type.
    pub misshaped: Vec<Mismatch>,
    /// What to do.
    pub todo: Message,
}

impl Explain for StrictError {
    fn message(&self) -> Message {
        let (missing, unexpected, misshaped) = (self.missing.len(), self.unexpected.len(), self.misshaped.len());
        let mut message: Message = format!(
            "the checkpoint does not fit {}: {} missing, {unexpected} unexpected, {misshaped} of another shape\n  where: {}",
            self.model,
            count(missing, "tensor"),
            self.place
        )
        .into();
        let kinds =
            [("missing", &self.missing), ("unexpected", &self.unexpected), ("of another shape", &self.misshaped)];
        for (title, list) in kinds.into_iter().filter(|(_, list)| !list.is_empty()) {
            message.push(format!("\n  {title}:"));
            // Lines that one setting settles are one line.
            let groups: Vec<&[Mismatch]> =
                list.chunk_by(|a, b| a.fix.is_some() && a.fix == b.fix && a.note == b.note).collect();
            groups.iter().take(SHOWN).for_each(|group| message.push(line(group)));
            let more: usize = groups.iter().skip(SHOWN).map(|group| group.len()).sum();
            if more > 0 {
                message.push(format!("\n    and {more} more"));
            }
        }
        let why = "\n  why: every tensor of the model must be stored once, and every stored tensor used\n  to do: ";
        message!(message, why, self.todo.clone())
    }
}

/// What is said of tensors that one setting settles.
fn line(group: &[Mismatch]) -> Message {
    let Mismatch { key, found, note, fix } = &group[0];
    let mut line: Message = format!("\n    {} {found}", shortened(key)).into();
    if group.len() > 1 {
        line.push(format!(" and {} more", group.len() - 1));
    }
    if !note.is_empty() {
        line.push(format!(", {note}"));
    }
    if let Some(fix) = fix {
        line = message!(line, ": ", fix.clone());
    }
    line
}

/// Match the tensors of a model's parts, which come from one checkpoint, with the weights that a graph asks for.
///
/// `required` is canonical keys and shapes; `leftover` says whether a canonical key is known to be stored without being asked for
/// (`num_batches_tracked` always is).
///
/// # Errors
/// If anything is missing, unexpected or of another shape.
pub fn bind<'r>(
    parts: &[BoundPart<'_>],
    required: impl IntoIterator<Item = (&'r str, Vec<usize>)>,
    leftover: &dyn Fn(&str) -> bool,
    model: &ModelHints<'_>,
) -> Result<BoundWeights, Box<StrictError>> {
    let mut matching = Matching::of(parts);
    for (key, shape) in required {
        matching.ask(key, shape);
    }
    matching.finish(leftover);
    if !matching.misfits() {
        let files = parts.first().map(|part| part.selected.files.clone()).unwrap_or_default();
        return Ok(BoundWeights { files, tensors: matching.bound });
    }
    Err(Box::new(matching.explain(parts, model)))
}

/// A tensor of a checkpoint.
#[derive(Debug, Clone)]
struct StoredTensor<'p> {
    part: BoundPart<'p>,
    /// Its name behind the part's prefix.
    upstream: &'p str,
    tensor: &'p TensorInfo,
    /// The graph's key for it.
    key: String,
}

/// What is stored against what is asked for.
#[derive(Debug, Default)]
struct Matching<'p, 'r> {
    /// Tensors that nobody asked for so far, by the graph's key.
    stored: BTreeMap<String, StoredTensor<'p>>,
    bound: BTreeMap<String, TensorInfo>,
    /// Upstream's names of what is bound.
    used: BTreeSet<&'p str>,
    missing: Vec<(&'r str, Vec<usize>)>,
    unexpected: Vec<StoredTensor<'p>>,
    /// Tensors of another shape or type, and the shape asked for.
    misshaped: Vec<(StoredTensor<'p>, Vec<usize>)>,
}

impl<'p, 'r> Matching<'p, 'r> {
    /// Nothing asked for; a second tensor that claims a key is unexpected.
    fn of(parts: &[BoundPart<'p>]) -> Self {
        let mut matching = Matching::default();
        let all = parts.iter().flat_map(|part| part.selected.tensors.iter().map(move |(name, t)| (*part, name, t)));
        for (part, upstream, tensor) in all {
            let found = StoredTensor { part, upstream, tensor, key: part.key(upstream) };
            match matching.stored.get(&found.key) {
                None => drop(matching.stored.insert(found.key.clone(), found)),
                Some(first) if first.tensor == tensor => {}
                Some(_) => matching.unexpected.push(found),
            }
        }
        matching
    }

    fn ask(&mut self, key: &'r str, shape: Vec<usize>) {
        let Some(found) = self.stored.remove(key) else {
            if !self.bound.contains_key(key) {
                self.missing.push((key, shape));
            }
            return;
        };
        self.used.insert(found.upstream);
        self.bound.insert(key.to_string(), found.tensor.clone());
        if !is_float(found.tensor) || !same_but_units(&found.tensor.shape, &shape) {
            self.misshaped.push((found, shape));
        }
    }

    /// What is left was not expected, but for leftovers.
    fn finish(&mut self, leftover: &dyn Fn(&str) -> bool) {
        self.unexpected.extend(std::mem::take(&mut self.stored).into_values());
        self.unexpected.retain(|stored| {
            let counter = stored.upstream.rsplit('.').next() == Some("num_batches_tracked");
            !counter && !leftover(&stored.key)
        });
        // A layer's weight says more than its bias.
        let order = |name: &'p str| name.rsplit_once('.').map(|(layer, leaf)| (layer, leaf != "weight", leaf));
        self.unexpected.sort_by_key(|stored| order(stored.upstream));
        // A kernel says more than a bias or a BatchNorm.
        self.misshaped.sort_by_key(|(stored, _)| without_units(&stored.tensor.shape).count() < 2);
    }

    fn misfits(&self) -> bool {
        !self.missing.is_empty() || !self.unexpected.is_empty() || !self.misshaped.is_empty()
    }

    /// The error with everything that does not fit, and what would settle it.
    fn explain(&self, parts: &[BoundPart<'p>], model: &ModelHints<'_>) -> StrictError {
        let search = Search { matching: self, model };
        let missing = self.missing.iter().enumerate();
        let missing: Vec<Mismatch> = missing.map(|(i, (key, shape))| search.missing(key, shape, i < 64)).collect();
        let unexpected: Vec<Mismatch> =
            self.unexpected.iter().map(|stored| search.unexpected(stored, &missing)).collect();
        let misshaped = self.misshaped.iter().map(|(stored, shape)| {
            let note = match is_float(stored.tensor) {
                true => format!("the model has {}", Dims(shape)),
                false => "which is no floating-point type".into(),
            };
            Mismatch { key: stored.upstream.to_string(), found: stored.tensor.to_string(), note, fix: None }
        });
        let nearest = if model.nearest { ", the nearest variant" } else { "" };
        StrictError {
            model: format!("{}{nearest}", model.name),
            place: parts.first().map(|part| part.selected.place.clone()).unwrap_or_default(),
            misshaped: misshaped.collect(),
            todo: self.todo(&missing, &unexpected, model),
            missing,
            unexpected,
        }
    }

    fn todo(&self, missing: &[Mismatch], unexpected: &[Mismatch], model: &ModelHints<'_>) -> Message {
        let floats = self.misshaped.iter().filter(|(stored, _)| is_float(stored.tensor));
        let differences: Vec<(&[usize], &[usize])> =
            floats.map(|(stored, asked)| (stored.tensor.shape.as_slice(), asked.as_slice())).collect();
        let renames = |m: &Mismatch| m.fix.as_ref().is_some_and(|fix| fix.setting == Setting::Rename);
        if !differences.is_empty() {
            reshaped(&differences, model)
        } else if !self.misshaped.is_empty() {
            "save these tensors in a floating-point type: integers are what a quantized model stores".into()
        } else if missing.iter().chain(unexpected).any(renames) {
            "add the flags printed behind the keys if they say what you know of this checkpoint".into()
        } else if missing.is_empty() {
            "if the model does not need these tensors, leave them out with the flags printed behind them".into()
        } else {
            message!(
                "check that the checkpoint is complete and of this model; ",
                Listing::Tensors,
                " lists what it holds"
            )
        }
    }
}

fn is_float(tensor: &TensorInfo) -> bool {
    matches!(tensor.dtype, ElementType::Float(_))
}

/// What to do about tensors of other shapes, given as (stored, asked for).
fn reshaped(differences: &[(&[usize], &[usize])], model: &ModelHints<'_>) -> Message {
    if let [([_, channels, _, _], [_, 3, _, _])] = differences
        && *channels != 3
    {
        return format!(
            "the model was trained on images of {}; vitc builds the published ones, for 3 (RGB): train the first convolution on RGB images",
            count(*channels, "channel")
        )
        .into();
    }
    let narrower = |(stored, asked): &(&[usize], &[usize])| {
        let (stored, asked) = (without_units(stored), without_units(asked));
        stored.clone().count() <= asked.clone().count() && stored.zip(asked).all(|(a, b)| a <= b)
    };
    match (differences.iter().all(narrower), model.nearest) {
        (true, true) => format!(
            "channels were pruned: these tensors are narrower than {}'s. vitc builds published widths only: prune by masks \
             (torch.nn.utils.prune), which keep the shapes, or train a smaller variant",
            model.name
        )
        .into(),
        (true, false) => message!(
            format!("the stored tensors are narrower than {}'s: leave ", model.name),
            Setting::Model,
            " out to have the variant recognised; channels that were pruned have no variant"
        ),
        (false, true) => {
            message!("give a checkpoint of a published variant: ", Listing::Models, " shows them")
        }
        (false, false) => message!(
            "name the variant, the number of classes and the resolution that were trained, or leave ",
            Setting::Model,
            " out to have them read off"
        ),
    }
}

fn without_units(shape: &[usize]) -> impl Iterator<Item = usize> + Clone {
    shape.iter().copied().filter(|&d| d != 1)
}

/// True if the shapes are equal up to axes of size 1.
fn same_but_units(a: &[usize], b: &[usize]) -> bool {
    without_units(a).eq(without_units(b))
}

/// The search for what might have been meant.
struct Search<'s, 'p, 'r> {
    matching: &'s Matching<'p, 'r>,
    model: &'s ModelHints<'s>,
}

impl Search<'_, '_, '_> {
    fn missing(&self, key: &str, shape: &[usize], search: bool) -> Mismatch {
        let leaf = |key: &str| key.rsplit('.').next().map(str::to_string);
        let near = |stored: &&StoredTensor| {
            (leaf(&stored.key) != leaf(key), edit_distance(&stored.key, key), stored.upstream.len())
        };
        let fits =
            |stored: &&StoredTensor| stored.upstream.len() <= LONGEST && same_but_units(&stored.tensor.shape, shape);
        let compared = if search && key.len() <= LONGEST { COMPARED } else { 0 };
        let pool = self.matching.unexpected.iter().take(compared);
        let (note, fix) = match pool.filter(fits).min_by_key(near) {
            Some(stored) => (format!("{} has its shape", stored.upstream), rename(stored, key)),
            None => (String::new(), None),
        };
        Mismatch { key: key.to_string(), found: Dims(shape).to_string(), note, fix }
    }

    fn unexpected(&self, stored: &StoredTensor<'_>, missing: &[Mismatch]) -> Mismatch {
        let upstream = stored.upstream;
        let layer = upstream.rsplit_once('.').map_or("", |k| k.0);
        let head = self.model.heads.iter().find(|head| {
            let bound = self.matching.bound.contains_key(&format!("{}.weight", head.key));
            let weight = stored.part.selected.tensors.get(&format!("{layer}.weight"));
            let columns = weight.map(|t| t.shape.as_slice());
            !bound && !layer.is_empty() && matches!(columns, Some(&[_, features]) if features == head.features)
        });
        let renamed = missing.iter().any(|m| m.note.starts_with(&format!("{upstream} ")) && m.fix.is_some());
        let (note, fix) = match head {
            _ if renamed => ("see above".into(), None),
            Some(head) => {
                let renamed = Setting::Rename.to(format!("{layer}={}", head.key));
                (format!("shaped as the classifier {}", head.key), Some(renamed))
            }
            None => (String::new(), Some(Setting::Ignore.to(shortened(self.ignorable(upstream))))),
        };
        Mismatch { key: upstream.to_string(), found: stored.tensor.to_string(), note, fix }
    }

    /// The shortest name that the key lies under and no used tensor does.
    fn ignorable<'k>(&self, upstream: &'k str) -> &'k str {
        let prefixes = upstream.match_indices('.').map(|(dot, _)| &upstream[..dot]);
        let free = |prefix: &&str| {
            let start = format!("{prefix}.");
            self.matching.used.range(start.as_str()..).next().is_none_or(|key| !key.starts_with(&start))
        };
        prefixes.take(MAX_SEGMENTS).find(free).unwrap_or(upstream)
    }
}

/// The shortest renaming that makes the stored tensor's key this one, if there is one.
fn rename(stored: &StoredTensor<'_>, key: &str) -> Option<Given> {
    let old: Vec<&str> = stored.upstream.split('.').collect();
    let new: Vec<&str> = key.split('.').collect();
    let common = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    // Where the name only grows in front, the first common segment marks the spot.
    let common = if common == old.len() { common - 1 } else { common };
    let (from, to) = (old[..old.len() - common].join("."), new[..new.len() - common].join("."));
    let works = joined(stored.part.scope, &stored.part.table.canonical(&replaced(stored.upstream, &from, &to))) == key;
    works.then(|| Setting::Rename.to(format!("{from}={to}")))
}
