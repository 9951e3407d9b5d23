//! A model from a checkpoint: recognise family, spelling and variant, decide resolution, heads and classes, bind every tensor.

use super::account::{Account, Leftover, counted, printable, shown};
use super::behind::{behind, stops};
use super::classes::{classes, classes_of_map, decided_classes};
use super::dense::Dense;
use super::derived;
use super::digest::digest;
use super::empty;
use super::finite;
use super::heads::{self, Heads, Offer};
use super::loaded::{Model, WeightSource};
use super::other_tools;
use super::recognise::recognise;
use super::request::{ModelError, ModelRequest, TrainedWeights};
use super::settings::{Source, stored};
use super::size;
use super::stem;
use crate::arch::heads::{ACTIVATION, Classifier, OwnHead, Reads};
use crate::arch::{Backbone, BuildOptions, Family, Head, Results, Shapes, folded};
use crate::checkpoint::{
    self, BoundPart, BoundWeights, Forms, ModelHints, NameTable, Selected, StrictError, TensorInfo,
};
use crate::message;
use crate::message::{Message, Setting};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use vitc_ir::Graph;

/// The model that the checkpoint holds, or the named one with its weights.
///
/// # Errors
/// If it cannot be read, fits no model, or leaves open what the model would compute.
pub(super) fn load(
    request: &ModelRequest,
    named: Option<Backbone>,
    weights: &TrainedWeights,
) -> Result<Model, ModelError> {
    let (checkpoint, path) = weights.open()?;
    let path = path.as_path();
    let blake3 = digest(checkpoint.clone());
    let prefixes = |shapes: &Shapes| recognise(shapes.keys()).into_iter().map(|found| found.prefix).collect();
    let selected = checkpoint.select(&prefixes, &request.select)?;
    empty::check(&selected)?;
    other_tools::check(&selected)?;
    let (family, table) = spelling(&selected, named)?;
    let mut shapes = selected.canonical_shapes(table);
    let mut config = checkpoint.config().cloned().unwrap_or_default();
    let dense = Dense::find(&selected)?;
    let wanted = request.resolution.or(config.input_size.as_ref().map(|size| size.value)).filter(|_| !dense.is_any());
    let (backbone, whole_variant) = backbone(named, family, &shapes, path, wanted)?;
    let mut notices = selected.notices.clone();
    let said = checkpoint.dense_config();
    shapes.extend(dense.shapes(&selected));

    let mut found = found(&selected, table);
    let size = size::decide(request, backbone, &shapes, &config, (&dense, said))?;
    notices.extend(size.notices);
    let mut options = BuildOptions {
        batch: request.batch,
        resolution: size.value,
        classes: classes(request, family, &shapes, Head::Average)?.unwrap_or(backbone.variant.classes),
        tensors: Some(&shapes),
        choices: request.choices_of(family, &dense.choices())?,
        ..BuildOptions::new(backbone)
    };
    options.channels = stem::channels(&options, request.channels)?;
    let (trunk, offer) = trunk(&options, shown(&selected.dict, &selected.prefix))?;
    let mut account = Account::of(&selected, table, &trunk, family);
    config = stored(&mut account, &selected, checkpoint.file_name()).or(config);
    notices.extend(config.conflicts.iter().map(|c| Message::from(c.clone())));
    found.extend(account.known());
    let parts = dense.take(request.results, &selected, &mut account, &mut found);
    options.neck = dense.neck();
    options.map_head = dense.head();
    options.choices = dense.settings(request, backbone, (said, &shapes), &mut found)?;
    let heads = match request.results {
        Results::Logits if !dense.is_any() => heads::heads(&request.heads, family, &offer, &mut account, path)?,
        _ => Heads::default(),
    };
    let norms = family.outputs.norms.map(|norm| (norm, shapes.contains_key(&format!("{norm}.weight"))));
    Dense::check_norms(&norms)?;
    let normed = norms.iter().any(|(_, held)| *held);
    if dense.is_any() && !normed {
        found.push("no norms on the stages' outputs: the file holds none".into());
    }
    let classified = !offer.held.is_empty() || !heads.own.is_empty();
    dense.refuse(request.results, &account, (normed, classified))?;
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
    classes_of_map(request, built.classes)?;
    found.extend(options.own.iter().map(|head| format!("head {}", head.describe(options.choice(&ACTIVATION)))));
    notices.extend(assumed(&options, &request.choices)?);
    notices.extend(unrecorded(&options.own, built.parts.head.as_ref()));
    notices.extend(without_norms(&mut built.graph, &shapes));
    found.extend(unasked(&built.graph, &trunk, &shapes, request.results));
    let forms = selected.forms(table).and(Forms::of(&tensors, &NameTable::IDENTITY));
    notices.extend(multiplied_out(&mut built.graph, &forms));
    let hints = ModelHints { name: backbone.variant.name, nearest: named.is_none() && !whole_variant };
    let weights = bound(&selected, table, &built.graph, tensors, (&account, &offer.maps), &hints)?;
    finite::check(&built.graph, &weights)?;
    // Dense forms compute some of these buffers anew, for the size that they run at.
    if !dense.is_any() && matches!(request.results, Results::Logits | Results::Features) {
        derived::compare(&selected, table, family, &built.graph, &weights)?;
    }
    let weights = WeightSource::Checkpoint {
        path: path.to_path_buf(),
        blake3,
        found,
        config: Box::new(config),
        dense: said.cloned().map(Box::new),
        weights,
    };
    let mut model = Model::of(built, &options, weights, notices);
    model.sources.extend(size.from.map(|from| Source { setting: "size", from: Some(from) }));
    Ok(model)
}

