//! A model from a checkpoint: recognise family, spelling and variant, decide resolution, heads and classes, bind every tensor.

use super::account::{Account, Leftover, counted, printable};
use super::behind::{behind, stops};
use super::dense::Dense;
use super::heads::{self, Heads, Offer};
use super::loaded::{Digest, Model, WeightSource};
use super::recognise::recognise;
use super::request::{ModelError, ModelRequest};
use super::stem;
use crate::arch::heads::{ACTIVATION, OwnHead, Reads};
use crate::arch::{Backbone, BuildOptions, Family, Head, Results, Shapes};
use crate::checkpoint::{
    self, BoundPart, BoundWeights, Checkpoint, ModelHints, NameTable, Selected, StrictError, TensorInfo,
};
use crate::message;
use crate::message::{Message, Setting};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;
use vitc_ir::Graph;

pub(super) fn load(request: &ModelRequest, named: Option<Backbone>, path: &Path) -> Result<Model, ModelError> {
    let checkpoint = Checkpoint::open(path)?;
    let blake3 = digest(checkpoint.clone());
    let prefixes = |shapes: &Shapes| recognise(shapes.keys()).into_iter().map(|found| found.prefix).collect();
    let selected = checkpoint.select(&prefixes, &request.select)?;
    let (family, table) = spelling(&selected, named)?;
    let mut shapes = selected.canonical_shapes(table);
    let (backbone, whole_variant) = backbone(named, family, &shapes, path)?;
    let config = checkpoint.config().cloned().unwrap_or_default();
    let mut notices = selected.notices.clone();
    let dense = Dense::find(&selected)?;
    let said = checkpoint.dense_config();
    shapes.extend(dense.shapes(&selected));

    let mut found = found(&selected, table);
    let resolution = match resolution(request, family, &shapes, config.input_size)? {
        Some(size) => {
            if request.resolution.is_none() && dense.is_any() {
                found.push(format!("size {}x{} <- shapes of the position tables", size[0], size[1]));
            }
            size
        }
        None if dense.is_any() => {
            let (size, source) = dense.size(said)?;
            found.push(format!("size {}x{} <- {source}", size[0], size[1]));
            size
        }
        None => {
            let [h, w] = backbone.variant.resolution;
            let assumed = format!("the checkpoint does not say its input size: {h}x{w}, as published; ");
            notices.push(message!(assumed, Setting::Resolution, " changes it"));
            backbone.variant.resolution
        }
    };
    let mut options = BuildOptions {
        batch: request.batch,
        resolution,
        classes: classes(request, family, &shapes, Head::Average)?.unwrap_or(backbone.variant.classes),
        tensors: Some(&shapes),
        choices: request.choices_of(family, &dense.choices())?,
        ..BuildOptions::new(backbone)
    };
    options.channels = stem::channels(&options, request.channels)?;
    let (trunk, offer) = trunk(&options)?;
    let mut account = Account::of(&selected, table, &trunk, family);
    found.extend(account.known());
    let parts = dense.take(request.results, &selected, &mut account, &mut found);
    options.neck = dense.neck();
    options.map_head = dense.head();
    options.choices = dense.settings(request, backbone, said, &mut found);
    let heads = match request.results {
        Results::Logits if !dense.is_any() => heads::heads(&request.heads, family, &offer, &mut account, path)?,
        _ => Heads::default(),
    };
    let normed = family.outputs.norms.iter().any(|norm| shapes.contains_key(&format!("{norm}.weight")));
    let classified = !offer.held.is_empty() || !heads.own.is_empty();
    dense.refuse(request.results, &account, normed && !classified)?;
    found.extend(behind(request.results, !selected.prefix.is_empty(), &offer.sources, &mut account));
    found.extend(heads.lines.iter().cloned());
    let classes = decided_classes(request, family, &shapes, &heads)?;
    let Heads { family: head, scores, own, tensors, .. } = heads;
    let (own, mut tensors) = placed(own, tensors, &trunk);
    tensors.extend(parts);
    options = BuildOptions {
        classes: classes.unwrap_or(options.classes),
        head,
        own,
        scores,
        results: request.results,
        ..options
    };
    let mut built = options.build()?;
    let activation = options.choice(&ACTIVATION);
    found.extend(options.own.iter().map(|head| format!("head {}", head.describe(activation))));
    notices.extend(assumed(&options, &request.choices)?);
    let forms = selected.forms(table);
    if !forms.is_empty() {
        built.graph = forms.multiplied_out(&built.graph);
        notices.push(format!("{} weights were stored as factors and are multiplied out", forms.len()).into());
    }
    found.extend(unasked(&built.graph, &trunk, &shapes, request.results));
    let hints = ModelHints { name: backbone.variant.name, nearest: named.is_none() && !whole_variant };
    let weights = bound(&selected, table, &built.graph, tensors, &account, &hints)?;
    let weights = WeightSource::Checkpoint {
        path: path.to_path_buf(),
        blake3,
        found,
        config: Box::new(config),
        dense: said.cloned().map(Box::new),
        weights,
    };
    Ok(Model::of(built, &options, weights, notices))
}

