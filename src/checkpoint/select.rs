//! Which tensors of a checkpoint are the model's.
//!
//! A file may hold the model under any names of wrapping dicts and modules (`model.`, `state_dict.module.`, `student.backbone.`), an averaged
//! copy, an optimizer's moments. None of these prefixes is special: a *subset* is all tensors under one dotted prefix, and it is the model
//! if a family recognises the names that remain. The outermost prefix wins. Of several subsets the user chooses; only an EMA copy beside
//! the raw weights is decided here, for the raw weights, with a notice.

use super::contents::{Contents, MAX_KEY, Shapes};
use super::error::{CheckpointError, count, shortened, some_of};
use super::forms::{self, Forms};
use super::mapped::Mapped;
use super::names::{NameTable, WRAPPERS, joined, replaced, unflattened, unwrapped};
use super::open::Checkpoint;
use super::pattern;
use super::peft::{Stands, TrainedModules};
use super::recognise_foreign;
use super::tensor::{ElementType, TensorInfo};
use crate::message;
use crate::message::{Given, Listing, Message, Setting};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vitc_ir::StoredType;

/// Segments that name an averaged copy of the weights (timm, MMEngine, CVNets, Lightning, BasicSR).
const EMA: &[&str] =
    &["model_ema", "state_dict_ema", "ema_state_dict", "ema", "ema_model", "model_state_dict_ema", "params_ema"];
/// Whether a segment of a name says that what lies under it is an averaged copy.
pub fn is_average(segment: &str) -> bool {
    EMA.contains(&segment)
}

/// Fewer tensors are no model.
const SMALLEST: usize = 4;

/// The user's say in the choice.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SelectOptions {
    /// `Some(true)` takes the EMA copy, `Some(false)` the raw weights; `None` takes the raw ones if there are any.
    pub ema: Option<bool>,
    /// Take the tensors under this prefix, recognised or not.
    pub strip_prefix: Option<String>,
    /// Rename runs of dotted segments before anything else: (old, new), with the pattern language of [`NameTable`].
    pub rename: Vec<(String, String)>,
    /// Leave out the tensors of these names, or under them: in the file, in its dict of the model, or behind the model's prefix. `*` stands for
    /// any run of characters.
    pub ignore: Vec<String>,
}

/// The tensors of a model, or of one part of it.
#[derive(Debug, Clone)]
pub struct Selected {
    /// What was stripped from their names, without the last dot; empty if nothing was.
    pub prefix: String,
    /// True if this is an averaged copy.
    pub ema: bool,
    /// The tensors, by upstream's key without the prefix.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// The tensors outside the prefix, by their names in the file.
    pub beside: BTreeMap<String, TensorInfo>,
    /// The dict of the file that the model was taken from, without the last dot; empty for the outermost.
    pub dict: String,
    /// Prefixes of further models in the file that were not taken.
    pub others: Vec<String>,
    /// What was left out on request: the name that was given, and how many tensors it stands for.
    pub ignored: Vec<(String, usize)>,
    /// What the user should know about the choice, a sentence each.
    pub notices: Vec<Message>,
    pub(super) place: String,
    pub(super) files: Arc<[Mapped]>,
    contents: Arc<Contents>,
}

impl Selected {
    /// The name in the file of a tensor under the prefix.
    pub fn file_name(&self, upstream: &str) -> String {
        joined(&self.prefix, upstream)
    }

    /// The architecture's key for the name of a tensor under the prefix, which may be a factor.
    pub fn canonical(&self, upstream: &str, table: &NameTable) -> String {
        forms::canonical(upstream, &self.tensors, table)
    }

    /// The same, for a factor the key of its weight.
    pub fn whole(&self, upstream: &str, table: &NameTable) -> String {
        forms::whole(upstream, &self.tensors, table)
    }

    /// The numbers of a stored floating-point tensor; `None` for other types.
    pub fn numbers(&self, tensor: &TensorInfo) -> Option<Vec<f64>> {
        let ElementType::Float(float) = tensor.dtype else { return None };
        let bytes = tensor.read(self.files[tensor.file()].bytes());
        bytes.chunks_exact(float.bytes()).map(|b| number(float, b)).collect()
    }