/// Take norms out of the graph that the file has folded already. Says so.
fn without_norms(graph: &mut Graph, shapes: &Shapes) -> Option<Message> {
    *graph = folded(graph, shapes)?;
    Some("the norms behind convolutions are folded into these".into())
}

/// Make the graph ask for the factors of weights that are stored as such. Says how many.
fn multiplied_out(graph: &mut Graph, forms: &Forms) -> Option<Message> {
    let n = forms.count(graph);
    if n == 0 {
        return None;
    }
    *graph = forms.multiplied_out(graph);
    let were = if n == 1 { "weight was" } else { "weights were" };
    Some(format!("{n} {were} stored as factors and multiplied out").into())
}

/// What the trunk and the family's own classifiers ask for, and what the trunk offers to heads.
fn trunk(options: &BuildOptions, place: &str) -> Result<(BTreeSet<String>, Offer), ModelError> {
    let stored = options.tensors;
    let keys = |graph: &Graph| {
        let whole = stored.and_then(|stored| folded(graph, stored));
        whole.as_ref().unwrap_or(graph).weights().map(|(key, _)| key.to_string()).collect::<Vec<_>>()
    };
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
    let maps: BTreeSet<String> = keys(&pyramid.graph).into_iter().collect();
    let all = keys(&whole.graph).into_iter().chain(keys(&features.graph)).chain(maps.iter().cloned());
    let channels = features.graph.shape(map).at(1)[1];
    Ok((all.collect(), Offer { sources, held, maps, channels, place: place.to_string() }))
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
    let stored = tensors.into_iter().map(|l| (l.name, l.tensor)).collect();
    let named = checkpoint::respelled(&stored).into_iter().map(|(name, tensor)| {
        let (layer, leaf) = name.rsplit_once('.').unwrap_or((&name, ""));
        (format!("{}.{leaf}", place(layer)), tensor)
    });
    (own, named.collect())
}

/// What is assumed of heads, besides the activation of those that somebody wrote.
fn unrecorded(own: &[OwnHead], classifier: Option<&Classifier>) -> impl Iterator<Item = Message> {
    let places = |says: fn(&OwnHead) -> bool| {
        let places: Vec<String> = own.iter().filter(|head| says(head)).map(|head| printable(&head.place)).collect();
        (!places.is_empty()).then(|| places.join(", "))
    };
    let scores = places(|head| head.reads == Reads::Scores)
        .map(|places| format!("{places} reads the scores as they are: an activation between would be in no file; "));
    let rows = places(OwnHead::normalises_rows)
        .map(|places| format!("the norm in {places} is taken for a LayerNorm: a GroupNorm would look the same; "));
    let slopes = places(OwnHead::has_slopes).map(|places| {
        format!("a weight without bias between the layers of {places} is taken for the slope of a PReLU; ")
    });
    let mut bare: Vec<String> = places(OwnHead::ends_without_bias).into_iter().collect();
    bare.extend(classifier.iter().flat_map(|head| &head.without_bias).map(|place| place.to_string()));
    let bare = (!bare.is_empty()).then(|| without_bias(&bare.join(", ")));
    scores.into_iter().chain(rows).chain(slopes).chain(bare).map(compared)
}

/// What is assumed of classifiers without a bias.
fn without_bias(places: &str) -> String {
    format!(
        "{places} has no bias and is taken for a linear layer: a cosine classifier, which normalises what it reads and its weight, would look \
         the same; "
    )
}

/// What to do about an assumption.
fn compared(what: String) -> Message {
    message!(what, Setting::Expect, " compares with what PyTorch answers")
}

/// What is assumed of the activation of heads that somebody wrote; an error if a choice decides nothing.
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
    if let Some(head) = options.own.iter().find(|head| head.listed) {
        let what = format!(
            "the layers of {} stand directly behind each other: in a sequence nothing is between them, in a list the code activates, and no file \
             records which\n  use ",
            printable(&head.place)
        );
        let [none, list] = ["none".to_string(), ACTIVATION.values[..3].join("|")]
            .map(|value| Setting::Choice.to(format!("{}={value}", ACTIVATION.name)));
        return Err(ModelError::Other(message!(what, none, " for a sequence, ", list, " or another for a list")));
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
    (account, maps): (&Account, &BTreeSet<String>),
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
        (Err(mut error), None) => {
            let behind = error.missing.iter().all(|missing| !maps.contains(&missing.key));
            if behind && error.misshaped.is_empty() && error.unexpected.is_empty() {
                error.todo = message!(
                    "what is stored ends at the stage maps: ",
                    Setting::Output.to("pyramid"),
                    " exports these"
                );
            }
            Err(error.into())
        }
        (Ok(bound), None) => Ok(bound),
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

/// The backbone asked for, or the nearest to the tensors, and whether all of the nearest is there. Then its tensors must be those of both.
fn backbone(
    named: Option<Backbone>,
    family: &'static Family,
    shapes: &Shapes,
    path: &Path,
    size: Option<[usize; 2]>,
) -> Result<(Backbone, bool), ModelError> {
    // A size that no variant takes says nothing about the variant.
    let (closest, whole) = family.closest_variant_at(shapes, size).unwrap_or_else(|| family.closest_variant(shapes));
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

/// What was recognised, for the summary.
fn found(selected: &Selected, table: &NameTable) -> Vec<String> {
    let copy = if selected.ema { ", the averaged copy" } else { "" };
    let under = if selected.prefix.is_empty() { String::new() } else { format!(" under {}", selected.prefix) };
    let mut lines = vec![format!("{} spelling, {} tensors{under}{copy}", table.code_base, selected.tensors.len())];
    let ignored = selected.ignored.iter().filter(|(_, tensors)| *tensors > 0);
    lines.extend(ignored.map(|(name, n)| format!("left out on request: {} ({n} tensors)", printable(name))));
    lines
}
