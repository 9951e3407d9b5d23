//! Strict matching: every weight that the graph asks for is stored under one name, and every stored tensor is asked for or known.
//!
//! What does not match is reported all at once, each line with the nearest name and the flag that would settle it. A shape may differ from
//! what is asked for by axes of size 1 only (`[C,1,1]` for `[C]`, `[O,I]` for a 1x1 kernel): the elements and their order are the same.

use super::error::{count, shortened};
use super::forms;
use super::mapped::Mapped;
use super::names::{NameTable, replaced};
use super::select::Selected;
use super::tensor::{Dims, ElementType, TensorInfo};
use crate::nearest::edit_distance;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use vitc_ir::{Stored, WeightError, Weights};

/// Lines of each kind that the message prints.
const SHOWN: usize = 10;
/// Names that are compared with a missing one, and their greatest length: bounds the work on a hostile file.
const COMPARED: usize = 4096;
const LONGEST: usize = 200;
/// Segments of a name that are tried for --ignore.
const MAX_SEGMENTS: usize = 16;

/// What messages say about the model that is bound.
#[derive(Debug, Clone, Copy)]
pub struct Model<'a> {
    /// Name of the variant (`efficientformerv2-s0`).
    pub name: &'a str,
    /// True if nobody named the variant: it is the one nearest to the tensors.
    pub nearest: bool,
    /// Its classifiers, so that a renamed one is found even where its absence is allowed.
    pub heads: &'a [Head<'a>],
}

/// A linear classifier.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
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
    /// The flag that would settle it, if one would.
    pub flag: Option<String>,
}

/// A checkpoint does not fit a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    pub todo: String,
}

impl fmt::Display for StrictError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (missing, unexpected, misshaped) = (self.missing.len(), self.unexpected.len(), self.misshaped.len());
        write!(
            f,
            "the checkpoint does not fit {}: {} missing, {unexpected} unexpected, {misshaped} of another shape\n  where: {}",
            self.model,
            count(missing, "tensor"),
            self.place
        )?;
        let kinds =
            [("missing", &self.missing), ("unexpected", &self.unexpected), ("of another shape", &self.misshaped)];
        for (title, list) in kinds.into_iter().filter(|(_, list)| !list.is_empty()) {
            write!(f, "\n  {title}:")?;
            // Lines that one --ignore settles are one line.
            let groups: Vec<&[Mismatch]> =
                list.chunk_by(|a, b| a.flag.is_some() && a.flag == b.flag && a.note == b.note).collect();
            for group in groups.iter().take(SHOWN) {
                let line = &group[0];
                write!(f, "\n    {} {}", shortened(&line.key), line.found)?;
                if group.len() > 1 {
                    write!(f, " and {} more", group.len() - 1)?;
                }
                if !line.note.is_empty() {
                    write!(f, ", {}", line.note)?;
                }
                if let Some(flag) = &line.flag {
                    write!(f, ": {flag}")?;
                }
            }
            let more: usize = groups.iter().skip(SHOWN).map(|group| group.len()).sum();
            if more > 0 {
                write!(f, "\n    and {more} more")?;
            }
        }
        write!(
            f,
            "\n  why: every tensor of the model must be stored once, and every stored tensor used\n  to do: {}",
            self.todo
        )
    }
}

