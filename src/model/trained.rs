//! A model from a checkpoint: recognise family, spelling and variant, decide resolution and classes, bind every tensor.

use super::{Digest, Model, ModelError, ModelRequest, Named, WeightSource, choices};
use crate::arch::{self, BuildOptions, Family, Head, Results, Shapes};
use crate::checkpoint::{self, Checkpoint, NameTable, Selected};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;
use vitc_ir::Graph;

/// The family that these names and shapes belong to, and whose spelling they are.
fn spelling(shapes: &Shapes) -> Option<(&'static Family, &'static NameTable)> {
    let pairs = arch::FAMILIES.iter().flat_map(|f| f.tables.iter().map(move |t| (*f, t)));
    pairs.into_iter().find(|(family, table)| (family.signature)(&canonical(shapes, table)))
}

fn canonical(shapes: &Shapes, table: &NameTable) -> Shapes {
    shapes.iter().map(|(key, shape)| (table.canonical(key), shape.clone())).collect()
}

pub(super) fn load(request: &ModelRequest, named: Option<Named>, path: &Path) -> Result<Model, ModelError> {
    let checkpoint = Checkpoint::open(path)?;
    let blake3 = digest(checkpoint.clone());
    let selected = checkpoint.select(&|shapes| spelling(shapes).is_some(), &request.select)?;
    // A prefix that the user chose need not be recognised; then the named family must do.
    let recognised = spelling(&selected.shapes());
    let (family, table) = recognised.or(named.map(|(f, _)| (f, &f.tables[0]))).ok_or_else(|| {
        let prefix = &selected.prefix;
        ModelError::Other(format!(
            "the tensors under {prefix} are not recognised\n  name the MODEL that they belong to"
        ))
    })?;
    let shapes = selected.canonical_shapes(table);
    let variant = variant(named, family, &shapes, path)?;
    let config = checkpoint.config().cloned().unwrap_or_default();
    let mut notices = selected.notices.clone();

    let resolution = resolution(request, family, &shapes)?.or(config.input_size).unwrap_or_else(|| {
        let [h, w] = variant.resolution;
        notices.push(format!(
            "the checkpoint does not say its input size: {h}x{w}, as published; --resolution changes it"
        ));
        variant.resolution
    });
    let classes = classes(request, family, &shapes)?;
    let options = BuildOptions {
        variant,
        batch: request.batch,
        resolution,
        classes: classes.unwrap_or(variant.classes),
        tensors: Some(&shapes),
        head: request.head,
        results: request.results,
        choices: choices(request, family)?,
    };
    let graph = (family.build)(&options)?;
    let forms = selected.forms(table);
    let graph = if forms.is_empty() { graph } else { forms.multiplied_out(&graph) };
    if !forms.is_empty() {
        notices.push(format!("{} weights were stored as factors and are multiplied out", forms.len()));
    }
    let heads = heads(family, &graph);
    let model = checkpoint::Model { name: variant.name, heads: &heads };
    let required = graph.weights().map(|(key, ty)| (key, ty.shape.at(1)));
    let whole = whole(family, &options)?;
    let unused = |key: &str| (family.leftover)(key) || whole.contains(key);
    let weights = checkpoint::bind(&selected, table, required, &unused, &model)?;
    Ok(Model {
        family,
        variant,
        batch: request.batch,
        resolution,
        weights: WeightSource::Checkpoint {
            path: path.to_path_buf(),
            blake3,
            found: found(&selected, table),
            config: Box::new(config),
            weights,
        },
        graph,
        notices,
    })
}

/// Starts hashing. Who asks before it is done waits.
fn digest(checkpoint: Checkpoint) -> Digest {
    let hashing = std::thread::spawn(move || checkpoint.blake3());
    LazyLock::new(Box::new(|| hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
}

/// The variant asked for, or the one that the tensors agree with best. Both must be the same.
fn variant(
    named: Option<Named>,
    family: &'static Family,
    shapes: &Shapes,
    path: &Path,
) -> Result<&'static arch::Variant, ModelError> {
    let (closest, share) = family.closest_variant(shapes);
    let Some((asked_family, asked)) = named else { return Ok(closest) };
    let other_family = asked_family.id != family.id;
    if other_family || (share == 1.0 && asked.name != closest.name) {
        return Err(ModelError::Other(format!(
            "{} holds {}, not {}\n  leave MODEL out to export what it holds, or give the other checkpoint",
            path.display(),
            closest.name,
            asked.name
        )));
    }
    Ok(asked)
}

/// The resolution that the request or the position tables decide; both must agree.
fn resolution(request: &ModelRequest, family: &Family, shapes: &Shapes) -> Result<Option<[usize; 2]>, ModelError> {
    let tables = (family.table_resolution)(shapes);
    match (request.resolution, tables) {
        (Some([h, w]), Some([th, tw])) if [h, w] != [th, tw] => Err(ModelError::Other(format!(
            "--resolution {h}x{w}: the position tables in the checkpoint are for {th}x{tw}\n  use --resolution {th}x{tw}, or fine-tune at {h}x{w} first"
        ))),
        (asked, tables) => Ok(asked.or(tables)),
    }
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
        return Err(ModelError::Other(format!(
            "{first} has {n} classes and {other} has {m}: one of them was retrained and the other was not\n  use --head head for the retrained one"
        )));
    }
    if let (Some(asked), Some((head, n))) = (request.classes, used)
        && asked != *n
    {
        return Err(ModelError::Other(format!(
            "--num-classes {asked}: {head} in the checkpoint has {n} classes\n  leave --num-classes out, or give the checkpoint that was trained for {asked}"
        )));
    }
    if request.head != Head::Average && used.is_none() {
        let names: Vec<&str> = held.iter().map(|(h, _)| *h).collect();
        let there = if names.is_empty() { "no classifier at all".to_string() } else { names.join(" and ") };
        return Err(ModelError::Other(format!("--head: the checkpoint holds {there}\n  leave --head out")));
    }
    Ok(used.map(|(_, n)| *n))
}

/// The family's classifiers with the width of what they read, for messages about renamed ones.
fn heads(family: &'static Family, graph: &Graph) -> Vec<checkpoint::Head<'static>> {
    let columns = |key: &str| {
        let weight = graph.weights().find(|(k, _)| k.strip_suffix(".weight") == Some(key));
        weight.map(|(_, ty)| ty.shape.at(1)).and_then(|s| s.get(1).copied())
    };
    let pooled = graph.outputs.first().and_then(|o| graph.shape(o.value).0.last().copied()).map_or(0, |d| d.at(1));
    let heads = family.heads.iter();
    heads.map(|&key| checkpoint::Head { key, features: columns(key).unwrap_or(pooled) }).collect()
}

/// Keys that the whole model asks for: what a request for less than its logits leaves unused.
fn whole(family: &Family, options: &BuildOptions<'_>) -> Result<BTreeSet<String>, ModelError> {
    let graph = (family.build)(&BuildOptions { head: Head::Average, results: Results::Logits, ..options.clone() })?;
    Ok(graph.weights().map(|(key, _)| key.to_string()).collect())
}

/// What was recognised, for the summary.
fn found(selected: &Selected, table: &NameTable) -> Vec<String> {
    let copy = if selected.ema { ", the averaged copy" } else { "" };
    let under = if selected.prefix.is_empty() { String::new() } else { format!(" under {}", selected.prefix) };
    vec![format!("{} spelling, {} tensors{under}{copy}", table.code_base, selected.tensors.len())]
}