    /// The same for whole numbers too.
    pub fn any_numbers(&self, tensor: &TensorInfo) -> Option<Vec<f64>> {
        let ElementType::Int(size) = tensor.dtype else { return self.numbers(tensor) };
        let bytes = tensor.read(self.files[tensor.file()].bytes());
        let whole = |b: &[u8]| match size {
            8 => Some(i64::from_le_bytes(b.try_into().ok()?) as f64),
            4 => Some(f64::from(i32::from_le_bytes(b.try_into().ok()?))),
            _ => None,
        };
        bytes.chunks_exact(usize::from(size)).map(whole).collect()
    }

    /// The innermost dict of the file that holds the tensor of this name.
    pub fn dict_of<'k>(&self, file: &'k str) -> &'k str {
        self.contents.dict_of(file)
    }

    /// The same file with these tensors alone, by the names that a graph has for them.
    pub fn with(&self, tensors: BTreeMap<String, TensorInfo>) -> Selected {
        Selected { tensors, beside: BTreeMap::new(), notices: Vec::new(), ..self.clone() }
    }

    /// Shape of every tensor by upstream's key; a weight that is stored as factors counts as itself.
    pub fn shapes(&self) -> Shapes {
        forms::merged_shapes(&self.tensors)
    }

    /// The same by the architecture's keys, as `table` spells them.
    pub fn canonical_shapes(&self, table: &NameTable) -> Shapes {
        self.shapes().into_iter().map(|(key, shape)| (table.canonical(&key), shape)).collect()
    }

    /// The weights that are stored as factors, by the architecture's keys.
    pub fn forms(&self, table: &NameTable) -> Forms {
        Forms::of(&self.tensors, table)
    }
}

/// One subset that a family recognises.
struct Candidate<'a> {
    prefix: String,
    tensors: BTreeMap<String, &'a TensorInfo>,
    /// It is an averaged copy.
    ema: bool,
}

impl Checkpoint {
    /// The tensors of the one model in this checkpoint.
    ///
    /// `models` says under which prefixes of these names lies a model that it knows, in any spelling.
    ///
    /// # Errors
    /// If no subset is recognised, several are and no option chooses, an option asks for what is not there, or a weight is stored in a form
    /// that needs code.
    pub fn select(
        &self,
        models: &dyn Fn(&Shapes) -> Vec<String>,
        options: &SelectOptions,
    ) -> Result<Selected, CheckpointError> {
        let mut notices = Vec::new();
        let mut renamed = self.renamed(options, &mut notices)?;
        let mut prefixes = models(&forms::merged_shapes(&renamed));
        if prefixes.is_empty() {
            let deep: BTreeMap<String, &TensorInfo> = renamed.iter().map(|(key, t)| (unflattened(key), *t)).collect();
            let found = if deep.len() == renamed.len() { models(&forms::merged_shapes(&deep)) } else { Vec::new() };
            if !found.is_empty() {
                notices.push("the names are those of timm's features_only: read with a dot for their first `_`".into());
                (renamed, prefixes) = (deep, found);
            }
        }
        let mut chosen = match &options.strip_prefix {
            Some(prefix) => self.under(&renamed, &unwrapped(prefix.trim_end_matches('.')))?,
            None => {
                let candidates = candidates(&renamed, prefixes.clone(), swapped(&renamed));
                if candidates.is_empty() {
                    return Err(self.unrecognised(&renamed));
                }
                self.choose(candidates, options, &mut notices)?
            }
        };
        let (dict, mut beside) = self.around(&renamed, &chosen);
        let ignored = leave_out(options, &mut chosen, &dict, &mut beside);
        notices.extend(ignored.iter().map(|(name, tensors)| {
            let what = match tensors {
                0 => ": no tensor has this name".to_string(),
                n => format!(" leaves out {}", count(*n, "tensor")),
            };
            message!(Setting::Ignore.to(shortened(name)), what)
        }));
        let ignoring = |key: &str| options.ignore.iter().any(|name| pattern::names(name, key));
        let skipped = self.contents.skipped.iter().filter(|(key, _)| lies_under(key, &chosen.prefix) && !ignoring(key));
        let unfit = recognise_foreign::adapters(chosen.tensors.keys())
            .or_else(|| recognise_foreign::unread(&skipped.collect::<Vec<_>>()));
        if let Some(error) = unfit {
            return Err(error.within(&self.place));
        }
        let ema = chosen.ema;
        let tensors = chosen.tensors.into_iter().map(|(key, tensor)| (key, tensor.clone())).collect();
        forms::check_parametrizations(&tensors).map_err(|e| e.within(&self.place))?;
        let place = match chosen.prefix.as_str() {
            "" => self.place.clone(),
            prefix => format!("{}, under {}", self.place, shortened(prefix)),
        };
        let inside = |prefix: &String| lies_under(prefix, &chosen.prefix) || lies_under(&chosen.prefix, prefix);
        let others = prefixes.into_iter().filter(|prefix| !inside(prefix)).collect();
        let (prefix, files) = (chosen.prefix, self.files.clone());
        let contents = self.contents.clone();
        Ok(Selected { prefix, ema, tensors, beside, dict, others, ignored, notices, place, files, contents })
    }