/// What the trunk and the family's own classifiers ask for, and what the trunk offers to heads.
fn trunk(options: &BuildOptions) -> Result<(BTreeSet<String>, Offer), ModelError> {
    let keys = |graph: &Graph| graph.weights().map(|(key, _)| key.to_string()).collect::<Vec<_>>();
    let whole = options.build()?;
    let features = BuildOptions { results: Results::Features, ..options.clone() }.build()?;
    let pooled = features.graph.outputs[0].value;
    let map = features.graph.producer(pooled).inputs[0];
    let elements = |value| features.graph.shape(value).at(1)[1..].iter().product();
    let mut sources = vec![(Reads::Features, elements(pooled))];
    let held = whole.parts.head.as_ref().map_or(Vec::new(), |head| head.layers.clone());
    if !held.is_empty() {
        sources.push((Reads::Scores, options.classes));
    }
    sources.push((Reads::Map, elements(map)));
    let pyramid = BuildOptions { results: Results::Pyramid, ..options.clone() }.build()?;
    let all = keys(&whole.graph).into_iter().chain(keys(&features.graph)).chain(keys(&pyramid.graph));
    Ok((all.collect(), Offer { sources, held }))
}

/// Heads and their tensors under the names that the graph has for them: those of the file, which may be the trunk's too.
fn placed(
    mut own: Vec<OwnHead>,
    tensors: Vec<Leftover>,
    trunk: &BTreeSet<String>,
) -> (Vec<OwnHead>, BTreeMap<String, TensorInfo>) {
    let taken = |layer: &str| trunk.iter().any(|key| key.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.')));
    let place = |layer: &str| if taken(layer) { format!("own.{layer}") } else { layer.to_string() };
    own.iter_mut().flat_map(|head| &mut head.layers).for_each(|layer| layer.key = place(&layer.key));
    let named = tensors.into_iter().map(|l| {
        let (layer, leaf) = l.name.rsplit_once('.').unwrap_or((&l.name, ""));
        (format!("{}.{leaf}", place(layer)), l.tensor)
    });
    (own, named.collect())
}

/// What is assumed of heads that somebody wrote; an error if a choice decides nothing.
fn assumed(options: &BuildOptions, choices: &BTreeMap<String, String>) -> Result<Option<Message>, ModelError> {
    let activated: Vec<String> =
        options.own.iter().filter(|head| head.activated()).map(|head| printable(&head.place)).collect();
    let of_map_head = options.map_head.is_some_and(|head| head.choices.iter().any(|c| c.name == ACTIVATION.name));
    let given = choices.get(ACTIVATION.name).filter(|_| !of_map_head);
    if let (Some(value), true) = (given, activated.is_empty()) {
        let given = Setting::Choice.to(format!("{}={value}", ACTIVATION.name));
        return Err(ModelError::Request(message!(given, ": no head of this model has an activation\n  leave it out")));
    }
    if given.is_some() || activated.is_empty() {
        return Ok(None);
    }
    let what =
        format!("no file records the activation in {}: {} is assumed; ", activated.join(", "), ACTIVATION.values[0]);
    let another = Setting::Choice.to(format!("{}={}", ACTIVATION.name, ACTIVATION.values[1..].join("|")));
    Ok(Some(message!(what, another, " is another, and ", Setting::Expect, " compares with what PyTorch answers")))
}

/// A line about what is stored of the trunk and not read in what was asked for.
fn unasked(graph: &Graph, trunk: &BTreeSet<String>, stored: &Shapes, results: Results) -> Option<String> {
    let asked: BTreeSet<&str> = graph.weights().map(|(key, _)| key).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for key in trunk.iter().filter(|key| stored.contains_key(*key) && !asked.contains(key.as_str())) {
        *counts.entry(key.rsplit_once('.').map_or(key.as_str(), |k| k.0)).or_default() += 1;
    }
    let why = match results {
        Results::Logits | Results::Enlarged | Results::ClassMap | Results::Boxes => "not asked for",
        Results::Features => "behind the features",
        Results::Neck => "behind the neck",
        Results::Pyramid | Results::Stages(_) => "behind the stage maps",
    };
    (!counts.is_empty()).then(|| format!("{why}: {}", counted(counts)))
}

/// The weights of a graph: the trunk's in their spelling, and the tensors of heads. What nobody reads stops the export.
fn bound(
    selected: &Selected,
    table: &NameTable,
    graph: &Graph,
    heads: BTreeMap<String, TensorInfo>,
    account: &Account,
    hints: &ModelHints<'_>,
) -> Result<BoundWeights, ModelError> {
    let required: Vec<(&str, Vec<usize>)> = graph.weights().map(|(key, ty)| (key, ty.shape.at(1))).collect();
    let asked: BTreeSet<&str> = required.iter().map(|r| r.0).collect();
    let trunk = selected.tensors.iter().filter(|(key, _)| asked.contains(selected.canonical(key, table).as_str()));
    let trunk = selected.with(trunk.map(|(key, tensor)| (key.clone(), tensor.clone())).collect());
    let heads = selected.with(heads);
    let parts = [
        BoundPart { selected: &trunk, table, scope: "" },
        BoundPart { selected: &heads, table: &NameTable::IDENTITY, scope: "" },
    ];
    let bound = checkpoint::bind(&parts, required, hints);
    match (bound, stops(account)) {
        (bound, None) => Ok(bound?),
        (bound, Some((lines, todo))) => {
            Err(StrictError::with_unexpected(hints, selected, lines, todo, bound.err()).into())
        }
    }
}

/// The family of the selected tensors and their spelling. A prefix that the user chose need not be recognised; then the named family must do.
fn spelling(selected: &Selected, named: Option<Backbone>) -> Result<(&'static Family, &'static NameTable), ModelError> {
    let found = recognise(selected.shapes().keys()).into_iter().find(|found| found.prefix.is_empty());
    let found = found.map(|found| (found.family, found.spelling));
    let found = found.or(named.map(|backbone| (backbone.family, &backbone.family.spellings[0])));
    let (family, spelling) = found.ok_or_else(|| {
        let unknown = format!("the tensors under {} are not recognised\n  name the ", selected.prefix);
        ModelError::Other(message!(unknown, Setting::Model, " that they belong to"))
    })?;
    Ok((family, &spelling.table))
}

/// Starts hashing. Who asks before it is done waits.
fn digest(checkpoint: Checkpoint) -> Digest {
    let hashing = std::thread::spawn(move || checkpoint.blake3());
    LazyLock::new(Box::new(|| hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
}

/// The backbone asked for, or the nearest to the tensors, and whether all of the nearest is there. Then its tensors must be those of both.
fn backbone(
    named: Option<Backbone>,
    family: &'static Family,
    shapes: &Shapes,
    path: &Path,
) -> Result<(Backbone, bool), ModelError> {
    let (closest, whole) = family.closest_variant(shapes);
    let Some(asked) = named else { return Ok((Backbone { family, variant: closest }, whole)) };
    let other_family = asked.family.id != family.id;
    let other_variant = asked.variant.name != closest.name;
    if other_family || (whole && other_variant && !family.serves(closest, asked.variant, shapes)) {
        return Err(ModelError::Other(message!(
            format!("{} holds {}, not {}\n  leave ", path.display(), closest.name, asked.variant.name),
            Setting::Model,
            " out to export what it holds, or give the other checkpoint"
        )));
    }
    Ok((asked, whole))
}

/// The resolution that the request, the position tables and the configuration decide, in this order; nothing may contradict the tables.
fn resolution(
    request: &ModelRequest,
    family: &Family,
    shapes: &Shapes,
    config: Option<[usize; 2]>,
) -> Result<Option<[usize; 2]>, ModelError> {
    let tables = (family.position_tables)(shapes);
    let fits = |size: &[usize; 2]| tables.as_ref().is_none_or(|tables| tables.fit(*size));
    let config = config.filter(fits);
    let Some(asked) = request.resolution else {
        let Some(tables) = &tables else { return Ok(config) };
        return match tables.sizes[0] {
            [h, w] if h != w && config.is_none() => Err(ModelError::Other(message!(
                "the checkpoint does not say its input size, and its position tables are for none that is square\n  name the one that was trained: ",
                settings(&tables.sizes)
            ))),
            likeliest => Ok(config.or(Some(likeliest))),
        };
    };
    match &tables {
        Some(tables) if !tables.fit(asked) => {
            let ([h, w], [th, tw]) = (asked, tables.sizes[0]);
            Err(ModelError::Other(message!(
                Setting::Resolution.to(format!("{h}x{w}")),
                format!(": the position tables in the checkpoint are for {th}x{tw}\n  use "),
                settings(&tables.sizes),
                format!(", or fine-tune at {h}x{w} first")
            )))
        }
        _ => Ok(Some(asked)),
    }
}

/// These sizes as a user would ask for them.
fn settings(sizes: &[[usize; 2]]) -> Message {
    Message::joined(sizes.iter().map(|[h, w]| Setting::Resolution.to(format!("{h}x{w}"))), " or ")
}

/// The number of classes of the family's heads that the checkpoint holds and `head` wants.
fn classes(request: &ModelRequest, family: &Family, shapes: &Shapes, head: Head) -> Result<Option<usize>, ModelError> {
    let held = held(family, shapes);
    let used = match head {
        Head::Average => held.first(),
        Head::Class => held.iter().find(|(h, _)| *h == family.heads[0]),
        Head::Distillation => held.iter().find(|(h, _)| *h != family.heads[0]),
    };
    let named = request.heads.iter().any(|name| name.of_family(family.heads).is_some_and(|h| h != Head::Average));
    if let (Head::Average, Results::Logits, Some((first, n)), false) = (head, request.results, held.first(), named)
        && let Some((other, m)) = held.iter().find(|(_, m)| m != n)
    {
        let why =
            format!("{first} has {n} classes and {other} has {m}: one of them was retrained and the other was not");
        let todo = message!(
            "\n  use ",
            Setting::Head.to("head"),
            " or ",
            Setting::Head.to("dist_head"),
            " for the retrained one"
        );
        return Err(ModelError::Other(message!(why, todo)));
    }
    Ok(used.map(|(_, n)| *n))
}

/// The family's heads that the checkpoint holds, with their classes.
fn held(family: &Family, shapes: &Shapes) -> Vec<(&'static str, usize)> {
    let rows =
        |head: &str| shapes.get(&format!("{head}.weight")).filter(|s| s.len() == 2).and_then(|s| s.first().copied());
    family.heads.iter().filter_map(|&h| Some((h, rows(h)?))).collect()
}

/// The number of classes of the family's heads in what is asked for; what the request says of heads must agree with the file.
fn decided_classes(
    request: &ModelRequest,
    family: &Family,
    shapes: &Shapes,
    heads: &Heads,
) -> Result<Option<usize>, ModelError> {
    let used = classes(request, family, shapes, heads.family)?;
    let mut counts: Vec<(String, usize)> = heads.own.iter().map(|h| (printable(&h.place), h.width())).collect();
    if counts.is_empty() {
        let name = match heads.family {
            Head::Distillation => family.heads.last(),
            Head::Average | Head::Class => family.heads.first(),
        };
        counts.extend(used.map(|n| (name.copied().unwrap_or_default().to_string(), n)));
    }
    if let (Some(asked), [(head, n)]) = (request.classes, &counts[..])
        && asked != *n
    {
        return Err(ModelError::Other(message!(
            Setting::Classes.to(asked),
            format!(": {head} in the checkpoint has {n} classes\n  leave "),
            Setting::Classes,
            format!(" out, or give the checkpoint that was trained for {asked}")
        )));
    }
    if heads.family != Head::Average && used.is_none() {
        let names: Vec<&str> = held(family, shapes).iter().map(|(h, _)| *h).collect();
        let there = if names.is_empty() { "no classifier at all".to_string() } else { names.join(" and ") };
        let why = format!(": the checkpoint holds {there}\n  leave ");
        return Err(ModelError::Other(message!(Setting::Head, why, Setting::Head, " out")));
    }
    Ok(used)
}

/// What was recognised, for the summary.
fn found(selected: &Selected, table: &NameTable) -> Vec<String> {
    let copy = if selected.ema { ", the averaged copy" } else { "" };
    let under = if selected.prefix.is_empty() { String::new() } else { format!(" under {}", selected.prefix) };
    let mut lines = vec![format!("{} spelling, {} tensors{under}{copy}", table.code_base, selected.tensors.len())];
    let ignored = selected.ignored.iter().filter(|(_, tensors)| *tensors > 0);
    lines.extend(ignored.map(|(name, n)| format!("left out on request: {} ({n} tensors)", printable(name))));
    lines
}
