//! A model from a checkpoint: recognise family, spelling and variant, decide resolution and classes, bind every tensor.

use super::loaded::{Digest, Model, WeightSource};
use super::recognise::recognise;
use super::request::{ModelError, ModelRequest};
use crate::arch::{Backbone, BuildOptions, Family, Head, Results, Shapes};
use crate::checkpoint::{self, BoundPart, Checkpoint, LinearHead, ModelHints, NameTable, Selected};
use crate::message;
use crate::message::{Message, Setting};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;
use vitc_ir::Graph;

pub(super) fn load(request: &ModelRequest, named: Option<Backbone>, path: &Path) -> Result<Model, ModelError> {
    let checkpoint = Checkpoint::open(path)?;
    let blake3 = digest(checkpoint.clone());
    let prefixes = |shapes: &Shapes| recognise(shapes.keys()).into_iter().map(|found| found.prefix).collect();
    let selected = checkpoint.select(&prefixes, &request.select)?;
    let (family, table) = spelling(&selected, named)?;
    let shapes = selected.canonical_shapes(table);
    let (backbone, whole_variant) = backbone(named, family, &shapes, path)?;
    let config = checkpoint.config().cloned().unwrap_or_default();
    let mut notices = selected.notices.clone();

    let resolution = resolution(request, family, &shapes, config.input_size)?.unwrap_or_else(|| {
        let [h, w] = backbone.variant.resolution;
        let assumed = format!("the checkpoint does not say its input size: {h}x{w}, as published; ");
        notices.push(message!(assumed, Setting::Resolution, " changes it"));
        backbone.variant.resolution
    });
    let classes = classes(request, family, &shapes)?;
    let options = BuildOptions {
        backbone,
        batch: request.batch,
        resolution,
        classes: classes.unwrap_or(backbone.variant.classes),
        tensors: Some(&shapes),
        head: request.head,
        results: request.results,
        choices: request.choices_of(family)?,
    };
    let mut built = options.build()?;
    let forms = selected.forms(table);
    if !forms.is_empty() {
        built.graph = forms.multiplied_out(&built.graph);
        notices.push(format!("{} weights were stored as factors and are multiplied out", forms.len()).into());
    }
    let heads = heads(family, &built.graph);
    let hints = ModelHints { name: backbone.variant.name, nearest: named.is_none() && !whole_variant, heads: &heads };
    let required = built.graph.weights().map(|(key, ty)| (key, ty.shape.at(1)));
    let whole = whole(&options)?;
    let unused = |key: &str| (family.leftover)(key) || whole.contains(key);
    let part = BoundPart { selected: &selected, table, scope: "" };
    let weights = checkpoint::bind(&[part], required, &unused, &hints)?;
    if request.results == Results::Logits && classes.is_none() {
        classifier_beside(&selected, path, &heads)?;
    }
    let weights = WeightSource::Checkpoint {
        path: path.to_path_buf(),
        blake3,
        found: found(&selected, table),
        config: Box::new(config),
        weights,
    };
    Ok(Model::of(built, &options, weights, notices))
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

/// Refuses to leave a classifier behind that lies beside the model.
fn classifier_beside(selected: &Selected, path: &Path, heads: &[LinearHead<'_>]) -> Result<(), ModelError> {
    let near = |key: &str| key.split('.').zip(selected.prefix.split('.')).take_while(|(a, b)| a == b).count();
    let linear = |(key, shape): (&'_ String, &Vec<usize>)| {
        let head = heads.iter().find(|h| matches!(shape[..], [_, features] if features == h.features))?;
        Some((near(key), key.strip_suffix(".weight")?.to_string(), shape.clone(), head.key))
    };
    let Some((_, layer, shape, head)) = selected.beside.iter().filter_map(linear).max_by_key(|found| found.0) else {
        return Ok(());
    };
    let joined = if selected.prefix.is_empty() { head.to_string() } else { format!("{}.{head}", selected.prefix) };
    let what = "the model in the checkpoint has no classifier, and beside it lies a tensor shaped as one";
    let place = format!("\n  where: {}, under {}", path.display(), selected.prefix);
    let [rows, columns] = [shape[0], shape[1]];
    let why = format!(
        "\n  why: {layer}.weight, {rows}x{columns}, reads the {columns} features that the model pools\n  to do: "
    );
    Err(ModelError::Other(message!(
        what,
        place,
        why,
        Setting::Rename.to(format!("{layer}={joined}")),
        " makes it the classifier; ",
        Setting::Output.to("features"),
        " exports the features without it"
    )))
}

/// The number of classes of the checkpoint's heads, if it has any.
fn classes(request: &ModelRequest, family: &Family, shapes: &Shapes) -> Result<Option<usize>, ModelError> {
    let rows = |head: &str| shapes.get(&format!("{head}.weight")).and_then(|s| s.first().copied());
    let held: Vec<(&str, usize)> = family.heads.iter().filter_map(|&h| Some((h, rows(h)?))).collect();
    let used = match request.head {
        Head::Average => held.first(),
        Head::Class => held.iter().find(|(h, _)| *h == family.heads[0]),
        Head::Distillation => held.iter().find(|(h, _)| *h != family.heads[0]),
    };
    if let (Head::Average, Results::Logits, Some((first, n))) = (request.head, request.results, held.first())
        && let Some((other, m)) = held.iter().find(|(_, m)| m != n)
    {
        let why =
            format!("{first} has {n} classes and {other} has {m}: one of them was retrained and the other was not");
        let todo = message!("\n  use ", Setting::Head.to("head"), " for the retrained one");
        return Err(ModelError::Other(message!(why, todo)));
    }
    if let (Some(asked), Some((head, n))) = (request.classes, used)
        && asked != *n
    {
        return Err(ModelError::Other(message!(
            Setting::Classes.to(asked),
            format!(": {head} in the checkpoint has {n} classes\n  leave "),
            Setting::Classes,
            format!(" out, or give the checkpoint that was trained for {asked}")
        )));
    }
    if request.head != Head::Average && used.is_none() {
        let names: Vec<&str> = held.iter().map(|(h, _)| *h).collect();
        let there = if names.is_empty() { "no classifier at all".to_string() } else { names.join(" and ") };
        let why = format!(": the checkpoint holds {there}\n  leave ");
        return Err(ModelError::Other(message!(Setting::Head, why, Setting::Head, " out")));
    }
    Ok(used.map(|(_, n)| *n))
}

/// The family's classifiers with the width of what they read, for messages about renamed ones.
fn heads(family: &'static Family, graph: &Graph) -> Vec<LinearHead<'static>> {
    let columns = |key: &str| {
        let weight = graph.weights().find(|(k, _)| k.strip_suffix(".weight") == Some(key));
        weight.map(|(_, ty)| ty.shape.at(1)).and_then(|s| s.get(1).copied())
    };
    let pooled = graph.outputs.first().and_then(|o| graph.shape(o.value).0.last().copied()).map_or(0, |d| d.at(1));
    // All classifiers read the same; without any, the result itself is what one would read.
    let features = family.heads.iter().find_map(|key| columns(key)).unwrap_or(pooled);
    family.heads.iter().map(|&key| LinearHead { key, features }).collect()
}

/// Keys that the whole model asks for: what a request for less than its logits leaves unused.
fn whole(options: &BuildOptions) -> Result<BTreeSet<String>, ModelError> {
    let built = BuildOptions { head: Head::Average, results: Results::Logits, ..options.clone() }.build()?;
    Ok(built.graph.weights().map(|(key, _)| key.to_string()).collect())
}

/// What was recognised, for the summary.
fn found(selected: &Selected, table: &NameTable) -> Vec<String> {
    let copy = if selected.ema { ", the averaged copy" } else { "" };
    let under = if selected.prefix.is_empty() { String::new() } else { format!(" under {}", selected.prefix) };
    vec![format!("{} spelling, {} tensors{under}{copy}", table.code_base, selected.tensors.len())]
}