    /// The dict that holds the chosen tensors, and all tensors outside of their prefix.
    fn around(
        &self,
        renamed: &BTreeMap<String, &TensorInfo>,
        chosen: &Candidate<'_>,
    ) -> (String, BTreeMap<String, TensorInfo>) {
        let first = chosen.tensors.keys().next().map(|key| joined(&chosen.prefix, key)).unwrap_or_default();
        let dict = self.contents.dict_of(&first).to_string();
        let beside = renamed.iter().filter(|(key, _)| !lies_under(key, &chosen.prefix));
        (dict, beside.map(|(key, tensor)| (key.clone(), (*tensor).clone())).collect())
    }

    /// All tensors, by their names after `--rename`.
    fn renamed(
        &self,
        options: &SelectOptions,
        notices: &mut Vec<Message>,
    ) -> Result<BTreeMap<String, &TensorInfo>, CheckpointError> {
        let mut used = vec![false; options.rename.len()];
        let mut renamed = BTreeMap::new();
        let mut wrapped = 0;
        let trained = TrainedModules::among(self.tensors().keys());
        let mut before = 0;
        for (old, tensor) in self.tensors() {
            let mut key = match trained.stands(old) {
                Stands::ForItself => old.clone(),
                Stands::For(module) => module,
                Stands::ForNothing => {
                    before += 1;
                    continue;
                }
            };
            let named = key.clone();
            let plain = unwrapped(&named);
            if let Cow::Owned(plain) = plain
                && !self.tensors().contains_key(&plain)
            {
                wrapped += 1;
                key = plain;
            }
            for ((from, to), used) in options.rename.iter().zip(&mut used) {
                if let Cow::Owned(new) = replaced(&key, from, to) {
                    *used = true;
                    // A repeated renaming may not grow names beyond what a file could hold.
                    key = if new.len() <= MAX_KEY { new } else { key };
                }
            }
            if renamed.insert(key.clone(), tensor).is_some() {
                let why = format!("after renaming, two tensors are called {}", shortened(&key));
                let what = message!(Setting::Rename, " makes names collide");
                let todo = message!("leave one of them out with ", Setting::Ignore, ", or rename it too");
                return Err(CheckpointError::new(what, self.place.clone(), why, todo));
            }
        }
        if wrapped > 0 {
            let names = WRAPPERS.join(", ");
            notices.push(format!("tools wrapped modules of {}: read without {names}", count(wrapped, "tensor")).into());
        }
        if before > 0 {
            let were = format!("{} of modules from before PEFT trained them anew: not used", count(before, "tensor"));
            notices.push(were.into());
        }
        for ((from, to), used) in options.rename.iter().zip(used) {
            if !used {
                let renamed = Setting::Rename.to(format!("{from}={to}"));
                notices.push(message!(renamed, format!(": no tensor has {from} in its name")));
            }
        }
        Ok(renamed)
    }