/// Match the selected tensors, spelled as in `table`, with the weights that a graph asks for.
///
/// `required` is canonical keys and shapes; `leftover` says whether a canonical key is known to be stored without being asked for
/// (`num_batches_tracked` always is).
///
/// # Errors
/// If anything is missing, unexpected or of another shape.
pub fn bind<'r>(
    selected: &Selected,
    table: &NameTable,
    required: impl IntoIterator<Item = (&'r str, Vec<usize>)>,
    leftover: &dyn Fn(&str) -> bool,
    model: &Model<'_>,
) -> Result<BoundWeights, Box<StrictError>> {
    // Canonical key → upstream's key; a second tensor that claims the same place stays outside.
    let mut stored: BTreeMap<String, &str> = BTreeMap::new();
    let mut unexpected: Vec<(&str, String)> = Vec::new();
    for (upstream, tensor) in &selected.tensors {
        let key = forms::canonical(upstream, &selected.tensors, table);
        match stored.get(&key) {
            None => drop(stored.insert(key, upstream)),
            Some(first) if selected.tensors[*first] == *tensor => {}
            Some(_) => unexpected.push((upstream, key)),
        }
    }
    let mut bound = BTreeMap::new();
    let mut used: BTreeSet<&str> = BTreeSet::new();
    let mut missing: Vec<(&str, Vec<usize>)> = Vec::new();
    let mut misshaped = Vec::new();
    let mut differences = Vec::new();
    for (key, shape) in required {
        let Some(upstream) = stored.remove(key) else {
            if !bound.contains_key(key) {
                missing.push((key, shape));
            }
            continue;
        };
        used.insert(upstream);
        let tensor = &selected.tensors[upstream];
        let float = matches!(tensor.dtype, ElementType::Float(_));
        if !float || !same_but_units(&tensor.shape, &shape) {
            if float {
                differences.push((tensor.shape.as_slice(), shape.clone()));
            }
            let note = if float {
                format!("the model has {}", Dims(&shape))
            } else {
                "which is no floating-point type".into()
            };
            misshaped.push(Mismatch { key: upstream.to_string(), found: tensor.to_string(), note, flag: None });
        }
        bound.insert(key.to_string(), tensor.clone());
    }
    unexpected.extend(stored.into_iter().map(|(key, upstream)| (upstream, key)));
    unexpected.retain(|(upstream, key)| {
        let counter = upstream.rsplit('.').next() == Some("num_batches_tracked");
        !counter && !leftover(key)
    });
    // A layer's weight says more than its bias.
    unexpected
        .sort_by_key(|(upstream, _)| upstream.rsplit_once('.').map(|(layer, leaf)| (layer, leaf != "weight", leaf)));
    if missing.is_empty() && unexpected.is_empty() && misshaped.is_empty() {
        return Ok(BoundWeights { files: selected.files.clone(), tensors: bound });
    }
    // A kernel says more than a bias or a BatchNorm.
    misshaped.sort_by_key(|m: &Mismatch| without_units(&selected.tensors[&m.key].shape).count() < 2);
    let search = Search { selected, table, used: &used, bound: &bound, unexpected: &unexpected, model };
    let missing: Vec<Mismatch> =
        missing.iter().enumerate().map(|(i, (key, shape))| search.missing(key, shape, i < 64)).collect();
    let renames: BTreeSet<&String> = missing.iter().filter_map(|m| m.flag.as_ref()).collect();
    let unexpected: Vec<Mismatch> =
        unexpected.iter().map(|(upstream, _)| search.unexpected(upstream, &missing)).collect();
    let todo = if !differences.is_empty() {
        reshaped(&differences, model)
    } else if !misshaped.is_empty() {
        "save these tensors in a floating-point type: integers are what a quantized model stores".into()
    } else if !renames.is_empty()
        || unexpected.iter().any(|u| u.flag.as_ref().is_some_and(|f| f.starts_with("--rename")))
    {
        "add the flags printed behind the keys if they say what you know of this checkpoint".into()
    } else if missing.is_empty() {
        "if the model does not need these tensors, leave them out with the flags printed behind them".into()
    } else {
        "check that the checkpoint is complete and of this model; vitc inspect FILE --tensors lists what it holds"
            .into()
    };
    let place = selected.place.clone();
    let nearest = if model.nearest { ", the nearest variant" } else { "" };
    Err(Box::new(StrictError {
        model: format!("{}{nearest}", model.name),
        place,
        missing,
        unexpected,
        misshaped,
        todo,
    }))
}

