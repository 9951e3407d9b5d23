//! Strict matching: every weight that the graph asks for is stored under one name, and every stored tensor is asked for or known.
//!
//! What does not match is reported all at once. No renaming is proposed: that two shapes fit does not make two tensors one. A shape may differ from
//! what is asked for by axes of size 1 only (`[C,1,1]` for `[C]`, `[O,I]` for a 1x1 kernel): the elements and their order are the same.

use super::error::{count, shortened};
use super::forms;
use super::mapped::Mapped;
use super::names::{NameTable, joined};
use super::select::Selected;
use super::tensor::{Dims, ElementType, TensorInfo};
use crate::message;
use crate::message::{Explain, Given, Listing, Message, Setting};
use std::collections::BTreeMap;
use std::sync::Arc;
use vitc_ir::{Stored, WeightError, Weights};

/// Lines of each kind that the message prints.
const SHOWN: usize = 10;

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
}

impl ModelHints<'_> {
    fn shown(&self) -> String {
        format!("{}{}", self.name, if self.nearest { ", the nearest variant" } else { "" })
    }
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

impl StrictError {
    /// The error of tensors that are stored and not asked for, beside `other` that does not fit.
    pub fn with_unexpected(
        model: &ModelHints<'_>,
        selected: &Selected,
        unexpected: Vec<Mismatch>,
        todo: Message,
        other: Option<Box<StrictError>>,
    ) -> Box<StrictError> {
        let place = selected.place.clone();
        let mut error = other.unwrap_or_else(|| {
            let (missing, misshaped) = (Vec::new(), Vec::new());
            let (model, unexpected) = (model.shown(), Vec::new());
            Box::new(StrictError { model, place, missing, unexpected, misshaped, todo: Message::default() })
        });
        error.unexpected.extend(unexpected);
        if error.misshaped.is_empty() {
            error.todo = todo;
        }
        error
    }
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
/// `required` is canonical keys and shapes. `num_batches_tracked` is known to be stored without being asked for.
///
/// # Errors
/// If anything is missing, unexpected or of another shape.
pub fn bind<'r>(
    parts: &[BoundPart<'_>],
    required: impl IntoIterator<Item = (&'r str, Vec<usize>)>,
    model: &ModelHints<'_>,
) -> Result<BoundWeights, Box<StrictError>> {
    let mut matching = Matching::of(parts);
    for (key, shape) in required {
        matching.ask(key, shape);
    }
    matching.finish();
    if !matching.misfits() {
        let files = parts.first().map(|part| part.selected.files.clone()).unwrap_or_default();
        return Ok(BoundWeights { files, tensors: matching.bound });
    }
    Err(Box::new(matching.explain(parts, model)))
}

/// A tensor of a checkpoint.
#[derive(Debug, Clone)]
struct StoredTensor<'p> {
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
            let found = StoredTensor { upstream, tensor, key: part.key(upstream) };
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
        self.bound.insert(key.to_string(), found.tensor.clone());
        if !is_float(found.tensor) || !same_but_units(&found.tensor.shape, &shape) {
            self.misshaped.push((found, shape));
        }
    }

    /// What is left was not expected, but for counters.
    fn finish(&mut self) {
        self.unexpected.extend(std::mem::take(&mut self.stored).into_values());
        self.unexpected.retain(|stored| stored.upstream.rsplit('.').next() != Some("num_batches_tracked"));
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
        let plain = |key: &str, found: String| Mismatch { key: key.to_string(), found, note: String::new(), fix: None };
        let missing = self.missing.iter().map(|(key, shape)| plain(key, Dims(shape).to_string()));
        let unexpected = self.unexpected.iter().map(|s| plain(s.upstream, s.tensor.to_string()));
        let misshaped = self.misshaped.iter().map(|(stored, shape)| {
            let note = match is_float(stored.tensor) {
                true => format!("the model has {}", Dims(shape)),
                false => "which is no floating-point type".into(),
            };
            Mismatch { note, ..plain(stored.upstream, stored.tensor.to_string()) }
        });
        StrictError {
            model: model.shown(),
            place: parts.first().map(|part| part.selected.place.clone()).unwrap_or_default(),
            misshaped: misshaped.collect(),
            missing: missing.collect(),
            unexpected: unexpected.collect(),
            todo: self.todo(model),
        }
    }

    fn todo(&self, model: &ModelHints<'_>) -> Message {
        let floats = self.misshaped.iter().filter(|(stored, _)| is_float(stored.tensor));
        let differences: Vec<(&[usize], &[usize])> =
            floats.map(|(stored, asked)| (stored.tensor.shape.as_slice(), asked.as_slice())).collect();
        if !differences.is_empty() {
            reshaped(&differences, model)
        } else if !self.misshaped.is_empty() {
            "save these tensors in a floating-point type: integers are what a quantized model stores".into()
        } else {
            let renamed = message!(
                "check that the checkpoint is complete and of this model; ",
                Listing::Tensors,
                " lists what it holds"
            );
            let both = !self.missing.is_empty() && !self.unexpected.is_empty();
            if !both {
                renamed
            } else {
                message!(renamed, "; ", Setting::Rename.to("OLD=NEW"), " where you know that two names are one layer's")
            }
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