    /// The subset that `--strip-prefix` names.
    fn under<'a>(
        &self,
        tensors: &BTreeMap<String, &'a TensorInfo>,
        prefix: &str,
    ) -> Result<Candidate<'a>, CheckpointError> {
        let subset = subset(tensors, prefix);
        if !subset.is_empty() {
            let ema = is_averaged(prefix, swapped(tensors));
            return Ok(Candidate { prefix: prefix.to_string(), tensors: subset, ema });
        }
        let heads: BTreeSet<&str> =
            tensors.keys().map(|key| key.split_once('.').map_or(key.as_str(), |k| k.0)).collect();
        Err(CheckpointError::new(
            message!(Setting::StripPrefix.to(shortened(prefix)), ": no tensor's name begins so"),
            self.place.clone(),
            format!("names begin with {}", some_of(heads.into_iter().collect::<Vec<_>>().into_iter(), 8)),
            message!(Listing::Tensors, " lists the tensors; a prefix that is not given is found"),
        ))
    }

    fn choose<'a>(
        &self,
        candidates: Vec<Candidate<'a>>,
        options: &SelectOptions,
        notices: &mut Vec<Message>,
    ) -> Result<Candidate<'a>, CheckpointError> {
        let all: Vec<String> = candidates.iter().map(|c| shown(&c.prefix)).collect();
        let main =
            candidates.iter().find(|c| c.prefix.split('.').next() == Some(SWAPPED_AVERAGE)).is_some_and(|c| c.ema);
        let (ema, raw): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|c| c.ema);
        let absent = |what: &str, given: Given| {
            let why = format!("weights were found under {}", some_of(all.iter().map(String::as_str), 8));
            let what = format!("the checkpoint has no {what}");
            CheckpointError::new(what, self.place.clone(), why, message!("leave ", given, " out"))
        };
        let pool = match (options.ema, raw.is_empty(), ema.is_empty()) {
            (Some(true), _, true) => return Err(absent("EMA copy of the weights", Setting::Ema.on())),
            (Some(false), true, _) => return Err(absent("raw weights beside the EMA copy", Setting::Ema.off())),
            (Some(true), ..) | (None, true, _) => ema,
            (None, false, false) if main => {
                notices.push(message!(
                    format!(
                        "the tool that wrote the checkpoint keeps the averaged weights under {SWAPPED_AVERAGE} and the raw ones under {}: the \
                         averaged are taken, as the tool itself loads them, ",
                        shown(&raw[0].prefix)
                    ),
                    Setting::Ema.off(),
                    " takes the raw, ",
                    Setting::Ema.on(),
                    " silences this"
                ));
                return only(ema, &self.place);
            }
            (Some(false) | None, false, _) => {
                if options.ema.is_none() && !ema.is_empty() {
                    let under = shown(&ema[0].prefix);
                    notices.push(message!(
                        format!("the checkpoint also holds an EMA copy under {under}: the raw weights are taken, "),
                        Setting::Ema.on(),
                        " takes the copy, ",
                        Setting::Ema.off(),
                        " silences this"
                    ));
                }
                raw
            }
        };
        if options.ema.is_none() && pool[0].ema {
            notices.push(format!("the checkpoint holds only an EMA copy, under {}", shown(&pool[0].prefix)).into());
        }
        only(pool, &self.place)
    }

    fn unrecognised(&self, tensors: &BTreeMap<String, &TensorInfo>) -> CheckpointError {
        let named = self.config().and_then(|c| c.architecture.as_ref()).map(|a| a.value.as_str());
        recognise_foreign::without_model(&self.contents, tensors, named).within(&self.place)
    }
}

/// The one of these subsets; the same tensors under a second name are no second model.
fn only<'a>(mut pool: Vec<Candidate<'a>>, place: &str) -> Result<Candidate<'a>, CheckpointError> {
    let first = pool.remove(0);
    if let Some(other) = pool.iter().find(|c| c.tensors != first.tensors) {
        let all = std::iter::once(&first).chain(&pool).take(8);
        let todo = Message::joined(all.map(|c| Setting::StripPrefix.to(quoted(&c.prefix))), " or ");
        return Err(CheckpointError::new(
            "the checkpoint holds several models",
            place,
            format!(
                "different tensors of a known family lie under {} and {}",
                shown(&first.prefix),
                shown(&other.prefix)
            ),
            message!("choose one with ", todo),
        ));
    }
    Ok(first)
}

/// Whether the tool that wrote these names puts the averaged weights where others have the raw ones: mmengine's EMA hook swaps them when it saves, and
/// Lightning's weight averaging keeps the raw ones aside.
fn swapped(tensors: &BTreeMap<String, &TensorInfo>) -> bool {
    let any = |start: &str| tensors.range(start.to_string()..).next().is_some_and(|(key, _)| key.starts_with(start));
    let mmengine = tensors.contains_key("ema_state_dict.steps") && any("ema_state_dict.module.");
    any(&format!("{SWAPPED_AVERAGE}.")) && (mmengine || any(&format!("{SWAPPED_RAW}.")))
}