/// What to do about tensors of other shapes, given as (stored, asked for).
fn reshaped(differences: &[(&[usize], Vec<usize>)], model: &Model<'_>) -> String {
    if let [(stored, asked)] = differences
        && let ([_, channels, _, _], [_, 3, _, _]) = (*stored, asked.as_slice())
        && *channels != 3
    {
        return format!(
            "the model was trained on images of {}; vitc builds the published ones, for 3 (RGB): train the first convolution on RGB images",
            count(*channels, "channel")
        );
    }
    let narrower = |(stored, asked): &(&[usize], Vec<usize>)| {
        let (stored, asked) = (without_units(stored), without_units(asked));
        stored.clone().count() <= asked.clone().count() && stored.zip(asked).all(|(a, b)| a <= b)
    };
    match (differences.iter().all(narrower), model.nearest) {
        (true, true) => format!(
            "channels were pruned: these tensors are narrower than {}'s. vitc builds published widths only: prune by masks \
             (torch.nn.utils.prune), which keep the shapes, or train a smaller variant",
            model.name
        ),
        (true, false) => format!(
            "the stored tensors are narrower than {}'s: leave MODEL out to have the variant recognised; channels that were pruned \
             have no variant",
            model.name
        ),
        (false, true) => "give a checkpoint of a published variant: vitc list shows them".into(),
        (false, false) => {
            "name the variant, the number of classes and the resolution that were trained, or leave MODEL out to have them read off".into()
        }
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
struct Search<'s> {
    selected: &'s Selected,
    table: &'s NameTable,
    used: &'s BTreeSet<&'s str>,
    bound: &'s BTreeMap<String, TensorInfo>,
    unexpected: &'s [(&'s str, String)],
    model: &'s Model<'s>,
}

impl Search<'_> {
    fn missing(&self, key: &str, shape: &[usize], search: bool) -> Mismatch {
        let leaf = |key: &str| key.rsplit('.').next().map(str::to_string);
        let near = |(upstream, canonical): &&(&str, String)| {
            (leaf(canonical) != leaf(key), edit_distance(canonical, key), upstream.len())
        };
        let fits =
            |u: &&(&str, String)| u.0.len() <= LONGEST && same_but_units(&self.selected.tensors[u.0].shape, shape);
        let pool = self.unexpected.iter().take(if search && key.len() <= LONGEST { COMPARED } else { 0 });
        let (note, flag) = match pool.filter(fits).min_by_key(near) {
            Some((upstream, _)) => (format!("{upstream} has its shape"), self.rename(upstream, key)),
            None => (String::new(), None),
        };
        Mismatch { key: key.to_string(), found: Dims(shape).to_string(), note, flag }
    }

    fn unexpected(&self, upstream: &str, missing: &[Mismatch]) -> Mismatch {
        let tensor = &self.selected.tensors[upstream];
        let layer = upstream.rsplit_once('.').map_or("", |k| k.0);
        let head = self.model.heads.iter().find(|head| {
            let bound = self.bound.contains_key(&format!("{}.weight", head.key));
            let columns = self.selected.tensors.get(&format!("{layer}.weight")).map(|t| t.shape.as_slice());
            !bound && !layer.is_empty() && matches!(columns, Some(&[_, features]) if features == head.features)
        });
        let renamed = missing.iter().any(|m| m.note.starts_with(&format!("{upstream} ")) && m.flag.is_some());
        let (note, flag) = match head {
            _ if renamed => ("see above".into(), None),
            Some(head) => {
                (format!("shaped as the classifier {}", head.key), Some(format!("--rename {layer}={}", head.key)))
            }
            None => (String::new(), Some(format!("--ignore {}", shortened(self.ignorable(upstream))))),
        };
        Mismatch { key: upstream.to_string(), found: tensor.to_string(), note, flag }
    }

    /// The shortest name that the key lies under and no used tensor does.
    fn ignorable<'k>(&self, upstream: &'k str) -> &'k str {
        let prefixes = upstream.match_indices('.').map(|(dot, _)| &upstream[..dot]);
        let free = |prefix: &&str| {
            let start = format!("{prefix}.");
            self.used.range(start.as_str()..).next().is_none_or(|key| !key.starts_with(&start))
        };
        prefixes.take(MAX_SEGMENTS).find(free).unwrap_or(upstream)
    }

    /// The shortest renaming that makes the upstream key the canonical one, if there is one.
    fn rename(&self, upstream: &str, canonical: &str) -> Option<String> {
        let old: Vec<&str> = upstream.split('.').collect();
        let new: Vec<&str> = canonical.split('.').collect();
        let common = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
        // Where the name only grows in front, the first common segment marks the spot.
        let common = if common == old.len() { common - 1 } else { common };
        let (from, to) = (old[..old.len() - common].join("."), new[..new.len() - common].join("."));
        let works = self.table.canonical(&replaced(upstream, &from, &to)) == canonical;
        works.then(|| format!("--rename {from}={to}"))
    }
}