/// Where such tools keep the averaged weights.
const SWAPPED_AVERAGE: &str = "state_dict";
/// Where Lightning keeps the raw ones.
const SWAPPED_RAW: &str = "current_model_state";

/// Whether what lies under a prefix is an averaged copy.
fn is_averaged(prefix: &str, swapped: bool) -> bool {
    match swapped {
        true => prefix.split('.').next() == Some(SWAPPED_AVERAGE),
        false => prefix.split('.').any(is_average),
    }
}

/// The outermost of the subsets under these prefixes, in the order of their prefixes.
fn candidates<'a>(
    tensors: &BTreeMap<String, &'a TensorInfo>,
    mut prefixes: Vec<String>,
    swapped: bool,
) -> Vec<Candidate<'a>> {
    // In lexical order a prefix precedes what it is a prefix of.
    prefixes.sort();
    let mut found: Vec<Candidate<'a>> = Vec::new();
    for prefix in prefixes {
        let inside = found.iter().any(|c| lies_under(&prefix, &c.prefix));
        let subset = if inside { BTreeMap::new() } else { subset(tensors, &prefix) };
        if subset.len() >= SMALLEST {
            let ema = is_averaged(&prefix, swapped);
            found.push(Candidate { prefix, tensors: subset, ema });
        }
    }
    found
}

/// The tensors under `prefix`, which is stripped from their names.
fn subset<'a>(tensors: &BTreeMap<String, &'a TensorInfo>, prefix: &str) -> BTreeMap<String, &'a TensorInfo> {
    if prefix.is_empty() {
        return tensors.clone();
    }
    let start = format!("{prefix}.");
    let range = tensors.range(start.clone()..).take_while(|(key, _)| key.starts_with(&start));
    range.map(|(key, tensor)| (key[start.len()..].to_string(), *tensor)).collect()
}

/// One stored number.
fn number(float: StoredType, bytes: &[u8]) -> Option<f64> {
    Some(match float {
        StoredType::F16 => half::f16::from_le_bytes(bytes.try_into().ok()?).to_f64(),
        StoredType::BF16 => half::bf16::from_le_bytes(bytes.try_into().ok()?).to_f64(),
        StoredType::F32 => f64::from(f32::from_le_bytes(bytes.try_into().ok()?)),
        StoredType::F64 => f64::from_le_bytes(bytes.try_into().ok()?),
        StoredType::I8 => f64::from(i8::from_le_bytes(bytes.try_into().ok()?)),
        StoredType::U8 => f64::from(u8::from_le_bytes(bytes.try_into().ok()?)),
    })
}

/// Leave out what the user names; per name, how many tensors that was.
fn leave_out(
    options: &SelectOptions,
    chosen: &mut Candidate<'_>,
    dict: &str,
    beside: &mut BTreeMap<String, TensorInfo>,
) -> Vec<(String, usize)> {
    let inside_dict = |key: &str| match dict {
        "" => None,
        dict => Some(key.strip_prefix(dict)?.strip_prefix('.')?.to_string()),
    };
    let one = |name: &String| {
        let plain = unwrapped(name);
        let given = name;
        let name: &str = &plain;
        let named = |key: &str| pattern::names(name, key) || inside_dict(key).is_some_and(|k| pattern::names(name, &k));
        let before = chosen.tensors.len() + beside.len();
        let prefix = &chosen.prefix;
        chosen.tensors.retain(|key, _| !pattern::names(name, key) && !named(&joined(prefix, key)));
        beside.retain(|key, _| !named(key));
        (given.clone(), before - chosen.tensors.len() - beside.len())
    };
    options.ignore.iter().map(one).collect()
}

/// True if `key` is `name` or lies under it; everything lies under the empty name.
fn lies_under(key: &str, name: &str) -> bool {
    name.is_empty() || key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn shown(prefix: &str) -> String {
    if prefix.is_empty() { "the top level".into() } else { shortened(prefix) }
}

fn quoted(prefix: &str) -> String {
    if prefix.is_empty() { "''".into() } else { shortened(prefix) }
}
